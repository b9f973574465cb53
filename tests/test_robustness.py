"""Files as they come: whatever is done to a file, it opens and gives what it promised, or one line says what is wrong.

Every format is written in miniature with its real names and layout, then damaged in every way that is listed here, and
at random by hypothesis.
"""

import contextlib
import faulthandler
import json
import os
import pickle
import resource
import signal
import tempfile
import traceback
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copytree
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lightning.pytorch import Callback, Trainer
from scipy.io import loadmat, savemat
from torch.utils.data import DataLoader

from cst_lightning import CSTModule, cli
from cst_lightning.datamodules import (
    ArrayDataModule,
    NavierStokesDataModule,
    window_dataset,
)
from cst_lightning.datamodules.base import FieldDataModule
from cst_lightning.datamodules.readers.curves import read_curves
from cst_lightning.datamodules.readers.opening import open_source
from cst_lightning.datamodules.readers.source import Gridded, Scattered, Source
from cst_lightning.datamodules.trajectories import FileTrajectories
from cst_lightning.errors import DataError
from cst_lightning.inspection import describe
from tests.formats import FORMATS, MOVIE, TIME, T, Y, picture, written

# Values above which nothing is read: a flipped byte in a header may promise petabytes.
LARGEST = 2**24


TIMED = [name for name, form in FORMATS.items() if form.timed and "points" not in name and name != "csv"]
# What is read by code in C that damaged files can crash.
MATLAB = ("mat v5", "mat v7.3", "fno v5", "fno v7.3")
NATIVE = (*MATLAB, "h5", "nc", "nc 3", "caiman", "nwb 2", "nwb 1", "pdebench", "pdebench groups", "the well")
every_format = pytest.mark.parametrize("name", FORMATS)


def opened(name: str, path: Path, cache: Path) -> Source:
    """Open what was written; what a reader keeps goes to a folder of its own."""
    options = dict(FORMATS[name].options)
    if name.startswith(("fno", "pictures", "kitti", "video")):
        options["cache_dir"] = cache
    return open_source(path, **options)


def shape_of(source: Source) -> tuple[int, ...]:
    return source.shape if isinstance(source, Gridded) else (len(source.coords), source.values[0].shape[1])


def read_all(source: Source) -> None:
    """Read everything, and hold the source to what it promised."""
    if isinstance(source, Scattered):
        for coords, values in zip(source.coords, source.values, strict=True):
            assert np.isfinite(coords).all()
            assert not np.isinf(values).any()
            assert values.dtype == np.float32
        return
    if source.bytes > LARGEST:
        return
    frames = source.shape[1]
    for sample in range(source.samples):
        for start, stop in {(0, min(2, frames)), (frames // 2, frames)}:
            values = source.read(sample, start, stop)
            assert values.shape == (stop - start, *source.shape[2:])
            assert values.dtype == np.float32
            assert not np.isinf(values).any()


def check_line(error: DataError, place: Path) -> None:
    """One line that names the file, and has what was expected and what was found."""
    line = str(error)
    assert "\n" not in line
    assert str(place) in line
    assert ": expected " in line
    assert ", found " in line


@contextmanager
def may_refuse(place: Path) -> Iterator[None]:
    """Allow the block nothing but a `DataError` of one line."""
    try:
        yield
    except DataError as error:
        check_line(error, place)


# --- what is whole --------------------------------------------------------------------------------------------------


@every_format
def test_whole_files_are_read(tmp_path: Path, name: str) -> None:
    source = opened(name, written(name, tmp_path / "data"), tmp_path / "cache")
    assert shape_of(source) == FORMATS[name].shape
    read_all(source)


@every_format
def test_paths_may_have_any_letters(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "Mäuse – 2 µm, «神経» (1)"
    read_all(opened(name, written(name, folder), tmp_path / "cache"))


@every_format
def test_paths_may_be_text(tmp_path: Path, name: str) -> None:
    path = written(name, tmp_path / "data")
    assert shape_of(opened(name, str(path), tmp_path / "cache")) == FORMATS[name].shape  # type: ignore[arg-type]


@every_format
def test_readers_write_nothing_beside_what_they_read(tmp_path: Path, name: str) -> None:
    path = written(name, tmp_path / "data")
    before = sorted(tmp_path.rglob("*"))
    describe(opened(name, path, tmp_path / "cache"))
    assert [place for place in sorted(tmp_path.rglob("*")) if "cache" not in place.parts] == before


@every_format
def test_folders_may_be_read_only(
    tmp_path: Path, name: str, read_only: Callable[[Path], contextlib.AbstractContextManager[None]]
) -> None:
    path = written(name, tmp_path / "data")
    with read_only(tmp_path / "data"):
        read_all(opened(name, path, tmp_path / "cache"))


@every_format
def test_sources_travel_to_other_processes(tmp_path: Path, name: str) -> None:
    source = opened(name, written(name, tmp_path / "data"), tmp_path / "cache")
    if isinstance(source, Scattered):
        return
    before = source.read(0, 1, 4)  # what is open now must stay behind
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source)).read(0, 1, 4), before)


