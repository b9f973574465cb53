"""One recording and nothing else to learn from: frames left out of it are to be restored."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import torch

from cst_lightning.datamodules.base import FieldDataModule, Split
from cst_lightning.datamodules.cache import cached
from cst_lightning.datamodules.progress import progress_bar
from cst_lightning.datamodules.readers.curves import read_curves
from cst_lightning.datamodules.repetition import repetition
from cst_lightning.datamodules.samples import SampleDataset
from cst_lightning.datamodules.solvers.wake import Wake
from cst_lightning.datamodules.trajectories import ScatteredTrajectories, Trajectory, TrajectoryDataset
from cst_lightning.errors import DataError, check_ranges

# Relative error of left-out frames above which a recording is not one that repeats itself.
_REPEATS = 0.5
# So much better than without a period it has to be.
_CLEARLY = 0.8
_PHASES = 3
# Options of the base class that mean nothing here, and their defaults.
_FIXED = {"train": 0.8, "val": 0.1, "test": 0.1, "split": "random"}


class RecordingDataModule(FieldDataModule):
    """Windows of one recording of which every `stride`-th frame is kept; the dropped frames are scored.

    A point is a frame: time is the coordinate, and the channels are the frame's principal components, fitted to the
    kept frames only; `reconstruct` returns frames. `evaluate` compares reconstructed with real frames, so that what no
    combination of components reaches counts as an error of every method. Both are centred, less the mean of the kept
    frames: relative L2 is relative to the fluctuation about it, and the mean square error is one of pixels. Scores
    while training are of components. Training sees kept frames of windows that start at every kept
    frame. The test asks for the dropped frames, each once, in the window whose middle is nearest to it. Validation
    must not choose weights by them: it shows every second kept frame and asks for the kept frames between.

    Args:
        path: `.npz` or `.h5` with `values` (1, T, c), c the pixels of a frame; a simulated cylinder wake if None.
        stride: every so many-th frame is kept.
        components: principal components, c of the network; at most as many as there are kept frames.
        window: kept frames a window; all of them if None.
        period: time after which the recording repeats itself, in its units; `auto` finds it among the kept frames (see
            `repetition`). Time is a circle then: frames of other repetitions are neighbours.
        clock: `recording`: a frame has the same time in all windows; `window`: each begins at 0, and no network learns
            what is when. The first if None and there is a period, else the second.
        cache_dir: where the simulated wake is kept.
        spread: as in `FieldDataModule`; `joint` keeps the components' proportions.
        **kwargs: see `FieldDataModule`; splitting and the scheme of observation are fixed here.

    Raises:
        ValueError: an option is out of range; when the data are set up, too few frames are kept or nothing repeats.
        DataError: the file is not one recording, or a kept frame has NaN.

    Attributes:
        notes: what was found of the data, after `setup`.
        basis: (components, pixels) orthonormal rows, after `setup`.
        mean: (pixels,) mean of the kept frames, after `setup`.
        outside: relative L2 of the dropped frames that no combination of components reaches, after `setup`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        stride: int = 8,
        components: int = 16,
        window: int | None = None,
        period: float | Literal["auto"] | None = None,
        clock: Literal["recording", "window"] | None = None,
        cache_dir: str | os.PathLike[str] = "cache",
        spread: Literal["channel", "joint"] = "joint",
        **kwargs: Any,
    ) -> None:
        check_ranges(
            window=(2 if window is None else window, 2, np.inf), components=(components, 1, np.inf),
            stride=(stride, 1, np.inf),
        )  # fmt: skip
        if clock not in (None, "recording", "window"):
            raise ValueError(f"clock is {clock!r}, expected 'recording' or 'window'")
        # the length of an unknown period comes with the data; that there is one must be known before
        around = None if period is None else [1.0 if period == "auto" else _length(period)]
        super().__init__(1, components, around, scheme="regular", stride=stride, spread=spread, **kwargs)
        for name, default in _FIXED.items():  # looked up afterwards: a parser follows kwargs to the base class only
            given = self.parts.get(name, self.split)  # type: ignore[call-overload]
            if given != default:
                raise ValueError(f"{name} is {given}, expected {default}: every window is in every split")
        self.path, self.stride, self.window, self.cache_dir = path, stride, window, cache_dir
        self.notes: list[str] = []
        self._search = period == "auto"
        self._common = (clock or ("window" if period is None else "recording")) == "recording"
        self._rotated = torch.empty(0)
        self._unit = 1.0

    def prepare_data(self) -> None:
        """Simulate the wake, unless that was done before or there is a file."""
        if self.path is None:
            self._simulated()

    def trajectories(self) -> TrajectoryDataset:
        """Project the recording on its components and cut it into windows."""
        path = self._simulated() if self.path is None else self.path
        values, time = read_curves(path)
        if len(values) != 1:
            raise DataError(path, "values", "one recording, (1, time, pixel)", f"shape {values.shape}")
        last = (len(time) - 1) // self.stride * self.stride + 1  # nothing is kept after the last kept frame
        frames, time = values[0, :last].astype(np.float64), time[:last]
        kept = len(frames[:: self.stride])
        if kept < max(2, self.channels, self.window or 0):
            raise ValueError(
                f"{path}: {kept} frames are kept with stride {self.stride}, expected at least 2, "
                f"components = {self.channels} and window = {self.window}"
            )
        blank = np.flatnonzero(np.isnan(frames[:: self.stride]).any(1))
        if len(blank):
            raise DataError(path, "values", "kept frames without NaN", f"some in frame {blank[0] * self.stride}")
        components = torch.from_numpy(self._project(frames)).float()
        if self._search:
            self.period = (self._repetition(path, time[:: self.stride], components[:: self.stride].numpy()),)
        elif self.period[0] is not None and self.period[0] > time[-1] - time[0]:
            raise ValueError(
                f"{path}: period is {self.period[0]:g}, expected at most the {time[-1] - time[0]:g} that are recorded"
            )
        if self.period[0] is not None:
            _check_phases(path, time[:: self.stride] / self.period[0])
        coords = torch.from_numpy(time)[:, None]
        return ScatteredTrajectories(_windows(coords, components, self.stride, self.window or kept, self._common))

    def setup(self, stage: str | None = None) -> None:
        """Do what the base does, then hide the dropped frames from validation."""
        fresh = not self._splits  # the base does its work once, so what is done here must not be repeated either
        super().setup(stage)
        if fresh:
            whole = self._splits["val"]
            source = ScatteredTrajectories([_kept_only(whole.source[int(i)], self.stride) for i in whole.members])
            sparser = replace(whole.task.observation, stride=2 * self.stride)
            task = whole.task._replace(observation=sparser)
            self._splits["val"] = SampleDataset(source, np.arange(len(whole)), task, False)

    def members(self, total: int) -> dict[Any, np.ndarray]:
        """All windows are in every split: frames are held out, not windows."""
        every = np.arange(total)
        return {"train": every, "val": every, "test": every}

    def reconstruct(self, values: np.ndarray) -> np.ndarray:
        """Return frames (..., pixels) from components (..., c)."""
        frames: np.ndarray = self.mean + values @ self.basis
        return frames

    def scored(self, values: torch.Tensor) -> torch.Tensor:
        """Return centred frames from components (..., c), in the same axes as `scored_truth`."""
        return torch.nn.functional.pad(values, (0, self._rotated.shape[1] - self.channels)) * self._unit

    def scored_truth(self, split: Split, i: int) -> torch.Tensor:
        """Return the real frames of a window, centred, in axes of their own; NaN where `truth` is.

        The axes are the components and orthonormal ones that hold the rest of all frames, far fewer than pixels.
        Rotations change no sum of squares, and with it no score; the unit is such that the mean square over these axes
        is the one over pixels.
        """
        truth = self.truth(split, i)
        frames = self._rotated[i * self.stride :][: len(truth.coords)] * self._unit
        frames[truth.values.isnan().any(-1)] = torch.nan
        return frames

    def _repetition(self, path: str | os.PathLike[str], time: np.ndarray, kept: np.ndarray) -> float:
        """Return the period of the kept frames, or refuse one that explains less than half of what is left out."""
        try:
            found = repetition(time, kept.astype(np.float64))
        except ValueError as error:
            raise ValueError(f"{path}: period is 'auto' and stride {self.stride}: {error}") from None
        if found.error > min(_REPEATS, _CLEARLY * found.rival):
            raise ValueError(
                f"{path}: period is 'auto', expected a recording that repeats itself, or period null; the best, "
                f"{found.period:.4g}, restores kept frames that are left out with a relative error of "
                f"{found.error:.2g}, without one {found.rival:.2g}"
            )
        self.notes.append(
            f"period: it repeats every {found.period:.5g}; kept frames that are left out come back with a relative "
            f"error of {found.error:.2g}, without a period {found.rival:.2g}"
        )
        return found.period

    def _project(self, frames: np.ndarray) -> np.ndarray:
        kept = frames[:: self.stride]
        self.mean = kept.mean(0)
        # not of all frames: the dropped ones would tell the basis what they look like
        self.basis = np.linalg.svd(kept - self.mean, full_matrices=False)[2][: self.channels]
        centred = frames - self.mean
        components: np.ndarray = centred @ self.basis.T
        rest = centred - components @ self.basis
        # a frame with a gap cannot be scored; the others must not suffer from it
        whole = ~np.isnan(rest).any(1)
        dropped = whole & (np.arange(len(frames)) % self.stride != 0)
        size = float(np.linalg.norm(centred[dropped]))
        self.outside = float(np.linalg.norm(rest[dropped])) / max(size, np.finfo(float).tiny)
        # rest = R^T Q^T: the columns of R are the frames' coordinates in Q, which itself is never needed
        found = np.asarray(np.linalg.qr(rest[whole].T, mode="r")).T
        remainder = np.full((len(frames), found.shape[1]), np.nan)
        remainder[whole] = found
        self._rotated = torch.from_numpy(np.concatenate([components, remainder], axis=1)).float()
        self._unit = (self._rotated.shape[1] / frames.shape[1]) ** 0.5
        return components

    def _simulated(self) -> Path:
        wake = Wake()
        pixels = 2 * len(range(0, wake.length, wake.stride)) * len(range(0, wake.height, wake.stride))
        shape = (1, wake.frames, pixels)

        def build(file: h5py.File) -> None:
            with progress_bar("Simulating") as progress:
                values = file.create_dataset("values", shape, "f4")
                for i, record in enumerate(wake.records()):
                    values[0, i] = record.flatten().numpy()
                    progress(i + 1, wake.frames)
            file["time"] = np.arange(wake.frames, dtype=np.float64)

        return cached(self.cache_dir, "wake", {"what": "wake", **vars(wake)}, {"values": shape}, build)


