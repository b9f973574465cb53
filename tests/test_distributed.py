"""P4: two processes give the gradient of one, through Lightning's own DDP strategy on the CPU."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from torch import Tensor

from cst_lightning import CSTModule
from cst_lightning.datamodules import SpiralsDataModule


class KeepGradient(Callback):
    """Write the gradient of the first step to a file, before it is clipped."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_after_backward(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.is_global_zero and trainer.global_step == 0:
            torch.save(torch.cat([p.grad.flatten() for p in pl_module.parameters() if p.grad is not None]), self.path)


def gradient(folder: Path, devices: int, batch_size: int) -> Tensor:
    """Return the gradient of the first step on `devices` processes of `batch_size` samples each."""
    seed_everything(0, verbose=False)
    module = CSTModule(
        1, 2, width=16, depth=2, heads=2, frequencies=2, kernel_frequencies=2, mu=1e-3, directions="random", noise=0.1
    ).double()
    torch.nn.init.normal_(module.network.head.weight)
    data = SpiralsDataModule(
        train=4, val=1, test=1, points=20, observed=9, target="masked", dummies=4, batch_size=batch_size,
        cache_dir=folder / "cache",
    )  # fmt: skip
    keep = KeepGradient(folder / f"gradient_{devices}.pt")
    trainer = Trainer(
        max_steps=1, accelerator="cpu", devices=devices, precision="64-true", callbacks=[keep], logger=False,
        strategy="ddp_spawn" if devices > 1 else "auto", enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0, default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(module, data)
    found: Tensor = torch.load(keep.path, weights_only=True)
    return found


@pytest.mark.filterwarnings("ignore")  # torch.distributed and spawned processes warn about themselves
def test_two_processes_give_the_gradient_of_one(tmp_path: Path) -> None:
    # Targets are the points not shown, so the two halves of the batch have different numbers of them.
    one, two = gradient(tmp_path, 1, 4), gradient(tmp_path, 2, 2)
    assert one.norm() > 0
    torch.testing.assert_close(two, one, rtol=1e-10, atol=1e-10 * one.abs().max().item())


class Poison(Callback):
    """Make one process's loss NaN in the second step."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 1 and trainer.global_rank == 1:
            batch.target.values.fill_(float("nan"))


@pytest.mark.filterwarnings("ignore")
def test_all_processes_stop_with_the_message_of_the_one_that_diverged(tmp_path: Path) -> None:
    data = SpiralsDataModule(train=8, val=1, test=1, points=20, observed=6, batch_size=2, cache_dir=tmp_path / "cache")
    trainer = Trainer(
        max_epochs=2, accelerator="cpu", devices=2, strategy="ddp_spawn", callbacks=[Poison()], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
        default_root_dir=tmp_path,
    )  # fmt: skip
    with pytest.raises(Exception, match=r"fit = nan in batch 1 of epoch 0 \(samples \["):
        trainer.fit(CSTModule(1, 2, width=16, depth=1, heads=2), data)
