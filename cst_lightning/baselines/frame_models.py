"""What models of whole frames share: a batch's observations become frames on the data's grid, answers are looked up.

Such a model knows the grid's times and places and nothing between them. Sizes: T frames, c channels, n = T x places
cells in C order, time first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Tensor, nn

from cst_lightning import interpolate
from cst_lightning.field_module import FieldModule
from cst_lightning.points import Batch, PointSet

if TYPE_CHECKING:
    from cst_lightning.datamodules.base import FieldDataModule

# A coordinate this far from a grid line, in steps of that axis, is no rounding error.
_ROUNDING = 1e-2


class Frames(NamedTuple):
    """A sample's frames after the network, for as many questions as one likes.

    Attributes:
        keys: one tensor, the predicted cells (B, n, c); under the name by which `Field` finds device and dtype.
        mask: (B, n) bool, cells that were observed.
        filled: (B, n, c), the frames before the network.
    """

    keys: list[Tensor]
    mask: Tensor
    filled: Tensor


class FrameNetwork(nn.Module, ABC):
    """Predict all frames of a grid from the observed cells; the interface of `CSTNetwork`, without derivatives.

    The gaps are filled before the network sees the frames, see `filled`, and a mask channel tells what was filled.

    Args:
        dimension: d, coordinates time first.
        channels: c.
        periodic: whether each axis repeats, with period 2 in normalised coordinates.
        residual: add the network to the filled frames instead of replacing them.
    """

    def __init__(self, dimension: int, channels: int, periodic: Sequence[bool], residual: bool) -> None:
        super().__init__()
        self.dimension, self.channels, self.periodic, self.residual = dimension, channels, tuple(periodic), residual
        self.fill = "linear"
        self.shape: tuple[int, ...] = ()
        self.gain: Tensor
        self.register_buffer("gain", torch.ones(channels))  # of what is added to the filled frames

    @abstractmethod
    def frames(self, filled: Tensor, seen: Tensor) -> Tensor:
        """Return frames, or what is added to the filled ones, (B, T, *space, c).

        Args:
            filled: (B, T, *space, c).
            seen: (B, T, *space, 1), 1 where observed, else 0.
        """

    def build(self, shape: tuple[int, ...]) -> None:
        """Make the layers whose sizes depend on the grid (T, *space); called once, by `place`."""

    @property
    def axes(self) -> list[Tensor]:
        """The grid's normalised axes, time first."""
        return [self.get_buffer(f"axis_{number}") for number in range(len(self.shape))]

    def place(self, axes: Sequence[Tensor], fill: str = "linear") -> None:
        """Tell the network its grid.

        Args:
            axes: d increasing vectors, normalised, time first.
            fill: how gaps are filled in time, one of `interpolate.ALONG_TIME`.

        Raises:
            ValueError: there is another grid already, whose layers do not fit this one.
        """
        shape = tuple(len(axis) for axis in axes)
        if self.shape and self.shape != shape:
            raise ValueError(f"the data have a grid of {shape}, expected the {self.shape} that the model was made for")
        for number, axis in enumerate(axes):
            self.register_buffer(f"axis_{number}", axis.float(), persistent=False)
        if not self.shape:
            self.build(shape)
        self.shape, self.fill = shape, fill

    def cells(self, points: PointSet, what: str) -> Tensor:
        """Return which cell (B, N) each point is, exactly.

        Raises:
            ValueError: a real point lies between grid lines.
        """
        index, distance = self._nearest(points.coords)
        off = (distance > _ROUNDING).any(-1) & points.mask
        if off.any():
            found = [round(x, 4) for x in points.coords[off][0].tolist()]
            raise ValueError(
                f"a {what} at normalised coordinates {found} is off the grid, expected the times and places of the "
                f"{' x '.join(map(str, self.shape))} grid: a model of frames knows nothing between them"
            )
        return index

    def encode(self, context: PointSet, dummies: Tensor | None = None, keys: Tensor | None = None) -> Frames:
        """Fill the gaps of the observed frames and predict all of them.

        Args:
            context: normalised observations on the grid.
            dummies: not used.
            keys: not used.
        """
        if not self.shape:
            raise ValueError("the grid is not known, expected a fit with a datamodule, or a checkpoint of one")
        values, seen = self._raster(context)
        filled = self.filled(values, seen, context)
        picture = filled.unflatten(1, self.shape)
        out = self.frames(picture, seen.unflatten(1, self.shape)[..., None].to(filled)).flatten(1, -2)
        return Frames([filled + self.gain * out if self.residual else out], seen, filled)

    def ask(
        self,
        memory: Frames,
        coords: Tensor,
        order: int = 0,
        directions: Tensor | None = None,
        budget: int = 0,
    ) -> Tensor:
        """Return the answers (B, Q, c) of the nearest cells at coords (B, Q, d).

        Raises:
            ValueError: derivatives are asked for.
        """
        if order:
            raise ValueError(f"order is {order}, expected 0: a model of frames has no derivatives")
        return memory.keys[0].take_along_dim(self._nearest(coords)[0][..., None], 1)

    def initial(self, memory: Frames, coords: Tensor) -> Tensor:
        """Return the filled frames (B, Q, c) at the nearest cells."""
        return memory.filled.take_along_dim(self._nearest(coords)[0][..., None], 1)

    @torch.no_grad()
    def filled(self, values: Tensor, seen: Tensor, context: PointSet) -> Tensor:
        """Fill what was not observed.

        In time at each place, by the rule `fill`; lines take the nearest time outside the observed ones. Where a sample
        has fewer than two observations a place, a curve in time says less than the neighbours, and every cell takes
        the nearest observation in normalised time and space; so do places that were never observed.

        Args:
            values: (B, n, c), observed cells.
            seen: (B, n) bool.
            context: the observations.

        Returns:
            (B, n, c).
        """
        grid = seen.unflatten(1, (self.shape[0], -1))
        whole = (grid.all(-1) == grid.any(-1)).all()
        lonely = ~grid.any(1) | (grid.sum((1, 2)) < 2 * grid.shape[-1])[:, None]
        if whole:  # frames as a whole: one line in time serves all places
            return torch.where(seen[..., None], values, self._along_time(values, grid[..., 0]))
        lines = self._along_time(values, grid)
        lonely = lonely[:, None].expand_as(grid).flatten(1) & ~seen
        if lonely.any():
            lines = torch.where(lonely[..., None], self._neighbours(context), lines)
        return torch.where(seen[..., None], values, lines)

    def _along_time(self, values: Tensor, seen: Tensor) -> Tensor:
        """Interpolate (B, n, c) in time, given which frames (B, T), or cells (B, T, P), were observed."""
        times, batch = self.shape[0], len(values)
        if seen.ndim == 2:
            rows, mask = values.reshape(batch, times, -1), seen
        else:
            rows = values.unflatten(1, (times, -1)).transpose(1, 2).flatten(0, 1)
            mask = seen.transpose(1, 2).flatten(0, 1)
        time = self.axes[0].to(values)[:, None].expand(len(rows), -1, -1)
        periods = (2.0 if self.periodic[0] else None,)
        lines = interpolate.fit(self.fill, time, rows, mask, periods=periods)(time[None])[0]
        if seen.ndim == 3:
            lines = lines.unflatten(0, (batch, -1)).transpose(1, 2)
        return lines.reshape(values.shape)

    def _neighbours(self, context: PointSet) -> Tensor:
        """Return the value (B, n, c) of the observation nearest to each cell, 0 where there is none at all."""
        places = np.stack(np.meshgrid(*(axis.cpu().double().numpy() for axis in self.axes), indexing="ij"), -1)
        cells = places.reshape(-1, self.dimension)
        period = np.array([2.0 if periodic else 0.0 for periodic in self.periodic])  # 0: a tree's plain axis

        def wrapped(points: np.ndarray) -> np.ndarray:
            inside = np.mod(points, period, out=points.copy(), where=period > 0)
            return np.where((period > 0) & (inside >= period), 0.0, inside)  # -1e-17 rounds up to the period itself

        found = context.values.new_zeros(len(context.mask), len(cells), self.channels)
        for out, coords, values, real in zip(found, *context, strict=True):
            if real.any():
                tree = KDTree(wrapped(coords[real].cpu().double().numpy()), boxsize=period)
                out.copy_(values[real][torch.from_numpy(tree.query(wrapped(cells))[1]).to(values.device)])
        return found

    def _raster(self, context: PointSet) -> tuple[Tensor, Tensor]:
        """Return the observed cells' values (B, n, c), the mean where there are several, and which they are."""
        batch, cells = len(context.mask), torch.Size(self.shape).numel()
        index = torch.where(context.mask, self.cells(context, "observation"), cells)  # one more cell takes the padding
        values = context.values
        count = values.new_zeros(batch, cells + 1).scatter_add(1, index, torch.ones_like(values[..., 0]))
        total = values.new_zeros(batch, cells + 1, self.channels)
        total = total.scatter_add(1, index[..., None].expand_as(values), values)
        return (total / count.clamp(min=1)[..., None])[:, :-1], count[:, :-1] > 0

    def _nearest(self, coords: Tensor) -> tuple[Tensor, Tensor]:
        """Return the nearest cell (B, N) of coords (B, N, d), and the distances to it (B, N, d) in steps."""
        index = torch.zeros(coords.shape[:-1], dtype=torch.long, device=coords.device)
        distances = []
        for number, axis in enumerate(self.axes):
            x = coords[..., number].to(axis.dtype).contiguous()
            middle = (axis[1:] + axis[:-1]) / 2
            if self.periodic[number]:
                x = axis[0] + torch.remainder(x - axis[0], 2.0)
                middle = torch.cat([middle, (axis[-1:] + axis[:1]) / 2 + 1])
            place = torch.bucketize(x, middle)
            step = torch.diff(axis).min() if len(axis) > 1 else axis.new_ones(())
            # beyond the middle of a periodic axis' last step lies its first line, one period on
            line = torch.cat([axis, axis[:1] + 2.0])[place]
            distances.append((x - line).abs() / step)
            index = index * len(axis) + place % len(axis)
        return index, torch.stack(distances, -1)


