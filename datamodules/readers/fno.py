"""The Navier-Stokes files of the Fourier Neural Operator paper (`ns_V1e-3_N5000_T50.mat` and like).

MATLAB v5 or v7.3. `u` (S, x, y, T) is the vorticity at the seconds in `t`, `a` (S, x, y) the one at t = 0. A v7.3 file
is HDF5 with all axes reversed, (T, y, x, S), so a full reversal restores it. Its sample axis is the fastest there, and
one sample costs as much to read as a thousand: the file is rewritten once, sample first.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from scipy.io import loadmat, whosmat

from cst_lightning.datamodules.cache import cached
from cst_lightning.datamodules.readers.stores import Entry, Index, Store
from cst_lightning.datamodules.trajectories import check_file, dataset, open_hdf5
from cst_lightning.errors import DataError

Progress = Callable[[int, int], None]  # done, total

# Bytes of a v7.3 file that are held in memory at once while it is rewritten.
_BLOCK = 256 * 2**20
# The same while it is read as it is.
_NEIGHBOURS = 16 * 2**20


class Layout(NamedTuple):
    """What an FNO file holds.

    Attributes:
        samples: S.
        space: points along x and along y.
        times: (T,) seconds of `u`.
        initial: whether `a`, the state at t = 0, is there.
    """

    samples: int
    space: tuple[int, int]
    times: np.ndarray
    initial: bool


def converted(
    path: str | os.PathLike[str],
    cache_dir: str | os.PathLike[str] = "cache",
    include_initial: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Return our sample-first HDF5 file of an FNO file, writing it the first time.

    Args:
        path: a `.mat` file, v5 or v7.3.
        cache_dir: where the result lies.
        include_initial: put `a` before `u`, as the frame at t = 0.
        progress: told how many samples are done while writing.

    Returns:
        Path of a file with `values` (S, T, x, y, 1) float32, `time` (T,) seconds, `x` and `y` in [0, 1).

    Raises:
        DataError: the file is missing, empty, truncated, neither v5 nor v7.3, or `u`, `a`, `t` are not as expected.
    """
    check_file(path)
    source = Path(path).resolve()
    read = _Hdf5(source) if h5py.is_hdf5(source) else _Matlab5(source)
    with read as file:
        layout = file.layout()
        if include_initial and not layout.initial:
            raise DataError(path, "a", "the vorticity at t = 0", "no such key")
        times = np.concatenate([[0.0], layout.times]) if include_initial else layout.times
        shape = (layout.samples, len(times), *layout.space, 1)
        state = source.stat()
        settings = {
            "source": str(source),
            "bytes": state.st_size,
            "modified": state.st_mtime_ns,
            "include_initial": include_initial,
        }

        def build(target: h5py.File) -> None:
            values = target.create_dataset("values", shape, "f4", chunks=(1, *shape[1:]))
            target["time"] = times
            for name, n in zip("xy", layout.space, strict=True):
                target[name] = np.arange(n) / n
            done = 0
            for u, a in file.blocks(include_initial):
                frames = np.moveaxis(u, -1, 1)
                block = frames if a is None else np.concatenate([a[:, None], frames], axis=1)
                values[done : done + len(block)] = block[..., None]
                done += len(block)
                if progress is not None:
                    progress(done, layout.samples)

        return cached(cache_dir, source.stem, settings, {"values": shape, "time": (len(times),)}, build)


