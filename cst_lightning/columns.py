"""A network for whole frames on a grid: every place reads its own past and future, and what is around it there.

Most of what frames tell about a value between two of them is told by the same place and its neighbours at other times.
So each place is a sample of its own, a column: its tokens are its observed times, and a token holds the values of the
neighbourhood. Attention is among the F frames of a column instead of the F P points of all, so the cost is linear in
the number of places P, and what is learned at one place serves all. It stays a smooth function of time; in space, like
the initialisers of `cst_lightning.places`, it is that of the nearest place, and derivatives there are 0.
A column answers for the cells around it, all that it reads or fewer, and a place's value is the mean of what all
columns say that answer for it: what counts is as far as both together, and a single value costs as many columns as one
answers for cells; whole frames cost one a place. In training each column is told how well it did by itself, and a step
may take a few columns of many samples, because those of one sample are much alike.
Sizes: B batch, N context points, Q queries, F frames, P places, S columns, U queries of a column, C channels of a
neighbourhood, d coordinates, c channels, k order.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from cst_lightning import interpolate, randomness
from cst_lightning.column_memory import ColumnMemory, Groups
from cst_lightning.errors import check_ranges
from cst_lightning.frames import Frames, find_frames, nearest_places
from cst_lightning.network import CSTNetwork, Memory
from cst_lightning.points import Batch, PointSet, each_tensor, rows

# More than a grid has places: random draws of a column are its own.
_MOST = 1 << 32

# Of random draws; the network's noise has others.
_STREAM = 16


class ColumnNetwork(CSTNetwork):
    """`CSTNetwork` for whole frames on a grid; see the module.

    Columns are samples with the channels of a neighbourhood, to be encoded and asked as any; `lesson` makes them.

    Args:
        dimension: d, at least 2, time first.
        channels: c.
        periodic: whether each axis repeats.
        reach: cells on either side, along each axis, that a column reads; beyond an edge the edge counts.
        answer_reach: cells on either side that it answers for, at most `reach`; as many if None. It is trained on all
            of them alike: far ones, of which it knows little, take from those that it could know.
        initialiser: one of `place_linear`, `place_pchip`, `place_makima`, `place_cubic`; `auto` is the third.
        **network: as in `CSTNetwork`; observations are neither compressed nor noisy, and dummies are no part of them.
    """

    def __init__(
        self,
        dimension: int,
        channels: int,
        periodic: Sequence[bool] | None = None,
        reach: int = 1,
        answer_reach: int | None = None,
        *,
        initialiser: str = "auto",
        **network: Any,
    ) -> None:
        check_ranges(dimension=(dimension, 2, 4), channels=(channels, 1, math.inf), reach=(reach, 1, math.inf))
        answer_reach = reach if answer_reach is None else answer_reach
        if not 0 <= answer_reach <= reach:
            raise ValueError(f"answer_reach is {answer_reach}, expected 0 to {reach}, which is reach")
        for name, plain in (("latents", 0), ("noise", 0.0), ("attention", "isolated")):
            if network.get(name, plain) != plain:
                raise ValueError(f"{name} is {network[name]!r}, expected {plain!r} with reach, which is {reach}")
        initialiser = "place_makima" if initialiser == "auto" else initialiser
        if not initialiser.startswith("place_"):
            names = ", ".join(name for name in interpolate.KINDS if name.startswith("place_"))
            raise ValueError(f"initialiser is {initialiser!r}, expected one of {names} with reach, which is {reach}")
        cells, answered = ((2 * n + 1) ** (dimension - 1) for n in (reach, answer_reach))
        super().__init__(dimension, channels * cells, periodic, initialiser=initialiser, **network)
        self.channels, self.reach, self.answer_reach = channels, reach, answer_reach
        self.cells, self.answered = cells, answered
        self.gain = torch.ones(channels)
        if answered != cells:
            self.head = self.new_head(self.norm.normalized_shape[0], channels * answered)
        near = (torch.arange(-reach, reach + 1).abs() <= answer_reach).nonzero()[:, 0]
        grid = torch.arange(cells).view((2 * reach + 1,) * (dimension - 1))
        for axis in range(dimension - 1):
            grid = grid.index_select(axis, near)
        kept = (grid.flatten()[:, None] * channels + torch.arange(channels)).flatten()
        self.kept: Tensor
        self.register_buffer("kept", kept, persistent=False)  # of a token's values, those that are answered for

    def lesson(self, batch: Batch, keys: Tensor, count: int = 0) -> Batch:
        """Make columns of samples: what a training step looks at.

        Args:
            batch: normalised, context and targets of whole frames on one grid.
            keys: (B,) of `randomness.sample_keys`.
            count: S, random places of each sample; 0 for all.

        Returns:
            A batch of B S columns: context (B S, F, C), targets (B S, F', C_a), of the C_a channels that are answered
            for, and dummies (B S, D, d).

        Raises:
            ValueError: context or targets are not whole frames on a grid.
        """
        shown, asked = self._grid(batch.context, batch.target)
        places = shown.order.shape[2]
        chosen = randomness.normal(keys, (places,), _STREAM, torch.float32).argsort(1)[:, : count or places]
        context = self._columns(batch.context, shown, chosen, self.reach)
        target = self._columns(batch.target, asked, chosen, self.answer_reach)
        times = batch.dummies[..., :1].repeat_interleave(chosen.shape[1], 0)
        dummies = torch.cat([times, context.coords[:, :1, 1:].expand(-1, times.shape[1], -1)], -1)
        return Batch(context, target, dummies, (batch.index[:, None] * _MOST + chosen).flatten())

    def encode(  # type: ignore[override]
        self, context: PointSet, dummies: Tensor | None = None, keys: Tensor | None = None
    ) -> ColumnMemory | Memory:
        """Read whole frames, once for all queries; or columns, of which it returns a plain `Memory`.

        Args:
            context: normalised observations, each sample's of one and the same grid of places; or columns.
            dummies: not used.
            keys: not used.

        Raises:
            ValueError: the observations are not whole frames on a grid.
        """
        if context.values.shape[-1] != self.channels:
            return super().encode(context)
        frames = find_frames(context, f"reach is {self.reach}")
        order, places = frames.order, frames.order.shape[2]
        columns = self._columns(
            context, frames, torch.arange(places, device=order.device).expand(len(order), -1), self.reach
        )
        memory = super().encode(columns)
        shaped = each_tensor(memory._replace(context=cast(PointSet, None)), lambda x: x.unflatten(0, (-1, places)))
        lines = [axis.expand(len(order), -1) for axis in frames.axes]
        return ColumnMemory(shaped.keys, shaped.values, shaped.mask, shaped.interpolant, context, order, lines)

    def query(
        self,
        memory: ColumnMemory | Memory,
        coords: Tensor,
        order: int = 0,
        directions: Tensor | None = None,
        keys: Tensor | None = None,
        stream: int = 2,
    ) -> Tensor:
        """Read values, or jets, at the nearest places; see `CSTNetwork.query`."""
        if order and directions is None:
            raise ValueError(f"directions is missing, expected (batch, query, {self.dimension}) for order {order}")
        ahead = coords.new_tensor([1.0] + [0.0] * (self.dimension - 1))
        if isinstance(memory, Memory):
            lines = None if directions is None else directions * ahead
            return super().query(memory, coords, order, lines)
        return self._answers(memory, coords, order, directions, math.inf)

    def ask(  # type: ignore[override]
        self,
        memory: ColumnMemory,
        coords: Tensor,
        order: int = 0,
        directions: Tensor | None = None,
        budget: int = 2**28,
    ) -> Tensor:
        """Do what `query` does in chunks, of queries and of columns that are asked; see `CSTNetwork.ask`."""
        # what columns say: at worst all of them at all times, or all around each query; and which of it is read
        said = min(memory.mask.shape[1] * len(coords[..., 0].unique()), self.answered * coords.shape[1])
        numbers = self.answered * (self.channels * (said + coords.shape[1]) + 4 * coords.shape[1])
        middle = coords.shape[1] // 2
        if coords.element_size() * len(coords) * (order + 1) * numbers <= budget or not middle:
            return self._answers(memory, coords, order, directions, budget)
        lines = (None, None) if directions is None else directions.expand_as(coords).tensor_split([middle], 1)
        halves = zip(coords.tensor_split([middle], 1), lines, strict=True)
        return torch.cat([self.ask(memory, part, order, line, budget) for part, line in halves], -2)

    def _answers(
        self, memory: ColumnMemory, coords: Tensor, order: int, directions: Tensor | None, budget: float
    ) -> Tensor:
        """Return the mean of what columns say; they are asked in chunks whose intermediates take `budget` bytes."""
        groups, index = self._asked(memory, coords)
        ahead = coords.new_tensor([1.0] + [0.0] * (self.dimension - 1))
        asked = self._snapped(memory, groups)
        numbers = 12 * self.norm.normalized_shape[0] + 4 * memory.mask.shape[-1] + 4 * self.cells * self.channels
        one = coords.element_size() * (order + 1) * numbers * asked.shape[1]
        chunk = int(max(1, min(len(asked), budget // one)))
        parts = []
        for n in range(0, len(asked), chunk):
            some = slice(n, n + chunk)
            part: Memory = each_tensor(groups.memory, operator.itemgetter(some))
            parts.append(super().query(part, asked[some], order, ahead))
        # what each column that answers for a query's place says of it; beyond all of it is a 0
        said = torch.cat(parts, -3).reshape(*parts[0].shape[:-3], -1, self.channels)
        said = torch.cat([said, torch.zeros_like(said[..., :1, :])], -2)
        out = said.index_select(-2, index.flatten()).unflatten(-2, index.shape).sum(-2)
        out = out / (index < said.shape[-2] - 1).sum(-1, keepdim=True)
        if directions is None or not order:
            return out
        powers = torch.arange(order + 1, device=coords.device)[:, None, None, None]
        return out * directions.expand_as(coords)[..., :1] ** powers

    def initial(self, memory: ColumnMemory, coords: Tensor, budget: int = 2**28) -> Tensor:  # type: ignore[override]
        """Return the initialiser's values (B, Q, c) of the nearest places."""
        one = 4 * coords.element_size() * len(coords) * self.cells * self.channels
        middle, parts = self.cells // 2 * self.channels, []
        for part in coords.split(max(1, budget // one), 1):
            groups = Groups(memory, *self._nearest(memory, part))
            around = groups.gathered(groups.memory.interpolant(self._snapped(memory, groups)[None]))[0]
            parts.append(around[..., middle : middle + self.channels].unflatten(0, part.shape[:2]))
        return torch.cat(parts, 1)

    def attention(self, memory: ColumnMemory, coords: Tensor) -> Tensor:  # type: ignore[override]
        """Return the attention weights (L, B, H, Q, N) at coords (B, Q, d): those of the nearest place's column."""
        groups = Groups(memory, *self._nearest(memory, coords))
        found = super().attention(groups.memory, self._snapped(memory, groups)).movedim(2, -2).flatten(-2)
        found = groups.gathered(found).unflatten(1, coords.shape[:2])
        found = found.unflatten(-1, (-1, memory.order.shape[1])).movedim(-2, 2)  # (L, B, H, Q, F)
        place = self._place(memory, coords)
        index = memory.order.take_along_dim(place[:, None], 2).transpose(1, 2)  # (B, Q, F)
        weights = found.new_zeros(*found.shape[:-1], memory.context.mask.shape[1])
        return weights.scatter_add(-1, index[None, :, None].expand_as(found), found)

    def check(self, context: PointSet, target: PointSet) -> None:
        """Refuse a sample's observations and targets (N, d), (N, c), (N,) that are not whole frames on a grid.

        Raises:
            ValueError: they are not.
        """
        self._grid(*(PointSet(*(part[None] for part in points)) for points in (context, target)))

    def _grid(self, context: PointSet, target: PointSet) -> tuple[Frames, Frames]:
        """Return where observations and targets are on the one grid of both."""
        reason = f"reach is {self.reach}"
        shown, asked = find_frames(context, reason), find_frames(target, reason, asked=True)
        sides = [[len(axis) for axis in frames.axes] for frames in (shown, asked)]
        if sides[0] != sides[1] or not all(map(torch.equal, shown.axes, asked.axes)):
            found = " and ".join(" x ".join(map(str, side)) for side in sides)
            raise ValueError(
                f"reach is {self.reach}, for which targets have to be at the places of the observations: expected one "
                f"grid of both, found {found} places"
            )
        return shown, asked

    def _corrected(self, start: Tensor, out: Tensor) -> Tensor:
        start = start if self.answered == self.cells else start.index_select(-1, self.kept)
        return start + self.gain.repeat(self.answered) * out

    def _around(self, chosen: Tensor, sides: Sequence[int], reach: int, sign: int = 1) -> tuple[Tensor, Tensor]:
        """Return the places around others, and which of these are not beyond an edge; the edge is in their stead.

        Args:
            chosen: (B, S) places.
            sides: sizes of the grid.
            reach: n cells on either side.
            sign: -1 for those around which the chosen ones are, cell for cell.

        Returns:
            (B, S, (2 n + 1)^(d - 1)) places, and bool.
        """
        offsets = sign * torch.arange(-reach, reach + 1, device=chosen.device)
        number = torch.zeros_like(chosen)[..., None]
        inside = torch.ones_like(number, dtype=torch.bool)
        for row, size, wraps in zip(torch.unravel_index(chosen, sides), sides, self.periodic[1:], strict=True):
            near = row[..., None] + offsets
            there = torch.ones_like(near, dtype=torch.bool) if wraps else (near >= 0) & (near < size)
            near = near % size if wraps else near.clamp(0, size - 1)
            number = (number[..., None] * size + near[..., None, :]).flatten(2)
            inside = (inside[..., None] & there[..., None, :]).flatten(2)
        return number, inside

    def _columns(self, points: PointSet, frames: Frames, chosen: Tensor, reach: int) -> PointSet:
        """Return the columns (B S, F, ...) of places (B, S), with what is around them; what pads them is 0."""
        order, real = frames.order, frames.real
        around, _ = self._around(chosen, [len(axis) for axis in frames.axes], reach)

        def of(part: Tensor, which: Tensor) -> Tensor:
            """Return a part (B, N, e) at places (B, n), for each frame: (B, F, n, e)."""
            index = order.gather(2, which[:, None].expand(-1, order.shape[1], -1))
            return rows(part, index.flatten(1)).unflatten(1, index.shape[1:])

        values = of(points.values, around.flatten(1)).unflatten(2, around.shape[1:]).flatten(3)
        values = torch.where(real[..., None, None], values, 0)
        coords = of(points.coords, chosen)
        mask = real[:, None].expand(-1, chosen.shape[1], -1)
        return PointSet(coords.transpose(1, 2).flatten(0, 1), values.transpose(1, 2).flatten(0, 1), mask.flatten(0, 1))

    def _place(self, memory: ColumnMemory, coords: Tensor) -> Tensor:
        """Return the nearest place (B, Q) of coords (B, Q, d), the short way round periodic axes."""
        return nearest_places(memory.axes, coords[..., 1:], self.periodic[1:])

    def _nearest(self, memory: ColumnMemory, coords: Tensor) -> tuple[Tensor, Tensor]:
        """Return the column (B Q,) of each query's place, numbered b P + p, and its time."""
        first = torch.arange(len(coords), device=coords.device)[:, None] * memory.mask.shape[1]
        return (first + self._place(memory, coords)).flatten(), coords[..., 0].flatten()

    def _asked(self, memory: ColumnMemory, coords: Tensor) -> tuple[Groups, Tensor]:
        """Return what is asked of which column, once if several queries need it, and where the answers are.

        Returns:
            What is asked, n times and columns, and (B, Q, cells) numbers of answers among all of cells that are
            answered for, (S U cells,), in which what is beyond an edge comes behind all others.
        """
        batch, places = memory.mask.shape[:2]
        sides = [lines.shape[1] for lines in memory.axes]
        columns, inside = self._around(self._place(memory, coords), sides, self.answer_reach, -1)
        columns = columns + torch.arange(batch, device=coords.device)[:, None, None] * places
        moments, when = coords[..., 0].unique(return_inverse=True)
        if places * len(moments) <= coords.shape[1] * self.answered:
            number = columns * len(moments) + when[..., None]
            wanted = torch.zeros(batch * places * len(moments), dtype=torch.bool, device=coords.device)
            wanted[number[inside]] = True
            asked = wanted.nonzero()[:, 0]
            groups = Groups(memory, asked // len(moments), moments[asked % len(moments)])
            rank = (wanted.cumsum(0) - 1)[number]
        else:  # scattered times: nothing is asked twice
            groups = Groups(memory, columns[inside], coords[..., :1].expand(columns.shape)[inside])
            rank = inside.flatten().cumsum(0).view(inside.shape) - 1
        index = groups.slots[rank.clamp_min(0)] * self.answered + torch.arange(self.answered, device=coords.device)
        return groups, torch.where(inside, index, groups.times.numel() * self.answered)

    def _snapped(self, memory: ColumnMemory, groups: Groups) -> Tensor:
        """Return what is asked (S, U, d), at the places of the columns."""
        site = rows(memory.context.coords, memory.order[:, 0]).flatten(0, 1)[groups.columns]
        return torch.cat([groups.times, site[:, None, 1:].expand(-1, groups.times.shape[1], -1)], -1)
