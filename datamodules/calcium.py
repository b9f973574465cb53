"""Calcium imaging: traces of cells and movies of cortex, from a file or simulated."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from inspect import signature
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import torch
from torchmetrics import Metric

from cst_lightning.baselines.interpolation import Interpolator, Linear, Nearest, RadialBasis, Spline, references
from cst_lightning.baselines.smoothing import GaussianProcess, SmoothingSpline
from cst_lightning.datamodules import dff as baselines
from cst_lightning.datamodules import tokens as tokens_of
from cst_lightning.datamodules.cache import cached
from cst_lightning.datamodules.cutting import Window
from cst_lightning.datamodules.readers.caiman import read_caiman
from cst_lightning.datamodules.readers.checked import checked
from cst_lightning.datamodules.readers.nwb import read_nwb
from cst_lightning.datamodules.readers.opening import recognise
from cst_lightning.datamodules.readers.slices import Layout
from cst_lightning.datamodules.readers.source import Axis, Gridded, Reader
from cst_lightning.datamodules.readers.suite2p import Cells, read_suite2p
from cst_lightning.datamodules.readers.tiff import read_mask, read_tiff
from cst_lightning.datamodules.readers.traces import read_traces
from cst_lightning.datamodules.readers.wrapped import Binned, as_places, binned, measured, wrapped
from cst_lightning.datamodules.recording_draws import RecordingDraw
from cst_lightning.datamodules.solvers.calcium import TwoPhoton, Widefield
from cst_lightning.datamodules.trajectories import Trajectory
from cst_lightning.datamodules.windows import WindowedDataModule
from cst_lightning.errors import DataError
from cst_lightning.rois import Alone, RoiR2

Dff = Literal["auto", "percentile", "window", "mean", "none"]

# Readers by what `readers.opening` calls a file; anything else is an array of one's own.
_READERS: dict[str, Callable[..., Gridded]] = {
    "suite2p": read_suite2p, "tiff": read_tiff, "nwb": read_nwb, "caiman": read_caiman,
}  # fmt: skip

# Pixels darker than this part of the median have no dF/F.
_FLOOR = 0.1


class CalciumDataModule(WindowedDataModule):
    """Windows of a calcium recording: traces of ROI, or a movie.

    Traces are tokens as `frames` (all ROI at one time are the channels of one point) or `points` (every ROI at every
    time is a point of its own: the number of the ROI is the second coordinate). Movies are `components` (principal
    components of frames; scores are of the frames they stand for), `frames`, `patches` or `points`.

    A NaN is a gap. What is simulated has a clean truth: noise is observed, the truth is scored.

    Args:
        path: a suite2p folder; an `.nwb`, `.tif`, CaImAn `.hdf5`, `.npz`, `.npy`, `.mat` or `.h5` file; simulated if
            None.
        simulated: what to simulate without a path: `traces` of two-photon imaging, or a widefield `movie`.
        rate: frames a second, where the file does not say or is wrong: it counts before times in the file.
        signal: which of several in the file, see the reader; not of TIFF.
        rois: suite2p, CaImAn, NWB: `cells`, `all`, or for suite2p the least probability of being a cell.
        neuropil: suite2p: factor r of ``F - r Fneu``; None for F as it is.
        allow_pickle: suite2p: take the rate from `ops.npy`; a pickle can run any program.
        layout: where time is, if the file does not tell; not of TIFF, which has `axes`.
        dff: baseline of dF/F, see `cst_lightning.datamodules.dff`; `auto`: `percentile` for fluorescence, `none` for
            what is dF/F, spikes, CaImAn's traces, which have no background, or an array of unknown kind.
            Pixels whose baseline is below a tenth of the median one have none, and are left out.
        percentile: of the baseline.
        baseline_window: of `window`, s, or frames where the rate is unknown.
        mask: movies: a picture whose pixels are not 0 where they count.
        binning: movies: average squares of so many pixels a side.
        interleaved: TIFF: so many channels take turns, page by page.
        channel: TIFF: which of the channels.
        planes: TIFF: so many pages are one volume.
        axes: TIFF: what the axes are, if the file does not say.
        tokens: see above; `frames` for traces and `components` for movies if None.
        cache_dir: where what is simulated is kept.
        simulation_seed: of the simulation.
        **kwargs: see `WindowedDataModule` and `FieldDataModule`.

    Attributes:
        movie: whether frames are pictures.
        kind: of the tokens.
        inside: (pixels,) bool, which pixels of a frame, flattened after binning, lie in the mask; None without one.

    Example:
        >>> data = CalciumDataModule(window=64, observed=0.5, scheme="frames")
        >>> data.dimension, data.channels
        (1, 24)
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        simulated: Literal["traces", "movie"] = "traces",
        rate: float | None = None,
        signal: str | None = None,
        rois: Cells = "cells",
        neuropil: float | None = 0.7,
        allow_pickle: bool = False,
        layout: Layout = "auto",
        dff: Dff = "auto",
        percentile: float = 10.0,
        baseline_window: float = 60.0,
        mask: str | os.PathLike[str] | None = None,
        binning: int = 1,
        interleaved: int = 1,
        channel: int = 0,
        planes: int = 1,
        axes: str | None = None,
        tokens: tokens_of.Kind | None = None,
        cache_dir: str | os.PathLike[str] = "cache",
        simulation_seed: int = 0,
        **kwargs: Any,
    ) -> None:
        self.path, self.simulated, self.rate, self.signal, self.rois = path, simulated, rate, signal, rois
        self.neuropil, self.allow_pickle, self.layout = neuropil, allow_pickle, layout
        self.dff, self.percentile, self.baseline_window = dff, percentile, baseline_window
        self.mask, self.binning, self.pages = mask, binning, (interleaved, channel, planes, axes)
        self.cache_dir, self.simulation_seed = cache_dir, simulation_seed
        opened = self._simulation() if path is None else checked(path, lambda: self._read(Path(path)))
        assert isinstance(opened, Gridded)  # none of its readers gives anything else
        self._raw = opened
        self.movie = len(self._raw.axes) > 1
        if not self.movie and (mask is not None or binning != 1):
            raise ValueError(f"{path or 'data'}: mask and binning are for movies, expected none with traces")
        self.kind: tokens_of.Kind = tokens or ("components" if self.movie else "frames")
        self.inside: np.ndarray | None = None
        self._relative_read: baselines.DeltaF | None = None
        super().__init__(tokens=self.kind, **kwargs)

    def prepare_data(self) -> None:
        """Simulate, unless that was done before or there is a file."""
        if isinstance(self._raw.read, Simulated):
            self._raw.read.prepare()

    def source(self) -> Gridded:
        """Return the recording as it is learnt from: masked, binned, as dF/F."""
        found = self._raw
        # a patch or a frame with a gap in one pixel would be a gap altogether: what does not count is 0 there, and
        # left out where frames are put together; of components it is left out before
        fill = np.nan if self.kind in ("points", "components") else 0.0
        if self.movie:
            mask = None if self.mask is None else read_mask(self.mask, found.shape[2:-1])
            if mask is not None or self.binning != 1:
                found = binned(found, self.binning, mask, fill)
                if isinstance(found.read, Binned) and mask is not None:
                    self.inside = ~found.read.outside().ravel()
        found = self._relative(found, fill)
        return as_places(found) if self.kind == "points" and not self.movie else found

    def pictures(self, values: np.ndarray) -> np.ndarray:
        """Return frames (T, *space, c), NaN in pixels that do not count: outside the mask, and without dF/F."""
        frames, kept = super().pictures(values), self._kept()
        return frames if kept.all() else np.where(kept.reshape(frames.shape[1:]), frames, np.nan)

    def scores(self) -> dict[str, Metric]:
        """Return R2 region by region: the median over ROI, or over pixels."""
        places = int(np.prod(self.tokens.places, dtype=int))
        return {"roi_r2": RoiR2(self.scored(torch.zeros(places, self.channels)).numel())}

    def references(self) -> list[Interpolator]:
        """Return interpolation and smoothing along time; for scattered pixels also those of space and time."""
        smoothers: list[Interpolator] = [SmoothingSpline(), GaussianProcess()]
        if self.dimension == 1:
            return [*references(1), GaussianProcess()]
        if self.movie:
            return [*references(self.dimension), *(Alone(method) for method in smoothers)]
        alone: list[Interpolator] = [Linear(), Nearest(), Spline("pchip"), Spline("cubic"), *smoothers]
        return [*(Alone(method) for method in alone), RadialBasis()]

    def figures(self, scene: Any, field: Callable[[np.ndarray], np.ndarray], labels: Any) -> dict[str, Any]:
        """Return traces of a few ROI or pictures of the movie, and what each time attends to."""
        from cst_lightning import trace_figures  # drawing is slow to import

        return trace_figures.figures(self, scene, field)

    def animation(self, path: Path, scene: Any, field: Callable[[np.ndarray], np.ndarray], labels: Any) -> bool:
        """Write the movie at four times its rate; traces have no animation."""
        from cst_lightning import trace_figures

        if self.movie and len(self.recordings.axes) == 3:
            trace_figures.animate(self, path, scene, field)
        return True

    def _scored_cells(self) -> np.ndarray | None:
        """Return which pixels are scored; None if tokens are, as they are."""
        found, kept = super()._scored_cells(), self._kept()
        return found if kept.all() else kept if found is None else found & kept

    def _kept(self) -> np.ndarray:
        """Return which pixels of a frame, flattened, lie in the mask and have dF/F, where the others are 0."""
        kept = np.ones(int(np.prod(self.recordings.shape[2:], dtype=int)), dtype=bool)
        if self.kind not in ("frames", "patches") or not self.movie:
            return kept  # of what else there is they are NaN
        if self.inside is not None:
            kept &= self.inside
        return kept if self._relative_read is None else kept & self._relative_read.bright(0).ravel()

    def _read(self, path: Path) -> Gridded:
        """Open a file by what it is, with the options that its reader has; another one that is set is refused."""
        kind = "suite2p" if path.is_dir() else recognise(path)
        if kind != "suite2p" and self.rois not in ("cells", "all"):
            raise ValueError(f"{path}: rois is {self.rois}, expected cells or all: only suite2p has probabilities")
        read = _READERS.get(kind, read_traces)
        interleaved, channel, planes, axes = self.pages
        options = {
            "rate": self.rate, "signal": self.signal, "rois": self.rois, "neuropil": self.neuropil,
            "allow_pickle": self.allow_pickle, "layout": self.layout, "interleaved": interleaved, "channel": channel,
            "planes": planes, "axes": axes,
        }  # fmt: skip
        usual = signature(CalciumDataModule).parameters
        given = {name: value for name, value in options.items() if value != usual[name].default}
        known = [name for name in options if name in signature(read).parameters]
        for name, value in given.items():
            if name not in known and value is not None:  # without neuropil is what all but suite2p are
                wanted = f"an option of {kind if kind in _READERS else 'arrays'} ({', '.join(known)})"
                raise DataError(path, name, wanted, f"{value}, which would do nothing")
        return read(path, **{name: value for name, value in given.items() if name in known})

    def _relative(self, source: Gridded, fill: float) -> Gridded:
        """Return dF/F of a recording of fluorescence."""
        kind = self._baseline(source)
        if kind == "none":
            return source
        times = source.axes[0].values
        tick = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
        window = max(1, round(self.baseline_window / tick))

        def wrap(read: Reader) -> Reader:
            place = source.path or "data"
            traces = not self.movie
            options = (self.percentile, window, fill, 0.0 if traces else _FLOOR, traces, place, self._known)
            made = baselines.DeltaF(read, len(times), kind, *options)
            self._relative_read = self._relative_read or made  # of a simulation the measurements come first
            return made

        note = f"dF/F with F0 by {kind}" + (f", percentile {self.percentile:g}" if kind != "mean" else "")
        return wrapped(source, wrap, unit="dF/F", notes=(*source.notes, note))

    def _known(self) -> baselines.Known:
        """Return what the baseline may be taken from.

        Within a recording that is what training sees of it. Else it is the training part, all of it, because nothing
        of that is ever scored; and for a baseline that follows time also what is observed of the other parts.
        """
        frames = np.zeros(self.recordings.shape[:2], dtype=bool)
        if self.divide == "within":
            draw, length = self._draw(), frames.shape[1]
            if self.observation.scheme == "points" and self.tokens.axes:
                return baselines.Known(tuple(~frames), Shown(draw, self.tokens, not self.movie))
            return baselines.Known((draw.observed(0, 0, length, 1, inner=True)[:, 0],))
        for name, recording, start, stop in self._spans():
            frames[recording, start:stop] |= name == "train"
        # of points in space it is drawn among those that have dF/F, which is not known before there is a baseline
        if self.dff == "window" and (not self.tokens.axes or self.observation.scheme not in ("points", "region")):
            for i, window in enumerate(self._plan()):
                if window.split != "train":
                    frames[window.recording, window.start : window.stop] |= self._shown_of(i, window)
        return baselines.Known(tuple(frames))

    def _shown_of(self, index: int, window: Window) -> np.ndarray:
        """Return which frames of a window are observed, (T,) bool, by the draw of its own, from fluorescence alone."""
        assert self._relative_read is not None
        raw = self._relative_read.read(window.recording, window.start, window.stop).reshape(window.length, -1)
        seen = np.isfinite(raw)
        whole = seen[:, seen.any(0)].all(1)  # pixels that are never measured make no gap
        values = torch.from_numpy(np.where(whole, 0.0, np.nan))[:, None]
        time = torch.arange(window.length, dtype=torch.float64)[:, None]
        shown = np.zeros(window.length, dtype=bool)
        shown[self.observation.positions(Trajectory(time, values, window.length), index)] = True
        return shown

    def _baseline(self, source: Gridded) -> baselines.Kind:
        if self.dff != "auto":
            return self.dff
        # CaImAn's traces have no background left to be a baseline: they are around 0 where a cell is silent
        fluorescence = source.layout in ("suite2p", "NWB 2", "Allen NWB 1") or "TIFF" in source.layout
        done = source.unit == "dF/F" or self.signal in ("spks", "S")
        return "percentile" if fluorescence and not done else "none"

    def _simulation(self) -> Gridded:
        solver: TwoPhoton | Widefield
        if self.simulated == "movie":
            solver = Widefield(seed=self.simulation_seed)
            names = (("time", "s"), ("y", "mm"), ("x", "mm"))
            axes = tuple(Axis(n, v, u) for (n, u), v in zip(names, solver.axes, strict=True))
            channels: tuple[str, ...] = ("dF/F (%)",)
        else:
            solver = TwoPhoton(seed=self.simulation_seed)
            axes = (Axis("time", np.arange(solver.frames) / solver.rate, "s"),)
            channels = tuple(f"ROI {i}" for i in range(solver.rois))
        reader = Simulated(solver, Path(self.cache_dir), "values")
        facts = Gridded(None, f"simulated {self.simulated}", 1, axes, channels, reader, "dF/F")
        return measured(facts, replace(reader, key="truth"))


