"""What a file holds, in numbers: axes, rate, gaps, range and missing values; behind `cst data describe`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from cst_lightning.datamodules.readers.source import Gridded, Scattered, Source
from cst_lightning.errors import DataError

Progress = Callable[[int, int], None]  # done, total

#: Bytes of values that `describe` reads unless it is told to read all of them.
LIMIT = 512 * 2**20
# Bytes of values in memory at once.
_CHUNK = 16 * 2**20
#: A step is a gap if it is so many times as long as the median one.
GAP = 1.5
# If more than this part of all steps are gaps, the axis is uneven, and has no gaps.
_UNEVEN = 0.2


class Gap(NamedTuple):
    """A step much longer than the others.

    Attributes:
        start: where it begins, in the axis' unit.
        length: in the same unit.
    """

    start: float
    length: float


class Steps(NamedTuple):
    """How regular an axis is, in its unit.

    Attributes:
        median: step.
        shortest: step.
        longest: step, gaps included.
        jitter: standard deviation of the steps that are no gaps, over the median.
        gaps: steps of more than 1.5 medians; none if a fifth of all steps are.
    """

    median: float
    shortest: float
    longest: float
    jitter: float
    gaps: tuple[Gap, ...]

    @property
    def equal(self) -> bool:
        """Whether all steps are the same, but for the rounding of what a file holds in float32."""
        return self.longest - self.shortest <= 1e-4 * self.median


class Moments:
    """Range, mean and spread of values that come in pieces, one of each a channel; memory does not grow.

    Args:
        channels: c.

    Attributes:
        size: values seen a channel, whatever they were.
        count: (c,) finite ones.
        missing: (c,) NaN.
        low: (c,) smallest finite value, infinity if there is none.
        high: (c,) largest, minus infinity if there is none.
        mean: (c,) of the finite ones.
    """

    def __init__(self, channels: int) -> None:
        self.size = 0
        self.count = np.zeros(channels, dtype=np.int64)
        self.missing = np.zeros(channels, dtype=np.int64)
        self.low, self.high = np.full(channels, np.inf), np.full(channels, -np.inf)
        self.mean, self._squares = np.zeros(channels), np.zeros(channels)

    def update(self, values: np.ndarray) -> None:
        """Add values (..., c)."""
        part = values.reshape(-1, len(self.count)).astype(np.float64)
        finite = np.isfinite(part)
        count = finite.sum(0)
        mean = np.where(finite, part, 0).sum(0) / np.maximum(count, 1)
        squares = (np.where(finite, part - mean, 0) ** 2).sum(0)
        self.low = np.minimum(self.low, part.min(0, initial=np.inf, where=finite))
        self.high = np.maximum(self.high, part.max(0, initial=-np.inf, where=finite))
        # sums of squares about different means are joined by the distance of these (Chan et al. 1979)
        both, shift = np.maximum(self.count + count, 1), mean - self.mean
        self._squares += squares + shift**2 * self.count * count / both
        self.mean += shift * count / both
        self.size += len(part)
        self.count += count
        self.missing += np.isnan(part).sum(0)

    @property
    def std(self) -> np.ndarray:
        """(c,) standard deviation of the finite values."""
        spread: np.ndarray = np.sqrt(self._squares / np.maximum(self.count, 1))
        return spread

    @property
    def infinite(self) -> int:
        """Number of values that are neither finite nor NaN, in all channels."""
        return int(self.size * len(self.count) - self.count.sum() - self.missing.sum())

    @property
    def empty(self) -> np.ndarray:
        """(c,) whether a channel has no finite value."""
        return np.asarray(self.count == 0)

    @property
    def constant(self) -> np.ndarray:
        """(c,) whether a channel has one value only."""
        return np.asarray((self.count > 0) & (self.low == self.high))


class Coverage:
    """Which frames and which places hold nothing but NaN; memory grows by a frame and by what is unobserved.

    Args:
        space: lengths of the space axes.

    Attributes:
        total: frames seen, in all recordings.
        frames: (recording, frame) of those without any value.
        seen: (*space) bool, which places had a value in any frame.
    """

    def __init__(self, space: Sequence[int]) -> None:
        self.total = 0
        self.frames: list[tuple[int, int]] = []
        self.seen = np.zeros(tuple(space), dtype=bool)

    def update(self, sample: int, start: int, block: np.ndarray) -> None:
        """Add frames (t, *space, c) of one recording."""
        known = ~np.isnan(block).all(-1)
        empty = np.flatnonzero(~known.reshape(len(block), -1).any(-1))
        self.frames += [(sample, start + int(i)) for i in empty]
        self.seen |= known.any(0)
        self.total += len(block)

    @property
    def lost(self) -> bool:
        """Whether there is such a frame or place."""
        return bool(self.frames) or not self.seen.all()


class Description(NamedTuple):
    """What `describe` found.

    Attributes:
        source: what was described.
        steps: of each axis of a grid; None where it has one point, and for scattered points.
        moments: of the values that were read.
        read: values a channel that were read.
        total: values a channel that there are.
        coverage: of a grid.
    """

    source: Source
    steps: tuple[Steps | None, ...]
    moments: Moments
    read: int
    total: int
    coverage: Coverage | None = None


def describe(source: Source, limit: int | None = LIMIT, progress: Progress | None = None) -> Description:
    """Read a source piece by piece and say what is in it.

    Args:
        source: any.
        limit: bytes of values to read; of more, evenly spread pieces are read, and of a video its beginning. None
            reads everything.
        progress: told (done, total) values.

    Raises:
        DataError: values cannot be read.
    """
    moments = Moments(len(source.channels))
    if isinstance(source, Scattered):
        for values in source.values:
            moments.update(values)
        return Description(source, (None,) * len(source.axes), moments, moments.size, moments.size)
    places = math.prod(source.shape[2:-1])
    blocks, frames = _spread(source, limit)
    coverage = Coverage(source.shape[2:-1])
    for sample, start, block in blocks:
        moments.update(block)
        coverage.update(sample, start, block)
        if progress is not None:
            progress(moments.size // places, frames)
    steps = tuple(regularity(axis.values) for axis in source.axes)
    total = places * source.samples * len(source.axes[0].values)
    return Description(source, steps, moments, moments.size, total, coverage)


def regularity(values: np.ndarray) -> Steps | None:
    """Return how regular an increasing axis (n,) is; None if it has one point."""
    steps = np.diff(values)
    if not len(steps):
        return None
    median = float(np.median(steps))
    long = steps > GAP * median
    if long.mean() > _UNEVEN:
        long[:] = False
    gaps = tuple(Gap(float(values[i]), float(steps[i])) for i in np.flatnonzero(long))
    return Steps(median, float(steps.min()), float(steps.max()), float((steps[~long] / median).std()), gaps)


def size_text(count: float) -> str:
    """Return a number of bytes for a person."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 1000 else f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.4g} TiB"


