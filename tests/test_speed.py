"""The speed report runs, writes what it says, and its methods compute the same thing."""

import json
from pathlib import Path

import pytest
import torch

from cst_lightning.benchmark import speed


def test_report_is_written_in_full(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert speed.main(["--quick", "--out", str(tmp_path)]) == 0
    tables = json.loads((tmp_path / "speed.json").read_text())
    assert len(tables) == 5
    assert all(len(row) == len(table["head"]) for table in tables for row in table["rows"])
    text = (tmp_path / "speed.md").read_text()
    assert "nested autograd.grad" in text
    assert "nested autograd.grad" in capsys.readouterr().out


@pytest.mark.slow
def test_a_million_queries_take_less_than_a_gibibyte() -> None:
    (row,) = speed.growth("Queries", [(1_000_000, 256, 0)], 1).rows
    assert 0 < int(row[-1]) < 1024


@pytest.mark.parametrize("order", [1, 2])
def test_nested_reverse_mode_and_jets_agree_on_the_loss(order: int) -> None:
    net, context = speed.network(), speed.points(1, 12)
    coords, lines = torch.rand(4, 6, 1), torch.ones(4, 6, 1)
    ours = speed.jet_step(net, context, coords, lines, order)
    theirs = speed.nested_step(net, context, coords, lines, order)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=0)
