"""Pictures of restored frames, beside what was there and what the mean of the neighbours makes of it; and films.

Sizes: F frames, H rows, W columns, c channels, 1 (grey) or 3 (red, green, blue), in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from cst_lightning import animations, drawing
from cst_lightning.baselines.frames import AlongTime
from cst_lightning.drawing import ERROR, INK, Array, Labels, Strip, bare, canvas, colorbar, digits, timeline

if TYPE_CHECKING:
    from cst_lightning.callbacks.scene import Scene

Query = Callable[[Array], Array]
#: From values of whole frames (F x P, C) to pictures (F, H, W, c).
Pictures = Callable[[Array], Array]

_ERROR = 0.25  # of full scale, at the ends of the colour bar of errors
_TOGETHER = 32  # frames that are asked for at once


class Row(NamedTuple):
    """One frame, and what became of it.

    Attributes:
        pictures: (H, W, c) by title; NaN stays grey.
        errors: (H, W) by title, of full scale.
    """

    pictures: dict[str, Array]
    errors: dict[str, Array]


def restored(rows: Sequence[Row], strip: Strip, aspect: float, labels: Labels) -> Figure:
    """Draw frames, one a row, and below them which frames were observed.

    Args:
        rows: what to draw.
        strip: all frames; left out if something was observed of every one.
        aspect: height over width of a pixel.
        labels: names of axes.
    """
    height, width = next(iter(rows[0].pictures.values())).shape[:2]
    columns, cell = len(rows[0].pictures) + len(rows[0].errors), 2.0
    high = cell * height * aspect / width
    told = not strip.seen.all()
    figure = canvas(columns * cell + 0.8, len(rows) * (high + 0.3) + (0.9 if told else 0.3))
    grid = figure.add_gridspec(len(rows) + told, columns, height_ratios=[high] * len(rows) + [0.22] * told)
    axes = [[figure.add_subplot(grid[line, column]) for column in range(columns)] for line in range(len(rows))]
    norm = CenteredNorm(0, _ERROR)
    for line, row in zip(axes, rows, strict=True):
        for axis, (title, picture) in zip(line, row.pictures.items(), strict=False):
            _show(axis, picture, aspect)
            axis.set_title(title, fontsize=8, color=INK)
        for axis, (title, error) in zip(line[len(row.pictures) :], row.errors.items(), strict=True):
            axis.imshow(error, norm=norm, cmap=ERROR, aspect=aspect, interpolation="nearest")
            axis.set_title(title, fontsize=8, color=INK)
            bare(axis)
    last = [line[-1] for line in axes]
    colorbar(figure, ScalarMappable(norm, ERROR), last, "error, of full scale", "vertical", clipped=True)
    if told:
        timeline(figure.add_subplot(grid[-1, :-1]), strip, labels.coord(0))
    return figure


def film(
    path: Path,
    times: Array,
    truth: tuple[Array, Array, Array],
    prediction: Array,
    aspect: float,
    labels: Labels,
    fps: int = 15,
    note: str = "",
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
        note: small print.
    """
    height, width = prediction.shape[1:3]
    figure = canvas(6.4, 3.2 * height * aspect / width + 0.7, dpi=100)
    left, right = figure.subplots(1, 2)
    images = [_show(axis, prediction[0], aspect) for axis in (left, right)]
    drawing.note(figure, note)
    decimals = digits(times)

    def show(index: int) -> None:
        nearest = int(np.abs(truth[0] - times[index]).argmin())
        images[0].set_data(_colours(truth[1][nearest]))
        images[1].set_data(_colours(prediction[index]))
        state = "observed" if truth[2][nearest] else "dropped"
        left.set_title(
            f"Nearest known frame, {state}\n{labels.at(0, truth[0][nearest], decimals)}", fontsize=9, color=INK
        )
        right.set_title(f"{labels.method}\n{labels.at(0, times[index], decimals)}", fontsize=9, color=INK)

    animations.write_gif(path, figure, show, len(times), fps)


