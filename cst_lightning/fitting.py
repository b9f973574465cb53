"""What `cst-fit` does: read settings, set up data, train, then score, draw and say where everything is."""

from __future__ import annotations

import inspect
import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer
from rich.console import Console

from cst_lightning import runs
from cst_lightning.columns import ColumnNetwork
from cst_lightning.errors import DataError, DivergenceError
from cst_lightning.field_module import FieldModule, check_precision
from cst_lightning.module import CSTModule
from cst_lightning.network import CSTNetwork
from cst_lightning.settings import FitCLI
from cst_lightning.usage import UsageError, one_line

# What a resumed run cannot change: the network, less what only disturbs its training, and whose state is restored.
FIXED = {
    **{
        name: p.default
        for name, p in inspect.signature(CSTNetwork).parameters.items()
        if name not in ("dropout", "noise")
    },
    **{name: inspect.signature(CSTModule).parameters[name].default for name in ("reach", "answer_reach", "optimizer")},
}


def fit_and_report(arguments: Sequence[str]) -> int:
    """Train, score, draw and report; see `cst_lightning.cli.fit`."""
    with quiet():
        with user_errors():
            cli = FitCLI(arguments)
            if isinstance(cli.model, FieldModule):
                check_precision(cli.trainer.precision)
                cli.model.check_correction()
            checkpoint = _checkpoint(cli)
            _set_up_data(cli)
            _explain(cli)
        with user_errors((OSError,)):
            run = None if cli.rehearsal else _open_run(cli, checkpoint)
        try:
            cli.trainer.fit(cli.model, cli.datamodule, ckpt_path=checkpoint, weights_only=True if checkpoint else None)
        except SystemExit:  # Lightning's answer to Ctrl-C, after it has shut its workers down
            return _report_interruption(cli, run)
        except DataError as error:  # of what is read lazily
            raise UsageError(str(error)) from error
        except DivergenceError as error:
            return _report_divergence(cli, run, error)
        except RuntimeError as error:
            if "Caught DataError in DataLoader" not in str(error):
                raise
            raise UsageError(_of_worker(error)) from error
        _part()
        if cli.trainer.is_global_zero and run is not None:
            try:
                _report(cli, run)
            except KeyboardInterrupt:
                told = "Interrupted after the training; the same command and --ckpt_path last score what it gave."
                Console(stderr=True).print(told, highlight=False, soft_wrap=True)
                return 130
        elif cli.trainer.is_global_zero:
            Console().print("Training and validation run; nothing was written (trainer.fast_dev_run).", soft_wrap=True)
    return 0


BAD_INPUT = (ValueError, TypeError, OSError, ImportError, MisconfigurationException)


