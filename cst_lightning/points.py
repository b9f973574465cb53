"""What flows through the library: padded sets of points, batches of them, and the units they are in.

Sizes in every docstring: B batch, N context points, Q queries, D dummies, d coordinate dimensions, c channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class PointSet(NamedTuple):
    """Padded observations of B samples.

    Attributes:
        coords: (B, N, d), time first, then space.
        values: (B, N, c), finite everywhere.
        mask: (B, N) bool, True where the point is real (for a context) or counts (for a target).
    """

    coords: Tensor
    values: Tensor
    mask: Tensor


class Batch(NamedTuple):
    """One step's worth of samples.

    Attributes:
        context: what the model is shown.
        target: what it is asked for. In evaluation `mask` is True at held-out points only, so that no score counts
            a point the model has seen.
        dummies: (B, D, d) random coordinates at which the Sobolev term is taken.
        index: (B,) position of each sample in its data set.
        frames: if positive, the targets are `frames` successive times of the same N / frames places, time-major;
            0 if they are scattered. Smoothness along time can be scored only when it is positive.
    """

    context: PointSet
    target: PointSet
    dummies: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody asks of a batch
    frames: int = 0


def point_set(coords: Tensor, values: Tensor, mask: Tensor | None = None) -> PointSet:
    """Check and build a `PointSet`; this is the one validator at the library's boundary.

    A value that is NaN in any channel marks its point as unobserved.

    Args:
        coords: (B, N, d), finite wherever `mask` is True.
        values: (B, N, c).
        mask: (B, N) bool; all True when omitted.

    Returns:
        The set, 0 in place of what is not finite.

    Raises:
        ValueError: shapes disagree, or a coordinate or a value is infinite; the message has expected and found.
    """
    if coords.ndim != 3:
        raise ValueError(f"coords has shape {tuple(coords.shape)}, expected (batch, point, dimension)")
    if values.ndim != 3 or values.shape[:2] != coords.shape[:2]:
        raise ValueError(
            f"values has shape {tuple(values.shape)}, expected (batch, point, channel) with batch, point = "
            f"{tuple(coords.shape[:2])} as in coords"
        )
    mask = torch.ones(coords.shape[:2], dtype=torch.bool, device=coords.device) if mask is None else mask
    if mask.shape != coords.shape[:2] or mask.dtype != torch.bool:
        raise ValueError(f"mask has shape {tuple(mask.shape)} {mask.dtype}, expected bool {tuple(coords.shape[:2])}")
    # What is not observed must still be finite: it is multiplied by 0 later. Other masked values stay, a target needs
    # them. Most sets are finite throughout, and are not copied.
    known = values.isfinite().all(-1)
    if not known.all():
        mask = mask & ~values.isnan().any(-1)
        if (mask & ~known).any():
            raise ValueError("values has infinite entries, expected finite numbers or NaN for unobserved")
        values = torch.where(known[..., None], values, 0)
    placed = coords.isfinite()
    if not placed.all():
        if (mask & ~placed.all(-1)).any():
            raise ValueError("coords has NaN or infinite entries at observed points, expected finite numbers")
        coords = torch.where(placed, coords, 0)
    return PointSet(coords, values, mask)


def pad(sets: Sequence[PointSet]) -> PointSet:
    """Stack unbatched sets, (N_i, d), (N_i, c) and (N_i,), into one padded set of N = max N_i points."""
    return PointSet(
        *(torch.nn.utils.rnn.pad_sequence(list(part), batch_first=True) for part in zip(*sets, strict=True))
    )


def rows(table: Tensor, index: Tensor) -> Tensor:
    """Return rows (B, M, c) of tables (B, N, c) by number (B, M), none of them negative; rows are moved as wholes."""
    first = torch.arange(len(table), device=table.device)[:, None] * table.shape[1]
    return table.flatten(0, 1).index_select(0, (index + first).flatten()).view(*index.shape, table.shape[-1])


def each_tensor(tree: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Change all tensors of nested named tuples and lists; what is neither stays."""
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(each_tensor(part, change) for part in tree))
    if isinstance(tree, list):
        return [each_tensor(part, change) for part in tree]
    return tree


def axis_names(dimension: int) -> tuple[str, ...]:
    """Return the names of coordinates that have none of their own: time, x, y, z, and then numbers."""
    return ("time", "x", "y", "z", *(f"x{n}" for n in range(4, dimension)))[:dimension]


class Normalization(NamedTuple):
    """Affine maps between physical units and the network's: coordinates to [-1, 1], values to mean 0, spread 1.

    Plain numbers, so that it is saved in a checkpoint as such and needs no device. Arithmetic on coordinates is done
    in float64 before rounding: UNIX seconds in float32 are 128 s apart.

    Attributes:
        origin: d centres of the axes.
        scale: d half-lengths of the axes (half the period on a periodic axis).
        mean: c means of the training values.
        spread: c standard deviations of the training values.
        periodic: d flags, True for an axis that repeats with period 2 in normalised coordinates; none when empty.
    """

    origin: tuple[float, ...]
    scale: tuple[float, ...]
    mean: tuple[float, ...]
    spread: tuple[float, ...]
    periodic: tuple[bool, ...] = ()

    @classmethod
    def identity(cls, dimension: int, channels: int) -> Normalization:
        """Return the map that changes nothing."""
        return cls((0.0,) * dimension, (1.0,) * dimension, (0.0,) * channels, (1.0,) * channels)

    def coords(self, coords: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Map physical coordinates (..., d) of any real dtype to normalised ones, rounded to `dtype` last."""
        physical = coords if coords.device.type == "mps" else coords.double()
        normal = (physical - physical.new_tensor(self.origin)) / physical.new_tensor(self.scale)
        if any(self.periodic):
            # to one period before rounding: a million periods away, float32 has two digits left
            beyond = (normal < -1) | (normal > 1)
            wraps = beyond & torch.tensor(self.periodic, device=normal.device)
            if wraps.any():
                normal = torch.where(wraps, torch.remainder(normal + 1, 2) - 1, normal)
        return normal.to(dtype)

    def coords_back(self, coords: Tensor) -> Tensor:
        """Map normalised coordinates (..., d) to physical ones, float64."""
        return coords.double() * coords.new_tensor(self.scale, dtype=torch.float64) + coords.new_tensor(
            self.origin, dtype=torch.float64
        )

    def values(self, values: Tensor) -> Tensor:
        """Map physical values (..., c) to normalised ones."""
        return (values - values.new_tensor(self.mean)) / values.new_tensor(self.spread)

    def values_back(self, values: Tensor) -> Tensor:
        """Map normalised values (..., c) to physical ones."""
        return values * values.new_tensor(self.spread) + values.new_tensor(self.mean)

    def points(self, points: PointSet, dtype: torch.dtype = torch.float32) -> PointSet:
        """Normalise a whole set."""
        return PointSet(self.coords(points.coords, dtype), self.values(points.values).to(dtype), points.mask)

    def batch(self, batch: Batch, dtype: torch.dtype = torch.float32) -> Batch:
        """Normalise everything in a batch that has units."""
        return batch._replace(
            context=self.points(batch.context, dtype),
            target=self.points(batch.target, dtype),
            dummies=self.coords(batch.dummies, dtype),
        )
