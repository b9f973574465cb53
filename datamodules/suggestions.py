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
from typing import Any, Literal

import numpy as np

from cst_lightning.datamodules.readers.source import Gridded, Source
from cst_lightning.errors import DataError

# Seconds of training that are aimed at.
_BUDGET = 150.0
# Operations a second of one thread, and what a step costs beside them: measured at nine sizes, right within 30 %.
_SPEED, _OVERHEAD = 3.5e10, 0.045
# Seconds that an initialiser takes for one shown and one asked point, measured with inverse distances.
_PAIR = 4e-8
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
# A window of fewer frames has too little to show and to ask for; where a frame is one point, of fewer than that.
_LEAST, _LEAST_POINTS = 8, 20
# Numbers that validation should ask for in all.
_QUESTIONS = 250
# Places a frame beyond which a box of them is hidden patch by patch.
_PLACES = 256
# Points shown from which on attention goes through latents, and how many.
_MANY, _LATENTS = 1024, 256
# Frames that are looked at for gaps, and numbers in all: a first look must not take long.
_LOOKED, _LARGE = 16, 2**22
_FRAMES = ("frames", "tail", "regular")
# What is drawn window by window, so that parts of a recording have to be kept apart.
_APART = ("tail", "region")
# Shares of training, validation and test where a tenth of a recording is shorter than a window should be.
_SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}


#: What is not there: nothing; the same cells or whole frames; single cells now and then, so that no frame is complete.
Gaps = Literal["none", "cells", "scattered"]


