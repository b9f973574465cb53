"""Fourier features: periodic axes, scales, precision under autocast, derivatives."""

import pytest
import torch

from cst_lightning import jets
from cst_lightning.encoding import FourierFeatures


def test_periodic_axis_repeats_and_the_other_does_not() -> None:
    encode = FourierFeatures((False, True), 3).double()
    coords = torch.rand(1, 5, 2, dtype=torch.float64)
    torch.testing.assert_close(encode(coords + torch.tensor([0.0, 2.0])), encode(coords))
    assert not torch.allclose(encode(coords + torch.tensor([2.0, 0.0])), encode(coords))


def test_feature_count_is_what_comes_out() -> None:
    for periodic, bare in (((False,), False), ((False, True, True), False), ((True, True), True)):
        encode = FourierFeatures(periodic, 4, bare=bare)
        assert encode(torch.rand(1, 7, len(periodic))).shape == (1, 7, encode.features)


def test_scale_is_learnable_or_fixed() -> None:
    coords = torch.rand(1, 5, 1)
    assert FourierFeatures((False,), 2).log_scale.requires_grad
    assert not FourierFeatures((False,), 2, learnable=False).log_scale.requires_grad
    wide, narrow = FourierFeatures((False,), 2, scale=2.0), FourierFeatures((False,), 2, scale=1.0)
    torch.testing.assert_close(wide(coords)[..., 1:], narrow(2 * coords)[..., 1:])


def test_scale_does_not_touch_a_periodic_axis() -> None:
    coords = torch.rand(1, 5, 1)
    torch.testing.assert_close(FourierFeatures((True,), 2, scale=3.0)(coords), FourierFeatures((True,), 2)(coords))


def test_coordinates_survive_autocast() -> None:
    coords = torch.linspace(-1, 1, 1000)[None, :, None]
    with torch.autocast("cpu", torch.bfloat16):
        features = FourierFeatures((False,), 2)(coords)
    assert features.dtype == torch.float32
    assert len(features[0].unique(dim=0)) == 1000


def test_jets_of_features_equal_central_differences() -> None:
    encode, h = FourierFeatures((False, True), 2).double(), 1e-5
    coords, line = torch.rand(5, 2, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    jet = jets.derivatives(encode(jets.variable(coords, line, 1)))
    expected = (encode((coords + h * line)[None]) - encode((coords - h * line)[None]))[0] / (2 * h)
    torch.testing.assert_close(jet[1], expected, rtol=1e-6, atol=1e-7)


def test_no_frequencies_is_refused() -> None:
    with pytest.raises(ValueError, match="frequencies"):
        FourierFeatures((False,), 0)
