"""References for noisy curves."""

import numpy as np
import pytest
from scipy.interpolate import make_smoothing_spline
from scipy.stats import multivariate_normal

from cst_lightning.baselines.interpolation import CHOICES, Example, Linear, tuned
from cst_lightning.baselines.smoothing import _LENGTHS, _NOISES, GaussianProcess, SmoothingSpline
from cst_lightning.benchmark.building import interpolator
from cst_lightning.rois import Alone

RNG = np.random.default_rng(0)
TIMES = np.sort(RNG.uniform(-1, 1, 60))[:, None]
QUERY = np.linspace(-0.9, 0.9, 101)[:, None]
METHODS = [SmoothingSpline(), GaussianProcess()]


def curve(x: np.ndarray) -> np.ndarray:
    return np.column_stack([np.sin(4 * x), np.cos(3 * x) + 5])


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_noise_is_smoothed_away(method):
    noisy = curve(TIMES[:, 0]) + 0.3 * RNG.standard_normal((60, 2))
    error, rough = (np.square(m(TIMES, noisy, QUERY, [None]) - curve(QUERY[:, 0])).mean() for m in (method, Linear()))
    assert error < 0.4 * rough


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_what_is_clean_and_smooth_is_met(method):
    found = method(TIMES, curve(TIMES[:, 0]), QUERY, [None])
    np.testing.assert_allclose(found, curve(QUERY[:, 0]), atol=0.02)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
@pytest.mark.parametrize("count", [1, 2, 4])
def test_few_observations_are_no_error(method, count):
    found = method(TIMES[:count], curve(TIMES[:count, 0]), QUERY, [None])
    assert np.isfinite(found).all()


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_a_constant_stays_one(method):
    np.testing.assert_allclose(method(TIMES, np.full((60, 1), 7.0), QUERY, [None]), 7.0, atol=1e-6)


def test_the_penalty_that_errs_least_on_validation_samples_is_taken():
    # of so few observations cross-validation cannot tell how noisy they are
    times, rng = np.linspace(-1, 1, 8)[:, None], np.random.default_rng(1)
    noisy = curve(times[:, 0]) + 0.5 * rng.standard_normal((8, 2))
    sample = Example(times, noisy, QUERY, curve(QUERY[:, 0]))
    (chosen,) = tuned([SmoothingSpline()], [sample], [None])
    errors = [np.square(m(times, noisy, QUERY, [None]) - sample.truth).mean() for m in (chosen, SmoothingSpline())]
    assert errors[0] < errors[1]
    assert chosen.penalty in CHOICES["penalty"][1:]
    assert tuned([Linear()], [sample], [None]) == [Linear()]


def test_it_is_taken_for_each_place_by_itself_too():
    times, rng = np.linspace(-1, 1, 8)[:, None], np.random.default_rng(1)
    noisy = curve(times[:, 0]) + 0.5 * rng.standard_normal((8, 2))

    def at(x, place):
        return np.column_stack([x, np.full(len(x), place)])

    coords, query = (np.concatenate([at(x, 0.0), at(x, 1.0)]) for x in (times, QUERY))
    sample = Example(coords, np.tile(noisy, (2, 1)), query, np.tile(curve(QUERY[:, 0]), (2, 1)))
    (each,) = tuned([Alone(SmoothingSpline())], [sample], [None, None])
    (one,) = tuned([SmoothingSpline()], [Example(times, noisy, QUERY, curve(QUERY[:, 0]))], [None])
    assert each == Alone(one)
    assert each != Alone(SmoothingSpline())
    assert tuned([Alone(Linear())], [sample], [None, None]) == [Alone(Linear())]


@pytest.mark.parametrize("penalty", [None, 1e-3])
def test_the_smoothing_spline_is_scipy_s(penalty):
    noisy = curve(TIMES[:, 0]) + 0.3 * RNG.standard_normal((60, 2))
    found = SmoothingSpline(penalty=penalty)(TIMES[::-1], noisy[::-1], QUERY, [None])
    for channel in range(2):
        expected = make_smoothing_spline(TIMES[:, 0], noisy[:, channel], lam=penalty)(QUERY[:, 0])
        np.testing.assert_allclose(found[:, channel], expected, atol=1e-9)


def matern(a, b, length):
    """Return Rasmussen and Williams' kernel of smoothness 3/2, of unit variance."""
    r = np.abs(a - b.T) / length
    return (1 + 3**0.5 * r) * np.exp(-(3**0.5) * r)


def test_the_process_is_the_likeliest_one_in_closed_form():
    noisy = (curve(TIMES[:, 0]) + 0.3 * RNG.standard_normal((60, 2)))[:, 1]
    rest = noisy - noisy.mean()
    likeliest = -np.inf
    for length in _LENGTHS:
        for noise in _NOISES:
            shape = matern(TIMES, TIMES, length) + noise * np.eye(60)
            variance = rest @ np.linalg.solve(shape, rest) / 60
            evidence = multivariate_normal(np.zeros(60), variance * shape).logpdf(rest)
            if evidence > likeliest:
                likeliest = evidence
                expected = noisy.mean() + matern(QUERY, TIMES, length) @ np.linalg.solve(shape, rest)
    found = GaussianProcess()(TIMES, noisy[:, None], QUERY, [None])
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-9)


@pytest.mark.parametrize("word", ["smoothing_spline", "gp_each"])
def test_places_are_not_taken_for_one_curve(word):
    rng = np.random.default_rng(0)
    coords = np.stack([np.tile(np.linspace(-1, 1, 12), 2), np.repeat([0.0, 1.0], 12)], 1)
    values = np.where(coords[:, 1:] > 0, 5.0, 0.0) + np.sin(2 * coords[:, :1]) + 0.01 * rng.standard_normal((24, 1))
    with pytest.raises(ValueError, match="coords has 2 columns, expected 1, time"):
        interpolator(word)(coords, values, coords, [None, None])
    each = interpolator("gp_in_time" if word == "gp_each" else "smoothing_spline_in_time")
    np.testing.assert_allclose(each(coords, values, coords, [None, None]), values, atol=0.1)
