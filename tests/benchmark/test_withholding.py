"""What a method is handed while it is trained: the batches of its datamodule, and none of its truth."""

from pathlib import Path

import pytest
import torch

from cst_lightning.baselines.frame_models import grid_axes
from cst_lightning.benchmark.withholding import TrainingData
from cst_lightning.datamodules import SpiralsDataModule


@pytest.fixture
def data(tmp_path: Path) -> SpiralsDataModule:
    """Return a few short curves, set up."""
    made = SpiralsDataModule(
        train=7, val=2, test=3, points=20, observed=6, batch_size=3, drop_last=True, cache_dir=tmp_path
    )
    made.prepare_data()
    made.setup()
    return made


def test_batches_are_those_of_the_datamodule_epoch_by_epoch(data: SpiralsDataModule) -> None:
    own, handed = data.train_dataloader(), TrainingData(data).train_dataloader()
    for epoch in range(2):
        for loader in (own, handed):
            loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        for a, b in zip(own, handed, strict=True):
            assert torch.equal(a.context.values, b.context.values)
            assert torch.equal(a.target.coords, b.target.coords)
            assert torch.equal(a.index, b.index)


def test_facts_are_those_of_the_datamodule(data: SpiralsDataModule) -> None:
    handed = TrainingData(data)
    for name in ("dimension", "channels", "periodic", "normalization", "axis_names", "grid", "scale"):
        assert getattr(handed, name) == getattr(data, name)


def test_a_model_of_frames_finds_its_grid(data: SpiralsDataModule) -> None:
    assert grid_axes(TrainingData(data)) == grid_axes(data)  # type: ignore[arg-type]


@pytest.mark.parametrize("split", ["val", "test"])
def test_there_is_no_truth_of_what_is_not_trained_on(data: SpiralsDataModule, split: str) -> None:
    with pytest.raises(PermissionError, match=f"the {split} split is withheld while a method is trained"):
        TrainingData(data).truth(split, 0)


def test_a_training_sample_has_no_values_beyond_its_batches(data: SpiralsDataModule) -> None:
    assert TrainingData(data).truth("train", 0).values.isnan().all()


@pytest.mark.parametrize("name", ["test_dataloader", "whole_dataloader", "sample", "scored_truth", "rates"])
def test_what_else_tells_the_truth_is_withheld(data: SpiralsDataModule, name: str) -> None:
    with pytest.raises((AttributeError, PermissionError), match="withheld"):
        getattr(TrainingData(data), name)()


def test_what_is_not_there_can_be_asked_for_with_a_default(data: SpiralsDataModule) -> None:
    assert getattr(TrainingData(data), "path", None) is None


def test_a_loader_does_not_lead_to_the_trajectories(data: SpiralsDataModule) -> None:
    loader = TrainingData(data).train_dataloader()
    for samples in (loader.dataset, loader.sampler.dataset):  # type: ignore[attr-defined]
        assert not hasattr(samples, "source")
        assert not hasattr(samples, "truth")


def test_nothing_is_left_once_training_is_over(data: SpiralsDataModule) -> None:
    handed = TrainingData(data)
    loader = handed.train_dataloader()
    handed.close()
    with pytest.raises(PermissionError, match="training is over"):
        next(iter(loader))
    with pytest.raises(PermissionError, match="training is over"):
        handed.truth("train", 0)
