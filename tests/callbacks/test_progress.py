"""FitProgressBar: one line on a terminal, a few lines elsewhere."""

from __future__ import annotations

import io
import pickle
from types import SimpleNamespace

import pytest

from cst_lightning.callbacks import FitProgressBar, InterpolationCallback
from cst_lightning.callbacks.progress import _number, _scores


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _fit(make_trainer, module, data, stream: io.StringIO, **options) -> str:
    bar = FitProgressBar(stream=stream, **options)
    make_trainer(bar, InterpolationCallback(), enable_progress_bar=True, max_epochs=3).fit(module, datamodule=data)
    return stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO, _Terminal])
def test_every_number_is_shown(make_trainer, module, data, stream) -> None:
    text = _fit(make_trainer, module, data, stream())
    assert all(name in text for name in ("epoch 3/3", "100%", "loss ", "fit ", "sobolev ", "val mse ", "val r2 "))


@pytest.mark.parametrize(
    ("term", "shown"), [(0.0, ["loss 0.500"]), (0.25, ["loss 0.500", "fit 0.500", "sobolev 0.250"])]
)
def test_fit_and_term_are_shown_where_there_is_a_term(term: float, shown: list[str]) -> None:
    logged = {"train/loss": 0.5, "train/fit": 0.5, "train/sobolev": term}
    assert _scores(SimpleNamespace(callback_metrics=logged, progress_bar_metrics={})) == shown


def test_a_terminal_gets_one_line(make_trainer, module, data) -> None:
    assert _fit(make_trainer, module, data, _Terminal()).strip("\n").count("\n") == 0


def test_a_file_gets_no_flood(make_trainer, module, data) -> None:
    assert _fit(make_trainer, module, data, io.StringIO(), interval=60.0).count("\n") == 1


def test_a_disabled_bar_is_silent(make_trainer, module, data) -> None:
    stream = io.StringIO()
    bar = FitProgressBar(stream=stream)
    bar.disable()
    make_trainer(bar, enable_progress_bar=True).fit(module, datamodule=data)
    assert stream.getvalue() == ""


def test_it_travels_to_another_process() -> None:
    assert pickle.loads(pickle.dumps(FitProgressBar(interval=3.0))).interval == 3.0


@pytest.mark.parametrize(("value", "text"), [(0.98, "0.980"), (0.00123, "1.23e-3"), (-0.5, "-0.500"), (1e5, "1.00e+5")])
def test_numbers_are_short(value: float, text: str) -> None:
    assert _number(value) == text
