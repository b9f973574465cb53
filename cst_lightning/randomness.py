"""Draws that are a pure function of who asks: the same on any device, in any batch, after any padding or resume."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Odd 64-bit constants of the splitmix64 generator (Steele, Lea and Flood, OOPSLA 2014), as signed integers.
_GOLDEN, _MIX_1, _MIX_2 = -7046029254386353131, -4658895280553007687, -7723592293110705685


def sample_keys(seed: int, epoch: int, index: Tensor) -> Tensor:
    """Return one int64 key a sample, (B,), from (seed, epoch, sample index (B,))."""
    return _mix(_mix(index + _mix(torch.full_like(index, seed))) + epoch)


def normal(keys: Tensor, shape: tuple[int, ...], stream: int, dtype: torch.dtype) -> Tensor:
    """Draw standard normal numbers.

    Entry (b, i, ...) depends on ``keys[b]``, the entry's place and `stream` only, so that padding a sample or putting
    it in another batch changes nothing: the counter runs along the last axis first, then along the points.

    Args:
        keys: (B,) int64.
        shape: shape of one sample's draw, (N, c).
        stream: tells independent draws for the same sample apart.
        dtype: of the result.

    Returns:
        (B, *shape).
    """
    counter = torch.arange(math.prod(shape), device=keys.device)
    start = _mix(keys ^ _mix(torch.full_like(keys, stream)))[:, None]
    bits, other = _mix(start + 2 * counter), _mix(start + 2 * counter + 1)
    radius = torch.sqrt(-2 * torch.log(_uniform(bits)))
    return (radius * torch.cos(2 * math.pi * _uniform(other))).to(dtype).view(len(keys), *shape)


def _uniform(bits: Tensor) -> Tensor:
    """Map int64 to (0, 1], 24 bits, exactly representable in float32."""
    return ((bits & 0xFFFFFF) + 1).float() * 2.0**-24


def _mix(x: Tensor) -> Tensor:
    """Scramble int64 by splitmix64's finaliser; products wrap around as intended."""
    x = x + _GOLDEN
    x = (x ^ _shift(x, 30)) * _MIX_1
    x = (x ^ _shift(x, 27)) * _MIX_2
    return x ^ _shift(x, 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Shift right and fill with zeros: torch's shift copies the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
