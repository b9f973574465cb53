"""What is said to people about data: the report of `cst data describe`, sizes, shapes, and configurations to save."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from cst_lightning.datamodules.readers.source import Axis, Gridded, Scattered, Source
from cst_lightning.inspection import GAP, Coverage, Description, Steps, size_text
from cst_lightning.runs import write_text
from cst_lightning.simulations import Plan
from cst_lightning.usage import UsageError

# So many channels, or stretches of frames, are listed one by one.
_LISTED = 8


def report(found: Description) -> str:
    """Return a description as lines for a person."""
    source, lines = found.source, [f"{found.source.path or 'data'}: {found.source.layout}"]
    body = _of_grid(source, found) if isinstance(source, Gridded) else _of_points(source)
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


def shape_text(made: Gridded | Plan) -> str:
    """Return the shape of recordings and what its numbers are."""
    names = ", ".join(("sample", *(axis.name for axis in made.axes), "channel"))
    return f"{' x '.join(map(str, made.shape))} ({names})"


def contents_text(source: Source) -> str:
    """Return what a file in the documented layout holds of a source, in a few words."""
    if isinstance(source, Gridded):
        return f"values {shape_text(source)}"
    total = sum(map(len, source.coords))
    return f"coords {total} x {len(source.axes)}, values {total} x {len(source.channels)}, {len(source.coords)} samples"


def percent(share: float) -> str:
    """Return a share for a person: 0 % is none, and 100 % of something is all of it.

    Example:
        >>> percent(0.125), percent(0.99999), percent(1), percent(12)
        ('12.5 %', 'more than 99.9 %', '100 %', '1200 %')
    """
    value = 100 * float(share)
    if 0 < value < 0.01:
        return "less than 0.01 %"
    if 99.9 < value < 100:
        return "more than 99.9 %"
    return f"{value:.0f} %" if value >= 100 else f"{value:.3g} %"


def _bytes(source: Source) -> int:
    return source.bytes if isinstance(source, Gridded) else 4 * sum(values.size for values in source.values)


def _of_grid(source: Gridded, found: Description) -> list[tuple[str, str]]:
    """Describe recordings and axes."""
    steps = found.steps
    lines = [("shape", shape_text(source))]
    for axis, step, wraps in zip(source.axes, steps, source.periodic, strict=True):
        lines.append((axis.name, _of_axis(axis, step) + (", periodic" if wraps else "")))
    if steps[0] is not None:
        lines += [("rate", _rate(source.axes[0], steps[0])), ("gaps", _gaps(steps[0], source.axes[0].unit))]
    if found.coverage is not None and found.coverage.lost:
        lines.append(("unobserved", _unobserved(found.coverage, source)))
    return [*lines, ("channels", _names(source.channels) + (f" ({source.unit})" if source.unit else ""))]


def _of_axis(axis: Axis, step: Steps | None) -> str:
    unit = f" {axis.unit}" if axis.unit else ""
    if step is None:
        return f"one point, {axis.values[0]:.6g}{unit}"
    text = f"{len(axis.values)} points from {_place(axis, 0)} to {_place(axis, -1)}{unit}, "
    if step.equal:
        return text + f"equal steps of {step.median:.6g}"
    return text + f"steps of {step.median:.6g} ({step.shortest:.6g} to {step.longest:.6g})"


def _place(axis: Axis, position: int) -> str:
    """Return a point of an axis with the digits that tell it from the next: seconds since 1970 need ten before it."""
    steps = np.diff(axis.values)
    digits = 6
    if len(steps):
        digits += max(0, round(math.log10(max(abs(axis.values[0]), abs(axis.values[-1])) / np.median(steps))) - 4)
    return f"{axis.values[position]:.{digits}g}"


def _rate(axis: Axis, step: Steps) -> str:
    even = "regular" if step.equal else f"jitter {percent(step.jitter)} of the median step"
    if axis.unit in ("s", "seconds", "second", "sec"):
        return f"{1 / step.median:.6g} Hz by the median step, {even}"
    return f"one frame every {step.median:.6g}{f' {axis.unit}' if axis.unit else ''} by the median step, {even}"


def _gaps(step: Steps, unit: str) -> str:
    if not step.gaps:
        return "none between the times"
    first = ", ".join(f"{gap.length:.4g} at {gap.start:.6g}" for gap in step.gaps[:3])
    more = ", ..." if len(step.gaps) > 3 else ""
    return f"{len(step.gaps)} steps of more than {GAP} medians: {first}{more}{f' {unit}' if unit else ''}"


def _unobserved(coverage: Coverage, source: Gridded) -> str:
    """Say which frames, and how many places, hold nothing but NaN in what was read."""
    parts, time = [], source.axes[0]
    if coverage.frames:
        count, first = len(coverage.frames), coverage.frames[0][0]
        spans = _stretches([frame for sample, frame in coverage.frames if sample == first])
        shown = ", ".join(f"{a}" if a == b else f"{a} to {b}" for a, b in spans[:_LISTED])
        more = ", ..." if len(spans) > _LISTED or coverage.frames[-1][0] != first else ""
        where = f" of recording {first}" if source.samples > 1 else ""
        since = f"at {_place(time, coverage.frames[0][1])}{f' {time.unit}' if time.unit else ''}"
        whole = f"{count} of {coverage.total} frames ({percent(count / coverage.total)})"
        parts.append(f"{whole} are NaN throughout: {shown}{more}{where}, the first {since}")
    cells = int((~coverage.seen).sum())
    if cells and len(coverage.frames) < coverage.total:
        parts.append(f"{cells} of {coverage.seen.size} cells ({percent(cells / coverage.seen.size)}) in all frames")
    return "; ".join(parts)


def _stretches(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Return first and last of each run of successive numbers.

    Example:
        >>> _stretches([2, 3, 4, 9])
        [(2, 4), (9, 9)]
    """
    breaks = [b for a, b in pairwise(numbers) if b != a + 1]
    starts = [numbers[0], *breaks]
    ends = [a for a, b in pairwise(numbers) if b != a + 1] + [numbers[-1]]
    return list(zip(starts, ends, strict=True))


