"""The Navier-Stokes data module: simulated, read, and its exact symmetries."""

import h5py
import numpy as np
import pytest
import torch
from scipy.io import savemat

from cst_lightning.datamodules.navier_stokes import NavierStokesDataModule, torus_symmetry
from cst_lightning.datamodules.solvers.navier_stokes import NavierStokes, random_vorticity
from cst_lightning.errors import DataError

TINY = {"resolution": 8, "frames": 3, "train": 4, "val": 1, "test": 1, "observed": 20, "batch_size": 2, "dt": 0.1}


def test_facts_are_known_before_any_data():
    data = NavierStokesDataModule("does not exist.mat")
    assert (data.dimension, data.channels, data.periodic) == (3, 1, (False, True, True))


def test_simulates_once(tmp_path):
    first = NavierStokesDataModule(**TINY, cache_dir=tmp_path)
    first.prepare_data()
    (path,) = tmp_path.iterdir()
    written = path.stat().st_mtime_ns
    NavierStokesDataModule(**TINY, cache_dir=tmp_path).prepare_data()
    assert path.stat().st_mtime_ns == written


def test_simulation_is_the_solvers_at_twice_the_resolution(tmp_path):
    data = NavierStokesDataModule(**TINY, split="ordered", cache_dir=tmp_path)
    exact = NavierStokes(16, dt=0.1, times=(1.0, 2.0, 3.0)).solve(random_vorticity(1, 16, first=2))[0, :, ::2, ::2]
    truth = data.truth("train", 2)
    torch.testing.assert_close(truth.values.view(3, 8, 8), exact)
    assert truth.coords.view(3, 8, 8, 3)[1, 2, 5].tolist() == [2.0, 0.25, 0.625]


def test_keeps_derivatives_when_asked_to(tmp_path):
    data = NavierStokesDataModule(**TINY, split="ordered", derivatives=True, cache_dir=tmp_path)
    problem = NavierStokes(16, dt=0.1, times=(1.0, 2.0, 3.0))
    states = problem.solve(random_vorticity(1, 16, first=2))[0]
    rates = data.rates("train", 2)
    assert rates is not None
    torch.testing.assert_close(rates.view(3, 8, 8), problem.rates(states)[:, ::2, ::2])
    thinner = NavierStokesDataModule(data.file(), **TINY | {"resolution": 4, "frames": 2}, split="ordered").rates(
        "train", 2
    )
    assert thinner is not None
    torch.testing.assert_close(thinner.view(2, 4, 4), rates.view(3, 8, 8)[:2, ::2, ::2])
    assert NavierStokesDataModule(**TINY, cache_dir=tmp_path).rates("train", 2) is None


def test_derivatives_of_a_file_are_not_computed(tmp_path):
    with pytest.raises(ValueError, match="derivatives is True, expected False with a path"):
        NavierStokesDataModule(tmp_path / "x.mat", derivatives=True)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_from_the_file_in_any_process(tmp_path, workers):
    data = NavierStokesDataModule(**TINY, num_workers=workers, cache_dir=tmp_path)
    data.prepare_data()
    batches = list(data.train_dataloader())
    assert [batch.target.coords.shape for batch in batches] == [(2, 20, 3)] * 2
    assert next(iter(data.test_dataloader())).target.coords.shape == (1, 192, 3)


def test_reads_fno_files_with_x_before_y(tmp_path):
    u = np.random.default_rng(0).normal(size=(6, 8, 8, 3)).astype(np.float32)
    savemat(tmp_path / "NavierStokes_V1e-5_N1200_T20.mat", {"u": u, "t": np.arange(1.0, 4.0)[None]})
    data = NavierStokesDataModule(
        tmp_path / "NavierStokes_V1e-5_N1200_T20.mat", **TINY | {"resolution": 4}, split="ordered", cache_dir=tmp_path
    )
    values = data.truth("train", 1).values.view(3, 4, 4)
    np.testing.assert_array_equal(values, np.moveaxis(u[1], -1, 0)[:, ::2, ::2])


def test_reads_its_own_cache_by_path(tmp_path):
    simulated = NavierStokesDataModule(**TINY, cache_dir=tmp_path)
    simulated.prepare_data()
    data = NavierStokesDataModule(simulated.file(), **TINY)
    assert torch.equal(data.truth("test", 0).values, simulated.truth("test", 0).values)


def test_the_file_is_looked_for_once(tmp_path, monkeypatch):
    data = NavierStokesDataModule(**TINY, cache_dir=tmp_path)
    path = data.file()
    monkeypatch.setattr(data, "_simulated", lambda: pytest.fail("looked again"))
    assert data.file() == path


