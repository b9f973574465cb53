"""Figures of a comparison: bars with intervals, and curves of the error against what is varied."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from cst_lightning import drawing
from cst_lightning.benchmark import upsampling_figure
from cst_lightning.benchmark.scoring import IDEAL
from cst_lightning.benchmark.statistics import Row
from cst_lightning.benchmark.tables import Report, label, number

# As drawing's, and two more that are told apart from them by their marker and dash as well.
_COLORS = (
    drawing.BLUE,
    drawing.ORANGE,
    drawing.GREEN,
    drawing.PURPLE,
    drawing.RED,
    "#56B4E9",
    "#8A6D00",
    drawing.MUTED,
)
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (2, 1.5)), (0, (6, 2, 1, 2)))
_MARKERS = "osD^vPX*<"  # one more than colours: no two of the first 72 lines look alike
# A logarithmic axis shows factors; below this ratio a linear one from 0 shows differences as they are.
_LOGARITHMIC = 8.0
# For lines the ratio is smaller: those that matter lie together at the bottom.
_LINES = 4.0
# Numbers below it have an exponent; between two ends with this ratio the powers of ten are few.
_EXPONENT, _FEW = 1e-3, 300.0


def draw(report: Report, folder: Path) -> list[Path]:
    """Draw every figure of a report into a folder and return the paths."""
    scores = [name for name in report.directions if any(map(report_has(report, name), range(len(report.tables))))]
    paths = []
    if report.examples:
        paths.append(upsampling_figure.draw(report, folder / "attention.png"))
        names = [f"{report.score}_{model}.png" for model in report.protocol.values]
        return paths + [bars(report.rows(n), label(report.score), folder / name) for n, name in enumerate(names)]
    for name in scores:
        if report.protocol.sweep is None:
            paths.append(bars(report.rows(0, name), label(name), folder / f"{name}.png"))
        else:
            tables = [report.rows(n, name) for n in range(len(report.tables))]
            sweep = report.protocol.sweep
            path, labels = folder / f"{name}.png", (sweep.label, label(name))
            paths.append(curves(sweep.values, tables, _panels(report), labels, path, IDEAL.get(name)))
    return paths


def report_has(report: Report, score: str) -> Any:
    """Return whether the table at a position has a finite mean of a score."""
    return lambda place: any(math.isfinite(row.mean) for row in report.rows(place, score))


def _panels(report: Report) -> Mapping[str, Mapping[str, str]]:
    """Return the panels of a sweep's figures: the protocol's, as far as there are results, or one with every method."""
    there = {method for table in report.tables for method in table}
    wanted = report.protocol.panels or {}
    panels = {t: {m: called for m, called in lines.items() if m in there} for t, lines in wanted.items()}
    filled = {title: lines for title, lines in panels.items() if lines}
    return filled or {"": {method: method for method in report.protocol.methods if method in there}}


def bars(rows: Sequence[Row], score: str, path: Path) -> Path:
    """Draw the methods' means, the best on top, with their intervals.

    Args:
        rows: of one table; those without a finite mean are left out.
        score: label of the axis.
        path: where to.
    """
    rows = [row for row in rows if math.isfinite(row.mean)]
    figure = drawing.canvas(6.2, 0.9 + 0.36 * len(rows))
    axis = figure.add_subplot()
    means = np.array([row.mean for row in rows])
    whiskers = [[x for x in (row.low, row.high) if math.isfinite(x)] for row in rows]
    least = min(means.min(), *(min(ends, default=np.inf) for ends in whiskers))
    logarithmic = bool(least > 0 and means.max() / means.min() > _LOGARITHMIC)
    places = np.arange(len(rows))
    for place, row, ends in zip(places, rows, whiskers, strict=True):
        color = drawing.BLUE if row.rank == 1 else drawing.MUTED
        if logarithmic:  # a bar needs a zero to start from, and a logarithm has none
            axis.plot(row.mean, place, "o", color=color, markersize=6)
        else:
            axis.barh(place, row.mean, height=0.6, color=color, alpha=0.85 if row.rank == 1 else 0.45)
        if ends:
            axis.plot(ends, [place, place], color=drawing.INK if not logarithmic else color, linewidth=1.6)
    _label_ends(axis, rows, logarithmic)
    axis.set_yticks(places, [row.method for row in rows])
    axis.invert_yaxis()
    drawing.tidy(axis, f"{score}, mean and 95 % interval")
    axis.grid(visible=False, axis="y")
    axis.tick_params(axis="y", length=0)
    return drawing.save(figure, path)


def curves(
    values: Sequence[Any],
    tables: Sequence[Sequence[Row]],
    panels: Mapping[str, Mapping[str, str]],
    labels: tuple[str, str],
    path: Path,
    ideal: float | None = None,
) -> Path:
    """Draw each method's mean against what is varied, with its interval as a band.

    Args:
        values: what was varied; words stand at equal distances, 0 beside powers of ten a decade below them.
        tables: rows at each value; a method may be missing.
        panels: titles, and below each the methods, in the order of colours, with what the legend calls them.
        labels: of both axes.
        path: where to.
        ideal: the best value of a score that is best neither high nor low, drawn as a line.
    """
    places, logarithmic, names = _axis_of(values)
    found = [{row.method: row for row in rows if math.isfinite(row.mean)} for rows in tables]
    figure = drawing.canvas(7.2 if len(panels) == 1 else 1.2 + 2.7 * len(panels), 3.8)
    axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for axis, (title, lines) in zip(axes, panels.items(), strict=True):
        for style, (method, called) in enumerate(lines.items()):
            here = [(x, rows[method]) for x, rows in zip(places, found, strict=True) if method in rows]
            _line(axis, here, style, called)
        if ideal is not None:
            axis.axhline(ideal, color=drawing.MUTED, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
        drawing.tidy(axis, labels[0], labels[1] if axis is axes[0] else "")
        axis.set_title(title, color=drawing.INK, fontsize=9)
    if logarithmic:
        axes[0].set_xscale("log")
    axes[0].set_xticks(places, names)
    axes[0].minorticks_off()
    means = [rows[method].mean for rows in found for lines in panels.values() for method in lines if method in rows]
    if means and min(means) > 0 and max(means) / min(means) > _LINES:
        _grade(axes[0])
    alike = len({tuple(lines.values()) for lines in panels.values()}) == 1  # one legend is enough for all
    for axis in axes[-1:] if alike else axes:
        place = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)} if alike else {"loc": "best"}
        axis.legend(frameon=False, fontsize=8, labelcolor=drawing.INK, **place)
    return drawing.save(figure, path)


def _line(axis: Axes, here: Sequence[tuple[float, Row]], style: int, called: str) -> None:
    """Draw one method's means and intervals at some places."""
    x = [place for place, _ in here]
    color, dash = _COLORS[style % len(_COLORS)], _DASHES[style // len(_COLORS) % len(_DASHES)]
    marker = _MARKERS[style % len(_MARKERS)]
    means = [row.mean for _, row in here]
    axis.plot(x, means, color=color, linestyle=dash, marker=marker, markersize=4.5, label=called)
    axis.fill_between(x, [row.low for _, row in here], [row.high for _, row in here], color=color, alpha=0.09, lw=0)


def _label_ends(axis: Axes, rows: Sequence[Row], logarithmic: bool) -> None:
    """Write each mean to the right of its bar and interval."""
    if logarithmic:
        axis.set_xscale("log")
        axis.xaxis.set_minor_formatter(NullFormatter())  # within a decade they would overlap; the values stand beside
    for place, row in enumerate(rows):
        end = max(x for x in (row.mean, row.high) if math.isfinite(x))
        axis.annotate(
            number(row.mean), (end, place), xytext=(6, 0), textcoords="offset points", va="center", fontsize=8,
            color=drawing.INK,
        )  # fmt: skip
    axis.margins(x=0.18 if logarithmic else 0.14)


def _grade(axis: Axes) -> None:
    """Make the axis of errors logarithmic, with numbers between powers of ten where there are few of those."""
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    few = high / low < _FEW
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=12))
    axis.yaxis.set_minor_locator(NullLocator())
    small = low < _EXPONENT or not few
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _name(value, small)))


def _name(value: float, exponent: bool) -> str:
    """Return a number as short as it can be, with an exponent or without."""
    if not exponent or value == 0:
        return f"{value:g}"
    digits, _, power = f"{value:.3e}".partition("e")
    return f"{float(digits):g}e{int(power)}".removesuffix("e0")


def _axis_of(values: Sequence[Any]) -> tuple[list[float], bool, list[str]]:
    """Return where values stand, whether the axis is logarithmic, and their names."""
    plain = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    small = plain and any(0 < abs(v) < _EXPONENT for v in values)  # then all of them get an exponent
    names = [_name(v, small) if plain else str(v) for v in values]
    if plain and min(values) > 0 and max(values) / min(values) > _LOGARITHMIC:
        return [float(v) for v in values], True, names
    positive = [v for v in values if plain and v > 0]
    if plain and min(values) == 0 and positive and max(positive) / min(positive) > 5 * _LOGARITHMIC:
        # 0 has no place on such an axis: it stands a decade below the least
        return [math.log10(v) if v else math.log10(min(positive)) - 1 for v in values], False, names
    return [float(v if plain else n) for n, v in enumerate(values)], False, names
