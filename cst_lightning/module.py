"""The continuous spatiotemporal transformer as a LightningModule: its training step computes the Sobolev loss."""

from __future__ import annotations

import math
from typing import Any, Literal, cast

from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from torch import Tensor
from torch.utils.data import DataLoader

from cst_lightning.columns import ColumnNetwork
from cst_lightning.errors import DivergenceError, check_ranges
from cst_lightning.field import Array, Field, ObservedField
from cst_lightning.field_module import ROUNDING_PRECISIONS, FieldModule, check_precision
from cst_lightning.network import CSTNetwork
from cst_lightning.points import Batch
from cst_lightning.randomness import sample_keys
from cst_lightning.self_training import Teacher
from cst_lightning.sobolev import LossTerms, SobolevLoss

__all__ = ["ROUNDING_PRECISIONS", "CSTModule", "DivergenceError", "check_precision"]

#: They keep a part of the weights in each process.
SPLIT_STRATEGIES = (DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy)


class CSTModule(FieldModule):
    """Train a `CSTNetwork` on irregular observations with the Sobolev loss.

    Args:
        dimension: d, coordinates time first.
        channels: c.
        periodic: whether each axis repeats.
        order: k of the Sobolev term.
        p: exponent of both terms of the loss.
        mu: weight of the Sobolev term.
        directions: `all` multi-indices, or one `random` direction a dummy.
        lr: peak learning rate.
        weight_decay: decoupled, on matrices.
        warmup: part of all steps over which the learning rate rises.
        clip: largest gradient norm; 0 for none.
        optimizer: `muon` (with AdamW where Muon does not apply) or `adamw`.
        ema: decay of an exponential average of the weights, which is then evaluated and saved; 0 for none.
        compile: compile the training step with torch.compile.
        seed: seeds token noise, random directions and dropout.
        correction: `unit` or `error`, see `FieldModule`.
        self_training: part of the run, its last, in which the network also learns from what its own average says of the
            training samples, observed anew; see `cst_lightning.self_training`. For few samples; 0 for none.
        components: share of functional principal components in what the average says; along time only, and for curves
            without waves shorter than a seventh of it.
        reach: 0, or for whole frames on a grid: every place attends to its own times only, and its tokens hold what is
            around it, so many cells far; see `cst_lightning.columns`.
        answer_reach: with reach, how many cells far a place answers for those around it; as far as it reads if None.
        columns: with reach, places of a sample that a training step looks at, drawn at random; 0 for all.
        **network: the remaining arguments of `CSTNetwork`.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from cst_lightning import CSTModule
        >>> from cst_lightning.datamodules import SpiralsDataModule
        >>> data = SpiralsDataModule(train=8, val=2, test=2)
        >>> model = CSTModule(data.dimension, data.channels, width=16, depth=1, heads=2)
        >>> quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        >>> trainer = Trainer(max_epochs=1, enable_model_summary=False, **quiet)
        >>> trainer.fit(model, data)
    """

    network: CSTNetwork

    def __init__(
        self,
        dimension: int,
        channels: int,
        periodic: list[bool] | tuple[bool, ...] | None = None,
        order: int = 2,
        p: float = 2.0,
        mu: float = 1e-6,
        directions: Literal["all", "random"] = "all",
        lr: float = 3e-3,
        weight_decay: float = 1e-2,
        warmup: float = 0.05,
        clip: float = 1.0,
        optimizer: Literal["muon", "adamw"] = "muon",
        ema: float = 0.0,
        compile: bool = False,  # noqa: A002 - the word that a user of torch expects
        seed: int = 0,
        correction: Literal["unit", "error"] = "unit",
        self_training: float = 0.0,
        components: float = 0.0,
        reach: int = 0,
        answer_reach: int | None = None,
        columns: int = 0,
        **network: Any,
    ) -> None:
        super().__init__(
            dimension, channels, periodic, p, lr, weight_decay, warmup, clip, optimizer, ema, compile, seed,
            correction,
        )  # fmt: skip
        check_ranges(self_training=(self_training, 0, 1), components=(components, 0, 1), columns=(columns, 0, math.inf))
        if self_training and reach:
            raise ValueError(f"self_training is {self_training} and reach {reach}, expected one of them to be 0")
        if components and (dimension != 1 or not self_training):
            raise ValueError(
                f"components is {components}, expected 0 unless self_training is on (it is {self_training}) and time "
                f"is the only coordinate (there are {dimension})"
            )
        if answer_reach is not None and not reach:
            raise ValueError(f"answer_reach is {answer_reach}, expected none without reach")
        self._teacher: Teacher | None = None
        self._saved: dict[str, Any] | None = None
        if reach:
            self.network = ColumnNetwork(dimension, channels, periodic, reach, answer_reach, **network)
        else:
            self.network = CSTNetwork(dimension, channels, periodic, **network)
        self.loss = SobolevLoss(order, p, mu, directions)

    def predict(self, batch: Batch) -> Tensor:
        """Return predictions (B, Q, c) at a normalised batch's targets, normalised units, whatever Q is."""
        return self._answers(batch)[0]

    def field(self, coords: Array, values: Array) -> ObservedField:
        """Return the function through observations (N, d), (N, c), physical units; see `Field.observe`."""
        return Field.of(self).observe(coords, values)

    def terms(self, batch: Batch, keys: Tensor, count: Tensor | None = None) -> LossTerms:
        """Encode once, then read targets at order 0 and dummies at order k."""
        memory = self.network.encode(batch.context, batch.dummies, keys)
        prediction = self.network.query(memory, batch.target.coords, keys=keys)
        target = batch.target
        return self.loss(self.network, memory, prediction, target.values, target.mask, batch.dummies, keys, count)

    def setup(self, stage: str) -> None:
        """Do what `FieldModule` does, and refuse to average weights that no process has all of.

        Raises:
            ValueError: see `FieldModule.setup`; or the strategy splits the weights.
        """
        super().setup(stage)
        split = isinstance(self.trainer.strategy, SPLIT_STRATEGIES)
        if stage == "fit" and self.hparams["self_training"] and split:
            name = type(self.trainer.strategy).__name__
            raise ValueError(f"self_training needs whole weights in every process, expected it to be 0 with {name}")

    def on_train_start(self) -> None:
        """Begin to average the weights; let the teacher study all training samples, or go on where it was.

        Raises:
            DataError: there are too few training samples for principal components.
        """
        saved, self._saved = self._saved, None
        self._teacher = None
        if not self.hparams["self_training"]:
            return
        # not before: the network is on its device by now, in its precision
        self._teacher = Teacher(self.network, share=self.hparams["components"])
        self._teacher.followed = self.global_step
        if saved is not None and self.global_step > 0:  # else the weights were loaded for another run
            self._teacher.restore(saved)
        if self.hparams["components"] and self._teacher.components is None:
            # a loader of its own, in every process over all samples: that of the run may have begun, and holds a part
            loader = cast(DataLoader[Batch], self.trainer.train_dataloader)
            every = DataLoader(loader.dataset, loader.batch_size or 1, collate_fn=loader.collate_fn)
            batches = (self.on_before_batch_transfer(batch, 0) for batch in every)
            self._teacher.study(batches, 2.0 if self.periodic[0] else None)

    def lesson(self, batch: Batch) -> Batch:
        """Let the teacher follow, and add as many samples that it makes in the last part of the run; or take columns.

        Raises:
            ValueError: with reach, and the targets are not whole frames on a grid.
        """
        if isinstance(self.network, ColumnNetwork):
            keys = sample_keys(self.hparams["seed"], self.current_epoch, batch.index)
            return self.network.lesson(batch, keys, self.hparams["columns"])
        if self._teacher is None:
            return batch
        self._teacher.follow(self.network, self.global_step)  # not after a step: a checkpoint may be on its way then
        if self.progress < 1 - self.hparams["self_training"]:
            return batch
        return self._teacher.extend(batch)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store units, names, and the teacher."""
        super().on_save_checkpoint(checkpoint)
        if self._teacher is not None:
            checkpoint["teacher"] = self._teacher.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Read them back."""
        super().on_load_checkpoint(checkpoint)
        self._saved = checkpoint.get("teacher")

    def _answers(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return prediction and initialiser from one memory."""
        memory, coords = self.network.encode(batch.context, batch.dummies), batch.target.coords
        return self.network.ask(memory, coords), self.network.initial(memory, coords)
