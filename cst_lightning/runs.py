"""Where a run keeps its files: ``runs/<name>/version_<n>/``, with ``runs/<name>/last`` pointing to the newest."""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from cst_lightning.errors import DataError, DivergenceError
from cst_lightning.usage import explain, one_line

if TYPE_CHECKING:
    from cst_lightning.datamodules.base import FieldDataModule

CHECKPOINTS = "checkpoints"
_NEEDED = ("state_dict", "loops", "optimizer_states", "lr_schedulers")


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


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint that training can go on with, without unpickling anything.

    Raises:
        DataError: the file is something else.
        OSError: it cannot be read.
    """
    path.open("rb").close()  # that it cannot be read is another matter than what is in it
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch has many ways to say so
        kind = (
            "an empty file"
            if path.stat().st_size == 0
            else f"something else, or a part of one ({type(error).__name__})"
        )
        raise DataError(path, "file", "a checkpoint of cst-fit", kind) from error
    missing = [key for key in _NEEDED if not isinstance(found, dict) or key not in found]
    if missing:
        kind = f"no {', '.join(missing)} in it" if isinstance(found, dict) else f"a {type(found).__name__}"
        raise DataError(path, "file", "a checkpoint of cst-fit", kind)
    checkpoint: dict[str, Any] = found
    return checkpoint


def write_text(path: Path, text: str) -> None:
    """Write a file in one step: a reader finds the old one or the new one, never half of one."""
    handle, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        os.chmod(fresh, 0o644)  # temporary files are private, a run may be shared
        os.replace(fresh, path)
    finally:
        Path(fresh).unlink(missing_ok=True)


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
    last = Keep(filename="last", save_on_train_epoch_end=True, enable_version_counter=False)
    best = Keep(filename="best", monitor="val/mse", mode="min", enable_version_counter=False)
    return [best, last] if validated else [last]


class Keep(ModelCheckpoint):
    """A `ModelCheckpoint` that never ends with weights that diverge.

    A step can leave weights that are finite and useless, which shows in the loss of the next one only. So the file
    before the newest is kept until another batch has had a finite loss, and comes back if none has. A validation
    without a score is passed over: what diverges has none, and is told later.
    """

    _unproven: Path | None = None

    def on_train_batch_end(self, trainer: Trainer, *rest: Any) -> None:
        """Let go of the older file: with the newest weights a loss was finite."""
        if self._unproven is not None and trainer.is_global_zero:
            _remove(_older(self._unproven))
        self._unproven = None
        super().on_train_batch_end(trainer, *rest)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Go back to the older file, or to none, if the newest weights have not had a finite loss."""
        if self._unproven is not None and trainer.is_global_zero:
            older = _older(self._unproven)
            if isinstance(exception, DivergenceError):
                _remove(self._unproven)
                if older.exists():
                    older.replace(self._unproven)
            _remove(older)
        self._unproven = None
        super().on_exception(trainer, pl_module, exception)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let go of the older file: there is no step to come."""
        if self._unproven is not None and trainer.is_global_zero:
            _remove(_older(self._unproven))
        self._unproven = None
        super().on_train_end(trainer, pl_module)

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        path = Path(filepath)
        if path.exists() and self._unproven is None and trainer.is_global_zero:
            _remove(_older(path))
            _copy(path, _older(path))  # not moved: whenever the program is killed, there is a whole file
        self._unproven = path
        super()._save_checkpoint(trainer, filepath)

    def _save_topk_checkpoint(self, trainer: Trainer, monitor_candidates: dict[str, torch.Tensor]) -> None:
        if self.monitor is None or self.monitor in monitor_candidates:
            super()._save_topk_checkpoint(trainer, monitor_candidates)


def _older(path: Path) -> Path:
    return path.with_name(f".{path.name}.older")


def _copy(path: Path, to: Path) -> None:
    if path.is_dir():
        shutil.copytree(path, to)
        return
    try:
        os.link(path, to)  # a checkpoint is written elsewhere and renamed, so the old content stays with this name
    except OSError:
        shutil.copy2(path, to)


def _remove(path: Path) -> None:
    """Remove a checkpoint, which is a folder if its parts lie on several devices."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


class Stopwatch(Callback):
    """Measure how long training took, validation included; a resumed run goes on counting.

    Attributes:
        seconds: from the beginning of training to its end, or to now.
    """

    def __init__(self) -> None:
        self._before = 0.0
        self._began: float | None = None

    @property
    def seconds(self) -> float:
        """Wall-clock time so far."""
        return self._before + (0.0 if self._began is None else time.monotonic() - self._began)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start."""
        self._began = time.monotonic()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop."""
        self._before, self._began = self.seconds, None

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the time of the run that goes on."""
        self._before = float(state_dict["seconds"])


class FinalValidation(Callback):
    """Validate the last epoch even if `check_val_every_n_epoch` does not fall on it.

    Otherwise the weights that a run ends with are never compared with the best ones.
    """

    def __init__(self) -> None:
        self._interval: int | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember the interval; a run resumed within its last epoch does not start that epoch again."""
        self._interval = trainer.check_val_every_n_epoch
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make this epoch's validation due if it is the last one; None means that batches are counted, not epochs."""
        if trainer.check_val_every_n_epoch and trainer.current_epoch + 1 == trainer.max_epochs:
            trainer.check_val_every_n_epoch = 1

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the trainer as it was."""
        trainer.check_val_every_n_epoch = self._interval


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
        CHECKPOINTS: " and ".join(sorted(path.name for path in (run / CHECKPOINTS).glob("*.ckpt"))),
        "figures": _pictures(run / "figures"),
    }
    return [(run / name, text) for name, text in known.items() if text and (run / name).exists()]


def _pictures(folder: Path) -> str:
    kinds = {"*.png": "figures", "*.gif": "an animation"}
    return " and ".join(text for pattern, text in kinds.items() if any(folder.glob(pattern)))


def load_data(place: Path) -> FieldDataModule:
    """Build the data module a run was trained with, from its resolved settings.

    Args:
        place: the folder of a run, or a checkpoint in it.

    Raises:
        FileNotFoundError: there are no settings.
        DataError: they are not those of a run.
    """
    from argparse import ArgumentError

    import yaml
    from jsonargparse import ArgumentParser

    from cst_lightning.datamodules.base import FieldDataModule

    run = place if place.is_dir() else (run_of(place) or place.parent)
    path = run / "config.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"{run}: expected the folder of a run, found no config.yaml in it")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(FieldDataModule, "data")
    try:
        settings = {"data": yaml.safe_load(path.read_text())["data"]}
        parsed = parser.parse_object(settings)
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise DataError(path, "data", "the settings of a run", one_line(str(error)) or "nothing") from error
    except ArgumentError as error:
        raise DataError(path, "data", "settings of a data module", explain(str(error), [])) from error
    data: FieldDataModule = parser.instantiate(parsed).data
    return data
