"""Simulated calcium imaging."""

import numpy as np
import pytest

from cst_lightning.datamodules.solvers.calcium import TwoPhoton, Widefield, _response

CELLS = TwoPhoton(rois=6, frames=800)
CORTEX = Widefield(height=8, width=10, frames=120)


def test_a_spike_peaks_at_one_and_decays():
    impulse = np.zeros(4000)
    impulse[0] = 1
    found = _response(impulse, 0.001, 0.1, 0.8)
    assert found.max() == pytest.approx(1, abs=1e-3)
    assert found[3000] / found[2000] == pytest.approx(np.exp(-1 / 0.8), rel=0.01)


@pytest.mark.parametrize("solver", [CELLS, CORTEX])
def test_noise_is_as_large_as_it_says_and_white(solver):
    clean, noisy = solver.simulate()
    error = noisy - clean
    assert error.std() == pytest.approx(solver.noise, rel=0.05)
    assert abs((error[1:] * error[:-1]).mean()) < 0.05 * error.var()


@pytest.mark.parametrize("solver", [CELLS, CORTEX])
def test_the_same_seed_gives_the_same_recording(solver):
    np.testing.assert_array_equal(solver.simulate()[1], solver.simulate()[1])


def test_traces_are_never_negative_and_not_all_the_same():
    clean, _ = CELLS.simulate()
    assert clean.shape == (800, 6)
    assert clean.min() >= 0
    assert (clean.std(0) > 0.02).all()


def test_cells_of_an_assembly_fire_together():
    clean, _ = TwoPhoton(rois=30, frames=3000).simulate()
    between = np.corrcoef(clean.T)[np.triu_indices(30, 1)]
    assert between.max() > 0.4
    assert between.min() < 0.2


def test_waves_travel():
    solver = Widefield(height=6, width=40, frames=60, waves=0.0, rate=50.0)
    rng = np.random.default_rng(3)
    _, y, x = solver.axes
    drive = solver._wave(rng, np.arange(60) / 50 - 0.1, y, x)
    peak = drive.argmax(0)
    assert peak.max() - peak.min() > 3
    assert drive.shape == (60, 6, 40)


def test_axes_are_in_seconds_and_millimetres():
    time, y, x = CORTEX.axes
    assert (time[15], len(y), x[1]) == (1.0, 8, 0.25)
