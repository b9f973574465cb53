"""Fluorescence traces from the output folder of suite2p.

Layout: ``<folder>/plane<n>/{F,Fneu,spks}.npy`` (ROI x frames), ``iscell.npy`` (ROI x 2: flag, probability), and
``ops.npy`` or ``settings.npy``, pickled, with the rate as ``fs``.
Source: https://suite2p.readthedocs.io, "Outputs"; Pachitariu et al., bioRxiv 061507 (2016).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from cst_lightning.datamodules.readers.slices import FileFrames, Layout, frame_times, open_npy, time_axis
from cst_lightning.datamodules.readers.source import Axis, Gridded, Reader
from cst_lightning.errors import DataError

#: Which ROI are kept: those marked as cells, all, or those whose probability of being a cell is at least this.
Cells = float | Literal["cells", "all"]


def read_suite2p(
    folder: str | os.PathLike[str],
    rate: float | None = None,
    neuropil: float | None = 0.7,
    allow_pickle: bool = False,
    *,
    signal: Literal["F", "Fneu", "spks"] = "F",
    rois: Cells = "cells",
    plane: int | None = None,
    layout: Layout = "auto",
) -> Gridded:
    """Open traces of suite2p: one recording, time its axis, a channel an ROI.

    Args:
        folder: of one plane, or the one above with `plane0`, `plane1`, ...
        rate: frames a second of a plane; None takes it from `ops.npy` with `allow_pickle`, else counts frames.
        neuropil: factor r of ``F - r Fneu``; None leaves F as it is. Only for `signal` F.
        allow_pickle: unpickle `ops.npy` for the rate. A pickle can run any program: only for files of your own.
        signal: which traces.
        rois: `cells` (suite2p's or the curator's flag), `all`, or the least probability of being a cell.
        plane: number of the plane; all planes side by side if None.
        layout: where time is, if the number of ROI does not tell.

    Returns:
        Values (T, ROI) in suite2p's units, time in seconds, or in frames without a rate.

    Raises:
        DataError: a file is missing, damaged, transposed or pickled, or no ROI is left.
    """
    folder = Path(folder)
    planes = _planes(folder, plane)
    parts, names, counts, notes = [], [], [], []
    for place in planes:
        reader, frames, kept, told = _plane(place, signal, neuropil, rois, layout)
        parts.append(reader)
        counts.append(frames)
        start = "" if len(planes) == 1 else f"{place.name} "
        names += [f"{start}ROI {i}" for i in kept]
        notes += told
    if not names:
        raise DataError(folder, "iscell.npy", f"at least one ROI with rois {rois}", "none")
    if len(set(counts)) > 1:
        notes.append(f"planes have {sorted(set(counts))} frames: the last ones of the longer planes are left out")
    rate = _pickled_rate(planes[0]) if rate is None and allow_pickle else rate
    why = "the rate is unknown, time counts frames: set rate, or allow_pickle to read it from ops.npy"
    times, unit, more = frame_times(folder, min(counts), rate, why)
    return Gridded(
        folder,
        "suite2p",
        1,
        (Axis("time", times, unit),),
        tuple(names),
        parts[0] if len(parts) == 1 else SideBySide(tuple(parts)),
        "a.u.",
        notes=(*notes, *more),
    )


@dataclass
class SideBySide:
    """Channels of several readers, one after the other; a `Reader`.

    Attributes:
        parts: of the same times.
    """

    parts: Sequence[Reader]

    def __call__(self, sample: int, start: int, stop: int) -> np.ndarray:
        """Return frames (t, c), float32."""
        return np.concatenate([part(sample, start, stop) for part in self.parts], axis=-1)


def _planes(folder: Path, plane: int | None) -> list[Path]:
    """Return the folders with traces: this one, or those of planes below it."""
    if not folder.is_dir():
        raise DataError(folder, "folder", "a folder of suite2p", "a file" if folder.exists() else "nothing")
    if (folder / "F.npy").exists():
        return [folder]
    below = folder / "suite2p" if (folder / "suite2p").is_dir() else folder
    numbers = sorted(int(p.name[5:]) for p in below.glob("plane*") if p.is_dir() and p.name[5:].isdecimal())
    chosen = numbers if plane is None else [n for n in numbers if n == plane]
    if not chosen:
        found = ", ".join(f"plane{n}" for n in numbers) or "no F.npy and no plane folder"
        raise DataError(folder, "folder", "F.npy or plane0, plane1, ..." if plane is None else f"plane{plane}", found)
    return [below / f"plane{n}" for n in chosen]


def _plane(
    place: Path, signal: str, neuropil: float | None, rois: Cells, layout: Layout
) -> tuple[Reader, int, np.ndarray, list[str]]:
    """Open one plane: its reader, number of frames, positions of the ROI that are kept, and notes."""
    subtract = signal == "F" and neuropil is not None
    keys = (f"{signal}.npy", "Fneu.npy") if subtract else (f"{signal}.npy",)
    arrays = [open_npy(place / key, 2) for key in keys]
    shape = arrays[0].shape
    if any(array.shape != shape for array in arrays):
        raise DataError(place, keys[-1], f"shape {shape} as in {keys[0]}", f"{arrays[-1].shape}")
    flags = open_npy(place / "iscell.npy", 2) if (place / "iscell.npy").exists() else None
    count = None if flags is None else len(flags)
    axis, notes = time_axis(place, keys[0], shape, others=count, usual="time_last", layout=layout)
    kept = _kept(place, flags, rois, shape[1 - axis])
    weights = (1.0, -float(neuropil)) if subtract and neuropil is not None else (1.0,)
    # the mark says nothing about an empty channel: an ROI outside the picture is zero throughout
    reader = FileFrames(place, keys, weights, (axis, 1 - axis), select=kept)
    return reader, shape[axis], kept, list(notes)


def _kept(place: Path, flags: np.ndarray | None, rois: Cells, count: int) -> np.ndarray:
    if rois == "all":
        return np.arange(count)
    if flags is None or flags.shape[1] < (1 if rois == "cells" else 2):
        wanted = "iscell.npy (ROI x 2) to select by, or rois all"
        raise DataError(place, "iscell.npy", wanted, "nothing" if flags is None else f"shape {flags.shape}")
    return np.flatnonzero(flags[:, 0] > 0) if rois == "cells" else np.flatnonzero(flags[:, 1] >= rois)


def _pickled_rate(place: Path) -> float:
    """Unpickle the rate; the user has said that this file may be."""
    found = [place / name for name in ("ops.npy", "settings.npy") if (place / name).exists()]
    if not found:
        raise DataError(place, "ops.npy", "ops.npy or settings.npy to take the rate from, or the option rate", "none")
    try:
        settings = np.load(found[0], allow_pickle=True).item()
        return float(settings["fs"])
    except Exception as error:  # a pickle can fail in any way
        raise DataError(found[0], "fs", "the rate", f"{type(error).__name__}: {error}") from error
