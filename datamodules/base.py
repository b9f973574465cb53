"""From trajectories to batches: split, observe, hide, draw, pad.

A subclass says what the data are (`trajectories`); everything else is here. Sizes: B batch, N context points,
Q targets, D dummies, d coordinate dimensions, c channels, n points of a trajectory.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader
from torchmetrics import Metric

from cst_lightning.baselines.interpolation import Interpolator, references
from cst_lightning.datamodules.draws import Domain, Dummies, Observation, Scheme, Stream, generator
from cst_lightning.datamodules.sampler import EpochSampler
from cst_lightning.datamodules.samples import Augmentation, Sample, SampleDataset, Task, collate
from cst_lightning.datamodules.trajectories import Trajectory, TrajectoryDataset
from cst_lightning.errors import check_ranges
from cst_lightning.points import Batch, Normalization, PointSet, axis_names

Split = Literal["train", "val", "test"]

# Statistics and quantiles of a large data set on one grid are taken from at most so many training trajectories.
_ENOUGH = 512


class FieldDataModule(LightningDataModule):
    """Irregularly observed samples of a field, ready for `CSTModule`; batches are in physical units.

    Subclasses implement `trajectories` and, where there is something to build once, `prepare_data`. Batches, truth,
    noise and normalisation are in the units of the data whatever the options, so that a trained field takes and gives
    those; `rescale` only chooses the unit in which scores are reported.

    Args:
        dimension: d, time included.
        channels: c.
        period: length of each axis that wraps around, None for one that does not; all None when omitted.
        train: number of training samples, or their fraction of all.
        val: the same for validation.
        test: the same for test.
        split: `random` (seeded) or `ordered`: first train, then val, then test.
        train_limit: learn from the first so many of the training samples only; all if None. The other splits stay.
        observed: how many points (scheme `points`) or times (other schemes) of a sample are observed; or a fraction.
        scheme: `points` at random; `frames`: everything at random times; `tail`: everything at the first times;
            `regular`: everything at equally spaced times; `region`: everything outside a box at a random place.
        stride: with `regular`: every so many-th time instead of `observed` of them.
        keep_ends: the first and the last time are always observed.
        noise: standard deviation of Gaussian noise on observed values, in the data's own units; the truth stays clean.
        rescale: report scores in units of `scale`, the 98 % quantile of the absolute training values, so that the mean
            square error of differently sized data can be compared: evaluation and the scoring callbacks divide
            predictions and truth by it. Nothing else changes.
        context: in training, the fraction of the observed points that is shown is uniform between these two.
        context_ends: always show the first and the last observed time.
        target: in training, ask for `all` observed points or for those not shown (`masked`), of which there is always
            one: at least three points, or times, of a sample must be observed.
        supervision: `observed`: training sees nothing but observed points; `dense`: also `dense_points` of the truth.
        dense_points: random points of the truth a sample, with `dense`; as many as it has, or more, are all that were
            not observed.
        dummies: number of dummy points a sample.
        dummy_domain: `box` of the data set, `hull` of the sample's own observed coordinates, or `near` them.
        dummy_sigma: standard deviation of `near`, in lengths of each axis.
        spread: divide by each `channel`'s own standard deviation, or by one for all channels (`joint`).
        val_sites: validate at so many places at all times, fixed at random; at all places if None.
        batch_size: samples a training batch, on each device.
        eval_batch_size: samples a validation or test batch; as `batch_size` if None.
        num_workers: processes that load; 0 loads in the main one.
        pin_memory: copy batches into page-locked memory, for GPUs.
        persistent_workers: keep workers between epochs.
        drop_last: drop the last, incomplete training batch.
        seed: of the split and of every draw.

    Attributes:
        dimension, channels, periodic: the facts a network needs, known at once; `periodic` per axis.
        normalization: known after `setup`, from observed training values only.
        grid: (T, *space) if every trajectory lies on one C-ordered grid, else None; known after `setup`.
        scale: unit of reported scores in units of the data, 1 without `rescale`; known after `setup`.
    """

    def __init__(
        self,
        dimension: int,
        channels: int,
        period: Sequence[float | None] | None = None,
        *,
        train: int | float = 0.8,
        val: int | float = 0.1,
        test: int | float = 0.1,
        split: Literal["random", "ordered"] = "random",
        train_limit: int | None = None,
        observed: int | float = 0.5,
        scheme: Scheme = "points",
        stride: int | None = None,
        keep_ends: bool = False,
        noise: float = 0.0,
        rescale: bool = False,
        context: tuple[float, float] = (0.3, 0.9),
        context_ends: bool = False,
        target: Literal["all", "masked"] = "all",
        supervision: Literal["observed", "dense"] = "observed",
        dense_points: int = 64,
        dummies: int = 5,
        dummy_domain: Domain = "box",
        dummy_sigma: float = 0.05,
        spread: Literal["channel", "joint"] = "channel",
        val_sites: int | None = None,
        batch_size: int = 16,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        pin_memory: bool = False,
        persistent_workers: bool = False,
        drop_last: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not 0 < context[0] <= context[1] <= 1:
            raise ValueError(f"context is {context}, expected two increasing fractions in (0, 1]")
        check_ranges(
            batch_size=(batch_size, 1, np.inf), dummies=(dummies, 0, np.inf), dummy_sigma=(dummy_sigma, 0, np.inf),
            eval_batch_size=(1 if eval_batch_size is None else eval_batch_size, 1, np.inf), seed=(seed, 0, np.inf),
            num_workers=(num_workers, 0, np.inf), val_sites=(1 if val_sites is None else val_sites, 1, np.inf),
            dense_points=(dense_points, 1, np.inf), train=(train, 0, np.inf), val=(val, 0, np.inf),
            test=(test, 0, np.inf), train_limit=(1 if train_limit is None else train_limit, 1, np.inf),
        )  # fmt: skip
        self.dimension, self.channels = dimension, channels
        self.period = (None,) * dimension if period is None else tuple(period)
        self.periodic = tuple(length is not None for length in self.period)
        self.parts: dict[Split, int | float] = {"train": train, "val": val, "test": test}
        self.split, self.seed, self.rescale, self.spread = split, seed, rescale, spread
        self.train_limit = train_limit
        self.observation = Observation(observed, scheme, keep_ends, stride, noise, seed)
        self.context, self.context_ends, self.target = context, context_ends, target
        self.dense_points = dense_points if supervision == "dense" else 0
        self.dummies, self.dummy_domain, self.dummy_sigma = dummies, dummy_domain, dummy_sigma
        self.val_sites, self.batch_size, self.eval_batch_size = val_sites, batch_size, eval_batch_size or batch_size
        self.drop_last = drop_last
        self.loading = {
            "num_workers": num_workers,
            "pin_memory": pin_memory,
            "persistent_workers": persistent_workers and num_workers > 0,
        }
        self.normalization: Normalization
        self.grid: tuple[int, ...] | None = None
        self.scale = 1.0
        self._splits: dict[Split, SampleDataset] = {}

    @abstractmethod
    def trajectories(self) -> TrajectoryDataset:
        """Return all samples, whatever their split; called once in every process, by `setup`."""

    @property
    def axis_names(self) -> tuple[str, ...]:
        """Names of the d coordinates, in their order, by which a file's axes are recognised."""
        return axis_names(self.dimension)

    def augmentation(self) -> Augmentation | None:
        """Return a symmetry of the system to apply to training samples, if there is one."""
        return None

    def setup(self, stage: str | None = None) -> None:
        """Open the data, split it, and take statistics from the observed training values; does its work once."""
        if self._splits:
            return
        source = self._checked(self.trajectories())
        members = self.members(len(source))
        members["train"] = members["train"][: self.train_limit]
        self.grid = source.grid
        known = source.grid is not None or source.box is not None
        chosen = _spread(members["train"]) if known else members["train"]
        self.scale = _quantile(source, chosen) if self.rescale else 1.0
        self.normalization = self._statistics(source, chosen)
        task = self._task()
        for name, part in members.items():
            own = task if name == "train" else task._replace(augment=None)
            sites = self._sites() if name == "val" else None
            self._splits[name] = SampleDataset(source, part, own, name == "train", sites)

    def members(self, total: int) -> dict[Split, np.ndarray]:
        """Return which of `total` samples belong to each split, as sorted positions."""
        counts = {k: n if isinstance(n, int) else round(n * total) for k, n in self.parts.items()}
        if sum(counts.values()) > total:  # three rounded fractions can exceed the total by one
            if all(isinstance(n, float) for n in self.parts.values()) and sum(self.parts.values()) <= 1 + 1e-9:
                counts["train"] -= sum(counts.values()) - total
            else:
                raise ValueError(
                    f"train, val, test are {tuple(self.parts.values())}, expected at most {total} samples in all"
                )
        if counts["train"] < 1 or min(counts.values()) < 0:
            raise ValueError(f"train, val, test are {tuple(counts.values())} samples, expected at least 1, 0, 0")
        order = np.arange(total)
        if self.split == "random":
            generator(self.seed, Stream.SPLIT).shuffle(order)
        cuts = np.cumsum(list(counts.values()))
        return {k: np.sort(part) for k, part in zip(counts, np.split(order[: cuts[-1]], cuts[:-1]), strict=True)}

    def truth(self, split: Split, i: int) -> Trajectory:
        """Return the i-th trajectory of a split, everything there is, without noise."""
        return self._split(split).truth(self._position(split, i))

    def rates(self, split: Split, i: int) -> Tensor | None:
        """Return the true derivatives (n, c) in time at the points of `truth`, or None if nobody knows them."""
        data = self._split(split)
        return data.source.rates(int(data.members[self._position(split, i)]))

    def sample(self, split: Split, i: int) -> Sample:
        """Return the i-th sample of a split as its loader gives it in epoch 0, not padded."""
        return self._split(split)[self._position(split, i)]

    def task(self, split: Split) -> Task:
        """Return what is asked of the samples of a split."""
        return self._split(split).task

    def scored(self, values: Tensor) -> Tensor:
        """Map predictions (..., c) to what `evaluate` compares with `scored_truth`; here they are that already."""
        return values

    def scored_truth(self, split: Split, i: int) -> Tensor:
        """Return what `scored` predictions of the i-th sample of a split should be, point by point as in `truth`."""
        return self.truth(split, i).values

    def scores(self) -> dict[str, Metric]:
        """Return more metrics for `evaluate`, by name.

        Each is updated sample by sample with what `scored` and `scored_truth` return: ``update(prediction (1, Q, c),
        target (1, Q, c), mask (1, Q), frames)``.
        """
        return {}

    def references(self) -> list[Interpolator]:
        """Return the interpolation that `evaluate` compares with."""
        return references(self.dimension)

    def figures(self, scene: Any, field: Callable[[np.ndarray], np.ndarray], labels: Any) -> dict[str, Any]:
        """Return figures of a sample by name where the general ones do not suit the data.

        Args:
            scene: a `cst_lightning.callbacks.scene.Scene`.
            field: maps coordinates (Q, d) to values (Q, c), both numpy and in physical units.
            labels: names of axes and values, `cst_lightning.drawing.Labels`.
        """
        return {}

    def animation(self, path: Path, scene: Any, field: Callable[[np.ndarray], np.ndarray], labels: Any) -> bool:
        """Write a GIF of a sample if the general one does not suit the data; tell whether that was done."""
        return False

    @classmethod
    def suggest(cls, **settings: Any) -> tuple[dict[str, dict[str, Any]], list[str]]:
        """Return settings that suit the data for what the user left open, and why, one line each.

        Args:
            settings: of the data, as given so far.

        Returns:
            Settings below "data", "model" and "trainer".
        """
        return {}, []

    def size(self, split: Split) -> int:
        """Return the number of samples of a split."""
        return len(self._split(split))

    def train_dataloader(self) -> DataLoader[Sample]:
        """Return the training batches."""
        return self._loader("train", self.batch_size)

    def val_dataloader(self) -> DataLoader[Sample]:
        """Return the validation batches."""
        return self._loader("val", self.eval_batch_size)

    def test_dataloader(self) -> DataLoader[Sample]:
        """Return the test batches."""
        return self._loader("test", self.eval_batch_size)

    def _checked(self, source: TrajectoryDataset) -> TrajectoryDataset:
        """Compare what the data are with the facts that the network was built from."""
        if len(source) and (first := source[0]).coords.shape[-1:] + first.values.shape[-1:] != (
            self.dimension,
            self.channels,
        ):
            raise ValueError(
                f"a trajectory has coordinates {tuple(first.coords.shape)} and values {tuple(first.values.shape)}, "
                f"expected (point, {self.dimension}) and (point, {self.channels})"
            )
        return source

    def _position(self, split: Split, i: int) -> int:
        # a larger one would be taken for a later epoch's draw of some other sample
        size = self.size(split)
        if not 0 <= i < size:
            wanted = f"0 to {size - 1}" if size else f"none, the {split} split is empty"
            raise ValueError(f"sample is {i}, expected {wanted}")
        return i

    def _split(self, split: Split) -> SampleDataset:
        if not self._splits:
            self.prepare_data()
            self.setup()
        return self._splits[split]

    def whole_dataloader(self, split: Split) -> DataLoader[Sample]:
        """Return a loader with which this process alone visits a split: in order, or `train` as in its first epoch."""
        return self._loader(split, self.eval_batch_size, alone=True)

    def _loader(self, split: Split, batch_size: int, alone: bool = False) -> DataLoader[Sample]:
        data, train = self._split(split), split == "train"
        rank, world = (0, 1) if alone else self._place()
        return DataLoader(
            data,
            batch_size,
            sampler=EpochSampler(data, self.seed, train, rank, world),
            collate_fn=_batch,
            drop_last=train and self.drop_last and len(data) >= batch_size,
            generator=torch.Generator(),  # its own, so that iterating leaves the global one, which dropout reads, alone
            **self.loading,  # type: ignore[arg-type]
        )

    def _place(self) -> tuple[int | None, int | None]:
        """Return rank and number of processes as the trainer knows them even before the processes have met."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (None, None)

    def _task(self) -> Task:
        origin, scale = np.array(self.normalization.origin), np.array(self.normalization.scale)
        low, high = origin - scale, origin + scale
        dummies = Dummies(self.dummies, self.dummy_domain, self.dummy_sigma, low, high, self.periodic, self.seed)
        return Task(
            self.observation,
            dummies,
            self.context,
            self.context_ends,
            self.target,
            self.dense_points,
            self.seed,
            self.augmentation(),
        )

    def _sites(self) -> np.ndarray | None:
        """Draw the places at which validation asks, the same for all samples."""
        places = 0 if self.grid is None else int(np.prod(self.grid[1:], dtype=int))
        if self.val_sites is None or self.val_sites >= places:
            return None
        return np.sort(generator(self.seed, Stream.SITES).choice(places, self.val_sites, replace=False))

    def _statistics(self, source: TrajectoryDataset, members: np.ndarray) -> Normalization:
        """Take the coordinates' box and the observed values' moments from training samples."""
        values: list[np.ndarray] = []
        low, high = source.box or (np.full(self.dimension, np.inf), np.full(self.dimension, -np.inf))
        for index in map(int, members):
            truth = source[index]
            observed = self.observation.positions(truth, index)
            self._check_observed(truth, observed, index)
            values.append(self.observation.values(truth.seen.numpy()[observed], index))
            if source.box is None:
                low = np.minimum(low, truth.coords.numpy().min(0, initial=np.inf))
                high = np.maximum(high, truth.coords.numpy().max(0, initial=-np.inf))
        seen = np.concatenate(values).astype(np.float64)
        if len(seen) == 0:
            raise ValueError(f"{self._place_of()}: values: expected a number that is not NaN, found none in training")
        spread = seen.std(0) if self.spread == "channel" else np.full(seen.shape[1], np.sqrt(seen.var(0).mean()))
        origin, scale = (low + high) / 2, (high - low) / 2
        for axis, length in enumerate(self.period):
            if length is not None:  # the whole period, which a grid stops one step short of
                origin[axis], scale[axis] = low[axis] + length / 2, length / 2
        scale, spread = np.where(scale > 0, scale, 1.0), np.where(spread > 0, spread, 1.0)
        centre, half, mean, unit = (tuple(map(float, part)) for part in (origin, scale, seen.mean(0), spread))
        return Normalization(centre, half, mean, unit, self.periodic)

    def _place_of(self) -> str:
        """Name the file for a message, if there is one."""
        return str(getattr(self, "path", None) or "data")

    def _check_observed(self, truth: Trajectory, observed: np.ndarray, index: int) -> None:
        """Make sure that a training sample can be split into what is shown and what is asked for."""
        if self.target == "masked" and not self.dense_points:
            groups = len(np.unique(self.observation.groups(truth, observed)))
            if groups < 3:
                what = "points" if self.observation.scheme == "points" else "times"
                raise ValueError(
                    f"{self._place_of()}: sample {index} has {groups} observed {what}, expected at least 3 with target "
                    "masked: two to show and one to ask for"
                )


def _batch(samples: Sequence[Sample]) -> Batch:
    """Pad samples to a batch of at least one point, if only one that does not count: a network cannot read nothing."""
    if any(len(sample.context.mask) for sample in samples):
        return collate(samples)
    coords, values, mask = samples[0].context
    point = PointSet(coords.new_zeros(1, coords.shape[-1]), values.new_zeros(1, values.shape[-1]), mask.new_zeros(1))
    return collate([samples[0]._replace(context=point), *samples[1:]])


def _spread(members: np.ndarray) -> np.ndarray:
    """Return some of many training samples, evenly spread: a recording may change with time."""
    return members if len(members) <= _ENOUGH else members[np.linspace(0, len(members) - 1, _ENOUGH).astype(int)]


def _quantile(source: TrajectoryDataset, members: np.ndarray) -> float:
    """Return the 98 % quantile of the absolute training values."""
    values = np.concatenate([source[int(index)].values.abs().numpy().ravel() for index in members])
    if np.isnan(values).all():  # told as such where the statistics are taken
        return 1.0
    found = float(np.nanquantile(values, 0.98))
    return found if found > 0 else 1.0
