"""Promises of the network: P1, P2, P11, P12, joint attention, latents, causality, empty contexts."""

from typing import Any, cast

import pytest
import torch
from torch import Tensor

from cst_lightning import jets
from cst_lightning.network import CSTNetwork
from cst_lightning.points import PointSet, point_set

VARIANTS: dict[str, dict[str, Any]] = {
    "isolated": {},
    "no kernel": {"kernel_frequencies": 0},
    "joint": {"attention": "joint"},
    "latents": {"latents": 5},
    "causal": {"causal": True},
    "plain head": {"residual": False},
    "zero start": {"initialiser": "zero"},
}


@pytest.fixture(autouse=True)
def _double() -> Any:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def network(dimension: int = 2, **options: Any) -> CSTNetwork:
    """Return a small network with a head that is not zero; the last axis repeats if there are several."""
    periodic = tuple(dimension > 1 and axis == dimension - 1 for axis in range(dimension))
    net = CSTNetwork(dimension, 2, periodic, width=16, depth=2, heads=2, frequencies=2, **options).eval()
    torch.nn.init.normal_(net.head.weight, std=0.3)
    return net


def context(dimension: int = 2, count: int = 8, batch: int = 2) -> PointSet:
    """Return a padded context; the second sample has two points fewer."""
    sizes = torch.tensor([count - 2 * (b % 2) for b in range(batch)])
    mask = torch.arange(count)[None] < sizes[:, None]
    return point_set(torch.rand(batch, count, dimension) * 2 - 1, torch.randn(batch, count, 2), mask)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_value_does_not_depend_on_what_else_is_asked(name: str) -> None:
    net, points = network(**VARIANTS[name]), context()
    memory, coords = net.encode(points), torch.rand(2, 7, 2)
    alone = torch.cat([net.query(memory, coords[:, i : i + 1]) for i in range(7)], 1)
    order = torch.randperm(7)
    torch.testing.assert_close(net.query(memory, coords), alone, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(net.query(memory, coords[:, order]), alone[:, order], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("order", [0, 2])
def test_chunks_of_any_size_give_the_same(order: int) -> None:
    net = network()
    memory, coords, lines = net.encode(context()), torch.rand(2, 9, 2), torch.randn(2, 9, 2)
    whole = net.ask(memory, coords, order, lines)
    torch.testing.assert_close(net.ask(memory, coords, order, lines, budget=1), whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", VARIANTS)
def test_context_order_does_not_matter(name: str) -> None:
    net, points, coords = network(**VARIANTS[name]), context(), torch.rand(2, 5, 2)
    order = torch.randperm(8)
    shuffled = PointSet(*(part[:, order] for part in points))
    torch.testing.assert_close(
        net.query(net.encode(shuffled), coords), net.query(net.encode(points), coords), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("name", VARIANTS)
def test_padding_does_not_matter(name: str) -> None:
    net, points, coords = network(**VARIANTS[name]), context(batch=1), torch.rand(1, 5, 2)
    longer = PointSet(*(torch.cat([part, torch.zeros_like(part[:, :3])], 1) for part in points))
    torch.testing.assert_close(
        net.query(net.encode(longer), coords), net.query(net.encode(points), coords), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("dimension", [1, 3])
def test_jets_equal_central_differences_of_one_point_moved_alone(name: str, dimension: int) -> None:
    net = network(dimension, **VARIANTS[name])
    memory = net.encode(context(dimension), torch.rand(2, 3, dimension))
    coords, lines = torch.rand(2, 4, dimension), torch.randn(2, 4, dimension)
    jet = jets.derivatives(net.query(memory, coords, 3, lines))
    # differences of lower orders reach the value itself, which the fused kernel computes on its own
    torch.testing.assert_close(jet[0], net.query(memory, coords), rtol=1e-12, atol=1e-12)
    h = 1e-4

    def lower(t: float) -> Tensor:
        return jets.derivatives(net.query(memory, coords + t * lines, 2, lines))

    for order in (1, 2, 3):
        expected = (lower(h)[order - 1] - lower(-h)[order - 1]).detach() / (2 * h)
        torch.testing.assert_close(jet[order], expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


def plain_layer(layer: Any, tokens: Tensor, places: Tensor, mask: Tensor) -> Tensor:
    """Return what a layer makes of tokens (B, N, W) that all attend to each other, written out without jets."""
    normed = layer.attention_norm(tokens)
    query, key, value = (
        part.unflatten(-1, (layer.heads, -1)).transpose(1, 2)
        for part in (layer.query(normed), *layer.memory(normed).chunk(2, -1))
    )
    kernel = torch.cat([layer.kernel, layer.kernel], -1)
    place = places[:, None, :, : kernel.shape[-1]] * kernel
    logits = query @ key.mT / query.shape[-1] ** 0.5 + place @ place.mT
    read = logits.masked_fill(~mask, -torch.inf).softmax(-1) @ value
    tokens = tokens + layer.out(read.transpose(1, 2).flatten(-2))
    hidden = torch.nn.functional.gelu(layer.expand(layer.feed_norm(tokens)))
    return cast(Tensor, tokens + layer.contract(hidden))


def test_joint_attention_is_self_attention_over_all_tokens() -> None:
    net, points, dummies = network(attention="joint"), context(), torch.rand(2, 6, 2)
    memory = net.encode(points, dummies)
    # Plain self-attention: context and dummy tokens all attend to each other in every layer.
    start = memory.interpolant(dummies[None])
    tokens = torch.cat(
        [
            net.embedding(net.embedding.fourier(points.coords[None]), points.values[None], query=False)[0],
            net.embedding(net.embedding.fourier(dummies[None]), start, query=True)[0],
        ],
        1,
    )
    places = net.places(torch.cat([points.coords, dummies], 1)[None])[0]
    mask = torch.cat([points.mask, points.mask.new_ones(2, 6)], 1)[:, None, None]
    for layer in net.layers:
        tokens = plain_layer(layer, tokens, places, mask)
    tokens = torch.nn.functional.layer_norm(tokens[:, -6:], (16,), net.norm.weight, net.norm.bias)
    torch.testing.assert_close(net.query(memory, dummies), start[0] + net.head(tokens), rtol=1e-12, atol=1e-12)


def test_joint_answers_depend_on_the_dummies_and_isolated_ones_do_not() -> None:
    points, coords = context(), torch.rand(2, 5, 2)
    for name, differs in (("joint", True), ("isolated", False)):
        net = network(attention=name)
        few, many = net.encode(points, torch.rand(2, 1, 2)), net.encode(points, torch.rand(2, 9, 2))
        assert torch.equal(net.query(few, coords), net.query(many, coords)) != differs


@pytest.mark.parametrize("initialiser", ["linear", "pchip", "makima", "cubic", "nearest", "idw", "rbf", "zero"])
def test_untrained_residual_model_equals_its_initialiser(initialiser: str) -> None:
    net = CSTNetwork(1, 2, width=16, depth=2, heads=2, initialiser=initialiser).eval()
    memory, coords = net.encode(context(1)), torch.rand(2, 5, 1)
    assert torch.equal(net.query(memory, coords), net.initial(memory, coords))


def test_periodic_axis_repeats_with_its_derivatives() -> None:
    net = network()
    memory, coords = net.encode(context()), torch.rand(2, 5, 2)
    lines = torch.randn(2, 5, 2)
    shifted = coords + torch.tensor([0.0, 2.0])
    torch.testing.assert_close(
        net.query(memory, shifted, 2, lines), net.query(memory, coords, 2, lines), rtol=1e-9, atol=1e-9
    )


def test_causal_memory_of_the_past_does_not_change_when_the_future_arrives() -> None:
    net = network(1, causal=True, initialiser="zero")
    times = torch.linspace(-1, 1, 8)[None, :, None]
    points = point_set(times, torch.randn(1, 8, 2))
    past = PointSet(*(part[:, :5] for part in points))
    for whole, part in zip(net.encode(points).keys, net.encode(past).keys, strict=True):
        torch.testing.assert_close(whole[:, :, :5], part, rtol=1e-12, atol=1e-12)
    plain = network(1, initialiser="zero")
    assert not torch.allclose(plain.encode(points).keys[1][:, :, :5], plain.encode(past).keys[1])


@pytest.mark.parametrize("name", VARIANTS)
def test_attention_weights_are_a_distribution_over_real_observations(name: str) -> None:
    net, points = network(**VARIANTS[name]), context()
    weights = net.attention(net.encode(points), torch.rand(2, 4, 2))
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, 2, 4))
    assert weights[:, 1, :, :, 6:].abs().max() == 0  # the padding of the second sample
    assert weights[:, :, :, :, :6].min() > 0


def test_attention_weights_are_those_that_make_the_output() -> None:
    net, points, coords = network(), context(), torch.rand(2, 4, 2)
    memory = net.encode(points)
    layer, line = net.layers[0], coords[None]
    tokens, places = net._query_tokens(line, memory.interpolant(line)), net.places(line)
    read = (net.attention(memory, coords)[0] @ memory.values[0]).transpose(-2, -3).flatten(-2)
    hidden = tokens[0] + layer.out(read)
    expected = layer.read(tokens, places, memory.keys[0], memory.values[0], memory.mask)[0]
    found = hidden + layer.contract(torch.nn.functional.gelu(layer.expand(layer.feed_norm(hidden))))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", VARIANTS)
def test_empty_context_gives_finite_values_and_jets(name: str) -> None:
    net = network(**VARIANTS[name])
    empty = point_set(torch.zeros(1, 3, 2), torch.zeros(1, 3, 2), torch.zeros(1, 3, dtype=torch.bool))
    jet = net.query(net.encode(empty), torch.rand(1, 4, 2), 2, torch.rand(1, 4, 2))
    assert jet.isfinite().all()


def test_noise_moves_training_only_and_follows_its_keys() -> None:
    net, points, coords = network(noise=0.5), context(), torch.rand(2, 4, 2)
    keys = torch.tensor([1, 2])
    calm = net.query(net.encode(points, keys=keys), coords, keys=keys)
    net.train()
    noisy = net.query(net.encode(points, keys=keys), coords, keys=keys)
    again = net.query(net.encode(points, keys=keys), coords, keys=keys)
    assert torch.equal(noisy, again)
    assert not torch.allclose(noisy, calm)


def test_dropout_drops_in_training_only() -> None:
    net, points, coords = network(dropout=0.5), context(), torch.rand(2, 4, 2)
    assert torch.equal(net.query(net.encode(points), coords), net.query(net.encode(points), coords))
    net.train()
    assert not torch.equal(net.query(net.encode(points), coords), net.query(net.encode(points), coords))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"width": 10, "heads": 3}, "width"),
        ({"attention": "both"}, "attention"),
        ({"latents": 3, "causal": True}, "latents"),
        ({"initialiser": "spline"}, "spline"),
        ({"initialiser": "cubic"}, "cubic"),
        ({"periodic": (True,)}, "periodic"),
    ],
)
def test_bad_options_name_themselves(options: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        CSTNetwork(2, 1, **options)
