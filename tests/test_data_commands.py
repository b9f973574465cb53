"""`cst data` as a person types it."""

import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import h5py
import numpy as np
import pytest
import tifffile
import torch
import yaml
from PIL import Image

from cst_lightning import cli
from cst_lightning.checking import Part, Report, check
from cst_lightning.converting import convert, simulate, whole_file
from cst_lightning.data_commands import keywords
from cst_lightning.datamodules.readers.opening import open_source
from cst_lightning.datamodules.readers.source import Axis, Gridded, Scattered
from cst_lightning.errors import DataError
from cst_lightning.inspection import Coverage, Moments, describe, regularity, size_text
from cst_lightning.recommending import recommend
from cst_lightning.reporting import config_text, percent, report, save_config
from cst_lightning.simulations import simulations
from cst_lightning.usage import UsageError

RNG = np.random.default_rng(0)


def memory(values: np.ndarray, *axes: np.ndarray, **options: object) -> Gridded:
    """A source over an array (S, T, *space, c)."""
    names = ("time", "y", "x", "z")
    facts = tuple(Axis(name, np.asarray(axis, dtype=float)) for name, axis in zip(names, axes, strict=False))
    channels = tuple(f"c{i}" for i in range(values.shape[-1]))
    return Gridded(
        None, "array", len(values), facts, channels, lambda s, a, b: values[s, a:b].astype(np.float32), **options
    )


def movie(path: Path, time: np.ndarray | None = None) -> Path:
    """A file in the documented layout: 40 frames of 5 x 4."""
    time = np.arange(40) / 8 if time is None else time
    values = np.sin(time[:, None, None] + np.arange(20).reshape(5, 4))
    np.savez(path, values=values.astype(np.float32), time=time, y=np.arange(5.0), x=np.arange(4.0))
    return path


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What a failed command said: one line on standard error and nothing else."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("cst: error: ")
    return err


# --- describe ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [1, 7])
def test_moments_are_those_of_all_values_at_once(pieces: int) -> None:
    values = RNG.normal(size=(50, 3)) * [1, 10, 1e-3] + [0, 1e4, 5]
    values[::5, 0] = np.nan
    moments = Moments(3)
    for part in np.array_split(values, pieces):
        moments.update(part)
    np.testing.assert_allclose(moments.mean, np.nanmean(values, 0))
    np.testing.assert_allclose(moments.std, np.nanstd(values, 0))
    np.testing.assert_array_equal(moments.low, np.nanmin(values, 0))
    np.testing.assert_array_equal(moments.high, np.nanmax(values, 0))
    np.testing.assert_array_equal(moments.missing, [10, 0, 0])


def test_moments_name_channels_that_are_empty_constant_or_infinite() -> None:
    moments = Moments(3)
    moments.update(np.array([[np.nan, 2.0, np.inf], [np.nan, 2.0, 1.0]]))
    np.testing.assert_array_equal(moments.empty, [True, False, False])
    np.testing.assert_array_equal(moments.constant, [False, True, True])
    assert moments.infinite == 1


def test_equal_steps_have_no_jitter_and_no_gaps() -> None:
    steps = regularity(np.arange(100) / 30)
    assert steps is not None
    assert steps.equal
    assert steps.jitter < 1e-12
    assert steps.gaps == ()


def test_a_dropped_frame_is_a_gap_and_no_jitter() -> None:
    steps = regularity(np.delete(np.arange(100.0), 40))
    assert steps is not None
    assert steps.gaps == ((39.0, 2.0),)
    assert steps.jitter == 0


def test_jitter_is_relative_to_the_median_step() -> None:
    steps = regularity(np.cumsum(np.tile([1.8, 2.0, 2.2], 50)))
    assert steps is not None
    assert steps.jitter == pytest.approx(np.std([0.9, 1.0, 1.1]), rel=0.01)


def test_random_times_are_uneven_and_have_no_gaps() -> None:
    steps = regularity(np.sort(RNG.uniform(size=200)))
    assert steps is not None
    assert not steps.equal
    assert steps.gaps == ()


def test_one_point_has_no_steps() -> None:
    assert regularity(np.array([3.0])) is None


