"""One recording, every so many-th frame kept."""

import numpy as np
import pytest
import torch

from cst_lightning.datamodules import RecordingDataModule
from cst_lightning.errors import DataError

TIME = np.arange(43)
PATTERNS = np.linalg.qr(np.random.default_rng(0).normal(size=(30, 3)))[0].T
FRAMES = 5 + np.stack([np.sin(TIME / 7), 2 * np.cos(TIME / 7), 0.5 * np.sin(TIME / 3)], -1) @ PATTERNS


@pytest.fixture
def path(tmp_path):
    np.savez(tmp_path / "recording.npz", values=FRAMES[None], time=TIME)
    return tmp_path / "recording.npz"


def test_components_give_the_frames_back(path):
    data = RecordingDataModule(path, stride=4, components=3)
    truth = data.truth("test", 0)
    np.testing.assert_allclose(data.reconstruct(truth.values.numpy()), FRAMES[:41], atol=1e-5)
    assert data.outside < 1e-5


def test_dropped_frames_do_not_enter_the_components(path):
    data = RecordingDataModule(path, stride=4, components=3)
    data.setup()
    changed = FRAMES.copy()
    changed[np.arange(43) % 4 != 0] += np.random.default_rng(1).normal(size=30)
    np.savez(path, values=changed[None], time=TIME)
    other = RecordingDataModule(path, stride=4, components=3)
    other.setup()
    np.testing.assert_allclose(other.basis, data.basis)
    np.testing.assert_allclose(other.mean, data.mean)
    assert other.outside > 0.1


def test_kept_frames_are_shown_and_dropped_ones_scored(path):
    sample = RecordingDataModule(path, stride=4, components=3).sample("test", 0)
    assert sample.context.coords[:, 0].tolist() == list(range(0, 41, 4))
    assert sample.target.coords[sample.target.mask, 0].tolist() == [t for t in range(41) if t % 4]


def test_training_sees_kept_frames_only(path):
    data = RecordingDataModule(path, stride=4, components=3, window=5)
    times = torch.cat([data.sample("train", i).target.coords[:, 0] for i in range(data.size("train"))])
    assert (times % 4 == 0).all()


@pytest.mark.parametrize("window", [2, 3, 6, 11])
def test_windows_score_every_dropped_frame_once(path, window):
    data = RecordingDataModule(path, stride=4, components=3, window=window)
    scored = []
    for i in range(data.size("test")):
        sample = data.sample("test", i)
        assert len(sample.context.mask) == window
        scored += (sample.target.coords[sample.target.mask, 0] + 4 * i).tolist()
    assert sorted(scored) == [t for t in range(41) if t % 4]


def test_scores_are_of_frames_and_not_of_components(path):
    noisy = FRAMES + np.random.default_rng(1).normal(size=FRAMES.shape)
    np.savez(path, values=noisy[None], time=TIME)
    data = RecordingDataModule(path, stride=4, components=3, window=5)
    truth = data.truth("test", 2)
    asked = ~truth.values.isnan().any(-1)
    prediction = truth.values[asked] + 0.1
    error = data.reconstruct(prediction.double().numpy()) - noisy[8:25][asked]
    real = data.scored_truth("test", 2)[asked]
    assert (data.scored(prediction) - real).square().mean().item() == pytest.approx(np.square(error).mean(), rel=1e-5)
    fluctuation = noisy[8:25][asked] - noisy[:41:4].mean(0)
    assert real.square().mean().item() == pytest.approx(np.square(fluctuation).mean(), rel=1e-5)


def test_what_components_do_not_reach_is_an_error(path):
    changed = FRAMES.copy()
    changed[np.arange(43) % 4 != 0] += np.random.default_rng(1).normal(size=30)
    np.savez(path, values=changed[None], time=TIME)
    data = RecordingDataModule(path, stride=4, components=3)
    best, real = data.scored(data.truth("test", 0).values), data.scored_truth("test", 0)
    dropped = torch.arange(41) % 4 != 0
    assert ((best - real)[dropped].norm() / real[dropped].norm()).item() == pytest.approx(data.outside, rel=1e-5)
    assert data.outside > 0.1


def test_hidden_frames_have_no_scored_truth(path):
    data = RecordingDataModule(path, stride=4, components=3, window=3)
    hidden = data.truth("test", 1).values.isnan().any(-1)
    assert torch.equal(data.scored_truth("test", 1).isnan().any(-1), hidden)
    assert hidden.any()


def test_too_few_kept_frames_are_refused(path):
    with pytest.raises(ValueError, match="6 frames are kept with stride 8, expected at least 2, components = 16"):
        RecordingDataModule(path).setup()


def test_joint_spread_keeps_the_components_proportions(path):
    data = RecordingDataModule(path, stride=4, components=3)
    data.setup()
    assert len(set(data.normalization.spread)) == 1


def test_validation_never_sees_a_dropped_frame(path):
    data = RecordingDataModule(path, stride=4, components=3, window=5)
    for i in range(data.size("val")):
        sample = data.sample("val", i)
        asked = sample.target.coords[sample.target.mask, 0]
        assert sample.context.coords[:, 0].tolist() == [0, 8, 16]
        assert asked.tolist() == [4, 12]


def test_a_dropped_frame_with_a_gap_costs_its_own_score_and_no_other(path):
    holed = FRAMES.copy()
    holed[9, 3] = np.nan
    np.savez(path, values=holed[None], time=TIME)
    data = RecordingDataModule(path, stride=4, components=3)
    whole = data.scored_truth("test", 0)
    assert np.flatnonzero(whole.isnan().any(-1)).tolist() == [9]
    assert data.outside < 1e-5


def test_a_kept_frame_with_a_gap_is_told(path):
    holed = FRAMES.copy()
    holed[8, 3] = np.nan
    np.savez(path, values=holed[None], time=TIME)
    with pytest.raises(DataError, match="values: expected kept frames without NaN, found some in frame 8"):
        RecordingDataModule(path, stride=4, components=3).setup()


def test_several_recordings_are_refused(path):
    np.savez(path, values=np.stack([FRAMES, FRAMES]), time=TIME)
    with pytest.raises(DataError, match=r"expected one recording, \(1, time, pixel\), found shape \(2, 43, 30\)"):
        RecordingDataModule(path, stride=4, components=3).setup()


def test_parts_cannot_be_set_because_every_window_is_in_every_split(path):
    with pytest.raises(ValueError, match=r"train is 3, expected 0.8"):
        RecordingDataModule(path, train=3)
