"""Which configuration suits a file: that of the data module for its kind, sized for the recording at hand.

A microscope's or a camera's file gets the settings of `conf/calcium*.yaml`, `conf/video_frames.yaml` and
`conf/kitti.yaml`, with windows that fit into it and as many epochs as make the same number of steps; all else gets
`ArrayDataModule`, for which `datamodules.suggestions` chooses.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cst_lightning.datamodules.readers.opening import open_source, options_of, recognise
from cst_lightning.datamodules.readers.source import Gridded, Source
from cst_lightning.inspection import Description

# Kinds of files, as `readers.opening.recognise` names them, and endings under which the data module knows them.
_CALCIUM: Mapping[str, tuple[str, ...]] = {
    "suite2p": ("",), "nwb": (".nwb",), "caiman": (".h5", ".hdf5"), "tiff": (".tif", ".tiff"),
}  # fmt: skip
_FILMS = {"video": "VideoDataModule", "images": "VideoDataModule", "kitti": "KITTIDataModule"}
# Options of readers that `ArrayDataModule` has under the same name; the others go into its `reader`.
_KNOWN = ("key", "axes", "layout", "rate", "time_unit", "periodic", "select", "cache_dir")
# Rows to which pictures that have more are reduced: of films as points, of films as patches; pixels of a binned movie.
_ROWS, _HEIGHT, _PIXELS = 48, 36, 64
# Steps of training with the settings in conf/.
_STEPS = {"traces": 450, "movie": 240, "film": 2300}
# A window of fewer frames has too little to show and to ask for.
_LEAST = 8


def hindrance(found: Description) -> str:
    """Return why no setting can help, in words; empty if nothing is in the way."""
    source = found.source
    if isinstance(source, Gridded):
        several = source.shape[1] > 1
    else:
        several = any(len(np.unique(coords[:, 0])) > 1 for coords in source.coords)
    if not several:
        return "one time only, so that nothing can be learnt along it"
    return "no value that is not NaN" if found.read == found.total and found.moments.empty.all() else ""


def recommend(path: Path, found: Description, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings for `cst-fit` that read a file as it has just been read; channels without values are left out.

    Args:
        path: the file.
        found: what is in it.
        given: options of the reader that were used.

    Raises:
        DataError: with the options, the file cannot be read as the suggestion needs it.
    """
    kind, suffix, source = recognise(path), path.suffix.lower(), found.source
    empty = found.moments.empty
    if found.read == found.total and empty.any() and "channels" in options_of(kind) and "channels" not in given:
        kept = [i for i, without in enumerate(empty) if not without]
        given = {**given, "channels": kept}
        source = open_source(path, **given)
    if isinstance(source, Gridded) and source.shape[1] >= _LEAST and source.samples == 1:
        name, made = "", None
        if kind in _CALCIUM and ("" in _CALCIUM[kind] or suffix in _CALCIUM[kind]):
            name, made = "CalciumDataModule", _calcium
        elif kind in _FILMS and min(source.shape[2:4]) >= _LEAST:
            name, made = _FILMS[kind], _film
        if made is not None and set(given) <= _arguments(name):
            return _filled(name, made(source), {"path": str(path), **given})
    return _of_arrays(path, source, dict(given))


def _arguments(name: str) -> set[str]:
    """Return what the constructor of a data module takes, those of its parents included."""
    from cst_lightning import datamodules

    found: set[str] = set()
    for kind in getattr(datamodules, name).__mro__:
        found |= set(inspect.signature(kind.__init__).parameters)
    return found


