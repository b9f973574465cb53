"""One door for every format: what a file is follows from its ending, a folder's content, or what is in an HDF5 file."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import h5py

from cst_lightning.datamodules.readers.checked import checked
from cst_lightning.datamodules.readers.source import Source
from cst_lightning.datamodules.trajectories import check_file, open_hdf5
from cst_lightning.errors import DataError

_PACKAGE = "cst_lightning.datamodules.readers"
_ENDINGS = {
    "arrays": (".npz", ".npy"),
    "labelled": (".nc", ".nc4", ".netcdf", ".cdf"),
    "table": (".csv", ".tsv"),
    "tiff": (".tif", ".tiff", ".btf", ".tf8"),
    "video": (".mp4", ".avi", ".mov", ".mkv", ".m4v", ".webm", ".mpg", ".mpeg", ".wmv"),
    "hdf5": (".h5", ".hdf5", ".hdf", ".he5", ".nwb", ".mat"),
}
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp")
# Where each kind is read; modules are imported when a file asks for them.
_READERS = {
    "arrays": ("arrays", "read_arrays"),
    "labelled": ("labelled", "read_labelled"),
    "table": ("labelled", "read_table"),
    "tiff": ("tiff", "read_tiff"),
    "video": ("video", "read_video"),
    "images": ("images", "read_image_folder"),
    "kitti": ("kitti", "read_kitti"),
    "suite2p": ("suite2p", "read_suite2p"),
    "nwb": ("nwb", "read_nwb"),
    "caiman": ("caiman", "read_caiman"),
    "pdebench": ("pde", "read_pdebench"),
    "well": ("pde", "read_well"),
    "fno": ("pde", "read_fno"),
}


def open_source(data: Any, **options: Any) -> Source:
    """Open a file, a folder or an object of any format that there is a reader for.

    Args:
        data: path of `.npz`, `.npy`, `.h5`, `.mat`, `.nc`, `.zarr`, `.csv`, a TIFF stack, a video, a folder of
            pictures, a KITTI drive, suite2p output, `.nwb`, CaImAn results, PDEBench, The Well; or an xarray Dataset
            or DataArray, a pandas DataFrame or Series, or a mapping of names to arrays.
        **options: of the reader of that format; those that are None count as not given.

    Returns:
        Recordings on a grid, or scattered samples; nothing large is read yet.

    Raises:
        DataError: the file is missing or damaged, its format is not known, or its reader has no such option.

    Example:
        >>> import numpy as np
        >>> open_source({"values": np.zeros((5, 20, 2)), "time": np.arange(20)}).shape
        (5, 20, 2)
    """
    place = data if isinstance(data, (str, os.PathLike)) else "data"
    return checked(place, lambda: _opened(data, options))


def _opened(data: Any, options: Mapping[str, Any]) -> Source:
    kind = recognise(data)
    module, name = _READERS[kind]
    read: Callable[..., Source] = getattr(import_module(f"{_PACKAGE}.{module}"), name)
    given = {key: value for key, value in options.items() if value is not None}
    known = options_of(kind)
    for key in given:
        if key not in known:
            place = data if isinstance(data, (str, os.PathLike)) else "data"
            raise DataError(
                place, key, f"an option of this format ({', '.join(known) or 'it has none'})", "no such option"
            )
    return read(data, **given)


def options_of(kind: str) -> tuple[str, ...]:
    """Return the names of the options that the reader of a format takes.

    Args:
        kind: what `recognise` returned.
    """
    module, name = _READERS[kind]
    found = import_module(f"{_PACKAGE}.{module}")
    own = list(inspect.signature(getattr(found, name)).parameters.values())[1:]
    names = [parameter.name for parameter in own if parameter.kind is not parameter.VAR_KEYWORD]
    if len(names) < len(own):  # those of arrays are in a class of their own
        options = import_module(f"{_PACKAGE}.options").Options
        names += list(inspect.signature(options).parameters)
    return tuple(names)


def recognise(data: Any) -> str:
    """Return which reader suits: a key of this module's list.

    Args:
        data: see `open_source`.

    Raises:
        DataError: nothing is there, or nobody can read it.
    """
    if not isinstance(data, (str, os.PathLike)):
        return _object(data)
    path = Path(data)
    if not path.exists():
        raise DataError(path, "file", "a file or a folder", "nothing")
    if path.is_dir():
        return _folder(path)
    check_file(path)
    suffix = path.suffix.lower()
    kind = next((kind for kind, endings in _ENDINGS.items() if suffix in endings), None)
    if kind == "hdf5" or (kind is None and h5py.is_hdf5(path)):
        return _hdf5(path)
    if kind is None:
        endings = " ".join(ending for group in _ENDINGS.values() for ending in group)
        raise DataError(path, "file", f"one of {endings}, or a folder", suffix or "no ending")
    return kind


def _object(data: Any) -> str:
    """Tell objects apart by the library they come from, which need not be imported for that."""
    home = type(data).__module__.partition(".")[0]
    if isinstance(data, Mapping) and home != "xarray":
        return "arrays"
    name = type(data).__name__
    if home == "xarray" and name in ("Dataset", "DataArray"):
        return "labelled"
    if home == "pandas" and name in ("DataFrame", "Series"):
        return "table"
    raise DataError("data", "object", "a path, a mapping of arrays, an xarray or a pandas object", f"{home}.{name}")


def _folder(path: Path) -> str:
    names = {child.name for child in path.iterdir()}
    if path.suffix.lower() == ".zarr" or names & {".zgroup", ".zarray", "zarr.json"}:
        return _zarr(path)
    if "F.npy" in names or any((path / name / "F.npy").is_file() for name in names if name.startswith("plane")):
        return "suite2p"
    if "suite2p" in names and any((path / "suite2p").glob("plane*/F.npy")):
        raise DataError(path, "file", "the folder suite2p itself", "the one above it")
    if any(name.endswith(".npy") for name in names):
        return "arrays"
    if any(Path(name).suffix.lower() in _PICTURES for name in names):
        return "images"
    if import_module(f"{_PACKAGE}.kitti").is_kitti(path):
        return "kitti"
    shown = ", ".join(sorted(names)[:5]) or "an empty folder"
    raise DataError(path, "file", "pictures, .npy files, a zarr group, a KITTI drive or suite2p output", shown)


def _zarr(path: Path) -> str:
    """Tell xarray's zarr, whose arrays name their dimensions, from a bare one."""
    stores = import_module(f"{_PACKAGE}.stores")
    entries = stores.ZarrStore(path).entries
    named = [bool(entry.labels) for entry in entries.values() if entry.shape]
    return "labelled" if named and all(named) else "arrays"


def _hdf5(path: Path) -> str:
    """Tell HDF5 files apart by what is in them; `.mat` may be no HDF5 at all."""
    pde = import_module(f"{_PACKAGE}.pde")
    if path.suffix.lower() == ".mat":
        return "fno" if pde.is_fno(path) else "arrays"
    with open_hdf5(path) as file:
        if pde.is_well(file):
            return "well"
        if pde.is_pdebench(file):
            return "pdebench"
        if "nwb_version" in file.attrs or "nwb_version" in file or path.suffix.lower() == ".nwb":
            return "nwb"
        if "estimates" in file:
            return "caiman"
        return "labelled" if "_NCProperties" in file.attrs else "arrays"
