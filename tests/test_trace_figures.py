"""Figures of traces and movies."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cst_lightning.callbacks.scene import Scene
from cst_lightning.datamodules.calcium import CalciumDataModule
from cst_lightning.drawing import Labels, Space, Strip, pixels
from cst_lightning.field import Field
from cst_lightning.module import CSTModule
from cst_lightning.trace_figures import Observed, draw_movie, draw_traces

KINDS = {
    "traces": ({}, {"traces", "attention"}),
    "traces as points": ({"tokens": "points"}, {"traces", "attention"}),
    "movie as components": ({"simulated": "movie", "components": 3}, {"movie", "attention"}),
    "movie as points": ({"simulated": "movie", "tokens": "points", "observed": 0.1}, {"movie", "attention"}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def scene_of(data: CalciumDataModule) -> tuple[Scene, object]:
    """Return a sample of the test split and what an untrained model makes of it."""
    data.setup()
    sample, truth = data.sample("test", 0), data.truth("test", 0)
    module = CSTModule(data.dimension, data.channels, width=16, depth=1, heads=2)
    module.normalization = data.normalization
    context = sample.context
    field = Field.of(module).observe(context.coords.numpy(), context.values.numpy())
    shown = (x.double().numpy() for x in (truth.coords, truth.values))
    return Scene(*shown, None, context.coords.numpy(), context.values.numpy(), truth.frames), field


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_sample_is_drawn(folder, kind):
    options, names = KINDS[kind]
    data = CalciumDataModule(window=12, cache_dir=folder, **{"observed": 0.5, "scheme": "points", **options})
    scene, field = scene_of(data)
    found = data.figures(scene, field, Labels())
    assert set(found) == names
    assert all(pixels(figure).std() > 5 for figure in found.values())


def test_a_movie_is_animated_at_four_times_its_rate(folder, tmp_path):
    data = CalciumDataModule(simulated="movie", components=3, window=4, observed=0.5, cache_dir=folder)
    scene, field = scene_of(data)
    assert data.animation(tmp_path / "a.gif", scene, field, Labels())
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.n_frames == 13


def test_scattered_points_are_not_drawn(folder):
    data = CalciumDataModule(window=12, observed=0.5, cache_dir=folder)
    scene, field = scene_of(data)
    assert data.figures(scene._replace(frames=0), field, Labels()) == {}


def test_traces_have_a_panel_each():
    times = np.linspace(0, 1, 20)
    curves = np.random.default_rng(0).normal(size=(20, 3))
    observed = [Observed(times[::4], curves[::4, i]) for i in range(3)]
    figure = draw_traces(
        times, curves, observed, (times, curves), {"linear": curves}, list("abc"), Labels(("time (s)",), ("u",))
    )
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["a", "b", "c"]


def test_the_first_row_of_a_picture_is_at_the_top():
    pictures = np.zeros((2, 4, 3))
    pictures[:, 0] = 1
    strip = Strip(np.arange(2.0), np.ones(2, bool), np.arange(2))
    figure = draw_movie({"truth": pictures}, pictures, strip, Space((0, 3, 4, 0)))
    image = figure.axes[0].images[0]
    assert image.origin == "upper"
    assert image.get_extent()[3] < image.get_extent()[2]


def test_titles_tell_observed_frames_from_dropped_ones():
    pictures = np.random.default_rng(0).normal(size=(2, 4, 3))
    strip = Strip(np.arange(3.0), np.array([True, True, False]), np.array([0, 2]))
    figure = draw_movie({"truth": pictures}, pictures, strip, Space((0, 3, 4, 0), Labels(("time (s)",))))
    assert [axis.get_title() for axis in figure.axes[:2]] == ["0 s\nobserved", "2 s\ndropped"]


def test_only_hidden_truth_is_hollow_dots():
    times = np.linspace(0, 1, 21)
    curve = np.random.default_rng(0).normal(size=(21, 1))
    seen = np.float32(times[::4])  # as a model hands its context back
    figure = draw_traces(
        times, curve, [Observed(seen, curve[::4, 0])], (times, curve), {}, ["a"], Labels(("time (s)",), ("u",))
    )
    hollow = next(dots for dots in figure.axes[0].collections if dots.get_label() == "hidden truth")
    np.testing.assert_array_equal(hollow.get_offsets()[:, 0], np.delete(times, np.s_[::4]))


def test_traces_name_the_model(folder):
    data = CalciumDataModule(window=12, observed=0.5, cache_dir=folder)
    scene, field = scene_of(data)
    axis = data.figures(scene._replace(method="ConvGRU"), field, Labels())["traces"].axes[0]
    assert "ConvGRU" in [line.get_label() for line in axis.lines]


def test_curves_are_asked_for_between_the_frames(folder):
    data = CalciumDataModule(window=12, observed=0.5, cache_dir=folder)
    scene, field = scene_of(data)
    (line,) = (x for x in data.figures(scene, field, Labels())["traces"].axes[0].lines if x.get_label() == "CST")
    assert len(line.get_xdata()) >= 8 * 11 + 1
