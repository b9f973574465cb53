"""Methods that misbehave, as classes that a comparison can name."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from cst_lightning.errors import MissingPackageError
from cst_lightning.field_module import FieldModule
from cst_lightning.points import Batch


class Cheat(FieldModule):
    """Answers with what the batch says the truth is, and asks the trainer where that fails."""

    def __init__(self, dimension: int, channels: int, periodic: tuple[bool, ...] | None = None) -> None:
        super().__init__(dimension, channels, periodic)
        self.weight = torch.nn.Parameter(torch.zeros(channels))

    def predict(self, batch: Batch) -> Tensor:
        return batch.target.values

    def setup(self, stage: str) -> None: ...

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        return batch

    def configure_gradient_clipping(self, *_: object, **__: object) -> None: ...

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return (batch.target.values - self.weight).square().mean()

    def validation_step(self, batch: Batch, batch_idx: int) -> None: ...

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        assert self._trainer is None
        return {"prediction": batch.target.values}


class Honest(Cheat):
    """Answers with a constant."""

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return {"prediction": torch.zeros_like(batch.target.values) + self.weight}


def _source(samples: object) -> list[Tensor]:
    """Return the test curves of the small comparison: the 5 behind 6 to train and 2 to validate."""
    return [samples.source[8 + i].values for i in range(5)]  # type: ignore[attr-defined]


#: How the values of all test samples are found from a trainer that was kept.
ROUTES: dict[str, Callable[[Trainer], list[Tensor]]] = {
    "truth": lambda kept: [kept.datamodule.truth("test", i).values for i in range(5)],
    "loader": lambda kept: [row for batch in kept.datamodule.test_dataloader() for row in batch.target.values],
    "whole": lambda kept: [row for batch in kept.datamodule.whole_dataloader("test") for row in batch.target.values],
    "samples": lambda kept: [kept.datamodule.sample("test", i).target.values for i in range(5)],
    "splits": lambda kept: [kept.datamodule._splits["test"].truth(i).values for i in range(5)],
    "dataset": lambda kept: _source(kept.train_dataloader.dataset),
    "sampler": lambda kept: _source(kept.train_dataloader.sampler.dataset),
}


class Keeper(Honest):
    """Keeps the trainer, and answers with the truth if there is a way from there to it, else as an honest one."""

    def __init__(
        self, dimension: int, channels: int, periodic: tuple[bool, ...] | None = None, route: str = "truth"
    ) -> None:
        super().__init__(dimension, channels, periodic)
        self.route, self.kept, self.stolen = ROUTES[route], list[Trainer](), list[Tensor]()

    def on_train_start(self) -> None:
        self.kept.append(self.trainer)
        self.steal()

    def steal(self) -> None:
        with suppress(Exception):
            self.stolen = self.stolen or self.route(self.kept[0])

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        self.steal()
        if not self.stolen:
            return super().test_step(batch, batch_idx)
        return {"prediction": torch.stack(self.stolen[2 * batch_idx :][: len(batch.index)])}  # two curves a batch


class Broken(Honest):
    """Fails while it is trained."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        raise RuntimeError("the method\nis broken")


class Killed(Honest):
    """Ends as a process does for which there is no memory."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


class Needy(Honest):
    """Needs a package that nobody has."""

    def __init__(self, dimension: int, channels: int, periodic: tuple[bool, ...] | None = None) -> None:
        raise MissingPackageError("nowhere", "baselines")
