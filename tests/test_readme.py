"""What README says to type works, on small data."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cst_lightning import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SMALL_FLOW = {"resolution": 8, "frames": 4, "observed": 24, "train": 2, "val": 1, "test": 1}


def block(number: int, **replaced: str) -> str:
    """Return one of README's Python blocks with smaller numbers in it."""
    text = re.findall(r"```python\n(.*?)```", README, re.S)[number]
    for old, new in replaced.values():
        assert old in text
        text = text.replace(old, new)
    return str(text)


def test_a_trained_field_is_used_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = [word for key, value in SMALL_FLOW.items() for word in (f"--data.{key}", str(value))]
    model = ["--model.width", "16", "--model.depth", "1", "--model.heads", "2", "--data.batch_size", "2"]
    short = ["--trainer.max_epochs", "1", "--figures.animate", "false", "--data.val_sites", "8"]
    assert cli.fit(["--config", str(ROOT / "conf" / "navier_stokes.yaml"), *options, *model, *short]) == 0
    names: dict[str, Any] = {}
    small = ", ".join(f"{key}={value}" for key, value in SMALL_FLOW.items())
    exec(block(0, data=("observed=256", small)), names)
    assert names["f"](names["query"]).shape == (1, 1)
    assert np.isfinite(names["f"].derivative(names["query"], (0, 1, 1))).all()


def test_the_script_of_ones_own_runs_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    smaller = ("observed=10,", "observed=10, train=4, val=2, test=2,")
    quiet = ("max_epochs=100,", "max_epochs=1, enable_progress_bar=False, logger=False,")
    exec(block(1, data=smaller, time=quiet), names)
    assert "test/r2" in names["trainer"].callback_metrics


def test_every_settings_file_that_is_named_is_there() -> None:
    for name in set(re.findall(r"conf/(\w+\.yaml)", README)) - {"NAME.yaml"}:
        assert (ROOT / "conf" / name).is_file()
