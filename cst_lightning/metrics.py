"""Scores of a prediction against held-out truth, as torchmetrics.

Every metric sums in float64 over whatever batches and processes it is given and divides once at the end, so the score
depends on the scored points only: not on padding, batch split or number of processes. Sizes: B batch, Q queries,
c channels, d coordinate dimensions, F frames, P places.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class _Score(Metric):
    """Common ground: float64 states, which `Metric` leaves alone when the module around it changes precision."""

    full_state_update = False
    is_differentiable = False

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Any = "") -> torch.nn.Module:
        # Apple's accelerator has no float64, and a state must be on the device of what it sums
        if fn(torch.empty(0)).device.type == "mps":
            self.set_dtype(torch.float32)
        return super()._apply(fn, exclude_state)


class MeanScore(_Score):
    """A sum over a count, both in float64; a subclass adds to `total` and `count`."""

    higher_is_better = False
    total: Tensor
    count: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def compute(self) -> Tensor:
        """Return the score, a float64 scalar; NaN before anything was counted."""
        return self.total / self.count


class MSE(MeanScore):
    """Mean square error.

    ``sum (prediction - target)^2 / (n c)``, the sum and the count n over unmasked points of all samples, each point
    with the same weight; physical units squared.

    Example:
        >>> score = MSE()
        >>> score.update(torch.tensor([[[1.0], [9.0]]]), torch.zeros(1, 2, 1), torch.tensor([[True, False]]))
        >>> score.compute().item()
        1.0
    """

    def update(self, prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> None:
        """Add samples.

        Args:
            prediction: (B, Q, c).
            target: (B, Q, c); anything, NaN included, where masked out.
            mask: (B, Q) bool, True where the point counts; all True when omitted.
        """
        mask = _checked(prediction, target, mask)
        error = _error(prediction, target, mask, self.total.dtype)
        self.total += error.square().sum()
        self.count += mask.sum() * prediction.shape[-1]


class R2(_Score):
    """Coefficient of determination, pooled over channels.

    ``1 - sum_c SSE_c / sum_c SST_c``: squared errors, and squared distances of the truth from its own mean, channel
    by channel, over unmasked points of all samples. ``1 - R2`` is the mean square error over the variance. Not the
    squared correlation: bias and wrong amplitude cost.

    Means and centred sums of squares are merged pairwise, so that data around 10^6 lose no digits (Chan, Golub and
    LeVeque, Algorithms for computing the sample variance, The American Statistician 37, 1983).

    Args:
        channels: c.

    Example:
        >>> score = R2()
        >>> score.update(torch.tensor([[[1.0], [2.0], [4.0]]]), torch.tensor([[[1.0], [2.0], [3.0]]]))
        >>> score.compute().item()
        0.5
    """

    higher_is_better = True
    moments: Tensor

    def __init__(self, channels: int = 1, **options: Any) -> None:
        super().__init__(**options)
        # rows: count, mean, centred sum of squares, sum of squared errors
        self.add_state("moments", torch.zeros((4, channels), dtype=torch.float64), dist_reduce_fx=merge_moments)

    def update(self, prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> None:
        """Add samples; arguments as in `MSE.update`.

        Raises:
            ValueError: the number of channels is not the one of the constructor.
        """
        mask = _checked(prediction, target, mask)
        if prediction.shape[-1] != self.moments.shape[-1]:
            raise ValueError(f"prediction has {prediction.shape[-1]} channels, expected {self.moments.shape[-1]}")
        dtype = self.moments.dtype
        error, truth = _error(prediction, target, mask, dtype), target[mask].to(dtype)
        count = mask.sum().to(dtype).expand(truth.shape[-1])
        mean = truth.sum(0) / count.clamp(min=1)
        update = torch.stack([count, mean, (truth - mean).square().sum(0), error.square().sum(0)])
        self.moments = merge_moments(torch.stack([self.moments, update]))

    def compute(self) -> Tensor:
        """Return the score, a float64 scalar; NaN where the truth does not vary."""
        _, _, spread, error = self.moments.unbind()
        return torch.where(spread.sum() > 0, 1 - error.sum() / spread.sum(), torch.nan)


class RelativeL2(MeanScore):
    """Mean over samples of the relative error in the Euclidean norm.

    ``mean_b ||prediction_b - target_b|| / ||target_b||``, each norm over the unmasked points and all channels of one
    sample. A sample without a scored point, or with a truth that is zero throughout, has no such ratio and is not
    counted.

    Source: Li et al., Fourier Neural Operator for Parametric Partial Differential Equations, ICLR 2021 (`LpLoss`).

    Example:
        >>> score = RelativeL2()
        >>> score.update(torch.tensor([[[3.0], [4.0]]]), torch.tensor([[[3.0], [0.0]]]))
        >>> round(score.compute().item(), 4)
        1.3333
    """

    def update(self, prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> None:
        """Add samples; arguments as in `MSE.update`."""
        mask = _checked(prediction, target, mask)
        keep, dtype = mask[..., None], self.total.dtype
        error = torch.where(keep, prediction.to(dtype) - target.to(dtype), 0).flatten(1).norm(dim=1)
        norm = torch.where(keep, target.to(dtype), 0).flatten(1).norm(dim=1)
        counted = norm > 0  # one sample without a signal would make the mean of all infinite
        self.total += (error[counted] / norm[counted]).sum()
        self.count += counted.sum()


class Roughness(_Score):
    """Curvature along time of the prediction, relative to the truth's: 1 is as smooth as the truth, above is rougher.

    ``sum |D^2 prediction|^2 / sum |D^2 target|^2`` with the second divided difference at each interior frame,
    ``D^2 f = 2 ((f_2 - f_1) / (t_2 - t_1) - (f_1 - f_0) / (t_1 - t_0)) / (t_2 - t_0)``, on the frames' own times,
    which may be uneven. Both sums are over samples, places, channels and those interior frames that are unmasked
    together with both neighbours, with equal weights.

    Example:
        >>> score, time = Roughness(), torch.tensor([[[0.0], [1.0], [3.0]]])
        >>> score.update(2 * time.square(), time.square(), time, frames=3)
        >>> score.compute().item()
        4.0
    """

    higher_is_better = False
    prediction_total: Tensor
    target_total: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_state("prediction_total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("target_total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(
        self, prediction: Tensor, target: Tensor, coords: Tensor, frames: int, mask: Tensor | None = None
    ) -> None:
        """Add samples on time-major grids.

        Args:
            prediction: (B, F P, c), frame by frame.
            target: (B, F P, c).
            coords: (B, F P, d), time first; increasing from frame to frame wherever unmasked.
            frames: F; fewer than three have no second difference and add nothing.
            mask: (B, F P) bool, True where the point counts; all True when omitted.

        Raises:
            ValueError: the number of points is not a multiple of `frames`.
        """
        mask = _checked(prediction, target, mask)
        if frames < 1 or prediction.shape[1] % frames:
            raise ValueError(f"prediction has {prediction.shape[1]} points, expected a multiple of frames = {frames}")
        dtype = self.target_total.dtype
        grids = [_by_frame(x.to(dtype), frames) for x in (prediction, target, coords[..., :1])]
        shown = _by_frame(mask[..., None], frames)
        counted = shown[:, 2:] & shown[:, 1:-1] & shown[:, :-2]
        rough, smooth = (_second_difference(values, grids[2]) for values in grids[:2])
        self.prediction_total += torch.where(counted, rough, 0).square().sum()
        self.target_total += torch.where(counted, smooth, 0).square().sum()

    def compute(self) -> Tensor:
        """Return the score, a float64 scalar; NaN where the truth has no curvature."""
        return torch.where(self.target_total > 0, self.prediction_total / self.target_total, torch.nan)


def merge_moments(parts: Tensor) -> Tensor:
    """Merge counts, means, centred sums of squares and plain sums of parts of the data into those of the whole.

    Args:
        parts: (W, 4, c): rows count, mean, centred sum of squares, any plain sum, of W parts.

    Returns:
        (4, c).
    """
    counts, means, spreads, sums = parts.unbind(1)
    count = counts.sum(0)
    # the mean of differences from one of the means, because a weighted mean of large numbers would lose digits
    origin = means[counts.argmax(0), torch.arange(means.shape[-1], device=means.device)]
    mean = origin + (counts * (means - origin)).sum(0) / count.clamp(min=1)
    spread = spreads.sum(0) + (counts * (means - mean).square()).sum(0)
    return torch.stack([count, mean, spread, sums.sum(0)])


def _checked(prediction: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mask after checking that the three shapes agree."""
    if prediction.ndim != 3 or prediction.shape != target.shape:
        raise ValueError(
            f"prediction has shape {tuple(prediction.shape)}, expected (batch, point, channel) = {tuple(target.shape)} "
            "as in target"
        )
    if mask is None:
        return torch.ones(prediction.shape[:2], dtype=torch.bool, device=prediction.device)
    if mask.shape != prediction.shape[:2] or mask.dtype != torch.bool:
        raise ValueError(
            f"mask has shape {tuple(mask.shape)} {mask.dtype}, expected bool {tuple(prediction.shape[:2])} as in target"
        )
    return mask


def _error(prediction: Tensor, target: Tensor, mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the errors (n, c) at unmasked points; cast before subtracting, which would round in float32."""
    return prediction[mask].to(dtype) - target[mask].to(dtype)


def _by_frame(points: Tensor, frames: int) -> Tensor:
    """Return (B, F, P, c) of (B, F P, c)."""
    return points.reshape(len(points), frames, points.shape[1] // frames, points.shape[-1])


def _second_difference(values: Tensor, times: Tensor) -> Tensor:
    """Return second divided differences, (B, F - 2, P, c), of (B, F, P, c) values at (B, F, P, 1) times."""
    slope = values.diff(dim=1) / times.diff(dim=1)
    return 2 * slope.diff(dim=1) / (times[:, 2:] - times[:, :-2])
