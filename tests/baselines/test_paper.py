"""The published recipe: joint attention, noise on all tokens, and a Sobolev term whose higher orders do nothing."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from cst_lightning.baselines.paper import PaperModule, PaperNetwork
from cst_lightning.datamodules import SpiralsDataModule
from cst_lightning.points import Batch, point_set
from cst_lightning.randomness import sample_keys

SMALL: dict[str, Any] = {"width": 8, "depth": 2, "heads": 2, "frequencies": 2}


def batch() -> Batch:
    """Return two samples of 5 observations, all asked for, and 4 dummies."""
    torch.manual_seed(1)
    observed = point_set(torch.rand(2, 5, 1).sort(1)[0] * 2 - 1, torch.randn(2, 5, 2))
    return Batch(observed, observed, 2 * torch.rand(2, 4, 1) - 1, torch.arange(2))


def model(**options: Any) -> PaperModule:
    """Return the same small module every time, without noise."""
    torch.manual_seed(0)
    return PaperModule(1, 2, **{**SMALL, "noise": 0.0, "mu": 0.1, **options})


def gradient(module: PaperModule) -> Tensor:
    """Return the gradient of the loss of one batch in all trained parameters."""
    module.terms(batch(), sample_keys(0, 0, torch.arange(2))).loss.backward()
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


def test_coded_term_of_order_one_has_a_gradient() -> None:
    without, first = (gradient(model(as_coded=True, order=order)) for order in (0, 1))
    assert (first - without).norm() > 1e-3 * without.norm()


@pytest.mark.parametrize("order", [2, 3])
def test_coded_terms_of_higher_orders_have_none(order: int) -> None:
    assert torch.equal(gradient(model(as_coded=True, order=order)), gradient(model(as_coded=True, order=1)))


@pytest.mark.parametrize("order", [2, 3])
def test_ours_have_one(order: int) -> None:
    assert (gradient(model(order=order)) - gradient(model(order=1))).norm() > 1e-3 * gradient(model()).norm()


def test_coded_term_of_order_two_is_a_number_and_of_order_three_zero() -> None:
    one, two, three = (
        model(as_coded=True, order=order).terms(batch(), torch.arange(2)).sobolev.item() for order in (1, 2, 3)
    )
    assert two > 1.01 * one
    assert three == two


def test_coded_term_is_the_slope_in_the_values_by_finite_differences() -> None:
    module, eps = model(as_coded=True, order=1).double(), 1e-5
    tokens = module.network.tokens(*(batch().context, batch().dummies))
    tokens = type(tokens)(tokens.coords.double(), tokens.values.double(), tokens.mask)

    def total(change: Tensor) -> Tensor:
        return module.network.outputs(tokens.coords, tokens.values + change, tokens.mask).sum((1, 2))

    slopes = torch.zeros_like(tokens.values)
    for token in range(5, 9):  # the dummies
        for channel in range(2):
            step = torch.zeros_like(tokens.values)
            step[:, token, channel] = eps
            slopes[:, token, channel] = (total(step) - total(-step)) / (2 * eps)
    expected = slopes.square().sum((1, 2)).sqrt().mean()
    torch.testing.assert_close(module.value_derivatives(tokens, 5), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_a_reader_reproduces_the_output_of_its_token(noise: float) -> None:
    network, data, keys = model(noise=noise).network.train(), batch(), sample_keys(0, 0, torch.arange(2))
    outputs = network.outputs(*network.tokens(data.context, data.dummies, keys))
    memory = network.encode(data.context, data.dummies, keys)
    read = [
        network.query(memory, data.context.coords, keys=keys),
        network.query(memory, data.dummies, 0, None, keys, 3),
    ]
    torch.testing.assert_close(torch.cat(read, 1), outputs, rtol=1e-4, atol=1e-5)


def test_noise_is_on_every_token() -> None:
    torch.manual_seed(0)
    network, keys = PaperNetwork(1, 2, noise=0.5, **SMALL).train(), sample_keys(0, 0, torch.arange(2))
    clean, noisy = (network.tokens(batch().context, batch().dummies, k).values for k in (None, keys))
    assert not torch.isclose(clean, noisy).any()


def test_targets_are_the_observations_in_their_order(tmp_path: Any) -> None:
    data = SpiralsDataModule(train=4, val=1, test=1, context=(1.0, 1.0), target="all", cache_dir=tmp_path)
    data.setup()
    found = next(iter(data.train_dataloader()))
    assert all(map(torch.equal, found.context, found.target))


@pytest.mark.parametrize("as_coded", [False, True])
def test_it_learns(as_coded: bool, train: Callable[..., Any], tmp_path: Any) -> None:
    data = SpiralsDataModule(
        train=64, val=2, test=8, points=40, observed=6, keep_ends=True, context=(1.0, 1.0), dummies=8, batch_size=8,
        cache_dir=tmp_path,
    )  # fmt: skip
    options: dict[str, Any] = {"width": 16, "depth": 1, "heads": 2, "lr": 1e-2, "mu": 1e-6, "noise": 0.3}
    scores = train(lambda: PaperModule(1, 2, as_coded=as_coded, **options), data, 25)
    assert scores["cst_paper"]["mse"] < 0.7 * scores["linear"]["mse"]
