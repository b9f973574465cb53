"""A comparison is run once, goes on where it stopped, and lets nobody cheat."""

import json
import os
import platform
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cst_lightning.benchmark import observations, runner
from cst_lightning.benchmark.cells import Outcome
from cst_lightning.benchmark.runner import bench, chosen
from cst_lightning.benchmark.tables import Report, document, notes, terminal
from cst_lightning.errors import DataError
from cst_lightning.usage import UsageError
from tests.benchmark.conftest import WHOLE, Here, model, written
from tests.benchmark.methods import ROUTES

LINEAR = {"linear": {"interpolation": "linear"}}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    """The whole small comparison, run once."""
    place = tmp_path_factory.mktemp("bench")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        return place / "out", bench(written(place), place / "out", execute=Here(), command="cst bench mini.yaml")


def results(run: tuple[Path, Report]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run[0] / "results.json").read_text())
    return found


def test_every_method_is_scored_with_every_seed(run: tuple[Path, Report]) -> None:
    cells = {(cell["method"], cell["seed"]) for cell in results(run)["cells"]}
    assert cells == {(method, seed) for method in WHOLE["methods"] for seed in (1, 2)}


def test_every_number_is_there(run: tuple[Path, Report]) -> None:
    found = results(run)
    for cell in found["cells"]:
        assert {"seconds", "memory_mib", "parameters", "steps", "settings", "code"} <= set(cell)
        assert all(len(values) == 5 for values in cell["scores"].values())
        assert cell["memory_mib"] > 50
        assert {"setup", "train", "train_cpu", "predict"} == set(cell["seconds"])
        assert cell["seconds"]["train_cpu"] >= 0
    assert found["config_hash"]
    assert {cell["steps"] for cell in found["cells"]} == {0, 2}


def test_the_table_says_what_each_method_takes(run: tuple[Path, Report]) -> None:
    head, *rows = [line for line in (run[0] / "results.md").read_text().splitlines() if line.startswith("| ")]
    names = [name.strip() for name in head.split("|")]
    for row in rows:
        cells = dict(zip(names, (cell.strip() for cell in row.split("|")), strict=True))
        assert all(float(cells[name].replace(",", "")) > 0 for name in ("s", "s to predict", "CPU s", "MiB"))
        others = [name for name in names if name.startswith("p of ")]
        assert others
        assert all(cells[name] == "-" or 0 < float(cells[name]) <= 1 for name in others)


def test_cells_of_another_state_of_the_code_are_named(run: tuple[Path, Report]) -> None:
    report = run[1]
    assert not any("state of the code" in line for line in notes(report))
    (table,) = report.tables
    name = next(iter(table))
    older = {**table, name: {seed: {**cell, "code": "older"} for seed, cell in table[name].items()}}
    (line,) = [line for line in notes(report._replace(tables=[older])) if "state of the code" in line]
    assert line.startswith(f"- Cells of {name} were run")


def test_learned_methods_with_different_numbers_of_threads_are_named(run: tuple[Path, Report]) -> None:
    report = run[1]
    assert not any("threads" in line for line in notes(report))
    (table,) = report.tables

    def with_more(method: str) -> list[str]:
        cell = table[method][2]
        more = {**table[method], 2: {**cell, "machine": {**cell["machine"], "threads": 64}}}
        return [line for line in notes(report._replace(tables=[{**table, method: more}])) if "threads" in line]

    (line,) = with_more("cst")
    assert "64 threads" in line
    assert not with_more("linear")  # which no budget ends


def test_every_number_is_beside_seed_hash_versions_and_machine(run: tuple[Path, Report]) -> None:
    for cell in results(run)["cells"]:
        assert cell["seed"] in (1, 2)
        assert len(cell["config_hash"]) == 20
        assert cell["versions"]["torch"] == version("torch")
        assert cell["versions"]["python"] == platform.python_version()
        assert {"system", "processor", "cores", "threads"} <= cell["machine"].keys()
        assert cell["machine"]["cores"] == os.cpu_count()


