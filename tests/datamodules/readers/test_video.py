"""Videos, written here with the same library, with even and uneven clocks."""

import contextlib
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cst_lightning.datamodules.readers import video
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


def write(path, stamps=STAMPS, codec="libx264", options=None, aspect=None):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuv420p" if codec != "ffv1" else "bgr0"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        stream.options = options or {}
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
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


@pytest.mark.parametrize(("name", "codec"), [("film.mov", "libx264"), ("FILM.MOV", "mpeg4"), ("film.avi", "mpeg4")])
def test_other_containers_are_read(tmp_path, name, codec):
    found = read_video(write(tmp_path / name, codec=codec, options={"qscale": "1"}), grey=False, cache_dir=tmp_path)
    np.testing.assert_allclose(found.axes[0].values, np.array(STAMPS) / 1000, atol=1e-6)
    error = np.abs(found.read(0, 0, 6)[:, None] - pictures()[None] / 255).mean((2, 3, 4))
    assert error.argmin(1).tolist() == list(range(6))


def test_a_truncated_avi_is_told(tmp_path):
    path = write(tmp_path / "film.avi", range(0, 1600, 40), "mpeg4", {"g": "1"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 4])  # behind that is but an index
    with pytest.raises(DataError, match="as its header says"):
        read_video(path)


def turn(path, degrees):
    """Write into the header of a track how it is to be turned clockwise when it is shown, as telephones do."""
    cosine, sine = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    rows = ((cosine, sine, 0), (-sine, cosine, 0), (0, 0, 2**14))  # 16.16 fixed point, the last column 2.30
    raw = bytearray(path.read_bytes())
    start = raw.index(b"tkhd") + 4 + 4 + 20 + 8 + 8
    raw[start : start + 36] = b"".join(int(n * 2**16).to_bytes(4, "big", signed=True) for row in rows for n in row)
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_pictures_are_turned_as_they_are_shown(tmp_path, degrees):
    found = read_video(turn(write(tmp_path / "film.mp4"), degrees), grey=False, cache_dir=tmp_path)
    upright = np.rot90(pictures() / 255, -degrees // 90, (1, 2))
    assert found.shape[2:4] == upright.shape[1:3]
    assert np.abs(found.read(0, 0, 6) - upright).mean() < 0.03


def test_pixels_that_are_not_square_keep_their_shape(tmp_path):
    found = read_video(write(tmp_path / "film.mp4", aspect=Fraction(3, 2)), height=16, cache_dir=tmp_path)
    assert found.shape[2:4] == (16, 36)  # 48 x 3/2 wide and 32 high, halved
    y, x = (np.diff(axis.values).mean() for axis in found.axes[1:])
    assert x == pytest.approx(y)


def test_turned_pixels_that_are_not_square_keep_their_shape(tmp_path):
    path = turn(write(tmp_path / "film.mp4", aspect=Fraction(3, 2)), 90)
    y, x = (np.diff(axis.values).mean() for axis in read_video(path, cache_dir=tmp_path).axes[1:])
    assert y / x == pytest.approx(1.5)


class Watched:
    """A packet that counts how many of its kind there are."""

    alive = most = 0

    def __init__(self, packet):
        self.pts, self.size, self.is_discard = packet.pts, packet.size, packet.is_discard
        Watched.alive += 1
        Watched.most = max(Watched.most, Watched.alive)

    def __del__(self):
        Watched.alive -= 1


class Container:
    """An open video whose packets are counted."""

    def __init__(self, container):
        self.container = container

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.container.close()

    def __getattr__(self, name):
        return getattr(self.container, name)

    def demux(self, stream):
        return (Watched(packet) for packet in self.container.demux(stream))


def test_packets_are_let_go_when_their_times_are_known(film, monkeypatch):
    class Library:
        error = av.error

        @staticmethod
        def open(*args, **options):
            return Container(av.open(*args, **options))

    monkeypatch.setattr(video, "lazy_import", lambda name: Library)
    assert len(video.read_header(film).stamps) == len(STAMPS)
    assert Watched.most <= 2
