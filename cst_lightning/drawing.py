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
# What the columns of a picture, or a map, are called: drawn from left to right.
_ACROSS = ("x", "lon", "col")
# Units of axes that count from the top.
_DOWNWARDS = ("px", "image heights")
# Units as files spell them, and as people do.
_UNITS = {"degrees_north": "°N", "degrees_east": "°E", "M/S": "m/s", "hour": "h", "hours": "h", "second": "s"}
_NAMES = {"°N": "latitude", "°E": "longitude"}  # whatever a file calls its axis


class Labels(NamedTuple):
    """Names with units, as they stand on axes.

    Attributes:
        coords: d names, time first; missing ones are "t", "x", "y", "z".
        values: c names; missing ones are "u", or "u1", "u2", ... if there are several.
        method: whose prediction is drawn.
    """

    coords: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    method: str = "CST"

    def coord(self, axis: int) -> str:
        """Return the name of a coordinate axis."""
        if axis < len(self.coords):
            return _spelt(self.coords[axis])
        return "txyz"[axis] if axis < 4 else f"x{axis}"

    def at(self, axis: int, value: float, digits: int | None = None) -> str:
        """Return a coordinate with its unit, "time = 3 s", the unit taken from a name like "time (s)"."""
        name, _, unit = self.coord(axis).removesuffix(")").partition(" (")
        number = f"{value:.4g}" if digits is None else f"{value:.{digits}f}"
        return f"{name} = {number} {unit}".rstrip()

    def value(self, channel: int, channels: int = 1) -> str:
        """Return the name of a channel."""
        if channel < len(self.values):
            return _spelt(self.values[channel])
        return "u" if channels == 1 else f"$u_{{{channel + 1}}}$"


class Space(NamedTuple):
    """The frame around pictures of a two-dimensional field.

    Attributes:
        extent: left, right, bottom and top edge of the pictures: x from, x to, y from, y to.
        labels: names of the axes and the values.
    """

    extent: tuple[float, float, float, float]
    labels: Labels = Labels()

    def of(self, method: str) -> Space:
        """Return the same frame around the prediction of another method."""
        return self._replace(labels=self.labels._replace(method=method))


class Strip(NamedTuple):
    """Which frames of a sample were observed, and which of them are drawn.

    Attributes:
        times: (F,) of the frames.
        seen: (F,) bool, whether anything of the frame was observed.
        drawn: positions of the frames that are drawn.
    """

    times: Array
    seen: Array
    drawn: Array


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


def rows_first(label: str, other: str) -> bool:
    """Whether the second of two axes of space, by their names with units, is the one that people draw across."""
    across, first = (_spelt(name).lower().startswith(_ACROSS) for name in (other, label))
    return across and not first


def downwards(label: str) -> bool:
    """Whether an axis counts rows of a picture, the first of which belongs at the top."""
    return label.rpartition(" (")[2].removesuffix(")") in _DOWNWARDS


def corner(axis: Axes, xlabel: str, ylabel: str) -> None:
    """Put names and a few ticks on a picture, for all those beside it."""
    axis.tick_params(labelsize=6.5, colors=MUTED, labelcolor=MUTED, length=2, width=0.6, pad=1.5)
    axis.xaxis.set_major_locator(MaxNLocator(4))
    axis.yaxis.set_major_locator(MaxNLocator(3))
    # both names below: the place of the name of the rows belongs to the row
    names = (n if n.startswith(way) else f"{way}: {n}" for way, n in (("x", xlabel), ("y", ylabel)))
    axis.set_xlabel(", ".join(names), color=MUTED, fontsize=7, labelpad=1.5, loc="left")


