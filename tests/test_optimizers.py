"""Muon against torch's, which takes one matrix at a time in bfloat16."""

import copy

import torch
from torch import nn, optim

from cst_lightning.optimizers import Muon

SHAPES = ((16, 16), (16, 16), (16, 48), (48, 16), (5, 1))


def matrices() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def descend(optimizer: optim.Optimizer, parameters: list[nn.Parameter], steps: int, seed: int = 1) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()


def test_steps_are_those_of_torch() -> None:
    ours, theirs, start = matrices(), matrices(), matrices()
    descend(Muon(ours, 0.1, 0.3), ours, 4)
    descend(optim.Muon(theirs, 0.1, 0.3, adjust_lr_fn="match_rms_adamw"), theirs, 4)
    for mine, other, before in zip(ours, theirs, start, strict=True):
        moved = (other - before).norm()
        assert (mine - other).norm() < 0.03 * moved  # bfloat16 has three digits less
        assert (mine - before).norm() > 0.5 * moved


def test_a_step_is_near_orthogonal_and_of_the_size_of_adamws() -> None:
    parameters, start = matrices(), matrices()
    descend(Muon(parameters, 0.1), parameters, 1)
    for parameter, before in zip(parameters, start, strict=True):
        change = (parameter - before).detach()
        rows, columns = change.shape
        singular = torch.linalg.svdvals(change) / (0.1 * 0.2 * max(rows, columns) ** 0.5)
        assert singular.min() > 0.5
        assert singular.max() < 1.3


def test_together_and_alone_are_the_same() -> None:
    together, alone = matrices(), matrices()
    descend(Muon(together, 0.1), together, 2)
    generator = torch.Generator().manual_seed(1)
    each = [Muon([parameter], 0.1) for parameter in alone]
    for _ in range(2):
        for parameter, optimizer in zip(alone, each, strict=True):
            parameter.grad = torch.randn(parameter.shape, generator=generator)
            optimizer.step()
    for mine, other in zip(together, alone, strict=True):
        torch.testing.assert_close(mine, other)


def test_what_has_no_gradient_stays() -> None:
    parameters = matrices()
    first, second = parameters[:2]
    before = second.detach().clone()
    first.grad = torch.ones_like(first)
    Muon(parameters, 0.1, 0.5).step()
    assert torch.equal(second, before)


def test_a_closure_is_called_with_gradients() -> None:
    parameter = nn.Parameter(torch.eye(3))
    optimizer = Muon([parameter], 0.1)

    def closure() -> torch.Tensor:
        loss = parameter.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) == 3
    assert (parameter.diagonal() < 1).all()


def test_momentum_goes_into_a_checkpoint() -> None:
    whole, first = matrices(), matrices()
    optimizer = Muon(whole, 0.1)
    descend(optimizer, whole, 3)
    descend(optimizer, whole, 1, seed=2)
    optimizer = Muon(first, 0.1)
    descend(optimizer, first, 3)
    again = Muon(first, 0.1)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    descend(again, first, 1, seed=2)
    assert all(torch.equal(one, other) for one, other in zip(whole, first, strict=True))
    forgetful = matrices()
    descend(Muon(forgetful, 0.1), forgetful, 3)
    descend(Muon(forgetful, 0.1), forgetful, 1, seed=2)
    assert not torch.equal(forgetful[0], first[0])
