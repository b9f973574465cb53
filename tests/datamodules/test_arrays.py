"""Anybody's data: windows of recordings, scattered samples, and the embedded simulation."""

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from cst_lightning.datamodules.arrays import ArrayDataModule, Simulated, simulated
from cst_lightning.datamodules.readers.source import Gridded
from cst_lightning.errors import DataError

TIME, X, Y = np.arange(60) * 0.5, np.arange(4.0), np.arange(3.0)
RNG = np.random.default_rng(0)
MOVIE = np.sin(TIME[:, None, None] + X[:, None] + 2 * Y)
RECORDING = {"values": MOVIE, "time": TIME, "x": X, "y": Y}


def scattered(samples: int, points: int = 40) -> pd.DataFrame:
    time = RNG.uniform(0, 9, samples * points)
    x = RNG.uniform(-1, 1, len(time))
    return pd.DataFrame({"sample": np.repeat(np.arange(samples), points), "time": time, "x": x, "u": np.sin(time + x)})


def test_a_recording_is_cut_into_windows_of_each_part():
    data = ArrayDataModule(RECORDING, window=6, stride=3)
    assert (data.dimension, data.channels) == (3, 1)
    assert {name: data.size(name) for name in ("train", "val", "test")} == {"train": 15, "val": 1, "test": 1}
    torch.testing.assert_close(data.truth("test", 0).values[:, 0], torch.tensor(MOVIE[54:60].ravel()).float())


@pytest.mark.parametrize("dimension", [1, 2, 3, 4])
def test_time_and_up_to_three_axes_of_space(dimension):
    names = ["x", "y", "z"][: dimension - 1]
    axes = {name: np.arange(2.0 + i) for i, name in enumerate(names)}
    values = RNG.normal(size=(60, *(len(axis) for axis in axes.values()), 7))
    data = ArrayDataModule({"values": values, "time": TIME} | axes, window=6, batch_size=2)
    batch = next(iter(data.train_dataloader()))
    assert batch.target.coords.shape[-1] == dimension
    assert batch.target.values.shape[-1] == 7


@pytest.mark.parametrize("holdout", ["points", "frames", "tail", "region", "regular"])
def test_what_is_hidden_follows_the_holdout(holdout):
    data = ArrayDataModule(RECORDING, window=6, holdout=holdout, observed=0.5)
    sample = data.sample("test", 0)
    hidden = sample.target.mask.reshape(6, -1)
    whole = hidden.all(1) | ~hidden.any(1)
    assert bool(whole.all()) == (holdout in ("frames", "tail", "regular"))
    if holdout == "tail":
        assert hidden[:, 0].tolist() == [False] * 3 + [True] * 3
    assert 0 < hidden.sum() < hidden.numel()


def test_many_recordings_are_split_by_recording():
    data = ArrayDataModule({"values": RNG.normal(size=(20, 30, 2)), "time": TIME[:30]})
    assert [data.size(name) for name in ("train", "val", "test")] == [16, 2, 2]


def test_objects_of_xarray_are_data():
    data = ArrayDataModule(xr.DataArray(MOVIE, dims=("time", "x", "y"), coords={"time": TIME}), window=6)
    assert data.recordings.shape == (1, 60, 4, 3, 1)


def test_scattered_samples_are_split_by_sample():
    data = ArrayDataModule(scattered(20))
    assert (data.dimension, data.channels) == (2, 1)
    assert [data.size(name) for name in ("train", "val", "test")] == [16, 2, 2]
    assert len(data.truth("train", 3).coords) == 40


def test_one_scattered_sample_is_cut_in_time():
    table = scattered(1, 100)
    data = ArrayDataModule(table, window=10)
    assert [data.size(name) for name in ("train", "val", "test")] == [15, 1, 1]
    times = np.sort(table["time"].to_numpy())
    np.testing.assert_allclose(data.truth("test", 0).coords[:, 0], times[90:] - times[90])


def test_points_at_the_same_time_stay_together():
    time = np.repeat(np.arange(50.0), 3)
    table = pd.DataFrame({"time": time, "x": np.tile([0.0, 1, 2], 50), "u": np.sin(time)})
    data = ArrayDataModule(table, window=4)
    window = data.truth("train", 0)
    assert window.coords[:, 0].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_scattered_windows_of_different_parts_do_not_overlap():
    table = scattered(3, 60)
    data = ArrayDataModule(table, window=5)
    seen = {
        name: {tuple(v) for i in range(data.size(name)) for v in data.truth(name, i).values.tolist()}
        for name in ("train", "val", "test")
    }
    assert not seen["train"] & seen["test"]
    assert not seen["train"] & seen["val"]


