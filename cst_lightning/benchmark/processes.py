"""Cells in processes of their own, without loading the libraries for each again.

A cell's memory is its own and its failure nobody else's only in a process of its own. To load torch and Lightning takes
one longer than many cells do, so a server loads them once and copies itself for each cell.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from cst_lightning.benchmark.cells import Outcome


class Processes:
    """Runs cells in processes of their own, as many at once as threads ask; a context manager.

    Args:
        threads: of each cell.
    """

    def __init__(self, threads: int) -> None:
        # libraries that count threads when they are loaded read the first; a look for CUDA in any other way than the
        # second would keep the copies from using it
        also = {"OMP_NUM_THREADS": str(threads), "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
        self._environment = {**os.environ, **also}
        self._idle: list[subprocess.Popen[str]] = []

    def __call__(self, spec: Mapping[str, Any]) -> Outcome:
        """Run one cell; the thread that asks waits for it.

        Args:
            spec: "case", "observations", "group", "threads" and "out", the file that gets the result.
        """
        handle, name = tempfile.mkstemp(suffix=".json")
        told = Path(name)
        log = Path(spec["out"]).with_suffix(".log")
        try:
            with os.fdopen(handle, "w") as file:
                json.dump({**spec, "log": str(log)}, file)
            code = self._run(name)
            if code == 0:
                log.unlink(missing_ok=True)
                return Outcome(json.loads(Path(spec["out"]).read_text(encoding="utf-8")))
            return failure(code, told.read_text(encoding="utf-8"), log)
        finally:
            told.unlink(missing_ok=True)

    def _run(self, name: str) -> int:
        """Return the exit code of a cell, or minus the signal that ended it."""
        server = self._server()
        wanted, ended = _pipes(server)
        wanted.write(f"{name}\n")
        wanted.flush()
        answer = ended.readline()
        if not answer:  # the server itself was killed, or ran the cell itself and is done
            return _end(server)
        self._idle.append(server)
        return int(answer)

    def _server(self) -> subprocess.Popen[str]:
        """Return a server that waits for a cell."""
        while self._idle:
            server = self._idle.pop()
            if server.poll() is None:
                return server
            _end(server)
        command = [sys.executable, "-m", "cst_lightning.benchmark.cells"]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=self._environment)

    def close(self) -> None:
        """Let the servers end."""
        while self._idle:
            _end(self._idle.pop())

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def failure(code: int, told: str, log: Path) -> Outcome:
    """Say in one line why a process did not finish; it may have been killed before it could say so itself."""
    try:
        said = json.loads(told)
        return Outcome(None, str(said["reason"]), bool(said["missing"]))
    except (ValueError, KeyError, TypeError):
        reason = f"killed by signal {-code}, for want of memory perhaps" if code < 0 else f"ended with exit code {code}"
        return Outcome(None, f"{reason}; see {log.name}")


def _pipes(server: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    assert server.stdin is not None
    assert server.stdout is not None
    return server.stdin, server.stdout


def _end(server: subprocess.Popen[str]) -> int:
    """Let a server end, if it has not, and return its exit code."""
    with server:  # closes its input, which ends it
        pass
    return server.wait()
