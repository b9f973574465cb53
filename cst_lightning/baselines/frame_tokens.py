"""Whole frames as tokens: a frame is the vector of its cells, and time the only coordinate, as in the paper's dynamics.

Sizes: B batch, N context points, F frames, P places, U times, Q queries, D dummies, d coordinates, c channels, k order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from cst_lightning import interpolate
from cst_lightning.field import Array, Field, ObservedField
from cst_lightning.field_module import FieldModule
from cst_lightning.frames import find_frames, nearest_places
from cst_lightning.network import CSTNetwork, Memory
from cst_lightning.points import Batch, PointSet
from cst_lightning.sobolev import LossTerms, SobolevLoss


class FrameMemory(NamedTuple):
    """What a query reads; as `Memory`, of frames.

    Attributes:
        keys: L tensors (B, H, F, E).
        values: L tensors (B, H, F, E_v).
        mask: (B, 1, 1, F) bool.
        interpolant: the initialiser along time, of P c channels.
        context: the frames, (B, F, 1) times and (B, F, P c) values.
        axes: (B, n) lines of the grid along each space axis.
    """

    keys: list[Tensor]
    values: list[Tensor]
    mask: Tensor
    interpolant: interpolate.Interpolant
    context: PointSet
    axes: list[Tensor]

    @property
    def inner(self) -> Memory:
        """The memory of the network along time."""
        return Memory(*self[:5])


class FrameTokens(nn.Module):
    """A network along time whose channels are the cells of a frame, behind the interface of one of time and space.

    Observations are whole frames of one grid; a question is answered by the nearest cell of the frame at its time, so
    that derivatives in space are zero.

    Args:
        inner: of dimension 1 and P c channels.
        cells: of a frame along each space axis; P is their product.
        periodic: whether each of the d axes repeats.
    """

    def __init__(self, inner: CSTNetwork, cells: Sequence[int], periodic: Sequence[bool]) -> None:
        super().__init__()
        self.inner, self.cells, self.periodic = inner, tuple(cells), tuple(periodic)
        self.dimension, self.channels = len(periodic), inner.channels // math.prod(cells)

    def encode(self, context: PointSet, dummies: Tensor | None = None, keys: Tensor | None = None) -> FrameMemory:
        """Read whole frames; arguments as of `CSTNetwork.encode`.

        Raises:
            ValueError: the observations are not whole frames on a grid of so many cells.
        """
        order, axes, real = find_frames(context, "frames are tokens")
        sides = tuple(len(axis) for axis in axes)
        if sides != self.cells:
            expected, found = (" x ".join(map(str, side)) for side in (self.cells, sides))
            raise ValueError(f"frames are tokens of {expected} cells, expected such frames, found {found} cells")
        values = context.values.take_along_dim(order.flatten(1)[..., None], 1).unflatten(1, order.shape[1:]).flatten(2)
        times = context.coords[..., :1].take_along_dim(order[:, :, :1], 1)
        frames = PointSet(times, torch.where(real[..., None], values, 0), real)
        memory = self.inner.encode(frames, None if dummies is None else dummies[..., :1], keys)
        return FrameMemory(*memory, [axis.expand(len(order), -1) for axis in axes])

    def query(
        self,
        memory: FrameMemory,
        coords: Tensor,
        order: int = 0,
        directions: Tensor | None = None,
        keys: Tensor | None = None,
        stream: int = 2,
    ) -> Tensor:
        """Read values, or jets, of the nearest cells; see `CSTNetwork.query`."""
        times, when = self._times(coords)
        frames = self.inner.query(memory.inner, times, order, self._ahead(times, directions), keys, stream)
        return self._cells(memory, coords, when, frames, directions if order else None)

    def ask(
        self,
        memory: FrameMemory,
        coords: Tensor,
        order: int = 0,
        directions: Tensor | None = None,
        budget: int = 2**28,
    ) -> Tensor:
        """Do what `query` does in chunks of frames; see `CSTNetwork.ask`."""
        times, when = self._times(coords)
        frames = self.inner.ask(memory.inner, times, order, self._ahead(times, directions), budget)
        return self._cells(memory, coords, when, frames, directions if order else None)

    def initial(self, memory: FrameMemory, coords: Tensor, budget: int = 2**28) -> Tensor:
        """Return the initialiser's values (B, Q, c) of the nearest cells."""
        times, when = self._times(coords)
        return self._cells(memory, coords, when, self.inner.initial(memory.inner, times, budget), None)

    def _times(self, coords: Tensor) -> tuple[Tensor, Tensor]:
        """Return the distinct times (B, U, 1) of all questions, and which of them (B, Q) each one has."""
        moments, when = coords[..., 0].unique(return_inverse=True)
        return moments[None, :, None].expand(len(coords), -1, -1), when

    def _ahead(self, times: Tensor, directions: Tensor | None) -> Tensor | None:
        return None if directions is None else torch.ones_like(times)

    def _cells(
        self, memory: FrameMemory, coords: Tensor, when: Tensor, frames: Tensor, directions: Tensor | None
    ) -> Tensor:
        """Pick questions (B, Q, d) out of frames (..., B, U, P c), or of their jets along directions (B, Q, d)."""
        cells = frames.unflatten(-1, (-1, self.channels)).flatten(-3, -2)
        place = nearest_places(memory.axes, coords[..., 1:], self.periodic[1:])
        index = (when * math.prod(self.cells) + place)[..., None]
        out = cells.take_along_dim(index.expand(*cells.shape[:-3], -1, -1, -1), -2)
        if directions is None:
            return out
        powers = torch.arange(len(out), device=out.device)[:, None, None, None]
        return out * directions.expand_as(coords)[..., :1] ** powers


