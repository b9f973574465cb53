"""From trajectories to batches: what is observed, shown, asked for, and that draws depend on nothing else."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cst_lightning.datamodules import SpiralsDataModule
from cst_lightning.datamodules.base import FieldDataModule
from cst_lightning.datamodules.samples import Sample, collate
from cst_lightning.datamodules.trajectories import (
    ArrayTrajectories,
    ScatteredTrajectories,
    Trajectory,
    TrajectoryDataset,
)
from cst_lightning.points import PointSet


class Curves(FieldDataModule):
    """Straight lines with a random slope, 21 times, two channels."""

    def __init__(self, samples: int = 20, **options: object) -> None:
        super().__init__(1, 2, **{"observed": 8, "batch_size": 4, **options})
        self.samples = samples

    def trajectories(self) -> TrajectoryDataset:
        slope = np.random.default_rng(0).normal(size=(self.samples, 1, 2))
        return ArrayTrajectories(slope * np.linspace(0, 1, 21)[:, None] + 1, [np.linspace(0, 1, 21)])


class Grids(FieldDataModule):
    """Six times of a 4 x 5 grid; the value is 100 t + 10 x + y in steps."""

    def __init__(self, **options: object) -> None:
        super().__init__(3, 1, (None, 4.0, None), **{"observed": 30, "batch_size": 2, **options})

    def trajectories(self) -> TrajectoryDataset:
        t, x, y = np.meshgrid(np.arange(6), np.arange(4), np.arange(5), indexing="ij")
        value = np.broadcast_to(100 * t + 10 * x + y, (10, 6, 4, 5))
        return ArrayTrajectories(value[..., None].astype(np.float32), [np.arange(6), np.arange(4), np.arange(5)])


class Ragged(FieldDataModule):
    """Samples with their own times and lengths, some values missing."""

    def __init__(self, lengths: tuple[int, ...], **options: object) -> None:
        super().__init__(1, 1, **{"observed": 0.5, "train": 1.0, "val": 0.0, "test": 0.0, "batch_size": 3, **options})
        self.lengths = lengths

    def trajectories(self) -> TrajectoryDataset:
        rng = np.random.default_rng(1)
        return ScatteredTrajectories([self.one(n, rng) for n in self.lengths])

    @staticmethod
    def one(n: int, rng: np.random.Generator) -> Trajectory:
        values = torch.from_numpy(rng.normal(size=(n, 1)).astype(np.float32))
        values[1::3] = torch.nan
        return Trajectory(torch.from_numpy(np.sort(rng.uniform(0, 9, (n, 1)), axis=0)), values)


def same(a: Sample, b: Sample) -> bool:
    parts = zip((*a.context, *a.target, a.dummies), (*b.context, *b.target, b.dummies), strict=True)
    return a.index == b.index and all(torch.equal(x, y) for x, y in parts)


def times(points: PointSet) -> list[int]:
    return [round(20 * t) for t in points.coords[:, 0].tolist()]


# splits


def test_splits_are_disjoint_and_complete():
    parts = Curves().members(20)
    assert [len(part) for part in parts.values()] == [16, 2, 2]
    assert sorted(np.concatenate(list(parts.values()))) == list(range(20))


def test_ordered_split_is_train_then_val_then_test():
    parts = Curves(train=3, val=2, test=1, split="ordered").members(20)
    assert [part.tolist() for part in parts.values()] == [[0, 1, 2], [3, 4], [5]]


def test_a_limit_leaves_the_other_splits_as_they_are():
    whole, few = Curves(seed=3), Curves(seed=3, train_limit=4)
    for data in (whole, few):
        data.setup()
    assert len(few.train_dataloader().dataset) == 4
    for i in range(4):
        assert torch.equal(few.truth("train", i).values, whole.truth("train", i).values)
    assert torch.equal(few.sample("test", 0).context.values, whole.sample("test", 0).context.values)
    assert few.normalization.spread != whole.normalization.spread
    with pytest.raises(ValueError, match="train_limit is 0"):
        Curves(train_limit=0)


def test_split_depends_on_the_seed():
    assert Curves(seed=1).members(20)["test"].tolist() != Curves(seed=2).members(20)["test"].tolist()


@given(st.integers(1, 300))
def test_fractions_that_sum_to_one_never_ask_for_too_much(total):
    assert sum(map(len, Curves(train=0.7, val=0.15, test=0.15).members(total).values())) <= total


def test_too_many_samples_are_refused():
    with pytest.raises(ValueError, match="expected at most 20 samples"):
        Curves(train=20, val=1, test=0).setup()


# what is observed


def test_points_are_as_many_as_asked_and_distinct():
    chosen = times(Curves().sample("test", 0).context)
    assert len(set(chosen)) == 8


def test_a_fraction_is_of_the_real_points():
    # 9 points, of which 3 are NaN
    assert len(Ragged((9,)).sample("train", 0).target.mask) == 3


@pytest.mark.parametrize("scheme", ["points", "frames"])
def test_kept_ends_are_always_observed(scheme):
    data = Curves(keep_ends=True, observed=3, scheme=scheme)
    assert all({0, 20} < set(times(data.sample("train", i).target)) for i in range(16))


def test_frames_are_observed_whole():
    context = Grids(scheme="frames", observed=2).sample("test", 0).context
    found, counts = context.coords[:, 0].unique(return_counts=True)
    assert (len(found), counts.tolist()) == (2, [20, 20])


def test_tail_is_held_out():
    sample = Curves(scheme="tail", observed=5).sample("test", 0)
    assert times(sample.context) == [0, 1, 2, 3, 4]
    assert sample.target.mask.tolist() == [False] * 5 + [True] * 16


def test_regular_times_include_both_ends():
    assert times(Curves(scheme="regular", observed=5).sample("test", 0).context) == [0, 5, 10, 15, 20]


def test_stride_keeps_every_so_many_th_time():
    assert times(Curves(scheme="regular", stride=8).sample("test", 0).context) == [0, 8, 16]


def test_missing_values_are_never_observed():
    data = Ragged((30, 12), observed=1.0)
    assert all(data.sample("train", i).target.values.isfinite().all() for i in range(2))


def test_more_points_than_there_are_is_refused():
    with pytest.raises(ValueError, match="observed is 22, expected at most the 21 points"):
        Curves(observed=22).setup()


def test_noise_is_on_observations_only():
    clean, noisy = Curves().sample("test", 0), Curves(noise=0.1).sample("test", 0)
    assert torch.equal(clean.target.values, noisy.target.values)
    assert 0.01 < (clean.context.values - noisy.context.values).std() < 0.3


def test_noise_has_the_size_that_was_asked_for():
    data, clean = Curves(400, noise=0.1), Curves(400)
    pairs = [(data.sample("train", i).target.values, clean.sample("train", i).target.values) for i in range(320)]
    error = torch.cat([a - b for a, b in pairs])
    assert error.std().item() == pytest.approx(0.1, rel=0.05)


def test_rescaling_changes_no_batch_and_no_normalisation():
    plain, data = Curves(noise=0.1), Curves(noise=0.1, rescale=True)
    for split in ("train", "val", "test"):
        assert same(plain.sample(split, 0), data.sample(split, 0))
        assert torch.equal(plain.truth(split, 0).values, data.truth(split, 0).values)
    assert plain.normalization == data.normalization


def test_the_unit_of_scores_is_the_98_percent_quantile():
    data = Curves(rescale=True)
    values = torch.cat([data.truth("train", i).values for i in range(16)])
    assert np.quantile(values.abs() / data.scale, 0.98) == pytest.approx(1, rel=1e-5)
    assert data.scale > 1.1


@pytest.mark.parametrize("i", [-1, 2, 9999])
def test_samples_that_do_not_exist_are_refused(i):
    for find in (Curves().sample, Curves().truth):
        with pytest.raises(ValueError, match=f"sample is {i}, expected 0 to 1"):
            find("val", i)


def test_samples_of_an_empty_split_are_refused():
    with pytest.raises(ValueError, match="the test split is empty"):
        Curves(test=0).sample("test", 0)


# context and target


def test_training_asks_for_all_observed_points():
    sample = Curves().sample("train", 0)
    assert len(sample.target.mask) == 8
    assert set(times(sample.context)) < set(times(sample.target))


def test_masked_target_is_what_is_not_shown():
    sample = Curves(target="masked").sample("train", 0)
    assert not set(times(sample.context)) & set(times(sample.target))
    assert len(sample.context.mask) + len(sample.target.mask) == 8


@settings(max_examples=40, deadline=None)
@given(
    st.integers(3, 9),
    st.sampled_from([(0.05, 0.1), (0.5, 1.0), (1.0, 1.0)]),
    st.booleans(),
    st.sampled_from(["points", "frames", "tail", "regular"]),
    st.integers(0, 9),
)
def test_every_masked_sample_shows_something_and_asks_something(observed, context, ends, scheme, seed):
    options = {"context": context, "context_ends": ends, "scheme": scheme, "seed": seed}
    data = Curves(8, target="masked", observed=observed, **options)
    for i in range(data.size("train")):
        sample = data.sample("train", i)
        assert sample.context.mask.sum() >= 1
        assert sample.target.mask.sum() >= 1


@pytest.mark.parametrize(("scheme", "what"), [("points", "points"), ("frames", "times")])
def test_too_few_observations_to_mask_are_refused(scheme, what):
    with pytest.raises(ValueError, match=rf"sample \d+ has 2 observed {what}, expected at least 3 with target masked"):
        Curves(target="masked", observed=2, scheme=scheme).setup()


def test_shown_share_is_between_the_bounds():
    data = Curves(100, observed=20, context=(0.25, 0.5))
    counts = {len(data.sample("train", i).context.mask) for i in range(80)}
    assert min(counts) >= 5
    assert max(counts) <= 10
    assert len(counts) > 3


def test_context_ends_are_always_shown():
    data = Curves(context_ends=True, context=(0.3, 0.5))
    samples = [data.sample("train", i) for i in range(16)]
    assert all({min(times(s.target)), max(times(s.target))} <= set(times(s.context)) for s in samples)


def test_frames_are_shown_whole():
    context = Grids(scheme="frames", observed=4, context=(0.5, 0.5)).sample("train", 0).context
    assert context.coords[:, 0].unique(return_counts=True)[1].tolist() == [20, 20]


def test_dense_supervision_adds_truth_elsewhere():
    sample = Curves(supervision="dense", dense_points=20, noise=0.5).sample("train", 0)
    assert len(sample.target.mask) == 28
    assert len(sample.context.mask) <= 8
    line = Curves().truth("train", 0).values
    positions = [round(20 * t) for t in sample.target.coords[8:, 0].tolist()]
    torch.testing.assert_close(sample.target.values[8:], line[positions])


def test_as_many_dense_points_as_there_are_is_all_that_was_not_observed():
    data = Curves(supervision="dense", dense_points=21, target="masked", context=[1.0, 1.0])
    sample, line = data.sample("train", 0), data.truth("train", 0)
    assert len(sample.target.mask) == 13
    together = torch.cat([sample.context.coords, sample.target.coords])[:, 0].sort().values
    torch.testing.assert_close(together, line.coords[:, 0].sort().values)


def test_evaluation_shows_all_observed_and_counts_the_rest():
    sample = Curves().sample("val", 0)
    assert len(sample.context.mask) == 8
    assert sample.target.mask.sum() == 13
    held_out = {t for t, real in zip(times(sample.target), sample.target.mask, strict=True) if real}
    assert not held_out & set(times(sample.context))


def test_validation_sites_keep_all_times_time_major():
    sample = Grids(val_sites=3).sample("val", 0)
    assert sample.frames == 6
    coords = sample.target.coords.view(6, 3, 3)
    assert (coords[:, :, 0] == torch.arange(6)[:, None]).all()
    assert (coords[:, :, 1:] == coords[:1, :, 1:]).all()


def test_validation_sites_are_the_same_for_all_samples():
    batch = next(iter(Grids(val_sites=3, val=3, train=5, test=2, batch_size=3).val_dataloader()))
    assert (batch.target.coords == batch.target.coords[:1]).all()


def test_validation_values_belong_to_their_coordinates():
    target = Grids(val_sites=3).sample("val", 0).target
    values = target.values[:, 0][target.mask]
    torch.testing.assert_close(values, (target.coords[target.mask] @ torch.tensor([100.0, 10.0, 1.0]).double()).float())


class Process:
    """What a data module asks a trainer for, in the second of two processes."""

    global_rank, world_size = 1, 2


def test_every_process_has_its_share_and_may_see_the_whole():
    data = Curves(val=3, train=10, test=7)
    data.trainer = Process()
    assert [len(part.sampler) for part in (data.train_dataloader(), data.test_dataloader())] == [5, 3]
    assert sum(len(batch.index) for batch in data.whole_dataloader("test")) == 7


# dummies


def test_box_dummies_fill_the_whole_period_of_a_periodic_axis():
    dummies = Grids(dummies=4000).sample("train", 0).dummies
    assert dummies[:, 1].max() > 3.9
    assert dummies[:, 1].max() < 4
    assert dummies[:, 2].max() <= 4


def test_hull_dummies_stay_in_the_samples_own_range():
    sample = Curves(dummy_domain="hull", dummies=200, observed=3).sample("train", 0)
    assert sample.dummies.min() >= sample.target.coords.min()
    assert sample.dummies.max() <= sample.target.coords.max()


def test_near_dummies_lie_within_sigma_of_observations():
    sample = Curves(dummy_domain="near", dummies=200, dummy_sigma=1e-3, observed=3).sample("train", 0)
    assert (sample.dummies - sample.target.coords.T).abs().amin(1).max() < 6e-3


def test_near_dummies_wrap_or_stop_at_the_boundary():
    dummies = Grids(dummy_domain="near", dummies=500, dummy_sigma=0.5).sample("train", 0).dummies
    assert (dummies >= 0).all()
    assert (dummies <= torch.tensor([5.0, 4.0, 4.0])).all()


# draws depend on (seed, epoch, index) only


def epoch_of(data: FieldDataModule, epoch: int) -> dict[int, Sample]:
    """One epoch's samples by index, through the loader."""
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    found = {}
    for batch in loader:
        for i, index in enumerate(batch.index.tolist()):
            context, target = (
                PointSet(*(part[i][points.mask[i]] for part in points)) for points in (batch.context, batch.target)
            )
            found[index] = Sample(context, target, batch.dummies[i], index)
    return found


