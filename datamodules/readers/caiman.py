"""Traces from the HDF5 file that CaImAn's `cnmf.save` writes.

Layout: ``estimates/{C,F_dff,S,YrA}`` (components x frames), ``estimates/idx_components`` (accepted ones),
``estimates/A/shape`` (pixels, components), ``params/data/fr`` (frames a second). What was not computed is a scalar.
Source: https://caiman.readthedocs.io, "Result interpretation"; Giovannucci et al., eLife 8:e38173 (2019).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import h5py
import numpy as np

from cst_lightning.datamodules.readers.slices import (
    FileFrames,
    Layout,
    frame_times,
    numbers,
    opened,
    overruled,
    time_axis,
)
from cst_lightning.datamodules.readers.source import Axis, Gridded
from cst_lightning.errors import DataError

_UNITS = {"F_dff": "dF/F", "C": "a.u.", "S": "a.u.", "C+YrA": "a.u."}


def read_caiman(
    path: str | os.PathLike[str],
    rate: float | None = None,
    *,
    signal: Literal["F_dff", "C", "C+YrA", "S"] | None = None,
    rois: Literal["cells", "all"] = "cells",
    layout: Layout = "auto",
) -> Gridded:
    """Open traces of CaImAn: one recording, time its axis, a channel a component.

    Args:
        path: the file.
        rate: frames a second; the file's own (`params/data/fr`) if None.
        signal: `F_dff`; `C`, CaImAn's own denoised trace; `C+YrA`, the same with its residual, which is what was
            measured; `S`, spikes. `F_dff` if the file has it, else `C`, when None.
        rois: `cells`: the accepted components (`idx_components`), if the file has them; or `all`.
        layout: where time is, if the file does not tell.

    Returns:
        Values (T, components), time in seconds, or in frames without a rate.

    Raises:
        DataError: the file is missing, damaged, or the signal is not in it; axes fit no count in the file.
    """
    path = Path(path)
    with opened(path) as file:
        notes: list[str] = []
        if signal is None:
            signal = "F_dff" if _present(file, "estimates/F_dff") else "C"
            notes.append(f"signal is {signal}" + (" (denoised by CaImAn)" if signal == "C" else ""))
        keys = tuple(f"estimates/{name}" for name in signal.split("+"))
        for key in keys:
            if not _present(file, key):
                found = f"a scalar in {key}" if key in file else ", ".join(file.get("estimates", file)) or "nothing"
                raise DataError(path, key, "components x frames", found)
        shapes = [numbers(file, path, key, 2).shape for key in keys]
        if len(set(shapes)) > 1 or len(shapes[0]) != 2:
            raise DataError(path, " and ".join(keys), "one shape, components x frames", str(shapes))
        background = file["estimates/f"].shape[-1] if _present(file, "estimates/f") else None
        axis, told = time_axis(
            path, keys[0], shapes[0], times=background, others=_components(file), usual="time_last", layout=layout
        )
        kept = _accepted(file, path, rois, shapes[0][1 - axis])
        own = _rate(file)
    why = "the file has no rate (params/data/fr), time counts frames: set rate"
    times, unit, more = frame_times(path, shapes[0][axis], own if rate is None else rate, why)
    if rate is not None and own is not None and rate != own:
        more = (overruled(rate, f"the {own:g}/s of the file"),)
    reader = FileFrames(path, keys, (1.0,) * len(keys), (axis, 1 - axis), select=kept)
    names = tuple(f"ROI {i}" for i in kept)
    axes = (Axis("time", times, unit),)
    return Gridded(path, "CaImAn", 1, axes, names, reader, _UNITS[signal], notes=(*notes, *told, *more))


def _present(file: h5py.File, key: str) -> bool:
    """Whether there is an array: None is saved as a scalar string."""
    found = file.get(key)
    return isinstance(found, h5py.Dataset) and bool(found.shape)


def _components(file: h5py.File) -> int | None:
    """Return the number of components as the footprints have it, pixels x components."""
    if _present(file, "estimates/A/shape") and file["estimates/A/shape"].shape == (2,):
        return int(file["estimates/A/shape"][1])
    return None


def _accepted(file: h5py.File, path: Path, rois: str, count: int) -> np.ndarray:
    key = "estimates/idx_components"
    if rois == "all" or not _present(file, key):
        return np.arange(count)
    kept = np.asarray(file[key][()])
    if kept.dtype.kind not in "iu" or kept.ndim != 1 or (kept.size and not 0 <= kept.min() <= kept.max() < count):
        raise DataError(path, key, f"positions of components below {count}", f"{kept.dtype} of shape {kept.shape}")
    if not kept.size:
        raise DataError(path, key, "at least one accepted component, or rois all", "none")
    return np.unique(kept)


def _rate(file: h5py.File) -> float | None:
    found = file.get("params/data/fr")
    if not isinstance(found, h5py.Dataset) or found.size != 1 or found.dtype.kind not in "iuf":
        return None
    return float(np.ravel(found[()])[0])
