r"""Attention of a whole sequence from every second point of it, against interpolation of the shorter one's weights.

A model is trained as always, on sequences of N points of which it is shown some. Of a test sequence the *truth* is the
matrix (N, N) of weights with which queries at all points read all points, everything observed. What is compared is
handed every second point (the first, the third, ...), their values and the coordinates of the others, nothing else:

- `cst_dummies`, for models with joint attention: the missing points are dummies, whose keys are in the memory, so that
  one pass gives the matrix. Where a flag tells dummies from observations, a model may attend to them otherwise.
- `cst_predicted`: the model predicts the missing values, then its matrix is read on observed and predicted ones
  together. With isolated attention there are no keys without values, and this is the only way.
- `initialiser`: the second way with values of the model's initialiser: what a pass through the network gives without a
  prediction that was learned.
- `linear`: the weights (N / 2, N / 2) among the observed points, interpolated along both axes in time, rows divided by
  their sum. The baseline of the paper.
- `logits`: the same of the logarithm of the weights, then softmax: no blur across a ridge.
- `nearest`: weights of the nearest observed points, rows divided by their sum.
- `training`: the mean true matrix of the training sequences, whatever is observed: how much a matrix is a matter of
  places only.

Where points lie beyond the last observed one, interpolation of weights holds the last row and column; the model is not
told the last value either. Weights of two models are different quantities: each model has its own truth, its own table
and its own tests. A query at an observed point is the token of that point but for the flag that it asks; it is what the
last layer reads with, where the tokens themselves are not computed. All layers and heads are read. Source: Fonseca et
al., ICML 2023, where weights of 20 points are made from 10.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from cst_lightning.benchmark.observations import ContextDigest
from cst_lightning.benchmark.protocol import Sweep
from cst_lightning.benchmark.scoring import LABELS
from cst_lightning.benchmark.statistics import holm, paired_p
from cst_lightning.datamodules.samples import SampleDataset, collate
from cst_lightning.field import Field
from cst_lightning.field_module import FieldModule
from cst_lightning.network import CSTNetwork
from cst_lightning.points import Batch

if TYPE_CHECKING:
    from cst_lightning.benchmark.tables import Report
    from cst_lightning.datamodules.base import FieldDataModule

#: Of a sequence's matrix; less is better for all of them, so none of them is true.
SCORES: dict[str, bool] = dict.fromkeys(
    ("weights_l2", "weights_mse", "weights_kl", "weights_l2_last", "weights_l2_heads"), False
)
#: In the order of a table's choice of colours and of the figure.
WAYS = ("cst_dummies", "cst_predicted", "initialiser", "linear", "logits", "nearest", "training")
OWN = ("cst_dummies", "cst_predicted")
PICTURED = ("linear", *OWN)
# Least weight in a logarithm: a softmax in float32 may give an exact zero.
_LEAST = 1e-12


class Half(NamedTuple):
    """What an estimate of a sequence's weights may be made from.

    Attributes:
        coords: (B, n, 1) of every second point, in time order.
        values: (B, n, c) observed there.
        whole: (B, N, 1) coordinates of all points, in time order.
        kept: (N,) bool, which of them are the observed ones.
    """

    coords: Tensor
    values: Tensor
    whole: Tensor
    kept: Tensor

    @classmethod
    def of(cls, coords: Tensor, values: Tensor) -> Half:
        """Keep every second point of sequences (B, N, 1), (B, N, c) in time order."""
        kept = torch.arange(coords.shape[1]) % 2 == 0
        return cls(coords[:, kept], values[:, kept], coords, kept)

    @property
    def missing(self) -> Tensor:
        """Coordinates (B, N - n, 1) of the other points."""
        return self.whole[:, ~self.kept]

    def filled(self, missing: Tensor) -> Tensor:
        """Return values (B, N, c) of all points, given those (B, N - n, c) of the missing ones."""
        return self.ordered(torch.cat([self.values, missing.to(self.values)], 1).transpose(1, 2)).transpose(1, 2)

    def ordered(self, weights: Tensor) -> Tensor:
        """Bring a last axis of observed points, then missing ones, into time order."""
        return weights[..., torch.cat([self.kept.nonzero()[:, 0], (~self.kept).nonzero()[:, 0]]).argsort()]


class Reader:
    """Asks a trained model for weights and values; physical units.

    Args:
        module: trained; see `check`.
    """

    def __init__(self, module: nn.Module) -> None:
        trained = check(module)
        assert isinstance(trained.network, CSTNetwork)
        self.network = trained.network
        self.field = Field(self.network, trained.normalization)

    def weights(self, coords: Tensor, values: Tensor, query: Tensor, dummies: Tensor | None = None) -> Tensor:
        """Return weights (L, B, H, Q, N) of queries at (B, Q, 1) on observations and the dummies behind them."""
        observed = self.field.observe(coords, values, dummies)
        parameter = next(self.network.parameters())
        with torch.no_grad():  # dropout and noise are off: `score` sees to it
            asked = self.field.normalization.coords(query.to(parameter.device), parameter.dtype)
            return self.network.attention(observed.memory, asked).double().cpu()

    def predicted(self, half: Half) -> Tensor:
        """Return predictions (B, N - n, c) at the missing points, which take part if attention is joint."""
        return self.field.observe(half.coords, half.values, self._dummies(half))(half.missing).cpu()

    def initial(self, half: Half) -> Tensor:
        """Return the initialiser's values (B, N - n, c) at the missing points."""
        return self.field.observe(half.coords, half.values).initial(half.missing).cpu()

    def filled(self, half: Half, missing: Tensor) -> Tensor:
        """Return weights (L, B, H, N, N) on observed and given values together."""
        return self.weights(half.whole, half.filled(missing), half.whole)

    def joint(self, half: Half) -> Tensor:
        """Return weights (L, B, H, N, N) on observations and dummies together, in time order."""
        return half.ordered(self.weights(half.coords, half.values, half.whole, half.missing))

    def _dummies(self, half: Half) -> Tensor | None:
        return half.missing if self.network.joint else None


