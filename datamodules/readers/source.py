"""What every reader hands out: recordings on a grid, read piece by piece, or scattered points in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cst_lightning.errors import DataError

#: Reads frames [start, stop) of one recording: (sample, start, stop) -> (t, *space, c) float32, NaN where unobserved.
Reader = Callable[[int, int, int], np.ndarray]


class Axis(NamedTuple):
    """One axis of a grid.

    Attributes:
        name: such as "time", "x".
        values: (n,) float64, increasing.
        unit: such as "s"; empty if the file does not say.
    """

    name: str
    values: np.ndarray
    unit: str = ""

    @property
    def label(self) -> str:
        """Name and unit as they stand on an axis."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


@dataclass(frozen=True)
class Gridded:
    """One or several recordings on one grid; nothing but headers is in memory until `read` is called.

    Attributes:
        path: where it came from; None for an object of the user's own.
        layout: what kind of file it is, in words.
        samples: number of recordings S.
        axes: time first, then space; times in seconds or the file's unit, starting where the file says.
        channels: c names.
        read: frames of one recording; must be picklable, and open files lazily, once in each process.
        unit: of the values; empty if the file does not say.
        periodic: which axes wrap around; none by default.
        notes: what was assumed because the file does not say it, one line each.
    """

    path: Path | None
    layout: str
    samples: int
    axes: tuple[Axis, ...]
    channels: tuple[str, ...]
    read: Reader
    unit: str = ""
    periodic: tuple[bool, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        place = self.path or "data"
        for axis in self.axes:
            if axis.values.ndim != 1 or not len(axis.values):
                raise DataError(place, axis.name, "a vector of at least one number", f"shape {axis.values.shape}")
            if not np.isfinite(axis.values).all():
                raise DataError(place, axis.name, "finite numbers", "NaN or infinity")
            _check_order(place, axis)
        if self.samples < 1:
            raise DataError(place, "file", "at least one recording", "none")
        if not self.periodic:
            object.__setattr__(self, "periodic", (False,) * len(self.axes))

    @property
    def shape(self) -> tuple[int, ...]:
        """(S, T, *space, c)."""
        return (self.samples, *(len(axis.values) for axis in self.axes), len(self.channels))

    @property
    def bytes(self) -> int:
        """Size of all values as float32."""
        return 4 * int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True)
class Scattered:
    """Samples of points at places of their own, in memory.

    Attributes:
        path: where it came from; None for an object of the user's own.
        layout: what kind of file it is, in words.
        coords: S arrays (n, d) float64, time first.
        values: S arrays (n, c) float32, NaN where unobserved.
        axes: d names.
        channels: c names.
        notes: what was assumed because the file does not say it, one line each.
        units: of the axes; empty where the file does not say.
        labels: of the samples, as the file has them, numbers or text; 0, 1, 2, ... if it has none.
    """

    path: Path | None
    layout: str
    coords: Sequence[np.ndarray]
    values: Sequence[np.ndarray]
    axes: tuple[str, ...]
    channels: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())
    units: tuple[str, ...] = ()
    labels: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        place = self.path or "data"
        if not self.units:
            object.__setattr__(self, "units", ("",) * len(self.axes))
        if not self.labels:
            object.__setattr__(self, "labels", tuple(range(len(self.coords))))
        if not len(self.coords):
            raise DataError(place, "coords", "at least one sample", "none")
        for i, (coords, values) in enumerate(zip(self.coords, self.values, strict=True)):
            want = f"(point, {len(self.axes)}) and (point, {len(self.channels)})"
            if coords.ndim != 2 or values.ndim != 2 or len(coords) != len(values):
                raise DataError(place, f"coords, values of sample {i}", want, f"{coords.shape} and {values.shape}")
            if (coords.shape[1], values.shape[1]) != (len(self.axes), len(self.channels)):
                raise DataError(place, f"coords, values of sample {i}", want, f"{coords.shape} and {values.shape}")
            if not np.isfinite(coords).all():
                point, axis = (int(n) for n in np.argwhere(~np.isfinite(coords))[0])
                key = f"{self.axes[axis]} of point {point} of sample {i}"
                raise DataError(place, key, "a finite number", f"{coords[point, axis]}")


Source = Gridded | Scattered


def _check_order(place: Path | str, axis: Axis) -> None:
    """Refuse numbers that do not increase, and say what to do about it: sorting is up to who knows why they do not."""
    steps = np.diff(axis.values)
    if (steps > 0).all():
        return
    i = int(np.flatnonzero(steps <= 0)[0])
    found = f"{float(axis.values[i])} followed by {float(axis.values[i + 1])} at position {i + 1}"
    if (steps < 0).all():
        remedy = f"turn {axis.name} and the values around, [::-1]"
    elif (steps >= 0).all():
        remedy = f"keep one of each, numpy.unique({axis.name}, return_index=True)[1] says which"
    else:
        again = ", less what comes twice" if len(np.unique(axis.values)) < len(axis.values) else ""
        remedy = f"put {axis.name} and the values into the order numpy.argsort({axis.name}){again}"
    raise DataError(place, axis.name, f"increasing numbers ({remedy})", found)
