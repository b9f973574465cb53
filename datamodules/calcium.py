"""Calcium imaging: traces of cells and movies of cortex, from a file or simulated."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
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
from cst_lightning.datamodules.base import Split
from cst_lightning.datamodules.cache import cached
from cst_lightning.datamodules.readers.caiman import read_caiman
from cst_lightning.datamodules.readers.checked import checked
from cst_lightning.datamodules.readers.nwb import read_nwb
from cst_lightning.datamodules.readers.slices import Layout
from cst_lightning.datamodules.readers.source import Axis, Gridded, Reader
from cst_lightning.datamodules.readers.suite2p import Cells, read_suite2p
from cst_lightning.datamodules.readers.tiff import read_mask, read_tiff
from cst_lightning.datamodules.readers.traces import read_traces
from cst_lightning.datamodules.readers.wrapped import Binned, as_places, binned, measured, wrapped
from cst_lightning.datamodules.solvers.calcium import TwoPhoton, Widefield
from cst_lightning.datamodules.windows import WindowedDataModule
from cst_lightning.rois import Alone, RoiR2

Dff = Literal["auto", "percentile", "window", "mean", "none"]

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
        rate: frames a second, where the file does not say or is wrong.
        signal: which of several in the file, see the reader.
        rois: `cells`, `all`, or for suite2p the least probability of being a cell.
        neuropil: suite2p: factor r of ``F - r Fneu``; None for F as it is.
        allow_pickle: suite2p: take the rate from `ops.npy`; a pickle can run any program.
        layout: where time is, if the file does not tell.
        dff: baseline of dF/F, see `cst_lightning.datamodules.dff`; `auto`: `percentile` for fluorescence, `none` for
            what is dF/F, spikes or an array of unknown kind.
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
        super().__init__(tokens=self.kind, **kwargs)

    def prepare_data(self) -> None:
        """Simulate, unless that was done before or there is a file."""
        if isinstance(self._raw.read, Simulated):
            self._raw.read.prepare()

    def source(self) -> Gridded:
        """Return the recording as it is learnt from: masked, binned, as dF/F."""
        found = self._raw
        # a patch or a frame with a gap in one pixel would be a gap altogether: what is masked out is 0 there
        fill = np.nan if self.kind == "points" else 0.0
        if self.movie:
            mask = None if self.mask is None else read_mask(self.mask, found.shape[2:-1])
            if mask is not None or self.binning != 1:
                found = binned(found, self.binning, mask, fill)
                if isinstance(found.read, Binned) and mask is not None:
                    self.inside = ~found.read.outside().ravel()
        found = self._relative(found, fill)
        return as_places(found) if self.kind == "points" and not self.movie else found

    def scored(self, values: torch.Tensor) -> torch.Tensor:
        """Return what predictions (..., c) stand for: the pixels of frames, or values as they are."""
        if not self._decoded:
            return values
        flat = values.reshape(-1, self.channels).double().numpy()
        frames = torch.from_numpy(self._flat(self.tokens.decode(flat)))
        return frames.reshape(*values.shape[:-1], frames.shape[-1])

    def scored_truth(self, split: Split, i: int) -> torch.Tensor:
        """Return the real frames of a sample, pixel by pixel: what no component reaches counts as an error of all."""
        truth = self.truth(split, i)
        if not self._decoded:
            return truth.values
        windows: Any = self._split(split).source
        window = windows.windows[int(self._split(split).members[i])]
        read: Reader = getattr(self.recordings, "truth_read", None) or self.recordings.read
        frames = self._flat(read(window.recording, window.start, window.start + window.length))
        frames[truth.values.isnan().any(-1).numpy()] = np.nan
        return torch.from_numpy(frames)

    def scores(self) -> dict[str, Metric]:
        """Return R2 region by region: the median over ROI, or over pixels."""
        channels = self.scored(torch.zeros(1, self.channels)).shape[-1]
        return {"roi_r2": RoiR2(channels * int(np.prod(self.tokens.places, dtype=int)))}

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

    @property
    def _decoded(self) -> bool:
        """Whether scores are of frames rather than of tokens."""
        return self.kind == "components" or (self.kind == "frames" and self.inside is not None)

    def _flat(self, frames: np.ndarray) -> np.ndarray:
        """Return frames (T, *space, c) as (T, pixels inside the mask that were ever measured)."""
        flat = frames.reshape(len(frames), -1).astype(np.float64)
        kept = np.ones(flat.shape[1], dtype=bool) if self.inside is None else self.inside
        if isinstance(self.tokens, tokens_of.Components):
            kept = kept & self.tokens.measured
        return flat if kept.all() else flat[:, kept]

    def _read(self, path: Path) -> Gridded:
        """Open a file by what it is."""
        common: dict[str, Any] = {"signal": self.signal, "layout": self.layout}
        if path.is_dir():
            chosen: Any = self.signal or "F"
            return read_suite2p(path, self.rate, self.neuropil, self.allow_pickle, signal=chosen, rois=self.rois)
        plain: Any = self.rois
        if plain not in ("cells", "all"):
            raise ValueError(f"{path}: rois is {plain}, expected cells or all: only suite2p has probabilities")
        if path.suffix.lower() in (".tif", ".tiff"):
            interleaved, channel, planes, axes = self.pages
            return read_tiff(path, self.rate, interleaved, channel, planes=planes, axes=axes)
        if path.suffix == ".nwb":
            return read_nwb(path, self.rate, rois=plain, **common)
        if path.suffix in (".hdf5", ".h5") and _is_caiman(path):
            return read_caiman(path, self.rate, rois=plain, **common)
        return read_traces(path, self.rate, **common)

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
            options = (self.percentile, window, fill, 0.0 if traces else _FLOOR, traces, place)
            return baselines.DeltaF(read, len(times), kind, *options)

        note = f"dF/F with F0 by {kind}" + (f", percentile {self.percentile:g}" if kind != "mean" else "")
        return wrapped(source, wrap, unit="dF/F", notes=(*source.notes, note))

    def _baseline(self, source: Gridded) -> baselines.Kind:
        if self.dff != "auto":
            return self.dff
        fluorescence = source.layout in ("suite2p", "CaImAn", "NWB 2", "Allen NWB 1") or "TIFF" in source.layout
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


def _is_caiman(path: Path) -> bool:
    try:
        with h5py.File(path, "r") as file:
            return isinstance(file.get("estimates"), h5py.Group)
    except OSError:  # the reader says in one line what is wrong
        return False
