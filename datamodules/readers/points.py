"""Scattered points: `coords` (N, d), time first, `values` (N, c) or (N,), and `sample` (N,) when there are several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cst_lightning.datamodules.readers.beside import said
from cst_lightning.datamodules.readers.layouts import TIME
from cst_lightning.datamodules.readers.options import Options, channel_choice, check_numbers
from cst_lightning.datamodules.readers.precision import coarse, finite
from cst_lightning.datamodules.readers.source import Scattered
from cst_lightning.datamodules.readers.stores import Store, text
from cst_lightning.errors import DataError

VALUES, COORDS = "values", "coords"


def read_points(store: Store, options: Options) -> Scattered:
    """Read scattered points, and part them by sample.

    Args:
        store: of `coords`, with attributes `axes` and `units` at most, values, and perhaps `sample` and `channels`.
        options: what the user said.

    Raises:
        DataError: an array is missing, or has another number of points.
    """
    keys = (VALUES,) if options.key is None else (options.key,) if isinstance(options.key, str) else tuple(options.key)
    for name in (COORDS, *keys):
        if name not in store.entries:
            raise DataError(store.place, name, "an array of this name", ", ".join(store.entries) or "nothing")
        check_numbers(store, name)
    coords = store.read(COORDS).astype(np.float64)
    parts, channels, notes = [], [], []
    for key in keys:
        exact = store.read(key)
        exact = exact[:, None] if exact.ndim == 1 else exact
        if exact.ndim != 2 or len(exact) != len(coords):
            raise DataError(store.place, key, f"({len(coords)}, channel) as in coords", f"shape {exact.shape}")
        parts.append(finite(exact, store.place, key))
        notes += [f"{key}: {line}"] if (line := coarse(exact, parts[-1])) else []
        channels += [key] if exact.shape[1] == 1 else [f"{key} {i}" for i in range(exact.shape[1])]
    values = np.concatenate(parts, axis=1)
    names = list(options.axes or said(store, COORDS, "axes") or (TIME, "x", "y", "z")[: coords.shape[1]])
    if len(names) != coords.shape[1]:
        raise DataError(
            store.place, COORDS, f"one to four columns, or {coords.shape[1]} names in axes", f"shape {coords.shape}"
        )
    labels = _labels(store) if "sample" in store.entries else np.zeros(len(coords), dtype=np.int64)
    entry = store.entries.get("channels")
    if entry is not None and entry.shape == (len(channels),) and entry.dtype.kind in "USO":
        channels = store.strings("channels")
    layout = f"{store.layout}, scattered points"
    units = _units(store, names)
    if options.time_unit is not None:
        units[0] = options.time_unit
    return scattered(store.path, layout, coords, values, labels, names, channels, options, notes, units)


def _labels(store: Store) -> np.ndarray:
    """Return the sample of each point, text as text: HDF5 has it as bytes."""
    found = store.read("sample").reshape(-1)
    if found.dtype.kind not in "OS":
        return found
    return np.array([text(part) if isinstance(part, bytes) else part for part in found.tolist()], dtype=object)


def _units(store: Store, axes: Sequence[str]) -> list[str]:
    """Return the units of the columns of coordinates, as the attribute `units` of these has them."""
    found = store.entries[COORDS].attributes.get("units", ())
    parts = [text(part) for part in found.ravel().tolist()] if isinstance(found, np.ndarray) else []
    return parts if len(parts) == len(axes) else [""] * len(axes)


def scattered(
    path: Path | None,
    layout: str,
    coords: np.ndarray,
    values: np.ndarray,
    labels: np.ndarray,
    axes: Sequence[str],
    channels: Sequence[str],
    options: Options,
    notes: Sequence[str] = (),
    units: Sequence[str] = (),
) -> Scattered:
    """Part points by sample, each in order of time.

    Args:
        path: of the file.
        layout: what kind of file it is.
        coords: (N, d) float64.
        values: (N, c) float32.
        labels: (N,) which sample each point belongs to; any type that can be compared.
        axes: d names.
        channels: c names.
        options: what the user said.
        notes: what was assumed so far.
        units: of the axes; none are known if empty.
    """
    place = str(path or "data")
    for name in ("layout", "rate", "periodic"):
        if getattr(options, name) is not None:
            raise DataError(place, name, "an option of scattered points", "one that is for grids only")
    if labels.shape != (len(coords),):
        raise DataError(place, "sample", f"shape ({len(coords)},) as in coords", f"{labels.shape}")
    if not len(coords):
        raise DataError(place, COORDS, "at least one point", "none")
    missing = np.array([label is None or label != label for label in labels.tolist()])
    if missing.any():
        raise DataError(place, "sample", "a sample for every point", f"none for point {int(missing.argmax())}")
    if labels.dtype.kind == "O":  # text, or numbers and text, which have no order among them
        labels = labels.astype(str)
    chosen = channel_choice(channels, options.channels, place)
    if chosen is not None:
        values, channels = values[:, list(chosen)], [channels[i] for i in chosen]
    names, own = np.unique(labels, return_inverse=True)
    own = own.reshape(-1)
    order = np.lexsort((coords[:, 0], own))
    cuts = np.flatnonzero(np.diff(own[order])) + 1
    parts = np.split(order, cuts)
    return Scattered(
        path, layout, [coords[part] for part in parts], [values[part] for part in parts],
        tuple(axes), tuple(channels), tuple(notes), tuple(units), tuple(names.tolist()),
    )  # fmt: skip
