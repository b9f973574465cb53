"""What is missing in recordings: frames, places and channels without a value, and windows that are lost with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from cst_lightning.datamodules.cutting import Window
from cst_lightning.datamodules.readers.source import Gridded, Reader, Source
from cst_lightning.datamodules.tokens import Components, Tokens
from cst_lightning.errors import DataError

# Bytes of values in memory at once, and that are read at most to look for channels without a value.
_CHUNK, _LIMIT = 2**24, 2**28
# Frames that are looked at first: as a rule they have a value in every channel.
_FIRST = 8

#: Says of a window, the points (T, P) of it that have values, and its position whether it can be used.
Judge = Callable[[Window, np.ndarray, int], bool]


def real_points(read: Reader, recording: int, frames: int, tokens: Tokens) -> np.ndarray | None:
    """Return which points of a recording have a value in every channel, (T, P) bool; None if all have.

    Args:
        read: the reader.
        recording: which one.
        frames: T.
        tokens: how frames become points.
    """
    found: list[np.ndarray] = []
    lost = False
    for start, stop in _blocks(frames, tokens):
        block = read(recording, start, stop)
        gaps = bool(np.isnan(block).any())
        lost |= gaps
        if gaps:
            found.append(_real(np.asarray(block, dtype=np.float32), tokens))
        else:
            found.append(np.ones((stop - start, math.prod(tokens.places)), dtype=bool))
    return np.concatenate(found) if lost else None


def usable(windows: Sequence[Window], real: Callable[[int], np.ndarray | None], judge: Judge) -> np.ndarray:
    """Return which windows can be used, (n,) bool: all that are complete, of the others those that pass.

    Args:
        windows: all of them.
        real: of `real_points`, by recording.
        judge: asked about windows in which something is missing.
    """
    found = np.ones(len(windows), dtype=bool)
    recordings = np.array([window.recording for window in windows])
    for recording in np.unique(recordings).tolist():
        points = real(recording)
        if points is None:
            continue
        lost = np.concatenate([[0], np.cumsum((~points).sum(1))])
        for i in np.flatnonzero(recordings == recording).tolist():
            window = windows[i]
            if lost[window.stop] > lost[window.start]:
                found[i] = judge(window, points[window.start : window.stop], i)
    return found


def longest_gap(points: np.ndarray | None) -> tuple[int, int] | None:
    """Return the first and the last frame of the longest run of frames without a value, if there is one.

    Args:
        points: of `real_points`.
    """
    if points is None or points.any(1).all():
        return None
    empty = np.concatenate([[False], ~points.any(1), [False]]).astype(int)
    starts, stops = np.flatnonzero(np.diff(empty) == 1), np.flatnonzero(np.diff(empty) == -1)
    longest = int((stops - starts).argmax())
    return int(starts[longest]), int(stops[longest]) - 1


def empty_channels(source: Source) -> list[int]:
    """Return the positions of the channels that hold nothing but NaN.

    Nothing is said of recordings that are too large to be read for it, have to be decoded, or are simulated.

    Args:
        source: what a reader returned.
    """
    empty = np.ones(len(source.channels), dtype=bool)
    pieces = _pieces(source) if isinstance(source, Gridded) else iter(source.values)
    for values in pieces:
        empty &= np.isnan(values).reshape(-1, len(empty)).all(0)
        if not empty.any():
            return []
    known = not isinstance(source, Gridded) or (source.bytes <= _LIMIT and not _costly(source))
    return np.flatnonzero(empty).tolist() if known else []


def nothing_left(
    place: str, split: str, source: Source, real: Mapping[int, np.ndarray | None], advice: str
) -> DataError:
    """Return what to say if a split has no window left: which channel, or which gap, is to blame.

    Args:
        place: of the data.
        split: its name.
        source: the recordings.
        real: of `real_points`, by recording; of scattered points there are none.
        advice: what to do about a channel without a value.
    """
    found, empty = "none", empty_channels(source)
    runs = [(run, r) for r, points in real.items() if (run := longest_gap(points)) is not None]
    if 0 < len(empty) < len(source.channels):
        names = ", ".join(source.channels[i] for i in empty[:8]) + (", ..." if len(empty) > 8 else "")
        found = f"none in channel {names}; {advice}"
    elif runs:
        (first, last), recording = max(runs, key=lambda one: one[0][1] - one[0][0])
        where = f" of recording {recording}" if len(real) > 1 else ""
        found = f"none, or too few, in every window of {split}; none in frames {first} to {last}{where}"
    return DataError(place, "values", "a number that is not NaN", found)


def _pieces(source: Gridded) -> Iterator[np.ndarray]:
    """Yield a few frames from everywhere, and then all of a recording that is not too large."""
    samples, frames = source.shape[:2]
    size = 4 * math.prod(source.shape[2:])
    if _costly(source) or size > _CHUNK:
        return
    for place in np.linspace(0, samples * frames - 1, _FIRST).astype(int).tolist():
        sample, frame = divmod(place, frames)
        yield source.read(sample, frame, frame + 1)
    if source.bytes <= _LIMIT:
        length = max(1, _CHUNK // size)
        for sample in range(samples):
            for start in range(0, frames, length):
                yield source.read(sample, start, min(frames, start + length))


def _costly(source: Gridded) -> bool:
    """Return whether frames would have to be decoded or computed; those have a value everywhere."""
    return any(hasattr(source.read, name) for name in ("build", "file"))


def _blocks(frames: int, tokens: Tokens) -> Iterator[tuple[int, int]]:
    length = max(1, _CHUNK // (4 * tokens.cell * math.prod(tokens.space)))
    for start in range(0, frames, length):
        yield start, min(frames, start + length)


def _real(block: np.ndarray, tokens: Tokens) -> np.ndarray:
    """Return which points of frames (t, *space, c) have a value in every channel, (t, P) bool."""
    if isinstance(tokens, Components):
        cells = block.reshape(len(block), -1)[:, tokens.measured]
        whole: np.ndarray = ~np.isnan(cells).any(1)
        return whole[:, None]
    points: np.ndarray = ~np.isnan(tokens.encode(block)).reshape(len(block), -1, tokens.channels).any(-1)
    return points
