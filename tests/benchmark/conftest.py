"""A small comparison, and a way to run it without starting processes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from cst_lightning.benchmark.cells import Outcome, attempt
from cst_lightning.benchmark.observations import load
from cst_lightning.benchmark.protocol import Case, Protocol
from cst_lightning.benchmark.reading import read

SMALL = {"width": 8, "depth": 1, "heads": 2, "frequencies": 2, "kernel_frequencies": 2, "initialiser": "linear"}
WHOLE: dict[str, Any] = {
    "name": "mini",
    "about": "A try.",
    "data": {
        "class_path": "SpiralsDataModule",
        "init_args": {
            "train": 6, "val": 2, "test": 5, "points": 20, "split": "ordered", "observed": 6, "keep_ends": True,
            "dummies": 3, "batch_size": 3, "eval_batch_size": 2,
        },
    },
    "budget": {"steps": 2},
    "seeds": [1, 2],
    "scores": ["mse", "nmse", "slope", "roughness"],
    "methods": {
        "linear": {"interpolation": "linear"},
        "same": {"interpolation": {"class_path": "cst_lightning.baselines.interpolation.Linear"}},
        "cst": {"model": {"class_path": "CSTModule", "init_args": SMALL}},
    },
}  # fmt: skip


def written(folder: Path, **changes: Any) -> Protocol:
    """Return the comparison with some changes, as read from a file."""
    path = folder / "mini.yaml"
    path.write_text(yaml.safe_dump({**WHOLE, **changes}, sort_keys=False))
    return read(path)


def model(name: str) -> dict[str, Any]:
    """Return a method of `tests.benchmark.methods`."""
    return {"model": {"class_path": f"tests.benchmark.methods.{name}"}}


class Here:
    """Runs cells in this process and counts them."""

    def __init__(self) -> None:
        self.run: list[str] = []

    def __call__(self, spec: Mapping[str, Any]) -> Outcome:
        case = Case(**spec["case"])
        self.run.append(case.method)
        outcome = attempt(case, load(Path(spec["observations"]))[spec["group"]])
        if outcome.result is not None:
            import json

            Path(spec["out"]).write_text(json.dumps(outcome.result))
        return outcome


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Here:
    """Work in a folder of one's own, where caches go too."""
    monkeypatch.chdir(tmp_path)
    return Here()
