"""Folders of pictures, and what every reader of pictures shares."""

import contextlib
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cst_lightning.datamodules.readers.images import Reduction, area_weights, natural, read_image_folder, read_times
from cst_lightning.errors import DataError


def write(folder, count=4, size=(6, 8), mode="L", ending="png", seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    shape = (count, *size, *((3,) if mode == "RGB" else ()))
    pictures = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{number + 8}.{ending}")
    return pictures


def opened(folder, tmp_path, **options):
    return read_image_folder(folder, rate=10.0, cache_dir=tmp_path / "cache", **options)


def test_pictures_are_read_in_natural_order(tmp_path):
    pictures = write(tmp_path / "p")  # 8, 9, 10, 11: text would put 10 first
    found = opened(tmp_path / "p", tmp_path)
    np.testing.assert_allclose(found.read(0, 0, 4)[..., 0], pictures / 255, atol=1e-5)


def test_windows_are_read_alone(tmp_path):
    pictures = write(tmp_path / "p")
    np.testing.assert_allclose(opened(tmp_path / "p", tmp_path).read(0, 1, 3)[..., 0], pictures[1:3] / 255, atol=1e-5)


def test_nothing_is_decoded_before_frames_are_asked_for(tmp_path):
    write(tmp_path / "p")
    opened(tmp_path / "p", tmp_path)
    assert not (tmp_path / "cache").exists()


def test_reader_travels_to_other_processes(tmp_path):
    pictures = write(tmp_path / "p")
    found = opened(tmp_path / "p", tmp_path)
    found.read(0, 0, 1)
    np.testing.assert_allclose(pickle.loads(pickle.dumps(found)).read(0, 3, 4)[0, ..., 0], pictures[3] / 255, atol=1e-5)


def test_changed_pictures_are_decoded_again(tmp_path):
    write(tmp_path / "p")
    opened(tmp_path / "p", tmp_path).read(0, 0, 1)
    pictures = write(tmp_path / "p", seed=1)
    np.testing.assert_allclose(opened(tmp_path / "p", tmp_path).read(0, 0, 1)[0, ..., 0], pictures[0] / 255, atol=1e-5)


def test_colours_are_three_channels_unless_grey(tmp_path):
    pictures = write(tmp_path / "p", mode="RGB")
    colour, grey = (opened(tmp_path / "p", tmp_path, grey=grey) for grey in (False, True))
    assert (colour.channels, grey.channels) == (("red", "green", "blue"), ("grey",))
    np.testing.assert_allclose(colour.read(0, 0, 4), pictures / 255, atol=1e-5)
    np.testing.assert_allclose(grey.read(0, 0, 4)[..., 0], pictures @ [0.299, 0.587, 0.114] / 255, atol=1e-5)


def test_grey_pictures_stay_one_channel(tmp_path):
    write(tmp_path / "p")
    assert opened(tmp_path / "p", tmp_path, grey=False).channels == ("grey",)


def test_sixteen_bits_are_kept(tmp_path):
    (tmp_path / "p").mkdir()
    picture = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1000
    Image.fromarray(picture).save(tmp_path / "p" / "0.png")
    np.testing.assert_allclose(opened(tmp_path / "p", tmp_path).read(0, 0, 1)[0, ..., 0], picture / 65535, atol=1e-7)


def test_reduction_averages_areas(tmp_path):
    pictures = write(tmp_path / "p")
    found = opened(tmp_path / "p", tmp_path, height=3).read(0, 0, 4)[..., 0]
    expected = pictures.reshape(4, 3, 2, 4, 2).mean((2, 4)) / 255
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_crop_comes_before_the_reduction(tmp_path):
    pictures = write(tmp_path / "p")
    found = opened(tmp_path / "p", tmp_path, crop=[2, 6, 0, 4], height=2).read(0, 0, 4)[..., 0]
    np.testing.assert_allclose(found, pictures[:, 2:6, :4].reshape(4, 2, 2, 2, 2).mean((2, 4)) / 255, atol=1e-5)


def test_places_are_in_units_of_the_height(tmp_path):
    write(tmp_path / "p")
    _, y, x = opened(tmp_path / "p", tmp_path, height=3).axes
    np.testing.assert_allclose(y.values, [1 / 6, 3 / 6, 5 / 6])
    np.testing.assert_allclose(x.values, [1 / 6, 3 / 6, 5 / 6, 7 / 6])


def test_pixels_that_are_not_square_keep_their_shape(tmp_path):
    reduction = Reduction(tmp_path, (10, 20), aspect=2.0)
    assert reduction.axes()[1].values[-1] == pytest.approx(2 * 19.5 / 10)
    assert Reduction(tmp_path, (10, 20), height=5, aspect=0.5).shape == (5, 5)


@given(source=st.integers(1, 40), target=st.integers(1, 40))
@settings(deadline=None)
def test_area_weights_keep_the_mean(source, target):
    weights = area_weights(source, target)
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(weights.sum(0), target / source, rtol=1e-4)


def test_natural_order_counts():
    names = ["a10.png", "a9.png", "B1.png", "2.png", "10.png"]
    assert sorted(names, key=lambda name: natural(Path(name))) == ["2.png", "10.png", "a9.png", "a10.png", "B1.png"]


def test_times_beside_the_pictures_are_found(tmp_path):
    write(tmp_path / "p")
    (tmp_path / "p" / "times.txt").write_text("0\n0.1\n0.25\n0.3\n")
    found = read_image_folder(tmp_path / "p", cache_dir=tmp_path / "cache")
    assert found.axes[0].values.tolist() == [0, 0.1, 0.25, 0.3]
    assert "times.txt" in found.notes[0]


def test_dates_keep_their_nanoseconds(tmp_path):
    (tmp_path / "t.txt").write_text("2011-09-26 13:02:25.964389445\n2011-09-26 13:02:26.064389447\n")
    assert read_times(tmp_path / "t.txt", 2)[1] == 0.100000002


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "data, found an empty file"),
        ("0\n1\n", "3 times, one for each picture, found 2"),
        ("0\n1\nx\n", "line 3: expected seconds or a date, found 'x'"),
        ("0\n2\n1\n", "line 3: expected a later time"),
        ("0\n1\n1\n", "line 3: expected a later time"),
        ("0\n1\nnan\n", "line 3: expected a finite number"),
        ("2011-09-26 13:02:25.9\n2011-09-26 13:02:26\n17\n", "line 3"),
        ("2011-09-26 13:02:25.9\n2011-09-26 25:02:26\n2011-09-27 13:02:26\n", "line 2: expected a date"),
    ],
)
def test_bad_times_are_told_in_one_line(tmp_path, text, message):
    (tmp_path / "t.txt").write_text(text)
    with pytest.raises(DataError) as caught:
        read_times(tmp_path / "t.txt", 3)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: (p / "9.png").write_bytes(b""), "9.png: file: expected a picture, found an empty file"),
        (lambda p: (p / "9.png").write_bytes(b"no picture"), "9.png: file: expected a picture, found something else"),
        (
            lambda p: Image.new("L", (5, 5)).save(p / "9.png"),
            "9.png: size: expected 6 x 8 pixels as 8.png, found 5 x 5",
        ),
        (lambda p: [f.unlink() for f in p.iterdir()], "expected pictures (.png, .jpg, .jpeg), found an empty folder"),
    ],
)
def test_bad_folders_are_told_in_one_line(tmp_path, spoil, message):
    write(tmp_path / "p")
    spoil(tmp_path / "p")
    with pytest.raises(DataError) as caught:
        opened(tmp_path / "p", tmp_path)
    assert message in str(caught.value)


