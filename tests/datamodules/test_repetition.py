"""After how long a recording repeats itself."""

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer

from cst_lightning import interpolate
from cst_lightning.baselines.interpolation import Spline
from cst_lightning.datamodules import RecordingDataModule
from cst_lightning.datamodules.repetition import repetition
from cst_lightning.module import CSTModule

PERIOD = 26.9
TIME = np.arange(0, 200.0)
_TURNS = 2 * np.pi * TIME[:, None] / PERIOD
CURVES = np.concatenate([np.sin(_TURNS), np.cos(_TURNS), 0.4 * np.sin(2 * _TURNS + 1), 0.2 * np.cos(3 * _TURNS)], 1)


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
def test_period_is_found_though_harmonics_are_sampled_less_than_twice(stride):
    found = repetition(TIME[::stride], CURVES[::stride])
    assert found.period == pytest.approx(PERIOD, rel=2e-3)
    assert found.error < 0.2
    assert stride < 8 or found.error < 0.3 * found.rival


def test_period_is_found_at_irregular_times_and_in_noise():
    rng = np.random.default_rng(0)
    kept = np.sort(rng.choice(200, 40, replace=False))
    noisy = CURVES[kept] + 0.2 * rng.standard_normal((40, 4))
    assert repetition(TIME[kept] / 30, noisy).period * 30 == pytest.approx(PERIOD, rel=0.01)


@pytest.mark.parametrize("kind", ["walk", "trend", "noise"])
def test_what_does_not_repeat_is_not_taken_for_it(kind):
    """As `RecordingDataModule` judges it: below half, and clearly better than what knows no period."""
    taken = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        noise = rng.standard_normal((13, 3))
        values = {"walk": np.cumsum(noise, 0), "trend": np.arange(13.0)[:, None] + noise, "noise": noise}[kind]
        found = repetition(16 * np.arange(13.0), values)
        taken += found.error < min(0.5, 0.8 * found.rival)
    assert taken <= 1


def test_units_of_time_and_values_do_not_matter():
    first = repetition(TIME[::8], CURVES[::8])
    second = repetition(1e3 + 60 * TIME[::8], 1e-6 * CURVES[::8] + 5)
    assert second.period == pytest.approx(60 * first.period, rel=1e-4)
    assert second.error == pytest.approx(first.error, rel=1e-3)


@pytest.mark.parametrize(("count", "values"), [(5, CURVES), (20, np.ones((200, 2)))])
def test_what_cannot_be_searched_is_refused(count, values):
    with pytest.raises(ValueError, match="expected at least 6"):
        repetition(TIME[:count], values[:count])


def _recording(tmp_path, curves=CURVES):
    patterns = np.linalg.qr(np.random.default_rng(0).normal(size=(30, curves.shape[1])))[0].T
    np.savez(tmp_path / "recording.npz", values=(5 + curves @ patterns)[None], time=TIME[: len(curves)])
    return tmp_path / "recording.npz"


def test_time_becomes_a_circle(tmp_path):
    data = RecordingDataModule(_recording(tmp_path), stride=11, components=4, period="auto")
    assert data.periodic == (True,)  # known before the file is read: the network is built by then
    data.setup()
    assert data.period[0] == pytest.approx(PERIOD, rel=2e-3)
    assert 2 * data.normalization.scale[0] == pytest.approx(data.period[0])
    assert len(data.notes) == 1
    assert data.notes[0].startswith("period: it repeats every 26.9")
    given = RecordingDataModule(_recording(tmp_path), stride=11, components=4, period=PERIOD)
    given.setup()
    assert given.period == (PERIOD,)


