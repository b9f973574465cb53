"""References: exact where theory says so, unhandicapped on periodic axes, alive on degenerate input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import Akima1DInterpolator, CubicSpline, LinearNDInterpolator, PchipInterpolator, RBFInterpolator

from cst_lightning.baselines.interpolation import (
    CHOICES,
    Example,
    InverseDistance,
    Linear,
    Nearest,
    RadialBasis,
    Spline,
    distinct,
    references,
    tuned,
    with_images,
    wrapped,
)

ONE_AXIS = [Linear(), Nearest(), InverseDistance(), RadialBasis(), Spline("cubic"), Spline("pchip"), Spline("makima")]
TWO_AXES = references(2)


def _points(count: int, dimension: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (count, dimension))


def _wave(coords: np.ndarray) -> np.ndarray:
    """Smooth, of period 2 along the second axis."""
    return np.sin(coords[:, :1]) + np.cos(np.pi * coords[:, 1:2] + 1.0)


def test_names_depend_on_the_number_of_axes_only() -> None:
    assert [method.name for method in references(1)] == ["linear", "nearest", "pchip", "cubic", "smoothing"]
    assert [method.name for method in references(2)] == ["linear", "nearest", "idw", "rbf"]
    assert [method.name for method in references(3)] == [method.name for method in references(4)]


@pytest.mark.parametrize("method", ONE_AXIS, ids=lambda method: method.name)
def test_one_axis_passes_through_the_observations(method) -> None:
    coords, values = _points(9, 1), _points(9, 2, seed=1)
    np.testing.assert_allclose(method(coords, values, coords, [None]), values, atol=1e-9)


@pytest.mark.parametrize("method", TWO_AXES, ids=lambda method: method.name)
@pytest.mark.parametrize("periods", [[None, None], [None, 2.0]])
def test_two_axes_pass_through_the_observations(method, periods) -> None:
    coords, values = _points(30, 2), _points(30, 3, seed=1)
    np.testing.assert_allclose(method(coords, values, coords, periods), values, atol=1e-9)


@pytest.mark.parametrize("method", [Linear(), RadialBasis()], ids=lambda method: method.name)
def test_planes_are_reproduced_inside_the_hull(method) -> None:
    corners = np.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    coords, query = np.concatenate([corners, _points(20, 2)]), 0.9 * _points(50, 2, seed=2)
    plane = np.array([[2.0], [-3.0]])
    np.testing.assert_allclose(method(coords, coords @ plane + 1, query, [None, None]), query @ plane + 1, atol=1e-8)


def test_linear_in_time_is_numpy_interp_on_unsorted_points() -> None:
    coords, values = np.array([[1.0], [-1.0], [0.0]]), np.array([[4.0], [0.0], [1.0]])
    np.testing.assert_allclose(Linear()(coords, values, np.array([[0.5], [-0.25]]), [None]), [[2.5], [0.75]])


@pytest.mark.parametrize(
    ("kind", "scipys"),
    [
        ("cubic", CubicSpline),
        ("pchip", PchipInterpolator),
        ("makima", lambda times, values: Akima1DInterpolator(times, values, method="makima")),
    ],
)
def test_splines_are_scipy_s(kind: str, scipys) -> None:
    times, values, query = np.sort(_points(9, 1), 0), _points(9, 2, seed=1), np.linspace(-0.5, 0.5, 11)[:, None]
    order = np.random.default_rng(2).permutation(9)
    expected = scipys(times[:, 0], values)(query[:, 0])
    np.testing.assert_allclose(Spline(kind)(times[order], values[order], query, [None]), expected, atol=1e-12)


def test_linear_on_simplices_is_scipy_s() -> None:
    coords, values, query = _points(40, 2), _points(40, 2, seed=1), 0.6 * _points(20, 2, seed=2)
    expected = LinearNDInterpolator(coords * [0.5, 1], values)(query * [0.5, 1])
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(Linear(time_scale=0.5)(coords, values, query, [None, None]), expected, atol=1e-9)


@pytest.mark.parametrize("kernel", ["thin_plate_spline", "cubic", "quintic"])
def test_radial_functions_are_scipy_s(kernel: str) -> None:
    coords, values, query = _points(40, 2), _points(40, 2, seed=1), _points(20, 2, seed=2)
    expected = RBFInterpolator(coords * [0.5, 1], values, kernel=kernel, epsilon=1.0, smoothing=0.01)(query * [0.5, 1])
    found = RadialBasis(kernel, time_scale=0.5, smoothing=0.01)(coords, values, query, [None, None])
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_inverse_distances_by_hand() -> None:
    # distances of 0.25 and 0.75, squared: weights of 9 to 1, and the third is too far to count
    coords, values = np.array([[0.0], [1.0], [3.0]]), np.array([[2.0], [4.0], [100.0]])
    found = InverseDistance(neighbors=2, power=2.0)(coords, values, np.array([[0.25]]), [None])
    np.testing.assert_allclose(found, [[2.2]])


@pytest.mark.parametrize("kind", ["cubic", "pchip", "makima"])
def test_splines_hold_their_end_values_outside(kind: str) -> None:
    coords, values = np.linspace(-1, 1, 6)[:, None], _points(6, 1)
    np.testing.assert_allclose(Spline(kind)(coords, values, np.array([[-9.0], [9.0]]), [None]), values[[0, -1]])


def test_splines_refuse_scattered_points() -> None:
    with pytest.raises(ValueError, match="2 axes, expected 1 for a cubic spline"):
        Spline("cubic")(_points(5, 2), _points(5, 1), _points(3, 2), [None, None])


def test_no_observation_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one observation"):
        Linear()(np.zeros((0, 1)), np.zeros((0, 1)), np.zeros((3, 1)), [None])


@pytest.mark.parametrize("method", [*TWO_AXES, *references(3)], ids=lambda method: method.name)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_points_still_give_finite_answers(method, count: int) -> None:
    answer = method(_points(count, 2), _points(count, 1), _points(7, 2, seed=3), [None, 2.0])
    assert np.isfinite(answer).all()


@pytest.mark.parametrize("method", ONE_AXIS, ids=lambda method: method.name)
@pytest.mark.parametrize("count", [1, 2])
def test_few_times_still_give_finite_answers(method, count: int) -> None:
    assert np.isfinite(method(_points(count, 1), _points(count, 1), _points(7, 1, seed=3), [None])).all()


@pytest.mark.parametrize("method", TWO_AXES, ids=lambda method: method.name)
def test_points_in_one_plane_still_give_finite_answers(method) -> None:
    coords = np.stack([np.zeros(8), np.linspace(-1, 1, 8)], axis=-1)
    assert np.isfinite(method(coords, _points(8, 1), _points(7, 2), [None, None])).all()


@pytest.mark.parametrize("method", TWO_AXES, ids=lambda method: method.name)
def test_images_make_the_seam_as_good_as_the_middle(method) -> None:
    coords = _points(400, 2)
    seam = np.stack([np.linspace(-0.8, 0.8, 40), np.full(40, 0.999)], axis=-1)
    errors = [
        np.abs(method(coords, _wave(coords), seam, periods) - _wave(seam)).mean()
        for periods in ([None, 2.0], [None, None])
    ]
    assert errors[0] < 0.9 * errors[1]


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(TWO_AXES), st.integers(-2, 2))
def test_whole_periods_change_nothing(method, turns: int) -> None:
    coords, values, query = _points(30, 2), _points(30, 1, seed=1), _points(10, 2, seed=2)
    moved = query + np.array([0.0, 2.0 * turns])
    expected = method(coords, values, query, [None, 2.0])
    np.testing.assert_allclose(method(coords, values, moved, [None, 2.0]), expected, atol=1e-9)


def test_coinciding_observations_count_as_their_mean() -> None:
    coords, values = distinct(np.array([[0.0], [1.0], [0.0]]), np.array([[1.0], [5.0], [3.0]]))
    np.testing.assert_array_equal(coords, [[0.0], [1.0]])
    np.testing.assert_array_equal(values, [[2.0], [5.0]])


def test_wrapping_moves_periodic_axes_only() -> None:
    np.testing.assert_allclose(wrapped(np.array([[5.0, 1.5]]), [None, 2.0]), [[5.0, -0.5]])


def test_images_lie_within_the_margin() -> None:
    coords, values = with_images(np.array([[0.0, 0.9]]), np.array([[7.0]]), [None, 2.0], margin=0.25)
    np.testing.assert_allclose(sorted(coords[:, 1]), [-1.1, 0.9])
    np.testing.assert_array_equal(values, [[7.0], [7.0]])


def test_tuning_finds_how_much_slower_time_is() -> None:
    coords, query = _points(200, 2), _points(200, 2, seed=5)
    slow = [np.sin(6 * x[:, 1:] + 0.3 * x[:, :1]) for x in (coords, query)]
    example = Example(coords, slow[0], query, slow[1])
    linear, rbf = tuned([Linear(), RadialBasis()], [example], [None, None])
    assert linear.time_scale < 0.5
    assert rbf.time_scale < 0.5


def test_tuning_searches_all_settings_together() -> None:
    coords, query = _points(200, 2), _points(150, 2, seed=5)
    slow = [np.sin(6 * x[:, 1:] + 0.3 * x[:, :1]) for x in (coords, query)]
    example = Example(coords, slow[0], query, slow[1])

    def error(method) -> float:
        return float(np.square(method(coords, slow[0], query, [None, None]) - slow[1]).sum())

    (best,) = tuned([InverseDistance()], [example], [None, None])
    changed = [{"power": p, "neighbors": n} for p in CHOICES["power"] for n in CHOICES["neighbors"]]
    others = [InverseDistance(time_scale=t, **one) for t in CHOICES["time_scale"] for one in changed]
    assert error(best) == min(map(error, others))


def test_one_axis_has_nothing_to_tune() -> None:
    example = Example(_points(9, 1), _points(9, 1), _points(9, 1, seed=1), _points(9, 1))
    assert tuned([Linear(), Spline()], [example], [None]) == [Linear(), Spline()]


def test_smoothing_is_chosen_for_noise_only() -> None:
    coords, query = _points(200, 2), 0.9 * _points(100, 2, seed=5)
    noise = 0.3 * np.random.default_rng(7).normal(size=(200, 1))
    clean, noisy = (Example(coords, _wave(coords) + x, query, _wave(query)) for x in (0 * noise, noise))
    assert [tuned([RadialBasis()], [one], [None, 2.0])[0].smoothing > 0 for one in (clean, noisy)] == [False, True]


def test_rbf_on_neighbours_is_close_to_rbf_on_all() -> None:
    coords, query = _points(200, 2), 0.8 * _points(20, 2, seed=5)
    whole, local = (RadialBasis(neighbors=n)(coords, _wave(coords), query, [None, 2.0]) for n in (None, 50))
    np.testing.assert_allclose(local, whole, atol=0.02)


def test_tuning_prefers_a_smooth_kernel_for_smooth_data() -> None:
    coords, query = _points(200, 2), 0.9 * _points(100, 2, seed=5)
    example = Example(coords, _wave(coords), query, _wave(query))
    (rbf,) = tuned([RadialBasis()], [example], [None, 2.0])
    assert rbf.kernel == "quintic"


@pytest.mark.parametrize("kernel", ["thin_plate_spline", "linear", "cubic", "quintic"])
@pytest.mark.parametrize("count", [1, 3, 4, 9, 10])
def test_radial_functions_of_few_points_are_an_answer(kernel, count):
    rng = np.random.default_rng(0)
    coords, query = rng.uniform(-1, 1, (count, 3)), rng.uniform(-1, 1, (5, 3))
    found = RadialBasis(kernel)(coords, coords[:, :1], query, [None, None, None])
    assert found.shape == (5, 1)
    assert np.isfinite(found).all()
