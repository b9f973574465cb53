"""Every comparison of conf/bench runs in miniature, on files that have the real layout: every row, every figure."""

from pathlib import Path

import numpy as np
import pytest

from cst_lightning.baselines.gaussian_process import GaussianProcess
from cst_lightning.benchmark import building, charts, runner
from cst_lightning.benchmark.protocol import Protocol, read
from cst_lightning.benchmark.runner import bench
from tests.benchmark.conftest import Here

CONF = Path(__file__).parents[2] / "conf" / "bench"


def prepared(name: Path) -> Protocol:
    """Write what the comparison reads into data/, and return it at its small size with one value fewer to sweep."""
    Path("data").mkdir()
    time = np.linspace(0, 1, 100, dtype=np.float32)
    angle = 6 * time + np.random.default_rng(0).normal(size=(22, 1))
    curves = np.stack([np.cos(angle), np.sin(angle)], -1) * np.linspace(0.2, 1, 100)[:, None]
    np.savez("data/spirals_350.npz", values=curves.astype(np.float32), time=time)
    frame, place = np.arange(97.0), np.linspace(0, 3, 12)
    waves = np.sin(frame / 9)[:, None] * np.sin(place) + np.cos(frame / 4.5)[:, None] * np.cos(2 * place)
    np.savez("data/recording.npz", values=waves[None].astype(np.float32), time=frame)
    found = read(name, "small")
    if found.data["class_path"] == "RecordingDataModule":  # its simulation takes a minute
        found.data["init_args"]["path"] = "data/recording.npz"
    return found


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_it_runs_in_miniature(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(building.INTERPOLATORS, "gp", lambda: GaussianProcess(steps=2))
    comparison = prepared(path)
    runner.plan(comparison._replace(seeds=(1, 2, 3)), tmp_path / "seeds")  # test samples are the same with each
    report = bench(comparison, tmp_path / "out", execute=Here())
    assert report.failed == {}
    pictures = {picture.stem for picture in charts.draw(report, tmp_path / "figures")}
    if path.stem == "a1":  # a table for each model, of estimates of its weights
        assert all({"linear", "cst_predicted"} <= found.keys() for found in report.tables)
        assert "attention" in pictures
        return
    for found in report.tables:
        assert found.keys() | report.left_out.keys() >= set(comparison.methods)
    assert pictures >= set(comparison.scores)
