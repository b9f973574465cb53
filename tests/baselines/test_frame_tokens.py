"""Whole frames as tokens: cells are found again, order counts for nothing, slopes are right, and it learns."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from cst_lightning import jets
from cst_lightning.baselines.frame_tokens import CSTFramesModule, FrameTokens
from cst_lightning.baselines.transformer import TransformerModule
from cst_lightning.interpolate import fit
from cst_lightning.network import CSTNetwork
from cst_lightning.points import Batch, PointSet
from cst_lightning.randomness import sample_keys

ROWS, COLUMNS = 3, 4
SMALL: dict[str, Any] = {"width": 16, "depth": 1, "heads": 2}
MODELS = [
    lambda data, **options: TransformerModule(3, 1, data.periodic, [8, 8, 4], frames=True, **options),
    lambda data, **options: CSTFramesModule(3, 1, data.periodic, [8, 4], **options),
]


def network(**options: Any) -> FrameTokens:
    """Return a network of two channels on 3 x 4 cells, the first axis of which repeats, in double precision."""
    torch.manual_seed(0)
    inner = CSTNetwork(1, 2 * ROWS * COLUMNS, **{**SMALL, "residual": False, "initialiser": "linear", **options})
    return FrameTokens(inner, (ROWS, COLUMNS), (False, True, False)).double()


def frames(*times: float) -> PointSet:
    """Return one sample of whole frames in order; a value says where it is."""
    x, y = torch.arange(ROWS).double() * 2 / ROWS - 1, torch.linspace(-1, 1, COLUMNS).double()
    coords = torch.cartesian_prod(torch.tensor(times, dtype=torch.float64), x, y)
    values = torch.stack([coords.sum(1), coords @ torch.tensor([1.0, -2, 3], dtype=torch.float64)], 1)
    return PointSet(coords[None], values[None], torch.ones(1, len(coords), dtype=torch.bool))


def queries(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return 2 * torch.rand(1, count, 3, generator=generator, dtype=torch.float64) - 1


def test_untrained_it_is_the_line_in_time_of_the_nearest_place() -> None:
    made, context, asked = network(residual=True), frames(-1.0, 0.2, 1.0), queries(40)
    expected = fit("place_linear", *context, periods=(None, 2.0, None))(asked[None])[0]
    memory = made.encode(context)
    torch.testing.assert_close(made.query(memory, asked), expected)
    torch.testing.assert_close(made.initial(memory, asked), expected)


def test_order_of_points_and_padding_change_nothing() -> None:
    made, context, asked = network(), frames(-1.0, 0.2, 1.0), queries(9)
    expected = made.query(made.encode(context), asked)
    order = torch.randperm(context.mask.shape[1], generator=torch.Generator().manual_seed(1))
    mixed = PointSet(*(part[:, order] for part in context))
    padded = PointSet(*(torch.cat([part, torch.zeros_like(part)], 1) for part in context))
    for other in (mixed, padded):
        torch.testing.assert_close(made.query(made.encode(other), asked), expected)


def test_order_of_questions_changes_nothing() -> None:
    made, asked = network(), queries(9)
    memory = made.encode(frames(-1.0, 0.2, 1.0))
    torch.testing.assert_close(made.query(memory, asked.flip(1)), made.query(memory, asked).flip(1))


def test_chunks_change_nothing() -> None:
    made, asked = network(), queries(30)
    memory = made.encode(frames(-1.0, 0.2, 1.0))
    torch.testing.assert_close(made.ask(memory, asked, budget=1), made.query(memory, asked))


def test_jets_are_slopes_in_time_and_nothing_in_space() -> None:
    made, asked, eps = network(), queries(9), 1e-5
    memory = made.encode(frames(-1.0, 0.2, 1.0))
    lines = torch.tensor([0.5, 2.0, -1.0], dtype=torch.float64).expand_as(asked)
    first = jets.derivatives(made.query(memory, asked, 2, lines))[1]
    later, sooner = (made.query(memory, asked + torch.tensor([step, 0, 0])) for step in (eps, -eps))
    torch.testing.assert_close(first, 0.5 * (later - sooner) / (2 * eps), rtol=1e-6, atol=1e-8)


def test_sobolev_term_is_of_all_cells_at_the_dummies_times() -> None:
    module = CSTFramesModule(3, 2, (False, True, False), [ROWS, COLUMNS], mu=0.1, order=1, **SMALL).double()
    torch.nn.init.normal_(module.network.inner.head.weight)
    context, target = frames(-1.0, 0.2, 1.0), frames(0.5)
    batch = Batch(context, target, queries(4), torch.arange(1))
    memory = module.network.encode(context)
    places = target.coords[0].repeat(4, 1)
    places[:, 0] = batch.dummies[0, :, 0].repeat_interleave(ROWS * COLUMNS)
    ahead = torch.tensor([1.0, 0, 0], dtype=torch.float64).expand(1, *places.shape)
    expected = module.network.query(memory, places[None], 1, ahead)[1].square().mean()
    found = module.terms(batch, sample_keys(0, 0, batch.index))
    torch.testing.assert_close(found.sobolev, expected)


@pytest.mark.parametrize(("make", "name"), list(zip(MODELS, ["transformer", "cst_frames"], strict=True)))
def test_it_learns(make: Callable[..., Any], name: str, waves: Callable[..., Any], train: Callable[..., Any]) -> None:
    data = waves(batch_size=8, supervision="dense", dense_points=256)
    scores = train(lambda: make(data, width=32, depth=1, heads=2, lr=1e-2), data, 25)[name]
    assert scores["r2"] > 0.4  # curves in time at each place, its start, have -0.13


@pytest.mark.parametrize("make", MODELS, ids=["transformer", "cst"])
def test_scattered_points_are_refused_in_one_line(
    make: Callable[..., Any], waves: Callable[..., Any], train: Callable[..., Any]
) -> None:
    data = waves(scheme="points", observed=64, keep_ends=False, context_ends=False)
    with pytest.raises(ValueError, match=r"^frames are tokens, for which every sample's observations have to be whole"):
        train(lambda: make(data, **SMALL), data, 1)


def test_frames_of_another_size_are_refused() -> None:
    made = FrameTokens(CSTNetwork(1, 2 * 4, **SMALL), (2, 2), (False, True, False)).double()
    with pytest.raises(ValueError, match="frames are tokens of 2 x 2 cells, expected such frames, found 3 x 4 cells"):
        made.encode(frames(0.0, 1.0))


@pytest.mark.parametrize(("dimension", "cells"), [(1, []), (3, [4]), (2, [0])])
def test_cells_are_one_number_a_space_axis(dimension: int, cells: list[int]) -> None:
    with pytest.raises(ValueError, match="frames have"):
        CSTFramesModule(dimension, 1, cells=cells, **SMALL)


def test_a_field_gives_values_and_slopes() -> None:
    module = CSTFramesModule(2, 1, cells=[3], initialiser="linear", **SMALL)
    coords = np.array([[t, x] for t in (-1.0, 1.0) for x in (-1.0, 0.0, 1.0)])
    field = module.field(coords, 2 * coords[:, :1] + coords[:, 1:])
    np.testing.assert_allclose(field(np.array([[0.25, 0.9]])), [[1.5]], atol=1e-6)
    np.testing.assert_allclose(field.derivative(np.array([[0.25, 0.9]]), (1, 0)), [[2.0]], atol=1e-5)
