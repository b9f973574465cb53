"""References along time at fixed places, against scipy and numbers made by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline, PchipInterpolator

from cst_lightning.baselines.frames import AlongTime, references

TIMES = np.array([0.0, 0.1, 0.5, 0.6, 1.0])
PLACES = np.array([[0.2, 0.3], [0.2, 0.7], [0.9, 0.3]])


def grid(times, places=PLACES):
    return np.concatenate([np.column_stack([np.full(len(places), t), places]) for t in times])


def video(seed=0):
    values = np.random.default_rng(seed).normal(size=(len(TIMES), len(PLACES), 2))
    order = np.random.default_rng(1).permutation(len(TIMES) * len(PLACES))
    return grid(TIMES)[order], values.reshape(-1, 2)[order], values


def ask(kind, times):
    coords, values, frames = video()
    return AlongTime(kind)(coords, values, grid(times), [None] * 3).reshape(len(times), 3, 2), frames


def test_mean_of_neighbours_does_not_ask_how_far_they_are():
    found, frames = ask("neighbour_mean", [0.15, 0.45, 0.8])
    np.testing.assert_allclose(found, [(frames[1] + frames[2]) / 2] * 2 + [(frames[3] + frames[4]) / 2])


def test_linear_in_time():
    found, frames = ask("linear", [0.2])
    np.testing.assert_allclose(found[0], 0.75 * frames[1] + 0.25 * frames[2])


@pytest.mark.parametrize(("kind", "scipys"), [("cubic", CubicSpline), ("pchip", PchipInterpolator)])
def test_splines_in_time_are_scipy_s(kind, scipys):
    times = [0.05, 0.3, 0.3, 0.99]
    found, frames = ask(kind, times)
    np.testing.assert_allclose(found, scipys(TIMES, frames)(times), atol=1e-12)


def test_one_axis_is_a_single_place():
    times, query = np.array([[0.0], [1.0], [3.0]]), np.array([[2.0], [5.0]])
    np.testing.assert_allclose(AlongTime("linear")(times, times**2, query, [None])[:, 0], [5.0, 9.0])


def test_nearest_frame():
    found, frames = ask("nearest", [0.04, 0.2, 0.4, 0.75])
    np.testing.assert_array_equal(found, frames[[0, 1, 2, 3]])


@pytest.mark.parametrize("method", references(), ids=lambda method: method.name)
def test_observed_frames_are_kept_and_end_values_hold(method):
    coords, values, frames = video()
    found = method(coords, values, grid([-1.0, *TIMES, 2.0]), [None] * 3).reshape(-1, 3, 2)
    np.testing.assert_allclose(found, np.concatenate([frames[:1], frames, frames[-1:]]), atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), kept=st.floats(0.2, 0.9))
def test_places_with_gaps_of_their_own_are_done_one_by_one(seed, kept):
    rng = np.random.default_rng(seed)
    coords, values, _ = video()
    shown = rng.random(len(coords)) < kept
    shown[[int(np.flatnonzero((coords[:, 1:] == place).all(1))[0]) for place in PLACES]] = True
    query = grid([0.07, 0.77])
    found = AlongTime("linear")(coords[shown], values[shown], query, [None] * 3)
    for q, (time, *place) in enumerate(query):
        mine = shown & (coords[:, 1:] == place).all(1)
        order = np.argsort(coords[mine, 0])
        expected = [np.interp(time, coords[mine, 0][order], column[order]) for column in values[mine].T]
        np.testing.assert_allclose(found[q], expected, atol=1e-12)


def test_one_axis_is_one_place():
    found = AlongTime("linear")(TIMES[:, None], TIMES[:, None] ** 2, np.array([[0.3]]), [None])
    assert found.item() == pytest.approx(0.5 * 0.01 + 0.5 * 0.25)


def test_the_nearest_place_answers_for_others():
    coords, values, frames = video()
    found = AlongTime("linear")(coords, values, np.array([[0.1, 0.25, 0.6]]), [None] * 3)
    np.testing.assert_allclose(found[0], frames[1, 1])


def test_places_wrap_around():
    coords, values, frames = video()
    found = AlongTime("linear")(coords, values, np.array([[0.1, -0.95, 0.3]]), [None, 2.0, None])
    np.testing.assert_allclose(found[0], frames[1, 2])


def test_no_observation_is_refused():
    with pytest.raises(ValueError, match="no points"):
        AlongTime()(np.empty((0, 3)), np.empty((0, 1)), grid([0.0]), [None] * 3)
