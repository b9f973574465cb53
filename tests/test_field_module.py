"""What trained models share: a subclass brings a network and an answer, nothing else."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

from cst_lightning.callbacks import InterpolationCallback
from cst_lightning.datamodules import SpiralsDataModule
from cst_lightning.field_module import FieldModule
from cst_lightning.points import Batch


class Mean(FieldModule):
    """Answer with the mean of what is shown and a bias."""

    def __init__(self, dimension: int, channels: int, start: float = 0.0, **options: Any) -> None:
        super().__init__(dimension, channels, **options)
        self.network = nn.Linear(1, channels)
        nn.init.constant_(self.network.bias, start)

    def predict(self, batch: Batch) -> Tensor:
        shown = batch.context.values.mean(1, keepdim=True) + self.network(torch.zeros_like(batch.target.coords))
        return shown.expand(batch.target.values.shape)


@pytest.fixture
def data(tmp_path: Path) -> SpiralsDataModule:
    """Return a few short curves."""
    return SpiralsDataModule(train=8, val=2, test=2, points=10, observed=6, batch_size=4, cache_dir=tmp_path)


def trainer(folder: Path, **options: Any) -> Trainer:
    """Return a trainer of one epoch."""
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return Trainer(max_epochs=1, default_root_dir=folder, enable_checkpointing=False, **quiet, **options)


def test_what_answers_cannot_be_left_out() -> None:
    with pytest.raises(TypeError, match="abstract"):
        FieldModule(1, 1)  # type: ignore[abstract]


def test_loss_is_the_mean_power_at_real_targets(data: SpiralsDataModule) -> None:
    module = Mean(1, 2, start=3.0, p=1.0)
    data.setup()
    batch = data.normalization.batch(next(iter(data.train_dataloader())))
    error = (module.predict(batch) - batch.target.values).abs()[batch.target.mask].mean()
    assert module.terms(batch, torch.zeros(4)).loss.item() == pytest.approx(error.item(), rel=1e-6)


def test_hyperparameters_of_the_subclass_are_saved_and_load(data: SpiralsDataModule, tmp_path: Path) -> None:
    run, module = trainer(tmp_path), Mean(1, 2, start=3.0, lr=1e-2)
    run.fit(module, data)
    run.save_checkpoint(tmp_path / "mean.ckpt")
    loaded = Mean.load_from_checkpoint(tmp_path / "mean.ckpt", weights_only=True)
    assert (loaded.hparams["start"], loaded.hparams["lr"]) == (3.0, 1e-2)
    assert loaded.normalization == data.normalization
    assert torch.equal(loaded.network.bias, module.network.bias)


def test_callbacks_score_it_and_pass_over_an_initialiser_it_has_not(data: SpiralsDataModule, tmp_path: Path) -> None:
    (scores,) = trainer(tmp_path, callbacks=[InterpolationCallback()]).test(Mean(1, 2), data, verbose=False)
    assert "test/mse" in scores
    assert "test/initialiser_mse" not in scores


def test_axes_that_repeat_are_one_truth_value_an_axis() -> None:
    with pytest.raises(ValueError, match="periodic has 1 entries"):
        Mean(2, 1, periodic=[True])
