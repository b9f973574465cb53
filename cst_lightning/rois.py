"""Scores and references for regions of interest: each has a time course of its own.

Sizes: Q queries, F frames, P places, c channels, R = P c regions, N observations, d coordinate dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from cst_lightning.baselines.interpolation import Interpolator
from cst_lightning.metrics import merge_moments

Array = np.ndarray


class RoiR2(Metric):
    """Coefficient of determination of each region of interest, and their median.

    ``R2_r = 1 - SSE_r / SST_r`` over all scored frames of region r, SST about its own mean; regions whose truth does
    not vary have none. The median says how the usual region fares, where R2 pooled over regions is the score of the
    brightest ones. A region is a channel at a place: an ROI's trace, or a pixel.

    Args:
        regions: R, the places of a sample on a grid times the channels.
        **options: see `torchmetrics.Metric`.

    Example:
        >>> score = RoiR2(2)
        >>> truth = torch.tensor([[[1.0, 0.0], [2.0, 1.0], [3.0, 2.0]]])
        >>> score.update(truth + torch.tensor([0.0, 1.0]), truth, torch.ones(1, 3, dtype=torch.bool), 3)
        >>> score.each().tolist()
        [1.0, -0.5]
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True
    moments: Tensor

    def __init__(self, regions: int, **options: Any) -> None:
        super().__init__(**{"sync_on_compute": False, **options})
        # rows: count, mean, centred sum of squares, sum of squared errors
        self.add_state("moments", torch.zeros((4, regions), dtype=torch.float64), dist_reduce_fx=merge_moments)

    def update(self, prediction: Tensor, target: Tensor, mask: Tensor, frames: int) -> None:
        """Add one sample.

        Args:
            prediction: (1, Q, c); Q = F P, frame by frame, on a grid.
            target: (1, Q, c); anything, NaN included, where masked out.
            mask: (1, Q) bool, True where the point counts.
            frames: F, or 0 where points are scattered: then a region is a channel.

        Raises:
            ValueError: places times channels are not the regions of the constructor.
        """
        channels, rows = prediction.shape[-1], frames or prediction.shape[1]
        regions = prediction[0].numel() // max(rows, 1)
        if regions != self.moments.shape[1]:
            raise ValueError(f"a frame has {regions} regions, expected {self.moments.shape[1]}")
        keep = mask.reshape(rows, -1, 1).expand(-1, -1, channels).reshape(rows, -1)
        truth = torch.where(keep, target.reshape(rows, -1).double(), 0)
        error = torch.where(keep, prediction.reshape(rows, -1).double() - truth, 0)
        count = keep.sum(0).double()
        mean = truth.sum(0) / count.clamp(min=1)
        spread = torch.where(keep, truth - mean, 0).square().sum(0)
        moments = torch.stack([count, mean, spread, error.square().sum(0)])
        self.moments = merge_moments(torch.stack([self.moments, moments]))

    def each(self) -> Tensor:
        """Return the score of each region (R,), NaN where the truth does not vary."""
        _, _, spread, error = self.moments.unbind()
        return torch.where(spread > 0, 1 - error / spread.clamp(min=torch.finfo(torch.float64).tiny), torch.nan)

    def compute(self) -> Tensor:
        """Return the median over regions that have a score, a scalar; NaN if none has."""
        return self.each().nanmedian()


@dataclass(frozen=True)
class Alone:
    """A one-dimensional reference applied to each place by itself, along time: no neighbour is looked at.

    Between ROI there is nothing to interpolate: their number is a name. A place without an observation gets the mean
    of all.

    Attributes:
        method: of one coordinate.
    """

    method: Interpolator

    @property
    def name(self) -> str:
        """Name in tables."""
        return self.method.name

    def __call__(self, coords: Array, values: Array, query: Array, periods: Sequence[float | None]) -> Array:
        """Interpolate; see `Interpolator`."""
        _, place = np.unique(np.concatenate([coords, query])[:, 1:].round(9), axis=0, return_inverse=True)
        here, there = place.ravel()[: len(coords)], place.ravel()[len(coords) :]
        answer = np.repeat(values.mean(0, keepdims=True).astype(np.float64), len(query), axis=0)
        for number in np.unique(there):
            own = here == number
            if own.any():
                asked = there == number
                answer[asked] = self.method(coords[own, :1], values[own], query[asked, :1], periods[:1])
        return answer
