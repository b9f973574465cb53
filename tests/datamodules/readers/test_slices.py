"""Which axis is time, and frames of arrays in files."""

import pickle

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cst_lightning.datamodules.readers.slices import FileFrames, frame_times, open_npy, time_axis
from cst_lightning.errors import DataError

SIZES = st.integers(1, 40)


@given(times=SIZES, rois=SIZES)
def test_counts_find_time_wherever_it_is(times, rois):
    if times == rois:
        return
    assert time_axis("f", "data", (times, rois), times=times)[0] == 0
    assert time_axis("f", "data", (rois, times), times=times)[0] == 1
    assert time_axis("f", "data", (rois, times), others=rois)[0] == 1


def test_a_transposed_file_is_noted():
    axis, (note,) = time_axis("f", "data", (3, 50), times=50, usual="time_first")
    assert axis == 1
    assert "transposed" in note
    assert "50 timestamps" in note


@pytest.mark.parametrize("counts", [{}, {"times": 9}, {"times": 9, "others": 9}])
def test_what_could_be_both_names_the_option(counts):
    with pytest.raises(DataError, match="the option layout"):
        time_axis("f", "data", (9, 9), usual="time_first", **counts)


def test_the_option_decides_what_could_be_both():
    assert time_axis("f", "data", (9, 9), times=9, layout="time_last")[0] == 1


def test_the_option_cannot_contradict_the_timestamps():
    with pytest.raises(DataError, match="layout time_last"):
        time_axis("f", "data", (9, 4), times=9, layout="time_last")


def test_counts_that_fit_no_axis_are_an_error():
    with pytest.raises(DataError, match="8 timestamps"):
        time_axis("f", "data", (9, 4), times=8)


def test_a_formats_own_rule_needs_the_looks_of_a_recording():
    assert time_axis("f", "data", (4, 90), usual="time_last")[0] == 1
    with pytest.raises(DataError, match="the option layout"):
        time_axis("f", "data", (90, 4), usual="time_last")


def test_frames_are_a_weighted_sum_of_what_the_file_has(tmp_path):
    a, b = np.arange(12.0).reshape(3, 4), np.ones((3, 4))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"], file["b"] = a, b
    read = FileFrames(tmp_path / "a.h5", ("a", "b"), (1.0, -2.0), (1, 0), select=np.array([0, 2]), offset=0.5)
    np.testing.assert_allclose(read(0, 1, 3), (a - 2 * b + 0.5).T[1:3][:, [0, 2]])


def test_a_reader_travels_without_its_open_file(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"] = np.arange(12.0).reshape(4, 3)
    read = FileFrames(tmp_path / "a.h5", ("a",), (1.0,), (0, 1))
    first = read(0, 0, 4)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(read))(0, 0, 4), first)


def test_without_a_rate_time_counts_frames():
    times, unit, notes = frame_times("f", 3, None, "no rate")
    assert (times.tolist(), unit, notes) == ([0, 1, 2], "frame", ("no rate",))


def test_time_last_is_said_where_the_format_has_no_order_of_its_own():
    assert time_axis("f", "u", (50, 2), times=50) == (0, ())
    axis, notes = time_axis("f", "u", (2, 50), times=50)
    assert (axis, notes) == (1, ("u is stored transposed, (2, 50): time is axis 1, as 50 timestamps say",))


@pytest.mark.parametrize("rate", [0.0, -1.0, np.nan, np.inf])
def test_a_rate_is_positive(rate):
    with pytest.raises(DataError, match="rate: expected a positive number"):
        frame_times("f", 3, rate, "")


@pytest.mark.parametrize("bad", [np.array([{}]), np.ones(3, dtype=complex), np.array(["a"])])
def test_npy_files_of_anything_but_numbers_are_refused(tmp_path, bad):
    np.save(tmp_path / "x.npy", bad, allow_pickle=True)
    with pytest.raises(DataError, match="numbers"):
        open_npy(tmp_path / "x.npy")
