"""Every rule against hand-derived series and against central differences in float64."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from cst_lightning import jets

ORDER = 4
RULES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "exp": (torch.exp, jets.exp),
    "sin": (torch.sin, lambda x: jets.sin_cos(x)[0]),
    "cos": (torch.cos, lambda x: jets.sin_cos(x)[1]),
    "log": (torch.log, jets.log),
    "power": (lambda x: x**-1.5, lambda x: jets.power(x, -1.5)),
    "gelu": (F.gelu, jets.gelu),
    "square": (lambda x: x * x, lambda x: jets.multiply(x, x)),
    "quotient": (lambda x: torch.sin(x) / x, lambda x: jets.divide(jets.sin_cos(x)[0], x)),
    "linear": (
        lambda x: F.linear(x, _weight(), _weight()[0]),
        lambda x: jets.linear(x, _weight(), _weight()[0]),
    ),
    "layer_norm": (
        lambda x: F.layer_norm(x, (4,), _weight()[0], _weight()[1]),
        lambda x: jets.layer_norm(x, _weight()[0], _weight()[1]),
    ),
    "attention": (
        lambda x: F.scaled_dot_product_attention(x[None, None], _weight()[None, None], _weight()[None, None])[0, 0],
        lambda x: jets.attention(x[:, None, None], _weight()[None, None], _weight()[None, None])[:, 0, 0],
    ),
}


def _weight() -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(4, 4, generator=generator, dtype=torch.float64)


def _line() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    start = torch.rand(3, 4, generator=generator, dtype=torch.float64) + 0.5
    return start, torch.randn(3, 4, generator=generator, dtype=torch.float64) * 0.3


def central_difference(f: Callable[[Tensor], Tensor], order: int, step: float) -> Tensor:
    """Differentiate f(t) at 0 with sixth-order-accurate stencils on nine points."""
    nodes = torch.arange(-4, 5, dtype=torch.float64)
    powers = torch.stack([nodes**n for n in range(9)])
    right = torch.zeros(9, dtype=torch.float64)
    right[order] = math.factorial(order)
    weights = torch.linalg.solve(powers, right)
    return (
        sum(w * f(torch.tensor(n * step)) for w, n in zip(weights.tolist(), nodes.tolist(), strict=True)) / step**order
    )


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("order", range(ORDER + 1))
def test_rule_agrees_with_central_differences(name: str, order: int) -> None:
    plain, rule = RULES[name]
    start, direction = _line()
    jet = jets.derivatives(rule(jets.variable(start, direction, ORDER)))[order]
    expected = central_difference(lambda t: plain(start + t * direction), order, 0.005)
    torch.testing.assert_close(jet, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()) + 1e-14 / 0.005**order)


@pytest.mark.parametrize("name", RULES)
def test_order_zero_is_the_plain_function(name: str) -> None:
    plain, rule = RULES[name]
    start, direction = _line()
    torch.testing.assert_close(rule(jets.variable(start, direction, 2))[0], plain(start), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", RULES)
def test_parameter_gradient_passes_through_every_order(name: str) -> None:
    _, rule = RULES[name]
    start, direction = _line()

    def total(x: Tensor) -> Tensor:
        return rule(jets.variable(x, direction, 3)).square().sum()

    assert torch.autograd.gradcheck(total, (start.requires_grad_(),))


def test_exponential_series_by_hand() -> None:
    x = torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    expected = torch.tensor([1, 1, 1 / 2, 1 / 6], dtype=torch.float64)
    torch.testing.assert_close(jets.exp(x), expected)


def test_exponential_of_a_parabola_by_hand() -> None:
    x = torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0], dtype=torch.float64)  # exp(t^2) = 1 + t^2 + t^4 / 2
    torch.testing.assert_close(jets.exp(x), torch.tensor([1.0, 0, 1, 0, 0.5], dtype=torch.float64))


def test_geometric_series_by_hand() -> None:
    one, x = torch.tensor([1.0, 0, 0, 0]), torch.tensor([1.0, -1.0, 0, 0])  # 1 / (1 - t)
    torch.testing.assert_close(jets.divide(one, x), torch.ones(4))


def test_logarithm_series_by_hand() -> None:
    x = torch.tensor([1.0, 1, 0, 0], dtype=torch.float64)
    torch.testing.assert_close(jets.log(x), torch.tensor([0, 1, -1 / 2, 1 / 3], dtype=torch.float64))


def test_binomial_series_by_hand() -> None:
    x = torch.tensor([1.0, 1, 0, 0], dtype=torch.float64)
    expected = torch.tensor([1, 1 / 2, -1 / 8, 1 / 16], dtype=torch.float64)
    torch.testing.assert_close(jets.power(x, 0.5), expected)


def test_gelu_series_by_hand() -> None:
    x = torch.tensor(
        [0.0, 1, 0, 0, 0], dtype=torch.float64
    )  # t Phi(t) = t / 2 + t^2 / sqrt(2 pi) - t^4 / (6 sqrt(2 pi))
    root = 1 / math.sqrt(2 * math.pi)
    torch.testing.assert_close(jets.gelu(x), torch.tensor([0, 0.5, root, 0, -root / 6], dtype=torch.float64))


def test_compose_inserts_a_series_by_hand() -> None:
    inner = torch.tensor([0.0, 1, 1, 0])  # (t + t^2)^2 = t^2 + 2 t^3
    square = [torch.tensor(0.0), torch.tensor(0.0), torch.tensor(1.0), torch.tensor(0.0)]
    torch.testing.assert_close(jets.compose(square, inner), torch.tensor([0.0, 0, 1, 2]))


def test_attention_ignores_masked_keys() -> None:
    start, direction = _line()
    memory, mask = _weight()[None, None], torch.tensor([True, True, False, True])
    line = jets.variable(start, direction, 2)[:, None, None]
    masked = jets.attention(line, memory, memory, mask)
    kept = jets.attention(line, memory[:, :, mask], memory[:, :, mask])
    torch.testing.assert_close(masked, kept)


REVERSED: dict[str, Callable[..., Tensor]] = {
    "exp": jets.exp,
    "gelu": jets.gelu,
    "multiply": lambda x, weight: jets.multiply(x, x + weight[0]),
    "divide": lambda x, weight: jets.divide(x * weight[0], x),
    "shift": lambda x, weight: jets.shift(x, weight[0]),
    "layer_norm": lambda x, weight: jets.layer_norm(x, weight[0], weight[1]),
    "attention": lambda x, weight: jets.attention(
        x[:, None, None], weight[None, None], weight[None, None], torch.tensor([True, True, False, True])
    ),
}


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("name", REVERSED)
def test_reverse_pass_of_a_rule_is_its_gradient_and_can_be_differentiated(name: str, order: int) -> None:
    rule = REVERSED[name]
    line = jets.variable(*_line(), order).requires_grad_()
    inputs = (line,) if name in ("exp", "gelu") else (line, _weight().requires_grad_())
    assert torch.autograd.gradcheck(rule, inputs)
    assert order == 3 or torch.autograd.gradgradcheck(rule, inputs)  # a second long one would show nothing new


@settings(max_examples=30, deadline=None)
@given(order=st.integers(1, 4), dimension=st.integers(1, 3))
def test_mixing_recovers_mixed_derivatives_of_a_polynomial(order: int, dimension: int) -> None:
    indices = jets.directions(order, dimension)
    coefficients = torch.arange(1.0, len(indices) + 1, dtype=torch.float64)
    lines = jets.directions(order + 1, dimension)  # more directions than needed serve as well
    # f(x) = sum_q a_q x^q has D^q f = q! a_q; along v its only Taylor coefficient is sum_q a_q v^q.
    taylor = [
        sum(
            a * math.prod(v**e for v, e in zip(line, q, strict=True))
            for a, q in zip(coefficients.tolist(), indices, strict=True)
        )
        for line in lines
    ]
    found = jets.mixing(order, lines) @ torch.tensor(taylor, dtype=torch.float64)
    factorials = torch.tensor([math.prod(map(math.factorial, q)) for q in indices], dtype=torch.float64)
    torch.testing.assert_close(found, coefficients * factorials, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_rules_run_under_compile(order: int) -> None:
    weight = _weight().float()

    def step(line: Tensor) -> Tensor:
        hidden, memory = jets.gelu(jets.layer_norm(line, weight[0], weight[1])), weight[None, None]
        return jets.attention(hidden[:, None, None], memory, memory)

    start, direction = (part.float() for part in _line())
    line = jets.variable(start, direction, order)
    compiled = torch.compile(step, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(line), step(line))
    # a compiler derives the reverse pass itself, so it is not the same code
    ours, theirs = line.clone().requires_grad_(), line.clone().requires_grad_()
    step(ours).square().sum().backward()
    compiled(theirs).square().sum().backward()
    torch.testing.assert_close(theirs.grad, ours.grad, rtol=1e-4, atol=1e-3)
