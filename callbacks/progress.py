"""One line that says how training goes."""

from __future__ import annotations

import math
import sys
import time
from typing import Any, TextIO

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm  # type: ignore[import-untyped]

SHOWN = {
    "train/loss": "loss",
    "train/fit": "fit",
    "train/sobolev": "sobolev",
    "val/mse": "val mse",
    "val/r2": "val r2",
}


class FitProgressBar(ProgressBar):
    """Show loss, fit and Sobolev term if there is one, validation MSE and R2, and the time left, in one line.

    On a terminal the line is drawn over itself; elsewhere (a file, a batch job) a plain line is written now and then.

    Args:
        interval: least number of seconds between lines where there is no terminal.
        stream: where to write; standard error when omitted.
    """

    def __init__(self, interval: float = 10.0, stream: TextIO | None = None) -> None:
        super().__init__()
        self.interval = interval
        self._stream = stream
        self._enabled = True
        self._bar: Any = None
        self._done, self._total = 0, 0
        self._first = 0
        self._began = self._wrote = 0.0

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what cannot travel to another process."""
        return {**self.__dict__, "_bar": None, "_stream": None}

    @property
    def stream(self) -> TextIO:
        """Where the line goes, looked up late because notebooks and tests replace it."""
        return self._stream or sys.stderr

    def disable(self) -> None:
        """Stay silent, as Lightning asks of all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Speak again."""
        self._enabled = True

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Write above the bar."""
        if self._enabled:
            tqdm.write(" ".join(map(str, args)), file=self.stream)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin."""
        self._done, self._total = trainer.fit_loop.total_batch_idx + 1, _batches(trainer)
        self._began = self._wrote = time.monotonic()
        self._first = self._done
        if self._enabled and self.stream.isatty():
            layout = "{desc}{percentage:3.0f}% |{bar:24}| {elapsed}<{remaining}{postfix}"
            total = self._total or None
            self._bar = tqdm(
                total=total, initial=self._done, file=self.stream, bar_format=layout if total else None,
                dynamic_ncols=True, leave=True, mininterval=0.2,
            )  # fmt: skip

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance by one batch."""
        self._done += 1
        if self._bar is not None:
            self._bar.set_description_str(f"{_epoch(trainer)} ", refresh=False)
            self._bar.set_postfix_str(" ".join(_scores(trainer)), refresh=False)
            self._bar.update()
        elif time.monotonic() - self._wrote >= self.interval:
            self._write(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the new scores at once."""
        if self._bar is not None:
            self._bar.set_postfix_str(" ".join(_scores(trainer)))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the last line standing."""
        if self._bar is not None:
            self._bar.set_postfix_str(" ".join(_scores(trainer)))
            self._bar.close()
            self._bar = None
        else:
            self._write(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Let the terminal go, so that the message stands on its own line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _write(self, trainer: Trainer) -> None:
        if not self._enabled:
            return
        now = time.monotonic()
        elapsed, done = now - self._began, self._done - self._first
        share = f"{100 * self._done / self._total:3.0f}%" if self._total else f"{self._done} batches"
        left = f"<{tqdm.format_interval(elapsed / done * (self._total - self._done))}" if self._total and done else ""
        words = [_epoch(trainer), share, tqdm.format_interval(elapsed) + left, *_scores(trainer)]
        self.stream.write(" ".join(words) + "\n")
        self.stream.flush()
        self._wrote = now


def _batches(trainer: Trainer) -> int:
    """Return how many batches the whole fit has, 0 if that is not known."""
    limits = []
    if trainer.max_epochs is not None and trainer.max_epochs >= 0 and math.isfinite(trainer.num_training_batches):
        limits.append(int(trainer.max_epochs * trainer.num_training_batches))
    if trainer.max_steps >= 0:
        limits.append(trainer.max_steps * trainer.accumulate_grad_batches)
    return min(limits, default=0)


def _epoch(trainer: Trainer) -> str:
    if trainer.max_epochs is None or trainer.max_epochs <= 0:
        return f"epoch {trainer.current_epoch + 1}"
    # after the last epoch Lightning already counts the next one
    return f"epoch {min(trainer.current_epoch + 1, trainer.max_epochs)}/{trainer.max_epochs}"


def _scores(trainer: Trainer) -> list[str]:
    known: dict[str, Any] = {**trainer.callback_metrics, **trainer.progress_bar_metrics}
    if known.get("train/sobolev", 0) == 0:  # without a term the fit is the loss
        known = {name: value for name, value in known.items() if name not in ("train/fit", "train/sobolev")}
    return [f"{short} {_number(float(known[name]))}" for name, short in SHOWN.items() if name in known]


def _number(value: float) -> str:
    """Format to three digits and a width that hardly changes."""
    return f"{value:.3f}" if 0.1 <= abs(value) < 100 else f"{value:.2e}".replace("e-0", "e-").replace("e+0", "e+")
