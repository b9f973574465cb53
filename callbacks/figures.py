"""Figures while training and at its end: to PNG, and to TensorBoard if there is one."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure

from cst_lightning import animations, plots, volume_figures
from cst_lightning.baselines.interpolation import Linear, Spline
from cst_lightning.callbacks.scene import Scene, capture
from cst_lightning.callbacks.scores import Truth
from cst_lightning.datamodules.base import FieldDataModule
from cst_lightning.drawing import Labels, Space, finer_times, note, pixels, save
from cst_lightning.field_module import called
from cst_lightning.learning_curves import learning_curves
from cst_lightning.points import Batch

Array = np.ndarray
Query = Callable[[Array], Array]


class PictureCallback(Callback):
    """Draw a validation sample every n epochs and at the end, the first of which anything was held out.

    Only the first process draws.

    Args:
        every_n_epochs: draw at the first validation that ends at least so many epochs after the last drawing; 0 for
            the end only.
        folder: where PNG files go; "figures" in the run's folder when omitted.
        coords: names of the axes with units, such as ``["time (s)", "x", "y"]``.
        values: names of the channels with units.
    """

    def __init__(
        self,
        every_n_epochs: int = 10,
        folder: str | None = None,
        coords: Iterable[str] = (),
        values: Iterable[str] = (),
    ) -> None:
        if every_n_epochs < 0:
            raise ValueError(f"every_n_epochs is {every_n_epochs}, expected 0 or more")
        self.every_n_epochs, self.labels = every_n_epochs, Labels(tuple(coords), tuple(values))
        self.folder = None if folder is None else Path(folder)
        self._place = Path()
        self._scene: Scene | None = None
        self._drawn = 0
        self._asked = False  # whether anything of the scene was held out

    @abstractmethod
    def draw(self, scene: Scene, trainer: Trainer, module: LightningModule) -> dict[str, Figure]:
        """Return figures by name."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the run's folder; every process has to ask, because Lightning shares the answer between them."""
        place = self.folder or Path(trainer.log_dir or trainer.default_root_dir) / "figures"
        self._place, self._scene = place, None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count epochs from here."""
        self._drawn = trainer.current_epoch

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Keep a sample."""
        if dataloader_idx == 0:
            self._keep(trainer, pl_module, "validation", outputs, batch, batch_idx == 0)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Keep a sample."""
        if dataloader_idx == 0:
            self._keep(trainer, pl_module, "test", outputs, batch, batch_idx == 0)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw if it is time."""
        done = trainer.current_epoch + 1
        due = self.every_n_epochs and done - self._drawn >= self.every_n_epochs
        if due and not trainer.sanity_checking and trainer.state.fn == "fit":
            self._drawn = done
            self._write(trainer, pl_module, f"_epoch_{trainer.current_epoch:04d}")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw a test sample."""
        self._write(trainer, pl_module, "_test")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the validation sample as the last weights see it."""
        self._write(trainer, pl_module, "")

    def _keep(
        self, trainer: Trainer, module: LightningModule, split: str, outputs: Any, batch: Any, first: bool
    ) -> None:
        """Copy the first sample, or a later one if nothing of those before it was held out."""
        if not trainer.is_global_zero or not isinstance(batch, Batch) or not isinstance(outputs, dict):
            return
        if not first and self._asked:
            return
        asked = outputs["mask"].any(1)
        sample = int(asked.int().argmax())
        self._asked = bool(asked[sample])
        if first or self._asked:
            loader = trainer.test_dataloaders if split == "test" else trainer.val_dataloaders
            path = getattr(getattr(trainer, "datamodule", None), "path", None)
            file = f"{Path(path).name}, " if isinstance(path, (str, os.PathLike)) else ""
            self._scene = capture(module, outputs, batch, Truth(loader), sample, f"{file}{split} sample")

    def _write(self, trainer: Trainer, module: LightningModule, suffix: str) -> None:
        if not trainer.is_global_zero or self._scene is None:
            return
        for name, figure in self.draw(self._scene, trainer, module).items():
            note(figure, self._scene.name)
            save(figure, self._place / f"{name}{suffix}.png")
            for logger in trainer.loggers:
                if isinstance(logger, TensorBoardLogger):
                    logger.experiment.add_image(name, pixels(figure), trainer.global_step, dataformats="HWC")


