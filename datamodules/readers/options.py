"""What a user may say about arrays that the file does not, and what can be said against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cst_lightning.datamodules.readers.stores import Store
from cst_lightning.errors import DataError


@dataclass
class Options:
    """What a user may say about arrays that the file does not.

    Attributes:
        key: name of the values, or several names, which become channels; `values` if None, or the only array there is.
        axes: names of the vectors that are the axes, time first, if they are not `time`, `x`, `y`, `z`.
        layout: which axis of the values is what, such as "stxyc"; see `readers.layouts`.
        rate: frames a second (or in `time_unit`), instead of the file's times, if it has any.
        time_unit: of the file's times, if it does not say; of dates, what to convert them to (s, min, h, d).
        periodic: names of the axes that wrap around.
        channels: which channels to keep, by name or position; all if None.
    """

    key: str | Sequence[str] | None = None
    axes: Sequence[str] | None = None
    layout: str | None = None
    rate: float | None = None
    time_unit: str | None = None
    periodic: Sequence[str] | None = None
    channels: Sequence[str | int] | None = None


def check_numbers(store: Store, key: str) -> None:
    """Refuse arrays that are no real numbers."""
    dtype = store.entries[key].dtype
    if dtype.kind not in "fiub":
        kinds = {"O": "objects, which would have to be unpickled", "c": "complex numbers: store both parts as channels"}
        raise DataError(store.place, key, "real numbers", kinds.get(dtype.kind, f"type {dtype}"))


def channel_choice(names: Sequence[str], wanted: Sequence[str | int] | None, place: str) -> tuple[int, ...] | None:
    """Return the positions of the wanted channels, None for all.

    Args:
        names: of all channels.
        wanted: names or positions.
        place: of the data, for messages.
    """
    if wanted is None:
        return None
    found = []
    for one in wanted:
        position = one if isinstance(one, int) else names.index(one) if one in names else None
        if position is None or not 0 <= position < len(names):
            raise DataError(place, "channels", f"some of {', '.join(names)}, or positions below {len(names)}", str(one))
        found.append(position)
    return tuple(found)
