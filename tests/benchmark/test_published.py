"""Published tables say what the stored results behind them say."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cst_lightning.benchmark.tables import number

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
STORED = sorted((RESULTS / "data").glob("*.json"))


def stored(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def means(text: str) -> list[tuple[str, str]]:
    """Return method and first score of each row of the whole tables of a document."""
    rows: list[tuple[str, str]] = []
    whole = False
    for line in text.splitlines():
        cells = [cell.strip(" *") for cell in line.split("|")[1:-1]]
        if cells and cells[0] == "method":
            whole = "std" in cells
        elif whole and cells and not cells[0].startswith("-"):
            rows.append((cells[0], cells[1]))
    return rows


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_a_published_table_has_the_stored_numbers(path: Path) -> None:
    results, text = stored(path), (RESULTS / f"{path.stem}.md").read_text()
    score = results["protocol"]["scores"][0]
    expected = [(row["method"], number(row["mean"])) for table in results["tables"] for row in table["scores"][score]]
    assert f"Config {results['config_hash']}." in text
    assert f"`{results['command']}`" in text
    assert means(text) == expected


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_what_is_published_is_of_the_protocol_as_it_stands(path: Path) -> None:
    protocol = yaml.safe_load((ROOT / "conf" / "bench" / f"{path.stem}.yaml").read_text())
    results = stored(path)
    assert results["size"] == "default"
    found = set(results["protocol"]["methods"])  # of attention the ways of reading as well
    assert found >= set(protocol["methods"])
    assert {cell["method"] for cell in results["cells"]} <= found
    assert {cell["seed"] for cell in results["cells"]} >= set(protocol["seeds"])
    assert not results["failed"]
