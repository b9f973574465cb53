"""SmoothnessCallback: curvature relative to the truth's."""

from __future__ import annotations

import pytest

from cst_lightning.callbacks import SmoothnessCallback


def test_a_shifted_truth_is_as_smooth_as_the_truth(make_trainer, module, data) -> None:
    logged = make_trainer(SmoothnessCallback()).test(module, datamodule=data, verbose=False)[0]
    assert logged == {"test/roughness": pytest.approx(1.0, rel=1e-3)}


def test_the_unit_of_scores_changes_no_ratio(make_trainer, module, data) -> None:
    data.scale = 4.0
    logged = make_trainer(SmoothnessCallback()).test(module, datamodule=data, verbose=False)[0]
    assert logged == {"test/roughness": pytest.approx(1.0, rel=1e-3)}


def test_targets_that_are_no_grid_log_nothing(make_trainer, module, data, monkeypatch) -> None:
    step = module.test_step
    monkeypatch.setattr(module, "test_step", lambda batch, batch_idx: step(batch, batch_idx) | {"frames": 0})
    assert make_trainer(SmoothnessCallback()).test(module, datamodule=data, verbose=False) == [{}]


def test_user_loaders_without_a_datamodule_are_scored_where_held_out(make_trainer, module, data) -> None:
    module.normalization = data.normalization
    loader = data.test_dataloader()
    logged = make_trainer(SmoothnessCallback()).test(module, loader, verbose=False)[0]
    assert logged["test/roughness"] == pytest.approx(1.0, rel=1e-3)
