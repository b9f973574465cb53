"""The continuous spatiotemporal transformer: encode observations once, then ask for values or jets anywhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cst_lightning import interpolate, jets, randomness
from cst_lightning.encoding import FourierFeatures, TokenEmbedding
from cst_lightning.errors import check_ranges
from cst_lightning.points import PointSet
from cst_lightning.smoothers import GaussianProcesses


class Memory(NamedTuple):
    """What a query reads: one entry a layer, computed once for a context.

    Attributes:
        keys: L tensors (B, H, N, E), positional part included.
        values: L tensors (B, H, N, E_v).
        mask: (B, 1, 1, N) bool, True where a key may be read.
        interpolant: the initialiser, fitted to the context.
        context: the observations, normalised.
    """

    keys: list[Tensor]
    values: list[Tensor]
    mask: Tensor
    interpolant: interpolate.Interpolant
    context: PointSet


class Block(nn.Module):
    r"""One pre-norm transformer layer whose attention knows how far apart two points are.

    Logits are ``q . k / sqrt(E) + sum_m a_hm^2 cos(m w (x - y))``: content plus, for each head h, a learned stationary
    kernel of the coordinates. The kernel is a dot product of features, so it is appended to queries and keys and
    costs no bias matrix: fused attention and jets work as they are.

    Args:
        width: W, a multiple of `heads`.
        heads: H.
        places: number of sines, and of cosines, that describe where a point is; 0 for no kernel.
        expansion: hidden width of the feed-forward part over W.
        dropout: rate on both residual branches.
    """

    def __init__(self, width: int, heads: int, places: int, expansion: int, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width is {width}, expected a multiple of heads = {heads}")
        self.heads, self.dropout = heads, dropout
        self.attention_norm, self.feed_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.memory, self.out = (
            nn.Linear(width, width),
            nn.Linear(width, 2 * width),
            nn.Linear(width, width),
        )
        self.expand, self.contract = nn.Linear(width, expansion * width), nn.Linear(expansion * width, width)
        # it enters squared: 0 would have no gradient, and the heads have to differ to learn different ranges
        self.kernel = nn.Parameter(0.5 + 0.1 * torch.randn(heads, 1, places))

    def remember(self, x: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values (B, H, N, ·) of tokens x (B, N, W) at places (B, N, 2 R)."""
        normed = F.layer_norm(x, x.shape[-1:], self.attention_norm.weight, self.attention_norm.bias)
        keys, values = self.memory(normed).chunk(2, -1)
        return torch.cat([self._split(keys), self._place(places)], -1), self._split(values)

    def read(self, x: Tensor, places: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """Move token jets (k + 1, B, Q, W) one layer on, reading a memory that stands still."""
        read = jets.attention(self._queries(x, places), keys, values, mask, scale=1.0)
        read = read.transpose(-2, -3).flatten(-2)
        x = x + self._drop(jets.linear(read, self.out.weight, self.out.bias))
        hidden = jets.layer_norm(x, self.feed_norm.weight, self.feed_norm.bias)
        hidden = jets.gelu(jets.linear(hidden, self.expand.weight, self.expand.bias))
        return x + self._drop(jets.linear(hidden, self.contract.weight, self.contract.bias))

    def weights(self, x: Tensor, places: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """Return the attention weights (B, H, Q, N) that `read` uses at order 0."""
        logits = self._queries(x[:1], places[:1])[0] @ keys.transpose(-1, -2)
        return logits.masked_fill(~mask, -math.inf).softmax(-1)

    def _queries(self, x: Tensor, places: Tensor) -> Tensor:
        normed = jets.layer_norm(x, self.attention_norm.weight, self.attention_norm.bias)
        content = self._split(jets.linear(normed, self.query.weight, self.query.bias))
        return torch.cat([content * content.shape[-1] ** -0.5, self._place(places)], -1)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(-2, -3)

    def _place(self, places: Tensor) -> Tensor:
        kernel = torch.cat([self.kernel, self.kernel], -1)
        return places.unsqueeze(-3)[..., : kernel.shape[-1]] * kernel

    def _drop(self, x: Tensor) -> Tensor:
        if not self.training or self.dropout == 0:
            return x
        return x * F.dropout(torch.ones_like(x[0]), self.dropout)


class CSTNetwork(nn.Module):
    r"""A continuous function of the coordinates, given observations: ``y(x | C)``.

    Context tokens attend to context tokens; a query token shares every weight with them and reads their frozen keys
    and values, so what else is asked changes nothing. ``y = interpolant(x) + head(tokens)``, the head starting at zero.
    Source: Fonseca et al., ICML 2023, section 3; isolated queries and jets are ours.

    Args:
        dimension: d, coordinates time first.
        channels: c.
        periodic: whether each axis repeats (with period 2 in normalised coordinates); none by default.
        width: W of the tokens.
        depth: number of layers L.
        heads: attention heads H.
        expansion: feed-forward width over W.
        frequencies: Fourier harmonics an axis in the token encoding.
        frequency_scale: initial scale of the harmonics of axes that do not repeat; 1 makes the lowest half a wave
            over the domain.
        learn_scale: train that scale.
        kernel_frequencies: harmonics an axis in the distance kernel of the attention logits; 0 leaves the kernel out.
        attention: `isolated` (a query reads the context) or `joint` (the paper: dummies are in the memory as well).
        latents: compress the context to so many learned tokens; 0 keeps every observation.
        initialiser: name of an interpolant of `cst_lightning.interpolate`, or `auto`.
        residual: add the network to the initialiser instead of replacing it.
        dropout: rate in the residual branches.
        noise: standard deviation of Gaussian noise on token values in training, normalised units.
        causal: a context token attends to earlier or equal times only.
    """

    def __init__(
        self,
        dimension: int,
        channels: int,
        periodic: Sequence[bool] | None = None,
        width: int = 96,
        depth: int = 4,
        heads: int = 8,
        expansion: int = 4,
        frequencies: int = 6,
        frequency_scale: float = 1.0,
        learn_scale: bool = True,
        kernel_frequencies: int = 3,
        attention: Literal["isolated", "joint"] = "isolated",
        latents: int = 0,
        initialiser: str = "auto",
        residual: bool = True,
        dropout: float = 0.0,
        noise: float = 0.0,
        causal: bool = False,
    ) -> None:
        super().__init__()
        periodic = tuple(periodic) if periodic is not None else (False,) * dimension
        if len(periodic) != dimension:
            raise ValueError(f"periodic has {len(periodic)} entries, expected one for each of {dimension} axes")
        check_ranges(
            dimension=(dimension, 1, math.inf), channels=(channels, 1, math.inf), width=(width, 1, math.inf),
            depth=(depth, 1, math.inf), heads=(heads, 1, math.inf), expansion=(expansion, 1, math.inf),
            frequencies=(frequencies, 1, math.inf), kernel_frequencies=(kernel_frequencies, 0, math.inf),
            latents=(latents, 0, math.inf), dropout=(dropout, 0, 1), noise=(noise, 0, math.inf),
        )  # fmt: skip
        if attention not in ("isolated", "joint"):
            raise ValueError(f"attention is {attention!r}, expected 'isolated' or 'joint'")
        if latents and (attention == "joint" or causal):
            raise ValueError("latents mix all observations, expected attention 'isolated' and causal false with them")
        self.dimension, self.channels, self.periodic = dimension, channels, periodic
        self.joint, self.causal, self.residual, self.noise = attention == "joint", causal, residual, noise
        self.initialiser = interpolate.default(dimension) if initialiser == "auto" else initialiser
        interpolate.check(self.initialiser, dimension)
        self.smoother = GaussianProcesses(dimension, channels) if self.initialiser == "gp" else None
        self.embedding = TokenEmbedding(periodic, channels, width, frequencies, frequency_scale, learn_scale)
        self.places = FourierFeatures(periodic, max(kernel_frequencies, 1), learnable=False, bare=True)
        places = self.places.features // 2 if kernel_frequencies else 0
        self.layers = nn.ModuleList(Block(width, heads, places, expansion, dropout) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), self.new_head(width, channels)
        self.gain: Tensor
        self.register_buffer("gain", torch.ones(channels))  # of what is added to the initialiser
        self.latents = nn.Parameter(2 * torch.rand(latents, dimension) - 1) if latents else None
        self.compress = Block(width, heads, places, expansion, dropout) if latents else None

    def new_head(self, width: int, outputs: int) -> nn.Linear:
        """Return what maps tokens to the output, zero at first if it is added to the initialiser."""
        head = nn.Linear(width, outputs)
        if self.residual:
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        return head

    @property
    def blocks(self) -> list[Block]:
        """The layers, as what they are."""
        return cast(list[Block], list(self.layers))

    def encode(self, context: PointSet, dummies: Tensor | None = None, keys: Tensor | None = None) -> Memory:
        """Read the observations, once for all queries.

        Args:
            context: normalised observations, (B, N, d), (B, N, c), (B, N), N >= 1.
            dummies: (B, D, d), put into the memory if attention is joint, else ignored.
            keys: (B,) of `randomness.sample_keys`, for the noise in training; without them there is none.

        Returns:
            Keys and values of every layer, and the fitted initialiser.
        """
        interpolant = self._fit(context)
        coords, values, mask = context.coords, self._jitter(context.values[None], keys, 0)[0], context.mask
        tokens = self.embedding(self.embedding.fourier(coords[None]), values[None], query=False)[0]
        if self.joint and dummies is not None:
            tokens = torch.cat([tokens, self._query_tokens(dummies[None], interpolant(dummies[None]), keys, 1)[0]], 1)
            coords = torch.cat([coords, dummies], 1)
            mask = torch.cat([mask, mask.new_ones(dummies.shape[:2])], 1)
        mask = mask | ~mask.any(-1, keepdim=True)  # an empty context reads its padding, zeros, instead of nothing
        if self.compress is not None:
            tokens, coords, mask = self._latent_tokens(tokens, coords, mask)
        layer_keys, layer_values, mask = self._remember(tokens, coords, mask)
        return Memory(layer_keys, layer_values, mask, interpolant, context)

    def query(
        self,
        memory: Memory,
        coords: Tensor,
        order: int = 0,
        directions: Tensor | None = None,
        keys: Tensor | None = None,
        stream: int = 2,
    ) -> Tensor:
        """Read values, or jets along given directions, at any coordinates.

        Args:
            memory: from `encode`.
            coords: (B, Q, d), normalised.
            order: k.
            directions: (B, Q, d) or broadcastable; needed if k > 0.
            keys: as in `encode`.
            stream: tells the noise of this call from that of others with the same keys.

        Returns:
            Values (B, Q, c) if k = 0, otherwise Taylor coefficients (k + 1, B, Q, c) in ``coords + t * directions``.
        """
        if order and directions is None:
            raise ValueError(f"directions is missing, expected (batch, query, {self.dimension}) for order {order}")
        line = jets.variable(coords, coords if directions is None else directions, order)
        start = memory.interpolant(line)
        tokens, places = self._query_tokens(line, start, keys, stream), self.places(line)
        for layer, keys, values in zip(self.blocks, memory.keys, memory.values, strict=True):
            tokens = layer.read(tokens, places, keys, values, memory.mask)
        tokens = jets.layer_norm(tokens, self.norm.weight, self.norm.bias)
        out = jets.linear(tokens, self.head.weight, self.head.bias)
        out = self._corrected(start, out) if self.residual else out
        return out if order else out[0]

    def ask(
        self,
        memory: Memory,
        coords: Tensor,
        order: int = 0,
        directions: Tensor | None = None,
        budget: int = 2**28,
    ) -> Tensor:
        """Do what `query` does in chunks of queries, so that memory does not grow with Q.

        Args:
            memory: from `encode`.
            coords: (B, Q, d).
            order: k.
            directions: (B, Q, d).
            budget: bytes that the intermediates of a chunk may take, roughly.

        Returns:
            As `query`.
        """
        heads, width = self.blocks[0].heads, self.norm.normalized_shape[0]
        observed = max(memory.keys[0].shape[-2], memory.context.coords.shape[1])
        # per query and order: the logits and weights of all heads, which the fused kernel of order 0 does not keep
        # (the initialiser's distances it does), and a layer's tokens, of which the feed-forward part has four widths
        numbers = (2 * heads * observed if order else 4 * observed) + 12 * width
        one = coords.element_size() * len(coords) * (order + 1) * numbers
        chunk = max(1, budget // one)
        lines = [None] * max(1, -(-coords.shape[1] // chunk)) if directions is None else directions.split(chunk, 1)
        parts = [self.query(memory, x, order, v) for x, v in zip(coords.split(chunk, 1), lines, strict=True)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -2)

    def initial(self, memory: Memory, coords: Tensor, budget: int = 2**28) -> Tensor:
        """Return the initialiser's values (B, Q, c) at coords (B, Q, d): the model before training if residual."""
        one = 4 * coords.element_size() * len(coords) * memory.context.coords.shape[1]
        parts = [memory.interpolant(part[None])[0] for part in coords.split(max(1, budget // max(one, 1)), 1)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def attention(self, memory: Memory, coords: Tensor) -> Tensor:
        """Return the attention weights (L, B, H, Q, N) at coords (B, Q, d) over the memory's tokens.

        With latents the weights are carried through the compression, so that N always counts observations (and, if
        attention is joint, the dummies behind them).
        """
        line = coords[None]
        tokens, places, out = self._query_tokens(line, memory.interpolant(line)), self.places(line), []
        for layer, keys, values in zip(self.blocks, memory.keys, memory.values, strict=True):
            out.append(layer.weights(tokens, places, keys, memory.mask))
            tokens = layer.read(tokens, places, keys, values, memory.mask)
        weights = torch.stack(out)
        return weights if self.compress is None else weights @ self._compression(memory.context)

    def _corrected(self, start: Tensor, out: Tensor) -> Tensor:
        """Add the head's outputs to what the initialiser says."""
        return start + self.gain * out

    def _fit(self, context: PointSet) -> interpolate.Interpolant:
        periods = tuple(2.0 if p else None for p in self.periodic)
        with torch.autocast(context.coords.device.type, enabled=False):
            if self.smoother is not None:
                found: interpolate.Interpolant = self.smoother(*context, periods)
                return found
            return interpolate.fit(self.initialiser, *context, periods=periods)

    def _query_tokens(self, line: Tensor, start: Tensor, keys: Tensor | None = None, stream: int = 0) -> Tensor:
        return self.embedding(self.embedding.fourier(line), self._jitter(start, keys, stream), query=True)

    def _jitter(self, values: Tensor, keys: Tensor | None, stream: int) -> Tensor:
        """Add training noise to a jet of token values; it is constant along the line."""
        if not self.training or self.noise == 0 or keys is None:
            return values
        return jets.shift(values, self.noise * randomness.normal(keys, tuple(values.shape[2:]), stream, values.dtype))

    def _latent_tokens(self, tokens: Tensor, coords: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        assert self.compress is not None
        assert self.latents is not None
        keys, values = self.compress.remember(tokens, self.places(coords[None])[0])
        anchors = self.latents.expand(len(tokens), -1, -1)
        start, places = self._anchor_tokens(anchors), self.places(anchors[None])
        latent = self.compress.read(start, places, keys, values, mask[:, None, None])[0]
        return latent, anchors, mask.new_ones(latent.shape[:2])

    def _anchor_tokens(self, anchors: Tensor) -> Tensor:
        values = anchors.new_zeros(1, *anchors.shape[:2], self.channels)
        return self.embedding(self.embedding.fourier(anchors[None]), values, query=True)

    def _compression(self, context: PointSet) -> Tensor:
        """Return the weights (B, H, M, N) with which latents read observations."""
        assert self.compress is not None
        assert self.latents is not None
        tokens = self.embedding(self.embedding.fourier(context.coords[None]), context.values[None], query=False)[0]
        keys, _ = self.compress.remember(tokens, self.places(context.coords[None])[0])
        anchors = self.latents.expand(len(tokens), -1, -1)
        mask = (context.mask | ~context.mask.any(-1, keepdim=True))[:, None, None]
        return self.compress.weights(self._anchor_tokens(anchors), self.places(anchors[None]), keys, mask)

    def _remember(self, tokens: Tensor, coords: Tensor, mask: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Run the context through all layers; the last one's output is nobody's input, so it is not computed."""
        readable = mask[:, None, None]
        allowed = readable
        if self.causal:
            times = coords[..., 0]
            earlier = (times[:, None, :] <= times[:, :, None])[:, None]
            itself = torch.eye(times.shape[1], dtype=torch.bool, device=times.device)
            allowed = (readable & earlier) | itself  # padding attends to itself, or its softmax would be 0 / 0
        places, all_keys, all_values = self.places(coords[None])[0], [], []
        for depth, layer in enumerate(self.blocks):
            keys, values = layer.remember(tokens, places)
            all_keys.append(keys)
            all_values.append(values)
            if depth + 1 < len(self.layers):
                tokens = layer.read(tokens[None], places[None], keys, values, allowed)[0]
        return all_keys, all_values, readable