def test_the_hash_of_a_cell_is_that_of_its_settings_and_seed(
    run: tuple[Path, Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run[0].parent)
    wanted = {name[:2]: digest for name, digest in runner.plan(run[1].protocol, run[0]).places.items()}
    assert {(cell["method"], cell["seed"]): cell["config_hash"] for cell in results(run)["cells"]} == wanted


def test_no_two_cells_have_the_same_hash(run: tuple[Path, Report]) -> None:
    assert len({cell["config_hash"] for cell in results(run)["cells"]}) == 3 * 2


def test_cells_finished_before_they_told_their_hash_are_kept_and_tell_it(here: Here, tmp_path: Path) -> None:
    first = bench(written(tmp_path, seeds=[1], methods=LINEAR), tmp_path / "out", execute=here)
    ((path, cell),) = ((p, json.loads(p.read_text())) for p in (tmp_path / "out" / "cells").iterdir())
    path.write_text(json.dumps({key: value for key, value in cell.items() if key != "config_hash"}))
    again = bench(written(tmp_path, seeds=[1], methods=LINEAR), tmp_path / "out", execute=here)
    assert here.run == ["linear"]
    assert again.tables == first.tables


def test_no_place_or_name_of_this_machine_is_written(run: tuple[Path, Report]) -> None:
    text = (run[0] / "results.json").read_text() + (run[0] / "results.md").read_text()
    assert str(run[0].parent) not in text
    assert platform.node() not in text


def test_identical_predictions_have_identical_scores_and_no_difference(run: tuple[Path, Report]) -> None:
    rows = {row.method: row for row in run[1].rows()}
    assert rows["linear"].mean == rows["same"].mean
    first, second = (run[1].tables[0][name][1]["scores"] for name in ("linear", "same"))
    assert first == second


def test_the_variance_is_that_of_all_samples(run: tuple[Path, Report]) -> None:
    cell = run[1].tables[0]["linear"][1]
    assert np.mean(cell["scores"]["nmse"]) == pytest.approx(cell["pooled"]["nmse"])
    assert np.mean(cell["scores"]["mse"]) == pytest.approx(cell["pooled"]["mse"])


def test_the_tables_name_methods_command_and_budget(run: tuple[Path, Report]) -> None:
    text = (run[0] / "results.md").read_text()
    assert "`cst bench mini.yaml`" in text
    assert "2 optimiser steps" in text
    assert text.count("\n| ") == 1 + 3
    (table,) = terminal(run[1])
    assert table.row_count == 3


def test_another_size_says_whose_numbers_its_description_has(run: tuple[Path, Report]) -> None:
    told = "those of the default size"
    assert told not in document(run[1])
    assert told in document(run[1]._replace(protocol=run[1].protocol._replace(size="small")))


def test_versions_are_those_of_all_cells(run: tuple[Path, Report]) -> None:
    cell = run[1].tables[0]["linear"][1]
    other = {**cell, "versions": {**cell["versions"], "numpy": "0.1", "neuraloperator": "7.8"}}
    table = {**run[1].tables[0], "linear": {1: other}}
    text = document(run[1]._replace(tables=[table]))
    assert "neuraloperator 7.8" in text
    assert f"numpy 0.1 and {cell['versions']['numpy']}" in text


@pytest.mark.parametrize(("said", "asked", "threads"), [("3", None, 3), ("3", 5, 5), ("0", None, 2), ("many", None, 2)])
def test_threads_follow_the_environment_unless_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, asked: int | None, threads: int
) -> None:
    seen = []

    def told(spec: Mapping[str, Any]) -> Outcome:
        seen.append(spec["threads"])
        return Outcome(None, "not run")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    bench(written(tmp_path, seeds=[1], methods=LINEAR), tmp_path / "out", jobs=2, threads=asked, execute=told)
    assert seen == [threads]


def test_observations_are_stored_for_each_seed(run: tuple[Path, Report]) -> None:
    groups = observations.load(run[0] / runner.OBSERVATIONS)
    assert len(groups) == 2
    for group in groups.values():
        assert group.counts["test"].tolist() == [6] * 5
        assert group.positions["train"].shape == (36,)
    assert len({group.digest for group in groups.values()}) == 2


def test_finished_cells_are_not_run_again(here: Here, tmp_path: Path) -> None:
    for budget in ({"steps": 1}, {"steps": 1}, {"steps": 2}):
        bench(written(tmp_path, seeds=[1], budget=budget), tmp_path / "out", execute=here)
    # another budget is another cell for what is trained, and the same one for what is not
    assert here.run == ["linear", "same", "cst", "cst"]


