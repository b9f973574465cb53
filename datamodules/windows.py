"""Recordings cut into windows: what every module for videos, microscopes and arrays of one's own is made of."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cst_lightning.datamodules import tokens as tokens_of
from cst_lightning.datamodules.base import FieldDataModule, Split
from cst_lightning.datamodules.draws import Observation, Stream, generator
from cst_lightning.datamodules.readers.source import Gridded, Reader
from cst_lightning.datamodules.tokens import Tokens
from cst_lightning.datamodules.trajectories import Trajectory, TrajectoryDataset, grid_coords
from cst_lightning.errors import DataError, check_ranges

Divide = Literal["auto", "time", "samples", "within"]

# From so many recordings on, whole ones are kept apart instead of parts of each.
_MANY = 10
# Bytes of all recordings up to which they are kept in memory.
_REMEMBERED = 2**28
# Observed frames in a training window.
_LEAST = 3
# Clocks whose ticks differ by less, relative to the median tick, are even.
_EVEN = 1e-4


class Window(NamedTuple):
    """Frames [start, start + length) of one recording, and what they are for."""

    recording: int
    start: int
    length: int
    split: Split

    @property
    def middle(self) -> float:
        """Between which frames it is centred."""
        return self.start + (self.length - 1) / 2


class Remembered:
    """A `Reader` that reads a recording once, for those that fit into memory; opening a file costs more than a window.

    Args:
        read: the reader.
        frames: T.
    """

    def __init__(self, read: Reader, frames: int) -> None:
        self.read, self.frames = read, frames
        self._whole: dict[int, np.ndarray] = {}

    def __call__(self, recording: int, start: int, stop: int) -> np.ndarray:
        """Return frames (t, *space, c)."""
        if recording not in self._whole:
            self._whole[recording] = np.asarray(self.read(recording, 0, self.frames))
        return self._whole[recording][start:stop]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_whole": {}}


class Windows(TrajectoryDataset):
    """Windows of recordings as trajectories, read when asked for; time is 0 at the first frame of each.

    Args:
        source: the recordings.
        tokens: how frames become points.
        windows: which frames.
        draw: which frames or points of whole recordings are observed, if that must not depend on the window; else
            every window is drawn on its own by the data module.
    """

    def __init__(
        self, source: Gridded, tokens: Tokens, windows: Sequence[Window], draw: RecordingDraw | None = None
    ) -> None:
        self.source, self.tokens, self.windows, self.draw = source, tokens, list(windows), draw
        self.time = source.axes[0].values
        # a simulation knows what was measured apart from what was there
        measured: Reader = source.read
        clean: Reader | None = getattr(source, "truth_read", None)
        if source.bytes <= _REMEMBERED:
            measured = Remembered(measured, len(self.time))
            clean = None if clean is None else Remembered(clean, len(self.time))
        self._measured, self._clean = measured, clean
        longest = max(self.windows, key=lambda w: w.length)
        space = [(float(axis.min()), float(axis.max())) for axis in tokens.axes]
        spans = [float(self.time[w.start + w.length - 1] - self.time[w.start]) for w in self.windows]
        self.box = (np.array([0.0, *(low for low, _ in space)]), np.array([max(spans), *(high for _, high in space)]))
        steps = np.diff(self.time)
        self._coords: Tensor | None = None
        if len(steps) == 0 or np.ptp(steps) <= _EVEN * np.median(steps):
            tick = (self.time[-1] - self.time[0]) / max(len(steps), 1)
            # one tensor for all windows: a copy in each would be larger than the values
            self._coords = grid_coords([tick * np.arange(longest.length), *tokens.axes])
            if len({w.length for w in self.windows}) == 1:
                self.grid = (longest.length, *tokens.places)

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> Trajectory:
        window = self.windows[index]
        part = slice(window.start, window.start + window.length)
        truth, measured = self._read(self._measured, window), None
        if self._clean is not None:
            truth, measured = self._read(self._clean, window), truth
        places = int(np.prod(self.tokens.places, dtype=int))
        if self._coords is not None:
            coords = self._coords[: window.length * places]
        else:
            coords = grid_coords([self.time[part] - self.time[window.start], *self.tokens.axes])
        whole = Trajectory(coords, truth, window.length, measured)
        return whole if self.draw is None else self.draw(whole, window)

    def frames(self, index: int) -> np.ndarray:
        """Return the true frames (T, *space, c) of a window, as far as they are known."""
        window = self.windows[index]
        read = self._clean or self._measured
        return np.array(read(window.recording, window.start, window.start + window.length), dtype=np.float32)

    def _read(self, read: Any, window: Window) -> Tensor:
        frames = read(window.recording, window.start, window.start + window.length)
        if np.isinf(frames).any():
            found = f"infinite ones in frames {window.start} to {window.start + window.length - 1}"
            raise DataError(self.source.path or "data", "values", "finite numbers, or NaN where unobserved", found)
        values = self.tokens.encode(np.asarray(frames, dtype=np.float32))
        return torch.from_numpy(np.array(values, dtype=np.float32)).reshape(-1, self.tokens.channels)


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
    """

    def __init__(
        self,
        observation: Observation,
        lengths: Sequence[int],
        shown: float = 0.9,
        windows: Sequence[Window] = (),
    ) -> None:
        if observation.scheme not in ("points", "frames", "regular"):
            raise ValueError(
                f"holdout (scheme) is {observation.scheme!r} and divide 'within', expected holdout 'points', 'frames' "
                "or 'regular', or divide 'time' or 'samples'"
            )
        if isinstance(observation.observed, int) and observation.stride is None:
            raise ValueError(f"observed is {observation.observed}, expected a fraction: windows overlap")
        self.observation, self.shown = observation, shown
        self._frames = [self._draw(r, n) for r, n in enumerate(lengths)]
        middles: dict[tuple[Split, int], list[float]] = {}
        for window in windows:
            middles.setdefault((window.split, window.recording), []).append(window.middle)
        self._middles = {key: np.array(found) for key, found in middles.items()}

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
            seen = self._frames[recording][start:stop].copy()
            if inner:
                seen &= self._inner(recording)[start:stop]
            return np.repeat(seen[:, None], places, 1)
        share = float(self.observation.observed) * (self.shown if inner else 1.0)
        # frame by frame, so that a window of a long recording needs no draw of all of it
        rows = [
            generator(self.observation.seed, Stream.OBSERVED, recording, f).random(places) for f in range(start, stop)
        ]
        return np.stack(rows) < share

    def __call__(self, whole: Trajectory, window: Window) -> Trajectory:
        """Return a window with what is observed of it, and NaN where its split must not look."""
        places = len(whole.coords) // window.length
        stop = window.start + window.length
        seen = torch.from_numpy(self.observed(window.recording, window.start, stop, places).ravel())
        own = torch.from_numpy(self._asked_here(window)).repeat_interleave(places)
        if window.split == "test":
            values = torch.where((seen | own)[:, None], whole.values, torch.nan)
            return whole._replace(values=values, observed=seen)
        measured = whole.values if whole.measured is None else whole.measured
        inner = torch.from_numpy(self.observed(window.recording, window.start, stop, places, inner=True).ravel())
        given = inner if window.split == "train" else inner | (seen & own)
        return whole._replace(values=torch.where(given[:, None], measured, torch.nan), measured=None, observed=inner)

    def _asked_here(self, window: Window) -> np.ndarray:
        """Return which frames of a window, (T,) bool, no other window of its split has nearer to its middle."""
        frames = np.arange(window.start, window.start + window.length)
        middles = self._middles.get((window.split, window.recording))
        if middles is None or window.split == "train":
            return np.ones(window.length, dtype=bool)
        own: np.ndarray = middles[np.abs(frames[:, None] - middles).argmin(1)] == window.middle  # of equals the first
        return own

    def _draw(self, recording: int, length: int) -> np.ndarray:
        """Draw the observed frames of a recording, (T,) bool; never without both ends, outside of which is no gap."""
        seen = np.zeros(length, dtype=bool)
        rng, own = generator(self.observation.seed, Stream.OBSERVED, recording), self.observation
        if own.stride is not None:
            seen[:: own.stride] = True
        elif own.scheme == "regular":
            seen[np.linspace(0, length - 1, max(2, round(own.observed * length))).round().astype(int)] = True
        else:
            ends = np.unique([0, length - 1])
            others = np.setdiff1d(np.arange(length), ends)
            count = min(max(0, round(own.observed * length) - len(ends)), len(others))
            seen[ends] = True
            seen[rng.choice(others, count, replace=False)] = True
        return seen

    def _inner(self, recording: int) -> np.ndarray:
        """Draw what validation shows of the observed frames; one of them at least is left to ask for."""
        seen = np.flatnonzero(self._frames[recording])
        rng = generator(self.observation.seed, Stream.INNER, recording)
        inner = np.zeros(len(self._frames[recording]), dtype=bool)
        inside = seen[1:-1]  # both ends are shown, outside of which is no gap
        inner[seen[[0, -1]]] = True
        inner[rng.choice(inside, min(round(self.shown * len(inside)), max(len(inside) - 1, 0)), replace=False)] = True
        return inner