@pytest.mark.parametrize(
    "options", [{"batch_size": 7}, {"num_workers": 2}, {"num_workers": 2, "persistent_workers": True}]
)
def test_draws_are_the_same_for_any_loading(options):
    plain, other = epoch_of(Curves(noise=0.1), 3), epoch_of(Curves(noise=0.1, **options), 3)
    assert plain.keys() == other.keys()
    assert all(same(plain[i], other[i]) for i in plain)


def test_persistent_workers_follow_the_epoch():
    data = Curves(num_workers=1, persistent_workers=True)
    loader, seen = data.train_dataloader(), []
    for epoch in (0, 1):
        loader.sampler.set_epoch(epoch)
        seen.append({int(i): m.sum() for b in loader for i, m in zip(b.index, b.dummies, strict=True)})
    assert all(seen[0][i] != seen[1][i] for i in seen[0])


def test_an_epoch_changes_context_and_dummies_but_not_observations():
    first, second = epoch_of(Curves(noise=0.1), 0), epoch_of(Curves(noise=0.1), 1)
    assert any(not torch.equal(first[i].context.coords, second[i].context.coords) for i in first)
    assert all(not torch.equal(first[i].dummies, second[i].dummies) for i in first)
    assert all(torch.equal(first[i].target.values, second[i].target.values) for i in first)


