"""The same training budget for every learned method, with a learning rate that has fallen when the budget ends."""

from __future__ import annotations

import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from cst_lightning.benchmark.protocol import Budget

# Of a schedule that follows a clock. Modules ask the trainer how many steps there will be, and a budget in seconds does
# not know; a step of the schedule is then a millionth of the budget, and the callback says which one is due.
_TICKS = 1_000_000


def max_steps(budget: Budget) -> int:
    """Return what the trainer is told as its number of steps."""
    return int(budget.amount) if budget.unit == "steps" else _TICKS


class BudgetCallback(Callback):
    """Stop training when the budget is spent, and keep the learning rate's schedule in step with the clock.

    Measuring the time of a step first and planning with it goes wrong on a machine that others use as well: steps get
    slower or faster later. Instead the schedule's position is the part of the budget that has been spent, so that
    warm-up and decay take their share of the time whatever a step costs. Steps are only counted.

    Args:
        budget: what may be spent.

    Attributes:
        steps: optimiser steps done.
        seconds: wall time from the beginning of training to its end.
        cpu_seconds: the process' own in it.
        spent: the same in the budget's unit.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.steps, self.seconds, self.cpu_seconds, self.spent = 0, 0.0, 0.0, 0.0
        self._wall = self._cpu = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; what a first step compiles or allocates counts."""
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Say which step of the schedule comes after this one."""
        self._count(trainer)
        if self.budget.unit == "steps":
            return
        due = min(_TICKS, int(_TICKS * self.spent / self.budget.amount))
        for config in trainer.lr_scheduler_configs:
            if isinstance(config.scheduler, torch.optim.lr_scheduler.LambdaLR):  # others cannot be told
                config.scheduler.last_epoch = max(due - 1, config.scheduler.last_epoch)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop if nothing is left."""
        if trainer.strategy.root_device.type == "cuda":  # which is still computing when Python goes on
            torch.cuda.synchronize(trainer.strategy.root_device)
        self._count(trainer)
        if self.spent >= self.budget.amount:
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self._count(trainer)

    def _count(self, trainer: Trainer) -> None:
        self.steps, self.seconds = trainer.global_step, time.perf_counter() - self._wall
        self.cpu_seconds = time.process_time() - self._cpu
        used = {"steps": float(self.steps), "seconds": self.seconds, "cpu_seconds": self.cpu_seconds}
        self.spent = used[self.budget.unit]
