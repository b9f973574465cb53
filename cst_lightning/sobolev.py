"""The Sobolev loss: fit to the data plus penalties on the derivatives of the output at dummy points."""

from __future__ import annotations

from functools import cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from cst_lightning import jets, randomness
from cst_lightning.network import CSTNetwork, Memory


class LossTerms(NamedTuple):
    """The loss and its two parts; ``loss = fit + mu * sobolev``."""

    loss: Tensor
    fit: Tensor
    sobolev: Tensor


class SobolevLoss(nn.Module):
    r"""Penalise misfit at the targets and roughness at the dummies.

    .. math:: L = \operatorname{mean}_{b,r,c} |y(x_r) - u_r|^p
              + \mu \sum_{1 \le |q| \le k} \operatorname{mean}_{b,d,c} |D^q y(x_d)|^p

    The first mean runs over real targets and channels, each of the others over dummies and channels, so that mu
    depends on no count. D^q is the derivative in the normalised coordinates of that one point with the context held
    fixed, exact, by Taylor mode. With ``directions: all`` the sum has every multi-index, mixed ones included; with
    ``random`` each order n has one term, the n-th derivative along a unit vector drawn for each dummy, whose mean
    square is a rotation-invariant seminorm and whose cost does not grow with d. Source: Fonseca et al., ICML 2023,
    section 3.

    Args:
        order: k >= 0.
        p: exponent >= 1.
        mu: weight >= 0 of the Sobolev term; at 0 it is not computed.
        directions: `all` or `random`.
    """

    def __init__(
        self, order: int = 2, p: float = 2.0, mu: float = 1e-6, directions: Literal["all", "random"] = "all"
    ) -> None:
        super().__init__()
        for name, value, least in (("order", order, 0), ("p", p, 1), ("mu", mu, 0)):
            if not value >= least:
                raise ValueError(f"{name} is {value}, expected at least {least}")
        if directions not in ("all", "random"):
            raise ValueError(f"directions is {directions!r}, expected 'all' or 'random'")
        self.order, self.p, self.mu, self.directions = order, p, mu, directions

    def forward(
        self,
        network: CSTNetwork,
        memory: Memory,
        prediction: Tensor,
        values: Tensor,
        mask: Tensor,
        dummies: Tensor,
        keys: Tensor | None = None,
        count: Tensor | None = None,
    ) -> LossTerms:
        """Compute the loss of one batch, everything in normalised units.

        Args:
            network: gives jets at the dummies.
            memory: the encoded context.
            prediction: (B, Q, c), the network at the targets.
            values: (B, Q, c), the data there.
            mask: (B, Q) bool, True at real targets.
            dummies: (B, D, d).
            keys: (B,) of `randomness.sample_keys`, for random directions and noise.
            count: divides the sum over targets instead of their number; with several processes, the mean number a
                process.

        Returns:
            Three scalars; the Sobolev one without the factor mu.
        """
        fit = self.fit(prediction, values, mask, count)
        if self.mu == 0 or self.order == 0 or dummies.shape[1] == 0:
            return LossTerms(fit, fit, fit.new_zeros(()))
        sobolev = torch.stack(self.terms(network, memory, dummies, keys)).sum()
        return LossTerms(fit + self.mu * sobolev, fit, sobolev)

    def fit(self, prediction: Tensor, values: Tensor, mask: Tensor, count: Tensor | None = None) -> Tensor:
        """Return the mean of ``|prediction - values|^p`` over real targets and channels; `count` as in `forward`."""
        error = self._power(prediction - values) * mask[..., None]
        count = mask.sum() if count is None else count
        return error.sum() / (count * values.shape[-1]).clamp(min=1)

    def terms(self, network: CSTNetwork, memory: Memory, dummies: Tensor, keys: Tensor | None = None) -> list[Tensor]:
        """Return one scalar for each order 1..k: its derivatives' mean p-th power, summed over multi-indices."""
        derivatives = (self._random if self.directions == "random" else self._mixed)(network, memory, dummies, keys)
        return [self._power(d).mean((1, 2, 3)).sum() for d in derivatives]

    def _random(self, network: CSTNetwork, memory: Memory, dummies: Tensor, keys: Tensor | None) -> list[Tensor]:
        keys = torch.arange(len(dummies), device=dummies.device) if keys is None else keys
        lines = randomness.normal(keys, tuple(dummies.shape[1:]), 4, dummies.dtype)
        lines = torch.nn.functional.normalize(lines, dim=-1)
        jet = jets.derivatives(network.query(memory, dummies, self.order, lines, keys, stream=3))
        return [jet[n][None] for n in range(1, self.order + 1)]

    def _mixed(self, network: CSTNetwork, memory: Memory, dummies: Tensor, keys: Tensor | None) -> list[Tensor]:
        """Return, for each order n, the derivatives of all multi-indices, (M_n, B, D, c)."""
        lattice = _lattice(self.order, network.dimension)
        lines = dummies.new_tensor(lattice)
        batch, count, dimension = dummies.shape
        coords = dummies.unsqueeze(2).expand(batch, count, len(lattice), dimension)
        jet = network.query(
            memory, coords.flatten(1, 2), self.order, lines.expand_as(coords).flatten(1, 2), keys, stream=3
        )
        jet = jet.unflatten(2, (count, len(lattice)))
        mixing = _mixing(self.order, dimension)
        return [torch.einsum("mr,bdrc->mbdc", jet.new_tensor(matrix), jet[n]) for n, matrix in enumerate(mixing, 1)]

    def _power(self, x: Tensor) -> Tensor:
        return x * x if self.p == 2 else x.abs() ** self.p


@torch.compiler.assume_constant_result  # plain numbers: nothing for the compiler to trace
def _lattice(order: int, dimension: int) -> list[tuple[int, ...]]:
    return jets.directions(order, dimension)


@torch.compiler.assume_constant_result
def _mixing(order: int, dimension: int) -> list[list[list[float]]]:
    """Return the matrices of `jets.mixing` for the orders 1..k on the directions of order k."""
    return _mixing_once(order, dimension)


@cache
def _mixing_once(order: int, dimension: int) -> list[list[list[float]]]:
    lattice = jets.directions(order, dimension)
    return [jets.mixing(n, lattice).tolist() for n in range(1, order + 1)]
