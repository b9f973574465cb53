"""Evaluation: every method sees the same, is scored the same, and the file has one shape."""

from __future__ import annotations

import io
import json
from typing import NamedTuple

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from rich.console import Console
from torch import Tensor
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric, Metric

from cst_lightning import evaluation, runs
from cst_lightning.baselines.interpolation import Example, Interpolator, Linear, Spline, references
from cst_lightning.points import Batch, Normalization, PointSet, pad


class Trajectory(NamedTuple):
    coords: Tensor
    values: Tensor
    frames: int


class Data:
    """Parabolas on 9 uneven times, 5 observed."""

    dimension, channels, periodic, scale = 1, 1, (False,), 1.0
    normalization = Normalization((0.5,), (0.5,), (0.0,), (1.0,))
    shown = torch.arange(9) % 2 == 0

    def prepare_data(self) -> None: ...

    def setup(self, stage: str) -> None: ...

    def truth(self, split: str, index: int) -> Trajectory:
        coords = torch.linspace(0, 1, 9, dtype=torch.float64)[:, None] ** 1.5
        return Trajectory(coords, ((1 + index) * coords.square()).float(), 9)

    def scored(self, values: Tensor) -> Tensor:
        return values

    def scored_truth(self, split: str, index: int) -> Tensor:
        return self.truth(split, index).values

    def rates(self, split: str, index: int) -> None:
        """Nobody knows them."""

    def scores(self) -> dict[str, Metric]:
        return {"worst": Worst(sync_on_compute=False)}

    def references(self) -> list[Interpolator]:
        return references(1)

    def batch(self, indices: list[int]) -> Batch:
        sets = []
        for index in indices:
            coords, values, _ = self.truth("test", index)
            context = PointSet(coords[self.shown], values[self.shown], self.shown[self.shown])
            sets.append((context, PointSet(coords, torch.where(self.shown[:, None], 0, values), ~self.shown)))
        context, target = (pad(part) for part in zip(*sets, strict=True))
        return Batch(context, target, torch.zeros(len(indices), 1, 1), torch.tensor(indices), 9)

    def whole_dataloader(self, split: str) -> DataLoader:
        return DataLoader(range(3), batch_size=2, collate_fn=self.batch)


class Worst(MeanMetric):
    """The largest error, a score of the data's own."""

    higher_is_better = False

    def update(self, prediction: Tensor, target: Tensor, mask: Tensor, frames: int) -> None:
        super().update((prediction - target)[mask].abs().max())


class Parabola(LightningModule):
    """Knows the answer up to a shift."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = torch.nn.Parameter(torch.tensor(0.1))

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        return Data.normalization.batch(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        coords = Data.normalization.coords_back(batch.target.coords)
        return {"prediction": (1 + batch.index[:, None, None]) * coords.square() + self.shift}


class Spy:
    """Notes what it is given."""

    name = "spy"

    def __init__(self) -> None:
        self.values: list[np.ndarray] = []
        self.coords: list[np.ndarray] = []

    def __call__(self, coords, values, query, periods) -> np.ndarray:
        self.values.append(values)
        self.coords.append(coords)
        return np.zeros((len(query), 1))


@pytest.fixture
def results() -> dict:
    return evaluation.evaluate(Parabola(), Data())


class Remembering(NamedTuple):
    """A `Learner` that answers with the number of samples it was fitted to."""

    fitting_samples: int = 2
    seen: int = 0
    name: str = "remembering"

    def __call__(self, coords: np.ndarray, values: np.ndarray, query: np.ndarray, periods: object) -> np.ndarray:
        return np.full((len(query), 1), self.seen)

    def fitted(self, samples: list[Example], periods: object) -> Remembering:
        return self._replace(seen=len(samples))


class Splits(Data):
    """Tells which splits were read."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def whole_dataloader(self, split: str) -> DataLoader:
        self.read.append(split)
        return super().whole_dataloader(split)


def test_a_reference_that_learns_sees_training_samples_alone_and_no_more_than_it_asks_for() -> None:
    data = Splits()
    linear, learned, _ = evaluation.suited([Linear(), Remembering(), Spline()], data)
    assert (linear, learned.seen) == (Linear(), 2)
    assert data.read == ["val", "train"]  # once each
    alone = Splits()
    evaluation.suited([Remembering()], alone)
    assert alone.read == ["train"]


def test_the_module_and_the_references_are_scored(results) -> None:
    assert list(results) == ["parabola", "linear", "nearest", "pchip", "cubic", "smoothing"]


def test_a_module_called_like_a_reference_has_a_row_of_its_own() -> None:
    class LinearModule(Parabola):
        """Not the interpolation."""

    found = evaluation.evaluate(LinearModule(), Data(), [Linear()])
    assert list(found) == ["linear_model", "linear"]
    assert found["linear_model"]["mse"] == pytest.approx(0.01, rel=1e-4)


def test_a_shift_costs_its_square(results) -> None:
    assert results["parabola"]["mse"] == pytest.approx(0.01, rel=1e-4)


def test_scores_of_the_datas_own_are_beside_the_others(results) -> None:
    assert results["parabola"]["worst"] == pytest.approx(0.1, rel=1e-4)
    assert all("worst" in row for row in results.values())


