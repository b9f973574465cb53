"""ViViT: as large as published, tubelets go back where they came from, and it learns."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from cst_lightning.baselines.vivit import VivitModule, VivitNetwork


def test_encoder_is_as_large_as_published() -> None:
    # Arnab et al., table 2: 88.9 million parameters for model 1, ViViT-B/16x2, with 400 classes
    with torch.device("meta"):
        network = VivitNetwork(3, 2, (False,) * 3, 768, 12, 12, 4, tubelet=2, patch=16)
        network.build((32, 224, 224))
    encoder = sum(p.numel() for p in network.trunk.parameters())
    assert (encoder + 768 * 400 + 400) / 1e6 == pytest.approx(88.9, abs=0.1)


def test_tubelets_go_back_to_their_places() -> None:
    network = VivitNetwork(3, 2, (False,) * 3, tubelet=2, patch=3)
    frames = torch.arange(2.0 * 4 * 6 * 9 * 2).reshape(2, 4, 6, 9, 2)
    cut = frames.reshape(2, 2, 2, 2, 3, 3, 3, 2).permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(2, 12, -1)
    assert torch.equal(network._folded(cut, [4, 6, 9]), frames)


def test_sides_need_not_be_multiples_of_the_tubelet() -> None:
    network = VivitNetwork(3, 1, (False,) * 3, width=8, depth=1, heads=2, residual=False)
    network.place([torch.linspace(-1, 1, n) for n in (5, 6, 7)])
    assert network.frames(torch.randn(2, 5, 6, 7, 1), torch.ones(2, 5, 6, 7, 1)).shape == (2, 5, 6, 7, 1)


def test_it_learns_what_lines_between_frames_miss(waves: Callable[..., Any], train: Callable[..., Any]) -> None:
    data = waves(batch_size=8)
    options: dict[str, Any] = {"width": 32, "depth": 2, "lr": 5e-3, "residual": False, "optimizer": "adamw"}
    scores = train(lambda: VivitModule(3, 1, data.periodic, **options), data, 25)["vivit"]
    assert scores["r2"] > 0.5


def test_an_average_of_weights_that_are_not_there_yet_is_refused() -> None:
    with pytest.raises(ValueError, match="ema is"):
        VivitModule(3, 1, ema=0.9)