class AttentionScores:
    """Scores of every way of upsampling one model's weights, sequence by sequence.

    Attributes:
        rows: by way, then by score, one number a sequence.
        example: of the first sequence, its last layer and the mean of its heads: "times", "kept" and "weights" by way,
            "half" among the observed points and "truth" among all; rounded.
    """

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, list[float]]] = {}
        self.example: dict[str, Any] = {}

    def add(self, estimates: Mapping[str, Tensor], truth: Tensor) -> None:
        """Score estimates (L, B, H, N, N) of a batch."""
        for way, weights in estimates.items():
            row = self.rows.setdefault(way, {})
            for name, values in errors(weights, truth).items():
                row.setdefault(name, []).extend(values.tolist())

    def by_sample(self) -> dict[str, list[float]]:
        """Return the scores of `cst_predicted`, which every model has, (n,) by name."""
        return self.rows["cst_predicted"]

    def pooled(self) -> dict[str, float]:
        """Return the means of these."""
        return {name: fmean(values) for name, values in self.by_sample().items()}

    def facts(self) -> dict[str, Any]:
        """Return what a cell keeps beside these scores, plain JSON: "readings" by way, and the "example"."""
        finite = {
            way: {name: [v if math.isfinite(v) else None for v in values] for name, values in row.items()}
            for way, row in self.rows.items()
        }
        return {"readings": finite, "example": self.example}


def check(module: nn.Module) -> FieldModule:
    """Return a module with attention over observations as what it is.

    Raises:
        ValueError: it has none.
    """
    if not isinstance(module, FieldModule) or not isinstance(getattr(module, "network", None), CSTNetwork):
        raise ValueError(f"model is {type(module).__name__}, expected one whose network is a CSTNetwork")
    return module


def score(
    module: nn.Module, datamodule: FieldDataModule, timed: Callable[[], float]
) -> tuple[AttentionScores, list[int], str, float]:
    """Read the true weights of every test sequence, make them from every second point, and compare.

    Args:
        module: trained, in evaluation mode.
        datamodule: set up; every test sequence has the same number of observed points along time.
        timed: a clock, seconds.

    Returns:
        The scores, the sequences' positions in the data set, the digest of what was observed, and the seconds that the
        model's own ways took.

    Raises:
        ValueError: the data are no sequences along time, or the model has no weights to read.
    """
    reader, scores, digest, index, seconds = Reader(module), AttentionScores(), ContextDigest(), list[int](), 0.0
    training = _training_mean(reader, datamodule)
    for batch in datamodule.whole_dataloader("test"):
        digest.update(batch)
        coords, values = sequences(batch)
        half = Half.of(coords, values)
        began = timed()
        own = _own(reader, half)
        seconds += timed() - began
        estimates = own | upsampled(reader, half)
        truth = reader.weights(coords, values, coords)  # last: nothing that is compared comes after it
        estimates["training"] = training.expand_as(truth)
        scores.add(estimates, truth)
        if not index:
            small = reader.weights(half.coords, half.values, half.coords)
            scores.example = _example(
                half, {"half": small, "truth": truth, **{w: estimates[w] for w in PICTURED if w in estimates}}
            )
        index += batch.index.tolist()
    return scores, index, digest.hexdigest(), seconds


