r"""Interpolants of scattered points in any number of dimensions, each with its exact jet rule.

A periodic axis of period P is wound on a circle of circumference P, ``x -> P / (2 pi) (cos, sin)(2 pi x / P)``, where
the straight distance is the smooth chord ``(P / pi) |sin(pi dx / P)|``; plain axes stay as they are.
Sizes: B batch, N context points, Q queries, d coordinate dimensions, e of them after winding, c channels, k order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cst_lightning import jets
from cst_lightning.points import rows

Periods = Sequence[float | None]


def merge(coords: Tensor, values: Tensor, mask: Tensor, within: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Sort the real points lexicographically, average those at one place, and move padding to the end.

    A fixed order makes what follows independent of the order of the context; distinct places keep systems regular.

    Args:
        coords: (B, N, d).
        values: (B, N, c).
        mask: (B, N) bool, True where real.
        within: (B,) on one axis, neighbours up to that far apart are one point, in their middle; 0 if None.

    Returns:
        The same three, with distinct points first; coordinates and values are 0 in the padding.
    """
    keys = coords.masked_fill(~mask[..., None], math.inf)
    order = torch.arange(mask.shape[1], device=mask.device).expand(mask.shape)
    for key in reversed(keys.unbind(-1)):
        order = order.gather(1, key.gather(1, order).argsort(dim=1, stable=True))
    keys, values = rows(keys, order), rows(values, order)
    mask = mask.gather(1, order)
    fresh = mask.clone()
    if within is None:
        fresh[:, 1:] &= (keys[:, 1:] != keys[:, :-1]).any(-1)
    else:  # not the difference of two paddings, infinity less infinity
        fresh[:, 1:] &= keys[:, 1:, 0] > keys[:, :-1, 0] + within[:, None]
    # If there is padding at all, the last slot belongs to no place.
    slot = torch.where(mask, fresh.cumsum(1) - 1, mask.shape[1] - 1)[..., None]
    weight = mask[..., None].to(values.dtype)
    total = torch.zeros_like(values).scatter_add(1, slot.expand_as(values), torch.where(mask[..., None], values, 0))
    count = torch.zeros_like(weight).scatter_add(1, slot, weight)
    real = torch.where(mask[..., None], keys, 0)
    if within is None:
        places = torch.zeros_like(keys).scatter(1, slot.expand_as(keys), real)
    else:
        places = torch.zeros_like(keys).scatter_add(1, slot.expand_as(keys), real) / count.clamp_min(1)
    return places, total / count.clamp_min(1), count[..., 0] > 0


def precise(x: Tensor) -> Tensor:
    """Return x in float64 where the device has it."""
    return x if x.device.type == "mps" else x.double()


def wind(x: Tensor, periods: Periods) -> Tensor:
    """Wind the periodic axes of a jet (k + 1, ..., d) on circles: (k + 1, ..., e), e = d + number of periodic axes."""
    parts: list[Tensor] = []
    for entry, period in zip(x.unbind(-1), periods, strict=True):
        axis = entry[..., None]
        if period is None:
            parts.append(axis)
            continue
        # Reduced before the product with pi, so that a query many periods away loses nothing.
        angle = jets.shift(axis, -period * (axis[0] / period).round()) * (2 * math.pi / period)
        sine, cosine = jets.sin_cos(angle)
        parts += [cosine * (period / (2 * math.pi)), sine * (period / (2 * math.pi))]
    return torch.cat(parts, -1)


def squared_distances(query: Tensor, coords: Tensor, start: Tensor) -> list[Tensor]:
    """Return the jets of ``start_i + |x(t) - x_i|^2`` for every point.

    Order 0 is summed axis by axis, exactly 0 at a point; at higher orders the points enter linearly, in one product.

    Args:
        query: jet (k + 1, B, Q, e).
        coords: (B, N, e).
        start: broadcastable to (B, Q, N), added to order 0.

    Returns:
        k + 1 coefficients (B, Q, N).
    """
    transposed = coords.mT.contiguous()  # broadcasting along a contiguous axis is four times as fast
    base = start
    for here, there in zip(query[0].unbind(-1), transposed.unbind(1), strict=True):
        apart = here[:, :, None] - there[:, None, :]
        base = torch.addcmul(base, apart, apart)
    out = [base]
    for n in range(1, len(query)):
        pairs = [2 * query[0] * query[n], *(query[m] * query[n - m] for m in range(1, n))]
        out.append(torch.baddbmm(jets.sum_of(pairs).sum(-1, keepdim=True), query[n], transposed, alpha=-2))
    return out


