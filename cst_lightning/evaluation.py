"""Score a trained module and the usual interpolation on the test split, and write what came out."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import LightningModule
from rich.table import Table
from torch import Tensor
from torchmetrics import Metric

from cst_lightning import __version__
from cst_lightning.baselines.interpolation import Example, Interpolator, Learner, tuned
from cst_lightning.field import evaluating
from cst_lightning.field_module import called
from cst_lightning.metrics import MSE, R2, RelativeL2, Roughness
from cst_lightning.points import Batch, Normalization
from cst_lightning.runs import write_text

if TYPE_CHECKING:
    from cst_lightning.datamodules.base import FieldDataModule, Split


class Truth(NamedTuple):
    """What one test sample is scored against, on the CPU, in the datamodule's units.

    Attributes:
        values: (1, Q, c) truth where `known` is True.
        mask: (1, Q) held-out points.
        known: (1, Q) points with a truth, observed ones too, for curvature, which needs neighbours.
        coords: (1, Q, d).
        frames: F on a time-major grid, else 0.
        asked: points of the sample that a prediction has, before `FieldDataModule.scored`; Q if None.
        rates: (1, Q, c) true derivatives in time, if they are known.
    """

    values: Tensor
    mask: Tensor
    known: Tensor
    coords: Tensor
    frames: int
    asked: int | None = None
    rates: Tensor | None = None


class Scoreboard:
    """The metrics of one method, and the seconds it took.

    Args:
        channels: c.
        scale: unit of the scores in the units of the data, see `FieldDataModule`.
        more: further metrics, see `FieldDataModule.scores`.
    """

    def __init__(self, channels: int, scale: float = 1.0, more: Mapping[str, Metric] | None = None) -> None:
        self.scale, self.more = scale, dict(more or {})
        # one process evaluates while others of a distributed run may be gone: waiting for them would never end
        alone: dict[str, Any] = {"sync_on_compute": False}
        self.metrics: dict[str, Metric] = {
            "mse": MSE(**alone), "relative_l2": RelativeL2(**alone), "r2": R2(channels, **alone),
        }  # fmt: skip
        self.roughness = Roughness(**alone)
        self.seconds = 0.0

    def update(self, prediction: Tensor, truth: Truth) -> None:
        """Score one sample; every method comes through here."""
        # both in double: the error is a small difference, which must not be rounded once more
        answer, values = prediction.double() / self.scale, truth.values.double() / self.scale
        for metric in self.metrics.values():
            metric.update(answer, values, truth.mask)
        for metric in self.more.values():
            metric.update(answer, values, truth.mask, truth.frames)
        if truth.frames >= 3:
            self.roughness.update(answer, values, truth.coords, truth.frames, truth.known)

    def result(self) -> dict[str, float]:
        """Return the scores by name; roughness is NaN where targets are not on a grid."""
        scores = {name: float(metric.compute()) for name, metric in self.metrics.items()}
        scores["roughness"] = float(self.roughness.compute()) if self.roughness.update_called else math.nan
        scores |= {name: float(metric.compute()) for name, metric in self.more.items()}
        return scores | {"seconds": self.seconds}


def evaluate(
    module: LightningModule, datamodule: FieldDataModule, methods: Sequence[Interpolator] | None = None
) -> dict[str, dict[str, float]]:
    """Score the module and reference interpolation on the test split's held-out points.

    All methods see the same observations, answer at the same coordinates and are scored by the same metrics with the
    same masks. Those are of what `datamodule.scored` makes of a prediction, against `datamodule.scored_truth`, in units
    of `datamodule.scale`. References get the settings of `suited`.

    Args:
        module: a trained `CSTModule` or another model, on any device.
        datamodule: with `setup` done or not.
        methods: references; those of the datamodule when omitted.

    Returns:
        For the module, under `key`, then for each reference: "mse", "relative_l2", "r2", "roughness", "seconds".
    """
    datamodule.prepare_data()
    for stage in ("fit", "test"):
        datamodule.setup(stage)
    methods = datamodule.references() if methods is None else methods
    methods = suited(methods, datamodule)
    units, periods = datamodule.normalization, periods_of(datamodule)
    channels = datamodule.scored(torch.zeros(1, datamodule.channels)).shape[-1]
    own = key(module)
    while own in {method.name for method in methods}:  # a user's LinearModule
        own += "_model"
    names = (own, *(method.name for method in methods))
    boards = {name: Scoreboard(channels, datamodule.scale, datamodule.scores()) for name in names}
    with evaluating(module):
        seen = 0
        for number, batch in enumerate(datamodule.whole_dataloader("test")):
            answers = {}
            with _timed(boards[own]):
                answers[own] = ask(module, batch, number)
            for method in methods:
                with _timed(boards[method.name]):
                    answers[method.name] = interpolate(method, batch, units, periods)
            _score(boards, answers, datamodule, batch, seen)
            seen += len(batch.index)
    return {name: board.result() for name, board in boards.items()}


def key(module: LightningModule) -> str:
    """Return the name of a model in `metrics.json`: "cst", "convgru", "cst_paper"."""
    return called(type(module)).lower().replace(" ", "_")


def table(
    results: Mapping[str, Mapping[str, float]], higher: Mapping[str, bool] | None = None, model: str = "CST"
) -> Table:
    """Lay scores out as a table with the best of each column in bold.

    Args:
        results: what `evaluate` returned.
        higher: for each further metric, whether more is better.
        model: name of the first row, see `called`.

    Returns:
        A table to print with a rich console.
    """
    columns = {
        "MSE": ([row["mse"] for row in results.values()], 0.0),
        "MSE/var": ([1 - row["r2"] for row in results.values()], 0.0),
        "rel. L2": ([row["relative_l2"] for row in results.values()], 0.0),
        "R2": ([row["r2"] for row in results.values()], 1.0),
        "roughness": ([row["roughness"] for row in results.values()], 1.0),
    }
    for name in ("MSE/var", "rel. L2")[: len(higher or {})]:  # 80 columns are not enough for all; the file has them
        del columns[name]
    for name, more in (higher or {}).items():
        columns[name] = ([row[name] for row in results.values()], math.inf if more else -math.inf)
    made = Table(title="Held-out points of the test split", title_justify="left", caption_justify="left")
    variance = "" if higher else "MSE/var: over the truth's variance; "
    made.caption = f"{variance}roughness: curvature along time over the truth's, 1 is best"
    made.add_column("method", no_wrap=True)
    for name in (*columns, "s"):
        made.add_column(name, justify="right", no_wrap=True)
    best = {name: _best(values, ideal) for name, (values, ideal) in columns.items()}
    for number, (method, row) in enumerate(results.items()):
        cells = [_cell(values[number], number == best[name]) for name, (values, _) in columns.items()]
        made.add_row(method if number else model, *cells, f"{row.get('seconds', math.nan):.1f}")
    return made


def write_metrics(
    path: str | os.PathLike[str],
    results: Mapping[str, Mapping[str, float]],
    seconds: float | None = None,
    seed: int | None = None,
    version: str = __version__,
) -> None:
    """Write `metrics.json` in one step: a reader finds the old file or the new one, never half of one.

    The shape is the same for every task: ``{"test": {method: {"mse", "relative_l2", "r2", "roughness"}}, "seconds",
    "seed", "version"}``, with the data's further scores beside these; a score that does not exist is null.

    Args:
        path: where to.
        results: what `evaluate` returned.
        seconds: wall time of the training.
        seed: seed of the run.
        version: version of the library that trained it.
    """
    scores = {m: {k: _finite(v) for k, v in row.items() if k != "seconds"} for m, row in results.items()}
    text = json.dumps({"test": scores, "seconds": seconds, "seed": seed, "version": version}, indent=2, allow_nan=False)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text + "\n")


def ask(module: LightningModule, batch: Batch, number: int) -> Tensor:
    """Return the module's predictions (B, Q, c) on the CPU, physical units."""
    prepared = module.on_before_batch_transfer(batch, 0)
    moved = module.transfer_batch_to_device(prepared, module.device, 0)
    outputs: Any = module.test_step(moved, number)
    prediction: Tensor = outputs["prediction"].cpu()
    return prediction


