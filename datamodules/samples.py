"""One split's samples: what is observed, shown and asked for, and their padding to batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cst_lightning.datamodules.draws import Dummies, Observation, Stream, context_of, generator
from cst_lightning.datamodules.keeping import Keep
from cst_lightning.datamodules.trajectories import Trajectory, TrajectoryDataset
from cst_lightning.points import Batch, PointSet, pad, point_set

#: Maps coordinates (n, d) and values (n, c) of a training sample to those of another solution of the same system.
Augmentation = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]


def wrapped(places: np.ndarray) -> np.ndarray:
    """Return places on the unit torus, in [0, 1); what rounding has left just below 0 or 1 is 0, as on a grid."""
    inside = np.mod(places, 1.0)
    return np.where(inside > 1 - 1e-9, 0.0, inside)


class Sample(NamedTuple):
    """One sample as the loaders see it before they pad; as in `Batch`, without the batch axis."""

    context: PointSet
    target: PointSet
    dummies: Tensor
    index: int  # type: ignore[assignment]  # hides a method of tuples that nobody calls here
    frames: int = 0


class Task(NamedTuple):
    """What is asked of every sample of a split; the options of `FieldDataModule` that concern one sample.

    Attributes:
        observation: which points are observed.
        dummies: where dummies lie.
        context: range of the fraction of observed points that is shown.
        context_ends: always show the first and the last observed time.
        target: `all` observed points, or those that are not shown (`masked`).
        dense_points: so many random points of the truth are targets as well; all that were not observed, once each, if
            there are no more.
        seed: of the draws.
        augment: symmetry of the system, applied to training samples.
    """

    observation: Observation
    dummies: Dummies
    context: tuple[float, float]
    context_ends: bool
    target: Literal["all", "masked"]
    dense_points: int
    seed: int
    augment: Augmentation | None = None


class SampleDataset(Dataset[Sample]):
    """A split of trajectories as samples; an index is ``epoch * length + i``, see `EpochSampler`.

    Args:
        source: all trajectories.
        members: positions in `source` of this split.
        task: what is asked.
        train: draw a context; else show all observed points and ask for the truth, counting the held-out points.
        sites: in evaluation on a grid, ask for these places at all times only; all places if None.
    """

    def __init__(
        self,
        source: TrajectoryDataset,
        members: np.ndarray,
        task: Task,
        train: bool,
        sites: np.ndarray | None = None,
    ) -> None:
        self.source, self.members, self.task, self.train = source, members, task, train
        self.sites = sites
        self._kept = Keep()

    def __len__(self) -> int:
        return len(self.members)

    def truth(self, i: int) -> Trajectory:
        """Return the i-th trajectory, everything there is."""
        return self.source[int(self.members[i])]

    def __getitem__(self, code: int) -> Sample:
        epoch, i = divmod(code, len(self))
        truth = self.truth(i)
        index = int(self.members[i])
        observed, values = self._kept.get(
            index, lambda: self._seen(truth, index), lambda seen: seen[0].nbytes + seen[1].nbytes
        )
        if self.train:
            return self._training(truth, observed, values, index, epoch)
        return self._evaluation(truth, observed, values, index)

    def _seen(self, truth: Trajectory, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return positions and measured values of the observed points; no epoch changes them."""
        observed = self.task.observation.positions(truth, index)
        return observed, self.task.observation.values(truth.seen.numpy()[observed], index)

    def _training(self, truth: Trajectory, observed: np.ndarray, values: np.ndarray, index: int, epoch: int) -> Sample:
        task = self.task
        groups = task.observation.groups(truth, observed)
        rng = generator(task.seed, Stream.CONTEXT, index, epoch)
        if task.context_ends and task.observation.scheme == "points" and len(observed):
            # the ends are those of time, and points that come in no order get their rank in time as group
            groups = np.argsort(np.argsort(truth.coords[observed, 0].numpy(), kind="stable"), kind="stable")
        # dense points are always asked for, so then nothing has to be left unshown
        spare = task.target == "masked" and not task.dense_points
        shown = context_of(groups, task.context, task.context_ends, rng, int(spare))
        asked = np.ones_like(shown) if task.target == "all" else ~shown
        coords = truth.coords.numpy()[observed]
        if task.dense_points:
            dense = self._dense(truth, observed, index, epoch)
            coords = np.concatenate([coords, truth.coords.numpy()[dense]])
            values = np.concatenate([values, truth.values.numpy()[dense]])
            more = np.ones(len(dense), dtype=bool)
            shown, asked = np.append(shown, ~more), np.append(asked, more)
        if task.augment is not None:  # before context and target part, which have to stay in the same solution
            coords, values = task.augment(coords, values, generator(task.seed, Stream.AUGMENT, index, epoch))
        return Sample(
            _points(coords[shown], values[shown]),
            _points(coords[asked], values[asked]),
            torch.from_numpy(task.dummies.draw(coords[: len(observed)], index, epoch)),
            index,
        )

    def _dense(self, truth: Trajectory, observed: np.ndarray, index: int, epoch: int) -> np.ndarray:
        """Return the numbers of the truth's points that are targets as well."""
        count, size = self.task.dense_points, len(truth.coords)
        if count >= size:
            rest = np.ones(size, dtype=bool)
            rest[observed] = False
            return np.flatnonzero(rest)
        return generator(self.task.seed, Stream.DENSE, index, epoch).choice(size, count)

    def _evaluation(self, truth: Trajectory, observed: np.ndarray, values: np.ndarray, index: int) -> Sample:
        # a point that was shown is no test, however well it is reproduced
        held_out = torch.ones(len(truth.coords), dtype=torch.bool)
        held_out[observed] = False
        coords, values = truth.coords.numpy()[observed], values.copy()  # what is kept is nobody's to change
        target = _points(truth.coords, truth.values, held_out)
        if self.sites is not None:
            target = PointSet(*(x.unflatten(0, (truth.frames, -1))[:, self.sites].flatten(0, 1) for x in target))
        return Sample(
            _points(coords, values),
            target,
            torch.from_numpy(self.task.dummies.draw(coords, index, 0)),
            index,
            truth.frames,
        )


def collate(samples: Sequence[Sample]) -> Batch:
    """Pad samples of any number of points to one batch; `frames` only when all samples agree on it."""
    frames = {(sample.frames, len(sample.target.mask)) for sample in samples}
    return Batch(
        _validated(pad([sample.context for sample in samples])),
        _validated(pad([sample.target for sample in samples])),
        torch.stack([sample.dummies for sample in samples]),
        torch.tensor([sample.index for sample in samples]),
        samples[0].frames if len(frames) == 1 else 0,
    )


def _validated(points: PointSet) -> PointSet:
    return point_set(*points)


def _points(coords: np.ndarray | Tensor, values: np.ndarray | Tensor, mask: Tensor | None = None) -> PointSet:
    """Build an unbatched set; NaN marks a point that does not count."""
    values = torch.as_tensor(values)
    real = ~values.isnan().any(-1)
    return PointSet(torch.as_tensor(coords), values, real if mask is None else mask & real)
