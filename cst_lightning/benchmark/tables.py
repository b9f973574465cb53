"""Tables of a comparison: for people in a terminal, for a document, and every number as JSON."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table

from cst_lightning.benchmark import machine
from cst_lightning.benchmark.observations import portable
from cst_lightning.benchmark.protocol import Protocol
from cst_lightning.benchmark.scoring import IDEAL, LABELS
from cst_lightning.benchmark.statistics import INTERVAL, Row, means, summarise

#: Finished cells of one table: by method, then by seed.
Cells = Mapping[str, Mapping[int, Mapping[str, Any]]]
_SIGNIFICANT = 0.05


class Report(NamedTuple):
    """A comparison as far as it is finished.

    Attributes:
        protocol: what was compared.
        digest: hash of the protocol.
        tables: one a value of the sweep, in their order.
        directions: for each score, whether more is better; the first one ranks.
        left_out: methods without a package, and the line that installs it.
        failed: cells and the reason.
        command: that was typed.
        remarks: lines on what was found, below the tables.
        examples: attention weights to be drawn, by model; see `upsampling`.
    """

    protocol: Protocol
    digest: str
    tables: list[dict[str, dict[int, dict[str, Any]]]]
    directions: dict[str, bool]
    left_out: dict[str, str]
    failed: dict[str, str]
    command: str
    remarks: tuple[str, ...] = ()
    examples: Mapping[str, Any] | None = None

    @property
    def score(self) -> str:
        """The score that ranks."""
        return self.protocol.scores[0]

    def rows(self, number: int = 0, score: str | None = None) -> list[Row]:
        """Return the table of one value of the sweep, by one score."""
        score = score or self.score
        ideal = IDEAL.get(score)
        return summarise(_scores(self.tables[number], score), self.directions.get(score, False), ideal)


def results(report: Report) -> dict[str, Any]:
    """Return everything as plain JSON: the protocol, every cell with every sample's scores, and the tables."""
    protocol = report.protocol
    tables = []
    for number, value in enumerate(protocol.values):
        names = [name for name in report.directions if any(_scores(report.tables[number], name).values())]
        table = {name: [_plain(row._asdict()) for row in report.rows(number, name)] for name in names}
        costs = {name: _plain(cost) for name, cost in _costs(report.tables[number]).items()}
        tables.append({"value": value, "scores": table, "costs": costs})
    cells = {id(cell): cell for table in report.tables for seeds in table.values() for cell in seeds.values()}
    found = {
        "name": protocol.name,
        "size": protocol.size,
        "command": report.command,
        "protocol": portable({**protocol._asdict(), "sweep": protocol.sweep and protocol.sweep._asdict()}),
        "config_hash": report.digest,
        "interval": INTERVAL,
        "test": "two-sided Wilcoxon signed-rank against the best other method, Holm-corrected within the table",
        "higher_is_better": report.directions,
        "tables": tables,
        "cells": list(cells.values()),
        "left_out": report.left_out,
        "failed": report.failed,
        "versions": machine.versions(),
    }
    plain: dict[str, Any] = json.loads(json.dumps(found, default=str))
    return plain


def document(report: Report) -> str:
    """Return the Markdown file."""
    protocol = report.protocol
    lines = [f"# {protocol.name} ({protocol.size})", ""]
    if protocol.about:
        size = "" if protocol.size == "default" else " The numbers in this sentence are those of the default size."
        lines += [protocol.about + size, ""]
    lines += [f"`{report.command}`", "", *_circumstances(report), ""]
    if protocol.sweep is None:
        lines += _markdown(*_whole_table(report, 0, True))
    else:
        lines += [f"{label(report.score)} against {protocol.sweep.label}:", ""]
        lines += _markdown(*_sweep_table(report))
        for number, value in enumerate(protocol.values):
            lines += ["", f"## {protocol.sweep.key} = {value}", "", *_markdown(*_whole_table(report, number, True))]
    return "\n".join([*lines, "", *notes(report)]).rstrip() + "\n"


def terminal(report: Report) -> list[Table]:
    """Return the tables for a rich console: one, or of a sweep the overview and then one a value."""
    protocol, sweep = report.protocol, report.protocol.sweep
    title = f"{protocol.name} ({protocol.size})"
    if sweep is None:
        return [_rich(title, INTERVAL, *_whole_table(report, 0, False))]
    overview = _rich(title, f"{label(report.score)} against {sweep.label}", *_sweep_table(report))
    places = enumerate(protocol.values)
    return [overview, *(_rich(f"{sweep.key} = {v}", INTERVAL, *_whole_table(report, n, False)) for n, v in places)]


