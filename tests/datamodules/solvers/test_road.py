"""The rendered drive: a function of time."""

import numpy as np
import pytest

from cst_lightning.datamodules.solvers.road import Road, uneven_times

SMALL = Road(height=12, width=20, rays=2)


def test_a_picture_depends_on_its_time_only():
    later = SMALL.picture(1.7)
    SMALL.picture(0.3)
    np.testing.assert_array_equal(Road(height=12, width=20, rays=2).picture(1.7), later)


def test_pictures_are_fractions_of_full_scale_in_float32():
    colours = SMALL.picture(0.5, grey=False)
    assert colours.shape == (12, 20, 3)
    assert colours.dtype == np.float32
    assert colours.min() >= 0
    assert colours.max() <= 1


def test_grey_is_the_brightness_of_the_colours():
    weights = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(SMALL.picture(1.0)[..., 0], SMALL.picture(1.0, grey=False) @ weights, atol=1e-6)


def test_motion_is_continuous():
    """Halving the time between two pictures about halves their difference."""
    road, at = Road(height=12, width=20, rays=8), np.linspace(0.2, 5, 4)
    far, near = (np.mean([np.abs(road.picture(t + d) - road.picture(t)).mean() for t in at]) for d in (4e-2, 1e-2))
    assert 2 < far / near < 8


def test_boxes_move_at_their_speeds():
    road = Road()
    scenery, oncoming = slice(0, 22), slice(22, 25)
    before, after = road.boxes(1.0)[:, 2, 0], road.boxes(1.01)[:, 2, 0]
    still = np.abs(after - before) < 100  # not those that were passed meanwhile
    np.testing.assert_allclose((after - before)[scenery][still[scenery]], 0, atol=1e-9)
    np.testing.assert_allclose((after - before)[oncoming][still[oncoming]], -0.09, atol=1e-9)


def test_all_boxes_are_ahead_or_beside():
    road = Road()
    for time in np.linspace(0, 60, 20):
        assert (road.boxes(time)[:, 2, 1] >= road.camera(time)[1] - 1e-9).all()


def test_ground_is_where_perspective_puts_it():
    """The outer line, 1.5 lanes to the side, meets the picture at the column that similar triangles give."""
    road = Road(height=72, width=160, rays=3)
    side, _, pitch = road.camera(0.0)
    row = 66
    rise = road.horizon + pitch - (row + 0.5) / road.height
    distance = -road.focal * road.eye / rise
    column = (5.4 - side) / distance * road.focal * road.height + road.width / 2
    line = road.picture(0.0)[row, :, 0]
    if column < road.width:
        assert abs(line[100:].argmax() + 100 - column) <= 2


def test_scenes_of_other_seeds_differ():
    assert np.abs(SMALL.picture(1.0) - Road(height=12, width=20, rays=2, seed=1).picture(1.0)).max() > 0.1


@pytest.mark.parametrize("rate", [10.0, 25.0])
def test_clock_is_uneven_and_increasing(rate):
    steps = np.diff(uneven_times(50, rate))
    assert steps.min() > 0.5 / rate
    assert steps.std() > 0.02 / rate
    assert steps.mean() == pytest.approx(1 / rate, rel=0.01)