@dataclass
class _Facts:
    """Sizes of the data: S recordings of T frames of P places with c channels, d coordinates."""

    samples: int
    frames: int
    space: tuple[int, ...]
    channels: int
    scattered: bool = False
    points: int = 0
    place: str = "data"
    gaps: Callable[[], Gaps] = lambda: "none"

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
        source: what a reader returned; a few frames at most are read, to see whether they are complete.
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
    if said.get("tokens") == "patches":
        settle("patch", lambda: _patch(facts, said))
        settle("overlap", lambda: _overlap(facts, said))
    if said.get("tokens") == "components":
        settle("components", lambda: _components(facts))
        settle("spread", lambda: ("joint", "components keep their proportions"))
    if _short(facts, said):
        for name, share in _SHARES.items():
            settle(name, lambda share=share: (share, ""))  # type: ignore[misc]
    window = settle("window", lambda: _window(facts, said)) or facts.frames
    if not facts.scattered:
        settle("divide", lambda: _divide(facts, said, window))
    settle("stride", lambda: _stride(facts, said, window))
    settle("observed", lambda: _observed(facts, said, window))
    shown = _shown(facts, said, window)
    settle("target", lambda: ("masked", ""))
    settle("context", lambda: ([0.5, 0.9], "") if said["holdout"] != "regular" else ([0.4, 0.9], ""))
    if said["holdout"] == "frames" or (_dimension(facts, said) == 1 and said["holdout"] == "points"):
        settle("keep_ends", lambda: (True, "what is held out lies between observations"))
        settle("context_ends", lambda: (True, ""))
    if said["holdout"] in (*_APART, *_FRAMES):
        settle("dummy_domain", lambda: ("hull", "smooth where there are observations"))
    windows = _training_windows(facts, said, window)
    batch = settle("batch_size", lambda: (_power(max(1, min(32, 2048 // max(shown, 1), windows))), ""))
    settle("eval_batch_size", lambda: (_power(max(1, min(32, 4096 // max(shown, 1)))), ""))
    dummies = settle("dummies", lambda: (8, ""))
    if _dimension(facts, said) > 1 and not facts.scattered:
        settle("val_sites", lambda: _val_sites(facts, said))
    made.figures |= _labels(source, said)
    _model(made, _dimension(facts, said), shown, batch, dummies)
    _trainer(made, shown, batch, dummies, windows)
    return made


def step_seconds(
    batch: int,
    shown: int,
    asked: int,
    dummies: int,
    width: int,
    depth: int,
    order: int = 2,
    latents: int = 0,
    training: bool = True,
) -> float:
    """Return about how long one step takes on one thread.

    Args:
        batch: B samples.
        shown: N points in the context.
        asked: Q targets.
        dummies: D, of which derivatives are taken.
        width: W of the tokens.
        depth: layers.
        order: k of the derivatives.
        latents: M tokens to which the context is compressed; 0 if it is not.
        training: forward and back, else forward only and no dummies.
    """
    # a query whose derivatives are taken is k + 1 queries
    queries = asked + ((order + 1) * dummies if training else 0)
    keys = latents or shown
    linear = (keys + queries) * 12 * width**2
    attention = 2 * width * keys * (keys + queries)
    compression = (2 * width * latents * shown + 4 * width**2 * shown) if latents else 0
    network = 2 * (3 if training else 1) * batch * (depth * (linear + attention) + compression) / _SPEED
    # a distance between each shown and asked point, forward only
    return _OVERHEAD + network + _PAIR * batch * shown * queries


def _labels(source: Source, said: dict[str, Any]) -> dict[str, list[str]]:
    """Return what figures write on their axes."""
    names = [axis.label for axis in source.axes] if isinstance(source, Gridded) else list(source.axes)
    if said.get("tokens") == "components":
        return {"coords": names[:1], "values": [f"component {i + 1}" for i in range(said["components"])]}
    unit = f" ({source.unit})" if isinstance(source, Gridded) and source.unit else ""
    values = [name + unit for name in source.channels]
    return {"coords": names[:1]} if said.get("tokens") == "frames" else {"coords": names, "values": values}


def _facts(source: Source) -> _Facts:
    place = str(source.path or "data")
    if isinstance(source, Gridded):
        samples, frames, *sides, channels = source.shape
        return _Facts(samples, frames, tuple(sides), channels, place=place, gaps=lambda: _gaps(source))
    sizes = [len(coords) for coords in source.coords]
    times = int(np.median([len(np.unique(coords[:, 0])) for coords in source.coords]))
    space = (max(1, int(np.median(sizes)) // max(times, 1)),) * (len(source.axes) - 1)
    return _Facts(len(sizes), times, space, len(source.channels), True, int(np.median(sizes)), place)


def _gaps(source: Gridded) -> Gaps:
    """Look at a few frames of the first recording for what is missing."""
    if any(hasattr(source.read, name) for name in ("build", "file")):
        return "none"  # pictures and simulations are complete, and would have to be decoded or computed for a look
    frames, cells = source.shape[1], math.prod(source.shape[2:])
    if cells > _LARGE:
        return "none"
    chosen = np.unique(np.linspace(0, frames - 1, max(2, min(frames, _LOOKED, _LARGE // cells))).astype(int))
    seen = np.stack([~np.isnan(source.read(0, int(i), int(i) + 1)).ravel() for i in chosen])
    given, measured = seen.any(1), seen.any(0)
    if given.any() and seen[given][:, measured].all(1).mean() < 0.5:
        return "scattered"
    return "none" if measured.all() or not given.any() else "cells"


def _dimension(facts: _Facts, said: dict[str, Any]) -> int:
    return 1 if said.get("tokens") in ("frames", "components") else facts.dimension


def _places(facts: _Facts, said: dict[str, Any]) -> int:
    """Return places a frame: cells, or patches."""
    if said.get("tokens") != "patches":
        return facts.places
    patch, overlap = said.get("patch") or 4, said.get("overlap") or 0
    return math.prod(-(-max(n - patch, 0) // max(1, patch - overlap)) + 1 for n in facts.space)


def _part(facts: _Facts, said: dict[str, Any]) -> int:
    """Frames that the smaller of validation and test has of one recording, or all where whole ones are kept apart."""
    if facts.samples >= 10 if said.get("divide") in (None, "auto") else said["divide"] != "time":
        return facts.frames
    shares = [said.get(name) or 0.1 for name in ("val", "test")]
    return min(n if isinstance(n, int) else int(n * facts.frames + 1e-9) for n in shares)


def _wanted(facts: _Facts, said: dict[str, Any]) -> int:
    """Frames that a window should have at least."""
    return _LEAST_POINTS if _dimension(facts, said) == 1 else _LEAST


def _short(facts: _Facts, said: dict[str, Any]) -> bool:
    """Return whether tenths of a recording are too short for what has to be kept apart."""
    own = not any(said.get(name) is not None for name in (*_SHARES, "window", "divide"))
    apart = said["holdout"] in _APART and not facts.scattered
    # of a region a window asks little, so that there should be several
    many = 3 if said["holdout"] == "region" and _dimension(facts, said) > 1 else 1
    return own and apart and _part(facts, said) < many * _wanted(facts, said)


def _holdout(facts: _Facts, said: dict[str, Any]) -> tuple[str, str]:
    cells = facts.places * facts.channels
    if said.get("tokens") in ("frames", "components"):
        return "frames", "a point is a frame"
    if facts.places > 4 * _CELLS and facts.frames * facts.samples >= 40 and not facts.scattered:
        return "frames", f"frames of {cells:,} numbers are too large to be restored from single points in minutes"
    return "points", "random points are hidden and asked for; also frames, tail, region"


def _tokens(facts: _Facts, said: dict[str, Any]) -> tuple[str, str]:
    if said["holdout"] == "region" and facts.places > _PLACES and facts.gaps() == "none":
        return "patches", f"{facts.places:,} cells a frame are too many to be points of a box"
    if not facts.space or said["holdout"] not in _FRAMES or facts.places <= _SMALL:
        return "points", "every cell is a point" if facts.space else ""
    gaps = facts.gaps()
    if gaps == "scattered":
        return "points", "every cell is a point, for hardly a frame is complete"
    if facts.places * facts.channels <= 64 and gaps == "none":
        return "frames", "a frame is a point, its cells are the channels"
    return "components", "a frame is a point; its principal components are the channels"


def _patch(facts: _Facts, said: dict[str, Any]) -> tuple[int | None, str]:
    """Return the smallest patch that leaves few places: one that divides every side, or else one that overlaps."""
    if not facts.space:
        return None, ""
    for overlap in [said["overlap"]] if said.get("overlap") is not None else [0, 1]:
        for size in range(2, min(facts.space) + 1):
            fits = overlap or not any(n % size for n in facts.space)
            made = {"tokens": "patches", "patch": size, "overlap": overlap}
            if fits and size > overlap and _places(facts, made) <= _PLACES:
                return size, f"{_places(facts, made)} patches a frame"
    return None, ""


def _overlap(facts: _Facts, said: dict[str, Any]) -> tuple[int | None, str]:
    if any(n % (said.get("patch") or 4) for n in facts.space):
        return 1, "no patch divides every side"
    return None, ""


def _val_sites(facts: _Facts, said: dict[str, Any]) -> tuple[int | None, str]:
    # within a recording, validation asks for a tenth of what is observed, and all of that is little enough
    few = said.get("divide") == "within" and said["holdout"] == "points"
    return (64, "places at which validation asks") if _places(facts, said) > 64 and not few else (None, "")


def _components(facts: _Facts) -> tuple[int, str]:
    observed = int(0.6 * 0.5 * facts.frames * facts.samples)
    return max(1, min(16, observed // 2, facts.places * facts.channels)), ""


def _window(facts: _Facts, said: dict[str, Any]) -> tuple[int | None, str]:
    """Return frames a window: as many as the cap on points leaves room for."""
    if facts.scattered:
        return _scattered_window(facts)
    dimension, places = _dimension(facts, said), _places(facts, said)
    if dimension == 1:
        most = 128 if said.get("tokens") == "points" else 32
        if facts.samples >= 10 and facts.frames <= most:
            return None, ""
    elif said["holdout"] in (*_FRAMES, "region"):
        most = max(_LEAST, 2 * _SHOWN // places)
    else:
        most = min(16, max(4, _CELLS // places))
    if said.get("every"):
        most = max(most, 4 * said["every"] + 1)
    part = _part(facts, said)
    if said["holdout"] in _APART:
        length = min(most, _enough(facts, said, part))
    elif said["holdout"] == "points" and dimension > 1:
        length = min(facts.frames, most if part >= most else _shorter(facts, most))
    else:
        # parts that are kept apart show overfitting, which gap-filling within a recording cannot: so fit into them
        length = min(most, facts.frames if part < _wanted(facts, said) else part)
    return length, "frames a sample" + (f", {length * places:,} points" if dimension > 1 else "")


def _enough(facts: _Facts, said: dict[str, Any], part: int) -> int:
    """Return the frames of a part that is kept apart, or say that it has too few."""
    least = 4 if said["holdout"] == "tail" else 2
    if part < least or said.get("divide") == "within":
        need = f"parts in time of at least {least} frames (divide time), or whole recordings (divide samples)"
        found = f"divide within of {facts.frames} frames" if said.get("divide") == "within" else f"parts of {part}"
        found += ", for which holdout points or frames with divide within is left"
        raise DataError(facts.place, f"holdout {said['holdout']}", need, found)
    return part


def _shorter(facts: _Facts, most: int) -> int:
    """Return frames a window where points are hidden within a recording: so few that a larger share can be shown."""
    share = _share(facts)
    return most if share * most * facts.places <= 2 * _SHOWN else max(4, int(2 * _SHOWN / (share * facts.places)))


def _share(facts: _Facts) -> float:
    """Return which share must be observed for validation, which gets a tenth of that, to ask enough."""
    return min(0.5, 10 * _QUESTIONS / (facts.samples * facts.frames * facts.places * facts.channels))


def _scattered_window(facts: _Facts) -> tuple[int | None, str]:
    if facts.samples >= 10:
        return None, ""
    a_time = max(1, facts.points // max(facts.frames, 1))
    return max(2, min(2 * _SHOWN // a_time, facts.frames // 10)), "distinct times a sample"


def _divide(facts: _Facts, said: dict[str, Any], window: int) -> tuple[str | None, str]:
    if facts.samples >= 10:
        return "samples", "whole recordings are kept for validation and test"
    part = _part(facts, said)
    if part >= window or said["holdout"] in _APART:
        share = "tenths" if part <= facts.frames // 10 else "fifths"
        return "time", f"the last {share} of the recording are kept for validation and test"
    return "within", f"{facts.frames} frames are too few to keep some apart; what is hidden is never trained on"


def _spans(facts: _Facts, said: dict[str, Any]) -> tuple[int, int]:
    """Return how many stretches there are to train on, and how many frames each has."""
    if said.get("divide") == "within":
        return facts.samples, facts.frames
    part = said.get("train") or 0.8
    whole = facts.samples if facts.samples >= 10 else facts.frames
    kept = max(1, part if isinstance(part, int) else int(part * whole))
    return (kept, facts.frames) if facts.samples >= 10 else (facts.samples, kept)


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
    return window if said["holdout"] in _FRAMES or _dimension(facts, said) == 1 else window * _places(facts, said)


def _observed(facts: _Facts, said: dict[str, Any], window: int) -> tuple[int | float, str]:
    total = _total(facts, said, window)
    if said["holdout"] == "tail" and window < _LEAST_POINTS:
        return 0.75, "the last quarter of the frames of a sample is hidden"
    if said["holdout"] in _FRAMES:
        return 0.5, "half of the frames are shown"
    if said["holdout"] == "region":
        return 0.75, "a quarter of a sample is hidden"
    if total <= 2 * _SHOWN:
        return 0.5, f"half of the {total:,} points of a sample are shown"
    if said.get("divide") == "within":
        share = max(_SHOWN / total, _share(facts))
        return round(share, 6), f"about {share * total:.0f} of the {total:,} points of a sample are shown"
    return _SHOWN, f"of the {total:,} points of a sample are shown"


def _shown(facts: _Facts, said: dict[str, Any], window: int) -> int:
    """Return about how many points are observed in a sample."""
    observed, total = said["observed"], _total(facts, said, window)
    count = observed if isinstance(observed, int) else max(1, round(observed * total))
    whole = said["holdout"] in _FRAMES and _dimension(facts, said) > 1
    return count * (_places(facts, said) if whole else 1)


def _power(n: int) -> int:
    """Return the largest power of two that is not above n."""
    return 2 ** int(math.log2(max(n, 1)))


def _model(made: Plan, dimension: int, shown: int, batch: int, dummies: int) -> None:
    width = 64 if dimension == 1 or shown < 64 else 96
    made.model |= {"width": width, "depth": 4, "heads": 4, "order": 2}
    if shown > _MANY:
        made.model["latents"] = _LATENTS
        made.reasons.append(f"model.latents {_LATENTS}: {shown:,} points a sample attend to so many")
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
    sizes = (batch, round(0.7 * shown), round(0.3 * shown), dummies, model["width"], model["depth"])
    step = step_seconds(*sizes, latents=model.get("latents", 0))
    steps = int(min(_STEPS[1], max(_STEPS[0], _BUDGET / step)))
    epochs = max(1, round(steps / max(1, math.ceil(windows / batch))))
    made.trainer |= {"max_epochs": epochs, "check_val_every_n_epoch": max(1, epochs // 10)}
    steps = epochs * math.ceil(windows / batch)
    made.reasons.append(
        f"trainer.max_epochs {epochs}: {steps:,} steps of {batch} of the {windows} samples, "
        f"about {steps * step / 60:.1f} minutes on one core"
    )
