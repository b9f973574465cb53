"""Traces or a movie in an array file of one's own: `.npz`, `.npy`, `.mat`, `.h5`.

Traces are (time, ROI) or (ROI, time), movies (time, y, x) or (y, x, time). A vector `time` in the file tells which;
without it the option `layout` has to.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import h5py
import numpy as np
from scipy.io import loadmat, whosmat

from cst_lightning.datamodules.readers.slices import (
    SECONDS,
    ArrayFrames,
    FileFrames,
    Layout,
    check_numbers,
    frame_times,
    numbers,
    open_npy,
    opened,
    overruled,
    time_axis,
)
from cst_lightning.datamodules.readers.source import Axis, Gridded, Reader
from cst_lightning.datamodules.readers.stores import is_matlab, text
from cst_lightning.datamodules.trajectories import check_file
from cst_lightning.errors import DataError

_TIMES = ("time", "times", "timestamps", "t")
_HDF5 = (".h5", ".hdf5", ".hdf", ".he5", ".mat")


def read_traces(
    path: str | os.PathLike[str], rate: float | None = None, *, signal: str | None = None, layout: Layout = "auto"
) -> Gridded:
    """Open traces (two axes) or a movie (three axes): one recording.

    Args:
        path: `.npz`, `.npy`, `.mat` of any version, `.h5` or `.hdf5`; nothing is unpickled.
        rate: frames a second, instead of the file's `time`, which is in seconds unless its attribute `units` says else.
        signal: name of the array; the only one with two or three axes if None.
        layout: where time is, if the length of `time` does not tell.

    Returns:
        Values (T, ROI) or (T, y, x, 1); a vector is one ROI. HDF5 and `.npy` are read frame by frame, the others whole.

    Raises:
        DataError: the file is missing, damaged, pickled, complex or ambiguous; no axis is as long as `time`.
    """
    path = Path(path)
    check_file(path)
    arrays, file_shapes, units = _arrays(path)
    name = _named(path, signal, file_shapes)
    shape = file_shapes[name]
    time, time_unit = _time(path, arrays, units, name)
    if len(shape) not in (1, 2, 3) or not np.prod(shape):
        raise DataError(path, name, "traces (two axes) or a movie (three)", f"shape {shape}")
    count = None if time is None else len(time)
    axis, notes = time_axis(path, name, shape, times=count, layout=layout)
    order = (axis, *(a for a in range(len(shape)) if a != axis))
    if time is None or rate is not None:
        why = "the file has no time and rate is not set: time counts frames"
        times, unit, told = frame_times(path, shape[axis], rate, why)
        if time is not None and rate is not None:
            told = (overruled(rate, "the times in the file"),)
    else:
        times, unit, told = _in_seconds(time, time_unit)
    pictures = len(shape) == 3
    if pictures:
        sizes = [shape[a] for a in order[1:]]
        space = [Axis(n, np.arange(s, dtype=np.float64), "px") for n, s in zip("yx", sizes, strict=True)]
        names: tuple[str, ...] = ("fluorescence",)
    else:
        space, names = [], tuple(f"ROI {i}" for i in range(shape[order[1]] if len(shape) == 2 else 1))
    reader = _reader(path, name, arrays.get(name), order, pictures)
    axes = (Axis("time", times, unit), *space)
    kind = "movie" if pictures else "traces"
    return Gridded(path, f"{path.suffix[1:]} {kind}", 1, axes, names, reader, notes=(*notes, *told))


def _in_seconds(time: np.ndarray, unit: str) -> tuple[np.ndarray, str, tuple[str, ...]]:
    """Return times in seconds if their unit is known, else as they are, and a note about what was done."""
    if not unit:
        return time, "s", ("time has no unit in the file, taken as seconds",)
    factor = SECONDS.get(unit.strip().lower())
    if factor is None:
        return time, unit, ()
    return time * factor, "s", () if factor == 1 else (f"time is in {unit} in the file, here in s",)


def _arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, tuple[int, ...]], dict[str, str]]:
    """Return what is in memory anyway or small, the shapes of all arrays as their writer meant them, units of times."""
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return {}, {"array": open_npy(path).shape}, {}
    if suffix == ".npz":
        arrays = _npz(path)
    elif suffix == ".mat" and not h5py.is_hdf5(path):
        arrays = _matlab(path)
    elif suffix in _HDF5 or h5py.is_hdf5(path):
        return _hdf5(path)
    else:
        raise DataError(path, "file", ".npz, .npy, .mat, .h5 or .hdf5", path.suffix or "no ending")
    return arrays, {name: array.shape for name, array in arrays.items()}, {}


def _npz(path: Path) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(path):  # numpy leaves the file open when it finds out by itself
        raise DataError(path, "file", "a complete .npz file", "something else, or a part of one")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(path, "file", "a complete .npz file of plain numbers", str(error)) from error


def _matlab(path: Path) -> dict[str, np.ndarray]:
    try:
        plain = [n for n, _, kind in whosmat(path) if kind not in ("char", "cell", "struct", "object", "function")]
        found = loadmat(path, variable_names=plain)
    except Exception as error:  # scipy has many ways to say that a file is not one
        raise DataError(path, "file", "a complete MATLAB file", f"{type(error).__name__}: {error}") from error
    return {name: np.asarray(found[name]) for name in plain if not hasattr(found[name], "tocsc")}


def _hdf5(path: Path) -> tuple[dict[str, np.ndarray], dict[str, tuple[int, ...]], dict[str, str]]:
    """Look at all data sets; MATLAB's have their axes reversed."""
    arrays: dict[str, np.ndarray] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    units: dict[str, str] = {}
    turned = -1 if is_matlab(path) else 1
    with opened(path) as file:

        def visit(name: str, found: h5py.Dataset | h5py.Group) -> None:
            if isinstance(found, h5py.Dataset) and found.shape and found.dtype.kind in "biufc":
                shapes[name] = found.shape[::turned]
                if name.rpartition("/")[2] in _TIMES:
                    arrays[name] = found[()]
                    units[name] = text(found.attrs.get("units", found.attrs.get("unit", "")))

        file.visititems(visit)
        if not shapes:
            raise DataError(path, "file", "an array of numbers", ", ".join(file) or "an empty file")
    return arrays, shapes, units


