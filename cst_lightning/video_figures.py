"""Pictures of restored frames, beside what was there and what the mean of the neighbours makes of it; and films.

Sizes: F frames, H rows, W columns, c channels, 1 (grey) or 3 (red, green, blue), in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from cst_lightning import animations
from cst_lightning.baselines.frames import AlongTime
from cst_lightning.drawing import ERROR, INK, Array, Labels, bare, canvas, colorbar

if TYPE_CHECKING:
    from cst_lightning.callbacks.scene import Scene

Query = Callable[[Array], Array]
#: From values of whole frames (F x P, C) to pictures (F, H, W, c).
Pictures = Callable[[Array], Array]

_ERROR = 0.25  # of full scale, at the ends of the colour bar of errors
_TOGETHER = 32  # frames that are asked for at once


class Dropped(NamedTuple):
    """One frame that was not shown, and what became of it.

    Attributes:
        time: of the frame.
        before: (H, W, c) the last observed frame before it.
        truth: (H, W, c).
        prediction: (H, W, c).
        mean: (H, W, c) of the observed frames before and after.
    """

    time: float
    before: Array
    truth: Array
    prediction: Array
    mean: Array


def restored(rows: Sequence[Dropped], aspect: float, labels: Labels) -> Figure:
    """Draw dropped frames, one a row: frame before, truth, CST, mean of the neighbours, and both errors.

    Args:
        rows: what to draw.
        aspect: height over width of a pixel.
        labels: names of axes.
    """
    height, width = rows[0].truth.shape[:2]
    cell = 2.1
    figure = canvas(6 * cell + 0.7, len(rows) * (cell * height * aspect / width + 0.42) + 0.2)
    axes = figure.subplots(len(rows), 6, squeeze=False)
    norm = CenteredNorm(0, _ERROR)
    for line, row in zip(axes, rows, strict=True):
        scores = [f"{_psnr(guess, row.truth):.1f} dB" for guess in (row.prediction, row.mean)]
        titles = ("Frame before", f"Dropped frame, {labels.at(0, row.time)}", f"CST, {scores[0]}")
        pictures = (row.before, row.truth, row.prediction, row.mean)
        for axis, title, picture in zip(line, (*titles, f"Neighbour mean, {scores[1]}"), pictures, strict=False):
            _show(axis, picture, aspect)
            axis.set_title(title, fontsize=8, color=INK)
        for axis, title, guess in zip(line[4:], ("Error of CST", "Error of the mean"), pictures[2:], strict=True):
            error = (guess - row.truth).mean(-1)
            axis.imshow(error, norm=norm, cmap=ERROR, aspect=aspect, interpolation="nearest")
            axis.set_title(title, fontsize=8, color=INK)
            bare(axis)
    colorbar(figure, ScalarMappable(norm, ERROR), list(axes[:, 5]), "error, of full scale", "vertical", clipped=True)
    return figure


def film(
    path: Path,
    times: Array,
    truth: tuple[Array, Array, Array],
    prediction: Array,
    aspect: float,
    labels: Labels,
    fps: int = 15,
) -> None:
    """Write a GIF: the frame nearest in time, observed or dropped, beside the prediction at every time.

    Args:
        path: where to, ending in ".gif".
        times: (Q,) increasing, usually finer than the data.
        truth: (F,) times, (F, H, W, c) frames, and (F,) bool, which of them were observed.
        prediction: (Q, H, W, c) at `times`.
        aspect: height over width of a pixel.
        labels: names of axes.
        fps: pictures a second.
    """
    height, width = prediction.shape[1:3]
    figure = canvas(6.4, 3.2 * height * aspect / width + 0.55, dpi=100)
    left, right = figure.subplots(1, 2)
    images = [_show(axis, prediction[0], aspect) for axis in (left, right)]

    def show(index: int) -> None:
        nearest = int(np.abs(truth[0] - times[index]).argmin())
        images[0].set_data(_colours(truth[1][nearest]))
        images[1].set_data(_colours(prediction[index]))
        state = "observed" if truth[2][nearest] else "dropped"
        left.set_title(f"Nearest frame, {state}\n{labels.at(0, truth[0][nearest], 3)}", fontsize=9, color=INK)
        right.set_title(f"CST\n{labels.at(0, times[index], 3)}", fontsize=9, color=INK)

    animations.write_gif(path, figure, show, len(times), fps)


def draw(scene: Scene, field: Query, pictures: Pictures, aspect: float, labels: Labels) -> Figure | None:
    """Draw three dropped frames of a scene, an easy, a middling and a hard one; None if no frame was dropped.

    How hard a frame is, the error of the neighbour mean says, so that the choice does not favour CST.

    Args:
        scene: whole frames, time-major.
        field: maps coordinates (Q, d) to values (Q, C).
        pictures: makes pictures of values.
        aspect: height over width of a pixel.
        labels: names of axes.
    """
    if not scene.frames:
        return None
    prediction = np.asarray(field(scene.coords)) if scene.prediction is None else scene.prediction
    times, seen = _moments(scene)
    observed = scene.observed.copy()
    observed[:, 0] = times[_frame_of(observed[:, 0], times)]
    mean = AlongTime("neighbour_mean")(observed, scene.values, scene.coords, [None] * scene.coords.shape[1])
    dropped = np.flatnonzero(_known(scene) & ~seen)
    if not len(dropped) or not seen.any():
        return None
    frames = [pictures(np.nan_to_num(values)) for values in (scene.truth, prediction, mean)]
    error = np.square(frames[2] - frames[0]).mean((1, 2, 3))[dropped]
    ranked = dropped[np.argsort(error, kind="stable")]
    rows = []
    for frame in dict.fromkeys(ranked[[len(ranked) // 10, len(ranked) // 2, (9 * len(ranked)) // 10]].tolist()):
        earlier = np.flatnonzero(seen & (times < times[frame]))
        before = frames[0][earlier[-1] if len(earlier) else np.flatnonzero(seen)[0]]
        rows.append(Dropped(float(times[frame]), before, *(part[frame] for part in frames)))
    return restored(rows, aspect, labels)


def animate(
    path: Path,
    scene: Scene,
    field: Query,
    pictures: Pictures,
    aspect: float,
    labels: Labels,
    finer: int = 4,
    most: int = 401,
) -> bool:
    """Write a film of a scene; tell whether there was anything to show.

    Args:
        path: where to.
        scene: whole frames, time-major.
        field: maps coordinates (Q, d) to values (Q, C).
        pictures: makes pictures of values.
        aspect: height over width of a pixel.
        labels: names of axes.
        finer: pictures a frame of the data.
        most: pictures in all.
    """
    if scene.frames < 2 or not _known(scene).any():
        return False
    times, seen = _moments(scene)
    # even steps, whatever the camera's were: a film is shown at an even rate
    fine = np.linspace(times[0], times[-1], min((scene.frames - 1) * finer + 1, most))
    places = scene.coords.reshape(scene.frames, -1, scene.coords.shape[1])[0]
    parts = []
    for some in np.array_split(fine, -(-len(fine) // _TOGETHER)):
        query = np.tile(places, (len(some), 1))
        query[:, 0] = np.repeat(some, len(places))
        parts.append(pictures(np.asarray(field(query))))
    known = _known(scene)
    frames = pictures(np.nan_to_num(scene.truth))
    film(path, fine, (times[known], frames[known], seen[known]), np.concatenate(parts), aspect, labels)
    return True


def _moments(scene: Scene) -> tuple[Array, Array]:
    """Return the times (F,) of a scene's frames, and which of them were observed."""
    times = scene.coords[:: len(scene.coords) // scene.frames, 0]
    seen = np.zeros(len(times), dtype=bool)
    seen[_frame_of(scene.observed[:, 0], times)] = True
    return times, seen


def _frame_of(moments: Array, times: Array) -> Array:
    """Return which frame each moment is nearest to: what a model was shown comes back rounded to float32."""
    after = np.clip(np.searchsorted(times, moments), 1, max(1, len(times) - 1))
    if len(times) == 1:
        return np.zeros(len(moments), dtype=int)
    return np.where(moments - times[after - 1] < times[after] - moments, after - 1, after)


def _known(scene: Scene) -> Array:
    """Return which frames (F,) have a truth."""
    known: Array = ~np.isnan(scene.truth).any(1).reshape(scene.frames, -1).any(1)
    return known


def _show(axis: Axes, picture: Array, aspect: float) -> AxesImage:
    image = axis.imshow(_colours(picture), vmin=0, vmax=1, cmap="gray", aspect=aspect, interpolation="nearest")
    bare(axis)
    return image


def _colours(picture: Array) -> Array:
    """Return (H, W) or (H, W, 3) within what a screen can show."""
    shown: Array = np.clip(picture, 0, 1)
    return shown[..., 0] if shown.shape[-1] == 1 else shown


def _psnr(guess: Array, truth: Array) -> float:
    return float(-10 * np.log10(max(np.square(guess - truth).mean(), 1e-12)))
