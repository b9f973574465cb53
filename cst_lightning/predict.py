"""`cst predict`: ask a trained run for values and derivatives at coordinates in a file, and write them to another."""

from __future__ import annotations

import argparse
import math
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cst_lightning.benchmark.command import add_bench_command
from cst_lightning.data_commands import add_data_commands
from cst_lightning.usage import CommandParser, UsageError, one_line

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

    from cst_lightning.datamodules.base import FieldDataModule
    from cst_lightning.field import Field, ObservedField

PREDICT_HELP = """\
Ask a trained run for values and exact derivatives.

FILE is .npz with `coords` (points, dimensions) and, for observations, `values` (points, channels), NaN where
unobserved; or NetCDF (.nc) with the same two variables, or with a grid: one coordinate variable an axis, named as in
the training (time or t; x, y, z), in any order, and for observations one data variable on those axes (a further axis,
if any, is the channels).

With --frames whole frames are written, patches blended and components multiplied out: a grid of time, space and
channel in the recording's own axes. Then --at is START:STOP:STEP, or a file with `time` (frames,) or with coords; and
observations are a file with `time` (frames,) and `values` (frames, *space, channel), in the units of the training.
Times count from the first frame of the sample; with --recording N they are those of the recording itself, and windows
that overlap answer together."""


class Points(NamedTuple):
    """What a file of points holds.

    Attributes:
        coords: (N, d) float64, physical units, time first.
        values: (N, c) float64, NaN where unobserved; None if the file has coordinates only.
        axes: the vectors whose grid `coords` is, in C order, by name; empty for scattered points.
    """

    coords: np.ndarray
    values: np.ndarray | None
    axes: Mapping[str, np.ndarray]


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `cst`; each sub-command sets `command`, which takes the parsed options."""
    parser = CommandParser(prog="cst", description="Use what cst-fit has trained, and look at what it would train on.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    predict = commands.add_parser(
        "predict", help="values and derivatives at coordinates in a file", description=PREDICT_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    predict.add_argument("run", metavar="RUN", help="folder of a run, or a checkpoint")
    predict.add_argument("--at", required=True, metavar="FILE", type=Path, help="coordinates, or times, to predict at")
    predict.add_argument("--out", required=True, metavar="FILE", type=Path, help="where to write: .npz or .nc")
    predict.add_argument("--observations", metavar="FILE", type=Path, help="what to predict from")
    predict.add_argument(
        "--sample", type=int, default=0, metavar="N", help="without --observations: predict from test sample N (0)"
    )
    predict.add_argument(
        "--derivatives", default="", metavar="LIST",
        help="which, separated by commas: letters (t, x, y, xx, tx) or one digit an axis (100, 011)",
    )  # fmt: skip
    predict.add_argument("--frames", action="store_true", help="write whole frames, of a run on video, movies, arrays")
    predict.add_argument(
        "--recording", type=int, metavar="N",
        help="with --frames: times are those of the N-th recording (from 0), and all its windows answer",
    )  # fmt: skip
    predict.set_defaults(command=predict_command)
    add_data_commands(commands)
    add_bench_command(commands)
    return parser


def predict_command(options: argparse.Namespace) -> int:
    """Carry out `cst predict` and return the exit code."""
    from cst_lightning.field import Field
    from cst_lightning.fitting import user_errors

    if options.frames:
        from cst_lightning.predict_frames import frames_command

        return frames_command(options)
    with user_errors():
        if is_range(options.at):
            raise UsageError(f"--at: expected a file unless --frames is there, found the times {options.at}")
        expect_format(options.out)
        field = Field.load(options.run)
        query = read_points(options.at, field.axis_names)
        indices = multi_indices(options.derivatives, field.axis_names)
        observed = _observe(field, options, query.coords.shape[-1])
    arrays = {"values": observed(query.coords)}
    arrays |= {f"d_{name}": observed.derivative(query.coords, index) for name, index in indices.items()}
    with user_errors((OSError,)):
        write_points(options.out, query, arrays)
    _report(options, field, query)
    return 0


def _report(options: argparse.Namespace, field: Field, query: Points) -> None:
    """Say what was written, and how much of it is outside of what the training has seen."""
    import torch
    from rich.console import Console

    source = options.observations or f"test sample {options.sample}"
    console = Console(stderr=True)
    console.print(f"{options.out}: {len(query.coords):,} points, from {source}", highlight=False, soft_wrap=True)
    normal = field.normalization.coords(torch.from_numpy(query.coords), torch.float64).abs()
    for axis, name in enumerate(field.axis_names):
        beyond = int((normal[:, axis] > 1 + 1e-9).sum())
        if beyond and not field.network.periodic[axis]:
            middle, half = field.normalization.origin[axis], field.normalization.scale[axis]
            told = f"{beyond:,} of them lie outside of {name} {middle - half:g} to {middle + half:g}, where there was"
            console.print(f"{told} no training: they are extrapolated", highlight=False, soft_wrap=True)


def multi_indices(text: str, axes: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Read a list of derivatives.

    Args:
        text: names separated by commas: first letters of the axes (``t,x,tx``) or one digit an axis (``100,110``).
        axes: d names of the coordinates, in their order.

    Returns:
        Multi-index of d orders by name.

    Raises:
        UsageError: a name is neither, or has an axis that there is not.

    Example:
        >>> multi_indices("t,xx,101", ("time", "x", "y"))
        {'t': (1, 0, 0), 'xx': (0, 2, 0), '101': (1, 0, 1)}
    """
    letters, dimension = "".join(name[:1] for name in axes), len(axes)
    out: dict[str, tuple[int, ...]] = {}
    for name in filter(None, (part.strip() for part in text.split(","))):
        if name.isdecimal() and len(name) == dimension:
            out[name] = tuple(int(digit) for digit in name)
        elif set(name) <= set(letters) and len(set(letters)) == dimension:
            out[name] = tuple(name.count(axis) for axis in letters)
        else:
            raise UsageError(
                f"--derivatives: expected letters of {letters!r} or {dimension} digits, one an axis, found {name!r}"
            )
    return out


