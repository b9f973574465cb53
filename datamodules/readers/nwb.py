"""Traces and movies from Neurodata Without Borders: NWB 2, and the NWB 1 files of the Allen Brain Observatory.

NWB 2: ``processing/<module>/{Fluorescence,DfOverF}/<series>/data`` (time x ROI), movies as
``acquisition/<TwoPhotonSeries>/data`` (time, x, y[, z]); ``timestamps``, or ``starting_time`` with its rate.
Allen NWB 1: ``processing/brain_observatory_pipeline/{Fluorescence,DfOverF}/imaging_plane_1/{data,timestamps}``
(cells x time). Files exist that have it the other way round, so the number of timestamps decides. HDF5 is read
directly: no other package is needed.
Sources: https://nwb-schema.readthedocs.io (RoiResponseSeries, ImageSeries); Allen Brain Observatory white paper.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, NamedTuple

import h5py
import numpy as np

from cst_lightning.datamodules.readers.slices import (
    FileFrames,
    Layout,
    frame_times,
    numbers,
    opened,
    overruled,
    time_axis,
)
from cst_lightning.datamodules.readers.source import Axis, Gridded
from cst_lightning.errors import DataError

#: Containers of traces in the order of preference when the user names none.
_PREFERRED = ("DfOverF", "Fluorescence")
_TRACES = ("RoiResponseSeries",)
_MOVIES = ("TwoPhotonSeries", "OnePhotonSeries", "ImageSeries")


class _Series(NamedTuple):
    """Where a series is, and what it is."""

    path: str
    kind: Literal["traces", "movie"]


def read_nwb(
    path: str | os.PathLike[str],
    rate: float | None = None,
    *,
    signal: str | None = None,
    rois: Literal["cells", "all"] = "cells",
    layout: Layout = "auto",
) -> Gridded:
    """Open a series of an NWB file: one recording, its axes time, or time, y and x.

    Args:
        path: the file, of version 1 or 2.
        rate: frames a second, instead of the file's own times.
        signal: the series: its path, or a part of it that no other has, such as `DfOverF`. When None: the only one in
            `DfOverF`, else the only one in `Fluorescence`, else the only movie.
        rois: `cells`: those that the table of ROI marks by `iscell` or `accepted`, if it does; or `all`.
        layout: where time is, if the number of timestamps and ROI does not tell.

    Returns:
        Values (T, ROI) or (T, y, x, 1) in the series' unit, times in seconds.

    Raises:
        DataError: the file is missing, damaged, or holds no such series; its axes fit neither count, or both.
    """
    path = Path(path)
    with opened(path) as file:
        old = _is_old(file)
        series = _chosen(_find(file), path, signal)
        group, key = file[series.path], f"{series.path}/data"
        data = numbers(file, path, key)
        stamps = _timestamps(group, path) if rate is None else None  # a rate helps where these are damaged, too
        count = _stamped(group) if stamps is None else len(stamps)
        others = _regions(group) if series.kind == "traces" else None
        axis, notes = time_axis(
            path,
            key,
            data.shape,
            times=count,
            others=others,
            usual="time_last" if old and series.kind == "traces" else "time_first",
            layout=layout,
        )
        times, unit, told = _times(path, group, stamps, data.shape[axis], rate)
        attributes = dict(data.attrs)
        order = (axis, *(a for a in range(len(data.shape)) if a != axis))
        places = (_pixels if series.kind == "movie" else _cells)(group, path, key, data.shape, order, rois)
        reader = FileFrames(
            path,
            (key,),
            (_number(attributes, "conversion", 1.0),),
            places.order,
            series.kind == "movie",
            places.kept,
            _number(attributes, "offset", 0.0),
        )
    return Gridded(
        path,
        "Allen NWB 1" if old else "NWB 2",
        1,
        (Axis("time", times, unit), *places.space),
        places.names,
        reader,
        "dF/F" if "DfOverF" in series.path else _text(attributes.get("unit", "")),
        notes=(f"signal is {series.path}", *notes, *told, *places.told),
    )


class _Places(NamedTuple):
    """What the axes of a series other than time are: their order, behind time, and what is kept of them."""

    order: tuple[int, ...]
    kept: np.ndarray | None
    names: tuple[str, ...]
    space: tuple[Axis, ...]
    told: tuple[str, ...]


def _pixels(
    group: h5py.Group, path: Path, key: str, shape: tuple[int, ...], order: tuple[int, ...], rois: str
) -> _Places:
    """Return the places of a movie."""
    if len(order) != 3:
        raise DataError(path, key, "a movie (time, x, y)", f"shape {shape}")
    order, swapped = _rows_first(group, order, shape)
    sizes = [shape[axis] for axis in order[1:]]
    space = tuple(Axis(name, np.arange(size, dtype=np.float64), "px") for name, size in zip("yx", sizes, strict=True))
    return _Places(order, None, ("fluorescence",), space, (swapped,))


def _cells(
    group: h5py.Group,
    path: Path,
    key: str,
    shape: tuple[int, ...],
    order: tuple[int, ...],
    rois: Literal["cells", "all"],
) -> _Places:
    """Return the places of traces: the ROI that are kept, as channels."""
    if len(order) > 2:
        raise DataError(path, key, "traces (time, ROI)", f"shape {shape}")
    kept = _kept(group, path, rois, shape[order[1]] if len(order) == 2 else 1)
    return _Places(order, kept, tuple(f"ROI {i}" for i in kept), (), ())


def _is_old(file: h5py.File) -> bool:
    """Whether it is NWB 1, which keeps its version in a data set."""
    if "nwb_version" in file.attrs:
        return False
    found = file.get("nwb_version")
    return isinstance(found, h5py.Dataset) and "1." in _text(found[()])[:7]


def _find(file: h5py.File) -> list[_Series]:
    """Return all traces and movies: groups with `data` that say that they are, or that lie where such things lie."""
    found: list[_Series] = []

    def visit(name: str, group: Any) -> None:
        if not isinstance(group, h5py.Group) or not isinstance(group.get("data"), h5py.Dataset):
            return
        kind = _text(group.attrs.get("neurodata_type", ""))
        if kind in _MOVIES:
            found.append(_Series(name, "movie"))
        elif kind in _TRACES or any(f"/{container}/" in f"/{name}" for container in _PREFERRED):
            found.append(_Series(name, "traces"))

    file.visititems(visit)
    return found


def _chosen(found: list[_Series], path: Path, signal: str | None) -> _Series:
    """Return the series that the user means, or the only one that may be meant."""
    names = ", ".join(series.path for series in found) or "none"
    if signal is not None:
        exact = [series for series in found if series.path == signal.strip("/")]
        fitting = exact or [series for series in found if signal in series.path]
        if len(fitting) != 1:
            raise DataError(path, f"signal {signal}", "one series with it in its path", names)
        return fitting[0]
    groups = [[s for s in found if s.kind == "traces" and f"/{name}/" in f"/{s.path}"] for name in _PREFERRED]
    for group in [*groups, [s for s in found if s.kind == "traces"], [s for s in found if s.kind == "movie"]]:
        if len(group) == 1:
            return group[0]
        if group:
            raise DataError(path, "signal", "the option signal to choose one of several series", names)
    raise DataError(path, "file", "fluorescence traces (RoiResponseSeries) or a movie (TwoPhotonSeries)", "neither")


def _timestamps(group: h5py.Group, path: Path) -> np.ndarray | None:
    found = group.get("timestamps")
    if not isinstance(found, h5py.Dataset):
        return None
    if found.dtype.kind not in "iuf" or len(found.shape) != 1:
        raise DataError(path, found.name, "a vector of seconds", f"{found.dtype} of shape {found.shape}")
    return np.asarray(found[()], dtype=np.float64)


def _stamped(group: h5py.Group) -> int | None:
    """Return how many times there are, though they may not be wanted: of timestamps, or as NWB 1 counts them."""
    for name in ("timestamps", "num_samples"):
        found = group.get(name)
        if isinstance(found, h5py.Dataset):
            return int(found.shape[0]) if found.shape else int(found[()])
    return None


def _regions(group: h5py.Group) -> int | None:
    """Return the number of ROI that the series refers to."""
    found = group.get("rois")
    return int(found.shape[0]) if isinstance(found, h5py.Dataset) and len(found.shape) == 1 else None


def _rate(group: h5py.Group) -> float | None:
    found = group.get("starting_time")
    return float(found.attrs["rate"]) if isinstance(found, h5py.Dataset) and "rate" in found.attrs else None


def _start(group: h5py.Group) -> float:
    return float(np.ravel(group["starting_time"][()])[0])


def _times(
    path: Path, group: h5py.Group, stamps: np.ndarray | None, count: int, rate: float | None
) -> tuple[np.ndarray, str, tuple[str, ...]]:
    """Return times (T,), their unit and notes: the user's rate, else timestamps, else the rate of the file."""
    if stamps is not None:
        return stamps, "s", ()
    own = _rate(group)
    why = "the series has no times, time counts frames: set rate"
    times, unit, notes = frame_times(path, count, own if rate is None else rate, why)
    if rate is None:
        return times + (_start(group) if own is not None else 0.0), unit, notes
    if "timestamps" in group:
        return times, unit, (overruled(rate, "the timestamps of the file"),)
    return times, unit, () if own in (None, rate) else (overruled(rate, f"the {own:g}/s of the file"),)