def upsampled(reader: Reader, half: Half) -> dict[str, Tensor]:
    """Return weights (L, B, H, N, N) by the ways that are not the model's own; see the module's docstring."""
    small = reader.weights(half.coords, half.values, half.coords)
    knots, times = half.coords[..., 0], half.whole[..., 0]
    return {
        "initialiser": reader.filled(half, reader.initial(half)),
        "linear": _normalised(resampled(small, hats(knots, times))),
        "logits": resampled(small.clamp_min(_LEAST).log(), hats(knots, times)).softmax(-1),
        "nearest": _normalised(resampled(small, hats(knots, times, nearest=True))),
    }


def sequences(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return coordinates (B, N, 1) and values (B, N, c) of what is observed, in time order.

    Raises:
        ValueError: there are other coordinates than time, or samples of different lengths, or of fewer than 4 points.
    """
    coords, values, mask = batch.context
    if coords.shape[-1] != 1 or not mask.all() or coords.shape[1] < 4:
        found = f"{coords.shape[-1]} coordinates, {sorted(set(mask.sum(1).tolist()))} points"
        raise ValueError(f"data: expected one coordinate, 4 or more observed points, as many everywhere, found {found}")
    order = coords[..., 0].argsort(1)[..., None]
    return coords.take_along_dim(order, 1), values.take_along_dim(order, 1)


def hats(knots: Tensor, times: Tensor, nearest: bool = False) -> Tensor:
    """Return the matrix (B, N, n) that interpolates linearly from knots (B, n) to times (B, N), ascending.

    Args:
        knots: where something is known.
        times: where it is asked for; beyond the ends the value at the end is held.
        nearest: take the nearest knot, the earlier of two that are equally near.
    """
    right = torch.searchsorted(knots.contiguous(), times.contiguous()).clamp(1, knots.shape[1] - 1)
    first, second = knots.gather(1, right - 1), knots.gather(1, right)
    part = ((times - first) / (second - first)).clamp(0, 1).double()
    if nearest:
        part = (part > 0.5 + 1e-6).double()  # times are rounded
    matrix = part.new_zeros(*times.shape, knots.shape[1])
    return matrix.scatter(2, (right - 1)[..., None], 1 - part[..., None]).scatter(2, right[..., None], part[..., None])


def resampled(small: Tensor, matrix: Tensor) -> Tensor:
    """Return (L, B, H, N, N) from (L, B, H, n, n), both axes multiplied by a matrix (B, N, n)."""
    return matrix[:, None] @ small @ matrix[:, None].transpose(-1, -2)


def errors(estimate: Tensor, truth: Tensor) -> dict[str, Tensor]:
    r"""Return scores (B,) of weights (L, B, H, N, N) by name.

    With heads averaged first and the mean over layers taken last: `weights_mse`, over all entries; `weights_l2`, the
    Frobenius norm of the error over that of the truth; `weights_kl`, the mean over rows of
    :math:`\sum_j t_j \log (t_j / e_j)` in nats, both at least 1e-12. `weights_l2_last` is of the last layer alone, and
    `weights_l2_heads` the mean over layers and heads, each compared with itself.
    """
    e, t = estimate.mean(2), truth.mean(2)  # (L, B, N, N)
    relative = _relative(e, t)
    floor = t.clamp_min(_LEAST)
    kl = (floor * (floor.log() - e.clamp_min(_LEAST).log())).sum(-1).mean(-1)
    return {
        "weights_l2": relative.mean(0),
        "weights_mse": (e - t).square().mean((0, 2, 3)),
        "weights_kl": kl.mean(0),
        "weights_l2_last": relative[-1],
        "weights_l2_heads": _relative(estimate, truth).mean((0, 2)),
    }


def directions(names: Sequence[str]) -> dict[str, bool]:
    """Return for each score whether more is better.

    Raises:
        ValueError: there is no such score of weights.
    """
    for name in names:
        if name not in SCORES:
            raise ValueError(f"scores: expected some of {', '.join(SCORES)}, found {name}")
    return {name: SCORES[name] for name in names}


def by_model(report: Report) -> Report:
    """Turn the one table of trained models into one table a model, of the ways in which its weights were made."""
    models = report.tables[0]
    names = [name for name in report.protocol.methods if name in models]
    tables: list[dict[str, dict[int, dict[str, Any]]]] = []
    for name in names:
        ways = [way for way in WAYS if any(way in cell["readings"] for cell in models[name].values())]
        tables.append({way: {seed: _cell(cell, way) for seed, cell in models[name].items()} for way in ways})
    sweep = Sweep("model", tuple(names), "model", None)
    methods = report.protocol.methods | {way: {} for way in WAYS}
    examples = {name: models[name][min(models[name])]["example"] for name in names}
    made = report._replace(protocol=report.protocol._replace(sweep=sweep, methods=methods), tables=tables)
    return made._replace(examples=examples, remarks=tuple(_against_linear(made)))


def _cell(cell: Mapping[str, Any], way: str) -> dict[str, Any]:
    """Return what a cell says of one way, as if it had been the only one."""
    kept = {key: value for key, value in cell.items() if key not in ("readings", "example", "pooled")}
    scores = cell["readings"][way]
    pooled = {name: fmean(values) if None not in values else None for name, values in scores.items()}
    return {**kept, "model": cell["method"], "method": way, "scores": scores, "pooled": pooled}


def _against_linear(report: Report) -> Iterator[str]:
    """Say for every model and score of the table how its own ways compare with interpolated weights."""
    pairs = [
        (n, way, score)
        for n, table in enumerate(report.tables) for way in OWN if way in table for score in report.directions
    ]  # fmt: skip
    found = {pair: (_scores(report, *pair), _scores(report, pair[0], "linear", pair[2])) for pair in pairs}
    corrected = dict(zip(pairs, holm([paired_p(*found[pair]) for pair in pairs]), strict=True))
    for n, way in dict.fromkeys((n, way) for n, way, _ in pairs):
        told = []
        for score in report.directions:
            ours, theirs = (np.mean(list(seeds.values()), axis=0) for seeds in found[n, way, score])
            closer = f"closer on {int((ours < theirs).sum())} of {len(ours)} sequences"
            p = f"p = {corrected[n, way, score]:.2g}"
            told.append(f"{LABELS[score]} {ours.mean():.3g} against {theirs.mean():.3g}, {closer}, {p}")
        model = report.protocol.values[n]
        yield f"{model}, {way} against linear (p Holm-corrected for {len(pairs)} tests): {'; '.join(told)}."


def _scores(report: Report, n: int, way: str, score: str) -> dict[int, np.ndarray]:
    """Return (n,) scores by seed of one way in one model's table."""
    return {seed: np.array(cell["scores"][score], np.float64) for seed, cell in report.tables[n][way].items()}


def _own(reader: Reader, half: Half) -> dict[str, Tensor]:
    """Return weights (L, B, H, N, N) by the model's own ways."""
    found = {"cst_predicted": reader.filled(half, reader.predicted(half))}
    return {"cst_dummies": reader.joint(half), **found} if reader.network.joint else found


def _training_mean(reader: Reader, datamodule: FieldDataModule) -> Tensor:
    """Return the mean true weights (L, 1, H, N, N) of the training sequences."""
    drawn = datamodule.whole_dataloader("train").dataset
    assert isinstance(drawn, SampleDataset)
    shown = SampleDataset(drawn.source, drawn.members, drawn.task, train=False)  # with everything that is observed
    total, count = torch.zeros(()), 0
    for batch in DataLoader(shown, datamodule.eval_batch_size, collate_fn=collate):
        coords, values = sequences(batch)
        total = total + reader.weights(coords, values, coords).sum(1, keepdim=True)
        count += len(coords)
    return total / count


def _example(half: Half, weights: Mapping[str, Tensor]) -> dict[str, Any]:
    last = {name: np.round(w[-1, 0].mean(0).numpy(), 5).tolist() for name, w in weights.items()}
    times = np.round(half.whole[0, :, 0].double().numpy(), 6).tolist()
    return {"times": times, "kept": half.kept.tolist(), "weights": last}


def _normalised(weights: Tensor) -> Tensor:
    return weights / weights.sum(-1, keepdim=True)


def _relative(estimate: Tensor, truth: Tensor) -> Tensor:
    return (estimate - truth).norm(dim=(-2, -1)) / truth.norm(dim=(-2, -1))
