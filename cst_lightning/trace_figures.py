"""Figures of recordings of many regions: traces of some of them, pictures of a movie, and what times attend to.

Sizes: F frames, R regions, Q times at which the prediction is drawn, Y and X rows and columns of a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm, Normalize
from matplotlib.figure import Figure

from cst_lightning import animations, plots
from cst_lightning.baselines.frames import AlongTime
from cst_lightning.baselines.interpolation import Linear
from cst_lightning.drawing import (
    BLUE,
    ERROR,
    INK,
    MUTED,
    ORANGE,
    Array,
    Labels,
    Space,
    Strip,
    aspect_of,
    bare,
    canvas,
    colorbar,
    corner,
    difference,
    digits,
    finer_times,
    met,
    tidy,
    timeline,
    value_scale,
)

if TYPE_CHECKING:
    from cst_lightning.callbacks.scene import Scene
    from cst_lightning.datamodules.calcium import CalciumDataModule

Query = Callable[[Array], Array]
#: So many traces and so many pictures are drawn.
_ROWS, _COLUMNS = 6, 6


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
    if scene.frames < 2:
        return
    times = scene.times
    fine = np.linspace(times[0], times[-1], min((len(times) - 1) * finer + 1, most))
    truth, prediction = _pictures(data, scene.truth), _pictures(data, _at(data, field, fine))
    # pictures are drawn with the first axis to the right and the second upwards; the first row belongs at the top
    turned = [np.ascontiguousarray(x[:, ::-1].transpose(0, 2, 1)) for x in (truth, prediction)]
    names = [axis.label for axis in data.recordings.axes]
    space = Space(_extent(data), Labels((names[0], names[2], names[1]), (_value_name(data),), scene.method))
    animations.planar(path, fine, (times, turned[0]), turned[1], space, seen=scene.seen, note=scene.name)


def draw_traces(
    times: Array,
    prediction: Array,
    observed: Sequence[Observed],
    truth: tuple[Array, Array],
    references: Mapping[str, Array],
    names: Sequence[str],
    labels: Labels,
) -> Figure:
    """Draw the time courses of several regions, one above the other.

    Args:
        times: (Q,) increasing.
        prediction: (Q, R).
        observed: one entry a region.
        truth: (F,) times and (F, R) values, drawn where nothing was observed; NaN leaves a gap.
        references: for each other method, (Q, R).
        names: of the regions.
        labels: names of time, of the values and of the model.
    """
    figure = canvas(8.4, 0.9 + 1.15 * len(names))
    axes = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for row, (axis, name) in enumerate(zip(axes, names, strict=True)):
        hidden = ~met(truth[0], observed[row].times)
        unseen = truth[1][hidden, row]
        size = plots.dot_size(len(truth[0]))
        axis.scatter(truth[0][hidden], unseen, s=size, label="hidden truth", **plots.RINGS)
        for number, (method, values) in enumerate(references.items()):
            axis.plot(times, values[:, row], color=(ORANGE, MUTED)[number % 2], linewidth=0.8, label=method, zorder=2)
        axis.plot(times, prediction[:, row], color=BLUE, linewidth=1.5, label=labels.method, zorder=3)
        axis.scatter(*observed[row], s=size, label="observed", **plots.DOTS)
        shown = np.concatenate([prediction[:, row], observed[row].values, unseen])
        low, high = np.nanmin(shown), np.nanmax(shown)
        axis.set_ylim(low - 0.08 * (high - low or 1), high + 0.08 * (high - low or 1))
        tidy(axis)
        axis.margins(x=0.01)
        axis.set_title(name, fontsize=8, color=MUTED, loc="left", pad=2)
    axes[-1].set_xlabel(labels.coord(0), color=INK, fontsize=9)
    figure.supylabel(labels.value(0), color=INK, fontsize=9)
    handles, texts = axes[0].get_legend_handles_labels()
    figure.legend(
        handles, texts, loc="outside upper center", ncols=len(texts), frameon=False, fontsize=9, labelcolor=INK
    )
    return figure


def draw_movie(
    rows: Mapping[str, Array],
    error: Array,
    strip: Strip,
    space: Space,
    mark: Callable[[Axes], None] | None = None,
    width: float = 1.25,
) -> Figure:
    """Draw pictures of a movie at several times, one column a time, one row a method, and which frames were observed.

    Args:
        rows: (n, Y, X) pictures by name, on one colour scale; what is NaN stays grey.
        error: (n, Y, X), in the last row, on a scale of its own.
        strip: all frames, n of them drawn; left out if something was observed of every one.
        space: edges and names, the first row of the pictures at the top.
        mark: names the sides of the picture in the corner, if they are not those of `space`.
        width: of a picture, inches.
    """
    norm, colors = _clipped(*rows.values())
    reach = float(np.nanpercentile(np.abs(error), 99.5)) or 1.0
    count, columns, high = len(rows) + 1, len(strip.drawn), width * aspect_of(space.extent)
    told = not strip.seen.all()
    figure = canvas(1.6 + width * columns, (1.3 if told else 0.8) + (high + 0.06) * count)
    grid = figure.add_gridspec(count + told, columns, height_ratios=[high] * count + [0.22] * told)
    axes = np.array([[figure.add_subplot(grid[line, column]) for column in range(columns)] for line in range(count)])
    for line, (label, pictures) in zip(axes, [*rows.items(), (f"{space.labels.method} − truth", error)], strict=True):
        scale, palette = (norm, colors) if label in rows else (CenteredNorm(0, reach), ERROR)
        for axis, values in zip(line, pictures, strict=True):
            axis.set_facecolor("#c8ccd2")
            image = axis.imshow(values, norm=scale, cmap=palette, interpolation="nearest", extent=space.extent)
            bare(axis)
        line[0].set_ylabel(label, fontsize=8, color=INK)
        if label == list(rows)[-1]:
            colorbar(figure, image, axes[:-1], space.labels.value(0), "vertical", clipped=True)
    colorbar(figure, image, axes[-1:], difference(space.labels.value(0), space.labels.method), "vertical", clipped=True)
    figure.align_ylabels(axes[:, 0])
    if mark is None:
        corner(axes[-1, 0], space.labels.coord(1), space.labels.coord(2))
    else:
        mark(axes[-1, 0])
    decimals = digits(strip.times)
    for axis, frame in zip(axes[0], strip.drawn, strict=True):
        when = space.labels.at(0, strip.times[frame], decimals).partition(" = ")[2]
        state = ("\nobserved" if strip.seen[frame] else "\ndropped") if told else ""
        axis.set_title(f"{when}{state}", fontsize=8, color=INK)
    if told:
        timeline(figure.add_subplot(grid[-1, :-1] if columns > 1 else grid[-1, :]), strip, space.labels.coord(0))
    return figure


def _traces(data: CalciumDataModule, scene: Scene, field: Query) -> Figure:
    """Draw the regions whose truth varies most."""
    times = scene.times
    fine = finer_times(times)
    truth = _regions(data, scene.truth)
    # nanstd warns about a region without any value
    spread = np.where(np.isfinite(truth).any(0), np.nanstd(np.where(np.isfinite(truth), truth, 0), axis=0), 0)
    chosen = np.sort(np.argsort(-spread, kind="stable")[:_ROWS])
    observed = [_observed(data, scene, int(region)) for region in chosen]
    lines = [
        Linear()(own.times[:, None], own.values[:, None], fine[:, None], [None])
        if len(own.times)
        else np.full((len(fine), 1), np.nan)
        for own in observed
    ]
    source = data.recordings
    names = [f"ROI {i}" for i in range(truth.shape[1])] if data.kind == "points" else list(source.channels)
    labels = Labels((source.axes[0].label,), (_value_name(data),), scene.method)
    return draw_traces(
        fine, _curves(data, field, fine, chosen), observed, (times, truth[:, chosen]),
        {"linear": np.concatenate(lines, 1)}, [names[i] for i in chosen], labels,
    )  # fmt: skip


def _curves(data: CalciumDataModule, field: Query, times: Array, chosen: Array) -> Array:
    """Return the field (Q, n) of n regions; where each is a point of its own the others are not asked for."""
    if data.kind != "points":
        return _regions(data, _at(data, field, times))[:, chosen]
    mesh = np.meshgrid(times, data.tokens.axes[0][chosen], indexing="ij")
    return np.asarray(field(np.stack([part.ravel() for part in mesh], -1))).reshape(len(times), len(chosen))


def _movie(data: CalciumDataModule, scene: Scene, field: Query) -> dict[str, Figure]:
    """Draw frames that were dropped, if any were and their truth is known, or else frames from all of the sample."""
    if len(data.recordings.axes) != 3:
        return {}
    times, seen = scene.times, scene.seen
    known = np.isfinite(scene.truth).reshape(len(times), -1).any(1)
    among = np.flatnonzero(known & ~seen) if (known & ~seen).any() else np.flatnonzero(known)
    if not len(among):
        return {}
    chosen = among[np.unique(np.linspace(0, len(among) - 1, min(_COLUMNS, len(among))).round().astype(int))]
    truth = _pictures(data, scene.truth)[chosen]
    prediction = _pictures(data, _at(data, field, times[chosen]))
    # what no combination of components reaches is not in this picture, though it is in the scores
    name = f"truth\n({data.channels} components)" if data.kind == "components" else "truth"
    rows = {name: truth, **_shown(data, scene, chosen), scene.method: prediction}
    axes = [axis.label for axis in data.recordings.axes]
    space = Space(_extent(data), Labels((axes[0], axes[2], axes[1]), (_value_name(data),), scene.method))
    return {"movie": draw_movie(rows, prediction - truth, Strip(times, seen, chosen), space)}


def _shown(data: CalciumDataModule, scene: Scene, chosen: Array) -> dict[str, Array]:
    """Return a row to compare with: interpolation between observed frames, or what was observed of the frames."""
    if not scene.seen[chosen].any():
        values = AlongTime("linear")(
            scene.observed, scene.values, _places(data, scene.times[chosen]), [None] * scene.observed.shape[1]
        )
        return {"linear in time": _pictures(data, values)}
    return {"observed": _pictures(data, scene.shown)[chosen]}


def _attention(data: CalciumDataModule, scene: Scene, weights: Callable[[Array], Array]) -> Figure:
    """Draw what each time attends to, summed over the places of an observed time, asked at the middle place."""
    times = scene.times
    fine = np.linspace(times[0], times[-1], 200)
    middle = [axis[len(axis) // 2] for axis in data.tokens.axes]
    query = np.column_stack([fine, *(np.full(len(fine), place) for place in middle)])
    found = np.asarray(weights(query))[:, : len(scene.observed)]
    when, place = np.unique(scene.observed[:, 0], return_inverse=True)
    summed = np.zeros((len(fine), len(when)))
    np.add.at(summed.T, place.ravel(), found.T)
    return plots.attention_times(fine, when, summed, Labels((data.recordings.axes[0].label,)))


def _places(data: CalciumDataModule, times: Array) -> Array:
    """Return the coordinates (Q x places, d) of all places at some times."""
    return np.stack([part.ravel() for part in np.meshgrid(times, *data.tokens.axes, indexing="ij")], -1)


def _at(data: CalciumDataModule, field: Query, times: Array) -> Array:
    """Return the field (Q x places, c) at all places of some times."""
    return np.asarray(field(_places(data, times)))


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
