"""Published data sets of partial differential equations: PDEBench, The Well, and the FNO files.

Sources: Takamoto et al., PDEBench (NeurIPS 2022), and its data generators; Ohana et al., The Well (NeurIPS 2024),
docs/data_format.md; Li et al., Fourier Neural Operator (ICLR 2021), read by `readers.fno`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy.io import whosmat

from cst_lightning.datamodules.progress import progress_bar
from cst_lightning.datamodules.readers import fno
from cst_lightning.datamodules.readers.arrays import build, wrapped
from cst_lightning.datamodules.readers.layouts import CHANNEL, SAMPLE, TIME, parse
from cst_lightning.datamodules.readers.options import Options, channel_choice, check_numbers
from cst_lightning.datamodules.readers.precision import finite
from cst_lightning.datamodules.readers.slices import overruled
from cst_lightning.datamodules.readers.source import Axis, Gridded
from cst_lightning.datamodules.readers.stores import Entry, Hdf5Store, Store, text
from cst_lightning.datamodules.trajectories import open_hdf5
from cst_lightning.errors import DataError

_SPACE = ("x", "y", "z")
# Compressible flow in PDEBench has one data set a variable; these names are not found elsewhere together.
_FLOW = ("density", "pressure", "Vx", "Vy", "Vz")


def is_pdebench(file: h5py.File) -> bool:
    """Whether an open HDF5 file is laid out as PDEBench's are."""
    if ("tensor" in file or "density" in file) and "x-coordinate" in file:
        return True
    if "velocity" in file and "t" in file and getattr(file["velocity"], "ndim", 0) in (4, 5, 6):
        return file["t"].ndim == 2
    first = next(iter(file), "")
    return first.isdecimal() and f"{first}/data" in file and f"{first}/grid/t" in file


def is_well(file: h5py.File) -> bool:
    """Whether an open HDF5 file is laid out as The Well's are."""
    return "n_spatial_dims" in file.attrs and "dimensions" in file and "t0_fields" in file


def is_fno(path: str | os.PathLike[str]) -> bool:
    """Whether a `.mat` file has the arrays of the FNO data: `u` (S, x, y, T), and `a` (S, x, y) or `t` (T,)."""
    if h5py.is_hdf5(path):
        with open_hdf5(path) as file:
            shapes = {n: item.shape[::-1] for n, item in file.items() if isinstance(item, h5py.Dataset)}
    else:
        try:
            shapes = {name: tuple(shape) for name, shape, _ in whosmat(path)}
        except Exception:  # what is no MATLAB file is told by the reader that takes it
            return False
    u = shapes.get("u", ())
    known = int(np.prod(shapes.get("t", ()))) == u[3] if len(u) == 4 and "t" in shapes else False
    return len(u) == 4 and u[1] == u[2] and (known or shapes.get("a") == u[:3])


def read_pdebench(path: str | os.PathLike[str], **options: Any) -> Gridded:
    """Read a PDEBench file.

    Scalar equations: `tensor` (S, T, x[, y[, z]]) with `t-coordinate`, `x-coordinate`. Compressible flow: `density`,
    `pressure`, `Vx`, ... the same way. One group a sample (`2D_diff-react`, `2D_rdb`, `1D_diff-sorp`): `0000/data`
    (T, x[, y], c) with `0000/grid/t`, `x`. Incompressible flow: `velocity` (S, T, x, y, 2), `t` (S, T), on the unit
    square.

    Args:
        path: the file.
        **options: see `readers.options.Options`; `key` names variables, such as `density`. The layout is known:
            `layout` and `axes` must not contradict it.

    Raises:
        DataError: it is damaged, or laid out differently.
    """
    own, store = Options(**options), Hdf5Store(Path(path))
    if "tensor" in store.entries or "density" in store.entries:
        return _one_array_a_variable(store, own)
    if "velocity" in store.entries:
        return _incompressible(store, own)
    return _one_group_a_sample(store, own)


