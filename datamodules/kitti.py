"""Videos: KITTI's drives, any video or folder of pictures, or a rendered drive whose truth is known at any time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.utilities import rank_zero_info
from torchmetrics import Metric

from cst_lightning import video_figures
from cst_lightning.baselines.frames import references as frame_references
from cst_lightning.baselines.interpolation import Interpolator
from cst_lightning.datamodules.draws import Scheme
from cst_lightning.datamodules.readers.checked import checked
from cst_lightning.datamodules.readers.images import CachedFrames, read_image_folder
from cst_lightning.datamodules.readers.kitti import LICENCE, read_kitti
from cst_lightning.datamodules.readers.source import Axis, Gridded
from cst_lightning.datamodules.readers.video import read_video
from cst_lightning.datamodules.solvers.road import Road, uneven_times
from cst_lightning.datamodules.windows import Divide, WindowedDataModule
from cst_lightning.errors import DataError
from cst_lightning.images import PSNR, SSIM

# Options of the rendered drive only, and of files only.
_RENDERED, _FILES = ("frames", "scene_seed", "jitter"), ("crop", "times")


class VideoDataModule(WindowedDataModule):
    """Any video, or a folder of pictures, of which some frames are dropped and restored.

    Values are fractions of full scale, coordinates are time in seconds and, in units of the picture's height, y
    downwards and x. With `scheme: frames` whole frames are dropped at random times. Besides the usual scores there are
    PSNR and SSIM of dropped frames, and the references are what one uses on frames: the mean of the two neighbours,
    linear and cubic in time, and the nearest frame.

    Args:
        path: a file that FFmpeg reads, or a folder of PNG or JPEG pictures; a drive is rendered if None.
        height: rows after area averaging; unchanged if None.
        grey: one channel instead of red, green and blue.
        crop: of files: [top, bottom, left, right) in pixels of the file, before the reduction.
        times: of a folder of pictures: a text file with a time for each.
        rate: of a folder of pictures, instead of the times beside it, and of the rendered drive: pictures a second.
        frames: of the rendered drive.
        scene_seed: of the rendered drive.
        jitter: of the rendered drive's clock, in parts of the interval; 0 for an even one.
        cache_dir: where decoded or rendered frames are kept.
        divide: as in `WindowedDataModule`; one's own video is restored `within`.
        observed: share of the frames that is observed.
        scheme: as in `FieldDataModule`.
        **kwargs: see `WindowedDataModule` and `FieldDataModule`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        height: int | None = 36,
        grey: bool = True,
        crop: Sequence[int] | None = None,
        times: str | None = None,
        rate: float | None = None,
        frames: int = 160,
        scene_seed: int = 0,
        jitter: float = 0.15,
        cache_dir: str | os.PathLike[str] = "cache",
        divide: Divide = "within",
        observed: int | float = 0.5,
        scheme: Scheme = "frames",
        **kwargs: Any,
    ) -> None:
        self.path, self.height, self.grey, self.crop = path, height, grey, crop
        self.times, self.rate, self.frames, self.cache_dir = times, rate, frames, cache_dir
        self.scene_seed, self.jitter = scene_seed, jitter
        super().__init__(divide=divide, observed=observed, scheme=scheme, **kwargs)

    def source(self) -> Gridded:
        """Read the video's header or the pictures' headers, or say what would be rendered."""
        if self.path is None:
            self._refuse_unused("a rendered drive", _FILES)
            return self.rendered(25.0 if self.rate is None else self.rate)
        return self._checked_source(self.path, self._opened)

    @staticmethod
    def _checked_source(path: str | os.PathLike[str], open_it: Callable[[], Gridded]) -> Gridded:
        """Open a recording whose values are checked when they are read."""
        found = checked(path, open_it)
        assert isinstance(found, Gridded)  # pictures are never scattered
        return found

    def _opened(self) -> Gridded:
        """Read the headers of what is at the path."""
        assert self.path is not None
        options = (self.height, self.grey, self.crop, self.cache_dir)
        if Path(self.path).is_dir():
            self._refuse_unused("a folder of pictures", _RENDERED)
            return read_image_folder(self.path, self.times, self.rate, *options)
        self._refuse_unused("a video, which has times of its own", (*_RENDERED, "times", "rate"))
        return read_video(self.path, *options)

    def _refuse_unused(self, what: str, names: Sequence[str]) -> None:
        """Refuse options that were set and do nothing.

        Args:
            what: is opened.
            names: of the options that it does not have.
        """
        own = {name: value for kind in reversed(type(self).__mro__) for name, value in _usual(kind)}
        for name in names:
            found = getattr(self, name, own.get(name))
            if found != own.get(name):
                place = self.path or "data"
                raise DataError(place, name, f"none of {what}", f"{found}, which would do nothing")

    def prepare_data(self) -> None:
        """Decode or render all frames, unless that was done before."""
        build = getattr(self.recordings.read, "build", None)
        if build is not None:
            build()

    def rendered(self, rate: float) -> Gridded:
        """Return the rendered drive at a rate, with the uneven clock of a real camera."""
        height = self.height or 36
        road = Road(height, round(16 / 9 * height), seed=self.scene_seed)
        times = uneven_times(self.frames, rate, self.scene_seed, self.jitter)
        channels = ("grey",) if self.grey else ("red", "green", "blue")
        settings = {
            "what": "road",
            "frames": self.frames,
            "rate": rate,
            "grey": self.grey,
            "jitter": self.jitter,
            **asdict(road),
        }
        shape = (self.frames, height, road.width, len(channels))
        read = CachedFrames("road", settings, Rendering(road, tuple(times), self.grey), shape, self.cache_dir)
        y, x = (np.arange(height) + 0.5) / height, (np.arange(road.width) + 0.5) / height
        axes = (Axis("time", times, "s"), Axis("y", y, "image heights"), Axis("x", x, "image heights"))
        return Gridded(None, "rendered drive", 1, axes, channels, read)

    def scores(self) -> dict[str, Metric]:
        """Return PSNR and SSIM of frames of which nothing was shown."""
        # one process scores while others of a distributed run may be gone: waiting for them would never end
        options: dict[str, Any] = {"value_range": 1.0 / self.scale, "sync_on_compute": False}
        return {"psnr": PSNR(self.scored_pictures, **options), "ssim": SSIM(self.scored_pictures, **options)}

    def references(self) -> list[Interpolator]:
        """Return interpolation along time where frames are observed, else that of scattered points."""
        whole = self.observation.scheme in ("frames", "regular", "tail")
        return frame_references() if whole else super().references()

    def scored_pictures(self, values: np.ndarray) -> np.ndarray:
        """Return pictures (F, h, w, c) from what `scored` makes of whole frames, (F x places, C) or (F x pixels, c)."""
        space = self.recordings.shape[2:]
        if values.shape[-1] != self.tokens.channels:  # of components and of patches that overlap they are that already
            return values.reshape(-1, *space)
        return self.pictures(values)

    def figures(self, scene: Any, field: Callable[[np.ndarray], np.ndarray], labels: Any) -> dict[str, Any]:
        """Draw dropped frames beside the truth and the mean of their neighbours."""
        figure = video_figures.draw(scene, field, self.pictures, self._aspect, labels)
        return {} if figure is None else {"frames": figure}

    def animation(self, path: Path, scene: Any, field: Callable[[np.ndarray], np.ndarray], labels: Any) -> bool:
        """Write a film with four pictures a frame."""
        return video_figures.animate(path, scene, field, self.pictures, self._aspect, labels)

    @property
    def _aspect(self) -> float:
        """Height over width of a pixel."""
        y, x = (np.diff(axis.values).mean() if len(axis.values) > 1 else 1.0 for axis in self.recordings.axes[1:])
        return float(y / x)


