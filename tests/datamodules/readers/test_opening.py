"""One door: what a file is follows from what is there."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from PIL import Image
from scipy.io import savemat

from cst_lightning.datamodules.readers.opening import _READERS, open_source, options_of, recognise
from cst_lightning.errors import DataError

SIGNAL = {"values": np.arange(12.0).reshape(6, 2), "time": np.arange(6.0)}


def hdf5(path, **content):
    with h5py.File(path, "w") as file:
        for key, value in content.items():
            file[key.replace("__", "/")] = value
    return path


def folder(path, *names):
    path.mkdir(parents=True)
    for name in names:
        (path / name).parent.mkdir(exist_ok=True, parents=True)
        (path / name).write_bytes(b"x")
    return path


def bare_zarr(path):
    group = zarr.open_group(str(path), mode="w")
    for name, value in SIGNAL.items():
        group.create_array(name, data=value)
    return path


def labelled_zarr(path):
    xr.Dataset({"u": (("time", "x"), SIGNAL["values"])}, {"x": [0.0, 1.0]}).to_zarr(path, zarr_format=2)
    return path


def netcdf_in_disguise(path):
    xr.Dataset({"u": (("time", "x"), SIGNAL["values"])}, {"x": [0.0, 1.0]}).to_netcdf(path)
    return path


def image(path):
    path.mkdir()
    Image.new("L", (4, 4)).save(path / "000.png")
    return path


KINDS = {
    "npz": ("arrays", lambda p: np.savez(p / "a.npz", **SIGNAL) or p / "a.npz"),
    "npy": ("arrays", lambda p: np.save(p / "a.npy", SIGNAL["values"]) or p / "a.npy"),
    "folder of npy": ("arrays", lambda p: folder(p / "a", "values.npy", "time.npy")),
    "h5": ("arrays", lambda p: hdf5(p / "a.h5", **SIGNAL)),
    "upper case": ("arrays", lambda p: hdf5(p / "A.HDF5", **SIGNAL)),
    "hdf5 by content": ("arrays", lambda p: hdf5(p / "a.dat", **SIGNAL)),
    "mat": ("arrays", lambda p: savemat(p / "a.mat", SIGNAL) or p / "a.mat"),
    "netcdf": ("labelled", lambda p: netcdf_in_disguise(p / "a.nc")),
    "netcdf as h5": ("labelled", lambda p: netcdf_in_disguise(p / "a.h5")),
    "zarr": ("arrays", lambda p: bare_zarr(p / "a.zarr")),
    "zarr of xarray": ("labelled", lambda p: labelled_zarr(p / "a.zarr")),
    "csv": ("table", lambda p: pd.DataFrame({"time": [1], "u": [2]}).to_csv(p / "a.csv") or p / "a.csv"),
    "tiff": ("tiff", lambda p: folder(p / "b", "a.tif") / "a.tif"),
    "video": ("video", lambda p: folder(p / "b", "a.MP4") / "a.MP4"),
    "pictures": ("images", lambda p: image(p / "frames")),
    "suite2p plane": ("suite2p", lambda p: folder(p / "plane0", "F.npy", "Fneu.npy", "iscell.npy")),
    "suite2p": ("suite2p", lambda p: folder(p / "suite2p", "plane0/F.npy")),
    "nwb": ("nwb", lambda p: hdf5(p / "a.nwb", processing__x=1)),
    "nwb by content": ("nwb", lambda p: hdf5(p / "a.h5", nwb_version="1.0")),
    "caiman": ("caiman", lambda p: hdf5(p / "a.hdf5", estimates__C=np.zeros((2, 3)))),
    "mapping": ("arrays", lambda p: SIGNAL),
    "series": ("table", lambda p: pd.Series([1.0])),
    "data set": ("labelled", lambda p: xr.Dataset()),
    "data array": ("labelled", lambda p: xr.DataArray([1.0])),
    "table": ("table", lambda p: pd.DataFrame()),
    "unicode": ("arrays", lambda p: hdf5(p / "Strömung 流.h5", **SIGNAL)),
    "as text": ("arrays", lambda p: str(hdf5(p / "a.h5", **SIGNAL))),
}


@pytest.mark.parametrize("case", KINDS)
def test_formats_are_recognised(tmp_path, case):
    kind, make = KINDS[case]
    assert recognise(make(tmp_path)) == kind


NOTHING = {
    "missing": (lambda p: p / "none.h5", "found nothing"),
    "empty": (lambda p: folder(p / "b", "a.xyz") / "a.xyz", "found .xyz"),
    "empty file": (lambda p: (p / "a.npz").touch() or p / "a.npz", "an empty file"),
    "empty folder": (lambda p: folder(p / "b"), "an empty folder"),
    "other files": (lambda p: folder(p / "b", "a.txt"), "found a.txt"),
    "no hdf5": (lambda p: folder(p / "b", "a.h5") / "a.h5", "complete HDF5"),
    "one too high": (lambda p: folder(p / "b", "suite2p/plane0/F.npy"), "folder suite2p itself"),
    "object": (lambda p: [1, 2], "a path, a mapping"),
}


@pytest.mark.parametrize("case", NOTHING)
def test_what_nobody_reads_ends_in_one_line(tmp_path, case):
    make, told = NOTHING[case]
    with pytest.raises(DataError, match=told):
        recognise(make(tmp_path))


def test_options_reach_the_reader():
    source = open_source(SIGNAL, rate=None, time_unit="ms")
    assert source.axes[0].unit == "ms"


def test_options_of_other_formats_are_refused():
    with pytest.raises(DataError, match="height: expected an option of this format \\(key, axes, layout"):
        open_source(SIGNAL, height=60)


@pytest.mark.parametrize("kind", _READERS)
def test_every_reader_is_there(kind):
    assert options_of(kind)


def test_read_only_folders_are_no_obstacle(tmp_path, read_only):
    path = hdf5(tmp_path / "a.h5", **SIGNAL)
    with read_only(tmp_path):
        assert open_source(Path(path)).shape == (1, 6, 2)
