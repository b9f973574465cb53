"""The validator at the boundary, padding and units."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cst_lightning.points import Batch, Normalization, PointSet, pad, point_set, rows


def test_rows_by_number() -> None:
    table = torch.arange(24.0).view(2, 4, 3)
    index = torch.tensor([[3, 0], [1, 1]])
    assert torch.equal(rows(table, index), table.take_along_dim(index[..., None], 1))


def test_finite_sets_are_not_copied() -> None:
    coords, values = torch.zeros(1, 2, 1), torch.ones(1, 2, 1)
    points = point_set(coords, values)
    assert points.coords is coords
    assert points.values is values


def test_nan_in_any_channel_masks_the_point_out() -> None:
    values = torch.tensor([[[1.0, 2.0], [math.nan, 3.0]]])
    points = point_set(torch.ones(1, 2, 1), values)
    assert points.mask.tolist() == [[True, False]]
    assert points.values.tolist() == [[[1.0, 2.0], [0.0, 0.0]]]


@pytest.mark.parametrize(
    ("coords", "values", "words"),
    [
        (torch.zeros(2, 3), torch.zeros(2, 3, 1), r"coords has shape \(2, 3\), expected \(batch, point, dimension\)"),
        (torch.zeros(1, 3, 2), torch.zeros(1, 4, 1), r"values has shape \(1, 4, 1\).*\(1, 3\)"),
        (torch.full((1, 1, 1), math.inf), torch.zeros(1, 1, 1), "coords"),
        (torch.zeros(1, 1, 1), torch.full((1, 1, 1), -math.inf), "values"),
    ],
)
def test_wrong_shapes_and_numbers_are_named(coords: Any, values: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        point_set(coords, values)


@given(sizes=st.lists(st.integers(0, 7), min_size=1, max_size=5))
def test_padding_keeps_every_point_and_adds_none(sizes: list[int]) -> None:
    sets = [PointSet(torch.rand(n, 2), torch.rand(n, 3), torch.ones(n, dtype=torch.bool)) for n in sizes]
    padded = pad(sets)
    assert padded.mask.sum(1).tolist() == sizes
    for row, single in enumerate(sets):
        assert torch.equal(padded.values[row][padded.mask[row]], single.values)


def test_normalised_coordinates_span_the_box_and_come_back() -> None:
    norm = Normalization((10.0, 0.5), (10.0, 0.5), (3.0,), (2.0,))
    corners = torch.tensor([[0.0, 0.0], [20.0, 1.0]])
    assert norm.coords(corners).tolist() == [[-1, -1], [1, 1]]
    torch.testing.assert_close(norm.coords_back(norm.coords(corners)), corners.double())
    assert norm.values_back(norm.values(torch.tensor([[7.0]]))).tolist() == [[7.0]]


def test_unix_seconds_keep_their_milliseconds() -> None:
    start = 1.7e9
    norm = Normalization((start + 5,), (5.0,), (0.0,), (1.0,))
    times = torch.tensor(start + np.array([[0.001], [0.002]]))
    found = norm.coords(times)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found[1] - found[0], torch.tensor([0.0002]), rtol=1e-3, atol=0)


def test_a_batch_is_normalised_everywhere_but_in_its_masks() -> None:
    norm = Normalization((1.0,), (2.0,), (5.0,), (10.0,))
    points = point_set(torch.full((1, 2, 1), 3.0), torch.full((1, 2, 1), 15.0))
    batch = norm.batch(Batch(points, points, torch.full((1, 4, 1), -1.0), torch.tensor([7]), 2))
    assert batch.context.coords.unique().tolist() == [1.0]
    assert batch.target.values.unique().tolist() == [1.0]
    assert batch.dummies.unique().tolist() == [-1.0]
    assert batch.index.tolist() == [7]
    assert batch.frames == 2


def test_a_million_periods_away_a_coordinate_is_the_same() -> None:
    units = Normalization((0.5, 0.5), (0.5, 0.5), (0.0,), (1.0,), periodic=(False, True))
    here = torch.tensor([[0.25, 0.3]], dtype=torch.float64)
    away = here + torch.tensor([0.0, 1e6], dtype=torch.float64)
    torch.testing.assert_close(units.coords(away), units.coords(here), rtol=0, atol=1e-7)
    assert units.coords(here + torch.tensor([3.0, 0.0]))[0, 0] == 5.5  # an axis that does not repeat goes on