def test_scores_are_in_the_datamodules_unit(results) -> None:
    data = Data()
    data.scale = 4.0
    scaled = evaluation.evaluate(Parabola(), data)
    for name in results:
        assert scaled[name]["mse"] == pytest.approx(results[name]["mse"] / 16)
        assert scaled[name]["relative_l2"] == pytest.approx(results[name]["relative_l2"])
        assert scaled[name]["roughness"] == pytest.approx(results[name]["roughness"])


def test_predictions_are_scored_as_what_the_datamodule_makes_of_them() -> None:
    class Doubled(Data):
        def scored(self, values: Tensor) -> Tensor:
            return torch.cat([values, 0 * values], -1)

        def scored_truth(self, split: str, index: int) -> Tensor:
            values = self.truth(split, index).values
            return torch.cat([values, torch.full_like(values, 3.0)], -1)

    found = evaluation.evaluate(Parabola(), Doubled())
    assert found["parabola"]["mse"] == pytest.approx((0.01 + 9) / 2, rel=1e-4)
    assert found["cubic"]["mse"] == pytest.approx(4.5)


def test_a_cubic_spline_reproduces_parabolas(results) -> None:
    assert results["cubic"]["mse"] < 1e-10


def test_kinks_at_observed_points_count_as_roughness(results) -> None:
    assert results["linear"]["roughness"] > 1.2
    assert results["cubic"]["roughness"] == pytest.approx(1.0, rel=1e-2)


def test_references_see_normalised_context_and_nothing_else() -> None:
    spy = Spy()
    evaluation.evaluate(Parabola(), Data(), [spy])
    context = Data().batch([0]).context
    np.testing.assert_array_equal(spy.values[0], context.values[0].numpy())
    np.testing.assert_allclose(spy.coords[0], 2 * context.coords[0].numpy() - 1, atol=1e-6)


def test_the_module_is_left_in_training_mode() -> None:
    module = Parabola().train()
    evaluation.evaluate(module, Data(), [])
    assert module.training


ROW = {"mse": 1.0, "relative_l2": 0.5, "r2": 0.25, "roughness": 1.0, "seconds": 2.0}


def test_metrics_file_has_the_promised_shape(tmp_path) -> None:
    evaluation.write_metrics(tmp_path / "metrics.json", {"cst": ROW}, seconds=3.5, seed=7, version="1.2")
    expected = {"mse": 1.0, "relative_l2": 0.5, "r2": 0.25, "roughness": 1.0}
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert found == {"test": {"cst": expected}, "seconds": 3.5, "seed": 7, "version": "1.2"}


def test_a_score_that_does_not_exist_is_null(tmp_path) -> None:
    evaluation.write_metrics(tmp_path / "metrics.json", {"cst": ROW | {"roughness": float("nan")}})
    assert json.loads((tmp_path / "metrics.json").read_text())["test"]["cst"]["roughness"] is None


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch) -> None:
    path = tmp_path / "metrics.json"
    path.write_text("old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(runs.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        evaluation.write_metrics(path, {"cst": ROW})
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"metrics.json": "old"}


def _cells(results: dict) -> dict[str, list[str]]:
    made = evaluation.table(results)
    return {str(column.header): list(column.cells) for column in made.columns}


def test_the_best_of_each_column_is_bold() -> None:
    worse = {"mse": 2.0, "relative_l2": 0.4, "r2": 0.1, "roughness": 0.2, "seconds": 1.0}
    cells = _cells({"cst": ROW, "linear": worse})
    assert cells["MSE"] == ["[bold]1.0000[/bold]", "2.0000"]
    assert cells["rel. L2"] == ["0.5000", "[bold]0.4000[/bold]"]
    assert cells["R2"] == ["[bold]0.2500[/bold]", "0.1000"]
    assert cells["roughness"] == ["[bold]1.0000[/bold]", "0.2000"]


@pytest.mark.parametrize(("higher", "best"), [(True, "linear"), (False, "CST")])
def test_the_best_of_a_further_score_is_the_highest_or_the_lowest(higher: bool, best: str) -> None:
    made = evaluation.table({"cst": ROW | {"psnr": 20.0}, "linear": ROW | {"psnr": 30.0}}, {"psnr": higher})
    columns = {column.header: list(column.cells) for column in made.columns}
    bold = [name for name, cell in zip(columns["method"], columns["psnr"], strict=True) if "bold" in cell]
    assert bold == [best]


def test_the_first_row_has_the_models_name() -> None:
    made = evaluation.table({"convgru": ROW, "linear": ROW}, model="ConvGRU")
    assert list(made.columns[0].cells) == ["ConvGRU", "linear"]


def test_the_table_fits_a_terminal() -> None:
    stream = io.StringIO()
    row = ROW | {"mse": 1.234e-5, "psnr": 37.6, "ssim": 0.97}
    Console(file=stream, width=80).print(evaluation.table({"cst": ROW, "linear": row}))
    Console(file=stream, width=80).print(
        evaluation.table({"cst": row, "neighbour mean": row}, {"psnr": True, "ssim": True})
    )
    assert "1.23e-05" in stream.getvalue()
    assert "…" not in stream.getvalue()
