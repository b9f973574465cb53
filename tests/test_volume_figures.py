"""Pictures of volumes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cst_lightning import volume_figures
from cst_lightning.callbacks.scene import Scene
from cst_lightning.datamodules import ArrayDataModule
from cst_lightning.drawing import pixels
from cst_lightning.volume_figures import Views

TIME, Z, Y, X = np.arange(20.0), 4 * np.arange(4.0), np.arange(8.0), np.arange(12.0)
KINDS: dict[str, dict[str, Any]] = {
    "points": {"holdout": "frames"},
    "points at random": {"holdout": "points", "observed": 0.1},
    "patches": {"tokens": "patches", "patch": 4, "holdout": "frames"},
    "components": {"tokens": "components", "components": 2, "holdout": "frames"},
}


def value(coords: np.ndarray) -> np.ndarray:
    return np.sin(coords @ [0.7, 0.3, 0.2, 0.5])[:, None]


def data_of(order: str = "tzyx", **options: Any) -> ArrayDataModule:
    """A wave in a volume, axes in an order of one's own."""
    mesh = np.stack(np.meshgrid(TIME, Z, Y, X, indexing="ij"), -1)
    values = value(mesh.reshape(-1, 4)).reshape(mesh.shape[:-1]).transpose(["tzyx".index(letter) for letter in order])
    arrays = {"values": values, "time": TIME, "z": Z, "y": Y, "x": X}
    parts = {"train": 0.4, "val": 0.3, "test": 0.3, "window": 6, "observed": 0.5}
    return ArrayDataModule(arrays, layout=order, keep_ends=True, **{**parts, **options})


def scene_of(data: ArrayDataModule) -> Scene:
    data.setup()
    truth, context = data.truth("test", 0), data.sample("test", 0).context
    seen = (context.coords[context.mask].numpy(), context.values[context.mask].numpy())
    return Scene(truth.coords.numpy(), truth.values.double().numpy(), None, *seen, truth.frames)


def nothing(channels: int) -> Any:
    return lambda coords: np.zeros((len(coords), channels))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_volume_is_drawn(kind: str) -> None:
    data = data_of(**KINDS[kind])
    scene = scene_of(data)
    assert volume_figures.is_volume(data, scene)
    figure = volume_figures.draw(data, scene, nothing(data.channels))["volumes"]
    named = {axis.get_ylabel() for axis in figure.axes if axis.images} - {""}
    assert named == {"truth", "observed" if kind == "points at random" else "linear in time", "CST", "CST − truth"}
    assert pixels(figure).std() > 5


def test_volumes_name_the_model() -> None:
    data = data_of(**KINDS["points at random"])
    scene = scene_of(data)._replace(method="ConvGRU")
    figure = volume_figures.draw(data, scene, nothing(data.channels))["volumes"]
    assert {"ConvGRU", "ConvGRU − truth"} <= {axis.get_ylabel() for axis in figure.axes}


@pytest.mark.parametrize("order", ["tzyx", "txyz"])
def test_slices_lie_in_the_middle_whatever_the_order_of_the_axes(order: str) -> None:
    data = data_of(order, holdout="frames")
    scene = scene_of(data)
    views = Views(data)
    picture, (_, high, wide) = views.of_values(scene.truth)[2], views._pixels
    time = TIME[14 + 2]  # of the third frame of the test window
    front, side, below = picture[:high, :wide], picture[:high, wide + 4 :], picture[high + 4 :, :wide]
    corner = value(np.array([[time, Z[2], Y[-1], X[0]], [time, Z[0], Y[-1], X[6]], [time, Z[0], Y[4], X[0]]]))[:, 0]
    # y goes upwards, and z to the right and downwards
    np.testing.assert_allclose([front[0, 0], side[0, 0], below[0, 0]], corner, atol=1e-6)
    assert np.isnan(picture[high:, wide + 4 :]).all()


def test_points_are_asked_for_in_the_slices_only() -> None:
    data = data_of(holdout="frames")
    scene, asked = scene_of(data), []

    def field(coords: np.ndarray) -> np.ndarray:
        asked.append(len(coords))
        return value(coords + np.array([14, 0, 0, 0]))

    views = Views(data)
    found = views.of_field(field, scene.times)
    np.testing.assert_allclose(found, views.of_values(scene.truth), atol=1e-5)
    assert sum(asked) == len(scene.times) * (8 * 12 + 8 * 4 + 4 * 12)


def test_the_picture_has_the_volumes_proportions() -> None:
    deep, high, wide = Views(data_of())._pixels  # 16, 8 and 12 wide
    np.testing.assert_allclose([high / deep, wide / deep], [0.5, 0.75], atol=0.01)


def test_an_animation_has_four_pictures_a_frame(tmp_path: Path) -> None:
    data = data_of(holdout="frames")
    volume_figures.animate(tmp_path / "a.gif", data, scene_of(data), nothing(1))
    with Image.open(tmp_path / "a.gif") as found:
        assert found.n_frames == 21


def test_there_is_nothing_to_draw_without_a_truth() -> None:
    data = data_of(holdout="frames")
    scene = scene_of(data)
    assert volume_figures.draw(data, scene._replace(truth=np.full_like(scene.truth, np.nan)), nothing(1)) == {}


def test_what_is_planar_or_scattered_is_no_volume() -> None:
    data = data_of(holdout="frames")
    scene = scene_of(data)
    assert not volume_figures.is_volume(data, scene._replace(frames=0))
    planar = ArrayDataModule({"values": np.zeros((20, 8, 12)), "time": TIME, "y": Y, "x": X}, layout="tyx")
    assert not volume_figures.is_volume(planar, scene)
