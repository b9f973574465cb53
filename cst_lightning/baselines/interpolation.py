"""The interpolation that a scientist would use instead, through scipy, behind one interface.

Coordinates are normalised to [-1, 1] per axis (`Normalization.coords`) before they come here. A periodic axis is
served by periodic images of the points, so that no reference is handicapped at a seam that the data do not have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from scipy.interpolate import (
    Akima1DInterpolator,
    CubicSpline,
    LinearNDInterpolator,
    PchipInterpolator,
    RBFInterpolator,
)
from scipy.spatial import QhullError, cKDTree

#: What `tuned` tries, by the name of the setting; coordinates are normalised, so that 1 means as fast as in space.
CHOICES: dict[str, tuple[Any, ...]] = {
    "time_scale": (0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0),
    "kernel": ("thin_plate_spline", "cubic", "quintic"),
    "power": (1.0, 2.0, 3.0, 4.0, 6.0),
    "neighbors": (2, 4, 8, 16, 32),
    "smoothing": (0.0, 1e-4, 1e-2, 1.0),  # 0 unless observations are noisy
    "penalty": (None, *(10 ** (n / 2) for n in range(-14, -1))),  # None: from the sample's own observations
}
# So many questions a sample tell candidates apart; a whole grid would cost minutes.
_ENOUGH = 1000

Array = np.ndarray
Periods = Sequence[float | None]


class Interpolator(Protocol):
    """What fits one sample's observations and answers at once; it never sees the values it is scored on."""

    @property
    def name(self) -> str:
        """Name in tables and in `metrics.json`."""

    def __call__(self, coords: Array, values: Array, query: Array, periods: Periods) -> Array:
        """Interpolate.

        Args:
            coords: (N, d) observed coordinates, finite.
            values: (N, c) observed values, finite.
            query: (Q, d).
            periods: d lengths of the periodic axes in the units of `coords`, None for an axis that is not periodic.

        Returns:
            (Q, c) float64.
        """


@runtime_checkable
class Learner(Interpolator, Protocol):
    """An interpolator that takes hyperparameters from training samples, instead of having them `tuned`."""

    @property
    def fitting_samples(self) -> int:
        """How many training samples it looks at, at most."""

    def fitted(self, samples: Sequence[Example], periods: Periods) -> Interpolator:
        """Return the same method with what it has learned."""


@dataclass(frozen=True)
class Linear:
    """Piecewise linear along one axis, on Delaunay simplices in more; the nearest value outside the convex hull.

    Attributes:
        time_scale: factor on the first axis before simplices and distances are found.
    """

    time_scale: float = 1.0
    name: str = "linear"

    def __call__(self, coords: Array, values: Array, query: Array, periods: Periods) -> Array:
        """Interpolate; see `Interpolator`."""
        coords, values, query = _prepared(coords, values, query, periods)
        if coords.shape[1] == 1:
            return np.stack([np.interp(query[:, 0], coords[:, 0], column) for column in values.T], axis=-1)
        scale = _scale(self.time_scale, coords.shape[1])
        coords, query = coords * scale, query * scale
        nearest = _nearest(coords, values, query)
        try:
            inside: Array = LinearNDInterpolator(coords, values)(query)
        except QhullError:  # fewer than d + 1 points, or all of them in one plane: there is no simplex
            return nearest
        return np.where(np.isnan(inside), nearest, inside)


# Of the mean distance of points on an axis that repeats; a spline takes closer ones for one.
_CLOSE = 0.1


@dataclass(frozen=True)
class Spline:
    """Piecewise cubic along one axis; the end values hold outside the observed range, where cubics run away.

    Attributes:
        kind: "cubic" (twice differentiable, not-a-knot), "pchip" (monotone) or "makima" (modified Akima).
    """

    kind: str = "cubic"

    @property
    def name(self) -> str:
        """Name in tables."""
        return self.kind

    def __call__(self, coords: Array, values: Array, query: Array, periods: Periods) -> Array:
        """Interpolate; see `Interpolator`.

        Raises:
            ValueError: there is more than one axis.
        """
        if coords.shape[1] != 1:
            raise ValueError(f"coords has {coords.shape[1]} axes, expected 1 for a {self.kind} spline")
        count = len(coords)
        coords, values, query = _prepared(coords, values, query, periods)
        times = coords[:, 0]
        if periods[0] is not None:  # phases of different turns can come as close as they like
            times, values = _apart(times, values, _CLOSE * periods[0] / count)
        if len(times) < 2:
            return np.repeat(values, len(query), axis=0)
        inside = np.clip(query[:, 0], times[0], times[-1])
        if self.kind == "makima":
            spline = Akima1DInterpolator(times, values, method="makima")
        else:
            spline = {"cubic": CubicSpline, "pchip": PchipInterpolator}[self.kind](times, values)
        return np.asarray(spline(inside))


