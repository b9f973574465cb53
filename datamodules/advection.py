"""Clouds that drift and fade in a periodic box of one to three dimensions, whose truth and derivatives are exact."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from cst_lightning.datamodules.base import FieldDataModule
from cst_lightning.datamodules.samples import Augmentation, wrapped
from cst_lightning.datamodules.trajectories import ArrayTrajectories, TrajectoryDataset
from cst_lightning.errors import check_ranges


class AdvectionDataModule(FieldDataModule):
    r"""Advection and diffusion on the unit torus, with another velocity in each sample.

    :math:`u_t + v \cdot \nabla u = D \Delta u` has the solution

    .. math::
        u(t, x) = \Re \sum_k a_k \exp(\lambda_k t + 2 \pi i\, k \cdot x), \qquad
        \lambda_k = -D |2 \pi k|^2 - 2 \pi i\, k \cdot v,

    which is summed up as it stands. Coordinates are time in [0, 1] and 1 to 3 places in [0, 1), periodic. The velocity
    is nowhere given: a method has to find it in the observations.

    Args:
        space: number of space axes, 1 to 3.
        points: times.
        places: along each space axis.
        waves: largest wave number along an axis.
        speed: each component of a velocity is uniform in [-speed, speed], box lengths per unit of time.
        diffusivity: D, in box lengths squared per unit of time.
        train: number of training samples.
        val: of validation samples.
        test: of test samples.
        simulation_seed: of velocities and amplitudes.
        augment: apply a random exact symmetry of the equation on the torus to every training sample.
        **kwargs: see `FieldDataModule`.

    Example:
        >>> data = AdvectionDataModule(space=2, points=4, places=6, train=3, val=1, test=1, observed=9)
        >>> data.setup()
        >>> next(iter(data.train_dataloader())).target.coords.shape
        torch.Size([3, 9, 3])
    """

    def __init__(
        self,
        space: int = 3,
        *,
        points: int = 12,
        places: int = 12,
        waves: int = 2,
        speed: float = 0.4,
        diffusivity: float = 2e-3,
        train: int = 200,
        val: int = 20,
        test: int = 20,
        simulation_seed: int = 0,
        augment: bool = False,
        **kwargs: Any,
    ) -> None:
        check_ranges(
            space=(space, 1, 3), points=(points, 2, math.inf), places=(places, 2, math.inf), waves=(waves, 1, 8),
            speed=(speed, 0, math.inf), diffusivity=(diffusivity, 0, math.inf),
            simulation_seed=(simulation_seed, 0, math.inf),
        )  # fmt: skip
        super().__init__(1 + space, 1, (None, *[1.0] * space), train=train, val=val, test=test, **kwargs)
        self.space, self.points, self.places, self.waves = space, points, places, waves
        self.speed, self.diffusivity, self.simulation_seed = speed, diffusivity, simulation_seed
        self.augment = augment

    def augmentation(self) -> Augmentation | None:
        """Return the random symmetry if it was asked for; it keeps the grid, which models of frames need."""
        return partial(box_symmetry, places=self.places) if self.augment else None

    def trajectories(self) -> TrajectoryDataset:
        """Compute all samples; they are held in memory."""
        samples = sum(int(part) for part in self.parts.values())
        found = [self.solution(np.random.default_rng((self.simulation_seed, i))) for i in range(samples)]
        values, rates = (np.stack(parts)[..., None].astype(np.float32) for parts in zip(*found, strict=True))
        axes = [np.linspace(0, 1, self.points), *[np.arange(self.places) / self.places] * self.space]
        return ArrayTrajectories(values, axes, rates)

    def solution(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return one field (T, *places) with unit variance at t = 0 on average, and its derivative in time."""
        numbers = np.arange(-self.waves, self.waves + 1)
        wave = np.stack(np.meshgrid(*[numbers] * self.space, indexing="ij"), -1)  # (*waves, space)
        square = (wave**2).sum(-1)
        # no mean: nothing would be seen of how it moves. The spectrum falls as that of a smooth cloud
        size = np.where(square > 0, (square + 1.0) ** -1.5, 0)
        size *= math.sqrt(2 / (size**2).sum())
        parts = rng.standard_normal((2, *square.shape))
        amplitude = size * (parts[0] + 1j * parts[1]) / math.sqrt(2)
        velocity = rng.uniform(-self.speed, self.speed, self.space)
        growth = -self.diffusivity * (2 * math.pi) ** 2 * square - 2j * math.pi * wave @ velocity
        time = np.linspace(0, 1, self.points).reshape(-1, *[1] * self.space)
        field = amplitude * np.exp(growth * time)
        return self._summed(field), self._summed(growth * field)

    def _summed(self, spectrum: np.ndarray) -> np.ndarray:
        """Sum waves (T, *waves) up at all places, one axis after the other."""
        numbers = np.arange(-self.waves, self.waves + 1)
        rows = np.exp(2j * math.pi * np.outer(numbers, np.arange(self.places) / self.places))
        for _ in range(self.space):  # each contraction takes the first wave axis and appends its places
            spectrum = np.tensordot(spectrum, rows, axes=(1, 0))
        return spectrum.real


def box_symmetry(
    coords: np.ndarray, values: np.ndarray, rng: np.random.Generator, places: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Map points of one solution to points of another: shift, exchange and mirror the axes of the box.

    All directions are the same to the equation and to how velocities and clouds are drawn.

    Args:
        coords: (n, 1 + s) time and places.
        values: (n, 1).
        rng: chooses the symmetry.
        places: along each axis, of a grid that has the points and shall keep them; any shift if None.

    Returns:
        Coordinates, places in [0, 1), and the same values.
    """
    space = coords.shape[1] - 1
    order, sign, shift = rng.permutation(space), rng.choice([-1.0, 1.0], space), rng.random(space)
    if places is not None:
        shift = np.floor(shift * places) / places
    moved = wrapped(sign * coords[:, 1 + order] + shift)
    return np.concatenate([coords[:, :1], moved], axis=1), values
