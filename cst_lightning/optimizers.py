"""Optimisers and schedule of the training step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn, optim

from cst_lightning import smoothers


class MuonAdamW(optim.Optimizer):
    """Muon for the layers' matrices and AdamW for everything else, as one optimiser.

    Muon orthogonalises the momentum of each matrix (Jordan et al. 2024; scaled to AdamW's step size after Liu et al.,
    arXiv 2502.16982), so that one learning rate serves both. Lightning's automatic optimisation wants a single
    optimiser, and a checkpoint a single state: both parts share this one's groups and state.

    Args:
        matrices: two-dimensional parameters inside the layers.
        others: parameter groups for AdamW.
        lr: peak learning rate of both.
        weight_decay: decoupled weight decay of the matrices; `others` carry their own.
    """

    def __init__(
        self, matrices: list[nn.Parameter], others: list[dict[str, Any]], lr: float, weight_decay: float
    ) -> None:
        # AdamW's second beta is below its usual 0.999: runs of a thousand steps would never forget their beginning
        self._muon = optim.Muon(matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        self._adamw = optim.AdamW(others, lr=lr, betas=(0.9, 0.98))
        groups = [{**g, "kind": "muon"} for g in self._muon.param_groups]
        groups += [{**g, "kind": "adamw"} for g in self._adamw.param_groups]
        super().__init__(groups, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]
        """Take one step; groups and state are handed over anew because loading a checkpoint replaces them."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for kind, part in (("muon", self._muon), ("adamw", self._adamw)):
            part.param_groups = [group for group in self.param_groups if group["kind"] == kind]
            part.state = self.state
            part.step()
        return loss


def build(module: nn.Module, name: str, lr: float, weight_decay: float) -> optim.Optimizer:
    """Build the optimiser; weight decay acts on matrices only: biases, norms, flags and scales are not shrunk.

    Args:
        module: whose parameters are trained; those under `layers` count as a layer's, those under `smoother` are
            logarithms of hyperparameters, with a rate of their own.
        name: `adamw` or `muon` (see `MuonAdamW`).
        lr: peak learning rate.
        weight_decay: decoupled weight decay.

    Returns:
        The optimiser.

    Raises:
        ValueError: another name.
    """
    if name not in ("adamw", "muon"):
        raise ValueError(f"optimizer is {name!r}, expected 'adamw' or 'muon'")
    trained = {key: value for key, value in module.named_parameters() if value.requires_grad}
    muon = {k: v for k, v in trained.items() if name == "muon" and v.ndim == 2 and ".layers." in f".{k}"}
    own = {k: v for k, v in trained.items() if ".smoother." in f".{k}"}
    rest = [v for k, v in trained.items() if k not in muon and k not in own]
    groups: list[dict[str, Any]] = [
        {"params": list(own.values()), "weight_decay": 0.0, "lr": smoothers.RATE},
        {"params": [p for p in rest if p.ndim == 2], "weight_decay": weight_decay},
        {"params": [p for p in rest if p.ndim != 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if muon:
        return MuonAdamW(list(muon.values()), groups, lr, weight_decay)
    return optim.AdamW(groups, lr=lr, betas=(0.9, 0.98))


def warmup_cosine(warmup: int, total: int, floor: float = 0.01) -> Callable[[int], float]:
    """Return the factor on the learning rate at a step: linear over `warmup` steps, then half a cosine to `floor`."""

    def factor(step: int) -> float:
        rise = min(1.0, (step + 1) / max(1, warmup))
        progress = min(1.0, step / max(1, total))
        return rise * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress)))

    return factor
