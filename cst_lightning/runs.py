"""Where a run keeps its files: ``runs/<name>/version_<n>/``, with ``runs/<name>/last`` pointing to the newest."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import TYPE_CHECKING

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

if TYPE_CHECKING:
    from cst_lightning.datamodules.base import FieldDataModule

CHECKPOINTS = "checkpoints"


def reserve(parent: Path) -> Path:
    """Create the next free ``version_<n>`` below ``parent``; two processes never get the same one."""
    parent.mkdir(parents=True, exist_ok=True)
    taken = [int(p.name[8:]) for p in parent.glob("version_*") if p.name[8:].isdecimal()]
    number = max(taken, default=-1) + 1
    while True:
        folder = parent / f"version_{number}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def point_last(run: Path) -> None:
    """Make ``last`` beside ``run`` a symbolic link to it, in one step, so that no reader ever finds it missing."""
    link, fresh = run.parent / "last", run.parent / f".last-{os.getpid()}"
    try:
        fresh.symlink_to(run.name, target_is_directory=True)
        fresh.replace(link)
    except OSError:  # file systems without symbolic links, or a folder of the user's own that is called "last"
        fresh.unlink(missing_ok=True)


def find_checkpoint(place: str | os.PathLike[str], kind: str = "best") -> Path:
    """Find the checkpoint file that a user means.

    Args:
        place: a checkpoint file, or the folder of a run.
        kind: "best" or "last"; the other one is taken if this one is missing.

    Returns:
        Path of an existing file, through no symbolic link.

    Raises:
        FileNotFoundError: there is none; the message says where it looked.
    """
    path = Path(place)
    if path.is_file():
        return path.resolve()
    for name in (kind, "last", "best"):
        candidate = path / CHECKPOINTS / f"{name}.ckpt"
        if candidate.is_file():
            return candidate.resolve()
    looked = f"{path / CHECKPOINTS}/{kind}.ckpt" if path.is_dir() or not path.suffix else str(path)
    raise FileNotFoundError(f"{place}: expected a checkpoint or the folder of a run, found no {looked}")


def run_of(checkpoint: Path) -> Path | None:
    """Return the run a checkpoint belongs to, or None if it does not lie in one."""
    run = checkpoint.resolve().parent.parent
    return run if checkpoint.parent.name == CHECKPOINTS and (run / "config.yaml").is_file() else None


def loggers(run: Path) -> list[Logger]:
    """Return a TensorBoard and a CSV logger that write into one folder."""
    place = (str(run.parent.parent), run.parent.name, run.name)
    return [TensorBoardLogger(*place, default_hp_metric=False), ContinuedCSVLogger(*place)]


def checkpoints(validated: bool = True) -> list[ModelCheckpoint]:
    """Return callbacks that keep ``best.ckpt``, by ``val/mse``, and ``last.ckpt``.

    Two, because one `ModelCheckpoint` writes its last file only when the best one has improved.

    Args:
        validated: whether there is a validation; if not, only the last one is kept.
    """
    last = ModelCheckpoint(filename="last", save_on_train_epoch_end=True, enable_version_counter=False)
    best = ModelCheckpoint(filename="best", monitor="val/mse", mode="min", enable_version_counter=False)
    return [best, last] if validated else [last]


class ContinuedCSVLogger(CSVLogger):
    """A CSV logger that goes on writing the ``metrics.csv`` of a resumed run instead of deleting it."""

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """The writer, created at first use."""
        if not isinstance(self._experiment, _Continued):
            os.makedirs(self.root_dir, exist_ok=True)
            self._experiment = _Continued(self.log_dir)
        return self._experiment


class _Continued(ExperimentWriter):
    """The writer behind `ContinuedCSVLogger`."""

    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        self.metrics_keys = _header(Path(self.metrics_file_path))

    def _check_log_dir_exists(self) -> None:
        """Leave what is there; the parent class would warn and delete it."""


def _header(path: Path) -> list[str]:
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return next(csv.reader(file), [])


def contents(run: Path) -> list[tuple[Path, str]]:
    """List what a finished run holds as (path, description), present things only."""
    known = {
        "config.yaml": "the resolved settings",
        "metrics.json": "test scores",
        "metrics.csv": "learning curves; TensorBoard has them as well",
        CHECKPOINTS: "best.ckpt and last.ckpt",
        "figures": "figures and animation",
    }
    return [(run / name, text) for name, text in known.items() if (run / name).exists()]


def load_data(place: Path) -> FieldDataModule:
    """Build the data module a run was trained with, from its resolved settings.

    Args:
        place: the folder of a run, or a checkpoint in it.

    Raises:
        FileNotFoundError: there are no settings.
    """
    import yaml
    from jsonargparse import ArgumentParser

    from cst_lightning.datamodules.base import FieldDataModule

    run = place if place.is_dir() else (run_of(place) or place.parent)
    path = run / "config.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"{run}: expected the folder of a run, found no config.yaml in it")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(FieldDataModule, "data")
    settings = {"data": yaml.safe_load(path.read_text())["data"]}
    data: FieldDataModule = parser.instantiate(parser.parse_object(settings)).data
    return data
