"""What is observed of a recording, and with what error, does not depend on windows."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from cst_lightning.datamodules import recording_draws
from cst_lightning.datamodules.arrays import ArrayDataModule
from cst_lightning.datamodules.draws import Observation
from cst_lightning.datamodules.recording_draws import RecordingDraw
from cst_lightning.datamodules.trajectories import Trajectory

MOVIE = np.zeros((60, 4, 3))
AXES = {"time": np.arange(60.0), "x": np.arange(4.0), "y": np.arange(3.0)}


def noisy(**settings: Any) -> ArrayDataModule:
    return ArrayDataModule({"values": MOVIE, **AXES}, **{"window": 6, "stride": 2, "noise": 1.0, **settings})


@pytest.mark.parametrize("tokens", ["points", "frames"])
def test_a_frame_is_measured_once(tokens: Any) -> None:
    data = noisy(tokens=tokens)
    first, second = (data.truth("train", i).seen.reshape(6, -1) for i in range(2))
    assert first.std() > 0.5
    torch.testing.assert_close(first[2:], second[:-2], rtol=0, atol=0)


def test_frames_and_recordings_are_measured_independently() -> None:
    data = ArrayDataModule({"values": np.zeros((2, 60, 40))}, layout="stc", window=6, noise=1.0, rate=1)
    frames = torch.cat([data.truth("train", i).seen for i in (0, 2, data.size("train") - 1)])
    assert len(frames.unique()) == frames.numel()


def test_the_truth_has_no_noise_and_neither_has_what_the_test_asks_for() -> None:
    data = noisy()
    sample = data.sample("test", 0)
    assert (data.truth("test", 0).values == 0).all()
    assert (sample.target.values == 0).all()
    assert sample.context.values.std() > 0.5


def test_noise_has_the_given_spread() -> None:
    data = noisy(noise=0.3)
    values = torch.cat([data.truth("train", i).seen for i in range(0, 21, 3)])
    assert values.std().item() == pytest.approx(0.3, rel=0.1)


def test_components_are_of_noisy_frames() -> None:
    data = noisy(tokens="components", components=2, holdout="frames", spread="joint")
    data.setup()
    assert data.truth("train", 0).seen.std() > 0.5
    assert (data.scored_truth("test", 0).nan_to_num() == 0).all()


def test_scattered_points_are_measured_once() -> None:
    table = pd.DataFrame({"time": np.arange(60.0), "u": np.zeros(60)})
    data = ArrayDataModule(table, window=6, stride=2, noise=1.0)
    first, second = (data.truth("train", i).seen for i in range(2))
    assert first.std() > 0.3
    torch.testing.assert_close(first[2:], second[:-2], rtol=0, atol=0)
    assert (data.truth("train", 0).values == 0).all()


@pytest.mark.parametrize("inner", [False, True])
def test_points_of_long_recordings_are_drawn_frame_by_frame_and_the_same(
    monkeypatch: pytest.MonkeyPatch, inner: bool
) -> None:
    kept = RecordingDraw(Observation(0.5), [30, 30]).observed(1, 5, 15, 7, inner)
    monkeypatch.setattr(recording_draws, "_KEPT", 0)
    np.testing.assert_array_equal(RecordingDraw(Observation(0.5), [30, 30]).observed(1, 5, 15, 7, inner), kept)


@pytest.mark.parametrize(("holdout", "most"), [("frames", 1), ("points", 18_000)])
def test_long_recordings_are_drawn_once(monkeypatch: pytest.MonkeyPatch, holdout: Any, most: int) -> None:
    calls: list[int] = []
    plain = recording_draws.generator

    def counted(seed: int, stream: Any, index: int = 0, epoch: int = 0) -> np.random.Generator:
        calls.append(index)
        return plain(seed, stream, index, epoch)

    monkeypatch.setattr(recording_draws, "generator", counted)
    values = np.sin(np.arange(18_000.0))[:, None]
    data = ArrayDataModule(
        {"values": values}, rate=1, layout="tc", window=32, stride=1, divide="within", holdout=holdout
    )
    data.setup()
    for i in range(3):
        data.sample("train", i)
    assert data.size("train") > 17_000
    assert len(calls) <= 2 * most


def test_the_ends_are_observed() -> None:
    draw = RecordingDraw(Observation(0.1, "frames"), [50])
    assert draw.observed(0, 0, 50, 1)[[0, -1]].all()
    assert draw.observed(0, 0, 50, 1, inner=True)[[0, -1]].all()


def test_training_gets_nothing_but_what_is_observed() -> None:
    from cst_lightning.datamodules.cutting import Window

    draw = RecordingDraw(Observation(0.5, "frames"), [20])
    whole = Trajectory(torch.arange(20.0).double()[:, None], torch.ones(20, 1), 20)
    seen = torch.from_numpy(draw.observed(0, 0, 20, 1, inner=True)[:, 0])
    assert torch.equal(~draw(whole, Window(0, 0, 20, "train")).values[:, 0].isnan(), seen)
