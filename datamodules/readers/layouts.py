"""Which axis of an array is what: the documented layout, and how it is told apart from everything else.

An array has a time axis, any number of space axes, and perhaps a sample axis before the time and a channel axis at the
end: ``[sample] time *space [channel]``. Which of its axes are space is decided by what is there, in this order:

1. `layout`, an option or a text in the file: one letter an axis, ``s`` sample, ``t`` time, ``c`` channel, any other
   letter the space axis of that name (``"stxyc"``, ``"xyt"``); or whole names, separated by commas. Any order.
2. The axes' names, where the file has them (NetCDF, zarr and HDF5 dimension labels).
3. The vectors beside the array, by their length: `time` (or `t`), and `x`, `y`, `z` if there are any, else vectors of
   other names. An axis without a vector can be sample or channel, never space.

Where that leaves more than one reading, or none, it is an error that names the option to set; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, permutations

import numpy as np

from cst_lightning.errors import DataError

SAMPLE, TIME, CHANNEL = "sample", "time", "channel"

# Names under which files have what we call time, sample and channel.
_TIMES = ("time", "t", "times", "time_counter", "timestamps")
_SAMPLES = ("sample", "samples", "trajectory", "member", "realization", "ensemble", "trial", "batch")
_CHANNELS = ("channel", "channels", "component", "band")
_LETTERS = {"s": SAMPLE, "t": TIME, "c": CHANNEL}
_SPACE = ("x", "y", "z")

_HELP = "set layout, such as 'stxyc' (s sample, t time, c channel, other letters space)"


def role_of(name: str) -> str:
    """Return sample, time or channel for the names that mean them, and any other name as it is."""
    for role, names in ((TIME, _TIMES), (SAMPLE, _SAMPLES), (CHANNEL, _CHANNELS)):
        if name.lower() in names:
            return role
    return name


def parse(layout: str, place: str) -> tuple[str, ...]:
    """Return the roles that a `layout` names.

    Args:
        layout: letters, ``"stxyc"``, or names, ``"member, time, lat, lon"``.
        place: of the data, for messages.

    Raises:
        DataError: it has no time, or one axis twice.
    """
    names = [part.strip() for part in layout.split(",")] if "," in layout else list(layout.strip())
    roles = tuple(role_of(name) if "," in layout else _LETTERS.get(name, name) for name in names)
    if TIME not in roles or len(set(roles)) < len(roles) or not all(roles):
        raise DataError(place, "layout", "one letter an axis, t among them, none twice", repr(layout))
    return roles


def interpret(
    shape: Sequence[int],
    vectors: Mapping[str, np.ndarray],
    *,
    layout: str | None = None,
    axes: Sequence[str] | None = None,
    labels: Sequence[str] = (),
    place: str = "data",
    key: str = "values",
) -> tuple[str, ...]:
    """Return the role of every axis of an array, by the rule of this module.

    Args:
        shape: of the array.
        vectors: the vectors beside it; what is their length decides.
        layout: the reading, if the user or the file says it.
        axes: which vectors are the axes, time first, if the user says it.
        labels: names of the array's axes, if the file says them.
        place: of the data, for messages.
        key: name of the array, for messages.

    Returns:
        One of "sample", "time", "channel", or the name of a space axis, for each axis of the array.

    Raises:
        DataError: there is no reading, or more than one.
    """
    if layout is not None:
        return _fitted(parse(layout, place), shape, vectors, place, key)
    if labels and any(role_of(label) == TIME for label in labels):
        return _fitted(tuple(map(role_of, labels)), shape, vectors, place, key)
    if len(shape) == 1:
        return (TIME,)
    time, names, free = _candidates(shape, vectors, axes, place)
    found: list[tuple[str, ...]] = []
    # as many of the vectors as fit: those beside x, y, z may be about something else
    for many in range(len(names), -1, -1) if free else [len(names)]:
        found = [roles for chosen in combinations(names, many) for roles in _readings(shape, vectors, time, chosen)]
        if found:
            break
    return _only(found, shape, vectors, time, place, key)


def time_name(vectors: Mapping[str, np.ndarray]) -> str | None:
    """Return under which name the times are, if they are there."""
    return next((name for name in _TIMES if name in vectors), None)


def _candidates(
    shape: Sequence[int], vectors: Mapping[str, np.ndarray], axes: Sequence[str] | None, place: str
) -> tuple[str | None, list[str], bool]:
    """Return the time vector's name, the space vectors' names, and whether some of them may stay unused."""
    if axes is not None:
        for name in axes:
            if name not in vectors:
                raise DataError(place, "axes", f"vectors of the file ({', '.join(vectors) or 'there are none'})", name)
        return axes[0], list(axes[1:]), False
    time = time_name(vectors)
    known = [name for name in _SPACE if name in vectors]
    if known:
        return time, known, False
    # of other names: what fits no axis but the first is about samples or times, not about places
    own = [n for n, v in vectors.items() if n not in _TIMES and len(v) > 1 and len(v) in shape[1:]]
    return time, own[:4], True


def _readings(
    shape: Sequence[int], vectors: Mapping[str, np.ndarray], time: str | None, names: Sequence[str]
) -> Iterator[tuple[str, ...]]:
    """Yield every [sample] time *space [channel] that has the lengths of the array."""
    for head in ((), (SAMPLE,)):
        for space in permutations(names):
            for tail in ((), (CHANNEL,)):
                roles = (*head, TIME, *space, *tail)
                if len(roles) == len(shape) and _fits(roles, shape, vectors, time):
                    yield roles


def _fits(roles: Sequence[str], shape: Sequence[int], vectors: Mapping[str, np.ndarray], time: str | None) -> bool:
    for role, n in zip(roles, shape, strict=True):
        name = time if role == TIME else role
        if role not in (SAMPLE, CHANNEL) and name is not None and len(vectors[name]) != n:
            return False
    return True


def _only(
    found: list[tuple[str, ...]],
    shape: Sequence[int],
    vectors: Mapping[str, np.ndarray],
    time: str | None,
    place: str,
    key: str,
) -> tuple[str, ...]:
    """Return the one reading there is, or say what would decide."""
    lengths = ", ".join(f"{name} ({len(v)})" for name, v in vectors.items()) or "no vectors"
    shown = f"shape {tuple(shape)} beside {lengths}"
    bare = bool(found) and not any(_space(roles) for roles in found)
    # an array without space axes could as well be a movie whose axes nobody wrote down
    if bare and (time is None or (len(shape) > 2 and shape[0] == shape[1])):
        raise DataError(place, key, f"vectors that tell its axes apart; {_HELP}", shown)
    if not found:
        wanted = f"[sample] time *space [channel], with a vector for time and each space axis; {_HELP}"
        raise DataError(place, key, wanted, shown)
    if len(found) > 1:  # also of axes with the same numbers: which is x would be a guess, and so would d/dx
        options = " or ".join(repr(_written(roles)) for roles in found)
        raise DataError(place, key, f"one reading; set layout to {options}", f"{len(found)} that fit {shown}")
    return found[0]


def _fitted(
    roles: tuple[str, ...], shape: Sequence[int], vectors: Mapping[str, np.ndarray], place: str, key: str
) -> tuple[str, ...]:
    """Compare what is said with what is there."""
    if len(roles) != len(shape):
        raise DataError(place, key, f"{len(roles)} axes, {_written(roles)}", f"shape {tuple(shape)}")
    if TIME not in roles or len(set(roles)) < len(roles):
        raise DataError(place, key, f"a time axis and no axis twice; {_HELP}", ", ".join(roles))
    for role, n in zip(roles, shape, strict=True):
        name = time_name(vectors) if role == TIME else role
        if role in (SAMPLE, CHANNEL) or name is None or name not in vectors:
            continue
        if len(vectors[name]) != n:
            raise DataError(place, name, f"{n} numbers as in {key} {tuple(shape)}", f"{len(vectors[name])}")
    return roles


def _space(roles: Sequence[str]) -> tuple[str, ...]:
    return tuple(role for role in roles if role not in (SAMPLE, TIME, CHANNEL))


def _written(roles: Sequence[str]) -> str:
    """Write roles as a `layout` option."""
    letters = {role: letter for letter, role in _LETTERS.items()}
    if all(role in letters or len(role) == 1 for role in roles):
        return "".join(letters.get(role, role) for role in roles)
    return ",".join(roles)
