"""`cst predict --frames`: whole frames at any time, whatever the points of the network are.

Sizes: T frames that are asked for, c channels of a frame.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cst_lightning.predict import data_of, expect_format, finite, is_range, multi_indices, read_npz, replacing
from cst_lightning.usage import UsageError, one_line

if TYPE_CHECKING:
    from cst_lightning.datamodules.windows import WindowedDataModule
    from cst_lightning.field import Field, ObservedField

_TOGETHER = 16  # frames that are asked for at once
_MOST = 100_000  # frames that a range may have


def frames_command(options: argparse.Namespace) -> int:
    """Carry out `cst predict --frames` and return the exit code."""
    from cst_lightning.field import Field
    from cst_lightning.fitting import user_errors

    with user_errors():
        expect_format(options.out)
        times = read_times(options.at)
        field = Field.load(options.run)
        data = _windowed(options)
        indices = multi_indices(options.derivatives, field.axis_names)
        for name, index in indices.items():
            if any(index[1:]):  # within a patch space is in the channels
                raise UsageError(f"--derivatives: expected those along time with --frames, found {name!r}")
        if options.recording is not None:
            arrays = {"values": _whole(field, data, times, options)}
        else:
            observed = _observe(field, data, options)
            arrays = {"values": restore(data, observed, times)}
            arrays |= {f"d_{name}": restore(data, observed, times, index[0]) for name, index in indices.items()}
    with user_errors((OSError,)):
        write_frames(options.out, data, times, arrays)
    _report(options, field, data, times)
    if options.recording is not None:
        _report_empty(arrays["values"])
    return 0


def restore(data: WindowedDataModule, observed: ObservedField, times: np.ndarray, order: int = 0) -> np.ndarray:
    """Return whole frames, or their derivatives along time, of a trained field through observations.

    Args:
        data: the recording's module, set up: it knows how points become frames.
        observed: what `Field.observe` returned.
        times: (T,) in the data's unit, 0 at the first frame of a sample.
        order: of the derivative.

    Returns:
        (T, *space, c), float32; overlapping patches are blended.
    """
    parts = []
    for some in np.array_split(times, -(-len(times) // _TOGETHER)):
        query = np.stack([part.ravel() for part in np.meshgrid(some, *data.tokens.axes, indexing="ij")], -1)
        index = (order, *(0 for _ in data.tokens.axes))
        values = np.asarray(observed.derivative(query, index))
        frames = data.pictures(values)
        if order:  # of components frames are a sum with the mean, which does not change with time
            frames = frames - data.pictures(np.zeros_like(values))
        parts.append(_inside(data, frames).astype(np.float32))
    return np.concatenate(parts)


def _whole(field: Field, data: WindowedDataModule, times: np.ndarray, options: argparse.Namespace) -> np.ndarray:
    """Return frames of a whole recording, on its own clock."""
    from cst_lightning.restoring import restored

    if options.derivatives or options.observations is not None:
        raise UsageError(
            "--recording: expected neither --derivatives nor --observations, which are of one window: without "
            "--recording, times count from the first frame of --sample"
        )
    if not 0 <= options.recording < data.recordings.samples:
        raise UsageError(f"--recording: expected 0 to {data.recordings.samples - 1}, found {options.recording}")
    found = restored(field, data, times, lambda observed, some: restore(data, observed, some), options.recording)
    if np.isnan(found).all():
        clock = data.recordings.axes[0]
        raise UsageError(
            f"--at: expected times between {clock.values[0]:g} and {clock.values[-1]:g} {clock.unit}".rstrip()
            + f", where the recording has observations, found {times.min():g} to {times.max():g}"
        )
    return found


def read_times(at: Path) -> np.ndarray:
    """Read the times (T,) to predict at: START:STOP:STEP with both ends, or the times in a file.

    Args:
        at: `.npz` with `time` or `coords`, `.nc` with the coordinate `time` or `t`, or a range.
    """
    if is_range(at):
        return _range(str(at))
    expect_format(at)
    found = _arrays(at, ("time", "t", "coords"))
    times = next((found[name] for name in ("time", "t") if name in found), None)
    if times is None and "coords" in found and found["coords"].ndim == 2:
        times = np.unique(found["coords"][:, 0])
    if times is None or times.ndim != 1 or not len(times):
        told = ", ".join(found) or "nothing"
        raise UsageError(f"{at}: expected time (frames,), or coords (points, dimensions), found {told}")
    return finite(at, times)


def write_frames(path: Path, data: WindowedDataModule, times: np.ndarray, arrays: Mapping[str, np.ndarray]) -> None:
    """Write frames (T, *space, c) by name, with the axes of the recording; `cst data describe` can read them.

    The file appears under its name only when it is complete.
    """
    import xarray as xr

    clock, *space = data.recordings.axes
    vectors = {clock.name: times, **{axis.name: axis.values for axis in space}}
    with replacing(path) as partial:
        if path.suffix == ".npz":
            content: dict[str, Any] = {**vectors, **arrays}
            np.savez(partial, **content)
            return
        dims = (*vectors, "channel")
        coords = {axis.name: (axis.name, vectors[axis.name], _attributes(axis.unit)) for axis in (clock, *space)}
        attributes = {"channels": ", ".join(data.recordings.channels)}
        units = {name: _attributes(data.recordings.unit) if name == "values" else {} for name in arrays}
        xr.Dataset({k: (dims, v, units[k]) for k, v in arrays.items()}, coords, attributes).to_netcdf(partial)


def hint(data: object) -> None:
    """Say that there is `--frames`, if values at points are none that a person has asked for."""
    from rich.console import Console

    from cst_lightning.datamodules.tokens import Points
    from cst_lightning.datamodules.windows import WindowedDataModule

    if isinstance(data, WindowedDataModule) and data.recordings.axes[1:] and not isinstance(data.tokens, Points):
        kind = type(data.tokens).__name__.removeprefix("Blended").lower()
        text = f"values are the {data.channels:,} channels of {kind}; --frames writes whole frames"
        Console(stderr=True).print(text, highlight=False, soft_wrap=True)


def _windowed(options: argparse.Namespace) -> WindowedDataModule:
    """Return the data of a run, if they are whole frames."""
    from cst_lightning.datamodules.readers.source import Scattered
    from cst_lightning.datamodules.windows import WindowedDataModule

    data = data_of(options)
    if not isinstance(data, WindowedDataModule) or isinstance(getattr(data, "opened", None), Scattered):
        kind = "scattered points" if isinstance(data, WindowedDataModule) else type(data).__name__
        raise UsageError(f"{options.run}: --frames: expected a run on frames of a recording, found {kind}")
    return data


def _observe(field: Field, data: WindowedDataModule, options: argparse.Namespace) -> ObservedField:
    """Return the trained field through the test sample, or through the frames of a file."""
    if options.observations is None:
        context = data.sample("test", options.sample).context
        return field.observe(context.coords[context.mask], context.values[context.mask])
    path, space = options.observations, data.recordings.shape[2:]
    expect_format(path)
    found = _arrays(path, ("time", "t", "values"))
    times, frames = found.get("time", found.get("t")), found.get("values")
    if times is None or frames is None:
        raise UsageError(f"{path}: expected time and values, found {', '.join(found) or 'neither'}")
    frames = frames[..., None] if frames.ndim == len(space) and space[-1] == 1 else frames
    if frames.shape != (len(times), *space):
        raise UsageError(
            f"{path}: values has shape {frames.shape}, expected (time, *space, channel) {(len(times), *space)}"
        )
    values = data.tokens.encode(frames.astype(np.float32)).reshape(-1, data.channels)
    mesh = np.meshgrid(finite(path, times), *data.tokens.axes, indexing="ij")
    return field.observe(np.stack([part.ravel() for part in mesh], -1), values)


def _arrays(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return those arrays of a file that there are."""
    from cst_lightning.datamodules.trajectories import check_file
    from cst_lightning.errors import DataError

    check_file(path)
    if path.suffix == ".npz":
        found = read_npz(path)
        return {name: found[name] for name in names if name in found}
    import xarray as xr

    try:
        with xr.open_dataset(path, decode_times=False) as data:
            return {name: data[name].to_numpy() for name in names if name in data.variables}
    except (OSError, ValueError) as error:  # a damaged file is one that no reader knows
        raise DataError(path, "file", "a complete NetCDF file", one_line(str(error))) from error