class KITTIDataModule(VideoDataModule):
    """One camera of a KITTI drive, raw or odometry, at its true times; without `path` a drive is rendered at 10 Hz.

    The licence of KITTI is CC BY-NC-SA 3.0: not for commercial use.

    Args:
        path: a drive or sequence, or a folder above several.
        drive: which one, if there are several: the folder's name, or its number, such as "0001" or "00".
        camera: 0 or 1, left and right grey; 2 or 3, left and right colour.
        height: rows after area averaging.
        **kwargs: see `VideoDataModule`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        drive: str | None = None,
        camera: int = 0,
        height: int | None = 36,
        **kwargs: Any,
    ) -> None:
        self.drive, self.camera = drive, camera
        super().__init__(path, height=height, **kwargs)

    def prepare_data(self) -> None:
        """Decode or render all frames, unless that was done before, and name the licence of what is not ours."""
        if self.path is not None:
            rank_zero_info(LICENCE)
        super().prepare_data()

    def source(self) -> Gridded:
        """Read the headers of a drive, or say what would be rendered."""
        if self.path is None:
            self._refuse_unused("a rendered drive", (*_FILES, "drive", "camera"))
            return self.rendered(10.0 if self.rate is None else self.rate)
        return self._checked_source(self.path, self._opened)

    def _opened(self) -> Gridded:
        assert self.path is not None
        self._refuse_unused("KITTI, which has times of its own", (*_RENDERED, "times", "rate"))
        return read_kitti(self.path, self.drive, self.camera, self.height, self.grey, self.crop, self.cache_dir)


def _usual(kind: type) -> list[tuple[str, Any]]:
    """Return the options of a class and what they are when not given."""
    found = signature(kind.__init__).parameters.values()  # type: ignore[misc]
    return [(one.name, one.default) for one in found if one.default is not Parameter.empty]


@dataclass(frozen=True)
class Rendering:
    """Renders a drive in order, one picture at a time."""

    road: Road
    times: tuple[float, ...]
    grey: bool

    def __call__(self) -> Iterator[np.ndarray]:
        """Yield pictures (h, w, c) in [0, 1]."""
        for time in self.times:
            yield self.road.picture(time, self.grey)
