"""A learned baseline is one word in the settings, and gets the whole of `cst-fit`: scores, figures, a run."""

import json
from pathlib import Path

import pytest

from cst_lightning import cli

FLOW = [
    "--data", "NavierStokesDataModule", "--data.resolution", "8", "--data.frames", "4", "--data.scheme", "frames",
    "--data.observed", "3", "--data.context", "[0.5,1.0]", "--data.train", "4", "--data.val", "1", "--data.test", "1",
]  # fmt: skip
CURVES = ["--data", "SpiralsDataModule", "--data.train", "4", "--data.val", "1", "--data.test", "1"]
SHORT = [
    "--trainer.max_epochs",
    "1",
    "--trainer.log_every_n_steps",
    "1",
    "--figures.animate",
    "false",
    "--trainer.enable_progress_bar",
    "false",
]


@pytest.mark.parametrize(
    ("data", "name", "row"),
    [
        (CURVES, "TransformerModule", "Transformer"),
        (CURVES, "ConvGRUModule", "ConvGRU"),
        (FLOW, "FNOModule", "FNO"),
    ],
)
def test_a_run(
    data: list[str],
    name: str,
    row: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.fit([*data, "--model", name, "--model.width", "8", "--name", "short", *SHORT]) == 0
    run = tmp_path / "runs" / "short" / "last"
    assert next(iter(json.loads((run / "metrics.json").read_text())["test"])) == row.lower()
    shown = capsys.readouterr().out
    assert f"│ {row} " in shown
    assert "CST" not in shown
    assert list((run / "figures").glob("*.png"))
