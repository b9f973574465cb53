"""What data modules hand out before anything is hidden: trajectories, and sets of them in memory or in a file."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch
from torch import Tensor

from cst_lightning.datamodules.keeping import Keep
from cst_lightning.errors import DataError


class Trajectory(NamedTuple):
    """One sample as it is, in physical units.

    Attributes:
        coords: (n, d) float64, time first, then space.
        values: (n, c) float32, NaN where nothing was observed.
        frames: if positive, the points are `frames` successive times of the same n / frames places, time-major.
        measured: (n, c) what was measured, where that is not the truth; None if `values` is all there is to see.
        observed: (n,) bool, which points are observed; None to have them drawn for this sample.
    """

    coords: Tensor
    values: Tensor
    frames: int = 0
    measured: Tensor | None = None
    observed: Tensor | None = None

    @property
    def seen(self) -> Tensor:
        """What an observer gets to see, (n, c), NaN where nothing."""
        return self.values if self.measured is None else self.measured


class TrajectoryDataset(ABC):
    """Samples by index; lazy where the file is large.

    Attributes:
        grid: (T, *space) if every trajectory lies on one and the same C-ordered grid, else None.
        box: lower and upper corner, (d,) each, around the coordinates of all, if known without reading them.
    """

    grid: tuple[int, ...] | None = None
    box: tuple[np.ndarray, np.ndarray] | None = None

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Trajectory: ...

    def rates(self, index: int) -> Tensor | None:
        """Return the true derivatives (n, c) in time of a sample's values, or None where nobody knows them."""
        return None


