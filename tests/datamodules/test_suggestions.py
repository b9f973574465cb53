"""Settings that follow from the data's size."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cst_lightning.datamodules.arrays import ArrayDataModule, simulated
from cst_lightning.datamodules.readers.source import Axis, Gridded, Scattered
from cst_lightning.datamodules.suggestions import config, explain, step_seconds, suggest
from cst_lightning.errors import DataError


def ramp(frames: np.ndarray, *sizes: int) -> np.ndarray:
    shape = (len(frames), *sizes)
    return np.sin(frames.reshape(-1, *[1] * len(sizes)) + np.arange(np.prod(sizes)).reshape(sizes)).reshape(shape)


class Waves:
    """A reader of any size: nothing is kept."""

    def __init__(self, *sizes: int) -> None:
        self.sizes = sizes

    def __call__(self, sample: int, start: int, stop: int) -> np.ndarray:
        return ramp(np.arange(start, stop) + sample, *self.sizes).astype(np.float32)


def recording(samples: int, frames: int, *space: int, channels: int = 1) -> Gridded:
    axes = [Axis("time", np.arange(float(frames)), "s")]
    axes += [Axis(name, np.arange(float(n))) for name, n in zip("xyz", space, strict=False)]
    names = tuple(f"u{i}" for i in range(channels))
    return Gridded(None, "test", samples, tuple(axes), names, Waves(*space, channels))


SIZES = {
    "one trace": recording(1, 1000),
    "short trace": recording(1, 40),
    "traces": recording(1, 5000, channels=30),
    "curves": recording(300, 100, channels=2),
    "few long": recording(3, 2000),
    "line": recording(1, 300, 50),
    "square": recording(1, 400, 24, 24, channels=2),
    "short movie": recording(1, 30, 16, 16),
    "flows": recording(50, 12, 20, 20),
    "large frames": recording(1, 60, 300, 230),
    "volume": recording(1, 60, 8, 8, 8),
    "few frames": recording(12, 3, 8, 8),
}


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("holdout", [None, "points", "frames"])
def test_suggested_settings_work(name, holdout):
    source = SIZES[name]
    if holdout == "frames" and name == "few frames":
        holdout = "points"  # half of three frames cannot be learnt from
    made = suggest(source, holdout=holdout)
    data = ArrayDataModule(source, **({"holdout": holdout} if holdout else {}), **made["data"])
    batch = next(iter(data.train_dataloader()))
    assert batch.context.mask.any(1).all()
    assert batch.target.mask.any()
    assert data.size("test") > 0


def test_a_size_that_is_known_is_chosen_for():
    made = suggest(SIZES["square"])
    assert made["data"] == {
        "holdout": "points", "tokens": "points", "window": 16, "divide": "time", "stride": 1, "observed": 256,
        "target": "masked", "context": [0.5, 0.9], "batch_size": 8, "eval_batch_size": 16, "dummies": 5,
        "val_sites": 64,
    }  # fmt: skip
    assert made["model"]["initialiser"] == "idw"
    assert made["model"]["mu"] == 0  # it is not worth its time there: docs/results/sobolev.md


def test_what_is_given_is_not_chosen_again():
    made = suggest(SIZES["square"], window=8, observed=0.1, batch_size=2)
    assert not made["data"].keys() & {"window", "observed", "batch_size"}


def test_frames_too_large_for_points_become_components():
    made = suggest(SIZES["large frames"])
    assert made["data"]["tokens"] == "components"
    assert made["data"]["holdout"] == "frames"
    assert "too large" not in " ".join(explain(SIZES["square"]))


@pytest.mark.parametrize("name", SIZES)
def test_every_choice_has_a_reason(name):
    lines = explain(SIZES[name])
    assert all("\n" not in line for line in lines)
    assert any(line.startswith("trainer.max_epochs") and "steps of" in line for line in lines)


@settings(max_examples=100, deadline=None)
@given(
    samples=st.sampled_from([1, 2, 9, 10, 500]),
    frames=st.integers(2, 100_000),
    space=st.lists(st.integers(1, 300), max_size=3),
    channels=st.integers(1, 100),
)
def test_training_takes_minutes_whatever_the_size(samples, frames, space, channels):
    made = suggest(recording(samples, frames, *space, channels=channels))
    data, model = made["data"], made["model"]
    count = data["observed"]
    total = (data.get("window") or frames) * (1 if data["tokens"] != "points" else int(np.prod(space)))
    shown = count if isinstance(count, int) else round(count * total)
    step = step_seconds(data["batch_size"], shown, shown, 0, model["width"], model["depth"])
    assert step < 5
    assert made["trainer"]["max_epochs"] >= 1
    assert made["trainer"]["check_val_every_n_epoch"] <= made["trainer"]["max_epochs"]


def test_scattered_points_are_cut_if_there_is_one_sample():
    coords = np.random.default_rng(0).random((2000, 3))
    one = Scattered(None, "test", [coords], [coords[:, :1].astype("f4")], ("time", "x", "y"), ("u",))
    made = suggest(one)
    assert made["data"]["window"] == 200
    assert ArrayDataModule(one, **made["data"]).size("test") == 1
    many = Scattered(None, "test", [coords[:50]] * 20, [coords[:50, :1].astype("f4")] * 20, ("time", "x", "y"), ("u",))
    assert suggest(many)["data"].get("window") is None


def test_a_whole_configuration_names_the_data():
    made = config(simulated(), Path("a.npz"), window=8)
    assert made["data"]["class_path"] == "ArrayDataModule"
    assert made["data"]["init_args"]["path"] == "a.npz"
    assert made["data"]["init_args"]["window"] == 8


def test_cost_grows_as_said():
    small, large = (step_seconds(64, n, 0, 0, 16, 4) - step_seconds(0, 0, 0, 0, 16, 4) for n in (2000, 4000))
    assert 3.5 < large / small < 4


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("holdout", ["tail", "region"])
def test_what_is_drawn_by_window_is_never_held_out_within(name, holdout):
    if name == "few frames":
        pytest.skip("three frames have no tail to learn from")
    data = ArrayDataModule(SIZES[name], holdout=holdout, **suggest(SIZES[name], holdout=holdout)["data"])
    assert data.divide != "within"
    assert data.sample("test", 0).target.mask.any()


def test_a_recording_too_short_for_a_tail_is_told_in_one_line():
    with pytest.raises(DataError, match=r"holdout tail: expected .*divide time.* holdout points or frames .*within"):
        suggest(recording(1, 12, 16, 16), holdout="tail")


def test_a_region_of_large_frames_is_hidden_patch_by_patch():
    made = suggest(recording(1, 200, 64, 64), holdout="region")["data"]
    assert (made["tokens"], made["patch"]) == ("patches", 4)


def test_frames_with_single_gaps_are_points():
    source = recording(1, 60, 8, 8)
    values = source.read(0, 0, 60)
    values[np.random.default_rng(0).random(values.shape) < 0.1] = np.nan
    holed = dataclasses.replace(source, read=lambda sample, start, stop: values[start:stop])
    assert suggest(source, holdout="frames")["data"]["tokens"] == "frames"
    assert suggest(holed, holdout="frames")["data"]["tokens"] == "points"
