"""Pictures of hidden frames."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cst_lightning.array_figures import Planar, animate, draw
from cst_lightning.callbacks.scene import Scene
from cst_lightning.datamodules.readers.source import Axis, Gridded
from cst_lightning.drawing import Labels

TIME, LAT, LON = np.arange(5.0), np.arange(3.0), np.arange(8.0)
FRAMES = np.sin(TIME[:, None, None] + LAT[:, None] + 3 * LON)[..., None]


def gridded(*names):
    axes = (Axis("time", TIME, "h"), Axis(names[0], LAT), Axis(names[1], LON))
    return Gridded(None, "test", 1, axes, ("u",), lambda *part: FRAMES, "m/s")


def frame_scene(shown):
    flat = FRAMES.reshape(5, -1)
    return Scene(TIME[:, None], flat, flat + 0.1, TIME[shown, None], flat[shown], 5)


def nothing(coords):
    return np.zeros((len(coords), 24))


def pictures(values):
    return values.reshape(5, 3, 8, 1)


@pytest.mark.parametrize(("names", "across"), [(("lat", "lon"), "lon"), (("x", "y"), "x"), (("y", "x"), "x")])
def test_hidden_frames_are_drawn_with_the_right_axis_across(names, across):
    scene = frame_scene([0, 2, 4])
    figures = draw(scene, nothing, pictures, gridded(*names), Labels())
    axes = [axis for axis in figures["frames"].axes if axis.images]
    assert [axis.get_ylabel() for axis in axes[:12:6]] == ["time = 1 h", "time = 3 h"]
    truth = axes[1].images[0].get_array()  # rows upwards, columns to the right
    wanted = FRAMES[1, ..., 0] if names[1] == across else FRAMES[1, ..., 0].T
    np.testing.assert_allclose(truth, wanted)
    np.testing.assert_allclose(axes[4].images[0].get_array(), 0.1)
    assert axes[6].get_xlabel().removeprefix("x: ").startswith(across)


def test_hidden_frames_name_the_model():
    scene = frame_scene([0, 2, 4])._replace(method="ConvGRU")
    axes = draw(scene, nothing, pictures, gridded("lat", "lon"), Labels())["frames"].axes
    assert [axes[i].get_title() for i in (2, 4)] == ["ConvGRU", "ConvGRU − truth"]


def test_linear_is_that_between_the_frames_shown():
    scene = frame_scene([0, 3])
    axes = draw(scene, nothing, pictures, gridded("lat", "lon"), Labels())["frames"].axes
    line = axes[3].images[0].get_array()
    np.testing.assert_allclose(line, (2 * FRAMES[0, ..., 0] + FRAMES[3, ..., 0]) / 3)


def test_maps_of_scattered_points_are_not_turned_on_their_side():
    grid = np.stack(np.meshgrid(TIME, LAT, LON, indexing="ij"), -1).reshape(-1, 3)
    scene = Scene(grid, FRAMES.reshape(-1, 1), FRAMES.reshape(-1, 1), grid[::3], FRAMES.reshape(-1, 1)[::3], 5)
    figure = draw(scene, nothing, pictures, gridded("lat", "lon"), Labels())["fields"]
    assert figure.axes[0].images[0].get_array().shape == (3, 8)


def test_observed_cells_are_dots_where_they_are():
    grid = np.stack(np.meshgrid(TIME, LAT, LON, indexing="ij"), -1).reshape(-1, 3)
    scene = Scene(grid, FRAMES.reshape(-1, 1), FRAMES.reshape(-1, 1), grid[1::24], FRAMES.reshape(-1, 1)[1::24], 5)
    figure = draw(scene, nothing, pictures, gridded("lat", "lon"), Labels())["fields"]
    np.testing.assert_array_equal(figure.axes[1].collections[0].get_offsets(), [[1.0, 0.0]])


@pytest.mark.parametrize(("unit", "top", "row"), [("degrees_north", 2.5, 2), ("px", -0.5, 0)])
def test_north_is_up_and_the_first_row_of_a_picture_at_the_top(unit, top, row):
    source = gridded("lat", "lon")
    planar = Planar(pictures, replace(source, axes=(source.axes[0], Axis("lat", LAT, unit), source.axes[2])))
    assert planar.space.extent[3] == top
    np.testing.assert_array_equal(planar(FRAMES.reshape(5, -1))[:, :, -1], FRAMES[:, row, :, 0])


def test_a_planar_recording_is_animated_at_four_times_its_rate(tmp_path):
    grid = np.stack(np.meshgrid(TIME, LAT, LON, indexing="ij"), -1).reshape(-1, 3)
    scene = Scene(grid, FRAMES.reshape(-1, 1), None, grid[::3], FRAMES.reshape(-1, 1)[::3], 5)

    def field(coords):
        return np.sin(coords.sum(1, keepdims=True))

    planar = Planar(lambda values: values.reshape(-1, 3, 8, 1), gridded("lat", "lon"))
    animate(tmp_path / "a.gif", scene, field, planar, (LAT, LON))
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.n_frames == 17
        assert picture.width > 1.3 * picture.height


def test_points_scattered_over_all_frames_have_the_general_figures():
    scene = frame_scene([0, 1, 2, 3, 4])
    assert "frames" not in draw(scene, nothing, pictures, gridded("lat", "lon"), Labels())
    assert draw(scene._replace(frames=0), nothing, pictures, gridded("lat", "lon"), Labels()) == {}
