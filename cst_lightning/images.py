"""Scores of pictures, PSNR and SSIM, over whole frames that were held out.

A prediction comes as points; a map to pictures goes with it, because only the data know whether a point is a pixel,
a patch or a whole frame. The scores themselves are those of torchmetrics.
Sizes: F frames, P points a frame, C channels of a point; H, W, c of a picture.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

#: From values of whole frames (F x P, C) to pictures (F, H, W, c).
Pictures = Callable[[np.ndarray], np.ndarray]

_SIGMA = 1.5  # of SSIM's window, pixels: Wang et al., IEEE Transactions on Image Processing 13, 2004
_WIDTHS = 3.5  # torchmetrics cuts it off after so many sigma


class PictureScore(Metric):
    """The mean over held-out frames of a score of pictures.

    A frame counts if all of its points are masked in, that is, if nothing of it was shown.

    Args:
        pictures: makes pictures of points.
        **options: of `Metric`.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False
    total: Tensor
    count: Tensor

    def __init__(self, pictures: Pictures, **options: Any) -> None:
        super().__init__(**options)
        self.pictures = pictures
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor, mask: Tensor, frames: int) -> None:
        """Add the frames of one sample.

        Args:
            prediction: (1, F P, C), frame by frame.
            target: (1, F P, C); anything, NaN included, where masked out.
            mask: (1, F P) bool.
            frames: F; 0 if the points are no frames, which adds nothing.
        """
        if not frames:
            return
        whole = mask.reshape(frames, -1).all(1)
        if not whole.any():
            return
        guess, truth = (self._pictures(x, frames, whole) for x in (prediction, target))
        scores = self.score(guess, truth).to(self.total).reshape(-1)  # of one picture torchmetrics returns a scalar
        self.total += scores.sum()
        self.count += len(scores)

    def compute(self) -> Tensor:
        """Return the mean, a float64 scalar; NaN before any frame was seen."""
        return self.total / self.count

    def score(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the scores (F,) of pictures (F, c, H, W)."""
        raise NotImplementedError

    def _pictures(self, values: Tensor, frames: int, chosen: Tensor) -> Tensor:
        rows = values.reshape(frames, -1, values.shape[-1])[chosen].flatten(0, 1)
        return torch.from_numpy(np.ascontiguousarray(self.pictures(rows.cpu().numpy()))).movedim(-1, 1).double()


class PSNR(PictureScore):
    r"""Peak signal-to-noise ratio, the mean over frames of :math:`10 \log_{10}(range^2 / MSE)` in dB.

    The mean square error is one over the pixels and colours of a frame.

    Args:
        pictures: makes pictures of points.
        value_range: between black and white.
        **options: of `Metric`.

    Example:
        >>> score = PSNR(lambda rows: rows.reshape(-1, 2, 2, 1))
        >>> score.update(torch.zeros(1, 4, 1), torch.full((1, 4, 1), 0.1), torch.ones(1, 4, dtype=torch.bool), 1)
        >>> round(score.compute().item(), 3)
        20.0
    """

    def __init__(self, pictures: Pictures, value_range: float = 1.0, **options: Any) -> None:
        super().__init__(pictures, **options)
        self.value_range = value_range

    def score(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the ratios (F,) of pictures (F, c, H, W)."""
        ratio = PeakSignalNoiseRatio(data_range=self.value_range, dim=(1, 2, 3), reduction="none")
        return ratio(prediction, target)


class SSIM(PictureScore):
    """Structural similarity, the mean over frames, 1 for equal pictures.

    The window is a Gaussian of 1.5 pixels; on pictures of fewer than 11 pixels a side it is as wide as they are.

    Source: Wang, Bovik, Sheikh and Simoncelli, Image quality assessment: from error visibility to structural
    similarity, IEEE Transactions on Image Processing 13, 2004.

    Args:
        pictures: makes pictures of points.
        value_range: between black and white.
        **options: of `Metric`.
    """

    def __init__(self, pictures: Pictures, value_range: float = 1.0, **options: Any) -> None:
        super().__init__(pictures, **options)
        self.value_range = value_range

    def score(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the similarities (F,) of pictures (F, c, H, W)."""
        reach = (min(prediction.shape[-2:]) - 1) // 2  # of the widest window that fits
        sigma = _SIGMA if reach >= int(_WIDTHS * _SIGMA + 0.5) else reach / _WIDTHS
        if not reach:
            raise ValueError(f"pictures are {tuple(prediction.shape[-2:])}, expected at least 3 x 3 pixels for SSIM")
        similarity = StructuralSimilarityIndexMeasure(data_range=self.value_range, sigma=sigma, reduction="none")
        return similarity(prediction, target)
