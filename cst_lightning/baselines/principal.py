"""Functional principal components of many curves, behind the interface of the interpolants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from cst_lightning import principal
from cst_lightning.baselines.interpolation import Array, Example, Periods
from cst_lightning.points import PointSet, pad


@dataclass(frozen=True)
class PrincipalComponents:
    """The posterior mean of a curve of which others were seen; see `cst_lightning.principal`.

    Attributes:
        learned: the components; `fitted` finds them.
        units: of values: mean and spread (c,) over all training samples.
        rank: number of components.
        fitting_samples: so many training samples are looked at.
        name: in tables.
    """

    learned: principal.Components | None = field(default=None, repr=False)
    units: tuple[Array, Array] | None = field(default=None, repr=False)
    rank: int = 0
    fitting_samples: int = 5000
    name: str = "fpca"

    def __call__(self, coords: Array, values: Array, query: Array, periods: Periods) -> Array:
        """Return the posterior mean; see `Interpolator`.

        Raises:
            ValueError: nothing was `fitted` before.
        """
        if self.learned is None or self.units is None:
            raise ValueError("principal components are not known, expected them to be fitted to training samples first")
        seen = _padded([coords], [(values - self.units[0]) / self.units[1]])
        found = self.learned.posterior(*seen)(torch.from_numpy(query.astype(np.float64))[None, None])[0, 0].numpy()
        answer: Array = self.units[0] + self.units[1] * found
        return answer

    def fitted(self, samples: Sequence[Example], periods: Periods) -> PrincipalComponents:
        """Return the same method with the components of training samples.

        Args:
            samples: of training, of which all is known that was observed, shown or not.
            periods: of the one axis.

        Raises:
            ValueError: there is more than one axis.
        """
        known = [sample.known() for sample in samples]
        every = np.concatenate([values for _, values in known])
        mean, spread = every.mean(0), every.std(0)
        units = mean, np.where(spread > 0, spread, 1.0)
        shown = _padded([coords for coords, _ in known], [(values - units[0]) / units[1] for _, values in known])
        learned = principal.learn(*shown, periods[0])
        return replace(self, learned=learned, units=units, rank=len(learned.functions) - 1)


def _padded(coords: Sequence[Array], values: Sequence[Array]) -> PointSet:
    """Return samples of different lengths as one set, in float64."""
    pairs = [
        [torch.from_numpy(np.asarray(part, np.float64)) for part in pair] for pair in zip(coords, values, strict=True)
    ]
    return pad([PointSet(x, y, torch.ones(len(x), dtype=torch.bool)) for x, y in pairs])