def _rows_first(group: h5py.Group, order: tuple[int, ...], shape: tuple[int, ...]) -> tuple[tuple[int, ...], str]:
    """Return the axes of a movie as time, y, x, and a note.

    The schema has x before y, but many programs write pictures as they lie in memory, rows first; `dimension`, the
    number of pixels along x and y, tells them apart where the two differ.
    """
    time, first, second = order
    stored = (shape[first], shape[second])
    found = group.get("dimension")
    said = tuple(np.ravel(found[()]).tolist()) if isinstance(found, h5py.Dataset) and found.dtype.kind in "iu" else ()
    if said[:2] == stored[::-1] and stored[0] != stored[1]:
        return (
            order,
            f"pictures are stored as (y, x) = {stored}: dimension says that there are {said[0]} pixels along x",
        )
    why = "as dimension says" if said[:2] == stored and stored[0] != stored[1] else "as the schema of NWB has it"
    return (time, second, first), f"pictures are read as stored (x, y) = {stored}, {why}, and turned to (y, x)"


def _kept(group: h5py.Group, path: Path, rois: str, count: int) -> np.ndarray:
    """Return the positions of the ROI that are cells, as the table behind the series' region of it has them."""
    region = group.get("rois")
    every = np.arange(count)
    if rois == "all" or not isinstance(region, h5py.Dataset) or "table" not in region.attrs:
        return every
    table = group.file[region.attrs["table"]]
    for name in ("iscell", "accepted", "Accepted"):
        marks = table.get(name) if isinstance(table, h5py.Group) else None
        if isinstance(marks, h5py.Dataset) and marks.dtype.kind in "biuf" and len(marks.shape) in (1, 2):
            flags = np.asarray(marks[()]).reshape(len(marks), -1)[:, 0] > 0
            kept = np.flatnonzero(flags[np.asarray(region[()])])
            if not kept.size:
                raise DataError(path, marks.name, "at least one cell, or rois all", "none")
            return kept
    return every


def _number(attributes: dict[str, Any], name: str, default: float) -> float:
    value = float(attributes.get(name, default))
    return value if np.isfinite(value) else default


def _text(value: Any) -> str:
    """Return a string attribute, whatever of its several types it has."""
    value = value.flat[0] if isinstance(value, np.ndarray) and value.size else value
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
