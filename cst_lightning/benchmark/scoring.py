"""Scores of each test sample, for methods that are handed no truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from cst_lightning.benchmark.observations import ContextDigest
from cst_lightning.evaluation import Scoreboard, Truth, truths
from cst_lightning.metrics import R2
from cst_lightning.points import Batch
from cst_lightning.usage import UsageError

if TYPE_CHECKING:
    from cst_lightning.datamodules.base import FieldDataModule

#: What every comparison has; `FieldDataModule.scores` adds others. True where more is better.
SCORES: dict[str, bool] = {
    "mse": False, "nmse": False, "relative_l2": False, "r2": True, "slope": False, "derivative": False,
    "roughness": False,
}  # fmt: skip
#: Scores that are best neither high nor low.
IDEAL = {"roughness": 1.0}
#: Column heads.
LABELS = {
    "mse": "MSE", "nmse": "MSE / variance", "relative_l2": "relative L2", "r2": "R2",
    "slope": "relative L2 of slopes", "derivative": "relative L2 of d/dt", "roughness": "roughness (1 is best)",
    "psnr": "PSNR (dB)", "ssim": "SSIM", "roi_r2": "median R2 of the regions", "near": "RMSE near a jump",
    "away": "RMSE away from jumps", "overshoot": "overshoot over range",
    "weights_l2": "relative L2 of weights", "weights_mse": "MSE of weights", "weights_kl": "KL of rows (nats)",
    "weights_l2_last": "relative L2, last layer", "weights_l2_heads": "relative L2, each head",
}  # fmt: skip

# Of the time from one frame to the next: d/dt is a central difference over it, the same for every method. Small against
# whatever a method can resolve; large against the rounding of single precision, 1e-7 of a value.
_STEP = 0.05


class SampleScores:
    """Scores of one method, sample by sample and pooled.

    `mse`, `relative_l2`, `r2` and `roughness` are those of `cst_lightning.metrics` on one sample's held-out points.
    `nmse` is the mean square error over the variance of all test samples' held-out truth together, so that its mean is
    1 - R2 of the whole if samples have as many points each. `slope` is the relative L2 error of the mean rate of change
    from each frame to the next, observed ones included, on the truth's own frames; `derivative` that of d/dt itself
    against the solver's, between the first and the last frame; a derivative is where smoothness pays.

    Args:
        datamodule: whose units and further scores are used.
    """

    def __init__(self, datamodule: FieldDataModule) -> None:
        self._data = datamodule
        self._channels = datamodule.scored(torch.zeros(1, datamodule.channels)).shape[-1]
        self._pooled = self._board()
        self._slopes = torch.zeros(2, dtype=torch.float64)
        self._rates = torch.zeros(2, dtype=torch.float64)
        self.rows: list[dict[str, float]] = []

    def add(self, prediction: Tensor, truth: Truth, rate: Tensor | None = None) -> None:
        """Score one sample.

        Args:
            prediction: (1, Q, c) in physical units, before `FieldDataModule.scored`.
            truth: of the same points.
            rate: (1, Q, c) predicted derivative in time, where the truth knows its own.
        """
        answer, alone = self._data.scored(prediction), self._board()
        for board in (alone, self._pooled):
            board.update(answer, truth)
        slopes = slope_errors(answer.double() / self._data.scale, truth, self._data.scale)
        self._slopes += slopes
        rates = torch.zeros(2, dtype=torch.float64) if rate is None else rate_errors(rate, truth)
        self._rates += rates
        self.rows.append({**alone.result(), "slope": _root(slopes), "derivative": _root(rates)})

    def by_sample(self) -> dict[str, list[float]]:
        """Return (n,) scores by name, NaN where a sample has none."""
        # counts, means and centred squares by channel, see `R2`
        moments = cast(R2, self._pooled.metrics["r2"]).moments
        variance = float(moments[2].sum() / moments[0].sum()) if moments[0].sum() else math.nan
        names = [name for name in (self.rows[0] if self.rows else {}) if name != "seconds"]
        found = {name: [row[name] for row in self.rows] for name in names}
        found["nmse"] = [mse / variance if variance > 0 else math.nan for mse in found.get("mse", [])]
        return found

    def pooled(self) -> dict[str, float]:
        """Return the scores of all held-out points together, as `evaluate` does."""
        found = {name: value for name, value in self._pooled.result().items() if name != "seconds"}
        return found | {"nmse": 1 - found["r2"], "slope": _root(self._slopes), "derivative": _root(self._rates)}

    def _board(self) -> Scoreboard:
        return Scoreboard(self._channels, self._data.scale, self._data.scores())


def slope_errors(answer: Tensor, truth: Truth, scale: float = 1.0) -> Tensor:
    """Return squared errors of the rate of change between successive frames, and the truth's own squares, summed.

    Args:
        answer: (1, Q, c) prediction in units of `scale`.
        truth: of the same points, in units of the data; frames at different times in order.
        scale: unit of the scores.

    Returns:
        (2,) float64; zeros if the points are on no grid of two or more frames.
    """
    if truth.frames < 2:
        return torch.zeros(2, dtype=torch.float64)
    shape = (truth.frames, answer.shape[1] // truth.frames, -1)
    time = truth.coords[0, :, :1].double().reshape(shape).diff(dim=0)
    pair = truth.known[0].reshape(shape[:2])
    counted = (pair[1:] & pair[:-1])[..., None]
    values = truth.values[0].double() / scale
    slopes = [x.reshape(shape).diff(dim=0) / time for x in (answer[0], values)]
    return torch.stack([torch.where(counted, x, 0).square().sum() for x in (slopes[0] - slopes[1], slopes[1])])


def rate_errors(rate: Tensor, truth: Truth) -> Tensor:
    """Return squared errors of a derivative in time, and the true one's own squares, summed over channels and points.

    First and last frame do not count: on one side of them there is nothing to ask for. Nor do points whose value or
    derivative nobody knows.

    Args:
        rate: (1, Q, c) prediction.
        truth: of the same points, frames in order.

    Returns:
        (2,) float64; zeros if the truth has no derivatives.
    """
    if truth.rates is None or truth.frames < 3:
        return torch.zeros(2, dtype=torch.float64)
    counted = truth.known[..., None] & truth.rates.isfinite()
    parts = [torch.where(counted, x, 0).double() for x in (rate - truth.rates, truth.rates)]
    return torch.stack([x.unflatten(1, (truth.frames, -1))[:, 1:-1].square().sum() for x in parts])


def moved_in_time(batch: Batch, by: float) -> Batch:
    """Return a batch that asks for other times, the first and the last frame's excepted."""
    coords = batch.target.coords.clone()
    coords.unflatten(1, (batch.frames, -1))[:, 1:-1, :, 0] += by
    return batch._replace(target=batch.target._replace(coords=coords))


