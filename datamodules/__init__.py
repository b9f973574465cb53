"""Lightning data modules: files to batches of scattered points."""

from cst_lightning.datamodules.arrays import ArrayDataModule
from cst_lightning.datamodules.base import FieldDataModule
from cst_lightning.datamodules.calcium import CalciumDataModule
from cst_lightning.datamodules.kitti import KITTIDataModule, VideoDataModule
from cst_lightning.datamodules.navier_stokes import NavierStokesDataModule
from cst_lightning.datamodules.recording import RecordingDataModule
from cst_lightning.datamodules.spirals import SpiralsDataModule

__all__ = [
    "ArrayDataModule",
    "CalciumDataModule",
    "FieldDataModule",
    "KITTIDataModule",
    "NavierStokesDataModule",
    "RecordingDataModule",
    "SpiralsDataModule",
    "VideoDataModule",
]