def timeline(axis: Axes, strip: Strip, label: str) -> None:
    """Draw all frames along time: which were observed, which were not, and which are drawn.

    Args:
        axis: low and wide, with an inch to its right left free for the legend.
        strip: the frames.
        label: of time.
    """
    size = float(np.clip(600 / max(len(strip.times), 1), 1.2, 5.0))
    dots: dict[str, Any] = {"markersize": size, "markeredgecolor": INK, "markeredgewidth": 0.7, "clip_on": False}
    for chosen, face, name in ((strip.seen, INK, "observed"), (~strip.seen, "white", "not observed")):
        if chosen.any():  # the layout would make room for the origin of an empty line
            axis.plot(strip.times[chosen], np.zeros(chosen.sum()), "o", markerfacecolor=face, label=name, **dots)
    drawn = strip.times[strip.drawn]
    axis.plot(drawn, np.full(len(drawn), 1.0), "v", color=BLUE, markersize=5, clip_on=False, label="drawn above")
    tidy(axis, label, grid=False)
    axis.spines["left"].set_visible(False)
    axis.set(ylim=(-0.6, 1.4), yticks=[])
    axis.margins(x=0.01)
    legend = axis.legend(
        loc="center left", bbox_to_anchor=(1.005, 0.4), frameon=False, fontsize=7, labelcolor=INK, handletextpad=0.1,
        borderaxespad=0, labelspacing=0.3,
    )  # fmt: skip
    legend.set_in_layout(False)  # there is room beside the strip, and the pictures above keep their places


def note(figure: Figure, text: str) -> None:
    """Write small print below everything: what it is that is drawn."""
    if text:
        figure.supxlabel(text, x=0.995, horizontalalignment="right", color=MUTED, fontsize=7)


def met(times: Array, moments: Array) -> Array:
    """Return which times (F,) an observation at some of the moments (N,) is of: those come back rounded to float32.

    An observation is of the time nearest to it, if that is within a quarter of the usual step.
    """
    found = np.zeros(len(times), dtype=bool)
    if not len(times) or not len(moments):
        return found
    order = np.argsort(times)
    ordered = times[order]
    after = np.clip(np.searchsorted(ordered, moments), 1, max(1, len(times) - 1))
    later = moments - ordered[after - 1] > ordered[after % len(times)] - moments
    nearest = np.where(later & (len(times) > 1), after, after - 1)
    steps = np.diff(np.unique(times))
    reach = np.median(steps) / 4 if len(steps) else np.inf
    found[order[nearest[np.abs(ordered[nearest] - moments) <= reach]]] = True
    return found


def finer_times(times: Array, finer: int = 8, least: int = 400, most: int = 4000) -> Array:
    """Return evenly spaced times at which a curve is drawn as one, the first and the last of (F,) included.

    Args:
        times: (F,) increasing, of the data.
        finer: so many a frame.
        least: so many at least.
        most: so many at most, which is more than a picture has columns.
    """
    return np.linspace(times[0], times[-1], int(np.clip(finer * (len(times) - 1) + 1, least, most)))


def digits(times: Array) -> int:
    """Return how many decimals tell successive times apart."""
    step = float(np.min(np.diff(times))) if len(times) > 1 else 1.0
    return int(np.clip(np.ceil(-np.log10(max(step, 1e-12))) + (step < 1), 0, 6))


def aspect_of(extent: tuple[float, float, float, float]) -> float:
    """Return height over width of pictures, within what a figure has room for."""
    return float(np.clip(abs(extent[3] - extent[2]) / (abs(extent[1] - extent[0]) or 1.0), 0.3, 2.0))


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


def difference(label: str, method: str) -> str:
    """Return the name of an error of a method's values called `label`, with their unit."""
    _, bracket, unit = label.rpartition(" (")
    return f"{method} − truth" + (f" ({unit}" if bracket and label.endswith(")") else "")


def _spelt(label: str) -> str:
    """Return "name (unit)" with a unit that people write, "FNOCY (degrees_north)" as "latitude (°N)"."""
    name, bracket, rest = label.rpartition(" (")
    unit = _UNITS.get(rest.removesuffix(")"))
    return f"{_NAMES.get(unit, name)} ({unit})" if bracket and unit else label
