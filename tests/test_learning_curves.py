"""Learning curves: what is read and what is drawn."""

from pathlib import Path

import numpy as np

from cst_lightning.learning_curves import learning_curves, read_columns


def _csv(path: Path) -> Path:
    rows = [
        "epoch,step,train/loss,train/fit,val/mse",
        *(f"0,{n},{1 / (n + 1)},{0.5 / (n + 1)}," for n in range(20)),
        "0,19,,,0.3",
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
    assert (left, right) == (["fit", "loss"], ["CST"])


def test_learning_curves_name_the_model(tmp_path) -> None:
    figure = learning_curves(_csv(tmp_path / "metrics.csv"), "ConvGRU")
    assert [text.get_text() for text in figure.axes[1].get_legend().get_texts()] == ["ConvGRU"]


def test_a_loss_that_equals_the_fit_leaves_it_visible(tmp_path) -> None:
    left = learning_curves(_csv(tmp_path / "metrics.csv")).axes[0]
    styles = {
        line.get_label(): line.get_linestyle() != "-" for line in left.lines if not line.get_label().startswith("_")
    }
    assert styles == {"fit": False, "loss": True}
