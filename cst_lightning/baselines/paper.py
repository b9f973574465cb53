"""The published recipe, as it is described and as it is coded, to be looked at beside ours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from cst_lightning import jets
from cst_lightning.field import Array, Field, ObservedField
from cst_lightning.field_module import FieldModule
from cst_lightning.network import CSTNetwork
from cst_lightning.points import Batch, PointSet
from cst_lightning.sobolev import LossTerms, SobolevLoss


class PaperNetwork(CSTNetwork):
    """A transformer over real and dummy tokens, all of which attend to each other.

    Nothing tells a dummy from an observation: the flag is fixed at zero, so that a question at a token's coordinate
    reproduces that token's own output. In training the values of all tokens are noisy, and what is asked for is the
    observation without that noise: otherwise a network that hands on its own token would be right, and learn nothing.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "attention": "joint", "residual": False, "kernel_frequencies": 0})
        self.embedding.flag.requires_grad_(False)

    def outputs(self, coords: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """Return the outputs (B, M, c) of plain self-attention over tokens; differentiable twice in their values.

        Args:
            coords: (B, M, d).
            values: (B, M, c) token values.
            mask: (B, M) bool, real tokens.
        """
        x = self.embedding(self.embedding.fourier(coords[None]), values[None], query=True)
        places, readable = self.places(coords[None]), mask[:, None, None]
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no second derivative
            for layer in self.blocks:
                x = layer.read(x, places, *layer.remember(x[0], places[0]), readable)
        x = jets.layer_norm(x, self.norm.weight, self.norm.bias)
        return jets.linear(x, self.head.weight, self.head.bias)[0]

    def tokens(self, context: PointSet, dummies: Tensor, keys: Tensor | None = None) -> PointSet:
        """Return observations and, behind them, dummies with interpolated values, all noisy; see `encode`."""
        start = self._fit(context)(dummies[None])
        values = [self._jitter(part, keys, stream)[0] for stream, part in enumerate((context.values[None], start))]
        coords, real = (context.coords, dummies), (context.mask, context.mask.new_ones(dummies.shape[:2]))
        return PointSet(*(torch.cat(part, 1) for part in (coords, values, real)))

    def _jitter(self, values: Tensor, keys: Tensor | None, stream: int) -> Tensor:
        """Add noise to a jet of token values; a question gets that of the token whose output it is.

        Targets (stream 2) are the observations (0), in their order, and a dummy's reader (3) has its place in 1.
        """
        return super()._jitter(values, keys, stream % 2)


class PaperModule(FieldModule):
    r"""Train as published: joint attention, linear initialisation, noise on all tokens, no residual head, p-norm loss.

    With ``as_coded: false`` the loss is `SobolevLoss`, exact derivatives in the coordinates, as the paper describes.
    With ``as_coded: true`` it is what the published code computes,

    .. math:: L = \operatorname{mean}_b \|y(x_r) - u_r\|_p
              + \mu \sum_{q=1}^{k} \operatorname{mean}_b \|\delta_q\|_p, \quad
              \delta_q = \frac{\partial}{\partial v} \sum \delta_{q-1}, \quad \delta_0 = y,

    norms over real targets, or dummies, and channels; the derivatives are in the token *values* v, and the sums run
    over all outputs of a batch. Its graph is kept at order 1 only, so that the second term is a number without a
    gradient, and those above, derivatives of that number, are zero. The paper shows all observations and asks for them:
    ``context: [1, 1]`` and ``target: all`` in the data. Source: Fonseca et al., ICML 2023, section 3 and figure 1, and
    `sobolev_loss.py` of their repository, whose example has k = 3, p = 3, mu = 0.01 and noise of 0.1 of the 98 %
    quantile of the absolute values.

    Args:
        dimension: d, coordinates time first.
        channels: c.
        periodic: whether each axis repeats.
        as_coded: the loss of the published code instead of the paper's.
        order: k of the Sobolev term.
        p: exponent of both terms.
        mu: weight of the Sobolev term.
        noise: standard deviation of noise on the tokens' values in training, normalised units.
        width: W of the tokens.
        depth: number of layers.
        heads: attention heads.
        expansion: feed-forward width over W.
        frequencies: Fourier harmonics an axis in the token encoding.
        initialiser: `linear` along one axis and the network's choice in more, if `auto`.
        dropout: rate in the residual branches.
        **options: see `FieldModule`.
    """

    label = "CST paper"  # as `cst_paper` in the protocols
    network: PaperNetwork

    def __init__(
        self,
        dimension: int,
        channels: int,
        periodic: list[bool] | tuple[bool, ...] | None = None,
        as_coded: bool = False,
        order: int = 2,
        p: float = 2.0,
        mu: float = 1e-6,
        noise: float = 0.1,
        width: int = 96,
        depth: int = 4,
        heads: int = 8,
        expansion: int = 4,
        frequencies: int = 6,
        initialiser: str = "auto",
        dropout: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(dimension, channels, periodic, p, **options)
        self.loss, self.as_coded = SobolevLoss(order, p, mu), as_coded
        initialiser = "linear" if initialiser == "auto" and dimension == 1 else initialiser
        self.network = PaperNetwork(
            dimension, channels, periodic, width=width, depth=depth, heads=heads, expansion=expansion,
            frequencies=frequencies, initialiser=initialiser, dropout=dropout, noise=noise,
        )  # fmt: skip

    def predict(self, batch: Batch) -> Tensor:
        """Return predictions (B, Q, c) at a normalised batch's targets; the batch's dummies take part."""
        return self._answers(batch)[0]

    def field(self, coords: Array, values: Array) -> ObservedField:
        """Return the function through observations, physical units; see `Field.observe`."""
        return Field(self.network, self.normalization).observe(coords, values)

    def terms(self, batch: Batch, keys: Tensor, count: Tensor | None = None) -> LossTerms:
        """Return the loss; arguments as in `FieldModule.terms`."""
        network, target = self.network, batch.target
        memory = network.encode(batch.context, batch.dummies, keys)
        prediction = network.query(memory, target.coords, keys=keys)
        if not self.as_coded:
            return self.loss(network, memory, prediction, target.values, target.mask, batch.dummies, keys, count)
        error = (prediction - target.values) * target.mask[..., None]
        fit = torch.linalg.vector_norm(error, self.loss.p, (1, 2)).mean()
        observed = batch.context.mask.shape[1]
        sobolev = self.value_derivatives(network.tokens(batch.context, batch.dummies, keys), observed)
        return LossTerms(fit + self.loss.mu * sobolev, fit, sobolev)

    def value_derivatives(self, tokens: PointSet, observed: int) -> Tensor:
        """Return the published code's Sobolev term without the factor mu.

        Args:
            tokens: observations, then dummies, (B, M, d), (B, M, c), (B, M).
            observed: number of tokens before the dummies.
        """
        values = tokens.values.detach().requires_grad_()
        derivative = self.network.outputs(tokens.coords, values, tokens.mask)
        total = derivative.new_zeros(())
        for order in range(1, min(self.loss.order, 2) + 1):  # from the third order on there is a zero
            (derivative,) = torch.autograd.grad(
                derivative, values, torch.ones_like(derivative), create_graph=order == 1, retain_graph=True
            )
            total = total + torch.linalg.vector_norm(derivative[:, observed:], self.loss.p, (1, 2)).mean()
        return total

    def _answers(self, batch: Batch) -> tuple[Tensor, Tensor]:
        memory, coords = self.network.encode(batch.context, batch.dummies), batch.target.coords
        return self.network.ask(memory, coords), self.network.initial(memory, coords)
