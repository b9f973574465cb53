"""What is observed of whole recordings, whatever the windows that are cut from them, and how exactly."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from cst_lightning.datamodules.cutting import Window, middles
from cst_lightning.datamodules.draws import Observation, Stream, generator
from cst_lightning.datamodules.readers.source import Gridded, Reader
from cst_lightning.datamodules.readers.wrapped import measured
from cst_lightning.datamodules.trajectories import Trajectory

# Points of all recordings up to which what is drawn for them is kept.
_KEPT = 2**22


class RecordingDraw:
    """Observed frames or points of whole recordings: the same in every window that a frame is in.

    Training gets nothing but what is observed, and validation must not choose weights by what is held out either: it
    asks for a part of what is observed, which training then does not get, for a network comes to know a single
    recording. Where windows of the test overlap, what is held out is asked for in the one whose middle is nearest.

    Args:
        observation: share, scheme and seed; `points`, `frames` or `regular`.
        lengths: frames of each recording.
        shown: share of the observed that training gets and validation shows.
        windows: all of them; needed where those of one split overlap.
        breaks: frames before which the recordings pause.
    """

    def __init__(
        self,
        observation: Observation,
        lengths: Sequence[int],
        shown: float = 0.9,
        windows: Sequence[Window] = (),
        breaks: Sequence[int] = (),
    ) -> None:
        if observation.scheme not in ("points", "frames", "regular"):
            raise ValueError(
                f"holdout (scheme) is {observation.scheme!r} and divide 'within', expected holdout 'points', 'frames' "
                "or 'regular', or divide 'time' or 'samples'"
            )
        if isinstance(observation.observed, int) and observation.stride is None:
            raise ValueError(f"observed is {observation.observed}, expected a fraction: windows overlap")
        self.observation, self.shown = observation, shown
        self._breaks = np.asarray(breaks, dtype=int)
        whole = observation.scheme != "points"
        self._frames = [self._draw(r, n) for r, n in enumerate(lengths)] if whole else []
        self._inner = [self._part(r, seen) for r, seen in enumerate(self._frames)]
        self._middles = middles(windows)
        self._lengths = list(lengths)
        self._drawn: dict[tuple[int, int], np.ndarray] = {}

    def among(self, windows: Sequence[Window]) -> RecordingDraw:
        """Return the same draw for other windows."""
        found = copy.copy(self)
        found._middles = middles(windows)
        return found

    def observed(self, recording: int, start: int, stop: int, places: int, inner: bool = False) -> np.ndarray:
        """Return which points of frames [start, stop) are observed, (T, places) bool.

        Args:
            recording: which one.
            start: first frame.
            stop: frame after the last.
            places: points a frame.
            inner: only the part that validation shows.
        """
        if self.observation.scheme != "points":
            seen = (self._inner if inner else self._frames)[recording][start:stop]
            return np.repeat(seen[:, None], places, 1)
        share = float(self.observation.observed) * (self.shown if inner else 1.0)
        if sum(self._lengths) * places > _KEPT:
            return self._numbers(recording, start, stop, places) < share
        if (recording, places) not in self._drawn:
            self._drawn[recording, places] = self._numbers(recording, 0, self._lengths[recording], places)
        return self._drawn[recording, places][start:stop] < share

    def __call__(self, whole: Trajectory, window: Window) -> Trajectory:
        """Return a window with what is observed of it, and NaN where its split must not look."""
        places = len(whole.coords) // window.length
        frames = (window.recording, window.start, window.stop, places)
        seen = torch.from_numpy(self.observed(*frames).ravel())
        own = torch.from_numpy(self._asked_here(window)).repeat_interleave(places)
        if window.split == "test":
            values = torch.where((seen | own)[:, None], whole.values, torch.nan)
            return whole._replace(values=values, observed=seen)
        given = whole.values if whole.measured is None else whole.measured
        inner = torch.from_numpy(self.observed(*frames, inner=True).ravel())
        kept = inner if window.split == "train" else inner | (seen & own)
        return whole._replace(values=torch.where(kept[:, None], given, torch.nan), measured=None, observed=inner)

    def _asked_here(self, window: Window) -> np.ndarray:
        """Return which frames of a window, (T,) bool, no other window of its split has nearer to its middle."""
        frames = np.arange(window.start, window.stop)
        found = self._middles.get((window.split, window.recording))
        if found is None or window.split == "train":
            return np.ones(window.length, dtype=bool)
        own: np.ndarray = found[np.abs(frames[:, None] - found).argmin(1)] == window.middle  # of equals the first
        return own

    def _draw(self, recording: int, length: int) -> np.ndarray:
        """Draw the observed frames of a recording, (T,) bool; never without the ends, outside of which is no gap."""
        seen = np.zeros(length, dtype=bool)
        rng, own = generator(self.observation.seed, Stream.OBSERVED, recording), self.observation
        if own.stride is not None:
            seen[:: own.stride] = True
        elif own.scheme == "regular":
            seen[np.linspace(0, length - 1, max(2, round(own.observed * length))).round().astype(int)] = True
        else:
            ends = self._ends(length)
            others = np.setdiff1d(np.arange(length), ends)
            count = min(max(0, round(own.observed * length) - len(ends)), len(others))
            seen[ends] = True
            seen[rng.choice(others, count, replace=False)] = True
        return seen

    def _part(self, recording: int, frames: np.ndarray) -> np.ndarray:
        """Draw what validation shows of the observed frames; one of them at least is left to ask for."""
        seen = np.flatnonzero(frames)
        rng = generator(self.observation.seed, Stream.INNER, recording)
        inner = np.zeros(len(frames), dtype=bool)
        ends = np.isin(seen, self._ends(len(frames)))
        ends[[0, -1]] = True  # shown: outside of them is no gap
        inside = seen[~ends]
        inner[seen[ends]] = True
        inner[rng.choice(inside, min(round(self.shown * len(inside)), max(len(inside) - 1, 0)), replace=False)] = True
        return inner

    def _numbers(self, recording: int, start: int, stop: int, places: int) -> np.ndarray:
        """Draw what decides about points, (T, places) in [0, 1)."""
        # frame by frame, so that a window of a long recording needs no draw of all of it
        seed, stream = self.observation.seed, Stream.OBSERVED
        return np.stack([generator(seed, stream, recording, f).random(places) for f in range(start, stop)])

    def _ends(self, length: int) -> np.ndarray:
        """Return the first and the last frame, of the recording and of what lies between two pauses."""
        return np.unique([0, length - 1, *self._breaks, *(self._breaks - 1)])


@dataclass
class Noisy:
    """A `Reader` with Gaussian measurement noise: of a frame the same whenever and in whatever window it is read.

    Attributes:
        read: frames (t, *space, c); what else the reader has can be asked for as before.
        noise: standard deviation, in the units of the values.
        seed: of the noise.
    """

    read: Reader
    noise: float
    seed: int

    def __call__(self, recording: int, start: int, stop: int) -> np.ndarray:
        """Return frames (t, *space, c), float32."""
        frames = np.array(self.read(recording, start, stop), dtype=np.float32)
        for frame, number in zip(frames, range(start, stop), strict=True):
            frame += self.noise * generator(self.seed, Stream.NOISE, recording, number).standard_normal(frame.shape)
        return frames

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "read" not in self.__dict__:  # while it is being unpickled
            raise AttributeError(name)
        return getattr(self.read, name)


def noisy(source: Gridded, noise: float, seed: int) -> Gridded:
    """Return recordings as they are measured with noise; the truth stays what it was.

    Args:
        source: the recordings.
        noise: standard deviation, in the units of the values.
        seed: of the noise.
    """
    read = Noisy(source.read, noise, seed)
    known = getattr(source, "truth_read", None) is not None
    return replace(source if known else measured(source, source.read), read=read)
