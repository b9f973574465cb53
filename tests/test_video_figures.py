"""Pictures of dropped frames, and films."""

import numpy as np
import pytest
from PIL import Image

from cst_lightning import video_figures
from cst_lightning.callbacks.scene import Scene
from cst_lightning.drawing import Labels

TIMES, HEIGHT, WIDTH = np.array([0.0, 0.1, 0.25, 0.3, 0.4, 0.5]), 6, 8
SEEN = np.array([True, False, True, False, False, True])


def value(coords):
    return 0.5 + 0.4 * np.sin(9 * coords[:, :1] + 3 * coords[:, 1:2] - 2 * coords[:, 2:])


def pictures(rows):
    return rows.reshape(-1, HEIGHT, WIDTH, rows.shape[-1])


@pytest.fixture
def scene():
    axes = (TIMES, (np.arange(HEIGHT) + 0.5) / HEIGHT, (np.arange(WIDTH) + 0.5) / HEIGHT)
    coords = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    shown = np.repeat(SEEN, HEIGHT * WIDTH)
    truth = value(coords)
    return Scene(coords, truth, truth + 0.01, coords[shown], truth[shown], len(TIMES))


def titles(figure):
    return [axis.get_title() for axis in figure.axes]


def test_a_row_has_everything_there_is_to_compare(scene):
    figure = video_figures.draw(scene, value, pictures, 1.0, Labels(("time (s)",)))
    assert [title.partition(",")[0] for title in titles(figure)[:6]] == [
        "Observed frame before", "Dropped frame", "CST", "Neighbour mean", "CST − truth", "Mean − truth",
    ]  # fmt: skip


def test_a_row_names_the_model(scene):
    figure = video_figures.draw(scene._replace(method="ConvGRU"), value, pictures, 1.0, Labels(("time (s)",)))
    assert [title.partition(",")[0] for title in titles(figure)[2:5:2]] == ["ConvGRU", "ConvGRU − truth"]


def test_rows_are_dropped_frames(scene):
    figure = video_figures.draw(scene, value, pictures, 1.0, Labels(("time (s)",)))
    found = {float(t.split("= ")[1].split()[0]) for t in titles(figure) if t.startswith("Dropped")}
    assert found == set(TIMES[~SEEN])


def test_rounded_times_of_observations_are_recognised(scene):
    rounded = scene.observed.astype(np.float32).astype(np.float64)
    figure = video_figures.draw(scene._replace(observed=rounded), value, pictures, 1.0, Labels(("time (s)",)))
    plain = video_figures.draw(scene, value, pictures, 1.0, Labels(("time (s)",)))
    assert titles(figure) == titles(plain)


def test_ratios_are_those_of_the_pictures(scene):
    figure = video_figures.draw(scene, value, pictures, 1.0, Labels())
    assert "CST, 40.0 dB" in titles(figure)


def test_a_frame_without_a_truth_is_not_drawn(scene):
    truth = scene.truth.copy()
    truth[np.repeat(np.arange(6) == 1, HEIGHT * WIDTH)] = np.nan
    figure = video_figures.draw(scene._replace(truth=truth), value, pictures, 1.0, Labels())
    assert not any("0.1" in title for title in titles(figure))


def test_frames_that_were_all_observed_are_drawn_beside_what_was_observed(scene):
    some = np.arange(len(scene.coords)) % 3 == 0
    scattered = scene._replace(observed=scene.coords[some], values=scene.truth[some])
    figure = video_figures.draw(scattered, value, pictures, 1.0, Labels())
    assert [title.partition(",")[0] for title in titles(figure)[:4]] == ["Frame", "Observed", "CST", "CST − truth"]
    shown = np.ma.filled(figure.axes[1].images[0].get_array(), np.nan)
    np.testing.assert_array_equal(np.isfinite(shown).ravel(), some[: HEIGHT * WIDTH])


def test_there_is_nothing_to_draw_if_no_truth_is_known(scene):
    unknown = scene._replace(truth=np.full_like(scene.truth, np.nan))
    assert video_figures.draw(unknown, value, pictures, 1.0, Labels()) is None


def test_the_strip_tells_observed_frames_from_dropped_ones(scene):
    (strip,) = (a for a in video_figures.draw(scene, value, pictures, 1.0, Labels()).axes if a.get_legend())
    drawn = {line.get_label(): line.get_xdata().tolist() for line in strip.lines}
    assert drawn["observed"] == TIMES[SEEN].tolist()
    assert drawn["not observed"] == drawn["drawn above"] == TIMES[~SEEN].tolist()


def test_a_missing_prediction_is_asked_for(scene):
    figure = video_figures.draw(scene._replace(prediction=None), value, pictures, 1.0, Labels())
    assert "CST, 120.0 dB" in titles(figure)


def test_film_has_four_pictures_a_frame(scene, tmp_path):
    assert video_figures.animate(tmp_path / "a.gif", scene, value, pictures, 1.0, Labels(("time (s)",)))
    with Image.open(tmp_path / "a.gif") as found:
        assert found.n_frames == 4 * (len(TIMES) - 1) + 1


def test_colours_are_drawn_as_they_are(scene, tmp_path):
    def colours(coords):
        return np.repeat(value(coords), 3, 1) * [1, 0.5, 0]

    scene = scene._replace(truth=colours(scene.coords), prediction=None, values=colours(scene.observed))
    figure = video_figures.draw(scene, colours, pictures, 1.0, Labels())
    assert figure.axes[1].images[0].get_array().shape == (HEIGHT, WIDTH, 3)
    assert video_figures.animate(tmp_path / "a.gif", scene, colours, pictures, 1.0, Labels(), finer=1)
