"""Errors at held-out points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torchmetrics import Metric

from cst_lightning.callbacks.scores import ScoreCallback, Truth
from cst_lightning.metrics import MSE, R2, RelativeL2
from cst_lightning.points import Batch


class InterpolationCallback(ScoreCallback):
    """Log MSE, R2 and relative L2 at held-out points, for CST and for its initialiser alone.

    Writes ``val/mse``, ``val/r2``, ``val/relative_l2``, ``val/initialiser_mse``, ... and the same below ``test/``, in
    physical units or, with `rescale`, in units of the datamodule's `scale`. See `cst_lightning.metrics` for the
    formulas.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=[InterpolationCallback()], logger=False, enable_checkpointing=False)
    """

    def metrics(self, channels: int) -> dict[str, Metric]:
        """Return three metrics for CST and three for the initialiser."""
        return {
            f"{prefix}{name}": make()
            for prefix in ("", "initialiser_")
            for name, make in (("mse", MSE), ("r2", lambda: R2(channels)), ("relative_l2", RelativeL2))
        }

    def score(self, metrics: Mapping[str, Metric], outputs: dict[str, Any], batch: Batch, truth: Truth) -> None:
        """Compare predictions with the truth where it was held out."""
        for name, metric in metrics.items():
            answer = outputs.get("initialiser" if name.startswith("initialiser_") else "prediction")
            if answer is not None:
                metric.update(answer, outputs["target"], outputs["mask"])
