"""Whole frames on a grid: columns of one place's times."""

import numpy as np
import pytest
import torch

from cst_lightning import CSTModule, Field, jets
from cst_lightning.columns import ColumnNetwork
from cst_lightning.interpolate import fit
from cst_lightning.points import PointSet

ROWS, COLUMNS = 3, 4
SMALL = {"width": 16, "depth": 2, "heads": 2, "frequencies": 2, "kernel_frequencies": 2}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(**options: object) -> ColumnNetwork:
    """Return a network whose head is not zero, in double precision."""
    torch.manual_seed(0)
    made = ColumnNetwork(3, 2, (False, True, False), **SMALL | options).double()  # type: ignore[arg-type]
    torch.nn.init.normal_(made.head.weight)
    return made


def frames(times: list[float], seed: int = 0, slots: int = 0) -> PointSet:
    """Return one sample of whole frames in random order, with padding."""
    time = torch.tensor(times, dtype=torch.float64)
    x, y = torch.arange(ROWS).double() * 2 / ROWS - 1, torch.linspace(-1, 1, COLUMNS).double()
    coords = torch.cartesian_prod(time, x, y)
    order = torch.randperm(len(coords), generator=generator(seed))
    values = torch.randn(len(coords), 2, generator=generator(seed + 1), dtype=torch.float64)
    coords, values = (torch.cat([part[order], part.new_zeros(slots, part.shape[1])]) for part in (coords, values))
    return PointSet(coords[None], values[None], torch.arange(len(coords))[None] < len(order))


def queries(count: int, seed: int = 5) -> torch.Tensor:
    return torch.rand(1, count, 3, generator=generator(seed), dtype=torch.float64) * 2 - 1


def test_untrained_it_is_its_initialiser() -> None:
    made = ColumnNetwork(3, 2, (False, True, False), initialiser="place_cubic", **SMALL).double()  # type: ignore[arg-type]
    context, asked = frames([-1.0, -0.2, 0.1, 0.9]), queries(20)
    expected = fit("place_cubic", *context, periods=(None, 2.0, None))(asked[None])[0]
    torch.testing.assert_close(made.query(made.encode(context), asked), expected)
    torch.testing.assert_close(made.initial(made.encode(context), asked), expected)


def test_what_else_is_asked_changes_nothing() -> None:
    made, asked = network(), queries(30)
    memory = made.encode(frames([-1.0, 0.0, 0.5]))
    together = made.query(memory, asked)
    for q in (0, 7, 29):
        torch.testing.assert_close(made.query(memory, asked[:, q : q + 1]), together[:, q : q + 1])


def test_order_and_padding_of_the_observations_change_nothing() -> None:
    made, asked = network(), queries(9)
    one, padded = frames([-1.0, 0.0, 0.5]), frames([-1.0, 0.0, 0.5], slots=ROWS * COLUMNS)
    order = torch.randperm(one.mask.shape[1], generator=generator(9))
    mixed = PointSet(*(part[:, order] for part in one))
    expected = made.query(made.encode(one), asked)
    for other in (padded, mixed):
        torch.testing.assert_close(made.query(made.encode(other), asked), expected)


def test_samples_of_different_lengths_do_not_mix() -> None:
    made, asked = network(), queries(9)
    short, long = frames([-1.0, 0.5], slots=2 * ROWS * COLUMNS), frames([-0.9, -0.1, 0.3, 1.0], 7)
    both = PointSet(*(torch.cat(parts) for parts in zip(short, long, strict=True)))
    found = made.query(made.encode(both), asked.expand(2, -1, -1))
    for b, alone in enumerate((short, long)):
        torch.testing.assert_close(found[b : b + 1], made.query(made.encode(alone), asked))


def test_only_the_neighbourhood_counts() -> None:
    made, context = network(reach=1), frames([-1.0, 0.0, 0.5])
    asked = torch.tensor([[[0.2, -1.0, -1.0]]], dtype=torch.float64)  # in a corner; the first axis wraps around
    before = made.query(made.encode(context), asked)
    for column, counts in ((1, True), (2, False), (3, False)):
        there = context.coords[0, :, 2] == torch.linspace(-1, 1, COLUMNS).double()[column]
        other = context._replace(values=context.values + there[None, :, None])
        after = made.query(made.encode(other), asked)
        assert bool((after - before).abs().max() > 1e-6) is counts


