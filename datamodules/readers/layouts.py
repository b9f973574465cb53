"""Which axis of an array is what: the documented layout, and how it is told apart from everything else.

An array has a time axis, any number of space axes, and perhaps a sample axis before the time and a channel axis at the
end: ``[sample] time *space [channel]``. Which of its axes are space is decided by what is there, in this order:

1. `layout`, an option or a text in the file: one letter an axis, ``s`` sample, ``t`` time, ``c`` channel, any other
   letter the space axis of that name (``"stxyc"``, ``"xyt"``); or whole names, separated by commas. Any order.
2. The axes' names, where the file has them (NetCDF, zarr and HDF5 dimension labels).
3. The vectors beside the array, by their length: `time` (or `t`), and `x`, `y`, `z` if there are any, else vectors of
   other names. An axis without a vector can be sample or channel, never space.
4. If no reading in that order has the array's lengths, time may be the last axis: ``*space time [channel]``,
   ``channel *space time`` or ``sample *space time``, so that (2, 1000) beside 1000 times is two channels. `remarks`
   says that it was read so, and also where an array in the documented order would fit with time last.

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
_UNTOLD = f"vectors that tell its axes apart; {_HELP}"


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
        return _fitted((TIME,), shape, vectors, place, key)
    time, names, free = _candidates(shape, vectors, axes, place)
    found: list[tuple[str, ...]] = []
    # as many of the vectors as fit: those beside x, y, z may be about something else
    for many in range(len(names), -1, -1) if free else [len(names)]:
        chosen = list(combinations(names, many))
        found = [roles for some in chosen for roles in _readings(shape, vectors, time, some)]
        if time is None:  # nothing says which axis is time: what fits with time last counts as much
            found += [roles for some in chosen for roles in _untimed(shape, vectors, some, free)]
        if found:
            break
    return _only(found or _time_last(shape, vectors, time, names, free), shape, vectors, time, place, key)


def remarks(
    roles: Sequence[str], shape: Sequence[int], vectors: Mapping[str, np.ndarray], key: str, time: str | None = None
) -> list[str]:
    """Return what a person should know about a reading that followed from lengths, one line each.

    Args:
        roles: what `interpret` returned.
        shape: of the array.
        vectors: beside it.
        key: name of the array.
        time: name of the vector of times; the usual ones are looked for if None.
    """
    time, told = time or time_name(vectors), f"{key} {tuple(shape)}: read as ({', '.join(roles)})"
    if not _documented(roles):
        if len(shape) == 2 and shape[0] == 1:  # MATLAB's way to write a vector
            return []
        other = f"; layout {_written((SAMPLE, TIME))!r} would read samples" if tuple(roles) == (CHANNEL, TIME) else ""
        why = "the axis without a vector is time" if time is None else f"{time} has {len(vectors[time])} numbers"
        return [f"{told}, because {why}{other}"]
    if not _space(roles):
        return []
    if time is None:
        return [f"{told}, as documented, because no vector says which axis is time; set layout if it is another"]
    twins = [one for one in _last(shape, vectors, time, _space(roles)) if sorted(one) == sorted(roles)]
    return [f"{told}, as documented; layout {_written(twins[0])!r} would fit as well"] if twins else []


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
    fitting = shape[1:] if time is not None else shape
    own = [n for n, v in vectors.items() if n not in _TIMES and len(v) > 1 and len(v) in fitting]
    return time, own[:4], True


def _readings(
    shape: Sequence[int], vectors: Mapping[str, np.ndarray], time: str | None, names: Sequence[str]
) -> Iterator[tuple[str, ...]]:
    """Yield every [sample] time *space [channel] that has the lengths of the array."""
    for head in ((), (SAMPLE,)):
        for space in permutations(names):
            for tail in ((), (CHANNEL,)):
                roles = (*head, TIME, *space, *tail)
                # sample and time alone are no documented layout: of two axes the other one is the channels
                if roles != (SAMPLE, TIME) and len(roles) == len(shape) and _fits(roles, shape, vectors, time):
                    yield roles


def _last(
    shape: Sequence[int], vectors: Mapping[str, np.ndarray], time: str | None, names: Sequence[str]
) -> Iterator[tuple[str, ...]]:
    """Yield every reading with time after the space axes that has the lengths of the array."""
    ends: list[tuple[tuple[str, ...], tuple[str, ...]]] = [((), ()), ((), (CHANNEL,)), ((CHANNEL,), ())]
    ends += [((SAMPLE,), ()), ((SAMPLE,), (CHANNEL,))] if names else []
    for space in permutations(names):
        for head, tail in ends:
            roles = (*head, *space, TIME, *tail)
            if len(roles) == len(shape) and not _documented(roles) and _fits(roles, shape, vectors, time):
                yield roles


def _time_last(
    shape: Sequence[int], vectors: Mapping[str, np.ndarray], time: str | None, names: Sequence[str], free: bool
) -> list[tuple[str, ...]]:
    """Return the readings with time last that use as many of the vectors as possible."""
    if time is None:
        return []
    if free:  # with time last, vectors along the first axis may well be about places
        names = [n for n, v in vectors.items() if n not in _TIMES and len(v) > 1 and len(v) in shape][:4]
    for many in range(len(names), -1, -1) if free else [len(names)]:
        found = [roles for some in combinations(names, many) for roles in _last(shape, vectors, time, some)]
        if found:
            return found
    return []


def _untimed(
    shape: Sequence[int], vectors: Mapping[str, np.ndarray], names: Sequence[str], free: bool
) -> Iterator[tuple[str, ...]]:
    """Yield readings with time last where only the time has no vector: then it must be the time."""
    # one vector of a name that says nothing may be the times themselves
    if len(shape) == len(names) + 1 and len(names) > (1 if free else 0):
        yield from (roles for roles in _last(shape, vectors, None, names) if CHANNEL not in roles)


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
    if bare and (time is None or shape[0] == shape[1]):
        either = "which axis is time; set layout to 'tc' or 'ct' (t time, c channel)" if len(shape) == 2 else _UNTOLD
        raise DataError(place, key, either, shown)
    if time is not None and len(vectors[time]) not in shape:
        raise DataError(place, time, f"as many numbers as an axis of {key} {tuple(shape)}", f"{len(vectors[time])}")
    if not found:
        help_ = _help(shape, vectors, time)
        wanted = f"[sample] time *space [channel], with a vector for time and each space axis; {help_}"
        raise DataError(place, key, wanted, shown)
    if len(found) > 1:  # also of axes with the same numbers: which is x would be a guess, and so would d/dx
        options = " or ".join(repr(_written(roles)) for roles in found)
        raise DataError(place, key, f"one reading; set layout to {options}", f"{len(found)} that fit {shown}")
    return found[0]


def _help(shape: Sequence[int], vectors: Mapping[str, np.ndarray], time: str | None) -> str:
    """Return what to set, with the time where its vector says it is and nothing known of the other axes."""
    places = [] if time is None else [i for i, n in enumerate(shape) if n == len(vectors[time])]
    if len(places) != 1 or len(shape) not in (3, 4):
        return _HELP
    letters = list("zyx"[4 - len(shape) :])
    letters.insert(places[0], "t")
    return f"set layout, such as {''.join(letters)!r} if the other axes are space (s sample, t time, c channel)"


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


def _documented(roles: Sequence[str]) -> bool:
    """Whether time is where the documented layout has it: first, or after the samples."""
    return roles[0] == TIME or (tuple(roles[:2]) == (SAMPLE, TIME) and len(roles) > 2)


def _space(roles: Sequence[str]) -> tuple[str, ...]:
    return tuple(role for role in roles if role not in (SAMPLE, TIME, CHANNEL))


def _written(roles: Sequence[str]) -> str:
    """Write roles as a `layout` option."""
    letters = {role: letter for letter, role in _LETTERS.items()}
    if all(role in letters or len(role) == 1 for role in roles):
        return "".join(letters.get(role, role) for role in roles)
    return ",".join(roles)
