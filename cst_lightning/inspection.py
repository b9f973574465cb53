"""What a file holds, in numbers: axes, rate, gaps, range and missing values; behind `cst data describe`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from cst_lightning.datamodules.readers.source import Axis, Gridded, Scattered, Source
from cst_lightning.errors import DataError
from cst_lightning.runs import write_text
from cst_lightning.usage import UsageError

Progress = Callable[[int, int], None]  # done, total

#: Bytes of values that `describe` reads unless it is told to read all of them.
LIMIT = 512 * 2**20
# Bytes of values in memory at once.
_CHUNK = 16 * 2**20
# A step is a gap if it is so many times as long as the median one.
_GAP = 1.5
# If more than this part of all steps are gaps, the axis is uneven, and has no gaps.
_UNEVEN = 0.2
# So many channels are listed one by one.
_LISTED = 8


class Gap(NamedTuple):
    """A step much longer than the others.

    Attributes:
        start: where it begins, in the axis' unit.
        length: in the same unit.
    """

    start: float
    length: float


class Steps(NamedTuple):
    """How regular an axis is, in its unit.

    Attributes:
        median: step.
        shortest: step.
        longest: step, gaps included.
        jitter: standard deviation of the steps that are no gaps, over the median.
        gaps: steps of more than 1.5 medians; none if a fifth of all steps are.
    """

    median: float
    shortest: float
    longest: float
    jitter: float
    gaps: tuple[Gap, ...]

    @property
    def equal(self) -> bool:
        """Whether all steps are the same, but for the rounding of what a file holds in float32."""
        return self.longest - self.shortest <= 1e-4 * self.median


class Moments:
    """Range, mean and spread of values that come in pieces, one of each a channel; memory does not grow.

    Args:
        channels: c.

    Attributes:
        size: values seen a channel, whatever they were.
        count: (c,) finite ones.
        missing: (c,) NaN.
        low: (c,) smallest finite value, infinity if there is none.
        high: (c,) largest, minus infinity if there is none.
        mean: (c,) of the finite ones.
    """

    def __init__(self, channels: int) -> None:
        self.size = 0
        self.count = np.zeros(channels, dtype=np.int64)
        self.missing = np.zeros(channels, dtype=np.int64)
        self.low, self.high = np.full(channels, np.inf), np.full(channels, -np.inf)
        self.mean, self._squares = np.zeros(channels), np.zeros(channels)

    def update(self, values: np.ndarray) -> None:
        """Add values (..., c)."""
        part = values.reshape(-1, len(self.count)).astype(np.float64)
        finite = np.isfinite(part)
        count = finite.sum(0)
        mean = np.where(finite, part, 0).sum(0) / np.maximum(count, 1)
        squares = (np.where(finite, part - mean, 0) ** 2).sum(0)
        self.low = np.minimum(self.low, part.min(0, initial=np.inf, where=finite))
        self.high = np.maximum(self.high, part.max(0, initial=-np.inf, where=finite))
        # sums of squares about different means are joined by the distance of these (Chan et al. 1979)
        both, shift = np.maximum(self.count + count, 1), mean - self.mean
        self._squares += squares + shift**2 * self.count * count / both
        self.mean += shift * count / both
        self.size += len(part)
        self.count += count
        self.missing += np.isnan(part).sum(0)

    @property
    def std(self) -> np.ndarray:
        """(c,) standard deviation of the finite values."""
        spread: np.ndarray = np.sqrt(self._squares / np.maximum(self.count, 1))
        return spread

    @property
    def infinite(self) -> int:
        """Number of values that are neither finite nor NaN, in all channels."""
        return int(self.size * len(self.count) - self.count.sum() - self.missing.sum())

    @property
    def empty(self) -> np.ndarray:
        """(c,) whether a channel has no finite value."""
        return np.asarray(self.count == 0)

    @property
    def constant(self) -> np.ndarray:
        """(c,) whether a channel has one value only."""
        return np.asarray((self.count > 0) & (self.low == self.high))


class Description(NamedTuple):
    """What `describe` found.

    Attributes:
        source: what was described.
        steps: of each axis of a grid; None where it has one point, and for scattered points.
        moments: of the values that were read.
        read: values a channel that were read.
        total: values a channel that there are.
    """

    source: Source
    steps: tuple[Steps | None, ...]
    moments: Moments
    read: int
    total: int


def describe(source: Source, limit: int | None = LIMIT, progress: Progress | None = None) -> Description:
    """Read a source piece by piece and say what is in it.

    Args:
        source: any.
        limit: bytes of values to read; of more, evenly spread pieces are read, and of a video its beginning. None
            reads everything.
        progress: told (done, total) values.

    Raises:
        DataError: values cannot be read.
    """
    moments = Moments(len(source.channels))
    if isinstance(source, Scattered):
        for values in source.values:
            moments.update(values)
        return Description(source, (None,) * len(source.axes), moments, moments.size, moments.size)
    places = math.prod(source.shape[2:-1])
    blocks, frames = _spread(source, limit)
    for block in blocks:
        moments.update(block)
        if progress is not None:
            progress(moments.size // places, frames)
    steps = tuple(regularity(axis.values) for axis in source.axes)
    return Description(source, steps, moments, moments.size, places * source.samples * len(source.axes[0].values))


def regularity(values: np.ndarray) -> Steps | None:
    """Return how regular an increasing axis (n,) is; None if it has one point."""
    steps = np.diff(values)
    if not len(steps):
        return None
    median = float(np.median(steps))
    long = steps > _GAP * median
    if long.mean() > _UNEVEN:
        long[:] = False
    gaps = tuple(Gap(float(values[i]), float(steps[i])) for i in np.flatnonzero(long))
    return Steps(median, float(steps.min()), float(steps.max()), float(steps[~long].std() / median), gaps)


def report(found: Description) -> str:
    """Return a description as lines for a person."""
    source, lines = found.source, [f"{found.source.path or 'data'}: {found.source.layout}"]
    body = _of_grid(source, found.steps) if isinstance(source, Gridded) else _of_points(source)
    body.append(("memory", f"{size_text(_bytes(source))} as float32"))
    body += _of_values(found)
    body += [("note", note) for note in source.notes]
    body += [("warning", text) for text in _warnings(found)]
    width = max(len(label) for label, _ in body)
    lines += [f"  {label:<{width}}  {text}" for label, text in body]
    return "\n".join(lines)


def save_config(settings: dict[str, Any], path: Path, origin: str, force: bool = False) -> None:
    """Write settings for `cst-fit` in one step.

    Args:
        settings: what `datamodules.suggestions.suggest` returns.
        path: where to.
        origin: the described file, for the comment on top.
        force: overwrite what is there.

    Raises:
        UsageError: there is a file of this name, and `force` was not given.
    """
    refuse_existing(path, force)
    head = f"# Suggested by `cst data describe {origin}`. `cst-fit --config {path.name}` trains on it.\n"
    write_text(path, head + config_text(settings))


def config_text(settings: dict[str, Any]) -> str:
    """Return settings as YAML."""
    return yaml.safe_dump(_plain(settings), sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)


def refuse_existing(path: Path, force: bool) -> None:
    """Say in one line that a file would be lost, or that it could not be written at all."""
    if path.is_dir():
        raise UsageError(f"{path}: expected the name of a file, found a folder")
    if path.exists() and not force:
        raise UsageError(f"{path}: exists already; --force overwrites it")
    if not path.parent.is_dir():
        raise UsageError(f"{path}: expected a file in a folder that exists, found no {path.parent}")


def size_text(count: float) -> str:
    """Return a number of bytes for a person."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.4g} TiB"


