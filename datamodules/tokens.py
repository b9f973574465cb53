"""How frames of a recording become points: what is a place, and what are the channels there.

The network knows points only. A pixel can be a point with its own coordinates; a patch of pixels, with its centre as
coordinate and its pixels as channels; or a whole frame, with time as its only coordinate.
Sizes: T frames, c channels of a frame's cell, C channels of a point.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy import linalg

Kind = Literal["points", "patches", "frames", "components"]

#: Bytes of frames that are held in double precision at once.
_BLOCK = 2**25


class Tokens(ABC):
    """A way to turn frames (T, *space, c) into values (T, *places, C) and back.

    Args:
        axes: one vector a space axis of the frames.
        channels: c.

    Attributes:
        axes: one vector an axis of the places; empty if a frame is one point.
        channels: C.
    """

    axes: tuple[np.ndarray, ...]
    channels: int

    def __init__(self, axes: Sequence[np.ndarray], channels: int) -> None:
        self.space, self.cell = tuple(len(axis) for axis in axes), channels

    @property
    def dimension(self) -> int:
        """d, time included."""
        return 1 + len(self.axes)

    @property
    def places(self) -> tuple[int, ...]:
        """Shape of the grid of places of one frame."""
        return tuple(len(axis) for axis in self.axes)

    @property
    def fitted(self) -> bool:
        """Whether `fit` has been done, where it is needed."""
        return True

    def fit(self, frames: np.ndarray) -> None:  # noqa: B027 - most have nothing to learn
        """Learn what `encode` needs from observed frames (T, *space, c) of the training part."""

    @abstractmethod
    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Return values (T, *places, C) of frames (T, *space, c)."""

    @abstractmethod
    def decode(self, values: np.ndarray) -> np.ndarray:
        """Return frames (T, *space, c) from values (T, *places, C)."""


class Points(Tokens):
    """Every cell of the grid is a point."""

    def __init__(self, axes: Sequence[np.ndarray], channels: int) -> None:
        super().__init__(axes, channels)
        self.axes, self.channels = tuple(axes), channels

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Change nothing."""
        return frames

    def decode(self, values: np.ndarray) -> np.ndarray:
        """Change nothing."""
        return values


class Frames(Tokens):
    """A whole frame is one point; its cells are the channels."""

    def __init__(self, axes: Sequence[np.ndarray], channels: int) -> None:
        super().__init__(axes, channels)
        self.axes, self.channels = (), channels * int(np.prod(self.space, dtype=int))

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Flatten each frame."""
        return frames.reshape(len(frames), self.channels)

    def decode(self, values: np.ndarray) -> np.ndarray:
        """Give each frame its shape back."""
        return values.reshape(len(values), *self.space, self.cell)


