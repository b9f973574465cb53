"""Figures, as plain functions from arrays to `matplotlib.figure.Figure`.

Sizes: Q queries, N observations, F frames, X and Y places along the space axes, c channels.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
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
    ORANGE,
    RED,
    Array,
    Labels,
    Space,
    bare,
    canvas,
    colorbar,
    picture,
    tidy,
    value_scale,
)

RINGS: dict[str, Any] = {"s": 26, "facecolors": "white", "edgecolors": INK, "linewidths": 1.1, "zorder": 4}


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
        prediction: (Q, c) CST at `times`.
        observed: (N,) times and (N, c) values that CST was shown.
        truth: (F,) times and (F, c) values; NaN leaves a gap.
        references: for each other method, (Q, c) at `times`.
        labels: names of axes.

    Returns:
        A figure; at most four channels are drawn.
    """
    channels = prediction.shape[1]
    rows, orbit = min(channels, 4), channels == 2
    figure = canvas(9.2 if orbit else 7.2, 1.0 + (2.6 if rows == 1 else 1.75 * rows))
    grid = figure.add_gridspec(rows, 2 if orbit else 1, width_ratios=[1.65, 1] if orbit else None)
    axes: list[Axes] = []
    for channel in range(rows):
        axes.append(figure.add_subplot(grid[channel, 0], sharex=axes[0] if axes else None))
        tidy(axes[-1], ylabel=labels.value(channel, channels))
        _lines(axes[-1], channel, times, prediction, observed, truth, references or {})
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
    figure = canvas(7.6, 1.05 + 1.72 * len(chosen))
    axes = figure.subplots(len(chosen), 4, sharex=True, sharey=True, squeeze=False)
    half = np.median(np.diff(times)) / 2 if len(times) > 1 else np.inf
    for row, frame in zip(axes, chosen, strict=True):
        near = np.abs(observed[0][:, 0] - times[frame]) <= half * (1 + 1e-9)
        picture(row[0], truth[frame], norm, colors, space)
        _dots(row[1], observed[0][near, 1:], observed[1][near], norm, colors, space)
        shown = picture(row[2], prediction[frame], norm, colors, space)
        error = picture(row[3], prediction[frame] - truth[frame], CenteredNorm(0, reach), ERROR, space)
        row[0].set_ylabel(space.labels.at(0, times[frame]), color=INK, fontsize=9, labelpad=8)
    for axis, title in zip(axes[0], ("Truth", "Observations", "Prediction", "Error"), strict=True):
        axis.set_title(title, fontsize=10, color=INK, pad=6)
    axes[-1, 0].set_xlabel(f"{space.labels.coord(1)} →   {space.labels.coord(2)} ↑", color=MUTED, fontsize=8)
    colorbar(figure, shown, axes[:, :3], space.labels.value(0), "horizontal")
    colorbar(figure, error, axes[:, 3:], "prediction − truth", "horizontal", clipped=True)
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
    for axis, (values, scale, name), title in zip(axes, scales, ("Truth", "Prediction", "Error"), strict=True):
        pictures.append(axis.pcolormesh(times, places, values.T, norm=scale, cmap=name, rasterized=True))
        axis.set_title(title, fontsize=10, color=INK)
        tidy(axis, xlabel=labels.coord(0), grid=False)
    axes[0].scatter(observed[0][:, 0], observed[0][:, 1], s=4, color=INK, linewidths=0)
    axes[0].set_ylabel(labels.coord(1), color=INK, fontsize=9)
    colorbar(figure, pictures[1], axes[:2], labels.value(0), "vertical")
    colorbar(figure, pictures[2], axes[2:], "prediction − truth", "vertical", clipped=True)
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
    axis.plot(observed, np.full(len(observed), query[0]), "|", color=INK, markersize=9, clip_on=False, zorder=4)
    tidy(axis, f"{labels.coord(0)} of the observation", f"{labels.coord(0)} of the query", grid=False)
    axis.set_xlim(*_edges(observed[order])[[0, -1]])
    axis.set_ylim(*_edges(query)[[0, -1]])
    axis.legend(frameon=False, fontsize=8, loc="lower right", labelcolor=INK)
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
    figure = canvas(0.9 + 2.5 * len(query), 2.9)
    axes = figure.subplots(1, len(query), sharex=True, sharey=True, squeeze=False)[0]
    lag = observed[None, :, 0] - query[:, :1]
    norm = CenteredNorm(0, float(np.abs(lag).max()) or 1.0)
    for axis, point, weight, offset in zip(axes, query, weights, lag, strict=True):
        order = np.argsort(-weight)  # small discs above large ones
        area = 420 * weight[order] / max(float(weights.max()), 1e-12)
        discs = axis.scatter(
            observed[order, 1],
            observed[order, 2],
            s=area + 1.5,
            c=offset[order],
            norm=norm,
            cmap="coolwarm",
            edgecolors=INK,
            linewidths=0.25,
        )
        axis.plot(*point[1:3], marker="+", color=INK, markersize=11, markeredgewidth=1.6)
        axis.set_title(f"query at {labels.at(0, point[0])}", fontsize=9, color=INK)
        axis.set_aspect("equal")
        tidy(axis, labels.coord(1), grid=False)
    axes[0].set_ylabel(labels.coord(2), color=INK, fontsize=9)
    colorbar(figure, discs, list(axes), f"{labels.coord(0)}, from the query's", "vertical")
    return figure


