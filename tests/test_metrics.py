"""Metrics: hand-computed scores, and independence of padding, batch split and number of processes (P9)."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as multiprocessing
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cst_lightning.metrics import MSE, R2, RelativeL2, Roughness, merge_moments

PLAIN = [MSE, lambda: R2(2), RelativeL2]


def _data(samples: int = 5, points: int = 12, seed: int = 0, offset: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randn(samples, points, 2, generator=generator) + offset
    prediction = target + 0.3 * torch.randn(samples, points, 2, generator=generator)
    mask = torch.rand(samples, points, generator=generator) < 0.7
    return prediction, target, mask


def _times(samples: int, points: int) -> Tensor:
    return torch.linspace(0, 1, points, dtype=torch.float64).square().expand(samples, points)[..., None]


def test_mse_is_the_mean_over_points_and_channels() -> None:
    score = MSE()
    score.update(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), torch.zeros(1, 2, 2))
    assert score.compute().item() == (1 + 4 + 9 + 16) / 4


def test_mse_skips_masked_points_even_if_nan() -> None:
    score = MSE()
    target = torch.tensor([[[0.0], [torch.nan]]])
    score.update(torch.tensor([[[2.0], [1.0]]]), target, torch.tensor([[True, False]]))
    assert score.compute().item() == 4.0


def test_r2_of_the_mean_is_zero() -> None:
    score = R2()
    score.update(torch.full((1, 3, 1), 2.0), torch.tensor([[[1.0], [2.0], [3.0]]]))
    assert score.compute().item() == 0.0


def test_r2_punishes_bias_that_correlation_forgives() -> None:
    score, target = R2(), torch.tensor([[[1.0], [2.0], [3.0]]])
    score.update(target + 1, target)
    assert score.compute().item() == 1 - 3 / 2


def test_r2_centres_each_channel_by_its_own_mean() -> None:
    score, target = R2(2), torch.tensor([[[0.0, 100.0], [2.0, 102.0]]])
    score.update(target + torch.tensor([1.0, 0.0]), target)
    assert score.compute().item() == 1 - 2 / 4


def test_r2_is_exact_on_data_around_a_million() -> None:
    score = R2()
    for shift in (0.0, 1.0, 2.0, 3.0):
        target = torch.tensor([[[1e6 + shift], [1e6 + shift + 1.0]]], dtype=torch.float64)
        score.update(target + 0.25, target)
    # truth is 0, 1, 1, 2, 2, 3, 3, 4 above 1e6: mean 2, centred sum of squares 12
    assert score.compute().item() == pytest.approx(1 - 8 * 0.0625 / 12, abs=1e-14)


def test_r2_is_nan_where_the_truth_is_constant() -> None:
    score = R2()
    score.update(torch.zeros(1, 3, 1), torch.ones(1, 3, 1))
    assert score.compute().isnan()


def test_r2_names_a_wrong_number_of_channels() -> None:
    with pytest.raises(ValueError, match="2 channels, expected 1"):
        R2().update(torch.zeros(1, 3, 2), torch.zeros(1, 3, 2))


def test_relative_l2_is_the_mean_of_ratios_not_the_ratio_of_means() -> None:
    score = RelativeL2()
    target = torch.tensor([[[3.0], [4.0]], [[0.0], [10.0]]])
    score.update(target + torch.tensor([[[5.0], [0.0]], [[0.0], [5.0]]]), target)
    assert score.compute().item() == (1 + 0.5) / 2


def test_relative_l2_does_not_count_a_sample_without_points() -> None:
    score = RelativeL2()
    mask = torch.tensor([[True, True], [False, False]])
    score.update(torch.ones(2, 2, 1) * 2, torch.ones(2, 2, 1), mask)
    assert score.compute().item() == 1.0


def test_roughness_of_the_truth_is_one() -> None:
    score, (_, target, _) = Roughness(), _data()
    score.update(target, target, _times(5, 12), frames=12)
    assert score.compute().item() == 1.0


def test_roughness_on_uneven_times_is_the_ratio_of_squared_curvatures() -> None:
    score, times = Roughness(), _times(1, 6)
    score.update(3 * times.square() + times, times.square(), times, frames=6)
    assert score.compute().item() == pytest.approx(9.0, rel=1e-10)


def test_roughness_of_a_straight_line_is_zero() -> None:
    score, times = Roughness(), _times(1, 6)
    score.update(2 * times, times.square(), times, frames=6)
    assert score.compute().item() == pytest.approx(0.0, abs=1e-20)


def test_roughness_differs_along_time_and_never_across_places() -> None:
    places = torch.tensor([0.0, 50.0]).repeat(4)[None, :, None]
    times = torch.arange(4.0).repeat_interleave(2)[None, :, None]
    score = Roughness()
    score.update(places + times.square(), times.square(), times, frames=4)
    assert score.compute().item() == pytest.approx(1.0)


def test_roughness_needs_whole_frames() -> None:
    with pytest.raises(ValueError, match="7 points, expected a multiple of frames = 3"):
        Roughness().update(*torch.zeros(3, 1, 7, 1).unbind(), frames=3)


def test_shapes_that_disagree_are_named() -> None:
    with pytest.raises(ValueError, match=r"prediction has shape \(1, 3, 1\).*\(1, 2, 1\)"):
        MSE().update(torch.zeros(1, 3, 1), torch.zeros(1, 2, 1))


@pytest.mark.parametrize("make", PLAIN)
def test_float32_inputs_are_summed_in_float64_under_any_module_precision(make) -> None:
    score = make().float()
    score.update(*_data())
    assert score.compute().dtype == torch.float64


@pytest.mark.parametrize("make", PLAIN)
@settings(max_examples=20, deadline=None)
@given(split=st.integers(0, 5), padding=st.integers(0, 4), seed=st.integers(0, 99))
def test_padding_and_batch_split_change_nothing(make, split: int, padding: int, seed: int) -> None:
    data = _data(seed=seed, offset=100.0)
    whole, parts = make(), make()
    whole.update(*data)
    for rows in (slice(split), slice(split, None)):
        padded = [torch.nn.functional.pad(x[rows], (0, 0, 0, padding), value=7.0) for x in data[:2]]
        parts.update(*padded, torch.nn.functional.pad(data[2][rows], (0, padding)))
    torch.testing.assert_close(parts.compute(), whole.compute(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("make", [*PLAIN, Roughness])
@pytest.mark.parametrize("split", [0, 2])
def test_merged_processes_equal_one_process(make, split: int) -> None:
    prediction, target, mask = _data(offset=1000.0)
    extra = {"coords": _times(5, 12)} if make is Roughness else {}
    whole, ranks = make(), [make(), make()]
    _update(whole, prediction, target, mask, extra, slice(None))
    _update(ranks[0], prediction, target, mask, extra, slice(split))
    _update(ranks[1], prediction, target, mask, extra, slice(split, None))
    _sync(ranks)
    torch.testing.assert_close(ranks[0].compute(), whole.compute(), rtol=1e-12, atol=0)


def test_merge_state_of_torchmetrics_merges_r2() -> None:
    data = _data(offset=1000.0)
    whole, ranks = R2(2), [R2(2), R2(2)]
    whole.update(*data)
    ranks[0].update(*(x[:2] for x in data))
    ranks[1].update(*(x[2:] for x in data))
    ranks[0].merge_state(ranks[1])
    torch.testing.assert_close(ranks[0].compute(), whole.compute(), rtol=1e-12, atol=0)


def test_forward_accumulates_as_update_does() -> None:
    data, whole, stepwise = _data(), R2(2), R2(2)
    whole.update(*data)
    for row in range(5):
        stepwise(*(x[row : row + 1] for x in data))
    torch.testing.assert_close(stepwise.compute(), whole.compute(), rtol=1e-12, atol=0)


def test_moments_of_empty_parts_are_those_of_the_rest() -> None:
    part = torch.tensor([[2.0], [5.0], [0.5], [1.0]], dtype=torch.float64)
    assert torch.equal(merge_moments(torch.stack([torch.zeros_like(part), part])), part)


@pytest.mark.slow
def test_two_processes_compute_the_score_of_one(tmp_path: Path) -> None:
    whole = R2(2)
    whole.update(*_data())
    multiprocessing.spawn(_score_in_process, args=(str(tmp_path),), nprocs=2)
    scores = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    torch.testing.assert_close(torch.stack(scores), whole.compute().expand(2), rtol=1e-12, atol=0)


def _score_in_process(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    score = R2(2)
    score.update(*(x[:1] if rank == 0 else x[1:] for x in _data()))
    torch.save(score.compute(), Path(folder) / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def _update(score, prediction: Tensor, target: Tensor, mask: Tensor, extra: dict, rows: slice) -> None:
    if extra:
        score.update(prediction[rows], target[rows], extra["coords"][rows], frames=12, mask=mask[rows])
    else:
        score.update(prediction[rows], target[rows], mask[rows])


def _sync(ranks: list) -> None:
    """Give each rank what an all-gather would, through the metric's own sync."""
    states = [copy.deepcopy({name: getattr(rank, name) for name in rank._defaults}) for rank in ranks]
    names = iter(states[0])
    ranks[0]._sync_dist(dist_sync_fn=lambda _, group=None: [state[name] for name in [next(names)] for state in states])
