r"""From fluorescence to :math:`\Delta F / F`, for traces and for movies that do not fit into memory.

.. math::
    \frac{\Delta F}{F}(t) = \frac{F(t) - F_0(t)}{F_0(t)}

with a baseline :math:`F_0` of each ROI or pixel. It is estimated once, from frames read in bounded portions:

* `percentile`: a percentile over the recording;
* `mean`: the mean over the recording;
* `window`: the percentile of a window around each time, at knots half a window apart and linear between them;
* `none`: F is left as it is.

The baseline comes from the whole recording, frames that are held out later included, because it says what unit the
recording is in. With `percentile` and `mean` it is one number a channel, so that no R2 depends on it and no held-out
value can be recovered from it. With `window` it follows the held-out frames slowly: choose a window much longer than
the gaps, or give the frames that may be looked at to `Baseline.of`.

Source: Jia et al., In vivo two-photon imaging of sensory-evoked dendritic calcium signals, Nature Protocols 6 (2011).
"""

from __future__ import annotations

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
#: Bytes of frames in memory at once.
_BUDGET = 2**27


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
            budget: bytes of frames in memory at once, roughly; more are read in several passes.

        Returns:
            One knot, or with `window` one every half window; NaN where nothing was seen.
        """
        frames = np.arange(length) if known is None else np.flatnonzero(known)
        if kind == "mean":
            return cls(np.zeros(1), _mean(read, sample, frames, budget)[None])
        if kind == "percentile":
            return cls(np.zeros(1), _percentile(read, sample, _thinned(frames, _ENOUGH), percentile, budget)[None])
        half = max(1, window // 2)
        knots = np.linspace(0, length - 1, max(2, round(length / half) + 1)) if length > window else np.zeros(1)
        rows = []
        for knot in knots:
            inside = frames[np.abs(frames - knot) <= half] if len(knots) > 1 else frames
            inside = inside if len(inside) else frames[[np.abs(frames - knot).argmin()]]
            rows.append(_percentile(read, sample, _thinned(inside, _WINDOW), percentile, budget))
        return cls(knots, np.stack(rows))


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
        frames = self.read(sample, start, stop)
        good = base > self._lowest[sample]
        return np.where(good, (frames - base) / np.where(good, base, 1), self.fill).astype(np.float32)

    def baseline(self, sample: int) -> Baseline:
        """Return the baseline of a recording, found once.

        Raises:
            DataError: it is not positive in some trace, and `strict` is set.
        """
        if sample not in self._found:
            found = Baseline.of(self.read, sample, self.length, self.kind, self.percentile, self.window)
            low = ~(found.values > 0).all(axis=tuple(range(found.values.ndim - 1)))
            if self.strict and low.any():
                which = ", ".join(map(str, np.flatnonzero(low)[:5]))
                wanted = "a positive baseline F0 in every trace: a smaller neuropil factor, or dff none"
                raise DataError(self.place, "dF/F", wanted, f"none in trace {which}")
            positive = found.values[found.values > 0]
            self._lowest[sample] = self.floor * float(np.median(positive)) if positive.size else 0.0
            self._found[sample] = found
        return self._found[sample]


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


def _percentile(read: Reader, sample: int, frames: np.ndarray, percentile: float, budget: int) -> np.ndarray:
    """Return a percentile over frames, band by band of the first space axis if they do not fit into the budget."""
    one = read(sample, int(frames[0]), int(frames[0]) + 1)[0]
    rows = max(1, min(len(one), budget * len(one) // max(4 * one.size * len(frames), 1)))
    runs = _blocks(frames, _most(read, sample, frames, 4, budget))
    bands = []
    for first in range(0, len(one), rows):
        parts = [read(sample, int(run[0]), int(run[-1]) + 1)[:, first : first + rows] for run in runs]
        stack = np.concatenate(parts)
        empty = ~np.isfinite(stack).any(0)
        # a channel with nothing in it would be warned about, and is NaN anyway
        found = np.nanpercentile(np.where(empty, 0, stack), percentile, axis=0)
        bands.append(np.where(empty, np.nan, found))
    return np.concatenate(bands).astype(np.float32)