def _filled(name: str, made: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    path = {"path": given["path"]}
    arguments = {**path, **made.pop("data"), **given}
    return {"data": {"class_path": name, "init_args": arguments}, **made}


def _calcium(source: Gridded) -> dict[str, Any]:
    """Return the settings of conf/calcium.yaml, or for movies of conf/calcium_movie.yaml, for a recording's length."""
    movie, frames = len(source.axes) > 1, source.shape[1]
    data = _windows(frames, 32 if movie else 64, 8 if movie else 16)
    many = _count(frames, data)
    model: dict[str, Any] = {"width": 64, "heads": 4, "initialiser": "linear", "mu": 0.0}
    context = [0.5, 0.95]
    if movie:
        side, context = max(source.shape[-3:-1]), [0.7, 0.95]
        if side > _PIXELS:
            data["binning"] = math.ceil(side / _PIXELS)
        pixels = math.prod(source.shape[2:-1])
        data |= {"components": max(1, min(16, pixels, frames // 5)), "spread": "joint"}
        model |= {"depth": 2, "dropout": 0.2, "ema": 0.98}
    batch = min(32, many)
    data |= {"observed": 0.5, "scheme": "frames", "keep_ends": True, "target": "masked", "context": context}
    data |= {"dummies": 5, "batch_size": batch}
    trainer = _epochs(_STEPS["movie" if movie else "traces"], math.ceil(many / batch))
    return {"data": data, "model": model, "trainer": trainer, "figures": {"every_n_epochs": 0}}


def _film(source: Gridded) -> dict[str, Any]:
    """Return the settings of conf/video_frames.yaml for a film's length and size."""
    frames = source.shape[1]
    stride = max(1, frames // 1000)
    many = (frames - 9) // stride + 1 if frames > 9 else 1
    data: dict[str, Any] = {"height": _HEIGHT} if source.shape[2] > _HEIGHT else {"height": source.shape[2]}
    data |= {"observed": 0.5, "window": min(9, frames), "stride": stride, "tokens": "points"}
    data |= {"target": "masked", "context": [0.75, 0.95], "context_ends": True, "dummies": 0, "spread": "joint"}
    # of few windows, those without enough observed frames to learn from fall out
    data |= {"batch_size": 6 if many > 20 else 1, "eval_batch_size": 2, "drop_last": many > 20}
    data |= {"train": 1.0, "val": 1.0, "test": 1.0}
    model = {"width": 64, "depth": 2, "heads": 4, "expansion": 2, "frequencies": 3, "kernel_frequencies": 6,
             "reach": 3, "answer_reach": 1, "columns": 160, "initialiser": "place_linear", "order": 0, "mu": 0.0,
             "lr": 6e-3}  # fmt: skip
    trainer = _epochs(_STEPS["film"], math.ceil(many / data["batch_size"]))
    figures = {"every_n_epochs": 0, "coords": [axis.label for axis in source.axes], "values": list(source.channels)}
    return {"data": data, "model": model, "trainer": trainer, "figures": figures}


def _windows(frames: int, window: int, stride: int) -> dict[str, Any]:
    """Return how a recording is cut; one that is too short to keep its last tenths apart is restored within."""
    if frames // 10 >= window:
        return {"window": window, "stride": stride}
    return {"window": min(window, frames), "stride": max(1, min(stride, frames // 8)), "divide": "within"}


def _count(frames: int, data: Mapping[str, Any]) -> int:
    """Return about how many training windows there are."""
    stretch = frames if data.get("divide") == "within" else int(0.8 * frames)
    return int(max(1, (stretch - data["window"]) // data["stride"] + 1))


def _epochs(steps: int, batches: int) -> dict[str, int]:
    epochs = max(1, round(steps / batches))
    return {"max_epochs": epochs, "check_val_every_n_epoch": max(1, epochs // 10)}


def _of_arrays(path: Path, source: Source, given: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration for `ArrayDataModule`."""
    from cst_lightning.datamodules.suggestions import config

    reducible = "height" in options_of(recognise(path)) and "height" not in given
    if reducible and isinstance(source, Gridded) and source.shape[2] > _ROWS:
        given["height"] = _ROWS  # pictures as they come from the camera would take hours
        source = open_source(path, **given)
    made = config(source, str(path))
    settings = made["data"]["init_args"]
    if "channels" in given:
        given["select"] = given.pop("channels")
    rest = {key: given.pop(key) for key in list(given) if key not in _KNOWN}
    settings |= given | ({"reader": rest} if rest else {})
    return made
