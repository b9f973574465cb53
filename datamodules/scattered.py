"""Scattered points cut into windows of time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch

from cst_lightning.datamodules.base import Split
from cst_lightning.datamodules.readers.source import Scattered
from cst_lightning.datamodules.trajectories import Trajectory

# Distinct times of a window where the user does not say.
_WINDOW = 64


class Cut(NamedTuple):
    """A part of a scattered sample, and what it is for."""

    trajectory: Trajectory
    split: Split


def whole(source: Scattered, sample: int) -> Trajectory:
    """Return a sample as it is, its times counted from its own first one."""
    return _part(source, sample, np.argsort(source.coords[sample][:, 0], kind="stable"))


def cut(
    source: Scattered, parts: Mapping[Split, int | float], window: int | None, stride: int | None, place: str
) -> list[Cut]:
    """Cut every sample into windows of successive distinct times; the first part is for training, and so on.

    Args:
        source: the samples.
        parts: how much of the distinct times each split gets, a fraction or a number, in the order of time.
        window: distinct times a window; 64, or what the smallest part has, if None.
        stride: distinct times from one training window to the next; half a window if None. Others do not overlap.
        place: of the data, for messages.

    Returns:
        Windows, times counted from the first of each, those of one sample and split together.

    Raises:
        ValueError: a part is shorter than a window.
    """
    found = []
    for sample, coords in enumerate(source.coords):
        order = np.argsort(coords[:, 0], kind="stable")
        times, first = np.unique(coords[order, 0], return_index=True)
        edges = np.append(first, len(coords))
        for name, start, stop in _spans(parts, len(times)):
            length = window or min(_WINDOW, stop - start)
            step = (stride or max(1, length // 2)) if name == "train" else length
            starts = range(start, stop - length + 1, step)
            if not starts and stop > start:
                raise ValueError(
                    f"{place}: window: expected at most the {stop - start} times of the {name} part of a sample, "
                    f"found {length}"
                )
            found += [Cut(_part(source, sample, order[edges[i] : edges[i + length]]), name) for i in starts]
    return found


def _spans(parts: Mapping[Split, int | float], length: int) -> list[tuple[Split, int, int]]:
    """Return (split, start, stop) in distinct times."""
    shares = [n / length if isinstance(n, int) else n for n in parts.values()]
    if sum(shares) > 1 + 1e-9:
        raise ValueError(f"train, val, test are {tuple(parts.values())}, expected at most all {length} times together")
    cuts = np.rint(np.cumsum([0.0, *shares]) * length).astype(int).tolist()
    return [(n, a, b) for n, a, b in zip(parts, cuts[:-1], cuts[1:], strict=True) if b > a]


def _part(source: Scattered, sample: int, part: np.ndarray) -> Trajectory:
    coords = source.coords[sample][part].astype(np.float64)
    coords[:, 0] -= coords[:1, 0]
    return Trajectory(torch.from_numpy(coords), torch.from_numpy(source.values[sample][part]))