def interpolate(method: Interpolator, batch: Batch, units: Normalization, periods: Sequence[float | None]) -> Tensor:
    """Return a reference's predictions (B, Q, c); the target's values do not come near it."""
    context, query = batch.context, units.coords(batch.target.coords)
    coords = units.coords(context.coords)
    answers = [
        method(coords[b][real].numpy(), context.values[b][real].numpy(), query[b].numpy(), periods)
        for b, real in enumerate(context.mask)
    ]
    return torch.from_numpy(np.stack(answers))


def suited(methods: Sequence[Interpolator], datamodule: FieldDataModule) -> list[Interpolator]:
    """Give references the settings that are best on the first validation samples.

    A `Learner` takes its hyperparameters from what training samples show instead.

    Args:
        methods: references.
        datamodule: set up for `fit`.

    Returns:
        The same methods in the same order.
    """
    units, periods = datamodule.normalization, periods_of(datamodule)
    few = 64 if datamodule.dimension == 1 else 4  # a curve costs milliseconds

    @cache
    def first(split: Split, count: int) -> list[Example]:
        return list(islice(examples(datamodule.whole_dataloader(split), units), count))

    return [
        method.fitted(first("train", method.fitting_samples), periods)
        if isinstance(method, Learner)
        else tuned([method], first("val", few), periods)[0]
        for method in methods
    ]


