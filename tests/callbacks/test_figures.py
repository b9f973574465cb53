"""FiguresCallback: which files appear, and when."""

from __future__ import annotations

import numpy as np
import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from PIL import Image

from cst_lightning.callbacks import FiguresCallback
from cst_lightning.callbacks.figures import extent
from cst_lightning.callbacks.scene import Scene
from cst_lightning.points import PointSet


def _names(folder) -> set[str]:
    return {path.name for path in folder.glob("*")}


def test_curves_appear_every_n_epochs_and_at_the_end(make_trainer, module, data, fake_field, tmp_path) -> None:
    figures = FiguresCallback(every_n_epochs=2, folder=str(tmp_path / "f"), animate=False)
    make_trainer(figures, max_epochs=3).fit(module, datamodule=data)
    assert _names(tmp_path / "f") == {"curves_epoch_0001.png", "curves.png"}


def test_drawing_waits_for_the_next_validation(make_trainer, module, data, fake_field, tmp_path) -> None:
    figures = FiguresCallback(every_n_epochs=3, folder=str(tmp_path / "f"), animate=False)
    make_trainer(figures, max_epochs=8, check_val_every_n_epoch=2).fit(module, datamodule=data)
    assert _names(tmp_path / "f") == {"curves_epoch_0003.png", "curves_epoch_0007.png", "curves.png"}


def test_animation_is_drawn_at_the_test_if_there_was_no_validation(
    make_trainer, module, data, fake_field, tmp_path
) -> None:
    figures = FiguresCallback(folder=str(tmp_path / "f"))
    make_trainer(figures, max_epochs=1, limit_val_batches=0).fit(module, datamodule=data)
    make_trainer(figures).test(module, datamodule=data, verbose=False)
    assert _names(tmp_path / "f") == {"curves_test.png", "animation.gif"}


def test_a_planar_field_ends_in_rows_of_pictures_and_an_animation(
    make_trainer, planar_module, planar_data, fake_field, tmp_path
) -> None:
    figures = FiguresCallback(every_n_epochs=0, folder=str(tmp_path / "f"))
    make_trainer(figures, max_epochs=1).fit(planar_module, datamodule=planar_data)
    assert _names(tmp_path / "f") == {"fields.png", "animation.gif"}


def test_a_validation_at_some_places_still_draws_all_of_the_field(
    make_trainer, planar_module, planar_data, fake_field, tmp_path, monkeypatch
) -> None:
    step = planar_module.validation_step

    def at_some_places(batch, batch_idx):
        target = PointSet(*(part[:, ::2] for part in batch.target))
        return step(batch._replace(target=target, frames=0), batch_idx)

    monkeypatch.setattr(planar_module, "validation_step", at_some_places)
    figures = FiguresCallback(every_n_epochs=0, folder=str(tmp_path / "f"), animate=False)
    make_trainer(figures, max_epochs=1).fit(planar_module, datamodule=planar_data)
    assert _names(tmp_path / "f") == {"fields.png"}


def test_the_animation_is_finer_than_the_data(make_trainer, module, data, fake_field, tmp_path) -> None:
    figures = FiguresCallback(every_n_epochs=0, folder=str(tmp_path / "f"))
    make_trainer(figures, max_epochs=1).fit(module, datamodule=data)
    with Image.open(tmp_path / "f" / "animation.gif") as picture:
        assert picture.n_frames == (8 - 1) * 4 + 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_loggers_get_pictures_and_learning_curves(make_trainer, module, data, fake_field, tmp_path) -> None:
    loggers = [CSVLogger(tmp_path, name="run", version="v"), TensorBoardLogger(tmp_path, name="run", version="v")]
    figures = FiguresCallback(every_n_epochs=0, animate=False)
    make_trainer(figures, max_epochs=1, logger=loggers).fit(module, datamodule=data)
    assert _names(tmp_path / "run" / "v" / "figures") == {"curves.png", "learning_curves.png"}
    assert list((tmp_path / "run" / "v").glob("events.*"))


def test_testing_draws_a_test_sample(make_trainer, module, data, fake_field, tmp_path) -> None:
    make_trainer(FiguresCallback(folder=str(tmp_path / "f"))).test(module, datamodule=data, verbose=False)
    assert _names(tmp_path / "f") == {"curves_test.png"}


def test_negative_intervals_are_refused() -> None:
    with pytest.raises(ValueError, match="every_n_epochs is -1"):
        FiguresCallback(every_n_epochs=-1)


def test_scattered_targets_have_no_axes() -> None:
    points = np.random.default_rng(0).uniform(size=(6, 2))
    assert Scene(points, points, points, points, points, frames=3).axes is None


def test_cells_reach_half_a_step_beyond_their_centres() -> None:
    axes = [np.zeros(1), np.array([0.0, 0.5]), np.array([0.0, 1.0, 2.0])]
    assert extent(axes) == (-0.25, 0.75, -0.5, 2.5)


def test_figures_name_the_split_and_the_sample(make_trainer, module, data, fake_field, tmp_path, monkeypatch) -> None:
    notes = []
    monkeypatch.setattr(
        "cst_lightning.callbacks.figures.save", lambda figure, path: notes.append(figure.get_supxlabel())
    )
    make_trainer(FiguresCallback(folder=str(tmp_path / "f"))).test(module, datamodule=data, verbose=False)
    assert notes == ["test sample 0"]


def test_figures_call_the_prediction_as_its_model(
    make_trainer, module, data, fake_field, tmp_path, monkeypatch
) -> None:
    legends = []
    monkeypatch.setattr(
        "cst_lightning.callbacks.figures.save",
        lambda figure, path: legends.extend(text.get_text() for text in figure.legends[0].get_texts()),
    )
    make_trainer(FiguresCallback(folder=str(tmp_path / "f"))).test(module, datamodule=data, verbose=False)
    assert "Fake" in legends
    assert "CST" not in legends


def test_a_sample_of_which_nothing_was_held_out_gives_way_to_one_of_which_something_was(
    make_trainer, module, data, fake_field, tmp_path, monkeypatch
) -> None:
    step = module.test_step

    def only_the_last(batch, batch_idx):
        outputs = step(batch, batch_idx)
        return outputs | {"mask": outputs["mask"] & (batch.index == 2)[:, None]}

    monkeypatch.setattr(module, "test_step", only_the_last)
    figures = FiguresCallback(folder=str(tmp_path / "f"))
    make_trainer(figures).test(module, datamodule=data, verbose=False)
    assert figures._scene.name == "test sample 2"


def test_observed_values_stand_at_their_points_although_coordinates_were_rounded() -> None:
    coords = np.stack(np.meshgrid(1000 + np.arange(4) / 7, np.arange(3.0), indexing="ij"), -1).reshape(-1, 2)
    values = np.arange(12.0)[:, None]
    rounded = coords[::5].astype(np.float32).astype(float)
    shown = Scene(coords, values, None, rounded, values[::5], frames=4).shown
    np.testing.assert_array_equal(shown, np.where(np.arange(12)[:, None] % 5 == 0, values, np.nan))
