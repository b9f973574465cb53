"""Folders of PNG or JPEG pictures, and what every reader of pictures shares: cropping, reduction, times, a cache.

Pictures become grey levels, or red, green and blue, as fractions of full scale in [0, 1]. Space axes are `y` downwards
and then `x`, pixel centres in units of the picture's height (after cropping), so that a pixel's true shape is kept.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cst_lightning.datamodules.cache import cached
from cst_lightning.datamodules.progress import progress_bar
from cst_lightning.datamodules.readers.source import Axis, Gridded
from cst_lightning.datamodules.trajectories import check_file
from cst_lightning.errors import DataError

ENDINGS = (".png", ".jpg", ".jpeg")
# Red, green and blue in what the eye takes for brightness: ITU-R BT.601, as in Pillow's own conversion.
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_ORIENTATION = 0x0112  # EXIF tag; 5 to 8 exchange width and height
_LEVELS = 65535  # the cache keeps 16 bits: finer than any camera, half the size of float32
_CHUNK = 2**20
#: The folder of a raw KITTI drive.
RAW_DRIVE = re.compile(r"(?P<date>\d{4}_\d\d_\d\d)_drive_(?P<number>\d{4})_(?P<kind>sync|extract)")
#: What is expected instead of an `_extract` one.
SYNCHRONISED = "a _sync folder: in an _extract one cameras are neither rectified nor taken at the same times"

#: Decoded pictures in order, (H, W, 3 or 1) float32 in [0, 1], cropped and reduced to (h, w, c).
Frames = Callable[[], Iterator[np.ndarray]]


class Crop(NamedTuple):
    """What of a picture is used, in its own pixels: rows [top, bottom), columns [left, right)."""

    top: int
    bottom: int
    left: int
    right: int


@dataclass(frozen=True)
class Reduction:
    """Crops pictures and averages them over areas to fewer pixels; a plain linear map, which never rounds.

    Attributes:
        path: of what is read, for messages.
        size: (H, W) of a picture.
        height: rows after the reduction; as many as after cropping if None.
        crop: what is used; everything if None.
        grey: one channel instead of red, green and blue.
        aspect: width over height of one pixel of the file.
    """

    path: Path
    size: tuple[int, int]
    height: int | None = None
    crop: Crop | None = None
    grey: bool = True
    aspect: float = 1.0

    def __post_init__(self) -> None:
        rows, columns = self.size
        top, bottom, left, right = self.box
        if not (0 <= top < bottom <= rows and 0 <= left < right <= columns):
            found = f"a picture of {rows} rows and {columns} columns"
            raise DataError(self.path, f"crop {list(self.box)}", "[top, bottom, left, right] within the picture", found)
        if self.height is not None and not 0 < self.height <= bottom - top:
            raise DataError(self.path, f"height {self.height}", "1 to the rows there are", f"{bottom - top} rows")

    @property
    def box(self) -> Crop:
        """What is used of a picture."""
        return Crop(0, self.size[0], 0, self.size[1]) if self.crop is None else Crop(*self.crop)

    @property
    def shape(self) -> tuple[int, int]:
        """(h, w) after reduction, with pixels as square as whole numbers allow."""
        top, bottom, left, right = self.box
        if self.height is None:
            return bottom - top, right - left
        width = round((right - left) * self.aspect * self.height / (bottom - top))
        return self.height, min(max(1, width), right - left)

    def axes(self) -> tuple[Axis, Axis]:
        """Return y (h,) and x (w,), centres of pixels in units of the cropped picture's height."""
        top, bottom, left, right = self.box
        rows, columns = self.shape
        wide = (right - left) * self.aspect / (bottom - top)
        y, x = (np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) * wide / columns
        return Axis("y", y, "image heights"), Axis("x", x, "image heights")

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Map a picture (H, W, 1 or 3) to (h, w, c) float32."""
        top, bottom, left, right = self.box
        picture = picture[top:bottom, left:right]
        if self.grey and picture.shape[2] == 3:
            picture = (picture @ _LUMA)[..., None]
        if self.shape == picture.shape[:2]:
            return picture
        rows = np.tensordot(area_weights(picture.shape[0], self.shape[0]), picture, 1)
        return np.ascontiguousarray(
            np.tensordot(area_weights(picture.shape[1], self.shape[1]), rows, (1, 1)).swapaxes(0, 1)
        )


def area_weights(source: int, target: int) -> np.ndarray:
    """Return the matrix (target, source) that averages `source` pixels over `target` equal lengths; rows sum to 1."""
    edges = np.arange(target + 1) * (source / target)
    low, high = np.maximum(edges[:-1, None], np.arange(source)), np.minimum(edges[1:, None], np.arange(1, source + 1))
    overlap = np.maximum(high - low, 0)
    return (overlap / overlap.sum(1, keepdims=True)).astype(np.float32)


class CachedFrames:
    """Frames of one recording, decoded once into a file from which any window is read at once.

    Decoding starts with the first call, and one picture at a time is in memory. Picklable; the open file is not shared
    with other processes.

    Args:
        name: start of the cache file's name.
        settings: all that the frames depend on, plain JSON values.
        frames: decodes them in order.
        shape: (T, h, w, c).
        cache_dir: where the file lies.
    """

    def __init__(
        self,
        name: str,
        settings: Mapping[str, Any],
        frames: Frames,
        shape: tuple[int, int, int, int],
        cache_dir: str | os.PathLike[str],
    ) -> None:
        self.name, self.settings, self.frames, self.shape = name, dict(settings), frames, shape
        self.cache_dir = Path(cache_dir)
        self._file: h5py.File | None = None
        self._process = -1

    def __call__(self, sample: int, start: int, stop: int) -> np.ndarray:
        """Return frames [start, stop) as (t, h, w, c) float32 in [0, 1]; there is one sample, 0."""
        # a loader's worker is a fork that inherits the handle, with a position that the parent moves as well
        if self._file is None or self._process != os.getpid():
            self._file, self._process = h5py.File(self.build(), "r"), os.getpid()
        levels: np.ndarray = self._file["levels"][start:stop]
        return levels.astype(np.float32) / np.float32(_LEVELS)

    def build(self) -> Path:
        """Return the cache file, decoding all frames first if that was not done before."""
        return cached(self.cache_dir, self.name, self.settings, {"levels": self.shape}, self._fill)

    def _fill(self, file: h5py.File) -> None:
        one = 2 * int(np.prod(self.shape[1:]))
        chunk = (min(self.shape[0], max(1, _CHUNK // one)), *self.shape[1:])
        levels = file.create_dataset("levels", self.shape, "u2", chunks=chunk)
        block = np.empty(chunk, dtype=np.uint16)
        with progress_bar("Decoding") as progress:
            for number, frame in enumerate(self.frames()):
                within = number % chunk[0]
                block[within] = np.rint(np.clip(frame, 0, 1) * _LEVELS)
                if within + 1 == chunk[0] or number + 1 == self.shape[0]:  # whole chunks: each is written once
                    levels[number - within : number + 1] = block[: within + 1]
                    progress(number + 1, self.shape[0])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_process": -1}


@dataclass(frozen=True)
class _Files:
    """Decodes picture files in order; a frame is reduced before the next one is read."""

    files: tuple[Path, ...]
    reduction: Reduction
    channels: int

    def __call__(self) -> Iterator[np.ndarray]:
        for file in self.files:
            picture = read_picture(file)
            if picture.shape[:2] != self.reduction.size:  # whoever changes files while they are read is told
                raise _mixed(file, picture.shape[:2], self.files[0], self.reduction.size)
            frame = self.reduction(picture)
            yield frame if frame.shape[2] == self.channels else np.broadcast_to(frame[..., :1], (*frame.shape[:2], 3))


def read_image_folder(
    path: str | os.PathLike[str],
    times: str | os.PathLike[str] | None = None,
    rate: float | None = None,
    height: int | None = None,
    grey: bool = True,
    crop: Sequence[int] | None = None,
    cache_dir: str | os.PathLike[str] = "cache",
) -> Gridded:
    """Read a folder of `.png`, `.jpg` or `.jpeg` pictures as one recording, in natural order: `2.png` before `10.png`.

    Only headers are read here. Pictures are decoded with the first frames that are asked for, and once.

    Args:
        path: the folder.
        times: a text file with one time a line, see `read_times`; when omitted and there is no `rate`, `times.txt` or
            `timestamps.txt` in the folder or beside it.
        rate: pictures a second, if there are no times.
        height: rows after area averaging; unchanged if None.
        grey: one channel; otherwise red, green and blue, unless the pictures are grey themselves.
        crop: [top, bottom, left, right) in pixels of the files, before the reduction.
        cache_dir: where decoded frames are kept.

    Returns:
        (1, T, h, w, c) in [0, 1], times in seconds as the file has them, or from 0 on.

    Raises:
        DataError: the folder is missing or has no pictures, a picture cannot be read or has another size, or the times
            do not fit.
    """
    folder = Path(path)
    _refuse_extract(folder)
    files = _pictures(folder)
    sizes = [_header(file) for file in files]
    for file, (size, _) in zip(files, sizes, strict=True):
        if size != sizes[0][0]:
            raise _mixed(file, size, files[0], sizes[0][0])
    seconds, notes = _seconds(folder, len(files), times, rate)
    reduction = Reduction(folder, sizes[0][0], height, None if crop is None else crop_of(folder, crop), grey)
    channels = 1 if grey or not any(colour for _, colour in sizes) else 3
    state = [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    settings = {"what": "pictures", "folder": str(folder.resolve()), "files": state, **reduction_settings(reduction)}
    shape = (len(files), *reduction.shape, channels)
    read = CachedFrames(folder.name or "pictures", settings, _Files(files, reduction, channels), shape, cache_dir)
    names = ("grey",) if channels == 1 else ("red", "green", "blue")
    axes = (Axis("time", seconds, "s"), *reduction.axes())
    return Gridded(folder, "folder of pictures", 1, axes, names, read, notes=notes)


def reduction_settings(reduction: Reduction) -> dict[str, Any]:
    """Return what a cache of reduced frames depends on."""
    return {"height": reduction.height, "crop": list(reduction.box), "grey": reduction.grey}


def read_picture(file: Path) -> np.ndarray:
    """Decode one picture to (H, W, 1 or 3) float32 in [0, 1]; 16-bit grey keeps its 16 bits.

    Raises:
        DataError: the file is empty, truncated or no picture.
    """
    try:
        with Image.open(file) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):
                return np.asarray(upright, dtype=np.float32)[..., None] / np.float32(65535)
            plain = upright.convert("L" if upright.mode in ("1", "L", "LA") else "RGB")
            return np.atleast_3d(np.asarray(plain, dtype=np.float32)) / np.float32(255)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(file, error) from error


def read_times(path: str | os.PathLike[str], count: int) -> np.ndarray:
    """Read the times of `count` frames from a text file, one a line.

    Either plain seconds, or dates such as `2011-09-26 13:02:25.964389445`, which are read to the nanosecond and whose
    first is the origin: seconds since 1970 as float64 would keep no more than 0.2 microseconds.

    Args:
        path: the file; what follows a comma in a line is ignored, and so are empty lines.
        count: of frames.

    Returns:
        (count,) seconds, float64, increasing.

    Raises:
        DataError: the file is missing or empty, a line is neither a number nor a date, their number is not `count`, or
            they do not increase.
    """
    check_file(path)
    lines = [line.partition(",")[0].strip() for line in Path(path).read_text(errors="replace").splitlines()]
    texts = [(number, text) for number, text in enumerate(lines, 1) if text]
    if len(texts) != count:
        raise DataError(path, "file", f"{count} times, one for each picture", f"{len(texts)}")
    dates = bool(re.match(r"\d{4}-\d\d-\d\d", texts[0][1]))
    moments = [_moment(path, number, text, dates) for number, text in texts]
    for (number, _), before, after in zip(texts[1:], moments, moments[1:], strict=False):
        if not after > before:  # told here, where the line is known
            raise DataError(path, f"line {number}", "a later time than in the line before", lines[number - 1][:40])
    if dates:
        return (np.array(moments, dtype=np.int64) - moments[0]) / 1e9
    return np.array(moments, dtype=np.float64)


def natural(file: Path) -> tuple[tuple[int, str], ...]:
    """Return a sort key under which numbers in a name count as numbers."""
    parts = re.split(r"(\d+)", file.name)
    return tuple((int(part), "") if part.isdigit() else (-1, part.casefold()) for part in parts)


def _moment(path: str | os.PathLike[str], number: int, text: str, date: bool) -> int | float:
    """Return nanoseconds since 1970 of a date, or a number of seconds."""
    try:
        value = int(np.datetime64(text, "ns").astype(np.int64)) if date else float(text)
    except ValueError as error:
        wanted = "a date with a time of day" if date else "seconds or a date"
        raise DataError(path, f"line {number}", wanted, repr(text[:40])) from error
    if not np.isfinite(value):
        raise DataError(path, f"line {number}", "a finite number of seconds", text)
    return value


def _refuse_extract(folder: Path) -> None:
    """Refuse pictures of a KITTI drive that is not synchronised, from wherever above them it is opened."""
    for place in (folder.resolve(), *folder.resolve().parents):
        match = RAW_DRIVE.fullmatch(place.name)
        if match is not None and match["kind"] == "extract":
            raise DataError(folder, "drive", SYNCHRONISED, place.name)


def _pictures(folder: Path) -> tuple[Path, ...]:
    if not folder.is_dir():
        raise DataError(folder, "file", "a folder of pictures", "a file" if folder.exists() else "nothing")
    inside = [file for file in folder.iterdir() if not file.name.startswith(".")]
    files = sorted((file for file in inside if file.suffix.lower() in ENDINGS and file.is_file()), key=natural)
    if not files:
        some = ", ".join(sorted(file.name for file in inside)[:4]) or "an empty folder"
        raise DataError(folder, "file", f"pictures ({', '.join(ENDINGS)})", some)
    return tuple(files)


def _header(file: Path) -> tuple[tuple[int, int], bool]:
    """Return (H, W) of a picture as it is shown, and whether it has colours, without decoding it."""
    try:
        with Image.open(file) as image:
            width, height = image.size
            if file.suffix.lower() != ".png" and image.getexif().get(_ORIENTATION, 1) >= 5:
                width, height = height, width
            return (height, width), image.mode not in ("1", "L", "LA") and not image.mode.startswith("I")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> DataError:
    if isinstance(error, UnidentifiedImageError) or file.stat().st_size == 0:
        return DataError(file, "file", "a picture", "an empty file" if not file.stat().st_size else "something else")
    return DataError(file, "file", "a complete picture", str(error) or type(error).__name__)


def _mixed(file: Path, size: tuple[int, ...], first: Path, wanted: tuple[int, int]) -> DataError:
    return DataError(file, "size", f"{wanted[0]} x {wanted[1]} pixels as {first.name}", f"{size[0]} x {size[1]}")


def crop_of(path: Path, crop: Sequence[int]) -> Crop:
    """Return [top, bottom, left, right] as what it is, or say that it is not four numbers."""
    if len(crop) != 4:
        raise DataError(path, "crop", "[top, bottom, left, right]", f"{list(crop)}")
    return Crop(*(int(edge) for edge in crop))


def _seconds(
    folder: Path, count: int, times: str | os.PathLike[str] | None, rate: float | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return times (T,) from a file, or from a rate, and what was assumed."""
    if times is not None and rate is not None:
        raise DataError(folder, "times, rate", "one of them", f"both, {times} and {rate:g}")
    names = ("times.txt", "timestamps.txt")
    beside = [place / name for place in (folder, folder.parent) for name in names]
    found = [file for file in beside if file.is_file()] if times is None else [Path(times)]
    if rate is not None:
        if not (np.isfinite(rate) and rate > 0):
            raise DataError(folder, "rate", "pictures a second, more than 0", f"{rate}")
        told = f"times are those of {rate:g} pictures a second"
        return np.arange(count) / rate, (f"{told}, not those in {found[0].name}" if found else told,)
    if not found:
        raise DataError(folder, "times", "a file of times (times) or pictures a second (rate)", "neither")
    return read_times(found[0], count), () if times is not None else (f"times are those in {found[0].name}",)
