"""Methods that misbehave, as classes that a comparison can name."""

import torch
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


class Broken(Honest):
    """Fails while it is trained."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        raise RuntimeError("the method\nis broken")


class Needy(Honest):
    """Needs a package that nobody has."""

    def __init__(self, dimension: int, channels: int, periodic: tuple[bool, ...] | None = None) -> None:
        raise MissingPackageError("nowhere", "baselines")
