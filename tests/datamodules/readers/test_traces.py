"""Array files of traces and movies."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from cst_lightning.datamodules.readers.traces import read_traces
from cst_lightning.errors import DataError

TRACES = np.random.default_rng(0).normal(size=(20, 3))
MOVIE = np.random.default_rng(0).normal(size=(20, 4, 5))
TIME = np.cumsum(np.random.default_rng(1).uniform(0.1, 0.2, 20))


def npz(path: Path, **content: np.ndarray) -> Path:
    np.savez(path.with_suffix(".npz"), **content)
    return path.with_suffix(".npz")


def h5(path: Path, **content: np.ndarray) -> Path:
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        for key, value in content.items():
            file[key] = value
    return path.with_suffix(".h5")


def version_5(path: Path, **content: np.ndarray) -> Path:
    savemat(path.with_suffix(".mat"), content)
    return path.with_suffix(".mat")


def version_7_3(path: Path, **content: np.ndarray) -> Path:
    """Write as MATLAB does: axes reversed, no vectors."""
    with h5py.File(path.with_suffix(".mat"), "w", userblock_size=512) as file:
        for key, value in content.items():
            file[key] = np.atleast_2d(value).transpose()
    with path.with_suffix(".mat").open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return path.with_suffix(".mat")


WRITERS = [npz, h5, version_5, version_7_3]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("turned", [False, True])
def test_time_says_which_axis_is_time(tmp_path, write, turned):
    found = read_traces(write(tmp_path / "a", values=TRACES.T if turned else TRACES, time=TIME))
    np.testing.assert_allclose(found.read(0, 2, 9), TRACES[2:9], rtol=1e-6)
    np.testing.assert_allclose(found.axes[0].values, TIME)


@pytest.mark.parametrize("write", WRITERS)
def test_movies_have_time_first_or_last(tmp_path, write):
    for i, movie in enumerate((MOVIE, np.moveaxis(MOVIE, 0, -1))):
        found = read_traces(write(tmp_path / f"{i}", values=movie, time=TIME))
        assert [axis.name for axis in found.axes] == ["time", "y", "x"]
        np.testing.assert_allclose(found.read(0, 2, 4)[..., 0], MOVIE[2:4], rtol=1e-6)


def test_npy_needs_the_option_and_a_rate(tmp_path):
    np.save(tmp_path / "a.npy", TRACES.T)
    with pytest.raises(DataError, match="the option layout"):
        read_traces(tmp_path / "a.npy")
    found = read_traces(tmp_path / "a.npy", rate=10.0, layout="time_last")
    np.testing.assert_allclose(found.read(0, 5, 8), TRACES[5:8], rtol=1e-6)
    assert found.axes[0].values[1] == pytest.approx(0.1)


def test_one_trace_is_one_roi(tmp_path):
    found = read_traces(npz(tmp_path / "a", dff=TRACES[:, 0], time=TIME), signal="dff")
    assert found.shape == (1, 20, 1)
    np.testing.assert_allclose(found.read(0, 0, 3)[:, 0], TRACES[:3, 0], rtol=1e-6)


def test_one_of_several_arrays_is_named(tmp_path):
    path = h5(tmp_path / "a", raw=TRACES + 1, clean=TRACES, time=TIME)
    with pytest.raises(DataError, match="the option signal"):
        read_traces(path)
    np.testing.assert_allclose(read_traces(path, signal="clean").read(0, 0, 2), TRACES[:2], rtol=1e-6)


def test_gaps_stay_nan(tmp_path):
    values = TRACES.copy()
    values[4] = np.nan
    assert np.isnan(read_traces(npz(tmp_path / "a", values=values, time=TIME)).read(0, 4, 5)).all()


BAD = {
    "missing": (lambda p: p / "a.npz", "nothing"),
    "ending": (lambda p: (p / "a.txt").write_text("1") and p / "a.txt", r"\.npz, \.npy, \.mat"),
    "no archive": (lambda p: (p / "a.npz").write_bytes(b"x" * 99) and p / "a.npz", "a complete .npz file"),
    "pickled": (lambda p: npz(p / "a", values=np.array([{}, {}])), "plain numbers"),
    "complex": (lambda p: npz(p / "a", values=TRACES * 1j, time=TIME), "real numbers"),
    "strings": (lambda p: npz(p / "a", values=TRACES.astype(str), time=TIME), "real numbers"),
    "time fits no axis": (lambda p: npz(p / "a", values=TRACES, time=TIME[:9]), "axes that fit 9 timestamps"),
    "times decrease": (lambda p: h5(p / "a", values=TRACES, time=TIME[::-1]), "increasing numbers"),
    "four axes": (lambda p: h5(p / "a", values=np.ones((20, 2, 2, 2)), time=TIME), "traces .two axes. or a movie"),
    "no array": (lambda p: h5(p / "a", name="x"), "an array of numbers"),
    "no MATLAB": (lambda p: (p / "a.mat").write_bytes(b"y" * 300) and p / "a.mat", "a complete MATLAB file"),
    "truncated": (lambda p: _cut(h5(p / "a", values=np.ones((20, 999)), time=TIME)), "a complete HDF5 file"),
}


def _cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.mark.parametrize("case", BAD)
def test_bad_files_end_in_one_line(tmp_path, case):
    make, said = BAD[case]
    path = make(tmp_path)
    with pytest.raises(DataError, match=said) as caught:
        read_traces(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("attribute", ["units", "unit"])
def test_the_unit_of_the_time_is_read(tmp_path, attribute):
    path = h5(tmp_path / "a", values=TRACES, time=1000 * TIME)
    with h5py.File(path, "a") as file:
        file["time"].attrs[attribute] = "ms"
    axis = read_traces(path).axes[0]
    assert axis.unit == "s"
    np.testing.assert_allclose(axis.values, TIME)


def test_an_unknown_unit_is_kept(tmp_path):
    path = h5(tmp_path / "a", values=TRACES, time=TIME)
    with h5py.File(path, "a") as file:
        file["time"].attrs["units"] = "laps"
    assert read_traces(path).axes[0].label == "time (laps)"


def test_a_rate_counts_before_the_times_and_is_told(tmp_path):
    found = read_traces(npz(tmp_path / "a", values=TRACES, time=TIME), rate=4.0)
    np.testing.assert_allclose(found.axes[0].values, np.arange(20) / 4)
    assert found.notes == ("rate 4 counts, not the times in the file",)


def test_plain_hdf5_that_is_called_mat_is_not_turned(tmp_path):
    path = h5(tmp_path / "a", values=MOVIE, time=TIME).rename(tmp_path / "a.mat")
    np.testing.assert_allclose(read_traces(path).read(0, 2, 4)[..., 0], MOVIE[2:4], rtol=1e-6)


@pytest.mark.parametrize("write", [npz, h5, version_5])
def test_endings_may_be_in_capitals(tmp_path, write):
    path = write(tmp_path / "a", values=TRACES, time=TIME)
    path = path.rename(path.with_suffix(path.suffix.upper()))
    np.testing.assert_allclose(read_traces(path).read(0, 2, 9), TRACES[2:9], rtol=1e-6)
