"""The spirals' data module."""

import h5py
import numpy as np
import pytest
import torch

from cst_lightning.datamodules import SpiralsDataModule
from cst_lightning.errors import DataError

VALUES = np.random.default_rng(0).normal(size=(10, 12, 3)).astype(np.float32)
SMALL = {"train": 6, "val": 2, "test": 2, "observed": 4}


def test_simulates_and_caches(tmp_path):
    data = SpiralsDataModule(**SMALL, points=20, cache_dir=tmp_path)
    assert data.truth("test", 0).values.shape == (20, 2)
    assert [path.suffix for path in tmp_path.iterdir()] == [".h5"]


@pytest.mark.parametrize("ending", ["npz", "h5"])
def test_files_tell_channels_at_once_and_keep_their_times(tmp_path, ending):
    path, time = tmp_path / f"curves.{ending}", np.linspace(0, 3, 12) ** 2
    if ending == "npz":
        np.savez(path, values=VALUES, time=time)
    else:
        with h5py.File(path, "w") as file:
            file["values"], file["time"] = VALUES, time
    data = SpiralsDataModule(path, **SMALL, split="ordered")
    assert (data.dimension, data.channels) == (1, 3)
    truth = data.truth("val", 1)
    np.testing.assert_array_equal(truth.values, VALUES[7])
    np.testing.assert_array_equal(truth.coords[:, 0], time)


def test_without_times_they_are_equally_spaced(tmp_path):
    np.savez(tmp_path / "c.npz", values=VALUES)
    torch.testing.assert_close(
        SpiralsDataModule(tmp_path / "c.npz", **SMALL).truth("test", 0).coords[:, 0], torch.linspace(0, 1, 12).double()
    )


BAD = {
    "values: expected an array of this name, found curves": {"curves": VALUES},
    r"values: expected \(sample, time, channel\), found shape \(12, 3\)": {"values": VALUES[0]},
    r"time: expected shape \(12,\) as in values, found \(5,\)": {"values": VALUES, "time": np.arange(5)},
    "time: expected increasing times, found times that are not": {"values": VALUES, "time": np.zeros(12)},
    "time: expected increasing times, found NaN": {"values": VALUES, "time": np.full(12, np.nan)},
    "values: expected plain arrays": {"values": np.array([{}], dtype=object)},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_arrays_are_named(tmp_path, message):
    np.savez(tmp_path / "c.npz", **BAD[message])
    with pytest.raises(DataError, match=message):
        SpiralsDataModule(tmp_path / "c.npz")


@pytest.mark.parametrize("ending", ["npz", "h5"])
def test_truncated_files_are_named(tmp_path, ending):
    path = tmp_path / f"c.{ending}"
    path.write_bytes(b"PK\x03\x04 half a file")
    with pytest.raises(DataError, match=f"c.{ending}: file: expected a complete"):
        SpiralsDataModule(path)


def test_unknown_endings_are_named(tmp_path):
    with pytest.raises(DataError, match=r"expected .npz, .h5 or .hdf5, found .csv"):
        SpiralsDataModule(tmp_path / "c.csv")


def test_several_curves_are_compared_with_their_principal_components(tmp_path):
    np.savez(tmp_path / "c.npz", values=VALUES)
    names = {
        train: [one.name for one in SpiralsDataModule(tmp_path / "c.npz", **SMALL | {"train": train}).references()]
        for train in (1, 6)
    }
    assert names[6] == [*names[1], "fpca"]
    assert "fpca" not in names[1]
