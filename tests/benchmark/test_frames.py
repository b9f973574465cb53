"""Interpolation of whole frames along time."""

import numpy as np
import pytest

from cst_lightning.baselines.interpolation import Linear, Spline
from cst_lightning.benchmark.frames import AlongTime


def frames(times: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return coordinates (n, 3) of whole frames in any order, and values that are linear in time at each place."""
    grid = np.stack(np.meshgrid(times, [0.0, 1.0], [0.0, 1.0, 2.0], indexing="ij"), -1).reshape(-1, 3)
    order = np.random.default_rng(0).permutation(len(grid))
    return grid[order], value(grid[order])


def value(coords: np.ndarray) -> np.ndarray:
    t, x, y = coords.T
    return np.stack([t * (1 + x) + y, x - y], -1)


def test_lines_in_time_are_exact_at_every_place() -> None:
    query = frames([0.5, 1.7])[0]
    found = AlongTime(Linear())(*frames([0.0, 1.0, 3.0]), query, (None, None, None))
    np.testing.assert_allclose(found, value(query), atol=1e-12)


def test_a_cubic_in_time_is_exact_on_parabolas() -> None:
    coords, _ = frames([0.0, 1.0, 2.5, 4.0])
    query = frames([0.3, 3.3])[0]
    found = AlongTime(Spline("cubic"))(coords, coords[:, :1] ** 2, query, (None, None, None))
    np.testing.assert_allclose(found[:, 0], query[:, 0] ** 2, atol=1e-12)


def test_persistence_holds_the_last_frame() -> None:
    query = frames([5.0])[0]
    found = AlongTime(Linear(), "persistence")(*frames([0.0, 1.0]), query, (None, None, None))
    np.testing.assert_allclose(found, value(np.column_stack([np.ones(6), query[:, 1:]])), atol=1e-12)


def test_scattered_points_are_refused() -> None:
    coords, values = frames([0.0, 1.0])
    with pytest.raises(ValueError, match="expected whole frames"):
        AlongTime(Linear())(coords[1:], values[1:], coords, (None, None, None))


def test_one_axis_is_what_it_is_along() -> None:
    times, query = np.array([[0.0], [1.0], [3.0]]), np.array([[2.0]])
    assert AlongTime(Linear())(times, times**2, query, (None,))[0, 0] == pytest.approx(5.0)
