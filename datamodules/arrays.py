"""Anybody's data: arrays on a grid or scattered points, from any file that there is a reader for."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cst_lightning.baselines.frames import references as frame_references
from cst_lightning.baselines.interpolation import Interpolator
from cst_lightning.datamodules.base import Split
from cst_lightning.datamodules.cache import cached
from cst_lightning.datamodules.draws import Scheme, Stream, generator
from cst_lightning.datamodules.gaps import empty_channels
from cst_lightning.datamodules.progress import progress_bar
from cst_lightning.datamodules.readers.arrays import read_arrays
from cst_lightning.datamodules.readers.opening import open_source, options_of, recognise
from cst_lightning.datamodules.readers.source import Axis, Gridded, Scattered, Source
from cst_lightning.datamodules.scattered import Cut, cut, whole
from cst_lightning.datamodules.solvers.oscillators import Oscillators
from cst_lightning.datamodules.suggestions import explain, suggest
from cst_lightning.datamodules.trajectories import ScatteredTrajectories, TrajectoryDataset
from cst_lightning.datamodules.windows import WindowedDataModule
from cst_lightning.errors import DataError

# Options of the readers of arrays, under the names that they have here.
_OPTIONS = ("key", "axes", "layout", "rate", "time_unit", "periodic", "select")
# Rows that pictures are reduced to if there are many more.
_ROWS, _MANY = 48, 128**2


class ArrayDataModule(WindowedDataModule):
    """Data of the user's own, in the documented layout or any other that is recognised.

    Gridded recordings are cut into windows, see `WindowedDataModule`. Scattered points with several samples are split
    by sample; one sample of them, or fewer than ten, are cut into windows of successive times, split in time.
    Without `path` it is a simulated oscillating medium (`solvers.oscillators`): one recording of 400 frames, 24 x 24
    points, two channels, on a periodic square.

    Args:
        path: a file or folder that `readers.opening` knows, or an xarray Dataset or DataArray, a pandas DataFrame or
            Series, or a mapping of names to arrays; simulated if None.
        holdout: what is hidden and asked for at the test: `points` at random, whole `frames`, every frame after the
            first ones (`tail`), a box in time and space (`region`), or all but `regular` frames.
        key: name of the values in the file; several become channels.
        axes: names of the vectors that are the axes, time first, if they are not `time`, `x`, `y`, `z`.
        layout: which axis of the values is what, such as "stxyc"; see `readers.layouts`.
        rate: frames a second; counts before times in the file.
        time_unit: of the file's times, if it does not say.
        periodic: names of the space axes that wrap around; as the file says if None.
        select: which channels to use, by name or position; all if None.
        reader: further options of the reader, such as {"height": 60} of videos.
        cache_dir: where what is built once is kept.
        **kwargs: see `WindowedDataModule` and `FieldDataModule`; `window` and `stride` of scattered points count
            distinct times.

    Attributes:
        opened: what was read: `Gridded` or `Scattered`.

    Example:
        >>> import numpy as np
        >>> time = np.linspace(0, 9, 60)
        >>> data = ArrayDataModule({"values": np.sin(time)[:, None], "time": time}, window=6)
        >>> data.dimension, data.channels
        (1, 1)
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | Any | None = None,
        *,
        holdout: Scheme = "points",
        key: str | list[str] | None = None,
        axes: list[str] | None = None,
        layout: str | None = None,
        rate: float | None = None,
        time_unit: str | None = None,
        periodic: list[str] | None = None,
        select: list[str | int] | None = None,
        reader: dict[str, Any] | None = None,
        cache_dir: str | os.PathLike[str] = "cache",
        **kwargs: Any,
    ) -> None:
        self.path = path if isinstance(path, (str, os.PathLike)) else None
        said = dict(zip(_OPTIONS, (key, axes, layout, rate, time_unit, periodic, select), strict=True))
        self.opened = _opened(path, cache_dir, reader, said)
        self._parts: list[Cut] | None = None
        super().__init__(scheme=holdout, **kwargs)
        if isinstance(self.opened, Scattered) and self.divide == "within":
            raise ValueError("divide is 'within', expected 'time' or 'samples' of scattered points")

    _how_to_leave_out = "data.select, with the other channels, leaves it out"

    @classmethod
    def suggest(cls, **settings: Any) -> tuple[dict[str, dict[str, Any]], list[str]]:
        """Return what suits the data, for what the user left open, and why; see `datamodules.suggestions`.

        Args:
            settings: of this class, as given so far.
        """
        said = {name: settings.get(name) for name in _OPTIONS}
        path, cache, reader = settings.get("path"), settings.get("cache_dir", "cache"), settings.get("reader")
        opened = _opened(path, cache, reader, said)
        if isinstance(opened, Gridded) and len(opened.axes[0].values) < 2:
            raise DataError(opened.path or "data", "time", "two or more frames to learn from", "one")
        smaller, kept = None, _filled(path, opened, said)
        if kept is not None:
            without = [name for i, name in enumerate(opened.channels) if i not in kept]
            said["select"] = settings["select"] = kept
            opened = _opened(path, cache, reader, said)
        if (rows := _reduced(path, opened)) and "height" not in (reader or {}):
            smaller = {**(reader or {}), "height": rows}
            full, opened = opened, _opened(path, cache, smaller, said)
        given = {name: value for name, value in settings.items() if value is not None}
        found, reasons = suggest(opened, **given), explain(opened, **given)
        if kept is not None:
            found.setdefault("data", {})["select"] = kept
            reasons.insert(0, f"data.select: all channels but {', '.join(without)}, which hold nothing but NaN")
        if smaller is not None:
            found.setdefault("data", {})["reader"] = smaller
            pictures = [one for one in (full, opened) if isinstance(one, Gridded)]
            seen, made = ("{3} x {2}".format(*one.shape) for one in pictures)
            reasons.insert(
                0, f"data.reader height {rows}: pictures of {seen} become {made}, pixels enough to learn from"
            )
        return found, [*opened.notes, *reasons]

    def source(self) -> Gridded:
        """Return what was opened; of scattered points the box around them, as a grid of its corners."""
        return self.opened if isinstance(self.opened, Gridded) else _box(self.opened)

    def prepare_data(self) -> None:
        """Simulate, unless that was done before or there is a path."""
        if isinstance(self.opened, Gridded) and isinstance(self.opened.read, Simulated):
            self.opened.read.file()

    def trajectories(self) -> TrajectoryDataset:
        """Cut the recordings, or the scattered points."""
        if isinstance(self.opened, Gridded):
            return super().trajectories()
        found = [one.trajectory for one in self._cuts(self.opened)]
        if self._noise:  # of a point the same in every window that it is in
            exact, found = (
                found,
                [one.trajectory for one in self._cut_points(_measured(self.opened, self._noise, self.seed))],
            )
            found = [one._replace(measured=other.values) for one, other in zip(exact, found, strict=True)]
        return ScatteredTrajectories(found)

    def members(self, total: int) -> dict[Split, np.ndarray]:
        """Return the windows of each split."""
        if isinstance(self.opened, Gridded):
            return super().members(total)
        cuts = self._cuts(self.opened)
        splits = np.array([one.split for one in cuts])
        kept = np.array([self._can_be_used(one, i) for i, one in enumerate(cuts)], dtype=bool)
        lost = [f"{(~kept[splits == name]).sum()} of {name}" for name in self.parts if not kept[splits == name].all()]
        if lost:
            self._left_out.append(f"samples with too few values that are not NaN are left out: {', '.join(lost)}")
        if (splits == "train").any() and not kept[splits == "train"].any():
            raise self._nothing_left("train", self.opened, {})
        return {name: np.flatnonzero((splits == name) & kept) for name in self.parts}

    def references(self) -> list[Interpolator]:
        """Return the usual interpolation; where whole frames are hidden, that along time at each place before it."""
        usual = super().references()
        if self.dimension == 1 or self.observation.scheme not in ("frames", "regular", "tail"):
            return usual
        along = frame_references()
        return [*along, *(method for method in usual if method.name not in {one.name for one in along})]

    def figures(self, scene: Any, field: Callable[[np.ndarray], np.ndarray], labels: Any) -> dict[str, Any]:
        """Draw hidden frames of planar recordings beside their neighbours, and curves if a point is a frame."""
        from cst_lightning import array_figures  # drawing is slow to import

        if isinstance(self.opened, Scattered) or len(self.recordings.axes) != 3:
            return {}
        return array_figures.draw(scene, field, self.pictures, self.recordings, labels)

    def animation(self, path: Path, scene: Any, field: Callable[[np.ndarray], np.ndarray], labels: Any) -> bool:
        """Write planar recordings at four times their rate; tell whether that was done."""
        from cst_lightning import array_figures

        if isinstance(self.opened, Scattered) or len(self.recordings.axes) != 3 or scene.frames < 2:
            return False
        planar = array_figures.Planar(self.pictures, self.recordings, scene.method)
        array_figures.animate(path, scene, field, planar, self.tokens.axes)
        return True

    def _cuts(self, source: Scattered) -> list[Cut]:
        """Cut what was opened, once."""
        if self._parts is None:
            self._parts = self._cut_points(source)
        return self._parts

    def _can_be_used(self, one: Cut, index: int) -> bool:
        """Return whether a scattered sample has, for all that is NaN in it, enough points of its split."""
        if not one.trajectory.values.isnan().any():
            return True
        shown = self.observation.positions(one.trajectory, index)
        real = int((~one.trajectory.values.isnan().any(-1)).sum())
        if one.split == "train":
            return len(np.unique(self.observation.groups(one.trajectory, shown))) >= self._needed
        return 0 < len(shown) < real

    def _cut_points(self, source: Scattered) -> list[Cut]:
        """Cut scattered samples; whole ones are members of the splits that whole recordings would be in."""
        if self.divide == "samples":
            return [Cut(whole(source, sample), name) for name, sample, _, _ in self._spans()]
        return cut(source, self.parts, self.window, self.stride, self._place_of())


