"""Scores and references region by region."""

import numpy as np
import pytest
import torch

from cst_lightning.baselines.interpolation import Linear
from cst_lightning.rois import Alone, RoiR2

TRUTH = torch.randn(1, 30, 4, generator=torch.Generator().manual_seed(0)).double()
GUESS = TRUTH + 0.3 * torch.randn(1, 30, 4, generator=torch.Generator().manual_seed(1)).double()
ALL = torch.ones(1, 30, dtype=torch.bool)


def by_hand(truth: torch.Tensor, guess: torch.Tensor) -> np.ndarray:
    spread = (truth - truth.mean(0)).square().sum(0)
    return (1 - (guess - truth).square().sum(0) / spread).numpy()


def test_each_region_by_hand():
    score = RoiR2(4)
    score.update(GUESS, TRUTH, ALL, 30)
    np.testing.assert_allclose(score.each(), by_hand(TRUTH[0], GUESS[0]))
    assert score.compute() == score.each().median()


def test_a_shift_and_a_wrong_scale_cost():
    score = RoiR2(4)
    score.update(2 * TRUTH + 1, TRUTH, ALL, 30)
    assert (score.each() < 0).all()


def test_samples_add_up_to_the_whole():
    whole, parts = RoiR2(4), RoiR2(4)
    whole.update(GUESS, TRUTH, ALL, 30)
    for part in (slice(0, 11), slice(11, 30)):
        parts.update(GUESS[:, part], TRUTH[:, part], ALL[:, part], GUESS[:, part].shape[1])
    torch.testing.assert_close(parts.each(), whole.each())


def test_what_is_masked_does_not_count():
    mask = ALL.clone()
    mask[0, 5:9] = False
    spoilt = GUESS.clone()
    spoilt[0, 5:9] = torch.nan
    score = RoiR2(4)
    score.update(spoilt, TRUTH, mask, 30)
    np.testing.assert_allclose(score.each(), by_hand(TRUTH[0][mask[0]], GUESS[0][mask[0]]))


def test_places_are_regions():
    score = RoiR2(5)
    truth, guess = TRUTH[..., :1], GUESS[..., :1]
    score.update(guess, truth, ALL, 6)
    np.testing.assert_allclose(score.each(), by_hand(truth.reshape(6, 5), guess.reshape(6, 5)))


def test_a_constant_region_has_no_score():
    truth = TRUTH.clone()
    truth[..., 0] = 3
    score = RoiR2(4)
    score.update(GUESS, truth, ALL, 30)
    assert score.each()[0].isnan()
    assert score.compute() == score.each()[1:].median()


def test_another_number_of_regions_is_refused():
    with pytest.raises(ValueError, match="a frame has 4 regions, expected 5"):
        RoiR2(5).update(GUESS, TRUTH, ALL, 30)


def test_alone_looks_at_no_neighbour():
    coords = np.array([[0.0, 0], [1.0, 0], [0.0, 1], [1.0, 1]])
    values = np.array([[0.0], [1.0], [10.0], [30.0]])
    found = Alone(Linear())(coords, values, np.array([[0.5, 0], [0.5, 1], [0.5, 2]]), [None, None])
    np.testing.assert_allclose(found[:, 0], [0.5, 20, values.mean()])
