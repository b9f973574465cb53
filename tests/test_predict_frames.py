"""Whole frames at any time, through the real command."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from cst_lightning import Field, cli
from cst_lightning.predict_frames import read_times, restore
from cst_lightning.runs import load_data
from cst_lightning.usage import UsageError

TIME, ROWS, COLUMNS = np.arange(40) / 10, np.arange(8) / 8, np.arange(10) / 8
KINDS = {"patches": ["--data.patch", "4", "--data.overlap", "2"], "components": ["--data.components", "3"]}
DOCS = Path(__file__).parents[1] / "docs" / "data.md"


@pytest.fixture(scope="module", params=KINDS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on 40 frames of a wave, named as the one in the documentation."""
    place = tmp_path_factory.mktemp(request.param)
    wave = 1 + np.sin(3 * TIME[:, None, None] + 2 * ROWS[:, None] + COLUMNS)
    np.savez(place / "wave.npz", values=wave.astype(np.float32), time=TIME, y=ROWS, x=COLUMNS)
    data = ["--data", "ArrayDataModule", "--data.path", "wave.npz", "--data.tokens", request.param]
    data += [*KINDS[request.param], "--data.holdout", "frames", "--data.window", "8", "--name", "video"]
    data += ["--data.observed", "0.7", "--data.keep_ends", "true"]
    small = ["--model.width", "16", "--model.depth", "1", "--model.heads", "2", "--trainer.max_epochs", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert cli.fit([*data, *small, "--figures.animate", "false"]) == 0
    return place / "runs" / "video" / "last"


@pytest.fixture
def predict(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Call the command in a folder of its own and return what it wrote."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str, out: str = "out.npz", code: int = 0) -> dict[str, np.ndarray]:
        assert cli.main(["predict", str(run), "--out", out, *words]) == code
        assert Path(out).exists() == (code == 0)
        return dict(np.load(out)) if code == 0 and out.endswith("npz") else {}

    return call


def test_frames_are_whole_and_on_the_recordings_axes(predict: Any) -> None:
    found = predict("--frames", "--at", "0:0.7:0.05")
    assert found["values"].shape == (15, 8, 10, 1)
    np.testing.assert_allclose(found["time"], np.arange(15) / 20)
    np.testing.assert_array_equal(found["x"], COLUMNS)


def test_patches_are_blended_and_components_multiplied_out(predict: Any, run: Path) -> None:
    """A trained residual network stays near its initialiser, and a smooth wave near that: seams would be far off."""
    found = predict("--frames", "--at", "0:0.7:0.1")["values"][..., 0]
    data: Any = load_data(run)
    data.setup("test")
    start = data.window_of("test", 0).start
    truth = 1 + np.sin(3 * TIME[start : start + 8, None, None] + 2 * ROWS[:, None] + COLUMNS)
    assert np.abs(found - truth).max() < 0.35
    assert np.abs(found - truth).mean() < 0.15


def test_a_file_of_times_is_as_good_as_a_range(predict: Any) -> None:
    np.savez("at.npz", time=np.arange(8) / 10)
    xr.Dataset(coords={"time": np.arange(8) / 10}).to_netcdf("at.nc")
    wanted = predict("--frames", "--at", "0:0.7:0.1")["values"]
    for file in ("at.npz", "at.nc"):
        np.testing.assert_allclose(predict("--frames", "--at", file)["values"], wanted, atol=1e-6)


def test_derivatives_are_those_of_the_frames(predict: Any) -> None:
    found = predict("--frames", "--at", "0.298:0.302:0.001", "--derivatives", "t")
    difference = (found["values"][-1].astype(float) - found["values"][0]) / 0.004
    np.testing.assert_allclose(found["d_t"][2], difference, atol=2e-2 * np.abs(difference).max())


def test_netcdf_can_be_described(predict: Any, capsys: pytest.CaptureFixture[str]) -> None:
    predict("--frames", "--at", "0:0.7:0.1", out="out.nc")
    assert "of the recording" in capsys.readouterr().err
    assert cli.main(["data", "describe", "out.nc"]) == 0
    assert "time              8 points from 0 to 0.7" in capsys.readouterr().out


def test_frames_of_ones_own_are_observations(predict: Any, run: Path) -> None:
    data: Any = load_data(run)
    data.setup("test")
    window, context = data.window_of("test", 0), data.sample("test", 0).context
    seen = np.unique((context.coords[context.mask][:, 0] * 10).round().long().numpy())
    with np.load(run.parents[2] / "wave.npz") as file:
        frames = file["values"][window.start : window.start + 8][seen]
    np.savez("seen.npz", time=seen / 10, values=frames)
    own = predict("--frames", "--at", "0:0.7:0.1", "--observations", "seen.npz")
    np.testing.assert_allclose(own["values"], predict("--frames", "--at", "0:0.7:0.1")["values"], atol=1e-5)


def test_values_of_patches_come_with_a_hint(predict: Any, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dimension = Field.load(run).network.dimension
    np.savez("at.npz", coords=np.zeros((1, dimension)))
    predict("--at", "at.npz")
    assert "--frames writes whole frames" in capsys.readouterr().err


def test_a_whole_recording_is_written_on_its_own_clock(predict: Any, run: Path) -> None:
    times = np.linspace(TIME[0], TIME[-1], 50)
    np.savez("times.npz", time=times)
    found = predict("--frames", "--recording", "0", "--at", "times.npz")
    np.testing.assert_allclose(found["time"], times)
    wave = 1 + np.sin(3 * times[:, None, None] + 2 * ROWS[:, None] + COLUMNS)
    error = found["values"][..., 0] - wave
    assert np.isfinite(error).all()
    assert np.square(error).mean() < 0.2 * wave.var()


REFUSED = {
    "a recording that there is not": (["--at", "0:1:0.1", "--recording", "1"], "--recording: expected 0 to 0"),
    "times outside of a recording": (["--at", "900:901:0.1", "--recording", "0"], "--at: expected times between"),
    "derivatives of a recording": (
        ["--at", "0:1:0.1", "--recording", "0", "--derivatives", "t"],
        "--recording: expected neither",
    ),
    "no such time": (["--at", "0:1"], "ends in .npz or .nc"),
    "a range that is none": (["--at", "1:0:0.1"], "expected START:STOP:STEP"),
    "a step of nothing": (["--at", "0:1:0"], "expected START:STOP:STEP"),
    "no file": (["--at", "none.npz"], "none.npz"),
    "a sample that there is not": (["--at", "0:1:0.1", "--sample", "99"], "--sample: expected 0 to"),
    "observations that are no frames": (["--at", "0:1:0.1", "--observations", "odd.npz"], "channel) (2, 8, 10, 1)"),
    "observations without times": (["--at", "0:1:0.1", "--observations", "bare.npz"], "expected time and values"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_is_one_line(predict: Any, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("odd.npz", time=np.arange(2.0), values=np.zeros((2, 3, 3)))
    np.savez("bare.npz", values=np.zeros((2, 8, 10)))
    words, told = REFUSED[case]
    predict("--frames", *words, code=2)
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


def test_derivatives_along_space_are_refused(predict: Any, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "x" if Field.load(run).network.dimension == 3 else "01"
    predict("--frames", "--at", "0:1:0.1", "--derivatives", name, code=2)
    assert capsys.readouterr().err.startswith("cst: error: --derivatives: expected ")


def test_the_documented_code_runs(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parents[2])
    (block,) = (text for text in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.S) if "restore(" in text)
    names: dict[str, Any] = {}
    exec(block, names)
    assert names["film"].shape == names["speed"].shape == (31, 8, 10, 1)


def test_many_times_are_asked_for_piece_by_piece(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parents[2])
    data: Any = load_data(run)
    data.setup("test")
    context = data.sample("test", 0).context
    observed = Field.load(run).observe(context.coords[context.mask], context.values[context.mask])
    times = np.linspace(0, 0.7, 37)
    np.testing.assert_allclose(restore(data, observed, times)[20:22], restore(data, observed, times[20:22]), atol=1e-6)


def test_times_of_points_are_taken_once(tmp_path: Path) -> None:
    np.savez(tmp_path / "at.npz", coords=np.array([[0.5, 0], [0.5, 1], [0.1, 0]]))
    np.testing.assert_array_equal(read_times(tmp_path / "at.npz"), [0.1, 0.5])


def test_a_file_without_times_says_what_it_has(tmp_path: Path) -> None:
    np.savez(tmp_path / "at.npz", coords=np.zeros(3))
    with pytest.raises(UsageError, match=r"expected time \(frames,\), or coords \(points, dimensions\), found coords"):
        read_times(tmp_path / "at.npz")
