"""Signals with jumps, whose truth is known everywhere: where a smooth model has to fail, and how."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from cst_lightning.datamodules.base import FieldDataModule
from cst_lightning.datamodules.trajectories import ArrayTrajectories, TrajectoryDataset
from cst_lightning.metrics import MeanScore

Kind = Literal["steps", "shock"]


class JumpsDataModule(FieldDataModule):
    """Step signals, or the shock of Burgers' equation.

    `steps`: on t in [0, 1], a sine of random phase and amplitude and steps at random times. `shock`: viscous Burgers
    ``u_t + u u_x = nu u_xx`` on t in [0, 1], x in [-1, 1], whose travelling front between the states l > r is

        u = (l + r) / 2 - (l - r) / 2 tanh((l - r) (x - x_0 - (l + r) t / 2) / (4 nu)).

    Further scores (see `scores`): `near`, `away` and `overshoot`.

    Args:
        kind: see above.
        train: number of training samples.
        val: of validation samples.
        test: of test samples.
        points: times.
        places: places of a shock; a step signal has none.
        jumps: number of steps of a step signal.
        viscosity: nu of the shock; its front is about 8 nu / (l - r) wide.
        margin: points along the last axis from a jump that count as near it.
        simulation_seed: of the samples.
        **kwargs: see `FieldDataModule`.
    """

    def __init__(
        self,
        kind: Kind = "steps",
        *,
        train: int = 245,
        val: int = 35,
        test: int = 70,
        points: int = 100,
        places: int = 64,
        jumps: int = 2,
        viscosity: float = 5e-3,
        margin: int = 5,
        simulation_seed: int = 0,
        **kwargs: Any,
    ) -> None:
        if kind not in ("steps", "shock"):
            raise ValueError(f"kind is {kind!r}, expected 'steps' or 'shock'")
        if min(points, places) < 2 or jumps < 0 or viscosity <= 0:
            raise ValueError(
                f"points, places, jumps, viscosity are {points}, {places}, {jumps}, {viscosity}, "
                "expected at least 2, 2, 0 and a positive number"
            )
        super().__init__(1 if kind == "steps" else 2, 1, train=train, val=val, test=test, **kwargs)
        self.kind, self.points, self.places, self.jumps = kind, points, places, jumps
        self.viscosity, self.margin, self.simulation_seed = viscosity, margin, simulation_seed

    def trajectories(self) -> TrajectoryDataset:
        """Compute all samples; they are small."""
        time = np.linspace(0, 1, self.points)
        make = self._steps if self.kind == "steps" else self._shock
        samples = sum(int(part) for part in self.parts.values())
        values = np.stack([make(time, np.random.default_rng((self.simulation_seed, i))) for i in range(samples)])
        axes = [time] if self.kind == "steps" else [time, np.linspace(-1, 1, self.places)]
        return ArrayTrajectories(values[..., None].astype(np.float32), axes)

    def scores(self) -> dict[str, Metric]:
        """Return the root mean square error `near` jumps and `away` from them, and the `overshoot`.

        The overshoot is how far the prediction leaves the truth's range, as a fraction of that range; the worst point
        of each sample, averaged.
        """
        options: dict[str, Any] = {"sync_on_compute": False}
        row = self.points if self.kind == "steps" else self.places
        return {
            "near": JumpError(True, row, self.margin, **options),
            "away": JumpError(False, row, self.margin, **options),
            "overshoot": Overshoot(**options),
        }

    def _steps(self, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return one signal (T,)."""
        signal = rng.uniform(0.2, 0.6) * np.sin(2 * np.pi * (rng.uniform(1, 2) * time + rng.random()))
        for at in rng.uniform(0.1, 0.9, self.jumps):
            signal += rng.choice((-1, 1)) * rng.uniform(0.7, 1.5) * (time >= at)
        return np.asarray(signal)

    def _shock(self, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return one field (T, X)."""
        place = np.linspace(-1, 1, self.places)
        right = rng.uniform(-0.4, 0.2)
        left = right + rng.uniform(0.6, 1.2)
        moved = place - rng.uniform(-0.5, 0.3) - (left + right) / 2 * time[:, None]
        return (left + right) / 2 - (left - right) / 2 * np.tanh((left - right) * moved / (4 * self.viscosity))


class JumpError(MeanScore):
    """Root mean square error at points near a jump, or at all others.

    A jump is where the truth changes, from one point to the next along the last axis, by more than a fifth of its
    range.

    Args:
        near: count the points near jumps; else the others.
        row: points along the last axis.
        margin: how many points count as near.
    """

    def __init__(self, near: bool, row: int, margin: int, **options: Any) -> None:
        super().__init__(**options)
        self.near, self.row, self.margin = near, row, margin

    def update(self, prediction: Tensor, target: Tensor, mask: Tensor, frames: int) -> None:
        """Add samples; arguments as in `FieldDataModule.scores`, every target known."""
        rows = target.unflatten(1, (-1, self.row))
        span = (target.amax(1) - target.amin(1))[:, None, None]
        jump = (rows.diff(dim=2).abs() > 0.2 * span).any(-1).flatten(0, 1).to(torch.float64)
        # a jump lies between two points: both are near it, and so many more on each side
        edges = torch.nn.functional.pad(jump, (self.margin, self.margin))
        near = torch.nn.functional.max_pool1d(edges[:, None], 2 * self.margin, 1)[:, 0] > 0
        counted = mask & (near.view(mask.shape) == self.near)
        self.total += (prediction - target)[counted].double().square().sum()
        self.count += counted.sum() * target.shape[-1]

    def compute(self) -> Tensor:
        """Return the score; NaN if there is no such point."""
        return super().compute().sqrt()


class Overshoot(MeanScore):
    """Mean over samples of how far the prediction leaves the truth's range, relative to that range."""

    def update(self, prediction: Tensor, target: Tensor, mask: Tensor, frames: int) -> None:
        """Add samples; arguments as in `FieldDataModule.scores`, every target known."""
        low, high = target.amin(1, keepdim=True), target.amax(1, keepdim=True)
        outside = torch.maximum(prediction - high, low - prediction).clamp(min=0)
        worst = (outside / (high - low)).masked_fill(~mask[..., None], 0).amax((1, 2))
        self.total += worst.double().sum()
        self.count += len(worst)
