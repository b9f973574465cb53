"""Every file in conf/ runs in miniature through the real command, on files that have the real layout."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pytest
import yaml
from PIL import Image
from scipy.io import savemat

from cst_lightning import Field, cli
from cst_lightning.runs import load_data
from tests.formats import written

CONF = Path(__file__).parents[1] / "conf"
SMALL_MODEL = ["--model.width", "16", "--model.depth", "1", "--model.heads", "2"]
SHORT = ["--trainer.max_epochs", "3", "--trainer.log_every_n_steps", "1"]  # the file's own interval of validation
SPLITS = ["--data.train", "6", "--data.val", "2", "--data.test", "3"]
# of the windowed modules, frames of the embedded recording
FRAMES = ["--data.train", "60", "--data.val", "20", "--data.test", "20", "--data.window", "8"]
PICTURES = ["--data.height", "12", "--data.frames", "24", "--data.window", "12"]
SMALL = {
    "SpiralsDataModule": SPLITS,
    "NavierStokesDataModule": [*SPLITS, "--data.resolution", "8", "--data.frames", "4", "--data.observed", "24"],
    "RecordingDataModule": ["--data.path", "data/recording.npz", "--data.components", "3", "--data.window", "4"],
    "CalciumDataModule": FRAMES,
    "ArrayDataModule": ["--data.path", "data/waves.npz", "--data.window", "6"],
    "VideoDataModule": PICTURES,
    "KITTIDataModule": PICTURES,
}
# of files whose observations are frames: so many of four
OBSERVED = {"navier_stokes_frames": "3", "navier_stokes_forecast": "2"}
ANIMATED = ("navier_stokes", "spirals")  # one of a kind: drawing a hundred pictures takes longer than all the rest
SCORES = {"mse", "relative_l2", "r2", "roughness"}


def write_spirals(folder: Path) -> None:
    """Write a file with the names and the axes of the real one: smooth curves of 100 times in the plane."""
    time = np.linspace(0, 1, 100, dtype=np.float32)
    angle = 6 * time + np.random.default_rng(0).normal(size=(11, 1))
    curves = np.stack([np.cos(angle), np.sin(angle)], -1) * np.linspace(0.2, 1, 100)[:, None]
    folder.mkdir()
    np.savez(folder / "spirals_350.npz", values=curves.astype(np.float32), time=time)


def write_recording(folder: Path) -> None:
    """Write 57 frames of 12 pixels: two standing waves."""
    time, place = np.arange(57.0), np.linspace(0, 3, 12)
    frames = np.sin(time / 9)[:, None] * np.sin(place) + np.cos(time / 5)[:, None] * np.cos(2 * place)
    np.savez(folder / "recording.npz", values=frames[None].astype(np.float32), time=time)


def write_waves(folder: Path) -> None:
    """Write 60 frames of 6 x 5 places: a travelling wave, in the layout that is documented."""
    time, y, x = np.arange(60) / 10, np.linspace(0, 1, 6), np.linspace(0, 1, 5)
    values = np.sin(3 * time[:, None, None] + 2 * y[:, None] + x)
    np.savez(folder / "waves.npz", values=values.astype(np.float32), time=time, y=y, x=x)


@pytest.fixture(scope="module", params=sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a run of one settings file."""
    place = tmp_path_factory.mktemp(request.param.stem)
    write_spirals(place / "data")
    write_recording(place / "data")
    write_waves(place / "data")
    small = ["--data.batch_size", "3", *SMALL[yaml.safe_load(request.param.read_text())["data"]["class_path"]]]
    if request.param.stem in OBSERVED:
        small += ["--data.observed", OBSERVED[request.param.stem]]
    picture = ["--figures.animate", str(request.param.stem in ANIMATED).lower()]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert cli.fit(["--config", str(request.param), *SMALL_MODEL, *SHORT, *small, *picture]) == 0
        yield place / "runs" / request.param.stem / "last"


def test_settings_are_saved_in_full(run: Path) -> None:
    settings = yaml.safe_load((run / "config.yaml").read_text())
    assert settings["model"]["init_args"]["width"] == 16
    assert settings["data"]["init_args"]["batch_size"] == 3


@pytest.mark.parametrize("name", ["best", "last"])
def test_checkpoint_loads_as_a_field(run: Path, name: str) -> None:
    assert isinstance(Field.load(run / "checkpoints" / f"{name}.ckpt"), Field)


