"""Video baseline: a ViViT encoder over tubelets of the frames, and a linear decoder back to frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cst_lightning.baselines.frame_models import FrameModule, FrameNetwork, as_pictures, planar
from cst_lightning.datamodules.readers.optional import lazy_import


class VivitNetwork(FrameNetwork):
    """Cut the frames into tubelets, let all tubelets attend to each other, and give each its pixels back.

    The encoder is `transformers.VivitModel`, whose sizes depend on the grid and which is therefore built by `place`;
    its class token goes unused. Sides that are no multiple of the tubelet are continued by their last frame, row or
    column. Source: Arnab et al., ViViT: A Video Vision Transformer, ICCV 2021, model 1.

    Args:
        dimension: d of 1 to 3, coordinates time first; a missing space axis counts as one of length 1.
        channels: c.
        periodic: whether each axis repeats; positions are learned, so that nothing wraps.
        width: of the tokens.
        depth: number of layers.
        heads: attention heads.
        expansion: feed-forward width over `width`.
        tubelet: frames of a tubelet.
        patch: cells along its sides.
        dropout: rate in the residual branches and on attention weights.
        residual: add the output, which starts at zero, to the filled frames.
    """

    trunk: Any  # of a package that may be missing

    def __init__(
        self,
        dimension: int,
        channels: int,
        periodic: Sequence[bool],
        width: int = 64,
        depth: int = 4,
        heads: int = 4,
        expansion: int = 4,
        tubelet: int = 2,
        patch: int = 4,
        dropout: float = 0.0,
        residual: bool = True,
    ) -> None:
        super().__init__(dimension, channels, periodic, residual)
        planar(dimension, "ViViT", periodic)
        if width % heads or min(tubelet, patch) < 1:
            raise ValueError(
                f"width, heads, tubelet, patch are {width}, {heads}, {tubelet}, {patch}, expected width a multiple of "
                "heads, and tubelets of at least one cell"
            )
        lazy_import("transformers", "baselines")  # now, before any data are read
        self.width, self.tubelet, self.dropout = width, (tubelet, patch, patch), dropout
        self.layers, self.heads, self.expansion = depth, heads, expansion
        self.decoder = nn.Linear(width, tubelet * patch * patch * channels)
        if residual:
            nn.init.zeros_(self.decoder.weight)
            nn.init.zeros_(self.decoder.bias)

    def build(self, shape: tuple[int, ...]) -> None:
        """Make the encoder for a grid (T, *space)."""
        transformers = lazy_import("transformers", "baselines")
        padded = [-(-n // side) * side for n, side in zip((*shape, 1, 1)[:3], self.tubelet, strict=True)]
        config = transformers.VivitConfig(
            image_size=padded[1:],
            num_frames=padded[0],
            tubelet_size=list(self.tubelet),
            num_channels=self.channels + 1,
            hidden_size=self.width,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            intermediate_size=self.expansion * self.width,
            hidden_dropout_prob=self.dropout,
            attention_probs_dropout_prob=self.dropout,
        )
        self.trunk = transformers.VivitModel(config, add_pooling_layer=False)
        # the library's zeros are for weights that come trained; from nothing, they would make all tubelets alike
        nn.init.normal_(self.trunk.embeddings.position_embeddings, std=0.02)
        self.trunk.to(self.decoder.weight)

    def frames(self, filled: Tensor, seen: Tensor) -> Tensor:
        """Return what is added to the filled frames; see `FrameNetwork.frames`."""
        pictures = as_pictures(torch.cat([filled, seen], -1))
        time, height, width = pictures.shape[1], *pictures.shape[-2:]
        for axis, side in zip((1, 3, 4), self.tubelet, strict=True):
            pictures = _continued(pictures, axis, side)
        tokens = self.trunk(pixel_values=pictures).last_hidden_state[:, 1:]
        out = self._folded(self.decoder(tokens), [pictures.shape[axis] for axis in (1, 3, 4)])
        return out[:, :time, :height, :width].reshape(filled.shape)

    def _folded(self, pixels: Tensor, sizes: list[int]) -> Tensor:
        """Put tubelets (B, tubelets, pixels) together to frames (B, T, H, W, c)."""
        counts = [n // side for n, side in zip(sizes, self.tubelet, strict=True)]
        cells = pixels.reshape(len(pixels), *counts, *self.tubelet, self.channels)
        return cells.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(len(pixels), *sizes, self.channels)


class VivitModule(FrameModule):
    """Train a `VivitNetwork`.

    Args:
        dimension: d of 1 to 3, coordinates time first.
        channels: c.
        periodic: whether each axis repeats.
        width: of the tokens.
        depth: number of layers.
        heads: attention heads.
        expansion: feed-forward width over `width`.
        tubelet: frames of a tubelet.
        patch: cells along its sides.
        dropout: rate in the residual branches and on attention weights.
        residual: add the output, which starts at zero, to the filled frames.
        **options: see `FieldModule`; `ema` must be 0, it would miss an encoder that is made when the grid is known.
    """

    label = "ViViT"

    def __init__(
        self,
        dimension: int,
        channels: int,
        periodic: list[bool] | tuple[bool, ...] | None = None,
        width: int = 64,
        depth: int = 4,
        heads: int = 4,
        expansion: int = 4,
        tubelet: int = 2,
        patch: int = 4,
        dropout: float = 0.0,
        residual: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(dimension, channels, periodic, **options)
        if options.get("ema"):
            raise ValueError(f"ema is {options['ema']}, expected 0: ViViT's encoder is made after the average is")
        self.network = VivitNetwork(
            dimension, channels, self.periodic, width, depth, heads, expansion, tubelet, patch, dropout, residual
        )


def _continued(pictures: Tensor, axis: int, side: int) -> Tensor:
    """Repeat the end of an axis until its length is a multiple of a side."""
    missing = -pictures.shape[axis] % side
    if not missing:
        return pictures
    last = pictures.narrow(axis, pictures.shape[axis] - 1, 1)
    return torch.cat([pictures, *[last] * missing], axis)
