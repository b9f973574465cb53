"""Videos: any file that FFmpeg reads, through PyAV, at the times at which its frames are meant to be shown.

A frame's time is its presentation timestamp, ``pts * time_base`` seconds. Frames are not evenly spaced in most videos
of telephones and screens, so that a number divided by a rate would be wrong.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cst_lightning.datamodules.readers.images import CachedFrames, Reduction, crop_of, reduction_settings
from cst_lightning.datamodules.readers.optional import lazy_import
from cst_lightning.datamodules.readers.source import Axis, Gridded
from cst_lightning.datamodules.trajectories import check_file
from cst_lightning.errors import DataError

ENDINGS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")


class Header(NamedTuple):
    """What a video says of itself without being decoded.

    Attributes:
        stamps: (T,) presentation timestamps, increasing, in units of `base`.
        base: seconds.
        size: (H, W) as shown, that is after the rotation.
        turns: quarter turns, anticlockwise, with which pictures are to be shown; telephones turn the camera.
        aspect: width over height of a pixel as shown.
    """

    stamps: tuple[int, ...]
    base: Fraction
    size: tuple[int, int]
    turns: int
    aspect: float


def read_video(
    path: str | os.PathLike[str],
    height: int | None = None,
    grey: bool = True,
    crop: Sequence[int] | None = None,
    cache_dir: str | os.PathLike[str] = "cache",
) -> Gridded:
    """Read the first video track of a file as one recording.

    Only timestamps and one picture are read here. Frames are decoded, reduced and cached with the first ones that are
    asked for, one at a time.

    Args:
        path: the file.
        height: rows after area averaging; unchanged if None.
        grey: one channel; otherwise red, green and blue.
        crop: [top, bottom, left, right) in pixels of the file as shown, before the reduction.
        cache_dir: where decoded frames are kept.

    Returns:
        (1, T, h, w, c) in [0, 1], times in seconds as the file has them.

    Raises:
        DataError: the file is missing, empty, truncated, no video, or its timestamps do not increase.
        MissingPackageError: PyAV is not installed.
    """
    check_file(path)
    source = Path(path)
    header = read_header(source)
    box = None if crop is None else crop_of(source, crop)
    reduction = Reduction(source, header.size, height, box, grey, header.aspect)
    state = source.stat()
    settings = {"what": "video", "source": str(source.resolve()), "bytes": state.st_size,
                "modified": state.st_mtime_ns, **reduction_settings(reduction)}  # fmt: skip
    names = ("grey",) if grey else ("red", "green", "blue")
    times = np.array([float(stamp * header.base) for stamp in header.stamps])
    shape = (len(times), *reduction.shape, len(names))
    read = CachedFrames(source.stem, settings, _Decoder(source, header, reduction), shape, cache_dir)
    return Gridded(source, "video", 1, (Axis("time", times, "s"), *reduction.axes()), names, read)


def read_header(path: Path) -> Header:
    """Read timestamps of all packets, and what the first picture looks like.

    Raises:
        DataError: as `read_video`.
    """
    av: Any = lazy_import("av")
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            stream = _track(container, path)
            # edit lists make players skip some packets; those are decoded, as others build on them, but never shown
            # nothing but numbers is kept: the packets of a film together are the film
            packets = [(packet.pts, packet.is_discard) for packet in container.demux(stream) if packet.size]
            shown = [pts for pts, discarded in packets if not discarded]
            base, promised = Fraction(stream.time_base or 1), stream.frames
            ticks = container.format.name == "avi"
        if None in shown:
            raise DataError(path, "time", "a presentation timestamp for every frame", "a frame without one")
        if not shown:
            raise DataError(path, "file", "a video with frames", "none")
        found = _until(sorted(shown)) if ticks else len(packets)
        if promised > found:  # the table of contents comes first, the pictures end early
            raise DataError(path, "file", f"{promised} frames as its header says", f"{found}: it is truncated")
        with av.open(str(path), metadata_errors="replace") as container:
            stream = _track(container, path)
            picture = next(container.decode(stream), None)
            if picture is None:
                raise DataError(path, "file", "frames that can be decoded", "none")
            turns = round(getattr(picture, "rotation", 0) / 90) % 4
            aspect = float(stream.sample_aspect_ratio or 1)
            size = (picture.height, picture.width)
    except (av.error.FFmpegError, UnicodeDecodeError, OverflowError) as error:
        raise DataError(path, "file", "a complete video", _reason(error)) from error
    if turns % 2:
        size, aspect = size[::-1], 1 / aspect
    return Header(tuple(sorted(shown)), base, size, turns, aspect)


@dataclass(frozen=True)
class _Decoder:
    """Decodes a video from its beginning, reducing each frame before the next one is read."""

    path: Path
    header: Header
    reduction: Reduction

    def __call__(self) -> Iterator[np.ndarray]:
        av: Any = lazy_import("av")
        stamps = iter(self.header.stamps)
        number = 0
        try:
            with av.open(str(self.path), metadata_errors="replace") as container:
                stream = _track(container, self.path)
                for picture in container.decode(stream):
                    wanted = next(stamps, None)
                    if wanted is None:
                        break
                    self._check(number, picture, wanted)
                    yield self.reduction(self._upright(picture))
                    number += 1
        except (av.error.FFmpegError, UnicodeDecodeError, OverflowError) as error:
            raise DataError(self.path, f"frame {number}", "a readable frame", _reason(error)) from error
        if number < len(self.header.stamps):
            found = f"none after {number} of {len(self.header.stamps)}"
            raise DataError(self.path, f"frame {number}", "a readable frame", found)

    def _check(self, number: int, picture: Any, wanted: int) -> None:
        if picture.is_corrupt:
            raise DataError(self.path, f"frame {number}", "a readable frame", "a damaged one")
        if picture.pts != wanted:  # a decoder passes over what it cannot read, and all times after it would be wrong
            at, base = float(wanted * self.header.base), self.header.base
            found = "one without a time" if picture.pts is None else f"the one at {float(picture.pts * base):g} s"
            raise DataError(self.path, f"frame {number}", f"a readable frame at {at:g} s", found)

    def _upright(self, picture: Any) -> np.ndarray:
        """Return a frame (H, W, 3) in [0, 1] as it is to be shown."""
        colours: np.ndarray = np.rot90(picture.to_ndarray(format="rgb24"), self.header.turns)
        if colours.shape[:2] != self.header.size:
            found = "{1} x {0}".format(*colours.shape)
            raise DataError(self.path, "size", f"{self.header.size[1]} x {self.header.size[0]} throughout", found)
        return colours.astype(np.float32) / np.float32(255)


def _track(container: Any, path: Path) -> Any:
    if not container.streams.video:
        raise DataError(path, "file", "a video track", "none")
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    return stream


def _until(stamps: Sequence[int]) -> int:
    """Return how many ticks increasing timestamps reach.

    An AVI file counts ticks of its clock as frames, those too at which the picture before is to stay.
    """
    return stamps[-1] + max((after - before for before, after in pairwise(stamps)), default=1)


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
