"""What columns of whole frames remember, and questions sorted into them; see `cst_lightning.columns`.

Sizes: B batch, N context points, F frames, P places, S columns, U questions of a column, L layers, H heads, E and E_v
numbers of a head, d coordinates.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor

from cst_lightning import interpolate
from cst_lightning.network import Memory
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


class Groups:
    """Questions sorted into columns: only columns that are asked something are computed.

    A column that is asked more than most comes several times: the work is at most about twice that of the questions.

    Args:
        memory: of all columns.
        code: (n,) whom each asks, numbered b P + p.
        times: (n,) when.

    Attributes:
        columns: (S,) those that are asked.
        slots: (n,) where in (S U,) each is.
        times: (S, U, 1), 0 where a column is asked less than others.
        memory: theirs.
    """

    def __init__(self, memory: ColumnMemory, code: Tensor, times: Tensor) -> None:
        distinct, column = torch.unique(code, return_inverse=True)
        count = torch.bincount(column, minlength=len(distinct))
        order = column.argsort(stable=True)
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order), device=order.device) - (count.cumsum(0) - count)[column[order]]
        width = max(1, round(len(column) / max(1, len(distinct))))
        rows = -(-count // width)
        self.columns = distinct.repeat_interleave(rows)
        self.slots = ((rows.cumsum(0) - rows)[column] + rank // width) * width + rank % width
        spread = times.new_zeros(len(self.columns) * width).index_copy(0, self.slots, times)
        self.times = spread.view(-1, width, 1)
        chosen = Memory(memory.keys, memory.values, memory.mask, memory.interpolant, cast(PointSet, None))
        every = len(self.columns) == len(distinct) == memory.mask.shape[:2].numel()
        self.memory = each_tensor(chosen, lambda x: x.flatten(0, 1) if every else x.flatten(0, 1)[self.columns])

    def gathered(self, x: Tensor) -> Tensor:
        """Return answers (..., S, U, e) in the order of the questions, (..., n, e)."""
        return x.flatten(-3, -2).index_select(-2, self.slots)
