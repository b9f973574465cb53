"""How long training takes: batches measured, or estimated before any is run, and what makes them faster."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from cst_lightning import callbacks
from cst_lightning.datamodules.base import FieldDataModule
from cst_lightning.datamodules.blend import BlendedPatches
from cst_lightning.datamodules.suggestions import step_seconds
from cst_lightning.datamodules.tokens import Patches
from cst_lightning.datamodules.windows import WindowedDataModule
from cst_lightning.looking import Part
from cst_lightning.module import CSTModule
from cst_lightning.settings import FitCLI

#: Points of a context beyond which attention among them should go through latents.
MANY = 4096
#: Batches that are run; the first one warms up.
BATCHES = 3


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


def cost(cli: FitCLI, parts: Sequence[Part]) -> Cost | None:
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
    used = cli.model.network.joint or (own["mu"] and own["order"])
    dummies = train.dummies[1] if used else 0
    step = step_seconds(batches[0], train.context[1], train.target[1], dummies, **sizes)
    asked = _asked(cli.datamodule)
    validation = step_seconds(batches[1], val.context[1], asked, 0, **sizes, training=False) if asked else math.nan
    return Cost(step / speed, validation / speed, device)


def _asked(data: FieldDataModule) -> int:
    """Return at how many places and times a validation sample is predicted, whether it is scored there or not."""
    return len(data.sample("val", 0).target.mask) if data.size("val") else 0


def too_large(cli: FitCLI, parts: Sequence[Part], cost: Cost) -> str:
    """Say what makes batches take so long, and which setting makes them faster."""
    data, train = cli.datamodule, parts[0]
    options = []
    if cost.validation > cost.step and getattr(data, "val_sites", None) is None and data.grid is not None:
        options.append("data.val_sites 64")
    if max(train.context[1], parts[1].context[1]) > MANY and not cli.model.hparams.get("latents"):
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
        f"about {duration(cost.total)} a batch for {max(parts[0].context[1], parts[1].context[1]):,} points that are "
        f"shown and {asked:,} that are asked for; "
        f"{', or '.join(options) or 'a smaller model.width'} makes it faster"
    )


def rehearse(cli: FitCLI, batches: int = BATCHES) -> Clock:
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


def estimate(cli: FitCLI, clock: Timing) -> tuple[int, int | None, float | None]:
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


def _median(seconds: Sequence[float]) -> float:
    return float(np.median(seconds[1:] or seconds)) if seconds else math.nan


def duration(seconds: float) -> str:
    """Return a time for a person."""
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    for unit, size in (("s", 60), ("min", 60), ("h", 24)):
        if seconds < size:
            return f"{seconds:.3g} {unit}"
        seconds /= size
    return f"{seconds:.3g} days"
