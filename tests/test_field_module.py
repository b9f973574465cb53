"""What trained models share: a subclass brings a network and an answer, nothing else."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn

from cst_lightning.baselines.convgru import ConvGRUModule
from cst_lightning.baselines.paper import PaperModule
from cst_lightning.baselines.vivit import VivitModule
from cst_lightning.callbacks import InterpolationCallback
from cst_lightning.datamodules import SpiralsDataModule
from cst_lightning.field_module import FieldModule, called
from cst_lightning.module import CSTModule
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


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (CSTModule, "CST"),
        (ConvGRUModule, "ConvGRU"),
        (VivitModule, "ViViT"),
        (PaperModule, "CST paper"),
        (Mean, "Mean"),
        (type("OwnModule", (Mean,), {}), "Own"),
        (type("OwnCST", (CSTModule,), {}), "OwnCST"),
        (type("OwnPaper", (PaperModule,), {}), "OwnPaper"),
        (type("Module", (Mean,), {}), "Module"),
    ],
)
def test_a_model_is_called_as_its_class(kind: type[FieldModule], name: str) -> None:
    assert called(kind) == name


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


SMALL: dict[str, Any] = {"width": 16, "depth": 1, "heads": 2, "initialiser": "cubic", "mu": 0.0}


def losses(data: SpiralsDataModule, folder: Path, module: FieldModule, steps: int) -> list[float]:
    """Return the loss of each step of a short training."""
    found: list[float] = []

    class Keep(Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            found.append(float(outputs["loss"]))

    trainer(folder, max_steps=steps, callbacks=[Keep()]).fit(module, data)
    return found


def test_correction_is_measured_in_the_errors_of_the_initialiser(data: SpiralsDataModule, tmp_path: Path) -> None:
    module, unit = CSTModule(1, 2, correction="error", **SMALL), CSTModule(1, 2, **SMALL)
    losses(data, tmp_path, module, 1)
    losses(data, tmp_path, unit, 1)
    assert (module.network.gain != 1).all()
    assert torch.equal(unit.network.gain, torch.ones(2))


def test_gain_is_the_root_mean_square_of_the_first_batch(data: SpiralsDataModule) -> None:
    module = CSTModule(1, 2, correction="error", **SMALL)
    data.setup()
    batch = data.normalization.batch(next(iter(data.train_dataloader())))
    strategy = SimpleNamespace(reduce=lambda x, reduce_op: 2 * x)  # two processes with the same batch
    module.trainer = SimpleNamespace(strategy=strategy)  # type: ignore[assignment]
    module._match_gain(batch)
    memory = module.network.encode(batch.context)
    error = (module.network.initial(memory, batch.target.coords) - batch.target.values)[batch.target.mask]
    torch.testing.assert_close(module.network.gain, error.square().mean(0).sqrt())
    nn.init.constant_(module.network.head.bias, 0.1)
    kept = module.network.gain.clone()
    module._match_gain(batch._replace(target=batch.target._replace(values=batch.target.values + 1)))
    assert torch.equal(module.network.gain, kept)  # trained weights keep their meaning


def test_good_initialiser_is_not_spoiled_by_the_first_steps(tmp_path: Path) -> None:
    data = SpiralsDataModule(
        train=32, val=2, test=2, points=40, observed=20, batch_size=4, context=(0.9, 0.9), cache_dir=tmp_path
    )
    worst = {}
    for correction in ("unit", "error"):
        torch.manual_seed(0)
        module = CSTModule(1, 2, correction=correction, warmup=0.0, lr=1e-2, **SMALL)  # type: ignore[arg-type]
        found = losses(data, tmp_path, module, 8)
        worst[correction] = max(found) / found[0]
    assert worst["error"] < 0.5 * worst["unit"]


def test_correction_is_one_of_two(data: SpiralsDataModule) -> None:
    with pytest.raises(ValueError, match="correction is 'big', expected 'unit' or 'error'"):
        CSTModule(1, 2, correction="big", **SMALL)  # type: ignore[arg-type]


def test_correction_in_errors_needs_an_initialiser_to_correct(data: SpiralsDataModule, tmp_path: Path) -> None:
    module = CSTModule(1, 2, correction="error", residual=False, **SMALL)
    with pytest.raises(ValueError, match="correction is 'error', expected 'unit' for a network that adds to no"):
        losses(data, tmp_path, module, 1)


def test_gain_is_measured_once_when_gradients_accumulate(data: SpiralsDataModule, tmp_path: Path) -> None:
    seen = []

    class Keep(Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            seen.append(module.network.gain.clone())

    module = CSTModule(1, 2, correction="error", **SMALL)
    trainer(tmp_path, accumulate_grad_batches=2, callbacks=[Keep()]).fit(module, data)
    assert len(seen) == 2
    assert torch.equal(seen[0], seen[1])
