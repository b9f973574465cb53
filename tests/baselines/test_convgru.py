"""ConvGRU: its cell is torch's, it wraps where space wraps, and it learns."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from cst_lightning.baselines.convgru import ConvGRUCell, ConvGRUModule, ConvGRUNetwork, WrappedConv


def test_cell_of_one_place_is_the_gru_of_torch() -> None:
    torch.manual_seed(0)
    cell, reference = ConvGRUCell(3, 5, 1, (False, False)).double(), torch.nn.GRU(3, 5, batch_first=True).double()
    for conv, weight, bias in (
        (cell.input, reference.weight_ih_l0, reference.bias_ih_l0),
        (cell.state, reference.weight_hh_l0, reference.bias_hh_l0),
    ):
        conv.weight.data, conv.bias.data = weight.data[..., None, None], bias.data
    frames = torch.randn(2, 7, 3, dtype=torch.float64)
    torch.testing.assert_close(cell(frames[..., None, None])[..., 0, 0], reference(frames)[0])


def test_convolution_wraps_the_axis_that_repeats_only() -> None:
    conv = WrappedConv(1, 1, 3, (True, False))
    picture = torch.randn(1, 1, 6, 5)
    torch.testing.assert_close(conv(picture.roll(2, 2)), conv(picture).roll(2, 2))
    assert not torch.allclose(conv(picture.roll(2, 3)), conv(picture).roll(2, 3))


def test_frames_hear_of_the_past_and_of_the_future() -> None:
    network = ConvGRUNetwork(2, 1, (False, False), width=4, residual=False)
    filled, seen = torch.randn(1, 5, 6, 1, requires_grad=True), torch.ones(1, 5, 6, 1)
    network.frames(filled, seen)[0, 2].sum().backward()
    assert (filled.grad[0].abs().sum((1, 2)) > 0).all()


def test_a_block_is_read_as_one_and_comes_back_to_its_place() -> None:
    network = ConvGRUNetwork(3, 2, (False,) * 3, width=4, kernel=1, residual=False, patch=2)
    network.place([torch.linspace(-1, 1, n) for n in (3, 4, 6)])
    filled, seen = torch.randn(1, 3, 4, 6, 2, requires_grad=True), torch.ones(1, 3, 4, 6, 1)
    network.frames(filled, seen)[0, 1, 2, 5].sum().backward()
    heard = filled.grad[0].abs().sum((0, -1)) > 0
    assert heard.nonzero().tolist() == [[2, 4], [2, 5], [3, 4], [3, 5]]


def test_a_frame_that_blocks_do_not_fill_is_refused() -> None:
    network = ConvGRUNetwork(3, 1, (False,) * 3, width=4, patch=2)
    with pytest.raises(ValueError, match="patch is 2, expected a divisor of both sides of a frame, 4 x 5 cells"):
        network.place([torch.linspace(-1, 1, n) for n in (3, 4, 5)])


def test_it_learns_what_lines_between_frames_miss(waves: Callable[..., Any], train: Callable[..., Any]) -> None:
    data = waves()
    scores = train(lambda: ConvGRUModule(3, 1, data.periodic, width=16, lr=1e-2, residual=False), data, 25)["convgru"]
    assert scores["r2"] > 0.8


@pytest.mark.parametrize(
    ("options", "word"), [({"kernel": 2}, "odd"), ({"patch": 0}, "patch"), ({"dimension": 4}, "2 space axes")]
)
def test_what_it_cannot_do_is_said(options: dict[str, int], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        ConvGRUModule(**{"dimension": 3, "channels": 1, **options})
