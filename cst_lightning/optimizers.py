"""Optimisers and schedule of the training step."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn, optim

from cst_lightning import smoothers

# Of Newton-Schulz's quintic iteration: steepest at 0, and singular values end between 0.7 and 1.2 (Jordan et al. 2024).
_QUINTIC = (3.4445, -4.7750, 2.0315)


class Muon(optim.Optimizer):
    """Steps along the orthogonalised momentum of each matrix (Jordan et al. 2024), with Nesterov's look ahead.

    They are scaled to the size of AdamW's after Liu et al., arXiv 2502.16982. torch's Muon takes one matrix after the
    other, in bfloat16, which a processor only imitates: a quarter of the time of a step on curves. Here matrices of
    the same shape go together, on a processor in single precision.

    Args:
        matrices: two-dimensional parameters.
        lr: learning rate.
        weight_decay: decoupled weight decay.
        momentum: of the running mean of gradients.
    """

    def __init__(
        self, matrices: list[nn.Parameter], lr: float, weight_decay: float = 0.0, momentum: float = 0.95
    ) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]
        """Take one step."""
        loss = _loss(closure)
        for group in self.param_groups:
            alike: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    alike[matrix.shape].append((matrix, self._ahead(matrix, matrix.grad, group["momentum"])))
            for (rows, columns), pairs in alike.items():
                matrices, ahead = zip(*pairs, strict=True)
                rate = 0.2 * math.sqrt(max(rows, columns)) * group["lr"]
                for matrix, change in zip(matrices, _orthogonal(torch.stack(ahead)), strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"]).add_(change, alpha=-rate)
        return loss

    def _ahead(self, matrix: Tensor, gradient: Tensor, momentum: float) -> Tensor:
        """Follow the running mean of a matrix's gradient; return where it will be after the next one."""
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(matrix, memory_format=torch.preserve_format)
        return gradient.lerp(state["momentum_buffer"].lerp_(gradient, 1 - momentum), momentum)


def _loss(closure: Callable[[], Tensor] | None) -> Tensor | None:
    """Have the loss and its gradients computed, if an optimiser is told how."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


def _orthogonal(matrices: Tensor, steps: int = 5) -> Tensor:
    """Bring the singular values of matrices (B, m, n) near 1 without computing them."""
    a, b, c = _QUINTIC
    tall = matrices.shape[1] > matrices.shape[2]
    wide = (matrices.mT if tall else matrices).to(torch.float32 if matrices.device.type == "cpu" else torch.bfloat16)
    wide = wide / wide.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    for _ in range(steps):
        gram = wide @ wide.mT
        wide = torch.baddbmm(wide, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide.mT if tall else wide


class MuonAdamW(optim.Optimizer):
    """Muon for the layers' matrices and AdamW for everything else, as one optimiser.

    Muon's steps have the size of AdamW's, so that one learning rate serves both. Lightning's automatic optimisation
    wants a single optimiser, and a checkpoint a single state: both parts share this one's groups and state.

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
        self._muon = Muon(matrices, lr, weight_decay)
        self._adamw = optim.AdamW(others, lr=lr, betas=(0.9, 0.98))
        groups = [{**g, "kind": "muon"} for g in self._muon.param_groups]
        groups += [{**g, "kind": "adamw"} for g in self._adamw.param_groups]
        super().__init__(groups, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]
        """Take one step; groups and state are handed over anew because loading a checkpoint replaces them."""
        loss = _loss(closure)
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
