"""Movies and volumes in multi-page TIFF and OME-TIFF files, read page by page.

Axes and rate come from OME-XML, ImageJ's or ScanImage's description where there is one. A plain stack of pages is a
movie; `planes` and `interleaved` say how pages take turns where they do.
Sources: TIFF 6.0; OME-TIFF, https://docs.openmicroscopy.org/ome-model; ScanImage and ImageJ as tifffile reads them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from cst_lightning.datamodules.readers.optional import lazy_import
from cst_lightning.datamodules.readers.slices import check_numbers, frame_times, open_npy, overruled
from cst_lightning.datamodules.readers.source import Axis, Gridded
from cst_lightning.datamodules.readers.tiff_facts import Facts, facts_of
from cst_lightning.datamodules.trajectories import check_file
from cst_lightning.errors import DataError

# Letters with which tifffile says that it does not know what an axis is: a sequence of pages.
_SEQUENCES = "TIQ"


def read_tiff(
    path: str | os.PathLike[str],
    rate: float | None = None,
    interleaved: int = 1,
    channel: int = 0,
    *,
    planes: int = 1,
    axes: str | None = None,
    series: int | None = None,
) -> Gridded:
    """Open a movie (T, y, x) or a recording of volumes (T, z, y, x).

    Args:
        path: the file.
        rate: frames, or volumes, a second; the file's own times if None.
        interleaved: so many channels take turns, page by page, where the file's axes have no channels.
        channel: which of them, or of the file's own channels, counted from 0.
        planes: so many pages, of each channel, are one volume, where the file's axes have no depth.
        axes: what the axes are, such as "TYX" or "TZCYX", if the file is wrong about them or says nothing.
        series: which of several series of pages.

    Returns:
        Values (T, [z,] y, x, 1); rows are y. Space in the file's unit of length, or in pixels.

    Raises:
        DataError: the file is missing, truncated or in colour, or its axes are not those of one recording.
        MissingPackageError: tifffile is not installed.
    """
    path = Path(path)
    with _file(path) as tif:
        chosen = _series(tif, path, series)
        letters = _letters(path, chosen, axes, interleaved, planes)
        shape = dict(zip(letters, chosen.shape, strict=True))
        check_numbers(path, "pages", chosen.dtype)
        facts = facts_of(tif)
    turns = _turns(path, letters, shape, interleaved, channel, planes)
    depth = turns.depth
    times, unit, notes = _times(path, facts, turns, rate, (interleaved, channel, planes), axes)
    names = [*("z" for _ in range(depth > 1)), "y", "x"]
    sizes = {"z": depth, "y": shape["Y"], "x": shape["X"]}
    steps = {name: facts.steps.get(name, (1.0, "px" if name != "z" else "plane")) for name in names}
    space = (Axis(n, np.arange(sizes[n]) * steps[n][0], steps[n][1]) for n in names)
    reader = TiffFrames(path, turns, series or 0, (sizes["y"], sizes["x"]))
    left = () if not turns.left else (f"{turns.left} pages at the end are no whole frame and are left out",)
    kind = "TIFF volumes" if depth > 1 else "TIFF movie"
    said = (*notes, *_chosen(facts, shape, channel), *left)
    return Gridded(path, kind, 1, (Axis("time", times, unit), *space), ("fluorescence",), reader, notes=said)


class Turns(NamedTuple):
    """Which page is which: page ``start + t * time + z * plane``.

    Attributes:
        frames: T.
        depth: planes of a volume; 1 for a movie.
        start: page of the first frame.
        time: pages from one frame to the next.
        plane: pages from one plane to the next.
        left: pages behind the last whole frame.
    """

    frames: int
    depth: int
    start: int
    time: int
    plane: int
    left: int = 0


@dataclass
class TiffFrames:
    """Frames of a TIFF file; a `Reader`. The path travels to other processes, the open file does not.

    Attributes:
        path: the file.
        turns: which page is which.
        series: number of the series.
        size: of a page.
    """

    path: Path
    turns: Turns
    series: int
    size: tuple[int, int]
    _open: Any = field(default=None, repr=False, compare=False)
    _process: int = field(default=-1, repr=False, compare=False)

    def __call__(self, sample: int, start: int, stop: int) -> np.ndarray:
        """Return frames (t, [z,] y, x, 1), float32; NaN where a page is missing."""
        turns = self.turns
        count = max(0, min(stop, turns.frames) - start)
        frames = np.empty((count, turns.depth, *self.size), dtype=np.float32)
        for t in range(count):
            for z in range(turns.depth):
                frames[t, z] = self._page(turns.start + (start + t) * turns.time + z * turns.plane)
        return frames[..., None] if turns.depth > 1 else frames[:, 0, ..., None]

    def _page(self, number: int) -> np.ndarray | float:
        if self._open is None or self._process != os.getpid():
            tif = lazy_import("tifffile").TiffFile(self.path)
            series = tif.series[self.series]
            # pages that follow each other without compression are one array, which may have no headers of its own
            whole: Any = None
            if series.dataoffset is not None:
                dtype = series.dtype.newbyteorder(tif.byteorder)
                whole = np.memmap(self.path, dtype, "r", series.dataoffset, tuple(series.shape))
                whole = whole.reshape(-1, *self.size)
            self._open, self._process = (tif, series, whole), os.getpid()
        _, series, whole = self._open
        if whole is not None:
            return np.asarray(whole[number])
        try:
            page = series.pages[number]
            return np.nan if page is None else np.asarray(page.asarray()).reshape(self.size)
        except Exception as error:  # every compression has errors of its own
            raise DataError(self.path, f"page {number}", "a readable page", f"{error}" or "none") from error

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None, "_process": -1}

    def __del__(self) -> None:
        if self._open is not None:
            self._open[0].close()


def read_mask(path: str | os.PathLike[str], shape: tuple[int, ...]) -> np.ndarray:
    """Read a picture that says which pixels count: those that are not 0.

    Args:
        path: TIFF, PNG or `.npy`.
        shape: of the frames, (y, x) or (z, y, x).

    Returns:
        Bool, of that shape.

    Raises:
        DataError: the file is missing, damaged or of another shape, or masks everything.
    """
    path = Path(path)
    check_file(path)
    if path.suffix.lower() == ".npy":
        picture = np.asarray(open_npy(path))
    elif path.suffix.lower() in (".tif", ".tiff"):
        with _file(path) as tif:
            picture = np.asarray(tif.asarray())
    else:
        try:
            with Image.open(path) as opened:
                picture = np.asarray(opened.convert("I" if opened.mode.startswith("I") else "L"))
        except (OSError, ValueError) as error:
            raise DataError(path, "file", "a picture", str(error)) from error
    if picture.shape != shape:
        raise DataError(path, "mask", f"shape {shape} as the frames", f"{picture.shape}")
    mask: np.ndarray = np.nan_to_num(picture) != 0
    if not mask.any():
        raise DataError(path, "mask", "at least one pixel that is not 0", "none")
    return mask


@contextmanager
def _file(path: Path) -> Iterator[Any]:
    """Open a TIFF file; what tifffile only logs about a damaged one is an error here."""
    check_file(path)
    tifffile = lazy_import("tifffile")
    heard = _Heard()
    logger = logging.getLogger("tifffile")
    logger.addFilter(heard)
    try:
        with tifffile.TiffFile(path) as tif:
            damaged = len(tif.pages) == 0 or not tif.series
            if heard.lines or damaged:
                raise DataError(path, "file", "a complete TIFF file", heard.lines[0] if heard.lines else "no pages")
            yield tif
    except DataError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError, IndexError, TypeError) as error:
        raise DataError(path, "file", "a complete TIFF file", f"{error}" or type(error).__name__) from error
    except Exception as error:
        # a header cut in two ends in struct.error, a broken chain of pages in tifffile's own
        raise DataError(path, "file", "a complete TIFF file", f"{type(error).__name__}: {error}") from error
    finally:
        logger.removeFilter(heard)


class _Heard(logging.Filter):
    """Keeps what is said about damage from the terminal, for the error to say."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Take a message if it is about pages that are not where they should be."""
        text = record.getMessage()
        if "invalid page offset" in text or "corrupted" in text or "failed to reshape" in text:
            self.lines.append(text)
            return False
        return True


