"""One cell of a comparison: one method trained and scored on one draw of the observations.

``python -m cst_lightning.benchmark.cells`` runs the cells described by JSON files whose names it reads, each in a copy
of itself; see `cst_lightning.benchmark.processes`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import time
import traceback
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import torch
from lightning.pytorch import LightningModule

from cst_lightning import __version__, runs
from cst_lightning.baselines.interpolation import Interpolator
from cst_lightning.benchmark import building, machine, scoring, upsampling
from cst_lightning.benchmark.budget import BudgetCallback, max_steps
from cst_lightning.benchmark.observations import Observations, differences, load, observe, other_truth, portable
from cst_lightning.benchmark.protocol import Budget, Case
from cst_lightning.benchmark.withholding import TrainingData
from cst_lightning.errors import MissingPackageError
from cst_lightning.evaluation import ask, interpolate, periods_of, suited
from cst_lightning.field import evaluating
from cst_lightning.fitting import quiet
from cst_lightning.settings import FitCLI
from cst_lightning.usage import one_line

#: Part of every cell's hash: raise it when what a cell holds, or how it is scored, changes.
FORMAT = 1


class Outcome(NamedTuple):
    """What became of a cell.

    Attributes:
        result: what `run` returned, if it finished.
        reason: one line, if it did not.
        missing: it did not because a package is not installed.
    """

    result: dict[str, Any] | None
    reason: str = ""
    missing: bool = False


def cell_hash(case: Case, observations: Observations) -> str:
    """Return a hash of everything that the scores of a cell depend on, but for the code between two versions."""
    content = {
        "format": FORMAT,
        "version": __version__,
        "settings": portable(case.settings),
        "seed": case.seed,
        "observations": observations.digest,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:20]


def is_whole(cell: Any) -> bool:
    """Return whether something read from a file is what `run` returns, as far as tables are made of it."""
    kinds: dict[str, type | tuple[type, ...]] = {
        "method": str, "seed": int, "index": list, "scores": dict, "pooled": dict, "seconds": dict,
        "steps": int, "parameters": int, "memory_mib": (int, float), "versions": dict, "machine": dict, "code": str,
    }  # fmt: skip
    if not isinstance(cell, dict) or not all(isinstance(cell.get(name), kind) for name, kind in kinds.items()):
        return False
    columns = cell["scores"].values()
    if not columns or not all(isinstance(c, list) and len(c) == len(cell["index"]) for c in columns):
        return False
    return "train" in cell["seconds"] and all(isinstance(v, int | float | None) for c in columns for v in c)


def run(case: Case, expected: Observations, threads: int | None = None) -> dict[str, Any]:
    """Train and score one method.

    Args:
        case: which one, on what.
        expected: what every method of the table is shown.
        threads: of the processor; torch's own choice if None.

    Returns:
        Plain JSON: "scores" by name and test sample, "pooled" scores, "index" of the samples, "seconds" by stage,
        "steps", "parameters", "memory_mib" at its peak, "settings", "config_hash" (see `cell_hash`), "observations" and
        "truth" (see `Observations`), "versions", "machine", "code".

    Raises:
        ValueError: settings or data are not usable, or the method would be shown other observations.
        MissingPackageError: a package of an extra is not installed.
        RuntimeError: training failed.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    began = time.perf_counter()
    cli = building.build(case.settings, case.seed)
    data = cli.datamodule
    data.prepare_data()
    for stage in ("fit", "test"):
        data.setup(stage)
    shown = observe(data)
    if found := differences(expected, shown) or other_truth(expected, shown):
        raise ValueError(f"data: expected the observations that all methods see, found {found}")
    seconds = {"setup": time.perf_counter() - began}
    spent, facts, device, (scores, index, digest, predicting) = _spend(cli, case)
    seconds |= spent | {"predict": predicting}
    if digest != expected.digest:
        raise ValueError("data: expected the observations that all methods see, found others while predicting")
    if isinstance(scores, upsampling.AttentionScores):
        facts |= scores.facts()
    return {
        "method": case.method,
        "seed": case.seed,
        "value": case.value,
        "index": index,
        "scores": {name: [_finite(v) for v in values] for name, values in scores.by_sample().items()},
        "pooled": {name: _finite(value) for name, value in scores.pooled().items()},
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
        **facts,
        "memory_mib": round(machine.peak_memory(), 1),
        "settings": portable(case.settings),
        "config_hash": cell_hash(case, expected),
        "observations": digest,
        "truth": expected.truth,
        "versions": machine.versions(),
        "machine": machine.facts(device),
        "code": machine.source_digest(),
    }


_Scored = tuple[scoring.SampleScores | upsampling.AttentionScores, list[int], str, float]


