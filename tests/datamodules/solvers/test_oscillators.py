"""The complex Ginzburg-Landau equation."""

import numpy as np

from cst_lightning.datamodules.solvers.oscillators import Oscillators


def test_a_plane_wave_turns_at_its_own_frequency():
    # A = sqrt(1 - q^2) exp(i (q x - w t)), w = c + (b - c) q^2
    medium = Oscillators(length=20.0, dispersion=0.3, shift=0.75, dt=0.01)
    x = np.arange(32) * 20 / 32
    q = 2 * np.pi / 20
    wave = np.sqrt(1 - q**2) * np.exp(1j * q * x)[:, None] * np.ones(32)
    frequency = 0.75 + (0.3 - 0.75) * q**2
    np.testing.assert_allclose(medium.advance(wave, 2.0), wave * np.exp(-2j * frequency), atol=1e-4)


def test_the_error_falls_with_the_square_of_the_step():
    rng = np.random.default_rng(0)
    state = Oscillators().advance(rng.standard_normal((16, 16)) + 0j, 5.0)
    exact = Oscillators(dt=0.002).advance(state, 1.0)
    coarse, fine = (np.abs(Oscillators(dt=dt).advance(state, 1.0) - exact).max() for dt in (0.1, 0.05))
    assert 3.5 < coarse / fine < 4.5


def test_records_are_thinned_out_and_repeatable():
    small = Oscillators(points=8, frames=3, transient=1.0)
    frames = list(small.records(seed=1))
    assert [frame.shape for frame in frames] == [(8, 8, 2)] * 3
    np.testing.assert_array_equal(frames[2], list(small.records(seed=1))[2])
    assert not np.array_equal(frames[0], next(small.records(seed=2)))
