"""Interpolation of whole frames along time, place by place: what a scientist does when frames are missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from cst_lightning.baselines.interpolation import Array, Interpolator, Periods, distinct


@dataclass(frozen=True)
class AlongTime:
    """Interpolate every place's own series with a method of one axis.

    Attributes:
        along: interpolation along one axis; the places are its channels.
        label: name in tables; that of `along` with "in time" when empty.
    """

    along: Interpolator
    label: str = ""

    @property
    def name(self) -> str:
        """Name in tables."""
        return self.label or f"{self.along.name} in time"

    def __call__(self, coords: Array, values: Array, query: Array, periods: Periods) -> Array:
        """Interpolate; see `Interpolator`. A query between places takes the nearest one.

        Raises:
            ValueError: observations are not whole frames, the same places at each time.
        """
        points, means = distinct(np.asarray(coords, np.float64), np.asarray(values, np.float64))
        times, frame = np.unique(points[:, 0], return_inverse=True)
        places = len(points) // len(times)
        whole = places * len(times) == len(points)
        # lexicographic order is by time first, so whole frames are blocks of the same places
        space = points[:, 1:].reshape(len(times), places, points.shape[1] - 1) if whole else np.empty((0, 0, 0))
        if not whole or np.diff(frame.reshape(len(times), places)).any() or (space != space[:1]).any():
            raise ValueError(
                f"coords has {len(points)} points at {len(times)} times, expected whole frames: all places at each time"
            )
        place = cKDTree(space[0]).query(query[:, 1:])[1] if space.shape[-1] else np.zeros(len(query), dtype=int)
        asked, row = np.unique(query[:, 0], return_inverse=True)
        series = means.reshape(len(times), -1)
        found = self.along(times[:, None], series, asked[:, None], periods[:1])
        return np.asarray(found.reshape(len(asked), places, -1)[row, place])