def test_description_reads_no_more_than_the_limit() -> None:
    read: list[int] = []

    def reader(sample: int, start: int, stop: int) -> np.ndarray:
        read.append(stop - start)
        return np.zeros((stop - start, 1024, 1024, 1), np.float32)

    axes = (Axis("time", np.arange(10_000.0)), Axis("y", np.arange(1024.0)), Axis("x", np.arange(1024.0)))
    found = describe(Gridded(None, "x", 3, axes, ("c",), reader), limit=64 * 2**20)
    assert 4 * 1024**2 * sum(read) <= 64 * 2**20
    assert max(read) <= 4
    assert found.read < found.total
    assert "sampled" in report(found)


def test_description_of_a_sampled_file_looks_at_its_end_too() -> None:
    last: list[int] = []

    def reader(sample: int, start: int, stop: int) -> np.ndarray:
        last.append(stop)
        return np.zeros((stop - start, 2**22, 1), np.float32)

    describe(
        Gridded(None, "x", 1, (Axis("time", np.arange(99.0)), Axis("x", np.arange(2.0**22))), ("c",), reader), 2**26
    )
    assert min(last) == 1
    assert max(last) == 99


def test_what_is_decoded_in_order_is_read_from_its_beginning() -> None:
    class Decoded:
        def frames(self):
            yield from np.arange(6, dtype=np.float32).reshape(6, 1, 1)

        def __call__(self, *_: int) -> np.ndarray:
            raise AssertionError("that would decode everything into a cache")

    axes = (Axis("time", np.arange(6.0)), Axis("x", np.zeros(1)))
    found = describe(Gridded(None, "video", 1, axes, ("c",), Decoded()))
    assert found.read == 6
    assert found.moments.high[0] == 5


def test_report_names_axes_rate_and_gaps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = movie(tmp_path / "film.npz", np.delete(np.arange(41) / 8, 20))
    assert cli.main(["data", "describe", str(path), "--time_unit", "s"]) == 0
    text = capsys.readouterr().out
    assert "1 x 40 x 5 x 4 x 1 (sample, time, y, x, channel)" in text
    assert "8 Hz by the median step" in text
    assert "1 steps of more than 1.5 medians: 0.25 at 2.375 s" in text


def test_report_of_scattered_points() -> None:
    coords = [np.array([[0.0, 1], [2, 3]]), np.array([[1.0, 1]])]
    source = Scattered(None, "points", coords, [np.ones((2, 1)), np.ones((1, 1))], ("time", "x"), ("u",))
    text = report(describe(source))
    assert "2, of 1 to 2 points, 3 in all" in text
    assert "constant: u" in text


def test_report_warns_of_channels_without_values() -> None:
    values = np.full((1, 5, 2), np.nan)
    values[..., 1] = 3
    text = report(describe(memory(values, np.arange(5))))
    assert "without any finite value: c0" in text
    assert "constant: c1" in text
    assert "50 % of the values are NaN" in text


def test_report_of_many_channels_is_short() -> None:
    text = report(describe(memory(RNG.normal(size=(1, 5, 500)), np.arange(5))))
    assert len(text.splitlines()) < 15


def test_frames_and_cells_without_values_are_named() -> None:
    values = np.ones((1, 12, 3, 4, 1))
    values[0, [2, 3, 4, 9]] = np.nan
    values[:, :, 0, 1] = np.nan
    text = report(describe(memory(values, 0.5 * np.arange(12), np.arange(3), np.arange(4))))
    assert "4 of 12 frames (33.3 %) are NaN throughout: 2 to 4, 9, the first at 1; 1 of 12 cells (8.33 %)" in text
    assert "38.9 % of the values are NaN" in text


def test_frames_of_which_recording_are_empty() -> None:
    values = np.ones((3, 5, 1))
    values[1, 2] = np.nan
    text = report(describe(memory(values, np.arange(5))))
    assert "1 of 15 frames (6.67 %) are NaN throughout: 2 of recording 1" in text


