r"""Initialisers for whole frames at fixed places: along time at the nearest place, exact derivatives in time.

Where a camera or a microscope looks at the same places again and again, the value between two frames is first of all
a matter of time: distances in space and time together, as `cst_lightning.scatter` takes them, mix neighbours of the
same frame into it. Here each place has a curve of its own through its observations, as long as they may be, and
a query is answered by the curve of the place nearest to it. So the function is piecewise constant in space and its
derivatives there are 0; along time it is as smooth as the curve.
Sizes: B batch, N context points, P places, Q queries, d coordinate dimensions, time first, c channels, k order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from cst_lightning import jets
from cst_lightning.points import rows
from cst_lightning.scatter import Periods, merge, precise
from cst_lightning.splines import not_a_knot, tridiagonal

# Distances from queries to places that are in memory at once.
_AT_ONCE = 2**22


class Curves(NamedTuple):
    """One curve in time a place. Points are sorted by place and, at one place, by time.

    Attributes:
        sites: (B, P, d - 1) places.
        real: (B, P) bool, which of them there are.
        first: (B, P) position of a place's first point.
        number: (B, P) of its points.
        times: (B, N) of the points.
        values: (B, N, c).
        slopes: (B, N, c) d/dt at the points; for straight pieces not used but beyond the ends.
        straight: (B, 1) bool, whether pieces are straight lines, or else cubic.
        periods: of all axes, None for a plain one.
    """

    sites: Tensor
    real: Tensor
    first: Tensor
    number: Tensor
    times: Tensor
    values: Tensor
    slopes: Tensor
    straight: Tensor
    periods: tuple[float | None, ...]

    def __call__(self, query: Tensor) -> Tensor:
        """Evaluate at a jet (k + 1, B, Q, d): (k + 1, B, Q, c). A point takes the piece after it, the last its left."""
        site = self.nearest(query[0, ..., 1:])
        first, number = self.first.gather(1, site), self.number.gather(1, site)
        time = query[..., 0]
        if (period := self.periods[0]) is not None:
            time = jets.shift(time, -period * (time[0] / period).floor())
        after = self._after(time[0], first, number)
        # outside of a place's points, and on its only one, both ends of the piece are the same point
        left = torch.where(after > 0, after - 1, 0)
        right = torch.minimum(after, (number - 1).clamp_min(0))
        left, right = first + left, first + right
        start, end = self.times.gather(1, left), self.times.gather(1, right)
        inside = right > left
        duration = torch.where(inside, end - start, 1)
        *lower, highest = self._polynomial(left, right, inside, duration)
        local = (jets.shift(time, -start) / duration)[..., None]
        out = jets.constant(highest, len(query) - 1)
        for coefficient in reversed(lower):
            out = jets.shift(jets.multiply(out, local), coefficient)
        return out

    def nearest(self, places: Tensor) -> Tensor:
        """Return which site (B, Q) is nearest to each of places (B, Q, d - 1), the short way round periodic axes."""
        if self.sites.shape[1] == 1:
            return torch.zeros(places.shape[:2], dtype=torch.long, device=places.device)
        chunk = max(1, _AT_ONCE // (len(places) * self.sites.shape[1]))
        far = torch.where(self.real, 0.0, math.inf).to(places.dtype)[:, None]
        return torch.cat([self._nearest(part, far) for part in places.split(chunk, 1)], 1)

    def _nearest(self, places: Tensor, far: Tensor) -> Tensor:
        square = far
        for here, there, period in zip(places.unbind(-1), self.sites.unbind(-1), self.periods[1:], strict=True):
            apart = here[:, :, None] - there[:, None, :]
            if period is not None:
                apart = apart - period * (apart / period).round()
            square = torch.addcmul(square, apart, apart)
        return square.argmin(-1)

    def _after(self, time: Tensor, first: Tensor, number: Tensor) -> Tensor:
        """Return how many of a place's points (B, Q) are at or before a time: 0 to its number, by bisection."""
        low, high = torch.zeros_like(first), number
        for _ in range(max(1, self.times.shape[1]).bit_length()):
            middle = (low + high) // 2
            reached = self.times.gather(1, (first + middle).clamp_max(self.times.shape[1] - 1)) <= time
            open_ = low < high
            low, high = torch.where(open_ & reached, middle + 1, low), torch.where(open_ & ~reached, middle, high)
        last = self.times.gather(1, first + (number - 1).clamp_min(0))
        return torch.where((time == last) & (number > 1), number - 1, low)

    def _polynomial(self, left: Tensor, right: Tensor, inside: Tensor, duration: Tensor) -> tuple[Tensor, ...]:
        """Return the coefficients, lowest first, (B, Q, c) each, in the local coordinate of the pieces."""
        start, slope, next_slope = (
            rows(part, index) for part, index in ((self.values, left), (self.slopes, left), (self.slopes, right))
        )
        rise = rows(self.values, right) - start
        inside, length = inside[..., None], duration[..., None]
        before, after = length * slope, length * next_slope
        straight = self.straight[..., None]
        linear = torch.where(inside, torch.where(straight, rise, before), before)
        curved = inside & ~straight
        square = torch.where(curved, 3 * rise - 2 * before - after, 0)
        return start, linear, square, torch.where(curved, before + after - 2 * rise, 0)


