"""InterpolationCallback: the numbers it logs."""

from __future__ import annotations

import copy

import pytest
import torch

from cst_lightning.callbacks import InterpolationCallback


@pytest.fixture
def logged(make_trainer, module, data):
    trainer = make_trainer(InterpolationCallback())
    return trainer.test(module, datamodule=data, verbose=False)[0]


def test_mse_of_a_constant_error_is_its_square(logged) -> None:
    assert logged["test/mse"] == pytest.approx(0.25, rel=1e-5)


def test_errors_are_in_the_datamodules_unit(make_trainer, module, data) -> None:
    data.scale = 4.0
    scores = make_trainer(InterpolationCallback()).test(module, datamodule=data, verbose=False)[0]
    assert scores["test/mse"] == pytest.approx(0.25 / 16, rel=1e-5)
    assert scores["test/initialiser_mse"] == pytest.approx(2.25 / 16, rel=1e-5)


def test_the_initialiser_is_scored_beside(logged) -> None:
    assert logged["test/initialiser_mse"] == pytest.approx(2.25, rel=1e-5)


def test_every_metric_is_logged_for_both(logged) -> None:
    names = {f"test/{prefix}{name}" for prefix in ("", "initialiser_") for name in ("mse", "r2", "relative_l2")}
    assert set(logged) == names


def test_r2_is_one_less_the_error_over_the_variance_of_held_out_truth(logged, data) -> None:
    batch = data.batch([0, 1, 2])
    variance = batch.target.values[batch.target.mask].var(0, correction=0).mean()
    assert logged["test/r2"] == pytest.approx(1 - 0.25 / variance.item(), rel=1e-4)


def test_validation_while_fitting_is_available_to_checkpoints(make_trainer, module, data) -> None:
    trainer = make_trainer(InterpolationCallback())
    trainer.fit(module, datamodule=data)
    assert trainer.callback_metrics["val/mse"].item() == pytest.approx(module.shift.item() ** 2, rel=1e-4)


def test_outputs_stay_as_they_were(make_trainer, module, data, monkeypatch) -> None:
    kept = []
    step = module.test_step

    def remember(batch, batch_idx):
        outputs = step(batch, batch_idx)
        kept.append((outputs, copy.deepcopy(outputs)))
        return outputs

    monkeypatch.setattr(module, "test_step", remember)
    make_trainer(InterpolationCallback()).test(module, datamodule=data, verbose=False)
    now, before = kept[0]
    assert all(torch.equal(now[name], before[name]) for name in ("prediction", "initialiser", "target", "mask"))


def test_a_module_that_returns_something_else_is_left_alone(make_trainer, module, data, monkeypatch) -> None:
    monkeypatch.setattr(module, "test_step", lambda batch, batch_idx: None)
    assert make_trainer(InterpolationCallback()).test(module, datamodule=data, verbose=False) == [{}]
