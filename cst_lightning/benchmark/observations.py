"""The observations of a comparison: stored once, and checked against whatever a method is given."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cst_lightning.datamodules.samples import SampleDataset
from cst_lightning.errors import DataError
from cst_lightning.points import Batch

if TYPE_CHECKING:
    from cst_lightning.datamodules.base import FieldDataModule

SPLITS = ("train", "val", "test")
_PARTS = ("samples", "counts", "positions")
# What changes neither samples nor what is observed of them, or differs from one machine to the next.
_INDIFFERENT = ("cache_dir", "num_workers", "pin_memory", "persistent_workers")


class Observations(NamedTuple):
    """What is observed of every sample of one data set, drawn with one seed.

    Attributes:
        samples: by split, (S,) position of each sample in the data set.
        counts: by split, (S,) number of its observed points.
        positions: by split, (sum of counts,) which points of the sample's trajectory, sample after sample.
        digest: of what the test split shows: coordinates and values, noise included; see `ContextDigest`.
        truth: hash of what the test split asks for and of the mean and spread of the training values; empty where it is
            not known.
    """

    samples: Mapping[str, np.ndarray]
    counts: Mapping[str, np.ndarray]
    positions: Mapping[str, np.ndarray]
    digest: str
    truth: str = ""


class ContextDigest:
    """A hash over the contexts of all test samples that does not depend on padding or batch size."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def update(self, batch: Batch) -> None:
        """Add the samples of a batch in physical units, in order."""
        for b, real in enumerate(batch.context.mask):
            self._hash.update(np.int64(batch.index[b]).tobytes())
            for part in (batch.context.coords, batch.context.values):
                self._hash.update(np.ascontiguousarray(part[b][real].numpy()).tobytes())

    def hexdigest(self) -> str:
        """Return the hash so far."""
        return self._hash.hexdigest()


def observe(datamodule: FieldDataModule) -> Observations:
    """Find out what a datamodule, set up, shows of each sample."""
    found = {split: _positions(datamodule.whole_dataloader(split).dataset) for split in SPLITS}  # type: ignore[arg-type]
    digest, truth = ContextDigest(), hashlib.sha256()
    for batch in datamodule.whole_dataloader("test"):
        digest.update(batch)
        truth.update(batch.target.values[batch.target.mask].numpy().tobytes())
    units = datamodule.normalization
    # the last digits are the order of a sum
    truth.update(" ".join(f"{value:.6g}" for value in (*units.mean, *units.spread)).encode())
    samples, counts, positions = ({split: parts[n] for split, parts in found.items()} for n in range(3))
    return Observations(samples, counts, positions, digest.hexdigest(), truth.hexdigest())


def differences(expected: Observations, found: Observations) -> str | None:
    """Say in which split two sets of observations differ first, or return None."""
    for split in SPLITS:
        for name in _PARTS:
            if not np.array_equal(getattr(expected, name)[split], getattr(found, name)[split]):
                return f"other {'samples' if name == 'samples' else 'points observed'} in the {split} split"
    return None if expected.digest == found.digest else "other observed values in the test split"


def other_truth(stored: Observations, found: Observations) -> str | None:
    """Say that cells with the stored observations were scored against, or trained on, other values; or return None."""
    if not stored.truth or stored.truth == found.truth:
        return None
    return "the same points of other training values or another truth"


def group_key(data: Mapping[str, Any], seed: int) -> str:
    """Return the name under which the observations of these settings are stored: a hash of both."""
    text = json.dumps({"data": portable(data), "seed": seed}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def portable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without what belongs to one machine: of a path only the file's name is kept."""
    kept = {key: value for key, value in settings.items() if key not in _INDIFFERENT}
    for key, value in kept.items():
        if isinstance(value, Mapping):
            kept[key] = portable(value)
        elif key == "path" and isinstance(value, str):
            kept[key] = Path(value).name
    return kept


def load(path: Path) -> dict[str, Observations]:
    """Read all stored observations, by `group_key`; none if there is no file yet.

    Raises:
        DataError: the file is damaged.
    """
    if not path.exists():
        return {}
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(path, "file", "the stored observations", f"a damaged file ({type(error).__name__})") from error
    found = {}
    for key in sorted({name.partition("/")[0] for name in arrays}):
        try:
            parts = {part: {s: arrays[f"{key}/{s}/{part}"] for s in SPLITS} for part in _PARTS}
            truth = str(arrays.get(f"{key}/truth", ""))  # results of before it was kept do not have it
            found[key] = Observations(digest=str(arrays[f"{key}/digest"]), truth=truth, **parts)
        except KeyError as error:
            raise DataError(path, str(error.args[0]), "an array of this name", "none") from error
    return found


def store(path: Path, groups: Mapping[str, Observations]) -> None:
    """Write observations in one step."""
    arrays: dict[str, Any] = {}
    for key, group in groups.items():
        arrays[f"{key}/digest"], arrays[f"{key}/truth"] = np.array(group.digest), np.array(group.truth)
        for split in SPLITS:
            for part in _PARTS:
                arrays[f"{key}/{split}/{part}"] = getattr(group, part)[split]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        np.savez_compressed(partial, **arrays)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _positions(data: SampleDataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    chosen = [data.task.observation.positions(data.truth(i), int(index)) for i, index in enumerate(data.members)]
    count = np.array([len(one) for one in chosen], dtype=np.int64)
    flat = np.concatenate([np.empty(0, dtype=np.int64), *chosen]).astype(np.int32)
    return np.asarray(data.members, dtype=np.int64), count, flat
