"""What is odd about samples is told with what causes it."""

from typing import Any

import numpy as np
import pytest

from cst_lightning.datamodules.arrays import ArrayDataModule
from cst_lightning.looking import look


def recordings(pause: float, **settings: Any) -> ArrayDataModule:
    time = np.arange(60) / 10
    time[50:] += pause
    values = np.sin(time)[:, None] + np.arange(12.0)
    return ArrayDataModule({"values": values.T[..., None], "time": time}, layout="stc", divide="samples", **settings)


def dummies_warning(data: ArrayDataModule) -> str:
    return next((line for line in look(data)[1] if "of the dummies lie outside" in line), "")


def test_a_pause_that_is_crossed_is_named_as_the_cause() -> None:
    data = recordings(3600.0, holdout="tail", observed=0.5)
    assert "whole recordings cross the pause: data.dummy_domain hull" in dummies_warning(data)


def test_what_is_set_is_not_advised() -> None:
    told = dummies_warning(recordings(0.0, holdout="tail", observed=0.5))
    assert "data.dummy_domain hull brings them inside" in told
    assert "keep_ends" not in told
    assert not dummies_warning(recordings(0.0, holdout="points", keep_ends=True))


@pytest.mark.parametrize(("split", "many"), [("train", 10), ("val", 1), ("test", 1)])
def test_every_split_is_looked_at(split: str, many: int) -> None:
    parts, _ = look(recordings(0.0, train=10, val=1, test=1))
    assert next(part.samples for part in parts if part.name == split) == many
