"""dF/F and its baselines."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cst_lightning.datamodules.dff import Baseline, DeltaF, Known
from cst_lightning.datamodules.readers.slices import ArrayFrames
from cst_lightning.errors import DataError

TRACES = np.random.default_rng(0).uniform(50, 100, (300, 3)).astype(np.float32)
MOVIE = np.random.default_rng(0).uniform(50, 100, (40, 7, 5, 1)).astype(np.float32)


def test_percentile_by_hand():
    found = DeltaF(ArrayFrames(TRACES), 300, "percentile", 20.0)(0, 10, 20)
    base = np.percentile(TRACES, 20, axis=0)
    np.testing.assert_allclose(found, (TRACES[10:20] - base) / base, rtol=1e-4, atol=1e-6)


def test_mean_by_hand_without_what_is_missing():
    values = TRACES.copy()
    values[::3] = np.nan
    found = DeltaF(ArrayFrames(values), 300, "mean").baseline(0).values[0]
    np.testing.assert_allclose(found, np.nanmean(values, 0), rtol=1e-6)


def test_a_window_follows_a_drift_that_a_percentile_does_not():
    drift = np.linspace(1, 3, 300, dtype=np.float32)[:, None]
    flat = DeltaF(ArrayFrames(TRACES * drift), 300, "window", 20.0, 40)(0, 0, 300)
    steep = DeltaF(ArrayFrames(TRACES * drift), 300, "percentile", 20.0)(0, 0, 300)
    assert abs(flat[:100].mean() - flat[-100:].mean()) < 0.1
    assert abs(steep[:100].mean() - steep[-100:].mean()) > 0.5


@given(budget=st.integers(200, 20_000))
def test_a_movie_in_portions_has_the_same_baseline(budget):
    whole, parts = (Baseline.of(ArrayFrames(MOVIE), 0, 40, "percentile", budget=b).values for b in (2**27, budget))
    np.testing.assert_allclose(whole, parts, rtol=1e-6)


def test_memory_stays_within_the_budget():
    asked = []

    def read(sample: int, start: int, stop: int) -> np.ndarray:
        asked.append(stop - start)
        return MOVIE[start:stop]

    for kind in ("percentile", "mean"):
        Baseline.of(read, 0, 40, kind, budget=10 * 8 * MOVIE[0].size)
    assert max(asked) <= 20


def test_a_constant_baseline_changes_no_r2():
    relative = DeltaF(ArrayFrames(TRACES), 300)(0, 0, 300).astype(float)
    guess = TRACES[:, :1] * 0.9 + 5
    base = DeltaF(ArrayFrames(TRACES), 300).baseline(0).values[0, :1]

    def r2(truth: np.ndarray, answer: np.ndarray) -> float:
        return float(1 - np.square(answer - truth).sum() / np.square(truth - truth.mean()).sum())

    assert r2(TRACES[:, :1], guess) == pytest.approx(r2(relative[:, :1], (guess - base) / base), rel=1e-5)


@pytest.mark.parametrize("kind", ["percentile", "mean", "window"])
def test_frames_that_may_not_be_looked_at_change_nothing(kind):
    known = np.arange(300) % 2 == 0
    changed = TRACES.copy()
    changed[~known] += 1000
    first, second = (
        Baseline.of(ArrayFrames(x), 0, 300, kind, window=60, known=known).values for x in (TRACES, changed)
    )
    np.testing.assert_array_equal(first, second)


def test_a_dark_pixel_is_what_fill_says():
    movie = MOVIE.copy()
    movie[:, 0, 0] = 0
    assert (DeltaF(ArrayFrames(movie), 40, fill=0.0)(0, 0, 5)[:, 0, 0] == 0).all()
    assert np.isnan(DeltaF(ArrayFrames(movie), 40)(0, 0, 5)[:, 0, 0]).all()


def test_a_dark_rim_has_no_dff():
    movie = MOVIE.copy()
    movie[:, 0] /= 50
    reader = DeltaF(ArrayFrames(movie), 40, fill=0.0, floor=0.1)
    assert (reader(0, 0, 5)[:, 0] == 0).all()
    assert (reader(0, 0, 5)[:, 1:] != 0).any()


def test_a_trace_without_a_positive_baseline_is_named():
    values = TRACES.copy()
    values[:, 1] -= 200
    with pytest.raises(DataError, match="found none in trace 1"):
        DeltaF(ArrayFrames(values), 300, strict=True, place="f")(0, 0, 5)


def test_gaps_stay_gaps():
    values = TRACES.copy()
    values[7] = np.nan
    found = DeltaF(ArrayFrames(values), 300, fill=0.0)(0, 6, 9)
    assert np.isnan(found[1]).all()
    assert np.isfinite(found[[0, 2]]).all()


def test_the_baseline_travels_to_other_processes():
    reader = DeltaF(ArrayFrames(TRACES), 300)
    first = reader(0, 0, 9)
    copy = pickle.loads(pickle.dumps(reader))
    copy.read = None
    assert 0 in copy._found
    np.testing.assert_array_equal(reader(0, 0, 9), first)


@pytest.mark.parametrize("options", [{"kind": "median"}, {"percentile": 101.0}, {"window": 0}])
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match="expected"):
        DeltaF(ArrayFrames(TRACES), 300, **options)


@pytest.mark.parametrize("kind", ["percentile", "window"])
def test_each_frame_is_read_once_where_a_hundred_fit_into_memory(kind):
    asked = []

    def read(sample: int, start: int, stop: int) -> np.ndarray:
        asked.extend(range(start, stop))
        return np.ones((stop - start, 7, 5, 1), np.float32)

    Baseline.of(read, 0, 600, kind, window=1000, budget=150 * 4 * 35)
    assert len(asked) <= 151  # the first one also tells how large they are
    assert np.diff(np.unique(asked)).max() <= 5


@given(percentile=st.floats(0, 100), gaps=st.floats(0, 0.9), seed=st.integers(0, 99))
def test_percentiles_are_those_of_what_is_not_missing(percentile, gaps, seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(30, 4)).astype(np.float32)
    values[rng.random(values.shape) < gaps] = np.nan
    values[0] = 0.0
    found = Baseline.of(ArrayFrames(values), 0, 30, "percentile", percentile).values[0]
    np.testing.assert_allclose(found, np.nanpercentile(values, percentile, axis=0), rtol=1e-5, atol=1e-6)


def test_a_window_without_a_value_has_the_baseline_of_the_one_before():
    values = TRACES.copy()
    values[100:200] = np.nan
    found = Baseline.of(ArrayFrames(values), 0, 300, "window", window=40).values
    assert np.isfinite(found).all()


def test_what_is_dark_for_a_while_has_no_dff_at_all():
    movie = MOVIE.copy()
    movie[20:, 0, 0] = 0
    found = DeltaF(ArrayFrames(movie), 40, "window", window=10, floor=0.1)(0, 0, 40)
    assert np.isnan(found[:, 0, 0]).all()
    assert np.isfinite(found[:, 1:]).all()


@pytest.mark.parametrize("kind", ["percentile", "mean", "window"])
def test_single_values_that_may_not_be_looked_at_change_nothing(kind):
    seen = np.random.default_rng(1).random(TRACES.shape) < 0.5
    known = Known((np.ones(300, dtype=bool),), lambda sample, start, stop: seen[start:stop])
    changed = np.where(seen, TRACES, TRACES + 1000)
    first, second = (DeltaF(ArrayFrames(x), 300, kind, 10.0, 60, known=lambda: known) for x in (TRACES, changed))
    np.testing.assert_array_equal(first.baseline(0).values, second.baseline(0).values)


def test_a_baseline_of_nothing_is_refused():
    with pytest.raises(ValueError, match="expected some observed frames"):
        Baseline.of(ArrayFrames(TRACES), 0, 300, known=np.zeros(300, dtype=bool))
