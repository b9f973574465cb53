"""What scoring callbacks share: repeats of distributed samplers are counted once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, DistributedSampler

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


def test_truth_comes_from_the_data_set_at_observed_points_too(data) -> None:
    values, known = Truth(data.val_dataloader())(1, torch.zeros(8, 2), torch.zeros(8, dtype=torch.bool))
    assert known.all()
    assert torch.equal(values, data.truth("val", 1).values)


def test_truth_is_in_the_unit_of_the_scores(data) -> None:
    values, _ = Truth(data.val_dataloader(), 4.0)(1, torch.zeros(8, 2), torch.zeros(8, dtype=torch.bool))
    torch.testing.assert_close(values, data.truth("val", 1).values / 4)


def test_an_index_into_the_file_is_found_in_its_split(data) -> None:
    loader = data.val_dataloader()
    loader.dataset.members = np.array([4, 7, 9])
    assert torch.equal(Truth(loader).trajectory(7).values, data.truth("val", 1).values)


@pytest.mark.parametrize("loader", [None, DataLoader(range(3))])
def test_without_such_a_data_set_truth_is_what_the_step_returned(loader) -> None:
    target, mask = torch.ones(8, 2), torch.arange(8) > 3
    values, known = Truth(loader)(0, target, mask)
    assert torch.equal(values, target)
    assert torch.equal(known, mask)
