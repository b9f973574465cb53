"""Run a comparison: what is finished is kept, what fails is reported, and the table is of what there is."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

from cst_lightning import runs
from cst_lightning.benchmark import building, cells, scoring, upsampling
from cst_lightning.benchmark.cells import Outcome
from cst_lightning.benchmark.observations import (
    Observations,
    differences,
    group_key,
    load,
    observe,
    other_truth,
    portable,
    store,
)
from cst_lightning.benchmark.processes import Processes
from cst_lightning.benchmark.protocol import Case, Protocol
from cst_lightning.benchmark.tables import Report, document, results
from cst_lightning.errors import DataError, MissingPackageError
from cst_lightning.usage import UsageError, one_line

OBSERVATIONS = "observations.npz"
#: Runs one cell: its specification, a plain mapping, and where the result goes.
Execute = Callable[[Mapping[str, Any]], Outcome]


class Plan(NamedTuple):
    """What there is to do.

    Attributes:
        cases: cells by hash; cells of several values of a sweep that are the same are one.
        places: (method, seed, position of the sweep's value) and the hash of its cell.
        groups: observations by key.
        group: key of each cell's observations, by hash.
        directions: for each score of the table, whether more is better.
        left_out: methods that need a package that is not installed, and the line that installs it.
    """

    cases: dict[str, Case]
    places: dict[tuple[str, int, int], str]
    groups: dict[str, Observations]
    group: dict[str, str]
    directions: dict[str, bool]
    left_out: dict[str, str]


def plan(protocol: Protocol, folder: Path) -> Plan:
    """Find out what is to be run, and draw and store the observations, or compare them with the stored ones.

    Raises:
        UsageError: a setting does not exist, or the test samples depend on the seed.
        DataError: the observations of finished cells were others.
    """
    left_out, methods = _check_methods(protocol)
    groups: dict[str, Observations] = {}
    directions: dict[str, bool] = {}
    keys = {}
    for seed in protocol.seeds:
        for number, value in enumerate(protocol.values):
            data = protocol.data_at(value)
            keys[seed, number] = key = group_key(data, seed)
            if key not in groups:
                datamodule = building.build({"data": data}, seed).datamodule
                datamodule.prepare_data()
                for stage in ("fit", "test"):
                    datamodule.setup(stage)
                groups[key] = observe(datamodule)
                if protocol.task == "attention":
                    directions = upsampling.directions(protocol.scores)
                else:
                    directions = scoring.directions(protocol.scores, datamodule)
    _same_samples(protocol, groups, keys)
    _store(folder / OBSERVATIONS, groups)
    cases: dict[str, Case] = {}
    places: dict[tuple[str, int, int], str] = {}
    group: dict[str, str] = {}
    for case in protocol.cases():
        if case.method in methods:
            number = protocol.values.index(case.value)
            key = keys[case.seed, number]
            name = cells.cell_hash(case, groups[key])
            cases.setdefault(name, case)
            places[case.method, case.seed, number] = name
            group[name] = key
    return Plan(cases, places, groups, group, directions, left_out)


def bench(
    protocol: Protocol,
    folder: Path,
    *,
    jobs: int = 1,
    threads: int | None = None,
    again: bool = False,
    earlier: Sequence[Path] = (),
    execute: Execute | None = None,
    command: str = "",
    told: Callable[[int, int, str], None] = lambda done, total, line: None,
) -> Report:
    """Run every cell that is not finished, and write the tables.

    Args:
        protocol: what is compared.
        folder: results go there; finished cells are found there.
        jobs: cells at once.
        threads: of each cell; OMP_NUM_THREADS if None, or without it the cores shared evenly.
        again: run finished cells too.
        earlier: `results.json` of other runs, whose cells count as finished where they are the same as these.
        execute: runs a cell; in a process of its own if None.
        command: that was typed, for the head of the document.
        told: after each cell, and before all if some are there: how many are done and to run, and a line or "".

    Returns:
        What was written to `results.json` and `results.md`.

    Raises:
        UsageError, DataError: see `plan`; or one of the earlier results cannot be read.
    """
    known = {name: cell for path in earlier for name, cell in _cells(path).items()}
    todo = plan(protocol, folder)
    place = folder / "cells"
    place.mkdir(parents=True, exist_ok=True)
    taken = _take(known, todo, folder)
    threads = threads or _threads(jobs)
    finished = {} if again else {name: one for name in todo.cases if (one := _finished(place / f"{name}.json"))}
    specs = {
        name: {
            "case": case._asdict(),
            "observations": str(folder / OBSERVATIONS),
            "group": todo.group[name],
            "threads": threads,
            "out": str(place / f"{name}.json"),
        }
        for name, case in todo.cases.items()
        if name not in finished
    }
    if earlier:
        told(0, len(specs), f"--from: {taken} of {len(todo.cases)} cells are there, of these observations")
    elif finished:
        told(0, len(specs), f"{len(finished)} of {len(todo.cases)} cells are finished; --again runs them again")
    outcomes: dict[str, Outcome] = {}
    with Processes(threads) as elsewhere:
        for name, outcome in _run(specs, jobs, execute or elsewhere, elsewhere.close):
            outcomes[name] = outcome
            case = todo.cases[name]
            line = "" if outcome.result or outcome.missing else f"Failed: {_called(case)}: {outcome.reason}"
            told(len(outcomes), len(specs), line)
    finished |= {name: one.result for name, one in outcomes.items() if one.result is not None}
    # some packages are asked for only when there is something to compute
    todo.left_out.update({todo.cases[name].method: one.reason for name, one in outcomes.items() if one.missing})
    failed = {
        _called(todo.cases[name]): one.reason for name, one in outcomes.items() if not (one.result or one.missing)
    }
    report = _report(protocol, todo, finished, failed)._replace(command=command)
    runs.write_text(folder / "results.json", json.dumps(results(report), indent=1, allow_nan=False) + "\n")
    runs.write_text(folder / "results.md", document(report))
    return report


def _take(known: Mapping[str, dict[str, Any]], todo: Plan, folder: Path) -> int:
    """Put those of earlier cells that belong here among the finished ones; return how many there are."""
    taken = known.keys() & todo.cases.keys()
    stored = load(folder / OBSERVATIONS) if taken else {}
    for name in taken:
        truth = stored[todo.group[name]].truth
        if known[name].get("truth", truth) != truth:  # the oldest cells do not tell theirs
            expected = "cells of these data, found some of other training values or another truth"
            raise UsageError(f"--from: expected {expected}")
    for name in taken:
        if _finished(folder / "cells" / f"{name}.json") is None:
            runs.write_text(folder / "cells" / f"{name}.json", json.dumps(known[name], allow_nan=False))
    return len(taken)


def _threads(jobs: int) -> int:
    """Return how many threads a cell gets if nobody says: what the environment says, else a share of the cores."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return int(wanted) if wanted.isdecimal() and int(wanted) else max(1, (os.cpu_count() or 1) // jobs)


def _run(
    specs: Mapping[str, Mapping[str, Any]], jobs: int, execute: Execute, stop: Callable[[], None]
) -> Iterable[tuple[str, Outcome]]:
    """Yield outcomes as they come; each thread waits for one process."""
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        running = {pool.submit(execute, spec): name for name, spec in specs.items()}
        try:
            for future in as_completed(running):
                yield running[future], future.result()
        except BaseException:
            # Ctrl-C does not reach the cells, whose processes have a session of their own
            pool.shutdown(wait=False, cancel_futures=True)
            stop()
            raise


def _finished(path: Path) -> dict[str, Any] | None:
    """Return a finished cell, or None."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # a damaged one is run again
        return None
    return {"config_hash": path.stem, **found} if cells.is_whole(found) else None  # the oldest do not tell their hash


def _cells(path: Path) -> dict[str, dict[str, Any]]:
    """Return the cells of a `results.json` by their hash.

    Raises:
        DataError: it is none; or it is of attention, where a cell is told by its readings, without what they came from.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = {str(cell["config_hash"]): cell for cell in content["cells"]}
        if not all(map(cells.is_whole, found.values())):
            raise ValueError
    except OSError as error:
        raise DataError(path, "--from", "a readable file", error.strerror or "none") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(path, "--from", "results.json of `cst bench`, cells with their config_hash", "none") from error
    if any("model" in cell for cell in found.values()):
        raise DataError(path, "--from", "a comparison of values", "one of attention, whose cells have to run again")
    return found


def _check_methods(protocol: Protocol) -> tuple[dict[str, str], set[str]]:
    """Build every method once, so that a wrong word is found before hours are spent; return those that cannot run."""
    left_out: dict[str, str] = {}
    for case in protocol.cases():
        if case.seed != protocol.seeds[0] or case.method in left_out:
            continue
        try:
            if "interpolation" in case.settings:
                building.interpolator(case.settings["interpolation"])
            else:
                model = building.build(case.settings, case.seed).model
                if protocol.task == "attention":
                    upsampling.check(model)
        except MissingPackageError as error:
            left_out[case.method] = str(error)
        except (ValueError, TypeError, OSError, ImportError) as error:
            told = one_line(str(error))
            key = re.match(r"unknown key data\.(\w+)", told)
            shared = key is not None and key[1] not in case.settings["own"]
            raise UsageError(told if shared else f"methods.{_called(case, seed=False)}: {told}") from error
    if len(left_out) == len(protocol.methods):
        raise UsageError(f"no method can run: {'; '.join(dict.fromkeys(left_out.values()))}")
    return left_out, {name for name in protocol.methods if name not in left_out}


def _same_samples(protocol: Protocol, groups: Mapping[str, Observations], keys: Mapping[tuple[int, int], str]) -> None:
    """Refuse test samples that depend on the seed: scores are averaged over seeds sample by sample."""
    for number in range(len(protocol.values)):
        sets = {tuple(groups[keys[seed, number]].samples["test"].tolist()) for seed in protocol.seeds}
        if len(sets) > 1:
            raise UsageError("data.split: expected the same test samples for each seed (split: ordered), found others")
        if not max(sets, key=len):
            raise UsageError("data.test: expected at least one test sample, found none")


def _store(path: Path, groups: Mapping[str, Observations]) -> None:
    """Keep the observations; those that are there already must be the same."""
    stored = load(path)
    for key, group in groups.items():
        if key in stored and (found := differences(stored[key], group) or other_truth(stored[key], group)):
            raise DataError(path, key, "the observations of the finished cells", f"{found}; --out takes another folder")
    if groups.keys() - stored.keys():
        store(path, {**stored, **groups})


def _report(
    protocol: Protocol, todo: Plan, finished: Mapping[str, dict[str, Any]], failed: Mapping[str, str]
) -> Report:
    """Collect what is finished: by position of the sweep's value, then by method, then by seed."""
    found: list[dict[str, dict[int, dict[str, Any]]]] = []
    for number in range(len(protocol.values)):
        methods: dict[str, dict[int, dict[str, Any]]] = {}
        for name in protocol.methods:
            seeds = {
                s: finished[h] for (m, s, n), h in todo.places.items() if (m, n) == (name, number) and h in finished
            }
            if seeds:
                methods[name] = seeds
        found.append(methods)
    report = Report(protocol, protocol_hash(protocol), found, todo.directions, todo.left_out, dict(failed), "")
    return upsampling.by_model(report) if protocol.task == "attention" else report


def protocol_hash(protocol: Protocol) -> str:
    """Return a hash of all that is compared in a table."""
    content = portable(protocol._asdict())
    del content["panels"]
    if protocol.task == "values":  # the hash of all others is what it was before there were tasks
        del content["task"]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _called(case: Case, seed: bool = True) -> str:
    value = "" if case.value is None else f", {case.value}"
    return f"{case.method}{value}" + (f", seed {case.seed}" if seed else "")


def chosen(protocol: Protocol, methods: Sequence[str] | None, seeds: Sequence[int] | None) -> Protocol:
    """Return a protocol with some of its methods, and with other seeds.

    Raises:
        UsageError: it has no such method.
    """
    for name in methods or ():
        if name not in protocol.methods:
            raise UsageError(f"--methods: expected some of {', '.join(protocol.methods)}, found {name}")
    kept = {name: method for name, method in protocol.methods.items() if methods is None or name in methods}
    sweep = protocol.sweep
    if sweep is not None and sweep.methods is not None:
        sweep = sweep._replace(methods=tuple(name for name in sweep.methods if name in kept))
    return protocol._replace(methods=kept, sweep=sweep, seeds=tuple(seeds) if seeds else protocol.seeds)
