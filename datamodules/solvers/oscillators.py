r"""Waves in an oscillating medium: the complex Ginzburg-Landau equation on a periodic square.

.. math::
    \partial_t A = A + (1 + i b) \nabla^2 A - (1 + i c) |A|^2 A,

the equation of any spatially extended system close to the onset of uniform oscillations, such as the
Belousov-Zhabotinsky reaction in a thin layer; the real and the imaginary part are two linear combinations of
concentrations, measured from their mean. Lengths and times are those in which the equation has no other constants.
With 1 + b c > 0 waves are stable, and spirals form about the points at which A is 0.

The time step is split (Strang): the linear part is exact in Fourier space, and so is the local one, where
:math:`|A|^2` obeys a Riccati equation, :math:`A(t) = A_0 (1 + 2 |A_0|^2 t)^{-(1 + i c)/2}`.

Source: Aranson and Kramer, Rev. Mod. Phys. 74, 99 (2002), equation 1 and section 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Oscillators:
    """The medium and how it is recorded.

    Attributes:
        points: recorded a side.
        length: of a side.
        dispersion: b.
        shift: c, of the frequency with the amplitude.
        interval: of time between frames.
        frames: recorded.
        transient: time before the first frame.
        dt: time step; the error falls as its square.
        refine: points of the simulation for each recorded one, along a side.
    """

    points: int = 24
    length: float = 48.0
    dispersion: float = 0.0
    shift: float = 0.75
    interval: float = 0.5
    frames: int = 400
    transient: float = 20.0
    dt: float = 0.05
    refine: int = 2

    def records(self, seed: int = 0) -> Iterator[np.ndarray]:
        """Simulate from weak noise, yielding (points, points, 2) real and imaginary part of each frame.

        Args:
            seed: of the noise.
        """
        n = self.points * self.refine
        rng = np.random.default_rng(seed)
        state = 0.1 * (rng.standard_normal((n, n)) + 1j * rng.standard_normal((n, n)))
        state = self.advance(state, self.transient)
        for frame in range(self.frames):
            if frame:
                state = self.advance(state, self.interval)
            thin = state[:: self.refine, :: self.refine]
            yield np.stack([thin.real, thin.imag], axis=-1).astype(np.float32)

    def advance(self, state: np.ndarray, duration: float) -> np.ndarray:
        """Integrate (n, n) complex over some time, in equal steps of at most `dt`."""
        steps = max(1, round(duration / self.dt))
        h, n = duration / steps, len(state)
        k = 2 * np.pi * np.fft.fftfreq(n, self.length / n)
        growth = np.exp(h * (1 - (1 + 1j * self.dispersion) * (k[:, None] ** 2 + k**2)))
        state = self._react(state, h / 2)
        for step in range(steps):
            state = np.fft.ifft2(growth * np.fft.fft2(state))
            # two half steps between linear ones are one whole step
            state = self._react(state, h if step < steps - 1 else h / 2)
        return state

    def _react(self, state: np.ndarray, h: float) -> np.ndarray:
        """Solve ``A' = -(1 + i c) |A|^2 A`` exactly."""
        grown = 1 + 2 * h * np.abs(state) ** 2
        reacted: np.ndarray = state * np.exp(-0.5 * (1 + 1j * self.shift) * np.log(grown))
        return reacted
