"""What the scoring callbacks share: when to reset, what to count, when to log."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DistributedSampler
from torchmetrics import Metric

from cst_lightning.points import Batch

if TYPE_CHECKING:
    from cst_lightning.datamodules.trajectories import Trajectory


# What a step returns in the units of the values.
_IN_UNITS = {"prediction", "initialiser", "target"}


class ScoreCallback(Callback, ABC):
    """Feed metrics from what `validation_step` and `test_step` return, and log them once an epoch.

    A distributed sampler hands some samples out twice to give every process as many; those are counted once, so that a
    score does not depend on the number of processes. Scores are in units of the datamodule's `scale`, if it has one.
    """

    def __init__(self) -> None:
        self._metrics: dict[str, Metric] = {}
        self._seen = 0

    @abstractmethod
    def metrics(self, channels: int) -> dict[str, Metric]:
        """Return fresh metrics by name, the name without "val/" or "test/"."""

    @abstractmethod
    def score(self, metrics: Mapping[str, Metric], outputs: dict[str, Any], batch: Batch, truth: Truth) -> None:
        """Update the metrics with one batch.

        Args:
            metrics: what `metrics` returned, on the device of the outputs.
            outputs: what the step returned, less the repeated samples; predictions and target in units of `scale`.
            batch: the normalised batch, less the repeated samples.
            truth: finds the full truth of a sample, in units of `scale`.
        """

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the epoch before."""
        self._begin(trainer, pl_module)

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the epoch before."""
        self._begin(trainer, pl_module)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Count a validation batch."""
        self._update(trainer, trainer.val_dataloaders, outputs, batch)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Count a test batch."""
        self._update(trainer, trainer.test_dataloaders, outputs, batch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log "val/..."."""
        self._log(pl_module, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log "test/..."."""
        self._log(pl_module, "test")

    def _begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._metrics, self._seen = {}, 0
        channels = getattr(getattr(trainer, "datamodule", None), "channels", None)
        if channels is not None:  # also a process that gets no sample has to take part in the synchronisation
            self._make(channels, pl_module.device)

    def _make(self, channels: int, device: torch.device) -> None:
        self._metrics = {name: metric.to(device) for name, metric in self.metrics(channels).items()}

    def _update(self, trainer: Trainer, loader: Any, outputs: Any, batch: Any) -> None:
        if not isinstance(outputs, Mapping) or "prediction" not in outputs:
            return  # a module of the user's own, which returns something else
        size = len(outputs["prediction"])
        first = first_seen(getattr(loader, "sampler", None), self._seen, size).to(outputs["prediction"].device)
        self._seen += size
        kept = {name: x[first] if isinstance(x, Tensor) else x for name, x in outputs.items()}
        scale = float(getattr(getattr(trainer, "datamodule", None), "scale", 1.0))
        for name in _IN_UNITS & kept.keys():
            kept[name] = kept[name] / scale
        if not self._metrics:
            self._make(outputs["prediction"].shape[-1], outputs["prediction"].device)
        batch = batch._replace(index=batch.index[first.to(batch.index.device)]) if isinstance(batch, Batch) else batch
        self.score(self._metrics, kept, batch, Truth(loader, scale))

    def _log(self, pl_module: LightningModule, split: str) -> None:
        for name, metric in self._metrics.items():
            with warnings.catch_warnings():  # about a metric without data, whose score is NaN and is not logged
                warnings.filterwarnings("ignore", message="The ``compute`` method of metric", category=UserWarning)
                value = metric.compute().float()
            # every process has the same synchronised number, so they agree on this and averaging changes nothing
            if not value.isnan():
                pl_module.log(f"{split}/{name}", value, prog_bar=name in ("mse", "r2"), sync_dist=True)
        self._metrics = {}


class Truth:
    """The full truth of a sample, from the loader's data set if that knows it.

    Outputs hold no truth at observed points, which no score may count; curvature and figures need it there.

    Args:
        loader: the validation or test loader.
        scale: unit of `__call__`'s values in units of the data; `trajectory` is always in units of the data.
    """

    def __init__(self, loader: Any, scale: float = 1.0) -> None:
        self._data, self._scale = getattr(loader, "dataset", None), scale

    def trajectory(self, index: int) -> Trajectory | None:
        """Return all of a sample, or None if the data set does not know it.

        Args:
            index: as in `Batch.index`: position in the data set, or in the file that it is a part of.
        """
        find = getattr(self._data, "truth", None)
        if find is None:
            return None
        found: Trajectory = find(self.position(index))
        return found

    def position(self, index: int) -> int:
        """Return the position in the data set of what `Batch.index` counts in the file that it is a part of."""
        members = getattr(self._data, "members", None)
        return index if members is None else int(np.searchsorted(members, index))

    def __call__(self, index: int, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the truth of one sample where it is known.

        Args:
            index: as in `Batch.index`.
            target: (Q, c) what the step returned, in units of `scale`, for when there is no more to know.
            mask: (Q,) where `target` holds the truth.

        Returns:
            (Q, c) values, 0 where unknown, and (Q,) bool where known.
        """
        whole = self.trajectory(index)
        if whole is None or whole.values.shape != target.shape:
            return target, mask
        values = whole.values / self._scale
        known = ~values.isnan().any(-1)
        return torch.where(known[:, None], values, 0).to(target), known.to(mask.device)


def first_seen(sampler: Any, seen: int, size: int) -> Tensor:
    """Tell which samples of a batch are not the repeats at the end of a distributed sampler.

    Args:
        sampler: the loader's.
        seen: number of samples this process has had before.
        size: B.

    Returns:
        (B,) bool.
    """
    if not isinstance(sampler, DistributedSampler) or sampler.drop_last:
        return torch.ones(size, dtype=torch.bool)
    # process r gets samples r, r + W, r + 2 W, ... of a list that is padded to a multiple of W
    position = (torch.arange(size) + seen) * sampler.num_replicas + sampler.rank
    return position.lt(len(sampler.dataset))  # type: ignore[arg-type]