def _length(period: object) -> float:
    """Return a period as a number, or refuse what is none."""
    try:
        length = math.nan if isinstance(period, bool) else float(period)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        length = math.nan
    if not 0 < length < math.inf:
        raise ValueError(f"period is {period!r}, expected a number above 0, 'auto' or null")
    return length


def _check_phases(path: str | os.PathLike[str], turns: np.ndarray) -> None:
    """Refuse a period of which kept frames show next to nothing, as of one in another unit."""
    phases = len(np.unique((turns % 1).round(3) % 1))
    if phases < _PHASES:
        raise ValueError(f"{path}: period and stride show {phases} phases, expected at least {_PHASES} different ones")


def _kept_only(window: Trajectory, stride: int) -> Trajectory:
    """Return a window with NaN in place of the dropped frames."""
    values = torch.full_like(window.values, torch.nan)
    values[::stride] = window.values[::stride]
    return window._replace(values=values)


def _windows(coords: torch.Tensor, values: torch.Tensor, stride: int, kept: int, common: bool) -> list[Trajectory]:
    """Cut windows of `kept` kept frames from every kept frame on; time starts at 0 in each unless `common` to all.

    A dropped frame is NaN in all windows but the one whose middle is nearest to it, so that it is scored once.
    """
    length = (kept - 1) * stride + 1
    starts = torch.arange(0, len(coords) - length + 1, stride)
    frame = torch.arange(len(coords))
    owner = (frame[:, None] - (starts + length // 2)).abs().argmin(1)
    origin = torch.zeros_like(coords) if common else coords
    windows = []
    for i, start in enumerate(starts.tolist()):
        part = slice(start, start + length)
        hidden = (owner[part] != i) & (frame[part] % stride != 0)
        window = values[part].clone()
        window[hidden] = torch.nan
        windows.append(Trajectory(coords[part] - origin[start], window, length))
    return windows
