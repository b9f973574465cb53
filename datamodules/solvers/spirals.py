r"""Curves in the plane that solve a nonlinear Volterra integral equation.

.. math::
    y(t) = z + \int_0^t K(t - s)\, g(y(s))\, ds, \qquad 0 \le t \le 1,

    K(\tau) = a \begin{pmatrix}
        \cos 2 \pi f \tau & -\sin 2 \pi f \tau \\ \sin 2 \pi f \tau & \cos 2 \pi f \tau
    \end{pmatrix}, \qquad g(y)_j = 1 / \cosh(b\, y_j),

with random :math:`z`. The kernel alone turns the curve at f turns per unit of time; the nonlinearity makes the radius
depend on where the curve has been. It is the reciprocal of the hyperbolic cosine because with the cosine itself the
iteration runs to infinity from most initial conditions, and with a bounded one the curves are bounded by
:math:`|z| + \sqrt 2 a`. The integral is a trapezoidal sum on a grid finer than the returned one, and the
discrete equation is solved by fixed-point iteration until nothing moves any more.

Source of the idea: Zappala et al., Neural Integral Equations (2022), and the spirals of the CST paper (Fonseca et al.,
ICML 2023, section 4.1), which names the ingredients and gives no constants: those here are ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cst_lightning.errors import ConvergenceError


@dataclass(frozen=True)
class Spirals:
    """The equation's constants and its discretisation.

    Attributes:
        points: equally spaced returned times in [0, 1], both ends included.
        refine: steps of the quadrature between two of them; the error falls as 1 / refine^2.
        amplitude: a of the kernel.
        frequency: f of the kernel, turns per unit of time.
        bend: b of the nonlinearity.
        tolerance: largest change of any coordinate in the last iteration.
        iterations: after so many without reaching `tolerance` it is an error.
    """

    points: int = 100
    refine: int = 4
    amplitude: float = 8.0
    frequency: float = 1.5
    bend: float = 1.0
    tolerance: float = 1e-10
    iterations: int = 200

    def solve(self, start: np.ndarray) -> np.ndarray:
        """Solve for many initial conditions at once.

        Args:
            start: (S, 2) values z at t = 0.

        Returns:
            (S, points, 2) float64.

        Raises:
            ConvergenceError: the iteration did not reach the tolerance.
        """
        if start.ndim != 2 or start.shape[1] != 2:
            raise ValueError(f"start has shape {start.shape}, expected (curve, 2)")
        system = self.operator()
        size = (len(start), -1, 2)
        offset = np.repeat(start[:, None], len(system) // 2, axis=1)
        curve, change = offset, math.inf
        for _ in range(self.iterations):
            drive = 1 / np.cosh(self.bend * curve)
            moved = offset + (drive.reshape(len(start), -1) @ system.T).reshape(size)
            change, curve = float(np.abs(moved - curve).max()), moved
            if change <= self.tolerance:
                return curve[:, :: self.refine]
        raise ConvergenceError(
            f"the spirals' fixed-point iteration stopped at a change of {change:.3g}, expected at most "
            f"{self.tolerance:g} within {self.iterations} iterations; a smaller amplitude or bend converges"
        )

    def rates(self, curves: np.ndarray) -> np.ndarray:
        r"""Return dy/dt of solutions.

        The kernel is a rotation times a, so that :math:`K' = 2 \pi f J K` with J the quarter turn, and the derivative
        of the integral needs no integral: :math:`y' = a g(y) + 2 \pi f J (y - z)`.

        Args:
            curves: (S, T, 2) solutions from t = 0.

        Returns:
            (S, T, 2) per unit of time.
        """
        moved = curves - curves[:, :1]
        turned = np.stack([-moved[..., 1], moved[..., 0]], axis=-1)
        return self.amplitude / np.cosh(self.bend * curves) + 2 * math.pi * self.frequency * turned

    def operator(self) -> np.ndarray:
        """Return kernel and quadrature weights as one matrix (2 n, 2 n), n the points of the fine grid."""
        time = np.linspace(0, 1, (self.points - 1) * self.refine + 1)
        lag = time[:, None] - time
        weight = np.where(lag >= 0, time[1], 0.0) * self.amplitude
        weight[:, 0] /= 2
        weight[np.diag_indices_from(weight)] /= 2
        weight[0, 0] = 0  # nothing has been integrated at t = 0
        angle = 2 * math.pi * self.frequency * lag
        cosine, sine = weight * np.cos(angle), weight * np.sin(angle)
        blocks = np.array([[cosine, -sine], [sine, cosine]])  # (2, 2, n, n)
        return blocks.transpose(2, 0, 3, 1).reshape(2 * len(time), -1)


def random_starts(count: int, seed: int = 0) -> np.ndarray:
    """Draw initial conditions, (count, 2), uniform in [-1, 1]^2; the i-th depends on (seed, i) only."""
    draws = [np.random.default_rng(np.random.SeedSequence([seed, i])).uniform(-1, 1, 2) for i in range(count)]
    return np.stack(draws)
