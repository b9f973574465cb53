"""The commands as a person types them."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from cst_lightning import cli

SETTINGS = """
data:
  class_path: SpiralsDataModule
  init_args: {train: 6, val: 2, test: 2, observed: 10, batch_size: 3}
model: {width: 16, depth: 1, heads: 2}
trainer: {max_epochs: 1, log_every_n_steps: 1, enable_progress_bar: false}
figures: {animate: false}
"""
Fit = Callable[..., int]


@pytest.fixture(autouse=True)
def users_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No debugging, whatever the person who runs the tests has set."""
    monkeypatch.delenv("CST_DEBUG", raising=False)


@pytest.fixture
def fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fit:
    """`cst-fit --config small.yaml ...` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(SETTINGS)
    return lambda *arguments: cli.fit(["--config", "small.yaml", *arguments])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where a run of one epoch has been."""
    place = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        Path("small.yaml").write_text(SETTINGS)
        assert cli.fit(["--config", "small.yaml"]) == 0
    return place


def test_help_is_short_and_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.fit(["--help"]) == 0
    assert len(capsys.readouterr().out.splitlines()) < 30


def test_nothing_typed_shows_help_and_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.fit([]) == 2
    assert "usage: cst-fit" in capsys.readouterr().out


def test_print_config_can_be_used_as_a_config(fit: Fit, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        fit("--print_config", "--model.mu", "0.5")
    assert yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]["mu"] == 0.5


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--model.widht", "3"], "unknown key model.widht; did you mean model.width?"),
        (["--data.observd", "3"], "unknown key data.observd; did you mean data.observed?"),
        (["--trainer.max_epoch", "3"], "unknown key trainer.max_epoch; did you mean trainer.max_epochs?"),
        (["--model.width", "wide"], "model.width: expected int, found wide"),
        (["--model.heads", "5"], "width is 16, expected a multiple of heads = 5"),
        (["--data", "SpiralDataModule"], "data: no class is called SpiralDataModule; did you mean SpiralsDataModule?"),
        (["--config", "nothing.yaml"], "File does not exist: "),
        (["--data.path", "nothing.npz"], "nothing.npz"),
        (["--ckpt_path", "last"], "runs/small/last: expected a checkpoint or the folder of a run"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_leaves_nothing(
    fit: Fit, capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    assert fit(*arguments) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith("cst-fit: error: ")
    assert line in told
    assert not Path("runs").exists()


def test_misspelt_key_in_a_file_names_the_file(fit: Fit, capsys: pytest.CaptureFixture[str]) -> None:
    Path("small.yaml").write_text(SETTINGS.replace("observed", "observd"))
    assert fit() == 2
    assert "small.yaml: unknown key data.observd; did you mean data.observed?" in capsys.readouterr().err


def test_debugging_shows_where(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CST_DEBUG", "1")
    with pytest.raises(ValueError, match="unknown key"):
        fit("--model.widht", "3")


def test_facts_of_the_data_reach_the_model(finished: Path) -> None:
    path = finished / "runs" / "small" / "last" / "checkpoints" / "best.ckpt"
    parameters = torch.load(path, weights_only=True)["hyper_parameters"]
    assert (parameters["dimension"], parameters["channels"]) == (1, 2)


def test_model_without_those_facts_can_be_named(fit: Fit, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.fit(["--data", "SpiralsDataModule", "--model", "lightning.pytorch.demos.boring_classes.BoringModel",
                 "--print_config"])  # fmt: skip
    assert yaml.safe_load(capsys.readouterr().out)["model"]["class_path"].endswith("BoringModel")


def test_saved_settings_run_again_under_the_same_name(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished)
    assert cli.fit(["--config", "runs/small/version_0/config.yaml"]) == 0
    assert Path("runs/small/last").resolve().name != "version_0"


def test_name_is_the_folders(fit: Fit) -> None:
    assert fit("--name", "other") == 0
    assert Path("runs/other/last/metrics.json").is_file()


def test_resumed_run_goes_on_in_its_folder(fit: Fit) -> None:
    assert fit() == 0
    assert fit("--ckpt_path", "last", "--trainer.max_epochs", "3") == 0
    with Path("runs/small/version_0/metrics.csv").open(newline="") as file:
        epochs = [int(row["epoch"]) for row in csv.DictReader(file) if row["val/mse"]]
    assert epochs == [0, 1, 2]
    assert not Path("runs/small/version_1").exists()


def test_divergence_is_told_with_the_place_of_the_run(fit: Fit, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit("--model.lr", "1e30", "--trainer.max_epochs", "3") == 1
    assert "not finite" in capsys.readouterr().err


def test_interruption_tells_how_to_go_on(
    fit: Fit, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cst_lightning.module import CSTModule

    def interrupt(module: CSTModule) -> None:
        if module.current_epoch == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(CSTModule, "on_train_epoch_start", interrupt)
    assert fit("--trainer.max_epochs", "3") == 130
    assert "last.ckpt; go on with --ckpt_path last" in capsys.readouterr().err


@pytest.fixture(scope="module")
def two_processes(finished: Path) -> Path:
    """A run that two processes have trained."""
    command = [Path(sys.executable).parent / "cst-fit", "--config", "small.yaml", "--name", "two"]
    options = ["--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    done = subprocess.run(
        [*command, *options], cwd=finished, env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    return finished / "runs" / "two"


def test_two_processes_share_one_run(two_processes: Path) -> None:
    assert [path.name for path in two_processes.glob("version_*")] == ["version_0"]


def test_score_does_not_depend_on_the_number_of_processes(finished: Path, two_processes: Path) -> None:
    # the interpolation of the same observations: it has no weights that could differ
    two, one = (json.loads((run / "last/metrics.json").read_text()) for run in (two_processes, finished / "runs/small"))
    assert two["test"]["linear"] == one["test"]["linear"]


def test_predict_writes_values_and_derivatives(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished)
    np.savez("at.npz", coords=np.linspace(0, 1, 7)[:, None])
    assert cli.main(["predict", "runs/small/last", "--at", "at.npz", "--derivatives", "t,tt", "--out", "out.npz"]) == 0
    with np.load("out.npz") as out:
        assert {name: out[name].shape for name in out.files} == {
            "coords": (7, 1), "values": (7, 2), "d_t": (7, 2), "d_tt": (7, 2),
        }  # fmt: skip


def test_predict_takes_observations_of_the_users(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished)
    coords = np.linspace(0, 1, 5)[:, None]
    np.savez("seen.npz", coords=coords, values=np.concatenate([coords, coords], 1))
    command = ["predict", "runs/small/last", "--at", "seen.npz", "--observations", "seen.npz", "--out", "own.nc"]
    assert cli.main(command) == 0


def test_predict_refuses_points_of_another_dimension(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(finished)
    np.savez("plane.npz", coords=np.zeros((3, 2)))
    assert cli.main(["predict", "runs/small/last", "--at", "plane.npz", "--out", "none.npz"]) == 2
    assert "plane.npz: expected points of dimension 1" in capsys.readouterr().err
    assert not Path("none.npz").exists()
