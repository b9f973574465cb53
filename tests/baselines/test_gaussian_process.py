"""Gaussian process: the textbook formula, its error, periodic axes, and hyperparameters that suit the data."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from cst_lightning.baselines import gaussian_process
from cst_lightning.baselines.gaussian_process import GaussianProcess, Hyperparameters
from cst_lightning.baselines.interpolation import Example, Linear

HYPER = Hyperparameters(np.array([[0.4, 0.7]]), np.array([1.3]), np.array([0.1]))


def points(count: int, dimension: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (count, dimension))


def rbf(r: np.ndarray) -> np.ndarray:
    return np.exp(-(r**2) / 2)


def matern(r: np.ndarray) -> np.ndarray:
    return (1 + 5**0.5 * r + 5 * r**2 / 3) * np.exp(-(5**0.5) * r)


@pytest.mark.parametrize(("name", "kernel"), [("rbf", rbf), ("matern", matern)])
def test_mean_and_error_are_the_closed_form(name: Any, kernel: Callable[[np.ndarray], np.ndarray]) -> None:
    x, q, y = points(15, 2), points(9, 2, 1), points(15, 1, 2)

    def cov(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return 1.3**2 * kernel(np.linalg.norm((a[:, None] - b) / HYPER.lengths[0], axis=-1))

    standard = (y - y.mean()) / y.std()
    inner = cov(x, x) + 0.1**2 * np.eye(15)
    mean = y.mean() + y.std() * cov(q, x) @ np.linalg.solve(inner, standard)
    variance = 1.3**2 - np.sum(cov(q, x) * np.linalg.solve(inner, cov(x, q)).T, 1)
    found, error = GaussianProcess(name, hyper=HYPER).predict(x, y, q, [None, None])
    np.testing.assert_allclose(found, mean, rtol=1e-7)
    np.testing.assert_allclose(error[:, 0], y.std() * np.sqrt(variance), rtol=1e-6)


def test_hyperparameters_raise_the_evidence() -> None:
    x = points(20, 1)
    y = np.sin(6 * x)
    found = GaussianProcess("rbf").fitted([Example(x, y, x, y)], [None]).hyper
    standard = ((y - y.mean()) / y.std())[:, 0]

    def evidence(length: float, scale: float, noise: float) -> float:
        cov = scale**2 * rbf(np.abs(x - x.T) / length) + noise**2 * np.eye(20)
        return float(multivariate_normal(np.zeros(20), cov).logpdf(standard))

    assert found is not None
    assert evidence(found.lengths[0, 0], found.scale[0], found.noise[0]) > evidence(0.5, 1.0, 0.1) + 10


@pytest.mark.parametrize("name", ["rbf", "matern"])
def test_it_is_far_better_than_straight_lines_on_a_smooth_curve(name: Any) -> None:
    x, q = np.linspace(-1, 1, 14)[:, None] + 0.05 * points(14, 1), np.linspace(-0.9, 0.9, 50)[:, None]
    error, straight = (
        np.square(method(x, np.sin(5 * x), q, [None]) - np.sin(5 * q)).mean()
        for method in (GaussianProcess(name), Linear())
    )
    assert error < 0.1 * straight


def test_channels_have_lengths_of_their_own() -> None:
    x = points(30, 1)
    y = np.concatenate([np.sin(x), np.sin(9 * x)], 1)
    found = GaussianProcess("rbf").fitted([Example(x, y, x, y)], [None]).hyper
    assert found is not None
    assert found.lengths[0, 0] > 2 * found.lengths[1, 0]


def test_the_answer_repeats_with_the_axis() -> None:
    x, q = points(20, 2), points(10, 2, 1)
    process = GaussianProcess(hyper=HYPER)
    here, there = (process(x, np.cos(np.pi * x[:, 1:]), q + np.array([0, turn]), [None, 2.0]) for turn in (0, 4))
    np.testing.assert_allclose(there, here, atol=1e-9)


def test_hyperparameters_of_training_samples_serve_others() -> None:
    samples = [Example(x, np.sin(5 * x + s), x, x) for s, x in enumerate(points(12, 1, seed) for seed in range(3))]
    process = GaussianProcess("rbf").fitted(samples, [None])
    x = points(12, 1, 9)
    assert np.abs(process(x, np.sin(5 * x), x, [None]) - np.sin(5 * x)).max() < 0.05


def test_error_is_larger_far_from_the_data() -> None:
    x = points(10, 1)
    near, far = GaussianProcess().predict(x, np.sin(x), np.array([[x[0, 0]], [3.0]]), [None])[1]
    assert far > 3 * near


@pytest.mark.parametrize("count", [0, 7])
def test_too_few_or_too_many_observations_are_an_error(count: int) -> None:
    with pytest.raises(ValueError, match="expected 1 to most = 5"):
        GaussianProcess(most=5)(points(count, 1), points(count, 1), points(2, 1), [None])


def test_the_likelier_kernel_is_taken() -> None:
    x = np.linspace(-1, 1, 25)[:, None]
    smooth, kinked = np.sin(4 * x), np.abs(np.sin(6 * x))
    chosen = [GaussianProcess("likelier").fitted([Example(x, y, x, y)], [None]).covariance for y in (smooth, kinked)]
    assert chosen == ["rbf", "matern"]
    q = np.linspace(-0.9, 0.9, 40)[:, None]
    found, right = (GaussianProcess(name)(x, smooth, q, [None]) for name in ("likelier", "rbf"))
    np.testing.assert_array_equal(found, right)


def test_a_quiet_sample_is_not_taken_for_noise() -> None:
    # a loud and a quiet one: in units of its own the quiet one would be denoised as if it were loud
    rng, time = np.random.default_rng(0), np.linspace(0, 1, 40)[:, None]
    loud, quiet = np.sin(9 * time) + 0.01 * rng.standard_normal((40, 1)), 0.02 * np.sin(9 * time)
    examples = [Example(time, loud, time, loud), Example(time, loud[::-1], time, loud[::-1])]
    process = GaussianProcess().fitted(examples, (None,))
    assert process.hyper is not None
    assert process.hyper.units is not None
    np.testing.assert_allclose(process.hyper.units[1], np.concatenate([loud, loud]).std(0))
    answer = process(time, quiet + loud.mean(), time, (None,))
    assert np.abs(answer).max() <= 1.2 * np.abs(quiet + loud.mean()).max()


def test_what_training_samples_are_asked_for_counts_as_well() -> None:
    x = points(24, 1)
    y = np.sin(6 * x) + 0.1 * points(24, 1, 1)
    whole = GaussianProcess("rbf").fitted([Example(x, y, x, y)], [None]).hyper
    parts = GaussianProcess("rbf").fitted([Example(x[:9], y[:9], x[9:], y[9:])], [None]).hyper
    assert whole is not None
    assert parts is not None
    for one, other in zip(whole[:3], parts[:3], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize("shared", [False, True])
def test_samples_solved_at_once_are_as_if_each_was_alone(shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    times = [np.sort(rng.uniform(-1, 1, (count, 1)), 0) for count in (12, 12, 12, 15)]
    samples = [Example(t, v, t, v) for n, t in enumerate(times) for v in [np.concatenate([np.sin(5 * t + n), t], 1)]]

    def found() -> Hyperparameters:
        hyper = GaussianProcess("matern", shared=shared).fitted(samples, [None]).hyper
        assert hyper is not None
        return hyper

    together = found()
    monkeypatch.setattr(gaussian_process, "_ENTRIES", 1)
    for one, other in zip(together[:3], found()[:3], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_as_many_samples_are_solved_at_once_as_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(torch.zeros(n, 1), torch.zeros(2, n)) for n in (5, 7, 5, 5, 5)]
    monkeypatch.setattr(gaussian_process, "_ENTRIES", 3 * 2 * 5**2)
    shapes = [(tuple(x.shape), tuple(y.shape)) for x, y in gaussian_process._stacked(pairs)]
    assert shapes == [((3, 2, 5, 1), (3, 2, 5)), ((1, 2, 5, 1), (1, 2, 5)), ((1, 2, 7, 1), (1, 2, 7))]