def test_nothing_is_said_of_what_is_all_observed() -> None:
    assert "unobserved" not in report(describe(memory(np.ones((1, 5, 2)), np.arange(5))))


def test_coverage_of_pieces_is_that_of_the_whole() -> None:
    values = np.where(RNG.random((30, 4, 1)) < 0.7, np.nan, 1.0)
    coverage = Coverage((4,))
    for start in range(0, 30, 7):
        coverage.update(0, start, values[start : start + 7])
    assert coverage.frames == [(0, int(i)) for i in np.flatnonzero(np.isnan(values).all((1, 2)))]
    np.testing.assert_array_equal(coverage.seen, (~np.isnan(values)).any((0, 2)))
    assert coverage.total == 30


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0 %"),
        (1, "100 %"),
        (1 - 1e-9, "more than 99.9 %"),
        (1e-9, "less than 0.01 %"),
        (0.125, "12.5 %"),
        (1 / 3, "33.3 %"),
        (12, "1200 %"),
    ],
)
def test_percentages_are_for_people(share: float, text: str) -> None:
    assert percent(share) == text


def test_times_since_1970_are_told_apart() -> None:
    text = report(describe(memory(np.zeros((1, 5, 1)), 1.6e9 + 0.5 * np.arange(5))))
    assert "from 1600000000 to 1600000002" in text


def test_one_frame_is_said() -> None:
    assert "one frame only" in report(describe(memory(np.zeros((1, 1, 1)), np.zeros(1))))


@pytest.mark.parametrize(("count", "text"), [(12, "12 bytes"), (2048, "2 KiB"), (3 * 2**30, "3 GiB"), (2**42, "4 TiB")])
def test_sizes_are_for_people(count: int, text: str) -> None:
    assert size_text(count) == text


def test_config_is_made_of_plain_values() -> None:
    text = config_text({"data": {"path": Path("a.npz"), "window": np.int64(8), "context": (0.3, 0.9)}})
    assert yaml.safe_load(text) == {"data": {"path": "a.npz", "window": 8, "context": [0.3, 0.9]}}


def test_saved_config_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    save_config({"data": {}}, path, "film.npz")
    with pytest.raises(UsageError, match=r"a.yaml: exists already; --force overwrites it"):
        save_config({"data": {"seed": 1}}, path, "film.npz")
    assert yaml.safe_load(path.read_text()) == {"data": {}}
    save_config({"data": {"seed": 1}}, path, "film.npz", force=True)
    assert yaml.safe_load(path.read_text()) == {"data": {"seed": 1}}


def test_suggested_config_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    movie(Path("film.npz"))
    assert cli.main(["data", "describe", "film.npz", "--save", "film.yaml"]) == 0
    small = ["--model.width", "16", "--model.depth", "1", "--model.heads", "2", "--trainer.fast_dev_run", "true"]
    assert cli.fit(["--config", "film.yaml", *small]) == 0


def pictures(folder: Path) -> None:
    """24 PNG of 20 x 30 pixels."""
    folder.mkdir(parents=True)
    for i in range(24):
        Image.fromarray(RNG.integers(0, 255, (20, 30), dtype=np.uint8)).save(folder / f"{i:010d}.png")


def suite2p(folder: Path) -> Path:
    """Traces of three cells, 60 frames."""
    folder.mkdir()
    np.save(folder / "F.npy", RNG.uniform(50, 100, (3, 60)))
    np.save(folder / "Fneu.npy", RNG.uniform(5, 10, (3, 60)))
    np.save(folder / "iscell.npy", np.ones((3, 2)))
    return folder


