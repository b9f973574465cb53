"""What stands beside the values in a file: vectors along their axes, dates, names of channels, a layout."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cst_lightning.datamodules.readers.layouts import CHANNEL, TIME, role_of
from cst_lightning.datamodules.readers.stores import Store, text
from cst_lightning.errors import DataError

LAYOUT = "layout"

# Seconds in what a `time_unit` may be, for times that are dates.
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def vectors_of(store: Store, keys: Sequence[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the vectors beside the values, those in the same folder of the file included, and their units."""
    folder = keys[0].rpartition("/")[0]
    found, units = {}, {}
    for name, entry in store.entries.items():
        short = name.removeprefix(f"{folder}/") if folder else name
        if name in keys or len(vector_shape(entry.shape)) != 1 or "/" in short:
            continue
        if entry.dtype.kind in "fiubMm" and short not in ("sample", "channels", LAYOUT):
            found[short] = store.read(name).reshape(-1)
            units[short] = entry.unit
        elif role_of(short) == TIME and short != keys[0]:
            found[short] = _dates(store, name)
    return found, units


def seconds(vector: np.ndarray, unit: str | None) -> tuple[np.ndarray, str, str]:
    """Return dates as numbers since the first one, their unit, and a note that says so.

    Args:
        vector: (T,) datetime64 or timedelta64.
        unit: s, min, h or d; seconds if None.
    """
    # in integer nanoseconds: UNIX seconds as float64 would lose them
    ticks = vector.astype("M8[ns]" if vector.dtype.kind == "M" else "m8[ns]").astype(np.int64)
    unit, real = unit if unit in _SECONDS else "s", ~np.isnat(vector)
    first = vector[real].min() if real.any() else "?"  # which need not come first in a table
    numbers = (ticks - ticks.min(initial=np.iinfo(np.int64).max, where=real)) / 1e9 / _SECONDS[unit]
    return np.where(real, numbers, np.nan), unit, f"time: counted from {first}"


def said_layout(store: Store, key: str) -> str | None:
    """Return the layout that the file states, as a text or as an attribute of the values."""
    attribute = text(store.entries[key].attributes.get(LAYOUT, ""))
    if attribute:
        return attribute
    entry = store.entries.get(LAYOUT)
    if entry is None or entry.dtype.kind not in "USO" or int(np.prod(entry.shape)) != 1:
        return None
    return store.strings(LAYOUT)[0]


def said(store: Store, key: str, attribute: str) -> list[str]:
    """Return names that the file states as an attribute of an array; none if it does not."""
    value = store.entries[key].attributes.get(attribute, ())
    parts = [text(part) for part in (value.ravel().tolist() if isinstance(value, np.ndarray) else [value])]
    return [part for part in parts if part]


def channel_names(store: Store, keys: Sequence[str], roles: Sequence[tuple[str, ...]]) -> list[str]:
    """Return names: those in the file if they fit, else the array's, numbered if it has several channels."""
    names = []
    for key, own in zip(keys, roles, strict=True):
        short = key.rpartition("/")[2]
        count = store.entries[key].shape[own.index(CHANNEL)] if CHANNEL in own else 1
        names += [short] if CHANNEL not in own else [f"{short} {i}" for i in range(count)]
    entry = store.entries.get("channels")
    if entry is not None and entry.shape == (len(names),) and entry.dtype.kind in "USO":
        return store.strings("channels")
    return names


def _dates(store: Store, name: str) -> np.ndarray:
    """Return dates that stand in a file as text, as datetime64; only the order of ISO 8601 has one meaning."""
    texts = store.strings(name)
    try:
        return np.array(texts, dtype="datetime64[ns]")
    except ValueError as error:
        found = repr(texts[0][:40]) if texts else "none"
        raise DataError(store.place, name, "numbers, or dates such as 2020-01-31T12:00:00", found) from error


def vector_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without the axis of length 1 that MATLAB gives to vectors."""
    return tuple(n for n in shape if n != 1) or shape[:1] if len(shape) == 2 else shape
