"""Everything `cst-fit` would trip over, found in seconds: settings, data, a few steps, and how long all will take."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch

from cst_lightning import fitting
from cst_lightning.costing import BATCHES, MANY, Timing, cost, duration, estimate, rehearse, too_large
from cst_lightning.errors import DivergenceError
from cst_lightning.inspection import size_text
from cst_lightning.looking import Part, Range, look
from cst_lightning.module import CSTModule, check_precision
from cst_lightning.settings import FitCLI
from cst_lightning.usage import UsageError, one_line

__all__ = ["Part", "Range", "Report", "check"]

# Seconds that a rehearsal may take as estimated; what takes longer is not tried.
_PATIENCE = 12.0


class Report(NamedTuple):
    """What `check` found.

    Attributes:
        parts: one a split.
        parameters: of the model.
        epochs: of the training; None if there is no end.
        batches: of an epoch, on each device.
        step: seconds a training batch, without the first one.
        validation: seconds a validation batch; NaN if there is none.
        seconds: of the whole training, about; None if there is no end.
        memory: bytes at the peak, of the accelerator if there is one, else of this process; None if nobody knows.
        chosen: settings that were derived from the data, and why.
        warnings: what will work and may not be meant.
        notes: what was assumed because the file does not say it.
        tried: whether batches were run; else their time is estimated.
    """

    parts: tuple[Part, ...]
    parameters: int
    epochs: int | None
    batches: int
    step: float
    validation: float
    seconds: float | None
    memory: int | None
    chosen: tuple[str, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()
    tried: bool = True

    def text(self) -> str:
        """Return the report as lines for a person."""
        lines = [f"{'split':<6}{'samples':>9}{'observed':>14}{'context':>14}{'target':>14}{'dummies':>9}"]
        for part in self.parts:
            ranges = (part.observed, part.context, part.target)
            cells = "".join(f"{_range(pair):>14}" for pair in ranges) if part.samples else f"{'-':>14}" * 3
            lines.append(f"{part.name:<6}{part.samples:>9}{cells}{_range(part.dummies) if part.samples else '-':>9}")
        lines += ["", f"model     {self.parameters:,} parameters"]
        validated = "" if math.isnan(self.validation) else f", {duration(self.validation)} a validation batch"
        told = "" if self.tried else ", estimated, too slow to try"
        lines.append(f"speed     {duration(self.step)} a training batch of {self.batches} an epoch{validated}{told}")
        if self.seconds is None:
            lines.append("training  without end: neither trainer.max_epochs nor trainer.max_steps is set")
        else:
            lines.append(f"training  about {duration(self.seconds)} for {self.epochs} epochs")
        if self.memory is not None:
            lines.append(f"memory    {size_text(self.memory)} at the peak")
        lines += [f"chosen    {line}" for line in self.chosen]
        lines += [f"note      {line}" for line in self.notes]
        lines += [f"warning   {line}" for line in self.warnings]
        return "\n".join(lines)


def check(arguments: Sequence[str]) -> Report:
    """Do what `cst-fit` does with these arguments up to the third step, and write nothing but cached data.

    One device is used, whatever the settings say; the time is divided by their number of devices.

    Args:
        arguments: as of `cst-fit`.

    Raises:
        UsageError: `cst-fit` would fail.
    """
    with fitting.quiet(), fitting.user_errors(), _explained():
        cli = FitCLI(arguments)
        if isinstance(cli.model, CSTModule):
            check_precision(cli.trainer.precision)
        fitting._checkpoint(cli)
        _check_folder(cli.folder)
        cli.parser.dump(cli.config)  # a run keeps its settings
        fitting._set_up_data(cli)
        cli.datamodule.setup("test")
        parts, warnings = look(cli.datamodule)
        about = cost(cli, parts)
        many = BATCHES if about is None else min(BATCHES, int(_PATIENCE / about.total))
        clock: Timing = rehearse(cli, many) if many or about is None else about
        batches, epochs, seconds = estimate(cli, clock)
    warnings += _of_settings(cli, parts)
    if about is not None and not many:
        warnings.append(too_large(cli, parts, about))
    notes = tuple(dict.fromkeys(getattr(cli.datamodule, "notes", ())))
    return Report(
        parts,
        sum(parameter.numel() for parameter in cli.model.parameters()),
        epochs,
        batches,
        clock.step,
        clock.validation,
        seconds,
        _peak(clock.device),
        tuple(line for line in cli.reasons if line not in notes),
        tuple(warnings),
        notes,
        bool(many),
    )


def _of_settings(cli: FitCLI, parts: Sequence[Part]) -> list[str]:
    """Return what is odd about the settings."""
    sizes = {part.name: part.samples for part in parts}
    most = max(part.context[1] for part in parts)
    found = []
    if not sizes["val"]:
        found.append("val: no samples, so that no weights are chosen and no reference is tuned")
    if most > MANY and not getattr(cli.model, "hparams", {}).get("latents"):
        found.append(
            f"a context of {most} points attends to itself at quadratic cost; model.latents 256 makes it linear"
        )
    return found


def _check_folder(folder: Path) -> None:
    """Say if a run could not be written; nothing is created to find out."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise UsageError(f"{folder}: expected a folder that can be written to, found {place}")


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what training raises on settings that cannot work into one line."""
    try:
        yield
    except DivergenceError as error:
        raise UsageError(f"{one_line(str(error))}: look at the data's range, or lower model.lr") from error
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise UsageError(
            f"not enough memory ({one_line(str(error))}): lower data.batch_size or data.observed"
        ) from error
    except Exception as error:  # what a loader's worker raised comes with its whole traceback in the message
        if not str(error).startswith("Caught "):
            raise
        last = str(error).strip().splitlines()[-1]
        raise UsageError(last.partition("Error: ")[2] or last) from error


def _peak(device: torch.device) -> int | None:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # the same field, in bytes there and in KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _range(pair: Range) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}-{pair[1]}"