@pytest.mark.parametrize("name", [name for name, form in FORMATS.items() if form.floats])
def test_nan_stays_nan(tmp_path: Path, name: str) -> None:
    sources = {}
    for mark in (None, 7.0, np.nan):
        values = MOVIE.copy()
        if mark is not None:
            values[:, 1], values[2] = mark, mark  # a row of the pictures, and a frame
        sources[mark] = opened(name, written(name, tmp_path / f"{mark}", values=values), tmp_path / "cache")
    clean, marked, missing = map(everything, sources.values())
    touched = clean != marked  # what follows from these values
    assert touched.any()
    np.testing.assert_array_equal(np.isnan(missing), touched)
    moments = describe(sources[np.nan]).moments
    assert (moments.missing.sum(), moments.infinite) == (touched.sum(), 0)


def everything(source: Source) -> np.ndarray:
    """Return all values of a source in one row."""
    if isinstance(source, Scattered):
        return np.concatenate([values.ravel() for values in source.values])
    return np.concatenate([source.read(i, 0, source.shape[1]).ravel() for i in range(source.samples)])


# neuropil is subtracted from suite2p's traces, which makes NaN of two infinities
@pytest.mark.parametrize("name", [name for name, form in FORMATS.items() if form.floats and name != "suite2p"])
def test_infinite_values_are_refused(tmp_path: Path, name: str) -> None:
    values = np.full_like(MOVIE, np.inf)
    path = written(name, tmp_path / "data", values=values)
    with pytest.raises(DataError, match="expected finite numbers"):
        read_all(opened(name, path, tmp_path / "cache"))


# --- what is damaged ------------------------------------------------------------------------------------------------


@every_format
def test_what_is_not_there(tmp_path: Path, name: str) -> None:
    path = written(name, tmp_path / "data")
    missing = path.with_name(f"none{path.suffix}")
    with pytest.raises(DataError) as caught:
        opened(name, missing, tmp_path / "cache")
    check_line(caught.value, missing)


def files(path: Path) -> list[Path]:
    """Return the files of a format, the one with the values first."""
    return (
        [path]
        if path.is_file()
        else sorted((p for p in path.rglob("*") if p.is_file()), key=lambda p: -p.stat().st_size)
    )


@every_format
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.9])
def test_what_is_cut_off(tmp_path: Path, name: str, share: float) -> None:
    path = written(name, tmp_path / "data")
    file = files(path)[0]
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with may_refuse(tmp_path):
        source = opened(name, path, tmp_path / "cache")
        assert share > 0 or name == "zarr"  # an empty file is never good, but of zarr's the chunks may be missing
        read_all(source)


@every_format
def test_what_is_something_else(tmp_path: Path, name: str) -> None:
    path = written(name, tmp_path / "data")
    for file in files(path):
        file.write_bytes(b"<html><body>404 Not Found</body></html>\n" * 30)
    with pytest.raises(DataError) as caught:
        read_all(opened(name, path, tmp_path / "cache"))
    check_line(caught.value, tmp_path)


BAD_TIMES = {
    "duplicate": TIME[[0, 1, 1, 3, 4, 5]],
    "decreasing": TIME[::-1],
    "one step back": TIME[[0, 2, 1, 3, 4, 5]],
}


