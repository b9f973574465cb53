"""One sample as figures need it: numpy, physical units."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from lightning.pytorch import LightningModule
from scipy.spatial import cKDTree
from torch import Tensor

from cst_lightning.callbacks.scores import Truth
from cst_lightning.drawing import met
from cst_lightning.field_module import called
from cst_lightning.points import Batch

Array = np.ndarray


class Scene(NamedTuple):
    """One sample of a validation or test batch.

    Attributes:
        coords: (Q, d) where the prediction was asked.
        truth: (Q, c), NaN where unknown.
        prediction: (Q, c), or None if the step was asked for a part of the points only.
        observed: (N, d) coordinates of what the model was shown.
        values: (N, c) of what the model was shown.
        frames: F if the Q points are F frames of the same places, time-major; else 0.
        name: what it is, for the small print: "test sample 3".
        method: what the model is called.
    """

    coords: Array
    truth: Array
    prediction: Array | None
    observed: Array
    values: Array
    frames: int
    name: str = ""
    method: str = "CST"

    @property
    def times(self) -> Array:
        """Times (F,) of the frames; of points without frames, (Q,)."""
        count = self.frames or len(self.coords)
        return np.asarray(self.coords.reshape(count, -1, self.coords.shape[1])[:, 0, 0])

    @property
    def seen(self) -> Array:
        """(F,) bool, whether anything of a frame was observed."""
        return met(self.times, np.unique(self.observed[:, 0]))

    @property
    def shown(self) -> Array:
        """(Q, c) observed values where they belong, NaN where nothing was observed."""
        found = np.full((len(self.coords), self.values.shape[1]), np.nan)
        if len(self.observed):
            span = np.ptp(self.coords, axis=0)
            span = np.where(span > 0, span, 1.0)
            # the nearest point, because coordinates come back rounded to float32
            found[cKDTree(self.coords / span).query(self.observed / span)[1]] = self.values
        return found

    @property
    def axes(self) -> list[Array] | None:
        """Vectors (F,), (X,), ... whose C-ordered grid the coordinates are, or None if they are scattered."""
        if not self.frames:
            return None
        axes = [np.unique(column) for column in self.coords.T]
        if np.prod([len(axis) for axis in axes]) != len(self.coords):
            return None
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(self.coords.shape)
        return axes if np.array_equal(grid, self.coords) else None


def capture(
    module: LightningModule, outputs: dict[str, Any], batch: Batch, truth: Truth, sample: int = 0, name: str = ""
) -> Scene:
    """Copy one sample out of a batch and its outputs.

    Args:
        module: has the `normalization` that the batch is in.
        outputs: what `validation_step` or `test_step` returned.
        batch: the normalised batch.
        truth: finds the full truth of the sample.
        sample: position in the batch.
        name: what samples of this kind are called, such as "test sample".
    """
    back: Any = module.normalization
    real = batch.context.mask[sample]
    observed = _array(back.coords_back(batch.context.coords[sample][real].cpu()))
    values = _array(back.values_back(batch.context.values[sample][real]))
    index, method = int(batch.index[sample]), called(type(module))
    name, whole = f"{name} {truth.position(index)}".strip(), truth.trajectory(index)
    if whole is not None:
        asked = len(whole.coords) == outputs["prediction"].shape[1]
        prediction = _array(outputs["prediction"][sample]) if asked else None
        return Scene(
            _array(whole.coords), _array(whole.values), prediction, observed, values, whole.frames, name, method
        )
    target = np.where(_array(outputs["mask"][sample])[:, None], _array(outputs["target"][sample]), np.nan)
    coords, prediction = _array(outputs["coords"][sample]), _array(outputs["prediction"][sample])
    return Scene(coords, target, prediction, observed, values, outputs["frames"], name, method)


def _array(tensor: Tensor) -> Array:
    array = tensor.detach().cpu().numpy()
    return array if array.dtype == bool else array.astype(np.float64)
