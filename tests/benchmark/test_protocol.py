"""What a comparison's file may say, and what is answered to the rest."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from cst_lightning.benchmark.protocol import SIZES, Budget, Protocol, merged
from cst_lightning.benchmark.reading import read
from cst_lightning.errors import DataError
from cst_lightning.usage import UsageError

CONF = Path(__file__).parents[2] / "conf" / "bench"
CST = {"class_path": "CSTModule", "init_args": {"width": 64, "mu": 0.1}}
WHOLE: dict[str, Any] = {
    "name": "x",
    "data": {"class_path": "SpiralsDataModule", "init_args": {"observed": 10}},
    "budget": {"seconds": 5},
    "scores": ["mse"],
    "methods": {"linear": {"interpolation": "linear"}, "cst": {"model": CST}},
}

SWEEP = {"key": "model.mu", "values": [0.0, 1.0]}


def protocol(folder: Path, size: Any = "default", **changes: Any) -> Protocol:
    path = folder / "x.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in {**WHOLE, **changes}.items() if v is not None}, sort_keys=False))
    return read(path, size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_comparison_is_well_formed_at_every_size(path: Path, size: Any) -> None:
    found = read(path, size)
    assert found.name == path.stem
    assert found.about
    assert len(list(found.cases())) == len(found.methods) * len(found.seeds) * len(found.values)


@pytest.mark.parametrize("name", ["s1", "s2", "s3", "s3_noise"])
def test_curves_that_carry_noise_are_not_scored_by_their_slopes(name: str) -> None:
    assert {"slope", "roughness", "derivative"}.isdisjoint(read(CONF / f"{name}.yaml").scores)


@pytest.mark.parametrize("name", ["noise", "observed", "gap", "kp", "mu"])
def test_sweeps_have_a_figure_of_values_and_one_of_their_rate_of_change(name: str) -> None:
    scores = set(read(CONF / f"sweep_{name}.yaml").scores)
    assert "mse" in scores
    assert scores & {"derivative", "slope"}


def test_a_size_lays_its_settings_over_the_others(tmp_path: Path) -> None:
    small = {"budget": {"steps": 3}, "data": {"init_args": {"train": 4}}, "methods": {"linear": None}}
    found = protocol(tmp_path, "small", sizes={"small": small})
    assert found.budget == Budget("steps", 3)
    assert found.data["init_args"] == {"observed": 10, "train": 4}
    assert list(found.methods) == ["cst"]


def test_a_method_may_be_like_another_but_for_some_settings(tmp_path: Path) -> None:
    like = {"like": "cst", "model": {"init_args": {"mu": 0.0}}, "data": {"dummies": 0}}
    found = protocol(tmp_path, methods={"cst": {"model": CST}, "none": like})
    assert found.methods["none"]["model"]["init_args"] == {"width": 64, "mu": 0.0}
    assert found.methods["none"]["data"] == {"dummies": 0}


def test_another_class_takes_over_no_arguments() -> None:
    below = {"model": {"class_path": "A", "init_args": {"width": 1}}}
    assert merged(below, {"model": {"class_path": "B"}}) == {"model": {"class_path": "B"}}


def test_a_swept_setting_of_the_data_is_every_methods(tmp_path: Path) -> None:
    found = protocol(tmp_path, sweep={"key": "data.noise", "values": [0.0, "1e-1"]})
    assert [case.settings["data"]["init_args"]["noise"] for case in found.cases()] == [0.0, 0.0, 0.1, 0.1]


def test_a_swept_setting_of_models_leaves_interpolation_alone(tmp_path: Path) -> None:
    found = protocol(tmp_path, sweep={"key": "model.mu", "values": [0.0, 1.0]})
    lines = [case.settings for case in found.cases() if case.method == "linear"]
    assert lines[0] == lines[1]
    models = [case.settings["model"]["init_args"]["mu"] for case in found.cases() if case.method == "cst"]
    assert models == [0.0, 1.0]


def test_cases_do_not_share_settings(tmp_path: Path) -> None:
    first, *_, last = [case.settings for case in protocol(tmp_path, seeds=[1, 2]).cases()]
    first["data"]["init_args"]["observed"] = 99
    assert last["data"]["init_args"]["observed"] == 10


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"methds": {}}, "unknown key methds; did you mean methods?"),
        ({"budget": {"second": 5}}, "unknown key budget.second; did you mean seconds?"),
        ({"budget": {"seconds": 5, "steps": 5}}, "budget: expected one of"),
        ({"budget": {"steps": 1.5}}, "budget.steps: expected a whole number, found 1.5"),
        ({"budget": None}, "budget: expected {seconds: n} or {steps: n}, because cst is trained"),
        ({"scores": []}, "scores: expected it to be given"),
        ({"seeds": [1, 1]}, "seeds: expected different whole numbers"),
        ({"methods": {"a": {}}}, "methods.a: expected either interpolation or model, found neither"),
        ({"methods": {"a": {"like": "b"}}}, "methods.a.like: expected another method, found b"),
        ({"methods": {"a": {"like": "b"}, "b": {"like": "a"}}}, "like: expected another method"),
        ({"methods": {"a": {"model": {"width": 3}}}}, "unknown key methods.a.model.width"),
        (
            {"methods": {"a": {"model": CST, "trainer": {"max_steps": 3}}}},
            "methods.a.trainer.max_steps: expected nothing",
        ),
        ({"panels": {"few": {"cst": "CST"}}}, "panels: expected none without a sweep, found"),
        ({"panels": {"few": {"csst": "CST"}}, "sweep": SWEEP}, "unknown key panels.few.csst; did you mean cst"),
        ({"panels": {"few": {"cst": None}}, "sweep": SWEEP}, "panels.few: expected methods and what they are called"),
        ({"sweep": {"key": "mu", "values": [1]}}, "sweep.key: expected a dotted key below data, model"),
        (
            {"sweep": {"key": "model.mu", "values": [1], "methods": ["b"]}},
            "sweep.methods: expected some of linear, cst",
        ),
        ({"data": {"init_args": {}}}, "data.class_path: expected the name of a class, found nothing"),
        ({"data": {"class_path": "A", "init_args": [3]}}, "data.init_args: expected keys and values, found [3]"),
        ({"methods": {1: {"interpolation": "linear"}}}, "methods: expected words as keys, found 1"),
        ({"budget": {"steps": float("nan")}}, "budget: expected one of"),
        ({"budget": {"cpu_seconds": float("inf")}}, "budget: expected one of"),
        ({"sweep": {"key": "budget.hours", "values": [1]}}, "unknown key sweep.values.hours"),
        ({"sweep": {"key": "budget.steps", "values": [3, -3]}}, "sweep.values: expected one of {seconds: n}"),
        ({"name": "../evil"}, "name: expected a name without a path, found ../evil"),
        (
            {"methods": {"a": {"model": CST, "data": {"supervision": "dense"}}}},
            "methods.a.data.supervision: expected nothing, it is the same for all methods, found dense",
        ),
        (
            {"methods": {"a": {"interpolation": "linear", "data": {"rescale": True}}}},
            "methods.a.data.rescale: expected nothing",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_file_and_key(tmp_path: Path, changes: Any, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        protocol(tmp_path, **changes)
    assert words in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "x.yaml"))
    assert "\n" not in str(caught.value)


def test_what_a_small_size_replaces_is_looked_at_as_well(tmp_path: Path) -> None:
    sizes = {"small": {"budget": {"steps": 3}}}
    with pytest.raises(UsageError, match=r"unknown key budget\.second; did you mean"):
        protocol(tmp_path, "small", budget={"second": 5}, sizes=sizes)


def test_a_size_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="sizes: expected paper, found none"):
        protocol(tmp_path, "paper")


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a file, found nothing"):
        read(tmp_path / "no.yaml")


def test_a_file_that_is_no_yaml_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: [1")
    with pytest.raises(UsageError, match="expected YAML"):
        read(tmp_path / "x.yaml")
