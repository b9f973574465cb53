"""Files in the documented layout, from any other file or from an embedded simulation; whole, or not there at all.

The layout: `values` (S, T, *space, c) float32, `time` (T,) float64 and one vector a space axis under its own name;
`layout` says in which order the axes come, `channels` what the channels are called. In HDF5 a chunk is one recording,
or as many of its frames as make 4 MiB; axes have labels and scales, and units are attributes. Scattered points are
`coords` (N, d), whose attributes `axes` and `units` are about its columns, `values` (N, c) and `sample` (N,), numbers
or names. `datamodules.readers.arrays` reads all of it back.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import h5py
import numpy as np

from cst_lightning.datamodules.progress import progress_bar
from cst_lightning.datamodules.readers.source import Axis, Gridded, Scattered, Source
from cst_lightning.inspection import size_text, whole_blocks
from cst_lightning.reporting import refuse_existing
from cst_lightning.simulations import Blocks, Plan, simulations
from cst_lightning.usage import UsageError

Progress = Callable[[int, int], None]  # done, total

# Bytes of values that are copied at once, and of a chunk.
_BLOCK = 16 * 2**20
_CHUNK = 4 * 2**20


def simulate(
    name: str,
    out: Path,
    samples: int | None = None,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    force: bool = False,
) -> Plan:
    """Run an embedded simulation and write it to a file in the documented layout.

    Args:
        name: one of `simulations`.
        out: `.h5` or `.npz`; the latter is held in memory until it is complete.
        samples: recordings; the simulation's own number if None.
        seed: recording i is a function of (seed, i) only.
        settings: of the simulation, by name.
        force: overwrite what is there.

    Returns:
        What was written; its blocks are used up.

    Raises:
        UsageError: there is no such simulation or setting, or `out` cannot be written.
    """
    known = simulations()
    if name not in known:
        raise UsageError(f"simulation: expected one of {', '.join(known)}, found {name!r}")
    if out.suffix.lower() not in (".h5", ".hdf5", ".npz"):
        raise UsageError(f"--out: expected a name that ends in .h5 or .npz, found {out.suffix or 'no ending'!r}")
    chosen, wanted = known[name], dict(settings or {})
    if unknown := set(wanted) - set(chosen.settings):
        raise UsageError(f"{name}: expected settings among {', '.join(chosen.settings)}, found {min(unknown)}")
    for key, value in wanted.items():
        kind = type(chosen.settings[key])
        if not isinstance(value, (int, float) if kind is float else kind):
            raise UsageError(f"{name}: {key}: expected {kind.__name__}, found {value!r}")
    count = chosen.samples if samples is None else samples
    if count < 1:
        raise UsageError(f"--samples: expected at least 1, found {count}")
    plan = chosen.plan(samples=count, seed=seed, **wanted)
    with whole_file(out, force) as partial, progress_bar("Simulating") as progress:
        (_to_npz if out.suffix.lower() == ".npz" else _to_hdf5)(plan, partial, progress)
    return plan


def convert(source: Source, out: Path, force: bool = False, progress: Progress | None = None) -> None:
    """Copy a source to an HDF5 file in the documented layout, a few frames in memory at a time.

    Args:
        source: any.
        out: `.h5` or `.hdf5`.
        force: overwrite what is there.
        progress: told (done, total) frames, or samples of scattered points.

    Raises:
        UsageError: `out` has another ending, exists, is the source itself, or does not fit on the disk.
        DataError: the source cannot be read.
    """
    if out.suffix.lower() not in (".h5", ".hdf5"):
        raise UsageError(f"--out: expected a name that ends in .h5, found {out.suffix or 'no ending'!r}")
    if source.path is not None and out.exists() and out.samefile(source.path):
        raise UsageError(f"--out: expected another file than the one that is read, found {out}")
    refuse_existing(out, force)
    needed, free = source.bytes if isinstance(source, Gridded) else 0, shutil.disk_usage(out.parent).free
    if needed > free:
        raise UsageError(f"{out}: expected {size_text(needed)} of free space, found {size_text(free)}")
    with whole_file(out, force) as partial, h5py.File(partial, "w") as file:
        if isinstance(source, Gridded):
            values = _create(file, source.shape, source.axes, source.channels, source.unit, source.periodic)
            _copy(source, values, progress)
        else:
            _scatter(source, file, progress)
        file.attrs["notes"] = [f"from {source.path or 'memory'}, {source.layout}", *source.notes]


@contextmanager
def whole_file(path: Path, force: bool = False) -> Iterator[Path]:
    """Yield a name to write to; the file appears under `path` when the block has ended, and only if it ended well.

    A request to terminate counts as an interruption as long as the block runs: nothing stays behind.

    Raises:
        UsageError: `path` exists and `force` was not given, or its folder does not exist.
    """
    refuse_existing(path, force)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".part")
    os.close(handle)
    try:
        with _terminable():
            yield Path(partial)
        os.chmod(partial, 0o644)  # temporary files are private
        os.replace(partial, path)
    finally:
        Path(partial).unlink(missing_ok=True)


@contextmanager
def _terminable() -> Iterator[None]:
    def stop(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # only there can signals be handled
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _create(
    file: h5py.File,
    shape: tuple[int, ...],
    axes: tuple[Axis, ...],
    channels: tuple[str, ...],
    unit: str,
    periodic: tuple[bool, ...],
) -> h5py.Dataset:
    """Create the data sets of a grid and fill its axes."""
    frame = 4 * math.prod(shape[2:])
    length = max(1, min(shape[1], _CHUNK // max(frame, 1)))
    values = file.create_dataset("values", shape, "f4", chunks=(1, length, *shape[2:]), fillvalue=np.nan)
    names = _layout(axes)
    values.attrs["layout"], values.attrs["units"] = ",".join(names), unit
    values.attrs["periodic"] = [axis.name for axis, wraps in zip(axes, periodic, strict=False) if wraps] or ""
    for position, name in enumerate(names):
        values.dims[position].label = name
    for position, axis in enumerate(axes):
        scale = file.create_dataset(axis.name, data=axis.values)
        scale.attrs["units"] = axis.unit
        scale.make_scale(axis.name)
        values.dims[position + 1].attach_scale(scale)
    file["channels"] = list(channels)  # no attribute, which could not hold thousands of names
    return values


def _layout(axes: tuple[Axis, ...]) -> list[str]:
    return ["sample", *(axis.name for axis in axes), "channel"]


def _copy(source: Gridded, values: h5py.Dataset, progress: Progress | None) -> None:
    frames = source.shape[1]
    length = values.chunks[1] * max(1, _BLOCK // _CHUNK)  # whole chunks, each of which is written once
    for sample, start, block in whole_blocks(source, length):
        values[sample, start : start + len(block)] = block
        if progress is not None:
            progress(sample * frames + start + len(block), source.samples * frames)


def _scatter(source: Scattered, file: h5py.File, progress: Progress | None) -> None:
    total = sum(map(len, source.coords))
    coords = file.create_dataset("coords", (total, len(source.axes)), "f8")
    values = file.create_dataset("values", (total, len(source.channels)), "f4")
    numbers = all(isinstance(label, (int, float)) for label in source.labels)
    names = source.labels if numbers else [str(label) for label in source.labels]
    kind: Any = np.asarray(names).dtype if numbers else h5py.string_dtype()
    sample = file.create_dataset("sample", (total,), kind)
    coords.attrs["axes"], coords.attrs["units"] = list(source.axes), list(source.units)
    file["channels"] = list(source.channels)
    done = 0
    for i, (places, seen) in enumerate(zip(source.coords, source.values, strict=True)):
        part = slice(done, done + len(places))
        coords[part], values[part], sample[part] = places, seen, names[i]
        done += len(places)
        if progress is not None:
            progress(i + 1, len(source.coords))


def _to_hdf5(plan: Plan, path: Path, progress: Progress) -> None:
    with h5py.File(path, "w") as file:
        values = _create(file, plan.shape, plan.axes, plan.channels, plan.unit, plan.periodic)
        for place, block in _counted(plan, progress):
            values[place] = block


def _to_npz(plan: Plan, path: Path, progress: Progress) -> None:
    values = np.full(plan.shape, np.nan, dtype=np.float32)
    for place, block in _counted(plan, progress):
        values[place] = block
    with path.open("wb") as file:  # an open file, because numpy would add its ending to a name
        arrays: dict[str, Any] = {axis.name: axis.values for axis in plan.axes}
        arrays |= {"layout": np.array(",".join(_layout(plan.axes))), "channels": np.array(plan.channels)}
        np.savez_compressed(file, values=values, **arrays)


def _counted(plan: Plan, progress: Progress) -> Blocks:
    """Pass blocks on, telling how many frames have been made."""
    done, frame = 0, math.prod(plan.shape[2:])
    for place, block in plan.blocks:
        yield place, block
        done += block.size
        progress(done // frame, plan.samples * plan.shape[1])
