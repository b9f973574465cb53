"""Where recordings are cut: into windows of frames, and never across a pause of the clock."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from cst_lightning.datamodules.base import Split
from cst_lightning.datamodules.readers.source import Axis

# A step so many times as long as nine in ten others is a pause; an uneven clock alone has none.
_PAUSE, _USUAL = 10.0, 0.9
# Steps below which nothing is usual.
_STEPS = 10


class Window(NamedTuple):
    """Frames [start, start + length) of one recording, and what they are for."""

    recording: int
    start: int
    length: int
    split: Split

    @property
    def stop(self) -> int:
        """The frame after the last."""
        return self.start + self.length

    @property
    def middle(self) -> float:
        """Between which frames it is centred."""
        return self.start + (self.length - 1) / 2


def pauses(time: np.ndarray) -> np.ndarray:
    """Return the positions of the frames before which a recording pauses.

    Args:
        time: (T,), increasing.

    Example:
        >>> import numpy as np
        >>> pauses(np.concatenate([np.arange(20.0), 5000 + np.arange(20.0)]))
        array([20])
    """
    steps = np.diff(time)
    if len(steps) < _STEPS:
        return np.empty(0, dtype=int)
    return np.flatnonzero(steps > _PAUSE * np.quantile(steps, _USUAL, method="lower")) + 1


def stretches(breaks: np.ndarray, start: int, stop: int) -> list[tuple[int, int]]:
    """Return the frames [start, stop) in parts [first, end) that end where a pause begins.

    Args:
        breaks: of `pauses`.
        start: first frame.
        stop: frame after the last.
    """
    inside = breaks[(breaks > start) & (breaks < stop)].tolist()
    return list(pairwise([start, *inside, stop]))


def pauses_text(axis: Axis) -> str:
    """Return in words that a clock pauses and windows do not; empty if it does not.

    Args:
        axis: time.
    """
    breaks = pauses(axis.values)
    if not len(breaks):
        return ""
    lengths = axis.values[breaks] - axis.values[breaks - 1]
    longest = int(lengths.argmax())
    unit = f" {axis.unit}" if axis.unit else ""
    where = f"{lengths[longest]:.4g}{unit} after {axis.values[breaks[longest] - 1]:.6g}{unit}"
    if len(breaks) == 1:
        return f"the clock pauses once, {where}: no window crosses the pause"
    return f"the clock pauses {len(breaks)} times, the longest {where}: no window crosses a pause"


def firsts(start: int, stop: int, length: int, step: int, to_the_end: bool) -> list[int]:
    """Return the first frames of windows in a stretch; none if it is too short.

    Args:
        start: first frame of the stretch.
        stop: frame after its last.
        length: frames a window.
        step: frames from one window to the next.
        to_the_end: add one that ends where the stretch ends.
    """
    found = list(range(start, stop - length + 1, step))
    if to_the_end and found and found[-1] + length < stop:
        found.append(stop - length)
    return found


def middles(windows: Sequence[Window]) -> dict[tuple[Split, int], np.ndarray]:
    """Return the middles of the windows of each split and recording."""
    found: dict[tuple[Split, int], list[float]] = {}
    for window in windows:
        found.setdefault((window.split, window.recording), []).append(window.middle)
    return {key: np.array(values) for key, values in found.items()}