def read_well(path: str | os.PathLike[str], **options: Any) -> Gridded:
    """Read a file of The Well: all fields that vary along sample, time and every axis become channels.

    `t0_fields` are scalars (S, T, *space), `t1_fields` vectors (S, T, *space, D), `t2_fields` tensors
    (S, T, *space, D, D). Axes with a boundary of type `periodic` wrap around.

    Args:
        path: the file.
        **options: see `readers.options.Options`; `key` names fields, such as `t0_fields/density` or `density`. The
            layout is known: `layout` and `axes` must not contradict it.

    Raises:
        DataError: it is damaged, or laid out differently.
    """
    own, place = Options(**options), Path(path)
    with open_hdf5(place) as file:
        names = [text(name) for name in file["dimensions"].attrs.get("spatial_dims", np.array(_SPACE[:0])).tolist()]
        periodic = [name for name in names if _wraps(file, name)]
        title = text(file.attrs.get("dataset_name", ""))
    store = _WellStore(place)
    space = names or [name for name in _SPACE if f"dimensions/{name}" in store.entries]
    for name in (TIME, *space):
        if f"dimensions/{name}" not in store.entries:
            raise DataError(
                place, f"dimensions/{name}", "a data set of this name", ", ".join(store.entries) or "nothing"
            )
    vectors = {name: store.read(f"dimensions/{name}") for name in (TIME, *space)}
    time = vectors[TIME]
    if time.ndim == 2 and (time == time[:1]).all():
        vectors[TIME] = time[0]
    keys, notes = _well_fields(store, own, [len(vectors[n]) for n in (TIME, *space)])
    roles = tuple(
        (SAMPLE, TIME, *space, *((CHANNEL,) if len(store.entries[key].shape) > 2 + len(space) else ())) for key in keys
    )
    _agree(own, roles[0], str(place))
    own.periodic = periodic if own.periodic is None else own.periodic
    return build(store, keys, roles, vectors, {}, own, notes, f"The Well{': ' * bool(title)}{title}")


def read_fno(path: str | os.PathLike[str], cache_dir: str | os.PathLike[str] | None = None, **options: Any) -> Gridded:
    """Read an FNO file (`ns_V1e-3_N5000_T50.mat` and like).

    Args:
        path: the file.
        cache_dir: where its sample-first conversion lies, from which trajectories are read a hundred times faster;
            without it nothing is written, and the file is read as it is.
        **options: see `readers.options.Options`; `key` can only be `u`. The layout is known: `layout` and `axes` must
            not contradict it.
    """
    own = Options(**options)
    roles = ((SAMPLE, TIME, "x", "y", CHANNEL),)
    _agree(own, roles[0], str(path))
    if _asked(own) not in ([], ["u"]):
        raise DataError(path, "key", "u, the vorticity", ", ".join(_asked(own)))
    own.periodic = ["x", "y"] if own.periodic is None else own.periodic
    store: Store = fno.Trajectories(Path(path))
    vectors = {name: store.read(name) for name in ("time", "x", "y")}
    if cache_dir is not None:
        with progress_bar("Converting") as progress:
            store = Hdf5Store(fno.converted(path, cache_dir, progress=progress))
    found = build(store, ("values",), roles, vectors, {"time": "s"}, own, (), "Fourier Neural Operator data")
    names = ("vorticity",) if len(found.channels) == 1 else found.channels
    return replace(found, path=Path(path), channels=names, unit="1/s")