@pytest.mark.parametrize("name", TIMED)
@pytest.mark.parametrize("case", BAD_TIMES)
def test_times_that_do_not_increase(tmp_path: Path, name: str, case: str) -> None:
    path = written(name, tmp_path / "data", time=BAD_TIMES[case])
    with pytest.raises(DataError) as caught:
        opened(name, path, tmp_path / "cache")
    check_line(caught.value, tmp_path)


@pytest.mark.parametrize("name", [name for name in TIMED if "kitti" not in name])
def test_times_that_are_no_numbers(tmp_path: Path, name: str) -> None:
    path = written(name, tmp_path / "data", time=np.where(TIME == 0.2, np.nan, TIME))
    with pytest.raises(DataError) as caught:
        opened(name, path, tmp_path / "cache")
    check_line(caught.value, tmp_path)


# xarray does not let one write such a file
@pytest.mark.parametrize("name", [name for name in TIMED if name not in ("nc", "nc 3", "zarr")])
def test_times_that_are_too_few(tmp_path: Path, name: str) -> None:
    path = written(name, tmp_path / "data", time=TIME[:-1])
    with pytest.raises(DataError) as caught:
        opened(name, path, tmp_path / "cache")
    check_line(caught.value, tmp_path)


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("csv", "npz of points")])
def test_one_frame_is_read(tmp_path: Path, name: str) -> None:
    try:
        path = FORMATS[name].write(_made(tmp_path / "data"), TIME[:1], MOVIE[:1])
    except ImportError:
        pytest.skip("package missing")
    with may_refuse(tmp_path):
        source = opened(name, path, tmp_path / "cache")
        assert source.shape[1] == 1
        read_all(source)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


PICTURES = [name for name in FORMATS if name in ("pictures", "kitti raw", "kitti odometry")]


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_of_mixed_sizes(tmp_path: Path, name: str) -> None:
    path = written(name, tmp_path / "data")
    odd = sorted(path.rglob("*.png"))[3]
    picture(odd, MOVIE[0].T)
    with pytest.raises(DataError, match=f"{odd.name}: size: expected 5 x 4") as caught:
        opened(name, path, tmp_path / "cache")
    check_line(caught.value, tmp_path)


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("content", [b"", b"no picture", None])
def test_pictures_that_cannot_be_read(tmp_path: Path, name: str, content: bytes | None) -> None:
    path = written(name, tmp_path / "data")
    odd = sorted(path.rglob("*.png"))[3]
    odd.write_bytes(odd.read_bytes()[:50] if content is None else content)
    with pytest.raises(DataError, match=odd.name) as caught:
        read_all(opened(name, path, tmp_path / "cache"))
    check_line(caught.value, tmp_path)


PICKLED = {
    "a.npz": lambda path: np.savez(path, values=np.array([{}, 1], dtype=object), time=np.arange(2.0)),
    "a.npy": lambda path: np.save(path, np.array([{}, 1], dtype=object)),
    "objects.mat": lambda path: savemat(path, {"values": np.array([{"a": 1}], dtype=object)}),
    "complex.npz": lambda path: np.savez(path, values=MOVIE.astype(complex), time=TIME, y=np.arange(5), x=np.arange(4)),
    "text.npz": lambda path: np.savez(path, values=MOVIE.astype(str), time=TIME, y=np.arange(5), x=np.arange(4)),
    "scalar.npz": lambda path: np.savez(path, values=3.0, time=TIME),
    "none.npz": lambda path: np.savez(path, values=np.zeros((0, 5, 4)), time=[], y=np.arange(5), x=np.arange(4)),
    "other.npz": lambda path: np.savez(path, a=np.zeros((3, 4)), b=np.zeros((3, 4))),
}


@pytest.mark.parametrize("case", PICKLED)
def test_arrays_that_cannot_be_taken(tmp_path: Path, case: str) -> None:
    path = tmp_path / case
    PICKLED[case](path)
    with pytest.raises(DataError) as caught:
        read_all(open_source(path))
    check_line(caught.value, path)


# --- what is damaged at random --------------------------------------------------------------------------------------

