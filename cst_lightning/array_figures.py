"""Pictures of recordings of planar frames, whatever the points of the network are: cells, patches, whole frames.

Sizes: F frames, X and Y cells of a frame, x to the right and y upwards, c channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from cst_lightning import animations, plots
from cst_lightning.drawing import (
    ERROR,
    INK,
    Labels,
    Space,
    Strip,
    aspect_of,
    canvas,
    colorbar,
    corner,
    difference,
    downwards,
    picture,
    rows_first,
    timeline,
    value_scale,
)

if TYPE_CHECKING:
    from cst_lightning.callbacks.scene import Scene
    from cst_lightning.datamodules.readers.source import Axis, Gridded

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


class Planar(NamedTuple):
    """How values of the network become pictures of the first channel.

    Attributes:
        pictures: maps values (F x places, C) to frames (F, *space, c), with two axes of space.
        recordings: what the axes are.
        method: whose prediction is drawn.
    """

    pictures: Callable[[np.ndarray], np.ndarray]
    recordings: Gridded
    method: str = "CST"

    @property
    def turned(self) -> bool:
        """Whether the second axis of space is the one that people draw from left to right."""
        return rows_first(*(axis.label for axis in self.recordings.axes[1:]))

    @property
    def axes(self) -> tuple[Axis, Axis]:
        """The axis across and the one upwards."""
        first, second = self.recordings.axes[1:]
        return (second, first) if self.turned else (first, second)

    @property
    def vectors(self) -> tuple[np.ndarray, np.ndarray]:
        """Places from left to right and from below; axes of recordings increase, so that north is up."""
        across, upwards = (axis.values for axis in self.axes)
        return across, upwards[::-1] if downwards(self.axes[1].label) else upwards

    @property
    def space(self) -> Space:
        """Edges and names."""
        from cst_lightning.callbacks.figures import extent

        unit = f" ({self.recordings.unit})" if self.recordings.unit else ""
        names = (self.recordings.axes[0].label, *(axis.label for axis in self.axes))
        return Space(extent(list(self.vectors)), Labels(names, (self.recordings.channels[0] + unit,), self.method))

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return the frames (F, X, Y) of values (F x places, C)."""
        frames = self.pictures(values)[..., 0].astype(np.float64)
        frames = frames.swapaxes(1, 2) if self.turned else frames
        return frames[..., ::-1] if downwards(self.axes[1].label) else frames


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
    from cst_lightning.callbacks.figures import draw_curves

    if not scene.frames:
        return {}
    planar = Planar(pictures, recordings, scene.method)
    prediction = np.asarray(field(scene.coords)) if scene.prediction is None else scene.prediction
    frames = Frames(scene.times, planar(scene.truth), planar(prediction), ~scene.seen)
    curves = {"curves": draw_curves(scene, field, labels)} if scene.coords.shape[1] == 1 else {}
    if scene.seen.any() and frames.hidden.any():
        return {"frames": restored(frames, planar.space)} | curves
    if curves:
        return curves
    return {"fields": plots.fields(*frames[:3], _shown(scene, planar), planar.space)}


def animate(
    path: Path,
    scene: Scene,
    field: Callable[[np.ndarray], np.ndarray],
    planar: Planar,
    places: Sequence[np.ndarray],
    finer: int = 4,
    most: int = 81,
) -> None:
    """Write a GIF of the first channel: the frames of the recording beside the prediction at finer times.

    Args:
        path: where to.
        scene: the sample.
        field: maps coordinates (Q, d) to values (Q, C).
        planar: makes pictures of values.
        places: one vector an axis of the places of the network's points.
        finer: pictures between two frames.
        most: pictures in all.
    """
    times = scene.times
    fine = np.linspace(times[0], times[-1], min((len(times) - 1) * finer + 1, most))
    query = np.stack([part.ravel() for part in np.meshgrid(fine, *places, indexing="ij")], -1)
    truth, prediction = planar(scene.truth), planar(np.asarray(field(query)))
    animations.planar(path, fine, (times, truth), prediction, planar.space, seen=scene.seen, note=scene.name)


def restored(frames: Frames, space: Space) -> Figure:
    """Draw hidden frames, one a row: the frame before, the truth, the model, linear in time, and the errors of both.

    Args:
        frames: at least one hidden and one shown.
        space: edges and names.
    """
    hidden = np.flatnonzero(frames.hidden & np.isfinite(frames.truth).any((1, 2)))
    chosen = hidden[np.unique(np.linspace(0, len(hidden) - 1, min(_ROWS, len(hidden))).round().astype(int))]
    rows = [_row(frames, int(i)) for i in chosen]
    count, high = max(len(rows), 1), 1.75 * aspect_of(space.extent)
    figure = canvas(11.5, count * (high + 0.36) + 1.6)
    grid = figure.add_gridspec(count + 1, 6, height_ratios=[high] * count + [0.25])
    axes = np.array([[figure.add_subplot(grid[line, column]) for column in range(6)] for line in range(count)])
    if rows:
        _pictures(figure, axes, rows, space)
    for line, i in zip(axes, chosen, strict=False):
        line[0].set_ylabel(space.labels.at(0, frames.times[i]), color=INK, fontsize=8)
    figure.align_ylabels(axes[:, 0])
    corner(axes[-1, 0], space.labels.coord(1), space.labels.coord(2))
    timeline(figure.add_subplot(grid[-1, :-1]), Strip(frames.times, ~frames.hidden, chosen), space.labels.coord(0))
    return figure


def _pictures(figure: Figure, axes: np.ndarray, rows: Sequence[tuple[np.ndarray, ...]], space: Space) -> None:
    """Draw rows of six pictures, four of values and two of errors, each kind on one scale."""
    norm, colors = value_scale(*(part for row in rows for part in row[1:3]))
    reach = max(float(np.nanpercentile(np.abs(row[5]), 99.5)) for row in rows) or 1.0
    titles = (
        "Shown frame before",
        "Hidden frame",
        space.labels.method,
        "Linear in time",
        f"{space.labels.method} − truth",
        "Linear − truth",
    )
    images: dict[bool, AxesImage] = {}
    for line, row in zip(axes, rows, strict=True):
        for axis, values, title in zip(line, row, titles, strict=True):
            error = title.endswith("− truth")
            scale = CenteredNorm(0, reach) if error else norm
            images[error] = picture(axis, values, scale, ERROR if error else colors, space)
            axis.set_title(title, fontsize=8, color=INK)
    name = space.labels.value(0)
    colorbar(figure, images[False], axes[:, :4], name, "horizontal")
    colorbar(figure, images[True], axes[:, 4:], difference(name, "method"), "horizontal", clipped=True)


def _shown(scene: Scene, planar: Planar) -> tuple[np.ndarray, np.ndarray]:
    """Return coordinates (N, 3), time first and then across, and values (N,) of the cells that were observed."""
    frames = planar(scene.shown)
    cells = np.nonzero(np.isfinite(frames))
    vectors = (scene.times, *planar.vectors)
    return np.column_stack([vector[own] for vector, own in zip(vectors, cells, strict=True)]), frames[cells]


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