@contextmanager
def user_errors(kinds: tuple[type[Exception], ...] = BAD_INPUT) -> Iterator[None]:
    """Turn what bad input raises into `UsageError`; used where only input can be at fault.

    Args:
        kinds: which exceptions are the user's.
    """
    try:
        yield
    except UsageError:
        raise
    except kinds as error:
        line = one_line(str(error))
        if isinstance(error, OSError) and error.filename and error.strerror:
            line = f"{error.filename}: {error.strerror}"
        raise UsageError(line or type(error).__name__) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Silence, for the time of a command, what says nothing to the person who typed it."""
    levels = {name: logging.getLogger(name).level for name in ("lightning.pytorch", "lightning.fabric")}
    interrupt = signal.getsignal(signal.SIGINT)
    for name in levels:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in (
                "You have overridden `on_before_batch_transfer`",
                ".*does not have many workers",
                ".*is smaller than the logging interval",
                "Checkpoint directory .* exists and is not empty",
                ".*treespec, LeafSpec.* is deprecated",
                ".*in the `DataLoader` will be .* on the last",
                ".*GPU available but not used",
            ):
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        if interrupt is not None:
            signal.signal(signal.SIGINT, interrupt)  # Lightning leaves it ignored after an interruption


def _checkpoint(cli: FitCLI) -> Path | None:
    """Return the checkpoint to go on with, if the user asked for one and it fits the settings."""
    asked = cli.config.ckpt_path
    if asked is None:
        return None
    path = runs.find_checkpoint(cli.folder / "last" if asked == "last" else asked, "last")
    found = runs.read_checkpoint(path)
    if isinstance(cli.model, CSTModule):
        _compare(dict(found.get("hyper_parameters", {})), dict(cli.model.hparams))
    shapes = {name: tuple(tensor.shape) for name, tensor in found["state_dict"].items()}
    for name, tensor in cli.model.state_dict().items():
        if shapes.get(name) != tuple(tensor.shape):
            raise UsageError(f"model: {path} has {name} of shape {shapes.get(name)}, expected {tuple(tensor.shape)}")
    most, done = cli.trainer.max_epochs, int(found.get("epoch", 0)) + 1
    if most is not None and 0 <= most < done and not cli.rehearsal:
        raise UsageError(f"trainer.max_epochs: the checkpoint is in epoch {done}, found {most}")
    return path


def _compare(saved: dict[str, Any], given: dict[str, Any]) -> None:
    """Name the first setting in which a checkpoint's model and this one differ."""
    for name, default in FIXED.items():
        old, new = (_plain(settings.get(name, default)) for settings in (saved, given))
        if old != new:
            raise UsageError(f"model.{name}: the checkpoint has {old}, found {new}")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _set_up_data(cli: FitCLI) -> None:
    """Read or simulate the data before anything is written, so that bad input leaves nothing behind.

    Only in the first process: the others wait for it inside the trainer, which does the same again from the cache.
    """
    if (every := cli.trainer.accumulate_grad_batches) < 1:
        raise UsageError(f"trainer.accumulate_grad_batches: expected at least 1, found {every}")
    if cli.trainer.is_global_zero:
        cli.datamodule.prepare_data()
        cli.datamodule.setup("fit")
        if not cli.datamodule.size("test"):
            raise UsageError("data.test: expected at least one sample to score, found none")
        if not cli.datamodule.sample("test", 0).target.mask.any():
            raise UsageError("data.observed: expected some points to be held out, found all observed, none to score")
        if isinstance(cli.model, CSTModule) and isinstance(cli.model.network, ColumnNetwork):
            if cli.datamodule.augmentation() is not None:  # moves each sample's grid elsewhere
                raise UsageError("data.augment: expected false with model.reach, found true")
            sample = cli.datamodule.sample("train", 0)
            cli.model.network.check(sample.context, sample.target)


def _of_worker(error: RuntimeError) -> str:
    """Return what a loader's worker found wrong with the data; it comes with the whole traceback in the message."""
    last = str(error).strip().splitlines()[-1]
    return last.partition("DataError: ")[2] or last


def _explain(cli: FitCLI) -> None:
    """Say what was chosen for the user, and why; and what of the data was assumed or left out."""
    if not cli.trainer.is_global_zero:
        return
    notes = [note for note in getattr(cli.datamodule, "notes", ()) if note not in cli.reasons]
    heads = {"Chosen from the data, unless set:": cli.reasons, "Of the data:": notes, "Of the settings:": cli.left_out}
    for head, lines in heads.items():
        if lines:
            Console().print("\n  ".join([head, *lines]), highlight=False, soft_wrap=True)


def _open_run(cli: FitCLI, checkpoint: Path | None) -> Path:
    """Create the run's folder, or go on in the one the checkpoint lies in; save the settings there.

    Only the first process decides and writes; Lightning tells the others where.
    """
    if not cli.trainer.is_global_zero:
        run = cli.folder / "last"
    else:
        # absolute, because Lightning forgets the best score when the folder it resumes in has another name
        run = ((runs.run_of(checkpoint) if checkpoint else None) or runs.reserve(cli.folder)).resolve()
        runs.point_last(run)
        runs.write_text(run / "config.yaml", cli.parser.dump(_from_anywhere(cli.config)))
    cli.trainer.loggers = [*runs.loggers(run), *cli.trainer.loggers]
    return run


