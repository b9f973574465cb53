"""Published tables say what the stored results behind them say."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cst_lightning.benchmark.reading import read
from cst_lightning.benchmark.runner import protocol_hash
from cst_lightning.benchmark.statistics import summarise
from cst_lightning.benchmark.tables import label, number

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
STORED = sorted((RESULTS / "data").glob("*.json"))


def stored(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


# Of one table each: a cell may belong to several tables of a sweep, and those of attention are told by their readings.
ALONE = [path for path in STORED if len(stored(path)["tables"]) == 1]


def lines(text: str) -> list[dict[str, str]]:
    """Return the rows of the whole tables of a document, by the heads of their columns."""
    rows: list[dict[str, str]] = []
    head: list[str] = []
    for line in text.splitlines():
        cells = [cell.strip(" *") for cell in line.split("|")[1:-1]]
        if cells and cells[0] == "method":
            head = cells if "std" in cells else []
        elif head and cells and not cells[0].startswith("-"):
            rows.append(dict(zip(head, cells, strict=True)))
    return rows


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_a_published_table_has_the_stored_numbers(path: Path) -> None:
    results, text = stored(path), (RESULTS / f"{path.stem}.md").read_text()
    score, *others = results["protocol"]["scores"]
    rows = [(row, table["costs"][row["method"]]) for table in results["tables"] for row in table["scores"][score]]
    means = [
        {(name, one["method"]): one["mean"] for name in others for one in table["scores"].get(name, [])}
        for table in results["tables"]
        for _ in table["scores"][score]
    ]
    assert f"Config {results['config_hash']}." in text
    assert f"`{results['command']}`" in text
    tests = [
        {(name, one["method"]): one["p_holm"] for name in others for one in table["scores"].get(name, [])}
        for table in results["tables"]
        for _ in table["scores"][score]
    ]
    for line, (row, cost), other, test in zip(lines(text), rows, means, tests, strict=True):
        names = (label(score), "std", "mean rank", "std over seeds")
        assert [line[name] for name in ("method", "rank", *names)] == [
            row["method"], str(row["rank"]), *(number(row[name]) for name in ("mean", "std", "mean_rank", "seed_std")),
        ]  # fmt: skip
        interval = "-" if row["low"] is None else f"{number(row['low'])} to {number(row['high'])}"
        assert line["95 % interval"] == interval
        assert [line[name] for name in ("p", "p (Holm)")] == [number(row[name], 2) for name in ("p", "p_holm")]
        assert line["against"] == (row["opponent"] or "-")
        assert [line[name] for name in ("s", "s to predict")] == [
            number(cost[name]) for name in ("seconds", "predict_seconds")
        ]
        assert line["MiB"] == f"{cost['memory_mib']:,.0f}"
        assert line["parameters"] == f"{cost['parameters']:,}"
        assert line["steps"] == f"{cost['steps']:,.0f}"
        assert line.get("CPU s", "-") == number(cost.get("cpu_seconds"))
        assert [line[label(name)] for name in others] == [number(other.get((name, row["method"]))) for name in others]
        for name in others:
            told = number(test.get((name, row["method"])), 2)
            assert line.get(f"p of {label(name)}", told) == told  # the oldest tables do not say


@pytest.mark.parametrize("path", ALONE, ids=lambda path: path.stem)
def test_published_statistics_are_those_of_the_stored_cells(path: Path) -> None:
    results = stored(path)
    score = results["protocol"]["scores"][0]
    found: dict[str, dict[int, np.ndarray]] = {}
    for cell in results["cells"]:
        found.setdefault(cell["method"], {})[cell["seed"]] = np.array(cell["scores"][score], dtype=np.float64)
    rows = summarise(found, results["higher_is_better"][score])
    for row, kept in zip(rows, results["tables"][0]["scores"][score], strict=True):
        assert (row.method, row.opponent) == (kept["method"], kept["opponent"])
        for one in ("mean", "std", "low", "high", "p", "p_holm"):
            assert getattr(row, one) == pytest.approx(kept[one], rel=1e-6)


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_what_is_published_is_of_the_protocol_as_it_stands(path: Path) -> None:
    protocol = read(ROOT / "conf" / "bench" / f"{path.stem}.yaml")
    results = stored(path)
    assert results["size"] == "default"
    assert results["config_hash"] == protocol_hash(protocol)
    assert {cell["seed"] for cell in results["cells"]} >= set(protocol.seeds)
    assert not results["failed"]


# of the form 1.51e-4, 0.62, 39.8; whole numbers are counts more often than scores
FRACTION = re.compile(r"(?<![\w.])(\d+)(?:\.(\d+))?(?:e(-?\d+))?(?![\w.]\d)")


def fractions(text: str) -> list[tuple[float, float]]:
    """Return the numbers of a text that are not whole, each with the size of its last digit."""
    found = []
    for match in FRACTION.finditer(text):
        whole, decimals, power = match.group(1), match.group(2) or "", int(match.group(3) or 0)
        if decimals or match.group(3):
            found.append((float(f"{whole}.{decimals or 0}e{power}"), 10.0 ** (power - len(decimals))))
    return found


def page() -> list[tuple[str, str, str]]:
    """Return the table of each row of the list of tables, and what the row says of CST and of the others."""
    rows = [line.split("|")[1:-1] for line in (RESULTS / "tables.md").read_text().splitlines()]
    linked = [(re.fullmatch(r" *\[(\w+)\]\((\w+)\.md\) *", row[0]), row) for row in rows if len(row) == 4]
    return [(match.group(2), row[2], row[3]) for match, row in linked if match]


@pytest.mark.parametrize(("name", "own", "others"), page(), ids=[name for name, *_ in page()])
def test_the_list_says_what_its_tables_say(name: str, own: str, others: str) -> None:
    """Scores of CST are scores of CST, those of others of others, and each p is the corrected one."""
    rows = lines((RESULTS / f"{name}.md").read_text())
    tests = [value for row in rows for value, _ in fractions(row["p (Holm)"])]
    for said, ours in ((own, True), (others, False)):
        there = []
        for row in rows:
            if (row["method"].startswith("cst") and not row["method"].startswith("cst_paper")) == ours:
                head = list(row)
                scores = [head[1], *head[head.index("parameters") + 1 : head.index("mean rank")]]
                scores = [score for score in scores if not score.startswith("p of ")]
                there += [value for score in scores for value, _ in fractions(row[score])]
        for match in re.finditer(r"p = (\S+\d)", said):
            ((value, last),) = fractions(match[1])
            assert any(abs(one - value) <= 0.501 * last for one in tests), match[0]
        for value, last in fractions(re.sub(r"p = \S+", "", said)):
            assert any(abs(scale * one - value) <= 0.501 * last for one in there for scale in (1, 100)), value


def test_the_list_has_every_table() -> None:
    text = (RESULTS / "tables.md").read_text()
    pages = {"README", "tables", "sobolev", "notes"}
    assert all(f"({path.name})" in text for path in RESULTS.glob("*.md") if path.stem not in pages)
    assert len(page()) > 15
