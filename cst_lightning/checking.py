"""Everything `cst-fit` would trip over, found in seconds: settings, data, a few steps, and how long all will take."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from cst_lightning import callbacks, fitting
from cst_lightning.datamodules.base import FieldDataModule, Split
from cst_lightning.datamodules.blend import BlendedPatches
from cst_lightning.datamodules.samples import Sample
from cst_lightning.datamodules.suggestions import step_seconds
from cst_lightning.datamodules.tokens import Patches
from cst_lightning.datamodules.trajectories import Trajectory
from cst_lightning.datamodules.windows import WindowedDataModule
from cst_lightning.errors import DivergenceError
from cst_lightning.inspection import size_text
from cst_lightning.module import CSTModule, check_precision
from cst_lightning.settings import FitCLI
from cst_lightning.usage import UsageError, one_line

# Samples of a split that are looked at, and batches that are run; the first one warms up.
_SAMPLES = 16
_BATCHES = 3
# Seconds that a rehearsal may take as estimated; what takes longer is not tried.
_PATIENCE = 12.0
# What is worth a warning.
_FEW = 10
_QUESTIONS = 200
_MANY = 4096
_SHARE = 0.1

Range = tuple[int, int]


class Part(NamedTuple):
    """What the samples of one split are made of; ranges over those that were looked at.

    Attributes:
        name: of the split.
        samples: how many there are.
        observed: points of a sample that are observed.
        context: points that are shown.
        target: points that are asked for and count.
        dummies: points of the Sobolev term.
    """

    name: Split
    samples: int
    observed: Range
    context: Range
    target: Range
    dummies: Range


class Report(NamedTuple):
    """What `check` found.

    Attributes:
        parts: one a split.
        parameters: of the model.
        epochs: of the training; None if there is no end.
        batches: of an epoch, on each device.
        step: seconds a training batch, without the first one.
        validation: seconds a validation batch; NaN if there is none.
        seconds: of the whole training, about; None if there is no end.
        memory: bytes at the peak, of the accelerator if there is one, else of this process; None if nobody knows.
        chosen: settings that were derived from the data, and why.
        warnings: what will work and may not be meant.
        notes: what was assumed because the file does not say it.
        tried: whether batches were run; else their time is estimated.
    """

    parts: tuple[Part, ...]
    parameters: int
    epochs: int | None
    batches: int
    step: float
    validation: float
    seconds: float | None
    memory: int | None
    chosen: tuple[str, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()
    tried: bool = True

    def text(self) -> str:
        """Return the report as lines for a person."""
        lines = [f"{'split':<6}{'samples':>9}{'observed':>14}{'context':>14}{'target':>14}{'dummies':>9}"]
        for part in self.parts:
            ranges = (part.observed, part.context, part.target)
            cells = "".join(f"{_range(pair):>14}" for pair in ranges) if part.samples else f"{'-':>14}" * 3
            lines.append(f"{part.name:<6}{part.samples:>9}{cells}{_range(part.dummies) if part.samples else '-':>9}")
        lines += ["", f"model     {self.parameters:,} parameters"]
        validated = "" if math.isnan(self.validation) else f", {_duration(self.validation)} a validation batch"
        told = "" if self.tried else ", estimated, too slow to try"
        lines.append(f"speed     {_duration(self.step)} a training batch of {self.batches} an epoch{validated}{told}")
        if self.seconds is None:
            lines.append("training  without end: neither trainer.max_epochs nor trainer.max_steps is set")
        else:
            lines.append(f"training  about {_duration(self.seconds)} for {self.epochs} epochs")
        if self.memory is not None:
            lines.append(f"memory    {size_text(self.memory)} at the peak")
        lines += [f"chosen    {line}" for line in self.chosen]
        lines += [f"note      {line}" for line in self.notes]
        lines += [f"warning   {line}" for line in self.warnings]
        return "\n".join(lines)


def check(arguments: Sequence[str]) -> Report:
    """Do what `cst-fit` does with these arguments up to the third step, and write nothing but cached data.

    One device is used, whatever the settings say; the time is divided by their number of devices.

    Args:
        arguments: as of `cst-fit`.

    Raises:
        UsageError: `cst-fit` would fail.
    """
    with fitting.quiet(), fitting.user_errors(), _explained():
        cli = FitCLI(arguments)
        if isinstance(cli.model, CSTModule):
            check_precision(cli.trainer.precision)
        fitting._checkpoint(cli)
        _check_folder(cli.folder)
        cli.parser.dump(cli.config)  # a run keeps its settings
        fitting._set_up_data(cli)
        cli.datamodule.setup("test")
        parts, warnings = _look(cli.datamodule)
        cost = _cost(cli, parts)
        many = _BATCHES if cost is None else min(_BATCHES, int(_PATIENCE / cost.total))
        clock: Timing = _rehearse(cli, many) if many or cost is None else cost
        batches, epochs, seconds = _estimate(cli, clock)
    warnings += _of_settings(cli, parts)
    if cost is not None and not many:
        warnings.append(_too_large(cli, parts, cost))
    return Report(
        parts,
        sum(parameter.numel() for parameter in cli.model.parameters()),
        epochs,
        batches,
        clock.step,
        clock.validation,
        seconds,
        _peak(clock.device),
        tuple(cli.reasons),
        tuple(warnings),
        tuple(dict.fromkeys(getattr(getattr(cli.datamodule, "recordings", None), "notes", ()))),
        bool(many),
    )


class Timing(Protocol):
    """Seconds that batches take, measured or estimated."""

    @property
    def step(self) -> float:
        """Of training."""

    @property
    def validation(self) -> float:
        """Of validation; NaN if there is none."""

    @property
    def device(self) -> torch.device:
        """On which they run."""


class Cost(NamedTuple):
    """An estimate of `Timing`."""

    step: float
    validation: float
    device: torch.device

    @property
    def total(self) -> float:
        """Seconds of one batch of either."""
        return self.step + (0.0 if math.isnan(self.validation) else self.validation)


class Clock(Callback):
    """Measures batches.

    Attributes:
        device: what the model was on.
    """

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self._seconds: dict[str, list[float]] = {"train": [], "val": []}
        self._began = 0.0

    @property
    def step(self) -> float:
        """Median seconds a training batch; the first one, which warms up, counts only if it is alone."""
        return _median(self._seconds["train"])

    @property
    def validation(self) -> float:
        """The same of a validation batch."""
        return _median(self._seconds["val"])

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Start."""
        self.device = pl_module.device
        self._began = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop; loading the batch is in none of these, as workers do it meanwhile."""
        self._stop("train")

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Start."""
        self._began = time.perf_counter()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Stop."""
        self._stop("val")

    def _stop(self, name: str) -> None:
        if self.device.type == "cuda":  # which works on behind our back
            torch.cuda.synchronize(self.device)
        self._seconds[name].append(time.perf_counter() - self._began)


class _Seen:
    """What the looked-at samples of a split have in common, gathered one at a time."""

    def __init__(self, data: FieldDataModule) -> None:
        self.open = ~np.array(data.periodic)  # axes that have an outside
        self.counts: dict[str, list[int]] = {name: [] for name in ("observed", "context", "target", "dummies")}
        self.low, self.high = np.full(data.channels, np.inf), np.full(data.channels, -np.inf)
        self.missing = self.lost = self.values = self.points = 0
        self.asked = 0
        self.outside = self.beyond = self.reach = 0.0
        self.fewest = (sys.maxsize, 0)

    def add(self, sample: Sample, truth: Trajectory, observed: np.ndarray) -> None:
        """Add one sample."""
        values, nan = truth.seen[torch.from_numpy(observed)].numpy(), truth.seen.isnan()
        for name, count in (
            ("observed", len(observed)),
            ("context", int(sample.context.mask.sum())),
            ("target", int(sample.target.mask.sum())),
            ("dummies", len(sample.dummies)),
        ):
            self.counts[name].append(count)
        self.asked += int(sample.target.mask.sum())
        self.fewest = min(self.fewest, (len(observed), int(sample.index)))
        if len(values):
            self.low, self.high = np.minimum(self.low, values.min(0)), np.maximum(self.high, values.max(0))
        if truth.observed is None:  # else NaN is what training must not see
            self.missing, self.values = self.missing + int(nan.sum()), self.values + nan.numel()
            partly = nan.any(-1) & ~nan.all(-1)
            self.lost, self.points = self.lost + int(partly.sum()), self.points + len(nan)
        places = truth.coords.numpy()[observed]
        if len(places) and len(sample.dummies):
            dummies = sample.dummies.numpy()
            out = ((dummies < places.min(0)) | (dummies > places.max(0))) & self.open
            self.outside += float(out.any(-1).mean())
        self._ask(sample.context.coords[sample.context.mask], sample.target.coords[sample.target.mask])

    def _ask(self, shown: Tensor, asked: Tensor) -> None:
        if len(shown) and len(asked) and self.open[0]:
            after = asked[:, 0] - shown[:, 0].max()
            self.beyond += float((after > 0).double().mean())
            self.reach = max(self.reach, float(after.max()))

    def range(self, name: str) -> Range:
        """Return the smallest and the largest count."""
        counts = self.counts[name] or [0]
        return min(counts), max(counts)

    @property
    def number(self) -> int:
        """Samples that were added."""
        return len(self.counts["observed"])


def _look(data: FieldDataModule) -> tuple[tuple[Part, ...], list[str]]:
    """Draw samples of every split; return what they are made of, and what is odd about them."""
    parts: list[Part] = []
    warnings: list[str] = []
    for split in ("train", "val", "test"):
        seen, size = _Seen(data), data.size(split)
        for i in np.unique(np.linspace(0, size - 1, min(size, _SAMPLES)).astype(int)) if size else ():
            sample, truth = data.sample(split, int(i)), data.truth(split, int(i))
            seen.add(sample, truth, data.observation.positions(truth, sample.index))
        counts = (seen.range(name) for name in ("observed", "context", "target", "dummies"))
        parts.append(Part(split, size, *counts))
        if size:
            warnings += _odd(split, seen, data.observation.scheme == "tail")
            warnings += _few_questions(data, split, seen, size)
    return tuple(parts), warnings


def _few_questions(data: FieldDataModule, split: Split, seen: _Seen, size: int) -> Iterator[str]:
    """Yield that a split asks for too little to tell good weights from bad ones."""
    numbers = data.scored(torch.zeros(1, data.channels)).shape[-1]
    asked = round(seen.asked * numbers * size / seen.number)
    if split == "train" or asked >= _QUESTIONS:
        return
    options = [] if split == "test" or data.val_sites is None else ["data.val_sites"]
    within = getattr(data, "divide", None) == "within"
    options.append("data.observed" if within and split == "val" else f"data.{split}")
    yield (
        f"{split}: about {asked} numbers are asked for in all, too few to tell good from bad; "
        f"a larger {' or '.join(options)} gives more"
    )


def _odd(split: Split, seen: _Seen, forecast: bool) -> Iterator[str]:
    """Yield what is odd about a split; that a forecast comes after the last observation is not."""
    fewest, index = seen.fewest
    if fewest < _FEW:
        yield f"{split}: sample {index} has {fewest} observed points, which say little about a field"
    if seen.missing and split == "train":
        yield f"{split}: {_percent(seen.missing / seen.values)} of the values are NaN, taken as unobserved"
    if seen.lost > _SHARE * seen.points:
        share = _percent(seen.lost / seen.points)
        yield f"{split}: {share} of the points are lost because some of their channels are NaN and others are not"
    constant = np.flatnonzero(seen.low == seen.high)
    if len(constant) and split == "train":
        names = ", ".join(map(str, constant[:8])) + (", ..." if len(constant) > 8 else "")
        yield f"{split}: {len(constant)} of {len(seen.low)} channels are constant: {names}"
    outside, beyond = seen.outside / seen.number, seen.beyond / seen.number
    if outside > _SHARE and split == "train":
        yield (
            f"{split}: {_percent(outside)} of the dummies lie outside the range of their sample's observations; "
            "data.dummy_domain hull or data.keep_ends true brings them inside"
        )
    if beyond > _SHARE and split == "test" and not forecast:
        yield (
            f"{split}: {_percent(beyond)} of the questions come after the last observation, by up to {seen.reach:.4g}: "
            "a forecast, not an interpolation"
        )


def _of_settings(cli: FitCLI, parts: Sequence[Part]) -> list[str]:
    """Return what is odd about the settings."""
    sizes = {part.name: part.samples for part in parts}
    most = max(part.context[1] for part in parts)
    found = []
    if not sizes["val"]:
        found.append("val: no samples, so that no weights are chosen and no reference is tuned")
    if most > _MANY and not getattr(cli.model, "hparams", {}).get("latents"):
        found.append(
            f"a context of {most} points attends to itself at quadratic cost; model.latents 256 makes it linear"
        )
    return found


def _check_folder(folder: Path) -> None:
    """Say if a run could not be written; nothing is created to find out."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise UsageError(f"{folder}: expected a folder that can be written to, found {place}")


