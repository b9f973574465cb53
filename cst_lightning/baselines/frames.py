"""References that know what a video is: whole frames, at the same places again and again.

Interpolation of scattered points ignores that; these ask each place for its own past and future, as one does to fill
in dropped frames. They follow `cst_lightning.baselines.interpolation.Interpolator`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.interpolate import CubicSpline, PchipInterpolator
from scipy.spatial import cKDTree

from cst_lightning.baselines.interpolation import Array, Interpolator, Periods, distinct, wrapped

Kind = Literal["neighbour_mean", "linear", "pchip", "cubic", "nearest"]


@dataclass(frozen=True)
class AlongTime:
    """Interpolate each place's own observations in time; a query is answered by the place nearest to it.

    Outside of a place's observations the end value holds.

    Attributes:
        kind: `neighbour_mean`, the mean of the observations before and after, however far they are; `linear`;
            `cubic`, twice differentiable, not-a-knot; `pchip`, monotone between observations; `nearest`, the
            observation nearest in time.
    """

    kind: Kind = "neighbour_mean"

    @property
    def name(self) -> str:
        """Name in tables."""
        return self.kind

    def __call__(self, coords: Array, values: Array, query: Array, periods: Periods) -> Array:
        """Interpolate; see `Interpolator`."""
        if not len(coords):
            raise ValueError("coords has no points, expected at least one observation")
        coords, query = (wrapped(np.asarray(x, np.float64), periods) for x in (coords, query))
        coords, values = distinct(coords, np.asarray(values, np.float64))
        sites, place = np.unique(coords[:, 1:], axis=0, return_inverse=True)
        asked = _nearest(sites, query[:, 1:], periods)
        out = np.empty((len(query), values.shape[1]))
        for times, members in _together(coords[:, 0], place.reshape(-1), len(sites)):
            # places with the same times are done at once: one spline of many columns instead of many splines
            rows = np.full(len(sites), -1)
            rows[members[:, 0]] = np.arange(len(members))
            mine = np.flatnonzero(rows[asked] >= 0)
            if len(mine):
                out[mine] = self._curve(times, values[members[:, 1:]], query[mine, 0], rows[asked[mine]])
        return out

    def _curve(self, times: Array, values: Array, asked: Array, rows: Array) -> Array:
        """Return (Q, c) of curves through values (P, T, c) at times (T,), curve rows[q] at time asked[q]."""
        inside = np.clip(asked, times[0], times[-1])
        if len(times) == 1:
            return np.asarray(values[rows, 0])
        after = np.clip(np.searchsorted(times, inside, side="right"), 1, len(times) - 1)
        share = (inside - times[after - 1]) / (times[after] - times[after - 1])
        if self.kind in ("cubic", "pchip") and len(times) > 2:
            rule = CubicSpline if self.kind == "cubic" else PchipInterpolator
            return _spline(rule(times, values, axis=1), inside, rows, values.shape[2])
        if self.kind == "nearest":
            share = np.round(share)
        elif self.kind == "neighbour_mean":  # at an observation it is that observation
            share = np.where((share > 0) & (share < 1), 0.5, share)
        share = share[:, None]
        return np.asarray((1 - share) * values[rows, after - 1] + share * values[rows, after])


def _spline(spline: Callable[[float], Array], asked: Array, rows: Array, channels: int) -> Array:
    """Evaluate the splines of all places once for each distinct time asked, and pick what was asked for."""
    moments, which = np.unique(asked, return_inverse=True)
    out = np.empty((len(asked), channels))
    for number, moment in enumerate(moments):  # frame by frame: all frames of all places would not fit into memory
        mine = np.flatnonzero(which.reshape(-1) == number)
        out[mine] = spline(moment)[rows[mine]]
    return out


def _nearest(sites: Array, query: Array, periods: Periods) -> Array:
    """Return which site (Q,) is nearest, the short way round periodic axes."""
    if not sites.shape[1]:
        return np.zeros(len(query), dtype=int)
    lengths = [0.0 if period is None else period for period in periods[1:]]
    # a tree's box must hold all points, and along an axis of size 0 it does not wrap
    low = np.array([-length / 2 if length else 0.0 for length in lengths])
    tree = cKDTree(np.where(lengths, np.mod(sites - low, np.where(lengths, lengths, 1)), sites), boxsize=lengths)
    found: Array = tree.query(np.where(lengths, np.mod(query - low, np.where(lengths, lengths, 1)), query))[1]
    return found


def _together(times: Array, place: Array, sites: int) -> list[tuple[Array, Array]]:
    """Group places that were observed at the same times.

    Args:
        times: (N,) of the observations.
        place: (N,) which site each of them is at.
        sites: number of sites.

    Returns:
        For each group its times (T,), increasing, and (P, 1 + T) integers: a site, and its observations in order.
    """
    order = np.lexsort((times, place))
    counts = np.bincount(place, minlength=sites)
    groups: dict[bytes, list[Array]] = {}
    for site, rows in enumerate(np.split(order, np.cumsum(counts)[:-1])):
        groups.setdefault(times[rows].tobytes(), []).append(np.concatenate([[site], rows]))
    return [(np.frombuffer(key), np.stack(members)) for key, members in groups.items()]


def references() -> list[Interpolator]:
    """Return what to compare with where whole frames were observed."""
    kinds: tuple[Kind, ...] = ("neighbour_mean", "linear", "cubic", "nearest")
    return [AlongTime(kind) for kind in kinds]
