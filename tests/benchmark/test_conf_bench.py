"""Every comparison of conf/bench runs in miniature, on files that have the real layout: every row, every figure."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from cst_lightning.baselines.gaussian_process import GaussianProcess
from cst_lightning.benchmark import building, charts, runner
from cst_lightning.benchmark.protocol import SIZES, Protocol, Size, merged
from cst_lightning.benchmark.reading import read
from cst_lightning.benchmark.runner import bench, chosen
from tests.benchmark.conftest import Here

CONF = Path(__file__).parents[2] / "conf" / "bench"
every_comparison = pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)


def prepared(name: Path, size: Size = "small") -> Protocol:
    """Write what the comparison reads into data/, and return it at one of its sizes."""
    Path("data").mkdir()
    time = np.linspace(0, 1, 100, dtype=np.float32)
    angle = 6 * time + np.random.default_rng(0).normal(size=(22, 1))
    curves = np.stack([np.cos(angle), np.sin(angle)], -1) * np.linspace(0.2, 1, 100)[:, None]
    np.savez("data/spirals_350.npz", values=curves.astype(np.float32), time=time)
    frame, place = np.arange(97.0), np.linspace(0, 3, 12)
    waves = np.sin(frame / 9)[:, None] * np.sin(place) + np.cos(frame / 4.5)[:, None] * np.cos(2 * place)
    np.savez("data/recording.npz", values=waves[None].astype(np.float32), time=frame)
    found = read(name, size)
    data = found.data["init_args"]
    if found.data["class_path"] == "RecordingDataModule":  # its simulation takes a minute
        data["path"] = "data/recording.npz"
    elif not Path(data.get("path") or "data").exists():  # other people's recordings
        data |= {"path": None} | ({"simulated": "movie"} if "binning" in data else {})
    return found


def cut_down(path: Path, folder: Path) -> tuple[Path, list[str]]:
    """Write a comparison with the small size on top of the paper's, and return the methods to try.

    These are the first that is trained, and those that have settings of their own at the paper's size.
    """
    whole = yaml.safe_load(path.read_text())
    small, paper = (whole["sizes"][size] for size in ("small", "paper"))
    whole["sizes"]["paper"] = merged(paper, small)
    made = folder / path.name
    made.write_text(yaml.safe_dump(whole, sort_keys=False))
    learned = next(name for name, method in whole["methods"].items() if "model" in method)
    return made, [learned, *paper.get("methods", {})]


@every_comparison
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


@every_comparison
def test_the_size_for_gpus_runs_cut_down(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cut, methods = cut_down(path, tmp_path)
    comparison = chosen(prepared(cut, "paper"), methods, None)
    report = bench(comparison, tmp_path / "out", execute=Here())
    assert report.failed == {}
    assert all(cell["steps"] == 3 for found in report.tables for seeds in found.values() for cell in seeds.values())


@every_comparison
def test_models_of_the_size_for_gpus_can_be_built(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    whole = prepared(path, "paper")
    first = {case.method: case for case in reversed(list(whole.cases()))}
    for case in first.values():
        if "model" in case.settings:
            building.build(case.settings, case.seed)


@pytest.mark.parametrize("name", ["n1", "n2", "n3"])
def test_flows_for_gpus_are_as_large_as_the_published_ones(name: str) -> None:
    found = read(CONF / f"{name}.yaml", "paper")
    data = found.data["init_args"]
    assert (data["resolution"], data["train"]) == (64, 1000)
    grid = [data["frames"], data["resolution"], data["resolution"]]
    assert found.methods["transformer"]["model"]["init_args"]["entries"] == grid


@pytest.mark.parametrize("size", SIZES)
def test_forecasts_ask_for_all_points_of_the_later_frames(size: Size) -> None:
    # with fewer they would be points at random, of which columns can make nothing
    data = read(CONF / "n3.yaml", size).data["init_args"]
    assert data["dense_points"] == data["frames"] * data["resolution"] ** 2


def test_the_published_recipe_has_its_dummies() -> None:
    """Without them it has no Sobolev term and another attention, and no error tells."""
    dummies = {
        f"{path.stem}.{name}": (protocol.data["init_args"] | method["data"])["dummies"]
        for path in CONF.glob("*.yaml")
        for protocol in [read(path)]
        for name, method in protocol.methods.items()
        if "PaperModule" in method.get("model", {}).get("class_path", "")
    }
    assert len(dummies) >= 8
    assert [name for name, count in dummies.items() if not count] == []