def examples(loader: Any, units: Normalization) -> Iterator[Example]:
    """Yield a loader's samples for `tuned`, coordinates normalised with `units`."""
    for batch in loader:
        for b, (shown, asked) in enumerate(zip(batch.context.mask, batch.target.mask, strict=True)):
            coords, query = units.coords(batch.context.coords[b][shown]), units.coords(batch.target.coords[b][asked])
            values, truth = batch.context.values[b][shown], batch.target.values[b][asked]
            yield Example(coords.numpy(), values.numpy(), query.numpy(), truth.numpy())


def _score(
    boards: Mapping[str, Scoreboard],
    answers: Mapping[str, Tensor],
    datamodule: FieldDataModule,
    batch: Batch,
    first: int,
) -> None:
    """Score a batch, sample by sample: what is scored may have thousands of channels where a prediction has ten."""
    for b, truth in enumerate(truths(datamodule, batch, first)):
        for name, answer in answers.items():
            boards[name].update(datamodule.scored(answer[b : b + 1, : truth.asked]), truth)


def truths(datamodule: FieldDataModule, batch: Batch, first: int, rates: bool = False) -> Iterator[Truth]:
    """Yield what each sample of a batch is scored against; the batch's own target values are not looked at.

    Args:
        datamodule: whose test loader goes through its samples in order.
        batch: in physical units.
        first: how many samples came before.
        rates: with derivatives in time, where they are known.
    """
    # of patches that overlap pixels are scored, which are not as many as there are patches
    mixed = datamodule.scored(torch.zeros(1, 1, datamodule.channels)).shape[1] != 1
    for b in range(len(batch.index)):
        values = datamodule.scored_truth("test", first + b)[None]
        known = ~values.isnan().any(-1)
        asked = len(datamodule.truth("test", first + b).coords) if mixed else values.shape[1]
        own = (slice(b, b + 1), slice(asked))  # the rest is padding
        mask, coords = batch.target.mask[own], batch.target.coords[own]
        if mixed:
            mask, coords = _mix(datamodule, mask, coords)
        slopes = datamodule.rates("test", first + b) if rates and not mixed else None
        yield Truth(values, mask & known, known, coords, batch.frames, asked, None if slopes is None else slopes[None])


def _mix(datamodule: FieldDataModule, mask: Tensor, coords: Tensor) -> tuple[Tensor, Tensor]:
    """Return mask (1, Q) and times (1, Q, 1) of what `scored` makes of several points of a frame.

    It counts if all of those points were asked for: then no mean of zeros and ones has a one in it.
    """
    given = datamodule.scored((~mask)[..., None].expand(-1, -1, datamodule.channels).float())
    times = coords[0, :, 0].unique_consecutive()
    return given.abs().amax(-1) == 0, times.repeat_interleave(given.shape[1] // len(times))[None, :, None]


def periods_of(datamodule: FieldDataModule) -> list[float | None]:
    """Return d normalised periods, None for an axis without: an axis is scaled by half its length."""
    return [2.0 if periodic else None for periodic in datamodule.periodic]


@contextmanager
def _timed(board: Scoreboard) -> Iterator[None]:
    began = time.perf_counter()
    yield
    board.seconds += time.perf_counter() - began


def _best(values: Sequence[float], ideal: float) -> int | None:
    """Return the position of the value closest to the ideal, infinite for "the more", or None if there is none."""
    if math.isinf(ideal):
        finite = [value * -math.copysign(1, ideal) if math.isfinite(value) else math.inf for value in values]
        return None if min(finite, default=math.inf) == math.inf else int(np.argmin(finite))
    distances = [abs(value - ideal) if math.isfinite(value) else math.inf for value in values]
    return None if min(distances, default=math.inf) == math.inf else int(np.argmin(distances))


def _cell(value: float, best: bool) -> str:
    if not math.isfinite(value):
        return "-"
    text = f"{value:.4f}" if 0.1 <= abs(value) < 100 else f"{value:.2e}"
    return f"[bold]{text}[/bold]" if best else text


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
