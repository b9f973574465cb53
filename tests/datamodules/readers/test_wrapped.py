"""Recordings changed on their way from the file."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cst_lightning.datamodules.readers.slices import ArrayFrames
from cst_lightning.datamodules.readers.source import Axis, Gridded
from cst_lightning.datamodules.readers.wrapped import as_places, binned, measured
from cst_lightning.errors import DataError

VALUES = np.random.default_rng(0).normal(size=(6, 4, 5, 1)).astype(np.float32)


def movie(values: np.ndarray = VALUES) -> Gridded:
    axes = tuple(Axis(n, np.arange(s, dtype=float)) for n, s in zip(("time", "y", "x"), values.shape, strict=False))
    return Gridded(None, "array", 1, axes, ("f",), ArrayFrames(values))


def test_blocks_are_means_and_what_is_left_is_said():
    found = binned(movie(), 2, None, np.nan)
    assert found.shape == (1, 6, 2, 2, 1)
    np.testing.assert_allclose(found.read(0, 0, 6)[:, 1, 0, 0], VALUES[:, 2:, :2, 0].mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(found.axes[2].values, [0.5, 2.5])
    assert "x: 1 pixels" in found.notes[0]


def test_masked_pixels_take_no_part():
    mask = np.zeros((4, 5), bool)
    mask[0, 0] = True
    found = binned(movie(), 2, mask, np.nan).read(0, 0, 6)[..., 0]
    np.testing.assert_allclose(found[:, 0, 0], VALUES[:, 0, 0, 0], rtol=1e-6)
    assert np.isnan(found[:, 1]).all()


def test_a_gap_in_the_recording_stays_one_where_the_mask_is_filled():
    values = VALUES.copy()
    values[3] = np.nan
    mask = np.zeros((4, 5), bool)
    mask[:2] = True
    found = binned(movie(values), 2, mask, 0.0).read(0, 0, 6)
    assert np.isnan(found[3, 0]).all()
    assert (found[:, 1] == 0).all()


@given(size=st.integers(1, 4), frames=st.integers(1, 6))
def test_binning_keeps_the_mean_of_what_it_keeps(size, frames):
    found = binned(movie(), size, None, np.nan).read(0, 0, frames)
    kept = VALUES[:frames, : 4 // size * size, : 5 // size * size]
    np.testing.assert_allclose(found.mean(), kept.mean(), rtol=1e-4, atol=1e-6)


def test_blocks_larger_than_the_frame_are_refused():
    with pytest.raises(DataError, match="binning: expected at least 1 and at most"):
        binned(movie(), 5, None, np.nan)


def test_rois_become_places():
    traces = Gridded(None, "a", 1, (Axis("time", np.arange(6.0)),), ("a", "b"), ArrayFrames(VALUES[:, :2, 0, 0]))
    found = as_places(traces)
    assert found.shape == (1, 6, 2, 1)
    np.testing.assert_array_equal(found.read(0, 1, 3)[..., 0], VALUES[1:3, :2, 0, 0])


def test_the_truth_is_changed_with_what_was_measured():
    found = binned(measured(movie(), ArrayFrames(VALUES + 1)), 2, None, np.nan)
    np.testing.assert_allclose(found.truth_read(0, 0, 6), found.read(0, 0, 6) + 1, rtol=1e-5)