@dataclass(frozen=True)
class Nearest:
    """The value of the nearest observation.

    Attributes:
        time_scale: factor on the first axis before distances are taken.
    """

    time_scale: float = 1.0
    name: str = "nearest"

    def __call__(self, coords: Array, values: Array, query: Array, periods: Periods) -> Array:
        """Interpolate; see `Interpolator`."""
        coords, values, query = _prepared(coords, values, query, periods)
        scale = _scale(self.time_scale, coords.shape[1])
        return _nearest(coords * scale, values, query * scale)


@dataclass(frozen=True)
class InverseDistance:
    """Mean of the nearest observations, weighted by a negative power of their distance.

    Source: Shepard, A two-dimensional interpolation function for irregularly-spaced data, ACM 1968.

    Attributes:
        neighbors: how many observations count.
        power: exponent of the distance.
        time_scale: factor on the first axis before distances are taken.
    """

    neighbors: int = 8
    power: float = 3.0
    time_scale: float = 1.0
    name: str = "idw"

    def __call__(self, coords: Array, values: Array, query: Array, periods: Periods) -> Array:
        """Interpolate; see `Interpolator`."""
        coords, values, query = _prepared(coords, values, query, periods)
        scale = _scale(self.time_scale, coords.shape[1])
        tree = cKDTree(coords * scale)
        distance, index = tree.query(query * scale, k=range(1, min(self.neighbors, len(coords)) + 1))
        # relative to the nearest, so that a query on an observation returns that observation instead of 0 / 0
        nearest = np.maximum(distance[:, :1], np.finfo(np.float64).tiny)
        weights = (nearest / np.maximum(distance, nearest)) ** self.power
        return np.asarray(np.einsum("qk,qkc->qc", weights / weights.sum(1, keepdims=True), values[index]))


@dataclass(frozen=True)
class RadialBasis:
    """Radial basis functions with a linear polynomial.

    Attributes:
        kernel: "thin_plate_spline", "linear", "cubic" or "quintic".
        time_scale: factor on the first axis: how much faster the data vary in time than in space.
        smoothing: 0 interpolates, more smooths, as noise asks for.
        neighbors: how many observations count at a query; None solves one system over all of them.
    """

    kernel: str = "thin_plate_spline"
    time_scale: float = 1.0
    smoothing: float = 0.0
    neighbors: int | None = None
    name: str = "rbf"

    def __call__(self, coords: Array, values: Array, query: Array, periods: Periods) -> Array:
        """Interpolate; see `Interpolator`."""
        scale = _scale(self.time_scale, coords.shape[1])
        images, copies, inside = _prepared(coords, values, query, periods)
        # scipy adds a polynomial, of degree 2 to the quintic kernel and 1 to others, which so many points determine
        least = math.comb(images.shape[1] + (2 if self.kernel == "quintic" else 1), images.shape[1])
        if len(images) < least:
            return Nearest()(coords, values, query, periods)
        neighbors = None if self.neighbors is None else min(self.neighbors, len(images))
        options = {"kernel": self.kernel, "smoothing": self.smoothing, "neighbors": neighbors}
        try:
            surface = RBFInterpolator(images * scale, copies, epsilon=1.0, **options)
            return np.asarray(surface(inside * scale))
        except np.linalg.LinAlgError:  # all points in one plane
            return Nearest()(coords, values, query, periods)


class Example(NamedTuple):
    """One sample to tune on.

    Attributes:
        coords: (N, d) what is shown.
        values: (N, c) what is shown.
        query: (Q, d) where it is asked.
        truth: (Q, c) what the answer was.
    """

    coords: Array
    values: Array
    query: Array
    truth: Array

    def known(self) -> tuple[Array, Array]:
        """Return all that was observed of a training sample, shown or asked for: (M, d) and (M, c), no two equal."""
        coords, values = np.concatenate([self.coords, self.query]), np.concatenate([self.values, self.truth])
        return distinct(coords, values.astype(np.float64))


def references(dimension: int) -> list[Interpolator]:
    """Return the references to compare with: they depend on the number of axes and on nothing else.

    Args:
        dimension: d.
    """
    if dimension == 1:
        from cst_lightning.baselines.smoothing import SmoothingSpline  # which is built on this module

        return [Linear(), Nearest(), Spline("pchip"), Spline("cubic"), SmoothingSpline()]
    return [Linear(), Nearest(), InverseDistance(), RadialBasis()]


def tuned(methods: Sequence[Interpolator], samples: Sequence[Example], periods: Periods) -> list[Interpolator]:
    """Give each reference the settings that err least on validation samples.

    How much slower the data vary in time than in space, and how smooth they are, no interpolant can guess, and the
    error of radial basis functions changes by factors with both: a comparison with untuned ones would be too easy.
    Every combination of a reference's settings in `CHOICES` is tried on the same few held-out points. Along one axis
    there is nothing to scale time against, and only how smooth a curve is remains to be chosen; so it is for a method
    of one axis that is applied to each place by itself.

    Args:
        methods: references; those without such settings are returned as they are.
        samples: held-out truth of the validation split; at most a few, each candidate is fitted to all.
        periods: d lengths of the periodic axes, None for the others.
    """
    if not samples:
        return list(methods)
    names = {"penalty"} if samples[0].coords.shape[1] == 1 else set(CHOICES)
    fewer = [_thinned(sample) for sample in samples]
    return [_best(method, fewer, periods, names) for method in methods]


