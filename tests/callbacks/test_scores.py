"""What scoring callbacks share: repeats of distributed samplers are counted once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DistributedSampler

from cst_lightning.callbacks.scores import Truth, first_seen


@given(st.integers(1, 30), st.integers(1, 5), st.integers(1, 4))
def test_every_sample_counts_once_over_all_processes(samples: int, processes: int, batch: int) -> None:
    counted: list[int] = []
    for rank in range(processes):
        sampler = DistributedSampler(range(samples), num_replicas=processes, rank=rank, shuffle=False)
        order = list(sampler)
        for start in range(0, len(order), batch):
            part = torch.tensor(order[start : start + batch])
            counted += part[first_seen(sampler, start, len(part))].tolist()
    assert sorted(counted) == list(range(samples))


def test_other_samplers_repeat_nothing() -> None:
    assert first_seen(None, 0, 3).all()


class _Trainer:
    """Has the one attribute that is read."""

    def __init__(self, datamodule: object) -> None:
        self.datamodule = datamodule


def test_truth_comes_from_the_datamodule_at_observed_points_too(data) -> None:
    values, known = Truth(_Trainer(data), "val")(1, torch.zeros(8, 2), torch.zeros(8, dtype=torch.bool))
    assert known.all()
    assert torch.equal(values, data.truth("val", 1).values)


@pytest.mark.parametrize("datamodule", [None, object()])
def test_without_a_datamodule_truth_is_what_the_step_returned(datamodule) -> None:
    target, mask = torch.ones(8, 2), torch.arange(8) > 3
    values, known = Truth(_Trainer(datamodule), "val")(0, target, mask)
    assert torch.equal(values, target)
    assert torch.equal(known, mask)
