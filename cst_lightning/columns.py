"""A network for whole frames on a grid: every place reads its own past and future, and what is around it there.

Most of what frames tell about a value between two of them is told by the same place and its neighbours at other times.
So each place is a sample of its own, a column: its tokens are its observed times, and a token holds the values of the
neighbourhood. Attention is among the F frames of a column instead of the F P points of all, so the cost is linear in
the number of places P, and what is learned at one place serves all. It stays a smooth function of time; in space, like
the initialisers of `cst_lightning.places`, it is that of the nearest place, and derivatives there are 0.
Sizes: B batch, N context points, Q queries, F frames, P places, S columns, U queries of a column, d coordinates, c
channels, k order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from cst_lightning import interpolate
from cst_lightning.errors import check_ranges
from cst_lightning.network import CSTNetwork, Memory
from cst_lightning.points import PointSet, each_tensor


class ColumnMemory(NamedTuple):
    """What a query reads; as `Memory`, for each place.

    Attributes:
        keys: L tensors (B, P, H, F, E).
        values: L tensors (B, P, H, F, E_v).
        mask: (B, P, 1, 1, F) bool.
        interpolant: the initialiser of every column, tensors (B, P, ...).
        context: the observations, normalised.
        order: (B, F, P) which observation is which place's at which time.
        axes: (B, n) lines of the grid along each space axis.
    """

    keys: list[Tensor]
    values: list[Tensor]
    mask: Tensor
    interpolant: interpolate.Interpolant
    context: PointSet
    order: Tensor
    axes: list[Tensor]


class ColumnNetwork(CSTNetwork):
    """`CSTNetwork` for whole frames on a grid; see the module.

    Args:
        dimension: d, at least 2, time first.
        channels: c.
        periodic: whether each axis repeats.
        reach: cells on either side, along each axis, that belong to a neighbourhood; beyond an edge the edge counts.
        initialiser: one of `place_linear`, `place_pchip`, `place_makima`, `place_cubic`; `auto` is the third.
        **network: as in `CSTNetwork`; observations are neither compressed nor noisy, and dummies are no part of them.
    """

    def __init__(
        self,
        dimension: int,
        channels: int,
        periodic: Sequence[bool] | None = None,
        reach: int = 1,
        *,
        initialiser: str = "auto",
        **network: Any,
    ) -> None:
        check_ranges(dimension=(dimension, 2, 4), channels=(channels, 1, math.inf), reach=(reach, 1, math.inf))
        for name, plain in (("latents", 0), ("noise", 0.0), ("attention", "isolated")):
            if network.get(name, plain) != plain:
                raise ValueError(f"{name} is {network[name]!r}, expected {plain!r} with reach, which is {reach}")
        initialiser = "place_makima" if initialiser == "auto" else initialiser
        if not initialiser.startswith("place_"):
            names = ", ".join(name for name in interpolate.KINDS if name.startswith("place_"))
            raise ValueError(f"initialiser is {initialiser!r}, expected one of {names} with reach, which is {reach}")
        cells = (2 * reach + 1) ** (dimension - 1)
        super().__init__(dimension, channels * cells, periodic, initialiser=initialiser, **network)
        self.channels, self.reach = channels, reach
        self.head, self.gain = self.new_head(self.head.in_features, channels), torch.ones(channels)

    def encode(self, context: PointSet, dummies: Tensor | None = None, keys: Tensor | None = None) -> ColumnMemory:  # type: ignore[override]
        """Read whole frames, once for all queries.

        Args:
            context: normalised observations, each sample's of one and the same grid of places.
            dummies: not used.
            keys: not used.

        Raises:
            ValueError: the observations are not whole frames on a grid.
        """
        order, axes, real = self._frames(context)
        places = order.shape[2]
        flat = order.flatten(1)[..., None]
        frames = torch.where(
            real[..., None, None], context.values.take_along_dim(flat, 1).unflatten(1, order.shape[1:]), 0
        )
        frames = frames.unflatten(2, tuple(len(axis) for axis in axes))
        coords = context.coords.take_along_dim(flat, 1).unflatten(1, order.shape[1:])
        columns = PointSet(
            coords.transpose(1, 2).flatten(0, 1),
            self._neighbourhoods(frames).transpose(1, 2).flatten(0, 1),
            real[:, None].expand(-1, places, -1).flatten(0, 1),
        )
        memory = super().encode(columns)
        shaped = each_tensor(memory._replace(context=cast(PointSet, None)), lambda x: x.unflatten(0, (-1, places)))
        lines = [axis.expand(len(context.mask), -1) for axis in axes]
        return ColumnMemory(shaped.keys, shaped.values, shaped.mask, shaped.interpolant, context, order, lines)

    def query(  # type: ignore[override]
        self,
        memory: ColumnMemory,
        coords: Tensor,
        order: int = 0,
        directions: Tensor | None = None,
        keys: Tensor | None = None,
        stream: int = 2,
    ) -> Tensor:
        """Read values, or jets, at the nearest places; see `CSTNetwork.query`."""
        if order and directions is None:
            raise ValueError(f"directions is missing, expected (batch, query, {self.dimension}) for order {order}")
        groups = _Groups(memory, self._place(memory, coords))
        lines = None
        if directions is not None:
            lines = groups.spread(directions.expand_as(coords))
            lines = torch.cat([lines[..., :1], torch.zeros_like(lines[..., 1:])], -1)
        out = super().query(groups.memory, self._snapped(memory, groups, coords), order, lines)
        return groups.gathered(out)

    def initial(self, memory: ColumnMemory, coords: Tensor, budget: int = 2**28) -> Tensor:  # type: ignore[override]
        """Return the initialiser's values (B, Q, c) of the nearest places."""
        groups = _Groups(memory, self._place(memory, coords))
        return groups.gathered(self._own(groups.memory.interpolant(self._snapped(memory, groups, coords)[None]))[0])

    def attention(self, memory: ColumnMemory, coords: Tensor) -> Tensor:  # type: ignore[override]
        """Return the attention weights (L, B, H, Q, N) at coords (B, Q, d): 0 but for the nearest place's."""
        place = self._place(memory, coords)
        groups = _Groups(memory, place)
        found = groups.gathered(
            super().attention(groups.memory, self._snapped(memory, groups, coords)).movedim(2, -2).flatten(-2)
        )
        found = found.unflatten(-1, (-1, memory.order.shape[1])).movedim(-2, 2)  # (L, B, H, Q, F)
        index = memory.order.take_along_dim(place[:, None], 2).transpose(1, 2)  # (B, Q, F)
        weights = found.new_zeros(*found.shape[:-1], memory.context.mask.shape[1])
        return weights.scatter_add(-1, index[None, :, None].expand_as(found), found)

    def check(self, context: PointSet) -> None:
        """Refuse a sample's observations (N, d), (N, c), (N,) that are not whole frames on a grid.

        Raises:
            ValueError: they are not.
        """
        self._frames(PointSet(*(part[None] for part in context)))

    def _own(self, around: Tensor) -> Tensor:
        """Return the middle cell (..., c) of a neighbourhood (..., C)."""
        middle = around.shape[-1] // self.channels // 2 * self.channels
        return around[..., middle : middle + self.channels]

    def _frames(self, context: PointSet) -> tuple[Tensor, list[Tensor], Tensor]:
        """Return which observation is where, (B, F, P), the grid's axes, and which frames there are, (B, F)."""
        mask, space = context.mask, context.coords[..., 1:]
        axes = [torch.unique(part[mask]) for part in space.unbind(-1)]
        places, count = math.prod(len(axis) for axis in axes), mask.sum(1)
        index = torch.zeros_like(mask, dtype=torch.long)
        for axis, part in zip(axes, space.unbind(-1), strict=True):
            index = index * len(axis) + torch.searchsorted(axis, part.contiguous())
        if not places or (count % places).any():
            raise ValueError(self._not_frames(context, places))
        by_place = torch.where(mask, index, places).argsort(dim=1, stable=True)
        time = torch.where(mask, context.coords[..., 0], math.inf)
        order = by_place.gather(1, time.gather(1, by_place).argsort(dim=1, stable=True))
        order = order[:, : int(count.max())].unflatten(1, (-1, places))
        real = torch.arange(order.shape[1], device=mask.device) < (count // places)[:, None]
        flat = order.flatten(1)
        row, times = index.gather(1, flat).view_as(order), time.gather(1, flat).view_as(order)
        whole = (row == torch.arange(places, device=mask.device)).all(-1) & (times == times[..., :1]).all(-1)
        if not (whole | ~real).all():
            raise ValueError(self._not_frames(context, places))
        return order, axes, real

    def _not_frames(self, context: PointSet, places: int) -> str:
        counts = ", ".join(str(int(n)) for n in context.mask.sum(1)[:4])
        return (
            f"reach is {self.reach}, for which every sample has to show whole frames of one grid: expected multiples "
            f"of {places} observations at the same {places} places, found {counts}"
        )

    def _neighbourhoods(self, frames: Tensor) -> Tensor:
        """Return the values around each place, (B, F, P, cells * c), of frames (B, F, *space, c)."""
        axes = frames.ndim - 3
        for number in range(axes):
            size = frames.shape[2 + number]
            index = torch.arange(-self.reach, size + self.reach, device=frames.device)
            index = index % size if self.periodic[1 + number] else index.clamp(0, size - 1)
            frames = frames.index_select(2 + number, index).unfold(2 + number, 2 * self.reach + 1, 1)
        return frames.movedim(2 + axes, -1).flatten(3 + axes - 1).flatten(2, 1 + axes)

    def _place(self, memory: ColumnMemory, coords: Tensor) -> Tensor:
        """Return the nearest place (B, Q) of coords (B, Q, d), the short way round periodic axes."""
        place = torch.zeros(coords.shape[:2], dtype=torch.long, device=coords.device)
        for lines, x, wraps in zip(memory.axes, coords[..., 1:].unbind(-1), self.periodic[1:], strict=True):
            apart = x[..., None] - lines[:, None]
            apart = apart - 2 * (apart / 2).round() if wraps else apart
            place = place * lines.shape[1] + apart.abs().argmin(-1)
        return place

    def _snapped(self, memory: ColumnMemory, groups: _Groups, coords: Tensor) -> Tensor:
        """Return queries (S, U, d) at the places of their columns."""
        times = groups.spread(coords[..., :1])
        site = memory.context.coords.take_along_dim(memory.order[:, 0, :, None], 1).flatten(0, 1)[groups.columns]
        return torch.cat([times, site[:, None, 1:].expand(-1, times.shape[1], -1)], -1)


class _Groups:
    """Queries sorted into columns: only columns that are asked something are computed.

    A column that is asked more than most, as that in which all padding lies, comes several times: the work is at most
    about twice that of the queries.

    Args:
        memory: of all columns.
        place: (B, Q) of each query.

    Attributes:
        columns: (S,) those that are asked, numbered b P + p.
        memory: theirs.
    """

    def __init__(self, memory: ColumnMemory, place: Tensor) -> None:
        batch, places = memory.mask.shape[:2]
        code = place + torch.arange(batch, device=place.device)[:, None] * places
        distinct, column = torch.unique(code, return_inverse=True)
        column = column.flatten()
        count = torch.bincount(column, minlength=len(distinct))
        order = column.argsort(stable=True)
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order), device=order.device) - (count.cumsum(0) - count)[column[order]]
        self.shape, self.width = place.shape, max(1, round(len(column) / max(1, len(distinct))))
        rows = -(-count // self.width)
        self.columns = distinct.repeat_interleave(rows)
        self.slots = ((rows.cumsum(0) - rows)[column] + rank // self.width) * self.width + rank % self.width
        chosen = Memory(memory.keys, memory.values, memory.mask, memory.interpolant, cast(PointSet, None))
        every = len(self.columns) == len(distinct) == batch * places
        self.memory = each_tensor(chosen, lambda x: x.flatten(0, 1) if every else x.flatten(0, 1)[self.columns])

    def spread(self, x: Tensor) -> Tensor:
        """Return (B, Q, e) as (S, U, e), 0 where a column is asked less than others."""
        out = x.new_zeros(len(self.columns) * self.width, x.shape[-1])
        return out.index_copy(0, self.slots, x.flatten(0, 1)).unflatten(0, (len(self.columns), self.width))

    def gathered(self, x: Tensor) -> Tensor:
        """Return answers (..., S, U, e) in the order of the queries, (..., B, Q, e)."""
        return x.flatten(-3, -2).index_select(-2, self.slots).unflatten(-2, self.shape)