class _WellStore(Hdf5Store):
    """Tensor fields (.., D, D) with their last two axes as one."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        for name, entry in self.entries.items():
            if name.startswith("t2_fields/"):
                self.entries[name] = entry._replace(
                    shape=(*entry.shape[:-2], int(np.prod(entry.shape[-2:]))), labels=()
                )

    def _block(self, name: str, index: tuple[Any, ...]) -> Any:
        block = super()._block(name, index)
        return block.reshape(*block.shape[:-2], -1) if name.startswith("t2_fields/") else block


def _well_fields(store: Hdf5Store, options: Options, grid: Sequence[int]) -> tuple[tuple[str, ...], list[str]]:
    """Return the fields on the whole grid, and notes about the others."""
    fields = [name for name in store.entries if name.partition("/")[0] in ("t0_fields", "t1_fields", "t2_fields")]
    if options.key is not None:
        fields = [_full_name(store, key) for key in _asked(options)]
    keys, notes = [], []
    for name in fields:
        if name not in store.entries:
            raise DataError(
                store.place, name, "a field of this name (option key)", ", ".join(store.entries) or "nothing"
            )
        if store.entries[name].shape[1 : 1 + len(grid)] == tuple(grid):
            check_numbers(store, name)
            keys.append(name)
        else:
            notes.append(f"{name}: left out, it does not vary with sample, time and place {store.entries[name].shape}")
    if not keys:
        raise DataError(store.place, "t0_fields", f"fields of shape (sample, {', '.join(map(str, grid))})", "none")
    return tuple(keys), notes


def _full_name(store: Hdf5Store, key: str) -> str:
    """Return a field's name with its group, if one field has that name without it."""
    found = [name for name in store.entries if name.endswith("_fields/" + key) and name.count("/") == 1]
    return found[0] if len(found) == 1 else key


def _asked(options: Options) -> list[str]:
    """Return the names that `key` has."""
    return [] if options.key is None else [options.key] if isinstance(options.key, str) else list(options.key)


def _variables(store: Hdf5Store, options: Options, known: Sequence[str]) -> tuple[str, ...]:
    """Return the variables to read: all there are, or those that `key` names."""
    for key in _asked(options):
        if key not in known:
            raise DataError(store.place, key, f"one of {', '.join(known)} (option key)", "no such variable")
    return tuple(_asked(options) or known)


def _agree(options: Options, roles: Sequence[str], place: str) -> None:
    """Refuse what contradicts the known layout, and forget what says the same."""
    grid = [role for role in roles if role not in (SAMPLE, CHANNEL)]
    if options.layout is not None and parse(options.layout, place) != tuple(roles):
        raise DataError(place, "layout", f"none, or ({', '.join(roles)}): this format has its own", options.layout)
    if options.axes is not None and [TIME if i == 0 else name for i, name in enumerate(options.axes)] != grid:
        raise DataError(place, "axes", f"none, or {', '.join(grid)}: this format has its own", ", ".join(options.axes))
    options.layout = options.axes = None


def _wraps(file: h5py.File, axis: str) -> bool:
    """Whether a boundary condition says that an axis is periodic."""
    for boundary in file.get("boundary_conditions", {}).values():
        dims = [text(name) for name in np.ravel(boundary.attrs.get("associated_dims", [])).tolist()]
        if axis in dims and text(boundary.attrs.get("bc_type", "")).lower() == "periodic":
            return True
    return False


def _one_array_a_variable(store: Hdf5Store, options: Options) -> Gridded:
    known = ["tensor"] if "tensor" in store.entries else [n for n in _FLOW if n in store.entries]
    keys = _variables(store, options, known)
    shape = store.entries[keys[0]].shape
    space = [name for name in _SPACE if f"{name}-coordinate" in store.entries]
    if len(shape) != 2 + len(space):
        raise DataError(
            store.place, keys[0], f"(sample, time, {', '.join(space)}), as there are coordinates", f"shape {shape}"
        )
    vectors = {name: store.read(f"{name}-coordinate") for name in space}
    notes = []
    if "t-coordinate" in store.entries:
        time = store.read("t-coordinate")
        if len(time) == shape[1] + 1:
            # the generators write the edges of the time steps, one more than there are records
            notes.append(f"t-coordinate: has {len(time)} numbers for {shape[1]} times, the last one is left out")
            time = time[:-1]
        vectors[TIME] = time
    for name, n in zip((TIME, *space), shape[1:], strict=True):
        if name in vectors and vectors[name].shape != (n,):
            key = "t-coordinate" if name == TIME else f"{name}-coordinate"
            raise DataError(store.place, key, f"{n} numbers as in {keys[0]} {shape}", f"{vectors[name].shape}")
    for key in keys:
        check_numbers(store, key)
    _agree(options, (SAMPLE, TIME, *space), store.place)
    return build(store, keys, ((SAMPLE, TIME, *space),) * len(keys), vectors, {}, options, notes, "PDEBench")


