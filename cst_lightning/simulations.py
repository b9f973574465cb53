"""The embedded simulations by name, each as blocks of a recording in the documented layout."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from cst_lightning.datamodules.readers.source import Axis
from cst_lightning.usage import UsageError

Blocks = Iterator[tuple[tuple[slice, ...], np.ndarray]]


class Plan(NamedTuple):
    """A simulation about to run.

    Attributes:
        samples: S.
        axes: time first, then space.
        channels: c names.
        blocks: yields (where in (S, T, *space, c), values) until all is there.
        unit: of the values.
        periodic: which axes wrap around.
    """

    samples: int
    axes: tuple[Axis, ...]
    channels: tuple[str, ...]
    blocks: Blocks
    unit: str = ""
    periodic: tuple[bool, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """(S, T, *space, c)."""
        return (self.samples, *(len(axis.values) for axis in self.axes), len(self.channels))


class Simulation(NamedTuple):
    """An embedded simulation.

    Attributes:
        what: it is, in a line.
        plan: takes samples, seed and settings of its own by name, and computes nothing until the blocks are asked for.
        samples: recordings, unless told otherwise.
    """

    what: str
    plan: Callable[..., Plan]
    samples: int

    @property
    def settings(self) -> dict[str, Any]:
        """Defaults of the settings by name."""
        found = inspect.signature(self.plan).parameters.values()
        return {p.name: p.default for p in found if p.name not in ("samples", "seed")}


def simulations() -> dict[str, Simulation]:
    """Return all embedded simulations by name."""
    return {
        "calcium_movie": Simulation("dF/F of waves on the cortex, noisy", _calcium_movie, 1),
        "calcium_traces": Simulation("dF/F of cells under a two-photon microscope, noisy", _calcium_traces, 1),
        "navier_stokes": Simulation("vorticity of a forced flow on the unit torus", _navier_stokes, 260),
        "oscillators": Simulation("a medium of coupled oscillators on a periodic square", _oscillators, 1),
        "road": Simulation("a drive along a road, rendered", _road, 1),
        "spirals": Simulation("curves in the plane that solve an integral equation", _spirals, 500),
        "wake": Simulation("velocity in the wake of a cylinder, one recording", _wake, 1),
    }


def _spirals(samples: int, seed: int, points: int = 100) -> Plan:
    from cst_lightning.datamodules.solvers.spirals import Spirals, random_starts

    def blocks(together: int = 50) -> Blocks:
        starts = random_starts(samples, seed)
        for first in range(0, samples, together):
            part = slice(first, min(samples, first + together))
            yield (part,), problem.solve(starts[part])

    problem = Spirals(points)
    return Plan(samples, (Axis("time", np.linspace(0, 1, points)),), ("u", "v"), blocks())


def _navier_stokes(
    samples: int, seed: int, resolution: int = 32, frames: int = 16, viscosity: float = 1e-3, dt: float = 2e-2
) -> Plan:
    from cst_lightning.datamodules.solvers.navier_stokes import NavierStokes, random_vorticity

    times = tuple(float(t + 1) for t in range(frames))
    problem = NavierStokes(2 * resolution, viscosity, dt=dt, times=times)

    def blocks(together: int = 10) -> Blocks:  # few enough that their transforms stay in a core's cache
        for first in range(0, samples, together):
            part = slice(first, min(samples, first + together))
            initial = random_vorticity(part.stop - first, 2 * resolution, seed, first)
            for t, record in enumerate(problem.records(initial)):
                yield (part, slice(t, t + 1)), record[:, None, ::2, ::2, None].numpy()

    grid = np.arange(resolution) / resolution
    axes = (Axis("time", np.array(times), "s"), Axis("x", grid), Axis("y", grid))
    return Plan(samples, axes, ("vorticity",), blocks(), "1/s", (False, True, True))


def _wake(
    samples: int, seed: int, frames: int = 200, stride: int = 3, reynolds: float = 120.0, transient: int = 5000
) -> Plan:
    from cst_lightning.datamodules.solvers.wake import Wake

    if samples != 1:
        raise UsageError(f"--samples: the wake is one recording, expected 1, found {samples}")
    wake = Wake(frames=frames, stride=stride, reynolds=reynolds, transient=transient)

    def blocks() -> Blocks:
        for t, record in enumerate(wake.records()):
            yield (slice(0, 1), slice(t, t + 1)), record.movedim(0, -1)[None, None].numpy()

    space = [np.arange(0, n, stride, dtype=np.float64) for n in (wake.length, wake.height)]
    axes = (Axis("time", wake.interval * np.arange(frames, dtype=np.float64), "steps"),
            Axis("x", space[0], "cells"), Axis("y", space[1], "cells"))  # fmt: skip
    return Plan(1, axes, ("u", "v"), blocks(), "cells a step")


def _oscillators(samples: int, seed: int, points: int = 24, frames: int = 400, interval: float = 0.5) -> Plan:
    from cst_lightning.datamodules.solvers.oscillators import Oscillators

    medium = Oscillators(points=points, frames=frames, interval=interval)

    def blocks() -> Blocks:
        for i in range(samples):
            for t, record in enumerate(medium.records(_seed(seed, i))):
                yield (slice(i, i + 1), slice(t, t + 1)), record[None, None]

    space = np.arange(points) * (medium.length / points)
    axes = (Axis("time", interval * np.arange(frames)), Axis("x", space), Axis("y", space))
    return Plan(samples, axes, ("real part", "imaginary part"), blocks(), periodic=(False, True, True))


def _road(samples: int, seed: int, height: int = 36, frames: int = 160, rate: float = 25.0, grey: bool = True) -> Plan:
    from cst_lightning.datamodules.solvers.road import Road, uneven_times

    width = round(16 / 9 * height)
    times = uneven_times(frames, rate, seed)

    def blocks() -> Blocks:
        for i in range(samples):
            road = Road(height, width, seed=_seed(seed, i))
            for t, time in enumerate(times):
                yield (slice(i, i + 1), slice(t, t + 1)), road.picture(float(time), grey)[None, None]

    y, x = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / height
    axes = (Axis("time", times, "s"), Axis("y", y, "image heights"), Axis("x", x, "image heights"))
    return Plan(samples, axes, ("grey",) if grey else ("red", "green", "blue"), blocks())


def _calcium_traces(
    samples: int, seed: int, rois: int = 24, frames: int = 6000, rate: float = 10.0, noise: float = 0.25
) -> Plan:
    from cst_lightning.datamodules.solvers.calcium import TwoPhoton

    def blocks() -> Blocks:
        for i in range(samples):
            own = TwoPhoton(rois=rois, frames=frames, rate=rate, noise=noise, seed=_seed(seed, i))
            yield (slice(i, i + 1),), own.simulate()[1][None]

    time = Axis("time", np.arange(frames) / rate, "s")
    return Plan(samples, (time,), tuple(f"ROI {i}" for i in range(rois)), blocks(), "dF/F")


def _calcium_movie(
    samples: int,
    seed: int,
    height: int = 20,
    width: int = 24,
    frames: int = 1200,
    rate: float = 15.0,
    noise: float = 1.0,
) -> Plan:
    from cst_lightning.datamodules.solvers.calcium import Widefield

    shape = {"height": height, "width": width, "frames": frames, "rate": rate, "noise": noise}

    def blocks() -> Blocks:
        for i in range(samples):
            own = Widefield(**shape, seed=_seed(seed, i))  # type: ignore[arg-type]
            yield (slice(i, i + 1),), own.simulate()[1][None, ..., None]

    time, y, x = Widefield(**shape).axes  # type: ignore[arg-type]
    axes = (Axis("time", time, "s"), Axis("y", y, "mm"), Axis("x", x, "mm"))
    return Plan(samples, axes, ("dF/F",), blocks(), "%")


def _seed(seed: int, sample: int) -> int:
    """Return the seed of one of several recordings; the first one is what the data modules simulate with `seed`."""
    # mixed by a hash: sample 1 of seed 0 must not be sample 0 of seed 1
    return seed if sample == 0 else int(np.random.SeedSequence([seed, sample]).generate_state(1)[0])