def linear(coords: Tensor, values: Tensor, mask: Tensor, periods: Periods) -> Curves:
    """Connect a place's points by straight lines; the end values hold beyond them. Arguments as of `curves`."""
    return curves(coords, values, mask, periods, None)


def pchip(coords: Tensor, values: Tensor, mask: Tensor, periods: Periods) -> Curves:
    """Lay the monotone cubic of Fritsch and Butland through a place's points. Arguments as of `curves`."""
    return curves(coords, values, mask, periods, _pchip)


def makima(coords: Tensor, values: Tensor, mask: Tensor, periods: Periods) -> Curves:
    """Lay the modified Akima cubic through a place's points. Arguments as of `curves`."""
    return curves(coords, values, mask, periods, _makima)


def cubic(coords: Tensor, values: Tensor, mask: Tensor, periods: Periods) -> Curves:
    """Lay the not-a-knot cubic spline through a place's points. Arguments as of `curves`."""
    return curves(coords, values, mask, periods, _cubic, 8, weighs=True)


def curves(
    coords: Tensor,
    values: Tensor,
    mask: Tensor,
    periods: Periods,
    rule: Callable[[Secants], Tensor] | None,
    copies: int = 2,
    weighs: bool = False,
) -> Curves:
    """Fit a curve to each place of each sample of a padded batch, whatever number of points each of them has.

    Args:
        coords: (B, N, d), any order; a place is a set of points whose coordinates in space are equal.
        values: (B, N, c).
        mask: (B, N) bool, True where real.
        periods: d periods, None for a plain axis.
        rule: slopes at the points from the secants around them; straight pieces if None.
        copies: of a periodic axis' points on either side, as many as the number of points that the rule looks away.
        weighs: the rule is linear in the values; of many channels and few points it is then asked for its weights.
    """
    if periods[0] is not None:
        coords, values, mask = _repeated(coords, values, mask, periods[0], copies)
    ordered, heights, real = merge(coords.roll(-1, -1), values, mask)  # by place first, then by time
    space, times = ordered[..., :-1], ordered[..., -1]
    fresh = real.clone()
    fresh[:, 1:] &= (space[:, 1:] != space[:, :-1]).any(-1)
    place = torch.where(real, fresh.cumsum(1) - 1, 0)
    position = torch.arange(mask.shape[1], device=mask.device).expand(mask.shape)
    # a compiled graph must not depend on how many places there are: it has room for as many as points
    most = mask.shape[1] if torch.compiler.is_compiling() else max(1, int(fresh.sum(1).max()))
    exists = torch.arange(most, device=mask.device) < fresh.sum(1, keepdim=True)
    # a stable sort brings the first points of all places to the front, in order
    first = torch.where(exists, (~fresh).to(torch.uint8).argsort(dim=1, stable=True)[:, :most], 0)
    number = torch.zeros_like(first).scatter_add(1, place, real.long())
    sites = rows(space, first)
    straight = torch.full_like(exists[:, :1], rule is None)
    slopes = torch.zeros_like(heights)
    if rule is not None:
        start, count = first.gather(1, place), number.gather(1, place)
        rank = position - start
        moments, exact, points = precise(times), precise(heights), mask.shape[1]
        weights = weighs and points < values.shape[-1]
        given = (
            torch.eye(points, dtype=exact.dtype, device=exact.device).expand(len(mask), -1, -1) if weights else exact
        )
        found = rule(Secants(*_pieces(moments, given, rank < count - 1), rank, start, count))
        found = torch.where((real & (count > 1))[..., None], found, 0)
        slopes = (found @ exact if weights else found).to(values.dtype)
    return Curves(sites, exists, first, number, times, heights, slopes, straight, tuple(periods))