def whole_blocks(source: Gridded, length: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield (sample, start, frames (t, *space, c)) of everything there is, in order.

    Videos and pictures are decoded as they come: `read` would first decode all of them into a cache.

    Args:
        source: any.
        length: frames at once.
    """
    total = source.shape[1]
    decoded = getattr(source.read, "frames", None)
    if decoded is not None and source.samples == 1:
        frames = decoded()
        for start in range(0, total, length):
            block = list(islice(frames, min(length, total - start)))
            if len(block) < min(length, total - start):
                raise DataError(source.path or "data", f"frame {start + len(block)}", "a frame", "none")
            yield 0, start, np.stack(block)
        return
    for sample in range(source.samples):
        for start in range(0, total, length):
            yield sample, start, source.read(sample, start, min(total, start + length))


def _spread(source: Gridded, limit: int | None) -> tuple[Iterator[tuple[int, int, np.ndarray]], int]:
    """Return blocks within the limit, evenly spread: recording, first frame, frames; and about how many frames."""
    frames, frame = source.shape[1], max(1, 4 * math.prod(source.shape[2:]))
    length = min(frames, max(1, _CHUNK // frame))
    each = math.ceil(frames / length)
    total = source.samples * each
    chosen = total if limit is None else min(total, max(1, limit // (length * frame)))
    about = source.samples * frames if chosen == total else chosen * length
    if chosen == total or hasattr(source.read, "frames"):  # what has to be decoded in order is read from its beginning
        return islice(whole_blocks(source, length), chosen), about

    def blocks() -> Iterator[tuple[int, int, np.ndarray]]:
        for i in range(chosen):  # exact integers: a file may have more pieces than a float has digits
            sample, start = divmod(i * (total - 1) // max(1, chosen - 1), each)
            yield sample, start * length, source.read(sample, start * length, min(frames, (start + 1) * length))

    return blocks(), about