def caiman(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file["estimates/C"], file["estimates/F_dff"] = RNG.random((3, 60)), RNG.random((3, 60))
        file["params/data/fr"] = 10.0
    return path


def nwb(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["nwb_version"] = "2.6.0"
        series = file.create_group("processing/ophys/DfOverF/RoiResponseSeries")
        series.attrs["neurodata_type"] = "RoiResponseSeries"
        series["data"], series["timestamps"] = RNG.random((60, 3)), np.arange(60) / 10
    return path


def tiff(path: Path) -> Path:
    tifffile.imwrite(path, RNG.integers(100, 900, (60, 12, 14)).astype(np.uint16), photometric="minisblack")
    return path


def video(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 40, "yuv420p"
        for i in range(24):
            picture = np.full((40, 64, 3), 8 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def timed(folder: Path) -> Path:
    pictures(folder)
    (folder / "times.txt").write_text("\n".join(str(i / 10) for i in range(24)))
    return folder


def drive(folder: Path) -> Path:
    pictures(folder / "image_00" / "data")
    stamps = [f"2011-09-26 13:02:{25 + i / 10:012.9f}" for i in range(24)]
    (folder / "image_00" / "timestamps.txt").write_text("\n".join(stamps))
    return folder


KINDS = {
    "suite2p": ("CalciumDataModule", lambda: suite2p(Path("plane0"))),
    "caiman": ("CalciumDataModule", lambda: caiman(Path("a.hdf5"))),
    "nwb": ("CalciumDataModule", lambda: nwb(Path("a.nwb"))),
    "tiff": ("CalciumDataModule", lambda: tiff(Path("a.tif"))),
    "video": ("VideoDataModule", lambda: video(Path("a.mp4"))),
    "pictures": ("VideoDataModule", lambda: timed(Path("frames"))),
    "kitti": ("KITTIDataModule", lambda: drive(Path("2011_09_26_drive_0001_sync"))),
    "npz": ("ArrayDataModule", lambda: movie(Path("film.npz"))),
}


@pytest.mark.parametrize("kind", KINDS)
def test_suggested_config_is_of_the_kind_of_the_file_and_runs(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cst_lightning.settings import FitCLI

    monkeypatch.chdir(tmp_path)
    name, write = KINDS[kind]
    assert cli.main(["data", "describe", str(write()), "--save", "own.yaml"]) == 0
    fit = FitCLI(["--config", "own.yaml"])
    assert type(fit.datamodule).__name__ == name
    fit.datamodule.prepare_data()
    fit.datamodule.setup("fit")
    batch = next(iter(fit.datamodule.train_dataloader()))
    assert torch.isfinite(batch.context.values).any()


def test_options_of_the_reader_are_in_the_suggested_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    suite2p(Path("plane0"))
    assert cli.main(["data", "describe", "plane0", "--rate", "6", "--rois", "all", "--save", "own.yaml"]) == 0
    settings = yaml.safe_load(Path("own.yaml").read_text())["data"]["init_args"]
    assert (settings["rate"], settings["rois"]) == (6, "all")


def test_large_movies_are_binned(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((20, 130, 70), np.uint8), photometric="minisblack")
    assert recommend(path, describe(open_source(path)), {})["data"]["init_args"]["binning"] == 3


def test_channels_without_values_are_left_out_of_the_suggested_config(tmp_path: Path) -> None:
    path, values = tmp_path / "a.npz", RNG.random((40, 3))
    values[:, 1] = np.nan
    np.savez(path, values=values, time=np.arange(40))
    assert recommend(path, describe(open_source(path)), {})["data"]["init_args"]["select"] == [0, 2]


@pytest.mark.parametrize(
    ("values", "why"),
    [(np.zeros((1, 5, 4)), "one time only"), (np.full((9, 5, 4), np.nan), "no value that is not NaN")],
)
def test_no_config_is_suggested_where_none_can_help(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], values: np.ndarray, why: str
) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, values=values, time=np.arange(len(values)), y=np.arange(5), x=np.arange(4))
    assert cli.main(["data", "describe", str(path)]) == 0
    assert f"No configuration is suggested: there is {why}" in capsys.readouterr().out
    assert cli.main(["data", "describe", str(path), "--save", str(tmp_path / "a.yaml")]) == 2
    assert why in capsys.readouterr().err
    assert not (tmp_path / "a.yaml").exists()


def test_unknown_option_of_a_reader(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = movie(tmp_path / "film.npz")
    assert cli.main(["data", "describe", str(path), "--raet", "6"]) == 2
    assert "raet" in one_line(capsys)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--rate", "6"], {"rate": 6}),
        (["--rate=6.5", "--key", "dff"], {"rate": 6.5, "key": "dff"}),
        (["--crop=[0, 9]", "--time-unit", "s"], {"crop": [0, 9], "time_unit": "s"}),
        (["--offset", "-3"], {"offset": -3}),
    ],
)
def test_options_of_readers_are_yaml(words: list[str], found: dict[str, object]) -> None:
    assert keywords(words) == found


@pytest.mark.parametrize("words", [["6"], ["--rate"], ["--"], ["--crop", "[1"]])
def test_options_that_are_none(words: list[str]) -> None:
    with pytest.raises(UsageError, match="expected"):
        keywords(words)


# --- check ------------------------------------------------------------------------------------------------------------

SETTINGS = """
data:
  class_path: SpiralsDataModule
  init_args: {train: 6, val: 2, test: 2, observed: 10, batch_size: 3, target: masked}
model: {width: 16, depth: 1, heads: 2}
trainer: {max_epochs: 5}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(SETTINGS)
    return tmp_path


def test_check_reports_counts_time_and_memory(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "check", "--config", "small.yaml"]) == 0
    text = capsys.readouterr().out
    assert "for 5 epochs" in text
    assert "parameters" in text
    assert "at the peak" in text


def test_check_counts_points(folder: Path) -> None:
    found = check(["--config", "small.yaml"])
    train, val, test = found.parts
    assert (train.samples, val.samples, test.samples) == (6, 2, 2)
    assert train.observed == (10, 10)
    assert test.context == (10, 10)
    assert test.target == (90, 90)
    assert train.dummies == (5, 5)
    assert found.batches == 2
    assert found.epochs == 5


def test_check_writes_nothing_but_cached_data(folder: Path) -> None:
    check(["--config", "small.yaml"])
    assert sorted(path.name for path in folder.iterdir()) == ["cache", "small.yaml"]


def test_check_takes_overrides(folder: Path) -> None:
    found = check(["--config", "small.yaml", "--data.observed=20", "--trainer.max_steps", "3"])
    assert found.parts[0].observed == (20, 20)
    assert found.epochs == 2


def test_check_says_when_there_is_no_end(folder: Path) -> None:
    found = check(["--config", "small.yaml", "--trainer.max_epochs", "-1"])
    assert found.seconds is None
    assert "without end" in found.text()


def test_check_counts_accumulated_batches(folder: Path) -> None:
    accumulated = ["--trainer.accumulate_grad_batches", "2", "--trainer.max_steps", "4"]
    assert check(["--config", "small.yaml", *accumulated]).epochs == 4


@pytest.mark.parametrize(
    ("arguments", "warning"),
    [
        (["--data.observed", "5"], "has 5 observed points"),
        (["--data.observed", "10", "--data.dummy_domain", "box"], "of the dummies lie outside"),
        (["--data.observed", "5", "--data.dummy_domain", "hull"], "a forecast"),
        (["--data.val", "0"], "val: no samples"),
    ],
)
def test_check_warns(folder: Path, arguments: list[str], warning: str) -> None:
    assert any(warning in line for line in check(["--config", "small.yaml", *arguments]).warnings)


def test_check_warns_of_constant_channels_and_nan(folder: Path) -> None:
    values = RNG.normal(size=(8, 30, 3)).astype(np.float32)
    values[..., 1] = 7
    values[:, ::3, 2] = np.nan
    np.savez("a.npz", values=values)
    split = ["--data.train", "4", "--data.val", "2", "--data.test", "2"]
    warnings = "\n".join(check(["--config", "small.yaml", "--data.path", "a.npz", *split]).warnings)
    assert "1 of 3 channels are constant: 1" in warnings
    assert "11 % of the values are NaN" in warnings
    assert "33 % of the points are lost" in warnings


def test_check_is_silent_where_all_is_well(folder: Path) -> None:
    arguments = ["--data.keep_ends", "true", "--data.dummy_domain", "hull"]
    assert check(["--config", "small.yaml", *arguments]).warnings == ()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--config", "none.yaml"], "none.yaml"),
        (["--config", "small.yaml", "--data.observd", "3"], "did you mean data.observed"),
        (["--config", "small.yaml", "--data.path", "none.npz"], "none.npz: file: expected"),
        (["--config", "small.yaml", "--data.observed", "200"], "expected at most the 100 points"),
        (["--config", "small.yaml", "--trainer.precision", "bf16-true"], "trainer.precision"),
        (["--config", "small.yaml", "--ckpt_path", "none.ckpt"], "none.ckpt"),
        (["--config", "small.yaml", "--trainer.default_root_dir", "small.yaml"], "expected a folder"),
        (["--config", "small.yaml", "--data.test", "0"], "data.test: expected at least one sample"),
        (["--config", "small.yaml", "--data.observed", "100"], "data.observed: expected some points to be held out"),
        ([], "expected settings"),
    ],
)
def test_check_refuses_what_would_fail(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    assert cli.main(["data", "check", *arguments]) == 2
    assert line in one_line(capsys)


def test_check_names_what_a_worker_met(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: object) -> None:
        raise DataError("a.h5", "values[3]", "readable data", "rubbish")

    monkeypatch.setattr("cst_lightning.datamodules.samples.point_set", damaged)  # which workers inherit
    assert cli.main(["data", "check", "--config", "small.yaml", "--data.num_workers", "1"]) == 2
    assert one_line(capsys) == "cst: error: a.h5: values[3]: expected readable data, found rubbish\n"


def test_report_of_a_long_training() -> None:
    part = Part("train", 3, (4, 9), (2, 5), (2, 4), (8, 8))
    found = Report((part,), 1000, 10, 5, 0.25, float("nan"), 9000.0, None, ("data.window is 8",), ("careful",))
    assert "about 2.5 h for 10 epochs" in found.text()
    assert "250 ms a training batch" in found.text()
    assert "warning   careful" in found.text()
    assert "chosen    data.window is 8" in found.text()


# --- simulate ---------------------------------------------------------------------------------------------------------

SMALL = {
    "calcium_movie": {"height": 6, "width": 7, "frames": 30},
    "calcium_traces": {"rois": 3, "frames": 40},
    "oscillators": {"points": 8, "frames": 3},
    "road": {"height": 9, "frames": 3, "grey": False},
    "navier_stokes": {"resolution": 8, "frames": 3},
    "spirals": {"points": 12},
    "wake": {"frames": 3, "stride": 15, "transient": 5},
}


@pytest.mark.parametrize("name", sorted(simulations()))
@pytest.mark.parametrize("ending", ["h5", "npz"])
def test_simulation_can_be_opened(tmp_path: Path, name: str, ending: str) -> None:
    samples = 1 if simulations()[name].samples == 1 else 3
    made = simulate(name, tmp_path / f"a.{ending}", samples, settings=SMALL.get(name))
    source = open_source(tmp_path / f"a.{ending}")
    assert source.shape == made.shape
    assert source.channels == made.channels
    assert np.isfinite(source.read(samples - 1, 0, made.shape[1])).all()


def test_recordings_depend_on_seed_and_position_only(tmp_path: Path) -> None:
    for name, samples, seed in (("a", 2, 5), ("b", 4, 5), ("c", 2, 6)):
        simulate("spirals", tmp_path / f"{name}.npz", samples, seed)
    few, many, other = (np.load(tmp_path / f"{name}.npz")["values"] for name in "abc")
    np.testing.assert_allclose(few, many[:2], rtol=1e-6)
    assert not np.allclose(few, other)


def test_simulated_flow_is_that_of_the_data_module(tmp_path: Path) -> None:
    from cst_lightning.datamodules import NavierStokesDataModule

    simulate("navier_stokes", tmp_path / "a.h5", 3, settings={"resolution": 8, "frames": 2})
    with (
        h5py.File(
            NavierStokesDataModule(resolution=8, frames=2, train=1, val=1, test=1, cache_dir=tmp_path).file()
        ) as b,
        h5py.File(tmp_path / "a.h5") as a,
    ):
        np.testing.assert_allclose(a["values"], b["values"], atol=1e-5)


def test_simulated_flow_is_read_by_its_data_module(tmp_path: Path) -> None:
    from cst_lightning.datamodules import NavierStokesDataModule

    simulate("navier_stokes", tmp_path / "a.h5", 3, settings={"resolution": 8, "frames": 2})
    data = NavierStokesDataModule(tmp_path / "a.h5", resolution=None, frames=None, train=1, val=1, test=1)
    data.setup()
    assert data.grid == (2, 8, 8)


def test_simulations_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "simulate"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in simulations())


def test_simulation_from_the_shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "a.h5")
    assert cli.main(["data", "simulate", "spirals", "--out", out, "--samples", "2", "--points", "9"]) == 0
    assert "values 2 x 9 x 2 (sample, time, channel)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nothing", "--out", "a.h5"], "expected one of"),
        (["spirals"], "--out: expected"),
        (["spirals", "--out", "a.csv"], "ends in .h5 or .npz"),
        (["spirals", "--out", "none/a.h5"], "expected a file in a folder that exists"),
        (["spirals", "--out", "a.h5", "--samples", "0"], "--samples: expected at least 1"),
        (["spirals", "--out", "a.h5", "--colour", "red"], "expected settings among points, found colour"),
        (["wake", "--out", "a.h5", "--samples", "2"], "the wake is one recording"),
        (["navier_stokes", "--out", "a.h5", "--resolution", "7.5"], "resolution: expected int, found 7.5"),
        (["navier_stokes", "--out", "a.h5", "--resolution", "1"], "resolution is 2, expected an even number"),
        (["spirals", "--out", "/proc/a.h5"], "a.h5: cannot be written"),
    ],
)
def test_simulations_that_cannot_be(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    assert cli.main(["data", "simulate", *arguments]) == 2
    assert line in one_line(capsys)
    assert [path.name for path in folder.iterdir()] == ["small.yaml"]


# --- convert ----------------------------------------------------------------------------------------------------------


def test_converted_file_is_the_same_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = movie(tmp_path / "film.npz")
    assert cli.main(["data", "convert", str(path), "--out", str(tmp_path / "film.h5")]) == 0
    size = size_text((tmp_path / "film.h5").stat().st_size)
    assert f"film.h5: values 1 x 40 x 5 x 4 x 1 (sample, time, y, x, channel), {size}\n" in capsys.readouterr().out
    before, after = open_source(path), open_source(tmp_path / "film.h5")
    assert after.shape == before.shape
    np.testing.assert_array_equal(after.read(0, 3, 9), before.read(0, 3, 9))
    for a, b in zip(after.axes, before.axes, strict=True):
        assert a.name == b.name
        np.testing.assert_array_equal(a.values, b.values)


def test_converted_square_grid_keeps_its_axes_apart(tmp_path: Path) -> None:
    values = RNG.normal(size=(2, 3, 4, 4, 3)).astype(np.float32)
    source = memory(values, np.arange(3), np.arange(4), 2.0 * np.arange(4))
    convert(source, tmp_path / "a.h5")
    after = open_source(tmp_path / "a.h5")
    assert [axis.name for axis in after.axes] == ["time", "y", "x"]
    assert after.channels == source.channels
    np.testing.assert_array_equal(after.read(1, 0, 3), values[1])


def test_converted_points_are_the_same_points(tmp_path: Path) -> None:
    coords = [np.sort(RNG.uniform(size=(n, 2)), 0) for n in (4, 7)]
    values = [RNG.normal(size=(n, 3)).astype(np.float32) for n in (4, 7)]
    convert(Scattered(None, "points", coords, values, ("time", "x"), ("a", "b", "c")), tmp_path / "a.h5")
    after = open_source(tmp_path / "a.h5")
    assert isinstance(after, Scattered)
    for i in range(2):
        np.testing.assert_array_equal(after.coords[i], coords[i])
        np.testing.assert_array_equal(after.values[i], values[i])


@pytest.mark.parametrize("labels", [("mouse B", "mouse A"), (17, 4), (0.5, 0.25), ()])
def test_converted_points_keep_units_and_names(tmp_path: Path, labels: tuple[Any, ...]) -> None:
    coords, values = [np.zeros((1, 2)), np.ones((1, 2))], [np.zeros((1, 1)), np.ones((1, 1))]
    source = Scattered(None, "points", coords, values, ("time", "x"), ("u",), units=("ms", ""), labels=labels)
    convert(source, tmp_path / "a.h5")
    after = open_source(tmp_path / "a.h5")
    assert isinstance(after, Scattered)
    assert after.units == ("ms", "")
    assert after.labels == (tuple(sorted(labels)) or (0, 1))
    for label, seen in zip(source.labels, source.values, strict=True):
        np.testing.assert_array_equal(after.values[after.labels.index(label)], seen)


def test_thousands_of_channels_can_be_named(tmp_path: Path) -> None:
    convert(memory(np.zeros((1, 2, 9000)), np.arange(2)), tmp_path / "a.h5")
    assert open_source(tmp_path / "a.h5").channels[-1] == "c8999"


def test_conversion_reads_a_few_frames_at_a_time(tmp_path: Path) -> None:
    lengths: list[int] = []

    def reader(sample: int, start: int, stop: int) -> np.ndarray:
        lengths.append(stop - start)
        return np.zeros((stop - start, 2**18, 1), np.float32)  # a MiB a frame

    axes = (Axis("time", np.arange(40.0)), Axis("x", np.arange(2.0**18)))
    told: list[tuple[int, int]] = []
    convert(Gridded(None, "x", 1, axes, ("c",), reader), tmp_path / "a.h5", progress=lambda *pair: told.append(pair))
    assert max(lengths) <= 16
    assert told[-1] == (40, 40)


def failing(at: int, error: BaseException) -> Gridded:
    """A source that fails in the middle."""

    def reader(sample: int, start: int, stop: int) -> np.ndarray:
        if sample == at:
            raise error
        return np.zeros((stop - start, 1), np.float32)

    return Gridded(None, "x", 5, (Axis("time", np.arange(4.0)),), ("c",), reader)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("disk"), MemoryError()])
def test_what_is_interrupted_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        convert(failing(3, error), tmp_path / "a.h5")
    assert list(tmp_path.iterdir()) == []


def test_what_is_interrupted_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        convert(failing(3, KeyboardInterrupt()), tmp_path / "a.h5", force=True)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.h5", b"old")]


def test_a_request_to_terminate_leaves_nothing(tmp_path: Path) -> None:
    script = (
        "import time; from pathlib import Path; from cst_lightning.converting import whole_file\n"
        "with whole_file(Path('a.h5')) as partial:\n    print('ready', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, stdout=-1, stderr=-3) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert len(list(tmp_path.iterdir())) == 1
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    assert list(tmp_path.iterdir()) == []


def test_whole_file_gives_the_handler_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with whole_file(tmp_path / "a"):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["film.npz", "--out", "film.csv"], "ends in .h5"),
        (["film.npz", "--out", "small.yaml.h5"], "exists already"),
        (["none.npz", "--out", "a.h5"], "none.npz"),
        (["film.npz", "--out", "none/a.h5"], "in a folder that exists"),
        (["film.npz", "--out", "/proc/a.h5"], "/proc/a.h5: "),
    ],
)
def test_conversions_that_cannot_be(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    movie(Path("film.npz"))
    Path("small.yaml.h5").write_bytes(b"x")
    before = sorted(path.name for path in folder.iterdir())
    assert cli.main(["data", "convert", *arguments]) == 2
    assert line in one_line(capsys)
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_file_is_not_converted_onto_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.h5"
    simulate("spirals", path, 2)
    assert cli.main(["data", "convert", str(path), "--out", str(path), "--force"]) == 2
    assert "expected another file" in one_line(capsys)


def test_no_space_is_known_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(UsageError, match="expected 20 bytes of free space, found 10 bytes"):
        convert(memory(np.zeros((1, 5, 1)), np.arange(5)), tmp_path / "a.h5")


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, contextlib; from cst_lightning import cli\n"
        "with contextlib.suppress(SystemExit): cli.main(['data', 'describe', '--help'])\n"
        "sys.stderr.write(str('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr == "False"
    assert "--save" in done.stdout