def _cost(cli: FitCLI, parts: Sequence[Part]) -> Cost | None:
    """Estimate the batches from what was looked at, before any is run; None for models that are not ours.

    On an accelerator the estimate of one thread says nothing but that it takes far less.
    """
    if not isinstance(cli.model, CSTModule):
        return None
    device = cli.trainer.strategy.root_device
    speed = torch.get_num_threads() if device.type == "cpu" else 100
    own = cli.model.hparams
    train, val = parts[0], parts[1]
    sizes = {"width": own["width"], "depth": own["depth"], "order": own["order"], "latents": own["latents"]}
    batches = (min(cli.datamodule.batch_size, train.samples), min(cli.datamodule.eval_batch_size, val.samples))
    step = step_seconds(batches[0], train.context[1], train.target[1], train.dummies[1], **sizes)
    asked = _asked(cli.datamodule)
    validation = step_seconds(batches[1], val.context[1], asked, 0, **sizes, training=False) if asked else math.nan
    return Cost(step / speed, validation / speed, device)


def _asked(data: FieldDataModule) -> int:
    """Return at how many places and times a validation sample is predicted, whether it is scored there or not."""
    return len(data.sample("val", 0).target.mask) if data.size("val") else 0


def _too_large(cli: FitCLI, parts: Sequence[Part], cost: Cost) -> str:
    """Say what makes batches take so long, and which setting makes them faster."""
    data, train = cli.datamodule, parts[0]
    options = []
    if cost.validation > cost.step and getattr(data, "val_sites", None) is None and data.grid is not None:
        options.append("data.val_sites 64")
    if max(train.context[1], parts[1].context[1]) > _MANY and not cli.model.hparams.get("latents"):
        options.append("model.latents 256")
    if isinstance(data, WindowedDataModule):
        options.append(f"a smaller data.window than {data.window or 'all frames'}")
        if data.dimension > 2 and not isinstance(data.tokens, (Patches, BlendedPatches)):
            options.append("data.tokens patches")
    if data.observation.scheme == "points":
        options.append("a smaller data.observed")
    if max(data.batch_size, data.eval_batch_size) > 1:
        options.append("smaller batches (data.batch_size, data.eval_batch_size)")
    asked = max(train.target[1], _asked(data))
    return (
        f"about {_duration(cost.total)} a batch for {max(parts[0].context[1], parts[1].context[1]):,} points that are "
        f"shown and {asked:,} that are asked for; "
        f"{', or '.join(options) or 'a smaller model.width'} makes it faster"
    )