def test_truncated_picture_is_told_when_it_is_read_and_leaves_no_cache(tmp_path):
    write(tmp_path / "p", size=(60, 80))
    whole = (tmp_path / "p" / "9.png").read_bytes()
    (tmp_path / "p" / "9.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"9\.png: file: expected a complete picture"):
        opened(tmp_path / "p", tmp_path).read(0, 0, 1)
    assert not list((tmp_path / "cache").iterdir())


@settings(max_examples=25, deadline=None)
@given(length=st.integers(0, 400), flip=st.integers(0, 399))
def test_damaged_pictures_never_raise_anything_else(tmp_path_factory, length, flip):
    folder = tmp_path_factory.mktemp("p")
    write(folder, count=1)
    raw = bytearray((folder / "8.png").read_bytes()[:length])
    if flip < len(raw):
        raw[flip] ^= 0xFF
    (folder / "8.png").write_bytes(raw)
    with contextlib.suppress(DataError):
        opened(folder, folder).read(0, 0, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": [0, 7, 0, 8]}, "crop [0, 7, 0, 8]"),
        ({"crop": [0, 6]}, "expected [top, bottom, left, right]"),
        ({"height": 7}, "height 7"),
        ({"rate": 0.0}, "rate"),
        ({"rate": None}, "a file of times (times) or pictures a second (rate), found neither"),
        ({"times": "none.txt"}, "times, rate: expected one of them"),
        ({"times": "none.txt", "rate": None}, "none.txt: file: expected a file, found nothing"),
    ],
)
def test_bad_options_are_told_in_one_line(tmp_path, options, message):
    write(tmp_path / "p")
    with pytest.raises(DataError) as caught:
        read_image_folder(tmp_path / "p", **{"rate": 10.0, "cache_dir": tmp_path / "cache", **options})
    assert message in str(caught.value)


def test_names_may_have_any_letters(tmp_path):
    write(tmp_path / "Straße 写真")
    assert opened(tmp_path / "Straße 写真", tmp_path).read(0, 0, 4).shape == (4, 6, 8, 1)


def test_a_rate_counts_before_the_times_beside_and_is_told(tmp_path):
    write(tmp_path / "p")
    (tmp_path / "p" / "times.txt").write_text("0\n1\n3\n4\n")
    found = read_image_folder(tmp_path / "p", rate=2.0)
    np.testing.assert_allclose(found.axes[0].values, np.arange(4) / 2)
    assert found.notes == ("times are those of 2 pictures a second, not those in times.txt",)
