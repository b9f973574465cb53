"""Scores of single samples, and batches without truth."""

import math

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline

from cst_lightning.benchmark.observations import ContextDigest
from cst_lightning.benchmark.scoring import (
    SampleScores,
    directions,
    moved_in_time,
    poisoned,
    rate_errors,
    score,
    slope_errors,
)
from cst_lightning.datamodules import NavierStokesDataModule, SpiralsDataModule
from cst_lightning.evaluation import Truth
from cst_lightning.points import Batch, PointSet


@pytest.fixture
def data(tmp_path: object) -> SpiralsDataModule:
    """Return three test curves of 20 points, 6 of them observed."""
    made = SpiralsDataModule(train=4, val=1, test=3, points=20, observed=6, cache_dir=str(tmp_path))
    made.prepare_data()
    made.setup()
    return made


def truth(values: list[float], mask: list[bool]) -> Truth:
    """Return a sample of two channels, the second one zero, at uneven times."""
    u = torch.tensor(values)[None, :, None] * torch.tensor([1.0, 0.0])
    time = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64)[None, :, None]
    return Truth(u, torch.tensor([mask]), torch.ones(1, 3, dtype=torch.bool), time, 3)


def test_slope_is_the_error_of_the_rate_of_change() -> None:
    one = truth([0.0, 1.0, 5.0], [True] * 3)  # rates 1 and 2
    answer = torch.tensor([0.0, 3.0, 5.0])[None, :, None] * torch.tensor([1.0, 0.0])  # rates 3 and 1
    assert slope_errors(answer.double(), one).tolist() == [5.0, 5.0]


def test_slope_leaves_out_frames_without_truth() -> None:
    one = truth([0.0, 1.0, 5.0], [True] * 3)
    one = one._replace(known=torch.tensor([[True, True, False]]))
    assert slope_errors(torch.zeros(1, 3, 2).double(), one).tolist() == [1.0, 1.0]


def test_scattered_points_have_no_slope() -> None:
    one = truth([0.0, 1.0, 5.0], [True] * 3)._replace(frames=0)
    assert slope_errors(torch.zeros(1, 3, 2).double(), one).tolist() == [0.0, 0.0]


def test_a_derivative_counts_where_it_and_the_value_are_known() -> None:
    rates = torch.tensor([3.0, math.nan, 4.0, 5.0, 3.0, 7.0, 1.0, 1.0])[None, :, None]  # 4 frames of 2 places
    one = truth([2.0, 0.0, 0.0], [True] * 3)._replace(frames=4, rates=rates)
    one = one._replace(known=torch.tensor([[True] * 5 + [False] + [True] * 2]))
    assert rate_errors(torch.zeros(1, 8, 1), one).tolist() == [50.0, 50.0]  # of the inner frames 4, 5 and 3
    assert rate_errors(rates.nan_to_num(0.0), one).tolist() == [0.0, 50.0]


def test_derivative_is_that_of_the_solver(data: SpiralsDataModule) -> None:
    bend = 50.0

    def parabolas(batch: Batch, number: int) -> torch.Tensor:
        time = batch.target.coords[..., :1]
        return torch.cat([bend * time**2, 3 * time], -1)

    rows = score(data, parabolas, lambda: 0.0)[0].rows
    for i, row in enumerate(rows):
        time, true = data.truth("test", i).coords[1:-1, 0], data.rates("test", i)
        assert true is not None
        error = torch.stack([2 * bend * time, torch.full_like(time, 3)], -1) - true[1:-1]
        assert row["derivative"] == pytest.approx(float(error.norm() / true[1:-1].double().norm()), rel=1e-6)


def test_derivative_of_the_truth_has_no_error(data: SpiralsDataModule) -> None:
    curves = torch.stack([data.truth("test", i).values for i in range(3)]).double().numpy()
    time = data.truth("test", 0).coords[:, 0].numpy()
    spline = CubicSpline(time, curves, axis=1)

    def exact(batch: Batch, number: int) -> torch.Tensor:
        found = [spline(t, extrapolate=True)[i] for i, t in enumerate(batch.target.coords[..., 0].numpy())]
        return torch.from_numpy(np.stack(found))

    assert score(data, exact, lambda: 0.0)[0].pooled()["derivative"] < 2e-2  # of the spline, 20 points a curve


