"""Animations as GIF files, at times between those of the data. Sizes: Q pictures, F frames, X and Y places."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from cst_lightning import drawing
from cst_lightning.drawing import (
    BLUE,
    GRID,
    INK,
    Array,
    Labels,
    Space,
    aspect_of,
    canvas,
    colorbar,
    corner,
    digits,
    picture,
    pixels,
    tidy,
    value_scale,
)


def planar(
    path: Path,
    times: Array,
    truth: tuple[Array, Array],
    prediction: Array,
    space: Space,
    fps: int = 15,
    seen: Array | None = None,
    note: str = "",
    mark: Callable[[Axes], None] | None = None,
) -> None:
    """Write a GIF of a two-dimensional field: the nearest true frame beside the prediction at every time.

    Args:
        path: where to, ending in ".gif".
        times: (Q,) increasing, usually finer than the data.
        truth: (F,) times and (F, X, Y) frames.
        prediction: (Q, X, Y) at `times`.
        space: edges and names.
        fps: pictures a second.
        seen: (F,) bool, whether anything of a frame was observed; titles say so unless something was of all.
        note: small print.
        mark: names the sides of the left picture, if they are not those of `space`.
    """
    norm, colors = value_scale(truth[1], prediction)
    figure = canvas(6.8, 2.9 * aspect_of(space.extent) + 0.95, dpi=100)
    left, right = figure.subplots(1, 2)
    pictures = [picture(axis, prediction[0], norm, colors, space) for axis in (left, right)]
    labels, decimals = space.labels, digits(times)
    if mark is None:
        corner(left, labels.coord(1), labels.coord(2))
    else:
        mark(left)
    colorbar(figure, pictures[1], [left, right], labels.value(0), "vertical")
    drawing.note(figure, note)

    def show(index: int) -> None:
        nearest = int(np.abs(truth[0] - times[index]).argmin())
        pictures[0].set_data(truth[1][nearest].T)
        pictures[1].set_data(prediction[index].T)
        told = "" if seen is None or seen.all() else ", observed" if seen[nearest] else ", dropped"
        when = labels.at(0, truth[0][nearest], decimals)
        left.set_title(f"Truth, nearest frame{told}\n{when}", fontsize=9, color=INK)
        right.set_title(f"{labels.method}\n{labels.at(0, times[index], decimals)}", fontsize=9, color=INK)

    write_gif(path, figure, show, len(times), fps)


def orbit(
    path: Path,
    times: Array,
    truth: tuple[Array, Array],
    prediction: Array,
    observed: Array,
    labels: Labels,
    fps: int = 25,
    note: str = "",
) -> None:
    """Write a GIF of a two-channel trajectory: the true samples beside the continuous prediction as it is drawn.

    Args:
        path: where to, ending in ".gif".
        times: (Q,) increasing, usually finer than the data.
        truth: (F,) times and (F, 2) values.
        prediction: (Q, 2) at `times`.
        observed: (N, 2) values that the model was shown.
        labels: names of axes.
        fps: pictures a second.
        note: small print.
    """
    figure = canvas(6.4, 3.5, dpi=100)
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    for axis in (left, right):
        axis.scatter(*observed.T, s=22, color=INK, linewidths=0, zorder=4)
        axis.plot(*truth[1].T, color=GRID, linewidth=1.0, zorder=0)
        axis.plot(*prediction.T, alpha=0)  # so that nothing of it can leave the frame
        tidy(axis, labels.value(0, 2))
        axis.set_aspect("equal")
    left.set_ylabel(labels.value(1, 2), color=INK, fontsize=9)
    (dots,) = left.plot([], [], "o", markerfacecolor="white", markeredgecolor=INK, markersize=3.5, markeredgewidth=0.7)
    (line,) = right.plot([], [], color=BLUE, linewidth=1.8)
    (head,) = right.plot([], [], "o", color=BLUE, markersize=6, zorder=5)
    decimals = digits(times)
    drawing.note(figure, note)

    def show(index: int) -> None:
        dots.set_data(*truth[1][truth[0] <= times[index]].T)
        line.set_data(*prediction[: index + 1].T)
        head.set_data(*prediction[index : index + 1].T)
        left.set_title(f"Truth, {len(truth[0])} times; observed: filled", fontsize=9, color=INK)
        right.set_title(f"{labels.method}, {labels.at(0, times[index], decimals)}", fontsize=9, color=INK)

    write_gif(path, figure, show, len(times), fps)


def write_gif(path: Path, figure: Figure, show: Callable[[int], object], count: int, fps: int) -> None:
    """Render `count` pictures; the layout is solved once, or titles of changing width would make the pictures jump."""
    show(0)
    figure.canvas.draw()
    figure.set_layout_engine("none")
    pictures = [_rendered(figure, show, index) for index in range(count)]
    # one palette for all pictures, or colours would flicker from one to the next
    sheet = Image.fromarray(np.concatenate([np.asarray(pictures[i]) for i in {0, count // 2, count - 1}]))
    palette = sheet.quantize(256, method=Image.Quantize.MAXCOVERAGE)
    colors = np.array(palette.getpalette(), dtype=np.uint8).reshape(-1, 3)
    white = int(colors.sum(1, dtype=int).argmax())
    colors[white] = 255
    palette.putpalette(colors.ravel().tolist())
    frames = [_indexed(picture, palette, white) for picture in pictures]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    frames[0].save(temporary, "GIF", save_all=True, append_images=frames[1:], duration=round(1000 / fps), loop=0)
    temporary.replace(path)


def _indexed(picture: Image.Image, palette: Image.Image, white: int) -> Image.Image:
    """Return a picture in the colours of a palette; paper stays white, which the nearest colour found is not quite."""
    found = picture.quantize(palette=palette, dither=Image.Dither.NONE)
    index = np.where((np.asarray(picture) == 255).all(-1), white, np.asarray(found)).astype(np.uint8)
    indexed = Image.fromarray(index)
    indexed.putpalette(found.getpalette() or [])
    return indexed


def _rendered(figure: Figure, show: Callable[[int], object], index: int) -> Image.Image:
    show(index)
    return Image.fromarray(pixels(figure))
