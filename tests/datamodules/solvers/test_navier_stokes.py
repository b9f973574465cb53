"""The flow solver against exact solutions, and its initial states."""

import math

import numpy as np
import pytest
import torch

from cst_lightning.datamodules.solvers.navier_stokes import NavierStokes, random_vorticity
from cst_lightning.errors import ConvergenceError


def axis(n: int = 16) -> torch.Tensor:
    return torch.arange(n, dtype=torch.float64) / n


def solver(**changes: object) -> NavierStokes:
    settings = {"resolution": 16, "viscosity": 1e-2, "dt": 1e-2, "times": (0.5,), "dtype": torch.float64, **changes}
    return NavierStokes(**settings)


def test_single_mode_decays_at_its_exact_rate():
    # one Fourier mode advects itself nowhere, so only exp(-nu k^2 t) is left; k = 2 pi (1, 2)
    x, y = axis()[:, None], axis()[None]
    initial = torch.cos(2 * math.pi * (x + 2 * y))[None]
    found = solver(forcing=0.0, dt=1e-3).solve(initial)[:, 0]
    rate = 1e-2 * 4 * math.pi**2 * 5
    torch.testing.assert_close(found, initial * math.exp(-rate * 0.5), rtol=0, atol=1e-6)


def test_forcing_alone_grows_the_laminar_flow_along_x_plus_y():
    x, y = axis()[:, None], axis()[None]
    force = 0.1 * (torch.sin(2 * math.pi * (x + y)) + torch.cos(2 * math.pi * (x + y)))
    found = solver(dt=1e-3).solve(torch.zeros(1, 16, 16))[0, 0]
    rate = 1e-2 * 8 * math.pi**2
    torch.testing.assert_close(found, force * (1 - math.exp(-rate * 0.5)) / rate, rtol=0, atol=1e-6)


def test_advection_turns_the_right_way():
    # omega = cos(2 pi y) is the shear u = -sin(2 pi y) / (2 pi); a small passenger mode changes by -t u . grad
    n, small, t = 32, 1e-6, 0.02
    x, y = axis(n)[:, None], axis(n)[None]
    shear, phase = torch.cos(2 * math.pi * y).expand(n, n), 2 * math.pi * (2 * x + 3 * y)
    initial = shear + small * phase.cos()
    found = solver(resolution=n, viscosity=1e-12, forcing=0.0, dt=1e-4, times=(t,)).solve(initial[None])[0, 0]
    u = -torch.sin(2 * math.pi * y) / (2 * math.pi)
    v = 4 * math.pi * phase.sin() / (4 * math.pi**2 * 13)  # of the passenger: -d_x of cos(phase) / (4 pi^2 13)
    expected = -t * (u * -4 * math.pi * phase.sin() + v * -2 * math.pi * torch.sin(2 * math.pi * y))
    assert ((found - initial) / small - expected).norm() < 0.03 * expected.norm()


def test_error_falls_with_the_square_of_the_step():
    initial = 5 * random_vorticity(1, 16)
    exact = solver(viscosity=1e-3, dt=1 / 640).solve(initial)
    errors = [(solver(viscosity=1e-3, dt=dt).solve(initial) - exact).norm().item() for dt in (1 / 20, 1 / 40, 1 / 80)]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.25)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.25)


def test_mean_vorticity_is_conserved():
    initial = random_vorticity(2, 16) + torch.tensor([0.3, -0.7], dtype=torch.float64)[:, None, None]
    found = solver(times=(0.5, 1.0)).solve(initial)
    torch.testing.assert_close(found.mean((-1, -2)), torch.tensor([[0.3, 0.3], [-0.7, -0.7]], dtype=torch.float64))


def test_time_zero_records_the_initial_state():
    initial = torch.cos(2 * math.pi * (axis()[:, None] + 0 * axis()))[None]
    torch.testing.assert_close(solver(times=(0.0, 0.1)).solve(initial)[:, 0], initial)


def test_rates_are_the_slope_of_the_solution():
    step = 1e-3
    before, now, after = solver(times=(1 - step, 1.0, 1 + step), dt=step).solve(random_vorticity(2, 16)).unbind(1)
    rates = solver().rates(now)
    torch.testing.assert_close((after - before) / (2 * step), rates, rtol=0, atol=1e-4 * float(rates.abs().max()))


def test_trajectories_do_not_depend_on_their_neighbours():
    initial = random_vorticity(3, 16)
    torch.testing.assert_close(solver().solve(initial)[1:2], solver().solve(initial[1:2]))


def test_initial_state_depends_on_seed_and_index_only():
    torch.testing.assert_close(
        random_vorticity(4, 16, seed=3)[2:], random_vorticity(2, 16, seed=3, first=2), rtol=0, atol=0
    )


def test_initial_states_have_the_recipes_spectrum():
    n, samples = 16, 400
    modes = torch.fft.fft2(random_vorticity(samples, n)).abs().square().mean(0) / n**4
    for k, m in ((1, 0), (0, 1), (2, 1), (3, 3)):
        expected = 2 * 7**3 * (4 * math.pi**2 * (k**2 + m**2) + 49) ** -2.5
        assert modes[k, m].item() == pytest.approx(expected, rel=0.2)
    assert modes[0, 0] < 1e-20


def test_a_step_that_is_too_long_says_so():
    with pytest.raises(ConvergenceError, match="dt must be below"):
        solver(viscosity=1e-6, dt=1.0, times=(200.0,)).solve(1e3 * random_vorticity(1, 16))


@pytest.mark.parametrize("changes", [{"resolution": 15}, {"viscosity": 0.0}, {"dt": -1.0}, {"times": (2.0, 1.0)}])
def test_settings_are_checked(changes):
    with pytest.raises(ValueError, match="expected"):
        solver(**changes)


def test_float32_stays_near_float64():
    initial = random_vorticity(1, 16)
    single = solver(dtype=torch.float32).solve(initial)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single, solver().solve(initial), atol=1e-5)
