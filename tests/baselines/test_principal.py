"""Functional principal components behind the interface of the interpolants."""

import numpy as np
import pytest

from cst_lightning.baselines.interpolation import Example, Spline
from cst_lightning.baselines.principal import PrincipalComponents
from cst_lightning.benchmark.building import interpolator

RNG = np.random.default_rng(0)


def sample(count=6):
    """Return a curve of two random waves with units far from 1, some observations of it, and questions."""
    times, query = np.sort(RNG.uniform(-1, 1, (count, 1)), 0), np.linspace(-0.8, 0.8, 30)[:, None]
    a, b = RNG.standard_normal(2)

    def curve(t):
        return 500 + 40 * np.column_stack([a * np.sin(3 * t) + b * np.cos(4 * t), b * np.sin(3 * t)])

    return Example(times, curve(times[:, 0]), query, curve(query[:, 0]))


def test_they_beat_splines_where_many_curves_were_seen():
    method = interpolator("fpca").fitted([sample(count) for count in (5, 6, 7, 8) * 15], [None])
    tests = [sample(5) for _ in range(20)]
    ours, spline = (
        np.mean([np.square(m(s.coords, s.values, s.query, [None]) - s.truth).mean() for s in tests])
        for m in (method, Spline("pchip"))
    )
    assert ours < 0.05 * spline


def test_of_densely_observed_curves_they_are_the_singular_vectors():
    """The reference is numpy's decomposition of the curves as rows of a matrix."""
    times = np.linspace(-1, 1, 60)[:, None]
    waves = np.stack([np.sin(3 * times[:, 0]), np.cos(4 * times[:, 0]), np.sin(1.5 * times[:, 0]) ** 2])
    curves = RNG.standard_normal((80, 3)) * [3, 1, 0.3] @ waves + 0.01 * RNG.standard_normal((80, 60))
    half = np.arange(60) % 2 == 0
    samples = [Example(times[half], one[half, None], times[~half], one[~half, None]) for one in curves]
    method = PrincipalComponents().fitted(samples, [None])
    assert method.rank == 3
    mean = curves.mean(0)
    _, _, rows = np.linalg.svd(curves - mean)
    fresh = RNG.standard_normal((20, 3)) * [3, 1, 0.3] @ waves + 0.01 * RNG.standard_normal((20, 60))
    theirs = mean + (fresh - mean) @ rows[:3].T @ rows[:3]
    ours = np.stack([method(times, one[:, None], times, [None])[:, 0] for one in fresh])
    assert np.sqrt(np.square(ours - theirs).mean()) < 0.3 * 0.01  # of the noise; the curves are as large as 3


def test_a_constant_channel_is_no_error():
    samples = [
        s._replace(values=s.values * [1, 0] + [0, 3], truth=s.truth * [1, 0] + [0, 3])
        for s in (sample() for _ in range(10))
    ]
    found = PrincipalComponents().fitted(samples, [None])
    one = samples[0]
    np.testing.assert_allclose(found(one.coords, one.values, one.query, [None])[:, 1], 3, atol=1e-3)


def test_without_training_samples_they_are_refused():
    one = sample()
    with pytest.raises(ValueError, match="expected them to be fitted"):
        PrincipalComponents()(one.coords, one.values, one.query, [None])


def test_a_plane_is_refused():
    flat = Example(np.zeros((4, 2)), np.zeros((4, 1)), np.zeros((1, 2)), np.zeros((1, 1)))
    with pytest.raises(ValueError, match="expected \\(sample, point, 1\\)"):
        PrincipalComponents().fitted([flat, flat], [None, None])
