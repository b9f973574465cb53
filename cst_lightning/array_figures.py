"""Pictures of recordings of planar frames, whatever the points of the network are: cells, patches, whole frames.

Sizes: F frames, X and Y cells of a frame, x to the right and y upwards, c channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from cst_lightning import plots
from cst_lightning.drawing import ERROR, INK, MUTED, Labels, Space, canvas, colorbar, picture, value_scale

if TYPE_CHECKING:
    from cst_lightning.callbacks.scene import Scene
    from cst_lightning.datamodules.readers.source import Axis, Gridded

# What the columns of a picture, or a map, are called: drawn from left to right, and rows from below.
_ACROSS = ("x", "lon", "col")
_ROWS = 3


class Frames(NamedTuple):
    """A sample as frames of one channel.

    Attributes:
        times: (F,).
        truth: (F, X, Y).
        prediction: (F, X, Y).
        hidden: (F,) bool, frames of which nothing was shown.
    """

    times: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray
    hidden: np.ndarray


def draw(
    scene: Scene,
    field: Callable[[np.ndarray], np.ndarray],
    pictures: Callable[[np.ndarray], np.ndarray],
    recordings: Gridded,
    labels: Labels,
) -> dict[str, Figure]:
    """Draw frames of the first channel: hidden ones beside their neighbours, or all as fields of scattered points.

    Args:
        scene: the sample, in the network's channels.
        field: maps coordinates (Q, d) to values (Q, C).
        pictures: maps values (F x places, C) to frames (F, *space, c), with two axes of space.
        recordings: what the axes are.
        labels: names of coordinates and values of the network's points.

    Returns:
        Figures by name; none if the sample is no grid of frames.
    """
    from cst_lightning.callbacks.figures import draw_curves, extent

    if not scene.frames:
        return {}
    time = scene.coords.reshape(scene.frames, -1, scene.coords.shape[1])[:, 0, 0]
    prediction = np.asarray(field(scene.coords)) if scene.prediction is None else scene.prediction
    truth, guess = (pictures(x)[..., 0].astype(np.float64) for x in (scene.truth, prediction))
    turned = _rows_first(recordings.axes[1:])
    if turned:
        truth, guess = truth.swapaxes(1, 2), guess.swapaxes(1, 2)
    axes = recordings.axes[:0:-1] if turned else recordings.axes[1:]
    unit = f" ({recordings.unit})" if recordings.unit else ""
    named = Labels((recordings.axes[0].label, *(a.label for a in axes)), (recordings.channels[0] + unit,))
    space = Space(extent([axis.values for axis in axes]), named)
    shown = (np.abs(time[:, None] - scene.observed[:, 0]) <= 1e-6 * max(1e-9, float(np.ptp(time)))).any(1)
    curves = {"curves": draw_curves(scene, field, labels)} if scene.coords.shape[1] == 1 else {}
    if shown.all() or not shown.any():
        if not turned or scene.values.shape[1] != len(recordings.channels) or curves:
            return curves  # the general figures suit points that are scattered over all frames
        return {"fields": _turned(scene, time, truth, guess, space)}
    return {"frames": restored(Frames(time, truth, guess, ~shown), space)} | curves


def restored(frames: Frames, space: Space) -> Figure:
    """Draw hidden frames, one a row: the frame before, the truth, CST, linear in time, and the errors of both.

    Args:
        frames: at least one hidden and one shown.
        space: edges and names.
    """
    hidden = np.flatnonzero(frames.hidden & np.isfinite(frames.truth).any((1, 2)))
    chosen = hidden[np.unique(np.linspace(0, len(hidden) - 1, min(_ROWS, len(hidden))).round().astype(int))]
    rows = [_row(frames, int(i)) for i in chosen]
    norm, colors = value_scale(frames.truth[chosen], *(row[2] for row in rows))
    reach = max(float(np.nanpercentile(np.abs(row[5]), 99.5)) for row in rows) if rows else 1.0
    left, right, low, high = space.extent
    aspect = (high - low) / (right - left)
    figure = canvas(11.5, (len(rows) * (1.75 * min(max(aspect, 0.4), 2.0) + 0.35)) + 0.9)
    axes = figure.subplots(max(len(rows), 1), 6, squeeze=False)
    titles = ("Frame before", "Hidden frame", "CST", "Linear in time", "Error of CST", "Error of linear")
    images: dict[bool, AxesImage] = {}
    for line, row, i in zip(axes, rows, chosen, strict=False):
        for axis, values, title in zip(line, row, titles, strict=True):
            error = title.startswith("Error")
            scale = CenteredNorm(0, reach or 1.0) if error else norm
            image = picture(axis, values, scale, ERROR if error else colors, space)
            axis.set_title(title, fontsize=8, color=INK)
            images[error] = image
        line[0].set_ylabel(space.labels.at(0, frames.times[i]), color=INK, fontsize=8)
    where = f"{space.labels.coord(1)} →   {space.labels.coord(2)} ↑"
    axes[-1, 0].set_xlabel(where, color=MUTED, fontsize=7, loc="left")
    if rows:
        colorbar(figure, images[False], axes[:, :4], space.labels.value(0), "horizontal")
        colorbar(figure, images[True], axes[:, 4:], "prediction − truth", "horizontal", clipped=True)
    return figure


def _turned(scene: Scene, time: np.ndarray, truth: np.ndarray, guess: np.ndarray, space: Space) -> Figure:
    """Draw observations scattered over all frames, x across whatever the order of axes in the data."""
    seen = (scene.observed[:, [0, 2, 1]], scene.values[:, 0])
    return plots.fields(time, truth, guess, seen, space)


def _row(frames: Frames, i: int) -> tuple[np.ndarray, ...]:
    """Return the six pictures of a hidden frame."""
    shown = np.flatnonzero(~frames.hidden)
    before, after = shown[shown < i][-1:], shown[shown > i][:1]
    a, b = (before if len(before) else after)[0], (after if len(after) else before)[0]
    span = frames.times[b] - frames.times[a]
    part = (frames.times[i] - frames.times[a]) / span if span else 0.0
    line = (1 - part) * frames.truth[a] + part * frames.truth[b]
    truth, guess = frames.truth[i], frames.prediction[i]
    return frames.truth[a], truth, guess, line, guess - truth, line - truth


def _rows_first(space: Sequence[Axis]) -> bool:
    """Whether the second axis of space is the one that people draw from left to right."""
    name, unit = space[1].name.lower(), space[1].unit.lower()
    return name.startswith(_ACROSS) or "east" in unit
