"""From scores of test samples to a table: means, intervals, ranks and paired tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

#: Of the bootstrap; the interval's ends then vary by about 1 % of its width, by more if one sample outweighs the rest.
RESAMPLES = 9999
INTERVAL = "95 % BCa bootstrap over test samples"
# So many numbers are drawn at once: a bootstrap of thousands of samples must not need gigabytes.
_TOGETHER = 2_000_000

Array = np.ndarray


class Row(NamedTuple):
    """One method of a table.

    Attributes:
        method: its name.
        mean: over test samples, seeds averaged first.
        std: over test samples, n - 1 in the denominator.
        seed_std: of the mean, over seeds; NaN with one seed.
        low, high: ends of the interval, see `INTERVAL`.
        rank: 1 for the best mean; equal means share the better rank.
        mean_rank: mean over test samples of the rank on each.
        seeds: how many the method finished.
        opponent: the best other method, None if there is none.
        p: of the two-sided Wilcoxon signed-rank test against it.
        p_holm: the same, corrected for all tests of the table.
    """

    method: str
    mean: float
    std: float
    seed_std: float
    low: float
    high: float
    rank: int
    mean_rank: float
    seeds: int
    opponent: str | None
    p: float
    p_holm: float


def summarise(scores: Mapping[str, Mapping[int, Array]], higher: bool = False, ideal: float | None = None) -> list[Row]:
    """Compare methods on the same test samples.

    Args:
        scores: by method and seed, (n,) scores of the test samples in the same order everywhere. A method may lack
            seeds; it is then compared with each other one on the seeds that both have. A sample that no method has a
            score of with some seed has nothing held out there: its mean is over the other seeds.
        higher: more is better.
        ideal: the best value; ranks and tests then are of the distance from it, means and intervals of the score.

    Returns:
        Rows, the best first, in the order given where means are equal or not finite.
    """
    scores = _scored(scores)
    means = {name: _mean_of_seeds(seeds) for name, seeds in scores.items()}
    sign = -1.0 if higher else 1.0
    judged = scores
    if ideal is not None:
        judged = {name: {s: np.abs(v - ideal) for s, v in seeds.items()} for name, seeds in scores.items()}
    distances = {name: _mean_of_seeds(seeds) for name, seeds in judged.items()}
    key = {name: _key(sign * _mean(values)) for name, values in distances.items()}
    places = _sample_ranks(list(distances.values()), sign)
    opponents = {name: min((o for o in key if o != name), key=lambda o: key[o], default=None) for name in key}
    p = {frozenset((a, b)): paired_p(judged[a], judged[b]) for a, b in opponents.items() if b is not None}
    # the best is the second's opponent and the other way round: one pair is one hypothesis
    corrected = dict(zip(p, holm(list(p.values())), strict=True))
    rows = []
    for place, (name, values) in enumerate(means.items()):
        other = opponents[name]
        pair = frozenset((name, other or name))
        by_seed = [_mean(one) for one in scores[name].values()]
        rows.append(
            Row(
                name, _mean(values), _std(values), _std(np.array(by_seed)), *bootstrap_interval(_there(values)),
                1 + sum(k < key[name] for k in key.values()), float(places[place]), len(by_seed), other,
                p.get(pair, np.nan), corrected.get(pair, np.nan),
            )
        )  # fmt: skip
    return sorted(rows, key=lambda row: key[row.method])


def means(scores: Mapping[str, Mapping[int, Array]]) -> dict[str, float]:
    """Return the means alone that `summarise` has; NaN for a method that failed on a sample that others answered."""
    return {name: _mean(_mean_of_seeds(seeds)) for name, seeds in _scored(scores).items()}


def bootstrap_interval(values: Array, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Return the bias-corrected and accelerated (BCa) bootstrap interval of the mean of (n,) values.

    NaN if there are fewer than two values or one is not finite; both ends are the mean if all are the same.

    Source: Efron, Better Bootstrap Confidence Intervals, Journal of the American Statistical Association 82, 1987.
    """
    if len(values) < 2 or not np.isfinite(values).all():
        return np.nan, np.nan
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    rng, mean = np.random.default_rng(seed), values.mean()
    parts = np.array_split(np.arange(RESAMPLES), max(1, RESAMPLES * len(values) // _TOGETHER))
    drawn = np.concatenate([values[rng.integers(len(values), size=(len(part), len(values)))].mean(1) for part in parts])
    bias = stats.norm.ppf(((drawn < mean).mean() + (drawn <= mean).mean()) / 2)
    left_out = (values.sum() - values) / (len(values) - 1)  # means without one sample each
    pull = left_out.mean() - left_out
    skew = (pull**3).sum() / (6 * (pull**2).sum() ** 1.5)
    z = bias + stats.norm.ppf([(1 - level) / 2, (1 + level) / 2])
    low, high = np.quantile(drawn, stats.norm.cdf(bias + z / (1 - skew * z)))
    return float(low), float(high)


def paired_p(a: Mapping[int, Array], b: Mapping[int, Array]) -> float:
    """Return p of the two-sided Wilcoxon signed-rank test of two methods on the same samples.

    Seeds that both have are averaged first, because runs on the same sample are not independent. 1 if no sample
    differs; NaN if there is no common seed or a score is infinite. Scores that are NaN are missing, and left out.

    Source: Wilcoxon, Individual Comparisons by Ranking Methods, Biometrics Bulletin 1, 1945.
    """
    common = sorted(a.keys() & b.keys())
    if not common:
        return np.nan
    first, second = (_mean_of_seeds({s: scores[s] for s in common}) for scores in (a, b))
    there = ~np.isnan(first) & ~np.isnan(second)
    if not there.any() or not np.isfinite([first[there], second[there]]).all():
        return np.nan
    difference = first[there] - second[there]
    if not difference.any():
        return 1.0
    return float(stats.wilcoxon(difference, zero_method="wilcox").pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values corrected for as many tests as there are, in the order given; NaN are no tests.

    The i-th smallest of m is multiplied by m - i + 1, never below the one before and never above 1.

    Source: Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 6, 1979.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = [i for i in np.argsort(p, kind="stable").tolist() if not np.isnan(p[i])]
    corrected, least = [np.nan] * len(p), 0.0
    for place, i in enumerate(order):
        least = max(least, min(1.0, (len(order) - place) * p[i]))
        corrected[i] = least
    return corrected


def _scored(scores: Mapping[str, Mapping[int, Array]]) -> dict[str, dict[int, Array]]:
    """Tell what is missing from what failed: NaN where no method has a score with a seed, infinite where others have.

    Samples without any score are left out: they have no held-out point, or no truth to relate to.
    """
    whole = {name: {s: np.asarray(v, np.float64) for s, v in seeds.items()} for name, seeds in scores.items() if seeds}
    sizes = {len(values) for seeds in whole.values() for values in seeds.values()}
    if len(sizes) > 1:
        raise ValueError(f"scores are of {sorted(sizes)} samples, expected the same samples for each method and seed")
    if not whole:
        return {}
    known = {
        seed: np.any([np.isfinite(seeds[seed]) for seeds in whole.values() if seed in seeds], axis=0)
        for seed in {seed for seeds in whole.values() for seed in seeds}
    }
    kept = np.any(list(known.values()), axis=0)
    return {
        name: {s: np.where(np.isfinite(v), v, np.where(known[s], np.inf, np.nan))[kept] for s, v in seeds.items()}
        for name, seeds in whole.items()
    }


def _there(values: Array) -> Array:
    """Return values without those that are missing, NaN."""
    return values[~np.isnan(values)]


def _mean(values: Array) -> float:
    """Return the mean of what is not missing; NaN if there is nothing, or one failed."""
    found = float(_there(values).mean()) if len(_there(values)) else np.nan
    return found if np.isfinite(found) else np.nan


def _mean_of_seeds(seeds: Mapping[int, Array]) -> Array:
    table = np.array([seeds[s] for s in sorted(seeds)])
    there = ~np.isnan(table)
    total = np.where(there, table, 0.0).sum(0)
    return np.divide(total, there.sum(0), out=np.full(len(total), np.nan), where=there.any(0))


def _sample_ranks(scores: Sequence[Array], sign: float) -> Array:
    """Return for each method the mean over samples of its rank among all; equal scores share the mean of ranks."""
    if not scores or not len(scores[0]):
        return np.full(len(scores), np.nan)
    table = np.where(np.isfinite(scores), sign * np.array(scores), np.inf)
    return np.asarray(stats.rankdata(table, axis=0).mean(1))


def _key(value: float) -> float:
    return value if np.isfinite(value) else np.inf


def _std(values: Array) -> float:
    found = _there(values)
    if len(found) < 2 or not np.isfinite(found).all():
        return np.nan
    # less the first, or equal numbers have a mean that is rounded and a deviation from it
    return float(np.std(found - found[0], ddof=1))
