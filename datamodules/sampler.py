"""Which sample, in which epoch: the order of training is a pure function of (seed, epoch)."""

from __future__ import annotations

from collections.abc import Iterator, Sized

import numpy as np
import torch
from torch.utils.data import DistributedSampler


class EpochSampler(DistributedSampler[int]):
    """Yield ``epoch * length + index``, so that a data set sees the epoch and its draws can depend on it.

    A `DistributedSampler`, because Lightning calls `set_epoch` on it and leaves it in place under every strategy;
    unlike its parent it never repeats a sample to even out the shards.

    Args:
        data: anything with the length of the split.
        seed: of the order.
        train: shuffle, and drop the few samples that would give one process more steps than another. In evaluation
            every sample is visited once, in order, always as in epoch 0.
        rank: of this process; from `torch.distributed` if it is running, else 0.
        world: number of processes, likewise.
    """

    def __init__(
        self, data: Sized, seed: int = 0, train: bool = True, rank: int | None = None, world: int | None = None
    ) -> None:
        running = torch.distributed.is_available() and torch.distributed.is_initialized()
        world = (torch.distributed.get_world_size() if running else 1) if world is None else world
        rank = (torch.distributed.get_rank() if running else 0) if rank is None else rank
        super().__init__(data, num_replicas=world, rank=rank, shuffle=train, seed=seed)  # type: ignore[arg-type]
        self.length, self.train = len(data), train

    def __iter__(self) -> Iterator[int]:
        order = np.arange(self.length)
        if self.train:
            np.random.default_rng(np.random.SeedSequence([self.seed, self.epoch, _ORDER])).shuffle(order)
            order = order[: self.length - self.length % self.num_replicas]
        start = self.epoch * self.length if self.train else 0
        return iter((start + order[self.rank :: self.num_replicas]).tolist())

    def __len__(self) -> int:
        total = self.length - (self.length % self.num_replicas if self.train else 0)
        return len(range(self.rank, total, self.num_replicas))


_ORDER = 0x0DE5  # keeps this stream apart from the draws inside a sample