class Trajectories(Store):
    """The arrays that `converted` would write, read from the file as it is: nothing but its header at first.

    Of a v5 file `u` is read whole, once in each process. Of a v7.3 file neighbouring samples are read together, because
    one of them costs as much.

    Args:
        path: a `.mat` file, v5 or v7.3.

    Raises:
        DataError: as `converted`.
    """

    def __init__(self, path: Path) -> None:
        check_file(path)
        with _Hdf5(path) if h5py.is_hdf5(path) else _Matlab5(path) as file:
            layout = file.layout()
        self.vectors = {"time": layout.times, **{n: np.arange(s) / s for n, s in zip("xy", layout.space, strict=True)}}
        self.shape = (layout.samples, len(layout.times), *layout.space, 1)
        entries = {name: Entry(vector.shape, vector.dtype) for name, vector in self.vectors.items()}
        super().__init__(path, {"values": Entry(self.shape, np.dtype(np.float32)), **entries})

    def _opened(self) -> dict[str, Any]:
        return {}

    def _block(self, name: str, index: Index) -> np.ndarray:
        if name in self.vectors:
            return np.asarray(self.vectors[name][index])
        sample = index[0]
        if not isinstance(sample, int):
            raise TypeError(f"expected the number of one sample, found {sample}")
        start, block = self._open.get("samples", (0, ()))
        if not start <= sample < start + len(block):
            self._open["samples"] = start, block = self._samples(sample)
        values: np.ndarray = np.moveaxis(block[sample - start], -1, 0)[..., None]
        return values[index[1:]]

    def _samples(self, sample: int) -> tuple[int, np.ndarray]:
        """Return `u` (s, x, y, T) of some neighbouring samples, and the number of the first."""
        path = self.path or Path()
        if not h5py.is_hdf5(path):
            with _Matlab5(path) as file:
                return 0, next(file.blocks(False))[0]
        with _Hdf5(path) as file:
            u = file.file["u"]
            step = max(1, _NEIGHBOURS // (4 * int(np.prod(u.shape[:-1]))))
            if u.chunks:  # whole chunks, or each would be decompressed more than once
                step = max(1, step // u.chunks[-1]) * u.chunks[-1]
            start = sample // step * step
            return start, u[..., start : start + step].transpose()


class _Matlab5:
    """A v5 file: arrays can only be read whole, so shapes are taken from their headers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shapes = {name: tuple(shape) for name, shape, _ in self._told(whosmat)}

    def __enter__(self) -> _Matlab5:
        return self

    def __exit__(self, *_: object) -> None: ...

    def layout(self) -> Layout:
        if "u" not in self.shapes:
            raise DataError(self.path, "u", "an array of this name", ", ".join(self.shapes) or "no arrays")
        times = self._told(loadmat, variable_names=["t"]).get("t")
        return _checked(self.path, self.shapes["u"], self.shapes.get("a"), times)

    def blocks(self, initial: bool) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        content = self._told(loadmat, variable_names=["u", "a"] if initial else ["u"])
        yield content["u"], content["a"] if initial else None

    def _told(self, read: Callable[..., Any], **options: Any) -> Any:
        try:
            return read(self.path, **options)
        except Exception as error:  # scipy raises a dozen kinds on a damaged file
            raise DataError(self.path, "file", "MATLAB v5 or v7.3", f"an unreadable file ({error})") from error


class _Hdf5:
    """A v7.3 file, read by blocks of samples."""

    def __init__(self, path: Path) -> None:
        self.path, self.file = path, open_hdf5(path)

    def __enter__(self) -> _Hdf5:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def layout(self) -> Layout:
        u = dataset(self.file, self.path, "u", None)
        a = self.file["a"].shape[::-1] if "a" in self.file else None
        return _checked(self.path, u.shape[::-1], a, self.file["t"][()] if "t" in self.file else None)

    def blocks(self, initial: bool) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        u = self.file["u"]
        samples = u.shape[-1]
        step = max(1, _BLOCK // (4 * int(np.prod(u.shape[:-1]))))
        if u.chunks:  # whole chunks, or each would be decompressed more than once
            step = max(1, step // u.chunks[-1]) * u.chunks[-1]
        try:
            for start in range(0, samples, step):
                part = slice(start, start + step)
                yield u[..., part].transpose(), self.file["a"][..., part].transpose() if initial else None
        except OSError as error:
            raise DataError(self.path, "u", "readable data", str(error).splitlines()[0]) from error


def _checked(path: Path, u: tuple[int, ...], a: tuple[int, ...] | None, t: np.ndarray | None) -> Layout:
    """Check logical shapes; a file without `t` is recorded every second."""
    if len(u) != 4:
        raise DataError(path, "u", "rank 4, (sample, x, y, time)", f"shape {u}")
    if a is not None and a != u[:3]:
        raise DataError(path, "a", f"shape {u[:3]} as in u", f"{a}")
    times = np.arange(1.0, u[3] + 1) if t is None else np.asarray(t, dtype=np.float64).ravel()
    if len(times) != u[3]:
        raise DataError(path, "t", f"{u[3]} seconds as in u", f"{len(times)}")
    if (np.diff(times) <= 0).any():
        raise DataError(path, "t", "increasing seconds", f"{times[:4]}...")
    return Layout(u[0], (u[1], u[2]), times, a is not None)
