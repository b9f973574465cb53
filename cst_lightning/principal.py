r"""Functional principal components, learned from many curves of which each was observed at a few times only.

Every curve is taken for ``u(t) = m(t) + sum_r z_r f_r(t)`` with standard normal scores z, and every observation for
``u(t) + noise``. Mean and components are Fourier series; expectation-maximisation finds them and the noise from all
observations together, and a new curve is the posterior mean given its own ones. The number of components is the one
that predicts best what was left out. Where many curves of one kind were seen, this knows what the next one can look
like: a spline does not.
Source: James, Hastie and Sugar, Principal component models for sparse functional data, Biometrika 87, 2000; Yao,
Mueller and Wang, Functional data analysis for sparse longitudinal data, JASA 100, 2005.
Sizes: S samples, N observations, Q queries, c channels, R components, F functions of the series.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from cst_lightning import jets, scatter

# The shortest wave is 2 / 7 of an axis that does not repeat.
_HARMONICS = 14
# Period of the series over the length of an axis that does not repeat: its ends need not meet, nor its slopes.
_MARGIN = 2.0
_ROUNDS = 30
# What is tried: numbers of components with the second penalty, then penalties, on the fourth power of a harmonic's
# number, with the number that was best.
_RANKS = (1, 2, 3, 4, 6, 8, 11, 15, 20)
_PENALTIES = (0.1, 1.0, 10.0, 100.0)
_FOLDS = 5
_HIDDEN = 0.3
# So many observed numbers tell components apart; more cost minutes.
_ENOUGH = 20_000


class Series(NamedTuple):
    """Fourier series; a function of a query jet, see `cst_lightning.interpolate.Interpolant`.

    Attributes:
        frequencies: (B, H).
        coefficients: (B, F, c), F = 2 H + 1.
    """

    frequencies: Tensor
    coefficients: Tensor

    def __call__(self, query: Tensor) -> Tensor:
        """Evaluate at a jet (k + 1, B, Q, 1): (k + 1, B, Q, c)."""
        return _series(query, self.frequencies[:, None]) @ self.coefficients


class Components(NamedTuple):
    """What all curves have in common, in normalised coordinates and values.

    Attributes:
        frequencies: (H,) of the series.
        functions: (R + 1, F, c) coefficients of the components and, last, of the mean.
        noise: (c,) standard deviation of an observation's noise.
    """

    frequencies: Tensor
    functions: Tensor
    noise: Tensor

    def posterior(self, coords: Tensor, values: Tensor, mask: Tensor) -> Series:
        """Return the posterior means of curves given their observations; arguments as of `learn`."""
        coords, mask = scatter.precise(coords), mask[..., None]
        own = Components(*(part.to(coords.device, coords.dtype) for part in self))
        found = own.scores(_basis(coords, own.frequencies), scatter.precise(values), mask.to(coords.dtype)).mean
        coefficients = torch.einsum("sr,rfc->sfc", found, own.functions).to(values.dtype)
        return Series(own.frequencies.to(values.dtype).expand(len(coords), -1), coefficients)

    def scores(self, basis: Tensor, values: Tensor, weight: Tensor) -> Scores:
        """Return the posterior of the scores, from (S, N, F), (S, N, c) and (S, N, 1), which is 0 in the padding."""
        shapes = torch.einsum("snf,rfc->sncr", basis, self.functions)
        slopes, rate = shapes[..., :-1], (weight * self.noise**-2)[..., None]
        precision = torch.einsum("sncr,sncq->srq", rate * slopes, slopes)
        precision = precision + torch.eye(slopes.shape[-1], dtype=basis.dtype, device=basis.device)
        right = torch.einsum("sncr,snc->sr", rate * slopes, values - shapes[..., -1])
        factor = torch.linalg.cholesky(precision)
        mean = torch.cholesky_solve(right[..., None], factor)[..., 0]
        return Scores(torch.cat([mean, torch.ones_like(mean[:, :1])], 1), torch.cholesky_inverse(factor), shapes)


class Scores(NamedTuple):
    """Posterior of the scores of S curves.

    Attributes:
        mean: (S, R + 1), the last one 1: the factor of the mean function.
        covariance: (S, R, R).
        shapes: (S, N, c, R + 1) components and mean at the observations.
    """

    mean: Tensor
    covariance: Tensor
    shapes: Tensor


def learn(coords: Tensor, values: Tensor, mask: Tensor, period: float | None = None) -> Components:
    """Learn mean, components, their number and the noise.

    Args:
        coords: (S, N, 1) times, normalised to [-1, 1].
        values: (S, N, c), normalised to spreads of about 1.
        mask: (S, N) bool, True where real; a point that is in a sample twice counts twice.
        period: of time, None if it does not repeat.

    Raises:
        ValueError: there is more than one coordinate, or fewer than 2 samples.
    """
    if coords.shape[-1] != 1 or len(coords) < 2:
        raise ValueError(
            f"coords has shape {tuple(coords.shape)}, expected (sample, point, 1) with at least 2 samples: principal "
            "components are those of curves along time"
        )
    with _one_thread():
        return _learned(coords, values, mask, period)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch from sharing this out: the matrices are small, and beside a busy program waiting costs ten times."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _learned(coords: Tensor, values: Tensor, mask: Tensor, period: float | None) -> Components:
    most = max(2 * _FOLDS, _ENOUGH // max(1, coords.shape[1] * values.shape[-1]))
    coords, values, weight = (scatter.precise(part[:most]) for part in (coords, values, mask[..., None].to(values)))
    length = 2 * _MARGIN if period is None else period
    frequencies = 2 * math.pi / length * torch.arange(1, _HARMONICS + 1, device=coords.device, dtype=coords.dtype)
    basis = _basis(coords, frequencies)
    return _maximise(frequencies, basis, values, weight, *_choice(frequencies, basis, values, weight))


def _choice(frequencies: Tensor, basis: Tensor, values: Tensor, weight: Tensor) -> tuple[int, float]:
    """Return the number of components and the penalty that predict best what is hidden of curves not learned from."""
    fold = torch.arange(len(basis), device=basis.device) % min(_FOLDS, len(basis))
    # at random: points may be in order of time, and every n-th one would be easier than what is asked at the test
    draws = torch.rand(basis.shape[:2], generator=torch.Generator().manual_seed(0))
    hidden = weight * (draws < _HIDDEN).to(weight)[..., None]

    def error(rank: int, penalty: float) -> float:
        total = 0.0
        for held in (fold == n for n in range(int(fold.max()) + 1)):
            found = _maximise(frequencies, basis[~held], values[~held], weight[~held], rank, penalty)
            scores = found.scores(basis[held], values[held], (weight - hidden)[held])
            wrong = torch.einsum("sncr,sr->snc", scores.shapes, scores.mean) - values[held]
            total += float((hidden[held] * wrong).square().sum())
        return total

    errors: dict[int, float] = {}
    for rank in _RANKS:
        errors[rank] = error(rank, _PENALTIES[1])
        if len(errors) > 2 and min(errors.values()) < min(list(errors.values())[-2:]):  # twice worse than the best
            break
    rank = min(errors, key=errors.__getitem__)
    others = {penalty: errors[rank] if penalty == _PENALTIES[1] else error(rank, penalty) for penalty in _PENALTIES}
    return rank, min(others, key=others.__getitem__)


def _maximise(
    frequencies: Tensor, basis: Tensor, values: Tensor, weight: Tensor, rank: int, penalty: float
) -> Components:
    """Return the components that make observations likeliest, by expectation-maximisation with a penalty.

    The penalty is in units of the channels' mean noise variance, so that one system serves all channels.
    """
    size, channels = basis.shape[-1], values.shape[-1]
    number = torch.cat([frequencies.new_zeros(1), *2 * [torch.arange(1, _HARMONICS + 1).to(frequencies)]])
    start = torch.randn(rank + 1, size, channels, generator=torch.Generator().manual_seed(0)).to(basis)
    found = Components(frequencies, 0.2 * start / (1 + number)[:, None], frequencies.new_full((channels,), 0.2))
    stiffness = torch.diag((penalty * number**4 + 1e-6).repeat(rank + 1))
    gram = torch.einsum("snf,sng->sfg", weight * basis, basis).flatten(1)
    right = torch.einsum("snf,snc->sfc", weight * basis, values)
    for _ in range(_ROUNDS):
        scores = found.scores(basis, values, weight)
        second = scores.mean[:, :, None] * scores.mean[:, None]
        second[:, :-1, :-1] += scores.covariance
        # (R + 1, R + 1, F, F) to a matrix over pairs of a component and a function of the series
        system = (
            (second.flatten(1).T @ gram).view(rank + 1, rank + 1, size, size).transpose(1, 2).flatten(2).flatten(0, 1)
        )
        functions = torch.linalg.solve(
            system + found.noise.square().mean() * stiffness,
            torch.einsum("sr,sfc->rfc", scores.mean, right).flatten(0, 1),
        ).view_as(found.functions)
        shapes = torch.einsum("snf,rfc->sncr", basis, functions)
        error = (values - torch.einsum("sncr,sr->snc", shapes, scores.mean)).square()
        error = error + torch.einsum("sncr,srq,sncq->snc", shapes[..., :-1], scores.covariance, shapes[..., :-1])
        noise = ((weight * error).sum((0, 1)) / weight.sum().clamp_min(1)).sqrt().clamp_min(1e-4)
        found = Components(frequencies, functions, noise)
    return found


def _basis(coords: Tensor, frequencies: Tensor) -> Tensor:
    return _series(coords[None], frequencies)[0]


def _series(line: Tensor, frequencies: Tensor) -> Tensor:
    """Return the jets of 1, all sines and all cosines: (k + 1, ..., F) from (k + 1, ..., 1)."""
    one = torch.zeros_like(line)
    one[0] = 1
    return torch.cat([one, *jets.sin_cos(line * frequencies)], -1)
