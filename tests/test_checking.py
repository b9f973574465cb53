"""What `cst data check` finds, and what suggested settings do with one's own recording."""

import json
from pathlib import Path

import numpy as np
import pytest

from cst_lightning import checking, cli
from cst_lightning.checking import check
from cst_lightning.datamodules.kitti import VideoDataModule
from cst_lightning.datamodules.readers.checked import Checked
from cst_lightning.datamodules.readers.suite2p import read_suite2p
from cst_lightning.errors import DataError

ARRAY = str(Path(__file__).parents[1] / "conf" / "array.yaml")
TINY = ["--config", ARRAY, "--model.width", "16", "--model.depth", "1", "--model.heads", "2"]
HOLDOUTS = ["points", "frames", "tail", "region"]


def movie(frames: int) -> np.ndarray:
    time, y, x = np.arange(frames) / 10, np.linspace(0, 1, 8), np.linspace(0, 1, 12)
    return np.sin(3 * time[:, None, None] + 2 * y[:, None] + x).astype(np.float32)


def write(values: np.ndarray, name: str = "a.npz") -> None:
    np.savez(name, values=values, time=np.arange(len(values)) / 10, y=np.linspace(0, 1, 8), x=np.linspace(0, 1, 12))


def fitted(holdout: str) -> dict[str, dict[str, float]]:
    """Train one batch with the suggested settings, and return the test scores."""
    short = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1", "--figures.animate", "false"]
    always = ["--trainer.check_val_every_n_epoch", "1"]
    assert cli.fit([*TINY, *short, *always, "--data.path", "a.npz", "--data.holdout", holdout]) == 0
    scores: dict[str, dict[str, float]] = json.loads(Path("runs/array/last/metrics.json").read_text())["test"]
    return scores


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("frames", "holdout"), [(60, "points"), (60, "frames"), (24, "tail"), (60, "tail"), (24, "region"), (60, "region")]
)
def test_suggested_settings_train_and_score(frames: int, holdout: str) -> None:
    write(movie(frames))
    scores = fitted(holdout)
    assert scores["cst"]["mse"] > 0


@pytest.mark.parametrize("holdout", HOLDOUTS)
def test_suggested_settings_cause_no_warning(holdout: str) -> None:
    write(movie(120))
    assert check([*TINY, "--data.path", "a.npz", "--data.holdout", holdout]).warnings == ()


@pytest.mark.parametrize("gap", ["frames", "corner", "cells"])
def test_whole_frames_are_restored_beside_gaps(gap: str) -> None:
    values = movie(60)
    if gap == "frames":
        values[::7] = np.nan
    elif gap == "corner":
        values[:, :3, :3] = np.nan
    else:
        values[np.random.default_rng(0).random(values.shape) < 0.05] = np.nan
    write(values)
    scores = fitted("frames")
    assert np.isfinite(scores["cst"]["mse"])


def test_few_questions_are_warned_of() -> None:
    write(movie(60))
    arguments = ["--data.divide", "within", "--data.window", "16", "--data.observed", "0.02"]
    warnings = check([*TINY, "--data.path", "a.npz", *arguments]).warnings
    assert any(line.startswith("val: about") and "data.observed" in line for line in warnings)


def test_what_was_assumed_is_noted() -> None:
    np.savez("a.npz", values=movie(120))
    text = check([*TINY, "--data.path", "a.npz", "--data.layout", "tyx"]).text()
    assert "note " in text


def test_what_is_too_large_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    write(movie(120))
    monkeypatch.setattr(checking, "_PATIENCE", 1e-9)
    found = check([*TINY, "--data.path", "a.npz", "--data.window", "12"])
    assert not found.tried
    assert any("a smaller data.window than 12" in line for line in found.warnings)


def test_pictures_are_checked_when_they_are_read(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "p").mkdir()
    for number in range(20):
        Image.fromarray(np.full((6, 8), number, dtype=np.uint8)).save(tmp_path / "p" / f"{number}.png")
    data = VideoDataModule(tmp_path / "p", rate=10, height=None, window=8)
    assert isinstance(data.recordings.read, Checked)
    assert not list(tmp_path.glob("cache/*"))


def test_infinity_less_infinity_is_no_gap(tmp_path: Path) -> None:
    traces = np.ones((3, 20), dtype=np.float32)
    traces[2, 5] = np.inf
    for name in ("F", "Fneu"):
        np.save(tmp_path / f"{name}.npy", traces)
    source = read_suite2p(tmp_path, rate=5.0, rois="all")
    with pytest.raises(DataError, match=r"F\.npy: ROI 2, frame 5: expected a finite number.*found infinity"):
        source.read(0, 0, 20)


@pytest.mark.parametrize("odd", ["pause", "gap", "channel"])
def test_odd_recordings_pass_with_the_template(odd: str) -> None:
    time = np.arange(600) / 10
    values = np.sin(time)[:, None] + np.arange(3.0)
    if odd == "pause":
        time[300:] += 3600
    elif odd == "gap":
        values[100:300] = np.nan
    else:
        values[:, 1] = np.nan
    np.savez("a.npz", values=values, time=time)
    found = check([*TINY, "--data.path", "a.npz"])
    told = {"pause": "the clock pauses once", "gap": "are left out: ", "channel": "all channels but values 1"}[odd]
    assert any(told in line for line in (*found.notes, *found.chosen))
    assert odd == "gap" or not any("dummies lie outside" in line for line in found.warnings)
