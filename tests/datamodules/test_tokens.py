"""Frames become points and frames again, whatever the tokens are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cst_lightning.datamodules import tokens as tokens_of
from cst_lightning.datamodules.tokens import Components, Patches, build


def axes(*lengths: int) -> list[np.ndarray]:
    return [np.linspace(0, 1, n) for n in lengths]


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(["points", "patches", "frames"]),
    space=st.lists(st.sampled_from([2, 4, 6]), min_size=1, max_size=3),
    channels=st.integers(1, 3),
    frames=st.integers(1, 3),
)
def test_decoding_undoes_encoding(kind: str, space: list[int], channels: int, frames: int) -> None:
    tokens = build(kind, axes(*space), channels, patch=2)
    movie = np.random.default_rng(0).normal(size=(frames, *space, channels))
    values = tokens.encode(movie)
    assert values.shape == (frames, *tokens.places, tokens.channels)
    np.testing.assert_array_equal(tokens.decode(values), movie)


def test_a_patch_lies_at_its_centre_and_holds_its_pixels() -> None:
    tokens = Patches([np.array([0.0, 1, 2, 3]), np.array([0.0, 10])], 1, 2)
    np.testing.assert_array_equal(tokens.axes[0], [0.5, 2.5])
    np.testing.assert_array_equal(tokens.axes[1], [5.0])
    movie = np.arange(8.0).reshape(1, 4, 2, 1)
    np.testing.assert_array_equal(tokens.encode(movie)[0, 1, 0], [4, 5, 6, 7])


def test_a_patch_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"patch is 3, expected a divisor of every side of frames of shape \(4, 6\)"):
        build("patches", axes(4, 6), 1, patch=3)


def test_components_are_those_of_the_frames_they_were_fitted_to() -> None:
    rng = np.random.default_rng(0)
    shapes = rng.normal(size=(2, 12))
    movie = (rng.normal(size=(30, 2)) @ shapes + 5).reshape(30, 3, 4, 1)
    tokens = Components(axes(3, 4), 1, 2)
    assert not tokens.fitted
    tokens.fit(movie[:20])
    # two shapes make up all frames, so the twenty give a basis for the other ten
    np.testing.assert_allclose(tokens.decode(tokens.encode(movie)), movie, atol=1e-5)


def test_a_frame_with_a_gap_takes_no_part_in_the_components() -> None:
    movie = np.random.default_rng(0).normal(size=(10, 4, 1))
    holed = movie.copy()
    holed[3, 0] = np.nan
    tokens, same = Components(axes(4), 1, 2), Components(axes(4), 1, 2)
    tokens.fit(holed)
    same.fit(np.delete(movie, 3, axis=0))
    np.testing.assert_array_equal(tokens.basis, same.basis)
    assert np.isnan(tokens.encode(holed)[3]).all()


def test_more_components_than_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="components is 5, expected at most 3"):
        Components(axes(4), 1, 5).fit(np.zeros((3, 4, 1)))


def test_cells_that_are_never_measured_take_no_part_in_the_components() -> None:
    movie = np.random.default_rng(0).normal(size=(10, 4, 1))
    movie[:, 1] = np.nan
    tokens, same = Components(axes(4), 1, 2), Components(axes(3), 1, 2)
    tokens.fit(movie)
    same.fit(np.delete(movie, 1, axis=1))
    np.testing.assert_array_equal(tokens.encode(movie), same.encode(np.delete(movie, 1, axis=1)))


def test_cells_that_are_never_measured_are_nan_when_decoded() -> None:
    movie = np.random.default_rng(0).normal(size=(10, 4, 1))
    movie[:, 1] = np.nan
    tokens = Components(axes(4), 1, 2)
    tokens.fit(movie)
    np.testing.assert_array_equal(np.isnan(tokens.decode(tokens.encode(movie))[0, :, 0]), [False, True, False, False])


def test_a_frame_with_nothing_in_it_takes_no_part_in_the_components() -> None:
    movie = np.random.default_rng(0).normal(size=(10, 4, 1))
    movie[::3] = np.nan
    tokens, same = Components(axes(4), 1, 2), Components(axes(4), 1, 2)
    tokens.fit(movie)
    same.fit(movie[~np.isnan(movie[:, 0, 0])])
    np.testing.assert_array_equal(tokens.basis, same.basis)


@pytest.mark.parametrize(("frames", "pixels"), [(30, 12), (12, 30)])
def test_components_are_the_principal_axes(monkeypatch: pytest.MonkeyPatch, frames: int, pixels: int) -> None:
    monkeypatch.setattr(tokens_of, "_BLOCK", 7 * 8 * 12)  # several blocks
    movie = 100 + np.random.default_rng(0).normal(size=(frames, pixels, 1)) * np.arange(1, pixels + 1)[:, None]
    tokens = Components(axes(pixels), 1, 3)
    tokens.fit(movie)
    expected = np.linalg.svd(movie[..., 0] - movie[..., 0].mean(0), full_matrices=False)[2][:3]
    np.testing.assert_allclose(np.abs(tokens.basis @ expected.T), np.eye(3), atol=1e-10)
    flat = (movie[..., 0] - movie[..., 0].mean(0)) @ tokens.basis.T
    np.testing.assert_allclose(tokens.encode(movie), flat, rtol=1e-4, atol=1e-4)


def test_components_of_frames_that_never_change_are_orthonormal() -> None:
    tokens = Components(axes(20), 1, 4)
    tokens.fit(np.ones((8, 20, 1), np.float32))
    np.testing.assert_allclose(tokens.basis @ tokens.basis.T, np.eye(4), atol=1e-12)
