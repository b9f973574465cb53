"""Weights of a whole sequence come from half of it and nothing else, and are compared with what they should be."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from cst_lightning import CSTModule
from cst_lightning.baselines.paper import PaperModule
from cst_lightning.benchmark import upsampling
from cst_lightning.benchmark.cells import Outcome
from cst_lightning.benchmark.charts import draw
from cst_lightning.benchmark.runner import bench
from cst_lightning.benchmark.tables import Report, document, terminal
from cst_lightning.benchmark.upsampling import AttentionScores, Half, Reader, errors, hats, resampled, sequences
from cst_lightning.datamodules import SpiralsDataModule
from cst_lightning.field_module import FieldModule
from cst_lightning.points import Batch, point_set
from cst_lightning.usage import UsageError
from tests.benchmark.conftest import SMALL, Here, model, written

KINDS = ("isolated", "joint", "paper")
SCORES = ["weights_l2", "weights_mse", "weights_kl"]
METHODS: dict[str, Any] = {
    "isolated": {"model": {"class_path": "CSTModule", "init_args": SMALL}},
    "joint": {"like": "isolated", "model": {"init_args": {"attention": "joint"}}},
}


def module(kind: str) -> FieldModule:
    """Return a model whose predictions and weights depend on everything, flags included."""
    torch.manual_seed(1)
    size: dict[str, Any] = {"width": 16, "depth": 2, "heads": 2, "initialiser": "linear"}
    made = PaperModule(1, 2, **size) if kind == "paper" else CSTModule(1, 2, attention=kind, **size)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.requires_grad:
                parameter += 0.2 * torch.randn_like(parameter)
    return made.double().eval()


def curves() -> tuple[Tensor, Tensor]:
    """Return coordinates (3, 8, 1), not equally spaced, and values (3, 8, 2)."""
    generator = torch.Generator().manual_seed(0)
    coords = (2 * torch.rand(3, 8, 1, generator=generator, dtype=torch.float64) - 1).sort(1).values
    return coords, torch.randn(3, 8, 2, generator=generator, dtype=torch.float64)


def estimates(reader: Reader, half: Half) -> dict[str, Tensor]:
    return {**upsampling._own(reader, half), **upsampling.upsampled(reader, half)}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_but_the_truth_sees_held_out_values(kind: str) -> None:
    reader, (coords, values) = Reader(module(kind)), curves()
    other = values.clone()
    other[:, 1::2] = math.nan
    first, second = (estimates(reader, Half.of(coords, v)) for v in (values, other))
    assert all(torch.equal(first[way], second[way]) for way in first)
    other[:, 1::2] = 5.0
    truths = [reader.weights(coords, v, coords) for v in (values, other)]
    assert not torch.allclose(*truths, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_sums_to_one(kind: str) -> None:
    found = estimates(Reader(module(kind)), Half.of(*curves()))
    for way, weights in found.items():
        assert weights.shape == (2, 3, 2, 8, 8), way
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 2, 8, dtype=torch.float64), msg=way)


def test_one_pass_over_dummies_is_the_pass_over_their_values_where_nothing_tells_them_apart() -> None:
    # which needs every column at its own place in time
    reader, half = Reader(module("paper")), Half.of(*curves())
    torch.testing.assert_close(reader.joint(half), reader.filled(half, reader.initial(half)))


def test_isolated_attention_is_exact_where_the_prediction_is() -> None:
    reader, half = Reader(module("isolated")), Half.of(*curves())
    truth = reader.weights(half.whole, half.filled(reader.predicted(half)), half.whole)
    assert torch.equal(estimates(reader, half)["cst_predicted"], truth)


def test_dummies_take_part_in_a_joint_models_prediction() -> None:
    reader, half = Reader(module("joint")), Half.of(*curves())
    alone = reader.field.observe(half.coords, half.values)(half.missing)
    assert not torch.allclose(reader.predicted(half), alone, atol=1e-3)


def test_interpolation_is_linear_and_holds_the_ends() -> None:
    found = hats(torch.tensor([[0.0, 2.0, 3.0]]), torch.tensor([[-1.0, 0.0, 0.5, 2.0, 2.5, 4.0]]))
    rows = [[1, 0, 0], [1, 0, 0], [0.75, 0.25, 0], [0, 1, 0], [0, 0.5, 0.5], [0, 0, 1]]
    assert found[0].tolist() == rows


def test_the_nearest_point_is_the_earlier_of_two() -> None:
    found = hats(torch.tensor([[0.0, 2.0, 4.0]]), torch.tensor([[0.9, 1.0, 1.1, 9.0]]), nearest=True)
    assert found[0].argmax(-1).tolist() == [0, 0, 1, 2]


def test_both_axes_of_the_weights_are_interpolated() -> None:
    x, y = torch.tensor([0.0, 1.0, 4.0]).double(), torch.tensor([0.0, 0.3, 1.0, 3.0, 4.0]).double()
    plane = 2 + x[:, None] + 3 * x[None] + x[:, None] * x[None]  # what bilinear interpolation reproduces
    found = resampled(plane.expand(1, 1, 1, 3, 3), hats(x[None], y[None]))[0, 0, 0]
    torch.testing.assert_close(found, 2 + y[:, None] + 3 * y[None] + y[:, None] * y[None])


def test_errors_by_hand() -> None:
    truth = torch.tensor([[0.5, 0.5], [0.0, 1.0]]).double().expand(1, 1, 1, 2, 2)
    estimate = torch.tensor([[0.5, 0.5], [0.5, 0.5]]).double().expand(1, 1, 1, 2, 2)
    found = {name: value.item() for name, value in errors(estimate, truth).items()}
    assert found["weights_mse"] == pytest.approx(0.5 / 4)
    assert found["weights_l2"] == pytest.approx(math.sqrt(0.5 / 1.5))
    assert found["weights_kl"] == pytest.approx(math.log(2) / 2, abs=1e-9)
    assert set(found) == set(upsampling.SCORES)


def test_heads_may_cancel_in_all_scores_but_the_one_of_each_head() -> None:
    up, down = torch.tensor([[0.7, 0.3]] * 2).double(), torch.tensor([[0.3, 0.7]] * 2).double()
    truth, swapped = torch.stack([up, down])[None, None], torch.stack([down, up])[None, None]
    found = errors(swapped, truth)
    assert found["weights_l2"].item() == pytest.approx(0)
    assert found["weights_l2_heads"].item() > 0.5


def test_sequences_are_put_in_time_order_and_must_be_of_one_length() -> None:
    coords, values = curves()
    shuffled = torch.tensor([3, 0, 7, 1, 2, 6, 5, 4])
    empty = point_set(coords[:, :0], values[:, :0])

    def batch(mask: Tensor | None = None) -> Batch:
        points = point_set(coords[:, shuffled], values[:, shuffled], mask)
        return Batch(points, empty, coords[:, :0], torch.arange(3))

    assert all(torch.equal(*pair) for pair in zip(sequences(batch()), (coords, values), strict=True))
    mask = torch.ones(3, 8, dtype=torch.bool)
    mask[0, 7] = False
    with pytest.raises(ValueError, match=r"as many everywhere, found 1 coordinates, \[7, 8\] points"):
        sequences(batch(mask))


def test_the_mean_of_training_shows_all_that_is_observed(tmp_path: Path) -> None:
    data = SpiralsDataModule(
        train=3, val=1, test=2, points=12, observed=6, scheme="regular", context=(0.4, 0.5), cache_dir=tmp_path
    )
    data.prepare_data()
    data.setup()
    reader = Reader(module("isolated"))
    found = upsampling._training_mean(reader, data)
    truths = [data.truth("train", i) for i in range(3)]
    places = data.observation.positions(truths[0], 0)
    coords, values = (torch.stack([getattr(t, n)[places] for t in truths]) for n in ("coords", "values"))
    torch.testing.assert_close(found, reader.weights(coords, values, coords).mean(1, keepdim=True))


def test_scores_are_those_of_the_batches_together() -> None:
    scores, generator = AttentionScores(), torch.Generator().manual_seed(0)
    truth, guess = (torch.rand(1, 4, 1, 3, 3, generator=generator).softmax(-1) for _ in range(2))
    for part in (slice(0, 1), slice(1, 4)):
        scores.add({"cst_predicted": guess[:, part]}, truth[:, part])
    torch.testing.assert_close(torch.tensor(scores.by_sample()["weights_l2"]), errors(guess, truth)["weights_l2"])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    """A small comparison of two models, run once."""
    place = tmp_path_factory.mktemp("upsampling")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        protocol = written(place, task="attention", scores=SCORES, methods=METHODS)
        return place, bench(protocol, place / "out", execute=Here(), command="cst bench mini.yaml")


def test_each_model_has_a_table_of_the_ways(run: tuple[Path, Report]) -> None:
    found = json.loads((run[0] / "out" / "results.json").read_text())
    ways = {table["value"]: {row["method"] for row in table["scores"]["weights_l2"]} for table in found["tables"]}
    common = {"cst_predicted", "initialiser", "linear", "logits", "nearest", "training"}
    assert ways == {"isolated": common, "joint": common | {"cst_dummies"}}


def test_every_number_of_every_seed_is_kept(run: tuple[Path, Report]) -> None:
    found = json.loads((run[0] / "out" / "results.json").read_text())
    cells = {(cell["model"], cell["method"], cell["seed"]): cell["scores"] for cell in found["cells"]}
    assert len(cells) == 2 * (6 + 7)
    assert all(len(values) == 5 for scores in cells.values() for values in scores.values())
    assert cells["joint", "cst_dummies", 1] != cells["joint", "linear", 1]


def test_the_document_tests_every_model_against_interpolated_weights(run: tuple[Path, Report]) -> None:
    text = document(run[1])
    for n, name, way in ((0, "isolated", "cst_predicted"), (1, "joint", "cst_predicted"), (1, "joint", "cst_dummies")):
        rows = {row.method: row.mean for row in run[1].rows(n)}
        line = next(line for line in text.splitlines() if line.startswith(f"- {name}, {way} against linear"))
        assert "(p Holm-corrected for 9 tests)" in line
        assert f"relative L2 of weights {rows[way]:.3g} against {rows['linear']:.3g}, closer on" in line
    assert terminal(run[1])[0].row_count == 7


def test_the_figure_shows_both_models(run: tuple[Path, Report], tmp_path: Path) -> None:
    paths = draw(run[1], tmp_path)
    assert [path.stem for path in paths] == ["attention", "weights_l2_isolated", "weights_l2_joint"]
    with Image.open(paths[0]) as picture:
        assert np.asarray(picture.convert("L")).std() > 5  # not an empty page


def test_finished_models_are_not_trained_again(run: tuple[Path, Report], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run[0])
    here = Here()
    protocol = written(run[0], task="attention", scores=SCORES, methods=METHODS)
    again = bench(protocol, run[0] / "out", execute=here)
    assert here.run == []
    assert again.rows(1) == run[1].rows(1)


def test_a_model_without_attention_is_refused_before_anything_runs(here: Here, tmp_path: Path) -> None:
    protocol = written(tmp_path, task="attention", scores=SCORES, methods={"none": model("Honest")})
    with pytest.raises(UsageError, match=r"methods\.none: model is Honest, expected one whose network is a CSTNetwork"):
        bench(protocol, tmp_path / "out", execute=here)
    assert here.run == []


def test_a_model_that_fails_leaves_the_others_a_table(here: Here, tmp_path: Path) -> None:
    protocol = written(tmp_path, task="attention", scores=SCORES, methods=METHODS, seeds=[1])

    def execute(spec: Mapping[str, Any]) -> Outcome:
        return Outcome(None, "broken") if spec["case"]["method"] == "isolated" else here(spec)

    report = bench(protocol, tmp_path / "out", execute=execute)
    assert report.protocol.values == ("joint",)
    assert "Failed: isolated, seed 1. broken" in document(report)


def test_nothing_is_drawn_where_everything_failed(here: Here, tmp_path: Path) -> None:
    protocol = written(tmp_path, task="attention", scores=SCORES, methods=METHODS, seeds=[1])
    report = bench(protocol, tmp_path / "out", execute=lambda _: Outcome(None, "broken"))
    assert draw(report, tmp_path / "figures") == []
    assert "Failed: joint" in document(report)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"task": "guess"}, "task: expected values or attention, found guess"),
        ({"methods": {"linear": {"interpolation": "linear"}}}, r"methods\.linear: expected a model"),
        ({"sweep": {"key": "model.mu", "values": [0.1]}}, r"sweep: expected none.* found model\.mu"),
    ],
)
def test_what_has_no_attention_is_refused(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        written(tmp_path, **{"task": "attention", "scores": SCORES, "methods": METHODS, **changes})


def test_scores_of_values_are_none_of_weights() -> None:
    with pytest.raises(ValueError, match=r"scores: expected some of weights_l2, .*, found mse"):
        upsampling.directions(["mse"])


def test_cells_of_other_tasks_are_what_they_were(tmp_path: Path) -> None:
    assert all("task" not in case.settings for case in written(tmp_path).cases())
