"""KITTI: raw drives and odometry sequences, the pictures of one camera.

Raw: ``<date>/<date>_drive_<nnnn>_sync/image_<cc>/{data/<10 digits>.png, timestamps.txt}``, times to the nanosecond and
not evenly spaced. Odometry: ``sequences/<nn>/image_<c>/<6 digits>.png`` and ``sequences/<nn>/times.txt`` in seconds.
Cameras: 0 left grey, 1 right grey, 2 left colour, 3 right colour.
Source: Geiger, Lenz, Stiller and Urtasun, Vision meets Robotics: The KITTI Dataset, IJRR 32, 2013.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from cst_lightning.datamodules.readers.images import ENDINGS, RAW_DRIVE, SYNCHRONISED, natural, read_image_folder
from cst_lightning.datamodules.readers.source import Gridded
from cst_lightning.errors import DataError

LICENCE = "KITTI is licensed CC BY-NC-SA 3.0: not for commercial use, and what is made of it is shared alike"
CAMERAS = (0, 1, 2, 3)


class Drive(NamedTuple):
    """One recording.

    Attributes:
        name: of its folder.
        folder: where the cameras are.
        raw: whether it is a raw drive, not an odometry sequence.
    """

    name: str
    folder: Path
    raw: bool

    def pictures(self, camera: int) -> Path:
        """Return the folder of a camera's pictures."""
        return self.folder / f"image_{camera:02d}" / "data" if self.raw else self.folder / f"image_{camera}"

    def times(self, camera: int) -> Path:
        """Return the file of a camera's times."""
        return self.folder / f"image_{camera:02d}" / "timestamps.txt" if self.raw else self.folder / "times.txt"


def read_kitti(
    path: str | os.PathLike[str],
    drive: str | None = None,
    camera: int = 0,
    height: int | None = None,
    grey: bool = True,
    crop: Sequence[int] | None = None,
    cache_dir: str | os.PathLike[str] = "cache",
) -> Gridded:
    """Read one camera of one drive or sequence.

    Args:
        path: a drive or sequence, or any folder above several.
        drive: which one, if there are several: the folder's name, or its number, such as "0001" or "00".
        camera: 0 or 1, grey; 2 or 3, colour; even ones are on the left.
        height: rows after area averaging; unchanged if None.
        grey: make colour cameras grey; grey cameras are grey anyway.
        crop: [top, bottom, left, right) in pixels of the files, before the reduction.
        cache_dir: where decoded frames are kept.

    Returns:
        (1, T, h, w, c) in [0, 1]; times in seconds, from 0 on in raw drives.

    Raises:
        DataError: there is no such drive or camera, it is an `_extract` folder, or pictures and times do not fit.
    """
    if camera not in CAMERAS:
        raise DataError(
            path, f"camera {camera}", "0 (left grey), 1 (right grey), 2 (left colour), 3 (right)", "another"
        )
    chosen = _choose(Path(path), drive)
    pictures = chosen.pictures(camera)
    if not pictures.is_dir():
        have = ", ".join(sorted(folder.name for folder in chosen.folder.glob("image_*"))) or "no cameras"
        raise DataError(chosen.folder, str(pictures.relative_to(chosen.folder)), "a folder of pictures", have)
    read = read_image_folder(pictures, chosen.times(camera), None, height, grey, crop, cache_dir)
    layout = "KITTI raw drive" if chosen.raw else "KITTI odometry sequence"
    return replace(read, layout=f"{layout} {chosen.name}, camera {camera}", notes=(LICENCE, *read.notes))


def find_drives(path: Path) -> list[Drive]:
    """Return the synchronised drives and the sequences at or below a folder, at most three levels down, by name."""
    places = [path, *(place for depth in ("*", "*/*", "*/*/*") for place in path.glob(depth) if place.is_dir())]
    found = {place: drive for place in places if (drive := _drive(place)) is not None}
    return sorted(found.values(), key=lambda drive: natural(drive.folder))


def is_kitti(path: str | os.PathLike[str]) -> bool:
    """Return whether there is a drive or a sequence at or below a folder, be it an `_extract` one."""
    place = Path(path)
    return place.is_dir() and bool(find_drives(place) or _extracts(place))


def _drive(place: Path) -> Drive | None:
    match = RAW_DRIVE.fullmatch(place.name)
    if match is not None:
        return Drive(place.name, place, True) if match["kind"] == "sync" else None
    if any((place / f"image_{camera:02d}" / "data").is_dir() for camera in CAMERAS):
        return Drive(place.name, place, True)  # a drive under a name of the user's own
    sequence = (place / "times.txt").is_file() and any(_has_pictures(place / f"image_{camera}") for camera in CAMERAS)
    return Drive(place.name, place, False) if sequence else None


def _has_pictures(folder: Path) -> bool:
    return folder.is_dir() and any(file.suffix.lower() in ENDINGS for file in folder.iterdir())


def _extracts(path: Path) -> list[Path]:
    places = [path, *path.glob("*"), *path.glob("*/*")]
    return [p for p in places if (match := RAW_DRIVE.fullmatch(p.name)) is not None and match["kind"] == "extract"]


def _choose(path: Path, drive: str | None) -> Drive:
    if not path.is_dir():
        raise DataError(path, "file", "a folder of KITTI", "a file" if path.exists() else "nothing")
    drives, extracts = find_drives(path), _extracts(path)
    matching = [one for one in drives if drive is None or _is(one.name, drive)]
    if len(matching) == 1:
        return matching[0]
    unsynchronised = [place.name for place in extracts if drive is None or _is(place.name, drive)]
    if not matching and unsynchronised:
        raise DataError(path, "drive", SYNCHRONISED, unsynchronised[0])
    names = ", ".join(one.name for one in (matching or drives)[:6]) or "no drive and no sequence"
    if drive is None and not drives:
        raise DataError(path, "file", "<date>_drive_<nnnn>_sync or sequences/<nn> with times.txt", names)
    wanted = "the name of one (drive)" if drive is None else f"one called {drive}"
    raise DataError(path, "drive", wanted, names)


def _is(name: str, asked: str) -> bool:
    """Return whether a drive's name is what was asked for: the name, the date and number, or the number alone."""
    match = RAW_DRIVE.fullmatch(name)
    parts = {name} | ({match["number"], f"{match['date']}_drive_{match['number']}"} if match else set())
    return asked in parts