EXAMPLES = int(os.environ.get("CST_FUZZ", "8"))
fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize="CST_FUZZ" not in os.environ,  # new examples when asked for; the same ones for everybody else
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Where whole files of each format lie, written once."""
    return {name: tmp_path_factory.mktemp("whole") / "data" for name in FORMATS}


@contextmanager
def copied(name: str, templates: dict[str, Path]) -> Iterator[tuple[Path, Path]]:
    """Yield a copy of a whole format that can be damaged, and a folder for what readers keep."""
    folder = templates[name]
    if not folder.exists():
        (folder.parent / "opened").write_text(str(written(name, folder).relative_to(folder)))
    with tempfile.TemporaryDirectory() as place, quiet():
        copytree(folder, f"{place}/data")
        yield Path(place, "data", (folder.parent / "opened").read_text()), Path(place, "cache")


def attempt(name: str, path: Path, cache: Path) -> None:
    """Open and read what was damaged."""
    with may_refuse(path.parent):
        if name not in ("read_curves", "FileTrajectories"):
            read_all(opened(name, path, cache))
        elif name == "read_curves":
            read_curves(path)
        else:
            found = FileTrajectories(path)
            if len(found) <= 1000 and len(found.coords) <= 10_000:
                found[0]


class Helper:
    """Does what `attempt` does in a fork.

    HDF5 and scipy's reader of MATLAB files do not always survive a damaged one, which is not for us to mend. They are
    tried in a process of their own, with little memory, and all that is asked is that whoever survives meets no other
    exception than `DataError`.
    """

    def __init__(self) -> None:
        self.process = 0

    def __call__(self, name: str, path: Path, cache: Path) -> None:
        """Fail with what the attempt failed with; a crash of the process is no failure."""
        if not self.process:
            self._start()
        self.asked.write(f"{json.dumps([name, str(path), str(cache)])}\n")
        self.asked.flush()
        told = self.told.readline()
        if not told:
            self.close()
            return
        assert not (text := json.loads(told)), text

    def close(self) -> None:
        """End the process."""
        if self.process:
            self.asked.close()
            self.told.close()
            os.waitpid(self.process, 0)
            self.process = 0

    def _start(self) -> None:
        asked, told = os.pipe(), os.pipe()
        with quiet():  # about forks of processes with threads
            self.process = os.fork()
        if not self.process:
            with contextlib.suppress(BaseException):
                self._serve(asked, told)
            os._exit(0)
        os.close(asked[0])
        os.close(told[1])
        self.asked, self.told = os.fdopen(asked[1], "w"), os.fdopen(told[0])

    def _serve(self, asked: tuple[int, int], told: tuple[int, int]) -> None:
        os.close(asked[1])
        os.close(told[0])
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, used + 2**30))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        faulthandler.disable()
        with os.fdopen(asked[0]) as questions, os.fdopen(told[1], "w") as answers:
            for line in questions:
                name, path, cache = json.loads(line)
                signal.setitimer(signal.ITIMER_PROF, 5)  # of processor time: HDF5 can also go round in circles
                try:
                    attempt(name, Path(path), Path(cache))
                    text = ""
                except BaseException:
                    text = traceback.format_exc()
                answers.write(f"{json.dumps(text)}\n")
                answers.flush()


@pytest.fixture
def helper() -> Iterator[Helper]:
    """A process for what may crash."""
    found = Helper()
    yield found
    found.close()


@contextmanager
def quiet() -> Iterator[None]:
    """A library may warn of damage before we refuse it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@every_format
@fuzzed
@given(data=st.data())
def test_flipped_bytes(name: str, templates: dict[str, Path], helper: Helper, data: st.DataObject) -> None:
    with copied(name, templates) as (path, cache):
        file = data.draw(st.sampled_from(files(path)))
        content = bytearray(file.read_bytes())
        for _ in range(data.draw(st.integers(1, 6))):
            content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        file.write_bytes(content)
        (helper if name in NATIVE else attempt)(name, path, cache)


@every_format
@fuzzed
@given(share=st.floats(0, 1), rest=st.booleans())
def test_lost_ends(name: str, templates: dict[str, Path], helper: Helper, share: float, rest: bool) -> None:
    with copied(name, templates) as (path, cache):
        file = files(path)[0]
        content = file.read_bytes()
        cut = int(share * len(content))
        file.write_bytes(content[:cut] + b"\0" * (len(content) - cut if rest else 0))  # or a download with holes
        (helper if name in NATIVE else attempt)(name, path, cache)


