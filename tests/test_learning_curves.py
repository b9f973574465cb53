"""Learning curves: what is read and what is drawn."""

from pathlib import Path

import numpy as np

from cst_lightning.learning_curves import learning_curves, read_columns


def _csv(path: Path, sobolev: float = 2.0) -> Path:
    rows = [
        "epoch,step,train/loss,train/fit,val/mse,train/sobolev",
        *(f"0,{n},{1 / (n + 1)},{0.5 / (n + 1)},,{sobolev}" for n in range(20)),
        "0,19,,,0.3,",
    ]
    path.write_text("\n".join(rows) + "\n")
    return path


def test_learning_curves_leave_empty_cells_out(tmp_path) -> None:
    columns = read_columns(_csv(tmp_path / "metrics.csv"))
    assert len(columns["train/loss"][0]) == 20
    np.testing.assert_array_equal(columns["val/mse"], ([19.0], [0.3]))


def test_learning_curves_draw_what_there_is(tmp_path) -> None:
    figure = learning_curves(_csv(tmp_path / "metrics.csv"))
    left, right = ([text.get_text() for text in axis.get_legend().get_texts()] for axis in figure.axes)
    assert (left, right) == (["fit", "loss", "Sobolev, before μ"], ["CST"])


def test_learning_curves_name_the_model(tmp_path) -> None:
    figure = learning_curves(_csv(tmp_path / "metrics.csv"), "ConvGRU")
    assert [text.get_text() for text in figure.axes[1].get_legend().get_texts()] == ["ConvGRU"]


def test_a_loss_that_equals_the_fit_leaves_it_visible(tmp_path) -> None:
    left = learning_curves(_csv(tmp_path / "metrics.csv")).axes[0]
    styles = {
        line.get_label(): line.get_linestyle() != "-" for line in left.lines if not line.get_label().startswith("_")
    }
    assert styles == {"fit": False, "loss": True, "Sobolev, before μ": False}


def test_without_a_sobolev_term_the_loss_is_drawn_alone(tmp_path) -> None:
    left = learning_curves(_csv(tmp_path / "metrics.csv", sobolev=0.0)).axes[0]
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["loss"]
    assert {line.get_linestyle() for line in left.lines} == {"-"}


def test_steps_that_a_resumed_run_takes_again_are_drawn_once(tmp_path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,train/loss\n0,0,4\n0,10,3\n0,20,2.5\n0,10,2\n0,20,1\n")
    np.testing.assert_array_equal(read_columns(path)["train/loss"], ([0, 10, 20], [4, 2, 1]))
