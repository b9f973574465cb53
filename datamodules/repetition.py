"""After how long a recording repeats itself, found from a few frames of it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize_scalar

# Harmonics that are tried: what repeats more sharply than the last of them is not found.
_HARMONICS = (1, 2, 3, 4, 5, 6, 8, 10)
# Of a harmonic h the prior variance falls as h^-4, that of a curve with a bend; noise beside it.
_RIDGE = 1e-4
# Neighbouring candidates end apart by this part of a cycle over the whole recording.
_APART = 0.02
# Relative errors that far apart, and mean square slopes within that factor, are taken for equal.
_AS_GOOD = 0.05
_AS_SLOW = 0.1
# A recording of more repetitions than these would take minutes to search.
_MOST = 100


class Repetition(NamedTuple):
    """What was found.

    Attributes:
        period: in the units of time.
        error: relative L2 of frames left out one at a time and restored from the others by a series of that period.
        spline: the same by a cubic spline in time.
    """

    period: float
    error: float
    spline: float


def repetition(time: np.ndarray, values: np.ndarray) -> Repetition:
    """Return the period by which frames that are left out are restored best.

    A Fourier series is fitted for each candidate period and several numbers of harmonics, and judged by its
    leave-one-out error. Frames at equal distances look the same to some pairs of a slow and a fast series; of those
    that are about as good as the best the slowest is meant. Candidates are at least two mean distances between frames
    long, at least a hundredth of the recording, and at most two thirds of it, so that something is seen twice. Costs
    the number of frames times up to 5,000 candidates.

    Args:
        time: (N,) ascending, at least 6.
        values: (N, c).

    Raises:
        ValueError: too few frames, or frames that do not change.
    """
    count, span = len(time), float(time[-1] - time[0])
    centred = values - values.mean(0)
    if count < 6 or not centred[1:-1].any():
        raise ValueError(f"found {count} kept frames, expected at least 6, not all the same")
    size = float(np.linalg.norm(centred[1:-1]))
    cycles = np.arange(1.5, min((count - 1) / 2, _MOST), _APART)
    fits = np.array([_best(time, centred, span / candidate) for candidate in cycles])
    good = fits[:, 0] <= fits[:, 0].min() + _AS_GOOD * size
    slow = good & (fits[:, 1] <= (1 + _AS_SLOW) * fits[good, 1].min())
    start = cycles[slow][fits[slow, 0].argmin()]
    found = minimize_scalar(
        lambda c: _best(time, centred, span / c)[0], bounds=(start - _APART, start + _APART), method="bounded",
        options={"xatol": 1e-4},
    )  # fmt: skip
    spline = float(np.linalg.norm(_left_out_of_spline(time, centred)))
    return Repetition(span / float(found.x), float(found.fun) / size, spline / size)


def _best(time: np.ndarray, values: np.ndarray, period: float) -> tuple[float, float]:
    """Return the least leave-one-out error over numbers of harmonics, and the mean square slope of that series.

    Ridge regressions; errors at the first and the last frame do not count, for the spline has none there.
    """
    h = np.arange(1, max(_HARMONICS) + 1)
    turns = 2 * math.pi * time[:, None] / period * h
    features = np.stack([np.cos(turns) / h**2, np.sin(turns) / h**2], -1).reshape(len(time), -1)
    features = np.concatenate([np.ones((len(time), 1)), features], 1)
    square = features.T @ features
    best = (math.inf, math.inf)
    for harmonics in _HARMONICS:
        columns = 1 + 2 * harmonics
        if columns > len(time):
            break
        part = features[:, :columns]
        solved = np.linalg.solve(square[:columns, :columns] + _RIDGE * np.eye(columns), part.T)
        weights = solved @ values
        lever = (part * solved.T).sum(1)[:, None]
        error = float(np.linalg.norm(((values - part @ weights) / np.maximum(1 - lever, 1e-9))[1:-1]))
        if error < best[0]:
            slopes = weights[1:] / np.repeat(h[:harmonics], 2)[:, None] / period
            best = (error, float(np.square(slopes).sum()))
    return best


def _left_out_of_spline(time: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the errors (N - 2, c) of cubic splines through all frames but one of those between the ends."""
    found = [
        CubicSpline(np.delete(time, i), np.delete(values, i, 0))(time[i]) - values[i] for i in range(1, len(time) - 1)
    ]
    return np.stack(found)