def _of_points(source: Scattered) -> list[tuple[str, str]]:
    """Describe samples and coordinates."""
    counts = [len(coords) for coords in source.coords]
    text = f"{len(counts)}, of {min(counts)} to {max(counts)} points, {sum(counts)} in all"
    lines = [("samples", text)]
    for i, (name, unit) in enumerate(zip(source.axes, source.units, strict=True)):
        column = np.concatenate([coords[:, i] for coords in source.coords])
        span = f"{column.min():.6g} to {column.max():.6g}{f' {unit}' if unit else ''}" if len(column) else "no points"
        lines.append((name, f"{span}, {len(np.unique(column))} different ones"))
    return [*lines, ("channels", _names(source.channels))]


def _of_values(found: Description) -> list[tuple[str, str]]:
    """Describe what the values are, channel by channel if they are few."""
    moments, names = found.moments, found.source.channels
    lines = []
    if found.read < found.total:
        lines.append(("sampled", f"{found.read} of {found.total} values a channel were read; --all reads them all"))
    whole = max(1, moments.size * len(names))
    lines.append(("missing", f"{percent(moments.missing.sum() / whole)} of the values are NaN"))
    if len(names) > _LISTED:
        low, high = moments.low.min(), moments.high.max()
        scale = f"mean of means {moments.mean.mean():.4g}, mean std {moments.std.mean():.4g}"
        return [*lines, ("values", f"{low:.6g} to {high:.6g}, {scale}, over {len(names)} channels")]
    for i, name in enumerate(names):
        text = f"{moments.low[i]:.6g} to {moments.high[i]:.6g}, mean {moments.mean[i]:.4g}, std {moments.std[i]:.4g}"
        share = f", {percent(moments.missing[i] / max(1, moments.size))} NaN" if moments.missing[i] else ""
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


def _plain(value: Any) -> Any:
    """Return a value of Python's own types, which is what YAML can say."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, Path) else value
