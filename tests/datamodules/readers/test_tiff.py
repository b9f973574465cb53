"""TIFF movies and volumes in miniature."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cst_lightning.datamodules.readers.tiff import read_mask, read_tiff
from cst_lightning.errors import DataError

tifffile = pytest.importorskip("tifffile")

MOVIE = np.random.default_rng(0).integers(0, 4000, (12, 4, 5)).astype(np.uint16)
PLAIN = {"photometric": "minisblack", "metadata": None}


def write(path: Path, values: np.ndarray = MOVIE, **options: object) -> Path:
    tifffile.imwrite(path, values, **(options or PLAIN))
    return path


@pytest.mark.parametrize(
    "options",
    [PLAIN, {**PLAIN, "compression": "zlib"}, {"photometric": "minisblack"}, {**PLAIN, "byteorder": ">"}],
    ids=["plain", "compressed", "shaped", "big-endian"],
)
def test_pages_are_frames(tmp_path, options):
    found = read_tiff(write(tmp_path / "a.tif", **options), rate=2.0)
    assert found.shape == (1, 12, 4, 5, 1)
    np.testing.assert_array_equal(found.read(0, 3, 7)[..., 0], MOVIE[3:7])
    np.testing.assert_allclose(found.axes[0].values[:2], [0, 0.5])


def test_a_reader_travels_without_its_open_file(tmp_path):
    read = read_tiff(write(tmp_path / "a.tif")).read
    read(0, 0, 1)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(read))(0, 11, 12)[0, ..., 0], MOVIE[11])


def test_channels_take_turns(tmp_path):
    found = read_tiff(write(tmp_path / "a.tif"), interleaved=2, channel=1)
    np.testing.assert_array_equal(found.read(0, 0, 6)[..., 0], MOVIE[1::2])


def test_planes_and_channels_take_turns(tmp_path):
    found = read_tiff(write(tmp_path / "a.tif"), interleaved=2, channel=1, planes=3)
    assert [axis.name for axis in found.axes] == ["time", "z", "y", "x"]
    np.testing.assert_array_equal(found.read(0, 0, 2)[..., 0], MOVIE.reshape(2, 3, 2, 4, 5)[:, :, 1])


def test_pages_that_fill_no_frame_are_left_out_and_said(tmp_path):
    found = read_tiff(write(tmp_path / "a.tif", MOVIE[:11]), interleaved=2)
    assert found.shape[1] == 5
    assert "1 pages at the end" in found.notes[-1]


def test_ome_says_what_is_what(tmp_path):
    volume = MOVIE.reshape(3, 2, 2, 4, 5)
    metadata = {"axes": "TZCYX", "TimeIncrement": 250.0, "TimeIncrementUnit": "ms", "PhysicalSizeX": 2.0,
                "PhysicalSizeXUnit": "µm"}  # fmt: skip
    found = read_tiff(write(tmp_path / "a.ome.tif", volume, ome=True, metadata=metadata), channel=1)
    np.testing.assert_array_equal(found.read(0, 0, 3)[..., 0], volume[:, :, 1])
    np.testing.assert_allclose(found.axes[0].values, [0, 0.25, 0.5])
    assert found.axes[-1].label == "x (µm)"
    np.testing.assert_allclose(found.axes[-1].values[:2], [0, 2])


def test_imagej_says_its_interval(tmp_path):
    path = write(tmp_path / "a.tif", imagej=True, metadata={"axes": "TYX", "finterval": 0.2})
    assert read_tiff(path).axes[0].values[1] == pytest.approx(0.2)


def test_a_stack_that_is_called_a_volume_needs_the_option(tmp_path):
    path = write(tmp_path / "a.tif", imagej=True, metadata={"axes": "ZYX"})
    with pytest.raises(DataError, match="the option axes"):
        read_tiff(path)
    assert read_tiff(path, axes="TYX").shape == (1, 12, 4, 5, 1)


def test_pages_of_two_sizes_need_the_option(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(MOVIE, photometric="minisblack")
        tif.write(MOVIE[:2, :3], photometric="minisblack")
    with pytest.raises(DataError, match="the option series"):
        read_tiff(tmp_path / "a.tif")
    assert read_tiff(tmp_path / "a.tif", series=1).shape == (1, 2, 3, 5, 1)


def cut(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


BAD = {
    "missing": (lambda p: None, {}, "nothing"),
    "empty": (lambda p: p.write_bytes(b""), {}, "an empty file"),
    "no TIFF": (lambda p: p.write_bytes(b"not a picture" * 9), {}, "a complete TIFF file"),
    "truncated": (lambda p: cut(write(p, **PLAIN, compression="zlib"), 0.6), {}, "a complete TIFF file"),
    "truncated in a header": (lambda p: cut(write(p), 0.9), {}, "a complete TIFF file"),
    "colour": (lambda p: write(p, np.zeros((6, 4, 5, 3), np.uint8), photometric="rgb"), {}, "the option axes"),
    "one picture": (lambda p: write(p, MOVIE[0]), {}, "several pages"),
    "complex": (lambda p: write(p, MOVIE.astype(np.complex64)), {}, "real numbers"),
    "no such channel": (write, {"interleaved": 2, "channel": 2}, "channel: expected 0 to 1"),
    "too few pages": (write, {"planes": 13}, "at least 13, one frame"),
    "axes do not fit": (write, {"axes": "TZYX"}, "3 letters"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_end_in_one_line(tmp_path, case):
    make, options, said = BAD[case]
    make(tmp_path / "a.tif")
    with pytest.raises(DataError, match=said) as caught:
        read_tiff(tmp_path / "a.tif", **options)
    assert "\n" not in str(caught.value)


def test_an_unreadable_page_is_named(tmp_path):
    path = write(tmp_path / "a.tif", **PLAIN, compression="zlib")
    with tifffile.TiffFile(path) as tif:
        offset, size = tif.pages[7].dataoffsets[0], tif.pages[7].databytecounts[0]
    raw = bytearray(path.read_bytes())
    raw[offset : offset + size] = b"\xff" * size
    path.write_bytes(raw)
    with pytest.raises(DataError, match="page 7: expected a readable page"):
        read_tiff(path).read(0, 6, 9)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy"])
def test_a_mask_is_any_picture(tmp_path, suffix):
    mask = np.zeros((4, 5), np.uint8)
    mask[1:3, 2:] = 255
    path = tmp_path / f"mask{suffix}"
    if suffix == ".png":
        Image.fromarray(mask).save(path)
    elif suffix == ".tif":
        write(path, mask)
    else:
        np.save(path, mask)
    np.testing.assert_array_equal(read_mask(path, (4, 5)), mask > 0)


def test_a_mask_of_another_shape_is_refused(tmp_path):
    np.save(tmp_path / "mask.npy", np.ones((5, 4)))
    with pytest.raises(DataError, match=r"shape \(4, 5\) as the frames"):
        read_mask(tmp_path / "mask.npy", (4, 5))


def test_a_mask_of_nothing_is_refused(tmp_path):
    np.save(tmp_path / "mask.npy", np.zeros((4, 5)))
    with pytest.raises(DataError, match="at least one pixel"):
        read_mask(tmp_path / "mask.npy", (4, 5))


def scanimage(path: Path, frame: float = 30.0, volume: float = 2.5) -> Path:
    software = f"SI.hRoiManager.scanFrameRate = {frame}\nSI.hRoiManager.scanVolumeRate = {volume}"
    return write(path, MOVIE, **PLAIN, software=software)


def step(**options: object) -> float:
    return float(read_tiff(**options).axes[0].values[1])


def test_scanimage_has_a_rate_of_frames_and_one_of_volumes(tmp_path):
    path = scanimage(tmp_path / "a.tif")
    assert step(path=path) == pytest.approx(1 / 30)
    assert step(path=path, interleaved=2) == pytest.approx(1 / 30)  # channels are recorded at once
    assert step(path=path, planes=3) == pytest.approx(1 / 2.5)


def test_planes_that_scanimage_does_not_know_of_share_the_frame_rate(tmp_path):
    assert step(path=scanimage(tmp_path / "a.tif", volume=30.0), planes=3) == pytest.approx(3 / 30)


def test_a_rate_of_pages_is_shared_by_the_planes(tmp_path):
    path = write(tmp_path / "a.tif", imagej=True, metadata={"axes": "TYX", "finterval": 0.2})
    assert step(path=path, planes=3) == pytest.approx(0.6)


def test_a_rate_counts_before_the_files_and_is_told(tmp_path):
    path = write(tmp_path / "a.tif", imagej=True, metadata={"axes": "TYX", "finterval": 0.2})
    found = read_tiff(path, rate=10.0)
    assert found.axes[0].values[1] == pytest.approx(0.1)
    assert found.notes == ("rate 10 counts, not the 5/s of the file",)


def test_one_of_several_channels_is_told(tmp_path):
    metadata = {"axes": "TCYX", "Channel": {"Name": ["GCaMP", "tdTomato"]}}
    path = write(tmp_path / "a.ome.tif", MOVIE.reshape(6, 2, 4, 5), ome=True, metadata=metadata)
    assert "channel 0 of 2 (GCaMP) is read: set channel for another" in read_tiff(path).notes
    assert "channel 1 of 2 (tdTomato) is read: set channel for another" in read_tiff(path, channel=1).notes


STAMPS = [0.0, 110.0, 190.0, 320.0, 400.0, 480.0]


def planes_of(path: Path, stamps: list[float]) -> Path:
    """Write two channels, the second of which is recorded 5 ms after the first."""
    deltas = [t + c for t in stamps for c in (0.0, 5.0)][: 2 * len(stamps)]
    metadata = {"axes": "TCYX", "TimeIncrement": 0.1, "Plane": {"DeltaT": deltas, "DeltaTUnit": ["ms"] * len(deltas)}}
    return write(path, MOVIE.reshape(6, 2, 4, 5), ome=True, metadata=metadata)


@pytest.mark.parametrize("channel", [0, 1])
def test_the_time_of_each_plane_is_used(tmp_path, channel):
    found = read_tiff(planes_of(tmp_path / "a.ome.tif", STAMPS), channel=channel)
    np.testing.assert_allclose(found.axes[0].values, (np.array(STAMPS) + 5 * channel) / 1000)


def test_times_of_planes_that_cannot_be_are_told(tmp_path):
    found = read_tiff(planes_of(tmp_path / "a.ome.tif", [0.0] * 6))
    np.testing.assert_allclose(found.axes[0].values, np.arange(6) / 10)
    assert "DeltaT of the planes is not used: they do not increase" in found.notes


def test_imagej_says_how_large_pixels_are(tmp_path):
    options = {"resolution": (4.0, 2.0), "metadata": {"axes": "TZYX", "spacing": 3.0, "unit": "um"}}
    axes = read_tiff(write(tmp_path / "a.tif", MOVIE.reshape(4, 3, 4, 5), imagej=True, **options), rate=1.0).axes
    assert [axis.label for axis in axes[1:]] == ["z (µm)", "y (µm)", "x (µm)"]
    assert [axis.values[1] for axis in axes[1:]] == pytest.approx([3.0, 0.5, 0.25])


def test_imagej_may_count_time_in_milliseconds(tmp_path):
    path = write(tmp_path / "a.tif", imagej=True, metadata={"axes": "TYX", "finterval": 50.0, "tunit": "ms"})
    assert step(path=path) == pytest.approx(0.05)
