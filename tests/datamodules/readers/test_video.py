"""Videos, written here with the same library, with even and uneven clocks."""

import contextlib
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cst_lightning.datamodules.readers.video import read_video
from cst_lightning.errors import DataError

av = pytest.importorskip("av")
STAMPS = (0, 40, 85, 120, 200, 240)  # milliseconds, uneven
SIZE = (32, 48)


def pictures(count=6, size=SIZE):
    """Smooth pictures of a moving wave, (T, H, W, 3) uint8: codecs lose little of them."""
    y, x = np.mgrid[: size[0], : size[1]]
    waves = [np.sin(x / 9 + t / 3 + phase) * np.cos(y / 11) for t in range(count) for phase in (0, 0.5, 1)]
    return (127 + 100 * np.stack(waves).reshape(count, 3, *size)).transpose(0, 2, 3, 1).astype(np.uint8)


def write(path, stamps=STAMPS, codec="libx264", options=None):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuv420p" if codec != "ffv1" else "bgr0"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        stream.options = options or {}
        for stamp, picture in zip(stamps, pictures(len(stamps)), strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write(tmp_path_factory.mktemp("film") / "film.mp4")


def test_times_are_presentation_times_and_not_a_rate(film):
    np.testing.assert_allclose(read_video(film).axes[0].values, np.array(STAMPS) / 1000)


def test_frames_are_in_the_order_in_which_they_are_shown(tmp_path):
    path = write(tmp_path / "b.mp4", range(0, 480, 40), options={"bf": "3"})  # frames that build on later ones
    found = read_video(path, grey=False, cache_dir=tmp_path).read(0, 0, 12)
    error = np.abs(found[:, None] - pictures(12)[None] / 255).mean((2, 3, 4))
    assert error.argmin(1).tolist() == list(range(12))


def test_a_lossless_video_is_read_as_it_is(tmp_path):
    path = write(tmp_path / "film.mkv", codec="ffv1")
    found = read_video(path, grey=False, cache_dir=tmp_path).read(0, 2, 5)
    np.testing.assert_allclose(found, pictures()[2:5] / 255, atol=1e-5)


def test_reduction_and_grey(tmp_path):
    path = write(tmp_path / "film.mkv", codec="ffv1")
    found = read_video(path, height=8, cache_dir=tmp_path)
    assert found.shape == (1, 6, 8, 12, 1)
    grey = pictures() @ [0.299, 0.587, 0.114] / 255
    expected = grey.reshape(6, 8, 4, 12, 4).mean((2, 4))
    np.testing.assert_allclose(found.read(0, 0, 6)[..., 0], expected, atol=1e-5)


def test_nothing_is_decoded_before_frames_are_asked_for(film, tmp_path):
    found = read_video(film, cache_dir=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
    pickle.loads(pickle.dumps(found)).read(0, 0, 1)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_decoding_happens_once(film, tmp_path):
    first = read_video(film, cache_dir=tmp_path)
    first.read(0, 0, 1)
    (cache,) = tmp_path.iterdir()
    before = cache.stat().st_mtime_ns
    read_video(film, cache_dir=tmp_path).read(0, 3, 4)
    assert cache.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "data, found an empty file"), (b"no video at all" * 20, "expected a complete video")],
)
def test_what_is_no_video_is_told_in_one_line(tmp_path, content, message):
    (tmp_path / "x.mp4").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_video(tmp_path / "x.mp4")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_video_is_told(tmp_path):
    with pytest.raises(DataError, match=r"x\.mp4: file: expected a file, found nothing"):
        read_video(tmp_path / "x.mp4")


def test_a_truncated_video_is_told(tmp_path):
    path = write(tmp_path / "film.mp4", range(0, 1600, 40), options={"movflags": "faststart", "g": "1"})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(DataError):
        read_video(path, cache_dir=tmp_path / "cache").read(0, 0, 1)
    assert not list((tmp_path / "cache").glob("*"))


def test_sound_alone_is_told(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 8000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(DataError, match="expected a video track, found none"):
        read_video(tmp_path / "a.mp4")


@settings(max_examples=20, deadline=None)
@given(cut=st.floats(0.05, 1), place=st.floats(0, 1))
def test_damaged_videos_never_raise_anything_else(film, tmp_path_factory, cut, place):
    folder = tmp_path_factory.mktemp("damaged")
    raw = bytearray(film.read_bytes())
    raw[int(place * (len(raw) - 1))] ^= 0xFF
    (folder / "x.mp4").write_bytes(raw[: int(cut * len(raw))])
    with contextlib.suppress(DataError):
        read_video(folder / "x.mp4", cache_dir=folder).read(0, 0, 2)
