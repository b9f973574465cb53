"""What every trained model of the comparison shares: units, optimisation, divergence, checkpoints, the four steps."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Literal, cast

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from cst_lightning import optimizers
from cst_lightning.errors import DivergenceError, check_ranges
from cst_lightning.points import Batch, Normalization, axis_names
from cst_lightning.randomness import sample_keys
from cst_lightning.sobolev import LossTerms, SobolevLoss

ROUNDING_PRECISIONS = ("bf16-true", "16-true", "transformer-engine", "transformer-engine-float16")


def check_precision(precision: str | int | None) -> None:
    """Refuse a trainer's precision in which Lightning rounds every input before the module sees it.

    Raises:
        ValueError: coordinates would lose their precision.
    """
    if precision in ROUNDING_PRECISIONS:
        raise ValueError(
            f"trainer.precision is {precision!r}, which rounds coordinates to 8 or 11 bits, expected 'bf16-mixed', "
            "'16-mixed', '32-true' or '64-true'"
        )


def called(kind: type[LightningModule]) -> str:
    """Return what a model is called in tables and figures: the `label` of its class, or its name without "Module".

    Example:
        >>> called(type("ConvGRUModule", (LightningModule,), {}))
        'ConvGRU'
    """
    # a subclass is another model, and does not inherit the label
    return str(vars(kind).get("label") or kind.__name__.removesuffix("Module") or kind.__name__)


class FieldModule(LightningModule, ABC):
    """Train a model that answers at a batch's targets; a subclass says how (`predict`).

    Batches arrive in physical units (see `Batch`) and are normalised here, before they are moved to the device; the
    statistics come from the trainer's datamodule if it has any, and travel in the checkpoint. A subclass puts what is
    trained into `network`. Its loss is the mean of ``|prediction - value|^p`` over real targets and channels, in
    normalised units, unless it has `terms` of its own.

    Args:
        dimension: d, coordinates time first.
        channels: c.
        periodic: whether each axis repeats; none by default.
        p: exponent of the loss.
        lr: peak learning rate.
        weight_decay: decoupled, on matrices.
        warmup: part of all steps over which the learning rate rises.
        clip: largest gradient norm; 0 for none.
        optimizer: `muon` (with AdamW where Muon does not apply) or `adamw`.
        ema: decay of an exponential average of the weights, which is then evaluated and saved; 0 for none.
        compile: compile the loss with torch.compile.
        seed: seeds what is random in a training step.
        correction: what the network adds to its initialiser is measured in: `unit`, the spread of the values, or
            `error`, the initialiser's root mean square error in the first batch, for one that is nearly right.
    """

    network: nn.Module

    def __init__(
        self,
        dimension: int,
        channels: int,
        periodic: list[bool] | tuple[bool, ...] | None = None,
        p: float = 2.0,
        lr: float = 3e-3,
        weight_decay: float = 1e-2,
        warmup: float = 0.05,
        clip: float = 1.0,
        optimizer: Literal["muon", "adamw"] = "muon",
        ema: float = 0.0,
        compile: bool = False,  # noqa: A002 - the word that a user of torch expects
        seed: int = 0,
        correction: Literal["unit", "error"] = "unit",
    ) -> None:
        super().__init__()
        if correction not in ("unit", "error"):
            raise ValueError(f"correction is {correction!r}, expected 'unit' or 'error'")
        check_ranges(
            dimension=(dimension, 1, math.inf), channels=(channels, 1, math.inf), lr=(lr, 0, math.inf),
            weight_decay=(weight_decay, 0, math.inf), warmup=(warmup, 0, 1), clip=(clip, 0, math.inf),
            seed=(seed, 0, math.inf),
        )  # fmt: skip
        if not 0 <= ema < 1:
            raise ValueError(f"ema is {ema}, expected 0 <= ema < 1")
        periodic = (False,) * dimension if periodic is None else tuple(periodic)
        if len(periodic) != dimension:
            raise ValueError(f"periodic has {len(periodic)} entries, expected one for each of {dimension} axes")
        self.save_hyperparameters()  # those of the subclass too: Lightning looks through the calling constructors
        self.periodic = periodic
        self.loss = SobolevLoss(0, p, 0.0)
        self._sizes = (dimension, channels)
        self.normalization = Normalization.identity(dimension, channels)
        self.axis_names = axis_names(dimension)
        self._step = self.terms

    @abstractmethod
    def predict(self, batch: Batch) -> Tensor:
        """Return predictions (B, Q, c) at a normalised batch's targets, normalised units, whatever Q is."""

    def initial(self, batch: Batch) -> Tensor | None:
        """Return what the model starts from at the targets, (B, Q, c) normalised, or None if it starts from nothing."""
        return None

    def lesson(self, batch: Batch) -> Batch:
        """Return what a training step learns from, of the normalised batch that the data module gives."""
        return batch

    def terms(self, batch: Batch, keys: Tensor, count: Tensor | None = None) -> LossTerms:
        """Return the loss of a normalised batch.

        Args:
            batch: normalised.
            keys: (B,) of `randomness.sample_keys`, for what is random.
            count: divides the sum over targets instead of their number; see `SobolevLoss`.
        """
        fit = self.loss.fit(self.predict(batch), batch.target.values, batch.target.mask, count)
        return LossTerms(fit, fit, fit.new_zeros(()))

    def setup(self, stage: str) -> None:
        """Refuse precisions that round coordinates; take the training statistics over from the datamodule.

        Raises:
            ValueError: the trainer's precision keeps inputs in half precision, or there is no `correction` to measure.
        """
        check_precision(self.trainer.precision)
        self.check_correction()
        found = getattr(getattr(self.trainer, "datamodule", None), "normalization", None)
        if stage == "fit" and found is not None:
            self.normalization = found
            self.axis_names = getattr(self.trainer.datamodule, "axis_names", self.axis_names)  # type: ignore[attr-defined]
        elif stage == "fit" and self.normalization == Normalization.identity(*self._sizes):
            rank_zero_warn(
                "there is no datamodule to take units from: coordinates should lie in [-1, 1], values near 1"
            )
        if self.hparams["compile"] and stage == "fit":
            self._step = torch.compile(self.terms)

    def check_correction(self) -> None:
        """Refuse `correction: error` where nothing is corrected.

        Raises:
            ValueError: the network adds to no initialiser.
        """
        if self.hparams["correction"] == "error" and not getattr(self.network, "residual", False):
            raise ValueError("correction is 'error', expected 'unit' for a network that adds to no initialiser")

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Normalise where coordinates still are float64, which not every device has."""
        return self.normalization.batch(batch, next(self.network.parameters()).dtype)

    def forward(self, batch: Batch) -> Tensor:
        """Do what `predict` does."""
        return self.predict(batch)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute the loss of one batch.

        Raises:
            DivergenceError: a term of the loss is NaN or infinite.
        """
        if self.hparams["correction"] == "error" and self.global_step == 0 and batch_idx == 0:
            self._match_gain(batch)  # here and not in a hook of its own: parameters may be sharded outside of steps
        given, batch = batch, self.lesson(batch)
        keys = sample_keys(self.hparams["seed"], self.current_epoch, batch.index)
        # Processes average their gradients: dividing by their mean count makes that the gradient of the whole batch's
        # mean.
        count = self.trainer.strategy.reduce(batch.target.mask.sum().to(batch.target.values.dtype), reduce_op="mean")
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            # Dropout draws from the device's generator: seeded by the step, so that a resumed run repeats it.
            # torch.manual_seed takes down where it was called for devices that are not there, at 2 ms a call.
            seed = hash((self.hparams["seed"], self.current_epoch, batch_idx, self.global_rank)) & 0x7FFFFFFF
            torch.default_generator.manual_seed(seed)
            if self.device.type != "cpu":
                torch.get_device_module(self.device).manual_seed(seed)
            terms = self._step(batch, keys, count)
        self._stop_if_diverged(terms, given, batch_idx)
        names = {"train/loss": terms.loss, "train/fit": terms.fit, "train/sobolev": terms.sobolev}
        self.log_dict(names, prog_bar=True, batch_size=len(given.index))
        return terms.loss

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Predict a batch; callbacks score it. All returned values are in physical units."""
        return self._evaluate(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Predict a batch; callbacks score it. All returned values are in physical units."""
        return self._evaluate(batch)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return predictions (B, Q, c) at the batch's targets, physical units."""
        return self.normalization.values_back(self(batch))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimiser and a schedule over all steps of the run: linear warm-up, then half a cosine."""
        optimizer = optimizers.build(
            self.network, self.hparams["optimizer"], self.hparams["lr"], self.hparams["weight_decay"]
        )
        steps = self.planned_steps
        factor = optimizers.warmup_cosine(round(self.hparams["warmup"] * steps), steps)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @property
    def planned_steps(self) -> int:
        """Steps of the learning rate's schedule."""
        total = self.trainer.estimated_stepping_batches
        return int(total) if 0 < total < math.inf else 10_000

    @property
    def progress(self) -> float:
        """How far the schedule is, from 0 to 1; it follows the clock where a benchmark's budget does."""
        scheduler = cast(LRScheduler, self.lr_schedulers())
        return min(1.0, scheduler.last_epoch / self.planned_steps)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by norm; the trainer's own setting wins over `clip`.

        Raises:
            DivergenceError: a gradient is NaN or infinite; the weights are still those of the step before.
        """
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None  # which skips such steps by itself
        if not scaled and not torch.nn.utils.get_total_norm(gradients).isfinite():
            raise DivergenceError(f"a gradient is not finite at step {self.global_step} of epoch {self.current_epoch}")
        value = gradient_clip_val if gradient_clip_val is not None else self.hparams["clip"]
        if value:
            self.clip_gradients(optimizer, value, gradient_clip_algorithm or "norm")

    def configure_callbacks(self) -> list[Callback]:
        """Bring Lightning's weight averaging along if `ema` asks for it."""
        return [EMAWeightAveraging(decay=self.hparams["ema"])] if self.hparams["ema"] else []

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store units and names as plain lists, which load without unpickling."""
        checkpoint["axis_names"] = list(self.axis_names)
        checkpoint["normalization"] = {name: list(part) for name, part in self.normalization._asdict().items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Read units and names back."""
        self.axis_names = tuple(checkpoint.get("axis_names", self.axis_names))
        parts = checkpoint["normalization"]
        self.normalization = Normalization(**{name: tuple(part) for name, part in parts.items()})

    @torch.no_grad()
    def _match_gain(self, batch: Batch) -> None:
        """Set the network's gain (c,) to the initialiser's root mean square error over a batch of each process.

        Steps of Muon and AdamW do not shrink with the gradient. Where the initialiser is right to 1 %, an output in
        units of the values first adds errors far larger than those that it is there to mend, and has to come back.
        """
        prediction, initial = self._answers(batch)
        assert initial is not None
        real = batch.target.mask[..., None]
        error = torch.where(real, initial - batch.target.values, 0).float().square().sum((0, 1))
        trained = ~torch.isclose(prediction, initial).all()  # weights that were loaded keep their meaning
        found = torch.cat([error, real.sum().to(error)[None], trained.to(error)[None]])
        *total, count, trained = self.trainer.strategy.reduce(found, reduce_op="sum").unbind()
        if not trained:
            size = (torch.stack(total) / count.clamp_min(1)).sqrt()
            # never larger than without this, and never 0, of which no network would come back: where nothing is
            # wrong, as when all targets are shown, the first batch does not tell what will be
            gain = self.network.get_buffer("gain")
            gain.copy_(torch.where(size > 0, size.clamp(1e-4, 1), 1))

    def _answers(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Return what `predict` and `initial` do; together where they share work."""
        return self.predict(batch), self.initial(batch)

    def _evaluate(self, batch: Batch) -> dict[str, Any]:
        back, coords = self.normalization.values_back, batch.target.coords
        prediction, initial = self._answers(batch)
        found = {
            "prediction": back(prediction),
            "target": back(batch.target.values),
            "mask": batch.target.mask,
            "frames": batch.frames,
            "coords": self.normalization.coords_back(coords) if coords.device.type != "mps" else coords,
        }
        return found if initial is None else {**found, "initialiser": back(initial)}

    def _stop_if_diverged(self, terms: LossTerms, batch: Batch, batch_idx: int) -> None:
        """Raise in every process if one has met a loss that is not finite: one that went on would wait for ever."""
        bad = ~terms.loss.detach().isfinite()
        if not self.trainer.strategy.reduce(bad.to(torch.float32), reduce_op="sum"):
            return
        names = [name for name in ("fit", "sobolev") if not getattr(terms, name).isfinite()]
        found = ", ".join(f"{name} = {getattr(terms, name).item()}" for name in names) or "fit + mu * sobolev overflows"
        message = f"{found} in batch {batch_idx} of epoch {self.current_epoch} (samples {batch.index.tolist()})"
        messages: list[str | None] = [message if bad else None]
        if self.trainer.world_size > 1:
            messages *= self.trainer.world_size
            torch.distributed.all_gather_object(messages, message if bad else None)
        told = "; ".join(text for text in messages if text)
        raise DivergenceError(f"the loss is not finite: {told}")