def keys_of(path: Path) -> list[str]:
    """Return what can be missing in a file or a folder."""
    if path.is_dir():
        return [str(file.relative_to(path)) for file in files(path)]
    if path.suffix == ".npz":
        with np.load(path) as file:
            return list(file.files)
    if h5py.is_hdf5(path):
        with h5py.File(path) as file:
            found: list[str] = []
            file.visit(found.append)
            return [*found, *(f"@{name}" for name in file.attrs)]
    return [key for key in loadmat(path) if not key.startswith("__")] if path.suffix == ".mat" else []


def drop(path: Path, gone: set[str]) -> None:
    """Write a file or a folder again without some of its content."""
    if path.is_dir():
        for name in gone:
            (path / name).unlink()
    elif path.suffix == ".npz":
        with np.load(path) as file:
            rest = {key: file[key] for key in file.files if key not in gone}
        np.savez(path, **rest)
    elif h5py.is_hdf5(path):
        with h5py.File(path, "r+") as file:
            for key in gone:
                if key.startswith("@"):
                    del file.attrs[key[1:]]
                elif key in file:
                    del file[key]
    else:
        savemat(path, {k: v for k, v in loadmat(path).items() if not k.startswith("__") and k not in gone})


@pytest.mark.parametrize(
    "name",
    [name for name in FORMATS if name not in ("npy", "nc 3", "csv", "tiff", "ome-tiff", "ome-tiff volumes", "video")],
)
@fuzzed
@given(data=st.data())
def test_missing_keys(name: str, templates: dict[str, Path], data: st.DataObject) -> None:
    with copied(name, templates) as (path, cache):
        drop(path, data.draw(st.sets(st.sampled_from(keys_of(path)), min_size=1)))
        with may_refuse(path.parent):
            read_all(opened(name, path, cache))


@pytest.mark.parametrize("read", ["read_curves", "FileTrajectories"])
@pytest.mark.parametrize("ending", ["npz", "h5"])
@fuzzed
@given(data=st.data())
def test_damaged_curves(read: str, ending: str, helper: Helper, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as place, quiet():
        path = Path(place, f"a.{ending}")
        if ending == "npz":
            np.savez(path, values=MOVIE, time=np.arange(Y))
        else:
            with h5py.File(path, "w") as file:
                file["values"], file["time"] = MOVIE, np.arange(Y)
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 6))):
            content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
        helper(read, path, Path(place))


# --- the commands ---------------------------------------------------------------------------------------------------


