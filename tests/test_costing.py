"""How long training takes, in words and in numbers."""

import math

import pytest
import torch

from cst_lightning.costing import Clock, Cost, duration


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.05, "50 ms"), (30, "30 s"), (90, "1.5 min"), (7200, "2 h"), (172800, "2 days")]
)
def test_times_are_told_in_their_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_without_validation_only_training_counts() -> None:
    assert Cost(2.0, math.nan, torch.device("cpu")).total == 2.0
    assert Cost(2.0, 1.0, torch.device("cpu")).total == 3.0


def test_the_first_batch_warms_up() -> None:
    clock = Clock()
    clock._seconds["train"] = [9.0, 1.0, 2.0, 3.0]
    assert clock.step == 2.0
    assert math.isnan(clock.validation)