def _incompressible(store: Hdf5Store, options: Options) -> Gridded:
    _variables(store, options, ["velocity"])
    shape = store.entries["velocity"].shape
    times = store.read("t")
    if len(shape) not in (4, 5, 6) or times.shape != shape[:2]:
        raise DataError(store.place, "t", f"(sample, time) = {shape[:2]} as in velocity", f"{times.shape}")
    if not np.allclose(times, times[:1]):
        raise DataError(store.place, "t", "the same times in all samples", "times that differ")
    space = _SPACE[: len(shape) - 3]
    # the files have no coordinates: cell centres of the unit square
    vectors = {name: (np.arange(n) + 0.5) / n for name, n in zip(space, shape[2:-1], strict=True)} | {TIME: times[0]}
    notes = [f"{', '.join(space)}: not in the file, taken as cell centres of [0, 1]"]
    check_numbers(store, "velocity")
    roles = ((SAMPLE, TIME, *space, CHANNEL),)
    _agree(options, roles[0], store.place)
    return build(store, ("velocity",), roles, vectors, {}, options, notes, "PDEBench, incompressible flow")


@dataclass
class _Groups:
    """Reads frames from one group a sample."""

    store: Hdf5Store
    names: tuple[str, ...]
    channels: tuple[int, ...] | None

    def __call__(self, sample: int, start: int, stop: int) -> np.ndarray:
        key = f"{self.names[sample]}/data"
        rank = len(self.store.entries[key].shape)
        block = self.store.read(key, (slice(start, stop), *(slice(None),) * (rank - 1)))
        values = finite(block, self.store.place, key)
        return values if self.channels is None else values[..., list(self.channels)]


def _one_group_a_sample(store: Hdf5Store, options: Options) -> Gridded:
    names = tuple(sorted(name[:-5] for name in store.entries if name.endswith("/data") and name[:-5].isdecimal()))
    if not names:
        raise DataError(store.place, "tensor", "a PDEBench file", ", ".join(list(store.entries)[:5]) or "nothing")
    entry = store.entries[f"{names[0]}/data"]
    space = _SPACE[: len(entry.shape) - 2]
    _variables(store, options, ["data"])
    _agree(options, (SAMPLE, TIME, *space, CHANNEL), store.place)
    axes = []
    for name, short, n in zip((TIME, *space), ("t", *space), entry.shape, strict=False):
        key = f"{names[0]}/grid/{short}"
        if key not in store.entries or store.entries[key].shape != (n,):
            found = str(store.entries[key].shape if key in store.entries else "no such key")
            raise DataError(store.place, key, f"{n} numbers as in data {entry.shape}", found)
        axes.append(Axis(name, store.read(key).astype(np.float64)))
    notes: tuple[str, ...] = ()
    if options.rate is not None:
        axes[0] = Axis(TIME, np.arange(entry.shape[0]) / options.rate, options.time_unit or "s")
        notes = (f"time: {overruled(options.rate, 'the times in the file')}",)
    elif options.time_unit is not None:
        axes[0] = axes[0]._replace(unit=options.time_unit)
    _check_alike(store, names, entry)
    channels = [f"data {i}" for i in range(entry.shape[-1])]
    chosen = channel_choice(channels, options.channels, store.place)
    kept = channels if chosen is None else [channels[i] for i in chosen]
    return Gridded(
        store.path, "PDEBench, one group a sample", len(names), tuple(axes), tuple(kept),
        _Groups(store, names, chosen), periodic=wrapped(axes, options.periodic, store.place), notes=notes,
    )  # fmt: skip


def _check_alike(store: Hdf5Store, names: Sequence[str], first: Entry) -> None:
    for name in names:
        check_numbers(store, f"{name}/data")
        if store.entries[f"{name}/data"].shape != first.shape:
            found = f"{store.entries[f'{name}/data'].shape}"
            raise DataError(store.place, f"{name}/data", f"shape {first.shape} as in the first sample", found)
