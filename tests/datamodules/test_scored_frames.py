"""Frames that tokens are learnt from, and frames that are scored instead of tokens."""

import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
import pytest
import torch

from cst_lightning.datamodules import windows
from cst_lightning.datamodules.arrays import ArrayDataModule
from cst_lightning.datamodules.readers.source import Axis, Gridded
from cst_lightning.datamodules.samples import collate
from cst_lightning.datamodules.windows import WindowedDataModule
from cst_lightning.evaluation import Scoreboard, truths


class Ramp:
    """Frames whose every value is the number of the frame."""

    def __call__(self, recording: int, start: int, stop: int) -> np.ndarray:
        frames = np.arange(start, stop, dtype=np.float32)
        return np.broadcast_to(frames[:, None, None, None], (stop - start, 4, 2, 1))


class Recordings(WindowedDataModule):
    """A module of a recording that is not in a file."""

    def __init__(self, **options: Any) -> None:
        self.path = None
        super().__init__(**{"dummies": 2, "batch_size": 2, "window": 8, **options})

    def source(self) -> Gridded:
        axes = (Axis("time", 7.0 + np.arange(80.0), "s"), Axis("y", np.arange(4.0)), Axis("x", np.arange(2.0)))
        return Gridded(None, "test", 1, axes, ("u",), Ramp())


class Wild(Ramp):
    """Frames of which no two are alike; `changed` ones are others."""

    changed: ClassVar[set[int]] = set()

    def __call__(self, recording: int, start: int, stop: int) -> np.ndarray:
        rows = [
            np.random.default_rng(f + 10_000 * (f in self.changed)).normal(size=(4, 2, 1)) for f in range(start, stop)
        ]
        return np.stack(rows).astype(np.float32)


def test_principal_components_do_not_know_what_validation_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def basis(changed: set[int]) -> np.ndarray:
        monkeypatch.setattr(Wild, "changed", changed)
        monkeypatch.setattr(Recordings, "source", lambda self: replace(source(self), read=Wild()))
        data = Recordings(divide="within", scheme="frames", tokens="components", components=2)
        data.setup()
        asked.update(
            data.window_of("val", i).start + int(n)
            for i in range(data.size("val"))
            for n in torch.nonzero(data.sample("val", i).target.mask)[:, 0]
        )
        return data.tokens.basis

    source, asked = Recordings.source, set[int]()
    first = basis(set())
    assert asked
    np.testing.assert_array_equal(basis(set(asked)), first)


def test_frames_that_tokens_learn_from_are_thinned_to_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Recordings(scheme="frames", tokens="components", components=2)
    monkeypatch.setattr(windows, "_LEARNT", 10 * 4 * 8)
    frames = data._observed_frames(data._plan(), None)
    assert frames.shape == (10, 4, 2, 1)
    assert frames[0, 0, 0, 0] < 4
    assert frames[-1, 0, 0, 0] >= 60  # of the 64 of the training part
    monkeypatch.setattr(windows, "_LEARNT", 1)
    assert len(data._observed_frames(data._plan(), None)) == 4


def test_memory_of_a_large_recording_is_bounded(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:  # 1 GiB that is nowhere
        file.create_dataset("values", (2**12, 256, 256), "f4", chunks=(1, 256, 256))
        file["time"], file["y"], file["x"] = (np.arange(float(n)) for n in (2**12, 256, 256))
    options = {"holdout": "frames", "tokens": "components", "layout": "tyx", "window": 16, "observed": 0.5}
    data = ArrayDataModule(tmp_path / "a.h5", divide="time", stride=16, **options)
    tracemalloc.start()
    data.setup()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * 2**27


def test_pixels_of_patches_that_overlap_are_scored_once() -> None:
    data = Recordings(tokens="patches", patch=2, overlap=1, scheme="frames")
    (batch,) = [collate([data.sample("test", 0)])]
    (truth,) = truths(data, batch, 0)
    assert truth.values.shape == (1, 8 * 8, 1)
    assert truth.mask.sum() == 4 * 8
    assert truth.coords[0, :, 0].tolist() == np.repeat(np.arange(8.0), 8).tolist()
    np.testing.assert_allclose(data.scored(batch.target.values)[truth.known], truth.values[truth.known])


def test_a_pixel_of_patches_that_overlap_counts_if_none_of_them_was_shown() -> None:
    data = Recordings(tokens="patches", patch=2, overlap=1, scheme="points")
    (batch,) = [collate([data.sample("test", 0)])]
    (truth,) = truths(data, batch, 0)
    hidden = batch.target.mask.reshape(8, 3)  # patches start at rows 0, 1 and 2
    expected = torch.stack([hidden[:, 0], hidden[:, :2].all(1), hidden[:, 1:].all(1), hidden[:, 2]], 1)
    assert truth.mask.reshape(8, 4, 2).unbind(-1)[0].tolist() == expected.tolist()
    assert truth.mask.any()


def test_scores_and_pictures_of_patches_that_overlap_are_of_the_same_frames() -> None:
    data = Recordings(tokens="patches", patch=2, overlap=1, scheme="frames")
    (batch,) = [collate([data.sample("test", 0)])]
    (truth,) = truths(data, batch, 0)
    guess = batch.target.values + torch.randn(batch.target.values.shape, generator=torch.Generator().manual_seed(0))
    board = Scoreboard(1)
    board.update(data.scored(guess), truth)
    window = data.window_of("test", 0)
    frames = data.pictures(guess[0].numpy()) - data.recordings.read(0, window.start, window.stop)
    dropped = batch.target.mask[0].reshape(8, -1).all(1).numpy()
    assert board.result()["mse"] == pytest.approx(np.square(frames[dropped]).mean(), rel=1e-5)
