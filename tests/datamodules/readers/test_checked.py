"""Readers are held to what they promise."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from cst_lightning.datamodules.readers.checked import checked
from cst_lightning.datamodules.readers.source import Axis, Gridded, Scattered, Source
from cst_lightning.errors import DataError


@dataclass
class Fill:
    """Reads frames of one value; a second axis has a length of its own."""

    value: float = 1.0
    places: int = 2

    def __call__(self, sample: int, start: int, stop: int) -> np.ndarray:
        return np.full((stop - start, self.places, 1), self.value)

    def frames(self) -> str:
        return "decoded"


def source(read: Callable[[int, int, int], np.ndarray]) -> Gridded:
    axes = (Axis("time", np.arange(5.0)), Axis("x", np.arange(2.0)))
    return Gridded(None, "array", 1, axes, ("u",), read)


def failing(error: Exception) -> Callable[..., Source]:
    def fail(*_: object) -> Source:
        raise error

    return fail


def test_values_are_float32() -> None:
    assert checked("a.h5", lambda: source(Fill())).read(0, 1, 3).dtype == np.float32


def test_nan_is_allowed() -> None:
    assert np.isnan(checked("a.h5", lambda: source(Fill(np.nan))).read(0, 0, 1)).all()


def test_infinity_is_not() -> None:
    with pytest.raises(DataError, match=r"a.h5: frames 0 to 1 of recording 0: expected finite numbers"):
        checked("a.h5", lambda: source(Fill(np.inf))).read(0, 0, 2)


def test_another_shape_is_told() -> None:
    with pytest.raises(DataError, match=r"expected shape \(2, 2, 1\), found \(2, 3, 1\)"):
        checked("a.h5", lambda: source(Fill(places=3))).read(0, 0, 2)


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (RuntimeError("wrong B-tree signature"), "RuntimeError: wrong B-tree signature"),
        (KeyError("x"), "KeyError: 'x'"),
        (MemoryError(), "more than fits into memory"),
        (EOFError(), "EOFError"),
    ],
)
def test_whatever_libraries_raise_is_one_line(error: Exception, found: str) -> None:
    with pytest.raises(DataError, match=f"a.h5: file: expected a complete file, found {found}"):
        checked("a.h5", failing(error))
    with pytest.raises(DataError, match=f"expected readable data, found {found}"):
        checked("a.h5", lambda: source(failing(error))).read(0, 0, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [ImportError("av"), NameError("replace"), DataError("b.h5", "x", "y", "z")])
def test_what_no_file_can_cause_is_passed_on(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        checked("a.h5", failing(error))
    assert caught.value is error


def test_readers_travel_and_keep_what_else_they_have() -> None:
    read = checked("a.h5", lambda: source(Fill())).read
    assert read.frames() == "decoded"
    assert not hasattr(read, "nothing")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(read))(0, 0, 2), read(0, 0, 2))


def test_scattered_points_are_as_they_are() -> None:
    points = Scattered(None, "points", [np.zeros((1, 1))], [np.zeros((1, 1))], ("time",), ("u",))
    assert checked("a.csv", lambda: points) is points
