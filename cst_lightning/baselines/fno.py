"""Fourier neural operators: over time and space at once, or over space and step by step in time."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cst_lightning.baselines.frame_models import FrameModule, FrameNetwork
from cst_lightning.datamodules.readers.optional import lazy_import


class FNONetwork(FrameNetwork):
    """One operator over all axes, time included: from the filled frames and their mask to all frames.

    The operator is `neuralop.models.FNO` with as many dimensions as the data have coordinates; axes that do not repeat
    are padded, because a Fourier layer takes every axis for periodic. Source: Li et al., Fourier Neural Operator for
    Parametric Partial Differential Equations, ICLR 2021 ("FNO-3D").

    Args:
        dimension: d, coordinates time first.
        channels: c.
        periodic: whether each axis repeats.
        width: hidden channels.
        depth: Fourier layers.
        modes: Fourier modes kept of each axis, or one number for all; of the last axis half as many and one, because
            fields are real. More than an axis has are cut.
        padding: of axes that do not repeat, on each side, as a part of their length.
        residual: add the output, which starts at zero, to the filled frames.
    """

    def __init__(
        self,
        dimension: int,
        channels: int,
        periodic: Sequence[bool],
        width: int = 20,
        depth: int = 4,
        modes: int | Sequence[int] = 8,
        padding: float = 0.25,
        residual: bool = True,
    ) -> None:
        super().__init__(dimension, channels, periodic, residual)
        self.operator = operator(channels + 1, channels, self.periodic, width, depth, modes, padding, residual)
        self.register_state_dict_post_hook(_tensors_only)

    def frames(self, filled: Tensor, seen: Tensor) -> Tensor:
        """Return what is added to the filled frames; see `FrameNetwork.frames`."""
        return self.operator(torch.cat([filled, seen], -1).movedim(-1, 1)).movedim(1, -1)


class SteppingFNONetwork(FrameNetwork):
    """An operator over space that takes one step in time, applied again and again.

    Frame t is frame t - 1 and the operator of the `history` frames before t; where frame t was observed, the next step
    starts from the observation instead. So between observations, and after the last, it forecasts. The first frame is
    the filled one. Source: as `FNONetwork` ("FNO-2D, with RNN structure in time").

    Args:
        dimension: d of at least 2, coordinates time first.
        channels: c.
        periodic: whether each axis repeats.
        width: hidden channels.
        depth: Fourier layers.
        modes: as in `FNONetwork`, of the space axes.
        padding: as in `FNONetwork`.
        history: frames that a step sees.
    """

    def __init__(
        self,
        dimension: int,
        channels: int,
        periodic: Sequence[bool],
        width: int = 20,
        depth: int = 4,
        modes: int | Sequence[int] = 8,
        padding: float = 0.25,
        history: int = 4,
    ) -> None:
        super().__init__(dimension, channels, periodic, residual=False)
        if dimension < 2 or history < 1:
            raise ValueError(
                f"dimension is {dimension} and history {history}, expected space axes and at least 1 frame"
            )
        self.history = history
        inputs = history * (channels + 1)
        self.operator = operator(inputs, channels, self.periodic[1:], width, depth, modes, padding, still=True)
        self.register_state_dict_post_hook(_tensors_only)

    def frames(self, filled: Tensor, seen: Tensor) -> Tensor:
        """Return all frames; see `FrameNetwork.frames`."""
        given, shown = filled.movedim(-1, 2).unbind(1), seen.movedim(-1, 2).unbind(1)
        predicted = [given[0]]
        # before the first frame nothing moved
        past = [torch.cat([given[0], shown[0]], 1)] * self.history
        for time in range(1, len(given)):
            predicted.append(past[-1][:, : self.channels] + self.operator(torch.cat(past, 1)))
            state = torch.where(shown[time] > 0, given[time], predicted[-1])
            past = [*past[1:], torch.cat([state, shown[time]], 1)]
        return torch.stack(predicted, 1).movedim(2, -1)


class FNOModule(FrameModule):
    """Train an `FNONetwork`, or a `SteppingFNONetwork` for forecasts.

    Args:
        dimension: d, coordinates time first.
        channels: c.
        periodic: whether each axis repeats.
        autoregressive: step through time with an operator over space, instead of one over time and space.
        width: hidden channels.
        depth: Fourier layers.
        modes: Fourier modes kept of each axis, or one number for all.
        padding: of axes that do not repeat, on each side, as a part of their length.
        history: frames that a step sees, if autoregressive.
        residual: add the output, which starts at zero, to the filled frames; a stepping operator always adds to the
            frame before.
        **options: see `FieldModule`.
    """

    def __init__(
        self,
        dimension: int,
        channels: int,
        periodic: list[bool] | tuple[bool, ...] | None = None,
        autoregressive: bool = False,
        width: int = 20,
        depth: int = 4,
        modes: int | list[int] = 8,
        padding: float = 0.25,
        history: int = 4,
        residual: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(dimension, channels, periodic, **options)
        facts = (dimension, channels, self.periodic, width, depth, modes, padding)
        self.network: FrameNetwork = (
            SteppingFNONetwork(*facts, history) if autoregressive else FNONetwork(*facts, residual)
        )


def operator(
    inputs: int,
    outputs: int,
    periodic: Sequence[bool],
    width: int,
    depth: int,
    modes: int | Sequence[int],
    padding: float,
    still: bool,
) -> nn.Module:
    """Build `neuralop.models.FNO`, (B, inputs, *axes) to (B, outputs, *axes).

    Args:
        inputs: channels in; coordinates are appended.
        outputs: channels out.
        periodic: whether each axis repeats; the others are padded.
        width: hidden channels.
        depth: Fourier layers.
        modes: kept of each axis, or one number for all.
        padding: on each side of an axis, as a part of its length.
        still: start with an output of zero.

    Raises:
        MissingPackageError: neuraloperator is not installed.
        ValueError: `modes` has not one number an axis.
    """
    counts = [modes] * len(periodic) if isinstance(modes, int) else list(modes)
    if len(counts) != len(periodic):
        raise ValueError(f"modes is {counts}, expected one number, or one for each of {len(periodic)} axes")
    with warnings.catch_warnings():  # its import changes what everybody else's warnings do
        models = lazy_import("neuralop.models", "baselines")
    made: nn.Module = models.FNO(
        n_modes=tuple(counts),
        in_channels=inputs,
        out_channels=outputs,
        hidden_channels=width,
        n_layers=depth,
        domain_padding=None if all(periodic) else [0.0 if wraps else padding for wraps in periodic],
    )
    if still:
        last = made.get_submodule("projection").get_submodule("fcs.1")
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
    return made


def _tensors_only(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    """Take out what neuraloperator adds to its weights: its constructor's arguments, functions that need unpickling."""
    state.pop("_metadata", None)