@every_format
def test_describe_says_in_one_line_what_is_wrong(
    tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(name, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    for file in files(path):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 3])
    options = [word for key, value in FORMATS[name].options.items() for word in (f"--{key}", value)]
    with quiet():
        code = cli.main(["data", "describe", str(path), *options])
    out, err = capfd.readouterr()
    if name in ("csv", "zarr"):  # a table with fewer rows is a table
        return
    assert code == 2
    assert err.startswith("cst: error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err + out


@every_format
def test_describe_explains_whole_files(
    tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(name, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    options = [word for key, value in FORMATS[name].options.items() for word in (f"--{key}", value)]
    assert cli.main(["data", "describe", str(path), *options]) == 0
    out, err = capfd.readouterr()
    assert "class_path" in out
    assert err == ""


FITTED = {
    "without any value": lambda v: np.full_like(v, np.nan),
    "with a channel without any value": lambda v: np.where(np.arange(2) == 1, np.nan, v),
    "constant": lambda v: np.ones_like(v),
    "with a constant channel": lambda v: np.where(np.arange(2) == 1, 1, v),
    "of one sample": lambda v: v[:1],
    "of one frame": lambda v: v[:, :1],
    "infinite": lambda v: np.where(np.arange(2) == 1, np.inf, v),
}


# one sample is one of training, with none left to score
REFUSED = ("without any value", "with a channel without any value", "infinite", "of one sample", "of one frame")


@pytest.mark.parametrize("case", FITTED)
def test_training_on_odd_data_works_or_says_why(
    tmp_path: Path, case: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    values = np.random.default_rng(0).normal(size=(8, 30, 2))
    np.savez("a.npz", values=FITTED[case](values).astype(np.float32))
    split = ["--data.train", "0.6", "--data.val", "0.2", "--data.test", "0.2"]
    model = ["--model.width", "16", "--model.depth", "1", "--model.heads", "2", "--trainer.fast_dev_run", "true"]
    with quiet():
        code = cli.fit(["--data", "SpiralsDataModule", "--data.path", "a.npz", *split, *model])
    err = capfd.readouterr().err
    assert code == (2 if case in REFUSED else 0)
    assert "Traceback" not in err
    if code:
        assert err.splitlines()[-1].startswith("cst-fit: error: ")


def grid_of(path: Path, values: np.ndarray) -> list[str]:
    """Two channels on a grid, (S, T, y, x, c), as an array of one's own."""
    _, frames, rows, columns, _ = values.shape
    place = {"y": np.arange(rows) / rows, "x": np.arange(columns) / columns}
    np.savez(path / "a.npz", values=values, time=np.arange(frames) / 10, **place)
    return ["array", "--data.path", "a.npz", "--data.layout", "styxc", "--data.window", "8"]


def traces_of(path: Path, values: np.ndarray) -> list[str]:
    """The same as traces of two regions, the mean over places."""
    np.savez(path / "a.npz", values=values[0].mean((1, 2)), time=np.arange(values.shape[1]) / 10)
    parts = ["--data.train", "0.6", "--data.val", "0.2", "--data.test", "0.2"]
    return ["calcium", "--data.path", "a.npz", "--data.layout", "time_first", "--data.window", "8", *parts]


def movie_of(path: Path, values: np.ndarray) -> list[str]:
    """The same as a movie, of the last channel."""
    import tifffile

    tifffile.imwrite(path / "a.tif", values[0, ..., 1], photometric="minisblack")
    parts = ["--data.train", "0.6", "--data.val", "0.2", "--data.test", "0.2", "--data.components", "2"]
    return ["calcium_movie", "--data.path", "a.tif", "--data.rate", "10", "--data.window", "8", *parts]


def pictures_of(path: Path, values: np.ndarray) -> list[str]:
    """The same as a folder of coloured pictures, where there is no NaN: red and green are the channels, blue is 0."""
    (path / "frames").mkdir()
    colours = np.concatenate([values[0], np.zeros_like(values[0, ..., :1])], -1)
    for i, frame in enumerate(np.nan_to_num(colours)):
        picture(path / "frames" / f"{i:03d}.png", frame)
    size = ["--data.height", "8", "--data.patch", "4", "--data.grey", "false", "--data.window", "8"]
    return ["video", "--data.path", "frames", "--data.rate", "10", *size]


def stretch(values: np.ndarray, first: int, last: int) -> np.ndarray:
    """Make a part of the frames NaN."""
    frames = np.arange(values.shape[1])[:, None, None, None]
    return np.where((frames >= first) & (frames < last), np.nan, values)


RECORDED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as usual": lambda v: v,
    "without any value": lambda v: np.full_like(v, np.nan),
    "with a channel without any value": lambda v: np.where(np.arange(2) == 1, np.nan, v),
    "constant": lambda v: np.full_like(v, 0.5),
    "with a constant channel": lambda v: np.where(np.arange(2) == 1, 0.5, v),
    "of one frame": lambda v: v[:, :1],
    "of two frames": lambda v: v[:, :2],
    "with a long stretch of NaN": lambda v: stretch(v, 20, 33),
    "with NaN at the end": lambda v: stretch(v, 45, 60),
    "infinite": lambda v: np.where(np.arange(2) == 1, np.inf, v),
}
KINDS = {"array": grid_of, "traces": traces_of, "movie": movie_of, "pictures": pictures_of}
# What cannot be trained on or not be scored. A picture has no NaN and nothing infinite in it; of an array a channel
# without any value is left out; the end is the test of what is split in time.
ODD = {
    "without any value": ("array", "traces", "movie"),
    "with a channel without any value": ("traces", "movie"),
    "of one frame": ("array", "traces", "movie", "pictures"),
    "of two frames": ("array", "traces", "movie", "pictures"),
    "with NaN at the end": ("traces", "movie"),
    "infinite": ("array", "traces", "movie"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", RECORDED)
def test_odd_recordings_are_trained_on_and_scored_or_refused(
    tmp_path: Path, kind: str, case: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    time, y, x = np.arange(60) / 10, np.arange(8) / 8, np.arange(12) / 8
    wave = 0.5 + 0.2 * np.sin(3 * time[:, None, None] + 2 * y[:, None] + x)
    values = np.stack([wave, wave**2], -1)[None] + 0.01 * np.random.default_rng(0).normal(size=(1, 60, 8, 12, 2))
    with quiet():
        conf, *options = KINDS[kind](tmp_path, RECORDED[case](values).astype(np.float32))
        model = ["--model.width", "16", "--model.depth", "1", "--model.heads", "2", "--trainer.max_epochs", "1"]
        settings = ["--config", str(Path(__file__).parents[1] / "conf" / f"{conf}.yaml"), "--data.batch_size", "4"]
        code = cli.fit([*settings, *options, *model, "--name", "odd", "--figures.animate", "false"])
    err = capfd.readouterr().err
    assert "Traceback" not in err
    if kind in ODD.get(case, ()):
        assert code == 2
        assert err.splitlines()[-1].startswith("cst-fit: error: ")
    else:
        assert code == 0
        scores = json.loads(Path("runs/odd/last/metrics.json").read_text())["test"]["cst"]
        assert np.isfinite(scores["mse"])


# --- what is huge ---------------------------------------------------------------------------------------------------


@contextmanager
def bounded(limit: int) -> Iterator[None]:
    """Fail if the block holds more bytes at once; numpy tells of its arrays."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < limit


def huge_hdf5(path: Path) -> Path:
    """A sparse file of a TiB: nothing of it was ever written."""
    with h5py.File(path, "w") as file:
        file.create_dataset("values", (2**20, 512, 512), "f4", chunks=(1, 512, 512)).attrs["layout"] = "tyx"
        file["time"], file["y"], file["x"] = np.arange(2.0**20), np.arange(512.0), np.arange(512.0) / 2
    return path


def huge_npy(path: Path) -> Path:
    """A sparse file of 16 GiB: a header, and a hole behind it."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (2**14, 512, 512)})
        file.truncate(file.tell() + 4 * 2**14 * 512 * 512)
    return path


@pytest.mark.parametrize(("write", "ending"), [(huge_hdf5, "h5"), (huge_npy, "npy")])
def test_huge_files_are_looked_at_in_little_memory(tmp_path: Path, write: Callable[[Path], Path], ending: str) -> None:
    path = write(tmp_path / f"a.{ending}")
    options = {"layout": "tyx"} if ending == "npy" else {}
    with bounded(300 * 2**20):
        source = open_source(path, **options)
        found = describe(source, limit=32 * 2**20)
    assert found.total == source.shape[1] * 512 * 512
    assert found.read < found.total


# --- several processes ----------------------------------------------------------------------------------------------


def trajectories(path: Path, samples: int = 12) -> Path:
    """A file in our own layout in which sample i is i throughout."""
    with h5py.File(path, "w") as file:
        values = np.broadcast_to(np.arange(samples, dtype=np.float32)[:, None, None, None, None], (samples, 3, 4, 4, 1))
        ramp = 0.01 * np.random.default_rng(0).normal(size=values.shape)
        file.create_dataset("values", data=values + ramp.astype(np.float32), chunks=(1, 3, 4, 4, 1))
        file["time"], file["x"], file["y"] = np.arange(3.0), np.arange(4) / 4, np.arange(4) / 4
    return path


def flow(path: Path, **options: Any) -> NavierStokesDataModule:
    parts = {"train": 8, "val": 2, "test": 2, "split": "ordered", "observed": 10, "batch_size": 2, "dummies": 2}
    return NavierStokesDataModule(path, resolution=None, frames=None, **{**parts, **options})


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_read_hdf5_as_one_process_does(tmp_path: Path, workers: int) -> None:
    path = trajectories(tmp_path / "a.h5")
    alone, several = flow(path), flow(path, num_workers=workers)
    for data in (alone, several):
        data.setup()
        data.sample("train", 0)  # the handle is open before workers are forked
    for a, b in zip(alone.train_dataloader(), several.train_dataloader(), strict=True):
        torch.testing.assert_close(a.target.values, b.target.values)
        torch.testing.assert_close(a.context.coords, b.context.coords)


def recording(path: Path, length: int = 48) -> Path:
    """An HDF5 recording in the documented layout of which frames 4 i to 4 i + 3 are i throughout."""
    values = np.repeat(np.arange(length // 4, dtype=np.float32), 4)[:, None, None] * np.ones((1, 4, 4), np.float32)
    ramp = 0.01 * np.random.default_rng(0).normal(size=values.shape).astype(np.float32)
    with h5py.File(path, "w") as file:
        file.create_dataset("values", data=values + ramp, chunks=(2, 4, 4), compression="gzip").attrs["layout"] = "tyx"
        file["time"], file["y"], file["x"] = np.arange(float(length)), np.arange(4) / 4, np.arange(4) / 4
    return path


def windowed(path: Path, **options: Any) -> ArrayDataModule:
    """Windows of four frames, eight of which are for training: the i-th is i throughout."""
    parts = {"train": 32, "val": 8, "test": 8, "window": 4, "stride": 4}
    return ArrayDataModule(path, observed=0.5, batch_size=2, dummies=2, **{**parts, **options})


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
@pytest.mark.parametrize("tokens", ["points", "frames", "patches"])
def test_workers_read_windows_of_hdf5_as_one_process_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokens: str
) -> None:
    monkeypatch.setattr(window_dataset, "_REMEMBERED", 0)  # every window from the file, as of a large one
    path = recording(tmp_path / "a.h5")
    options = {"tokens": tokens, "patch": 2, "holdout": "points" if tokens == "points" else "frames"}
    alone, several = windowed(path, **options), windowed(path, num_workers=2, **options)
    for data in (alone, several):
        data.setup()
        data.sample("train", 0)  # the handle is open before workers are forked
    pairs = list(zip(alone.train_dataloader(), several.train_dataloader(), strict=True))
    assert len(pairs) == 4
    for a, b in pairs:
        torch.testing.assert_close(a.target.values, b.target.values)
        torch.testing.assert_close(a.context.coords, b.context.coords)


class Frames(torch.utils.data.Dataset[np.ndarray]):
    """Frames of a source, one by one."""

    def __init__(self, source: Gridded) -> None:
        self.source = source

    def __len__(self) -> int:
        return self.source.shape[1]

    def __getitem__(self, i: int) -> np.ndarray:
        return self.source.read(0, i, i + 1)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
@pytest.mark.parametrize(
    "name", ["h5", "nc", "the well", "caiman", "nwb 2", "suite2p", "pdebench", "tiff", "zarr", "pictures"]
)
def test_workers_read_every_lazy_format(tmp_path: Path, name: str) -> None:
    source = opened(name, written(name, tmp_path / "data"), tmp_path / "cache")
    whole = source.read(0, 0, T)  # the file is open before workers are forked
    parts = list(DataLoader(Frames(source), batch_size=None, num_workers=2))
    np.testing.assert_array_equal(np.concatenate(parts), whole)


class KeepSamples(Callback):
    """Write down which samples a process has trained on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        values = [float(v[m].mean()) for v, m in zip(batch.target.values, batch.target.mask, strict=True)]
        values = pl_module.normalization.values_back(torch.tensor(values)[:, None])[:, 0].round().tolist()
        with (self.folder / f"rank{trainer.global_rank}").open("a") as file:
            file.writelines(f"{int(i)} {int(v)}\n" for i, v in zip(batch.index, values, strict=True))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch.distributed and spawned processes warn about themselves
@pytest.mark.parametrize(
    ("write", "module", "workers"), [(trajectories, flow, 1), (recording, windowed, 2)], ids=["whole", "windows"]
)
def test_two_processes_with_workers_read_every_sample_once(
    tmp_path: Path, write: Callable[[Path], Path], module: Callable[..., FieldDataModule], workers: int
) -> None:
    data = module(write(tmp_path / "a.h5"), num_workers=workers)
    data.setup()
    data.sample("train", 0)
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", devices=2, strategy="ddp_spawn", callbacks=[KeepSamples(tmp_path)],
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        limit_val_batches=0, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(CSTModule(3, 1, data.periodic, width=16, depth=1, heads=2), data)
    seen = [line.split() for rank in range(2) for line in (tmp_path / f"rank{rank}").read_text().splitlines()]
    assert sorted(int(i) for i, _ in seen) == list(range(8))
    assert all(i == value for i, value in seen)
