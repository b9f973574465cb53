"""Drifting clouds, whose truth is a sum of waves."""

import numpy as np
import pytest
import torch

from cst_lightning.datamodules.advection import AdvectionDataModule


def module(**options: object) -> AdvectionDataModule:
    made = AdvectionDataModule(**{"train": 2, "val": 1, "test": 1, "observed": 10} | options)  # type: ignore[arg-type]
    made.setup()
    return made


def test_the_equation_holds() -> None:
    data = module(space=2, points=41, places=16, diffusivity=0.01)
    u, rate = data.solution(np.random.default_rng(3))
    spectrum = np.fft.fft2(u)
    kx, ky = np.meshgrid(*[2 * np.pi * np.fft.fftfreq(16, 1 / 16)] * 2, indexing="ij")
    ux, uy, bend = (np.fft.ifft2(f * spectrum).real for f in (1j * kx, 1j * ky, -(kx**2) - ky**2))
    # u_t - D laplace u is minus the velocity times the gradient, with one velocity for all points
    drift = (rate - 0.01 * bend).ravel()
    gradient = np.stack([ux.ravel(), uy.ravel()], 1)
    velocity, *_ = np.linalg.lstsq(gradient, -drift, rcond=None)
    np.testing.assert_allclose(-gradient @ velocity, drift, atol=1e-9 * np.abs(drift).max())
    assert 0 < np.abs(velocity).max() <= data.speed


def test_rates_are_the_derivative() -> None:
    data = module(space=1, points=1001, places=8)
    u, rate = data.solution(np.random.default_rng(0))
    np.testing.assert_allclose(rate[1:-1], (u[2:] - u[:-2]) * 500, atol=1e-4 * np.abs(rate).max())


def test_clouds_have_unit_variance_and_no_mean() -> None:
    values = module(train=200).trajectories().values[:, 0]  # type: ignore[attr-defined]
    assert float(values.std()) == pytest.approx(1, abs=0.05)
    assert float(values.mean((1, 2, 3)).abs().max()) < 1e-6


def test_points_have_time_and_three_places() -> None:
    data = module()
    batch = next(iter(data.test_dataloader()))
    assert batch.context.coords.shape == (1, 10, 4)
    rates = data.rates("test", 0)
    assert rates is not None
    assert rates.shape == data.truth("test", 0).values.shape == (12**4, 1)


def test_samples_depend_on_the_seed_only() -> None:
    one, same, other = (module(simulation_seed=s).truth("test", 0).values for s in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_more_than_three_space_axes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"space is 4, expected 1 to 3"):
        AdvectionDataModule(4)