class WindowedDataModule(FieldDataModule):
    """Windows of one recording, or of several, as samples.

    `divide` says what is kept for validation and test: `time`: the last parts of every recording, in the order train,
    val, test, and no window crosses a border; `samples`: whole recordings; `within`: nothing, every window is trained
    on, and what is held out are the frames or points that were not observed, which training never sees (for
    gap-filling of one's own recording); `auto`: `samples` from ten recordings on, else `time`.

    Args:
        window: frames a window; all there are in the part if None.
        stride: frames from one training window to the next; half a window if None. Those of the other parts do not
            overlap, or by half if nothing is kept for them (`within`), and what is held out is then scored once.
        divide: see above.
        tokens: how frames become points, see `cst_lightning.datamodules.tokens`.
        patch: cells along a side of a patch.
        overlap: cells that neighbouring patches share.
        components: number of principal components.
        every: with scheme `regular`: observe every so many-th frame of a window, or `within` of a recording, from its
            first frame on, instead of `observed` of them. What follows the last one is extrapolated: a window of
            n x every + 1 frames has none.
        **kwargs: see `FieldDataModule`; its `stride` is `every` here.

    Attributes:
        recordings: what `source` returned.
        tokens: the `Tokens`.
    """

    def __init__(
        self,
        *,
        window: int | None = None,
        stride: int | None = None,
        divide: Divide = "auto",
        tokens: tokens_of.Kind = "points",
        patch: int = 4,
        overlap: int = 0,
        components: int = 16,
        every: int | None = None,
        **kwargs: Any,
    ) -> None:
        check_ranges(
            window=(2 if window is None else window, 2, np.inf), stride=(1 if stride is None else stride, 1, np.inf),
            every=(1 if every is None else every, 1, np.inf),
        )  # fmt: skip
        self.recordings = self.source()
        space = [axis.values for axis in self.recordings.axes[1:]]
        self.tokens = tokens_of.build(tokens, space, len(self.recordings.channels), patch, overlap, components)
        self.window, self.stride = window, stride
        self.divide = ("samples" if self.recordings.samples >= _MANY else "time") if divide == "auto" else divide
        period = (None, *(_period(axis, wraps) for axis, wraps in self._space()))
        super().__init__(self.tokens.dimension, self.tokens.channels, period, stride=every, **kwargs)

    @property
    def axis_names(self) -> tuple[str, ...]:
        """Names of the coordinates as the file has them; rows of an image come before columns."""
        return tuple(axis.name for axis in self.recordings.axes[: self.dimension])

    @abstractmethod
    def source(self) -> Gridded:
        """Return the recordings' facts, and how to read them; nothing large is read here."""

    def trajectories(self) -> TrajectoryDataset:
        """Cut the windows; fit the tokens to observed training frames if they need it."""
        windows = self._plan()
        draw = self._draw(windows) if self.divide == "within" else None
        if not self.tokens.fitted:
            self.tokens.fit(self._observed_frames(windows, draw))
        return Windows(self.recordings, self.tokens, windows, draw)

    def members(self, total: int) -> dict[Split, np.ndarray]:
        """Return the windows of each split."""
        splits = np.array([window.split for window in self._plan()])
        return {name: np.flatnonzero(splits == name) for name in self.parts}

    def pictures(self, values: np.ndarray) -> np.ndarray:
        """Return frames (T, *space, c) from the values (T x places, C) of a window, or of any whole frames."""
        return self.tokens.decode(values.reshape(-1, *self.tokens.places, self.tokens.channels))

    def window_of(self, split: Split, i: int) -> Window:
        """Return which frames the i-th sample of a split is."""
        return self._plan()[int(self._split(split).members[self._position(split, i)])]

    def scored(self, values: Tensor) -> Tensor:
        """Return what is scored: of components the frames they stand for, of anything else itself.

        Frames are (..., pixels), without the pixels that were never measured.
        """
        if not isinstance(self.tokens, tokens_of.Components):
            return values
        part = self.tokens.measured
        mean, basis = (torch.from_numpy(x[..., part]).to(values) for x in (self.tokens.mean, self.tokens.basis))
        return mean + values @ basis

    def scored_truth(self, split: Split, i: int) -> Tensor:
        """Return what `scored` predictions should be; real frames, so that what no component reaches is an error."""
        truth = self.truth(split, i).values
        windows = self._splits[split].source
        if not isinstance(self.tokens, tokens_of.Components) or not isinstance(windows, Windows):
            return truth
        frames = torch.from_numpy(windows.frames(int(self._splits[split].members[i])))
        pixels = frames.flatten(1)[:, torch.from_numpy(self.tokens.measured)]
        return torch.where(truth.isnan().any(-1, keepdim=True), torch.nan, pixels)

    def _space(self) -> list[tuple[np.ndarray, bool]]:
        """Return the places' axes and whether they wrap."""
        return list(zip(self.tokens.axes, self.recordings.periodic[1:], strict=False))

    def _plan(self) -> list[Window]:
        """Return all windows, those of each split together, in order of time."""
        found = []
        for name, recording, start, stop in self._spans():
            length = self.window or stop - start
            if stop - start < length:
                raise ValueError(
                    f"{self._place_of()}: window: expected at most the {stop - start} frames of the {name} part, found "
                    f"{length}; a larger share for {name}, or `divide: within`, makes room"
                )
            half = max(1, length // 2)
            # within a recording, windows that only touched would leave what is dropped at their ends no neighbour
            step = (self.stride or half) if name == "train" else half if self.divide == "within" else length
            firsts = list(range(start, stop - length + 1, step))
            if self.divide == "within" and firsts[-1] + length < stop:
                firsts.append(stop - length)
            found += [Window(recording, first, length, name) for first in firsts]
        return [window for window in found if self._is_enough(window)]

    def _is_enough(self, window: Window) -> bool:
        """Return whether a training window has two observed frames to show and one to ask for: there may be fewer."""
        if window.split != "train" or self.divide != "within" or self.observation.scheme == "points":
            return True
        stop = window.start + window.length
        return bool(self._draw().observed(window.recording, window.start, stop, 1, inner=True).sum() >= _LEAST)

    def _draw(self, windows: Sequence[Window] = ()) -> RecordingDraw:
        """Return what is observed of whole recordings."""
        length = len(self.recordings.axes[0].values)
        return RecordingDraw(self.observation, [length] * self.recordings.samples, windows=windows)

    def _spans(self) -> list[tuple[Split, int, int, int]]:
        """Return which frames of which recording are for what: (split, recording, start, stop)."""
        samples, length = self.recordings.samples, len(self.recordings.axes[0].values)
        if self.divide == "within":
            return [(name, r, 0, length) for name, share in self.parts.items() if share for r in range(samples)]
        if self.divide == "samples":
            parts = super().members(samples)
            return [(name, int(r), 0, length) for name, part in parts.items() for r in part]
        shares = {k: n / length if isinstance(n, int) else n for k, n in self.parts.items()}
        if sum(shares.values()) > 1 + 1e-9:
            raise ValueError(
                f"train, val, test are {tuple(self.parts.values())}, expected at most all {length} frames together"
            )
        cuts = np.rint(np.cumsum([0.0, *shares.values()]) * length).astype(int).tolist()
        spans = list(zip(self.parts, cuts[:-1], cuts[1:], strict=True))
        return [(name, r, start, stop) for name, start, stop in spans for r in range(samples) if stop > start]

    def _observed_frames(self, windows: Sequence[Window], draw: RecordingDraw | None) -> np.ndarray:
        """Return observed training frames (T, *space, c), at most a few thousand, for the tokens to learn from."""
        frames: list[np.ndarray] = []
        seen: set[tuple[int, int]] = set()
        for i, window in enumerate(windows):
            if window.split != "train" or len(seen) >= 4096:
                continue
            stop = window.start + window.length
            if draw is not None:
                shown = draw.observed(window.recording, window.start, stop, 1)[:, 0]
            else:
                shown = self._shown(i, window)
            block = self.recordings.read(window.recording, window.start, stop)
            for n in np.flatnonzero(shown):
                if (window.recording, window.start + int(n)) not in seen:
                    seen.add((window.recording, window.start + int(n)))
                    frames.append(block[n])
        return np.stack(frames)

    def _shown(self, index: int, window: Window) -> np.ndarray:
        """Return which frames of a window are observed, (T,) bool, by the draw of its own."""
        time = torch.arange(window.length, dtype=torch.float64)[:, None]
        frames = Trajectory(time, torch.zeros(window.length, 1), window.length)
        shown = np.zeros(window.length, dtype=bool)
        shown[self.observation.positions(frames, index)] = True
        return shown


def _period(axis: np.ndarray, wraps: bool) -> float | None:
    """Return the length of an axis that wraps: one step more than from its first to its last place."""
    if not wraps or len(axis) < 2:
        return None
    return float(axis[-1] - axis[0]) * len(axis) / (len(axis) - 1)