def poisoned(batch: Batch) -> Batch:
    """Return a batch with NaN in place of what is asked for: a method that looks at it spoils its own answer."""
    return batch._replace(target=batch.target._replace(values=torch.full_like(batch.target.values, math.nan)))


def score(
    datamodule: FieldDataModule, answer: Callable[[Batch, int], Tensor], timed: Callable[[], float]
) -> tuple[SampleScores, list[int], str, float]:
    """Ask a method for every test sample and score what it says.

    Args:
        datamodule: set up.
        answer: takes a batch without truth and its number, and returns predictions (B, Q, c), physical units. Where the
            truth knows its derivatives, it is asked twice more, a little earlier and a little later.
        timed: a clock, seconds.

    Returns:
        The scores, the samples' positions in the data set, the digest of the contexts that the method was given, and
        the seconds that it took to answer.
    """
    scores, digest, index = SampleScores(datamodule), ContextDigest(), list[int]()
    seconds = 0.0
    for number, batch in enumerate(datamodule.whole_dataloader("test")):
        given = poisoned(batch)
        digest.update(given)
        began = timed()
        found = answer(given, number)
        seconds += timed() - began
        rate = None
        if datamodule.rates("test", len(index)) is not None and batch.frames > 2:
            step = _STEP * float(batch.target.coords[0, :, 0].unique().diff().min())
            late, early = (answer(moved_in_time(given, by), number) for by in (step, -step))
            rate = (late.double() - early.double()) / (2 * step)
        for b, truth in enumerate(truths(datamodule, batch, len(index), rates=True)):
            own = (slice(b, b + 1), slice(truth.asked))
            scores.add(found[own], truth, None if rate is None else rate[own])
        index += batch.index.tolist()
    return scores, index, digest.hexdigest(), seconds


def directions(names: Sequence[str], datamodule: FieldDataModule) -> dict[str, bool]:
    """Return for each score whether more is better.

    Raises:
        UsageError: there is no such score for these data.
    """
    known: Mapping[str, Any] = SCORES | {k: bool(m.higher_is_better) for k, m in datamodule.scores().items()}
    for name in names:
        if name not in known:
            raise UsageError(f"scores: expected some of {', '.join(known)}, found {name}")
    return {name: known[name] for name in names}


def _root(sums: Tensor) -> float:
    return math.sqrt(sums[0] / sums[1]) if sums[1] > 0 else math.nan
