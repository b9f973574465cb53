"""Files of points in, files of predictions out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from lightning.pytorch import Trainer

from cst_lightning import CSTModule, cli
from cst_lightning.datamodules import SpiralsDataModule
from cst_lightning.errors import DataError
from cst_lightning.predict import Points, multi_indices, read_points, write_points
from cst_lightning.usage import UsageError


def test_letters_and_digits_name_the_same_derivative() -> None:
    found = multi_indices("tx,110", ("time", "x", "y"))
    assert found["tx"] == found["110"] == (1, 1, 0)


@pytest.mark.parametrize("name", ["z", "q", "11", "-1"])
def test_derivative_that_there_is_not(name: str) -> None:
    with pytest.raises(UsageError, match="expected letters of 'txy' or 3 digits"):
        multi_indices(name, ("time", "x", "y"))


def test_scattered_points_are_read_back(tmp_path: Path) -> None:
    coords, values = np.random.default_rng(0).normal(size=(5, 2)), np.arange(5.0)[:, None]
    np.savez(tmp_path / "a.npz", coords=coords, values=values)
    points = read_points(tmp_path / "a.npz")
    np.testing.assert_array_equal(points.coords, coords)
    np.testing.assert_array_equal(points.values, values)


def test_netcdf_grid_is_time_first_whatever_the_files_order(tmp_path: Path) -> None:
    values = xr.DataArray(
        np.arange(6.0).reshape(3, 2), dims=("x", "time"), coords={"x": [0.0, 1.0, 2.0], "time": [5, 6]}
    )
    values.to_dataset(name="u").to_netcdf(tmp_path / "a.nc")
    points = read_points(tmp_path / "a.nc")
    np.testing.assert_array_equal(points.coords[:2], [[5, 0], [5, 1]])
    np.testing.assert_array_equal(points.values[:, 0], [0, 2, 4, 1, 3, 5])


def test_axes_of_a_file_are_put_in_the_order_of_the_training(tmp_path: Path) -> None:
    axes = {"time": [0.0], "y": [5.0, 6.0], "x": [1.0, 2.0, 3.0]}
    values = xr.DataArray(np.arange(6.0).reshape(1, 2, 3), dims=("time", "y", "x"), coords=axes)
    values.to_dataset(name="u").to_netcdf(tmp_path / "a.nc")
    trained = read_points(tmp_path / "a.nc", ("time", "x", "y"))
    np.testing.assert_array_equal(trained.coords[:3], [[0, 1, 5], [0, 1, 6], [0, 2, 5]])
    np.testing.assert_array_equal(trained.values[:3, 0], [0, 3, 1])
    image = read_points(tmp_path / "a.nc", ("time", "y", "x"))
    np.testing.assert_array_equal(image.coords[:2], [[0, 5, 1], [0, 5, 2]])


def test_axes_that_nobody_knows_are_refused_if_there_are_two(tmp_path: Path) -> None:
    xr.Dataset(coords={"time": [0.0], "lat": [0.0, 1.0], "lon": [2.0]}).to_netcdf(tmp_path / "a.nc")
    with pytest.raises(UsageError, match="expected the axes time, x, y, found time, lat, lon"):
        read_points(tmp_path / "a.nc", ("time", "x", "y"))


def test_netcdf_of_coordinates_alone_is_a_grid(tmp_path: Path) -> None:
    xr.Dataset(coords={"time": [0.0, 1.0], "x": [0.0, 0.5, 1.0]}).to_netcdf(tmp_path / "a.nc")
    points = read_points(tmp_path / "a.nc")
    assert points.values is None
    assert points.coords.shape == (6, 2)


def test_grid_comes_back_as_a_grid(tmp_path: Path) -> None:
    axes = {"time": np.array([0.0, 1.0]), "x": np.array([0.0, 0.5, 1.0])}
    write_points(tmp_path / "out.nc", Points(np.zeros((6, 2)), None, axes), {"values": np.arange(6.0)[:, None]})
    with xr.open_dataset(tmp_path / "out.nc") as data:
        assert data["values"].dims == ("time", "x", "channel")
        assert data["values"].sel(time=1.0, x=0.5).item() == 4.0


@pytest.mark.parametrize("ending", ["npz", "nc"])
def test_scattered_predictions_can_be_read_as_points(tmp_path: Path, ending: str) -> None:
    query = Points(np.arange(8.0).reshape(4, 2), None, {})
    write_points(tmp_path / f"out.{ending}", query, {"values": np.ones((4, 1)), "d_t": np.zeros((4, 1))})
    points = read_points(tmp_path / f"out.{ending}")
    np.testing.assert_array_equal(points.coords, query.coords)
    np.testing.assert_array_equal(points.values, np.ones((4, 1)))


def test_nothing_but_the_result_is_left(tmp_path: Path) -> None:
    write_points(tmp_path / "out.npz", Points(np.zeros((1, 1)), None, {}), {"values": np.zeros((1, 1))})
    assert [path.name for path in tmp_path.iterdir()] == ["out.npz"]


def test_file_without_coords_says_what_it_has(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    with pytest.raises(UsageError, match="expected an array called coords, found x"):
        read_points(tmp_path / "a.npz")


def test_unknown_format_is_refused() -> None:
    with pytest.raises(UsageError, match=r"ends in .npz or .nc, found '.csv'"):
        read_points(Path("a.csv"))


def test_coords_of_wrong_shape(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", coords=np.zeros(3))
    with pytest.raises(UsageError, match=r"coords has shape \(3,\), expected \(points, dimensions\)"):
        read_points(tmp_path / "a.npz")


@pytest.mark.parametrize("ending", ["npz", "nc"])
@pytest.mark.parametrize("part", [0, 0.5, 0.95])
def test_part_of_a_file_is_named(tmp_path: Path, ending: str, part: float) -> None:
    path = tmp_path / f"a.{ending}"
    write_points(path, Points(np.zeros((50, 2)), None, {}), {"values": np.zeros((50, 1))})
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(DataError, match=rf"a.{ending}: file: expected "):
        read_points(path)


def test_damage_within_a_file_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", coords=np.zeros((50, 2)))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[400] ^= 255  # the archive's check sum no longer fits
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"a.npz: file: expected a complete .npz file"):
        read_points(tmp_path / "a.npz")


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", coords=np.array([{}], dtype=object))
    with pytest.raises(DataError, match=r"a.npz: file: expected a complete .npz file with plain arrays"):
        read_points(tmp_path / "a.npz")


@pytest.mark.parametrize("coords", [np.full((2, 1), np.nan), np.zeros((2, 1), complex), np.array([["a"], ["b"]])])
def test_coords_that_are_no_numbers(tmp_path: Path, coords: np.ndarray) -> None:
    np.savez(tmp_path / "a.npz", coords=coords)
    with pytest.raises(UsageError, match="expected coordinates that are finite real numbers"):
        read_points(tmp_path / "a.npz")


@pytest.mark.parametrize("ending", ["npz", "nc"])
def test_failure_to_write_leaves_nothing(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"out.{ending}").mkdir()
    with pytest.raises(OSError, match=f"out.{ending}"):
        write_points(tmp_path / f"out.{ending}", Points(np.zeros((1, 1)), None, {}), {"values": np.zeros((1, 1))})
    assert [path.name for path in tmp_path.iterdir()] == [f"out.{ending}"]


def test_several_variables_are_refused(tmp_path: Path) -> None:
    values = xr.DataArray(np.zeros((2, 3)), dims=("time", "x"), coords={"time": [0.0, 1.0], "x": [0.0, 1.0, 2.0]})
    xr.Dataset({"u": values, "v": values}).to_netcdf(tmp_path / "a.nc")
    with pytest.raises(UsageError, match="expected one data variable, found u, v"):
        read_points(tmp_path / "a.nc")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a curve in one channel, trained on times from 0 to 1."""
    place = tmp_path_factory.mktemp("trained")
    time = np.linspace(0, 1, 12)
    np.savez(place / "curves.npz", values=np.sin(time + np.arange(4)[:, None])[..., None], time=time)
    data = SpiralsDataModule(place / "curves.npz", train=2, val=1, test=1, observed=5)
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(max_epochs=1, enable_model_summary=False, default_root_dir=place, **quiet)
    trainer.fit(CSTModule(1, 1, width=16, depth=1, heads=2), data)
    trainer.save_checkpoint(place / "a.ckpt")
    np.savez(place / "seen.npz", coords=time[::3, None], values=np.sin(time[::3, None]))
    return place


def test_a_range_of_times_needs_frames(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["predict", str(trained / "a.ckpt"), "--at", "1:5:0.5", "--out", str(trained / "range.npz")]
    assert cli.main(words) == 2
    line = "cst: error: --at: expected a file unless --frames is there, found the times 1:5:0.5\n"
    assert capsys.readouterr().err == line
    assert not (trained / "range.npz").exists()


@pytest.mark.parametrize(("times", "told"), [([], False), ([0.2, 0.9], False), ([0.5, 1.5], True)])
def test_what_is_extrapolated_is_told(
    trained: Path, capsys: pytest.CaptureFixture[str], times: list[float], told: bool
) -> None:
    np.savez(trained / "at.npz", coords=np.array(times).reshape(-1, 1))
    words = ["predict", str(trained / "a.ckpt"), "--at", str(trained / "at.npz"), "--out", str(trained / "out.npz")]
    assert cli.main([*words, "--observations", str(trained / "seen.npz")]) == 0
    said = capsys.readouterr().err
    assert f"{len(times)} points, from" in said
    assert ("1 of them lie outside of time 0 to 1" in said) == told
    with np.load(trained / "out.npz") as found:
        assert found["values"].shape == (len(times), 1)
