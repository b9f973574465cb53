"""The Transformer on a table of positions: snaps to entries, has no slope, learns."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cst_lightning.baselines.transformer import PositionTable, TransformerModule, TransformerNetwork
from cst_lightning.datamodules import SpiralsDataModule
from cst_lightning.points import PointSet

SMALL: dict[str, Any] = {"width": 16, "depth": 1, "heads": 2, "residual": False}


@settings(max_examples=30, deadline=None)
@given(st.floats(-3, 3), st.integers(2, 40), st.booleans())
def test_nearest_entry_is_nearest(x: float, entries: int, periodic: bool) -> None:
    table = PositionTable([entries], [periodic], 4)
    lines = -1 + 2 * np.arange(entries) / (entries if periodic else entries - 1)
    distance = np.abs(lines - x)
    if periodic:
        distance = np.abs((lines - x + 1) % 2 - 1)
    found = int(table.places(torch.tensor([x], dtype=torch.float64)))
    assert distance[found] <= distance.min() + 1e-5


def test_entries_are_the_lines_of_a_grid_of_as_many() -> None:
    table = PositionTable([5, 4], [False, True], 4)
    grid = torch.cartesian_prod(torch.linspace(-1, 1, 5), torch.tensor([-1, -0.5, 0, 0.5]))
    torch.testing.assert_close(table.snapped(grid), grid)
    assert len(table.places(grid).unique(dim=0)) == 20


def test_between_two_entries_the_nearest_one_answers() -> None:
    field = TransformerModule(1, 1, entries=11, **SMALL).field(np.array([-1.0, 0.2, 1.0]), np.array([0.0, 3.0, 1.0]))
    answers = field(np.array([0.31, 0.4, 0.49, 0.51, 0.6]))
    np.testing.assert_allclose(answers[[0, 2, 3]], answers[[1, 1, 4]], atol=1e-6)
    assert abs(answers[1] - answers[4]) > 1e-3


def test_it_has_no_slope() -> None:
    field = TransformerModule(1, 1, entries=11, **SMALL).field(np.array([-1.0, 0.2, 1.0]), np.array([0.0, 3.0, 1.0]))
    assert (field.derivative(np.linspace(-1, 1, 7), (1,)) == 0).all()


def test_untrained_it_is_its_initialiser_at_the_entries() -> None:
    field = TransformerModule(1, 1, entries=11, initialiser="linear", width=16, heads=2).field(
        np.array([-1.0, 1.0]), np.array([0.0, 2.0])
    )
    np.testing.assert_allclose(field(np.array([-0.98, 0.07, 0.23])), [[0.0], [1.0], [1.2]], atol=1e-6)


def test_it_learns(train: Callable[..., Any], tmp_path: Any) -> None:
    data = SpiralsDataModule(
        train=48, val=2, test=8, points=20, observed=8, keep_ends=True, context_ends=True, target="masked",
        batch_size=16, cache_dir=tmp_path,
    )  # fmt: skip
    options = {**SMALL, "lr": 1e-2}
    scores = train(lambda: TransformerModule(1, 2, entries=20, **options), data, 30)["transformer"]
    assert scores["r2"] > 0.7


def reference(network: TransformerNetwork) -> nn.TransformerEncoder:
    """Return torch's pre-norm encoder with the weights of a network of width 16 and 4 heads."""
    layer = nn.TransformerEncoderLayer(16, 4, 64, 0.0, "gelu", batch_first=True, norm_first=True)
    made = nn.TransformerEncoder(layer, len(network.blocks), nn.LayerNorm(16), enable_nested_tensor=False).double()
    for theirs, ours in zip(made.layers, network.blocks, strict=True):
        parts = {
            "self_attn.in_proj_weight": torch.cat([ours.query.weight, ours.memory.weight]),
            "self_attn.in_proj_bias": torch.cat([ours.query.bias, ours.memory.bias]),
        }
        named = {"self_attn.out_proj": ours.out, "linear1": ours.expand, "linear2": ours.contract,
                 "norm1": ours.attention_norm, "norm2": ours.feed_norm}  # fmt: skip
        parts |= {f"{name}.{key}": value for name, part in named.items() for key, value in part.state_dict().items()}
        theirs.load_state_dict(parts)
    return made


def test_its_layers_are_those_of_torch() -> None:
    torch.manual_seed(0)
    network = TransformerNetwork(
        1, 2, entries=9, width=16, depth=3, heads=4, residual=False, initialiser="linear"
    ).double()
    coords = torch.linspace(-1, 1, 9, dtype=torch.float64)[None, :, None].expand(2, -1, -1)
    mask = torch.arange(9) < torch.tensor([[9], [6]])
    seen = PointSet(coords, torch.randn(2, 9, 2, dtype=torch.float64), mask)
    tokens = network.embedding(network.table(coords[None]), seen.values[None], query=False)[0]
    expected = network.head(reference(network)(tokens, src_key_padding_mask=~mask))
    # a question where something was observed has that observation's token, and reads what that one reads
    found = network.query(network.encode(seen), coords)
    torch.testing.assert_close(found[mask], expected[mask])


def test_entries_are_one_number_an_axis() -> None:
    with pytest.raises(ValueError, match="entries is"):
        TransformerModule(2, 1, entries=[4], **SMALL)
