"""Self-training: the network's own average answers for training samples, observed anew.

A network that reads observations learns from few curves what it is shown of them, and soon by heart: which points were
observed, and their noise, are the same in every epoch. But it knows these curves by then at any coordinate. So a
teacher, the average of the network's weights over the last steps, is asked for the training samples where other
samples were observed, with the errors that it made there added: further samples, of which the truth at every
coordinate is what the teacher says. These others are the neighbours in the batch, so that the result depends on how
samples are put into batches and on processes; dummies are asked for as well, and count as much as hidden points do.
Source: the teacher, Tarvainen and Valpola, Mean teachers are better role models, NeurIPS 2017; learning from one's own
answers with noise added, Xie et al., Self-training with noisy student, CVPR 2020; the added errors are the residual
bootstrap of Efron, Annals of Statistics 7, 1979.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cst_lightning import principal
from cst_lightning.errors import DataError
from cst_lightning.network import CSTNetwork
from cst_lightning.points import Batch, PointSet

# Random draws of a made sample are not those of the one that it was made from.
_MADE = 1 << 40


class Teacher:
    """The average of a network's weights, and what it makes of a batch.

    Args:
        network: to average; the teacher begins as a copy.
        decay: of the average, a step; less in the first steps, so that it does not stay at the beginning.
        share: of functional principal components in what the teacher says; 0 for none.
    """

    def __init__(self, network: CSTNetwork, decay: float = 0.99, share: float = 0.0) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.decay, self.share, self.steps, self.followed = decay, share, 0, 0
        self.components: principal.Components | None = None

    @torch.no_grad()
    def follow(self, network: CSTNetwork, step: int) -> None:
        """Move towards the weights that the network has after `step` steps, unless that was done."""
        if step == self.followed:
            return
        self.followed = step
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        torch._foreach_lerp_(list(self.network.parameters()), list(network.parameters()), 1 - decay)
        for own, other in zip(self.network.buffers(), network.buffers(), strict=True):
            own.copy_(other)

    def study(self, batches: Iterable[Batch], period: float | None) -> None:
        """Learn the principal components of all training samples.

        Args:
            batches: normalised, every sample once.
            period: of time in normalised coordinates, None if it does not repeat.

        Raises:
            DataError: there are fewer than 2 samples.
        """
        sets = [_observed(batch) for batch in batches]
        if (found := sum(len(part.mask) for part in sets)) < 2:
            raise DataError(
                "data", "train", "at least 2 samples for principal components (model.components)", str(found)
            )
        longest = max(part.coords.shape[1] for part in sets)
        coords, values, mask = (
            torch.cat([_lengthen(part, longest) for part in parts]) for parts in zip(*sets, strict=True)
        )
        self.components = principal.learn(coords, values, mask, period)
        self._settle()

    @torch.no_grad()
    def extend(self, batch: Batch) -> Batch:
        """Return a batch of twice as many samples: those of a normalised batch, and as many that were made of them.

        Sample b is asked for where its neighbour b + 1 was observed, shown and hidden points as they are there, and at
        the neighbour's dummies; shown values have the neighbour's errors added, hidden ones are free of noise. A sample
        without neighbours gains nothing.
        """
        if len(batch.index) == 1:
            return batch
        seen, dummies = _observed(batch), torch.roll(batch.dummies, -1, 0)
        shown, asked = (
            PointSet(*(torch.roll(part, -1, 0) for part in points)) for points in (batch.context, batch.target)
        )
        sizes = [part.shape[1] for part in (batch.context.coords, shown.coords, asked.coords, dummies)]
        everywhere = torch.cat([batch.context.coords, shown.coords, asked.coords, dummies], 1)
        here, there, hidden, free = self._answers(seen, batch.dummies, everywhere).split(sizes, 1)
        errors = torch.roll(batch.context.values - here, -1, 0)
        context = PointSet(shown.coords, there + errors, shown.mask)
        counts = torch.cat([asked.mask, asked.mask.new_ones(dummies.shape[:2])], 1)
        made = PointSet(torch.cat([asked.coords, dummies], 1), torch.cat([hidden, free], 1), counts)
        target = PointSet(*(_lengthen(part, made.mask.shape[1]) for part in batch.target))
        return Batch(
            _joined(batch.context, context, 0),
            _joined(target, made, 0),
            torch.cat([batch.dummies, dummies]),
            torch.cat([batch.index, batch.index + _MADE]),
        )

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint has to keep."""
        parts = None if self.components is None else list(self.components)
        return {
            "network": self.network.state_dict(),
            "steps": self.steps,
            "followed": self.followed,
            "components": parts,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take a `state` over."""
        self.network.load_state_dict(state["network"])
        self.steps, self.followed = state["steps"], state["followed"]
        self.components = None if state["components"] is None else principal.Components(*state["components"])
        self._settle()

    def _settle(self) -> None:
        """Move the components to where the network is, once."""
        if self.components is not None:
            device = next(self.network.parameters()).device
            moved = (part.to(device if device.type != "mps" else "cpu") for part in self.components)
            self.components = principal.Components(*moved)

    def _answers(self, seen: PointSet, dummies: Tensor, coords: Tensor) -> Tensor:
        """Return values (B, Q, c) at coords (B, Q, d), from all that was observed of each sample."""
        found = self.network.ask(self.network.encode(seen, dummies), coords)
        if self.components is None:
            return found
        with torch.autocast(coords.device.type, enabled=False):
            other = self.components.posterior(*seen)(coords[None])[0]
            return torch.lerp(found.to(other.dtype), other, self.share)


def _observed(batch: Batch) -> PointSet:
    """Return all that a batch tells of its samples: what is shown, and what is asked for and was not shown."""
    context, target = batch.context, batch.target
    again = (target.coords[:, :, None] == context.coords[:, None]).all(-1) & context.mask[:, None]
    fresh = target._replace(mask=target.mask & ~again.any(-1))
    return _joined(context, fresh, 1)


def _joined(first: PointSet, second: PointSet, axis: int) -> PointSet:
    return PointSet(*(torch.cat(pair, axis) for pair in zip(first, second, strict=True)))


def _lengthen(part: Tensor, size: int) -> Tensor:
    """Return (B, size, ...) from (B, N, ...), N <= size: zeros, or False, behind it."""
    return F.pad(part, (0, 0) * (part.ndim - 2) + (0, size - part.shape[1]))
