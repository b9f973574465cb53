"""The loss against closed forms; every order's gradient against finite differences (P2)."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from cst_lightning.network import CSTNetwork, Memory
from cst_lightning.points import point_set
from cst_lightning.sobolev import SobolevLoss


@pytest.fixture(autouse=True)
def _double() -> Any:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


class Polynomial:
    """Stands in for a network: ``y = a t^2 x + b x^3``, one channel, with jets by hand."""

    dimension = 2

    def query(
        self, memory: Memory, coords: Tensor, order: int, lines: Tensor, keys: Tensor | None, stream: int
    ) -> Tensor:
        """Return Taylor coefficients of the polynomial along the lines."""
        (t, x), (v, w) = coords.unbind(-1), lines.unbind(-1)
        jet = [t**2 * x + x**3, 2 * t * v * x + t**2 * w + 3 * x**2 * w, v**2 * x + 2 * t * v * w + 3 * x * w**2]
        return torch.stack([*jet, v**2 * w + w**3][: order + 1])[..., None]


def small_network() -> tuple[CSTNetwork, Memory]:
    net = CSTNetwork(2, 2, (False, True), width=8, depth=1, heads=2, frequencies=2, kernel_frequencies=1)
    torch.nn.init.normal_(net.head.weight)
    return net, net.encode(point_set(torch.rand(2, 6, 2), torch.randn(2, 6, 2)))


def test_fit_is_the_mean_over_real_targets_by_hand() -> None:
    prediction = torch.tensor([[[1.0], [5.0], [9.0]], [[2.0], [0.0], [7.0]]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    loss = SobolevLoss(0).fit(prediction, torch.zeros(2, 3, 1), mask)
    assert loss.item() == pytest.approx((1 + 25 + 4) / 3)


@pytest.mark.parametrize("p", [1.0, 1.5, 3.0])
def test_fit_uses_the_exponent(p: float) -> None:
    prediction = torch.tensor([[[1.0], [-2.0]]])
    mask = torch.ones(1, 2, dtype=torch.bool)
    assert SobolevLoss(0, p).fit(prediction, torch.zeros(1, 2, 1), mask).item() == pytest.approx((1 + 2**p) / 2)


def test_terms_are_sums_over_multi_indices_of_means_over_dummies() -> None:
    dummies = torch.tensor([[[1.0, 2.0], [0.5, -1.0]]])
    found = [term.item() for term in SobolevLoss(3).terms(Polynomial(), None, dummies)]  # type: ignore[arg-type]
    first = second = third = 0.0
    for t, x in dummies[0].tolist():
        first += (2 * t * x) ** 2 + (t**2 + 3 * x**2) ** 2
        second += (2 * x) ** 2 + (2 * t) ** 2 + (6 * x) ** 2
        third += 2.0**2 + 6.0**2  # d3/dt2dx and d3/dx3; the others vanish
    assert found == pytest.approx([first / 2, second / 2, third / 2])


def test_random_directions_estimate_the_invariant_seminorm() -> None:
    # For f = t^2 x + x^3 at (0, 1), the second derivative along (cos a, sin a) is 2 cos^2 a + 6 sin^2 a; its mean
    # square over the circle is (4 * 3 + 2 * 12 + 36 * 3) / 8.
    dummies = torch.tensor([0.0, 1.0]).expand(1, 40_000, 2)
    _, second = SobolevLoss(2, directions="random").terms(Polynomial(), None, dummies)  # type: ignore[arg-type]
    assert second.item() == pytest.approx((4 * 3 + 24 + 36 * 3) / 8, rel=0.02)


def test_loss_adds_the_terms_with_weight_mu() -> None:
    net, memory = small_network()
    prediction, dummies = torch.randn(2, 3, 2), torch.rand(2, 4, 2)
    mask = torch.ones(2, 3, dtype=torch.bool)
    parts = SobolevLoss(2, mu=0.25)(net, memory, prediction, torch.zeros(2, 3, 2), mask, dummies)
    assert parts.loss.item() == pytest.approx(parts.fit.item() + 0.25 * parts.sobolev.item())
    assert parts.sobolev.item() > 0


@pytest.mark.parametrize("directions", ["all", "random"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_parameter_gradient_of_every_order_is_right_and_not_zero(order: int, directions: Any) -> None:
    net, _ = small_network()
    points, dummies = point_set(torch.rand(2, 6, 2), torch.randn(2, 6, 2)), torch.rand(2, 3, 2)
    loss = SobolevLoss(order, directions=directions)

    def term() -> Tensor:
        return loss.terms(net, net.encode(points), dummies)[order - 1]

    for parameter in (net.layers[0].query.weight, net.layers[0].kernel, net.embedding.position.weight, net.head.weight):
        (gradient,) = torch.autograd.grad(term(), parameter)
        direction = torch.randn_like(parameter)
        h = 1e-5
        with torch.no_grad():
            parameter += h * direction
            above = term()
            parameter -= 2 * h * direction
            below = term()
            parameter += h * direction
        slope = (above - below).item() / (2 * h)
        assert (gradient * direction).sum().item() == pytest.approx(slope, rel=1e-5)
        assert gradient.norm() > 0


def test_mixed_terms_equal_central_differences() -> None:
    net, memory = small_network()
    dummies, h = torch.rand(2, 3, 2), 1e-4
    mixed = SobolevLoss(2)._mixed(net, memory, dummies, None)[1][1]  # multi-indices (0, 2), (1, 1), (2, 0)

    def at(a: float, b: float) -> Tensor:
        return net.query(memory, dummies + torch.tensor([a * h, b * h]))

    expected = (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)) / (4 * h * h)
    torch.testing.assert_close(mixed, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


def test_order_zero_or_mu_zero_computes_no_derivative() -> None:
    mask = torch.ones(1, 1, dtype=torch.bool)
    for loss in (SobolevLoss(0), SobolevLoss(3, mu=0.0)):
        parts = loss(None, None, torch.ones(1, 1, 1), torch.zeros(1, 1, 1), mask, torch.rand(1, 4, 2))  # type: ignore[arg-type]
        assert parts.sobolev.item() == 0


@pytest.mark.parametrize(
    "options", [{"order": -1}, {"p": 0.5}, {"mu": -1e-3}, {"mu": math.nan}, {"directions": "some"}]
)
def test_bad_options_name_themselves(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        SobolevLoss(**options)