def test_cells_that_are_there_are_told_before_any_is_run(here: Here, tmp_path: Path) -> None:
    said: list[tuple[int, int, str]] = []

    def told(done: int, wanted: int, line: str) -> None:
        said.append((done, wanted, line))

    for seeds in ([1], [1, 2]):
        bench(written(tmp_path, seeds=seeds, methods=LINEAR), tmp_path / "out", execute=here, told=told)
    assert said == [(1, 1, ""), (0, 1, "1 of 2 cells are finished; --again runs them again"), (1, 1, "")]


def test_cells_of_earlier_results_are_not_run_again(here: Here, tmp_path: Path) -> None:
    first = bench(written(tmp_path, seeds=[1], methods=LINEAR), tmp_path / "out", execute=here)
    more = {**LINEAR, "nearest": {"interpolation": "nearest"}}
    earlier = [tmp_path / "out" / "results.json"]
    told: list[str] = []
    found = bench(
        written(tmp_path, seeds=[1], methods=more), tmp_path / "new", earlier=earlier, execute=here,
        told=lambda done, total, line: told.append(line),
    )  # fmt: skip
    assert told == ["--from: 1 of 2 cells are there, of these observations", ""]
    assert here.run == ["linear", "nearest"]
    assert found.tables[0]["linear"] == first.tables[0]["linear"]


def test_earlier_results_of_other_settings_are_not_taken(here: Here, tmp_path: Path) -> None:
    bench(written(tmp_path, seeds=[1], methods=LINEAR), tmp_path / "out", execute=here)
    earlier = [tmp_path / "out" / "results.json"]
    bench(written(tmp_path, seeds=[2], methods=LINEAR), tmp_path / "new", earlier=earlier, execute=here)
    assert here.run == ["linear", "linear"]


def test_earlier_results_of_another_truth_are_refused(here: Here, tmp_path: Path) -> None:
    protocol = written(tmp_path, seeds=[1], methods=LINEAR)
    bench(protocol, tmp_path / "out", execute=here)
    path = tmp_path / "out" / "results.json"
    path.write_text(re.sub(r'"truth": "\w+"', '"truth": "another"', path.read_text()))
    with pytest.raises(UsageError, match=r"--from: expected cells of these data, found some of other training values"):
        bench(protocol, tmp_path / "new", earlier=[path], execute=here)
    assert not list((tmp_path / "new" / "cells").iterdir())


@pytest.mark.parametrize(
    "damaged", ["{}", "[1]", "null", '{"scores": {"mse": [1.0]}}', '{"scores": {"mse": ["a", 1, 1, 1, 1]}}', "{"]
)
def test_a_damaged_cell_is_run_again(here: Here, tmp_path: Path, damaged: str) -> None:
    protocol = written(tmp_path, seeds=[1], methods=LINEAR)
    first = bench(protocol, tmp_path / "out", execute=here)
    (cell,) = (tmp_path / "out" / "cells").glob("*.json")
    whole = json.loads(cell.read_text())
    cell.write_text(damaged if "mse" not in damaged else json.dumps(whole | json.loads(damaged)))
    second = bench(protocol, tmp_path / "out", execute=here)
    assert here.run == ["linear", "linear"]
    assert second.tables[0]["linear"][1]["scores"] == first.tables[0]["linear"][1]["scores"]


@pytest.mark.parametrize(
    "content", [None, "{", "[]", '{"cells": [{}]}', '{"cells": [{"config_hash": "1", "model": "a"}]}']
)
def test_earlier_results_that_are_none_are_refused(here: Here, tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "x.json").write_text(content)
    with pytest.raises(DataError, match=r"x\.json: --from: expected"):
        bench(written(tmp_path), tmp_path / "out", earlier=[tmp_path / "x.json"], execute=here)
    assert not (tmp_path / "out").exists()


def test_a_cheat_finds_nothing(here: Here, tmp_path: Path) -> None:
    methods = {**LINEAR, "cheat": model("Cheat"), "honest": model("Honest")}
    report = bench(written(tmp_path, seeds=[1], methods=methods), tmp_path / "out", execute=here)
    assert report.failed == {}
    assert report.tables[0]["cheat"][1]["pooled"]["mse"] is None  # NaN, as handed out
    assert report.rows()[-1].method == "cheat"
    assert report.tables[0]["honest"][1]["pooled"]["mse"] > 0


