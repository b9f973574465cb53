"""Random draws of one sample: which points are observed, which of them are shown, where the dummies lie.

Every draw is a pure function of (seed, epoch, sample index, what is drawn), so it does not depend on workers, devices,
batch size or a resume. What is observed and its noise do not depend on the epoch either.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np

from cst_lightning.datamodules.trajectories import Trajectory

Scheme = Literal["points", "frames", "tail", "regular", "region"]
Domain = Literal["box", "hull", "near"]


class Stream(IntEnum):
    """What is drawn; keeps the draws of one sample independent of each other."""

    OBSERVED = 1
    NOISE = 2
    CONTEXT = 3
    DUMMIES = 4
    DENSE = 5
    AUGMENT = 6
    SPLIT = 7
    SITES = 8
    INNER = 9
    REGION = 10


def generator(seed: int, stream: Stream, index: int = 0, epoch: int = 0) -> np.random.Generator:
    """Return the generator of one draw."""
    # mixed by a hash, not added up: seed 1 of sample 2 must not be seed 2 of sample 1
    return np.random.default_rng(np.random.SeedSequence([seed, epoch, index, stream]))


@dataclass(frozen=True)
class Observation:
    """How a trajectory is observed.

    Attributes:
        observed: how many points (scheme `points`) or times (other schemes), a count, or a fraction in (0, 1].
        scheme: `points` drawn at random; `frames`: all points at random times; `tail`: all points at the first
            times, the tail is held out; `regular`: all points at equally spaced times, both ends included; `region`:
            all points outside a box, in time and space, at a random place; the box is never empty.
        keep_ends: the first and the last time are always observed.
        stride: with `regular`, observe every so many-th time from the first on instead of `observed` of them.
        noise: standard deviation of Gaussian measurement noise, in the units of the values.
        seed: of all draws.
    """

    observed: int | float = 0.5
    scheme: Scheme = "points"
    keep_ends: bool = False
    stride: int | None = None
    noise: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.observed <= 0 or (isinstance(self.observed, float) and self.observed > 1):
            raise ValueError(f"observed is {self.observed}, expected a positive count or a fraction in (0, 1]")
        if self.noise < 0:
            raise ValueError(f"noise is {self.noise}, expected a standard deviation of at least 0")
        if self.stride is not None and (self.scheme != "regular" or self.stride < 1):
            raise ValueError(
                f"stride of what is observed (every) is {self.stride} with scheme {self.scheme}, expected scheme "
                "regular and at least 1"
            )

    def positions(self, trajectory: Trajectory, index: int) -> np.ndarray:
        """Return the sorted positions of the observed points; points with NaN are never among them."""
        given = ~trajectory.seen.isnan().any(-1)
        if trajectory.observed is not None:
            return np.flatnonzero((given & trajectory.observed).numpy())
        real = np.flatnonzero(given.numpy())
        if len(real) == 0:
            return real
        gaps = len(real) < len(given)  # then what there is may be less than what is asked for
        rng = generator(self.seed, Stream.OBSERVED, index)
        if self.scheme == "region":
            return real[~self._inside(rng, trajectory.coords.numpy()[real], _cells(trajectory, real))]
        if self.scheme == "points":
            if not self.keep_ends:
                count = self._count(len(real), "points", gaps)
                return np.sort(rng.choice(real, count, replace=False, shuffle=False))
            ends = _ends(trajectory.coords[:, 0].numpy()[real])
            return real[self._draw(rng, len(real), ends, "points", gaps)]
        times, place = times_of(trajectory, real)
        chosen = np.zeros(times, dtype=bool)
        chosen[self._times(rng, times)] = True
        return real[chosen[place]]

    def groups(self, trajectory: Trajectory, positions: np.ndarray) -> np.ndarray:
        """Return for each observed point (N,) which group it is shown with: none but itself, or its whole time."""
        alone = self.scheme in ("points", "region")
        return np.arange(len(positions)) if alone else times_of(trajectory, positions)[1]

    def values(self, values: np.ndarray, index: int) -> np.ndarray:
        """Return measured values (n, c): the true ones and noise, float32."""
        if self.noise == 0:
            return values
        # without the epoch: a measurement is made once, and a new error each time would average out
        error = generator(self.seed, Stream.NOISE, index).standard_normal(values.shape)
        return (values + self.noise * error).astype(np.float32)

    def _inside(self, rng: np.random.Generator, coords: np.ndarray, axes: list[np.ndarray]) -> np.ndarray:
        """Return which points (n, d) lie in a random box that holds about the share that is not observed.

        `axes` has the distinct coordinates along each axis. A point counts as a cell that reaches half way to its
        neighbours, and the box has at least one cell along every axis: of two frames it holds one.
        """
        share = self.observed if isinstance(self.observed, float) else min(1.0, self.observed / len(coords))
        if share >= 1:
            return np.zeros(len(coords), dtype=bool)
        counts = np.array([len(axis) for axis in axes])
        half = np.array([np.median(np.diff(axis)) / 2 if len(axis) > 1 else 0.5 for axis in axes])
        low = np.array([axis[0] for axis in axes]) - half
        lengths = np.array([axis[-1] for axis in axes]) + half - low
        # every side the same part of its axis; an axis of one value is taken whole
        part = (1 - share) ** (1 / max(1, int((counts > 1).sum())))
        sides = np.where(counts > 1, lengths * np.maximum(part, 1 / counts), lengths)
        corner = low + rng.random(coords.shape[1]) * (lengths - sides)
        inside: np.ndarray = ((coords >= corner) & (coords <= corner + sides)).all(1)
        if not inside.any():  # between scattered points, or where all is NaN: so the box moves to the nearest point
            centre = coords[(((coords - corner - sides / 2) / lengths) ** 2).sum(1).argmin()]
            inside = (np.abs(coords - centre) <= sides / 2).all(1)
        return inside

    def _times(self, rng: np.random.Generator, times: int) -> np.ndarray:
        if self.stride is not None:
            return np.arange(0, times, self.stride)
        count = self._count(times, "times")
        if self.scheme == "tail":
            return np.arange(count)  # a forecast: nothing of the tail may be among them
        if self.scheme == "regular":
            return np.linspace(0, times - 1, count).round().astype(int)
        ends = np.array([0, times - 1]) if self.keep_ends else np.empty(0, dtype=int)
        return self._draw(rng, times, ends, "times")

    def _draw(
        self, rng: np.random.Generator, total: int, kept: np.ndarray, what: str, gaps: bool = False
    ) -> np.ndarray:
        """Draw from range(total) so that `kept` is among the drawn."""
        kept, count = np.unique(kept), self._count(total, what, gaps)
        if gaps:
            count = max(count, len(kept))
        if count < len(kept):
            raise ValueError(f"observed is {self.observed}, expected at least the {len(kept)} {what} at both ends")
        others = np.setdiff1d(np.arange(total), kept)
        return np.sort(np.concatenate([kept, rng.choice(others, count - len(kept), replace=False)]))

    def _count(self, total: int, what: str, gaps: bool = False) -> int:
        count = self.observed if isinstance(self.observed, int) else max(1, round(self.observed * total))
        if count > total and gaps:
            return total
        if count > total:
            raise ValueError(f"observed is {self.observed}, expected at most the {total} {what} there are")
        return int(count)


@dataclass(frozen=True)
class Dummies:
    """Where the Sobolev term is taken.

    Attributes:
        count: D.
        domain: `box` of the data set; `hull`: the range of the sample's own observed coordinates; `near`: Gaussian
            around its observed points.
        sigma: standard deviation of `near`, in lengths of each axis.
        low: (d,) lower corner of the box.
        high: (d,) upper corner.
        periodic: (d,) which axes wrap around.
        seed: of the draw.
    """

    count: int
    domain: Domain
    sigma: float
    low: np.ndarray
    high: np.ndarray
    periodic: tuple[bool, ...]
    seed: int = 0

    def draw(self, observed: np.ndarray, index: int, epoch: int) -> np.ndarray:
        """Return (D, d) float64 coordinates, given the observed ones (N, d)."""
        size = (self.count, len(self.low))
        if self.count == 0:
            return np.empty(size)
        rng = generator(self.seed, Stream.DUMMIES, index, epoch)
        if self.domain == "box" or len(observed) == 0:
            return rng.uniform(self.low, self.high, size)
        if self.domain == "hull":
            return rng.uniform(observed.min(0), observed.max(0), size)
        length = self.high - self.low
        near = observed[rng.integers(len(observed), size=self.count)] + self.sigma * length * rng.standard_normal(size)
        # beyond the end of an axis that does not wrap there is no field to be smooth
        wrapped = self.low + np.mod(near - self.low, np.where(length > 0, length, 1))
        return np.where(self.periodic, wrapped, np.clip(near, self.low, self.high))


def context_of(
    groups: np.ndarray, share: tuple[float, float], ends: bool, rng: np.random.Generator, spare: int = 0
) -> np.ndarray:
    """Draw which observed points are shown.

    Args:
        groups: (N,) integers from 0 on; points with the same one are shown together. In time order if `ends`.
        share: the shown fraction is uniform between these; never fewer than two groups if there are two.
        ends: always show the first and the last group.
        rng: source of the draw.
        spare: so many groups stay unshown, but one is always shown if there is one.

    Returns:
        (N,) bool.
    """
    if len(groups) == 0:
        return np.zeros(0, dtype=bool)
    there = np.zeros(groups.max() + 1, dtype=bool)
    there[groups] = True
    place, total = np.cumsum(there)[groups] - 1, int(there.sum())
    # two at least: one point alone says nothing about how the field changes
    count = min(max(total - spare, min(total, 1)), max(2, round(rng.uniform(*share) * total)))
    order = rng.random(total)
    if ends and total > 1:
        order[[0, -1]] = -1.0  # below every random number, so first in line
    shown = np.zeros(total, dtype=bool)
    shown[np.argsort(order, kind="stable")[:count]] = True
    return shown[place]


def times_of(trajectory: Trajectory, positions: np.ndarray) -> tuple[int, np.ndarray]:
    """Return the number of distinct times of a trajectory, and for each of some positions which time it belongs to."""
    if trajectory.frames:
        return trajectory.frames, positions // (len(trajectory.coords) // trajectory.frames)
    distinct, place = np.unique(trajectory.coords[:, 0].numpy(), return_inverse=True)
    return len(distinct), place[positions]


def _cells(trajectory: Trajectory, real: np.ndarray) -> list[np.ndarray]:
    """Return the sorted distinct coordinates along each axis; of a grid those of its first frame and first place."""
    coords = trajectory.coords.numpy()
    if not trajectory.frames:
        return [np.unique(axis) for axis in coords[real].T]
    places = len(coords) // trajectory.frames
    return [np.unique(coords[::places, 0]), *(np.unique(axis) for axis in coords[:places, 1:].T)]


def _ends(times: np.ndarray) -> np.ndarray:
    """Return the positions of one earliest and one latest point."""
    return np.array([int(times.argmin()), int(times.argmax())])
