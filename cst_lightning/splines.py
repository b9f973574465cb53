"""Equations of the cubic spline through points in order, solved on whole tensors."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor


def not_a_knot(h0: Tensor, h1: Tensor, m0: Tensor, m1: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Return a and b of the end equation ``h1 s0 + a s1 = b``, s0 the slope at the end, s1 the next one's."""
    both = h0 + h1
    right = ((h0 + 2 * both) * h1 * m0 + h0 * h0 * m1) / both
    parabola = count == 3  # both ends say the same then, and the spline is a parabola: s0 + s1 = 2 m0
    return torch.where(parabola, h1, both), torch.where(parabola, 2 * h1 * m0, right)


def tridiagonal(lower: Tensor, diagonal: Tensor, upper: Tensor, right: Tensor) -> Tensor:
    """Solve diagonally dominant systems by parallel cyclic reduction, log2 N rounds on whole tensors.

    Args:
        lower: (B, N, 1), 0 in the first row.
        diagonal: (B, N, 1).
        upper: (B, N, 1), 0 in the last row.
        right: (B, N, c).

    Returns:
        (B, N, c) solutions.
    """
    stride = 1
    while stride < right.shape[1]:
        # What `roll` wraps around is multiplied by 0: the outermost `stride` rows have no neighbour on that side.
        minus, plus = partial(torch.roll, shifts=stride, dims=1), partial(torch.roll, shifts=-stride, dims=1)
        alpha, gamma = -lower / minus(diagonal), -upper / plus(diagonal)
        diagonal, lower, upper, right = (
            diagonal + alpha * minus(upper) + gamma * plus(lower),
            alpha * minus(lower),
            gamma * plus(upper),
            right + alpha * minus(right) + gamma * plus(right),
        )
        stride *= 2
    return right / diagonal
