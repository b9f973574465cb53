"""Curves of one file: `.npz` or HDF5 with `values` (S, T, c) and `time` (T,)."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np

from cst_lightning.datamodules.trajectories import check_file, dataset, open_hdf5
from cst_lightning.errors import DataError


def read_curves(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
    """Read all curves.

    Args:
        path: `.npz`, `.h5` or `.hdf5`; nothing in it is unpickled.

    Returns:
        Values (S, T, c) float32, and times (T,) float64: [0, 1] in equal steps if the file has no `time`.

    Raises:
        DataError: the file is missing, empty, damaged or laid out differently.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (".npz", ".h5", ".hdf5"):
        raise DataError(path, "file", ".npz, .h5 or .hdf5", suffix or "no ending")
    found = _npz(path) if suffix == ".npz" else _hdf5(path)
    values = found["values"]
    if values.ndim != 3 or not values.size:
        raise DataError(path, "values", "(sample, time, channel)", f"shape {values.shape}")
    if not np.issubdtype(values.dtype, np.number) or np.iscomplexobj(values):
        raise DataError(path, "values", "real numbers", str(values.dtype))
    time = np.asarray(found.get("time", np.linspace(0, 1, values.shape[1])), dtype=np.float64)
    if time.shape != values.shape[1:2]:
        raise DataError(path, "time", f"shape {values.shape[1:2]} as in values", f"{time.shape}")
    if not (np.diff(time) > 0).all():
        seen = "times that are not" if np.isfinite(time).all() else "NaN or infinite ones"
        raise DataError(path, "time", "increasing times", seen)
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and told below
        values = values.astype(np.float32)
    if np.isinf(values).any():
        raise DataError(path, "values", "numbers below 3.4e38, or NaN where nothing was observed", "infinite ones")
    return values, time


def _npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    check_file(path)
    if not zipfile.is_zipfile(path):  # numpy leaves the file open when it finds out by itself
        raise DataError(path, "file", "a complete .npz file", "something else, or a part of one")
    try:
        with np.load(path, allow_pickle=False) as file:
            if "values" not in file:
                raise DataError(path, "values", "an array of this name", ", ".join(file) or "no arrays")
            return {key: file[key] for key in ("values", "time") if key in file}
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(path, "file", "a complete .npz file", str(error)) from error
    except DataError:
        raise
    except ValueError as error:  # numpy's answer both to pickled arrays and to files that are not its own
        raise DataError(path, "values", "plain arrays", str(error)) from error


def _hdf5(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    with open_hdf5(path) as file:
        found = {"values": dataset(file, path, "values", None)[()]}
        if "time" in file:
            found["time"] = dataset(file, path, "time", None)[()]
        return found