def test_scores_have_the_agreed_shape(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    assert {"test", "seconds", "seed", "version"} <= set(metrics)
    assert {"cst", "linear"} < set(metrics["test"])
    assert all(set(scores) >= SCORES for scores in metrics["test"].values())


def test_curves_of_training_and_validation_are_written(run: Path) -> None:
    with (run / "metrics.csv").open(newline="") as file:
        columns = set(csv.DictReader(file).fieldnames or ())
    assert {"train/loss", "train/fit", "train/sobolev", "val/mse", "val/r2", "val/relative_l2"} <= columns


def test_tensorboard_events_are_beside_them(run: Path) -> None:
    assert list(run.glob("events.out.tfevents.*"))


def test_figures_are_drawn(run: Path) -> None:
    names = {path.stem for path in run.rglob("*.png")}
    assert "learning_curves" in names
    assert names & {"curves", "fields", "traces", "movie", "frames"}


def test_animation_is_finer_than_the_data(run: Path) -> None:
    if run.parent.name in ANIMATED:
        (path,) = run.rglob("*.gif")
        with Image.open(path) as picture:
            assert picture.n_frames > 4


class Real(NamedTuple):
    """How a format of `tests.formats` is fitted.

    Attributes:
        conf: the settings file.
        figure: that it must draw.
        options: further ones.
        scores: that CST must have beside the usual ones.
    """

    conf: str
    figure: str
    options: tuple[str, ...] = ()
    scores: tuple[str, ...] = ()


VIDEO = ("--data.patch", "6", "--data.window", "12", "--data.height", "12")
MOVIE = ("--data.window", "8", "--data.train", "0.6", "--data.val", "0.2", "--data.test", "0.2")
REAL = {
    "kitti raw": Real("kitti", "frames", (*VIDEO, "--data.drive", "0001"), ("psnr", "ssim")),
    "kitti odometry": Real("kitti", "frames", (*VIDEO, "--data.drive", "00"), ("psnr", "ssim")),
    "video": Real("video", "frames", VIDEO, ("psnr", "ssim")),
    "pictures": Real("video", "frames", VIDEO, ("psnr", "ssim")),
    "suite2p": Real("calcium", "traces", (*MOVIE, "--data.rate", "10"), ("roi_r2",)),
    "caiman": Real("calcium", "traces", MOVIE, ("roi_r2",)),
    "nwb 2": Real("calcium", "traces", MOVIE, ("roi_r2",)),
    "nwb 1": Real("calcium", "traces", MOVIE, ("roi_r2",)),
    "tiff": Real("calcium_movie", "movie", (*MOVIE, "--data.components", "3", "--data.rate", "10"), ("roi_r2",)),
    "ome-tiff": Real("calcium_movie", "movie", (*MOVIE, "--data.components", "3"), ("roi_r2",)),
    "ome-tiff volumes": Real("calcium_movie", "volumes", (*MOVIE, "--data.components", "3"), ("roi_r2",)),
    "h5": Real("array", "fields", ("--data.window", "6")),
    "nc": Real("array", "fields", ("--data.window", "6")),
    "mat v7.3": Real("array", "fields", ("--data.window", "6")),
}


@pytest.fixture(scope="module", params=REAL)
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Real, Path]:
    """A run on a miniature file of the real layout: 60 frames of a travelling wave, and its settings."""
    found, place = REAL[request.param], tmp_path_factory.mktemp("real")
    time, y, x = np.arange(60) / 10, np.linspace(0, 1, 12), np.linspace(0, 1, 16)
    values = 0.5 + 0.4 * np.sin(3 * time[:, None, None] + 2 * y[:, None] + x)
    path = written(request.param, place / "data", time, values.astype(np.float32))
    few = ["--data.batch_size", "3", "--trainer.max_epochs", "2", "--figures.animate", "false"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        config = ["--config", str(CONF / f"{found.conf}.yaml"), "--data.path", str(path.relative_to(place))]
        assert cli.fit([*config, *found.options, *SMALL_MODEL, *few]) == 0
    return found, place / "runs" / found.conf / "last"


def test_real_layouts_are_scored_beside_the_references(real: tuple[Real, Path]) -> None:
    wanted, run = real
    test = json.loads((run / "metrics.json").read_text())["test"]
    assert len(test) > 1
    assert all(np.isfinite(scores["mse"]) for scores in test.values())
    assert test["cst"].keys() >= SCORES | set(wanted.scores)


def test_real_layouts_are_drawn(real: tuple[Real, Path]) -> None:
    wanted, run = real
    assert (run / "figures" / f"{wanted.figure}_test.png").is_file()


def test_real_layouts_are_found_again_by_a_run(real: tuple[Real, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(real[1].parents[2])
    data = load_data(real[1])
    data.prepare_data()
    data.setup("test")
    context = data.sample("test", 0).context
    observed = Field.load(real[1]).observe(context.coords[context.mask], context.values[context.mask])
    assert observed(context.coords).isfinite().all()


def version_5(path: Path, values: np.ndarray) -> None:
    """Write a `.mat` file as MATLAB does by default."""
    savemat(path, {"u": values, "t": np.arange(1.0, 5.0)[None]})


def version_7_3(path: Path, values: np.ndarray) -> None:
    """Write a `.mat` file as MATLAB does above 2 GB: HDF5 with reversed axes behind a header."""
    with h5py.File(path, "w", userblock_size=512) as file:
        file["u"], file["t"] = values.transpose(), np.arange(1.0, 5.0)[:, None]
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


@pytest.mark.parametrize("write", [version_5, version_7_3])
def test_published_flows_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path, np.ndarray], None]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("ns.mat"), np.random.default_rng(0).normal(size=(11, 8, 8, 4)).astype(np.float32))
    options = ["--data.path", "ns.mat", "--data.batch_size", "6", "--figures.animate", "false", *SMALL_MODEL]
    options += SMALL["NavierStokesDataModule"]
    assert cli.fit(["--config", str(CONF / "navier_stokes.yaml"), "--trainer.max_epochs", "1", *options]) == 0
    assert (Path("runs/navier_stokes/last") / "metrics.json").is_file()