def test_order_changes_with_the_epoch_and_comes_back():
    data = Curves()
    orders = [list(epoch_of(data, epoch)) for epoch in (0, 1, 0)]
    assert orders[0] == orders[2] != orders[1]


def test_evaluation_is_the_same_every_time():
    data = Curves(dummies=3)
    first, second = list(data.test_dataloader()), list(data.test_dataloader())
    assert all(
        torch.equal(a.dummies, b.dummies) and torch.equal(a.context.coords, b.context.coords)
        for a, b in zip(first, second, strict=True)
    )


def test_iterating_leaves_the_global_generator_alone():
    loader, before = Curves().train_dataloader(), torch.get_rng_state()
    next(iter(loader))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_samples_observations_do_not_depend_on_the_split():
    a, b = Curves(split="ordered", train=5, val=5, test=5), Curves(split="ordered", train=10, val=0, test=5)
    assert torch.equal(a.sample("val", 2).context.coords.squeeze(), b.sample("train", 7).target.coords.squeeze())


# normalisation


def test_statistics_come_from_observed_training_values_only():
    data = Curves(noise=0.2)
    data.setup()
    seen = torch.cat([data.sample("train", i).target.values for i in range(16)]).double()
    np.testing.assert_allclose(data.normalization.mean, seen.mean(0), rtol=1e-6)
    np.testing.assert_allclose(data.normalization.spread, seen.std(0, correction=0), rtol=1e-6)


