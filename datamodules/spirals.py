"""Curves in the plane that solve an integral equation, simulated here or read from a file."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cst_lightning.baselines.interpolation import Interpolator
from cst_lightning.baselines.principal import PrincipalComponents
from cst_lightning.datamodules.base import FieldDataModule
from cst_lightning.datamodules.cache import cached
from cst_lightning.datamodules.readers.curves import read_curves
from cst_lightning.datamodules.solvers.spirals import Spirals, random_starts
from cst_lightning.datamodules.trajectories import ArrayTrajectories, TrajectoryDataset
from cst_lightning.errors import check_ranges


class SpiralsDataModule(FieldDataModule):
    """Curves observed at a few times each.

    The coordinate is time; without `path` the curves are two-dimensional, simulated by `solvers.spirals` and cached,
    and their true derivatives are known.

    Args:
        path: `.npz` or `.h5` with `values` (S, T, c) and, unless it is [0, 1] in equal steps, `time` (T,).
        points: times of a simulated curve.
        train: number of training curves, or a fraction.
        val: of validation curves.
        test: of test curves.
        simulation_seed: of the simulated initial conditions.
        cache_dir: where what is simulated once is kept.
        **kwargs: see `FieldDataModule`.

    Example:
        >>> data = SpiralsDataModule(train=4, val=1, test=1, points=20, observed=5)
        >>> data.setup()
        >>> next(iter(data.train_dataloader())).target.coords.shape
        torch.Size([4, 5, 1])
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        points: int = 100,
        train: int | float = 400,
        val: int | float = 50,
        test: int | float = 50,
        simulation_seed: int = 0,
        cache_dir: str | os.PathLike[str] = "cache",
        **kwargs: Any,
    ) -> None:
        check_ranges(points=(points, 2, math.inf), simulation_seed=(simulation_seed, 0, math.inf))
        self.path, self.points, self.simulation_seed, self.cache_dir = path, points, simulation_seed, cache_dir
        channels = 2 if path is None else read_curves(path)[0].shape[-1]
        super().__init__(1, channels, train=train, val=val, test=test, **kwargs)
        if path is None and not all(isinstance(n, int) for n in (train, val, test)):
            raise ValueError(f"train, val, test are {train}, {val}, {test}, expected counts when there is no path")

    def prepare_data(self) -> None:
        """Simulate, unless that was done before or there is a file."""
        if self.path is None:
            self._simulated()

    def trajectories(self) -> TrajectoryDataset:
        """Read all curves; they are small."""
        if self.path is not None:
            values, time = read_curves(self.path)
            return ArrayTrajectories(values, [time])
        values, time = read_curves(self._simulated())
        return ArrayTrajectories(values, [time], Spirals(self.points).rates(values))

    def references(self) -> list[Interpolator]:
        """Return interpolation of a curve, and the principal components of the training curves if there are several."""
        learned: list[Interpolator] = [PrincipalComponents()] if self.size("train") > 1 else []
        return [*super().references(), *learned]

    def _simulated(self) -> Path:
        samples = sum(int(part) for part in self.parts.values())
        problem = Spirals(self.points)
        shape = (samples, self.points, 2)

        def build(file: h5py.File) -> None:
            curves = problem.solve(random_starts(samples, self.simulation_seed))
            file.create_dataset("values", data=curves.astype(np.float32), chunks=(1, *shape[1:]))
            file["time"] = np.linspace(0, 1, self.points)

        # constants of the equation are part of the key: changing one must not find the old curves
        settings = {"what": "spirals", "samples": samples, "seed": self.simulation_seed, **vars(problem)}
        return cached(self.cache_dir, "spirals", settings, {"values": shape, "time": (self.points,)}, build)
