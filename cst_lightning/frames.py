"""Finding whole frames among points, whatever their order; what builds on it reads columns, or frames as tokens.

Sizes: B batch, N points, F frames, P places, d coordinates, n lines of an axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from cst_lightning.points import PointSet


class Frames(NamedTuple):
    """Whole frames among points.

    Attributes:
        order: (B, F, P) which point is which place's at which time, frames in order of time.
        axes: (n,) lines of the grid along each space axis.
        real: (B, F) bool, which frames there are.
    """

    order: Tensor
    axes: list[Tensor]
    real: Tensor


def find_frames(points: PointSet, reason: str, asked: bool = False) -> Frames:
    """Return which point is where.

    Args:
        points: of one grid for all samples, each of whole frames in any order.
        reason: why there have to be frames, for messages.
        asked: these are targets, for messages.

    Raises:
        ValueError: they are not whole frames on a grid.
    """
    mask, space = points.mask, points.coords[..., 1:]
    found = _in_order(points)
    if found is not None:
        return found
    axes = [torch.unique(part[mask]) for part in space.unbind(-1)]
    places, count = math.prod(len(axis) for axis in axes), mask.sum(1)
    index = torch.zeros_like(mask, dtype=torch.long)
    for axis, part in zip(axes, space.unbind(-1), strict=True):
        index = index * len(axis) + torch.searchsorted(axis, part.contiguous())
    if not places or (count % places).any():
        raise ValueError(_refusal(points, places, reason, asked))
    by_place = torch.where(mask, index, places).argsort(dim=1, stable=True)
    time = torch.where(mask, points.coords[..., 0], math.inf)
    order = by_place.gather(1, time.gather(1, by_place).argsort(dim=1, stable=True))
    order = order[:, : int(count.max())].unflatten(1, (-1, places))
    real = torch.arange(order.shape[1], device=mask.device) < (count // places)[:, None]
    flat = order.flatten(1)
    row, times = index.gather(1, flat).view_as(order), time.gather(1, flat).view_as(order)
    whole = (row == torch.arange(places, device=mask.device)).all(-1) & (times == times[..., :1]).all(-1)
    if not (whole | ~real).all():
        raise ValueError(_refusal(points, places, reason, asked))
    return Frames(order, axes, real)


def nearest_places(axes: Sequence[Tensor], coords: Tensor, periodic: Sequence[bool]) -> Tensor:
    """Return the nearest places (B, Q), numbered in C order, the short way round periodic axes.

    Args:
        axes: (B, n) lines of the grid along each space axis.
        coords: (B, Q, d - 1), in space.
        periodic: whether each space axis repeats, with period 2.
    """
    place = torch.zeros(coords.shape[:2], dtype=torch.long, device=coords.device)
    for lines, x, wraps in zip(axes, coords.unbind(-1), periodic, strict=True):
        apart = x[..., None] - lines[:, None]
        apart = apart - 2 * (apart / 2).round() if wraps else apart
        place = place * lines.shape[1] + apart.abs().argmin(-1)
    return place


def _in_order(points: PointSet) -> Frames | None:
    """Return frames that come one after another, each of all places in order; None for any other points.

    Loaders give points so, and to see it is several times cheaper than to sort them.
    """
    coords, mask = points.coords, points.mask
    batch, size = mask.shape
    places = int((coords[0, :, 0] == coords[0, :1, 0]).cumprod(0).sum()) if batch and size else 0
    if not places or size % places:
        return None
    frames, there = coords.unflatten(1, (-1, places)), mask.unflatten(1, (-1, places))
    site, real, time = frames[0, 0, :, 1:], there[..., 0], frames[:, :, 0, 0]
    axes = [torch.unique(part) for part in site.unbind(-1)]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, -2) if axes else site
    whole = ((frames[..., 1:] == site) & (frames[..., :1] == time[..., None, None])).flatten(2).all(-1)
    later = (time[:, 1:] > time[:, :-1]) & real[:, :-1]
    if (
        not torch.equal(grid, site)
        or not (there == real[..., None]).all()
        or not (whole | ~real).all()
        or not (later | ~real[:, 1:]).all()
        or not real[:, 0].all()
    ):
        return None
    count = int(real.sum(1).max())
    order = torch.arange(count * places, device=mask.device).expand(batch, -1).unflatten(1, (-1, places))
    return Frames(order, axes, real[:, :count])


def _refusal(points: PointSet, places: int, reason: str, asked: bool) -> str:
    counts = ", ".join(str(int(n)) for n in points.mask.sum(1)[:4])
    hint = "; dense supervision is whole frames if dense_points is as many as a sample has" if asked else ""
    return (
        f"{reason}, for which every sample's {'targets' if asked else 'observations'} have to be whole frames "
        f"of one grid: expected multiples of {places} points at the same {places} places, each time once, found "
        f"{counts}{hint}"
    )