def _repeated(
    coords: Tensor, values: Tensor, mask: Tensor, period: float, copies: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Bring times into one period from 0 on, with copies on either side."""
    many = 2 * copies + 1
    turns = torch.arange(-copies, copies + 1, device=coords.device, dtype=coords.dtype).repeat_interleave(mask.shape[1])
    time = coords[..., 0] - period * (coords[..., 0] / period).floor()
    moved = torch.cat([(time.repeat(1, many) + period * turns)[..., None], coords[..., 1:].repeat(1, many, 1)], -1)
    return moved, values.repeat(1, many, 1), mask.repeat(1, many)


def _pieces(times: Tensor, values: Tensor, followed: Tensor) -> tuple[Tensor, Tensor]:
    """Return durations (B, N) and slopes (B, N, c) of the pieces that begin at points which another one follows."""
    durations = torch.where(followed, times.roll(-1, 1) - times, 1)
    rises = torch.where(followed[..., None], values.roll(-1, 1) - values, 0)
    return durations, rises / durations[..., None]


class Secants(NamedTuple):
    """The slopes of straight pieces around every point, for the rules that make smooth ones of them.

    Attributes:
        durations: (B, N) of the piece from each point to the next one of its place; 1 behind a place's last point.
        slopes: (B, N, c) of these pieces, 0 behind a last point.
        rank: (B, N) of a point among those of its place.
        start: (B, N) position of its place's first point.
        number: (B, N) of points of its place.
    """

    durations: Tensor
    slopes: Tensor
    rank: Tensor
    start: Tensor
    number: Tensor

    def piece(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return duration (B, N, 1) and secant (B, N, c) of a place's pieces; beyond its ends those of its last."""
        piece = self.start + torch.minimum(index, self.number - 2).clamp_min(0)
        return self.durations.gather(1, piece)[..., None], rows(self.slopes, piece)

    def continued(self, offset: int) -> Tensor:
        """Return the secant (B, N, c) so many pieces after the one that follows a point, continued in a line."""
        number = self.rank + offset
        last = self.number - 2
        (_, secant), (_, inner) = self.piece(number), self.piece(torch.where(number < 0, 1, last - 1))
        beyond = torch.where(number < 0, -number, (number - last).clamp_min(0))[..., None]
        return secant + beyond * (secant - inner)


def _pchip(secants: Secants) -> Tensor:
    """Return the slopes (B, N, c) that keep monotone data monotone (Fritsch and Butland 1984; ends: Moler 2004)."""
    rank, last = secants.rank, secants.number - 2
    (h0, m0), (h1, m1) = secants.piece(rank - 1), secants.piece(rank)
    near, far = 2 * h1 + h0, h1 + 2 * h0
    same = m0 * m1 > 0
    harmonic = near / torch.where(same, m0, 1) + far / torch.where(same, m1, 1)
    inner = torch.where(same, (near + far) / torch.where(same, harmonic, 1), 0)
    start = _one_sided(*secants.piece(torch.zeros_like(rank)), *secants.piece(torch.ones_like(rank)))
    end = _one_sided(*secants.piece(last), *secants.piece(last - 1))
    at_end = torch.where((rank > last)[..., None], end, inner)
    return torch.where((rank == 0)[..., None], start, at_end)


def _one_sided(h0: Tensor, m0: Tensor, h1: Tensor, m1: Tensor) -> Tensor:
    """Return the three-point slope at an end, limited so that the shape is kept."""
    slope = ((2 * h0 + h1) * m0 - h0 * m1) / (h0 + h1)
    slope = torch.where((m0.sign() != m1.sign()) & (slope.abs() > 3 * m0.abs()), 3 * m0, slope)
    return torch.where(slope.sign() == m0.sign(), slope, 0)


def _makima(secants: Secants) -> Tensor:
    """Return the modified Akima slopes (B, N, c): secants weighted by how straight the other side is."""
    far_left, left, right, far_right = (secants.continued(offset) for offset in (-2, -1, 0, 1))
    before = (left - far_left).abs() + (left + far_left).abs() / 2
    after = (far_right - right).abs() + (far_right + right).abs() / 2
    total = before + after
    share = before / torch.where(total > 0, total, 1)
    return left + share * (right - left)


def _cubic(secants: Secants) -> Tensor:
    """Return the slopes (B, N, c) of the not-a-knot cubic spline; see `cst_lightning.interpolate`.

    The equations of all places are one system: a place's ends are coupled to nothing beyond them.
    """
    rank, number = secants.rank[..., None], secants.number[..., None]
    zero, last = torch.zeros_like(secants.rank), secants.number - 2
    (before, left), (after, right) = secants.piece(secants.rank - 1), secants.piece(secants.rank)
    (h0, m0), (h1, m1) = secants.piece(zero), secants.piece(zero + 1)
    start_lead, start_right = not_a_knot(h0, h1, m0, m1, number)
    (e0, n0), (e1, n1) = secants.piece(last), secants.piece(last - 1)
    end_lead, end_right = not_a_knot(e0, e1, n0, n1, number)
    inner = (rank > 0) & (rank < number - 1)
    first, final = inner & (rank == 1), inner & (rank == number - 2)
    diagonal = torch.where(inner, 2 * (before + after), 1) - first * start_lead - final * end_lead
    sides = torch.where(inner, 3 * (after * left + before * right), left)
    sides = sides - first * start_right - final * end_right
    slopes = tridiagonal((inner & ~first) * after, diagonal, (inner & ~final) * before, sides)
    start = (start_right - start_lead * slopes.roll(-1, 1)) / h1
    end = (end_right - end_lead * slopes.roll(1, 1)) / e1
    slopes = torch.where(rank == number - 1, end, slopes)
    return torch.where(rank == 0, start, slopes)