@dataclass
class Simulated:
    """Reads the embedded simulation, running it the first time.

    Attributes:
        cache_dir: where it is kept.
        seed: of the simulation.
    """

    cache_dir: str | os.PathLike[str]
    seed: int = 0

    def __call__(self, sample: int, start: int, stop: int) -> np.ndarray:
        """Read frames [start, stop)."""
        if not hasattr(self, "_source"):
            self._source: Gridded = read_arrays(self.file())  # type: ignore[assignment]
        return self._source.read(sample, start, stop)

    def file(self) -> Path:
        """Return the file in the documented layout, building it first if need be."""
        medium = Oscillators()
        shape = (medium.frames, medium.points, medium.points, 2)

        def build(file: h5py.File) -> None:
            values = file.create_dataset("values", shape, "f4", chunks=(8, *shape[1:]))
            with progress_bar("Simulating") as progress:
                for frame, record in enumerate(medium.records(self.seed)):
                    values[frame] = record
                    progress(frame + 1, medium.frames)
            values.attrs["layout"], values.attrs["periodic"] = "txyc", ["x", "y"]
            for axis in _medium_axes(medium):
                file[axis.name] = axis.values

        settings = {"what": "oscillators", "seed": self.seed, **vars(medium)}
        return cached(self.cache_dir, "oscillators", settings, {"values": shape, "time": shape[:1]}, build)


