"""Cells in processes of their own."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from cst_lightning.benchmark.cells import Outcome
from cst_lightning.benchmark.processes import Processes, failure
from cst_lightning.benchmark.runner import _run, bench
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


# What stands for a server in the tests below: it answers, ends, or makes a copy that sleeps and writes its number down.
ANSWERS = """
import sys
print("a library says hello", flush=True)
for line in sys.stdin: print(3, flush=True)
"""
DIES = "import sys; sys.exit('no torch here')"
SLEEPS = """
import os, pathlib, sys, time
for line in sys.stdin:
    copy = os.fork()
    if not copy: os.close(1), time.sleep(60), os._exit(0)
    pathlib.Path("copy.txt").write_text(str(copy))
    {then}
"""


@pytest.fixture
def spec(tmp_path: Path) -> dict[str, Any]:
    return {"out": str(tmp_path / "x.json"), "threads": 1}


def stand_in(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.setattr("cst_lightning.benchmark.processes._COMMAND", ("-c", code))


def ends(place: Path) -> bool:
    """Wait for the process whose number a file has, which nobody may reap."""
    for _ in range(100):
        try:
            if Path(f"/proc/{place.read_text()}/stat").read_text().split()[2] == "Z":
                return True
        except FileNotFoundError:
            return True
        sleep(0.05)
    return False


def test_a_server_that_is_gone_is_started_again(
    processes: Processes, spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, ANSWERS)
    for gone in (False, True, False):
        assert processes(spec).reason == "ended with exit code 3; see x.log"
        (server,) = processes._idle
        if gone:
            server.kill()
            server.wait()
    assert len(processes._servers) == 2


def test_a_server_that_cannot_start_says_why_in_the_log(
    processes: Processes, spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stand_in(monkeypatch, DIES)
    assert processes(spec).reason == "ended with exit code 1; see x.log"
    assert (tmp_path / "x.log").read_text() == "no torch here\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux copies servers")
def test_a_cell_ends_with_its_server(
    processes: Processes, spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stand_in(monkeypatch, SLEEPS.format(then="os.kill(os.getpid(), 9)"))
    assert processes(spec).reason.startswith("killed by signal 9")
    assert ends(tmp_path / "copy.txt")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux copies servers")
def test_an_interruption_ends_the_cells_that_run(
    processes: Processes, spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stand_in(monkeypatch, SLEEPS.format(then="os.waitpid(copy, 0)"))
    specs = {name: {**spec, "out": str(tmp_path / f"{name}.json")} for name in ("a", "b", "c")}

    def interrupted(one: dict[str, Any]) -> Outcome:
        if one["out"].endswith("b.json"):
            for _ in range(200):
                if (tmp_path / "copy.txt").exists():
                    break
                sleep(0.05)
            raise KeyboardInterrupt
        return processes(one)

    with pytest.raises(KeyboardInterrupt):
        list(_run(specs, 2, interrupted, processes.close))
    assert ends(tmp_path / "copy.txt")
    assert all(server.returncode is not None for server in processes._servers)


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