def test_a_shifted_periodic_flow_has_a_shifted_answer_but_for_where_it_is() -> None:
    made, context = network(), frames([-1.0, 0.0, 0.5])
    made.embedding.position.weight.data[:, :] = 0  # the coordinates themselves, and their waves
    for layer in made.blocks:
        layer.kernel.data[:] = 0
    asked = queries(8)
    step = torch.tensor([0.0, 2 / ROWS, 0.0], dtype=torch.float64)
    moved = context.coords + step
    moved[..., 1] = torch.remainder(moved[..., 1] + 1, 2) - 1
    grid = torch.arange(ROWS).double() * 2 / ROWS - 1
    moved[..., 1] = grid[(moved[..., 1:2] - grid).abs().argmin(-1)]  # remainders round
    there = made.query(made.encode(context._replace(coords=moved)), asked + step)
    torch.testing.assert_close(there, made.query(made.encode(context), asked))


def test_jets_are_derivatives_in_time_and_0_in_space() -> None:
    made, asked = network(initialiser="place_makima"), queries(6)
    memory = made.encode(frames([-1.0, -0.4, 0.0, 0.6, 1.0]))
    time = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    jet = jets.derivatives(made.query(memory, asked, 2, time))
    step = 1e-4
    late, now, early = (made.query(memory, asked + n * step * time) for n in (1, 0, -1))
    torch.testing.assert_close(jet[0], now)
    torch.testing.assert_close(jet[1], (late - early) / (2 * step), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(jet[2], (late - 2 * now + early) / step**2, rtol=1e-3, atol=1e-3)
    space = made.query(memory, asked, 1, torch.tensor([0.0, 1.0, 0.5], dtype=torch.float64))[1]
    assert space.abs().max() == 0


def test_attention_is_among_the_frames_of_the_nearest_place() -> None:
    made, context, asked = network(), frames([-1.0, 0.0, 0.5]), queries(5)
    weights = made.attention(made.encode(context), asked)
    assert weights.shape == (2, 1, 2, 5, 3 * ROWS * COLUMNS)
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    places = context.coords[0, :, 1:].unique(dim=0)
    for q in range(5):
        there = context.coords[0, weights[:, 0, :, q].sum((0, 1)) > 0, 1:]
        assert len(there) == 3
        assert len(there.unique(dim=0)) == 1
        apart = (places - asked[0, q, 1:]).abs()
        apart[:, 0] = torch.minimum(apart[:, 0], 2 - apart[:, 0])
        nearest = places[:, 0] == places[apart[:, 0].argmin(), 0]
        assert bool((there[0] == places[nearest][:, :]).all(1).any())


def test_scattered_points_are_refused() -> None:
    context = frames([-1.0, 0.0, 0.5])
    mask = context.mask.clone()
    mask[0, 3] = False
    with pytest.raises(ValueError, match=r"reach is 1, .* expected multiples of 12 observations .* found 35"):
        network().encode(context._replace(mask=mask))


def test_the_observations_of_a_sample_are_checked_before_training() -> None:
    context = frames([-1.0, 0.0, 0.5])
    network().check(PointSet(*(part[0] for part in context)))
    with pytest.raises(ValueError, match="found 35"):
        network().check(PointSet(*(part[0, 1:] for part in context)))


def test_two_points_for_one_are_no_frame() -> None:
    context = frames([-1.0, 0.0, 0.5])
    coords = context.coords.clone()
    coords[0, 0] = coords[0, 1]
    with pytest.raises(ValueError, match="whole frames of one grid"):
        network().encode(context._replace(coords=coords))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"latents": 4}, "latents is 4, expected 0 with reach"),
        ({"noise": 0.1}, "noise is 0.1, expected 0.0 with reach"),
        ({"attention": "joint"}, "attention is 'joint', expected 'isolated' with reach"),
        ({"initialiser": "idw"}, "initialiser is 'idw', expected one of place_linear"),
        ({"reach": -1}, "reach is -1, expected at least 1"),
    ],
)
def test_what_does_not_go_with_columns_is_refused(options: dict[str, object], line: str) -> None:
    with pytest.raises(ValueError, match=line):
        CSTModule(3, 1, **{"reach": 1, "width": 8, "heads": 2} | options)  # type: ignore[arg-type]


def test_a_field_takes_frames_and_answers_at_any_time() -> None:
    module = CSTModule(3, 2, [False, True, False], reach=1, initialiser="place_linear", **SMALL).double()  # type: ignore[arg-type]
    context = frames([-1.0, 0.0, 1.0])
    field = Field.of(module).observe(context.coords[0].numpy(), context.values[0].numpy())
    here, times = context.coords[0, :1], np.linspace(-1, 1, 7)
    mine = (context.coords[0, :, 1:] == here[:, 1:]).all(1)
    order = context.coords[0, mine, 0].argsort()
    known, values = context.coords[0, mine, 0][order].numpy(), context.values[0, mine][order].numpy()
    expected = np.stack([np.interp(times, known, channel) for channel in values.T], -1)
    asked = np.concatenate([times[:, None], here[:, 1:].expand(7, 2).numpy()], 1)
    np.testing.assert_allclose(field(asked), expected, atol=1e-12)
