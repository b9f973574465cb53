"""KITTI in its real layout and with its real names, a few small pictures each."""

import numpy as np
import pytest
from PIL import Image

from cst_lightning.datamodules.readers.kitti import is_kitti, read_kitti
from cst_lightning.datamodules.readers.opening import open_source
from cst_lightning.errors import DataError

DATE, SECONDS = "2011_09_26", (25.964389445, 26.067809582, 26.171101093)


def write_pictures(folder, name, colour=False, count=3):
    folder.mkdir(parents=True)
    for number in range(count):
        shape = (6, 20, 3) if colour else (6, 20)
        Image.fromarray(np.full(shape, 10 * number, np.uint8)).save(folder / name.format(number))


def write_drive(root, number="0001", kind="sync"):
    drive = root / DATE / f"{DATE}_drive_{number}_{kind}"
    for camera in range(4):
        write_pictures(drive / f"image_{camera:02d}" / "data", "{:010d}.png", camera >= 2)
        lines = "\n".join(f"2011-09-26 13:02:{second:.9f}" for second in SECONDS)
        (drive / f"image_{camera:02d}" / "timestamps.txt").write_text(lines + "\n")
    return drive


def write_sequence(root, number="00"):
    sequence = root / "sequences" / number
    write_pictures(sequence / "image_0", "{:06d}.png")
    write_pictures(sequence / "image_2", "{:06d}.png", True)
    (sequence / "times.txt").write_text("0.000000e+00\n1.038585e-01\n2.077117e-01\n")
    return sequence


@pytest.mark.parametrize("above", [0, 1, 2])
def test_a_raw_drive_is_found_at_or_below_a_folder(tmp_path, above):
    drive = write_drive(tmp_path)
    found = read_kitti([drive, *drive.parents][above], cache_dir=tmp_path / "cache")
    assert found.shape == (1, 3, 6, 20, 1)
    np.testing.assert_allclose(found.read(0, 0, 3).mean((1, 2, 3)), np.array([0, 10, 20]) / 255, atol=1e-5)


def test_raw_times_are_exact_to_the_nanosecond(tmp_path):
    found = read_kitti(write_drive(tmp_path)).axes[0].values
    assert found.tolist() == [0, 0.103420137, 0.206711648]


def test_an_odometry_sequence_is_read(tmp_path):
    write_sequence(tmp_path)
    found = read_kitti(tmp_path, camera=2, grey=False, cache_dir=tmp_path / "cache")
    assert found.axes[0].values.tolist() == [0, 0.1038585, 0.2077117]
    assert found.read(0, 0, 3).shape == (3, 6, 20, 3)


def test_cameras_2_and_3_have_colours(tmp_path):
    drive = write_drive(tmp_path)
    assert [len(read_kitti(drive, camera=camera, grey=False).channels) for camera in range(4)] == [1, 1, 3, 3]


@pytest.mark.parametrize("name", ["0002", f"{DATE}_drive_0002", f"{DATE}_drive_0002_sync"])
def test_one_of_several_drives_is_chosen_by_name_or_number(tmp_path, name):
    write_drive(tmp_path)
    write_drive(tmp_path, "0002")
    assert "drive_0002" in read_kitti(tmp_path, name).layout


def test_the_licence_is_told(tmp_path):
    assert "CC BY-NC-SA 3.0" in read_kitti(write_drive(tmp_path)).notes[0]


def test_synchronised_drives_are_used_where_both_are(tmp_path):
    write_drive(tmp_path)
    write_drive(tmp_path, kind="extract")
    assert "sync" in read_kitti(tmp_path).layout


def spoil_extract(root):
    return write_drive(root, kind="extract"), {}


def spoil_several(root):
    write_drive(root)
    write_drive(root, "0002")
    return root, {}


def spoil_number(root):
    write_drive(root)
    return root, {"drive": "0007"}


def spoil_camera(root):
    return write_sequence(root), {"camera": 1}


def spoil_fifth_camera(root):
    return write_drive(root), {"camera": 4}


def spoil_times(root):
    drive = write_drive(root)
    (drive / "image_00" / "timestamps.txt").write_text("2011-09-26 13:02:25.964389445\n")
    return drive, {}


def spoil_missing(root):
    return root / "none", {}


def spoil_empty(root):
    return root, {}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_extract, "neither rectified nor taken at the same times, found 2011_09_26_drive_0001_extract"),
        (
            spoil_several,
            "the name of one (drive), found 2011_09_26_drive_0001_sync, 2011_09_26_drive_0002_sync",
        ),
        (spoil_number, "expected one called 0007, found 2011_09_26_drive_0001_sync"),
        (spoil_camera, "image_1: expected a folder of pictures, found image_0, image_2"),
        (spoil_fifth_camera, "camera 4"),
        (spoil_times, "3 times, one for each picture, found 1"),
        (spoil_missing, "a folder of KITTI, found nothing"),
        (spoil_empty, "no drive and no sequence"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tmp_path, spoil, message):
    path, options = spoil(tmp_path)
    with pytest.raises(DataError) as caught:
        read_kitti(path, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_of_kitti_is_known_as_such(tmp_path):
    assert not is_kitti(tmp_path)
    write_drive(tmp_path, kind="extract")
    assert is_kitti(tmp_path)


@pytest.mark.parametrize("through", ["pictures", "link"])
def test_pictures_that_are_not_synchronised_are_refused_from_below(tmp_path, through):
    pictures = write_drive(tmp_path, kind="extract") / "image_00" / "data"
    if through == "link":
        (tmp_path / "link").symlink_to(pictures)
        pictures = tmp_path / "link"
    with pytest.raises(DataError, match=r"neither rectified nor .* found 2011_09_26_drive_0001_extract"):
        open_source(pictures)


def test_pictures_of_a_synchronised_drive_may_be_opened_alone(tmp_path):
    assert open_source(write_drive(tmp_path) / "image_00" / "data").shape[1] == 3