class Components(Tokens):
    """A whole frame is one point; its principal components are the channels.

    The basis comes from observed frames only: dropped ones would tell it what they look like. Cells that were measured
    in none of them, such as those outside a field of view, take no part, are NaN in what is decoded and are not scored.
    Of the other cells frames with a gap do not take part in the basis, and encode to gaps. Source: Fonseca et al.,
    ICML 2023, section 4 (calcium imaging).

    Args:
        axes: as in `Tokens`.
        channels: c.
        count: C, the number of components.

    Attributes:
        measured: (pixels,) bool, the cells that take part; all before `fit`.
        mean: (pixels,) of the frames it was fitted to, NaN where nothing was measured.
        basis: (C, pixels), orthonormal rows, 0 where nothing was measured.
    """

    def __init__(self, axes: Sequence[np.ndarray], channels: int, count: int) -> None:
        super().__init__(axes, channels)
        if count < 1:
            raise ValueError(f"components is {count}, expected at least 1")
        self.axes, self.channels = (), count
        self.measured = np.ones(channels * int(np.prod(self.space, dtype=int)), dtype=bool)
        self.mean = self.basis = np.empty(0)
        self._single: tuple[np.ndarray, ...] = ()  # of the cells that take part, as fast as frames come

    @property
    def fitted(self) -> bool:
        """Whether there is a basis."""
        return self.basis.size > 0

    def fit(self, frames: np.ndarray) -> None:
        """Take the mean and the leading principal axes of frames (T, *space, c)."""
        flat = frames.reshape(len(frames), -1)
        measured = np.isfinite(flat).any(0)
        complete = np.ones(len(flat), dtype=bool)
        for part in _parts(flat):
            complete &= (np.isfinite(flat[:, part]) | ~measured[part]).all(1)
        rows = flat if complete.all() and measured.all() else flat[np.ix_(complete, measured)]
        if min(rows.shape) < self.channels:
            raise ValueError(
                f"components is {self.channels}, expected at most {min(rows.shape)}: there are {len(rows)} complete "
                f"observed frames of {rows.shape[1]} numbers to take them from; tokens points needs none"
            )
        self.measured, self.mean = measured, np.full(len(measured), np.nan)
        self.basis = np.zeros((self.channels, len(measured)))
        self.mean[measured] = rows.mean(0, dtype=np.float64)
        self.basis[:, measured] = _principal(rows, self.mean[measured], self.channels)
        self._single = tuple(x[..., measured].astype(np.float32) for x in (self.mean, self.basis))

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Project; a frame with NaN in a cell that takes part has NaN components."""
        flat, part = frames.reshape(len(frames), -1), self.measured
        rows = np.empty((len(flat), self.channels), dtype=np.float32)
        mean, axes = self._single
        few = max(1, _BLOCK // (8 * flat.shape[1]))
        for first in range(0, len(flat), few):
            some = flat[first : first + few]
            # less the mean first: after it, what varies would be the small difference of two large products
            rows[first : first + few] = ((some if part.all() else some[:, part]) - mean) @ axes.T
        return rows

    def decode(self, values: np.ndarray) -> np.ndarray:
        """Return the frames that the components stand for, NaN in cells that were never measured."""
        rows: np.ndarray = self.mean + values @ self.basis
        return rows.reshape(len(values), *self.space, self.cell)


class Patches(Tokens):
    """A square, or cube, of cells is a point at its centre; its cells are the channels.

    Args:
        axes: as in `Tokens`; each length a multiple of `size`.
        channels: c.
        size: cells along each side.
    """

    def __init__(self, axes: Sequence[np.ndarray], channels: int, size: int) -> None:
        super().__init__(axes, channels)
        if size < 1 or not axes or any(len(axis) % size for axis in axes):
            raise ValueError(f"patch is {size}, expected a divisor of every side of frames of shape {self.space}")
        self.size = size
        self.axes = tuple(np.asarray(axis, dtype=np.float64).reshape(-1, size).mean(1) for axis in axes)
        self.channels = channels * size ** len(axes)

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Cut frames into patches."""
        pairs = [n for places in self.places for n in (places, self.size)]
        split = frames.reshape(len(frames), *pairs, self.cell)
        many = len(self.places)
        order = (0, *range(1, 2 * many, 2), *range(2, 2 * many + 1, 2), 2 * many + 1)
        return split.transpose(order).reshape(len(frames), *self.places, self.channels)

    def decode(self, values: np.ndarray) -> np.ndarray:
        """Put patches side by side."""
        many = len(self.places)
        split = values.reshape(len(values), *self.places, *(self.size,) * many, self.cell)
        order = (0, *(n for i in range(many) for n in (1 + i, 1 + many + i)), 2 * many + 1)
        return split.transpose(order).reshape(len(values), *self.space, self.cell)


def build(
    kind: Kind, axes: Sequence[np.ndarray], channels: int, patch: int = 4, overlap: int = 0, components: int = 16
) -> Tokens:
    """Build tokens by name.

    Args:
        kind: `points`, `patches`, `frames` or `components`.
        axes: one vector a space axis of the frames.
        channels: c.
        patch: cells along a side of a patch.
        overlap: cells that neighbouring patches share; blended when frames are put together.
        components: number of principal components.

    Raises:
        ValueError: another name, or a number that does not fit the frames.
    """
    if kind == "points" or (not axes and kind == "patches"):
        return Points(axes, channels)
    if kind == "frames":
        return Frames(axes, channels)
    if kind == "components":
        return Components(axes, channels, components)
    if kind == "patches":
        if not overlap:
            return Patches(axes, channels, patch)
        from cst_lightning.datamodules.blend import BlendedPatches

        return BlendedPatches(axes, channels, patch, overlap)
    raise ValueError(f"tokens is {kind!r}, expected 'points', 'patches', 'frames' or 'components'")


def _parts(rows: np.ndarray) -> list[slice]:
    """Return slices of the columns of which so many fit into a block."""
    width = max(1, _BLOCK // (8 * max(len(rows), 1)))
    return [slice(first, first + width) for first in range(0, rows.shape[1], width)]


def _principal(rows: np.ndarray, mean: np.ndarray, count: int) -> np.ndarray:
    """Return the leading principal axes (count, pixels) of rows (n, pixels), largest variance first.

    They come from the smaller of the two matrices of inner products, of rows or of pixels, whose eigenvectors are
    those of the singular value decomposition; a copy of the rows in double precision is never made.
    """
    size, pixels = rows.shape
    if pixels <= size:
        gram = np.zeros((pixels, pixels))
        for part in _parts(rows.T):
            block = rows[part] - mean
            gram += block.T @ block
        return _leading(gram, count).T
    gram = np.zeros((size, size))
    for part in _parts(rows):
        block = rows[:, part] - mean[part]
        gram += block @ block.T
    weights = _leading(gram, count).T
    axes = np.concatenate([weights @ (rows[:, part] - mean[part]) for part in _parts(rows)], axis=1)
    # orthonormal even where nothing varies, which is where the eigenvectors of the rows say nothing about pixels
    found: np.ndarray = np.linalg.qr(axes.T)[0].T
    return found


def _leading(gram: np.ndarray, count: int) -> np.ndarray:
    """Return the eigenvectors (n, count) of the largest eigenvalues, in their order."""
    size = len(gram)
    found: np.ndarray = linalg.eigh(gram, subset_by_index=(size - count, size - 1))[1]
    return found[:, ::-1]
