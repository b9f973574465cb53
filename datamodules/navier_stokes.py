"""Two-dimensional turbulence: the FNO files, or the same recipe simulated here."""

from __future__ import annotations

import inspect
import math
import os
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cst_lightning.datamodules.base import FieldDataModule
from cst_lightning.datamodules.cache import cached
from cst_lightning.datamodules.progress import progress_bar
from cst_lightning.datamodules.readers import fno
from cst_lightning.datamodules.readers.stores import told
from cst_lightning.datamodules.samples import Augmentation, wrapped
from cst_lightning.datamodules.solvers.navier_stokes import NavierStokes, random_vorticity
from cst_lightning.datamodules.trajectories import FileTrajectories, TrajectoryDataset
from cst_lightning.errors import DataError, check_ranges

# Trajectories integrated together: few enough that their transforms stay in a core's cache (1.2 times faster than 20).
_TOGETHER = 10


class NavierStokesDataModule(FieldDataModule):
    """Vorticity of a forced flow on the unit torus, at scattered times and places.

    Coordinates are (t in seconds, x, y), x and y in [0, 1) and periodic; the channel is the vorticity in 1/s. Without
    `path` the flow is simulated at twice the resolution by `solvers.navier_stokes`, recorded at t = 1, 2, ... s (not at
    t = 0), thinned out, and cached.

    Args:
        path: a `.mat` file of the FNO data, or an `.h5` file in our own layout; simulated if None.
        resolution: points an axis after thinning; of a file, every so many-th point is used, and all of them if None.
        frames: the first so many times; all of a file's if None.
        viscosity: of the simulation.
        dt: time step of the simulation in seconds.
        train: number of training samples, or a fraction.
        val: of validation samples.
        test: of test samples.
        simulation_seed: of the simulated initial states.
        include_initial: put the file's state at t = 0 before the others.
        derivatives: keep the equation's derivative in time of every simulated state as well, for those who score
            predicted ones.
        augment: apply a random exact symmetry of the forced flow to every training sample; only for this forcing.
        cache_dir: where what is built once is kept.
        **kwargs: see `FieldDataModule`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        resolution: int | None = 32,
        frames: int | None = 16,
        viscosity: float = 1e-3,
        dt: float = 2e-2,
        train: int | float = 220,
        val: int | float = 20,
        test: int | float = 20,
        simulation_seed: int = 0,
        include_initial: bool = False,
        derivatives: bool = False,
        augment: bool = False,
        cache_dir: str | os.PathLike[str] = "cache",
        **kwargs: Any,
    ) -> None:
        check_ranges(
            resolution=(1 if resolution is None else resolution, 1, math.inf),
            frames=(1 if frames is None else frames, 1, math.inf),
            viscosity=(viscosity, 0, math.inf), dt=(dt, 1e-9, 1), simulation_seed=(simulation_seed, 0, math.inf),
        )  # fmt: skip
        super().__init__(3, 1, (None, 1.0, 1.0), train=train, val=val, test=test, **kwargs)
        self.path, self.cache_dir = path, cache_dir
        self.resolution, self.frames, self.include_initial, self.augment = resolution, frames, include_initial, augment
        self.viscosity, self.dt, self.simulation_seed = viscosity, dt, simulation_seed
        self.derivatives = derivatives
        if derivatives and path is not None:
            raise ValueError("derivatives is True, expected False with a path: a file has them, or nobody knows them")
        self._file: Path | None = None
        if path is None and not all(isinstance(n, int) for n in (train, val, test)):
            raise ValueError(f"train, val, test are {train}, {val}, {test}, expected counts when there is no path")

    @classmethod
    def suggest(cls, **settings: Any) -> tuple[dict[str, dict[str, Any]], list[str]]:
        """Say how much of a file is used: its settings are those of the small simulation unless others are given."""
        if settings.get("path") is None:
            return {}, []
        defaults = {name: p.default for name, p in inspect.signature(cls.__init__).parameters.items()}
        used = {n: settings.get(n, defaults[n]) for n in ("train", "val", "test", "frames", "resolution")}
        parts = " + ".join(str(used[name]) for name in ("train", "val", "test"))
        place = "all" if used["resolution"] is None else f"{used['resolution']} x {used['resolution']}"
        times = "all" if used["frames"] is None else f"the first {used['frames']}"
        more = "--data.train, --data.frames, --data.resolution and --data.observed ask for more"
        return {}, [f"of the file: {parts} trajectories, {times} of its times, {place} of its places; {more}"]

    def prepare_data(self) -> None:
        """Simulate, or convert a `.mat` file, unless that was done before."""
        self.file()

    def trajectories(self) -> TrajectoryDataset:
        """Open the file, thinned out to `resolution` and `frames`."""
        path = self.file()
        whole = FileTrajectories(path)
        if whole.grid is None or len(whole.grid) != 3:
            raise DataError(path, "values", "(sample, time, x, y, 1)", f"a grid of {whole.grid}")
        stride, rest = divmod(whole.grid[1], self.resolution or whole.grid[1])
        if rest or not stride:
            raise DataError(
                self.path or path, "u", f"a multiple of resolution = {self.resolution} points", f"{whole.grid[1]}"
            )
        return FileTrajectories(path, self.frames, stride)

    def file(self) -> Path:
        """Return the sample-first file that is read, building it first if need be; looks once."""
        if self._file is None:
            self._file = self._found()
        return self._file

    def _found(self) -> Path:
        if self.path is None:
            return self._simulated()
        if Path(self.path).suffix in (".h5", ".hdf5"):
            return Path(self.path)
        with told(Path(self.path), "a complete .mat file of the FNO data"), progress_bar("Converting") as progress:
            return fno.converted(self.path, self.cache_dir, self.include_initial, progress)

    def augmentation(self) -> Augmentation | None:
        """Return the random symmetry if it was asked for; it keeps the grid, which models of frames need."""
        return partial(torus_symmetry, places=self.grid[1] if self.grid else None) if self.augment else None

    def _simulated(self) -> Path:
        n, frames = (32 if self.resolution is None else self.resolution), (16 if self.frames is None else self.frames)
        samples = sum(int(part) for part in self.parts.values())
        problem = NavierStokes(2 * n, self.viscosity, dt=self.dt, times=tuple(float(t + 1) for t in range(frames)))
        shapes = dict.fromkeys(["values", *["time_derivative"] * self.derivatives], (samples, frames, n, n, 1))

        def build(file: h5py.File) -> None:
            for name, shape in shapes.items():
                file.create_dataset(name, shape, "f4", chunks=(1, *shape[1:]))
            file["time"] = np.array(problem.times)
            file["x"] = file["y"] = np.arange(n) / n
            with progress_bar("Simulating") as progress:
                for first in range(0, samples, _TOGETHER):
                    count = min(_TOGETHER, samples - first)
                    initial = random_vorticity(count, 2 * n, self.simulation_seed, first)
                    for t, record in enumerate(problem.records(initial)):
                        file["values"][first : first + count, t, ..., 0] = record[:, ::2, ::2].numpy()
                        if self.derivatives:
                            rates = problem.rates(record)[:, ::2, ::2]
                            file["time_derivative"][first : first + count, t, ..., 0] = rates.numpy()
                        progress(first * frames + count * (t + 1), samples * frames)

        # constants of the equation are part of the key: changing one must not find the old flows
        constants = {name: str(value) if name == "dtype" else value for name, value in vars(problem).items()}
        settings = {"what": "navier_stokes", "samples": samples, "seed": self.simulation_seed, **constants}
        if self.derivatives:
            settings["derivatives"] = True
        return cached(self.cache_dir, "navier_stokes", settings, {**shapes, "time": (frames,)}, build)


def torus_symmetry(
    coords: np.ndarray, values: np.ndarray, rng: np.random.Generator, places: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Map points of one solution to points of another, by a random symmetry of the forcing ``g(x + y)``.

    With ``g(s) = sin 2 pi s + cos 2 pi s``: a shift by (a, -a) keeps s; exchanging x and y flips the vorticity's sign,
    and a shift of s by 1/2 flips the forcing's; a half turn maps s to -s, and ``g(1/4 - s) = g(s)``.

    Args:
        coords: (n, 3) t, x, y.
        values: (n, 1) vorticity.
        rng: chooses the symmetry.
        places: along x, and along y, of a grid that has the points and shall keep them; any place may be mapped to any
            other if None.

    Returns:
        Coordinates, x and y in [0, 1), and values.
    """
    t, x, y = coords.T
    shift, mirror, turn = rng.random(), rng.random() < 0.5, rng.random() < 0.5
    if places is not None:
        shift, mirror, turn = np.floor(shift * places) / places, mirror and places % 2 == 0, turn and places % 4 == 0
    if mirror:  # omega'(x, y) = -omega(y + 1/2, x)
        x, y, values = y, x - 0.5, -values
    if turn:  # omega'(x, y) = omega(1/4 - x, -y)
        x, y = 0.25 - x, -y
    return np.stack([t, wrapped(x + shift), wrapped(y - shift)], axis=-1), values