@pytest.mark.parametrize("period", [48, 48.0001, 47.98])
@pytest.mark.parametrize("kind", ["cubic", "makima", "pchip"])
def test_phases_that_nearly_meet_are_one(period, kind):
    """Frames of different turns, with noise and almost at the same phase, must not make a curve swing."""
    time = np.arange(0, 193, 12.0)
    noisy = np.sin(2 * np.pi * time / 48)[:, None] + 0.01 * np.random.default_rng(0).standard_normal((17, 1))
    coords, values = (torch.from_numpy(part)[None] for part in (2 * time[:, None] / period - 1, noisy))
    query = np.linspace(0, 192, 97)
    function = interpolate.fit(kind, coords, values, torch.ones(1, 17, dtype=torch.bool), (2.0,))
    found = function(torch.from_numpy(2 * query[None, None, :, None] / period - 1))[0, 0, :, 0]
    again = Spline(kind)(time[:, None], noisy, query[:, None], (period,))[:, 0]
    truth = np.sin(2 * np.pi * query / 48)
    assert np.abs(found.numpy() - truth).max() < 0.3
    assert np.abs(again - truth).max() < 0.3


def test_initialiser_uses_other_repetitions(tmp_path):
    """Frames farther apart than half a harmonic's period are restored from those at neighbouring phases."""
    errors = {}
    for period in (None, "auto"):
        data = RecordingDataModule(_recording(tmp_path), stride=11, components=4, period=period, eval_batch_size=4)
        model = CSTModule(1, 4, data.periodic, width=16, depth=1, heads=2, initialiser="cubic")
        Trainer(accelerator="cpu", logger=False, fast_dev_run=True, enable_progress_bar=False).fit(model, data)
        model.eval()
        for batch in data.test_dataloader():
            normal = model.on_before_batch_transfer(batch, 0)
            with torch.no_grad():
                memory = model.network.encode(normal.context)
                wrong = (model.network.initial(memory, normal.target.coords) - normal.target.values)[normal.target.mask]
            errors[period] = wrong.square().mean().sqrt().item()
    assert errors["auto"] < 0.2 * errors[None]


def test_recording_that_does_not_repeat_is_refused(tmp_path):
    path = _recording(tmp_path, np.cumsum(np.random.default_rng(0).standard_normal((200, 3)), 0))
    data = RecordingDataModule(path, stride=8, components=3, period="auto")
    with pytest.raises(
        ValueError, match=r"recording\.npz: period is 'auto', expected a recording that repeats itself, or"
    ):
        data.setup()


def test_too_few_frames_for_a_period_are_refused(tmp_path):
    data = RecordingDataModule(_recording(tmp_path), stride=48, components=4, period="auto")
    with pytest.raises(ValueError, match=r"recording\.npz: period is 'auto' and stride 48: found 5 kept frames"):
        data.setup()


@pytest.mark.parametrize(("period", "clock", "expected"), [(None, None, 0), (PERIOD, None, 88), (PERIOD, "window", 0)])
def test_windows_share_a_clock_where_time_repeats(tmp_path, period, clock, expected):
    path = _recording(tmp_path)
    data = RecordingDataModule(path, stride=11, components=4, window=6, period=period, clock=clock)
    assert data.sample("test", 8).context.coords.min() == expected


@pytest.mark.parametrize("period", [0, -3.0, float("nan"), float("inf"), True, "foo"])
def test_period_that_is_none_is_refused(tmp_path, period):
    with pytest.raises(ValueError, match=r"period is .*, expected a number above 0, 'auto' or null"):
        RecordingDataModule(_recording(tmp_path), stride=11, components=4, period=period)


def test_period_longer_than_the_recording_is_refused(tmp_path):
    data = RecordingDataModule(_recording(tmp_path), stride=11, components=4, period=1e9)
    with pytest.raises(ValueError, match=r"period is 1e\+09, expected at most the 198 that are recorded"):
        data.setup()


def test_clock_is_one_of_two(tmp_path):
    with pytest.raises(ValueError, match="clock is 'sun', expected 'recording' or 'window'"):
        RecordingDataModule(_recording(tmp_path), stride=11, components=4, clock="sun")


def test_period_of_which_all_frames_show_the_same_is_refused(tmp_path):
    data = RecordingDataModule(_recording(tmp_path), stride=11, components=4, period=0.5)
    with pytest.raises(ValueError, match="period and stride show 1 phases, expected at least 3"):
        data.setup()
