"""A small flow that every learned baseline is tried on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightning.pytorch import LightningModule, Trainer, seed_everything

from cst_lightning import evaluation
from cst_lightning.baselines.interpolation import Linear
from cst_lightning.datamodules.base import FieldDataModule
from cst_lightning.datamodules.trajectories import ArrayTrajectories, TrajectoryDataset


class Waves(FieldDataModule):
    """Waves that turn a ring of places, of a phase and a speed of their own; 8 times of 8 x 4 places."""

    def __init__(self, **options: Any) -> None:
        settings: dict[str, Any] = {
            "train": 32, "val": 4, "test": 8, "split": "ordered", "scheme": "frames", "observed": 4, "keep_ends": True,
            "context": (0.5, 0.75), "context_ends": True, "target": "masked", "dummies": 4, "batch_size": 16,
        }  # fmt: skip
        super().__init__(3, 1, (None, 1.0, 1.0), **{**settings, **options})

    def trajectories(self) -> TrajectoryDataset:
        time, x, y = np.linspace(0, 1, 8), np.arange(8) / 8, np.arange(4) / 4
        phase, speed = np.random.default_rng(0).uniform([[0], [0.6]], [[1], [1.4]], (2, 44))
        turns = x[:, None] + phase[:, None, None, None] - (speed[:, None] * time)[..., None, None]
        values = np.broadcast_to(np.sin(2 * np.pi * turns), (44, 8, 8, 4))
        return ArrayTrajectories(values[..., None].astype(np.float32), [time, x, y])


@pytest.fixture
def waves() -> Callable[..., Waves]:
    """Return the data module's class."""
    return Waves


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., Any]:
    """Return what trains a model and returns its test scores, for curves beside linear interpolation's."""

    def run(make: Callable[[], LightningModule], data: FieldDataModule, epochs: int) -> dict[str, dict[str, float]]:
        seed_everything(0, verbose=False)
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
        options: dict[str, Any] = {"limit_val_batches": 0, "enable_checkpointing": False, **quiet}
        model = make()
        trainer = Trainer(max_epochs=epochs, default_root_dir=tmp_path, **options)
        trainer.fit(model, data)
        trainer.save_checkpoint(tmp_path / "model.ckpt")
        return evaluation.evaluate(model, data, [Linear()] if data.dimension == 1 else [])

    return run
