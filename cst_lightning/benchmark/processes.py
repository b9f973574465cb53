"""Cells in processes of their own, without loading the libraries for each again.

A cell's memory is its own and its failure nobody else's only in a process of its own. To load torch and Lightning takes
one longer than many cells do, so a server loads them once and copies itself for each cell.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import IO, Any

from cst_lightning.benchmark.cells import Outcome

_COMMAND = ("-m", "cst_lightning.benchmark.cells")


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
        self._folder = tempfile.TemporaryDirectory(prefix="cst-bench-")
        self._servers: list[subprocess.Popen[str]] = []
        self._idle: list[subprocess.Popen[str]] = []
        self._lock, self._closed = Lock(), False

    def __call__(self, spec: Mapping[str, Any]) -> Outcome:
        """Run one cell; the thread that asks waits for it.

        Args:
            spec: "case", "observations", "group", "threads" and "out", the file that gets the result.
        """
        log = Path(spec["out"]).with_suffix(".log")
        log.unlink(missing_ok=True)
        told = Path(self._folder.name) / f"{log.stem}.json"
        told.write_text(json.dumps({**spec, "log": str(log)}), encoding="utf-8")
        code = self._run(str(told), log)
        if code == 0:
            log.unlink(missing_ok=True)
            return Outcome(json.loads(Path(spec["out"]).read_text(encoding="utf-8")))
        return failure(code, told.read_text(encoding="utf-8"), log)

    def _run(self, name: str, log: Path) -> int:
        """Return the exit code of a cell, or minus the signal that ended it."""
        found = self._server()
        if found is None:
            return -signal.SIGINT
        server, errors = found
        wanted, ended = _pipes(server)
        with suppress(BrokenPipeError):  # it is gone, as the empty answer says too
            wanted.write(f"{name}\n")
            wanted.flush()
        answer = ended.readline()
        while answer and not re.fullmatch(r"-?\d+\n", answer):  # what a library prints when it is loaded
            answer = ended.readline()
        if answer:
            self._idle.append(server)
            return int(answer)
        code = _ended(server)
        if not log.exists():  # the cell never began
            log.write_text(errors.read_text(errors="replace"))
        return code

    def _server(self) -> tuple[subprocess.Popen[str], Path] | None:
        """Return a server that waits for a cell, and the file of its errors; None if there is to be no more of them."""
        place, pipe = Path(self._folder.name), subprocess.PIPE
        with self._lock:
            if self._closed:
                return None
            while self._idle:
                server = self._idle.pop()
                if server.poll() is None:
                    return server, place / f"{self._servers.index(server)}.log"
                _ended(server)
            errors = place / f"{len(self._servers)}.log"
            with errors.open("w") as file:
                # in a session of its own, for Ctrl-C would end it before its copy; `close` ends both
                server = subprocess.Popen(
                    [sys.executable, *_COMMAND], stdin=pipe, stdout=pipe, stderr=file, text=True,
                    env=self._environment, start_new_session=True,
                )  # fmt: skip
            self._servers.append(server)
        return server, errors

    def close(self) -> None:
        """End the servers, and the cells that are running."""
        with self._lock:
            self._closed = True
            for server in self._servers:
                _kill(server)
                server.wait()

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        for server in self._servers:  # its pipes only now, when no thread reads them any more
            _close(server)
        self._folder.cleanup()


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


def _ended(server: subprocess.Popen[str]) -> int:
    """Wait for a server that ends by itself, end the copy that it may have left, and return its exit code."""
    if sys.platform == "linux":
        with suppress(ChildProcessError):  # `close` was first
            os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)  # until then its number is nobody else's
        _kill(server)
    return _close(server)


def _kill(server: subprocess.Popen[str]) -> None:
    """End a server and its copy at once."""
    if sys.platform != "linux":
        server.kill()
    elif server.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)


def _close(server: subprocess.Popen[str]) -> int:
    """Close the pipes of a server and return its exit code."""
    for pipe in _pipes(server):
        with suppress(BrokenPipeError):
            pipe.close()
    return server.wait()
