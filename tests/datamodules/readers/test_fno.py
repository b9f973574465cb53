"""FNO files in miniature, with the real names and layouts."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import loadmat, savemat

from cst_lightning.datamodules.readers import fno
from cst_lightning.errors import DataError

RNG = np.random.default_rng(0)
U = RNG.normal(size=(5, 4, 4, 3)).astype(np.float32)  # nothing about it is symmetric
A = RNG.normal(size=(5, 4, 4)).astype(np.float32)
T = np.array([[1.0, 2.0, 3.0]])


def version_5(path: Path, **content: np.ndarray) -> Path:
    savemat(path, content)
    return path


def version_7_3(path: Path, **content: np.ndarray) -> Path:
    """Write as MATLAB does: axes reversed, 512 bytes of header before the HDF5 part."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for key, value in content.items():
            data = np.ascontiguousarray(value.transpose())
            file.create_dataset(key, data=data, chunks=tuple(max(1, n // 2) for n in data.shape), compression="gzip")
            file[key].attrs["MATLAB_class"] = np.bytes_("single")
    with open(path, "r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return path


def read(path: Path, folder: Path, **options: bool) -> dict[str, np.ndarray]:
    with h5py.File(fno.converted(path, folder, **options)) as file:
        return {key: file[key][()] for key in file}


WRITERS = [
    pytest.param(version_5, "NavierStokes_V1e-5_N1200_T20.mat", id="v5"),
    pytest.param(version_7_3, "ns_V1e-3_N5000_T50.mat", id="v7.3"),
]


@pytest.mark.parametrize(("write", "name"), WRITERS)
def test_axes_are_sample_time_x_y(tmp_path, write, name):
    found = read(write(tmp_path / name, u=U, a=A, t=T), tmp_path / "cache")
    np.testing.assert_array_equal(found["values"][..., 0], np.moveaxis(U, -1, 1))
    np.testing.assert_array_equal(found["time"], [1, 2, 3])
    np.testing.assert_array_equal(found["x"], [0, 0.25, 0.5, 0.75])


@pytest.mark.parametrize(("write", "name"), WRITERS)
def test_initial_state_comes_first_on_request(tmp_path, write, name):
    found = read(write(tmp_path / name, u=U, a=A, t=T), tmp_path / "cache", include_initial=True)
    np.testing.assert_array_equal(found["values"][:, 0, ..., 0], A)
    np.testing.assert_array_equal(found["values"][:, 1:, ..., 0], np.moveaxis(U, -1, 1))
    np.testing.assert_array_equal(found["time"], [0, 1, 2, 3])


@pytest.mark.parametrize(("write", "name"), [(w.values[0], "ns_data_V1e-4_N20_T50_R256test.mat") for w in WRITERS])
def test_a_file_with_nothing_but_u_is_recorded_every_second(tmp_path, write, name):
    np.testing.assert_array_equal(read(write(tmp_path / name, u=U), tmp_path / "cache")["time"], [1, 2, 3])


@pytest.mark.parametrize(("write", "name"), WRITERS)
def test_one_trajectory_is_one_chunk(tmp_path, write, name):
    with h5py.File(fno.converted(write(tmp_path / name, u=U), tmp_path)) as file:
        assert file["values"].chunks == (1, 3, 4, 4, 1)


def test_blocks_join_without_a_seam(tmp_path, monkeypatch):
    monkeypatch.setattr(fno, "_BLOCK", 1)
    told = []
    path = version_7_3(tmp_path / "ns_V1e-4_N10000_T30.mat", u=U)
    with h5py.File(fno.converted(path, tmp_path, progress=lambda *pair: told.append(pair))) as file:
        np.testing.assert_array_equal(file["values"][..., 0], np.moveaxis(U, -1, 1))
    assert told == [(2, 5), (4, 5), (5, 5)]


def test_a_file_is_converted_once(tmp_path):
    path, told = version_7_3(tmp_path / "ns_V1e-3_N5000_T50.mat", u=U), []
    for _ in range(2):
        fno.converted(path, tmp_path, progress=lambda *pair: told.append(pair))
    assert len(told) == 1


def test_a_converted_version_5_file_is_not_read_again(tmp_path, monkeypatch):
    path, wanted = version_5(tmp_path / "NavierStokes_V1e-5_N1200_T20.mat", u=U, a=A, t=T), []

    def spy(*arguments, variable_names, **options):
        wanted.extend(variable_names)
        return loadmat(*arguments, variable_names=variable_names, **options)

    monkeypatch.setattr(fno, "loadmat", spy)
    first = fno.converted(path, tmp_path)
    assert "u" in wanted
    wanted.clear()
    assert fno.converted(path, tmp_path) == first
    assert wanted == ["t"]


def test_a_changed_file_is_converted_again(tmp_path):
    path = tmp_path / "ns_V1e-3_N5000_T50.mat"
    first = fno.converted(version_5(path, u=U), tmp_path)
    assert fno.converted(version_5(path, u=U[:3]), tmp_path) != first


def truncated(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


BAD = {
    "missing": lambda p: p,
    "empty": lambda p: (p.write_bytes(b"") and p) or p,
    "not MATLAB": lambda p: p.write_bytes(b"PK\x03\x04 something else" * 40) and p,
    "truncated v5": lambda p: truncated(version_5(p, u=U)),
    "truncated v7.3": lambda p: truncated(version_7_3(p, u=U)),
    "other key v5": lambda p: version_5(p, vorticity=U),
    "other key v7.3": lambda p: version_7_3(p, vorticity=U),
    "rank v5": lambda p: version_5(p, u=U[0]),
    "rank v7.3": lambda p: version_7_3(p, u=U[0]),
    "a disagrees": lambda p: version_5(p, u=U, a=A[:2]),
    "t disagrees": lambda p: version_7_3(p, u=U, t=T[:, :2]),
    "t decreases": lambda p: version_5(p, u=U, t=T[:, ::-1]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_end_in_one_line_and_leave_nothing(tmp_path, case):
    path = BAD[case](tmp_path / "ns_V1e-3_N5000_T50.mat")
    with pytest.raises(DataError) as caught:
        fno.converted(path, tmp_path / "cache")
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "expected" in message
    assert "found" in message
    assert "\n" not in message
    assert not list((tmp_path / "cache").glob("*")) if (tmp_path / "cache").exists() else True


def test_asking_for_an_initial_state_that_is_not_there(tmp_path):
    path = version_5(tmp_path / "ns_data_V1e-4_N20_T50_R256test.mat", u=U)
    with pytest.raises(DataError, match="a: expected the vorticity at t = 0"):
        fno.converted(path, tmp_path, include_initial=True)


@pytest.mark.parametrize(("write", "name"), WRITERS)
def test_trajectories_are_read_without_a_conversion(tmp_path, monkeypatch, write, name):
    monkeypatch.setattr(fno, "_NEIGHBOURS", 1)
    store = fno.Trajectories(write(tmp_path / name, u=U, a=A, t=T))
    for i in (0, 3, 2, 4):
        found = store.read("values", (i, slice(1, 3), *(slice(None),) * 3))
        np.testing.assert_array_equal(found[..., 0], np.moveaxis(U[i], -1, 0)[1:3])
    np.testing.assert_array_equal(store.read("time"), [1, 2, 3])


@pytest.mark.parametrize(("write", "name"), WRITERS)
def test_opening_reads_the_header_only(tmp_path, monkeypatch, write, name):
    path = write(tmp_path / name, u=U, t=T)

    def whole(*_):
        raise AssertionError("values were read")

    monkeypatch.setattr(fno._Hdf5, "blocks", whole)
    monkeypatch.setattr(fno._Matlab5, "blocks", whole)
    assert fno.Trajectories(path).entries["values"].shape == (5, 3, 4, 4, 1)