def _series(tif: Any, path: Path, series: int | None) -> Any:
    found = tif.series
    if series is None and len(found) > 1:
        shapes = ", ".join(f"{i}: {s.axes} {tuple(s.shape)}" for i, s in enumerate(found[:6]))
        raise DataError(path, "series", "the option series to choose one, or pages of one size", shapes)
    if not 0 <= (series or 0) < len(found):
        raise DataError(path, f"series {series}", f"one of 0 to {len(found) - 1}", "no such series")
    return found[series or 0]


def _letters(path: Path, series: Any, axes: str | None, interleaved: int, planes: int) -> str:
    """Return one letter an axis of a series: T, Z, C, then Y and X."""
    letters = axes.upper() if axes is not None else str(series.axes)
    if len(letters) != len(series.shape):
        raise DataError(path, "axes", f"{len(series.shape)} letters for shape {tuple(series.shape)}", letters)
    sequences = [letter for letter in letters if letter in _SEQUENCES]
    if axes is None and len(sequences) == 1:
        letters = letters.replace(sequences[0], "T")
    if axes is None and letters == "YX":
        raise DataError(path, "axes", "several pages", "one picture")
    outer, inner = letters[:-2], letters[-2:]
    if inner != "YX" or not set(outer) <= set("TZC") or len(set(outer)) != len(outer) or "T" not in outer:
        wanted = "axes T, Z, C in any order and then YX, or the option axes to say what they are"
        raise DataError(path, "axes", wanted, f"{letters} {tuple(series.shape)}")
    if ("C" in outer and interleaved > 1) or ("Z" in outer and planes > 1):
        wanted = "interleaved and planes only where the file has no axes C and Z"
        raise DataError(path, "axes", wanted, f"{letters} {tuple(series.shape)}")
    return letters


