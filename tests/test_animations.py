"""Animations: number of pictures, and what is written when."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cst_lightning import animations
from cst_lightning.drawing import Labels, Space

FRAMES = np.random.default_rng(0).normal(size=(3, 6, 6))


@pytest.fixture
def gif(tmp_path):
    fine = np.linspace(0, 2, 9)
    path = tmp_path / "new" / "a.gif"
    animations.planar(path, fine, (np.arange(3.0), FRAMES), np.repeat(FRAMES, 3, axis=0), Space((0, 1, 0, 1), Labels()))
    return path


def test_there_is_a_picture_for_every_time(gif) -> None:
    with Image.open(gif) as picture:
        assert (picture.n_frames, picture.info["loop"]) == (9, 0)


def test_nothing_half_written_is_left(gif) -> None:
    assert [path.name for path in gif.parent.iterdir()] == ["a.gif"]


def test_paper_is_white(gif) -> None:
    with Image.open(gif) as picture:
        assert picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_an_orbit_is_drawn_as_time_goes_on(tmp_path) -> None:
    times = np.linspace(0, 1, 5)
    curve = np.stack([np.sin(6 * times), np.cos(6 * times)], axis=-1)
    animations.orbit(tmp_path / "o.gif", times, (times, curve), curve, curve[::2], Labels())
    with Image.open(tmp_path / "o.gif") as picture:
        first = np.asarray(picture.convert("RGB")).astype(int)
        picture.seek(4)
        last = np.asarray(picture.convert("RGB")).astype(int)

    def blue(image: np.ndarray) -> int:
        return int(((image[..., 2] - image[..., 0]) > 80).sum())

    assert blue(last) > 2 * blue(first)
