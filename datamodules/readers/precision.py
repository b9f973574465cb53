"""Numbers as float32: what does not fit is refused, what loses the digits that matter is told."""

from __future__ import annotations

import numpy as np

from cst_lightning.errors import DataError

# Steps of float32 that are coarser than this part of the range of the values lose something that matters.
_COARSE = 1e-2


def finite(block: np.ndarray, place: str, key: str) -> np.ndarray:
    """Return float32, and refuse what is neither a finite number nor NaN.

    Args:
        block: of numbers.
        place: of the data, for messages.
        key: of the block, for messages.

    Raises:
        DataError: there is infinity, or a number above 3e38.
    """
    with np.errstate(over="ignore"):  # what is too large becomes infinite, which is said below
        values = np.ascontiguousarray(block, dtype=np.float32)
    if np.isinf(values).any():
        raise DataError(place, key, "finite numbers, or NaN for unobserved", "infinity, or numbers above 3e38")
    return values


def coarse(block: np.ndarray, values: np.ndarray) -> str:
    """Return in words what float32 loses of large numbers that differ by little; empty if it does not matter.

    Args:
        block: (..., c) as it is stored.
        values: (..., c) the same in float32.
    """
    if block.dtype.kind not in "fiu" or block.dtype.itemsize < 4 or block.dtype == np.float32 or not block.size:
        return ""
    exact = block.reshape(-1, block.shape[-1]).astype(np.float64)
    known = np.isfinite(exact)
    low = exact.min(0, initial=np.inf, where=known)
    high = exact.max(0, initial=-np.inf, where=known)
    largest = np.where(known.any(0), np.maximum(np.abs(low), np.abs(high)), 0)
    steps = np.spacing(largest.astype(np.float32)).astype(np.float64)
    with np.errstate(invalid="ignore"):  # of a channel without values
        lost = (high > low) & (steps > _COARSE * (high - low))
    lost &= (exact != values.reshape(exact.shape)).any(0, where=known)
    if not lost.any():
        return ""
    worst = int(np.flatnonzero(lost)[largest[lost].argmax()])
    return f"values around {largest[worst]:.0e} keep steps of {steps[worst]:g} in float32: subtract an offset first"
