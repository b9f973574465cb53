"""PSNR and SSIM of held-out frames, against torchmetrics used plainly and against numbers made by hand."""

import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from cst_lightning.images import PSNR, SSIM


def pictures(rows):
    return rows.reshape(-1, 16, 12, 1)


def frames(count=3, seed=0):
    truth = torch.rand(1, count * 192, 1, generator=torch.Generator().manual_seed(seed))
    return truth + 0.1 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(seed + 1)), truth


def everything(count=3):
    return torch.ones(1, count * 192, dtype=torch.bool)


def test_psnr_is_the_mean_over_frames_and_not_of_the_error():
    truth = torch.zeros(1, 384, 1)
    guess = torch.cat([torch.full((1, 192, 1), 0.1), torch.full((1, 192, 1), 0.01)], 1)
    score = PSNR(pictures)
    score.update(guess, truth, everything(2), 2)
    assert score.compute().item() == pytest.approx((20 + 40) / 2)


def test_range_of_values_counts():
    score = PSNR(pictures, value_range=10.0)
    score.update(torch.full((1, 192, 1), 0.1), torch.zeros(1, 192, 1), everything(1), 1)
    assert score.compute().item() == pytest.approx(40)


def test_ssim_is_torchmetrics():
    guess, truth = frames()
    score = SSIM(pictures)
    score.update(guess, truth, everything(), 3)
    expected = structural_similarity_index_measure(
        guess.reshape(3, 1, 16, 12).double(), truth.reshape(3, 1, 16, 12).double(), data_range=1.0
    )
    assert score.compute().item() == pytest.approx(expected.item(), rel=1e-9)


@pytest.mark.parametrize("kind", [PSNR, SSIM])
def test_shown_frames_and_parts_of_frames_do_not_count(kind):
    guess, truth = frames()
    mask = everything()
    mask[:, :192] = False  # shown
    mask[:, 200] = False  # a frame of which one point was shown
    truth[:, :192] = math.nan
    some, alone = kind(pictures), kind(pictures)
    some.update(guess, truth, mask, 3)
    alone.update(guess[:, 384:], truth[:, 384:], everything(1), 1)
    assert some.compute() == alone.compute()


@pytest.mark.parametrize("kind", [PSNR, SSIM])
def test_parts_add_up(kind):
    guess, truth = frames(4)
    whole, parts = kind(pictures), kind(pictures)
    whole.update(guess, truth, everything(4), 4)
    parts.update(guess[:, :576], truth[:, :576], everything(3), 3)
    parts.update(guess[:, 576:], truth[:, 576:], everything(1), 1)
    assert parts.compute().item() == pytest.approx(whole.compute().item())


@pytest.mark.parametrize("kind", [PSNR, SSIM])
def test_nothing_to_score_is_not_a_number(kind):
    guess, truth = frames()
    score = kind(pictures)
    score.update(guess, truth, everything(), 0)
    score.update(guess, truth, ~everything(), 3)
    assert score.compute().isnan()


def test_patches_are_put_together_first():
    patches = torch.rand(1, 4, 48, generator=torch.Generator().manual_seed(0))  # 2 x 2 patches of 8 x 6 pixels
    truth = torch.rand(1, 4, 48, generator=torch.Generator().manual_seed(1))

    def put_together(rows):
        return rows.reshape(-1, 2, 2, 8, 6, 1).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 16, 12, 1)

    own, plain = SSIM(put_together), SSIM(pictures)
    own.update(patches, truth, torch.ones(1, 4, dtype=torch.bool), 1)
    together = [torch.from_numpy(put_together(x.numpy())).reshape(1, 192, 1) for x in (patches, truth)]
    plain.update(*together, everything(1), 1)
    assert own.compute() == plain.compute()


def test_small_pictures_get_a_smaller_window():
    score = SSIM(lambda rows: rows.reshape(-1, 5, 7, 1))
    truth = torch.rand(1, 35, 1, generator=torch.Generator().manual_seed(0))
    score.update(truth, truth, torch.ones(1, 35, dtype=torch.bool), 1)
    assert score.compute().item() == pytest.approx(1)


def test_colours_are_scored_together():
    score = PSNR(lambda rows: np.asarray(rows).reshape(-1, 4, 4, 3))
    guess = torch.zeros(1, 16, 3)
    guess[..., 0] = 0.1
    score.update(guess, torch.zeros(1, 16, 3), torch.ones(1, 16, dtype=torch.bool), 1)
    assert score.compute().item() == pytest.approx(10 * math.log10(3 / 0.01))
