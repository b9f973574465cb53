"""Whole frames on a grid: columns of one place's times."""

import numpy as np
import pytest
import torch

from cst_lightning import CSTModule, Field, jets
from cst_lightning.columns import ColumnNetwork
from cst_lightning.frames import find_frames
from cst_lightning.interpolate import fit
from cst_lightning.points import Batch, PointSet

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


def test_only_neighbourhoods_that_overlap_count() -> None:
    made, context = network(reach=1), frames([-1.0, 0.0, 0.5])
    asked = torch.tensor([[[0.2, -1.0, -1.0]]], dtype=torch.float64)  # in a corner; the first axis wraps around
    before = made.query(made.encode(context), asked)
    for column, counts in ((1, True), (2, True), (3, False)):
        there = context.coords[0, :, 2] == torch.linspace(-1, 1, COLUMNS).double()[column]
        other = context._replace(values=context.values + there[None, :, None])
        after = made.query(made.encode(other), asked)
        assert bool((after - before).abs().max() > 1e-6) is counts


def whole(made: ColumnNetwork, count: int = 0, key: int = 1) -> Batch:
    """Return columns of a sample of three frames, and two further frames as targets."""
    batch = Batch(frames([-1.0, 0.0, 0.5], 0, 5), frames([-0.4, 0.7], 3), queries(4), torch.tensor([7]))
    return made.lesson(batch, torch.tensor([key]), count)


@pytest.mark.parametrize(("reach", "answers"), [(1, None), (1, 0), (2, 1)])
def test_a_value_is_the_mean_of_what_columns_say_that_answer_for_it(reach: int, answers: int | None) -> None:
    made, context = network(reach=reach, answer_reach=answers), frames([-1.0, 0.0, 0.5])
    columns, far = whole(made), reach if answers is None else answers
    said = made.query(made.encode(columns.context), columns.target.coords)
    said = said.unflatten(-1, (2 * far + 1, 2 * far + 1, 2))  # (S, F', i, j, c)
    target = frames([-0.4, 0.7], 3)
    found = made.query(made.encode(context), target.coords)[0]
    step = torch.tensor([2 / ROWS, 2 / (COLUMNS - 1)], dtype=torch.float64)
    for q, (time, *place) in enumerate(target.coords[0]):
        said_here = []
        for s in range(len(said)):
            apart = (torch.stack(place) - columns.context.coords[s, 0, 1:]) / step
            apart[0] = torch.remainder(apart[0] + 1, ROWS) - 1  # the first axis wraps around
            i, j = (int(n) for n in apart.round())
            if max(abs(i), abs(j)) <= far:
                said_here.append(said[s, int(time > 0), i + far, j + far])
        assert len(said_here) in ((6, 9) if far else (1,))
        torch.testing.assert_close(found[q], torch.stack(said_here).mean(0))


def test_columns_have_what_is_around_a_place_in_shown_frames_and_in_targets() -> None:
    columns = whole(network())
    assert columns.context.values.shape == (12, 3, 18)
    assert columns.target.values.shape == (12, 2, 18)
    for points, given in ((columns.context, frames([-1.0, 0.0, 0.5])), (columns.target, frames([-0.4, 0.7], 3))):
        for s in range(12):
            for frame in range(points.values.shape[1]):
                at = points.coords[s, frame]
                there = (given.coords[0] - at).abs().sum(1).argmin()
                torch.testing.assert_close(points.values[s, frame, 8:10], given.values[0, there])  # the middle cell
    there = columns.context.coords[:, 0, 1:]
    assert len(there.unique(dim=0)) == 12
    assert (columns.dummies[..., 1:] == there[:, None]).all()
    assert len(columns.index.unique()) == 12
    edge = columns.context.values[there[:, 1] == -1].unflatten(-1, (3, 3, 2))
    torch.testing.assert_close(edge[..., 0, :], edge[..., 1, :])  # beyond it is the edge again


def test_a_column_reads_farther_than_it_answers_for() -> None:
    near, far = (whole(network(reach=2, answer_reach=answers)) for answers in (1, None))
    assert near.context.values.shape == far.context.values.shape == (12, 3, 50)
    middle = far.target.values.unflatten(-1, (5, 5, 2))[..., 1:4, 1:4, :].flatten(-3)
    torch.testing.assert_close(near.target.values, middle)
    made = network(reach=2, answer_reach=1, initialiser="place_linear")
    torch.nn.init.zeros_(made.head.weight)
    start = made.query(made.encode(near.context), near.target.coords)  # of the cells that it answers for
    early, late = (near.context.values.unflatten(-1, (5, 5, 2))[:, frame, 1:4, 1:4].flatten(-3) for frame in (0, 1))
    torch.testing.assert_close(start[:, 0], 0.4 * early + 0.6 * late)


def test_a_step_takes_other_columns_each_time() -> None:
    made = network()
    drawn = [whole(made, 4, key).context.coords[:, 0, 1:] for key in (1, 1, 2)]
    assert drawn[0].shape == (4, 2)
    assert (drawn[0] == drawn[1]).all()
    assert not (drawn[0] == drawn[2]).all()


