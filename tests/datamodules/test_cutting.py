"""No window crosses a pause of the clock."""

from typing import Any

import numpy as np
import pytest

from cst_lightning.datamodules.arrays import ArrayDataModule
from cst_lightning.datamodules.cutting import pauses, pauses_text, stretches
from cst_lightning.datamodules.readers.source import Axis
from cst_lightning.datamodules.suggestions import plan

TIME = np.arange(1000) / 10


def paused(*frames: int, length: float = 3600.0) -> np.ndarray:
    time = TIME.copy()
    for frame in frames:
        time[frame:] += length
    return time


def recording(time: np.ndarray, **settings: Any) -> ArrayDataModule:
    return ArrayDataModule({"values": np.sin(time)[:, None] + np.arange(2), "time": time}, **settings)


def test_a_step_of_many_usual_ones_is_a_pause() -> None:
    assert pauses(paused(300, 500)).tolist() == [300, 500]


@pytest.mark.parametrize("steps", ["exponential", "geometric", "bursts"])
def test_an_uneven_clock_does_not_pause(steps: str) -> None:
    rng = np.random.default_rng(0)
    kinds = {
        "exponential": rng.exponential(1, 2000),
        "geometric": 1.1 ** np.arange(100),
        "bursts": [1, 1, 1, 1, 60] * 9,
    }
    assert not len(pauses(np.cumsum(kinds[steps])))


def test_stretches_end_where_a_pause_begins() -> None:
    assert stretches(np.array([10, 20]), 5, 20) == [(5, 10), (10, 20)]


def test_a_pause_is_told_with_its_length() -> None:
    assert pauses_text(Axis("time", paused(500), "s")).startswith("the clock pauses once, 3600 s after 49.9 s")


def test_one_pause_does_not_stretch_the_range_of_time() -> None:
    data = recording(paused(500), window=30)
    data.setup()
    assert data.normalization.scale[0] == pytest.approx(1.45)


def test_no_window_crosses_a_pause_and_that_is_noted() -> None:
    data = recording(paused(400, 500), window=30, stride=1)
    data.setup()
    spans = [data.truth("train", i).coords[-1, 0] for i in range(data.size("train"))]
    assert max(spans) < 3
    assert any("the clock pauses 2 times" in note for note in data.notes)


def test_between_pauses_an_even_clock_stays_even() -> None:
    data = recording(paused(500), window=30)
    data.setup()
    assert data.grid == (30,)


def test_within_a_recording_the_frames_beside_a_pause_are_observed() -> None:
    data = recording(paused(500), window=30, divide="within", holdout="frames", observed=0.3)
    assert data._draw().observed(0, 499, 501, 1).all()


def test_whole_recordings_are_samples_whatever_their_clock_does() -> None:
    time = paused(500)
    data = ArrayDataModule({"values": np.ones((12, 1000, 1)), "time": time}, divide="samples", layout="stc")
    data.setup()
    assert data.window_of("train", 0).length == 1000


def test_a_window_longer_than_what_lies_between_pauses_is_told() -> None:
    with pytest.raises(ValueError, match="at most the 50 frames of the val part between two pauses, found 60"):
        recording(paused(850), window=60).setup()


@pytest.mark.parametrize("frame", [500, 790, 850, 905, 960])
def test_suggested_windows_fit_between_pauses(frame: int) -> None:
    data = recording(paused(frame))
    made = plan(data.opened)
    fitting = recording(paused(frame), **made.data)
    assert min(fitting.size(split) for split in ("train", "val", "test")) > 0
    assert any("the clock pauses once" in reason for reason in made.reasons)
