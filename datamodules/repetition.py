"""After how long a recording repeats itself, found from a few frames of it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline, make_interp_spline
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
_CURVES = 8  # principal components that are looked at
# A recording of more repetitions than these would take minutes to search.
_MOST = 100


class Repetition(NamedTuple):
    """What was found; errors are relative L2 of frames left out one at a time and restored from the others.

    Attributes:
        period: in the units of time.
        error: by a series of that period.
        rival: the least of what knows no period: linear interpolation, a cubic spline, polynomials.
    """

    period: float
    error: float
    rival: float


def repetition(time: np.ndarray, values: np.ndarray) -> Repetition:
    """Return the period by which frames that are left out are restored best.

    A Fourier series is fitted for each candidate period and several numbers of harmonics, and judged by its
    leave-one-out error. Frames at equal distances look the same to some pairs of a slow and a fast series; of those
    that are about as good as the best the slowest is meant, and of its own multiples the shortest period. Candidates
    are at least two mean distances between frames long, at least a hundredth of the recording, and at most two thirds
    of it, so that something is seen twice. Costs the number of frames times up to 5,000 candidates: 4,000 frames take
    half a minute.

    Args:
        time: (N,) ascending, at least 6.
        values: (N, c), of which the eight strongest principal components are looked at.

    Raises:
        ValueError: too few frames, or frames that do not change.
    """
    count, span = len(time), float(time[-1] - time[0])
    centred = values - values.mean(0)
    if count < 6 or not centred[1:-1].any():
        raise ValueError(f"found {count} kept frames, expected at least 6, not all the same")
    left, strength, _ = np.linalg.svd(centred, full_matrices=False)
    curves = (left * strength)[:, :_CURVES]
    size = float(np.linalg.norm(curves[1:-1]))
    most = min((count - 1) / 2, _MOST)
    cycles = np.arange(1.5, most, _APART)
    fits = np.array([_best(time, curves, span / candidate) for candidate in cycles])
    good = fits[:, 0] <= fits[:, 0].min() + _AS_GOOD * size
    slow = good & (fits[:, 1] <= (1 + _AS_SLOW) * fits[good, 1].min())
    start = cycles[slow][fits[slow, 0].argmin()]
    # the grid is coarser for the parts of a period than for itself, so that a multiple may have looked better
    parts = [_refined(time, curves, n * start, n * _APART) for n in (1, 2, 3) if n * start <= most]
    least = min(error for _, error in parts)
    number, error = next(part for part in reversed(parts) if part[1] <= 1.1 * least + 0.01 * size)
    rival = min(float(np.linalg.norm(wrong)) for wrong in _without_period(time, curves))
    return Repetition(span / number, error / size, rival / size)


def _refined(time: np.ndarray, values: np.ndarray, cycles: float, within: float) -> tuple[float, float]:
    """Return the number of cycles near a given one with the least error, and that."""
    span = float(time[-1] - time[0])
    found = minimize_scalar(
        lambda c: _best(time, values, span / c)[0], bounds=(cycles - within, cycles + within), method="bounded",
        options={"xatol": 1e-4},
    )  # fmt: skip
    return float(found.x), float(found.fun)


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


def _without_period(time: np.ndarray, values: np.ndarray) -> list[np.ndarray]:
    """Return errors (N - 2, c) at left-out inner frames, of interpolations and of polynomials up to cubic ones."""
    inner = range(1, len(time) - 1)
    linear, spline = (
        np.stack([rule(np.delete(time, i), np.delete(values, i, 0))(time[i]) - values[i] for i in inner])
        for rule in (lambda t, y: make_interp_spline(t, y, k=1), CubicSpline)
    )
    errors = [linear, spline]
    scaled = 2 * (time - time[0]) / (time[-1] - time[0]) - 1
    for degree in (1, 2, 3):
        basis = np.linalg.qr(np.vander(scaled, degree + 1))[0]
        lever = np.square(basis).sum(1)[:, None]
        errors.append(((values - basis @ (basis.T @ values)) / (1 - lever))[1:-1])
    return errors