def test_a_resolution_that_does_not_divide_is_named(tmp_path):
    savemat(tmp_path / "ns.mat", {"u": np.zeros((6, 8, 8, 3), np.float32)})
    data = NavierStokesDataModule(tmp_path / "ns.mat", **TINY | {"resolution": 3}, cache_dir=tmp_path)
    with pytest.raises(DataError, match=r"ns.mat: u: expected a multiple of resolution = 3 points, found 8"):
        data.setup()


def test_fractions_of_a_simulation_are_refused():
    with pytest.raises(ValueError, match="expected counts when there is no path"):
        NavierStokesDataModule(train=0.5)


def test_a_damaged_cache_is_rebuilt(tmp_path):
    data = NavierStokesDataModule(**TINY, cache_dir=tmp_path)
    path = data.file()
    path.write_bytes(path.read_bytes()[:2000])
    NavierStokesDataModule(**TINY, cache_dir=tmp_path).prepare_data()
    with h5py.File(path) as file:
        assert file["values"].shape == (6, 3, 8, 8, 1)


class Chosen:
    """A generator that answers what the test wants."""

    def __init__(self, *answers: float) -> None:
        self.answers = list(answers)

    def random(self) -> float:
        return self.answers.pop(0)


def transformed(field: torch.Tensor, answers: tuple[float, ...]) -> torch.Tensor:
    """Apply the symmetry to every point of a gridded field (n, n) and put the values back on the grid."""
    n = len(field)
    grid = np.stack(np.meshgrid(np.arange(n) / n, np.arange(n) / n, indexing="ij"), -1).reshape(-1, 2)
    coords = np.concatenate([np.zeros((n * n, 1)), grid], axis=1)
    coords, values = torus_symmetry(coords, field.numpy().reshape(-1, 1), Chosen(*answers))
    i, j = np.rint(coords[:, 1:] * n).astype(int).T % n
    out = np.full((n, n), np.nan)
    out[i, j] = values[:, 0]
    return torch.from_numpy(out)


@pytest.mark.parametrize("answers", [(0.25, 0.9, 0.9), (0.0, 0.1, 0.9), (0.0, 0.9, 0.1), (0.125, 0.1, 0.1)])
def test_a_transformed_solution_solves_the_same_equation(answers):
    problem = NavierStokes(16, dt=0.02, times=(1.0, 2.0), dtype=torch.float64)
    initial = problem.solve(10 * random_vorticity(1, 16))[:, 0]  # below the dealiasing cut, far from laminar
    moved = transformed(initial[0], answers)
    expected = torch.stack([transformed(record, answers) for record in problem.solve(initial)[0]])
    assert (moved - initial[0]).abs().max() > 0.1
    torch.testing.assert_close(problem.solve(moved[None])[0], expected)


def test_augmentation_changes_training_samples_only(tmp_path):
    plain = NavierStokesDataModule(**TINY, cache_dir=tmp_path)
    data = NavierStokesDataModule(**TINY, augment=True, cache_dir=tmp_path)
    assert torch.equal(plain.sample("test", 0).context.coords, data.sample("test", 0).context.coords)
    assert not torch.equal(plain.sample("train", 0).target.coords, data.sample("train", 0).target.coords)
    assert (data.sample("train", 0).target.coords[:, 1:] < 1).all()


def test_augmented_points_stay_on_the_grid_for_models_of_frames(tmp_path):
    data = NavierStokesDataModule(**TINY, augment=True, cache_dir=tmp_path)
    samples = [data.sample("train", i) for i in range(data.size("train"))]
    places = torch.cat([torch.cat([s.context.coords, s.target.coords])[:, 1:] for s in samples]) * 8
    assert torch.equal(places, places.round())
    assert len({int(place) for place in places.flatten()}) == 8


def test_a_grid_of_cell_centres_is_kept_as_well():
    centres = (np.arange(12) + 0.5) / 12
    coords = np.stack([np.zeros(12), centres, centres], -1)
    for answers in ((0.3, 0.1, 0.1), (0.99, 0.9, 0.1)):
        moved, _ = torus_symmetry(coords, np.ones((12, 1)), Chosen(*answers), 12)
        np.testing.assert_allclose(np.sort(moved[:, 1]), centres, atol=1e-12)


@pytest.mark.parametrize(("places", "kept"), [(8, True), (6, True), (5, False)])
def test_symmetries_that_would_leave_a_grid_are_left_out(places, kept):
    grid = np.stack(np.meshgrid([0.0], np.arange(places) / places, np.arange(places) / places, indexing="ij"), -1)
    coords, values = grid.reshape(-1, 3), np.arange(places**2)[:, None]
    moved, signed = torus_symmetry(coords, values, Chosen(0.3, 0.1, 0.1), places)
    cells = np.rint(moved * places)
    np.testing.assert_allclose(moved, cells / places, atol=1e-12)
    assert len(np.unique(cells, axis=0)) == places**2
    assert (cells < places).all()
    assert (signed < 0).any() == kept