class FiguresCallback(PictureCallback):
    """Draw truth, observations, prediction and error; at the end also learning curves and an animation.

    Curves for one coordinate, pictures over time and place for two, rows of pictures for three, middle slices for four.
    Takes the arguments of `PictureCallback`.

    Args:
        animate: whether to write a GIF at the end, at four times the frames of the data.
        **options: arguments of `PictureCallback`.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> figures = FiguresCallback(every_n_epochs=5, coords=["time (s)", "x", "y"], values=["vorticity (1/s)"])
        >>> trainer = Trainer(callbacks=[figures], logger=False, enable_checkpointing=False)
    """

    def __init__(
        self,
        every_n_epochs: int = 10,
        folder: str | None = None,
        coords: Iterable[str] = (),
        values: Iterable[str] = (),
        animate: bool = True,
    ) -> None:
        super().__init__(every_n_epochs, folder, coords, values)
        self.animate = animate
        self._owed = False

    def draw(self, scene: Scene, trainer: Trainer, module: LightningModule) -> dict[str, Figure]:
        """Return the data's own figures, or else one that suits the number of coordinates, or none."""
        data = getattr(trainer, "datamodule", None)
        if isinstance(data, FieldDataModule):
            own: dict[str, Figure] = data.figures(scene, observe(module, scene), self.labels)
            if volume_figures.is_volume(data, scene):
                own = own | volume_figures.draw(data, scene, observe(module, scene))
            if own:
                return own
        if scene.coords.shape[1] == 1:
            return {"curves": draw_curves(scene, observe(module, scene), self.labels)}
        if scene.axes is None:
            return {}
        if scene.prediction is None:
            scene = scene._replace(prediction=np.asarray(observe(module, scene)(scene.coords)))
        figure = draw_grid(scene, self.labels)
        return {} if figure is None else {"fields": figure}

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the last figures, the learning curves and the animation."""
        super().on_fit_end(trainer, pl_module)
        if not trainer.is_global_zero:
            return
        for logger in trainer.loggers:
            logger.save()  # the CSV logger keeps the last rows in memory
            table = Path(logger.log_dir or "") / "metrics.csv"
            if table.is_file():
                save(learning_curves(table, called(type(pl_module))), self._place / "learning_curves.png")
        self._owed = self.animate and self._scene is None
        if self.animate:
            self._animate(trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the first test sample; also the animation, if the training had no validation to take a sample from."""
        super().on_test_end(trainer, pl_module)
        if self._owed and trainer.is_global_zero:
            self._owed = False
            self._animate(trainer, pl_module)

    def _animate(self, trainer: Trainer, module: LightningModule) -> None:
        if self._scene is None:
            return
        path, field, data = (
            self._place / "animation.gif",
            observe(module, self._scene),
            getattr(trainer, "datamodule", None),
        )
        if volume_figures.is_volume(data, self._scene):
            volume_figures.animate(path, data, self._scene, field)
        elif not (isinstance(data, FieldDataModule) and data.animation(path, self._scene, field, self.labels)):
            animate(path, self._scene, field, self.labels)


def observe(module: LightningModule, scene: Scene) -> Query:
    """Return the field that the module sees in the scene's observations, a function of (Q, d) coordinates."""
    from cst_lightning.field import Field  # only modules that have a field are asked for one

    observed: Query = Field.of(cast(Any, module)).observe(scene.observed, scene.values)
    return observed


def draw_curves(scene: Scene, field: Query, labels: Labels) -> Figure:
    """Draw a scene of one coordinate at finer times, beside linear and cubic interpolation of the same observations."""
    order = np.argsort(scene.coords[:, 0])
    times = finer_times(scene.coords[order, 0])
    references = {
        method.name: method(scene.observed, scene.values, times[:, None], [None]) for method in (Linear(), Spline())
    }
    truth = (scene.coords[order, 0], scene.truth[order])
    prediction = np.asarray(field(times[:, None]))
    return plots.curves(
        times, prediction, (scene.observed[:, 0], scene.values), truth, references, labels._replace(method=scene.method)
    )


def draw_grid(scene: Scene, labels: Labels, channel: int = 0) -> Figure | None:
    """Draw one channel of a scene on a grid of time and one or two space axes; None for anything else."""
    axes = scene.axes
    if axes is None or not 2 <= len(axes) <= 3 or scene.prediction is None:
        return None
    truth, prediction = (x[:, channel].reshape([len(axis) for axis in axes]) for x in (scene.truth, scene.prediction))
    observed, labels = (scene.observed, scene.values[:, channel]), labels._replace(method=scene.method)
    if len(axes) == 2:
        return plots.space_time(axes[0], axes[1], truth, prediction, observed, labels)
    return plots.fields(axes[0], truth, prediction, observed, Space(extent(axes), labels))


def animate(path: Path, scene: Scene, field: Query, labels: Labels, finer: int = 4, most: int = 81) -> None:
    """Write a GIF of a planar field or of a two-channel orbit, at times finer than the data; nothing for the rest.

    Args:
        path: where to.
        scene: what is shown.
        field: what is asked.
        labels: names of axes.
        finer: pictures between two frames of the data.
        most: pictures in all.
    """
    axes, labels = scene.axes, labels._replace(method=scene.method)
    if axes is None or len(axes[0]) < 2:
        return
    times = np.linspace(axes[0][0], axes[0][-1], min((len(axes[0]) - 1) * finer + 1, most))
    if len(axes) == 3:
        grid = np.stack(np.meshgrid(times, *axes[1:], indexing="ij"), axis=-1)
        prediction = np.asarray(field(grid.reshape(-1, 3)))[:, 0].reshape(grid.shape[:3])
        truth = scene.truth[:, 0].reshape([len(axis) for axis in axes])
        space = Space(extent(axes), labels)
        animations.planar(path, times, (axes[0], truth), prediction, space, seen=scene.seen, note=scene.name)
    elif len(axes) == 1 and scene.truth.shape[1] == 2:
        prediction = np.asarray(field(times[:, None]))
        animations.orbit(path, times, (axes[0], scene.truth), prediction, scene.values, labels, note=scene.name)


def extent(axes: list[Array]) -> tuple[float, float, float, float]:
    """Return the outer edges of the cells around a grid's x and y, the last two axes."""
    edges: list[float] = []
    for axis in axes[-2:]:
        half = float(np.median(np.diff(axis))) / 2 if len(axis) > 1 else 0.5
        edges += [float(axis[0]) - half, float(axis[-1]) + half]
    return edges[0], edges[1], edges[2], edges[3]