def weighted(weights: Sequence[Tensor], values: Tensor) -> Tensor:
    """Return ``weights @ values``, (k + 1, B, Q, c) from k + 1 times (B, Q, N) and (B, N, c).

    Written the other way round because few channels on the right cost a matrix product five times as much.
    """
    transposed = values.mT.contiguous()
    return torch.stack([torch.bmm(transposed, weight.mT).mT for weight in weights])


class Frame(NamedTuple):
    """The similarity that brings the wound points of each sample to the unit box; distances keep their ratios.

    Attributes:
        centre: (B, 1, e).
        scale: (B, 1, 1), 1 over half the longest extent.
        periods: d periods in the units of the coordinates, None on a plain axis.
    """

    centre: Tensor
    scale: Tensor
    periods: tuple[float | None, ...]

    @classmethod
    def around(cls, wound: Tensor, mask: Tensor, periods: Periods) -> Frame:
        """Fit the frame to wound points (B, N, e) with mask (B, N)."""
        some = mask.any(1)[:, None, None]
        low = wound.masked_fill(~mask[..., None], math.inf).amin(1, keepdim=True)
        high = wound.masked_fill(~mask[..., None], -math.inf).amax(1, keepdim=True)
        low, high = torch.where(some, low, 0), torch.where(some, high, 0)
        extent = (high - low).amax(-1, keepdim=True) / 2
        return cls((high + low) / 2, torch.where(extent > 0, extent, 1).reciprocal(), tuple(periods))

    def __call__(self, query: Tensor) -> Tensor:
        """Map a jet (k + 1, B, Q, d) to (k + 1, B, Q, e)."""
        return jets.shift(wind(query, self.periods), -self.centre) * self.scale


class Zero(NamedTuple):
    """The function that is 0 everywhere.

    Attributes:
        like: (B, 1, c), for batch, channels and dtype only.
    """

    like: Tensor

    def __call__(self, query: Tensor) -> Tensor:
        """Evaluate at a jet (k + 1, B, Q, d): (k + 1, B, Q, c) zeros."""
        return self.like.new_zeros((*query.shape[:3], self.like.shape[-1]))


class Nearest(NamedTuple):
    """The value of the nearest point, measured the short way round on periodic axes; every derivative is 0.

    Attributes:
        coords: (B, N, d).
        values: (B, N, c).
        mask: (B, N).
        periods: d periods or None.
    """

    coords: Tensor
    values: Tensor
    mask: Tensor
    periods: tuple[float | None, ...]

    def __call__(self, query: Tensor) -> Tensor:
        """Evaluate at a jet (k + 1, B, Q, d): (k + 1, B, Q, c)."""
        square = _penalty(self.mask, query.new_zeros(()))
        places = self.coords.mT.contiguous().unbind(1)
        for here, there, period in zip(query[0].unbind(-1), places, self.periods, strict=True):
            apart = here[:, :, None] - there[:, None, :]
            if period is not None:
                apart = apart - period * (apart / period).round()
            square = torch.addcmul(square, apart, apart)
        index = square.argmin(-1)
        return jets.constant(rows(self.values, index), len(query) - 1)


