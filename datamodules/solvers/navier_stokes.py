r"""Two-dimensional incompressible flow on the unit torus, pseudo-spectral, many trajectories at once.

The vorticity :math:`\omega(t, x, y)` obeys

.. math::
    \partial_t \omega + u \cdot \nabla \omega = \nu \Delta \omega + f, \qquad
    u = (\partial_y \psi, -\partial_x \psi), \qquad -\Delta \psi = \omega,

    f(x, y) = A (\sin 2 \pi (x + y) + \cos 2 \pi (x + y)), \qquad
    \omega(0) \sim N(0, 2 \cdot 7^3 (-\Delta + 49 I)^{-5/2}).

x is the first space axis of every array, y the second. Advection is written as
:math:`u \cdot \nabla \omega = (\partial_{xx} - \partial_{yy})(u v) - \partial_x \partial_y (u^2 - v^2)`: two transforms
back and two forth a step, and the mean vorticity is conserved to the bit. Diffusion by Crank-Nicolson, advection by
second-order Adams-Bashforth, products dealiased by the 2/3 rule.

Source: Li et al., Fourier Neural Operator (ICLR 2021), appendix A.3.3. Differences: the field's covariance factor is
that of the published generator, which made the published files, :math:`2 \cdot 7^3` where the paper prints
:math:`7^{3/2}`; the published generator steps advection by the first-order Euler method.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cst_lightning.errors import ConvergenceError


@dataclass(frozen=True)
class NavierStokes:
    """The equation, its discretisation and when the flow is recorded.

    Attributes:
        resolution: points an axis, even.
        viscosity: nu > 0.
        forcing: amplitude A.
        dt: longest step in seconds; made a little shorter so that records fall on steps.
        times: increasing seconds at which the vorticity is recorded; 0 is the initial state.
        dtype: torch.float32 or torch.float64.
    """

    resolution: int = 64
    viscosity: float = 1e-3
    forcing: float = 0.1
    dt: float = 1e-2
    times: tuple[float, ...] = tuple(float(t) for t in range(1, 17))
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        if self.resolution < 4 or self.resolution % 2:
            raise ValueError(f"resolution is {self.resolution}, expected an even number of at least 4 points")
        if self.viscosity <= 0 or self.dt <= 0:
            raise ValueError(f"viscosity is {self.viscosity} and dt {self.dt}, expected positive numbers")
        if not self.times or self.times[0] < 0 or any(b <= a for a, b in zip(self.times, self.times[1:], strict=False)):
            raise ValueError(f"times is {self.times}, expected increasing seconds from 0 on")

    def records(self, initial: Tensor) -> Iterator[Tensor]:
        """Integrate, yielding the vorticity (B, n, n) at each of `times`, so that a caller can show progress.

        Args:
            initial: (B, n, n) vorticity at t = 0; what lies above the 2/3 cut is dropped first.

        Raises:
            ConvergenceError: the step is too long for the flow.
        """
        n = self.resolution
        if initial.ndim != 3 or initial.shape[1:] != (n, n):
            raise ValueError(f"initial has shape {tuple(initial.shape)}, expected (trajectory, {n}, {n})")
        step = _Stepper(self)
        state = torch.fft.rfft2(initial.to(self.dtype)) * step.kept
        now = 0.0
        for until in self.times:
            count = math.ceil((until - now) / self.dt - 1e-9)
            state = step.advance(state, (until - now) / max(count, 1), count)
            now = until
            record = torch.fft.irfft2(state, s=(n, n))
            if not record.isfinite().all():
                raise ConvergenceError(
                    f"the flow became infinite before t = {until:g} s: dt must be below {self.dt:g} s"
                )
            yield record

    def solve(self, initial: Tensor) -> Tensor:
        """Integrate from (B, n, n) and return all records, (B, T, n, n)."""
        return torch.stack(list(self.records(initial)), dim=1)

    def rates(self, vorticity: Tensor) -> Tensor:
        """Return the derivative of a vorticity (B, n, n) in time, (B, n, n) in 1/s^2, as the equation gives it.

        What lies above the 2/3 cut is dropped first, as in `records`.
        """
        step = _Stepper(self)
        state = torch.fft.rfft2(vorticity.to(self.dtype)) * step.kept
        return torch.fft.irfft2(step.advection(state) - step.decay * state + step.force, s=step.size)


class _Stepper:
    """Wave numbers and the time step; apart from `NavierStokes` so that settings stay plain values."""

    def __init__(self, problem: NavierStokes) -> None:
        n, dtype = problem.resolution, problem.dtype
        k = torch.fft.fftfreq(n, 1 / n, dtype=dtype)[:, None]
        m = torch.fft.rfftfreq(n, 1 / n, dtype=dtype)[None, :]
        self.kept = (k.abs() < n / 3) & (m.abs() < n / 3)
        laplacian = 4 * math.pi**2 * (k**2 + m**2)
        # the mean of the stream function moves nothing, so it may be 0 where the Laplacian cannot be inverted
        inverse = torch.where(laplacian > 0, 1 / laplacian.clamp(min=1.0), 0.0)
        self.velocity = torch.stack([1j * 2 * math.pi * m * inverse, -1j * 2 * math.pi * k * inverse])
        self.mixed = -4 * math.pi**2 * (k**2 - m**2) * self.kept  # of (d_xx - d_yy)
        self.cross = -4 * math.pi**2 * k * m * self.kept  # of d_x d_y
        self.decay = problem.viscosity * laplacian
        phase = 2 * math.pi * (torch.arange(n, dtype=dtype)[:, None] + torch.arange(n, dtype=dtype)) / n
        self.force = torch.fft.rfft2(problem.forcing * (phase.sin() + phase.cos())) * self.kept
        self.size = (n, n)

    def advection(self, state: Tensor) -> Tensor:
        """Return the transform of minus ``u . grad omega``."""
        u, v = torch.fft.irfft2(self.velocity[:, None] * state, s=self.size)
        product, difference = torch.fft.rfft2(torch.stack([u * v, u * u - v * v]))
        return self.cross * difference - self.mixed * product

    def advance(self, state: Tensor, dt: float, steps: int) -> Tensor:
        """Take equal steps; the first is Euler's, whose error is locally of second order."""
        shrink = (1 - dt / 2 * self.decay) / (1 + dt / 2 * self.decay)
        gain = dt / (1 + dt / 2 * self.decay)
        previous: Tensor | None = None
        for _ in range(steps):
            now = self.advection(state)
            rate = now if previous is None else 1.5 * now - 0.5 * previous
            state = shrink * state + gain * (rate + self.force)
            previous = now
        return state


def random_vorticity(count: int, resolution: int, seed: int = 0, first: int = 0) -> Tensor:
    """Draw initial states from ``N(0, 2 7^3 (-Laplacian + 49 I)^(-5/2))`` without their mean.

    State i is a pure function of (seed, i), whatever else is drawn.

    Args:
        count: B states.
        resolution: n points an axis.
        seed: of the whole set.
        first: index of the first state.

    Returns:
        (B, n, n) float64.
    """
    k = np.fft.fftfreq(resolution, 1 / resolution)
    spread = (2 * 7.0**3 * (4 * np.pi**2 * (k[:, None] ** 2 + k**2) + 49) ** -2.5) ** 0.5
    spread[0, 0] = 0
    states = []
    for index in range(first, first + count):
        white = np.random.default_rng(np.random.SeedSequence([seed, index])).standard_normal((resolution, resolution))
        # the transform of white noise has variance n^2 a mode, a field of unit spectrum wants n^4
        states.append(np.fft.ifft2(np.fft.fft2(white) * spread * resolution).real)
    return torch.from_numpy(np.stack(states))