class CSTFramesModule(FieldModule):
    """Train a `CSTNetwork` on whole frames as tokens with the Sobolev loss, the paper's layout of dynamics.

    The Sobolev term is of derivatives in time, of all cells at the dummies' times. Source: Fonseca et al., ICML 2023,
    section 4.

    Args:
        dimension: d, at least 2, time first.
        channels: c.
        periodic: whether each axis repeats.
        cells: of a frame along each space axis, or one number for all; those of the data's grid.
        order: k of the Sobolev term.
        p: exponent of both terms of the loss.
        mu: weight of the Sobolev term.
        width: W of the tokens.
        depth: number of layers.
        heads: attention heads.
        expansion: feed-forward width over W.
        frequencies: Fourier harmonics of time in the token encoding.
        kernel_frequencies: harmonics in the distance kernel of the attention logits; 0 leaves the kernel out.
        attention: `isolated` or `joint`, see `CSTNetwork`.
        initialiser: name of an interpolant along time of `cst_lightning.interpolate`, or `auto`.
        residual: add the network to the initialiser instead of replacing it.
        noise: standard deviation of noise on the tokens' values in training, normalised units.
        dropout: rate in the residual branches.
        **options: see `FieldModule`.
    """

    label = "CST frames"
    network: FrameTokens

    def __init__(
        self,
        dimension: int,
        channels: int,
        periodic: list[bool] | tuple[bool, ...] | None = None,
        cells: int | list[int] = 16,
        order: int = 2,
        p: float = 2.0,
        mu: float = 1e-6,
        width: int = 96,
        depth: int = 4,
        heads: int = 4,
        expansion: int = 4,
        frequencies: int = 6,
        kernel_frequencies: int = 3,
        attention: Literal["isolated", "joint"] = "isolated",
        initialiser: str = "auto",
        residual: bool = True,
        noise: float = 0.0,
        dropout: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(dimension, channels, periodic, p, **options)
        sides = frame_sides(cells, dimension)
        inner = CSTNetwork(
            1, channels * math.prod(sides), self.periodic[:1], width, depth, heads, expansion, frequencies,
            kernel_frequencies=kernel_frequencies, attention=attention, initialiser=initialiser, residual=residual,
            noise=noise, dropout=dropout,
        )  # fmt: skip
        self.network, self.loss = FrameTokens(inner, sides, self.periodic), SobolevLoss(order, p, mu)

    def predict(self, batch: Batch) -> Tensor:
        """Return predictions (B, Q, c) at a normalised batch's targets, of the nearest cells."""
        return self._answers(batch)[0]

    def field(self, coords: Array, values: Array) -> ObservedField:
        """Return the function of time and cells through whole frames, physical units; see `Field.observe`."""
        return Field(self.network, self.normalization).observe(coords, values)  # type: ignore[arg-type]

    def terms(self, batch: Batch, keys: Tensor, count: Tensor | None = None) -> LossTerms:
        """Return the loss; arguments as of `FieldModule.terms`."""
        network, target, dummies = self.network, batch.target, batch.dummies[..., :1]
        memory = network.encode(batch.context, dummies, keys)
        prediction = network.query(memory, target.coords, keys=keys)
        return self.loss(network.inner, memory.inner, prediction, target.values, target.mask, dummies, keys, count)

    def _answers(self, batch: Batch) -> tuple[Tensor, Tensor]:
        memory, coords = self.network.encode(batch.context, batch.dummies), batch.target.coords
        return self.network.ask(memory, coords), self.network.initial(memory, coords)


def frame_sides(cells: int | Sequence[int], dimension: int) -> list[int]:
    """Return the cells of a frame along each of d - 1 space axes.

    Raises:
        ValueError: there are no space axes, or not one number for each.
    """
    sides = [cells] * (dimension - 1) if isinstance(cells, int) else list(cells)
    if dimension < 2 or len(sides) != dimension - 1 or min(sides) < 1:
        raise ValueError(
            f"frames have {sides} cells, expected a positive number for each of {dimension - 1} space axes, at least 1"
        )
    return sides