class InverseDistance(NamedTuple):
    r"""Shepard's interpolant, ``sum_i w_i u_i / sum_i w_i`` with ``w_i = |x - x_i|^-power``.

    Numerator and denominator are multiplied by ``|x - x_*|^power`` of the nearest point `*`, whose weight is then the
    constant 1: value and derivatives stay exact up to and at the data, where the plain form is infinity over
    infinity. With an even power the function is smooth everywhere; gradients vanish at the data if power > 1.

    Attributes:
        frame: from coordinates to the unit box.
        coords: (B, N, e) in the frame.
        values: (B, N, c + 1), the last channel 1.
        mask: (B, N).
        power: positive.
        neighbors: how many nearest points count; None for all, which alone is smooth in the query.
    """

    frame: Frame
    coords: Tensor
    values: Tensor
    mask: Tensor
    power: float
    neighbors: int | None

    def __call__(self, query: Tensor) -> Tensor:
        """Evaluate at a jet (k + 1, B, Q, d): (k + 1, B, Q, c)."""
        with torch.autocast(query.device.type, enabled=False):
            # A rounding error squared keeps points that far apart from dividing 0 by 0.
            floor = _penalty(self.mask, query.new_tensor(torch.finfo(query.dtype).eps ** 2))
            square = squared_distances(self.frame(query), self.coords, floor)
            star = square[0].argmin(-1, keepdim=True)
            others = self._others(square[0], star)
            scale = others.amin(-1, keepdim=True)  # in units of the second nearest, weights stay below 1 at any power
            scale = torch.where(scale.isfinite(), scale, 1)
            sums = weighted(_decaying([others, *square[1:]], scale, self.power / 2), self.values)
            nearest = torch.stack([x.gather(-1, star) for x in square]) / scale
            nearest = torch.where(self.mask.any(-1)[:, None, None], nearest, 1)
            sums = jets.multiply(_raise(nearest, self.power / 2), sums)
            sums = jets.shift(sums, self.values.take_along_dim(star, 1))
            return jets.divide(sums[..., :-1], sums[..., -1:])

    def _others(self, base: Tensor, star: Tensor) -> Tensor:
        """Return squared distances (B, Q, N), infinite (no weight) at the nearest point and beyond the neighbours."""
        others = base.scatter(-1, star, math.inf)
        if self.neighbors is None or self.neighbors >= base.shape[-1]:
            return others
        return others.masked_fill(base > base.kthvalue(self.neighbors, -1, keepdim=True).values, math.inf)


class ThinPlate(NamedTuple):
    r"""The thin plate spline, ``sum_i w_i r_i^2 log r_i + a + b . x``, in float64 inside.

    Its second derivatives have a logarithmic pole at the data; there, and only there, the logarithm is taken at the
    precision of float64 instead, so that they stay finite. Value and gradient are exact everywhere.

    Attributes:
        frame: from coordinates to the unit box.
        coords: (B, N, e) in the frame.
        weights: (B, N, c); 0 in the padding.
        constant: (B, 1, c), a.
        slopes: (B, e, c), b.
    """

    frame: Frame
    coords: Tensor
    weights: Tensor
    constant: Tensor
    slopes: Tensor

    def __call__(self, query: Tensor) -> Tensor:
        """Evaluate at a jet (k + 1, B, Q, d): (k + 1, B, Q, c)."""
        x = self.frame(query.to(self.coords.dtype))
        square = torch.stack(squared_distances(x, self.coords, x.new_zeros(())))
        floor = torch.finfo(x.dtype).eps ** 2
        still = jets.constant(torch.full_like(square[0], floor), len(square) - 1)
        kernel = jets.multiply(square, jets.log(torch.where(square[0] > floor, square, still)))
        out = weighted(kernel.unbind(), self.weights / 2) + torch.matmul(x, self.slopes)
        return jets.shift(out, self.constant).to(query.dtype)


def zero(coords: Tensor, values: Tensor, mask: Tensor, periods: Periods) -> Zero:
    """Return the zero function with the batch and channels of the values."""
    return Zero(torch.zeros_like(values[:, :1]))


def nearest(coords: Tensor, values: Tensor, mask: Tensor, periods: Periods) -> Nearest:
    """Return the nearest-neighbour interpolant of points (B, N, d), (B, N, c), (B, N)."""
    return Nearest(*merge(coords, values, mask), tuple(periods))


def inverse_distance(
    coords: Tensor,
    values: Tensor,
    mask: Tensor,
    periods: Periods,
    power: float | None = None,
    neighbors: int | None = None,
) -> InverseDistance:
    """Weight points (B, N, d), (B, N, c), (B, N) by inverse distances; see `InverseDistance`.

    A power well above d keeps far points, which are many, from drowning the near ones. On random smooth fields 4 was
    about the best even power for d = 1 and 2, and 6 for d = 3 and 4: with 256 points in three dimensions the mean
    square error of 4 is 1.2 times that of 6, and that of 2 is 4.3 times.

    Raises:
        ValueError: power or neighbors is not positive.
    """
    power = (4.0 if coords.shape[-1] <= 2 else 6.0) if power is None else float(power)
    if power <= 0 or (neighbors is not None and neighbors < 1):
        raise ValueError(f"idw has power {power} and neighbors {neighbors}, expected positive numbers")
    places, values, mask = merge(wind(coords[None], periods)[0], values, mask)
    frame = Frame.around(places, mask, periods)
    padded = torch.cat([values, torch.ones_like(values[..., :1])], -1)
    return InverseDistance(frame, (places - frame.centre) * frame.scale, padded, mask, power, neighbors)