def read_points(path: Path, names: Sequence[str] = ("time", "x", "y", "z")) -> Points:
    """Read coordinates and, if there are any, values; see `PREDICT_HELP` for the layouts.

    Args:
        path: the file.
        names: of the coordinates, in the order of the training.
    """
    from cst_lightning.datamodules.trajectories import check_file
    from cst_lightning.errors import DataError

    expect_format(path)
    check_file(path)
    if path.suffix == ".npz":
        arrays = read_npz(path)
        if "coords" not in arrays:
            raise UsageError(f"{path}: expected an array called coords, found {', '.join(arrays) or 'nothing'}")
        return _scattered(path, arrays["coords"], arrays.get("values"))
    import xarray as xr

    try:
        opened = xr.open_dataset(path, decode_times=False)
    except (OSError, ValueError) as error:  # a damaged file is one that no reader knows
        raise DataError(path, "file", "a complete NetCDF file", one_line(str(error))) from error
    with opened as data:
        if "coords" in data.variables:
            values = data["values"].to_numpy() if "values" in data.variables else None
            return _scattered(path, data["coords"].to_numpy(), values)
        return _gridded(path, data, names)


def write_points(path: Path, query: Points, arrays: Mapping[str, np.ndarray]) -> None:
    """Write predictions (N, c) by name, on the grid that was asked for if it was one.

    The file appears under its name only when it is complete.
    """
    import numpy as np
    import xarray as xr

    with replacing(path) as partial:
        if path.suffix == ".npz":
            content: dict[str, Any] = {"coords": query.coords, **arrays}
            np.savez(partial, **content)
        else:
            shape = [len(axis) for axis in query.axes.values()] or [len(query.coords)]
            dims = (*(query.axes or ["point"]), "channel")
            data = xr.Dataset({k: (dims, v.reshape(*shape, v.shape[-1])) for k, v in arrays.items()}, coords=query.axes)
            if not query.axes:
                data["coords"] = (("point", "dimension"), query.coords)
            data.to_netcdf(partial)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the name of a file that takes the place of `path` when the block has written it, and is gone otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # the ending stays: numpy adds its own to a name without it
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:  # about the name that was asked for, not about one that nobody knows
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        partial.unlink(missing_ok=True)


def _observe(field: Field, options: argparse.Namespace, dimension: int) -> ObservedField:
    """Return the trained field through the observations that were asked for."""
    seen, values = _observations(options, field.axis_names)
    network = field.network
    for what, found, expected in (
        (options.observations or options.run, seen.shape[-1], network.dimension),
        (options.at, dimension, network.dimension),
    ):
        if found != expected:
            raise UsageError(f"{what}: expected points of dimension {expected} as in the training, found {found}")
    if values.shape[-1] != network.channels:
        raise UsageError(
            f"{options.observations or options.run}: expected values of {network.channels} channels as in the "
            f"training, found {values.shape[-1]}"
        )
    return field.observe(seen, values)


