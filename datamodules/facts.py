"""What settings follow from: the sizes of the data, what is missing of them, and where their clock pauses."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from cst_lightning.datamodules.cutting import pauses, stretches
from cst_lightning.datamodules.readers.source import Gridded, Source

# Frames that are looked at for gaps, and numbers in all: a first look must not take long.
_LOOKED, _LARGE = 16, 2**22

#: What is not there: nothing; the same cells or whole frames; single cells now and then, so that no frame is complete.
Gaps = Literal["none", "cells", "scattered"]


@dataclass
class Facts:
    """Sizes of the data: S recordings of T frames of P places with c channels, d coordinates.

    Attributes:
        samples: S.
        frames: T; of scattered points the distinct times of a sample.
        space: length of each space axis.
        channels: c.
        scattered: whether points lie anywhere.
        points: of a scattered sample.
        place: where the data came from, for messages.
        gaps: looks at a few frames for what is missing.
        breaks: frames before which the clock pauses.
    """

    samples: int
    frames: int
    space: tuple[int, ...]
    channels: int
    scattered: bool = False
    points: int = 0
    place: str = "data"
    gaps: Callable[[], Gaps] = lambda: "none"
    breaks: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=int))

    @property
    def places(self) -> int:
        """P."""
        return math.prod(self.space)

    @property
    def dimension(self) -> int:
        """d, time included."""
        return 1 + len(self.space)

    @property
    def longest(self) -> int:
        """Frames of the longest stretch without a pause."""
        return self.between(0, self.frames)

    def between(self, start: int, stop: int) -> int:
        """Return the frames of the longest stretch without a pause in the frames [start, stop)."""
        return max(end - first for first, end in stretches(self.breaks, start, stop))


def facts_of(source: Source) -> Facts:
    """Return the facts of what a reader returned."""
    place = str(source.path or "data")
    if isinstance(source, Gridded):
        samples, frames, *sides, channels = source.shape
        breaks = pauses(source.axes[0].values)
        return Facts(samples, frames, tuple(sides), channels, False, 0, place, lambda: _gaps(source), breaks)
    sizes = [len(coords) for coords in source.coords]
    times = int(np.median([len(np.unique(coords[:, 0])) for coords in source.coords]))
    space = (max(1, int(np.median(sizes)) // max(times, 1)),) * (len(source.axes) - 1)
    return Facts(len(sizes), times, space, len(source.channels), True, int(np.median(sizes)), place)


def _gaps(source: Gridded) -> Gaps:
    """Look at a few frames of the first recording for what is missing."""
    if any(hasattr(source.read, name) for name in ("build", "file")):
        return "none"  # pictures and simulations are complete, and would have to be decoded or computed for a look
    frames, cells = source.shape[1], math.prod(source.shape[2:])
    if cells > _LARGE:
        return "none"
    chosen = np.unique(np.linspace(0, frames - 1, max(2, min(frames, _LOOKED, _LARGE // cells))).astype(int))
    seen = np.stack([~np.isnan(source.read(0, int(i), int(i) + 1)).ravel() for i in chosen])
    given, measured = seen.any(1), seen.any(0)
    if given.any() and seen[given][:, measured].all(1).mean() < 0.5:
        return "scattered"
    return "none" if measured.all() or not given.any() else "cells"
