"""Drifting clouds, whose truth is a sum of waves."""

from typing import Any

import numpy as np
import pytest
import torch

from cst_lightning.datamodules.advection import AdvectionDataModule, box_symmetry


def module(**options: object) -> AdvectionDataModule:
    made = AdvectionDataModule(**{"train": 2, "val": 1, "test": 1, "observed": 10} | options)  # type: ignore[arg-type]
    made.setup()
    return made


def velocity_of(u: np.ndarray, rate: np.ndarray, diffusivity: float) -> np.ndarray:
    """Return the one velocity (2,) with which fields (T, n, n) drift, after making sure that there is one."""
    places = u.shape[-1]
    spectrum = np.fft.fft2(u)
    kx, ky = np.meshgrid(*[2 * np.pi * np.fft.fftfreq(places, 1 / places)] * 2, indexing="ij")
    ux, uy, bend = (np.fft.ifft2(f * spectrum).real for f in (1j * kx, 1j * ky, -(kx**2) - ky**2))
    # u_t - D laplace u is minus the velocity times the gradient, with one velocity for all points
    drift = (rate - diffusivity * bend).ravel()
    gradient = np.stack([ux.ravel(), uy.ravel()], 1)
    velocity, *_ = np.linalg.lstsq(gradient, -drift, rcond=None)
    np.testing.assert_allclose(-gradient @ velocity, drift, atol=1e-9 * np.abs(drift).max())
    return velocity


def test_the_equation_holds() -> None:
    data = module(space=2, points=41, places=16, diffusivity=0.01)
    velocity = velocity_of(*data.solution(np.random.default_rng(3)), 0.01)
    assert 0 < np.abs(velocity).max() <= data.speed


class Chosen:
    """Draws what it was told."""

    def __init__(self, order: list[int], sign: list[float], shift: list[float]) -> None:
        self.order, self.sign, self.shift = np.array(order), np.array(sign), np.array(shift)

    def permutation(self, count: int) -> np.ndarray:
        return self.order

    def choice(self, of: list[float], count: int) -> np.ndarray:
        return self.sign

    def random(self, count: int) -> np.ndarray:
        return self.shift


@pytest.mark.parametrize(
    ("order", "sign", "turned"),
    [([0, 1], [1.0, 1.0], [[1, 0], [0, 1]]), ([1, 0], [1.0, -1.0], [[0, 1], [-1, 0]])],
)
def test_a_symmetry_makes_another_solution_that_drifts_elsewhere(
    order: list[int], sign: list[float], turned: list[list[int]]
) -> None:
    data = module(space=2, points=5, places=16, diffusivity=0.01)
    fields = data.solution(np.random.default_rng(3))
    time, place = np.linspace(0, 1, 5), np.arange(16) / 16
    coords = np.stack(np.meshgrid(time, place, place, indexing="ij"), -1).reshape(-1, 3)
    rng: Any = Chosen(order, sign, [3 / 16, 5 / 16])
    moved = []
    for field in fields:
        where, values = box_symmetry(coords, field.reshape(-1, 1), rng)
        index = np.round(where * [4, 16, 16]).astype(int)
        np.testing.assert_allclose(index / [4, 16, 16], where, atol=1e-12)
        made = np.full(field.shape, np.nan)
        made[tuple(index.T)] = values[:, 0]
        moved.append(made)
    np.testing.assert_allclose(velocity_of(*moved, 0.01), np.array(turned) @ velocity_of(*fields, 0.01), rtol=1e-9)


def test_training_samples_alone_are_augmented() -> None:
    plain, other = (module(augment=augment, dummies=0) for augment in (False, True))
    assert torch.equal(*(next(iter(data.val_dataloader())).context.coords for data in (plain, other)))
    one, moved = (next(iter(data.train_dataloader())).context for data in (plain, other))
    assert torch.equal(one.coords[..., 0], moved.coords[..., 0])
    assert torch.equal(one.values, moved.values)
    assert not torch.equal(one.coords, moved.coords)
    places = moved.coords[..., 1:] * 12
    torch.testing.assert_close(places, places.round(), rtol=0, atol=1e-12)  # where models of frames find them


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
