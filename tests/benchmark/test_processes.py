"""Cells in processes of their own."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cst_lightning.benchmark.processes import Processes, failure
from cst_lightning.benchmark.runner import bench
from tests.benchmark.conftest import model, written

LINEAR = {"linear": {"interpolation": "linear"}}


@pytest.fixture
def processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Processes]:
    """Work in a folder of one's own; the library and the tests' methods are found from there too."""
    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", str(root))
    monkeypatch.chdir(tmp_path)
    with Processes(1) as found:
        yield found


def test_two_cells_take_one_start(processes: Processes, tmp_path: Path) -> None:
    used = []

    def told(spec: Any) -> Any:
        outcome = processes(spec)
        used.append([server.pid for server in processes._idle])
        return outcome

    report = bench(written(tmp_path, methods=LINEAR), tmp_path / "out", execute=told)
    assert not report.failed
    assert len(used) == 2
    assert used[0] == used[1] != [os.getpid()]
    assert not list((tmp_path / "out" / "cells").glob("*.log"))


def test_a_cell_that_kills_its_process_leaves_the_others(processes: Processes, tmp_path: Path) -> None:
    methods = {"killed": model("Killed"), "broken": model("Broken"), **LINEAR}
    report = bench(written(tmp_path, seeds=[1], methods=methods), tmp_path / "out", execute=processes)
    assert list(report.tables[0]) == ["linear"]
    assert report.failed["killed, seed 1"].startswith(
        f"killed by signal {signal.SIGKILL.value}, for want of memory perhaps; see "
    )
    assert report.failed["broken, seed 1"] == "the method is broken"
    # the line of the table has no line breaks, the traceback has
    logs = [path.read_text() for path in (tmp_path / "out" / "cells").glob("*.log")]
    assert len(logs) == 2
    assert any("is broken" in log and "Traceback" in log for log in logs)


def test_a_server_that_is_gone_is_started_again(processes: Processes, tmp_path: Path) -> None:
    def cut(spec: Any) -> Any:
        outcome = processes(spec)
        for server in processes._idle:
            server.kill()
            server.wait()
        return outcome

    report = bench(written(tmp_path, methods=LINEAR), tmp_path / "out", execute=cut)
    assert not report.failed


@pytest.mark.parametrize(
    ("code", "told", "reason"),
    [
        (-9, "{}", "killed by signal 9, for want of memory perhaps; see x.log"),
        (3, '{"case": 1}', "ended with exit code 3; see x.log"),
        (1, json.dumps({"reason": "no luck", "missing": False}), "no luck"),
    ],
)
def test_what_is_said_of_a_cell_that_did_not_finish(code: int, told: str, reason: str, tmp_path: Path) -> None:
    assert failure(code, told, tmp_path / "x.log").reason == reason
