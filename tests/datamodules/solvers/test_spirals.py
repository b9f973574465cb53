"""The integral-equation solver."""

import math

import numpy as np
import pytest

from cst_lightning.datamodules.solvers.spirals import Spirals, random_starts
from cst_lightning.errors import ConvergenceError


def test_curves_solve_the_integral_equation():
    # the integral again, by Simpson's rule and without the solver's matrix
    problem = Spirals(points=401, refine=4)
    z = random_starts(3)
    y = problem.solve(z)
    drive, s = 1 / np.cosh(problem.bend * y), np.linspace(0, 1, 401)
    weight = np.full(401, 2.0)
    weight[1::2], weight[[0, -1]] = 4.0, 1.0
    angle = 2 * math.pi * problem.frequency * (1 - s)
    cosine, sine = np.cos(angle), np.sin(angle)
    first = problem.amplitude * (weight * (cosine * drive[..., 0] - sine * drive[..., 1])).sum(-1) / 1200
    second = problem.amplitude * (weight * (sine * drive[..., 0] + cosine * drive[..., 1])).sum(-1) / 1200
    np.testing.assert_allclose(y[:, -1], z + np.stack([first, second], -1), atol=2e-5)


def test_error_falls_with_the_square_of_the_grid():
    z = random_starts(4)
    exact = Spirals(points=11, refine=64).solve(z)
    errors = [np.abs(Spirals(points=11, refine=r).solve(z) - exact).max() for r in (4, 8, 16)]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.2)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.25)


def test_without_a_kernel_nothing_moves():
    z = random_starts(2)
    np.testing.assert_allclose(Spirals(amplitude=0.0, points=5).solve(z), np.repeat(z[:, None], 5, 1))


def test_constant_drive_draws_the_circle_of_the_kernel():
    # bend = 0: y = z + a int R(t - s) (1, 1) ds = z + a / w (sin w t - 1 + cos w t, 1 - cos w t + sin w t)
    problem, z = Spirals(points=9, refine=64, bend=0.0), np.zeros((1, 2))
    w = 2 * math.pi * problem.frequency
    t = np.linspace(0, 1, 9)
    expected = (
        np.stack([np.sin(w * t) - 1 + np.cos(w * t), 1 - np.cos(w * t) + np.sin(w * t)], -1) * problem.amplitude / w
    )
    np.testing.assert_allclose(problem.solve(z)[0], expected, atol=1e-3)


def test_curves_are_bounded_and_smooth():
    curves = Spirals().solve(random_starts(50))
    assert curves.shape == (50, 100, 2)
    assert np.abs(curves).max() < 1 + math.sqrt(2) * Spirals().amplitude
    assert np.abs(np.diff(curves, 2, axis=1)).max() < 0.05


def test_a_curve_depends_on_seed_and_index_only():
    np.testing.assert_array_equal(random_starts(5, seed=2)[:3], random_starts(3, seed=2))


def test_an_iteration_that_stops_early_says_so():
    with pytest.raises(ConvergenceError, match=r"expected at most 1e-10 within 3 iterations"):
        Spirals(iterations=3).solve(random_starts(1))


def test_rates_are_the_derivative() -> None:
    fine = Spirals(points=2001, refine=1)
    curves = fine.solve(random_starts(3))
    slopes = (curves[:, 2:] - curves[:, :-2]) * 1000
    np.testing.assert_allclose(fine.rates(curves)[:, 1:-1], slopes, atol=2e-3)  # rates go up to 24