def test_coordinates_go_to_the_unit_box_and_periods_to_two():
    data = Grids()
    data.setup()
    assert data.normalization.origin == (2.5, 2.0, 2.0)
    assert data.normalization.scale == (2.5, 2.0, 2.0)
    assert data.periodic == (False, True, False)


def test_joint_spread_is_one_number():
    data = Curves(spread="joint")
    data.setup()
    assert len(set(data.normalization.spread)) == 1


def test_grid_is_known_after_setup():
    data = Grids()
    assert data.grid is None
    data.setup()
    assert data.grid == (6, 4, 5)


def test_data_of_another_dimension_are_refused():
    data = Curves()
    data.dimension = 2
    with pytest.raises(ValueError, match=r"expected \(point, 2\) and \(point, 2\)"):
        data.setup()


@pytest.mark.parametrize(
    "options",
    [
        {"context": (0.0, 0.5)},
        {"context": (0.9, 0.5)},
        {"observed": 0},
        {"observed": 1.5},
        {"noise": -1.0},
        {"dummies": -1},
        {"stride": 2},
    ],
)
def test_options_are_checked_at_once(options):
    with pytest.raises(ValueError, match="expected"):
        Curves(**options)


# padding


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(2, 15), min_size=1, max_size=6), st.sampled_from([0.4, 1.0]))
def test_samples_of_any_size_survive_the_batch(lengths, observed):
    data = Ragged(tuple(lengths), observed=observed)
    samples = [data.sample("train", i) for i in range(len(lengths))]
    batch = collate(samples)
    for i, sample in enumerate(samples):
        for padded, own in ((batch.context, sample.context), (batch.target, sample.target)):
            assert padded.mask[i].sum() == len(own.mask)
            assert torch.equal(padded.coords[i][padded.mask[i]], own.coords)
            assert torch.equal(padded.values[i][padded.mask[i]], own.values)
            assert (padded.values[i][~padded.mask[i]] == 0).all()


def test_frames_are_kept_only_when_all_samples_agree():
    six, four = Grids().sample("test", 0), Grids().sample("test", 0)._replace(frames=4)
    assert collate([six, six]).frames == 6
    assert collate([six, four]).frames == 0


def test_dtypes_keep_coordinates_in_double():
    batch = next(iter(Grids().train_dataloader()))
    assert (batch.context.coords.dtype, batch.dummies.dtype) == (torch.float64, torch.float64)
    assert (batch.context.values.dtype, batch.target.mask.dtype) == (torch.float32, torch.bool)


@pytest.mark.parametrize(
    "name", ["batch_size", "eval_batch_size", "num_workers", "dummies", "dummy_sigma", "dense_points", "seed", "train"]
)
def test_settings_out_of_range_are_named(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} is -1, expected at least [01]"):
        SpiralsDataModule(**{name: -1})


def test_changing_what_was_observed_in_a_sample_changes_nobody_elses():
    data = Curves(noise=0.1)
    for split in ("train", "test"):
        first = data.sample(split, 0)
        expected = first.context.values.clone()
        first.context.values.zero_()
        assert torch.equal(data.sample(split, 0).context.values, expected)