class FrameModule(FieldModule):
    """Train a `FrameNetwork` on the batches that everything else is trained on.

    The grid comes from the trainer's datamodule and travels in the checkpoint as plain lists.

    Args:
        dimension: d, coordinates time first.
        channels: c.
        periodic: whether each axis repeats.
        fill: how gaps are filled in time before the network sees them, `linear`, `pchip`, `makima` or `cubic`.
        **options: see `FieldModule`.
    """

    network: FrameNetwork

    def __init__(
        self,
        dimension: int,
        channels: int,
        periodic: list[bool] | tuple[bool, ...] | None = None,
        fill: str = "linear",
        **options: Any,
    ) -> None:
        super().__init__(dimension, channels, periodic, **options)
        if fill not in interpolate.ALONG_TIME:
            raise ValueError(f"fill is {fill!r}, expected one of {', '.join(interpolate.ALONG_TIME)}")
        self.fill = fill
        self.grid: list[list[float]] = []

    def setup(self, stage: str) -> None:
        """Take units and grid over from the datamodule.

        Raises:
            ValueError: the samples do not lie on one grid.
        """
        super().setup(stage)
        data = getattr(self.trainer, "datamodule", None)
        if stage == "fit" and data is not None:
            self.place(grid_axes(data))

    def place(self, axes: Sequence[Sequence[float]]) -> None:
        """Tell the model its grid, in physical units, once `normalization` is known.

        Args:
            axes: d increasing vectors, time first.
        """
        self.grid = [list(map(float, axis)) for axis in axes]
        norm = self.normalization
        scales = zip(self.grid, norm.origin, norm.scale, strict=True)
        parameter = next(self.network.parameters(), None)
        device = None if parameter is None else parameter.device
        lines = [(torch.tensor(axis, dtype=torch.float64) - origin) / scale for axis, origin, scale in scales]
        self.network.place([line.float().to(device) for line in lines], self.fill)

    def predict(self, batch: Batch) -> Tensor:
        """Return predictions (B, Q, c) at a normalised batch's targets, normalised units.

        Raises:
            ValueError: an observation or a target that counts is off the grid.
        """
        return self._answers(batch)[0]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store units and grid as plain lists."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["grid"] = self.grid

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Read units and grid back, before the weights: there may be layers of the grid's size."""
        super().on_load_checkpoint(checkpoint)
        self.place(checkpoint["grid"])

    def _answers(self, batch: Batch) -> tuple[Tensor, Tensor]:
        network = self.network
        memory = network.encode(batch.context)
        index = network.cells(batch.target, "target")[..., None]
        return memory.keys[0].take_along_dim(index, 1), memory.filled.take_along_dim(index, 1)


