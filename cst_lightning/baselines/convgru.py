"""Recurrent baseline: convolutional gated units that read the frames in both directions of time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cst_lightning.baselines.frame_models import FrameModule, FrameNetwork, as_pictures, planar
from cst_lightning.errors import check_ranges


class WrappedConv(nn.Conv2d):
    """A convolution that keeps the size: periodic axes are wrapped, others are padded with zeros.

    Args:
        inputs: channels in.
        outputs: channels out.
        kernel: odd side of the kernel.
        periodic: whether height and width repeat.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, periodic: Sequence[bool]) -> None:
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"kernel is {kernel}, expected an odd number of cells")
        super().__init__(inputs, outputs, kernel)
        self.margin, self.wraps = kernel // 2, tuple(periodic)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, C, H, W)."""
        if self.margin:
            m, modes = self.margin, ["circular" if wraps else "constant" for wraps in self.wraps]
            x = F.pad(F.pad(x, (0, 0, m, m), mode=modes[0]), (m, m, 0, 0), mode=modes[1])
        return super().forward(x)


class ConvGRUCell(nn.Module):
    r"""A gated recurrent unit whose products are convolutions.

    .. math:: r, z = \sigma(W_{r,z} * x + U_{r,z} * h), \quad n = \tanh(W_n * x + r (U_n * h)), \quad
              h' = (1 - z) n + z h

    with biases on both products, as in `torch.nn.GRUCell`, which it equals with a kernel of one cell. Source: Ballas,
    Yao, Pal and Courville, Delving deeper into convolutional networks for learning video representations, ICLR 2016.

    Args:
        inputs: channels in.
        width: channels of the state.
        kernel: odd side of the kernels.
        periodic: whether height and width repeat.
    """

    def __init__(self, inputs: int, width: int, kernel: int, periodic: Sequence[bool]) -> None:
        super().__init__()
        self.width = width
        self.input = WrappedConv(inputs, 3 * width, kernel, periodic)
        self.state = WrappedConv(width, 3 * width, kernel, periodic)

    def forward(self, x: Tensor) -> Tensor:
        """Return the states (B, T, width, H, W) over frames x (B, T, C, H, W), the first after a state of zeros."""
        frames = self.input(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        state, states = x.new_zeros(len(x), self.width, *x.shape[-2:]), []
        for frame in frames.unbind(1):
            gates, new = frame.split([2 * self.width, self.width], 1)
            more, old = self.state(state).split([2 * self.width, self.width], 1)
            reset, update = (gates + more).sigmoid().chunk(2, 1)
            state = torch.lerp((new + reset * old).tanh(), state, update)
            states.append(state)
        return torch.stack(states, 1)


class ConvGRUNetwork(FrameNetwork):
    """Encode each frame, run a recurrent cell forwards and one backwards in time, and decode both states.

    Args:
        dimension: d of 1 to 3, coordinates time first; a missing space axis counts as one of length 1.
        channels: c.
        periodic: whether each axis repeats; the recurrence does not wrap around time.
        width: channels of encoder and states.
        depth: recurrent layers, each in both directions.
        kernel: odd side of all kernels.
        residual: add the output, which starts at zero, to the filled frames.
        patch: side of the blocks of cells that are read as one, a channel for each of them.
    """

    def __init__(
        self,
        dimension: int,
        channels: int,
        periodic: Sequence[bool],
        width: int = 32,
        depth: int = 1,
        kernel: int = 3,
        residual: bool = True,
        patch: int = 1,
    ) -> None:
        super().__init__(dimension, channels, periodic, residual)
        check_ranges(patch=(patch, 1, math.inf))
        wraps = planar(dimension, "ConvGRU", periodic)
        self.patch, cells = patch, patch**2
        self.encoder = WrappedConv((channels + 1) * cells, width, kernel, wraps)
        sizes = [width, *[2 * width] * (depth - 1)]
        self.forwards = nn.ModuleList(ConvGRUCell(size, width, kernel, wraps) for size in sizes)
        self.backwards = nn.ModuleList(ConvGRUCell(size, width, kernel, wraps) for size in sizes)
        self.mix, self.head = nn.Conv2d(2 * width, width, 1), WrappedConv(width, channels * cells, kernel, wraps)
        if residual:
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(cast(Tensor, self.head.bias))

    def build(self, shape: tuple[int, ...]) -> None:
        """Refuse a grid that is no whole number of blocks.

        Raises:
            ValueError: it is none.
        """
        sides = (*shape[1:], 1, 1)[:2]
        if any(side % self.patch for side in sides):
            found = " x ".join(map(str, sides))
            raise ValueError(f"patch is {self.patch}, expected a divisor of both sides of a frame, {found} cells")

    def frames(self, filled: Tensor, seen: Tensor) -> Tensor:
        """Return what is added to the filled frames; see `FrameNetwork.frames`."""
        pictures = as_pictures(torch.cat([filled, seen], -1))
        time = pictures.shape[:2]
        blocks = F.pixel_unshuffle(pictures.flatten(0, 1), self.patch)
        x = F.gelu(self.encoder(blocks)).unflatten(0, time)
        for forwards, backwards in zip(self.forwards, self.backwards, strict=True):
            x = torch.cat([forwards(x), backwards(x.flip(1)).flip(1)], 2)
        out = F.pixel_shuffle(self.head(F.gelu(self.mix(x.flatten(0, 1)))), self.patch).unflatten(0, time)
        return out.movedim(2, -1).reshape(filled.shape)


class ConvGRUModule(FrameModule):
    """Train a `ConvGRUNetwork`.

    Args:
        dimension: d of 1 to 3, coordinates time first.
        channels: c.
        periodic: whether each axis repeats.
        width: channels of encoder and states.
        depth: recurrent layers, each in both directions.
        kernel: odd side of all kernels.
        residual: add the output, which starts at zero, to the filled frames.
        patch: side of the blocks of cells that are read as one, a channel for each of them.
        **options: see `FieldModule`.
    """

    def __init__(
        self,
        dimension: int,
        channels: int,
        periodic: list[bool] | tuple[bool, ...] | None = None,
        width: int = 32,
        depth: int = 1,
        kernel: int = 3,
        residual: bool = True,
        patch: int = 1,
        **options: Any,
    ) -> None:
        super().__init__(dimension, channels, periodic, **options)
        self.network = ConvGRUNetwork(dimension, channels, self.periodic, width, depth, kernel, residual, patch)
