r"""From fluorescence to :math:`\Delta F / F`, for traces and for movies that do not fit into memory.

.. math::
    \frac{\Delta F}{F}(t) = \frac{F(t) - F_0(t)}{F_0(t)}

with a baseline :math:`F_0` of each ROI or pixel. It is estimated once, from frames read in bounded portions:

* `percentile`: a percentile over the recording;
* `mean`: the mean over the recording;
* `window`: the percentile of a window around each time, at knots half a window apart and linear between them;
* `none`: F is left as it is.

The baseline comes from what a `Known` lets it see, which is not what is held out: it is what every value is measured
with, so that a held-out frame that took part in it would change what training sees. Which values those are must not
depend on dF/F, which does not exist yet.

Source: Jia et al., In vivo two-photon imaging of sensory-evoked dendritic calcium signals, Nature Protocols 6 (2011).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from cst_lightning.datamodules.readers.source import Reader
from cst_lightning.errors import DataError

Kind = Literal["percentile", "window", "mean", "none"]

#: So many frames tell a percentile to about one part in a hundred of the frames; more are not read for it.
_ENOUGH = 2000
#: So many of a window.
_WINDOW = 200
#: Fewer are not used where those do not fit into memory at once; then frames are read once for each band of pixels.
_LEAST = 100
#: Bytes of frames in memory at once.
_BUDGET = 2**28
#: And while they are sorted.
_SORTED = 2**24


@dataclass(frozen=True)
class Known:
    """What a baseline may be taken from.

    Attributes:
        frames: for each recording (T,) bool, the frames that may be looked at.
        cells: for single numbers of those: a `Reader` of bool, (t, *space, c) or what broadcasts to it; all if None.
    """

    frames: tuple[np.ndarray, ...]
    cells: Reader | None = None

    def masked(self, read: Reader) -> Reader:
        """Return a reader that gives NaN for what may not be looked at in the frames that may."""
        cells = self.cells
        if cells is None:
            return read
        return lambda sample, start, stop: np.where(cells(sample, start, stop), read(sample, start, stop), np.nan)


@dataclass(frozen=True)
class Baseline:
    """F0 of every channel of every place: values at knots, linear in between, constant outside.

    Attributes:
        knots: (K,) positions in frames, increasing.
        values: (K, *space, c) float32.
    """

    knots: np.ndarray
    values: np.ndarray

    def __call__(self, start: int, stop: int) -> np.ndarray:
        """Return F0 at frames [start, stop), (t or 1, *space, c)."""
        if len(self.knots) == 1:
            return self.values
        frame = np.clip(np.arange(start, stop), self.knots[0], self.knots[-1])
        right = np.clip(np.searchsorted(self.knots, frame), 1, len(self.knots) - 1)
        weight = (frame - self.knots[right - 1]) / (self.knots[right] - self.knots[right - 1])
        weight = weight.reshape(-1, *(1,) * (self.values.ndim - 1)).astype(np.float32)
        return np.asarray((1 - weight) * self.values[right - 1] + weight * self.values[right])

    @classmethod
    def of(
        cls,
        read: Reader,
        sample: int,
        length: int,
        kind: Kind = "percentile",
        percentile: float = 10.0,
        window: int = 600,
        known: np.ndarray | None = None,
        budget: int = _BUDGET,
    ) -> Baseline:
        """Estimate the baseline of one recording.

        Args:
            read: of its frames.
            sample: which recording.
            length: T.
            kind: `percentile`, `window` or `mean`.
            percentile: in [0, 100], of the values that are not NaN.
            window: frames of a window.
            known: (T,) bool, the frames that may be looked at; all if None.
            budget: bytes of frames in memory at once, roughly: so few frames are taken, but not fewer than a hundred.

        Returns:
            One knot, or with `window` one every half window; NaN where nothing was seen at any time.

        Raises:
            ValueError: no frame may be looked at.
        """
        frames = np.arange(length) if known is None else np.flatnonzero(known)
        if not len(frames):
            raise ValueError(f"dff is {kind!r}, expected some observed frames to take a baseline from, found none")
        if kind == "mean":
            return cls(np.zeros(1), _mean(read, sample, frames, budget)[None])
        if kind == "percentile":
            return cls(np.zeros(1), _percentile(read, sample, frames, _ENOUGH, percentile, budget)[None])
        half = max(1, window // 2)
        knots = np.linspace(0, length - 1, max(2, round(length / half) + 1)) if length > window else np.zeros(1)
        rows = []
        for knot in knots:
            inside = np.abs(frames - knot) <= half if len(knots) > 1 else np.ones(len(frames), dtype=bool)
            rows.append(
                _percentile(read, sample, frames[inside], _WINDOW, percentile, budget)
                if inside.any()
                else np.full_like(read(sample, 0, 1)[0], np.nan, dtype=np.float32)
            )
        return cls(knots, _filled(np.stack(rows)))


@dataclass
class DeltaF:
    """Frames of another reader as dF/F; a `Reader`. The baseline is found at the first frame that is asked for.

    Attributes:
        read: of fluorescence.
        length: T.
        kind: which baseline.
        percentile: of the values.
        window: frames.
        fill: what to give where there is no dF/F: outside a mask, and where the baseline is not above the floor.
        floor: least baseline, as a part of the median one: at the dark rim that a motion correction leaves, dF/F is
            noise without limit.
        strict: name the channel in an error instead: a trace without a positive baseline is a mistake.
        place: the file, for that error.
        known: says what the baseline may be taken from, asked for when that is done; everything if None.
    """

    read: Reader
    length: int
    kind: Kind = "percentile"
    percentile: float = 10.0
    window: int = 600
    fill: float = np.nan
    floor: float = 0.0
    strict: bool = False
    place: Any = "data"
    known: Callable[[], Known] | None = None
    _lowest: dict[int, float] = field(default_factory=dict, repr=False, compare=False)
    _found: dict[int, Baseline] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind) or self.kind == "none":
            raise ValueError(f"dff is {self.kind!r}, expected one of {', '.join(get_args(Kind))}")
        if not 0 <= self.percentile <= 100 or self.window < 1:
            found = f"{self.percentile}, {self.window}"
            raise ValueError(f"percentile and baseline window are {found}, expected 0 to 100 and at least one frame")

    def __call__(self, sample: int, start: int, stop: int) -> np.ndarray:
        """Return dF/F of frames (t, *space, c), float32."""
        base = self.baseline(sample)(start, stop)
        frames, good = self.read(sample, start, stop), self.bright(sample)
        return np.where(good, (frames - base) / np.where(good, base, 1), self.fill).astype(np.float32)

    def bright(self, sample: int) -> np.ndarray:
        """Return what has dF/F, at all times: whose baseline is never below the floor; (*space, c) bool."""
        values = self.baseline(sample).values
        return np.asarray((values > self._lowest[sample]).all(0))

    def baseline(self, sample: int) -> Baseline:
        """Return the baseline of a recording, found once.

        Raises:
            DataError: it is not positive in some trace, and `strict` is set.
        """
        if sample not in self._found:
            known = None if self.known is None else self.known()
            read = self.read if known is None else known.masked(self.read)
            frames = None if known is None else known.frames[sample]
            found = Baseline.of(read, sample, self.length, self.kind, self.percentile, self.window, frames)
            low = ~(found.values > 0).all(axis=tuple(range(found.values.ndim - 1)))
            if self.strict and low.any():
                which = ", ".join(map(str, np.flatnonzero(low)[:5]))
                wanted = "a positive baseline F0 in every trace: with suite2p a smaller neuropil factor, or dff none"
                raise DataError(self.place, "dF/F", wanted, f"none in trace {which}")
            positive = found.values[found.values > 0]
            self._lowest[sample] = self.floor * float(np.median(positive)) if positive.size else 0.0
            self._found[sample] = found
        return self._found[sample]

    def __getstate__(self) -> dict[str, Any]:
        # what is known is a data module's affair, which does not travel with a reader
        if self.known is not None and not self._found:
            self.baseline(0)
        return {**self.__dict__, "known": None}


def _thinned(frames: np.ndarray, most: int) -> np.ndarray:
    """Return at most so many of the frames, evenly spread."""
    return frames if len(frames) <= most else frames[np.linspace(0, len(frames) - 1, most).round().astype(int)]


def _blocks(frames: np.ndarray, most: int) -> list[np.ndarray]:
    """Split frames into runs that a reader is asked for at once: neighbours together, at most so many."""
    cuts = np.flatnonzero(np.diff(frames) > 1) + 1
    return [run[i : i + most] for run in np.split(frames, cuts) for i in range(0, len(run), most)]


def _mean(read: Reader, sample: int, frames: np.ndarray, budget: int) -> np.ndarray:
    total = count = np.float64(0)
    for block in _blocks(frames, _most(read, sample, frames, 8, budget)):
        values = read(sample, int(block[0]), int(block[-1]) + 1)
        real = np.isfinite(values)
        total = total + np.where(real, values, 0).sum(0, dtype=np.float64)
        count = count + real.sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _most(read: Reader, sample: int, frames: np.ndarray, size: int, budget: int) -> int:
    """Return how many frames fit into the budget, at so many bytes a number."""
    one = read(sample, int(frames[0]), int(frames[0]) + 1)
    return max(1, budget // max(size * one.size, 1))


def _percentile(read: Reader, sample: int, frames: np.ndarray, most: int, percentile: float, budget: int) -> np.ndarray:
    """Return a percentile over at most so many of the frames, (*space, c).

    Each is read once. Where not even a hundred fit into the budget, that is done for each band of the first space axis.
    """
    one = read(sample, int(frames[0]), int(frames[0]) + 1)[0]
    fit = budget // max(4 * one.size, 1)
    frames = _thinned(frames, min(most, max(fit, _LEAST)))
    rows = max(1, min(len(one), fit * len(one) // len(frames)))
    runs = _blocks(frames, max(1, fit))
    bands = []
    for first in range(0, len(one), rows):
        stack = np.empty((len(frames), *one[first : first + rows].shape), dtype=np.float32)
        filled = 0
        for run in runs:
            part = read(sample, int(run[0]), int(run[-1]) + 1)[:, first : first + rows]
            stack[filled : filled + len(part)] = part
            filled += len(part)
        bands.append(_sorted_percentile(stack.reshape(len(stack), -1), percentile).reshape(stack.shape[1:]))
    return np.concatenate(bands)


def _sorted_percentile(values: np.ndarray, percentile: float) -> np.ndarray:
    """Return the percentile of each column, linear between ranks and of what is not NaN; NaN if nothing is.

    NumPy's own does this column by column in Python, 20 times slower.
    """
    found = np.empty(values.shape[1], dtype=np.float32)
    width = max(1, _SORTED // max(values.nbytes // max(values.shape[1], 1), 1))
    for first in range(0, values.shape[1], width):
        part = np.sort(values[:, first : first + width].T, axis=1)  # NaN come last
        count = part.shape[1] - np.isnan(part).sum(1)
        rank = np.maximum(count - 1, 0) * percentile / 100
        low = np.floor(rank).astype(int)
        ends = [np.take_along_axis(part, at[:, None], 1)[:, 0] for at in (low, np.minimum(low + 1, count - 1))]
        found[first : first + width] = ends[0] + (rank - low) * (ends[1] - ends[0])
    return found


def _filled(values: np.ndarray) -> np.ndarray:
    """Return knots (K, *space, c) with those of NaN replaced by the one before, or the one after where none is."""
    for order in (range(1, len(values)), range(len(values) - 2, -1, -1)):
        step = order.step
        for k in order:
            values[k] = np.where(np.isnan(values[k]), values[k - step], values[k])
    return values
