"""Signals with jumps, and what is scored near them."""

import numpy as np
import pytest
import torch

from cst_lightning.datamodules.jumps import JumpError, JumpsDataModule, Overshoot


def module(kind: str, **options: object) -> JumpsDataModule:
    made = JumpsDataModule(kind, train=2, val=1, test=1, observed=10, dummies=2, **options)  # type: ignore[arg-type]
    made.setup()
    return made


def test_a_signal_has_its_jumps() -> None:
    signal = module("steps", points=400, jumps=2).truth("test", 0).values[:, 0]
    assert int((signal.diff().abs() > 0.5).sum()) == 2


def test_the_shock_solves_burgers_equation() -> None:
    data = JumpsDataModule("shock", train=1, val=0, test=0, points=801, places=1601, viscosity=0.02, observed=10)
    u = data.trajectories()[0].values.view(801, 1601).double().numpy()
    t, x = 1 / 800, 2 / 1600
    change = (u[2:, 1:-1] - u[:-2, 1:-1]) / (2 * t)
    slope, bend = (u[1:-1, 2:] - u[1:-1, :-2]) / (2 * x), (u[1:-1, 2:] - 2 * u[1:-1, 1:-1] + u[1:-1, :-2]) / x**2
    residual = change + u[1:-1, 1:-1] * slope - 0.02 * bend
    assert np.abs(residual).max() < 0.02 * np.abs(change).max()


def test_the_same_seed_gives_the_same_samples() -> None:
    one, two, other = (module("steps", simulation_seed=s).truth("test", 0).values for s in (0, 0, 1))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(("near", "expected"), [(True, 1.0), (False, 2.0)])
def test_errors_near_a_jump_and_away_from_it(near: bool, expected: float) -> None:
    target = torch.zeros(1, 10, 1)
    target[:, 5:] = 1.0  # between points 4 and 5: with a margin of 2, points 3 to 6 are near
    error = torch.full((1, 10, 1), 2.0)
    error[:, 3:7] = 1.0
    score = JumpError(near, 10, 2)
    score.update(target + error, target, torch.ones(1, 10, dtype=torch.bool), 10)
    assert score.compute().item() == expected


def test_overshoot_is_relative_to_the_range() -> None:
    target = torch.tensor([[[0.0], [2.0], [2.0]]])
    score = Overshoot()
    score.update(torch.tensor([[[0.0], [3.0], [9.0]]]), target, torch.tensor([[True, True, False]]), 3)
    assert score.compute().item() == 0.5


@pytest.mark.parametrize(("options", "word"), [({"kind": "ramp"}, "kind"), ({"jumps": -1}, "jumps")])
def test_bad_options_name_themselves(options: dict, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        JumpsDataModule(**options)
