"""Pictures of volumes: the middle slice along each axis, side by side as on a microscope's screen; and animations.

Sizes: F frames, Z, Y and X planes, rows and columns of a volume, H and W rows and columns of a picture.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cst_lightning import animations
from cst_lightning.baselines.frames import AlongTime
from cst_lightning.drawing import MUTED, Array, Labels, Space, Strip, downwards, rows_first
from cst_lightning.trace_figures import draw_movie

if TYPE_CHECKING:
    from cst_lightning.callbacks.scene import Scene
    from cst_lightning.datamodules.readers.source import Axis
    from cst_lightning.datamodules.windows import WindowedDataModule

Query = Callable[[Array], Array]

_COLUMNS = 4
_PIXELS = 160  # of the longest side of a picture
_GAP = 4  # pixels between two slices
_THINNEST = 0.12  # of the longest side: a stack of few planes is drawn thicker than it is
_DEEP = ("z", "depth", "lev", "alt", "plane")
_TOGETHER = 16  # frames that are asked for at once


class Slices(NamedTuple):
    """The middle slices of F volumes, first rows at the top: (F, Y, X), (F, Y, Z) beside it, (F, Z, X) below it."""

    front: Array
    side: Array
    below: Array


class Views:
    """How the volumes of a recording are cut, and put on one picture.

    Args:
        data: of a recording with three axes of space.

    Attributes:
        order: which axes of space are z, y and x on the picture.
        axes: those axes.
        middle: positions of the slices along them.
    """

    def __init__(self, data: WindowedDataModule) -> None:
        self.data = data
        space = data.recordings.axes[1:]
        depth = next((i for i, axis in enumerate(space) if axis.name.lower().startswith(_DEEP)), 0)
        first, second = (i for i in range(3) if i != depth)
        turned = rows_first(space[first].label, space[second].label)
        self.order = (depth, first, second) if turned else (depth, second, first)
        self.axes: tuple[Axis, ...] = tuple(space[i] for i in self.order)
        self.middle = tuple(len(axis.values) // 2 for axis in self.axes)
        # rows of a microscope's picture count from the top, whatever their unit
        self.upwards = not (hasattr(data, "movie") or downwards(self.axes[1].label))
        sides = np.array([_length(axis) for axis in self.axes])
        sides = np.maximum(sides, _THINNEST * sides.max())
        self._pixels = np.maximum(1, np.rint(_PIXELS * sides / sides.max())).astype(int)

    @property
    def where(self) -> str:
        """Where the slices lie, for the small print."""
        places = (f"{axis.name} = {axis.values[i]:.4g}" for axis, i in zip(self.axes, self.middle, strict=True))
        return f"slices at {', '.join(places)}"

    @property
    def space(self) -> Space:
        """Edges, in pixels, and names."""
        source = self.data.recordings
        unit = f" ({source.unit})" if source.unit and source.unit not in source.channels[0] else ""
        height, width = self.size
        return Space((0, width, height, 0), Labels((source.axes[0].label,), (source.channels[0] + unit,)))

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of a picture."""
        deep, high, wide = self._pixels.tolist()
        return high + _GAP + deep, wide + _GAP + deep

    def of_values(self, values: Array) -> Array:
        """Return pictures (F, H, W) of values (F x places, C) at all places."""
        volumes = self.data.pictures(values)[..., 0].astype(np.float64)
        inside = getattr(self.data, "inside", None)
        if inside is not None:
            volumes = np.where(inside.reshape(volumes.shape[1:]), volumes, np.nan)
        volumes = volumes.transpose(0, *(1 + i for i in self.order))
        z, y, x = self.middle
        return self.compose(Slices(volumes[:, z], volumes[:, :, :, x].swapaxes(1, 2), volumes[:, :, y]))

    def of_field(self, field: Query, times: Array) -> Array:
        """Return pictures (F, H, W) of a field at some times; of points of their own the slices only are asked for."""
        parts = np.array_split(times, -(-len(times) // _TOGETHER))
        if self.data.tokens.places == self.data.recordings.shape[2:-1]:
            return np.concatenate([self.compose(self._asked(field, part)) for part in parts])
        return np.concatenate([self.of_values(np.asarray(field(self.places(part)))) for part in parts])

    def places(self, times: Array) -> Array:
        """Return the coordinates (F x places, d) of all places at some times."""
        return np.stack([part.ravel() for part in np.meshgrid(times, *self.data.tokens.axes, indexing="ij")], -1)

    def compose(self, slices: Slices) -> Array:
        """Put three slices on one picture, (F, H, W), NaN between them."""
        deep, high, wide = self._pixels.tolist()
        picture = np.full((len(slices.front), *self.size), np.nan)
        flipped = (slice(None), slice(None, None, -1)) if self.upwards else (slice(None),)
        picture[:, :high, :wide] = _enlarged(slices.front[flipped], high, wide)
        picture[:, :high, wide + _GAP :] = _enlarged(slices.side[flipped], high, deep)
        picture[:, high + _GAP :, :wide] = _enlarged(slices.below, deep, wide)
        return picture

    def mark(self, axis: Axes) -> None:
        """Name the sides of the slices."""
        deep, high, wide = self._pixels.tolist()
        z, y, x = (part.label for part in self.axes)
        axis.set_xticks([wide / 2, wide + _GAP + deep / 2], [x, z.partition(" (")[0]])
        axis.set_yticks([high / 2, high + _GAP + deep / 2], [y, z], rotation=90, va="center")
        axis.tick_params(labelsize=6.5, labelcolor=MUTED, length=0, pad=1.5)

    def _asked(self, field: Query, times: Array) -> Slices:
        """Ask for the points of three slices."""
        vectors, found = [axis.values for axis in self.axes], []
        for across, (rows, columns) in enumerate(((1, 2), (1, 0), (0, 2))):
            fixed = (0, 2, 1)[across]
            mesh = np.meshgrid(times, vectors[rows], vectors[columns], indexing="ij")
            query = np.empty((mesh[0].size, 4))
            query[:, 0] = mesh[0].ravel()
            query[:, 1 + self.order[rows]], query[:, 1 + self.order[columns]] = mesh[1].ravel(), mesh[2].ravel()
            query[:, 1 + self.order[fixed]] = vectors[fixed][self.middle[fixed]]
            found.append(np.asarray(field(query))[:, 0].reshape(mesh[0].shape))
        return Slices(*found)


def is_volume(data: object, scene: Scene) -> TypeGuard[WindowedDataModule]:
    """Whether a sample is whole frames of a recording with three axes of space."""
    from cst_lightning.datamodules.windows import WindowedDataModule

    if not isinstance(data, WindowedDataModule) or len(data.recordings.axes) != 4:
        return False
    return scene.frames > 0 and len(scene.coords) == scene.frames * int(np.prod(data.tokens.places, dtype=int))


def draw(data: WindowedDataModule, scene: Scene, field: Query) -> dict[str, Figure]:
    """Draw volumes of a sample: dropped ones, if any were and their truth is known, or else some of all.

    Args:
        data: whose sample it is.
        scene: the sample.
        field: maps coordinates (Q, d) to values (Q, c).

    Returns:
        "volumes": truth, linear in time or what was observed, the model and its error; nothing if no truth is known.
    """
    times, seen, views = scene.times, scene.seen, Views(data)
    known = np.isfinite(scene.truth).reshape(len(times), -1).any(1)
    among = np.flatnonzero(known & ~seen) if (known & ~seen).any() else np.flatnonzero(known)
    if not len(among):
        return {}
    chosen = among[np.unique(np.linspace(0, len(among) - 1, min(_COLUMNS, len(among))).round().astype(int))]
    truth, prediction = views.of_values(scene.truth)[chosen], views.of_field(field, times[chosen])
    rows = {"truth": truth, **_compared(views, scene, chosen), scene.method: prediction}
    figure = draw_movie(
        rows, prediction - truth, Strip(times, seen, chosen), views.space.of(scene.method), views.mark, 1.6
    )
    figure.text(0.005, 0.005, views.where, color=MUTED, fontsize=7)
    return {"volumes": figure}


def animate(path: Path, data: WindowedDataModule, scene: Scene, field: Query, finer: int = 4, most: int = 161) -> None:
    """Write a GIF: the middle slices of the recording's volumes beside those of the prediction at finer times.

    Args:
        path: where to.
        data: whose sample it is.
        scene: the sample.
        field: maps coordinates (Q, d) to values (Q, c).
        finer: pictures between two frames.
        most: pictures in all.
    """
    times, views = scene.times, Views(data)
    if len(times) < 2 or not np.isfinite(scene.truth).any():
        return
    fine = np.linspace(times[0], times[-1], min((len(times) - 1) * finer + 1, most))
    truth, prediction = views.of_values(scene.truth), views.of_field(field, fine)
    # pictures are drawn with the first axis to the right and the second upwards; the first row belongs at the top
    turned = [np.ascontiguousarray(x[:, ::-1].transpose(0, 2, 1)) for x in (truth, prediction)]
    text = ", ".join(filter(None, (scene.name, views.where)))
    animations.planar(
        path,
        fine,
        (times, turned[0]),
        turned[1],
        views.space.of(scene.method),
        seen=scene.seen,
        note=text,
        mark=views.mark,
    )


def _compared(views: Views, scene: Scene, chosen: Array) -> dict[str, Array]:
    """Return a row to compare with: interpolation between observed frames, or what was observed of the frames."""
    if scene.seen[chosen].any() or not scene.seen.any():
        return {"observed": views.of_values(scene.shown)[chosen]}
    query = views.places(scene.times[chosen])
    values = AlongTime("linear")(scene.observed, scene.values, query, [None] * query.shape[1])
    return {"linear in time": views.of_values(values)}


def _length(axis: Axis) -> float:
    """Return how long an axis is, with half a step beyond each end."""
    count = len(axis.values)
    return float(abs(axis.values[-1] - axis.values[0])) * count / (count - 1) if count > 1 else 0.0


def _enlarged(pictures: Array, height: int, width: int) -> Array:
    """Return pictures (F, height, width), each pixel the nearest one of (F, H, W)."""
    rows, columns = ((np.arange(n) + 0.5) * m // n for n, m in zip((height, width), pictures.shape[1:], strict=True))
    return pictures[:, rows.astype(int)[:, None], columns.astype(int)]