def test_scattered_batches_reach_the_network():
    batch = next(iter(ArrayDataModule(scattered(12), batch_size=4).train_dataloader()))
    assert batch.context.coords.shape[::2] == (4, 2)
    assert batch.context.mask.any(1).all()


def test_a_window_longer_than_a_part_is_told():
    with pytest.raises(ValueError, match="window: expected at most the 4 times of the val part"):
        ArrayDataModule(scattered(1, 40), window=10).setup()


def test_gaps_cannot_be_filled_within_scattered_points():
    with pytest.raises(ValueError, match="divide is 'within', expected 'time' or 'samples'"):
        ArrayDataModule(scattered(1), divide="within")


def test_options_of_the_reader_are_passed_on():
    data = ArrayDataModule({"u": MOVIE, "v": -MOVIE}, key=["u", "v"], layout="txy", rate=2, periodic=["y"], window=6)
    assert data.period == (None, None, 3.0)
    assert data.channels == 2
    assert data.recordings.axes[0].unit == "s"
    chosen = ArrayDataModule({"values": MOVIE, "time": TIME, "x": X}, select=[2], window=6)
    assert chosen.recordings.channels == ("values 2",)


def test_options_that_a_format_does_not_have_are_refused():
    with pytest.raises(DataError, match="height: expected an option of this format"):
        ArrayDataModule(RECORDING, reader={"height": 4})


def test_values_without_a_number_are_told():
    with pytest.raises(ValueError, match="expected a number that is not NaN, found none"):
        ArrayDataModule(RECORDING | {"values": np.full_like(MOVIE, np.nan)}, window=6).setup()


def test_a_channel_that_never_changes_is_harmless():
    both = np.stack([MOVIE, np.ones_like(MOVIE)], -1)
    data = ArrayDataModule(RECORDING | {"values": both}, window=6)
    data.setup()
    assert data.normalization.spread[1] == 1


def test_the_simulation_is_built_once_and_read_back(tmp_path):
    read = Simulated(tmp_path)
    frames = read(0, 10, 12)
    assert frames.shape == (2, 24, 24, 2)
    assert np.abs(frames).max() < 1.1
    assert [path.suffix for path in tmp_path.iterdir()] == [".h5"]
    data = ArrayDataModule(cache_dir=tmp_path, window=8, observed=64)
    assert data.periodic == (False, True, True)
    assert data.sample("test", 0).context.mask.sum() == 64


def test_facts_of_the_simulation_need_no_simulation(tmp_path):
    source = simulated(tmp_path)
    assert isinstance(source, Gridded)
    assert source.shape == (1, 400, 24, 24, 2)
    assert not list(tmp_path.iterdir())


def test_settings_follow_from_the_data(tmp_path):
    np.savez(tmp_path / "a.npz", **RECORDING)
    chosen, reasons = ArrayDataModule.suggest(path=tmp_path / "a.npz", batch_size=3, window=None)
    assert "batch_size" not in chosen["data"]
    data = ArrayDataModule(tmp_path / "a.npz", batch_size=3, **chosen["data"])
    assert data.size("train") > 0
    assert any(line.startswith("trainer.max_epochs") for line in reasons)


def test_large_pictures_are_made_smaller_and_that_is_said(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for number in range(12):
        image.fromarray(RNG.integers(0, 255, (140, 210), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    chosen, reasons = ArrayDataModule.suggest(path=tmp_path, rate=5.0, cache_dir=tmp_path / "cache")
    assert chosen["data"]["reader"] == {"height": 48}
    assert any("210 x 140 become 72 x 48" in reason for reason in reasons)
    own, _ = ArrayDataModule.suggest(path=tmp_path, rate=5.0, reader={"height": 20}, cache_dir=tmp_path / "cache")
    assert "reader" not in own["data"]


def test_one_frame_is_named_as_what_is_wrong():
    with pytest.raises(DataError, match="time: expected two or more frames to learn from, found one"):
        ArrayDataModule.suggest(path={"values": MOVIE[:1], "time": TIME[:1], "x": X, "y": Y})
