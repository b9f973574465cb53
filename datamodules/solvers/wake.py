r"""The wake of a cylinder in a channel, by the lattice Boltzmann method.

Populations :math:`f_i` of the nine velocities :math:`c_i` of D2Q9 stream along them and relax to equilibrium (BGK):

.. math::
    f_i(x + c_i, t + 1) = f_i - \frac{1}{\tau} (f_i - f_i^{eq}), \qquad
    f_i^{eq} = w_i \rho \left(1 + 3 c_i u + \tfrac{9}{2} (c_i u)^2 - \tfrac{3}{2} u^2\right), \qquad
    \nu = \frac{\tau - 1/2}{3},

which solves the Navier-Stokes equations at low Mach number. Inflow on the left at constant speed, outflow on the right
with zero gradient, periodic above and below, no slip (bounce back) on the cylinder, which sheds a vortex street.
Lattice units: one cell, one step.

Source: Krueger et al., The Lattice Boltzmann Method (Springer, 2017), chapters 3 and 5.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from cst_lightning.errors import ConvergenceError

_VELOCITIES = ((0, 0), (1, 0), (0, 1), (-1, 0), (0, -1), (1, 1), (-1, 1), (-1, -1), (1, -1))
_OPPOSITE = (0, 3, 4, 1, 2, 7, 8, 5, 6)
_WEIGHTS = (4 / 9, *(1 / 9,) * 4, *(1 / 36,) * 4)


@dataclass(frozen=True)
class Wake:
    """The flow and how it is recorded.

    Attributes:
        length: cells along the stream, x.
        height: cells across it, y.
        radius: of the cylinder, at a quarter of the length.
        speed: of the inflow, cells a step; the Mach number is 1.7 times that.
        reynolds: speed times diameter over viscosity; shedding starts near 50.
        transient: steps before the first frame.
        interval: steps between frames.
        frames: recorded.
        stride: every so many-th cell of both axes is recorded.
    """

    length: int = 150
    height: int = 75
    radius: float = 7.0
    speed: float = 0.1
    reynolds: float = 120.0
    transient: int = 5000
    interval: int = 13
    frames: int = 200
    stride: int = 3

    def records(self) -> Iterator[Tensor]:
        """Simulate, yielding the velocity (2, length / stride, height / stride) of each frame, in cells a step.

        Raises:
            ConvergenceError: the flow became infinite.
        """
        lattice = _Lattice(self)
        lattice.advance(self.transient)
        for _ in range(self.frames):
            # what bounces back inside the cylinder has a velocity too, which means nothing
            velocity = lattice.moments()[1].masked_fill(lattice.solid, 0.0)[:, :: self.stride, :: self.stride]
            if not velocity.isfinite().all():
                raise ConvergenceError("the wake became infinite: reynolds or speed must be lower")
            yield velocity
            lattice.advance(self.interval)


class _Lattice:
    """Populations (9, length, height) and their update."""

    def __init__(self, wake: Wake) -> None:
        x = torch.arange(wake.length)[:, None]
        y = torch.arange(wake.height)[None]
        # off the middle: the symmetric flow is unstable, but from symmetric data it would live for long
        centre = (wake.length / 4, wake.height / 2 + 0.25)
        self.solid = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= wake.radius**2
        self.rate = 1 / (3 * wake.speed * 2 * wake.radius / wake.reynolds + 0.5)
        self.speed = wake.speed
        self.c = torch.tensor(_VELOCITIES, dtype=torch.float32)
        self.w = torch.tensor(_WEIGHTS)[:, None, None]
        flow = torch.zeros(2, wake.length, wake.height)
        flow[0] = wake.speed * (1 + 0.05 * torch.sin(2 * math.pi * y / wake.height))
        self.f = self.equilibrium(torch.ones(wake.length, wake.height), flow)
        inflow = torch.tensor([wake.speed, 0.0])[:, None, None].expand(2, 1, wake.height)
        self.inflow = self.equilibrium(torch.ones(1, wake.height), inflow)

    def equilibrium(self, density: Tensor, flow: Tensor) -> Tensor:
        """Return f^eq (9, ...) of density (...) and velocity (2, ...)."""
        along = 3 * torch.tensordot(self.c, flow, 1)
        return density * self.w * (1 + along + 0.5 * along * along - 1.5 * (flow * flow).sum(0))

    def moments(self) -> tuple[Tensor, Tensor]:
        """Return density (...) and velocity (2, ...)."""
        density = self.f.sum(0)
        return density, torch.tensordot(self.c.T, self.f, 1) / density

    def advance(self, steps: int) -> None:
        """Collide, bounce back, stream and apply the ends, so many times."""
        opposite = torch.tensor(_OPPOSITE)
        for _ in range(steps):
            f = torch.lerp(self.f, self.equilibrium(*self.moments()), self.rate)
            # nothing collides inside the cylinder: what arrives is sent back the way it came, which is no slip
            f[:, self.solid] = self.f[opposite][:, self.solid]
            self.f = torch.stack([f[i].roll(c, (0, 1)) for i, c in enumerate(_VELOCITIES)])
            self.f[:, 0] = self.inflow[:, 0]
            self.f[:, -1] = self.f[:, -2]
