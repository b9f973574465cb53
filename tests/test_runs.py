"""Folders, links and loggers of a run."""

import csv
from pathlib import Path

import pytest

from cst_lightning import runs
from cst_lightning.errors import DataError


def finished(run: Path, *names: str) -> Path:
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").touch()
    for name in names:
        (run / "checkpoints" / name).touch()
    return run


def test_versions_count_up(tmp_path: Path) -> None:
    assert [runs.reserve(tmp_path / "x").name for _ in range(3)] == ["version_0", "version_1", "version_2"]


def test_a_gap_is_not_filled(tmp_path: Path) -> None:
    (tmp_path / "version_7").mkdir()
    assert runs.reserve(tmp_path).name == "version_8"


def test_last_follows_the_newest_run(tmp_path: Path) -> None:
    for _ in range(2):
        run = runs.reserve(tmp_path)
        runs.point_last(run)
    assert (tmp_path / "last").resolve() == run.resolve()


def test_last_is_relative_so_that_runs_can_be_moved(tmp_path: Path) -> None:
    runs.point_last(runs.reserve(tmp_path / "a"))
    (tmp_path / "a").rename(tmp_path / "b")
    assert (tmp_path / "b" / "last").is_dir()


def test_a_folder_of_the_users_called_last_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "last").mkdir()
    runs.point_last(runs.reserve(tmp_path))
    assert not (tmp_path / "last").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last", "version_0"]


@pytest.mark.parametrize("kind", ["best", "last"])
def test_checkpoint_of_a_run_is_found(tmp_path: Path, kind: str) -> None:
    run = finished(tmp_path / "version_0", "best.ckpt", "last.ckpt")
    assert runs.find_checkpoint(run, kind).name == f"{kind}.ckpt"


def test_the_other_checkpoint_stands_in(tmp_path: Path) -> None:
    assert runs.find_checkpoint(finished(tmp_path / "version_0", "last.ckpt"), "best").name == "last.ckpt"


def test_missing_checkpoint_names_the_place(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        runs.find_checkpoint(tmp_path / "nowhere", "last")


def test_checkpoint_knows_its_run(tmp_path: Path) -> None:
    run = finished(tmp_path / "version_0", "last.ckpt")
    assert runs.run_of(run / "checkpoints" / "last.ckpt") == run.resolve()


def test_checkpoint_elsewhere_belongs_to_no_run(tmp_path: Path) -> None:
    assert runs.run_of(tmp_path / "last.ckpt") is None


def test_resumed_log_keeps_what_was_there(tmp_path: Path) -> None:
    for step in (1, 2):
        logger = runs.ContinuedCSVLogger(str(tmp_path), "x", "version_0")
        logger.log_metrics({"loss": float(step)}, step)
        logger.save()
    with (tmp_path / "x" / "version_0" / "metrics.csv").open(newline="") as file:
        assert [row["loss"] for row in csv.DictReader(file)] == ["1.0", "2.0"]


def test_resumed_log_takes_new_columns(tmp_path: Path) -> None:
    for name in ("a", "b"):
        logger = runs.ContinuedCSVLogger(str(tmp_path), "x", "version_0")
        logger.log_metrics({name: 1.0}, 1)
        logger.save()
    with (tmp_path / "x" / "version_0" / "metrics.csv").open(newline="") as file:
        assert [(row["a"], row["b"]) for row in csv.DictReader(file)] == [("1.0", ""), ("", "1.0")]


def test_only_what_exists_is_listed(tmp_path: Path) -> None:
    run = finished(tmp_path, "last.ckpt")
    (run / "figures").mkdir()
    assert runs.contents(run) == [
        (run / "config.yaml", "the resolved settings"),
        (run / "checkpoints", "last.ckpt"),
    ]


def test_text_is_written_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("old")

    def fail(*arguments: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(runs.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        runs.write_text(tmp_path / "a", "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "old")]


@pytest.mark.parametrize("text", ["", "a: [", "data: 3", "data: {class_path: Nothing}"])
def test_settings_that_are_none_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(DataError, match=r"config.yaml: data: expected "):
        runs.load_data(tmp_path)