def _range(text: str) -> np.ndarray:
    try:
        start, stop, step = (float(part) for part in text.split(":"))
        count = int((stop - start) / step + 1e-9) + 1
    except (ValueError, ZeroDivisionError, OverflowError):
        count = 0
    if not 0 < count <= _MOST:
        raise UsageError(f"--at: expected START:STOP:STEP of 1 to {_MOST:,} times, or a file, found {text!r}")
    return start + step * np.arange(count)


def _inside(data: WindowedDataModule, frames: np.ndarray) -> np.ndarray:
    """Return frames (T, *space, c) with NaN outside a microscope's mask."""
    inside = getattr(data, "inside", None)
    return frames if inside is None else np.where(inside.reshape(frames.shape[1:]), frames, np.nan)


def _report_empty(frames: np.ndarray) -> None:
    """Say how many frames have no observations around them."""
    from rich.console import Console

    empty = int(np.isnan(frames).reshape(len(frames), -1).all(1).sum())
    if empty:
        told = f"{empty:,} of {len(frames):,} frames are NaN: outside of the recording, in a pause or in a long gap"
        Console(stderr=True).print(told, highlight=False, soft_wrap=True)


def _attributes(unit: str) -> dict[str, str]:
    return {"units": unit} if unit else {}


def _report(options: argparse.Namespace, field: Field, data: WindowedDataModule, times: np.ndarray) -> None:
    """Say what was written, where the sample lies in the recording, and how much of it is extrapolated."""
    from rich.console import Console

    console = Console(stderr=True)
    size = " x ".join(str(n) for n in data.recordings.shape[2:-1])
    source = options.observations or f"test sample {options.sample}"
    if options.recording is not None:
        source = f"all windows of recording {options.recording}"
    elif options.observations is None:
        clock = data.recordings.axes[0]
        first = float(clock.values[data.window_of("test", options.sample).start])
        source = f"{source}, whose time 0 is {first:g} {clock.unit}".rstrip() + " of the recording"
    told = f"{options.out}: {len(times):,} frames{f' of {size}' if size else ''}, from {source}"
    console.print(told, highlight=False, soft_wrap=True)
    if options.recording is not None:
        return
    middle, half = field.normalization.origin[0], field.normalization.scale[0]
    beyond = int((np.abs(times - middle) > half * (1 + 1e-9)).sum())
    if beyond:
        told = f"{beyond:,} of them lie outside of time {middle - half:g} to {middle + half:g}, where there was no"
        console.print(f"{told} training: they are extrapolated", highlight=False, soft_wrap=True)