def learning_curves(path: Path) -> Figure:
    """Draw the losses and the validation scores that Lightning's `CSVLogger` wrote.

    Args:
        path: a `metrics.csv`.
    """
    columns = read_columns(path)
    figure = canvas(8.4, 3.1)
    left, right = figure.subplots(1, 2)
    for name, label, color in (
        ("train/loss", "loss", INK),
        ("train/fit", "fit", BLUE),
        ("train/sobolev", "Sobolev, before μ", ORANGE),
    ):
        steps, values = columns.get(name, (np.empty(0), np.empty(0)))
        if (values > 0).any():
            left.plot(steps, values, color=color, linewidth=0.5, alpha=0.28)
            left.plot(steps, _running_median(values), color=color, linewidth=1.6, label=label)
    _log_panel(left, "training step", "training loss (normalised units)")
    for name, label, color in (("val/mse", "CST", BLUE), ("val/initialiser_mse", "initialiser", MUTED)):
        steps, values = columns.get(name, (np.empty(0), np.empty(0)))
        if (values > 0).any():
            right.plot(steps, values, color=color, linewidth=1.6, marker="o", markersize=3, label=label)
    _log_panel(right, "training step", "validation MSE (physical units)")
    return figure


def read_columns(path: Path) -> dict[str, tuple[Array, Array]]:
    """Read (steps, values) of each column of a `metrics.csv`, rows where it is empty left out."""
    columns: dict[str, list[tuple[float, float]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            for name, text in row.items():
                if name not in ("step", "epoch") and text:
                    # Lightning's CSV logger aggregates a step's mean under "<name>_epoch" beside "<name>_step"
                    columns.setdefault(name.removesuffix("_step"), []).append((float(row["step"]), float(text)))
    return {name: (np.array(rows)[:, 0], np.array(rows)[:, 1]) for name, rows in columns.items()}


def _lines(
    axis: Axes,
    channel: int,
    times: Array,
    prediction: Array,
    observed: tuple[Array, Array],
    truth: tuple[Array, Array] | None,
    references: Mapping[str, Array],
) -> None:
    shown = [prediction[:, channel], observed[1][:, channel]]
    if truth is not None:
        # a marker as well: between gaps a single point would have no line
        style: dict[str, Any] = {"color": INK, "linewidth": 3.4, "marker": "o", "markersize": 3.4, "markeredgewidth": 0}
        axis.plot(truth[0], truth[1][:, channel], alpha=0.18, label="truth", zorder=1, **style)
        shown.append(truth[1][:, channel])
    for name, values in references.items():
        color = METHOD_COLORS.get(name, MUTED)
        axis.plot(times, values[:, channel], color=color, linewidth=1.1, linestyle=(0, (5, 2)), label=name, zorder=2)
    axis.plot(times, prediction[:, channel], color=BLUE, linewidth=1.8, label="CST", zorder=3)
    axis.scatter(observed[0], observed[1][:, channel], label="observations", **RINGS)
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
        axis.plot(*truth[1].T, color=INK, linewidth=3.4, alpha=0.18, zorder=1)
    for name, values in references.items():
        axis.plot(*values.T, color=METHOD_COLORS.get(name, MUTED), linewidth=1.0, linestyle=(0, (5, 2)), zorder=2)
    axis.plot(*prediction.T, color=BLUE, linewidth=1.8, zorder=3)
    axis.scatter(observed[1][:, 0], observed[1][:, 1], **RINGS)
    shown = [prediction, observed[1], *([] if truth is None else [truth[1]])]
    frame = np.array([_limits([x[:, channel] for x in shown]) for channel in range(2)])
    half = (frame[:, 1] - frame[:, 0]).max() / 2
    axis.set_xlim(frame[0].mean() - half, frame[0].mean() + half)
    axis.set_ylim(frame[1].mean() - half, frame[1].mean() + half)
    axis.set_aspect("equal")
    tidy(axis, labels.value(0, 2), labels.value(1, 2))


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
        s=17,
        edgecolors=INK,
        linewidths=0.4,
        clip_on=False,
    )
    left, right, bottom, top = space.extent
    axis.set_xlim(left, right)
    axis.set_ylim(bottom, top)
    axis.set_aspect("equal")
    bare(axis)
    return dots


def _log_panel(axis: Axes, xlabel: str, ylabel: str) -> None:
    tidy(axis, xlabel, ylabel)
    axis.set_yscale("log")
    if axis.get_legend_handles_labels()[0]:
        axis.legend(frameon=False, fontsize=8.5, labelcolor=INK)


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


def _running_median(values: Array, width: int = 25) -> Array:
    width = max(1, min(width, len(values) // 8))
    padded = np.pad(values, (width // 2, width - 1 - width // 2), mode="edge")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, width), axis=-1))
