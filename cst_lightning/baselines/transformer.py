"""The paper's comparison: the same transformer on a table of learned positions, which knows nothing between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cst_lightning import jets
from cst_lightning.baselines.frame_tokens import FrameTokens, frame_sides
from cst_lightning.field import Array, Field, ObservedField
from cst_lightning.field_module import FieldModule
from cst_lightning.network import CSTNetwork, Memory
from cst_lightning.points import Batch, PointSet


class PositionTable(nn.Module):
    """Learned vectors for the lines of a regular grid over the box, one table an axis, added up.

    A table an axis and not one of all their products: on 16 x 32 x 32 cells the product has 16,384 entries, of which a
    sample with 256 observations trains 1.6 %, where the sum has 80 that every sample trains. An axis of n entries has
    lines at ``-1 + 2 i / (n - 1)``, both ends included, or, if it repeats, at ``-1 + 2 i / n``; with as many entries as
    the data's grid has lines, these are the same places.

    Args:
        entries: number of entries of each axis.
        periodic: whether each axis repeats, with period 2.
        width: W of the vectors.
    """

    def __init__(self, entries: Sequence[int], periodic: Sequence[bool], width: int) -> None:
        super().__init__()
        if len(entries) != len(periodic) or min(entries) < 1:
            raise ValueError(f"entries is {list(entries)}, expected a positive number for each of {len(periodic)} axes")
        self.entries, self.periodic = tuple(entries), tuple(periodic)
        # rows add up over the axes: this keeps the sum's spread at 1
        self.rows = nn.ParameterList(torch.randn(n, width) * len(entries) ** -0.5 for n in entries)

    def forward(self, line: Tensor) -> Tensor:
        """Look up a jet of coordinates (k + 1, ..., d): (k + 1, ..., W), constant along the line."""
        places = self.places(line[0])
        found = [F.embedding(place, rows) for place, rows in zip(places.unbind(-1), self.rows, strict=True)]
        return jets.constant(torch.stack(found).sum(0), len(line) - 1)

    def places(self, coords: Tensor) -> Tensor:
        """Return the entries (..., d) nearest to coordinates (..., d)."""
        parts = []
        for n, wraps, x in zip(self.entries, self.periodic, coords.float().unbind(-1), strict=True):
            steps = n if wraps else max(n - 1, 1)
            place = ((x + 1) / 2 * steps).round().long()
            parts.append(place % n if wraps else place.clamp(0, n - 1))
        return torch.stack(parts, -1)

    def snapped(self, coords: Tensor) -> Tensor:
        """Return the grid coordinates (..., d) of the entries nearest to coordinates (..., d)."""
        steps = [n if wraps else max(n - 1, 1) for n, wraps in zip(self.entries, self.periodic, strict=True)]
        return self.places(coords).to(coords.dtype) * (2 / coords.new_tensor(steps)) - 1


class TransformerNetwork(CSTNetwork):
    """`CSTNetwork` with a table of positions in place of continuous coordinates.

    Every coordinate, of an observation and of a question, first goes to its nearest entry: a question between two
    entries gets the nearest one's answer, and all derivatives are zero. Blocks, head, initialiser and residual are
    CST's, so that nothing but the position differs; there are no dummies. Source: the Transformer of Fonseca et al.,
    ICML 2023, section 4, after Vaswani et al., 2017.

    Args:
        dimension: d, coordinates time first.
        channels: c.
        periodic: whether each axis repeats.
        entries: number of entries of each axis, or one number for all.
        **network: as in `CSTNetwork`, without what describes continuous coordinates.
    """

    def __init__(
        self,
        dimension: int,
        channels: int,
        periodic: Sequence[bool] | None = None,
        entries: int | Sequence[int] = 100,
        *,
        width: int = 96,
        **network: Any,
    ) -> None:
        super().__init__(dimension, channels, periodic, width=width, kernel_frequencies=0, frequencies=1, **network)
        entries = [entries] * dimension if isinstance(entries, int) else list(entries)
        self.table = PositionTable(entries, self.periodic, width)
        self.embedding.add_module("fourier", self.table)
        self.embedding.position = nn.Linear(width, width)

    def encode(self, context: PointSet, dummies: Tensor | None = None, keys: Tensor | None = None) -> Memory:
        """Read the observations at their nearest entries; see `CSTNetwork.encode`."""
        return super().encode(context._replace(coords=self.table.snapped(context.coords)), None, keys)

    def query(
        self,
        memory: Memory,
        coords: Tensor,
        order: int = 0,
        directions: Tensor | None = None,
        keys: Tensor | None = None,
        stream: int = 2,
    ) -> Tensor:
        """Read values at the nearest entries; jets are constant. See `CSTNetwork.query`."""
        still = None if directions is None else torch.zeros_like(directions)
        return super().query(memory, self.table.snapped(coords), order, still, keys, stream)

    def initial(self, memory: Memory, coords: Tensor, budget: int = 2**28) -> Tensor:
        """Return the initialiser's values (B, Q, c) at the nearest entries."""
        return super().initial(memory, self.table.snapped(coords), budget)

    def attention(self, memory: Memory, coords: Tensor) -> Tensor:
        """Return the attention weights of the nearest entries; see `CSTNetwork.attention`."""
        return super().attention(memory, self.table.snapped(coords))


