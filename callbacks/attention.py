"""Attention maps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from lightning.pytorch import LightningModule, Trainer
from matplotlib.figure import Figure

from cst_lightning import plots
from cst_lightning.callbacks.figures import PictureCallback, observe
from cst_lightning.callbacks.scene import Scene


class AttentionCallback(PictureCallback):
    """Draw which observations the queries of the first validation sample attend to.

    A map of query time against observation time for one coordinate; three queries, early, in the middle and late, for
    time and two space axes.

    Args:
        every_n_epochs: how often to draw while training; 0 for the end only.
        layer: which layer; the mean over layers when omitted.
        head: which head; the mean over heads when omitted.
        folder: where PNG files go; "figures" in the run's folder when omitted.
        coords: names of the axes with units.
    """

    def __init__(
        self,
        every_n_epochs: int = 0,
        layer: int | None = None,
        head: int | None = None,
        folder: str | None = None,
        coords: Iterable[str] = (),
    ) -> None:
        super().__init__(every_n_epochs, folder, coords)
        self.layer, self.head = layer, head

    def draw(self, scene: Scene, trainer: Trainer, module: LightningModule) -> dict[str, Figure]:
        """Return the figure that suits the number of coordinates, or none."""
        dimension = scene.coords.shape[1]
        if dimension not in (1, 3):
            return {}
        query = _queries(scene)
        field: Any = observe(module, scene)
        weights = np.asarray(field.attention(query, layer=self.layer, head=self.head))
        weights = weights[:, : len(scene.observed)]  # under joint attention, dummies come after the observations
        if dimension == 1:
            return {"attention": plots.attention_times(query[:, 0], scene.observed[:, 0], weights, self.labels)}
        return {"attention": plots.attention_places(query, scene.observed, weights, self.labels)}


def _queries(scene: Scene) -> np.ndarray:
    """Return 200 times, or three points near the middle of space."""
    low, high = scene.coords.min(0), scene.coords.max(0)
    parts = np.linspace(0, 1, 200) if scene.coords.shape[1] == 1 else np.array([0.1, 0.5, 0.9])
    query = np.tile((low + high) / 2, (len(parts), 1))
    query[:, 0] = low[0] + parts * (high[0] - low[0])
    return query
