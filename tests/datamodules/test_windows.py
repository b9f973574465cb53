"""Recordings are cut so that nothing that is held out is seen in training."""

import pickle
from typing import Any

import numpy as np
import pytest
import torch

from cst_lightning.datamodules import window_dataset
from cst_lightning.datamodules.arrays import ArrayDataModule
from cst_lightning.datamodules.readers.source import Axis, Gridded
from cst_lightning.datamodules.windows import WindowedDataModule


class Ramp:
    """Frames whose every value is the number of the frame, in thousands of the recording."""

    def __call__(self, recording: int, start: int, stop: int) -> np.ndarray:
        frames = np.arange(start, stop, dtype=np.float32) + 1000 * recording
        return np.broadcast_to(frames[:, None, None, None], (stop - start, 4, 2, 1))


class Noisy(Ramp):
    """What a camera makes of a ramp."""

    def __call__(self, recording: int, start: int, stop: int) -> np.ndarray:
        return super().__call__(recording, start, stop) + 0.5


class Simulation(Gridded):
    """A source that knows the truth behind its measurements."""

    truth_read = Ramp()


class Recordings(WindowedDataModule):
    """A module of recordings that are not in a file."""

    def __init__(self, samples: int = 1, frames: int = 80, uneven: bool = False, simulated: bool = False, **kw: Any):
        self.path, self.made = None, (samples, frames, uneven, simulated)
        super().__init__(**{"dummies": 2, "batch_size": 2, "window": 8, **kw})

    def source(self) -> Gridded:
        samples, frames, uneven, simulated = self.made
        time = 7.0 + np.arange(frames) ** (1.5 if uneven else 1.0)
        axes = (Axis("time", time, "s"), Axis("y", np.arange(4.0)), Axis("x", np.arange(2.0)))
        kind, read = (Simulation, Noisy()) if simulated else (Gridded, Ramp())
        return kind(None, "test", samples, axes, ("u",), read)


def frames_of(data: Recordings, split: Any) -> set[int]:
    """Return the numbers of all frames of a split."""
    return {int(v) for i in range(data.size(split)) for v in data.truth(split, i).values[:, 0] if not v.isnan()}


def test_parts_in_time_share_no_frame_and_come_in_order() -> None:
    data = Recordings(train=0.6, val=0.2, test=0.2, frames=40)
    train, val, test = (frames_of(data, split) for split in ("train", "val", "test"))
    assert max(train) < min(val) < max(val) < min(test)


def test_training_windows_overlap_and_test_windows_do_not() -> None:
    data = Recordings(train=0.6, val=0.2, test=0.2, frames=80)
    assert [int(data.truth("train", i).values[0]) for i in range(3)] == [0, 4, 8]
    assert [int(data.truth("test", i).values[0]) for i in range(2)] == [64, 72]


def test_time_starts_at_zero_in_every_window() -> None:
    data = Recordings(uneven=True)
    for i in range(3):
        coords = data.truth("train", i).coords[:, 0]
        assert coords[0] == 0
        assert coords.unique().diff().max() > coords.unique().diff().min()


def test_windows_on_an_even_clock_share_their_coordinates() -> None:
    data = Recordings()
    assert data.truth("train", 0).coords.data_ptr() == data.truth("train", 1).coords.data_ptr()
    assert data.grid == (8, 4, 2)


