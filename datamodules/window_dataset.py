"""Windows of recordings as trajectories, read when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cst_lightning.datamodules import gaps
from cst_lightning.datamodules.cutting import Window
from cst_lightning.datamodules.readers.source import Gridded, Reader
from cst_lightning.datamodules.recording_draws import RecordingDraw
from cst_lightning.datamodules.tokens import Tokens
from cst_lightning.datamodules.trajectories import Trajectory, TrajectoryDataset, grid_coords
from cst_lightning.errors import DataError

# Bytes of all recordings up to which they are kept in memory.
_REMEMBERED = 2**28
# Clocks whose ticks differ by less, relative to the median tick, are even.
_EVEN = 1e-4


def is_remembered(source: Gridded) -> bool:
    """Return whether recordings are small enough to be kept in memory."""
    return source.bytes <= _REMEMBERED


class Remembered:
    """A `Reader` that reads a recording once, for those that fit into memory; opening a file costs more than a window.

    Args:
        read: the reader.
        frames: T.
    """

    def __init__(self, read: Reader, frames: int) -> None:
        self.read, self.frames = read, frames
        self._whole: dict[int, np.ndarray] = {}

    def __call__(self, recording: int, start: int, stop: int) -> np.ndarray:
        """Return frames (t, *space, c)."""
        if recording not in self._whole:
            self._whole[recording] = np.asarray(self.read(recording, 0, self.frames))
        return self._whole[recording][start:stop]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_whole": {}}


class Windows(TrajectoryDataset):
    """Windows of recordings as trajectories, read when asked for; time is 0 at the first frame of each.

    Args:
        source: the recordings.
        tokens: how frames become points.
        windows: which frames.
        draw: which frames or points of whole recordings are observed, if that must not depend on the window; else
            every window is drawn on its own by the data module.
    """

    def __init__(
        self, source: Gridded, tokens: Tokens, windows: Sequence[Window], draw: RecordingDraw | None = None
    ) -> None:
        self.source, self.tokens, self.windows, self.draw = source, tokens, list(windows), draw
        self.time = source.axes[0].values
        # a simulation knows what was measured apart from what was there
        measured: Reader = source.read
        clean: Reader | None = getattr(source, "truth_read", None)
        if is_remembered(source):
            measured = Remembered(measured, len(self.time))
            clean = None if clean is None else Remembered(clean, len(self.time))
        self._measured, self._clean = measured, clean
        longest = max(self.windows, key=lambda w: w.length)
        space = [(float(axis.min()), float(axis.max())) for axis in tokens.axes]
        spans = [float(self.time[w.start + w.length - 1] - self.time[w.start]) for w in self.windows]
        self.box = (np.array([0.0, *(low for low, _ in space)]), np.array([max(spans), *(high for _, high in space)]))
        tick = self._tick()
        self._coords: Tensor | None = None
        if tick is not None:
            # one tensor for all windows: a copy in each would be larger than the values
            self._coords = grid_coords([tick * np.arange(longest.length), *tokens.axes])
            if len({w.length for w in self.windows}) == 1:
                self.grid = (longest.length, *tokens.places)

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> Trajectory:
        window = self.windows[index]
        truth, measured = self._read(self._measured, window), None
        if self._clean is not None:
            truth, measured = self._read(self._clean, window), truth
        whole = Trajectory(self.coords(window), truth, window.length, measured)
        return whole if self.draw is None else self.draw(whole, window)

    def coords(self, window: Window) -> Tensor:
        """Return the coordinates of a window's points, (T x places, d)."""
        if self._coords is not None:
            return self._coords[: window.length * int(np.prod(self.tokens.places, dtype=int))]
        return grid_coords([self.time[window.start : window.stop] - self.time[window.start], *self.tokens.axes])

    def real(self, recording: int) -> np.ndarray | None:
        """Return which points of a recording were measured, (T, places) bool; None if all were."""
        return gaps.real_points(self._measured, recording, len(self.time), self.tokens)

    def frames(self, index: int) -> np.ndarray:
        """Return the true frames (T, *space, c) of a window, as far as they are known."""
        window = self.windows[index]
        read = self._clean or self._measured
        return np.array(read(window.recording, window.start, window.start + window.length), dtype=np.float32)

    def _tick(self) -> float | None:
        """Return the step of a clock that is even inside of all windows, else None."""
        steps = np.diff(self.time)
        if len(steps) == 0:
            return 0.0
        if np.ptp(steps) <= _EVEN * np.median(steps):
            return float((self.time[-1] - self.time[0]) / len(steps))
        inside = np.zeros(len(steps), dtype=bool)
        for window in self.windows:
            inside[window.start : window.stop - 1] = True
        steps = steps[inside]
        return float(steps.mean()) if len(steps) and np.ptp(steps) <= _EVEN * np.median(steps) else None

    def _read(self, read: Any, window: Window) -> Tensor:
        frames = read(window.recording, window.start, window.start + window.length)
        if np.isinf(frames).any():
            found = f"infinite ones in frames {window.start} to {window.start + window.length - 1}"
            raise DataError(self.source.path or "data", "values", "finite numbers, or NaN where unobserved", found)
        values = self.tokens.encode(np.asarray(frames, dtype=np.float32))
        return torch.from_numpy(np.array(values, dtype=np.float32)).reshape(-1, self.tokens.channels)