def simulated(cache_dir: str | os.PathLike[str] = "cache") -> Gridded:
    """Return the embedded recording; it is simulated when the first frames are read.

    Args:
        cache_dir: where it is kept.
    """
    return Gridded(
        None, "simulated oscillating medium", 1, _medium_axes(Oscillators()), ("real part", "imaginary part"),
        Simulated(cache_dir), periodic=(False, True, True),
    )  # fmt: skip


def _medium_axes(medium: Oscillators) -> tuple[Axis, ...]:
    space = np.arange(medium.points) * (medium.length / medium.points)
    return Axis("time", np.arange(medium.frames) * medium.interval), Axis("x", space), Axis("y", space)


def _opened(path: Any, cache_dir: Any, reader: Mapping[str, Any] | None, said: Mapping[str, Any]) -> Source:
    """Open the data with the options that were given."""
    if path is None:
        return simulated(cache_dir)
    if isinstance(path, (Gridded, Scattered)):
        return path
    options = {"channels" if name == "select" else name: value for name, value in said.items()} | dict(reader or {})
    if "cache_dir" in options_of(recognise(path)):
        options.setdefault("cache_dir", cache_dir)
    return open_source(path, **options)


def _filled(path: Any, opened: Source, said: Mapping[str, Any]) -> list[int] | None:
    """Return the channels that have values where others have none; None if there is nothing to choose."""
    if isinstance(path, (Gridded, Scattered)) or path is None or said.get("select") is not None:
        return None
    if "channels" not in options_of(recognise(path)):
        return None
    empty = empty_channels(opened)
    kept = [i for i in range(len(opened.channels)) if i not in empty]
    return kept if empty and kept else None


def _measured(source: Scattered, noise: float, seed: int) -> Scattered:
    """Return scattered points with measurement noise."""
    errors = [generator(seed, Stream.NOISE, i).standard_normal(one.shape) for i, one in enumerate(source.values)]
    values = [(one + noise * error).astype(np.float32) for one, error in zip(source.values, errors, strict=True)]
    return replace(source, values=values)


def _box(source: Scattered) -> Gridded:
    """Return the corners around scattered points, from which `WindowedDataModule` takes dimension and channels."""
    low = np.min([coords.min(0) for coords in source.coords], axis=0)
    high = np.max([coords.max(0) for coords in source.coords], axis=0)
    axes = tuple(
        Axis(name, np.array([a, b]) if b > a else np.array([a]))
        for name, a, b in zip(source.axes, low, high, strict=True)
    )
    return Gridded(source.path, source.layout, len(source.coords), axes, source.channels, _unread, notes=source.notes)


def _unread(sample: int, start: int, stop: int) -> np.ndarray:
    raise NotImplementedError("scattered points have no frames")


def _reduced(path: Any, opened: Source) -> int | None:
    """Return the rows that large pictures of a video or a folder should have; None for anything else."""
    if not isinstance(path, (str, os.PathLike)) or not isinstance(opened, Gridded):
        return None
    large = len(opened.axes) == 3 and opened.shape[2] * opened.shape[3] > _MANY
    return _ROWS if large and recognise(path) in ("video", "images", "kitti") else None
