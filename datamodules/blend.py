r"""Patches that overlap, put together without seams.

Each axis is covered by patches of p cells, p - o from one to the next, the last one moved back to the border. With
the window :math:`w_j = \sin^2(\pi (j + 1/2) / p)`, j = 0..p-1, cell i of an axis is

.. math:: u_i = \sum_k \frac{w_{i - s_k}}{\sum_l w_{i - s_l}} \, v_{k, i - s_k},

k over the patches, which start at s_k, and v their cells. Weights are smooth, sum to 1 at every cell, and multiply
over axes. So patches that agree give the frame back, and where they do not, one fades into the next.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cst_lightning.datamodules.tokens import Tokens


class BlendedPatches(Tokens):
    """A square, or cube, of cells is a point at its centre, neighbours share cells, and frames are blended from them.

    Args:
        axes: as in `Tokens`; none shorter than a patch.
        channels: c.
        size: cells along each side, p.
        overlap: cells that neighbours share, o < p.

    Raises:
        ValueError: a patch is longer than an axis, or is all overlap.
    """

    def __init__(self, axes: Sequence[np.ndarray], channels: int, size: int, overlap: int) -> None:
        super().__init__(axes, channels)
        if not axes or not 0 < size <= min(self.space):
            raise ValueError(f"patch is {size}, expected 1 to the shortest side of frames of shape {self.space}")
        if not 0 <= overlap < size:
            raise ValueError(f"overlap is {overlap}, expected 0 to {size - 1}, less than the patch")
        self.size = size
        # every cell of every patch, as its place on the axis: (patches, size) an axis
        self._cells = [starts(n, size, size - overlap)[:, None] + np.arange(size) for n in self.space]
        self._weights = [weights(cells, n) for cells, n in zip(self._cells, self.space, strict=True)]
        self.axes = tuple(
            np.asarray(axis, dtype=np.float64)[cells].mean(1) for axis, cells in zip(axes, self._cells, strict=True)
        )
        self.channels = channels * size ** len(axes)

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Cut frames into patches; cells that are shared are copied."""
        many = len(self.space)
        for number, cells in enumerate(self._cells):  # each axis becomes two, patches and cells
            frames = np.take(frames, cells, axis=1 + 2 * number)
        order = (0, *range(1, 2 * many, 2), *range(2, 2 * many + 1, 2), 2 * many + 1)
        return frames.transpose(order).reshape(len(frames), *self.places, self.channels)

    def decode(self, values: np.ndarray) -> np.ndarray:
        """Blend patches to frames."""
        many = len(self.space)
        split = values.reshape(len(values), *self.places, *(self.size,) * many, self.cell)
        for number in reversed(range(many)):  # the last pair first, so that those before keep their numbers
            pair = (1 + number, 1 + many + number)
            split = np.moveaxis(np.tensordot(split, self._weights[number], (pair, (1, 2))), -1, 1 + number)
        return split.astype(values.dtype, copy=False)


def starts(length: int, size: int, step: int) -> np.ndarray:
    """Return where patches of `size` start so that they cover `length` cells, the last one ending with them."""
    regular = np.arange(0, length - size + 1, step)
    return regular if regular[-1] == length - size else np.append(regular, length - size)


def weights(cells: np.ndarray, length: int) -> np.ndarray:
    """Return the weights (length, patches, size) with which patches whose cells are (patches, size) are blended."""
    patches, size = cells.shape
    window = np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2
    dense = np.zeros((length, patches, size))
    dense[cells, np.arange(patches)[:, None], np.arange(size)] = window
    share: np.ndarray = dense / dense.sum((1, 2), keepdims=True)
    return share
