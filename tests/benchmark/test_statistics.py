"""Means, intervals, ranks and tests of a comparison."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cst_lightning.benchmark.statistics import bootstrap_interval, holm, means, paired_p, summarise


def test_holm_by_hand() -> None:
    # sorted 0.01, 0.02, 0.03, 0.04: times 4, 3, 2, 1 is 0.04, 0.06, 0.06, 0.04, and none may be below the one before
    assert holm([0.02, 0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.06, 0.04, 0.06])


def test_holm_is_never_above_1_and_passes_over_what_is_no_test() -> None:
    assert holm([0.7, math.nan, 0.6]) == pytest.approx([1.0, math.nan, 1.0], nan_ok=True)


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_is_between_the_plain_and_bonferronis(p: list[float]) -> None:
    for plain, corrected in zip(p, holm(p), strict=True):
        assert plain <= corrected <= min(1.0, len(p) * plain) + 1e-12


def test_wilcoxon_by_hand() -> None:
    # five differences of one sign: 2 of the 32 sign patterns are as extreme
    better = np.zeros(5)
    assert paired_p({0: better}, {0: better + np.arange(1.0, 6)}) == pytest.approx(2 / 32)


def test_identical_predictions_are_no_difference() -> None:
    scores = np.random.default_rng(0).random(20)
    rows = summarise({"a": {0: scores}, "b": {0: scores.copy()}})
    assert [row.p for row in rows] == [1.0, 1.0]
    assert [row.rank for row in rows] == [1, 1]
    assert rows[0].mean == rows[1].mean
    assert (rows[0].low, rows[0].high) == (rows[1].low, rows[1].high)


def test_shuffled_labels_give_uniform_p() -> None:
    rng = np.random.default_rng(0)
    good, bad = rng.lognormal(0, 1, 40), rng.lognormal(1, 1, 40)
    assert paired_p({0: good}, {0: bad}) < 1e-3  # labelled rightly they differ
    found = []
    for _ in range(400):
        swap = rng.random(40) < 0.5
        found.append(paired_p({0: np.where(swap, bad, good)}, {0: np.where(swap, good, bad)}))
    assert stats.kstest(found, "uniform").pvalue > 0.01
    assert np.mean(np.array(found) < 0.05) == pytest.approx(0.05, abs=0.03)


def test_interval_is_scipys() -> None:
    values = np.random.default_rng(1).lognormal(0, 1, 30)
    own = bootstrap_interval(values)
    theirs = stats.bootstrap((values,), np.mean, method="BCa", n_resamples=9999).confidence_interval
    assert own == pytest.approx((theirs.low, theirs.high), rel=0.03)


def test_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    inside = 0
    for seed in range(100):
        low, high = bootstrap_interval(rng.normal(3, 1, 40), seed=seed)
        inside += low <= 3 <= high
    assert 88 <= inside <= 100


@pytest.mark.parametrize("values", [[1.0], [1.0, math.nan]])
def test_interval_of_too_little_is_nan(values: list[float]) -> None:
    assert all(math.isnan(end) for end in bootstrap_interval(np.array(values)))


def test_interval_of_one_value_repeated_is_that_value() -> None:
    assert bootstrap_interval(np.full(5, 2.0)) == (2.0, 2.0)


def test_seeds_are_averaged_before_samples_are_compared() -> None:
    a = {1: np.array([1.0, 5.0]), 2: np.array([3.0, 7.0])}
    (row,) = summarise({"a": a})
    assert row.mean == 4.0
    assert row.std == pytest.approx(np.std([2.0, 6.0], ddof=1))
    assert row.seed_std == pytest.approx(np.std([3.0, 5.0], ddof=1))
    assert row.opponent is None


def test_the_best_is_tested_against_the_second_and_all_others_against_the_best() -> None:
    rng = np.random.default_rng(0)
    base = rng.random(12)
    rows = summarise({name: {0: base + shift} for name, shift in (("c", 2.0), ("a", 0.0), ("b", 1.0))})
    assert [(row.method, row.opponent, row.rank) for row in rows] == [("a", "b", 1), ("b", "a", 2), ("c", "a", 3)]
    # a and b are one hypothesis, so there are two tests and not three
    assert rows[2].p_holm == pytest.approx(2 * rows[2].p)


def test_more_can_be_better() -> None:
    rows = summarise({"low": {0: np.array([0.1, 0.2])}, "high": {0: np.array([0.8, 0.9])}}, higher=True)
    assert rows[0].method == "high"
    assert rows[0].mean_rank == 1.0


def test_best_can_be_what_is_nearest_to_an_ideal() -> None:
    scores = {name: {0: np.array(values)} for name, values in (("flat", [0.1, 0.2]), ("right", [0.9, 1.2]))}
    rows = summarise(scores, ideal=1.0)
    assert [(row.method, row.rank) for row in rows] == [("right", 1), ("flat", 2)]
    assert rows[0].mean == pytest.approx(1.05)


def test_a_method_that_lacks_a_seed_is_compared_on_the_others() -> None:
    values = np.arange(1.0, 7.0)
    rows = summarise({"a": {1: values, 2: values + 100}, "b": {1: values}})
    assert {row.method: row.seeds for row in rows} == {"a": 2, "b": 1}
    assert rows[0].p == 1.0  # on seed 1 they are the same


def test_samples_without_a_score_in_any_method_are_left_out() -> None:
    nan = math.nan
    rows = summarise({"a": {0: np.array([1.0, nan, 3.0])}, "b": {0: np.array([2.0, nan, nan])}})
    assert rows[0].mean == 2.0
    assert math.isnan(rows[1].mean)
    assert rows[1].rank == 2


def test_a_sample_with_nothing_held_out_in_one_seed_has_the_mean_of_the_others() -> None:
    nan = math.nan
    a = {1: np.array([1.0, nan, 3.0]), 2: np.array([3.0, 5.0, 4.0])}
    b = {seed: values + 1.0 for seed, values in a.items()}
    rows = {row.method: row for row in summarise({"a": a, "b": b})}
    assert rows["a"].mean == pytest.approx((2.0 + 5.0 + 3.5) / 3)
    assert rows["b"].mean == pytest.approx((3.0 + 6.0 + 4.5) / 3)
    assert rows["a"].seed_std == pytest.approx(np.std([2.0, 4.0], ddof=1))
    assert (rows["a"].rank, rows["b"].rank) == (1, 2)
    assert rows["a"].p == pytest.approx(0.25)  # of three differences with one sign


def test_a_method_that_fails_where_another_has_a_score_has_no_mean() -> None:
    nan = math.nan
    a, b = {1: np.array([1.0, nan]), 2: np.array([3.0, 5.0])}, {1: np.array([1.0, 2.0]), 2: np.array([3.0, 5.0])}
    rows = {row.method: row for row in summarise({"a": a, "b": b})}
    assert math.isnan(rows["a"].mean)
    assert math.isnan(rows["a"].p)
    assert math.isnan(rows["a"].std)
    assert rows["b"].mean == pytest.approx((2.0 + 3.5) / 2)


def test_other_numbers_of_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="same samples"):
        summarise({"a": {0: np.zeros(2)}, "b": {0: np.zeros(3)}})


@settings(deadline=None, max_examples=20)
@given(st.permutations(["a", "b", "c"]))
def test_order_of_methods_changes_no_number(names: list[str]) -> None:
    rng = np.random.default_rng(3)
    scores = {name: {0: rng.random(8)} for name in "abc"}
    found = {row.method: row for row in summarise({name: scores[name] for name in names})}
    assert found == {row.method: row for row in summarise(scores)}


def test_means_alone_are_those_of_the_comparison_and_a_failure_has_none():
    scores = {
        "whole": {1: np.array([1.0, 2.0, np.nan]), 2: np.array([3.0, np.nan, np.nan])},
        "failed": {1: np.array([0.0, np.nan, np.nan]), 2: np.array([0.0, np.nan, np.nan])},
    }
    found = means(scores)
    assert found["whole"] == 2.0  # seeds first: (1 + 3) / 2 and 2
    assert np.isnan(found["failed"])  # else it would be the best, for its easy sample
    np.testing.assert_equal(found, {row.method: row.mean for row in summarise(scores)})


def test_seeds_that_agree_have_no_deviation() -> None:
    scores = np.full(7, 0.1)
    row, _ = summarise({"a": dict.fromkeys((1, 2, 3), scores), "b": dict.fromkeys((1, 2, 3), 2 * scores)})
    assert (row.std, row.seed_std) == (0.0, 0.0)