class TransformerModule(FieldModule):
    """Train a `TransformerNetwork`: the mean square error at the targets, no dummies, no Sobolev term.

    Args:
        dimension: d, coordinates time first.
        channels: c.
        periodic: whether each axis repeats.
        entries: size of the position table along each axis, or one number for all; that of the data's grid.
        frames: a token is a whole frame, of as many cells as `entries` says, and has a position in time only, as in the
            paper's dynamics; observations have to be whole frames.
        width: W of the tokens.
        depth: number of layers.
        heads: attention heads.
        expansion: feed-forward width over W.
        initialiser: name of an interpolant of `cst_lightning.interpolate`, or `auto`.
        residual: add the network to the initialiser instead of replacing it.
        dropout: rate in the residual branches.
        **options: see `FieldModule`.
    """

    network: TransformerNetwork | FrameTokens

    def __init__(
        self,
        dimension: int,
        channels: int,
        periodic: list[bool] | tuple[bool, ...] | None = None,
        entries: int | list[int] = 100,
        frames: bool = False,
        width: int = 96,
        depth: int = 4,
        heads: int = 8,
        expansion: int = 4,
        initialiser: str = "auto",
        residual: bool = True,
        dropout: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(dimension, channels, periodic, **options)
        shape: dict[str, Any] = {
            "width": width, "depth": depth, "heads": heads, "expansion": expansion, "initialiser": initialiser,
            "residual": residual, "dropout": dropout,
        }  # fmt: skip
        if not frames:
            self.network = TransformerNetwork(dimension, channels, periodic, entries, **shape)
            return
        times, cells = (entries, entries) if isinstance(entries, int) else (entries[0], entries[1:])
        sides = frame_sides(cells, dimension)
        inner = TransformerNetwork(1, channels * math.prod(sides), self.periodic[:1], times, **shape)
        self.network = FrameTokens(inner, sides, self.periodic)

    def predict(self, batch: Batch) -> Tensor:
        """Return predictions (B, Q, c) at the entries nearest to a normalised batch's targets."""
        return self._answers(batch)[0]

    def field(self, coords: Array, values: Array) -> ObservedField:
        """Return the piecewise constant function through observations, physical units; see `Field.observe`."""
        return Field(self.network, self.normalization).observe(coords, values)  # type: ignore[arg-type]

    def _answers(self, batch: Batch) -> tuple[Tensor, Tensor]:
        network: Any = self.network  # each has a memory of its own
        memory, coords = network.encode(batch.context), batch.target.coords
        # in training in one piece: chunks bound the memory of an evaluation only
        ask = network.query if self.training else network.ask
        return ask(memory, coords), network.initial(memory, coords)
