"""A whole recording on its own clock: exact where observed, continuous between windows, empty where there is none."""

import numpy as np
import pytest

from cst_lightning import CSTModule, Field
from cst_lightning.datamodules.arrays import ArrayDataModule
from cst_lightning.predict_frames import restore
from cst_lightning.restoring import restored, shown

TIME = 100 + np.cumsum(np.random.default_rng(0).uniform(0.5, 1.5, 60))
X = np.arange(3.0)
VALUES = np.sin(TIME[:, None] / 3 + X)[..., None].astype(np.float32)


def untrained(time=TIME, values=VALUES, **options):
    """A field that is its initialiser: straight lines along time."""
    recording = {"values": values, "time": time, "x": X}
    settings = {"holdout": "frames", "tokens": "frames", "window": 12, "observed": 0.5, "keep_ends": True,
                "train": 0.6, "val": 0.2, "test": 0.2}  # fmt: skip
    data = ArrayDataModule(recording, **{**settings, **options})
    data.setup()
    module = CSTModule(
        dimension=data.dimension, channels=data.channels, width=8, depth=1, heads=2, initialiser="linear"
    )
    return Field(module.network, data.normalization), data


def film(field, data, times, recording=0):
    return restored(field, data, times, lambda observed, some: restore(data, observed, some), recording)


@pytest.mark.parametrize("divide", ["time", "within"])
def test_observed_frames_are_where_they_were_on_the_recordings_clock(divide):
    field, data = untrained(divide=divide)
    found = film(field, data, TIME)
    assert found.shape == VALUES.shape
    seen = [
        np.unique(context.coords[context.mask][:, 0].numpy().round(3) + TIME[window.start])
        for window, context in shown(data, 0)
    ]
    # a frame that is observed in one window is hidden in another unless draws are of the whole recording
    if divide == "within":
        where = np.abs(TIME[:, None] - np.concatenate(seen)).min(1) < 0.01
        assert 20 < where.sum() < 45
        np.testing.assert_allclose(found[where], VALUES[where], atol=2e-3)
    assert np.abs(found - VALUES).mean() < 0.2


def test_nothing_jumps_where_one_window_gives_way_to_the_next():
    field, data = untrained(divide="within")
    times = np.linspace(TIME[0], TIME[-1], 4001)
    found = film(field, data, times)
    assert np.isfinite(found).all()
    assert np.abs(np.diff(found, axis=0)).max() < 0.05


def test_pauses_and_what_lies_outside_are_empty():
    time = np.concatenate([TIME, TIME + 5000])
    field, data = untrained(time, np.concatenate([VALUES, VALUES]), divide="within")
    found = film(field, data, np.array([TIME[0] - 1, TIME[30], 2000.0, TIME[30] + 5000, 9999.0]))
    assert np.isfinite(found).all((1, 2)).tolist() == [False, True, False, True, False]


def test_a_gap_as_long_as_a_window_is_not_invented():
    values = VALUES.copy()
    values[20:36] = np.nan
    field, data = untrained(values=values, divide="within")
    found = film(field, data, TIME)
    assert np.isnan(found[24:32]).all()
    assert np.isfinite(found[[0, 5, 45, 59]]).all()


def test_there_are_so_many_recordings():
    field, data = untrained()
    with pytest.raises(ValueError, match="recording is 1, expected 0 to 0"):
        film(field, data, TIME[:3], 1)
