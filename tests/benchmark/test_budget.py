"""The budget ends training, and the learning rate has fallen by then."""

import time
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback, Trainer

from cst_lightning import CSTModule
from cst_lightning.benchmark.budget import BudgetCallback, max_steps
from cst_lightning.benchmark.protocol import Budget
from cst_lightning.datamodules import SpiralsDataModule


class Rates(Callback):
    """Notes the learning rate of every step, and makes the later steps slow."""

    def __init__(self, slow: float = 0.0) -> None:
        self.rates: list[float] = []
        self.slow = slow

    def on_train_batch_start(self, trainer: Trainer, *rest: Any) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        if len(self.rates) > 10:
            time.sleep(self.slow)


def train(folder: Path, budget: Budget, slow: float = 0.0) -> tuple[BudgetCallback, Rates]:
    data = SpiralsDataModule(train=8, val=2, test=2, points=20, observed=6, dummies=2, batch_size=4, cache_dir=folder)
    small: dict[str, Any] = {"width": 8, "depth": 1, "heads": 2, "frequencies": 2, "kernel_frequencies": 2, "order": 1}
    watch, rates = BudgetCallback(budget), Rates(slow)
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(
        max_epochs=-1, max_steps=max_steps(budget), callbacks=[rates, watch], enable_checkpointing=False,
        limit_val_batches=0, accelerator="cpu", **quiet,
    )  # fmt: skip
    trainer.fit(CSTModule(1, 2, lr=1e-2, **small), data)
    return watch, rates


def test_steps_are_counted(tmp_path: Path) -> None:
    watch, rates = train(tmp_path, Budget("steps", 7))
    assert watch.steps == len(rates.rates) == 7
    assert rates.rates[-1] < 0.2 * max(rates.rates)


@pytest.mark.parametrize("unit", ["seconds", "cpu_seconds"])
def test_a_clock_ends_training(tmp_path: Path, unit: Any) -> None:
    watch, _ = train(tmp_path, Budget(unit, 0.5))
    assert 0.5 <= watch.spent < 1.5
    assert watch.steps > 1


def test_the_learning_rate_falls_with_the_clock_and_not_with_the_steps(tmp_path: Path) -> None:
    # the first ten steps are fast, so a schedule planned from their time would not have decayed at the end
    _, rates = train(tmp_path, Budget("seconds", 3.0), slow=0.1)
    assert len(rates.rates) > 15
    assert max(rates.rates) > 5e-3
    assert rates.rates[-1] < 0.1 * max(rates.rates)


def test_a_clocks_schedule_has_a_million_steps() -> None:
    assert max_steps(Budget("seconds", 5)) == 1_000_000
    assert max_steps(Budget("steps", 5)) == 5