def _rehearse(cli: FitCLI, batches: int = _BATCHES) -> Clock:
    """Train and validate on a few batches with what the settings ask for, less all that writes."""
    clock = Clock()
    scoring = (callbacks.InterpolationCallback, callbacks.SmoothnessCallback)
    options: dict[str, Any] = {
        "fast_dev_run": batches,
        "callbacks": [clock, *(c for c in cli.trainer.callbacks if type(c) in scoring)],  # type: ignore[attr-defined]
        "logger": False,
        "profiler": None,
        "enable_progress_bar": False,
    }
    if cli.trainer.world_size > 1:
        options |= {"devices": 1, "num_nodes": 1, "strategy": "auto"}
    trainer = cli.instantiate_trainer(**options)
    if not cli.datamodule.size("val"):
        trainer.limit_val_batches = 0
    try:
        trainer.fit(cli.model, cli.datamodule)
    except SystemExit as error:  # Lightning's answer to Ctrl-C
        raise KeyboardInterrupt from error
    return clock


def _estimate(cli: FitCLI, clock: Timing) -> tuple[int, int | None, float | None]:
    """Return batches an epoch, epochs, and seconds of the whole training."""
    data, trainer = cli.datamodule, cli.trainer
    world, rate = trainer.world_size, trainer.check_val_every_n_epoch or 1
    whole = data.size("train") // world / data.batch_size  # what would give one process more than another is dropped
    batches = math.floor(whole) if data.drop_last and whole >= 1 else math.ceil(whole)
    batches = _limited(batches, trainer.limit_train_batches)
    val = _limited(math.ceil(data.size("val") / data.eval_batch_size / world), trainer.limit_val_batches)
    epochs = trainer.max_epochs if trainer.max_epochs is not None and trainer.max_epochs >= 0 else None
    if trainer.max_steps >= 0:
        wanted = math.ceil(trainer.max_steps * trainer.accumulate_grad_batches / max(batches, 1))
        epochs = wanted if epochs is None else min(epochs, wanted)
    if epochs is None:
        return batches, None, None
    scoring = 0.0 if math.isnan(clock.validation) else clock.validation * val * math.ceil(epochs / rate)
    return batches, epochs, epochs * batches * clock.step + scoring


