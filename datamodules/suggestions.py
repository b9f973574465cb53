"""Settings that follow from the data's size, so that a first run takes some minutes on two cores and shows something.

What a training step costs decides most of it: attention of N shown and Q asked points grows as ``N^2 + N Q``, all else
as ``(N + Q) W^2``, both times batch and depth. So the points a sample shows are capped, windows are as long as that
leaves room for, and the number of epochs is what fits into the budget.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cst_lightning.datamodules.readers.source import Gridded, Source

# Seconds of training that are aimed at.
_BUDGET = 150.0
# Operations a second of one thread, and what a step costs beside them: measured at nine sizes, right within 30 %.
_SPEED, _OVERHEAD = 3.5e10, 0.045
# Points that a sample shows at most, along time and in more dimensions.
_SHOWN = 256
# Cells of a window of frames: more say little about each other.
_CELLS = 16384
# Frames with more cells than this are not cut into points by themselves when whole frames are hidden.
_SMALL = 32
# Steps after which little is gained, and before which little is learnt.
_STEPS = (150, 3000)
# Windows an epoch has at most, where the stride can be chosen.
_WINDOWS = 512
# A window of fewer frames has too little to show and to ask for.
_LEAST = 8
_FRAMES = ("frames", "tail", "regular")


@dataclass
class _Facts:
    """Sizes of the data: S recordings of T frames of P places with c channels, d coordinates."""

    samples: int
    frames: int
    space: tuple[int, ...]
    channels: int
    scattered: bool = False
    points: int = 0

    @property
    def places(self) -> int:
        return math.prod(self.space)

    @property
    def dimension(self) -> int:
        return 1 + len(self.space)


@dataclass
class Plan:
    """What was chosen, and why.

    Attributes:
        data: arguments of the data module.
        model: arguments of the model.
        trainer: arguments of the trainer.
        figures: names of axes and values, with units.
        reasons: one line each, for people.
    """

    data: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)


def suggest(source: Source, **given: Any) -> dict[str, dict[str, Any]]:
    """Return settings for `ArrayDataModule`, `CSTModule` and the trainer that suit the data.

    Args:
        source: what a reader returned; no values are read.
        **given: settings of the data that are fixed already, such as `tokens`, `window`, `holdout`, `batch_size`; the
            rest is chosen to go with them.

    Returns:
        Settings below "data", "model", "trainer" and "figures".

    Example:
        >>> import numpy as np
        >>> from cst_lightning.datamodules.readers.arrays import read_arrays
        >>> curves = read_arrays({"values": np.zeros((100, 50, 2)), "time": np.arange(50)})
        >>> suggest(curves)["data"]["observed"]
        0.5
    """
    made = plan(source, **given)
    return {"data": made.data, "model": made.model, "trainer": made.trainer, "figures": made.figures}


def explain(source: Source, **given: Any) -> list[str]:
    """Return what `suggest` chooses and why, in words, one line each."""
    return plan(source, **given).reasons


def config(source: Source, path: str | os.PathLike[str], **given: Any) -> dict[str, Any]:
    """Return a whole configuration for `cst-fit`.

    Args:
        source: what a reader returned.
        path: of the data, as the configuration should name it.
        **given: see `suggest`.
    """
    made = suggest(source, **given)
    data = {"path": os.fspath(path), **{k: v for k, v in given.items() if v is not None}, **made["data"]}
    return {**made, "data": {"class_path": "ArrayDataModule", "init_args": data}}


def plan(source: Source, **given: Any) -> Plan:
    """Choose all settings; see `suggest`."""
    facts, made = _facts(source), Plan()
    said = {name: value for name, value in given.items() if value is not None}

    def settle(name: str, choose: Callable[[], tuple[Any, str]]) -> Any:
        if name not in said:
            value, reason = choose()
            if value is not None:
                made.data[name] = value
                if reason:
                    made.reasons.append(f"data.{name} {value}: {reason}")
            said[name] = value
        return said[name]

    settle("holdout", lambda: _holdout(facts, said))
    if not facts.scattered:
        settle("tokens", lambda: _tokens(facts, said))
    if said.get("tokens") == "components":
        settle("components", lambda: _components(facts))
        settle("spread", lambda: ("joint", "components keep their proportions"))
    window = settle("window", lambda: _window(facts, said)) or facts.frames
    if not facts.scattered:
        settle("divide", lambda: _divide(facts, window))
    settle("stride", lambda: _stride(facts, said, window))
    settle("observed", lambda: _observed(facts, said, window))
    shown = _shown(facts, said, window)
    settle("target", lambda: ("masked", ""))
    settle("context", lambda: ([0.5, 0.9], "") if said["holdout"] != "regular" else ([0.4, 0.9], ""))
    if _dimension(facts, said) == 1 and said["holdout"] in ("points", "frames"):
        settle("keep_ends", lambda: (True, "what is held out lies between observations"))
        settle("context_ends", lambda: (True, ""))
    windows = _training_windows(facts, said, window)
    batch = settle("batch_size", lambda: (_power(max(1, min(32, 2048 // max(shown, 1), windows))), ""))
    settle("eval_batch_size", lambda: (_power(max(1, min(32, 4096 // max(shown, 1)))), ""))
    dummies = settle("dummies", lambda: (8, ""))
    if _dimension(facts, said) > 1 and not facts.scattered:
        settle("val_sites", lambda: (64, "places at which validation asks") if facts.places > 64 else (None, ""))
    made.figures |= _labels(source, said)
    _model(made, _dimension(facts, said), shown, batch, dummies)
    _trainer(made, shown, batch, dummies, windows)
    return made


def step_seconds(batch: int, shown: int, asked: int, dummies: int, width: int, depth: int, order: int = 2) -> float:
    """Return about how long one training step takes on one thread.

    Args:
        batch: B samples.
        shown: N points in the context.
        asked: Q targets.
        dummies: D, of which derivatives are taken.
        width: W of the tokens.
        depth: layers.
        order: k of the derivatives.
    """
    # a query whose derivatives are taken is k + 1 queries
    queries = asked + (order + 1) * dummies
    linear = (shown + queries) * 12 * width**2
    attention = 2 * width * shown * (shown + queries)
    return _OVERHEAD + 2 * 3 * depth * batch * (linear + attention) / _SPEED


def _labels(source: Source, said: dict[str, Any]) -> dict[str, list[str]]:
    """Return what figures write on their axes."""
    names = [axis.label for axis in source.axes] if isinstance(source, Gridded) else list(source.axes)
    if said.get("tokens") == "components":
        return {"coords": names[:1], "values": [f"component {i + 1}" for i in range(said["components"])]}
    unit = f" ({source.unit})" if isinstance(source, Gridded) and source.unit else ""
    values = [name + unit for name in source.channels]
    return {"coords": names[:1]} if said.get("tokens") == "frames" else {"coords": names, "values": values}


def _facts(source: Source) -> _Facts:
    if isinstance(source, Gridded):
        samples, frames, *sides, channels = source.shape
        return _Facts(samples, frames, tuple(sides), channels)
    sizes = [len(coords) for coords in source.coords]
    times = int(np.median([len(np.unique(coords[:, 0])) for coords in source.coords]))
    space = (max(1, int(np.median(sizes)) // max(times, 1)),) * (len(source.axes) - 1)
    return _Facts(len(sizes), times, space, len(source.channels), True, int(np.median(sizes)))


def _dimension(facts: _Facts, said: dict[str, Any]) -> int:
    return 1 if said.get("tokens") in ("frames", "components") else facts.dimension


def _whole(facts: _Facts) -> int:
    """Frames that the test part of one recording has, or all of them where whole recordings are kept apart."""
    return facts.frames if facts.samples >= 10 else facts.frames // 10


def _holdout(facts: _Facts, said: dict[str, Any]) -> tuple[str, str]:
    cells = facts.places * facts.channels
    if said.get("tokens") in ("frames", "components"):
        return "frames", "a point is a frame"
    if facts.places > 4 * _CELLS and facts.frames * facts.samples >= 40 and not facts.scattered:
        return "frames", f"frames of {cells:,} numbers are too large to be restored from single points in minutes"
    return "points", "random points are hidden and asked for; also frames, tail, region"


def _tokens(facts: _Facts, said: dict[str, Any]) -> tuple[str, str]:
    if not facts.space or said["holdout"] not in _FRAMES or facts.places <= _SMALL:
        return "points", "every cell is a point" if facts.space else ""
    if facts.places * facts.channels <= 64:
        return "frames", "a frame is a point, its cells are the channels"
    return "components", "a frame is a point; its principal components are the channels"


def _components(facts: _Facts) -> tuple[int, str]:
    observed = int(0.8 * 0.5 * facts.frames * facts.samples)
    return max(1, min(16, observed // 2, facts.places * facts.channels)), ""


def _window(facts: _Facts, said: dict[str, Any]) -> tuple[int | None, str]:
    """Return frames a window: as many as the cap on points leaves room for."""
    if facts.scattered:
        return _scattered_window(facts)
    if _dimension(facts, said) == 1:
        most = 128 if said.get("tokens") == "points" else 32
        if facts.samples >= 10 and facts.frames <= most:
            return None, ""
        # parts that are kept apart show overfitting, which gap-filling within a recording cannot: so fit into them
        return min(most, facts.frames if _whole(facts) < _LEAST else _whole(facts)), "frames a sample"
    if said["holdout"] in _FRAMES or said["holdout"] == "region":
        most = max(2, 2 * _SHOWN // facts.places)
    else:
        most = min(16, max(4, _CELLS // facts.places))
    return min(most, facts.frames), f"frames a sample, {min(most, facts.frames) * facts.places:,} cells"


def _scattered_window(facts: _Facts) -> tuple[int | None, str]:
    if facts.samples >= 10:
        return None, ""
    a_time = max(1, facts.points // max(facts.frames, 1))
    return max(2, min(2 * _SHOWN // a_time, facts.frames // 10)), "distinct times a sample"


def _divide(facts: _Facts, window: int) -> tuple[str | None, str]:
    if facts.samples >= 10:
        return "samples", "whole recordings are kept for validation and test"
    if facts.frames // 10 >= window:
        return "time", "the last tenths of the recording are kept for validation and test"
    return "within", f"{facts.frames} frames are too few to keep some apart; what is hidden is never trained on"


def _spans(facts: _Facts, said: dict[str, Any]) -> tuple[int, int]:
    """Return how many stretches there are to train on, and how many frames each has."""
    if said.get("divide") == "within":
        return facts.samples, facts.frames
    if facts.samples >= 10:
        return max(1, int(0.8 * facts.samples)), facts.frames
    return facts.samples, int(0.8 * facts.frames)


def _stride(facts: _Facts, said: dict[str, Any], window: int) -> tuple[int | None, str]:
    many, frames = _spans(facts, said)
    if window >= frames:
        return None, ""
    step = math.ceil(many * (frames - window) / _WINDOWS)
    return max(1, min(max(1, window // 2), step)), ""


def _training_windows(facts: _Facts, said: dict[str, Any], window: int) -> int:
    many, frames = _spans(facts, said)
    step = said.get("stride") or max(1, window // 2)
    return max(1, many * (max(0, frames - window) // step + 1))


def _total(facts: _Facts, said: dict[str, Any], window: int) -> int:
    """Points, or times, of a window, of which some are observed."""
    if facts.scattered:
        return max(1, round(facts.points * min(1.0, window / max(facts.frames, 1))))
    return window if said["holdout"] in _FRAMES or _dimension(facts, said) == 1 else window * facts.places


def _observed(facts: _Facts, said: dict[str, Any], window: int) -> tuple[int | float, str]:
    total = _total(facts, said, window)
    if said["holdout"] in _FRAMES:
        return 0.5, "half of the frames are shown"
    if said["holdout"] == "region":
        return 0.75, "a quarter of a sample is hidden"
    if total <= 2 * _SHOWN:
        return 0.5, f"half of the {total:,} points of a sample are shown"
    if said.get("divide") == "within":
        return round(_SHOWN / total, 6), f"about {_SHOWN} of the {total:,} points of a sample are shown"
    return _SHOWN, f"of the {total:,} points of a sample are shown"


def _shown(facts: _Facts, said: dict[str, Any], window: int) -> int:
    """Return about how many points are observed in a sample."""
    observed, total = said["observed"], _total(facts, said, window)
    count = observed if isinstance(observed, int) else max(1, round(observed * total))
    whole = said["holdout"] in _FRAMES and _dimension(facts, said) > 1
    return count * (facts.places if whole else 1)


def _power(n: int) -> int:
    """Return the largest power of two that is not above n."""
    return 2 ** int(math.log2(max(n, 1)))


def _model(made: Plan, dimension: int, shown: int, batch: int, dummies: int) -> None:
    width = 64 if dimension == 1 or shown < 64 else 96
    made.model |= {"width": width, "depth": 4, "heads": 4, "order": 2}
    if dimension == 1:
        made.model |= {"initialiser": "makima", "mu": 1e-8}
        reason = "observations lie along time only; the initialiser has no kinks and does not overshoot"
    else:
        made.model |= {"initialiser": "idw", "mu": 1e-7, "directions": "random", "lr": 6e-3}
        reason = f"{shown} scattered observations a sample"
    made.reasons.append(f"model.width {width}, initialiser {made.model['initialiser']}: {reason}")


def _trainer(made: Plan, shown: int, batch: int, dummies: int, windows: int) -> None:
    model = made.model
    # of what is observed, 70 % on average is shown in training and the rest asked for
    step = step_seconds(batch, round(0.7 * shown), round(0.3 * shown), dummies, model["width"], model["depth"])
    steps = int(min(_STEPS[1], max(_STEPS[0], _BUDGET / step)))
    epochs = max(1, round(steps / max(1, math.ceil(windows / batch))))
    made.trainer |= {"max_epochs": epochs, "check_val_every_n_epoch": max(1, epochs // 10)}
    steps = epochs * math.ceil(windows / batch)
    made.reasons.append(
        f"trainer.max_epochs {epochs}: {steps:,} steps of {batch} of the {windows} samples, "
        f"about {steps * step / 60:.1f} minutes on one core"
    )
