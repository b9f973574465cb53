"""From coordinates and values to tokens: Fourier features, periodic axes, value embedding, context/query flag."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cst_lightning import jets


class FourierFeatures(nn.Module):
    r"""Encode normalised coordinates by sines and cosines, axis by axis and along the diagonals.

    An axis that does not repeat gives ``x`` itself and ``sin, cos(s m pi x / 2)``, m = 1..F, where s is that axis'
    scale; a periodic axis, of period 2 in normalised coordinates, gives ``sin, cos(m pi x)`` with integer m, so that
    the encoding, and with it everything built upon it, repeats exactly. Each pair of axes also gives the lowest
    harmonic of its sum and difference. Everything runs in float32 or better whatever autocast says: bfloat16 merges
    neighbouring coordinates.

    Args:
        periodic: whether each of the d axes is periodic.
        frequencies: F >= 1, harmonics an axis.
        scale: initial s of every axis that does not repeat.
        learnable: train the scales.
        bare: sines and cosines of the single axes only: no coordinate itself, no diagonals.
    """

    waves: Tensor
    moving: Tensor

    def __init__(
        self,
        periodic: Sequence[bool],
        frequencies: int = 8,
        scale: float = 1.0,
        learnable: bool = True,
        bare: bool = False,
    ) -> None:
        super().__init__()
        if frequencies < 1:
            raise ValueError(f"frequencies is {frequencies}, expected at least 1")
        dimension = len(periodic)
        base = torch.tensor([1.0 if p else 0.5 for p in periodic])
        rows = [base * n * torch.eye(dimension)[axis] for axis in range(dimension) for n in range(1, frequencies + 1)]
        for first in range(0 if bare else dimension):
            for second in range(first + 1, dimension):
                unit = torch.eye(dimension)
                rows += [base * (unit[first] + unit[second]), base * (unit[first] - unit[second])]
        # In units of pi, which is rounded only in forward, to the precision at hand: exact periods need it.
        self.register_buffer("waves", torch.stack(rows), persistent=False)
        self.register_buffer("moving", torch.tensor([not p for p in periodic]), persistent=False)
        self.bare, self.plain = bare, [axis for axis, p in enumerate(periodic) if not p]
        self.log_scale = nn.Parameter(torch.full((dimension,), math.log(scale)), requires_grad=learnable)
        self.features = 2 * len(rows) + (0 if bare else dimension - sum(periodic))

    def forward(self, coords: Tensor) -> Tensor:
        """Encode a jet of coordinates (k + 1, ..., d) as a jet of features (k + 1, ..., features)."""
        with torch.autocast(coords.device.type, enabled=False):
            coords = coords.to(torch.promote_types(coords.dtype, torch.float32))
            scale = torch.where(self.moving, self.log_scale.exp(), 1.0)
            sine, cosine = jets.sin_cos(coords @ ((self.waves * scale).to(coords.dtype) * math.pi).T)
            return torch.cat([sine, cosine] if self.bare else [coords[..., self.plain], sine, cosine], -1)


class TokenEmbedding(nn.Module):
    """Embed points as tokens: coordinate features, value, and a flag that tells context from query.

    Args:
        periodic: whether each of the d axes is periodic.
        channels: c.
        width: W.
        frequencies: harmonics an axis.
        scale: initial scale of the axes that do not repeat.
        learnable: train those scales.
    """

    def __init__(
        self,
        periodic: Sequence[bool],
        channels: int,
        width: int,
        frequencies: int = 8,
        scale: float = 1.0,
        learnable: bool = True,
    ) -> None:
        super().__init__()
        self.fourier = FourierFeatures(periodic, frequencies, scale, learnable)
        self.position = nn.Linear(self.fourier.features, width)
        self.value = nn.Linear(channels, width, bias=False)
        self.flag = nn.Parameter(torch.zeros(2, width))

    def forward(self, features: Tensor, values: Tensor, query: bool) -> Tensor:
        """Return token jets (k + 1, ..., W) from jets of features and of values."""
        position = jets.linear(features, self.position.weight, self.position.bias)
        return jets.shift(position + self.value(values), self.flag[int(query)])