class ArrayTrajectories(TrajectoryDataset):
    """Trajectories on one grid, in memory.

    Args:
        values: (S, T, *space, c).
        axes: the grid's axes, time first: (T,) and one vector a space axis.
        rates: (S, T, *space, c) true derivatives of the values in time, if they are known.
    """

    def __init__(
        self, values: np.ndarray | Tensor, axes: Sequence[np.ndarray], rates: np.ndarray | None = None
    ) -> None:
        self.values = torch.as_tensor(values, dtype=torch.float32)
        self._rates = None if rates is None else torch.as_tensor(rates, dtype=torch.float32)
        self.coords, self.grid = grid_coords(axes), tuple(len(axis) for axis in axes)
        if tuple(self.values.shape[1:-1]) != self.grid:
            raise ValueError(
                f"values has shape {tuple(self.values.shape)}, expected (sample, *grid, channel), grid = {self.grid}"
            )

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> Trajectory:
        return Trajectory(self.coords, self.values[index].flatten(0, -2), len(self.coords) // self.coords_per_frame)

    def rates(self, index: int) -> Tensor | None:
        """Return the derivatives that were given with the values."""
        return None if self._rates is None else self._rates[index].flatten(0, -2)

    @property
    def coords_per_frame(self) -> int:
        """Number of places."""
        return int(np.prod(self.values.shape[2:-1], dtype=int))


class ScatteredTrajectories(TrajectoryDataset):
    """Trajectories that each have their own coordinates and number of points, in memory.

    Args:
        trajectories: the samples.
    """

    def __init__(self, trajectories: Sequence[Trajectory]) -> None:
        self.trajectories = list(trajectories)

    def __len__(self) -> int:
        return len(self.trajectories)

    def __getitem__(self, index: int) -> Trajectory:
        return self.trajectories[index]


class FileTrajectories(TrajectoryDataset):
    """Trajectories on one grid, read one at a time from our sample-first HDF5 layout.

    The file has `values` (S, T, *space, c), `time` (T,) and one vector an axis, `x`, `y`, `z`; it may have
    `time_derivative`, of the shape of the values, for those who score predicted ones. The path travels to other
    processes, the open handle does not: HDF5 must not be used across a fork.

    Args:
        path: the file.
        frames: use the first so many times; all if None.
        stride: use every so many-th point of each space axis.

    Raises:
        DataError: the file is missing, damaged or laid out differently.
    """

    def __init__(self, path: str | os.PathLike[str], frames: int | None = None, stride: int = 1) -> None:
        self.path, self.stride = Path(path), stride
        self._file: h5py.File | None = None
        self._kept = Keep()
        self._process = -1
        with open_hdf5(path) as file:
            shape = dataset(file, path, "values", None).shape
            if len(shape) < 3 or len(shape) > 6:
                raise DataError(path, "values", "(sample, time, *space, channel)", f"shape {shape}")
            names = ["time", "x", "y", "z"][: len(shape) - 2]
            axes = [dataset(file, path, name, (n,))[()] for name, n in zip(names, shape[1:-1], strict=True)]
            self._has_rates = "time_derivative" in file
            if self._has_rates:
                dataset(file, path, "time_derivative", shape)
        self.length, times = shape[0], shape[1]
        self.frames = times if frames is None else frames
        if not 0 < self.frames <= times:
            raise DataError(path, "time", f"at least {frames} frames", f"{times}")
        axes = [axes[0][: self.frames], *(axis[::stride] for axis in axes[1:])]
        # one tensor for all samples: a copy in each would be larger than the values
        self.coords, self.grid = grid_coords(axes), tuple(len(axis) for axis in axes)

    def __len__(self) -> int:
        return int(self.length)

    def __getitem__(self, index: int) -> Trajectory:
        values = self._kept.get(index, lambda: self._read("values", index), lambda values: values.nbytes)
        return Trajectory(self.coords, values.clone(), self.frames)

    def rates(self, index: int) -> Tensor | None:
        """Return the derivatives that the file has."""
        return self._read("time_derivative", index) if self._has_rates else None

    def _read(self, name: str, index: int) -> Tensor:
        """Return one sample of a data set, thinned out, (n, c)."""
        if self._file is None or self._process != os.getpid():
            disown(self._file)
            self._file, self._process = h5py.File(self.path, "r"), os.getpid()
        space = (slice(None, None, self.stride),) * (len(self.coords[0]) - 1)
        try:
            # read whole and thin out in memory: HDF5 is slow at strided reads
            block = self._file[name][index, : self.frames][(slice(None), *space)]
        except OSError as error:
            raise DataError(self.path, f"{name}[{index}]", "readable data", str(error).splitlines()[0]) from error
        values = torch.from_numpy(np.ascontiguousarray(block, dtype=np.float32))
        if values.isinf().any():
            raise DataError(self.path, f"{name}[{index}]", "finite numbers or NaN", "infinite ones")
        return values.flatten(0, -2)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_process": -1}


def grid_coords(axes: Sequence[np.ndarray]) -> Tensor:
    """Return the points of a grid in C order, (n, d) float64, from its axes."""
    mesh = np.meshgrid(*(np.asarray(axis, dtype=np.float64) for axis in axes), indexing="ij")
    return torch.from_numpy(np.stack([part.ravel() for part in mesh], axis=-1))


def open_hdf5(path: str | os.PathLike[str]) -> h5py.File:
    """Open an HDF5 file for reading, or say in one line why not."""
    check_file(path)
    try:
        return _Hdf5(path, "r")
    except OSError as error:
        raise DataError(path, "file", "a complete HDF5 file", str(error).splitlines()[0]) from error


def disown(inherited: Any) -> None:
    """Close an HDF5 file that a fork has from its parent, whose own stays open; leave anything else as it is.

    A loader's worker is a fork. HDF5 hands a file that is open out again instead of opening it, so the worker would go
    on reading through the parent's descriptor as long as what it has inherited is open. Where another data set has
    the same file open that stays so, and does no harm: HDF5 reads by `pread`, which moves no position, and h5py forks
    only while no thread is reading.
    """
    if isinstance(inherited, h5py.File):
        inherited.close()


class _Hdf5(h5py.File):
    """A file that says in one line what a `with` block could not read: HDF5 raises a dozen kinds on damaged data."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        path = self.filename
        super().__exit__(kind, error, trace)
        if isinstance(error, (OSError, RuntimeError, LookupError, UnicodeError, MemoryError)):
            raise DataError(path, "file", "a complete HDF5 file", str(error) or type(error).__name__) from error


def dataset(
    file: h5py.File, path: str | os.PathLike[str], key: str, shape: tuple[int | None, ...] | None
) -> h5py.Dataset:
    """Return a data set of a shape (None: any length), or say what is there instead."""
    found = file.get(key)
    if not isinstance(found, h5py.Dataset):
        raise DataError(path, key, "a data set of this name", ", ".join(map(str, file)) or "an empty file")
    if shape is not None and (
        len(found.shape) != len(shape)
        or any(want not in (None, have) for want, have in zip(shape, found.shape, strict=True))
    ):
        wanted = tuple("any" if n is None else n for n in shape)
        raise DataError(path, key, f"shape {wanted}", f"{found.shape}")
    return found


def check_file(path: str | os.PathLike[str]) -> None:
    """Say in one line if a file is missing, empty, or somebody else's."""
    if not os.path.isfile(path):
        raise DataError(path, "file", "a file", "a folder" if os.path.isdir(path) else "nothing")
    if not os.access(path, os.R_OK):  # libraries call it damaged
        raise DataError(path, "file", "a file that may be read", "no permission to read it")
    if os.path.getsize(path) == 0:
        raise DataError(path, "file", "data", "an empty file")
