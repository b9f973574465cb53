"""The picture of the paper: attention at half of the points, made into that of all, and the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import Normalize

from cst_lightning import drawing

if TYPE_CHECKING:
    from cst_lightning.benchmark.tables import Report

_COLUMNS = {
    "half": "{n} points", "linear": "linear, {n} to {N}", "cst_dummies": "CST with dummies, {n} to {N}",
    "cst_predicted": "CST with predictions, {n} to {N}", "truth": "truth, {N} points",
}  # fmt: skip
_NONE = "without joint attention\na dummy cannot be read"


def draw(report: Report, path: Path) -> Path:
    """Draw one row a model: weights among half of the points, of all points by both ways, and their truth.

    Colours are weights times the number of points that are read, so that 1 is an even share in every picture; a row has
    one scale, the truth's range.

    Args:
        report: with `examples`.
        path: where to.
    """
    examples = report.examples or {}
    figure = drawing.canvas(11.2, 0.7 + 2.3 * len(examples))
    axes = figure.subplots(len(examples), len(_COLUMNS), squeeze=False)
    for row, (model, example) in zip(axes, examples.items(), strict=True):
        image = _row(row, model, example)
        drawing.colorbar(figure, image, row, "weight / even share", "vertical", clipped=True)
    drawing.note(figure, "one test sequence, the first; last layer, mean of the heads; x: what is read, y: who reads")
    return drawing.save(figure, path)


def _row(axes: Sequence[Any], model: str, example: Mapping[str, Any]) -> Any:
    """Draw one model's pictures on one scale and return the last of them."""
    weights = {name: np.array(example["weights"][name]) for name in _COLUMNS if name in example["weights"]}
    shares = {name: w * w.shape[1] for name, w in weights.items()}
    norm = Normalize(*np.percentile(shares["truth"], [0.5, 99.5]).tolist())
    sizes = {"n": len(weights["half"]), "N": len(weights["truth"])}
    image = None
    for axis, (name, title) in zip(axes, _COLUMNS.items(), strict=True):
        if name not in weights:
            axis.set_axis_off()
            axis.text(0.5, 0.5, _NONE, ha="center", va="center", fontsize=8, color=drawing.MUTED)
            continue
        image = axis.imshow(shares[name], norm=norm, cmap=drawing.SEQUENTIAL, interpolation="nearest")
        drawing.bare(axis)
        axis.set_title(title.format(**sizes), fontsize=9, color=drawing.INK)
        if name not in ("half", "truth"):
            error = np.linalg.norm(weights[name] - weights["truth"]) / np.linalg.norm(weights["truth"])
            axis.set_xlabel(f"relative L2 {error:.3f}", fontsize=8, color=drawing.MUTED)
    axes[0].set_ylabel(model, fontsize=10, color=drawing.INK)
    return image