def thin_plate(coords: Tensor, values: Tensor, mask: Tensor, periods: Periods) -> ThinPlate:
    r"""Fit the thin plate spline to points (B, N, d), (B, N, c), (B, N).

    Solves ``[[K, P], [P^T, 0]] [w; v] = [u; 0]`` in float64. P holds an orthonormal basis of the polynomials of degree
    1 *on the points*: directions in which they do not spread are left out, so that one point gives a constant and a
    line of points a function constant across it, where the textbook system is singular.
    """
    places, u, mask = merge(wind(precise(coords)[None], periods)[0], precise(values), mask)
    frame = Frame.around(places, mask, periods)
    x = (places - frame.centre) * frame.scale * mask[..., None]
    square = squared_distances(x[None], x, x.new_zeros(()))[0]
    kernel = torch.xlogy(square, square) / 2 * (mask[:, :, None] & mask[:, None, :])
    basis, tail = _polynomials(x, mask)
    absent = ~torch.cat([mask, basis.square().sum(1) > 0], 1)  # an equation "unknown = 0" for padding
    points, terms = basis.shape[1:]
    system = torch.cat([torch.cat([kernel, basis], 2), F.pad(basis.mT, (0, terms))], 1)
    solved = torch.linalg.solve(system + torch.diag_embed(absent.to(u)), F.pad(u, (0, 0, 0, terms)))
    weights, polynomial = solved[:, :points], tail @ solved[:, points:]
    return ThinPlate(frame, x, weights, polynomial[:, :1], polynomial[:, 1:])


def _polynomials(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return 1 and the coordinates, made orthonormal on the points, and the way back.

    Args:
        x: (B, N, e) in the frame.
        mask: (B, N).

    Returns:
        (B, N, e + 1) basis, 0 in columns that the points do not determine, and (B, e + 1, e + 1), from its
        coefficients to those of ``1, x_1, ..., x_e``.
    """
    extent = x.abs().amax(1, keepdim=True)
    shrink = torch.where(extent > 0, extent, 1).reciprocal()  # axes of very different lengths are not degenerate
    plain = torch.cat([torch.ones_like(x[..., :1]), x * shrink], -1) * mask[..., None]
    spread, vectors = torch.linalg.eigh(plain.mT @ plain)
    kept = spread > 1e-12 * spread[:, -1:]
    vectors = vectors * torch.where(kept, spread, 1).rsqrt()[:, None] * kept[:, None]
    back = torch.cat([torch.ones_like(shrink[..., :1]), shrink], -1).mT * vectors
    return plain @ vectors, back


def _penalty(mask: Tensor, floor: Tensor) -> Tensor:
    """Return (B, 1, N): `floor` at real points and infinity in the padding."""
    return torch.where(mask, floor, math.inf)[:, None]


def _decaying(square: list[Tensor], scale: Tensor, exponent: float) -> list[Tensor]:
    """Return the jets of ``(square / scale)^-exponent``, scale constant: `jets.power` in half the passes."""
    inverse = square[0].reciprocal()
    out = [(inverse * scale) ** exponent]
    for n in range(1, len(square)):
        total = -exponent * square[n] * out[0]
        for m in range(1, n):
            total = torch.addcmul(total, square[m], out[n - m], value=(1 - exponent) * m / n - 1)
        out.append(total * inverse)
    return out


def _raise(x: Tensor, exponent: float) -> Tensor:
    """Raise a jet to a positive power by products where possible: ``x[0]`` may then be 0."""
    if not float(exponent).is_integer() or exponent > 8:
        return jets.power(x, exponent)
    out = x
    for _ in range(int(exponent) - 1):
        out = jets.multiply(out, x)
    return out
