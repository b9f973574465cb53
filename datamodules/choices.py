"""Single settings that suit the sizes of the data: what is hidden, how frames become points, how windows are cut.

Each function has the facts and what is said already, and returns its choice and the reason, one line for people; of
neither there may be none.
"""

from __future__ import annotations

import math
from typing import Any

from cst_lightning.datamodules.facts import Facts
from cst_lightning.errors import DataError

# Points that a sample shows at most, along time and in more dimensions.
_SHOWN = 256
# Cells of a window of frames: more say little about each other.
_CELLS = 16384
# Frames with more cells than this are not cut into points by themselves when whole frames are hidden.
_SMALL = 32
# Windows an epoch has at most, where the stride can be chosen.
_WINDOWS = 512
# A window of fewer frames has too little to show and to ask for; where a frame is one point, of fewer than that.
_LEAST, _LEAST_POINTS = 8, 20
# Numbers that validation should ask for in all.
_QUESTIONS = 250
# Places a frame beyond which a box of them is hidden patch by patch.
_PLACES = 256
#: Holdouts of whole frames.
FRAMES = ("frames", "tail", "regular")
#: What is drawn window by window, so that parts of a recording have to be kept apart.
APART = ("tail", "region")
#: Shares of training, validation and test where a tenth of a recording is shorter than a window should be.
SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}


def dimension_of(facts: Facts, said: dict[str, Any]) -> int:
    """Return d of the tokens."""
    return 1 if said.get("tokens") in ("frames", "components") else facts.dimension