def planar(dimension: int, name: str, periodic: Sequence[bool]) -> tuple[bool, bool]:
    """Return whether height and width repeat, for models of pictures.

    Raises:
        ValueError: there are more than two space axes.
    """
    if dimension > 3:
        raise ValueError(f"dimension is {dimension}, expected at most time and 2 space axes for {name}")
    height, width = (*periodic[1:], False, False)[:2]
    return height, width


def as_pictures(frames: Tensor) -> Tensor:
    """Return frames (B, T, *space, C) of at most two space axes as (B, T, C, H, W)."""
    missing = 5 - frames.ndim
    return frames.reshape(*frames.shape[:-1], *(1,) * missing, frames.shape[-1]).movedim(-1, 2)


def grid_axes(data: FieldDataModule) -> list[list[float]]:
    """Return the axes of the grid that all samples of a datamodule lie on, time first, physical units.

    Raises:
        ValueError: there is no such grid.
    """
    coords = data.truth("train", 0).coords  # first: it sets the data up where nobody has
    if data.grid is None:
        raise ValueError(
            f"the samples of {type(data).__name__} do not lie on one grid, which a model of frames needs: expected a "
            "model that takes scattered points"
        )
    coords = coords.reshape(*data.grid, data.dimension)
    axes = [coords.movedim(n, 0).reshape(size, -1, data.dimension)[:, 0, n] for n, size in enumerate(data.grid)]
    mesh = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    if not torch.equal(mesh, coords) or any((torch.diff(axis) <= 0).any() for axis in axes):
        raise ValueError(f"the samples of {type(data).__name__} lie on no grid of increasing axes")
    return [axis.tolist() for axis in axes]
