"""The order of training."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cst_lightning.datamodules.sampler import EpochSampler

SIZES = {"length": st.integers(1, 40), "world": st.integers(1, 5), "epoch": st.integers(0, 5)}


@given(**SIZES)
def test_evaluation_visits_every_sample_once(length, world, epoch):
    shards = [EpochSampler(range(length), train=False, rank=r, world=world) for r in range(world)]
    for shard in shards:
        shard.set_epoch(epoch)
    assert sorted(i for shard in shards for i in shard) == list(range(length))
    assert [len(shard) for shard in shards] == [len(list(shard)) for shard in shards]


@given(**SIZES)
def test_training_gives_every_process_as_many_and_repeats_none(length, world, epoch):
    shards = [EpochSampler(range(length), rank=r, world=world) for r in range(world)]
    for shard in shards:
        shard.set_epoch(epoch)
    seen = [i for shard in shards for i in shard]
    assert len({len(list(shard)) for shard in shards}) == 1
    assert len(set(seen)) == len(seen) == length - length % world
    assert all(i // length == epoch for i in seen)
    assert [len(shard) for shard in shards] == [len(list(shard)) for shard in shards]


@pytest.mark.parametrize("world", [2, 4])
def test_processes_together_take_the_same_steps_as_one(world):
    # a global batch of 8: one process takes 8 of the order, each of `world` processes 8 / world of the same ones
    alone = list(EpochSampler(range(32), seed=1, rank=0, world=1))
    shards = [list(EpochSampler(range(32), seed=1, rank=r, world=world)) for r in range(world)]
    each = 8 // world
    for step in range(4):
        together = [i for shard in shards for i in shard[step * each : (step + 1) * each]]
        assert sorted(together) == sorted(alone[step * 8 : (step + 1) * 8])
