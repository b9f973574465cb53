"""Recordings changed on their way from the file: masked, binned, ROI as places, the truth beside what was measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from cst_lightning.datamodules.readers.source import Axis, Gridded, Reader
from cst_lightning.errors import DataError


@dataclass(frozen=True)
class Measured(Gridded):
    """A recording whose truth is known apart from what was measured: `read` gives the latter.

    Attributes:
        truth_read: frames of the truth; training never sees them.
    """

    truth_read: Reader | None = None

    def wrapped(self, wrap: Callable[[Reader], Reader], **changes: Any) -> Gridded:
        """Return the recording with both readers wrapped, and other changes."""
        assert self.truth_read is not None
        return replace(self, read=wrap(self.read), truth_read=wrap(self.truth_read), **changes)


@dataclass
class Binned:
    """Frames of another reader, masked and averaged over blocks of pixels; a `Reader`.

    Attributes:
        read: frames (t, *space, c).
        sizes: pixels of a block along each space axis; what does not fill a block at the far end is left out.
        mask: (*space) bool, the pixels that count; all if None.
        fill: what to give for a block without any.
    """

    read: Reader
    sizes: tuple[int, ...]
    mask: np.ndarray | None = None
    fill: float = np.nan

    def __call__(self, sample: int, start: int, stop: int) -> np.ndarray:
        """Return frames (t, *blocks, c), float32: means over the pixels that are not NaN."""
        frames = self.read(sample, start, stop)
        if self.mask is not None:
            frames = np.where(self.mask[None, ..., None], frames, np.nan)
        blocks = _blocks(frames, (1, *self.sizes, 1))
        real = np.isfinite(blocks)
        axes = tuple(range(1, blocks.ndim, 2))
        count = real.sum(axes)
        mean = np.where(real, blocks, 0).sum(axes, dtype=np.float64) / np.maximum(count, 1)
        empty = np.where(self.outside()[None, ..., None], self.fill, np.nan)
        return np.where(count > 0, mean, empty).astype(np.float32)

    def outside(self) -> np.ndarray:
        """Return which blocks have no pixel of the mask, (*blocks) bool."""
        if self.mask is None:
            return np.zeros((1,) * len(self.sizes), dtype=bool)
        blocks = _blocks(self.mask, self.sizes)
        return np.logical_not(blocks.any(tuple(range(1, blocks.ndim, 2))))


@dataclass
class AsPlaces:
    """Channels of another reader as places of one channel; a `Reader`.

    Attributes:
        read: frames (t, ROI).
    """

    read: Reader

    def __call__(self, sample: int, start: int, stop: int) -> np.ndarray:
        """Return frames (t, ROI, 1), float32."""
        return self.read(sample, start, stop)[..., None]


def wrapped(source: Gridded, wrap: Callable[[Reader], Reader], **changes: Any) -> Gridded:
    """Return a recording whose frames go through `wrap`, a `Reader` of a `Reader`, with other facts changed."""
    if isinstance(source, Measured):
        return source.wrapped(wrap, **changes)
    return replace(source, read=wrap(source.read), **changes)


def binned(source: Gridded, binning: int, mask: np.ndarray | None, fill: float) -> Gridded:
    """Return a movie whose pixels are masked and averaged over squares of `binning` pixels.

    Args:
        source: a movie (T, y, x) or volumes (T, z, y, x); planes are not averaged.
        binning: pixels along y and x of a block.
        mask: (*space) bool; None for all pixels.
        fill: what blocks outside the mask are given.

    Raises:
        DataError: frames are smaller than a block.
    """
    space = source.axes[1:]
    sizes = tuple(1 if axis.name == "z" else binning for axis in space)
    small = [axis for axis, size in zip(space, sizes, strict=True) if len(axis.values) < size]
    if binning < 1 or small:
        found = f"{binning} for axes {tuple(len(axis.values) for axis in space)}"
        raise DataError(source.path or "data", "binning", "at least 1 and at most the pixels of a side", found)
    axes = tuple(_shrunk(axis, size) for axis, size in zip(space, sizes, strict=True))
    left = [f"{axis.name}: {len(axis.values) % n} pixels" for axis, n in zip(space, sizes, strict=True)]
    cut = [text for text, axis, n in zip(left, space, sizes, strict=True) if len(axis.values) % n]
    notes = source.notes + ((f"left out at the far end of {', '.join(cut)}",) if cut else ())
    return wrapped(source, lambda read: Binned(read, sizes, mask, fill), axes=(source.axes[0], *axes), notes=notes)


def as_places(source: Gridded) -> Gridded:
    """Return traces (T, ROI) as a recording of one channel on two axes, time and the number of the ROI."""
    axis = Axis("ROI", np.arange(len(source.channels), dtype=np.float64))
    return wrapped(source, AsPlaces, axes=(source.axes[0], axis), channels=(source.unit or "signal",), periodic=())


def measured(source: Gridded, truth_read: Reader) -> Measured:
    """Return a recording together with its truth."""
    facts = {part.name: getattr(source, part.name) for part in fields(Gridded)}
    return Measured(**facts, truth_read=truth_read)


def _blocks(values: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    """Return values with each axis split in two, (blocks, size of a block)."""
    counts = [n // size for n, size in zip(values.shape, sizes, strict=True)]
    kept = values[tuple(slice(0, n * size) for n, size in zip(counts, sizes, strict=True))]
    return kept.reshape([part for pair in zip(counts, sizes, strict=True) for part in pair])


def _shrunk(axis: Axis, size: int) -> Axis:
    count = len(axis.values) // size
    return axis._replace(values=axis.values[: count * size].reshape(count, size).mean(1))