def whole_blocks(source: Gridded, length: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield (sample, start, frames (t, *space, c)) of everything there is, in order.

    Videos and pictures are decoded as they come: `read` would first decode all of them into a cache.

    Args:
        source: any.
        length: frames at once.
    """
    total = source.shape[1]
    decoded = getattr(source.read, "frames", None)
    if decoded is not None and source.samples == 1:
        frames = decoded()
        for start in range(0, total, length):
            block = list(islice(frames, min(length, total - start)))
            if len(block) < min(length, total - start):
                raise DataError(source.path or "data", f"frame {start + len(block)}", "a frame", "none")
            yield 0, start, np.stack(block)
        return
    for sample in range(source.samples):
        for start in range(0, total, length):
            yield sample, start, source.read(sample, start, min(total, start + length))


def _spread(source: Gridded, limit: int | None) -> tuple[Iterator[np.ndarray], int]:
    """Return blocks of frames within the limit, evenly spread, and how many frames that will be about."""
    frames, frame = source.shape[1], max(1, 4 * math.prod(source.shape[2:]))
    length = min(frames, max(1, _CHUNK // frame))
    each = math.ceil(frames / length)
    total = source.samples * each
    chosen = total if limit is None else min(total, max(1, limit // (length * frame)))
    about = source.samples * frames if chosen == total else chosen * length
    if chosen == total or hasattr(source.read, "frames"):  # what has to be decoded in order is read from its beginning
        return (block for _, _, block in islice(whole_blocks(source, length), chosen)), about

    def blocks() -> Iterator[np.ndarray]:
        for i in range(chosen):  # exact integers: a file may have more pieces than a float has digits
            sample, start = divmod(i * (total - 1) // max(1, chosen - 1), each)
            yield source.read(sample, start * length, min(frames, (start + 1) * length))

    return blocks(), about


def _bytes(source: Source) -> int:
    return source.bytes if isinstance(source, Gridded) else 4 * sum(values.size for values in source.values)


def _of_grid(source: Gridded, steps: Sequence[Steps | None]) -> list[tuple[str, str]]:
    """Describe recordings and axes."""
    names = ", ".join(("sample", *(axis.name for axis in source.axes), "channel"))
    lines = [("shape", f"{' x '.join(map(str, source.shape))} ({names})")]
    for axis, step, wraps in zip(source.axes, steps, source.periodic, strict=True):
        lines.append((axis.name, _of_axis(axis, step) + (", periodic" if wraps else "")))
    if steps[0] is not None:
        lines += [("rate", _rate(source.axes[0], steps[0])), ("gaps", _gaps(steps[0], source.axes[0].unit))]
    return [*lines, ("channels", _names(source.channels) + (f" ({source.unit})" if source.unit else ""))]


def _of_axis(axis: Axis, step: Steps | None) -> str:
    unit = f" {axis.unit}" if axis.unit else ""
    if step is None:
        return f"one point, {axis.values[0]:.6g}{unit}"
    text = f"{len(axis.values)} points from {axis.values[0]:.6g} to {axis.values[-1]:.6g}{unit}, "
    if step.equal:
        return text + f"equal steps of {step.median:.6g}"
    return text + f"steps of {step.median:.6g} ({step.shortest:.6g} to {step.longest:.6g})"


def _rate(axis: Axis, step: Steps) -> str:
    even = "regular" if step.equal else f"jitter {100 * step.jitter:.2g} % of the median step"
    if axis.unit in ("s", "seconds", "second", "sec"):
        return f"{1 / step.median:.6g} Hz by the median step, {even}"
    return f"one frame every {step.median:.6g}{f' {axis.unit}' if axis.unit else ''} by the median step, {even}"


def _gaps(step: Steps, unit: str) -> str:
    if not step.gaps:
        return "none"
    first = ", ".join(f"{gap.length:.4g} at {gap.start:.6g}" for gap in step.gaps[:3])
    more = ", ..." if len(step.gaps) > 3 else ""
    return f"{len(step.gaps)} steps of more than {_GAP} medians: {first}{more}{f' {unit}' if unit else ''}"


def _of_points(source: Scattered) -> list[tuple[str, str]]:
    """Describe samples and coordinates."""
    counts = [len(coords) for coords in source.coords]
    text = f"{len(counts)}, of {min(counts)} to {max(counts)} points, {sum(counts)} in all"
    lines = [("samples", text)]
    for i, name in enumerate(source.axes):
        column = np.concatenate([coords[:, i] for coords in source.coords])
        span = f"{column.min():.6g} to {column.max():.6g}" if len(column) else "no points"
        lines.append((name, f"{span}, {len(np.unique(column))} different ones"))
    return [*lines, ("channels", _names(source.channels))]


def _of_values(found: Description) -> list[tuple[str, str]]:
    """Describe what the values are, channel by channel if they are few."""
    moments, names = found.moments, found.source.channels
    lines = []
    if found.read < found.total:
        lines.append(("sampled", f"{found.read} of {found.total} values a channel were read; --all reads them all"))
    whole = max(1, moments.size * len(names))
    lines.append(("missing", f"{_percent(moments.missing.sum() / whole)} NaN"))
    if len(names) > _LISTED:
        low, high = moments.low.min(), moments.high.max()
        scale = f"mean of means {moments.mean.mean():.4g}, mean std {moments.std.mean():.4g}"
        return [*lines, ("values", f"{low:.6g} to {high:.6g}, {scale}, over {len(names)} channels")]
    for i, name in enumerate(names):
        text = f"{moments.low[i]:.6g} to {moments.high[i]:.6g}, mean {moments.mean[i]:.4g}, std {moments.std[i]:.4g}"
        share = f", {_percent(moments.missing[i] / max(1, moments.size))} NaN" if moments.missing[i] else ""
        lines.append((f"values of {name}", "no finite value" if moments.empty[i] else text + share))
    return lines


def _warnings(found: Description) -> Iterator[str]:
    """Yield what would make training fail or fool somebody."""
    moments, names = found.moments, np.array(found.source.channels, dtype=object)
    if moments.empty.any():
        yield f"without any finite value: {_names(names[moments.empty])}; a point needs all channels to be observed"
    if moments.constant.any():
        yield f"constant: {_names(names[moments.constant])}"
    if moments.infinite:
        yield f"{moments.infinite} values are infinite; write NaN where nothing was observed"
    if isinstance(found.source, Gridded) and len(found.source.axes[0].values) == 1:
        yield "one frame only: nothing can be learnt along time"


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(map(str, names[:_LISTED]))
    return shown if len(names) <= _LISTED else f"{len(names)}: {shown}, ..."


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _plain(value: Any) -> Any:
    """Return a value of Python's own types, which is what YAML can say."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, Path) else value