def _from_anywhere(config: Namespace) -> Namespace:
    """Return settings whose data are found whatever the working directory is."""
    config = config.clone()
    settings = config.data.init_args
    for name in ("path", "cache_dir"):
        if settings.get(name) is not None:
            settings[name] = os.path.abspath(settings[name])
    return config


def _part() -> None:
    """End the processes' bond: what follows is the first one's work alone, and it must not wait for the others."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _report(cli: FitCLI, run: Path) -> None:
    """Score the best weights on the test split, draw them, and say where everything is."""
    from cst_lightning import evaluation
    from cst_lightning.field_module import called

    console = Console()
    module = _best(cli, run)
    with console.status("Scoring the test split"):
        scores = evaluation.evaluate(module, cli.datamodule)
    evaluation.write_metrics(run / "metrics.json", scores, cli.stopwatch.seconds, cli.config.seed_everything)
    _draw(cli, module, run)
    higher = {name: bool(metric.higher_is_better) for name, metric in cli.datamodule.scores().items()}
    console.print(evaluation.table(scores, higher, called(type(module))))
    for path, text in runs.contents(run):
        console.print(f"  {_short(path)}  [dim]{text}[/dim]", highlight=False, soft_wrap=True)


def _best(cli: FitCLI, run: Path) -> LightningModule:
    """Return the model with its best weights, or as training left it if it kept no checkpoint."""
    try:
        path = runs.find_checkpoint(run, "best") if cli.trainer.checkpoint_callbacks else None
    except FileNotFoundError:  # the user's own callback has other names, or it never was time to save
        path = None
    if path is None:
        return cli.model
    device = cli.trainer.strategy.root_device
    best: LightningModule = type(cli.model).load_from_checkpoint(path, map_location=device, weights_only=True)
    return best


def _draw(cli: FitCLI, module: LightningModule, run: Path) -> None:
    """Draw the first test sample as the best weights see it; on one device, whatever the training ran on."""
    cli.config_init.figures.folder = run / "figures"
    trainer = Trainer(
        accelerator=cli.trainer.strategy.root_device.type,
        devices=1,
        limit_test_batches=1,
        callbacks=[cli.config_init.figures],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.test(module, cli.datamodule, verbose=False)


def _short(path: Path) -> Path:
    """Return a path as seen from the working directory, if it lies below."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _report_interruption(cli: FitCLI, run: Path | None) -> int:
    """Say what can be gone on with."""
    if cli.trainer.is_global_zero:
        last = None if run is None else run / runs.CHECKPOINTS / "last.ckpt"
        found = (
            f"The last checkpoint is {_short(last)}; go on with the same command and --ckpt_path last."
            if last is not None and last.is_file()
            else "No checkpoint yet."
        )
        Console(stderr=True).print(f"Interrupted. {found}", highlight=False, soft_wrap=True)
    return 130


def _report_divergence(cli: FitCLI, run: Path | None, error: DivergenceError, patience: float = 10.0) -> int:
    """Say that training failed, once.

    When one of its children has failed, Lightning kills the first process, be it in the middle of its message. So the
    others wait for it to end, and speak only if it does not.
    """
    if not cli.trainer.is_global_zero:
        parent, until = os.getppid(), time.monotonic() + patience
        while os.getppid() == parent and time.monotonic() < until:
            time.sleep(0.05)
        if os.getppid() != parent:
            return 1
    kept = [] if run is None else sorted(path.name for path in (run / runs.CHECKPOINTS).glob("[!.]*.ckpt"))
    where = f"{' and '.join(kept)} from before it" if kept else "it came before there was a checkpoint"
    place = "" if run is None else f". The run is in {_short(run)}"
    sys.stderr.write(f"cst-fit: {error}; {where}{place}\n")
    return 1
