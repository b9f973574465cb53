"""Data that say which axis is what: NetCDF and zarr through xarray, xarray objects, and tables of points.

Source: CF conventions 1.11 for units, axis attributes and longitudes; https://cfconventions.org.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cst_lightning.datamodules.readers.arrays import build
from cst_lightning.datamodules.readers.beside import seconds
from cst_lightning.datamodules.readers.layouts import CHANNEL, SAMPLE, TIME, parse, role_of
from cst_lightning.datamodules.readers.optional import lazy_import
from cst_lightning.datamodules.readers.options import Options, check_numbers
from cst_lightning.datamodules.readers.points import scattered
from cst_lightning.datamodules.readers.precision import coarse, finite
from cst_lightning.datamodules.readers.source import Gridded, Scattered
from cst_lightning.datamodules.readers.stores import Entry, Index, Store, text, told
from cst_lightning.datamodules.trajectories import check_file
from cst_lightning.errors import DataError

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]
    import xarray as xr

# Dimensions that are space even without numbers along them.
_PLACES = ("x", "y", "z", "lat", "lon", "latitude", "longitude", "level", "depth", "height", "row", "col")
# Columns of a table that are the time.
_TIME_COLUMNS = ("time", "t")
# A circle is closed if steps add up to it within this share of a step.
_CLOSED = 1e-3


class XarrayStore(Store):
    """The data variables of a data set, from a file or in memory.

    Args:
        path: of a NetCDF or zarr file, opened again in each process; None for a data set in memory.
        data: the data set.
    """

    def __init__(self, path: Path | None, data: xr.Dataset) -> None:
        entries = {str(name): _entry(variable) for name, variable in data.data_vars.items()}
        super().__init__(path, entries)
        self.memory = data if path is None else None
        self.layout = "xarray" if path is None else "zarr" if path.is_dir() else "NetCDF"

    def _opened(self) -> xr.Dataset:
        return self.memory if self.memory is not None else open_dataset(self.path or Path())

    def _block(self, name: str, index: Index) -> np.ndarray:
        block: np.ndarray = self._open[name][index].values
        return block


def read_labelled(data: str | os.PathLike[str] | xr.Dataset | xr.DataArray, **options: Any) -> Gridded:
    """Read a NetCDF or zarr file, or an xarray object.

    All data variables with the same dimensions become channels, or those that `key` names. Which dimension is the time
    follows from its coordinate (CF: `axis: T`, units "... since ...", or its name), which ones are samples or channels
    from their names; a dimension with numbers along it is space, in the order of the array. `layout` (one letter a
    dimension, see `readers.layouts`) or `axes` (names, time first) override that. Times stay the file's numbers, in
    its unit: calendars are not interpreted. A longitude that goes once around is periodic.

    Args:
        data: path or object.
        **options: see `readers.options.Options`.

    Raises:
        DataError: the file is missing, damaged, or there is not one way to read it.
    """
    import xarray as xr

    if isinstance(data, xr.DataArray):
        data = data.to_dataset(name=str(data.name) if data.name is not None else "values")
    path = None if isinstance(data, xr.Dataset) else Path(data)
    opened = data if isinstance(data, xr.Dataset) else open_dataset(Path(data))
    return _read(XarrayStore(path, opened), opened, Options(**options))


def open_dataset(path: Path) -> xr.Dataset:
    """Open a file lazily, times as they are, what is missing as NaN."""
    import xarray as xr

    if path.is_dir():
        lazy_import("zarr")
        engine = "zarr"
    else:
        check_file(path)
        _check_length(path)
        lazy_import("netCDF4")
        engine = "netcdf4"
    with told(path, f"a complete {'zarr group' if path.is_dir() else 'NetCDF file'}"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about encodings and metadata that make no difference here
        return xr.open_dataset(path, engine=engine, decode_times=False, chunks=None)


def _check_length(path: Path) -> None:
    """Refuse a classic NetCDF file that ends early: its library reads zeros where there is nothing."""
    from scipy.io import netcdf_file

    with path.open("rb") as file:
        if file.read(4) not in (b"CDF\x01", b"CDF\x02"):
            return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            netcdf_file(path, "r", mmap=True).close()  # maps what the header promises, reads nothing
        except Exception as error:  # of many kinds, none of which says what it means
            raise DataError(path, "file", "a complete NetCDF file", "one that ends early or is damaged") from error


def read_table(data: str | os.PathLike[str] | pd.DataFrame | pd.Series, **options: Any) -> Scattered:
    """Read a table with a row a point: columns `time`, `x`, `y`, `z` as far as they are there, `sample`, and values.

    All other columns with numbers are channels, or those that `key` names. `axes` names the columns of coordinates if
    they have other names, time first. An index of dates, or one whose levels have such names, counts as columns, and so
    does any index of a Series. Dates become seconds since the first one, or what `time_unit` says; as text they are
    read in the order of ISO 8601 only.

    Args:
        data: a pandas DataFrame or Series, or a `.csv` or `.tsv` file with a line of names at its head.
        **options: see `readers.options.Options`.

    Raises:
        DataError: columns are missing, or hold no numbers.
    """
    import pandas as pd

    own = Options(**options)
    path = None if isinstance(data, (pd.DataFrame, pd.Series)) else Path(data)
    place = str(path or "data")
    table: pd.DataFrame | pd.Series = data if path is None else _csv(path)
    if not len(table):
        raise DataError(place, "file", "a table of at least one row", "none")
    notes: list[str] = []
    table = _with_index(table, own, notes)
    names = [str(name) for name in table.columns]
    table = table.set_axis(names, axis=1)
    axes = list(own.axes or [n for n in (*_TIME_COLUMNS, "x", "y", "z") if n in names])
    for name in axes or ["time"]:
        if name not in names or names.count(name) > 1:
            wanted = "a column of this name (one), an index of dates, or the option axes"
            raise DataError(place, name, wanted, ", ".join(names) or "no columns")
    if role_of(axes[0]) != TIME and own.axes is None:
        wanted = "a column of this name, an index of dates, or the option axes"
        raise DataError(place, "time", wanted, ", ".join(names))
    values = _value_columns(table, axes, own, place)
    columns, units = zip(*(_coordinates(table[name], own, place, notes) for name in axes), strict=True)
    numbers = np.stack([_numbers(table[name], place, name) for name in values], axis=-1)
    seen = finite(numbers, place, "values")
    notes += [f"values: {line}"] if (line := coarse(numbers, seen)) else []
    labels = table["sample"].to_numpy() if "sample" in names else np.zeros(len(table), dtype=np.int64)
    return scattered(
        path, "table of points", np.stack(columns, axis=-1), seen, labels,
        [TIME if role_of(name) == TIME else name for name in axes], values, own, notes, units,
    )  # fmt: skip


def _with_index(table: pd.DataFrame | pd.Series, options: Options, notes: list[str]) -> pd.DataFrame:
    """Return a table with its index as columns, as far as it says when or where something was measured."""
    import pandas as pd

    index, known = table.index, (*_TIME_COLUMNS, "x", "y", "z", "sample", *(options.axes or ()))
    alone = isinstance(table, pd.Series)
    if isinstance(table, pd.Series):
        table = table.to_frame("values" if table.name is None else str(table.name))
    if isinstance(index, (pd.DatetimeIndex, pd.TimedeltaIndex, pd.PeriodIndex)) or (alone and index.nlevels == 1):
        name = str(index.name) if index.name in known else "time"
        if name not in map(str, table.columns):
            notes.append(f"{name}: taken from the index{f' {index.name}' if index.name not in (None, name) else ''}")
            table = table.reset_index(names=name)
        return table
    levels = [level for level in index.names if level is not None and str(level) in known]
    return table.reset_index(level=[level for level in levels if level not in table.columns])


def _coordinates(column: pd.Series, options: Options, place: str, notes: list[str]) -> tuple[np.ndarray, str]:
    """Return a column of coordinates as numbers, and their unit as far as it is known."""
    import pandas as pd

    name, when = str(column.name), role_of(str(column.name)) == TIME
    if isinstance(column.dtype, pd.PeriodDtype):
        column = column.dt.to_timestamp()
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    if column.dtype.kind not in "fiubMm" and when:
        try:
            if pd.api.types.infer_dtype(column) not in ("string", "date", "datetime", "datetime64"):
                raise TypeError  # pandas would take numbers for nanoseconds
            column = pd.to_datetime(column, format="ISO8601", utc=True).dt.tz_localize(None)
        except (ValueError, TypeError) as error:
            wanted = "numbers, or dates such as 2020-01-31T12:00:00"
            raise DataError(place, name, wanted, f"{column.iloc[0]!r}" if len(column) else "none") from error
    if column.dtype.kind in "Mm":
        if column.isna().any():
            raise DataError(place, name, "a date in every row", f"none in row {int(column.isna().argmax())}")
        numbers, unit, note = seconds(column.to_numpy(), options.time_unit)
        notes.append(f"{note}, in {unit}")
        return numbers, unit
    return _numbers(column, place, name), (options.time_unit or "") if when else ""


def _entry(variable: xr.DataArray) -> Entry:
    return Entry(
        tuple(variable.shape), variable.dtype, tuple(map(str, variable.dims)), text(variable.attrs.get("units", ""))
    )


def _read(store: XarrayStore, data: xr.Dataset, options: Options) -> Gridded:
    keys = _keys(store, options)
    notes: list[str] = []
    roles = []
    for key in keys:
        check_numbers(store, key)
        roles.append(_roles(data[key], options, store.place, key, notes if key == keys[0] else []))
    vectors, units = {}, {}
    for dim, role in zip(data[keys[0]].dims, roles[0], strict=True):
        if dim in data.coords and role not in (SAMPLE, CHANNEL):
            vectors[role], units[role] = data[dim].values, text(data[dim].attrs.get("units", ""))
            if role == TIME and " since " in units[role]:
                notes.append(f"time: {units[role]}; the calendar is not interpreted")
                units[role] = units[role].partition(" since ")[0]
            elif vectors[role].dtype.kind not in "fiubMm":
                raise DataError(store.place, str(dim), "numbers", f"type {vectors[role].dtype}")
    around = [str(dim) for dim in data[keys[0]].dims if dim in vectors and _closed(data[dim])]
    if options.periodic is None and around:
        notes += [f"{name}: wraps around, because it goes once through 360 degrees" for name in around]
        options.periodic = around
    options.axes = None  # the roles have taken it into account
    found = build(store, keys, tuple(roles), vectors, units, options, notes)
    return _named_channels(found, data[keys[0]], roles[0], options)


def _named_channels(found: Gridded, variable: xr.DataArray, roles: Sequence[str], options: Options) -> Gridded:
    """Take names of channels from the coordinate along them, if it has some."""
    if CHANNEL not in roles or options.channels is not None or found.shape[-1] != variable.shape[roles.index(CHANNEL)]:
        return found
    dim = variable.dims[roles.index(CHANNEL)]
    return replace(found, channels=tuple(map(str, variable[dim].values))) if dim in variable.coords else found


def _keys(store: XarrayStore, options: Options) -> tuple[str, ...]:
    """Return the data variables that become channels."""
    wanted = [options.key] if isinstance(options.key, str) else options.key
    for key in wanted or ():
        if key not in store.entries:
            raise DataError(store.place, key, "a data variable (option key)", ", ".join(store.entries) or "none")
    if wanted:
        return tuple(wanted)
    useful = {k: e for k, e in store.entries.items() if e.dtype.kind in "fiu" and e.shape and not k.endswith("_bnds")}
    rank = max((len(entry.shape) for entry in useful.values()), default=0)
    useful = {k: e for k, e in useful.items() if len(e.shape) == rank}
    if not useful:
        raise DataError(store.place, "values", "a data variable of numbers", ", ".join(store.entries) or "none")
    if len({entry.labels for entry in useful.values()}) > 1:
        found = ", ".join(f"{k} ({', '.join(e.labels)})" for k, e in useful.items())
        raise DataError(store.place, "values", "data variables with the same dimensions, or the option key", found)
    return tuple(useful)


def _roles(variable: xr.DataArray, options: Options, place: str, key: str, notes: list[str]) -> tuple[str, ...]:
    """Return the role of each dimension of a variable."""
    dims = [str(dim) for dim in variable.dims]
    if options.layout is not None:
        said = parse(options.layout, place)
        if len(said) != len(dims):
            raise DataError(place, key, f"{len(said)} dimensions, {options.layout}", ", ".join(dims))
        # space keeps the file's names, whatever letters stand for it
        return tuple(r if r in (SAMPLE, TIME, CHANNEL) else dim for r, dim in zip(said, dims, strict=True))
    times = [options.axes[0]] if options.axes else [dim for dim in dims if _is_time(variable, dim)]
    if len(times) != 1 or times[0] not in dims:
        raise DataError(place, key, "one dimension that is the time; set layout, or axes", ", ".join(dims))
    return tuple(TIME if dim == times[0] else _role(variable, dim, options, place, key, notes) for dim in dims)


def _role(variable: xr.DataArray, dim: str, options: Options, place: str, key: str, notes: list[str]) -> str:
    if options.axes:
        if dim in options.axes or role_of(dim) in (SAMPLE, CHANNEL):
            return dim if dim in options.axes else role_of(dim)
    elif role_of(dim) != dim:
        return role_of(dim)
    elif dim.lower() in _PLACES or (dim in variable.coords and variable[dim].dtype.kind in "fiuMm"):
        return dim
    if variable.sizes[dim] == 1 and SAMPLE not in map(role_of, map(str, variable.dims)):
        notes.append(f"{dim}: of length 1, left out")
        return SAMPLE
    wanted = f"to know what dimension {dim} is: set layout, a letter for each of {', '.join(map(str, variable.dims))}"
    raise DataError(place, key, wanted, f"{variable.sizes[dim]} places without numbers along them")


def _is_time(variable: xr.DataArray, dim: str) -> bool:
    """Whether a dimension is the time, by the CF conventions or by its name."""
    if role_of(dim) == TIME:
        return True
    if dim not in variable.coords:
        return False
    attributes = variable[dim].attrs
    said = attributes.get("axis") == "T" or attributes.get("standard_name") == "time"
    return said or " since " in text(attributes.get("units", "")) or variable[dim].dtype.kind == "M"


def _closed(coordinate: xr.DataArray) -> bool:
    """Whether a longitude goes once around: its equal steps, one more than between its ends, are 360 degrees."""
    names = (str(coordinate.name).lower(), text(coordinate.attrs.get("standard_name", "")))
    east = text(coordinate.attrs.get("units", "")).lower().startswith("degree") and coordinate.size > 2
    if not east or (not any(name.startswith("lon") for name in names) and "east" not in str(coordinate.attrs["units"])):
        return False
    steps = np.diff(coordinate.values.astype(np.float64))
    step = abs(float(steps.mean()))
    return bool(np.ptp(steps) <= _CLOSED * step and abs(step * coordinate.size - 360) <= _CLOSED * step * 10)


def _csv(path: Path) -> pd.DataFrame:
    import pandas as pd

    check_file(path)
    with told(path, "a table with a line of names"):
        return pd.read_csv(path, sep="\t" if path.suffix.lower() == ".tsv" else ",")


def _value_columns(table: pd.DataFrame, axes: Sequence[str], options: Options, place: str) -> list[str]:
    names: list[str] = list(table.columns)
    if options.key is not None:
        wanted = [options.key] if isinstance(options.key, str) else list(options.key)
        for name in wanted:
            if name not in names:
                raise DataError(place, name, "a column of this name (option key)", ", ".join(names))
        return wanted
    found = [n for n in names if n not in axes and n != "sample" and table[n].dtype.kind in "fiu"]
    if not found:
        raise DataError(place, "values", "a column of numbers beside the coordinates", ", ".join(names))
    return found


def _numbers(column: pd.Series, place: str, name: str) -> np.ndarray:
    if column.dtype.kind not in "fiub":
        raise DataError(place, name, "numbers", f"type {column.dtype}")
    # pandas' own types may hold what is missing as an object
    return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