def draw(scene: Scene, field: Query, pictures: Pictures, aspect: float, labels: Labels) -> Figure | None:
    """Draw three frames of a scene: dropped ones beside the mean of their neighbours, if any were dropped.

    The dropped ones are an easy, a middling and a hard one. How hard a frame is, the error of the neighbour mean says,
    so that the choice favours no model. If some of every frame was observed, it is that which is drawn beside.

    Args:
        scene: whole frames, time-major.
        field: maps coordinates (Q, d) to values (Q, C).
        pictures: makes pictures of values.
        aspect: height over width of a pixel.
        labels: names of axes.

    Returns:
        A figure, or None if points are scattered or the truth of no frame is known.
    """
    if not scene.frames or not (known := _known(scene)).any():
        return None
    prediction = np.asarray(field(scene.coords)) if scene.prediction is None else scene.prediction
    seen, dropped = scene.seen, np.flatnonzero(known & ~scene.seen)
    frames = {"truth": pictures(np.nan_to_num(scene.truth)), "prediction": pictures(prediction)}
    if len(dropped) and seen.any():
        frames["mean"] = pictures(_neighbour_mean(scene))
        chosen = _graded(dropped, np.square(frames["mean"] - frames["truth"]).mean((1, 2, 3)))
        rows = [_dropped_row(frames, int(i), scene, labels) for i in chosen]
    else:
        frames["observed"] = pictures(scene.shown)
        there = np.flatnonzero(known)
        chosen = there[np.unique(np.linspace(0, len(there) - 1, 3).round().astype(int))]
        rows = [_observed_row(frames, int(i), scene, labels) for i in chosen]
    return restored(rows, Strip(scene.times, seen, chosen), aspect, labels)


def _neighbour_mean(scene: Scene) -> Array:
    observed = scene.observed.copy()
    nearest = np.abs(observed[:, :1] - scene.times).argmin(1)  # what a model was shown comes back rounded to float32
    observed[:, 0] = scene.times[nearest]
    mean: Array = AlongTime("neighbour_mean")(observed, scene.values, scene.coords, [None] * scene.coords.shape[1])
    return mean


def _graded(frames: Array, error: Array) -> Array:
    """Return an easy, a middling and a hard one of some frames, in order of time."""
    ranked = frames[np.argsort(error[frames], kind="stable")]
    return np.unique(ranked[[len(ranked) // 10, len(ranked) // 2, (9 * len(ranked)) // 10]])


def _dropped_row(frames: Mapping[str, Array], frame: int, scene: Scene, labels: Labels) -> Row:
    truth, guess, mean = (frames[name][frame] for name in ("truth", "prediction", "mean"))
    earlier = np.flatnonzero(scene.seen & (scene.times < scene.times[frame]))
    before = frames["truth"][earlier[-1] if len(earlier) else np.flatnonzero(scene.seen)[0]]
    shown = {
        "Observed frame before": before,
        f"Dropped frame, {_when(scene, frame, labels)}": truth,
        f"{scene.method}, {_psnr(guess, truth):.1f} dB": guess,
        f"Neighbour mean, {_psnr(mean, truth):.1f} dB": mean,
    }
    return Row(shown, {f"{scene.method} − truth": (guess - truth).mean(-1), "Mean − truth": (mean - truth).mean(-1)})


def _observed_row(frames: Mapping[str, Array], frame: int, scene: Scene, labels: Labels) -> Row:
    truth, guess, observed = (frames[name][frame] for name in ("truth", "prediction", "observed"))
    shown = {
        f"Frame, {_when(scene, frame, labels)}": truth,
        "Observed": observed,
        f"{scene.method}, {_psnr(guess, truth):.1f} dB": guess,
    }
    return Row(shown, {f"{scene.method} − truth": (guess - truth).mean(-1)})


def _when(scene: Scene, frame: int, labels: Labels) -> str:
    return labels.at(0, scene.times[frame], digits(scene.times))


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
    times, seen = scene.times, scene.seen
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
    truth = times[known], frames[known], seen[known]
    film(path, fine, truth, np.concatenate(parts), aspect, labels._replace(method=scene.method), note=scene.name)
    return True


def _known(scene: Scene) -> Array:
    """Return which frames (F,) have a truth."""
    known: Array = ~np.isnan(scene.truth).any(1).reshape(scene.frames, -1).any(1)
    return known


def _show(axis: Axes, picture: Array, aspect: float) -> AxesImage:
    axis.set_facecolor("#c9d6e2")  # what is not there is no shade of grey
    image = axis.imshow(_colours(picture), vmin=0, vmax=1, cmap="gray", aspect=aspect, interpolation="nearest")
    bare(axis)
    return image


def _colours(picture: Array) -> Array:
    """Return (H, W) or (H, W, 3) within what a screen can show; what is NaN is transparent, (H, W, 4)."""
    shown: Array = np.clip(picture, 0, 1)
    if shown.shape[-1] == 1:
        return shown[..., 0]
    gaps = np.isnan(shown).any(-1, keepdims=True)
    return np.concatenate([np.nan_to_num(shown), ~gaps], -1) if gaps.any() else shown


def _psnr(guess: Array, truth: Array) -> float:
    return float(-10 * np.log10(max(np.square(guess - truth).mean(), 1e-12)))
