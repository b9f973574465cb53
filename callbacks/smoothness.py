"""Smoothness along time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torchmetrics import Metric

from cst_lightning.callbacks.scores import ScoreCallback, Truth
from cst_lightning.metrics import Roughness
from cst_lightning.points import Batch


class SmoothnessCallback(ScoreCallback):
    """Log ``val/roughness`` and ``test/roughness``: curvature of the prediction along time relative to the truth's.

    1 is as smooth as the truth. Needs targets on a time-major grid (``frames`` of at least 3) and logs nothing
    otherwise. Observed points count too, because that is where an interpolant has its kinks; if the loader's
    data set does not know their truth, only frames held out together with both neighbours count.
    """

    def metrics(self, channels: int) -> dict[str, Metric]:
        """Return the metric."""
        return {"roughness": Roughness()}

    def score(self, metrics: Mapping[str, Metric], outputs: dict[str, Any], batch: Batch, truth: Truth) -> None:
        """Compare curvatures."""
        if outputs["frames"] < 3 or not len(outputs["prediction"]):
            return
        pairs = zip(batch.index.tolist(), outputs["target"], outputs["mask"], strict=True)
        known = [truth(index, target, mask) for index, target, mask in pairs]
        target, mask = (torch.stack(part) for part in zip(*known, strict=True))
        metrics["roughness"].update(outputs["prediction"], target, outputs["coords"], outputs["frames"], mask)