def _thinned(sample: Example) -> Example:
    """Keep a random part of the questions, the same each time: regular steps would favour some places of a grid."""
    if len(sample.query) <= _ENOUGH:
        return sample
    kept = np.random.default_rng(0).choice(len(sample.query), _ENOUGH, replace=False)
    return sample._replace(query=sample.query[kept], truth=sample.truth[kept])


def _best(method: Interpolator, samples: Sequence[Example], periods: Periods, names: set[str]) -> Interpolator:
    """Choose among all variants: the best kernel depends on the time scale, and the other way round."""

    def error(one: Interpolator) -> float:
        answers = [one(s.coords, s.values, s.query, periods) - s.truth for s in samples]
        return sum(float(np.square(answer).sum()) for answer in answers)

    return min(_variants(method, names), key=error, default=method)


def _variants(method: Interpolator, names: set[str]) -> list[Interpolator]:
    """Return a method with every combination of its settings of these names; nothing if it has none."""
    from cst_lightning.rois import Alone  # which is built on this module

    if isinstance(method, Alone):
        return [Alone(one) for one in _variants(method.method, {"penalty"})]
    choices = {name: values for name, values in CHOICES.items() if name in names and hasattr(method, name)}
    if isinstance(method, RadialBasis):
        choices.pop("neighbors", None)  # one system over all observations is the best that it can do
    combinations = [dict(zip(choices, values, strict=True)) for values in product(*choices.values())]
    return [replace(method, **one) for one in combinations if one]  # type: ignore[type-var]


def distinct(coords: Array, values: Array) -> tuple[Array, Array]:
    """Replace observations of the same coordinates by their mean: no interpolant can pass through both.

    Args:
        coords: (N, d).
        values: (N, c).

    Returns:
        (M, d) and (M, c), M <= N, in lexicographic order of the coordinates.
    """
    unique, inverse, counts = np.unique(coords, axis=0, return_inverse=True, return_counts=True)
    total = np.zeros((len(unique), values.shape[1]))
    np.add.at(total, inverse.reshape(-1), values)
    return unique, total / counts[:, None]


def wrapped(coords: Array, periods: Periods) -> Array:
    """Move coordinates (N, d) along periodic axes into the box of one period around 0."""
    lengths = np.array([0.0 if period is None else period for period in periods])
    turns = np.floor(coords / np.where(lengths, lengths, 1.0) + 0.5)
    return np.asarray(coords - turns * lengths)


def with_images(coords: Array, values: Array, periods: Periods, margin: float = 0.25) -> tuple[Array, Array]:
    """Append the periodic images of points that lie within a margin outside the box of one period around 0.

    Args:
        coords: (N, d), inside the box along periodic axes.
        values: (N, c).
        periods: d lengths, None for an axis that is not periodic.
        margin: width of the margin on each side, as a fraction of the period.

    Returns:
        (M, d) and (M, c), M >= N.
    """
    shifts = list(product(*((0.0,) if period is None else (-period, 0.0, period) for period in periods)))
    reach = np.array([np.inf if period is None else (0.5 + margin) * period for period in periods])
    moved = np.concatenate([coords + np.array(shift) for shift in shifts])
    keep = (np.abs(moved) <= reach).all(1)
    return moved[keep], np.tile(values, (len(shifts), 1))[keep]


def _nearest(coords: Array, values: Array, query: Array) -> Array:
    return np.asarray(values[cKDTree(coords).query(query)[1]])


def _scale(time_scale: float, dimension: int) -> Array:
    return np.array([time_scale, *[1.0] * (dimension - 1)])


def _apart(times: Array, values: Array, within: float) -> tuple[Array, Array]:
    """Replace sorted points (N,), (N, c) no farther apart than that by their means."""
    group = np.concatenate([[0], np.cumsum(np.diff(times) > within)])
    number = np.bincount(group)
    total = np.zeros((len(number), values.shape[1]))
    np.add.at(total, group, values)
    return np.bincount(group, times) / number, total / number[:, None]


def _prepared(coords: Array, values: Array, query: Array, periods: Periods) -> tuple[Array, Array, Array]:
    """Return distinct points with their periodic images, sorted by time, and the queries in the same box."""
    if not len(coords):
        raise ValueError("coords has no points, expected at least one observation")
    coords, query = (wrapped(np.asarray(x, np.float64), periods) for x in (coords, query))
    images, copies = with_images(*distinct(coords, np.asarray(values, np.float64)), periods)
    order = np.argsort(images[:, 0], kind="stable")
    return images[order], copies[order], query