def test_columns_have_no_derivatives_in_space_either() -> None:
    made = network(initialiser="place_makima")
    columns = whole(made)
    memory = made.encode(columns.context)
    lines = torch.tensor([0.0, 1.0, 0.5], dtype=torch.float64).expand_as(columns.dummies)
    assert made.query(memory, columns.dummies, 1, lines)[1].abs().max() == 0
    assert made.query(memory, columns.dummies, 1, lines + 1)[1].abs().max() > 0


@pytest.mark.parametrize(("order", "answers"), [(0, None), (2, None), (1, 0)])
def test_chunks_change_nothing(order: int, answers: int | None) -> None:
    made, grid = network(answer_reach=answers, initialiser="place_cubic"), frames([-0.4, 0.7, 0.9], 3).coords
    memory = made.encode(frames([-1.0, 0.0, 0.5, 1.0]))
    for asked in (grid, queries(11)):
        lines = torch.randn(asked.shape, generator=generator(2), dtype=torch.float64) if order else None
        expected = made.query(memory, asked, order, lines)
        for budget in (1, 2**14, 2**17):
            torch.testing.assert_close(made.initial(memory, asked, budget), made.initial(memory, asked))
            torch.testing.assert_close(made.ask(memory, asked, order, lines, budget), expected)


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
    with pytest.raises(ValueError, match=r"reach is 1, .* expected multiples of 12 points .* found 35"):
        network().encode(context._replace(mask=mask))


def test_the_observations_of_a_sample_are_checked_before_training() -> None:
    context = frames([-1.0, 0.0, 0.5])
    good, bad = (PointSet(*(part[0, first:] for part in context)) for first in (0, 1))
    network().check(good, good)
    with pytest.raises(ValueError, match=r"every sample's observations .* found 35$"):
        network().check(bad, good)
    other = good._replace(coords=good.coords + torch.tensor([0.0, 0.0, 0.1]))
    one_row = good._replace(mask=good.coords[:, 1] == -1)
    for targets, sides in ((other, "3 x 4 and 3 x 4"), (one_row, "3 x 4 and 1 x 4")):
        with pytest.raises(ValueError, match=f"at the places of the observations.* found {sides} places"):
            network().check(good, targets)
    with pytest.raises(ValueError, match=r"every sample's targets .* found 35; dense supervision .* dense_points"):
        network().check(good, bad)


@pytest.mark.parametrize("slots", [0, 2 * ROWS * COLUMNS, 7])
def test_points_in_order_are_found_as_any_others_are(slots: int) -> None:
    mixed = frames([0.5, -1.0, 0.0], slots=slots)
    by_time = np.lexsort(mixed.coords[0, : 3 * ROWS * COLUMNS].numpy().T[::-1])
    order = torch.cat([torch.from_numpy(by_time), torch.arange(len(by_time), mixed.mask.shape[1])])
    tidy = PointSet(*(part[:, order] for part in mixed))
    late_first = PointSet(*(torch.cat([part[:, 12:36], part[:, :12], part[:, 36:]], 1) for part in tidy))
    for points in (tidy, late_first, mixed):
        found = find_frames(points, "reach is 1")
        assert found.order.shape == (1, 3, ROWS * COLUMNS)
        there = points.coords[0][found.order[0]]
        assert (there[:, 0, 0] == torch.tensor([-1.0, 0.0, 0.5])).all()
        expected = torch.cartesian_prod(*found.axes)
        assert (there[..., 1:] == expected).all()
        assert found.real.all()


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
        ({"answer_reach": 2}, "answer_reach is 2, expected 0 to 1, which is reach"),
        ({"answer_reach": -1}, "answer_reach is -1, expected 0 to 1, which is reach"),
        ({"answer_reach": 1, "reach": 0}, "answer_reach is 1, expected none without reach"),
        ({"columns": -1}, "columns is -1, expected at least 0"),
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


def test_it_learns_waves_that_travel() -> None:
    torch.manual_seed(0)
    grid, times = torch.arange(8) / 4 - 1.0, torch.linspace(-1, 1, 9)

    def frames_of(chosen: torch.Tensor, phase: torch.Tensor) -> PointSet:
        coords = torch.cartesian_prod(times[chosen], grid)
        values = torch.sin(torch.pi * (coords[:, 1] - 2 * coords[:, 0]) + phase[:, None])
        count = len(coords)
        return PointSet(coords.expand(len(phase), -1, -1), values[..., None], torch.ones(len(phase), count) > 0)

    made = ColumnNetwork(2, 1, (False, True), reach=1, initialiser="place_linear", **SMALL)  # type: ignore[arg-type]
    shown, asked = torch.tensor([0, 2, 4, 6, 8]), torch.tensor([1, 3, 5, 7])
    optimizer = torch.optim.Adam(made.parameters(), 1e-2)
    for step in range(150):
        phase = 6.28 * torch.rand(16, generator=generator(step))
        batch = Batch(frames_of(shown, phase), frames_of(asked, phase), torch.zeros(16, 1, 2), torch.arange(16))
        columns = made.lesson(batch, torch.arange(16) + 100 * step, 2)
        said = made.query(made.encode(columns.context), columns.target.coords)
        loss = (said - columns.target.values).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    truth, memory = frames_of(asked, torch.tensor([0.5])), made.encode(frames_of(shown, torch.tensor([0.5])))
    before, after = (
        (found - truth.values).square().mean()
        for found in (made.initial(memory, truth.coords), made.query(memory, truth.coords))
    )
    assert after < 0.02 * before
