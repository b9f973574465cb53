"""Recordings cut into windows: what every module for videos, microscopes and arrays of one's own is made of."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from cst_lightning.datamodules import cutting, gaps
from cst_lightning.datamodules import tokens as tokens_of
from cst_lightning.datamodules.base import FieldDataModule, Split
from cst_lightning.datamodules.blend import BlendedPatches
from cst_lightning.datamodules.cutting import Window
from cst_lightning.datamodules.readers.source import Gridded, Source
from cst_lightning.datamodules.recording_draws import RecordingDraw, noisy
from cst_lightning.datamodules.trajectories import Trajectory, TrajectoryDataset
from cst_lightning.datamodules.window_dataset import Remembered, Windows, is_remembered
from cst_lightning.errors import DataError, check_ranges

__all__ = ["Divide", "RecordingDraw", "Remembered", "Window", "WindowedDataModule", "Windows"]

Divide = Literal["auto", "time", "samples", "within"]

# Order in which windows are numbered within a recording.
_NUMBERED = ("test", "val", "train")

# From so many recordings on, whole ones are kept apart instead of parts of each.
_MANY = 10
# Observed frames in a training window.
_LEAST = 3
# Bytes of frames that tokens learn from, and how many of them: time grows with the square of the latter.
_LEARNT, _FRAMES = 2**28, 2048


class WindowedDataModule(FieldDataModule):
    """Windows of one recording, or of several, as samples.

    `divide` says what is kept for validation and test: `time`: the last parts of every recording, in the order train,
    val, test, and no window crosses a border; `samples`: whole recordings; `within`: nothing, every window is trained
    on, and what is held out are the frames or points that were not observed, which training never sees (for
    gap-filling of one's own recording); `auto`: `samples` from ten recordings on, else `time`.

    No window crosses a pause of the clock, a step of ten usual ones, unless whole recordings are the samples. Windows
    with too few values that are not NaN are left out; both is noted. `noise` is added to frames before they become
    tokens, such as components, and of a frame is the same in every window.

    Args:
        window: frames a window; all there are in the part if None.
        stride: frames from one training window to the next; half a window if None. Those of the other parts do not
            overlap, or by half if nothing is kept for them (`within`), and what is held out is then scored once, unless
            no window that it is in has anything observed.
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
        recordings: what `source` returned, measured with `noise`.
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
        self._windows: list[Window] | None = None
        self._drawn: RecordingDraw | None = None
        self._usable: np.ndarray | None = None
        self._left_out: list[str] = []
        self.divide = ("samples" if self.recordings.samples >= _MANY else "time") if divide == "auto" else divide
        period = (None, *(_period(axis, wraps) for axis, wraps in self._space()))
        super().__init__(self.tokens.dimension, self.tokens.channels, period, stride=every, **kwargs)
        self._noise = self.observation.noise
        if self._noise:  # a frame is measured once, whatever the windows that it is in
            self.recordings = noisy(self.recordings, self._noise, self.seed)
            self.observation = replace(self.observation, noise=0.0)

    # what to do about a channel without values, in words
    _how_to_leave_out = "leave it out of the file"

    @property
    def axis_names(self) -> tuple[str, ...]:
        """Names of the coordinates as the file has them; rows of an image come before columns."""
        return tuple(axis.name for axis in self.recordings.axes[: self.dimension])

    @abstractmethod
    def source(self) -> Gridded:
        """Return the recordings' facts, and how to read them; nothing large is read here."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was assumed of the recordings, and what of them is left out; the latter is known after `setup`."""
        return tuple(dict.fromkeys([*self.recordings.notes, *self._left_out]))

    def trajectories(self) -> TrajectoryDataset:
        """Cut the windows; fit the tokens to observed training frames if they need it; look for gaps."""
        windows = self._plan()
        draw = self._draw(windows) if self.divide == "within" else None
        if not self.tokens.fitted:
            self.tokens.fit(self._observed_frames(windows, draw))
        found = Windows(self.recordings, self.tokens, windows, draw)
        if self._looked_at:
            self._leave_out(found)
        return found

    def members(self, total: int) -> dict[Split, np.ndarray]:
        """Return the windows of each split that something can be learnt or scored with."""
        windows = self._plan()
        splits = np.array([window.split for window in windows])
        kept = np.ones(len(windows), dtype=bool) if self._usable is None else self._usable
        return {name: np.flatnonzero((splits == name) & kept) for name in self.parts}

    def covering(self, windows: Sequence[Window]) -> Windows:
        """Return other windows of the same recordings as trajectories, with the observations that these have.

        Args:
            windows: any, of the split that says what of them may be seen.
        """
        self._split("test")  # sets up, and with that fits the tokens
        return Windows(self.recordings, self.tokens, windows, self._draw(windows) if self.divide == "within" else None)

    def pictures(self, values: np.ndarray) -> np.ndarray:
        """Return frames (T, *space, c) from the values (T x places, C) of a window, or of any whole frames."""
        return self.tokens.decode(values.reshape(-1, *self.tokens.places, self.tokens.channels))

    def window_of(self, split: Split, i: int) -> Window:
        """Return which frames the i-th sample of a split is."""
        return self._plan()[int(self._split(split).members[self._position(split, i)])]

    def scored(self, values: Tensor) -> Tensor:
        """Return what is scored: of components and of patches that overlap the frames, of anything else itself.

        Components (..., T, C) become frames (..., T, numbers), without the pixels that were never measured. Patches
        (..., T x places, C) are blended to pixels (..., T x pixels, c); what is no whole frame is left out.
        """
        cells, own = self._scored_cells(), self.tokens
        if cells is None:
            return values
        if isinstance(own, tokens_of.Components):
            mean, basis = (torch.from_numpy(x[..., cells]) for x in (own.mean, own.basis))
            return mean + values.double() @ basis
        places = int(np.prod(own.places, dtype=int))
        frames = values.shape[-2] // places
        flat = values[..., : frames * places, :].double().numpy().reshape(-1, *own.places, own.channels)
        made = torch.from_numpy(own.decode(flat)).flatten(1)
        if not own.axes:
            return made[:, cells].reshape(*values.shape[:-1], -1)
        kept = np.asarray(cells.reshape(-1, own.cell).all(1))
        pixels = made.reshape(len(made), len(kept), own.cell)[:, kept]
        return pixels.reshape(*values.shape[:-2], frames * pixels.shape[1], own.cell)

    def scored_truth(self, split: Split, i: int) -> Tensor:
        """Return what `scored` predictions should be; real frames, so that what no component reaches is an error.

        A pixel of several patches is NaN if one of them is.
        """
        truth = self.truth(split, i).values
        windows, cells = self._splits[split].source, self._scored_cells()
        if cells is None or not isinstance(windows, Windows):
            return truth
        frames = torch.from_numpy(windows.frames(int(self._splits[split].members[i]))).double()
        hidden = truth.isnan().any(-1, keepdim=True)
        if not self.tokens.axes:
            return torch.where(hidden, torch.nan, frames.flatten(1)[:, torch.from_numpy(cells)])
        pixels = frames.reshape(len(frames), -1, self.tokens.cell)
        kept = pixels[:, torch.from_numpy(cells).reshape(-1, self.tokens.cell).all(1)]
        return torch.where(self.scored(hidden.expand(-1, self.channels)) > 0, torch.nan, kept.flatten(0, 1))

    def _scored_cells(self) -> np.ndarray | None:
        """Return which numbers of a frame (*space, c) are scored, (numbers,) bool; None if tokens are, as they are."""
        if isinstance(self.tokens, tokens_of.Components):
            return self.tokens.measured
        blended = isinstance(self.tokens, BlendedPatches)
        return np.ones(int(np.prod(self.recordings.shape[2:])), dtype=bool) if blended else None

    def _space(self) -> list[tuple[np.ndarray, bool]]:
        """Return the places' axes and whether they wrap."""
        return list(zip(self.tokens.axes, self.recordings.periodic[1:], strict=False))

    def _plan(self) -> list[Window]:
        """Return all windows, those of each split together and in order of time."""
        if self._windows is None:
            self._windows = [window for window in self._cut() if self._is_enough(window)]
            if self.divide == "within":  # how many are left to train on depends on the draw, no number of a test must
                self._windows.sort(key=lambda window: _NUMBERED.index(window.split))
            if not any(window.split == "train" for window in self._windows):
                raise ValueError(
                    f"{self._place_of()}: observed: expected at least {_LEAST} observed frames in some training "
                    "window, found fewer in all; a larger observed or window helps"
                )
        return self._windows

    def _cut(self) -> list[Window]:
        """Cut windows from what lies between pauses; where whole recordings are asked for, those."""
        axis = self.recordings.axes[0]
        whole = self.window is None and self.divide == "samples"
        breaks = np.empty(0, dtype=int) if whole else cutting.pauses(axis.values)
        if len(breaks):
            self._left_out.append(cutting.pauses_text(axis))
        found = []
        for name, recording, start, stop in self._spans():
            parts = cutting.stretches(breaks, start, stop)
            longest = max(end - first for first, end in parts)
            if longest < (self.window or 0):
                raise ValueError(
                    f"{self._place_of()}: window: expected at most the {longest} frames of the {name} part"
                    f"{' between two pauses' if len(parts) > 1 else ''}, found {self.window}; a larger share for "
                    f"{name}, or `divide: within`, makes room"
                )
            for first, end in parts:
                if self.window is None and end - first < min(_LEAST, longest):
                    continue  # a frame or two beside a pause
                length = self.window or end - first
                found += [Window(recording, n, length, name) for n in self._firsts(name, first, end, length)]
        return found

    def _firsts(self, split: Split, start: int, stop: int, length: int) -> list[int]:
        """Return the first frames of the windows of a stretch."""
        half, within = max(1, length // 2), self.divide == "within"
        # within a recording, windows that only touched would leave what is dropped at their ends no neighbour
        step = (self.stride or half) if split == "train" else half if within else length
        return cutting.firsts(start, stop, length, step, within)

    def _is_enough(self, window: Window) -> bool:
        """Return whether the draw leaves a window something to read, and in training two frames and one to ask for."""
        if self.divide != "within" or self.observation.scheme == "points":
            return True
        seen = self._draw().observed(*window[:2], window.stop, 1, inner=window.split != "test").sum()
        return bool(seen >= (_LEAST if window.split == "train" else 1))

    def _draw(self, windows: Sequence[Window] = ()) -> RecordingDraw:
        """Return what is observed of whole recordings."""
        if self._drawn is None:
            time = self.recordings.axes[0].values
            lengths = [len(time)] * self.recordings.samples
            self._drawn = RecordingDraw(self.observation, lengths, breaks=cutting.pauses(time).tolist())
        return self._drawn.among(windows) if windows else self._drawn

    @property
    def _looked_at(self) -> bool:
        """Whether all values are read to find windows without enough of them; of large files none are."""
        return is_remembered(self.recordings)

    def _leave_out(self, found: Windows) -> None:
        """Find the windows that are lost to gaps; the others keep their numbers, and with these their draws."""
        real = {}  # of recordings with gaps, as long as it takes

        def of(recording: int) -> np.ndarray | None:
            real[recording] = found.real(recording)
            return real[recording]

        def judge(window: Window, points: np.ndarray, i: int) -> bool:
            return self._is_usable(found.coords(window), window, points, i)

        self._usable = gaps.usable(found.windows, of, judge)
        if self._usable.all():
            return
        splits = np.array([window.split for window in found.windows])
        for name in ("train", "test"):
            if (splits == name).any() and not self._usable[splits == name].any():
                raise self._nothing_left(name, self.recordings, real)
        lost = [f"{(~self._usable[splits == n]).sum()} of {(splits == n).sum()} of {n}" for n in self.parts]
        lost = [text for text in lost if not text.startswith("0 ")]
        self._left_out.append(f"windows with too few values that are not NaN are left out: {', '.join(lost)}")
        if found.draw is not None:
            kept = [window for window, use in zip(found.windows, self._usable, strict=True) if use]
            found.draw = found.draw.among(kept)

    def _is_usable(self, coords: Tensor, window: Window, real: np.ndarray, index: int) -> bool:
        """Return whether a window with gaps has enough to learn from, or something to show and something to ask for."""
        known = torch.from_numpy(real.ravel())
        seen = None
        if self.divide == "within":
            frames = (window.recording, window.start, window.stop, real.shape[1])
            seen = torch.from_numpy(self._draw().observed(*frames, inner=window.split != "test").ravel())
        values = torch.where(known, 0.0, torch.nan)[:, None]
        whole = Trajectory(coords, values, window.length, None, seen)
        shown = self.observation.positions(whole, index)
        if window.split == "train":
            return len(np.unique(self.observation.groups(whole, shown))) >= self._needed
        if self.divide == "within" and window.split == "val":  # asks for a tenth, of which a window may have none
            return len(shown) > 0
        return 0 < len(shown) < int(real.sum())

    @property
    def _needed(self) -> int:
        """Observed points, or times, that a training sample must have."""
        return _LEAST if self.target == "masked" and not self.dense_points else 1

    def _nothing_left(self, split: Split, source: Source, real: dict[int, np.ndarray | None]) -> DataError:
        """Say what it is that leaves no window of a split."""
        return gaps.nothing_left(self._place_of(), split, source, real, self._how_to_leave_out)

    def _check_observed(self, truth: Trajectory, observed: np.ndarray, index: int) -> None:
        """Refuse too small samples where all were looked at before; of large files they teach nothing, and no more."""
        if self._looked_at:
            super()._check_observed(truth, observed, index)

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
        """Return frames (T, *space, c) that training sees, for the tokens to learn from.

        Evenly spread where all of them would be more than the budget, but always twice as many as components.
        """
        seen = np.zeros(self.recordings.shape[:2], dtype=bool)
        for i, window in enumerate(windows):
            if window.split == "train":
                stop = window.start + window.length
                # what validation asks for is observed, but not trained on: it must not shape the basis either
                shown = (
                    self._shown(i, window)
                    if draw is None
                    else draw.observed(window.recording, window.start, stop, 1, inner=True)[:, 0]
                )
                seen[window.recording, window.start : stop] |= shown
        found, shape = np.argwhere(seen), self.recordings.shape[2:]
        most = max(_LEARNT // (4 * int(np.prod(shape, dtype=np.int64))), 2 * self.tokens.channels)
        found = found[np.linspace(0, len(found) - 1, min(len(found), most, _FRAMES)).round().astype(int)]
        frames = np.empty((len(found), *shape), dtype=np.float32)
        for n, (recording, frame) in enumerate(found.tolist()):
            frames[n] = self.recordings.read(recording, frame, frame + 1)[0]
        return frames

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