@dataclass(frozen=True)
class Shown:
    """What training sees of a recording that is observed point by point; a `Reader` of bool.

    Attributes:
        draw: of the points.
        tokens: which numbers of a frame are a point.
        traces: frames are (t, ROI), and not (t, *space, c).
    """

    draw: RecordingDraw
    tokens: tokens_of.Tokens
    traces: bool

    def __call__(self, sample: int, start: int, stop: int) -> np.ndarray:
        """Return which numbers of frames (t, *space, c) are seen; of patches that overlap one is enough."""
        places = self.tokens.places
        seen = self.draw.observed(sample, start, stop, int(np.prod(places, dtype=int)), inner=True)
        values = np.repeat(seen.reshape(-1, *places, 1), self.tokens.channels, -1).astype(np.float32)
        cells: np.ndarray = self.tokens.decode(values) > 0
        return cells[..., 0] if self.traces else cells


@dataclass
class Simulated:
    """Frames of a simulated recording, kept in the cache; a `Reader`.

    Attributes:
        solver: what is simulated; its settings are the key of the cache.
        folder: the cache.
        key: `values`, with noise, or `truth`.
    """

    solver: TwoPhoton | Widefield
    folder: Path
    key: str
    _file: Any = field(default=None, repr=False, compare=False)
    _process: int = field(default=-1, repr=False, compare=False)

    def __call__(self, sample: int, start: int, stop: int) -> np.ndarray:
        """Return frames (t, *space, c), float32."""
        if self._file is None or self._process != os.getpid():
            self._file, self._process = h5py.File(self.prepare(), "r"), os.getpid()
        return np.asarray(self._file[self.key][sample, start:stop], dtype=np.float32)

    def prepare(self) -> Path:
        """Return the file, simulating first if there is none."""
        movie = isinstance(self.solver, Widefield)

        def build(file: h5py.File) -> None:
            clean, noisy = (x[None, ..., None] if movie else x[None] for x in self.solver.simulate())
            for name, values in (("values", noisy), ("truth", clean)):
                file.create_dataset(name, data=values, chunks=(1, min(64, values.shape[1]), *values.shape[2:]))

        own = self.solver
        shape = (1, own.frames, own.height, own.width, 1) if isinstance(own, Widefield) else (1, own.frames, own.rois)
        name = "calcium_movie" if movie else "calcium_traces"
        settings = {"what": name, **vars(own)}
        return cached(self.folder, name, settings, {"values": shape, "truth": shape}, build)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_process": -1}
