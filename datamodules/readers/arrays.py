"""Arrays of the user's own: `.npz`, `.npy`, a folder of `.npy`, HDF5, MATLAB v5 and v7.3, zarr, and what is in memory.

The documented layout is either gridded: `values` ``[sample] time *space [channel]`` with `time` (T,) and one vector an
axis (`x`, `y`, `z` or names of your own); `readers.layouts` has the rule by which axes are recognised. Or scattered:
`coords` (N, d), time first, `values` (N, c) or (N,), and `sample` (N,) when there are several.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cst_lightning.datamodules.readers.beside import (
    channel_names,
    said,
    said_layout,
    seconds,
    vector_shape,
    vectors_of,
)
from cst_lightning.datamodules.readers.layouts import CHANNEL, SAMPLE, TIME, interpret, remarks, role_of, time_name
from cst_lightning.datamodules.readers.options import Options, channel_choice, check_numbers
from cst_lightning.datamodules.readers.points import COORDS, VALUES, read_points
from cst_lightning.datamodules.readers.precision import coarse, finite
from cst_lightning.datamodules.readers.slices import overruled
from cst_lightning.datamodules.readers.source import Axis, Gridded, Source
from cst_lightning.datamodules.readers.stores import (
    Hdf5Store,
    Index,
    MatStore,
    MemoryStore,
    NpyStore,
    NpzStore,
    Store,
    ZarrStore,
)
from cst_lightning.errors import DataError

logger = logging.getLogger(__name__)


def read_arrays(data: str | os.PathLike[str] | Mapping[str, Any], **options: Any) -> Source:
    """Read arrays in the documented layout; nothing but headers and vectors is read before it is asked for.

    Args:
        data: a file, a folder of `.npy` files, or a mapping of names to arrays.
        **options: see `readers.options.Options`.

    Returns:
        Recordings on a grid, or scattered samples.

    Raises:
        DataError: the file is missing, damaged, or there is not one way to read it; nothing is unpickled.

    Example:
        >>> source = read_arrays({"values": np.zeros((30, 8, 6)), "time": np.arange(30), "y": np.arange(8),
        ...                       "x": np.arange(6)})
        >>> source.shape, [axis.name for axis in source.axes]
        ((1, 30, 8, 6, 1), ['time', 'y', 'x'])
    """
    return from_store(store_of(data), Options(**options))


def store_of(data: str | os.PathLike[str] | Mapping[str, Any]) -> Store:
    """Return the named arrays of a file, a folder or a mapping."""
    if isinstance(data, Mapping):
        return MemoryStore(data)
    path = Path(data)
    suffix = path.suffix.lower()
    if path.is_dir() and suffix != ".zarr" and any(path.glob("*.npy")):
        return NpyStore(path, {file.stem: file for file in sorted(path.glob("*.npy"))})
    if not path.exists():
        raise DataError(path, "file", "a file or a folder", "nothing")
    if path.is_dir():
        return ZarrStore(path)
    if suffix == ".npz":
        return NpzStore(path)
    if suffix == ".npy":
        return NpyStore(path, {VALUES: path})
    if suffix == ".mat" and not h5py.is_hdf5(path):
        return MatStore(path)
    return Hdf5Store(path)


def from_store(store: Store, options: Options) -> Source:
    """Read the arrays of a store; see `read_arrays`."""
    if COORDS in store.entries and len(store.entries[COORDS].shape) == 2 and options.layout is None:
        return read_points(store, options)
    return _gridded(store, options)


@dataclass
class BlockReader:
    """Reads frames from arrays whose axes may stand in any order; see `source.Reader`.

    Attributes:
        store: the arrays.
        keys: their names; several are channels side by side.
        roles: what each axis is, for each array.
        space: names of the space axes, in the order to be returned.
        flipped: those that are stored in decreasing order.
        channels: positions to keep, None for all.
    """

    store: Store
    keys: tuple[str, ...]
    roles: tuple[tuple[str, ...], ...]
    space: tuple[str, ...]
    flipped: tuple[str, ...] = ()
    channels: tuple[int, ...] | None = None
    _told: bool = field(default=False, repr=False, compare=False)

    def __call__(self, sample: int, start: int, stop: int) -> np.ndarray:
        """Read frames [start, stop) of one recording, (t, *space, c) float32."""
        pairs = zip(self.keys, self.roles, strict=True)
        block = np.concatenate([self._block(key, roles, sample, start, stop) for key, roles in pairs], axis=-1)
        return block if self.channels is None else block[..., list(self.channels)]

    def _block(self, key: str, roles: tuple[str, ...], sample: int, start: int, stop: int) -> np.ndarray:
        parts: dict[str, slice | int] = {SAMPLE: sample, TIME: slice(start, stop)}
        index: Index = tuple(parts.get(role, slice(None)) for role in roles)
        block = self.store.read(key, index)
        kept = [role for role in roles if role != SAMPLE]
        order = [kept.index(role) for role in (TIME, *self.space, CHANNEL) if role in kept]
        block = block.transpose(order)
        if CHANNEL not in kept:
            block = block[..., None]
        block = np.flip(block, tuple(1 + self.space.index(name) for name in self.flipped))
        values = finite(block, self.store.place, f"{key}, frames {start} to {stop - 1} of recording {sample}")
        if not self._told and (line := coarse(block, values)):
            self._told = True  # once is enough
            logger.warning("%s: %s: %s", self.store.place, key, line)
        return values


def _gridded(store: Store, options: Options) -> Gridded:
    keys = _keys(store, options)
    for key in keys:
        check_numbers(store, key)
    vectors, units = vectors_of(store, keys)
    layout = options.layout or said_layout(store, keys[0])
    roles = tuple(
        interpret(store.entries[key].shape, vectors, layout=layout, axes=options.axes, labels=store.entries[key].labels,
                  place=store.place, key=key)
        for key in keys
    )  # fmt: skip
    notes = []
    if keys != (VALUES,) and options.key is None:
        notes.append(f"{keys[0]}: taken as the values, because there is no other array")
    labelled = any(role_of(label) == TIME for label in store.entries[keys[0]].labels)
    if layout is None and not labelled:
        time = options.axes[0] if options.axes else None
        notes += remarks(roles[0], store.entries[keys[0]].shape, vectors, keys[0], time)
    if layout is None and options.axes is None and not store.entries[keys[0]].labels:
        own = [role for role in roles[0] if role in vectors and role not in (TIME, "x", "y", "z")]
        notes += [f"{name}: taken as a space axis, because it is as long as one" for name in own]
    return build(store, keys, roles, vectors, units, options, notes)


def build(
    store: Store,
    keys: tuple[str, ...],
    roles: tuple[tuple[str, ...], ...],
    vectors: Mapping[str, np.ndarray],
    units: Mapping[str, str],
    options: Options,
    notes: Sequence[str] = (),
    layout: str | None = None,
) -> Gridded:
    """Put a recording together from arrays whose axes are known.

    Args:
        store: the arrays.
        keys: names of the values.
        roles: what the axes of each are.
        vectors: numbers along the axes, by name; what is missing is counted 0, 1, 2.
        units: of the vectors, by name.
        options: what the user said.
        notes: what was assumed so far.
        layout: what kind of file it is; the store's if None.
    """
    sizes = _sizes(store, keys, roles)
    notes = list(notes)
    space = tuple(role for role in roles[0] if role not in (SAMPLE, TIME, CHANNEL))
    axes: list[Axis] = []
    flipped: list[str] = []
    for role in (TIME, *space):
        axis = _axis(role, sizes[role], vectors, units, options, notes)
        if role != TIME and len(axis.values) > 1 and (np.diff(axis.values) < 0).all():
            axis, flipped = axis._replace(values=axis.values[::-1].copy()), [*flipped, role]
        axes.append(axis)
    names = channel_names(store, keys, roles)
    chosen = channel_choice(names, options.channels, store.place)
    around = options.periodic if options.periodic is not None else said(store, keys[0], "periodic")
    read = BlockReader(store, keys, roles, space, tuple(flipped), chosen)
    unit = {store.entries[key].unit for key in keys}
    return Gridded(
        store.path, layout or store.layout, sizes.get(SAMPLE, 1), tuple(axes),
        tuple(names if chosen is None else [names[i] for i in chosen]), read,
        unit.pop() if len(unit) == 1 else "", wrapped(axes, around, store.place), tuple(notes),
    )  # fmt: skip


def wrapped(axes: Sequence[Axis], periodic: Sequence[str] | None, place: str) -> tuple[bool, ...]:
    """Return which axes wrap around.

    Args:
        axes: all of them, time first.
        periodic: names of those that do.
        place: of the data, for messages.
    """
    names = [axis.name for axis in axes]
    for name in periodic or ():
        if name not in names[1:]:
            raise DataError(place, "periodic", f"space axes ({', '.join(names[1:]) or 'there are none'})", name)
    return tuple(name in (periodic or ()) for name in names)


def _keys(store: Store, options: Options) -> tuple[str, ...]:
    """Return the names of the values."""
    names = ", ".join(store.entries) or "nothing"
    if options.key is not None:
        keys = (options.key,) if isinstance(options.key, str) else tuple(options.key)
        for key in keys:
            if key not in store.entries:
                raise DataError(store.place, key, "an array of this name (option key)", names)
        return keys
    if VALUES in store.entries:
        return (VALUES,)
    arrays = [n for n, e in store.entries.items() if len(vector_shape(e.shape)) > 1 and n not in (COORDS, "mask")]
    if len(arrays) != 1:
        raise DataError(store.place, VALUES, "an array of this name, or the option key", names)
    return (arrays[0],)


def _sizes(store: Store, keys: Sequence[str], roles: Sequence[tuple[str, ...]]) -> dict[str, int]:
    """Return the length of each axis but the channels, which all arrays must have."""
    sizes: list[dict[str, int]] = []
    for key, own in zip(keys, roles, strict=True):
        found = dict(zip(own, store.entries[key].shape, strict=True))
        sizes.append({role: n for role, n in found.items() if role != CHANNEL})
    for key, found in zip(keys, sizes, strict=True):
        if found != sizes[0]:
            raise DataError(store.place, key, f"axes {sizes[0]} as in {keys[0]}", f"{found}")
        if 0 in found.values():
            raise DataError(store.place, key, "at least one number", f"shape {store.entries[key].shape}")
    return sizes[0]


def _axis(
    role: str,
    size: int,
    vectors: Mapping[str, np.ndarray],
    units: Mapping[str, str],
    options: Options,
    notes: list[str],
) -> Axis:
    name = (options.axes[0] if options.axes else time_name(vectors)) if role == TIME else role
    if role == TIME and options.rate is not None:
        if name is not None and name in vectors:
            notes.append(f"time: {overruled(options.rate, 'the times in the file')}")
        return Axis(TIME, np.arange(size) / options.rate, options.time_unit or "s")
    if name is None or name not in vectors:
        notes.append(f"{role}: not in the file, counted 0, 1, 2, ..." + (" (option rate)" if role == TIME else ""))
        return Axis(role, np.arange(size, dtype=np.float64), (options.time_unit or "frames") if role == TIME else "")
    vector, unit = vectors[name], units.get(name, "")
    if vector.dtype.kind in "Mm":
        vector, unit, note = seconds(vector, options.time_unit)
        notes.append(note)
    elif role == TIME:
        unit = options.time_unit or unit
    return Axis(role, np.asarray(vector, dtype=np.float64), unit)