def _places(facts: Facts, said: dict[str, Any]) -> int:
    """Return places a frame: cells, or patches."""
    if said.get("tokens") != "patches":
        return facts.places
    patch, overlap = said.get("patch") or 4, said.get("overlap") or 0
    return math.prod(-(-max(n - patch, 0) // max(1, patch - overlap)) + 1 for n in facts.space)


def _part(facts: Facts, said: dict[str, Any]) -> int:
    """Frames that the smaller of validation and test has of one recording, or all where whole ones are kept apart."""
    if facts.samples >= 10 if said.get("divide") in (None, "auto") else said["divide"] != "time":
        return facts.longest
    shares = [said.get(name) or 0.1 for name in ("val", "test")]
    counts = [n if isinstance(n, int) else int(n * facts.frames + 1e-9) for n in shares]
    if not len(facts.breaks):
        return min(counts)
    middle, stop = facts.frames - counts[1], facts.frames
    # a frame less where a share is rounded differently
    return min(facts.between(max(0, middle - counts[0] + 1), middle), facts.between(min(middle + 1, stop - 1), stop))


def _wanted(facts: Facts, said: dict[str, Any]) -> int:
    """Frames that a window should have at least."""
    return _LEAST_POINTS if dimension_of(facts, said) == 1 else _LEAST


def is_short(facts: Facts, said: dict[str, Any]) -> bool:
    """Return whether tenths of a recording are too short for what has to be kept apart."""
    own = not any(said.get(name) is not None for name in (*SHARES, "window", "divide"))
    apart = said["holdout"] in APART and not facts.scattered
    # of a region a window asks little, so that there should be several
    many = 3 if said["holdout"] == "region" and dimension_of(facts, said) > 1 else 1
    return own and apart and _part(facts, said) < many * _wanted(facts, said)


def holdout_for(facts: Facts, said: dict[str, Any]) -> tuple[str, str]:
    """Return what is hidden."""
    cells = facts.places * facts.channels
    if said.get("tokens") in ("frames", "components"):
        return "frames", "a point is a frame"
    if facts.places > 4 * _CELLS and facts.frames * facts.samples >= 40 and not facts.scattered:
        return "frames", f"frames of {cells:,} numbers are too large to be restored from single points in minutes"
    return "points", "random points are hidden and asked for; also frames, tail, region"


def tokens_for(facts: Facts, said: dict[str, Any]) -> tuple[str, str]:
    """Return how frames become points."""
    if said["holdout"] == "region" and facts.places > _PLACES and facts.gaps() == "none":
        return "patches", f"{facts.places:,} cells a frame are too many to be points of a box"
    if not facts.space or said["holdout"] not in FRAMES or facts.places <= _SMALL:
        return "points", "every cell is a point" if facts.space else ""
    gaps = facts.gaps()
    if gaps == "scattered":
        return "points", "every cell is a point, for hardly a frame is complete"
    if facts.places * facts.channels <= 64 and gaps == "none":
        return "frames", "a frame is a point, its cells are the channels"
    return "components", "a frame is a point; its principal components are the channels"


def patch_for(facts: Facts, said: dict[str, Any]) -> tuple[int | None, str]:
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


def overlap_for(facts: Facts, said: dict[str, Any]) -> tuple[int | None, str]:
    """Return the cells that neighbouring patches share."""
    if any(n % (said.get("patch") or 4) for n in facts.space):
        return 1, "no patch divides every side"
    return None, ""


def val_sites_for(facts: Facts, said: dict[str, Any]) -> tuple[int | None, str]:
    """Return at how many places validation asks."""
    # within a recording, validation asks for a tenth of what is observed, and all of that is little enough
    few = said.get("divide") == "within" and said["holdout"] == "points"
    return (64, "places at which validation asks") if _places(facts, said) > 64 and not few else (None, "")


def components_for(facts: Facts) -> tuple[int, str]:
    """Return how many components frames have."""
    observed = int(0.6 * 0.5 * facts.frames * facts.samples)
    return max(1, min(16, observed // 2, facts.places * facts.channels)), ""


def window_for(facts: Facts, said: dict[str, Any]) -> tuple[int | None, str]:
    """Return frames a window: as many as the cap on points leaves room for."""
    if facts.scattered:
        return _scattered_window(facts)
    dimension, places = dimension_of(facts, said), _places(facts, said)
    if dimension == 1:
        most = 128 if said.get("tokens") == "points" else 32
        if facts.samples >= 10 and facts.frames <= most:
            return None, ""
    elif said["holdout"] in (*FRAMES, "region"):
        most = max(_LEAST, 2 * _SHOWN // places)
    else:
        most = min(16, max(4, _CELLS // places))
    if said.get("every"):
        most = max(most, 4 * said["every"] + 1)
    part = _part(facts, said)
    if said["holdout"] in APART:
        length = min(most, _enough(facts, said, part))
    elif said["holdout"] == "points" and dimension > 1:
        length = min(facts.longest, most if part >= most else _shorter(facts, most))
    else:
        # parts that are kept apart show overfitting, which gap-filling within a recording cannot: so fit into them
        length = min(most, facts.longest if part < _wanted(facts, said) else part)
    return length, "frames a sample" + (f", {length * places:,} points" if dimension > 1 else "")


def _enough(facts: Facts, said: dict[str, Any], part: int) -> int:
    """Return the frames of a part that is kept apart, or say that it has too few."""
    least = 4 if said["holdout"] == "tail" else 2
    if part < least or said.get("divide") == "within":
        need = f"parts in time of at least {least} frames (divide time), or whole recordings (divide samples)"
        found = f"divide within of {facts.frames} frames" if said.get("divide") == "within" else f"parts of {part}"
        found += ", for which holdout points or frames with divide within is left"
        raise DataError(facts.place, f"holdout {said['holdout']}", need, found)
    return part


def _shorter(facts: Facts, most: int) -> int:
    """Return frames a window where points are hidden within a recording: so few that a larger share can be shown."""
    share = _share(facts)
    return most if share * most * facts.places <= 2 * _SHOWN else max(4, int(2 * _SHOWN / (share * facts.places)))


def _share(facts: Facts) -> float:
    """Return which share must be observed for validation, which gets a tenth of that, to ask enough."""
    return min(0.5, 10 * _QUESTIONS / (facts.samples * facts.frames * facts.places * facts.channels))


def _scattered_window(facts: Facts) -> tuple[int | None, str]:
    if facts.samples >= 10:
        return None, ""
    a_time = max(1, facts.points // max(facts.frames, 1))
    return max(2, min(2 * _SHOWN // a_time, facts.frames // 10)), "distinct times a sample"


def divide_for(facts: Facts, said: dict[str, Any], window: int) -> tuple[str | None, str]:
    """Return what is kept for validation and test."""
    if facts.samples >= 10:
        return "samples", "whole recordings are kept for validation and test"
    part = _part(facts, said)
    if part >= window or said["holdout"] in APART:
        share = "tenths" if part <= facts.frames // 10 else "fifths"
        return "time", f"the last {share} of the recording are kept for validation and test"
    return "within", f"{facts.frames} frames are too few to keep some apart; what is hidden is never trained on"


def _spans(facts: Facts, said: dict[str, Any]) -> tuple[int, int]:
    """Return how many stretches there are to train on, and how many frames each has."""
    if said.get("divide") == "within":
        return facts.samples, facts.frames
    part = said.get("train") or 0.8
    whole = facts.samples if facts.samples >= 10 else facts.frames
    kept = max(1, part if isinstance(part, int) else int(part * whole))
    return (kept, facts.frames) if facts.samples >= 10 else (facts.samples, kept)


def stride_for(facts: Facts, said: dict[str, Any], window: int) -> tuple[int | None, str]:
    """Return frames from one training window to the next."""
    many, frames = _spans(facts, said)
    if window >= frames:
        return None, ""
    step = math.ceil(many * (frames - window) / _WINDOWS)
    return max(1, min(max(1, window // 2), step)), ""


def count_windows(facts: Facts, said: dict[str, Any], window: int) -> int:
    """Return about how many training windows there are."""
    many, frames = _spans(facts, said)
    step = said.get("stride") or max(1, window // 2)
    return max(1, many * (max(0, frames - window) // step + 1))


def _total(facts: Facts, said: dict[str, Any], window: int) -> int:
    """Points, or times, of a window, of which some are observed."""
    if facts.scattered:
        return max(1, round(facts.points * min(1.0, window / max(facts.frames, 1))))
    return window if said["holdout"] in FRAMES or dimension_of(facts, said) == 1 else window * _places(facts, said)


def observed_for(facts: Facts, said: dict[str, Any], window: int) -> tuple[int | float, str]:
    """Return what share, or how many, of the points or times of a sample are observed."""
    total = _total(facts, said, window)
    if said["holdout"] == "tail" and window < _LEAST_POINTS:
        return 0.75, "the last quarter of the frames of a sample is hidden"
    if said["holdout"] in FRAMES:
        return 0.5, "half of the frames are shown"
    if said["holdout"] == "region":
        return 0.75, "a quarter of a sample is hidden"
    if total <= 2 * _SHOWN:
        return 0.5, f"half of the {total:,} points of a sample are shown"
    if said.get("divide") == "within":
        share = max(_SHOWN / total, _share(facts))
        return round(share, 6), f"about {share * total:.0f} of the {total:,} points of a sample are shown"
    return _SHOWN, f"of the {total:,} points of a sample are shown"


def shown_of(facts: Facts, said: dict[str, Any], window: int) -> int:
    """Return about how many points are observed in a sample."""
    observed, total = said["observed"], _total(facts, said, window)
    count = observed if isinstance(observed, int) else max(1, round(observed * total))
    whole = said["holdout"] in FRAMES and dimension_of(facts, said) > 1
    return count * (_places(facts, said) if whole else 1)