def _observations(options: argparse.Namespace, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return coordinates (N, d) and values (N, c) to predict from: a file's, or a test sample's of the run's data."""
    if options.observations is not None:
        points = read_points(options.observations, names)
        if points.values is None:
            raise UsageError(f"{options.observations}: expected values beside the coordinates, found none")
        return points.coords, points.values
    from cst_lightning.predict_frames import hint

    data = data_of(options)
    hint(data)
    context = data.sample("test", options.sample).context
    seen = context.mask.numpy()
    return context.coords.numpy()[seen], context.values.numpy()[seen]


def data_of(options: argparse.Namespace) -> FieldDataModule:
    """Return the data that a run was trained with, if they have the test sample that was asked for."""
    from cst_lightning.runs import load_data

    data = load_data(Path(options.run))
    data.prepare_data()
    data.setup("test")
    if not 0 <= options.sample < data.size("test"):
        raise UsageError(f"--sample: expected 0 to {data.size('test') - 1}, found {options.sample}")
    return data


def is_range(at: Path) -> bool:
    """Tell whether START:STOP:STEP was typed, and not a file's name."""
    return at.suffix not in (".npz", ".nc") and str(at).count(":") == 2


def expect_format(path: Path) -> None:
    """Raise UsageError unless a file's name ends as one that can be read and written."""
    if path.suffix not in (".npz", ".nc"):
        raise UsageError(f"{path}: expected a file name that ends in .npz or .nc, found {path.suffix or 'no ending'!r}")


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of a file."""
    import zipfile

    import numpy as np

    from cst_lightning.errors import DataError

    if not zipfile.is_zipfile(path):  # numpy leaves the file open when it finds out by itself
        raise DataError(path, "file", "a complete .npz file", "something else, or a part of one")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(path, "file", "a complete .npz file with plain arrays", str(error)) from error


def finite(path: Path, coords: np.ndarray) -> np.ndarray:
    """Return coordinates as float64, if they are numbers."""
    import numpy as np

    if not np.issubdtype(coords.dtype, np.number) or np.iscomplexobj(coords) or not np.isfinite(coords).all():
        raise UsageError(f"{path}: expected coordinates that are finite real numbers, found others")
    return coords.astype(float)


def _scattered(path: Path, coords: np.ndarray, values: np.ndarray | None) -> Points:
    if coords.ndim != 2:
        raise UsageError(f"{path}: coords has shape {coords.shape}, expected (points, dimensions)")
    if values is not None and (values.ndim != 2 or len(values) != len(coords)):
        raise UsageError(
            f"{path}: values has shape {values.shape}, expected (points, channels) with {len(coords)} points"
        )
    return Points(finite(path, coords), values if values is None else values.astype(float), {})


def _gridded(path: Path, data: xr.Dataset, order: Sequence[str]) -> Points:
    import numpy as np

    if len(data.data_vars) > 1:
        raise UsageError(f"{path}: expected one data variable, found {', '.join(map(str, data.data_vars))}")
    variable = next(iter(data.data_vars.values()), None)
    names = [str(n) for n in (data.sizes if variable is None else variable.dims) if n in data.coords and n != "channel"]
    if not names:
        found = ", ".join(str(name) for name in data.variables)
        raise UsageError(f"{path}: expected coords, or one coordinate variable an axis, found {found}")
    names = _ordered(path, names, order)
    axes = {name: finite(path, data[name].to_numpy()) for name in names}
    coords = np.stack(np.meshgrid(*axes.values(), indexing="ij"), -1).reshape(-1, len(names))
    if variable is None:
        return Points(coords, None, axes)
    values = variable.transpose(*names, ...).to_numpy()
    return Points(coords, values.reshape(len(coords), math.prod(values.shape[len(names) :])).astype(float), axes)


def _ordered(path: Path, names: Sequence[str], order: Sequence[str]) -> list[str]:
    """Return a file's axes in the order of the training: by name, for a file may have them in any."""
    known = {name: place for place, name in enumerate(order)} | {"t": 0, "time": 0}
    if all(name in known for name in names):
        return sorted(names, key=known.__getitem__)
    rest = [name for name in names if name not in ("t", "time")]
    if len(rest) > 1:  # which of them is which, nobody can tell
        raise UsageError(f"{path}: expected the axes {', '.join(order)}, found {', '.join(names)}")
    return [name for name in names if name not in rest] + rest