def notes(report: Report) -> list[str]:
    """Return lines on what is missing and on what must not be read from the table, for Markdown and terminal."""
    lines = [f"Left out: {name}. {reason}" for name, reason in report.left_out.items()]
    lines += [f"Failed: {name}. {reason}" for name, reason in report.failed.items()]
    wanted = len(report.protocol.seeds)
    short = {n: len(s) for table in report.tables for n, s in table.items() if len(s) < wanted}
    lines += [f"Incomplete: {name} has {count} of {wanted} seeds." for name, count in short.items()]
    cells = [cell for table in report.tables for seeds in table.values() for cell in seeds.values()]
    if len(states := Counter(cell["code"] for cell in cells)) > 1:
        (most, _), *_ = states.most_common(1)
        other = ", ".join(dict.fromkeys(cell["method"] for cell in cells if cell["code"] != most))
        lines.append(f"Cells of {other} were run with another state of the code than most; --again runs all of them.")
    machines = {json.dumps({**cell["machine"], "threads": 0}, sort_keys=True) for cell in cells}
    if len(machines) > 1:
        lines.append("These cells were run on different machines: times cannot be compared.")
    if len(threads := {cell["machine"]["threads"] for cell in cells if cell["steps"]}) > 1:
        counts = ", ".join(map(str, sorted(threads)))
        lines.append(f"Learned methods were run with {counts} threads: what fits in a time differs; --again evens it.")
    return [f"- {line}" for line in (*report.remarks, *lines)]


def label(score: str) -> str:
    """Return the head of a score's column."""
    return LABELS.get(score, score)


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with so many digits, "-" if there is none."""
    if value is None or not math.isfinite(value):
        return "-"
    if value == 0:
        return "0"
    if 1e-2 <= abs(value) < 10**digits:
        return f"{value:#.{digits}g}".removesuffix(".")
    return f"{value:.{digits - 1}e}".replace("e-0", "e-").replace("e+0", "e")


def _whole_table(report: Report, place: int, full: bool) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of one table; the best value of a column is between asterisks."""
    rows, cells = report.rows(place), report.tables[place]
    costs = _costs(cells)
    others = [name for name in report.directions if name != report.score]
    columns = {name: _means(cells, name) for name in others}
    best = {name: _best(list(columns[name].values()), report.directions[name], name) for name in others}
    head = ["method", label(report.score), "std", "95 % interval", "rank", "p (Holm)"]
    head += ["s", "s to predict", "MiB", "parameters"]
    if full:
        tests = {name: {row.method: row.p_holm for row in report.rows(place, name)} for name in others}
        head += [text for name in others for text in (label(name), f"p of {label(name)}")]
        head += ["mean rank", "std over seeds", "against", "p", "steps", "CPU s"]
    made = []
    for row in rows:
        cost = costs[row.method]
        line = [row.method, _mark(number(row.mean), row.rank == 1), number(row.std), _range(row), str(row.rank)]
        line += [number(row.p_holm, 2)]
        line += [number(cost["seconds"]), number(cost["predict_seconds"])]
        line += [f"{cost['memory_mib']:,.0f}", f"{cost['parameters']:,}"]
        if full:
            for n in others:
                line += [_mark(number(columns[n][row.method]), columns[n][row.method] == best[n])]
                line += [number(tests[n].get(row.method), 2)]
            line += [number(row.mean_rank), number(row.seed_std), row.opponent or "-", number(row.p, 2)]
            line += [f"{cost['steps']:,.0f}", number(cost["cpu_seconds"])]
        made.append(line)
    return head, made


