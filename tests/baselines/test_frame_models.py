"""Frames: observations land in their cells, gaps are filled as said, answers looked up, checkpoints know the grid."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor

from cst_lightning.baselines.convgru import ConvGRUModule
from cst_lightning.baselines.fno import FNOModule
from cst_lightning.baselines.frame_models import FrameNetwork, grid_axes
from cst_lightning.baselines.vivit import VivitModule
from cst_lightning.field import Field
from cst_lightning.points import PointSet, point_set

QUIET: dict[str, Any] = {
    "logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu",
    "enable_checkpointing": False, "limit_val_batches": 0,
}  # fmt: skip


class Nothing(FrameNetwork):
    """Add nothing to the filled frames."""

    def frames(self, filled: Tensor, seen: Tensor) -> Tensor:
        return torch.zeros_like(filled)


def network(
    periodic: tuple[bool, ...] = (False, True), shape: tuple[int, ...] = (5, 4), fill: str = "linear"
) -> Nothing:
    """Return a network on 5 times in [-1, 1] and 4 places of a ring."""
    made = Nothing(len(shape), 1, periodic, residual=True)
    made.place([torch.linspace(-1, 1, shape[0]), *(-1 + 2 * torch.arange(n) / n for n in shape[1:])], fill)
    return made


def observed(*points: tuple[float, float, float]) -> PointSet:
    """Return a set of one sample from (time, place, value)."""
    table = torch.tensor(points)[None]
    return point_set(table[..., :2], table[..., 2:])


def test_cells_are_in_order_of_the_grid() -> None:
    made = network()
    grid = torch.cartesian_prod(*made.axes)[None]
    assert torch.equal(made.cells(point_set(grid, grid[..., :1]), "target")[0], torch.arange(20))


def test_a_ring_is_entered_from_both_ends() -> None:
    turned = observed((0.0, 1.0, 0.0), (0.0, -1.0, 0.0), (0.0, -3.0, 0.0), (0.0, 2.5, 0.0))
    assert network().cells(turned, "target").tolist() == [[8, 8, 8, 11]]


@pytest.mark.parametrize("point", [(0.1, 0.0, 1.0), (0.0, 0.2, 1.0), (1.5, 0.0, 1.0)])
def test_a_target_off_the_grid_is_an_error(point: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="off the grid, expected the times and places of the 5 x 4 grid"):
        network().cells(observed(point), "target")


def test_padding_may_lie_anywhere() -> None:
    points = observed((0.0, 0.0, 1.0), (0.1, 0.1, 7.0))
    memory = network().encode(points._replace(mask=torch.tensor([[True, False]])))
    assert (memory.filled == 1).all()


def test_frames_as_a_whole_are_filled_linearly_in_time() -> None:
    places = [-1.0, -0.5, 0.0, 0.5]
    whole = observed(*[(t, x, value + x) for t, value in ((-0.5, 0.0), (0.5, 4.0)) for x in places])
    filled = network().encode(whole).filled.reshape(5, 4)
    lines = np.interp(np.linspace(-1, 1, 5), [-0.5, 0.5], [0.0, 4.0])
    np.testing.assert_allclose(filled, lines[:, None] + np.array(places), atol=1e-6)


def test_frames_as_a_whole_may_be_filled_by_a_spline() -> None:
    made = network(fill="cubic")
    whole = observed(*[(t, x, t**3 + x) for t in (-1.0, -0.5, 0.5, 1.0) for x in (-1.0, -0.5, 0.0, 0.5)])
    filled = made.encode(whole).filled.reshape(5, 4)
    np.testing.assert_allclose(filled[2], [-1.0, -0.5, 0.0, 0.5], atol=1e-6)  # lines in time would pass there too
    np.testing.assert_allclose(filled[:, 2], np.linspace(-1, 1, 5) ** 3, atol=1e-6)


def test_an_unknown_fill_is_refused() -> None:
    with pytest.raises(ValueError, match=r"fill is 'quintic', expected one of linear, pchip, makima, cubic"):
        ConvGRUModule(2, 1, (False, True), fill="quintic")


def test_places_are_filled_each_on_its_own_times() -> None:
    made = network()
    cells = torch.cartesian_prod(*made.axes)[torch.tensor([0, 16, 1, 9, 2, 18, 7, 19])]
    filled = made.encode(point_set(cells[None], torch.tensor([0.0, 4, 1, 3, 5, 5, 6, 9])[None, :, None])).filled
    columns = filled.reshape(5, 4).T
    expected = [[0, 1, 2, 3, 4], [1, 2, 3, 3, 3], [5] * 5, [6, 6, 7, 8, 9]]
    np.testing.assert_allclose(columns, expected, atol=1e-6)


def test_scattered_points_fill_the_cells_nearest_to_them() -> None:
    filled = network().encode(observed((-1.0, -1.0, 1.0), (1.0, 0.0, 2.0))).filled.reshape(5, 4)
    assert filled[0, 3] == 1  # round the ring it is next to the first
    assert filled[4, 1] == 2
    assert filled[4, 2] == 2


def test_observations_of_one_cell_count_as_their_mean() -> None:
    memory = network().encode(observed((0.0, 0.0, 1.0), (0.0, 0.0, 3.0)))
    assert memory.filled[0, 10] == 2
    assert memory.mask[0].nonzero().tolist() == [[10]]


def test_derivatives_are_refused() -> None:
    made = network()
    memory = made.encode(observed((0.0, 0.0, 1.0)))
    with pytest.raises(ValueError, match="no derivatives"):
        made.ask(memory, torch.zeros(1, 1, 2), order=1)


def test_a_model_without_a_grid_says_so() -> None:
    with pytest.raises(ValueError, match="grid is not known"):
        Nothing(2, 1, (False, False), True).encode(observed((0.0, 0.0, 1.0)))


def test_axes_are_those_of_the_data(waves: Callable[..., Any]) -> None:
    time, x, y = grid_axes(waves())
    np.testing.assert_allclose(time, np.linspace(0, 1, 8))
    assert (x, y) == ((np.arange(8) / 8).tolist(), (np.arange(4) / 4).tolist())


def test_data_without_a_grid_are_refused(waves: Callable[..., Any], tmp_path: Path) -> None:
    data = waves()
    data.setup()
    data.grid = None
    with pytest.raises(ValueError, match="samples of Waves do not lie on one grid"):
        Trainer(max_epochs=1, default_root_dir=tmp_path, **QUIET).fit(ConvGRUModule(3, 1, data.periodic), data)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (ConvGRUModule, {}),
        (ConvGRUModule, {"fill": "cubic"}),
        (VivitModule, {"depth": 1, "heads": 2}),
        (FNOModule, {"depth": 1}),
        (FNOModule, {"depth": 1, "autoregressive": True}),
    ],
)
def test_checkpoint_knows_the_grid_and_gives_the_same_answers(
    waves: Callable[..., Any], tmp_path: Path, kind: Any, options: dict[str, Any]
) -> None:
    data = waves(train=8)
    module = kind(3, 1, data.periodic, width=8, **options)
    trainer = Trainer(max_epochs=1, default_root_dir=tmp_path, **QUIET)
    trainer.fit(module, data)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    loaded = kind.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    batch = module.normalization.batch(next(iter(data.test_dataloader())))
    assert loaded.grid == module.grid
    assert torch.equal(loaded.eval()(batch), module.eval()(batch))


def test_between_frames_a_field_gives_the_nearest_one() -> None:
    made = network()
    module = ConvGRUModule(2, 1, (False, True), width=4)
    module.place([axis.tolist() for axis in made.axes])
    field = Field(module.network, module.normalization)  # type: ignore[arg-type]
    seen = field.observe(np.array([[-1.0, -1.0], [1.0, -1.0]]), np.array([[0.0], [4.0]]))
    np.testing.assert_allclose(seen(np.array([[0.9, -1.0], [1.0, -1.0]])), [[4.0], [4.0]])
