"""The course of a training, from the table that Lightning's `CSVLogger` wrote."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cst_lightning.drawing import BLUE, INK, MUTED, ORANGE, Array, canvas, tidy

_NOTHING = (np.empty(0), np.empty(0))


def learning_curves(path: Path, method: str = "CST") -> Figure:
    """Draw the losses and the validation scores that Lightning's `CSVLogger` wrote.

    Args:
        path: a `metrics.csv`.
        method: what the model is called.
    """
    columns = read_columns(path)
    figure = canvas(8.4, 3.1)
    left, right = figure.subplots(1, 2)
    penalised = (columns.get("train/sobolev", _NOTHING)[1] > 0).any()
    if not penalised:  # the loss is the fit
        columns.pop("train/fit", None)
    # the loss is dashed and above the fit: while the penalty is small they are one curve, and both are to be seen
    for name, label, color, style in (
        ("train/fit", "fit", BLUE, "-"),
        ("train/loss", "loss", INK, (0, (3, 3)) if penalised else "-"),
        ("train/sobolev", "Sobolev, before μ", ORANGE, "-"),
    ):
        steps, values = columns.get(name, _NOTHING)
        if (values > 0).any():
            left.plot(steps, values, color=color, linewidth=0.5, alpha=0.28)
            left.plot(steps, _running_median(values), color=color, linewidth=1.8, linestyle=style, label=label)
    _log_panel(left, "training step", "training loss (normalised units)")
    for name, label, color in (("val/mse", method, BLUE), ("val/initialiser_mse", "initialiser", MUTED)):
        steps, values = columns.get(name, _NOTHING)
        if (values > 0).any():
            right.plot(steps, values, color=color, linewidth=1.6, marker="o", markersize=3, label=label)
    _log_panel(right, "training step", "validation MSE (physical units)")
    return figure


def read_columns(path: Path) -> dict[str, tuple[Array, Array]]:
    """Read (steps, values) of each column of a `metrics.csv`, rows where it is empty left out.

    Of steps that a resumed run has taken again, the later row counts.
    """
    columns: dict[str, list[tuple[float, float]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            for name, text in row.items():
                if name not in ("step", "epoch") and text:
                    # Lightning's CSV logger aggregates a step's mean under "<name>_epoch" beside "<name>_step"
                    rows, step = columns.setdefault(name.removesuffix("_step"), []), float(row["step"])
                    while rows and rows[-1][0] >= step:
                        rows.pop()
                    rows.append((step, float(text)))
    return {name: (np.array(rows)[:, 0], np.array(rows)[:, 1]) for name, rows in columns.items()}


def _log_panel(axis: Axes, xlabel: str, ylabel: str) -> None:
    tidy(axis, xlabel, ylabel)
    axis.set_yscale("log")
    axis.tick_params(which="minor", labelsize=7, colors=MUTED, labelcolor=INK)
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if axis.get_legend_handles_labels()[0]:
        place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}
        axis.legend(frameon=False, fontsize=8.5, labelcolor=INK, ncols=3, **place)


def _running_median(values: Array, width: int = 25) -> Array:
    width = max(1, min(width, len(values) // 8))
    padded = np.pad(values, (width // 2, width - 1 - width // 2), mode="edge")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, width), axis=-1))
