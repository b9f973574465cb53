"""`cst bench` from the command line, each cell in a process of its own."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from cst_lightning.benchmark.command import add_bench_command
from cst_lightning.cli import guarded
from cst_lightning.usage import CommandParser
from tests.benchmark.conftest import WHOLE, written


def call(arguments: Sequence[str]) -> int:
    parser = CommandParser(prog="cst")
    add_bench_command(parser.add_subparsers(required=True))
    options = parser.parse_args(["bench", *arguments])
    return guarded("cst", lambda: int(options.command(options)))


@pytest.mark.slow
def test_cells_run_in_processes_and_everything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path)
    assert call(["mini.yaml", "--methods", "linear,cst", "--seeds", "3", "--jobs", "2", "--out", "out"]) == 0
    folder = tmp_path / "out" / "mini-default"
    assert {path.name for path in folder.iterdir()} == {
        "cells", "figures", "observations.npz", "results.json", "results.md",
    }  # fmt: skip
    assert {path.stem for path in (folder / "figures").glob("*.png")} == set(WHOLE["scores"])
    found = json.loads((folder / "results.json").read_text())
    assert found["command"] == "cst bench mini.yaml --size default --methods linear,cst --seeds 3 --jobs 2"
    # each process measures its own memory, and the one that trains needs more
    memory = {cell["method"]: cell["memory_mib"] for cell in found["cells"]}
    assert memory["cst"] != memory["linear"]
    shown = capsys.readouterr()
    assert "mini (default)" in shown.out
    assert "…" not in shown.out  # nothing is cut, however narrow the terminal
    assert "Seed set" not in shown.out + shown.err


def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump({**WHOLE, "budget": {"hours": 1}}))
    assert call(["bad.yaml"]) == 2
    assert capsys.readouterr().err.startswith("cst: error: bad.yaml: unknown key budget.hours")
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump({**WHOLE, "methods": {"a": {"interpolation": "line"}}}))
    assert call(["bad.yaml"]) == 2
    assert capsys.readouterr().err.startswith("cst: error: bad.yaml: methods.a: interpolation: expected one of linear")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.yaml"]


@pytest.mark.parametrize("words", [["--jobs", "0"], ["--seeds", "x"], ["--size", "huge"], ["--methods", ""]])
def test_bad_options_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        call(["x.yaml", *words])
    assert caught.value.code == 2
    assert "expected" in capsys.readouterr().err or words[0] == "--size"
