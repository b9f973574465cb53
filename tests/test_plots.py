"""Figures: what is in them, read back from matplotlib's objects."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from cst_lightning import plots
from cst_lightning.drawing import Labels, Space, met, save

TIMES = np.linspace(0, 1, 20)
CURVE = np.stack([np.sin(6 * TIMES), np.cos(6 * TIMES)], axis=-1)
FIELD = np.random.default_rng(0).normal(size=(5, 6, 4))
SPACE = Space((0.0, 6.0, 0.0, 4.0), Labels(("time (s)", "x", "y"), ("vorticity (1/s)",)))
POINTS = np.random.default_rng(1).uniform(size=(30, 3))


def _curves(**options):
    return plots.curves(TIMES, CURVE, (TIMES[::5], CURVE[::5]), (TIMES, CURVE), **options)


def test_two_channels_get_an_orbit_beside_their_curves() -> None:
    assert len(_curves().axes) == 3


def test_one_channel_gets_one_panel() -> None:
    assert len(plots.curves(TIMES, CURVE[:, :1], (TIMES[::5], CURVE[::5, :1])).axes) == 1


def test_every_method_is_in_the_legend() -> None:
    figure = _curves(references={"linear": CURVE, "cubic": CURVE})
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["hidden truth", "linear", "cubic", "CST", "observed"]


def test_the_prediction_is_called_as_its_model() -> None:
    figure = _curves(labels=Labels(method="ConvGRU"))
    assert "ConvGRU" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_error_is_called_as_its_model() -> None:
    space = SPACE._replace(labels=SPACE.labels._replace(method="ConvGRU"))
    figure = plots.fields(np.arange(5.0), FIELD, FIELD, (POINTS, POINTS[:, 0]), space)
    assert "ConvGRU" in [axis.get_title() for axis in figure.axes]
    assert any("ConvGRU − truth" in axis.get_xlabel() for axis in figure.axes)


def test_a_runaway_reference_does_not_flatten_the_rest() -> None:
    figure = _curves(references={"cubic": 1000 * CURVE})
    assert figure.axes[0].get_ylim()[1] < 2


def test_gaps_in_the_truth_are_allowed() -> None:
    truth = np.where(np.arange(20)[:, None] > 10, np.nan, CURVE)
    plots.curves(TIMES, CURVE, (TIMES[::5], CURVE[::5]), (TIMES, truth)).canvas.draw()


def test_truth_and_prediction_share_one_scale_and_errors_have_their_own() -> None:
    axes = plots.fields(np.arange(5.0), FIELD, FIELD + 0.1, (POINTS, POINTS[:, 0]), SPACE).axes
    truth, prediction, error = (axes[i].images[0] for i in (0, 2, 3))
    assert truth.norm is prediction.norm
    assert error.norm.vmax == pytest.approx(0.1)


def test_values_of_both_signs_get_a_scale_symmetric_about_zero() -> None:
    truth = plots.fields(np.arange(5.0), FIELD, FIELD, (POINTS, POINTS[:, 0]), SPACE).axes[0].images[0]
    assert truth.norm.vmin == -truth.norm.vmax


def test_x_runs_to_the_right_and_y_upwards() -> None:
    image = plots.fields(np.arange(5.0), FIELD, FIELD, (POINTS, POINTS[:, 0]), SPACE, rows=1).axes[0].images[0]
    assert image.get_array().shape == (4, 6)
    assert image.origin == "lower"
    np.testing.assert_array_equal(image.get_array()[3, 1], FIELD[0, 1, 3])


def test_observations_shown_are_those_within_half_a_frame() -> None:
    points = np.array([[0.0, 1, 1], [0.4, 2, 2], [0.6, 3, 3]])
    axes = plots.fields(np.arange(5.0), FIELD, FIELD, (points, points[:, 0]), SPACE, rows=1).axes
    np.testing.assert_array_equal(axes[1].collections[0].get_offsets(), points[:2, 1:])


def test_units_follow_the_number() -> None:
    labels = Labels(("time (s)",))
    assert labels.at(0, 3.0) == "time = 3 s"
    assert labels.at(1, 0.25, 2) == "x = 0.25"


def test_a_field_of_one_space_axis_is_drawn_over_time() -> None:
    figure = plots.space_time(
        np.arange(5.0), np.arange(6.0), FIELD[..., 0], FIELD[..., 0], (POINTS, POINTS[:, 0]), Labels()
    )
    assert [axis.get_title() for axis in figure.axes[:3]] == ["Truth, observed places dotted", "CST", "Error"]


def test_attention_columns_stand_in_order_of_time() -> None:
    weights = np.array([[0.1, 0.7, 0.2]] * 4)
    figure = plots.attention_times(np.linspace(0, 1, 4), np.array([0.9, 0.1, 0.5]), weights)
    np.testing.assert_array_equal(figure.axes[0].collections[0].get_array()[0], [0.7, 0.2, 0.1])


def test_each_query_gets_a_panel() -> None:
    figure = plots.attention_places(POINTS[:3], POINTS, np.full((3, 30), 1 / 30))
    assert len(figure.axes) == 3 + 1


def test_attention_over_a_picture_stands_as_the_picture_does() -> None:
    labels = Labels(("time (s)", "y (px)", "x (px)"))
    axis = plots.attention_places(POINTS[:1], POINTS, np.full((1, 30), 1 / 30), labels).axes[0]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("x (px)", "y (px)")
    assert axis.get_ylim()[0] > axis.get_ylim()[1]


def test_units_are_those_that_people_write() -> None:
    labels = Labels(("T (hours)", "FNOCY (degrees_north)", "lon (degrees_east)"), ("UWND (M/S)",))
    assert [labels.coord(i) for i in range(3)] == ["T (h)", "latitude (°N)", "longitude (°E)"]
    assert labels.value(0) == "UWND (m/s)"


@pytest.mark.parametrize("count", [1, 2, 9])
def test_times_are_met_by_their_rounded_selves(count) -> None:
    times = 1000 + np.linspace(0, 1, count) ** 2
    seen = times[::2].astype(np.float32)
    np.testing.assert_array_equal(met(times, seen), np.arange(count) % 2 == 0)


def test_times_between_those_of_the_data_are_not_met() -> None:
    assert not met(np.arange(9.0), np.arange(8) + 0.5).any()


def test_no_global_setting_is_touched(tmp_path) -> None:
    before = dict(matplotlib.rcParams)
    save(_curves(), tmp_path / "new" / "curves.png")
    assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "new" / "curves.png").stat().st_size > 10_000


def test_pyplot_is_not_imported_by_the_library() -> None:
    source = Path(plots.__file__).parent
    assert all(
        "pyplot" not in (source / f"{name}.py").read_text().replace("`pyplot`", "") for name in ("plots", "drawing")
    )
    assert "cst_lightning.plots" in sys.modules