def test_times_move_only_between_the_ends(data: SpiralsDataModule) -> None:
    batch = next(iter(data.test_dataloader()))
    moved = moved_in_time(batch, 1e-3).target.coords - batch.target.coords
    assert moved[:, [0, -1]].abs().max() == 0
    torch.testing.assert_close(moved[:, 1:-1], torch.full_like(moved[:, 1:-1], 1e-3))


def test_without_true_derivatives_there_is_no_score(data: SpiralsDataModule) -> None:
    scores = SampleScores(data)
    scores.add(torch.zeros(1, 3, 2), truth([2.0, 0.0, 0.0], [True, False, False]))
    assert math.isnan(scores.rows[0]["derivative"])


def test_scores_of_samples_are_their_own(data: SpiralsDataModule) -> None:
    scores = SampleScores(data)
    scores.add(torch.zeros(1, 3, 2), truth([2.0, 0.0, 0.0], [True, False, False]))
    scores.add(torch.zeros(1, 3, 2), truth([0.0, 4.0, 4.0], [False, True, True]))
    found = scores.by_sample()
    assert found["mse"] == [2.0, 8.0]
    assert found["relative_l2"] == [1.0, 1.0]
    # first channel: 2, 4, 4 with mean 10/3 and squares about it 8/3, over three points and two channels
    assert found["nmse"] == pytest.approx([2 / (8 / 18), 8 / (8 / 18)])
    assert scores.pooled()["mse"] == pytest.approx(36 / 6)


def test_what_is_asked_for_is_not_handed_out(data: SpiralsDataModule) -> None:
    batch = next(iter(data.test_dataloader()))
    given = poisoned(batch)
    assert given.target.values.isnan().all()
    assert torch.equal(given.target.coords, batch.target.coords)
    assert torch.equal(given.context.values, batch.context.values)
    assert batch.target.values.isfinite().all()


def test_digest_does_not_depend_on_padding_or_batches(data: SpiralsDataModule) -> None:
    (whole,) = data.test_dataloader()
    first, second, padded = ContextDigest(), ContextDigest(), ContextDigest()
    first.update(whole)
    for b in range(3):
        rows = slice(b, b + 1)
        context = PointSet(*(part[rows] for part in whole.context))
        second.update(whole._replace(context=context, index=whole.index[rows]))
    more = PointSet(*(torch.cat([part, part[:, :2]], 1) for part in whole.context))
    mask = torch.cat([whole.context.mask, torch.zeros(3, 2, dtype=torch.bool)], 1)
    padded.update(Batch(more._replace(mask=mask), *whole[1:]))
    assert first.hexdigest() == second.hexdigest() == padded.hexdigest()


@pytest.mark.parametrize("part", ["coords", "values"])
def test_digest_sees_a_change_of_one_number(data: SpiralsDataModule, part: str) -> None:
    (whole,) = data.test_dataloader()
    changed = getattr(whole.context, part).clone()
    changed[1, 2, 0] += 1e-6
    first, second = ContextDigest(), ContextDigest()
    first.update(whole)
    second.update(whole._replace(context=whole.context._replace(**{part: changed})))
    assert first.hexdigest() != second.hexdigest()


def test_scores_know_their_direction(data: SpiralsDataModule) -> None:
    assert directions(["mse", "r2"], data) == {"mse": False, "r2": True}


def test_a_sample_without_held_out_points_has_no_score(data: SpiralsDataModule) -> None:
    scores = SampleScores(data)
    scores.add(torch.zeros(1, 3, 2), truth([2.0, 0.0, 0.0], [False] * 3))
    assert math.isnan(scores.by_sample()["mse"][0])


def test_derivative_of_a_flow_is_a_second(tmp_path: object) -> None:
    data = NavierStokesDataModule(
        resolution=8, frames=4, dt=0.1, train=2, val=1, test=2, observed=20, derivatives=True, cache_dir=str(tmp_path)
    )
    data.prepare_data()
    data.setup()

    def tangent(batch: Batch, number: int) -> torch.Tensor:
        found = []
        for i in range(len(batch.index)):
            true, rates = data.truth("test", i), data.rates("test", i)
            assert rates is not None
            found.append(true.values + rates * (batch.target.coords[i, :, :1] - true.coords[:, :1]))
        return torch.stack(found)

    def doubled(batch: Batch, number: int) -> torch.Tensor:
        return 2 * tangent(batch, number)

    assert score(data, tangent, lambda: 0.0)[0].pooled()["derivative"] < 1e-4
    assert score(data, doubled, lambda: 0.0)[0].pooled()["derivative"] == pytest.approx(1, abs=1e-4)
