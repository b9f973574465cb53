"""References for noisy curves: they pass near the observations, not through them.

Each chooses how smooth it is from the observations of the sample alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import make_smoothing_spline
from scipy.linalg import eigh

from cst_lightning.baselines.interpolation import distinct

Array = np.ndarray

# Correlation lengths in half-lengths of the axis, and noise variances in units of the signal's.
_LENGTHS = np.geomspace(0.02, 2.0, 12)
_NOISES = np.geomspace(1e-4, 3.0, 16)


@dataclass(frozen=True)
class SmoothingSpline:
    """Cubic smoothing spline, channel by channel; the end values hold outside the observed range.

    Source: Craven and Wahba, Smoothing noisy data with spline functions, Numerische Mathematik 31 (1979), as scipy
    implements it.

    Attributes:
        penalty: weight of the integral of the squared second derivative; None to have it chosen by generalised
            cross-validation, sample by sample and channel by channel, which takes many observations to be reliable.
    """

    name: str = "smoothing"
    penalty: float | None = None

    def __call__(self, coords: Array, values: Array, query: Array, periods: Sequence[float | None]) -> Array:
        """Interpolate along one axis; see `Interpolator`."""
        _check_time_only(coords)
        points, values = distinct(coords, values.astype(np.float64))
        times, at = points[:, 0], np.clip(query[:, 0], points[0, 0], points[-1, 0])
        if len(times) < 5:  # the penalty cannot be chosen from fewer
            return np.stack([np.interp(at, times, column) for column in values.T], axis=-1)
        columns = []
        for column in values.T:
            try:
                columns.append(make_smoothing_spline(times, column, lam=self.penalty)(at))
            except (np.linalg.LinAlgError, ValueError):  # a constant channel has no best penalty
                columns.append(np.interp(at, times, column))
        return np.stack(columns, axis=-1)


@dataclass(frozen=True)
class GaussianProcess:
    """Gaussian process with a Matern-3/2 kernel and white noise, channel by channel, by largest marginal likelihood.

    The correlation length and the ratio of noise to signal are searched on a grid, the variance of the signal is in
    closed form. Source: Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), chapter 5.
    """

    name: str = "GP"

    def __call__(self, coords: Array, values: Array, query: Array, periods: Sequence[float | None]) -> Array:
        """Interpolate along one axis; see `Interpolator`."""
        _check_time_only(coords)
        points, values = distinct(coords, values.astype(np.float64))
        times, count = points[:, 0], len(points)
        mean = values.mean(0)
        if count < 3:
            return np.stack([np.interp(query[:, 0], times, column) for column in values.T], axis=-1)
        centred = values - mean
        best = np.full(values.shape[1], np.inf)
        answer = np.repeat(mean[None], len(query), axis=0)
        for length in _LENGTHS:
            spectrum, basis = eigh(_matern(times, times, length))
            spectrum = np.maximum(spectrum, 0)
            rotated = basis.T @ centred
            cross = _matern(query[:, 0], times, length) @ basis
            for noise in _NOISES:
                total = spectrum + noise
                signal = (rotated**2 / total[:, None]).mean(0)  # the variance that maximises the likelihood
                score = count * np.log(np.maximum(signal, np.finfo(float).tiny)) + np.log(total).sum()
                better = score < best
                if better.any():
                    best[better] = score[better]
                    answer[:, better] = mean[better] + cross @ (rotated[:, better] / total[:, None])
        return answer


def _check_time_only(coords: Array) -> None:
    """Refuse places: points of all of them would be taken for one curve."""
    if coords.shape[1] != 1:
        raise ValueError(
            f"coords has {coords.shape[1]} columns, expected 1, time; for each place by itself there are "
            "'smoothing_spline_in_time' and 'gp_in_time'"
        )


def _matern(a: Array, b: Array, length: float) -> Array:
    """Return the kernel matrix (N, M) of unit variance."""
    scaled = np.sqrt(3.0) * np.abs(a[:, None] - b[None]) / length
    return np.asarray((1 + scaled) * np.exp(-scaled))
