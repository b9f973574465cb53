"""Figures, as plain functions from arrays to `matplotlib.figure.Figure`.

Sizes: Q queries, N observations, F frames, X and Y places along the space axes, c channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import CenteredNorm, Normalize
from matplotlib.figure import Figure

from cst_lightning.drawing import (
    BLUE,
    ERROR,
    INK,
    METHOD_COLORS,
    MUTED,
    RED,
    Array,
    Labels,
    Space,
    aspect_of,
    bare,
    canvas,
    colorbar,
    corner,
    difference,
    downwards,
    met,
    picture,
    rows_first,
    tidy,
    value_scale,
)

# What was observed is filled, what was hidden is hollow, in every figure.
DOTS: dict[str, Any] = {"facecolors": INK, "edgecolors": INK, "linewidths": 0.7, "zorder": 4}
RINGS: dict[str, Any] = {"facecolors": "white", "edgecolors": INK, "linewidths": 0.7, "zorder": 1.5}


def curves(
    times: Array,
    prediction: Array,
    observed: tuple[Array, Array],
    truth: tuple[Array, Array] | None = None,
    references: Mapping[str, Array] | None = None,
    labels: Labels = Labels(),  # noqa: B008 - immutable
) -> Figure:
    """Draw one trajectory in time, channel above channel, and its orbit if there are two channels.

    Args:
        times: (Q,) increasing.
        prediction: (Q, c) at `times`.
        observed: (N,) times and (N, c) values that the model was shown.
        truth: (F,) times and (F, c) values, drawn where nothing was observed; NaN leaves a gap.
        references: for each other method, (Q, c) at `times`.
        labels: names of axes.

    Returns:
        A figure; at most four channels are drawn.
    """
    channels = prediction.shape[1]
    rows, orbit = min(channels, 4), channels == 2
    if truth is not None:
        hidden = ~met(truth[0], observed[0])
        truth = truth[0][hidden], truth[1][hidden]
    figure = canvas(9.2 if orbit else 7.2, 1.0 + (2.6 if rows == 1 else 1.75 * rows))
    grid = figure.add_gridspec(rows, 2 if orbit else 1, width_ratios=[1.65, 1] if orbit else None)
    axes: list[Axes] = []
    for channel in range(rows):
        axes.append(figure.add_subplot(grid[channel, 0], sharex=axes[0] if axes else None))
        tidy(axes[-1], ylabel=labels.value(channel, channels))
        _lines(axes[-1], channel, times, (labels.method, prediction), observed, truth, references or {})
        axes[-1].tick_params(labelbottom=channel == rows - 1)
        axes[-1].margins(x=0.02)
    axes[-1].set_xlabel(labels.coord(0), color=INK, fontsize=9)
    figure.align_ylabels(axes)
    if orbit:
        _orbit(figure.add_subplot(grid[:, 1]), prediction, observed, truth, references or {}, labels)
    handles, names = axes[0].get_legend_handles_labels()
    _legend(figure, handles, names)
    return figure


def fields(
    times: Array,
    truth: Array,
    prediction: Array,
    observed: tuple[Array, Array],
    space: Space,
    rows: int = 4,
) -> Figure:
    """Draw truth, observations, prediction and error of a two-dimensional field, one row a time.

    Truth, observations and prediction share one colour scale, the errors another; scales are symmetric about 0 and
    diverging where the values have both signs. A row's observations are those within half a frame of its time.

    Args:
        times: (F,) increasing.
        truth: (F, X, Y); NaN where unknown.
        prediction: (F, X, Y).
        observed: (N, 3) coordinates, time first, and (N,) values.
        space: edges and names.
        rows: how many of the F times to draw, evenly spread.
    """
    chosen = np.unique(np.linspace(0, len(times) - 1, min(rows, len(times))).round().astype(int))
    norm, colors = value_scale(truth, prediction)
    reach = float(np.nanpercentile(np.abs(prediction - truth), 99.8)) or 1.0
    figure = canvas(7.6, 1.3 + (1.72 * aspect_of(space.extent) + 0.08) * len(chosen))
    axes = figure.subplots(len(chosen), 4, squeeze=False)
    half = np.median(np.diff(times)) / 2 if len(times) > 1 else np.inf
    for row, frame in zip(axes, chosen, strict=True):
        near = np.abs(observed[0][:, 0] - times[frame]) <= half * (1 + 1e-9)
        picture(row[0], truth[frame], norm, colors, space)
        _dots(row[1], observed[0][near, 1:], observed[1][near], norm, colors, space)
        shown = picture(row[2], prediction[frame], norm, colors, space)
        error = picture(row[3], prediction[frame] - truth[frame], CenteredNorm(0, reach), ERROR, space)
        row[0].set_ylabel(space.labels.at(0, times[frame]), color=INK, fontsize=8)
    for axis, title in zip(axes[0], ("Truth", "Observed", space.labels.method, "Error"), strict=True):
        axis.set_title(title, fontsize=10, color=INK, pad=6)
    figure.align_ylabels(axes[:, 0])
    corner(axes[-1, 0], space.labels.coord(1), space.labels.coord(2))
    colorbar(figure, shown, axes[:, :3], space.labels.value(0), "horizontal")
    colorbar(
        figure, error, axes[:, 3:], difference(space.labels.value(0), space.labels.method), "horizontal", clipped=True
    )
    return figure


def space_time(
    times: Array, places: Array, truth: Array, prediction: Array, observed: tuple[Array, Array], labels: Labels
) -> Figure:
    """Draw a field of one space axis as pictures over time and place.

    Args:
        times: (F,) increasing.
        places: (X,) increasing.
        truth: (F, X).
        prediction: (F, X).
        observed: (N, 2) coordinates and (N,) values, drawn as dots on the truth.
        labels: names of axes.
    """
    norm, colors = value_scale(truth, prediction)
    reach = float(np.nanpercentile(np.abs(prediction - truth), 99.8)) or 1.0
    figure = canvas(8.6, 2.9)
    axes = figure.subplots(1, 3, sharex=True, sharey=True)
    scales = [(truth, norm, colors), (prediction, norm, colors), (prediction - truth, CenteredNorm(0, reach), ERROR)]
    pictures = []
    for axis, (values, scale, name), title in zip(
        axes, scales, ("Truth, observed places dotted", labels.method, "Error"), strict=True
    ):
        pictures.append(axis.pcolormesh(times, places, values.T, norm=scale, cmap=name, rasterized=True))
        axis.set_title(title, fontsize=10, color=INK)
        tidy(axis, xlabel=labels.coord(0), grid=False)
    axes[0].scatter(observed[0][:, 0], observed[0][:, 1], s=4, color=INK, linewidths=0)
    axes[0].set_ylabel(labels.coord(1), color=INK, fontsize=9)
    colorbar(figure, pictures[1], axes[:2], labels.value(0), "vertical")
    colorbar(figure, pictures[2], axes[2:], difference(labels.value(0), labels.method), "vertical", clipped=True)
    return figure


def attention_times(query: Array, observed: Array, weights: Array, labels: Labels = Labels()) -> Figure:  # noqa: B008
    """Draw what each time attends to: one column an observation, as wide as the times it stands for.

    Args:
        query: (Q,) times, increasing.
        observed: (N,) times, any order.
        weights: (Q, N), rows sum to 1.
        labels: names of axes.
    """
    order = np.argsort(observed)
    figure = canvas(5.4, 4.4)
    axis = figure.add_subplot()
    peak = float(np.nanmax(weights)) or 1.0
    mesh = axis.pcolormesh(
        _edges(observed[order]),
        _edges(query),
        weights[:, order],
        cmap="Blues",
        norm=Normalize(0, peak),
        rasterized=True,
    )
    axis.plot(query, query, color=RED, linewidth=1.0, linestyle=(0, (4, 3)), label="query = observation")
    above: dict[str, Any] = {"transform": axis.get_xaxis_transform(), "clip_on": False}
    axis.plot(observed, np.full(len(observed), 1.015), "|", color=INK, markersize=6, label="observations", **above)
    tidy(axis, f"{labels.coord(0)} of the observation", f"{labels.coord(0)} of the query", grid=False)
    axis.set_xlim(*_edges(observed[order])[[0, -1]])
    axis.set_ylim(*_edges(query)[[0, -1]])
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1.02), "borderaxespad": 0.2}
    axis.legend(frameon=False, fontsize=8, labelcolor=INK, ncols=2, **place)
    colorbar(figure, mesh, [axis], "attention weight", "vertical")
    return figure


def attention_places(
    query: Array,
    observed: Array,
    weights: Array,
    labels: Labels = Labels(),  # noqa: B008
) -> Figure:
    """Draw what a few queries attend to: observations as discs, area by weight, colour by how far away in time.

    Args:
        query: (Q, 3) coordinates; a panel each.
        observed: (N, 3).
        weights: (Q, N), rows sum to 1.
        labels: names of axes.
    """
    names = [labels.coord(1), labels.coord(2)]
    across, up = (2, 1) if rows_first(*names) else (1, 2)
    figure = canvas(0.9 + 2.5 * len(query), 2.9)
    axes = figure.subplots(1, len(query), sharex=True, sharey=True, squeeze=False)[0]
    lag = observed[None, :, 0] - query[:, :1]
    norm = CenteredNorm(0, float(np.abs(lag).max()) or 1.0)
    for axis, point, weight, offset in zip(axes, query, weights, lag, strict=True):
        order = np.argsort(-weight)  # small discs above large ones
        area = 420 * weight[order] / max(float(weights.max()), 1e-12)
        discs = axis.scatter(
            observed[order, across],
            observed[order, up],
            s=area + 1.5,
            c=offset[order],
            norm=norm,
            cmap="coolwarm",
            edgecolors=INK,
            linewidths=0.25,
        )
        axis.plot(point[across], point[up], marker="+", color=INK, markersize=11, markeredgewidth=1.6)
        axis.set_title(f"query at {labels.at(0, point[0])}", fontsize=9, color=INK)
        axis.set_aspect("equal")
        tidy(axis, names[across - 1], grid=False)
    axes[0].set_ylabel(names[up - 1], color=INK, fontsize=9)
    if downwards(names[up - 1]):
        axes[0].invert_yaxis()  # and so those that share it
    colorbar(figure, discs, list(axes), f"{labels.coord(0)}, from the query's", "vertical")
    return figure


def _lines(
    axis: Axes,
    channel: int,
    times: Array,
    named: tuple[str, Array],
    observed: tuple[Array, Array],
    truth: tuple[Array, Array] | None,
    references: Mapping[str, Array],
) -> None:
    method, prediction = named
    shown = [prediction[:, channel], observed[1][:, channel]]
    if truth is not None:
        axis.scatter(truth[0], truth[1][:, channel], s=dot_size(len(truth[0])), label="hidden truth", **RINGS)
        shown.append(truth[1][:, channel])
    for name, values in references.items():
        color = METHOD_COLORS.get(name, MUTED)
        axis.plot(times, values[:, channel], color=color, linewidth=0.9, label=name, zorder=2)
    axis.plot(times, prediction[:, channel], color=BLUE, linewidth=1.8, label=method, zorder=3)
    axis.scatter(observed[0], observed[1][:, channel], s=dot_size(len(observed[0])), label="observed", **DOTS)
    # a spline that overshoots would flatten everything else, so it may leave the frame
    axis.set_ylim(*_limits(shown))


def _orbit(
    axis: Axes,
    prediction: Array,
    observed: tuple[Array, Array],
    truth: tuple[Array, Array] | None,
    references: Mapping[str, Array],
    labels: Labels,
) -> None:
    if truth is not None:
        axis.scatter(truth[1][:, 0], truth[1][:, 1], s=dot_size(len(truth[0])), **RINGS)
    for name, values in references.items():
        axis.plot(*values.T, color=METHOD_COLORS.get(name, MUTED), linewidth=0.9, zorder=2)
    axis.plot(*prediction.T, color=BLUE, linewidth=1.8, zorder=3)
    axis.scatter(observed[1][:, 0], observed[1][:, 1], s=dot_size(len(observed[0])), **DOTS)
    shown = [prediction, observed[1], *([] if truth is None else [truth[1]])]
    frame = np.array([_limits([x[:, channel] for x in shown]) for channel in range(2)])
    half = (frame[:, 1] - frame[:, 0]).max() / 2
    axis.set_xlim(frame[0].mean() - half, frame[0].mean() + half)
    axis.set_ylim(frame[1].mean() - half, frame[1].mean() + half)
    axis.set_aspect("equal")
    tidy(axis, labels.value(0, 2), labels.value(1, 2))


def dot_size(count: int) -> float:
    """Return the area of dots, points squared, of which so many stand side by side."""
    return float(np.clip(1400 / max(count, 1), 3.0, 22.0))


def _legend(figure: Figure, handles: Sequence[Any], names: Sequence[str]) -> None:
    figure.legend(
        handles,
        names,
        loc="outside upper center",
        ncols=len(names),
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        handlelength=1.8,
        columnspacing=1.6,
    )


def _dots(axis: Axes, places: Array, values: Array, norm: Normalize, colors: str, space: Space) -> PathCollection:
    axis.set_facecolor("#f4f5f7")
    dots = axis.scatter(
        places[:, 0],
        places[:, 1],
        c=values,
        norm=norm,
        cmap=colors,
        s=float(np.clip(1200 / max(len(places), 1), 2.0, 17.0)),
        edgecolors=INK,
        linewidths=0.4 if len(places) < 300 else 0.0,
        clip_on=False,
    )
    left, right, bottom, top = space.extent
    axis.set_xlim(left, right)
    axis.set_ylim(bottom, top)
    axis.set_aspect("equal")
    bare(axis)
    return dots


def _limits(values: Sequence[Array]) -> tuple[float, float]:
    finite = np.concatenate([x[np.isfinite(x)].ravel() for x in values])
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    margin = 0.08 * (high - low) or 1.0
    return low - margin, high + margin


def _edges(centres: Array) -> Array:
    """Return the N + 1 edges of cells around N increasing centres."""
    if len(centres) == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    middle = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[centres[0]], middle, [centres[-1]]])