def _turns(path: Path, letters: str, shape: dict[str, int], interleaved: int, channel: int, planes: int) -> Turns:
    """Return which page is which; without axes of their own, channels take turns first, then planes."""
    if interleaved < 1 or planes < 1:
        raise DataError(path, "interleaved, planes", "numbers of at least 1", f"{interleaved}, {planes}")
    stride, pages = {}, 1
    for letter in reversed(letters[:-2]):
        stride[letter] = pages
        pages *= shape[letter]
    channels, depth = shape.get("C", interleaved), shape.get("Z", planes)
    if not 0 <= channel < channels:
        raise DataError(path, "channel", f"0 to {channels - 1}", f"{channel}")
    group = interleaved * planes  # of the pages that T counts when it stands for all three
    frames, left = divmod(shape["T"], group)
    if frames < 1:
        raise DataError(path, "pages", f"at least {group}, one frame", f"{shape['T']}")
    start = channel * stride.get("C", stride["T"])
    plane = stride.get("Z", interleaved * stride["T"])
    return Turns(frames, depth, start, group * stride["T"], plane, left)


def _times(
    path: Path, facts: Facts, turns: Turns, rate: float | None, taking: tuple[int, int, int], axes: str | None
) -> tuple[np.ndarray, str, tuple[str, ...]]:
    """Return times (T,), their unit and notes: the user's rate, else each page's own time, else the file's rate."""
    interleaved, channel, planes = taking
    own = facts.rate
    if facts.volumes is not None and own is not None:
        # both are the same number where planes are a slow stack that the microscope knows nothing of
        own = min(facts.volumes, own / turns.depth) if turns.depth > 1 else own
    elif own is not None:
        own /= interleaved * planes  # the file's T counts pages where they take turns
    first = channel if interleaved > 1 else 0
    stamps = [_stamp(facts, first + t * interleaved * planes, channel) for t in range(turns.frames)]
    known = np.array([np.nan if stamp is None else stamp for stamp in stamps])
    stored = "the file's own times" if facts.stamps else "" if own is None else f"the {own:g}/s of the file"
    if rate is not None:
        times, unit, _ = frame_times(path, turns.frames, rate, "")
        return times, unit, (overruled(rate, stored),) if stored and rate != own else ()
    notes: tuple[str, ...] = ()
    if facts.stamps and axes is None:
        if np.isfinite(known).all() and (np.diff(known) > 0).all():
            return known, "s", ("times are the DeltaT of each plane, from the file",)
        missing = int(np.isnan(known).sum())
        why = f"{missing} of {len(known)} frames have none" if missing else "they do not increase"
        notes = (f"DeltaT of the planes is not used: {why}",)
    times, unit, told = frame_times(path, turns.frames, own, "the file has no rate, time counts frames: set rate")
    taken = () if own is None else (f"rate is {own:g}/s, from the file",)
    return times, unit, (*notes, *told, *taken)


def _stamp(facts: Facts, t: int, channel: int) -> float | None:
    """Return when a frame begins, s: its first plane, of its own channel if that has times."""
    for c in (channel, 0):
        found = facts.stamps.get((t, 0, c))
        if found is not None:
            return found
    return None


def _chosen(facts: Facts, shape: Mapping[str, int], channel: int) -> tuple[str, ...]:
    """Return a note about which channel is read, where the file has several."""
    count = shape.get("C", 1)
    if count < 2:
        return ()
    name = f" ({facts.channels[channel]})" if len(facts.channels) == count and facts.channels[channel] else ""
    return (f"channel {channel} of {count}{name} is read: set channel for another",)
