"""What the samples of each split are made of, and what is odd about them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cst_lightning.datamodules import cutting
from cst_lightning.datamodules.base import FieldDataModule, Split
from cst_lightning.datamodules.samples import Sample
from cst_lightning.datamodules.trajectories import Trajectory
from cst_lightning.datamodules.windows import WindowedDataModule

# Samples of a split that are looked at.
_SAMPLES = 16
# What is worth a warning.
_FEW = 10
_QUESTIONS = 200
_SHARE = 0.1

Range = tuple[int, int]


class Part(NamedTuple):
    """What the samples of one split are made of; ranges over those that were looked at.

    Attributes:
        name: of the split.
        samples: how many there are.
        observed: points of a sample that are observed.
        context: points that are shown.
        target: points that are asked for and count.
        dummies: points of the Sobolev term.
    """

    name: Split
    samples: int
    observed: Range
    context: Range
    target: Range
    dummies: Range


class _Seen:
    """What the looked-at samples of a split have in common, gathered one at a time."""

    def __init__(self, data: FieldDataModule) -> None:
        self.open = ~np.array(data.periodic)  # axes that have an outside
        self.counts: dict[str, list[int]] = {name: [] for name in ("observed", "context", "target", "dummies")}
        self.low, self.high = np.full(data.channels, np.inf), np.full(data.channels, -np.inf)
        self.missing = self.lost = self.values = self.points = 0
        self.asked = 0
        self.outside = self.beyond = self.reach = 0.0
        self.fewest = (sys.maxsize, 0)

    def add(self, sample: Sample, truth: Trajectory, observed: np.ndarray) -> None:
        """Add one sample."""
        values, nan = truth.seen[torch.from_numpy(observed)].numpy(), truth.seen.isnan()
        for name, count in (
            ("observed", len(observed)),
            ("context", int(sample.context.mask.sum())),
            ("target", int(sample.target.mask.sum())),
            ("dummies", len(sample.dummies)),
        ):
            self.counts[name].append(count)
        self.asked += int(sample.target.mask.sum())
        self.fewest = min(self.fewest, (len(observed), int(sample.index)))
        if len(values):
            self.low, self.high = np.minimum(self.low, values.min(0)), np.maximum(self.high, values.max(0))
        if truth.observed is None:  # else NaN is what training must not see
            self.missing, self.values = self.missing + int(nan.sum()), self.values + nan.numel()
            partly = nan.any(-1) & ~nan.all(-1)
            self.lost, self.points = self.lost + int(partly.sum()), self.points + len(nan)
        places = truth.coords.numpy()[observed]
        if len(places) and len(sample.dummies):
            dummies = sample.dummies.numpy()
            out = ((dummies < places.min(0)) | (dummies > places.max(0))) & self.open
            self.outside += float(out.any(-1).mean())
        self._ask(sample.context.coords[sample.context.mask], sample.target.coords[sample.target.mask])

    def _ask(self, shown: Tensor, asked: Tensor) -> None:
        if len(shown) and len(asked) and self.open[0]:
            after = asked[:, 0] - shown[:, 0].max()
            self.beyond += float((after > 0).double().mean())
            self.reach = max(self.reach, float(after.max()))

    def range(self, name: str) -> Range:
        """Return the smallest and the largest count."""
        counts = self.counts[name] or [0]
        return min(counts), max(counts)

    @property
    def number(self) -> int:
        """Samples that were added."""
        return len(self.counts["observed"])


def look(data: FieldDataModule) -> tuple[tuple[Part, ...], list[str]]:
    """Draw samples of every split; return what they are made of, and what is odd about them."""
    parts: list[Part] = []
    warnings: list[str] = []
    for split in ("train", "val", "test"):
        seen, size = _Seen(data), data.size(split)
        for i in np.unique(np.linspace(0, size - 1, min(size, _SAMPLES)).astype(int)) if size else ():
            sample, truth = data.sample(split, int(i)), data.truth(split, int(i))
            seen.add(sample, truth, data.observation.positions(truth, sample.index))
        counts = (seen.range(name) for name in ("observed", "context", "target", "dummies"))
        parts.append(Part(split, size, *counts))
        if size:
            warnings += _odd(split, seen, data)
            warnings += _few_questions(data, split, seen, size)
    return tuple(parts), warnings


def _few_questions(data: FieldDataModule, split: Split, seen: _Seen, size: int) -> Iterator[str]:
    """Yield that a split asks for too little to tell good weights from bad ones."""
    # components stand for whole frames; of patches that overlap, a few pixels are counted twice
    numbers = max(data.channels, data.scored(torch.zeros(1, data.channels)).shape[-1])
    asked = round(seen.asked * numbers * size / seen.number)
    if split == "train" or asked >= _QUESTIONS:
        return
    options = [] if split == "test" or data.val_sites is None else ["data.val_sites"]
    within = getattr(data, "divide", None) == "within"
    options.append("data.observed" if within and split == "val" else f"data.{split}")
    yield (
        f"{split}: about {asked} numbers are asked for in all, too few to tell good from bad; "
        f"a larger {' or '.join(options)} gives more"
    )


def _odd(split: Split, seen: _Seen, data: FieldDataModule) -> Iterator[str]:
    """Yield what is odd about a split; that a forecast comes after the last observation is not."""
    forecast = data.observation.scheme == "tail"
    fewest, index = seen.fewest
    if fewest < _FEW:
        yield f"{split}: sample {index} has {fewest} observed points, which say little about a field"
    if seen.missing and split == "train":
        yield f"{split}: {_percent(seen.missing / seen.values)} of the values are NaN, taken as unobserved"
    if seen.lost > _SHARE * seen.points:
        share = _percent(seen.lost / seen.points)
        yield f"{split}: {share} of the points are lost because some of their channels are NaN and others are not"
    constant = np.flatnonzero(seen.low == seen.high)
    if len(constant) and split == "train":
        names = ", ".join(map(str, constant[:8])) + (", ..." if len(constant) > 8 else "")
        yield f"{split}: {len(constant)} of {len(seen.low)} channels are constant: {names}"
    outside, beyond = seen.outside / seen.number, seen.beyond / seen.number
    if outside > _SHARE and split == "train":
        yield (
            f"{split}: {_percent(outside)} of the dummies lie outside the range of their sample's observations; "
            f"{_inside(data)}"
        )
    if beyond > _SHARE and split == "test" and not forecast:
        yield (
            f"{split}: {_percent(beyond)} of the questions come after the last observation, by up to {seen.reach:.4g}: "
            "a forecast, not an interpolation"
        )


def _inside(data: FieldDataModule) -> str:
    """Return what brings dummies inside of what is observed, less what is set already."""
    if isinstance(data, WindowedDataModule) and len(cutting.pauses(data.recordings.axes[0].values)):
        whole = data.window is None and data.divide == "samples"
        cause = "the clock pauses, and whole recordings cross the pause: " if whole else "the clock pauses: "
    else:
        cause = ""
    options = [] if data.dummy_domain == "hull" else ["data.dummy_domain hull"]
    if not data.observation.keep_ends and data.observation.scheme in ("points", "frames"):
        options.append("data.keep_ends true")
    if cause and getattr(data, "window", 0) is None:
        options.append("a data.window shorter than what lies between pauses")
    return f"{cause}{' or '.join(options) or 'windows of the same length'} brings them inside"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"
