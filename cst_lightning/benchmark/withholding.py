"""What a method is handed of the data while it is trained: its batches and some facts, but no truth.

A method is anybody's code, and may keep what it is handed: the trainer, with it the datamodule, with that the loaders
and their data sets. So these are not the datamodule's own, which is scored with and which no method ever meets, but
ones that lead to training batches only, and to nothing any more once training is over. That guards against whatever a
method does with the names that it is handed. It does not guard against Python: code that goes through what begins with
an underscore while it is trained, looks into the frames that called it or at all objects of the process, or reads the
data from the disk. Who has such a method reads its code.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from cst_lightning.datamodules.samples import Sample, SampleDataset
from cst_lightning.datamodules.trajectories import Trajectory

if TYPE_CHECKING:
    from cst_lightning.datamodules.base import FieldDataModule

#: What of a datamodule a method may know.
FACTS = ("dimension", "channels", "period", "periodic", "normalization", "axis_names", "grid", "scale", "batch_size")


class Shown(Dataset[Sample]):
    """Training samples as they are drawn, without the trajectories that they are drawn from.

    Args:
        samples: of the training split.
    """

    def __init__(self, samples: SampleDataset) -> None:
        self._length = len(samples)
        self._samples: SampleDataset | None = samples

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, code: int) -> Sample:
        return self._open()[code]

    def blank(self, i: int) -> Trajectory:
        """Return where the i-th trajectory lies, without its values."""
        truth = self._open().truth(i)
        return Trajectory(truth.coords, torch.full_like(truth.values, torch.nan), truth.frames)

    def close(self) -> None:
        """Forget the samples."""
        self._samples = None

    def _open(self) -> SampleDataset:
        if self._samples is None:
            raise PermissionError("training is over, and its samples are withheld")
        return self._samples


class TrainingData(LightningDataModule):
    """Stands for a datamodule while a method is trained; has its training batches and its `FACTS`.

    Args:
        data: set up.
    """

    def __init__(self, data: FieldDataModule) -> None:
        super().__init__()
        for name in FACTS:
            setattr(self, name, getattr(data, name))
        self._shown = Shown(data._split("train"))
        stripped = copy.copy(data)  # whose loader is as the datamodule's own, but for its samples
        stripped._splits = {"train": self._shown}  # type: ignore[dict-item]
        self._loader = stripped.train_dataloader()

    def train_dataloader(self) -> DataLoader[Sample]:
        """Return the training batches."""
        return self._loader

    def val_dataloader(self) -> list[DataLoader[Sample]]:
        """Return nothing: no method is validated, see `building`."""
        return []

    def test_dataloader(self) -> NoReturn:
        """Refuse."""
        raise PermissionError(self._withheld("test_dataloader"))

    def truth(self, split: str, i: int) -> Trajectory:
        """Return where a training trajectory lies, all values NaN; models of frames find their grid there.

        Raises:
            PermissionError: another split was asked for, or training is over.
        """
        if split != "train":
            raise PermissionError(f"the {split} split is withheld while a method is trained")
        return self._shown.blank(i)

    def close(self) -> None:
        """Leave nothing to whoever kept this, the trainer or a loader."""
        self._shown.close()

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(self._withheld(name))

    def _withheld(self, name: str) -> str:
        return f"{name} is withheld while a method is trained, which finds {', '.join(FACTS)} and train_dataloader"
