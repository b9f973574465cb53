"""The commands as a person types them."""

import contextlib
import csv
import io
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from cst_lightning import cli
from cst_lightning.settings import FitCLI

CONF = Path(__file__).parents[1] / "conf"
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


@pytest.mark.parametrize("own", [{}, {"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "active"}])
def test_waiting_threads_give_their_core_away(own: dict[str, str]) -> None:
    """What the user has said about it stays, and torch does not come before."""
    code = (
        "import os, sys; from cst_lightning import cli; cli.fit(['--version']); "
        "print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    )
    plain = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run([sys.executable, "-c", code], env=plain | own, capture_output=True, text=True, check=True)
    expected = own.get("GOMP_SPINCOUNT") if own else "1000"
    assert done.stdout.splitlines()[-1] == f"{expected} False"


def test_nothing_typed_shows_help_and_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.fit([]) == 2
    assert "usage: cst-fit" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["predict"], "cst predict: error: the following arguments are required: RUN, --at, --out; "),
        (["predict", "run", "--at", "0:1:2", "--out"], "cst predict: error: argument --out: expected one argument; "),
        (["bench"], "cst bench: error: the following arguments are required: CONFIG; "),
        (["data"], "cst data: error: the following arguments are required: COMMAND; "),
        (["data", "convert", "a.npz"], "cst data convert: error: the following arguments are required: --out; "),
        (["nothing"], "cst: error: argument COMMAND: invalid choice: 'nothing'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_a_command_lacks_is_one_line(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(arguments)
    error = capsys.readouterr().err
    assert error.startswith(line)
    assert error.count("\n") == 1
    assert error.endswith(" --help explains\n")


def test_print_config_can_be_used_as_a_config(fit: Fit, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        fit("--print_config", "--model.mu", "0.5")
    assert yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]["mu"] == 0.5


@pytest.mark.parametrize(("name", "expected"), [("PaperModule", {"noise": 0.1}), ("ConvGRUModule", {"width": 32})])
def test_another_model_has_its_own_defaults(name: str, expected: dict[str, float]) -> None:
    model = FitCLI(["--data", "NavierStokesDataModule", "--model", name]).model
    assert {key: model.hparams[key] for key in expected} == expected


def test_what_the_user_has_set_is_not_told_as_chosen(tmp_path: Path) -> None:
    time = np.linspace(0, 1, 40)
    np.savez(tmp_path / "a.npz", values=np.sin(9 * time)[:, None], time=time)
    base = ["--config", str(CONF / "array.yaml"), "--data.path", str(tmp_path / "a.npz")]
    told = [
        {reason.partition(" ")[0] for reason in FitCLI([*base, *more]).reasons}
        for more in ([], ["--trainer.max_epochs", "1"], ["--model.width", "16"], ["--model.initialiser", "linear"])
    ]
    assert told[0] - told[1] == {"trainer.max_epochs"}
    assert told[0] - told[2] == {"model.width"}
    assert told[0] - told[3] == {"model.initialiser"}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--model.widht", "3"], "unknown key model.widht; did you mean model.width?"),
        (["--data.observd", "3"], "unknown key data.observd; did you mean data.observed?"),
        (["--trainer.max_epoch", "3"], "unknown key trainer.max_epoch; did you mean trainer.max_epochs?"),
        (["--model.width", "wide"], "model.width: expected int, found wide"),
        (["--model.heads", "5"], "width is 16, expected a multiple of heads = 5"),
        (["--data", "SpiralDataModule"], "data: no class is called SpiralDataModule; did you mean SpiralsDataModule?"),
        (["--config", "nothing.yaml"], "nothing.yaml: expected a file, found nothing"),
        (["--data.scheme", "pionts"], "data.scheme: expected one of "),
        (["--data.path", "nothing.npz"], "nothing.npz"),
        (["--ckpt_path", "last"], "runs/small/last: expected a checkpoint or the folder of a run"),
        (["--ckpt_path", "small.yaml"], "small.yaml: file: expected a checkpoint of cst-fit, found something else"),
        (["--trainer.precision", "bf16-true"], "trainer.precision is 'bf16-true', which rounds coordinates"),
        (["--trainer.accumulate_grad_batches", "0"], "trainer.accumulate_grad_batches: expected at least 1, found 0"),
        (["--model.lr", "-1"], "lr is -1.0, expected at least 0"),
        (["--data.num_workers", "-1"], "num_workers is -1, expected at least 0"),
        (["--data.test", "0"], "data.test: expected at least one sample to score, found none"),
        (["--data.observed", "100"], "data.observed: expected some points to be held out, found all observed"),
        (["--name", "../elsewhere"], "name: expected a name without a path, found '../elsewhere'"),
        (["--model", "lightning.pytorch.demos.boring_classes.BoringModel"], "BoringModel"),
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


def test_time_of_a_resumed_run_is_the_sum(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    from cst_lightning import runs

    seconds = itertools.count(step=100.0)
    monkeypatch.setattr(runs, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    assert fit() == 0
    first = json.loads(Path("runs/small/last/metrics.json").read_text())["seconds"]
    assert fit("--ckpt_path", "last", "--trainer.max_epochs", "2") == 0
    assert json.loads(Path("runs/small/last/metrics.json").read_text())["seconds"] > first >= 100


def contents(folder: Path) -> dict[Path, bytes]:
    """Everything below a folder, except what TensorBoard writes."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "tfevents" not in path.name}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--model.width", "32"], "model.width: the checkpoint has 16, found 32"),
        (["--model.optimizer", "adamw"], "model.optimizer: the checkpoint has muon, found adamw"),
        (["--trainer.max_epochs", "0"], "trainer.max_epochs: the checkpoint is in epoch 1, found 0"),
        (["--data", "NavierStokesDataModule"], "model.dimension: the checkpoint has 1, found 3"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_resume_that_does_not_fit_changes_nothing(
    finished: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    line: str,
) -> None:
    monkeypatch.chdir(finished)
    before = contents(finished / "runs" / "small")
    checkpoint = "runs/small/version_0/checkpoints/last.ckpt"
    assert cli.fit(["--config", "small.yaml", "--ckpt_path", checkpoint, *arguments]) == 2
    assert capsys.readouterr().err == f"cst-fit: error: {line}\n"
    assert contents(finished / "runs" / "small") == before


@pytest.mark.parametrize("kind", ["garbage", "part", "foreign"])
def test_resume_from_anything_else_changes_nothing(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    monkeypatch.chdir(finished)
    whole = Path("runs/small/version_0/checkpoints/last.ckpt").read_bytes()
    path = tmp_path / "x.ckpt"
    torch.save({"weight": torch.zeros(3)}, path)
    if kind != "foreign":
        path.write_bytes(b"no checkpoint" if kind == "garbage" else whole[: len(whole) // 2])
    before = contents(finished / "runs")
    assert cli.fit(["--config", "small.yaml", "--ckpt_path", str(path)]) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert f"{path}: file: expected a checkpoint of cst-fit, found" in told
    assert contents(finished / "runs") == before


def test_rehearsal_leaves_nothing(fit: Fit, tmp_path_factory: pytest.TempPathFactory) -> None:
    before = contents(Path())
    assert fit("--trainer.fast_dev_run", "true", "--data.cache_dir", str(tmp_path_factory.mktemp("cache"))) == 0
    assert contents(Path()) == before


def test_run_without_checkpoints_is_scored_as_it_ended(fit: Fit, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit("--trainer.enable_checkpointing", "false") == 0
    assert "cst" in json.loads(Path("runs/small/last/metrics.json").read_text())["test"]
    assert "checkpoints" not in capsys.readouterr().out


def test_seed_reaches_data_and_model(fit: Fit) -> None:
    assert seeds(fit, "--seed_everything", "7") == (7, 7)


def test_a_seed_of_its_own_wins(fit: Fit) -> None:
    assert seeds(fit, "--seed_everything", "7", "--data.seed", "3") == (3, 7)


def test_a_seed_in_the_settings_wins(fit: Fit) -> None:
    Path("small.yaml").write_text(SETTINGS.replace("batch_size: 3", "batch_size: 3, seed: 1"))
    assert seeds(fit, "--seed_everything", "7") == (1, 7)


def seeds(fit: Fit, *arguments: str) -> tuple[int, int]:
    """The seeds of data and model, as `--print_config` shows them."""
    with contextlib.redirect_stdout(io.StringIO()) as out, pytest.raises(SystemExit, match="0"):
        fit(*arguments, "--print_config")
    settings = yaml.safe_load(out.getvalue())
    return settings["data"]["init_args"]["seed"], settings["model"]["init_args"]["seed"]


@pytest.mark.parametrize("epochs", ["1", "3"])
def test_last_epoch_is_validated_whatever_the_interval(fit: Fit, epochs: str) -> None:
    assert fit("--trainer.max_epochs", epochs, "--trainer.check_val_every_n_epoch", "2") == 0
    with Path("runs/small/last/metrics.csv").open(newline="") as file:
        found = [row["epoch"] for row in csv.DictReader(file) if row["val/mse"]]
    assert found == (["0"] if epochs == "1" else ["1", "2"])


def test_without_validation_there_is_an_animation_still(fit: Fit) -> None:
    assert fit("--trainer.limit_val_batches", "0", "--figures.animate", "true", "--data.points", "12") == 0
    names = {path.name for path in Path("runs/small/last/figures").iterdir()}
    assert names == {"animation.gif", "curves_test.png", "learning_curves.png"}


def test_progress_counts_no_epoch_that_there_is_not(fit: Fit, capsys: pytest.CaptureFixture[str]) -> None:
    def epochs() -> set[str]:
        return set(re.findall(r"epoch \d+/\d+", capsys.readouterr().err))

    shown = ["--trainer.enable_progress_bar", "true"]
    assert fit("--trainer.max_epochs", "2", *shown) == 0
    assert epochs() == {"epoch 2/2"}
    assert fit("--trainer.max_epochs", "2", "--ckpt_path", "last", *shown) == 0
    assert epochs() <= {"epoch 2/2"}


def test_divergence_is_told_with_the_place_of_the_run(fit: Fit, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit("--model.lr", "1e30", "--trainer.max_epochs", "3") == 1
    (told,) = capsys.readouterr().err.splitlines()
    assert "not finite" in told
    assert told.endswith("it came before there was a checkpoint. The run is in runs/small/version_0")


def test_weights_that_a_step_has_made_useless_are_not_kept(fit: Fit, capsys: pytest.CaptureFixture[str]) -> None:
    one_batch = ["--data.batch_size", "6", "--trainer.max_epochs"]
    assert fit("--model.lr", "1e30", *one_batch, "3") == 1  # seen after an epoch was saved
    assert "not finite" in capsys.readouterr().err
    assert not list(Path("runs/small/version_0").glob("checkpoints/*"))


def test_the_checkpoint_before_a_useless_one_comes_back(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    from cst_lightning.module import CSTModule

    def spoil(module: CSTModule, batch: object, number: int) -> None:
        for group in module.optimizers().param_groups if module.current_epoch == 2 else ():
            group["lr"] = 1e30

    monkeypatch.setattr(CSTModule, "on_train_batch_start", spoil)
    assert fit("--data.batch_size", "6", "--trainer.max_epochs", "5") == 1
    files = {path.name for path in Path("runs/small/version_0/checkpoints").iterdir()}
    assert files == {"best.ckpt", "last.ckpt"}
    kept = torch.load("runs/small/version_0/checkpoints/last.ckpt", weights_only=True)
    assert kept["epoch"] == 1
    assert all(weight.abs().max() < 1e3 for weight in kept["state_dict"].values())


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Ctrl-C at the beginning of the second epoch; undo it to go on."""
    from cst_lightning.module import CSTModule

    def press(module: CSTModule) -> None:
        if module.current_epoch == 1:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CSTModule, "on_train_epoch_start", press)
        yield patch


@pytest.mark.usefixtures("interrupt")
def test_interruption_tells_how_to_go_on(fit: Fit, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit("--trainer.max_epochs", "3") == 130
    assert "last.ckpt; go on with the same command and --ckpt_path last" in capsys.readouterr().err


def test_run_that_was_stopped_ends_with_the_same_weights(fit: Fit, interrupt: pytest.MonkeyPatch) -> None:
    options = ["--trainer.max_epochs", "3", "--model.dropout", "0.1", "--model.noise", "0.1"]
    options += ["--model.directions", "random"]
    assert fit(*options) == 130
    interrupt.undo()
    assert fit(*options, "--ckpt_path", "last") == 0
    assert fit(*options, "--name", "whole") == 0
    stopped, whole = (
        torch.load(f"runs/{name}/last/checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("small", "whole")
    )
    assert all(torch.equal(stopped[name], whole[name]) for name in whole)


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


def test_divergence_of_two_processes_is_told_once(two_processes: Path) -> None:
    command = [Path(sys.executable).parent / "cst-fit", "--config", "small.yaml", "--model.lr", "1e30"]
    options = ["--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    done = subprocess.run(
        [*command, *options, "--name", "diverged", "--trainer.max_epochs", "3"],
        cwd=two_processes.parents[1], env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.count("not finite") == 1


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


def test_predict_works_from_another_folder(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished)
    curves = np.random.default_rng(0).normal(size=(10, 20, 2))
    np.savez("curves.npz", values=curves)
    assert cli.fit(["--config", "small.yaml", "--name", "file", "--data.path", "curves.npz"]) == 0
    monkeypatch.chdir(tmp_path)
    np.savez("at.npz", coords=np.zeros((1, 1)))
    assert cli.main(["predict", str(finished / "runs/file/last"), "--at", "at.npz", "--out", "out.npz"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["at.npz", "out.npz"]


@pytest.mark.parametrize("number", ["-1", "2"])
def test_predict_refuses_a_sample_that_there_is_not(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: str
) -> None:
    monkeypatch.chdir(finished)
    np.savez("at.npz", coords=np.zeros((1, 1)))
    command = ["predict", "runs/small/last", "--at", "at.npz", "--out", "none.npz", "--sample", number]
    assert cli.main(command) == 2
    assert capsys.readouterr().err == f"cst: error: --sample: expected 0 to 1, found {number}\n"


@pytest.mark.parametrize("content", [b"no checkpoint", b""])
def test_predict_refuses_what_is_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("at.npz", coords=np.zeros((1, 1)), values=np.zeros((1, 2)))
    Path("x.ckpt").write_bytes(content)
    command = ["predict", "x.ckpt", "--at", "at.npz", "--observations", "at.npz", "--out", "none.npz"]
    assert cli.main(command) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert "x.ckpt" in told
    assert "checkpoint" in told


def test_predict_refuses_values_of_other_channels(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(finished)
    np.savez("one.npz", coords=np.zeros((1, 1)), values=np.zeros((1, 1)))
    command = ["predict", "runs/small/last", "--at", "one.npz", "--observations", "one.npz", "--out", "none.npz"]
    assert cli.main(command) == 2
    assert "one.npz: expected values of 2 channels as in the training, found 1" in capsys.readouterr().err


def test_a_bug_while_predicting_keeps_its_traceback(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cst_lightning.field import ObservedField

    def broken(*arguments: object) -> None:
        raise ValueError("a bug")

    monkeypatch.chdir(finished)
    monkeypatch.setattr(ObservedField, "__call__", broken)
    np.savez("at.npz", coords=np.zeros((1, 1)))
    with pytest.raises(ValueError, match="a bug"):
        cli.main(["predict", "runs/small/last", "--at", "at.npz", "--out", "none.npz"])
