"""Trajectories in memory and in files."""

import multiprocessing
import os
import pickle

import h5py
import numpy as np
import pytest
import torch

from cst_lightning.datamodules.trajectories import ArrayTrajectories, FileTrajectories, check_file, grid_coords
from cst_lightning.errors import DataError

VALUES = np.random.default_rng(0).normal(size=(3, 4, 6, 8, 2)).astype(np.float32)


@pytest.fixture
def path(tmp_path):
    with h5py.File(tmp_path / "flow.h5", "w") as file:
        file["values"] = VALUES
        for name, n in (("time", 4), ("x", 6), ("y", 8)):
            file[name] = np.arange(n) / n
    return tmp_path / "flow.h5"


def test_grid_points_are_in_c_order_time_first():
    coords = grid_coords([np.array([0.0, 1.0]), np.array([5.0, 6.0, 7.0])])
    assert coords.tolist() == [[0, 5], [0, 6], [0, 7], [1, 5], [1, 6], [1, 7]]


def test_file_equals_memory(path):
    axes = [np.arange(n) / n for n in (4, 6, 8)]
    in_file, in_memory = FileTrajectories(path), ArrayTrajectories(VALUES, axes)
    assert in_file.grid == in_memory.grid
    for a, b in zip(in_file[2][:3], in_memory[2][:3], strict=True):
        assert torch.equal(torch.as_tensor(a), torch.as_tensor(b))


def test_thinning_out_keeps_values_at_their_places(path):
    thin = FileTrajectories(path, frames=3, stride=2)
    assert thin.grid == (3, 3, 4)
    assert torch.equal(thin[1].values.view(3, 3, 4, 2), torch.from_numpy(VALUES[1, :3, ::2, ::2]))
    assert thin.coords[:, 1].unique().tolist() == [0, 2 / 6, 4 / 6]


def test_open_handle_is_not_pickled(path):
    data = FileTrajectories(path)
    expected = data[0].values
    assert torch.equal(pickle.loads(pickle.dumps(data))[0].values, expected)


def test_a_sample_is_read_once(path, monkeypatch):
    data = FileTrajectories(path)
    expected = data[1].values.clone()
    data[1].values.zero_()  # what is handed out is a copy
    monkeypatch.setattr(FileTrajectories, "_read", None)
    assert torch.equal(data[1].values, expected)
    with pytest.raises(TypeError):
        data[0]


def test_a_forked_process_opens_its_own_handle(path):
    data = FileTrajectories(path)
    handle = data[0] and data._file
    with multiprocessing.get_context("fork").Pool(1) as pool:
        theirs = pool.apply(_owner, (data,))
    assert handle is data._file
    assert theirs != data._process


def _owner(data):
    data[0]
    return data._process


def _moved(data):
    """Read, and move the position of the descriptor that was read through."""
    data[1]  # the first is kept from before
    os.lseek(data._file.id.get_vfd_handle(), 77, os.SEEK_SET)


def test_a_forked_process_reads_through_a_descriptor_of_its_own(path):
    data = FileTrajectories(path)
    assert len(data[0].values)
    descriptor = data._file.id.get_vfd_handle()
    child = multiprocessing.get_context("fork").Process(target=_moved, args=(data,))  # inherits it; a pool pickles
    child.start()
    child.join()
    assert child.exitcode == 0
    assert os.lseek(descriptor, 0, os.SEEK_CUR) == 0


def test_reading_moves_no_position_that_processes_may_share(path):
    """A handle of another data set on the same file stays inherited; that is safe because HDF5 reads by `pread`."""
    data = FileTrajectories(path)
    for i in (2, 0, 1):
        assert len(data[i].values)
    assert os.lseek(data._file.id.get_vfd_handle(), 0, os.SEEK_CUR) == 0


def _read_in_any_order(both, seed):
    """Read samples, of which i is i throughout, in an order of one's own."""
    for i in np.random.default_rng(seed).integers(0, 40, 200).tolist():
        assert all((data[i].values == i).all() for data in both)


def test_forks_that_read_while_their_parent_reads_get_what_is_there(tmp_path):
    values = np.broadcast_to(np.arange(40.0, dtype=np.float32)[:, None, None, None], (40, 4, 12, 1))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("values", data=values, chunks=(1, 2, 12, 1), compression="gzip")
        file["time"], file["x"] = np.arange(4.0), np.arange(12.0)
    both = FileTrajectories(tmp_path / "a.h5"), FileTrajectories(tmp_path / "a.h5")
    for data in both:
        data._kept.most = 0  # read again each time
    _read_in_any_order(both, 0)  # both are open before the forks
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_read_in_any_order, args=(both, seed)) for seed in (1, 2, 3)]
    for child in children:
        child.start()
    _read_in_any_order(both, 4)
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0, 0]


def test_missing_axis_is_named(path):
    with h5py.File(path, "a") as file:
        del file["y"]
    with pytest.raises(DataError, match=r"flow.h5: y: expected a data set of this name, found time, values, x"):
        FileTrajectories(path)


def test_axis_of_another_length_is_named(path):
    with h5py.File(path, "a") as file:
        del file["x"]
        file["x"] = np.arange(5)
    with pytest.raises(DataError, match=r"x: expected shape \(6,\), found \(5,\)"):
        FileTrajectories(path)


def test_too_few_frames_are_named(path):
    with pytest.raises(DataError, match="time: expected at least 9 frames, found 4"):
        FileTrajectories(path, frames=9)


def test_a_folder_is_not_a_file(tmp_path):
    with pytest.raises(DataError, match="expected a file, found a folder"):
        FileTrajectories(tmp_path)


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    path = tmp_path / "secret.npz"
    np.savez(path, values=np.zeros(3))
    monkeypatch.setattr("os.access", lambda *_: False)  # an administrator may read everything
    with pytest.raises(DataError, match="no permission to read it"):
        check_file(path)
