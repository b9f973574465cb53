"""Gaussian processes as initialiser: the closed form, its jets, periodic axes, and that they learn to smooth."""

import numpy as np
import pytest
import torch

from cst_lightning import jets, optimizers
from cst_lightning.interpolate import fit
from cst_lightning.module import CSTModule
from cst_lightning.network import CSTNetwork
from cst_lightning.points import PointSet
from cst_lightning.smoothers import RATE, GaussianProcesses, Hyperparameters, posterior


def cloud(count, dimension=1, channels=2, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    coords = 2 * torch.rand(1, count, dimension, generator=generator, dtype=dtype) - 1
    return coords, torch.randn(1, count, channels, generator=generator, dtype=dtype)


def everything(coords):
    return torch.ones(coords.shape[:2], dtype=torch.bool)


def test_the_mean_is_the_closed_form_mixed_in_shares():
    coords, values = cloud(9, 2)
    hyper = Hyperparameters(
        torch.tensor([[0.3, 0.8], [1.0, 0.5]]).double(), torch.tensor([0.2, 0.05]).double(),
        torch.tensor([1.5, 3.0]).double(), torch.tensor([[0.25, 1.0], [0.75, 0.0]]).double(),
    )  # fmt: skip
    query, _ = cloud(5, 2, seed=1)
    found = posterior(coords, values, everything(coords), [None, None], hyper)(query[None])[0, 0].numpy()

    def kernel(a, b, length, shape):
        square = np.square((a[:, None] - b) / length).sum(-1)
        return (1 + square / (2 * shape)) ** -shape

    x, y, q = coords[0].numpy(), values[0].numpy(), query[0].numpy()
    expected = 0
    for length, noise, shape, share in zip(*(part.numpy() for part in hyper), strict=True):
        inner = kernel(x, x, length, shape) + noise**2 * np.eye(9)
        expected = expected + share * (kernel(q, x, length, shape) @ np.linalg.solve(inner, y))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_gradients_of_values_and_hyperparameters_are_finite_differences():
    coords, values = cloud(9, 2)
    asked, _ = cloud(5, 2, seed=1)
    parts = (
        torch.tensor([[0.3, 0.8], [1.0, 0.5]]), torch.tensor([0.2, 0.05]),
        torch.tensor([1.5, 3.0]), torch.tensor([[0.25, 1.0], [0.75, 0.0]]),
    )  # fmt: skip

    def mean(values, *parts):
        return posterior(coords, values, everything(coords), [None, None], Hyperparameters(*parts))(asked[None])[0]

    inputs = [part.double().requires_grad_() for part in (values, *parts)]
    assert torch.autograd.gradcheck(mean, inputs)


@pytest.mark.parametrize("periods", [(None,), (None, 2.0), (None, 2.0, 2.0)])
def test_jets_are_the_derivatives_by_autograd(periods):
    coords, values = cloud(8, len(periods))
    function = fit("gp", coords, values, everything(coords), periods)
    query, direction = cloud(4, len(periods), len(periods), seed=1)

    time = torch.zeros(1, 4, 1, dtype=torch.float64, requires_grad=True)
    value = function((query + time * direction)[None])[0]
    found = jets.derivatives(function(jets.variable(query, direction, 2)))
    torch.testing.assert_close(found[0], value)
    for channel in range(2):
        (first,) = torch.autograd.grad(value[..., channel].sum(), time, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), time, retain_graph=True)
        torch.testing.assert_close(found[1:, ..., channel], torch.stack([first, second])[..., 0], rtol=1e-9, atol=1e-9)


def test_it_repeats_with_a_periodic_axis():
    coords, values = cloud(8, 2)
    function = fit("gp", coords, values, everything(coords), (None, 2.0))
    query, _ = cloud(5, 2, seed=1)
    there = query + torch.tensor([0.0, 6.0])
    torch.testing.assert_close(function(there[None]), function(query[None]), rtol=1e-10, atol=1e-10)


def test_far_from_its_only_point_it_is_the_mean_of_all_data():
    coords, values = cloud(1)
    function = fit("gp", coords, values, everything(coords))
    near, far = (function((coords + shift)[None]).norm() for shift in (0.0, 50.0))
    assert far < 0.01 * near < 0.01 * values.norm()


def test_an_untrained_network_equals_it():
    coords, values = cloud(7, 2, dtype=torch.float32)
    torch.manual_seed(0)
    network = CSTNetwork(2, 2, width=16, depth=1, heads=2, initialiser="gp").eval()
    query, _ = cloud(6, 2, seed=1, dtype=torch.float32)
    context = PointSet(coords, values, everything(coords))
    found = network.query(network.encode(context), query)
    torch.testing.assert_close(found, fit("gp", *context)(query[None])[0], rtol=1e-5, atol=1e-6)


def test_it_learns_how_much_to_smooth():
    generator = torch.Generator().manual_seed(0)
    time = torch.linspace(-1, 1, 40)[None, :, None].repeat(16, 1, 1)
    phase = 6.28 * torch.rand(16, 1, 1, generator=generator)
    truth = torch.sin(3 * time + phase)
    noisy = truth + 0.5 * torch.randn(truth.shape, generator=generator)
    processes = GaussianProcesses(1, 1)
    optimizer = torch.optim.Adam(processes.parameters(), lr=0.5 * RATE)

    def error(target):
        function = processes(time[:, ::2], noisy[:, ::2], everything(time[:, ::2]), [None])
        return (function(time[None, :, 1::2])[0] - target[:, 1::2]).square().mean()

    before = error(truth).item()
    for _ in range(60):
        optimizer.zero_grad()
        error(noisy).backward()  # what a recording offers: noisy points that were hidden
        optimizer.step()
    assert error(truth).item() < 0.6 * before


def test_hyperparameters_are_saved_and_not_decayed():
    module = CSTModule(dimension=1, channels=2, width=16, depth=1, heads=2, initialiser="gp")
    assert "network.smoother.log_lengths" in module.state_dict()
    assert all(parameter.ndim != 2 for parameter in module.network.smoother.parameters())


@pytest.mark.parametrize("name", ["muon", "adamw"])
@pytest.mark.parametrize("inside", [False, True])
def test_hyperparameters_have_a_learning_rate_of_their_own(name, inside):
    network = CSTNetwork(1, 2, width=16, depth=1, heads=2, initialiser="gp")
    whole = torch.nn.ModuleDict({"inner": network}) if inside else network  # as where frames are tokens
    optimizer = optimizers.build(whole, name, 1e-3, 0.01)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    own = {id(p) for p in network.smoother.parameters()}
    assert {rates[one] for one in own} == {RATE}
    assert {rate for one, rate in rates.items() if one not in own} == {1e-3}
    assert len(rates) == sum(p.requires_grad for p in network.parameters())


@pytest.mark.parametrize("spread", [1e-9, 1e-3])
def test_points_that_nearly_coincide_are_no_trouble(spread):
    coords, values = torch.zeros(1, 50, 1), torch.randn(1, 50, 1, generator=torch.Generator().manual_seed(0))
    coords = coords + spread * torch.arange(50)[None, :, None]
    found = fit("gp", coords, values, everything(coords))(jets.variable(coords, torch.ones(1), 2))
    assert found.isfinite().all()
    assert found[0].abs().max() < 2 * values.abs().max()
