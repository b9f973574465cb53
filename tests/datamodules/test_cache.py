"""The cache: complete or not there."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest

from cst_lightning.datamodules.cache import cached

SHAPES = {"values": (4, 3)}


class Builder:
    def __init__(self, shape: tuple[int, ...] = (4, 3)) -> None:
        self.calls, self.shape = 0, shape

    def __call__(self, file: h5py.File) -> None:
        self.calls += 1
        file["values"] = np.full(self.shape, float(self.calls))


def test_second_request_builds_nothing(tmp_path):
    build = Builder()
    first = cached(tmp_path, "data", {"n": 4}, SHAPES, build)
    assert cached(tmp_path, "data", {"n": 4}, SHAPES, build) == first
    assert build.calls == 1


def test_every_setting_is_in_the_key(tmp_path):
    build = Builder()
    paths = {cached(tmp_path, "data", settings, SHAPES, build) for settings in ({"n": 4}, {"n": 5}, {"n": 4, "m": 1})}
    assert len(paths) == 3


def test_order_of_settings_is_not_in_the_key(tmp_path):
    build = Builder()
    assert cached(tmp_path, "d", {"a": 1, "b": 2}, SHAPES, build) == cached(
        tmp_path, "d", {"b": 2, "a": 1}, SHAPES, build
    )


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def scribble(path: Path) -> None:
    path.write_bytes(b"not HDF5 at all")


def unmark(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file.attrs["complete"]


def reshape(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["values"]
        file["values"] = np.zeros((2, 3))


@pytest.mark.parametrize("damage", [truncate, empty, scribble, unmark, reshape])
def test_damage_is_found_and_repaired_with_one_warning(tmp_path, caplog, damage):
    build = Builder()
    path = cached(tmp_path, "data", {}, SHAPES, build)
    damage(path)
    with caplog.at_level(logging.WARNING):
        assert cached(tmp_path, "data", {}, SHAPES, build) == path
    assert build.calls == 2
    assert [record.getMessage().count("building it again") for record in caplog.records] == [1]
    assert "\n" not in caplog.records[0].getMessage()
    with h5py.File(path) as file:
        assert (file["values"][()] == 2).all()


def test_an_interrupted_build_leaves_nothing(tmp_path):
    def interrupted(file: h5py.File) -> None:
        file["values"] = np.zeros(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached(tmp_path, "data", {}, SHAPES, interrupted)
    assert list(tmp_path.iterdir()) == []


def test_two_builders_at_once_end_with_one_good_file(tmp_path):
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(lambda _: cached(tmp_path, "data", {}, SHAPES, Builder()), range(4)))
    assert len(set(paths)) == 1
    assert list(tmp_path.iterdir()) == [paths[0]]
    with h5py.File(paths[0]) as file:
        assert file["values"].shape == (4, 3)
