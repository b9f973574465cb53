r"""Initialisers: functions through irregular, padded samples that can be asked anywhere, with exact derivatives.

Along time (d = 1): `linear`, `pchip`, `makima` and `cubic`, as in numpy and scipy between the ends. Beyond them
`linear` holds the end value and the others go on straight with the end slope. Scattered (any d): `nearest`, `idw`,
`rbf`; see `cst_lightning.scatter`. Smooth and not through the data (any d): `gp`; see `cst_lightning.smoothers`. Whole
frames at fixed places: `place_linear`, `place_pchip`, `place_makima`, `place_cubic`, along time at the nearest place;
see `cst_lightning.places`. And `zero`. Repeated coordinates are averaged; an empty sample gives 0 and one of a single
point a constant (with `gp` a bump, which falls to 0 far from it).
Sizes: B batch, N context points, Q queries, d dimensions, c channels, k order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from cst_lightning import jets, places, scatter, smoothers
from cst_lightning.scatter import Periods
from cst_lightning.splines import not_a_knot, tridiagonal

# Of the mean distance of points on an axis that repeats; closer ones are taken for one.
_CLOSE = 0.1


class Interpolant(Protocol):
    """A function of a query jet: (k + 1, B, Q, d) to (k + 1, B, Q, c). A NamedTuple of tensors with leading axis B."""

    def __call__(self, query: Tensor) -> Tensor:
        """Evaluate; order 0 is the value, order n the n-th Taylor coefficient along the line of the query."""
        ...


class Piecewise(NamedTuple):
    """A piecewise polynomial in time. Piece i lies left of knot i; the first and the last are the extrapolation.

    Attributes:
        knots: (B, N) distinct times, ascending; +inf in the padding.
        number: (B, 1) of real knots.
        origin: (B, N + 1) time at which the local coordinate of each piece is 0.
        rate: (B, N + 1) 1 / duration; the local coordinate is 1 at a piece's end, coefficients as large as values.
        coefficients: (B, N + 1, degree + 1, c) in the local coordinate, lowest first.
        period: of time; None if it is plain.
    """

    knots: Tensor
    number: Tensor
    origin: Tensor
    rate: Tensor
    coefficients: Tensor
    period: float | None

    def __call__(self, query: Tensor) -> Tensor:
        """Evaluate at a jet (k + 1, B, Q, 1): (k + 1, B, Q, c). A knot takes its right piece, the last its left."""
        time = query[..., 0]
        if self.period is not None:
            time = jets.shift(time, -self.period * (time[0] / self.period).floor())
        piece = torch.searchsorted(self.knots, time[0].contiguous(), right=True)
        end = self.knots.gather(1, (self.number - 1).clamp_min(0))
        piece = torch.where(time[0] == end, self.number - 1, piece)
        local = jets.shift(time, -self.origin.gather(1, piece)) * self.rate.gather(1, piece)
        polynomial = self.coefficients.take_along_dim(piece[..., None, None], 1).unbind(2)
        return jets.compose(_recentre(polynomial, local[0, ..., None], len(query)), local[..., None])


def fit(
    kind: str,
    coords: Tensor,
    values: Tensor,
    mask: Tensor,
    periods: Periods | None = None,
    **options: Any,
) -> Interpolant:
    """Fit an interpolant to each sample of a padded batch.

    Args:
        kind: a name in `KINDS`.
        coords: (B, N, d), any order.
        values: (B, N, c); the result is differentiable in them.
        mask: (B, N) bool, True where real.
        periods: d periods in the units of `coords`, None for a plain axis; all plain when omitted.
        options: for `idw`, `power` (4 on up to two axes, else 6; even powers are smooth) and `neighbors` (None: all).

    Returns:
        The function; call it with a query jet of the dtype of `coords`.

    Raises:
        ValueError: the kind is unknown, does not suit d, or `periods` has not d entries.

    Example:
        >>> time, values = torch.tensor([[[0.0], [2.0], [1.0]]]), torch.tensor([[[0.0], [4.0], [1.0]]])
        >>> function = fit("cubic", time, values, torch.ones(1, 3, dtype=torch.bool))
        >>> query = jets.variable(torch.tensor([[[1.5]]]), torch.ones(1), order=2)
        >>> jets.derivatives(function(query)).flatten().tolist()
        [2.25, 3.0, 2.0]
    """
    dimension = coords.shape[-1]
    periods = (None,) * dimension if periods is None else tuple(periods)
    check(kind, dimension)
    if len(periods) != dimension:
        raise ValueError(f"periods has {len(periods)} entries, expected {dimension}, one for each coordinate")
    missing = max(0, 3 - coords.shape[1])  # three slots spare every rule below the empty and short cases
    coords, values = F.pad(coords, (0, 0, 0, missing)), F.pad(values, (0, 0, 0, missing))
    return KINDS[kind](coords, values, F.pad(mask, (0, missing)), periods, **options)


def check(kind: str, dimension: int) -> None:
    """Refuse a kind that does not exist or does not suit the dimension.

    Raises:
        ValueError: with the choices.
    """
    if kind not in KINDS:
        raise ValueError(f"initialiser is {kind!r}, expected one of {', '.join(KINDS)}")
    if kind in ALONG_TIME and dimension != 1:
        others = ", ".join(name for name in KINDS if name not in ALONG_TIME)
        raise ValueError(f"initialiser {kind!r} needs 1 coordinate and got {dimension}, expected one of {others}")


def default(dimension: int) -> str:
    """Return the initialiser to use when none is asked for: one that is smooth and overshoots little."""
    return "makima" if dimension == 1 else "idw"


class _Pieces(NamedTuple):
    """What the slope rules read; pieces past the last real one repeat it, so that two points give a straight line.

    Attributes:
        duration: (B, N - 1, 1), positive.
        secant: (B, N - 1, c).
        number: (B, 1, 1) of real points, n.
    """

    duration: Tensor
    secant: Tensor
    number: Tensor

    def last(self, back: int) -> tuple[Tensor, Tensor]:
        """Return duration (B, 1, 1) and secant (B, 1, c) of the piece `back` before the last, the first at least."""
        index = (self.number - 2 - back).clamp_min(0)
        return self.duration.take_along_dim(index, 1), self.secant.take_along_dim(index, 1)

    def is_point(self, offset: int, size: int) -> Tensor:
        """Return the (B, size, 1) mask of point ``n + offset``."""
        return torch.arange(size, device=self.number.device)[None, :, None] == self.number + offset


def _pchip(pieces: _Pieces) -> Tensor:
    """Return the slopes (B, N, c) that keep monotone data monotone (Fritsch and Butland 1984; ends: Moler 2004)."""
    h, m = pieces.duration, pieces.secant
    before, after = m[:, :-1], m[:, 1:]
    near, far = 2 * h[:, 1:] + h[:, :-1], h[:, 1:] + 2 * h[:, :-1]
    same = before * after > 0
    harmonic = near / torch.where(same, before, 1) + far / torch.where(same, after, 1)
    inner = torch.where(same, (near + far) / torch.where(same, harmonic, 1), 0)
    start = _pchip_end(h[:, :1], h[:, 1:2], m[:, :1], m[:, 1:2])
    (h0, m0), (h1, m1) = pieces.last(0), pieces.last(1)
    end = _pchip_end(h0, h1, m0, m1)
    slopes = torch.cat([start, inner, end], 1)
    return torch.where(pieces.is_point(-1, slopes.shape[1]), end, slopes)


def _pchip_end(h0: Tensor, h1: Tensor, m0: Tensor, m1: Tensor) -> Tensor:
    """Return the one-sided three-point slope at an end, limited so that the shape is kept."""
    slope = ((2 * h0 + h1) * m0 - h0 * m1) / (h0 + h1)
    slope = torch.where((m0.sign() != m1.sign()) & (slope.abs() > 3 * m0.abs()), 3 * m0, slope)
    return torch.where(slope.sign() == m0.sign(), slope, 0)


def _makima(pieces: _Pieces) -> Tensor:
    """Return the modified Akima slopes (B, N, c): secants weighted by how straight the other side is."""
    m = pieces.secant
    left = 2 * m[:, :1] - m[:, 1:2]
    (_, m0), (_, m1) = pieces.last(0), pieces.last(1)
    right = 2 * m0 - m1
    m = torch.cat([2 * left - m[:, :1], left, m, right, right], 1)
    size = m.shape[1]
    m = torch.where(pieces.is_point(1, size), right, torch.where(pieces.is_point(2, size), 2 * right - m0, m))
    bend = (m[:, 1:] - m[:, :-1]).abs() + (m[:, 1:] + m[:, :-1]).abs() / 2
    before, after = bend[:, :-2], bend[:, 2:]
    total = before + after
    share = before / torch.where(total > 0, total, 1)
    return m[:, 1:-2] + share * (m[:, 2:-1] - m[:, 1:-2])


def _cubic(pieces: _Pieces) -> Tensor:
    """Return the slopes (B, N, c) of the not-a-knot cubic spline; three points give their parabola.

    The equations of the two ends are eliminated by hand first: what is left is diagonally dominant, so that cyclic
    reduction needs no pivots.
    """
    h, m, n = pieces.duration, pieces.secant, pieces.number
    before, after = torch.cat([h[:, :1], h], 1), torch.cat([h, h[:, -1:]], 1)
    (h0, m0), (h1, m1) = pieces.last(0), pieces.last(1)
    start_lead, start_right = not_a_knot(h[:, :1], h[:, 1:2], m[:, :1], m[:, 1:2], n)
    end_lead, end_right = not_a_knot(h0, h1, m0, m1, n)
    index = torch.arange(before.shape[1], device=n.device)[None, :, None]
    inner = (index > 0) & (index < n - 1)
    first, final = inner & (index == 1), inner & (index == n - 2)
    diagonal = torch.where(inner, 2 * (before + after), 1) - first * start_lead - final * end_lead
    secants_before, secants_after = torch.cat([m[:, :1], m], 1), torch.cat([m, m[:, -1:]], 1)
    right = torch.where(inner, 3 * (after * secants_before + before * secants_after), secants_before)
    right = right - first * start_right - final * end_right
    slopes = tridiagonal((inner & ~first) * after, diagonal, (inner & ~final) * before, right)
    start = (start_right - start_lead * slopes[:, 1:2]) / h[:, 1:2]
    end = (end_right - end_lead * slopes.take_along_dim((n - 2).clamp_min(0), 1)) / h1
    slopes = torch.where(pieces.is_point(-1, slopes.shape[1]), end, slopes)
    return torch.where((index == 0) & (n > 1), start, slopes)


def _fit_pieces(
    coords: Tensor,
    values: Tensor,
    mask: Tensor,
    periods: Periods,
    rule: Callable[[_Pieces], Tensor] | None,
) -> Piecewise:
    """Fit cubic pieces with the slopes of `rule`, or straight ones without: (B, N, 1), (B, N, c), (B, N)."""
    period, within = periods[0], None
    if period is not None:
        # Phases of different turns can come as close as they like, and a curve through both would swing as it likes.
        within = scatter.precise(_CLOSE * period / mask.sum(1).clamp_min(1))
        # Copies on either side hide the seam. A point's influence on the cubic spline falls by 3.7 from knot to knot,
        # so that one takes several; the other rules look two points away.
        copies = 8 if rule is _cubic else 2
        turns = torch.arange(-copies, copies + 1, device=coords.device, dtype=coords.dtype).repeat_interleave(
            mask.shape[1]
        )
        coords = (coords - period * (coords / period).floor()).repeat(1, 2 * copies + 1, 1) + period * turns[:, None]
        values, mask = values.repeat(1, 2 * copies + 1, 1), mask.repeat(1, 2 * copies + 1)
    times, heights, real = scatter.merge(scatter.precise(coords), scatter.precise(values), mask, within)
    count = real.sum(1)[:, None, None]
    rise = torch.where(real[:, 1:, None], heights.diff(dim=1), 0)
    duration = torch.where(real[:, 1:, None], times.diff(dim=1), 1)
    slopes = torch.zeros_like(heights) if rule is None else rule(_repeat_last(duration, rise / duration, count))
    inner = [heights[:, :-1], rise]
    if rule is not None:
        before, after = duration * slopes[:, :-1], duration * slopes[:, 1:]
        inner = [heights[:, :-1], before, 3 * rise - 2 * before - after, before + after - 2 * rise]
    pieces = _with_ends(torch.stack(inner, 2), heights, slopes, count[..., None])
    outer = torch.ones_like(duration[:, :1])
    is_last = torch.arange(pieces.shape[1], device=count.device)[None] == count[..., 0]
    rate = torch.where(is_last, 1, torch.cat([outer, duration.reciprocal(), outer], 1)[..., 0])
    knots = times[..., 0].masked_fill(~real, math.inf).to(coords.dtype)
    origin = torch.cat([times[:, :1, 0], times[..., 0]], 1).to(coords.dtype)
    return Piecewise(knots, count[..., 0], origin, rate.to(coords.dtype), pieces.to(values.dtype), period)


def _repeat_last(duration: Tensor, secant: Tensor, count: Tensor) -> _Pieces:
    """Let the last real piece of each sample stand for those past it."""
    index = torch.arange(duration.shape[1], device=count.device)[None, :, None].minimum((count - 2).clamp_min(0))
    return _Pieces(duration.take_along_dim(index, 1), secant.take_along_dim(index, 1), count)


def _with_ends(inner: Tensor, heights: Tensor, slopes: Tensor, count: Tensor) -> Tensor:
    """Add the straight pieces before the first knot and after the last one.

    Args:
        inner: (B, N - 1, degree + 1, c).
        heights: (B, N, c).
        slopes: (B, N, c), those of the ends are used.
        count: (B, 1, 1, 1) n.

    Returns:
        (B, N + 1, degree + 1, c); piece n is the one after the last knot.
    """
    lines = F.pad(torch.stack([heights, slopes], 2), (0, 0, 0, inner.shape[2] - 2))
    after = lines.take_along_dim((count - 1).clamp_min(0), 1)
    index = torch.arange(lines.shape[1] + 1, device=count.device)[None, :, None, None]
    return torch.where(index == count, after, torch.cat([lines[:, :1], inner, after], 1))


def _recentre(polynomial: tuple[Tensor, ...], at: Tensor, terms: int) -> list[Tensor]:
    """Return the first Taylor coefficients of a polynomial at another point, by repeated synthetic division."""
    rest, out = list(polynomial), []
    for n in range(min(terms, len(rest))):
        for m in range(len(rest) - 2, n - 1, -1):
            rest[m] = torch.addcmul(rest[m], rest[m + 1], at)
        out.append(rest[n])
    return out + [torch.zeros_like(out[0])] * (terms - len(out))


ALONG_TIME = ("linear", "pchip", "makima", "cubic")

KINDS: Mapping[str, Callable[..., Interpolant]] = {
    "linear": partial(_fit_pieces, rule=None),
    "pchip": partial(_fit_pieces, rule=_pchip),
    "makima": partial(_fit_pieces, rule=_makima),
    "cubic": partial(_fit_pieces, rule=_cubic),
    "nearest": scatter.nearest,
    "idw": scatter.inverse_distance,
    "rbf": scatter.thin_plate,
    "place_linear": places.linear,
    "place_pchip": places.pchip,
    "place_makima": places.makima,
    "place_cubic": places.cubic,
    "gp": smoothers.posterior,
    "zero": scatter.zero,
}
