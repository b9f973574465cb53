"""The lattice Boltzmann wake."""

import math

import pytest
import torch

from cst_lightning.datamodules.solvers.wake import Wake, _Lattice
from cst_lightning.errors import ConvergenceError

SMALL = Wake(length=40, height=20, radius=2.0, transient=20, interval=5, frames=3, stride=2)


def test_frames_have_the_thinned_out_shape():
    frames = list(SMALL.records())
    assert [frame.shape for frame in frames] == [(2, 20, 10)] * 3


def test_equilibrium_has_the_moments_it_was_made_from():
    lattice = _Lattice(SMALL)
    density = 1 + 0.1 * torch.rand(40, 20)
    flow = 0.1 * torch.rand(2, 40, 20)
    lattice.f = lattice.equilibrium(density, flow)
    found_density, found_flow = lattice.moments()
    torch.testing.assert_close(found_density, density)
    torch.testing.assert_close(found_flow, flow)


def test_a_shear_wave_decays_with_the_viscosity():
    # no cylinder, no stream: u(y) = sin(2 pi y / H) decays as exp(-nu (2 pi / H)^2 t); the ends stay far away
    lattice = _Lattice(Wake(length=120, height=32, radius=0.0))
    lattice.solid[:] = False
    lattice.rate = 1 / (3 * 0.1 + 0.5)
    wave = torch.sin(2 * torch.pi * torch.arange(32.0) / 32)
    lattice.f = lattice.equilibrium(
        torch.ones(120, 32), torch.stack([0.01 * wave.expand(120, 32), torch.zeros(120, 32)])
    )
    height = []
    for _ in range(2):
        lattice.advance(25)
        height.append(float(lattice.moments()[1][0, 60] @ wave))
    assert math.log(height[0] / height[1]) == pytest.approx(0.1 * (2 * math.pi / 32) ** 2 * 25, rel=0.01)


def test_the_cylinder_stands_still():
    frame = list(SMALL.records())[-1]
    solid = _Lattice(SMALL).solid[::2, ::2]
    assert solid.any()
    assert (frame[:, solid] == 0).all()


def test_a_flow_that_is_too_fast_says_so():
    with pytest.raises(ConvergenceError, match="reynolds or speed"):
        list(Wake(length=40, height=20, radius=3.0, speed=0.9, reynolds=1e5, transient=400, frames=1).records())
