"""Figures of recordings of many regions: traces of some of them, pictures of a movie, and what times attend to.

Sizes: F frames, R regions, Q times at which the prediction is drawn, Y and X rows and columns of a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.colors import CenteredNorm, Normalize
from matplotlib.figure import Figure

from cst_lightning import animations, plots
from cst_lightning.baselines.interpolation import Linear
from cst_lightning.baselines.smoothing import GaussianProcess
from cst_lightning.drawing import (
    BLUE,
    ERROR,
    INK,
    MUTED,
    ORANGE,
    Array,
    Labels,
    Space,
    bare,
    canvas,
    colorbar,
    tidy,
    value_scale,
)

if TYPE_CHECKING:
    from cst_lightning.callbacks.scene import Scene
    from cst_lightning.datamodules.calcium import CalciumDataModule

Query = Callable[[Array], Array]
#: So many traces and so many pictures are drawn, at so many times.
_ROWS, _COLUMNS, _TIMES = 6, 6, 500


class Observed(NamedTuple):
    """What was observed of one region: (N,) times and values."""

    times: Array
    values: Array


def figures(data: CalciumDataModule, scene: Scene, field: Query) -> dict[str, Figure]:
    """Draw a sample of a calcium recording.

    Args:
        data: whose sample it is.
        scene: the sample.
        field: maps coordinates (Q, d) to values (Q, c).

    Returns:
        "traces" or "movie", and "attention" if the field tells what it attends to; nothing if frames are scattered.
    """
    if not scene.frames:
        return {}
    found = _movie(data, scene, field) if data.movie else {"traces": _traces(data, scene, field)}
    weights = getattr(field, "attention", None)
    return found if weights is None else found | {"attention": _attention(data, scene, weights)}


def animate(data: CalciumDataModule, path: Path, scene: Scene, field: Query, finer: int = 4, most: int = 161) -> None:
    """Write a GIF of a movie: the frames of the recording beside the prediction at finer times.

    Args:
        data: whose sample it is.
        path: where to.
        scene: the sample.
        field: maps coordinates (Q, d) to values (Q, c).
        finer: pictures between two frames.
        most: pictures in all.
    """
    times = _frame_times(scene)
    if not scene.frames or len(times) < 2:
        return
    fine = np.linspace(times[0], times[-1], min((len(times) - 1) * finer + 1, most))
    truth, prediction = _pictures(data, scene.truth), _pictures(data, _at(data, field, fine))
    # pictures are drawn with the first axis to the right and the second upwards; the first row belongs at the top
    turned = [np.ascontiguousarray(x[:, ::-1].transpose(0, 2, 1)) for x in (truth, prediction)]
    names = [axis.label for axis in data.recordings.axes]
    space = Space(_extent(data), Labels((names[0], names[2], names[1]), (_value_name(data),)))
    animations.planar(path, fine, (times, turned[0]), turned[1], space)


def draw_traces(
    times: Array,
    prediction: Array,
    observed: Sequence[Observed],
    truth: tuple[Array, Array],
    references: Mapping[str, Array],
    names: Sequence[str],
    labels: tuple[str, str],
) -> Figure:
    """Draw the time courses of several regions, one above the other.

    Args:
        times: (Q,) increasing.
        prediction: (Q, R).
        observed: one entry a region.
        truth: (F,) times and (F, R) values; NaN leaves a gap.
        references: for each other method, (Q, R).
        names: of the regions.
        labels: of time and of the values.
    """
    figure = canvas(8.4, 0.9 + 1.15 * len(names))
    axes = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for row, (axis, name) in enumerate(zip(axes, names, strict=True)):
        axis.plot(truth[0], truth[1][:, row], color=INK, linewidth=3.0, alpha=0.2, label="truth", zorder=1)
        for number, (method, values) in enumerate(references.items()):
            color = (ORANGE, MUTED)[number % 2]
            axis.plot(times, values[:, row], color=color, linewidth=1.0, linestyle=(0, (4, 2)), label=method, zorder=2)
        axis.plot(times, prediction[:, row], color=BLUE, linewidth=1.6, label="CST", zorder=3)
        dots = {"s": 11, "facecolors": "white", "edgecolors": INK, "linewidths": 0.7, "zorder": 4}
        axis.scatter(*observed[row], label="observations", **dots)
        shown = np.concatenate([prediction[:, row], observed[row].values, truth[1][:, row]])
        low, high = np.nanmin(shown), np.nanmax(shown)
        axis.set_ylim(low - 0.08 * (high - low or 1), high + 0.08 * (high - low or 1))
        tidy(axis)
        axis.margins(x=0.01)
        axis.set_title(name, fontsize=8, color=MUTED, loc="left", pad=2)
    axes[-1].set_xlabel(labels[0], color=INK, fontsize=9)
    figure.supylabel(labels[1], color=INK, fontsize=9)
    handles, texts = axes[0].get_legend_handles_labels()
    figure.legend(
        handles, texts, loc="outside upper center", ncols=len(texts), frameon=False, fontsize=9, labelcolor=INK
    )
    return figure


def draw_movie(
    titles: Sequence[str],
    rows: Mapping[str, Array],
    error: Array,
    seen: Array,
    extent: tuple[float, float, float, float],
    name: str,
) -> Figure:
    """Draw pictures of a movie at several times, one column a time, one row a method.

    Args:
        titles: n, one a time.
        rows: (n, Y, X) pictures by name, on one colour scale; what is NaN stays grey.
        error: (n, Y, X), in the last row, on a scale of its own.
        seen: (n,) bool, whether any of the frame was observed; a frame that was not has a bold title.
        extent: left, right, bottom and top edge.
        name: of the values with unit.
    """
    norm, colors = _clipped(*rows.values())
    reach = float(np.nanpercentile(np.abs(error), 99.5)) or 1.0
    ratio = abs(extent[3] - extent[2]) / abs(extent[1] - extent[0])
    figure = canvas(1.6 + 1.25 * len(titles), 0.9 + 1.25 * min(max(ratio, 0.4), 1.6) * (len(rows) + 1))
    axes = figure.subplots(len(rows) + 1, len(titles), squeeze=False)
    every = [*rows.items(), ("error", error)]
    for line, (label, pictures) in zip(axes, every, strict=True):
        scale, palette = (CenteredNorm(0, reach), ERROR) if label == "error" else (norm, colors)
        for axis, values in zip(line, pictures, strict=True):
            axis.set_facecolor("#e9ebee")
            image = axis.imshow(values, norm=scale, cmap=palette, interpolation="nearest", extent=extent)
            bare(axis)
        line[0].set_ylabel(label, fontsize=9, color=INK)
        if label == list(rows)[-1]:
            colorbar(figure, image, axes[:-1], name, "vertical", clipped=True)
    colorbar(figure, image, axes[-1:], "CST − truth", "vertical", clipped=True)
    for axis, title, shown in zip(axes[0], titles, seen, strict=True):
        axis.set_title(title, fontsize=8, color=MUTED if shown else INK, fontweight="normal" if shown else "bold")
    return figure


def _traces(data: CalciumDataModule, scene: Scene, field: Query) -> Figure:
    """Draw the regions whose truth varies most."""
    times = _frame_times(scene)
    fine = np.linspace(times[0], times[-1], _TIMES)
    truth, prediction = _regions(data, scene.truth), _regions(data, _at(data, field, fine))
    # nanstd warns about a region without any value
    spread = np.where(np.isfinite(truth).any(0), np.nanstd(np.where(np.isfinite(truth), truth, 0), axis=0), 0)
    chosen = np.sort(np.argsort(-spread, kind="stable")[:_ROWS])
    observed = [_observed(data, scene, int(region)) for region in chosen]
    references = {}
    for method in (Linear(), GaussianProcess()):
        columns = [
            method(own.times[:, None] / _half(times), own.values[:, None], fine[:, None] / _half(times), [None])
            if len(own.times)
            else np.full((len(fine), 1), np.nan)
            for own in observed
        ]
        references[method.name] = np.concatenate(columns, 1)
    source = data.recordings
    names = [f"ROI {i}" for i in range(truth.shape[1])] if data.kind == "points" else list(source.channels)
    labels = (source.axes[0].label, _value_name(data))
    own_names = [names[i] for i in chosen]
    return draw_traces(fine, prediction[:, chosen], observed, (times, truth[:, chosen]), references, own_names, labels)


def _movie(data: CalciumDataModule, scene: Scene, field: Query) -> dict[str, Figure]:
    """Draw frames that were dropped, if any were, among frames that were not."""
    if len(data.recordings.axes) != 3:
        return {}
    times = _frame_times(scene)
    seen = np.isin(times.round(9), scene.observed[:, 0].round(9))
    chosen = np.unique(np.linspace(1, max(1, len(times) - 2), min(_COLUMNS, len(times))).round().astype(int))
    missing = np.flatnonzero(~seen)
    if len(missing):
        chosen = missing[np.unique(np.linspace(0, len(missing) - 1, _COLUMNS).round().astype(int))]
    truth = _pictures(data, scene.truth)[chosen]
    prediction = _pictures(data, _at(data, field, times[chosen]))
    # what no combination of components reaches is not in this picture, though it is in the scores
    name = f"truth\n({data.channels} components)" if data.kind == "components" else "truth"
    rows = {name: truth, **_shown(data, scene, times, chosen, bool(len(missing))), "CST": prediction}
    titles = [f"{times[i]:.3g} {data.recordings.axes[0].unit}" for i in chosen]
    figure = draw_movie(titles, rows, prediction - truth, seen[chosen], _extent(data), _value_name(data))
    return {"movie": figure}


def _shown(data: CalciumDataModule, scene: Scene, times: Array, chosen: Array, whole: bool) -> dict[str, Array]:
    """Return a row to compare with: linear interpolation of whole frames, or the observed pixels."""
    if whole and scene.observed.shape[1] == 1:
        values = Linear()(scene.observed, scene.values, times[chosen][:, None], [None])
        return {"linear": _pictures(data, values)}
    grid = np.full(scene.truth.shape, np.nan)
    where = {tuple(place): i for i, place in enumerate(scene.coords.round(6).tolist())}
    for place, value in zip(scene.observed.round(6).tolist(), scene.values, strict=True):
        if tuple(place) in where:
            grid[where[tuple(place)]] = value
    return {"observed": _pictures(data, grid)[chosen]}


def _attention(data: CalciumDataModule, scene: Scene, weights: Callable[[Array], Array]) -> Figure:
    """Draw what each time attends to, summed over the places of an observed time, asked at the middle place."""
    times = _frame_times(scene)
    fine = np.linspace(times[0], times[-1], 120)
    middle = [axis[len(axis) // 2] for axis in data.tokens.axes]
    query = np.column_stack([fine, *(np.full(len(fine), place) for place in middle)])
    found = np.asarray(weights(query))[:, : len(scene.observed)]
    when, place = np.unique(scene.observed[:, 0], return_inverse=True)
    summed = np.zeros((len(fine), len(when)))
    np.add.at(summed.T, place.ravel(), found.T)
    return plots.attention_times(fine, when, summed, Labels((data.recordings.axes[0].label,)))


def _frame_times(scene: Scene) -> Array:
    return np.asarray(scene.coords[:, 0].reshape(scene.frames, -1)[:, 0])


def _at(data: CalciumDataModule, field: Query, times: Array) -> Array:
    """Return the field (Q x places, c) at all places of some times."""
    mesh = np.meshgrid(times, *data.tokens.axes, indexing="ij")
    return np.asarray(field(np.stack([part.ravel() for part in mesh], -1)))


def _regions(data: CalciumDataModule, values: Array) -> Array:
    """Return values (T x places, c) as (T, R)."""
    frames = data.pictures(values)
    return frames.reshape(len(frames), -1)


def _pictures(data: CalciumDataModule, values: Array) -> Array:
    """Return values (T x places, c) as pictures (T, Y, X), NaN outside the mask."""
    frames = data.pictures(values)[..., 0].astype(np.float64)
    return frames if data.inside is None else np.where(data.inside.reshape(frames.shape[1:]), frames, np.nan)


def _observed(data: CalciumDataModule, scene: Scene, region: int) -> Observed:
    if data.kind == "points":
        own = scene.observed[:, 1] == region
        return Observed(scene.observed[own, 0], scene.values[own, 0])
    values = _regions(data, scene.values)[:, region]
    return Observed(scene.observed[:, 0], values)


def _half(times: Array) -> float:
    """Return half the length of a window, in which references are told time."""
    return float(np.ptp(times)) / 2 or 1.0


def _value_name(data: CalciumDataModule) -> str:
    source: Any = data.recordings
    own = source.channels[0] if data.movie and source.unit in source.channels[0] else ""
    return own or source.unit or "signal"


def _extent(data: CalciumDataModule) -> tuple[float, float, float, float]:
    """Return the outer edges of the pixels, the first row at the top."""
    edges = []
    for axis in data.recordings.axes[-2:]:
        half = float(np.median(np.diff(axis.values))) / 2 if len(axis.values) > 1 else 0.5
        edges.append((float(axis.values[0]) - half, float(axis.values[-1]) + half))
    (top, bottom), (left, right) = edges
    return left, right, bottom, top


def _clipped(*pictures: Array) -> tuple[Normalize, str]:
    """Return a colour scale on which a few bright pixels do not make the rest one colour."""
    norm, colors = value_scale(*(np.clip(x, *np.nanpercentile(x, [0.5, 99.5])) for x in pictures))
    return norm, colors
