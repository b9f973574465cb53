"""Initialisers along time at fixed places, against those of one dimension, which are checked against scipy."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cst_lightning import jets
from cst_lightning.interpolate import fit

KINDS = ("linear", "pchip", "makima", "cubic")


def generator(seed):
    return torch.Generator().manual_seed(seed)


def series(counts, seed=0, channels=2, slots=0):
    """Places with the given numbers of points each, shuffled; rubbish in the padding."""
    sites = torch.rand(len(counts), 2, generator=generator(seed), dtype=torch.float64)
    place = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    size = max(len(place) + slots, 1)
    coords = torch.rand(size, 3, generator=generator(seed + 1), dtype=torch.float64) * 2 - 1
    coords[: len(place), 1:] = sites[place]
    values = torch.randn(size, channels, generator=generator(seed + 2), dtype=torch.float64)
    order = torch.randperm(size, generator=generator(seed + 3))
    return coords[order], values[order], (torch.arange(size) < len(place))[order], sites


@settings(max_examples=20, deadline=None)
@given(counts=st.lists(st.integers(1, 7), min_size=1, max_size=5), seed=st.integers(0, 10**6))
def test_more_channels_than_points_have_the_curves_of_each(counts, seed):
    coords, values, mask, _ = series(counts, seed, channels=sum(counts) + 4, slots=2)
    query = torch.rand(1, 1, 30, 3, generator=generator(seed), dtype=torch.float64) * 2.6 - 1.3
    together = fit("place_cubic", coords[None], values[None], mask[None])(query)
    for channel in range(values.shape[1]):
        alone = fit("place_cubic", coords[None], values[None, :, channel, None], mask[None])(query)
        torch.testing.assert_close(together[..., channel, None], alone, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20, deadline=None)
@given(counts=st.lists(st.integers(1, 7), min_size=1, max_size=5), seed=st.integers(0, 10**6))
def test_each_place_has_the_curve_of_its_own_points(kind, counts, seed):
    coords, values, mask, sites = series(counts, seed, slots=2)
    function = fit(f"place_{kind}", coords[None], values[None], mask[None])
    times = torch.linspace(-1.3, 1.3, 27, dtype=torch.float64)
    for site in sites:
        mine = mask & (coords[:, 1:] == site).all(1)
        alone = fit(kind, coords[None, mine, :1], values[None, mine], mask[None, mine])
        query = torch.cat([times[:, None], site.expand(27, 2)], 1)
        one = torch.ones(1, dtype=torch.float64)
        moving = torch.tensor([1.0, 0.3, -0.2], dtype=torch.float64)
        found = function(jets.variable(query[None], moving, 3))
        expected = alone(jets.variable(times[None, :, None], one, 3))
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8 * expected.abs().max().item())


@pytest.mark.parametrize("kind", KINDS)
def test_at_the_data_it_is_the_data(kind):
    coords, values, mask, _ = series([4, 1, 6])
    found = fit(f"place_{kind}", coords[None], values[None], mask[None])(coords[None, None])[0, 0]
    torch.testing.assert_close(found, values)


def test_samples_of_a_batch_do_not_mix():
    samples = [series([3, 5], 0), series([8], 10), series([1, 1, 6], 20)]
    batch = [torch.stack([sample[part] for sample in samples]) for part in range(3)]
    query = torch.rand(3, 9, 3, generator=generator(5), dtype=torch.float64)
    together = fit("place_cubic", *batch)(query[None])[0]
    for b in range(3):
        alone = fit("place_cubic", *(part[b : b + 1] for part in batch))(query[None, b : b + 1])[0]
        torch.testing.assert_close(together[b : b + 1], alone)


def test_the_nearest_place_answers():
    coords = torch.tensor([[[0.0, 0.0], [0.0, 1.0]]])
    function = fit("place_linear", coords, torch.tensor([[[1.0], [2.0]]]), torch.ones(1, 2, dtype=torch.bool))
    assert function(torch.tensor([[[[0.5, 0.4], [0.5, 0.6], [0.5, 9.0]]]])).flatten().tolist() == [1, 2, 2]


def test_the_nearest_place_is_found_the_short_way_round():
    coords = torch.tensor([[[0.0, -0.9], [0.0, 0.5]]])
    values, mask = torch.tensor([[[1.0], [2.0]]]), torch.ones(1, 2, dtype=torch.bool)
    query = torch.tensor([[[[0.0, 0.95]]]])
    found = [fit("place_linear", coords, values, mask, periods)(query).item() for periods in (None, (None, 2.0))]
    assert found == [2, 1]


def test_repeated_observations_are_averaged():
    coords = torch.tensor([[[0.0, 0.5], [0.0, 0.5], [1.0, 0.5]]])
    values, mask = torch.tensor([[[1.0], [3.0], [4.0]]]), torch.ones(1, 3, dtype=torch.bool)
    assert fit("place_linear", coords, values, mask)(torch.tensor([[[[0.5, 0.5]]]])).item() == 3


def test_an_empty_sample_gives_zero():
    coords, values = torch.rand(1, 4, 3), torch.rand(1, 4, 2)
    found = fit("place_pchip", coords, values, torch.zeros(1, 4, dtype=torch.bool))(torch.rand(3, 1, 5, 3))
    assert (found == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_differentiable_in_the_values(kind):
    coords, values, mask, _ = series([3, 4], channels=1)
    query = torch.rand(1, 1, 6, 3, generator=generator(9), dtype=torch.float64)

    def evaluate(u):
        return fit(f"place_{kind}", coords[None], u[None], mask[None])(query)

    assert torch.autograd.gradcheck(evaluate, values.clone().requires_grad_())


@pytest.mark.parametrize("kind", KINDS)
def test_time_may_wrap(kind):
    coords, values, mask, sites = series([5, 4], channels=1)
    function = fit(f"place_{kind}", coords[None], values[None], mask[None], (2.0, None, None))
    times = torch.linspace(-3, 3, 40, dtype=torch.float64)
    alone = mask & (coords[:, 1:] == sites[0]).all(1)
    one = fit(kind, coords[None, alone, :1], values[None, alone], mask[None, alone], (2.0,))
    query = torch.cat([times[:, None], sites[0].expand(40, 2)], 1)
    torch.testing.assert_close(function(query[None, None]), one(times[None, None, :, None]))


def test_distances_are_taken_in_parts(monkeypatch):
    coords, values, mask, _ = series([2] * 20)
    query = torch.rand(1, 1, 50, 3, generator=generator(1), dtype=torch.float64)
    whole = fit("place_linear", coords[None], values[None], mask[None])(query)
    monkeypatch.setattr("cst_lightning.places._AT_ONCE", 40)
    torch.testing.assert_close(fit("place_linear", coords[None], values[None], mask[None])(query), whole)
