"""A module, a datamodule and a field that are no CST, to test callbacks on what they promise to read."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cst_lightning.points import Batch, Normalization, PointSet, pad

LIGHTNING_WARNINGS = (  # of the libraries among themselves, or advice on speed that tiny tests need not take
    "ignore:.*treespec, LeafSpec.*:FutureWarning",
    "ignore:.*does not have many workers.*",
    "ignore:You have overridden `on_before_batch_transfer`.*",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "callbacks" in item.path.parts:
            for text in LIGHTNING_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(text))


class Trajectory(NamedTuple):
    coords: Tensor
    values: Tensor
    frames: int


def wave(coords: Tensor, channels: int) -> Tensor:
    phase = 3 * coords[:, :1] + coords[:, 1:].sum(1, keepdim=True)
    return torch.cat([torch.sin(phase + channel) for channel in range(channels)], dim=1).float()


class FakeData(LightningDataModule):
    """Waves on a grid of 8 frames, a third of the points observed, batches of two."""

    def __init__(self, dimension: int = 1, channels: int = 2, samples: int = 3) -> None:
        super().__init__()
        self.dimension, self.channels, self.samples = dimension, channels, samples
        self.periodic = (False,) * dimension
        self.normalization = Normalization((0.5,) * dimension, (0.5,) * dimension, (0.1,) * channels, (2.0,) * channels)

    def truth(self, split: str, index: int) -> Trajectory:
        axes = [
            torch.linspace(0, 1, 8, dtype=torch.float64),
            *[torch.linspace(0, 1, 5).double()] * (self.dimension - 1),
        ]
        coords = torch.cartesian_prod(*axes).reshape(-1, self.dimension)
        return Trajectory(coords, wave(coords + index, self.channels), 8)

    def batch(self, indices: list[int]) -> Batch:
        context, target = [], []
        for index in indices:
            coords, values, _ = self.truth("test", index)
            shown = torch.rand(len(coords), generator=torch.Generator().manual_seed(index)) < 0.4
            shown[[0, -1]] = True
            context.append(PointSet(coords[shown], values[shown], torch.ones(int(shown.sum()), dtype=torch.bool)))
            target.append(PointSet(coords, torch.where(shown[:, None], 0, values), ~shown))
        dummies = torch.zeros(len(indices), 1, self.dimension, dtype=torch.float64)
        return Batch(pad(context), pad(target), dummies, torch.tensor(indices), 8)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(FakeSet(self), batch_size=2, collate_fn=self.batch)

    val_dataloader = test_dataloader = train_dataloader


class FakeSet(Dataset):
    """Its items are indices, and it knows the truth."""

    def __init__(self, data: FakeData) -> None:
        self.data = data

    def __len__(self) -> int:
        return self.data.samples

    def __getitem__(self, index: int) -> int:
        return index

    def truth(self, index: int) -> Trajectory:
        return self.data.truth("test", index)


class FakeModule(LightningModule):
    """Predicts the wave with one error that it trains away; normalises as `CSTModule` does."""

    def __init__(self, channels: int = 2) -> None:
        super().__init__()
        self.shift = torch.nn.Parameter(torch.tensor(0.5))
        self.channels = channels
        self.normalization = Normalization.identity(1, channels)

    def setup(self, stage: str) -> None:
        self.normalization = getattr(self.trainer.datamodule, "normalization", self.normalization)

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        return self.normalization.batch(batch)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.shift.square()
        self.log_dict({"train/loss": loss, "train/fit": loss, "train/sobolev": loss}, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        coords = self.normalization.coords_back(batch.target.coords)
        truth = [wave(x + i, self.channels) for x, i in zip(coords, batch.index.tolist(), strict=True)]
        prediction = torch.stack(truth) + self.shift
        target = self.normalization.values_back(batch.target.values)
        outputs = {"prediction": prediction, "initialiser": prediction + 1, "target": target}
        return outputs | {"mask": batch.target.mask, "frames": batch.frames, "coords": coords}

    test_step = validation_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class FakeField:
    """Stands where `Field.of(module).observe(coords, values)` does."""

    def __init__(self, channels: int, observations: int) -> None:
        self.channels, self.observations = channels, observations

    def __call__(self, query: np.ndarray) -> np.ndarray:
        return wave(torch.from_numpy(query), self.channels).numpy()

    def attention(self, query: np.ndarray, layer: int | None = None, head: int | None = None) -> np.ndarray:
        return np.full((len(query), self.observations), 1 / self.observations)


@pytest.fixture
def make_trainer(tmp_path):
    def make(*callbacks: Any, **options: Any) -> Trainer:
        settings = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "max_epochs": 2}
        settings |= {"enable_model_summary": False, "num_sanity_val_steps": 1, "log_every_n_steps": 1}
        settings |= {"accelerator": "cpu", "devices": 1, "default_root_dir": str(tmp_path)}
        return Trainer(callbacks=list(callbacks), **{**settings, **options})

    return make


@pytest.fixture
def fake_field(monkeypatch):
    """Make callbacks ask a fake field, and not one of a CSTModule."""

    def observe(module: FakeModule, scene: Any) -> FakeField:
        return FakeField(module.channels, len(scene.observed))

    monkeypatch.setattr("cst_lightning.callbacks.figures.observe", observe)
    monkeypatch.setattr("cst_lightning.callbacks.attention.observe", observe)


@pytest.fixture
def data() -> FakeData:
    return FakeData()


@pytest.fixture
def planar_data() -> FakeData:
    return FakeData(dimension=3, channels=1)


@pytest.fixture
def module() -> FakeModule:
    return FakeModule()


@pytest.fixture
def planar_module() -> FakeModule:
    return FakeModule(channels=1)