def _spend(cli: FitCLI, case: Case) -> tuple[dict[str, float], dict[str, Any], torch.device | None, _Scored]:
    """Train or tune, and score; return seconds, facts, the accelerator in use, and what scoring returned."""
    if "model" in case.settings:
        spent, facts = _train(cli, case.settings["budget"])
        device = cli.trainer.strategy.root_device
        return spent, facts, device, _score_module(cli, device, case.settings.get("task", "values"))
    spent, method = _tune(cli, building.interpolator(case.settings["interpolation"]))
    facts = {"steps": 0, "epochs": 0, "parameters": 0, "chosen": repr(method)}
    return spent, facts, None, _score_interpolation(cli, method)


def _train(cli: FitCLI, budget: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, Any]]:
    """Spend the budget, on data that keep the truth back; return seconds, wall and own, and what was done in them."""
    watch = BudgetCallback(Budget(**budget))
    own = cli.config_init.trainer.get("callbacks") or []
    trainer = cli.instantiate_trainer(callbacks=[*own, watch], max_steps=max_steps(watch.budget))
    handed = TrainingData(cli.datamodule)
    trainer.fit(cli.model, handed)
    handed.close()
    cli.trainer = trainer
    parameters = sum(p.numel() for p in cli.model.parameters())
    spent = {"train": watch.seconds, "train_cpu": watch.cpu_seconds}
    return spent, {"steps": watch.steps, "epochs": trainer.current_epoch, "parameters": parameters}


def _score_module(cli: FitCLI, device: torch.device, task: str) -> _Scored:
    module: LightningModule = cli.model.to(device)
    module.trainer = None  # nothing is left to be asked of it
    with evaluating(module):
        if task == "attention":
            return upsampling.score(module, cli.datamodule, time.perf_counter)
        return scoring.score(cli.datamodule, lambda batch, number: ask(module, batch, number), time.perf_counter)


def _tune(cli: FitCLI, method: Interpolator) -> tuple[dict[str, float], Interpolator]:
    """Return seconds, wall and own, and a reference with its best settings."""
    began, own = time.perf_counter(), time.process_time()
    (method,) = suited([method], cli.datamodule)
    return {"train": time.perf_counter() - began, "train_cpu": time.process_time() - own}, method


def _score_interpolation(cli: FitCLI, method: Interpolator) -> _Scored:
    data, periods = cli.datamodule, periods_of(cli.datamodule)
    return scoring.score(
        data, lambda batch, _: interpolate(method, batch, data.normalization, periods), time.perf_counter
    )


def attempt(case: Case, expected: Observations, threads: int | None = None) -> Outcome:
    """Run a cell; what goes wrong becomes one line. The traceback goes to standard error."""
    try:
        return Outcome(run(case, expected, threads))
    except MissingPackageError as error:
        return Outcome(None, str(error), True)
    except (KeyboardInterrupt, SystemExit):  # Lightning turns the first into the second
        return Outcome(None, "interrupted")
    except Exception as error:  # a method may be anybody's code, and the other cells go on
        traceback.print_exc()
        return Outcome(None, one_line(str(error)) or type(error).__name__)


def serve(specs: Iterable[str], told: TextIO) -> None:
    """Run the cells described in JSON files, each in a copy of this process, and tell the exit code of each.

    Only on Linux is it safe to copy a process that has such libraries loaded. Elsewhere this process runs one cell and
    ends with its code.
    """
    machine.source_digest()  # of what is loaded here: the files may change while cells run
    libraries = machine.file_memory()
    # waiting threads of linear algebra prepare themselves for a copy
    warnings.filterwarnings("ignore", message=".*multi-threaded.*fork", category=DeprecationWarning)
    for name in specs:
        copy = os.fork() if sys.platform == "linux" else 0
        if copy == 0:
            raise SystemExit(main(name.strip(), libraries))
        _, status = os.waitpid(copy, 0)
        told.write(f"{os.waitstatus_to_exitcode(status)}\n")
        told.flush()


def main(name: str, libraries: float = 0.0) -> int:
    """Run the cell described in a JSON file, which is written over with what became of it; return an exit code.

    Args:
        name: of the file.
        libraries: MiB of files in memory after loading them; a copy has only those parts of them that it has used.
    """
    path = Path(name)
    spec = json.loads(path.read_text(encoding="utf-8"))
    with open(spec["log"], "w", encoding="utf-8") as log:  # of libraries in C too, which do not know of sys.stdout
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    expected = load(Path(spec["observations"]))[spec["group"]]
    with quiet():
        outcome = attempt(Case(**spec["case"]), expected, spec["threads"])
    if outcome.result is not None:
        outcome.result["memory_mib"] += round(max(0.0, libraries - machine.file_memory()), 1)
        runs.write_text(Path(spec["out"]), json.dumps(outcome.result, allow_nan=False))
    runs.write_text(path, json.dumps({"reason": outcome.reason, "missing": outcome.missing}))
    return 0 if outcome.result is not None else 1


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


if __name__ == "__main__":
    with suppress(BrokenPipeError):  # nobody is there any more to be told
        serve(sys.stdin, sys.stdout)