def test_many_recordings_are_divided_by_recording() -> None:
    data = Recordings(samples=10, window=None, frames=8)
    recordings = {split: {n // 1000 for n in frames_of(data, split)} for split in ("train", "val", "test")}
    assert not recordings["train"] & (recordings["val"] | recordings["test"])
    assert sum(map(len, recordings.values())) == 10


@pytest.mark.parametrize("scheme", ["frames", "points", "regular"])
def test_within_a_recording_training_and_validation_never_see_what_the_test_asks_for(scheme: str) -> None:
    data = Recordings(divide="within", scheme=scheme, observed=0.5)
    asked = set()
    for i in range(data.size("test")):
        target, start = data.sample("test", i).target, data.window_of("test", i).start
        asked |= {(start * 8 + int(n)) for n in torch.nonzero(target.mask)[:, 0]}
    assert asked
    for split in ("train", "val"):
        for i in range(data.size(split)):
            truth, start = data.truth(split, i), data.window_of(split, i).start
            known = {(start * 8 + int(n)) for n in torch.nonzero(~truth.values[:, 0].isnan())[:, 0]}
            assert not known & asked


def test_within_a_recording_every_dropped_frame_is_asked_for_once() -> None:
    data = Recordings(divide="within", scheme="frames", observed=0.5, frames=30)
    asked: list[int] = []
    for i in range(data.size("test")):
        target, start = data.sample("test", i).target, data.window_of("test", i).start
        asked += sorted({start + int(n) // 8 for n in torch.nonzero(target.mask)[:, 0]})
    seen = set(np.flatnonzero(data._draw().observed(0, 0, 30, 1)[:, 0]))
    assert sorted(asked) == [frame for frame in range(30) if frame not in seen]


def test_what_validation_asks_for_is_not_trained_on() -> None:
    data = Recordings(divide="within", scheme="frames", observed=0.5)
    trained = {
        data.window_of("train", i).start + int(n) // 8
        for i in range(data.size("train"))
        for n in torch.nonzero(~data.truth("train", i).values[:, 0].isnan())[:, 0]
    }
    asked = {
        data.window_of("val", i).start + int(n) // 8
        for i in range(data.size("val"))
        for n in torch.nonzero(data.sample("val", i).target.mask)[:, 0]
    }
    assert asked
    assert not asked & trained


def test_scores_of_a_simulation_are_against_the_truth_and_training_sees_measurements() -> None:
    data = Recordings(simulated=True, observed=0.5)
    sample = data.sample("test", 0)
    assert (sample.context.values % 1 == 0.5).all()
    assert (sample.target.values % 1 == 0).all()
    train = data.sample("train", 0)
    assert (train.target.values % 1 == 0.5).all()


def test_components_are_scored_as_frames() -> None:
    data = Recordings(tokens="components", components=1, scheme="frames")
    data.setup()
    scored = data.scored(data.truth("test", 0).values)
    torch.testing.assert_close(scored, data.scored_truth("test", 0), atol=1e-3, rtol=0)
    assert scored.shape == (8, 8)


def test_a_window_longer_than_its_part_is_refused() -> None:
    with pytest.raises(ValueError, match="window: expected at most the 4 frames of the val part, found 8"):
        Recordings(frames=40).setup()


def test_what_the_loaders_hold_travels_to_other_processes() -> None:
    data = Recordings()
    copy = pickle.loads(pickle.dumps(data.train_dataloader().dataset))
    torch.testing.assert_close(copy[0].target.values, data.sample("train", 0).target.values)


@pytest.mark.parametrize(("limit", "reads"), [(10**6, 1), (0, 3)])
def test_a_recording_that_fits_into_memory_is_read_once(
    monkeypatch: pytest.MonkeyPatch, limit: int, reads: int
) -> None:
    calls: list[int] = []
    plain = Ramp.__call__

    def counted(self: Ramp, recording: int, start: int, stop: int) -> np.ndarray:
        calls.append(start)
        return plain(self, recording, start, stop)

    monkeypatch.setattr(Ramp, "__call__", counted)
    monkeypatch.setattr(window_dataset, "_REMEMBERED", limit)
    found = Recordings().trajectories()
    values = [found[i].values[0].item() for i in range(3)]
    assert len(calls) == reads
    assert values == [0, 4, 8]


@pytest.mark.parametrize("window", [2, 3, 8])
def test_a_hidden_region_is_never_empty(window: int) -> None:
    data = Recordings(scheme="region", observed=0.75, window=window)
    hidden = [int(data.sample("test", i).target.mask.sum()) for i in range(data.size("test"))]
    assert min(hidden) > 0


def test_a_hidden_region_holds_about_its_share() -> None:
    data = Recordings(scheme="region", observed=0.75, window=8, frames=400, stride=1)
    samples = [data.truth("train", i) for i in range(200)]
    shares = [1 - len(data.observation.positions(one, i)) / len(one.coords) for i, one in enumerate(samples)]
    assert 0.2 < np.mean(shares) < 0.35


def test_every_so_many_th_frame_is_observed() -> None:
    data = Recordings(scheme="regular", every=3, window=7)
    assert data.sample("test", 0).context.coords[::8, 0].tolist() == [0, 3, 6]


def test_every_needs_the_regular_scheme() -> None:
    with pytest.raises(ValueError, match=r"every\) is 3 with scheme points"):
        Recordings(every=3)


@pytest.mark.parametrize("scheme", ["tail", "region"])
def test_what_is_drawn_by_window_cannot_be_held_out_within(scheme: str) -> None:
    with pytest.raises(ValueError, match="expected holdout 'points', 'frames' or 'regular', or divide 'time'"):
        Recordings(divide="within", scheme=scheme).setup()


def test_windows_of_which_the_draw_left_nothing_are_no_questions():
    time = np.arange(40.0)
    recording = {"values": np.sin(time)[:, None] + np.arange(4.0), "time": time, "x": np.arange(4.0)}
    data = ArrayDataModule(recording, window=8, observed=0.5, holdout="frames", divide="within", tokens="frames")
    data.setup()
    shown = [data.sample(split, i).context.mask.sum() for split in ("val", "test") for i in range(data.size(split))]
    assert len(shown) == 16  # of 18, two of which are empty with this seed
    assert min(shown) > 0
