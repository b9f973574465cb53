"""The look of every figure: colours, names with units, axes, pictures and colour bars.

Everything goes through matplotlib's object interface and the Agg canvas: no window, no `pyplot` state and no global
setting is touched, so figures may be drawn in any thread of any user's program.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import CenteredNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

Array = np.ndarray
INK, MUTED, GRID = "#1b1e23", "#5c636e", "#e3e6ea"
# Okabe and Ito's palette, told apart under every common colour blindness
BLUE, ORANGE, GREEN, PURPLE, RED = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00"
METHOD_COLORS = {"linear": ORANGE, "cubic": GREEN, "pchip": PURPLE, "makima": RED}
DIVERGING, SEQUENTIAL, ERROR = "RdBu_r", "viridis", "PuOr_r"


class Labels(NamedTuple):
    """Names with units, as they stand on axes.

    Attributes:
        coords: d names, time first; missing ones are "t", "x", "y", "z".
        values: c names; missing ones are "u", or "u1", "u2", ... if there are several.
    """

    coords: tuple[str, ...] = ()
    values: tuple[str, ...] = ()

    def coord(self, axis: int) -> str:
        """Return the name of a coordinate axis."""
        return self.coords[axis] if axis < len(self.coords) else "txyz"[axis] if axis < 4 else f"x{axis}"

    def at(self, axis: int, value: float, digits: int | None = None) -> str:
        """Return a coordinate with its unit, "time = 3 s", the unit taken from a name like "time (s)"."""
        name, _, unit = self.coord(axis).removesuffix(")").partition(" (")
        number = f"{value:.4g}" if digits is None else f"{value:.{digits}f}"
        return f"{name} = {number} {unit}".rstrip()

    def value(self, channel: int, channels: int = 1) -> str:
        """Return the name of a channel."""
        if channel < len(self.values):
            return self.values[channel]
        return "u" if channels == 1 else f"$u_{{{channel + 1}}}$"


class Space(NamedTuple):
    """The frame around pictures of a two-dimensional field.

    Attributes:
        extent: left, right, bottom and top edge of the pictures: x from, x to, y from, y to.
        labels: names of the axes and the values.
    """

    extent: tuple[float, float, float, float]
    labels: Labels = Labels()


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG, creating its folder, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=200, facecolor="white")
    return path


def value_scale(*values: Array) -> tuple[Normalize, str]:
    """Return a colour scale for all of `values`: diverging and symmetric about 0 if they have both signs."""
    finite = np.concatenate([x[np.isfinite(x)].ravel() for x in values])
    low, high = np.percentile(finite, [0.1, 99.9]) if finite.size else (0.0, 1.0)
    if low < 0 < high and min(-low, high) > 0.1 * max(-low, high):
        return CenteredNorm(0, float(max(-low, high))), DIVERGING
    return Normalize(float(low), float(high) if high > low else float(low) + 1), SEQUENTIAL


def canvas(width: float, height: float, dpi: float = 150) -> Figure:
    """Return an empty figure, inches wide and high, that lays itself out."""
    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def tidy(axis: Axes, xlabel: str = "", ylabel: str = "", grid: bool = True) -> None:
    """Style an axis: two thin spines, small ticks, a pale grid."""
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axis.spines[side].set_color(MUTED)
        axis.spines[side].set_linewidth(0.8)
    axis.tick_params(labelsize=8, colors=MUTED, labelcolor=INK, length=3, width=0.8)
    if grid:
        axis.grid(color=GRID, linewidth=0.7)
        axis.set_axisbelow(True)
    if xlabel:
        axis.set_xlabel(xlabel, color=INK, fontsize=9)
    if ylabel:
        axis.set_ylabel(ylabel, color=INK, fontsize=9)


def picture(axis: Axes, values: Array, norm: Normalize, colors: str, space: Space) -> AxesImage:
    """Draw one frame (X, Y), x to the right and y upwards."""
    image = axis.imshow(values.T, origin="lower", extent=space.extent, norm=norm, cmap=colors, interpolation="nearest")
    bare(axis)
    return image


def bare(axis: Axes) -> None:
    """Style an axis that holds a picture: a thin frame without ticks."""
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_color(MUTED)
        spine.set_linewidth(0.6)


def colorbar(
    figure: Figure,
    artist: Any,
    axes: Any,
    label: str,
    orientation: Literal["horizontal", "vertical"],
    clipped: bool = False,
) -> None:
    """Add a colour bar for `artist` beside or below `axes`; pointed ends say that its colours are `clipped`."""
    horizontal = orientation == "horizontal"
    bar = figure.colorbar(
        artist,
        ax=axes,
        orientation=orientation,
        shrink=0.62 if horizontal else 0.86,
        aspect=26 if horizontal else 24,
        pad=0.02,
        extend="both" if clipped else "neither",
    )
    bar.outline.set_visible(False)
    bar.set_label(label, color=INK, fontsize=9)
    bar.ax.tick_params(labelsize=8, colors=MUTED, labelcolor=INK, length=3, width=0.8)
    bar.locator = MaxNLocator(5 if not horizontal or np.size(axes) > len(axes) else 3)
    bar.update_ticks()


def pixels(figure: Figure) -> Array:
    """Return the figure as (height, width, 3) bytes."""
    agg: Any = FigureCanvasAgg(figure)
    agg.draw()
    return np.asarray(agg.buffer_rgba())[..., :3].copy()
