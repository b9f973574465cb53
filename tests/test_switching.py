"""A settings file serves other models than the one that it was written for."""

import json
from pathlib import Path

import pytest
import yaml

from cst_lightning.baselines.convgru import ConvGRUModule
from cst_lightning.baselines.paper import PaperModule
from cst_lightning.baselines.transformer import TransformerModule
from cst_lightning.cli import fit
from cst_lightning.module import CSTModule
from cst_lightning.settings import FitCLI
from cst_lightning.switching import for_class
from cst_lightning.usage import UsageError

CONF = Path(__file__).parents[1] / "conf"


def written(tmp_path: Path, model: object) -> str:
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({"data": {"class_path": "SpiralsDataModule"}, "model": model}, sort_keys=False))
    return str(path)


def test_what_another_class_does_not_know_is_left_out_and_told(tmp_path: Path) -> None:
    path = written(tmp_path, {"width": 64, "lr": 0.1, "mu": 0.0})
    words, told = for_class(["--config", path, "--data.observed", "9"], TransformerModule)
    assert json.loads(words[1])["model"]["init_args"] == {"width": 64, "lr": 0.1}
    assert json.loads(words[1])["data"] == {"class_path": "SpiralsDataModule"}
    assert words[2:] == ["--data.observed", "9"]
    assert told == [f"model: mu of {path} left out: TransformerModule has none"]


def test_a_network_on_frames_keeps_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, {"class_path": "CSTModule", "init_args": {"width": 64, "lr": 0.1}})
    words, told = for_class([f"--config={path}"], ConvGRUModule)
    assert json.loads(words[0].removeprefix("--config="))["model"]["init_args"] == {}
    assert told == [f"model: width, lr of {path} left out: they are for CSTModule"]


@pytest.mark.parametrize("model", [{"width": 64}, {"class_path": "CSTModule", "init_args": {"width": 64}}])
def test_a_file_for_the_class_itself_stays(tmp_path: Path, model: object) -> None:
    words = ["--config", written(tmp_path, model)]
    assert for_class(words, CSTModule) == (words, [])


def test_settings_that_both_know_leave_no_word(tmp_path: Path) -> None:
    assert for_class(["--config", written(tmp_path, {"width": 64, "mu": 1e-6})], PaperModule)[1] == []


@pytest.mark.parametrize(
    "words", [["--config"], ["--config", "absent.yaml"], ["--config", "{}"], ["--data.observed", "9"]]
)
def test_what_cannot_be_read_is_the_parsers_affair(words: list[str]) -> None:
    assert for_class(words, TransformerModule) == (words, [])


@pytest.mark.parametrize("name", ["TransformerModule", "PaperModule", "ConvGRUModule", "FNOModule", "VivitModule"])
@pytest.mark.parametrize("conf", ["navier_stokes", "navier_stokes_frames"])
def test_settings_files_of_ours_take_every_baseline(conf: str, name: str) -> None:
    path = str(CONF / f"{conf}.yaml")
    cli = FitCLI(["--config", path, "--model", name])
    assert type(cli.model).__name__ == name
    assert cli.config.name == conf  # the run is still called after the file
    width = 96 if conf == "navier_stokes" else 64
    assert name not in ("TransformerModule", "PaperModule") or cli.config.model.init_args.width == width


def test_flows_that_are_shifted_in_training_stay_on_the_grid_of_a_model_of_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small = {"train": 8, "val": 1, "test": 1, "resolution": 8, "frames": 3, "observed": 20, "val_sites": 4}
    options = [f"--data.{name}={value}" for name, value in small.items()]
    quick = ["--trainer.fast_dev_run", "true", "--model", "ConvGRUModule"]
    assert fit(["--config", str(CONF / "navier_stokes.yaml"), *options, *quick]) == 0


def test_what_is_typed_wrongly_is_still_refused() -> None:
    with pytest.raises(UsageError, match=r"unknown key model\.mu"):
        FitCLI(["--config", str(CONF / "spirals.yaml"), "--model", "TransformerModule", "--model.mu", "1e-6"])
    with pytest.raises(UsageError, match="no class is called TransformerModul; did you mean TransformerModule"):
        FitCLI(["--config", str(CONF / "spirals.yaml"), "--model", "TransformerModul"])
