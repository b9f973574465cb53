"""Overlapping patches, blended."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cst_lightning.datamodules.blend import BlendedPatches, starts, weights
from cst_lightning.datamodules.tokens import Patches


def tokens(space=(9, 13), channels=2, size=4, overlap=2):
    return BlendedPatches([np.arange(n, dtype=float) for n in space], channels, size, overlap)


@given(length=st.integers(1, 30), data=st.data())
def test_weights_are_a_partition_of_unity(length, data):
    size = data.draw(st.integers(1, length))
    step = data.draw(st.integers(1, size))
    cells = starts(length, size, step)[:, None] + np.arange(size)
    np.testing.assert_allclose(weights(cells, length).sum((1, 2)), 1, rtol=1e-14)


@given(space=st.lists(st.integers(5, 9), min_size=1, max_size=3), overlap=st.integers(0, 3))
def test_patches_of_a_frame_give_it_back(space, overlap):
    own = tokens(space, 2, 4, overlap)
    frames = np.random.default_rng(0).normal(size=(3, *space, 2))
    np.testing.assert_allclose(own.decode(own.encode(frames)), frames, atol=1e-13)


def test_without_overlap_they_are_the_plain_ones():
    axes = [np.arange(8.0), np.arange(12.0)]
    own, plain = BlendedPatches(axes, 3, 4, 0), Patches(axes, 3, 4)
    frames = np.random.default_rng(0).normal(size=(2, 8, 12, 3))
    np.testing.assert_array_equal(own.encode(frames), plain.encode(frames))
    np.testing.assert_array_equal(own.axes[1], plain.axes[1])


def test_shapes_are_those_announced():
    own = tokens()
    values = own.encode(np.zeros((5, 9, 13, 2), np.float32))
    assert values.shape == (5, *own.places, own.channels)
    assert own.decode(values).dtype == np.float32


def test_coordinates_are_centres():
    assert tokens((8, 8)).axes[0].tolist() == [1.5, 3.5, 5.5]
    assert tokens((9, 9)).axes[0].tolist() == [1.5, 3.5, 5.5, 6.5]  # the last one is moved back to the border


def test_there_are_no_seams():
    """Patches that disagree by a constant fade into each other: no step as high as the disagreement."""
    own = BlendedPatches([np.arange(12.0)], 1, 6, 4)
    values = np.repeat(np.arange(len(own.axes[0]))[None, :, None], 6, axis=2).astype(float)
    steps = np.abs(np.diff(own.decode(values)[0, :, 0]))
    assert steps.max() < 0.75
    assert np.abs(np.diff(Patches([np.arange(12.0)], 1, 6).decode(values[:, :2])[0, :, 0])).max() == 1


def test_a_gap_is_a_gap_of_all_patches_that_share_it():
    own, frames = tokens((8,), 1), np.zeros((1, 8, 1))
    frames[0, 3] = np.nan
    assert np.isnan(own.encode(frames)).any(-1).tolist() == [[True, True, False]]


@pytest.mark.parametrize(("size", "overlap", "name"), [(10, 2, "patch"), (0, 0, "patch"), (4, 4, "overlap")])
def test_what_does_not_fit_is_refused(size, overlap, name):
    with pytest.raises(ValueError, match=f"^{name} is"):
        tokens(size=size, overlap=overlap)