def _limited(batches: int, limit: int | float | None) -> int:
    """Return how many batches are run of all under a trainer's limit, a count or a fraction."""
    if limit is None:
        return batches
    return min(batches, limit) if isinstance(limit, int) else int(batches * limit)


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what training raises on settings that cannot work into one line."""
    try:
        yield
    except DivergenceError as error:
        raise UsageError(f"{one_line(str(error))}: look at the data's range, or lower model.lr") from error
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise UsageError(
            f"not enough memory ({one_line(str(error))}): lower data.batch_size or data.observed"
        ) from error
    except Exception as error:  # what a loader's worker raised comes with its whole traceback in the message
        if not str(error).startswith("Caught "):
            raise
        last = str(error).strip().splitlines()[-1]
        raise UsageError(last.partition("Error: ")[2] or last) from error


def _peak(device: torch.device) -> int | None:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # the same field, in bytes there and in KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _median(seconds: Sequence[float]) -> float:
    return float(np.median(seconds[1:] or seconds)) if seconds else math.nan


def _range(pair: Range) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}-{pair[1]}"


def _duration(seconds: float) -> str:
    """Return a time for a person."""
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    for unit, size in (("s", 60), ("min", 60), ("h", 24)):
        if seconds < size:
            return f"{seconds:.3g} {unit}"
        seconds /= size
    return f"{seconds:.3g} days"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"