def _rich(title: str, caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    made = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    for number, name in enumerate(head):
        made.add_column(name, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        made.add_row(*(_bold(cell, "[bold]", "[/bold]") for cell in row))
    return made


def _sweep_table(report: Report) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the overview of a sweep: a method a row, a value a column."""
    tables = [{row.method: row for row in report.rows(n)} for n in range(len(report.tables))]
    head = ["method", *(str(value) for value in report.protocol.values)]
    made = []
    for name in report.protocol.methods:
        found = [table.get(name) for table in tables]
        if any(found):
            # the best of a column only, and a star if no other is as good by the corrected test
            made.append([name, *("-" if row is None else _mark(_starred(row), row.rank == 1) for row in found)])
    return head, made


def _starred(row: Row) -> str:
    return number(row.mean) + ("*" if row.rank == 1 and row.p_holm < _SIGNIFICANT else "")


def _circumstances(report: Report) -> list[str]:
    """Say under which conditions the figures were taken."""
    protocol = report.protocol
    cells = [cell for table in report.tables for seeds in table.values() for cell in seeds.values()]
    budget = "none" if protocol.budget is None else f"{protocol.budget} for each learned method and seed"
    lines = [f"Budget: {budget}. Seeds: {', '.join(map(str, protocol.seeds))}."]
    if cells:
        one = max(cells, key=lambda cell: cell["parameters"])
        where = ", ".join(f"{name} {value}" for name, value in one["machine"].items())
        used = ", ".join(_used(cells))
        lines += [f"Test samples: {_samples(report)}. Machine: {where}.", f"Versions: {used}."]
    lines += [
        f"Mean and standard deviation over test samples, seeds averaged first; interval: {INTERVAL}. p: two-sided",
        "Wilcoxon signed-rank test of each method against the best other one by that score, Holm-corrected within the",
        "table. s: training, or tuning, of one seed, wall time; s to predict: all test samples, without training all",
        "the work on them; CPU s: processor time of training; MiB: peak of the process, libraries included; medians",
        "over seeds.",
    ]
    return [*lines, f"Config {report.digest}."]


def _samples(report: Report) -> str:
    """Say how many test samples there are, for each value of a sweep if that makes a difference."""
    protocol = report.protocol
    counts = {
        str(value): len(cell["index"])
        for value, table in zip(protocol.values, report.tables, strict=True)
        for seeds in table.values()
        for cell in seeds.values()
    }
    if protocol.sweep is None or len(set(counts.values())) == 1:
        return str(next(iter(counts.values())))
    (first, count), *others = counts.items()
    return ", ".join([f"{count} at {protocol.sweep.key} = {first}", *(f"{n} at {value}" for value, n in others)])


def _used(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return packages and versions; a cell knows those that it imported itself."""
    found: dict[str, dict[str, None]] = {}
    for cell in sorted(cells, key=lambda cell: -len(cell["versions"])):
        for name, value in cell["versions"].items():
            found.setdefault(name, {})[value] = None
    return [f"{name} {' and '.join(values)}" for name, values in found.items()]


def _costs(cells: Cells) -> dict[str, dict[str, float]]:
    """Return medians over seeds of what each method took."""
    found = {}
    for name, seeds in cells.items():
        runs = list(seeds.values())
        found[name] = {
            "seconds": median(run["seconds"]["train"] for run in runs),
            # results of before it was kept do not have it
            "cpu_seconds": median(run["seconds"].get("train_cpu", math.nan) for run in runs),
            "predict_seconds": median(run["seconds"]["predict"] for run in runs),
            "memory_mib": median(run["memory_mib"] for run in runs),
            "parameters": runs[0]["parameters"],
            "steps": median(run["steps"] for run in runs),
        }
    return found


def _scores(cells: Cells, name: str) -> dict[str, dict[int, np.ndarray]]:
    """Return (n,) scores by method and seed; those that a method does not have are left out."""
    return {
        method: {seed: np.array(cell["scores"][name], dtype=np.float64) for seed, cell in seeds.items()}
        for method, seeds in cells.items()
        if all(name in cell["scores"] for cell in seeds.values())
    }


def _means(cells: Cells, name: str) -> dict[str, float]:
    """Return the means of a score that does not rank; NaN where a method has none."""
    found = means(_scores(cells, name))
    return {method: found.get(method, math.nan) for method in cells}


def _best(values: Sequence[float], higher: bool, name: str) -> float | None:
    """Return the best of a column."""
    finite = [value for value in values if math.isfinite(value)]
    if name in IDEAL:
        return min(finite, key=lambda value: abs(value - IDEAL[name]), default=None)
    return (max if higher else min)(finite, default=None)


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return [*lines, *("| " + " | ".join(_bold(cell, "**", "**") for cell in row) + " |" for row in rows)]


def _range(row: Row) -> str:
    return "-" if math.isnan(row.low) else f"{number(row.low)} to {number(row.high)}"


# What is best is marked by a character that no cell has, and made bold where it is written.
_MARK = "\0"


def _mark(text: str, best: bool) -> str:
    return _MARK + text if best else text


def _bold(text: str, begin: str, end: str) -> str:
    return f"{begin}{text.removeprefix(_MARK)}{end}" if text.startswith(_MARK) else text


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
