"""Initialisers against scipy, and their jets against scipy's derivatives and central differences."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import interpolate as reference

from cst_lightning import jets, scatter
from cst_lightning.interpolate import ALONG_TIME, KINDS, default, fit

KINDS_AND_DIMENSIONS = [(kind, d) for d in (1, 2) for kind in sorted(KINDS) if d == 1 or kind not in ALONG_TIME]
REFERENCES = {
    "pchip": reference.PchipInterpolator,
    "makima": lambda t, u: reference.Akima1DInterpolator(t, u, method="makima", extrapolate=True),
    "cubic": reference.CubicSpline,
}


def points(counts, dimension=1, channels=2, slots=None, seed=0, dtype=torch.float64):
    """Shuffled, padded samples with the given numbers of real points; rubbish in the padding."""
    generator = torch.Generator().manual_seed(seed)
    slots = max(counts) if slots is None else slots
    coords = torch.rand(len(counts), slots, dimension, generator=generator, dtype=torch.float64) * 2 - 1
    values = torch.randn(len(counts), slots, channels, generator=generator, dtype=torch.float64)
    ranks = torch.stack([torch.randperm(slots, generator=generator) for _ in counts])
    return coords.to(dtype), values.to(dtype), ranks < torch.tensor(counts)[:, None]


def queries(batch, number, dimension=1, seed=1, reach=0.95):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(batch, number, dimension, generator=generator, dtype=torch.float64) * 2 - 1) * reach


def line(x, seed=2, order=3):
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)
    return jets.variable(x, direction, order)


def sorted_sample(coords, values, mask, b):
    order = coords[b, mask[b], 0].argsort()
    return coords[b, mask[b], 0][order].numpy(), values[b, mask[b]][order].numpy()


def central_difference(function, query, order):
    """The order-th Taylor coefficient from the one below, three points either side: error O(h^6)."""
    step, total = 1e-3, 0.0
    for shift, weight in ((1, 45.0), (2, -9.0), (3, 1.0)):
        for sign in (1, -1):
            moved = jets.variable(query[0] + sign * shift * step * query[1], query[1], order - 1)
            total = total + sign * weight * function(moved)[order - 1]
    return total / (60 * step * order)


@pytest.mark.parametrize("kind", sorted(REFERENCES))
@settings(max_examples=15, deadline=None)
@given(counts=st.lists(st.integers(2, 12), min_size=1, max_size=4), seed=st.integers(0, 10**6))
def test_pieces_and_their_derivatives_are_scipy_s(kind, counts, seed):
    sample = points(counts, slots=13, seed=seed)
    x = queries(len(counts), 17, seed=seed, reach=1.0)
    found = jets.derivatives(fit(kind, *sample)(jets.variable(x, torch.ones(1, dtype=x.dtype), 3)))
    for b in range(len(counts)):
        times, values = sorted_sample(*sample, b)
        inside = ((x[b, :, 0] > times[0]) & (x[b, :, 0] < times[-1])).numpy()
        function = REFERENCES[kind](times, values)
        for order in range(4):
            expected = function(x[b, :, 0].numpy(), order)[inside]
            # Rounding of crowded values is magnified by their distance to the power of the order, in scipy too.
            size = np.abs(values).max() / min(1, np.diff(times).min()) ** order
            np.testing.assert_allclose(found[order, b].numpy()[inside], expected, rtol=1e-9, atol=1e-11 * size)


def test_linear_is_numpy_s():
    sample, x = points([2, 5, 9]), queries(3, 40, reach=1.5)
    found = fit("linear", *sample)(x[None])[0]
    for b in range(3):
        times, values = sorted_sample(*sample, b)
        for channel in range(2):
            expected = np.interp(x[b, :, 0].numpy(), times, values[:, channel])
            np.testing.assert_allclose(found[b, :, channel].numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("kind", ["pchip", "makima", "cubic"])
def test_smooth_kinds_go_on_straight_with_the_end_slope(kind):
    sample = points([7])
    times, values = sorted_sample(*sample, 0)
    found = fit(kind, *sample)(
        jets.variable(torch.tensor([[[times[-1] + 2.0]]]), torch.ones(1, dtype=torch.float64), 2)
    )
    slope = REFERENCES[kind](times, values)(times[-1], 1)
    expected = np.stack([values[-1] + 2 * slope, slope, 0 * slope])
    np.testing.assert_allclose(found[:, 0, 0].numpy(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("end", [0, -1])
def test_at_the_ends_the_inner_piece_gives_the_derivatives(end):
    sample = points([6])
    times, values = sorted_sample(*sample, 0)
    found = fit("cubic", *sample)(jets.variable(torch.tensor([[[times[end]]]]), torch.ones(1, dtype=torch.float64), 2))
    expected = [reference.CubicSpline(times, values)(times[end], n) for n in range(3)]
    np.testing.assert_allclose(jets.derivatives(found)[:, 0, 0].numpy(), expected, rtol=1e-8)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_rbf_is_scipy_s(dimension):
    coords, values, mask = points([6, 12, 20], dimension)
    x = queries(3, 15, dimension)
    found = fit("rbf", coords, values, mask)(x[None])[0]
    for b in range(3):
        expected = reference.RBFInterpolator(coords[b, mask[b]].numpy(), values[b, mask[b]].numpy())(x[b].numpy())
        np.testing.assert_allclose(found[b].numpy(), expected, atol=1e-10)


def test_rbf_on_a_periodic_axis_is_scipy_s_on_the_circle():
    coords, values, mask = points([14], 2)
    x = queries(1, 15, 2)
    found = fit("rbf", coords, values, mask, (None, 2.0))(x[None])[0, 0]

    def wound(c):
        angle = np.pi * c[:, 1]
        return np.stack([c[:, 0], np.cos(angle) / np.pi, np.sin(angle) / np.pi], 1)

    expected = reference.RBFInterpolator(wound(coords[0].numpy()), values[0].numpy())(wound(x[0].numpy()))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("power", [1.0, 2.0, 3.0, 4.0, 7.5])
def test_idw_is_its_formula(power):
    coords, values, mask = points([3, 9], 3)
    x = queries(2, 8, 3)
    weights = torch.cdist(x, coords) ** -power * mask[:, None]
    expected = (weights @ values) / weights.sum(-1, keepdim=True)
    found = fit("idw", coords, values, mask, power=power)(x[None])[0]
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-10)


def test_idw_of_neighbours_ignores_the_rest():
    coords, values, mask = points([9], 2)
    x = queries(1, 8, 2)
    distance, index = torch.cdist(x, coords).topk(4, largest=False)
    weights = distance**-2.0
    expected = (weights[..., None] * values[0][index]).sum(-2) / weights.sum(-1, keepdim=True)
    found = fit("idw", coords, values, mask, power=2.0, neighbors=4)(x[None])[0]
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-10)


def test_nearest_goes_the_short_way_round():
    coords = torch.tensor([[[0.05, 0.5], [0.6, 0.5]]])
    values = torch.tensor([[[1.0], [2.0]]])
    function = fit("nearest", coords, values, torch.ones(1, 2, dtype=torch.bool), (1.0, None))
    assert function(torch.tensor([[[[0.95, 0.5], [0.4, 0.5]]]])).flatten().tolist() == [1.0, 2.0]


@pytest.mark.parametrize("periods", [(None, None), (2.0, None)])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("options", [{}, {"power": 2.0}, {"power": 3.0}, {"neighbors": 6}])
def test_idw_jets_are_central_differences(options, order, periods):
    function = fit("idw", *points([11, 8], 2), periods, **options)
    query = line(queries(2, 6, 2, seed=4))
    expected = central_difference(function, query, order)
    torch.testing.assert_close(function(query)[order], expected, rtol=1e-6, atol=1e-6 * expected.abs().max().item())


@pytest.mark.parametrize("periods", [(None, None), (2.0, None)])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_rbf_jets_are_central_differences(order, periods):
    function = fit("rbf", *points([11, 8], 2), periods)
    query = line(queries(2, 6, 2, seed=4))
    expected = central_difference(function, query, order)
    torch.testing.assert_close(function(query)[order], expected, rtol=1e-6, atol=1e-6 * expected.abs().max().item())


@pytest.mark.parametrize(("kind", "dimension"), [("cubic", 1), ("idw", 2), ("rbf", 2)])
def test_a_curved_query_is_composed(kind, dimension):
    function = fit(kind, *points([9], dimension))
    curve = torch.randn(4, 1, 5, dimension, generator=torch.Generator().manual_seed(5), dtype=torch.float64) * 0.3
    t = 1e-3

    def value(s):
        return function(sum(c * s**n for n, c in enumerate(curve))[None])[0]

    expected = (value(t) - 2 * value(0.0) + value(-t)) / (2 * t * t)
    torch.testing.assert_close(function(curve)[2], expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())


@pytest.mark.parametrize("order", [0, 1, 2, 5])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_shapes_and_lower_orders_do_not_depend_on_the_order(kind, order):
    function = fit(kind, *points([5, 3], channels=3))
    query = line(queries(2, 4), order=order)
    out = function(query)
    assert out.shape == (order + 1, 2, 4, 3)
    torch.testing.assert_close(out[0], function(query[:1])[0], atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("kind", [kind for kind in sorted(KINDS) if kind not in ("zero", "gp")])
def test_exact_at_the_data_with_finite_derivatives(kind):
    coords, values, mask = points([3, 9, 6])
    out = fit(kind, coords, values, mask)(line(coords))
    assert out[:, mask].isfinite().all()
    torch.testing.assert_close(out[0][mask], values[mask], atol=1e-12, rtol=1e-12)


def test_idw_derivatives_at_the_data_are_those_beside_it():
    coords, values, mask = points([9], 2)
    function = fit("idw", coords, values, mask, power=2.0)
    beside = line(coords + 1e-7 / 3)
    torch.testing.assert_close(function(line(coords))[2], function(beside)[2], rtol=1e-4, atol=1e-4)


def test_thin_plate_slopes_at_the_data_are_those_beside_it():
    coords, values, mask = points([9], 2)
    function = fit("rbf", coords, values, mask)
    torch.testing.assert_close(function(line(coords))[1], function(line(coords + 1e-9))[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_padding_changes_nothing(kind, dtype):
    coords, values, mask = points([6], slots=11, dtype=dtype)
    query = line(queries(1, 9)).to(dtype)
    alone = fit(kind, coords[:, mask[0]], values[:, mask[0]], mask[:, mask[0]])(query)
    assert alone.dtype == dtype
    close = 1e-4 if kind == "gp" and dtype == torch.float32 else 1e-6  # its weights cancel
    torch.testing.assert_close(fit(kind, coords, values, mask)(query), alone, rtol=close, atol=close)


@pytest.mark.parametrize(("kind", "dimension"), KINDS_AND_DIMENSIONS)
def test_the_order_of_the_context_changes_nothing(kind, dimension):
    coords, values, mask = points([6, 9], dimension)
    query, shuffled = line(queries(2, 9, dimension)), torch.randperm(9, generator=torch.Generator().manual_seed(3))
    expected = fit(kind, coords, values, mask)(query)
    found = fit(kind, coords[:, shuffled], values[:, shuffled], mask[:, shuffled])(query)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_queries_do_not_know_of_each_other(kind):
    function, query = fit(kind, *points([6])), line(queries(1, 9))
    torch.testing.assert_close(function(query)[:, :, 3:4], function(query[:, :, 3:4]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", [kind for kind in sorted(KINDS) if kind != "zero"])
def test_repeated_coordinates_are_averaged(kind):
    coords, values, mask = points([5])
    query = line(queries(1, 7))
    twice = torch.cat([coords, coords[:, :2]], 1), torch.cat([values + 1, values[:, :2] - 1], 1)
    once = torch.cat([values[:, :2], values[:, 2:] + 1], 1)
    found = fit(kind, *twice, torch.ones(1, 7, dtype=torch.bool))(query)
    torch.testing.assert_close(found, fit(kind, coords, once, mask)(query), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("kind", "dimension"), KINDS_AND_DIMENSIONS)
def test_an_empty_sample_gives_zero_and_one_point_a_constant(kind, dimension):
    coords, values, mask = points([0, 1], dimension, slots=2)
    out = fit(kind, coords, values, mask)(line(queries(2, 5, dimension)))
    expected = torch.zeros_like(out)
    expected[0, 1] = 0 if kind == "zero" else values[1][mask[1]]
    if kind == "gp":  # what it makes of one point is in tests/test_smoothers.py
        out, expected = out[:, :1], expected[:, :1]
    torch.testing.assert_close(out, expected, atol=1e-12, rtol=1e-12)


def test_no_slots_at_all_give_zero():
    empty = torch.zeros(2, 0, 1), torch.zeros(2, 0, 3), torch.zeros(2, 0, dtype=torch.bool)
    assert all(not fit(kind, *empty)(torch.ones(1, 2, 4, 1)).any() for kind in KINDS)


@pytest.mark.parametrize("number", [2, 3, 4, 5, 20])
@pytest.mark.parametrize("kind", ["linear", "pchip", "makima", "cubic", "rbf"])
def test_straight_lines_are_reproduced(kind, number):
    coords, _, mask = points([number, 2])
    inside = queries(2, 6) * 0
    inside = inside + (coords * mask[..., None]).sum(1, keepdim=True) / mask.sum(1)[:, None, None]
    out = fit(kind, coords, 3 * coords - 1, mask)(jets.variable(inside, torch.ones(1, dtype=torch.float64), 2))
    expected = torch.stack([3 * inside - 1, torch.full_like(inside, 3.0), torch.zeros_like(inside)])
    torch.testing.assert_close(out, expected, atol=1e-8, rtol=1e-8)


def test_thin_plates_on_a_line_are_constant_across_it():
    along = torch.linspace(-1, 1, 5, dtype=torch.float64)
    coords = torch.stack([along, 2 * along], -1)[None]
    out = fit("rbf", coords, along[None, :, None], torch.ones(1, 5, dtype=torch.bool))(coords[None] + 0.0)
    torch.testing.assert_close(out[0], along[None, :, None], atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_period_wraps_values_and_derivatives(kind):
    function, query = fit(kind, *points([7, 3]), (2.5,)), line(queries(2, 9))
    torch.testing.assert_close(function(jets.shift(query, torch.tensor(-7.5))), function(query), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("kind", ["pchip", "makima", "cubic"])
def test_a_periodic_time_has_no_seam(kind):
    function = fit(kind, *points([6]), (2.5,))
    edge = torch.tensor([[[0.0]], [[2.5 - 1e-9]]], dtype=torch.float64)
    left, right = (function(jets.variable(x[None], torch.ones(1, dtype=torch.float64), 1)) for x in edge)
    torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [kind for kind in sorted(KINDS) if kind != "zero"])
def test_values_receive_exact_gradients(kind):
    coords, values, mask = points([5, 1, 4], channels=1)
    query = line(queries(3, 3), order=2)
    assert torch.autograd.gradcheck(lambda u: fit(kind, coords, u, mask)(query), values.requires_grad_())


@pytest.mark.parametrize("kind", [kind for kind in sorted(KINDS) if kind != "zero"])
def test_flat_data_have_finite_gradients(kind):
    coords, values, mask = points([5, 0], slots=6)
    values = torch.zeros_like(values).requires_grad_()
    fit(kind, coords, values, mask)(line(queries(2, 3))).sum().backward()
    assert values.grad.isfinite().all()


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_close_points_in_single_precision_stay_finite(kind):
    coords, values, mask = points([8], dtype=torch.float32)
    coords[:, 1] = coords[:, 0] + 1e-7
    query = line(torch.cat([coords, coords + 3e-8], 1), order=2)
    assert fit(kind, coords, values, mask)(query).isfinite().all()


def test_the_chord_measures_small_steps_like_the_axis():
    wound = scatter.wind(torch.tensor([[[0.3], [0.3001]]], dtype=torch.float64)[None], (2.0,))[0, 0]
    assert (wound[1] - wound[0]).norm().item() == pytest.approx(1e-4, rel=1e-7)


def test_an_unknown_kind_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="initialiser is 'spline', expected one of linear, pchip, makima, cubic"):
        fit("spline", *points([3]))


def test_a_kind_along_time_is_refused_in_space():
    with pytest.raises(ValueError, match="'cubic' needs 1 coordinate and got 2, expected one of nearest, idw, rbf"):
        fit("cubic", *points([3], 2))


@pytest.mark.parametrize("options", [{"power": 0.0}, {"neighbors": 0}])
def test_impossible_weights_are_refused(options):
    with pytest.raises(ValueError, match="expected positive numbers"):
        fit("idw", *points([3], 2), **options)


def test_periods_must_match_the_coordinates():
    with pytest.raises(ValueError, match="periods has 1 entries, expected 2"):
        fit("idw", *points([3], 2), (1.0,))


@pytest.mark.parametrize("dimension", [1, 2, 4])
def test_the_default_suits_the_dimension(dimension):
    assert fit(default(dimension), *points([4], dimension))(queries(1, 2, dimension)[None]).isfinite().all()


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_kind_is_one_graph(kind):
    sample, query = points([5, 3]), line(queries(2, 4), order=2)
    torch.compiler.reset()  # the kinds share one line of code, and a compiler gives up after a few versions of it
    compiled = torch.compile(lambda *given: fit(kind, *given[:3], (2.0,))(given[3]), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*sample, query), fit(kind, *sample, (2.0,))(query))