def _named(path: Path, signal: str | None, shapes: dict[str, tuple[int, ...]]) -> str:
    told = ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "no arrays"
    if signal is not None:
        if signal not in shapes:
            raise DataError(path, signal, "an array of this name", told)
        return signal
    wide = [n for n, shape in shapes.items() if min((len(shape), *shape)) > 1 and n.rpartition("/")[2] not in _TIMES]
    if len(wide) == 1:
        return wide[0]
    if "values" in wide:
        return "values"
    if not wide and len(shapes) == 1:
        return next(iter(shapes))
    raise DataError(path, "signal", "the option signal to name the array", told)


def _time(path: Path, arrays: dict[str, np.ndarray], units: dict[str, str], name: str) -> tuple[np.ndarray | None, str]:
    """Return the times (T,) beside an array and their unit, if there are any."""
    folder = name.rpartition("/")[0]
    for key in [f"{folder}/{t}".lstrip("/") for t in _TIMES] + list(_TIMES):
        if key in arrays and key != name:
            found = arrays[key]
            check_numbers(path, key, found.dtype)
            if found.size != max(found.shape, default=0):
                raise DataError(path, key, "a vector of times", f"shape {found.shape}")
            return np.asarray(found, dtype=np.float64).ravel(), units.get(key, "")
    return None, ""


def _reader(path: Path, name: str, array: np.ndarray | None, order: tuple[int, ...], pictures: bool) -> Reader:
    if path.suffix.lower() == ".npy":
        return FileFrames(path.parent, (path.name,), (1.0,), order, pictures)
    if array is None:
        with opened(path) as file:
            numbers(file, path, name)
        rank = len(order)
        return FileFrames(
            path, (name,), (1.0,), tuple(rank - 1 - a for a in order) if is_matlab(path) else order, pictures
        )
    check_numbers(path, name, array.dtype)
    moved = array.transpose(order)
    return ArrayFrames(moved[..., None] if pictures or moved.ndim == 1 else moved)