@pytest.mark.parametrize("route", ROUTES)
def test_a_cheat_that_keeps_its_trainer_is_no_better_than_an_honest_method(
    here: Here, tmp_path: Path, route: str
) -> None:
    methods = {"keeper": model("Keeper"), "honest": model("Honest")}
    methods["keeper"]["model"]["init_args"] = {"route": route}
    report = bench(written(tmp_path, seeds=[1], methods=methods), tmp_path / "out", execute=here)
    assert report.failed == {}
    keeper, honest = (report.tables[0][name][1]["scores"] for name in ("keeper", "honest"))
    assert keeper == honest


def test_a_failed_cell_is_told_in_one_line_and_stops_nothing(
    here: Here, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []
    report = bench(
        written(tmp_path, seeds=[1], methods={"broken": model("Broken"), **LINEAR}), tmp_path / "out", execute=here,
        told=lambda done, total, line: told.append(line),
    )  # fmt: skip
    assert report.failed == {"broken, seed 1": "the method is broken"}
    assert told == ["Failed: broken, seed 1: the method is broken", ""]
    assert list(report.tables[0]) == ["linear"]
    assert "Failed: broken, seed 1. the method is broken" in document(report)


def test_a_method_without_its_package_is_left_out(here: Here, tmp_path: Path) -> None:
    methods = {"needy": model("Needy"), **LINEAR}
    report = bench(written(tmp_path, seeds=[1], methods=methods), tmp_path / "out", execute=here)
    assert here.run == ["linear"]
    assert report.failed == {}
    assert "Left out: needy. nowhere is not installed: pip install 'cst-lightning[baselines]'" in document(report)


def test_a_method_that_would_see_other_observations_fails(here: Here, tmp_path: Path) -> None:
    methods = {**LINEAR, "more": {"like": "linear", "data": {"observed": 7}}, "fewer": {**LINEAR["linear"]}}
    report = bench(written(tmp_path, seeds=[1], methods=methods), tmp_path / "out", execute=here)
    (reason,) = report.failed.values()
    assert "expected the observations that all methods see, found other points observed in the train split" in reason


def test_settings_that_hide_nothing_may_differ(here: Here, tmp_path: Path) -> None:
    methods = {**LINEAR, "own": {"like": "linear", "data": {"dummies": 0, "context": [1.0, 1.0], "target": "all"}}}
    report = bench(written(tmp_path, seeds=[1], methods=methods), tmp_path / "out", execute=here)
    assert report.failed == {}


def test_stored_observations_that_differ_stop_the_run(here: Here, tmp_path: Path) -> None:
    protocol = written(tmp_path, seeds=[1], methods=LINEAR)
    bench(protocol, tmp_path / "out", execute=here)
    path = tmp_path / "out" / runner.OBSERVATIONS
    ((key, group),) = observations.load(path).items()
    positions = {**group.positions, "test": group.positions["test"][::-1].copy()}
    observations.store(path, {key: group._replace(positions=positions)})
    with pytest.raises(DataError, match="found other points observed in the test split"):
        bench(protocol, tmp_path / "out", execute=here)


def test_a_file_whose_values_have_changed_stops_the_run(here: Here, tmp_path: Path) -> None:
    """Cells of the file as it was must not stand beside those of the file as it is."""
    values = np.random.default_rng(0).standard_normal((13, 20, 1))
    place, data = tmp_path / "curves.npz", WHOLE["data"]
    protocol = written(
        tmp_path, seeds=[1], methods=LINEAR, scores=["mse"],
        data={**data, "init_args": {**data["init_args"], "path": str(place)}},
    )  # fmt: skip
    np.savez(place, values=values, time=np.arange(20.0))
    bench(protocol, tmp_path / "out", execute=here)
    (group,) = observations.load(tmp_path / "out" / runner.OBSERVATIONS).values()
    bench(protocol, tmp_path / "out", execute=here)
    shown = np.zeros(values.shape, dtype=bool)
    ends = np.cumsum(group.counts["test"])
    for sample, last, count in zip(group.samples["test"], ends, group.counts["test"], strict=True):
        shown[sample, group.positions["test"][last - count : last]] = True
    trained = np.isin(np.arange(13), group.samples["train"])[:, None, None]
    for changed in (~shown & ~trained, trained):  # the truth alone, what is learnt from alone
        np.savez(place, values=values + changed, time=np.arange(20.0))
        with pytest.raises(DataError, match="the same points of other training values or another truth"):
            bench(protocol, tmp_path / "out", execute=here)


def test_test_samples_that_depend_on_the_seed_are_refused(here: Here, tmp_path: Path) -> None:
    data = {**WHOLE["data"], "init_args": {**WHOLE["data"]["init_args"], "split": "random"}}
    with pytest.raises(UsageError, match="same test samples for each seed"):
        bench(written(tmp_path, data=data, methods=LINEAR), tmp_path / "out", execute=here)


def test_a_sweep_has_a_table_a_value_and_shares_what_it_does_not_change(here: Here, tmp_path: Path) -> None:
    methods = {key: WHOLE["methods"][key] for key in ("linear", "cst")}
    sweep = {"key": "model.mu", "values": [0.0, 0.1]}
    report = bench(written(tmp_path, seeds=[1], methods=methods, sweep=sweep), tmp_path / "out", execute=here)
    assert sorted(here.run) == ["cst", "cst", "linear"]
    assert [set(table) for table in report.tables] == [{"linear", "cst"}] * 2
    assert terminal(report)[0].columns[1].header == "0.0"


def test_a_sweep_has_the_columns_of_a_comparison_at_each_value(
    here: Here, run: tuple[Path, Report], tmp_path: Path
) -> None:
    sweep = {"key": "data.noise", "values": [0.0, 0.1]}
    report = bench(written(tmp_path, seeds=[1], methods=LINEAR, sweep=sweep), tmp_path / "out", execute=here)
    overview, *tables = terminal(report)
    assert [column.header for column in overview.columns] == ["method", "0.0", "0.1"]
    (plain,) = terminal(run[1])
    for table, value in zip(tables, ("0.0", "0.1"), strict=True):
        assert [column.header for column in table.columns] == [column.header for column in plain.columns]
        assert table.title == f"data.noise = {value}"


def test_test_samples_are_counted_at_each_value_of_a_sweep(here: Here, tmp_path: Path) -> None:
    sweep = {"key": "data.test", "values": [5, 3]}
    report = bench(written(tmp_path, seeds=[1], methods=LINEAR, sweep=sweep), tmp_path / "out", execute=here)
    assert "Test samples: 5 at data.test = 5, 3 at 3. Machine:" in document(report)


def test_test_samples_that_are_as_many_everywhere_are_counted_once(here: Here, tmp_path: Path) -> None:
    sweep = {"key": "data.noise", "values": [0.0, 0.1]}
    report = bench(written(tmp_path, seeds=[1], methods=LINEAR, sweep=sweep), tmp_path / "out", execute=here)
    assert "Test samples: 5. Machine:" in document(report)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"methods": {"a": {"model": {"class_path": "CSTModul"}}}}, "methods.a: model: no class is called CSTModul"),
        ({"methods": {"a": {"interpolation": "line"}}}, "methods.a: interpolation: expected one of linear, "),
        ({"scores": ["ms"]}, "scores: expected some of mse, nmse"),
        (
            {"methods": {"a": {"interpolation": {"class_path": "os.getcwd"}}}},
            "methods.a: interpolation.class_path: expected an interpolator, found os.getcwd",
        ),
        (
            {"data": {"class_path": "SpiralsDataModule", "init_args": {"obseved": 9}}},
            "^unknown key data.obseved; did you mean",
        ),
        (
            {"methods": {"a": {"model": {"class_path": "CSTModule"}, "data": {"obseved": 9}}}},
            "^methods.a: unknown key data.obseved; did you mean",
        ),
    ],
)
def test_words_that_do_not_exist_are_found_before_anything_runs(
    here: Here, tmp_path: Path, changes: Any, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        bench(written(tmp_path, **changes), tmp_path / "out", execute=here)
    assert not (tmp_path / "out" / "cells").exists()


def test_methods_and_seeds_can_be_chosen(tmp_path: Path) -> None:
    found = chosen(written(tmp_path), ["cst"], [7])
    assert (list(found.methods), found.seeds) == (["cst"], (7,))
    with pytest.raises(UsageError, match="--methods: expected some of linear, same, cst, found other"):
        chosen(found._replace(methods=written(tmp_path).methods), ["other"], None)
