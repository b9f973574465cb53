"""Gaps cost the windows that they fill, and nothing else."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from cst_lightning.datamodules import window_dataset
from cst_lightning.datamodules.arrays import ArrayDataModule
from cst_lightning.datamodules.gaps import empty_channels, longest_gap
from cst_lightning.datamodules.readers.arrays import read_arrays
from cst_lightning.errors import DataError

TIME = np.arange(600) / 10
HOLDOUTS = ["points", "frames", "tail", "regular", "region"]


def holed(start: int, stop: int, **settings: Any) -> ArrayDataModule:
    values = np.sin(TIME)[:, None] + np.arange(3.0)
    values[start:stop] = np.nan
    return ArrayDataModule({"values": values, "time": TIME}, **{"window": 20, "target": "masked", **settings})


@pytest.mark.parametrize("holdout", HOLDOUTS)
def test_windows_without_values_are_left_out(holdout: str) -> None:
    data = holed(100, 200, holdout=holdout)
    data.setup()
    shown = [int(data.sample("train", i).context.mask.sum()) for i in range(data.size("train"))]
    assert min(shown) >= 2
    assert any("are left out: " in note and " of train" in note for note in data.notes)


@pytest.mark.parametrize("holdout", ["points", "frames", "regular"])
def test_within_a_recording_windows_without_values_are_left_out(holdout: str) -> None:
    data = holed(100, 200, holdout=holdout, divide="within")
    for split in ("train", "val", "test"):
        shown = [int(data.sample(split, i).context.mask.sum()) for i in range(data.size(split))]
        assert shown
        assert min(shown) > 0


def test_what_is_drawn_for_the_other_windows_stays_the_same() -> None:
    whole, lost = holed(0, 0), holed(100, 200)
    last = whole.size("train") - 1, lost.size("train") - 1
    assert last[1] < last[0]
    first, second = (data.sample("train", i) for data, i in zip((whole, lost), last, strict=True))
    torch.testing.assert_close(first.context.coords, second.context.coords, rtol=0, atol=0)


def test_a_dropped_frame_beside_a_gap_is_still_asked_for_once() -> None:
    data = holed(100, 200, holdout="frames", divide="within", observed=0.5)
    asked: list[int] = []
    for i in range(data.size("test")):
        asked += (data.window_of("test", i).start + torch.nonzero(data.sample("test", i).target.mask)[:, 0]).tolist()
    seen = data._draw().observed(0, 0, 600, 1)[:, 0]
    assert sorted(asked) == [n for n in range(600) if not seen[n] and not 100 <= n < 200]


@pytest.mark.parametrize(("start", "stop", "split"), [(0, 480, "train"), (540, 600, "test")])
def test_the_gap_is_named_if_nothing_is_left(start: int, stop: int, split: str) -> None:
    with pytest.raises(DataError, match=f"in every window of {split}; none in frames {start} to {stop - 1}"):
        holed(start, stop).setup()


def test_without_values_in_validation_the_others_remain() -> None:
    data = holed(480, 540)
    data.setup()
    assert data.size("val") == 0
    assert any("of val" in note for note in data.notes)


def test_a_window_with_fewer_values_than_are_to_be_observed_shows_what_there_is() -> None:
    data = holed(105, 119, observed=12, stride=1, train=300, val=100, test=100)
    data.setup()
    shown = [len(data.observation.positions(data.truth("train", i), i)) for i in range(data.size("train"))]
    assert max(shown) == 12
    assert 3 <= min(shown) < 12


def test_gaps_of_a_large_file_stop_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window_dataset, "_REMEMBERED", 0)
    data = holed(100, 200, batch_size=1)
    batches = list(data.train_dataloader())
    assert min(batch.context.mask.shape[1] for batch in batches) >= 1
    assert not all(batch.context.mask.any() for batch in batches)


def test_empty_scattered_samples_are_left_out() -> None:
    time = np.tile(np.arange(30.0), 12)
    table = pd.DataFrame({"sample": np.repeat(np.arange(12), 30), "time": time, "u": np.sin(time)})
    table.loc[table["sample"] == 3, "u"] = np.nan
    data = ArrayDataModule(table, target="masked")
    data.setup()
    assert data.size("train") == 9
    assert any("samples with too few values" in note for note in data.notes)


def test_the_longest_gap_is_found() -> None:
    points = np.ones((10, 2), dtype=bool)
    points[[1, 4, 5, 6, 9]] = False
    assert longest_gap(points) == (4, 6)
    assert longest_gap(None) is None


def channels(*empty: int) -> dict[str, np.ndarray]:
    values = np.sin(TIME)[:, None] + np.arange(3.0)
    values[:, list(empty)] = np.nan
    return {"values": values, "time": TIME}


def test_channels_without_a_value_are_found() -> None:
    assert empty_channels(read_arrays(channels(0, 2))) == [0, 2]
    late = channels()
    late["values"][:599, 1] = np.nan
    assert empty_channels(read_arrays(late)) == []


def test_a_channel_without_values_is_named_with_what_leaves_it_out() -> None:
    with pytest.raises(DataError, match=r"found none in channel values 1; data\.select, with the other channels"):
        ArrayDataModule(channels(1), window=20, target="masked").setup()


def test_channels_without_values_are_left_out_by_the_suggestion() -> None:
    chosen, reasons = ArrayDataModule.suggest(path=channels(1))
    assert chosen["data"]["select"] == [0, 2]
    assert chosen["figures"]["values"] == ["values 0", "values 2"]
    assert any(line.startswith("data.select: all channels but values 1") for line in reasons)
    assert "select" not in ArrayDataModule.suggest(path=channels(1), select=[0, 2])[0]["data"]
