"""Frames of one array in a file, read a few at a time, and which of its axes is time.

Recordings lie in files as time x ROI, as ROI x time, or as pictures with time first or last. What a file's own counts
(timestamps, ROI) say decides; where they cannot, the user does.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from cst_lightning.datamodules.trajectories import check_file, dataset, open_hdf5
from cst_lightning.errors import DataError

#: Seconds in a unit of time, under the names that files have for it.
SECONDS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "\u00b5s", "\u03bcs", "usec", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("ns", "nsec", "nanosecond", "nanoseconds"), 1e-9),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
}

#: Where time is among the axes of an array; `auto`: as the counts in the file say.
Layout = Literal["auto", "time_first", "time_last"]


def time_axis(
    path: str | os.PathLike[str],
    key: str,
    shape: Sequence[int],
    *,
    times: int | None = None,
    others: int | None = None,
    usual: Literal["time_first", "time_last"] | None = None,
    layout: Layout = "auto",
) -> tuple[int, tuple[str, ...]]:
    """Find the axis of time of traces or a movie from what the file says beside it.

    Args:
        path: the file, for messages.
        key: the array, for messages.
        shape: of the array, two axes or more, or one, which is time.
        times: number of timestamps, if the file has any.
        others: number of ROI, if the file tells it and the array has two axes.
        usual: where the file format puts time, if it does.
        layout: what the user says; it must not contradict `times`.

    Returns:
        The axis, 0 or the last one, and notes: one if it is not the usual one (the first if the format has none).

    Raises:
        DataError: no axis fits, or both do.
    """
    if len(shape) == 1:
        shape = (shape[0], 1)
    last, size = len(shape) - 1, tuple(shape)
    counts = {"timestamps": times, "ROI": others if len(shape) == 2 else None}
    told = ", ".join(f"{n} {name}" for name, n in counts.items() if n is not None)

    def fits(axis: int) -> bool:
        return times in (None, size[axis]) and (counts["ROI"] is None or counts["ROI"] == size[last - axis])

    named = {"time_first": 0, "time_last": last}
    if layout != "auto":
        if not fits(named[layout]):
            raise DataError(path, key, f"axes that fit {told} with layout {layout}", f"shape {size}")
        return named[layout], ()
    axes = [axis for axis in (0, last) if fits(axis)]
    if not axes:
        raise DataError(path, key, f"axes that fit {told}", f"shape {size}")
    if len(axes) == 2:
        # a format's own rule is enough as long as it looks like a recording: more frames than ROI
        if usual is not None and not told and size[named[usual]] > size[last - named[usual]]:
            return named[usual], ()
        wanted = "the option layout (time_first or time_last), because both axes may be time"
        raise DataError(path, key, wanted, f"shape {size} with {told or 'no timestamps'}")
    if axes[0] == (0 if usual is None else named[usual]):
        return axes[0], ()
    return axes[0], (f"{key} is stored transposed, {size}: time is axis {axes[0]}, as {told} say",)


@dataclass
class ArrayFrames:
    """Frames of an array in memory; a `Reader`.

    Attributes:
        values: (T, *space, c), NaN where unobserved.
    """

    values: np.ndarray

    def __call__(self, sample: int, start: int, stop: int) -> np.ndarray:
        """Return frames (t, *space, c), float32."""
        return np.asarray(self.values[start:stop], dtype=np.float32)


@dataclass
class FileFrames:
    """Frames of one array in an HDF5 or `.npy` file, or of a weighted sum of several arrays; a `Reader`.

    The path travels to other processes, what is open does not: HDF5 must not be used across a fork.

    Attributes:
        path: the HDF5 file, or the folder of `.npy` files.
        keys: data sets in it, or names of files, all of one shape.
        weights: of the sum, one a key.
        order: axes of the arrays in the order time, then space or ROI.
        pictures: the values are a movie of one channel rather than traces.
        select: positions of the ROI that are kept; all if None. Traces only.
        offset: added to the sum.
    """

    path: Path
    keys: tuple[str, ...]
    weights: tuple[float, ...]
    order: tuple[int, ...]
    pictures: bool = False
    select: np.ndarray | None = None
    offset: float = 0.0
    _open: Any = field(default=None, repr=False, compare=False)
    _process: int = field(default=-1, repr=False, compare=False)

    def __call__(self, sample: int, start: int, stop: int) -> np.ndarray:
        """Return frames (t, *space, c), float32."""
        total: Any = self.offset
        for key, array, weight in zip(self.keys, self._arrays(), self.weights, strict=True):
            part = [slice(None)] * len(self.order)
            part[self.order[0]] = slice(start, stop)
            try:
                block = np.asarray(array[tuple(part)], dtype=np.float64)
            except (OSError, ValueError, TypeError) as error:
                line = str(error).splitlines()[0]
                raise DataError(self.path, f"{self.keys}[{start}:{stop}]", "readable numbers", line) from error
            block = block.transpose(self.order)
            if len(self.keys) > 1:
                self._check_finite(key, block, start)
            total = total + weight * block
        values = np.asarray(total)
        if self.pictures or values.ndim == 1:
            values = values[..., None]
        if self.select is not None:
            values = values[..., self.select]
        return np.ascontiguousarray(values, dtype=np.float32)

    def _check_finite(self, key: str, block: np.ndarray, start: int) -> None:
        """Refuse infinity in one of several arrays (t, ROI): infinity less infinity would pass for unobserved."""
        kept = np.arange(block.shape[-1]) if self.select is None else self.select
        wrong = np.argwhere(np.isinf(block[..., kept]))
        if len(wrong):
            where = f"ROI {kept[wrong[0][-1]]}, frame {start + wrong[0][0]}"
            raise DataError(self.path / key, where, "a finite number, or NaN where unobserved", "infinity")

    def _arrays(self) -> list[Any]:
        # a loader's worker is a fork that inherits the handle, with a position that the parent moves as well
        if self._open is None or self._process != os.getpid():
            if self.path.is_dir():
                self._open = [open_npy(self.path / key) for key in self.keys]
            else:
                file = h5py.File(self.path, "r")
                self._open = [file[key] for key in self.keys]
            self._process = os.getpid()
        arrays: list[Any] = self._open
        return arrays

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None, "_process": -1}


def open_npy(path: str | os.PathLike[str], axes: int | None = None) -> np.ndarray:
    """Map a `.npy` file of real numbers into memory without reading or unpickling it.

    Args:
        path: the file.
        axes: how many axes the array must have; any number if None.

    Raises:
        DataError: it is missing, empty, truncated, pickled, complex, or has other axes.
    """
    check_file(path)
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:  # numpy's answers to pickled, foreign and truncated files
        raise DataError(path, "file", "a complete .npy file of plain numbers", str(error)) from error
    if not isinstance(array, np.ndarray):
        raise DataError(path, "file", "a .npy file", "an archive of several arrays")
    check_numbers(path, "array", array.dtype)
    if (axes is not None and array.ndim != axes) or not array.size:
        raise DataError(path, "array", f"{axes or 'some'} axes and values", f"shape {array.shape}")
    return array


def numbers(file: h5py.File, path: str | os.PathLike[str], key: str, least: int = 1) -> h5py.Dataset:
    """Return a data set of real numbers with at least so many axes, or say what is there instead."""
    found = dataset(file, path, key, None)
    if found.shape is None or len(found.shape) < least or not found.size:
        raise DataError(path, key, f"an array of at least {least} axes", f"shape {found.shape}")
    check_numbers(path, key, found.dtype)
    return found


def check_numbers(path: str | os.PathLike[str], key: str, dtype: np.dtype) -> None:
    """Refuse what is not a real number."""
    if dtype.kind not in "biuf":
        raise DataError(path, key, "real numbers", str(dtype))


def opened(path: str | os.PathLike[str]) -> h5py.File:
    """Open an HDF5 file for reading, or say in one line why not."""
    return open_hdf5(path)


def overruled(rate: float, stored: str) -> str:
    """Return the note that a rate of the user's counts, and not what the file says.

    Args:
        rate: frames a second.
        stored: what the file has instead.
    """
    return f"rate {rate:g} counts, not {stored}"


def frame_times(
    path: str | os.PathLike[str], count: int, rate: float | None, why: str
) -> tuple[np.ndarray, str, tuple[str, ...]]:
    """Return times of frames that come at a constant rate.

    Args:
        path: the file, for messages.
        count: number of frames.
        rate: frames a second; None if nobody knows.
        why: what to say where there is no rate.

    Returns:
        Times (T,), their unit, and notes: times are numbers of frames if there is no rate.

    Raises:
        DataError: the rate is no positive number.
    """
    if rate is None:
        return np.arange(count, dtype=np.float64), "frame", (why,)
    if not rate > 0 or not np.isfinite(rate):
        raise DataError(path, "rate", "a positive number of frames a second", f"{rate}")
    return np.arange(count) / rate, "s", ()
