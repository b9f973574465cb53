"""Named arrays in files of every kind, behind one interface: shapes from headers, blocks when they are asked for."""

from __future__ import annotations

import os
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from scipy.io import loadmat, whosmat

from cst_lightning.datamodules.readers.optional import lazy_import
from cst_lightning.datamodules.trajectories import check_file, disown, open_hdf5
from cst_lightning.errors import DataError

#: What picks a block: one slice or one position an axis.
Index = tuple[slice | int, ...]


class Entry(NamedTuple):
    """What a header says about one array.

    Attributes:
        shape: logical shape, in the order in which `Store.read` returns axes.
        dtype: of its numbers.
        labels: names of its axes; empty if the file does not say.
        unit: such as "m/s"; empty if the file does not say.
        attributes: whatever else the file says about it.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    labels: tuple[str, ...] = ()
    unit: str = ""
    attributes: Mapping[str, Any] = {}


class Store(ABC):
    """Named arrays; picklable, and what is open stays in the process that opened it.

    Attributes:
        path: of the file; None in memory.
        layout: what kind of file it is, in words.
        entries: by name, from headers only.
    """

    layout = "arrays"

    def __init__(self, path: Path | None, entries: Mapping[str, Entry]) -> None:
        self.path, self.entries = path, dict(entries)
        self._open: Any = None
        self._process = -1

    @property
    def place(self) -> str:
        """Name for messages."""
        return str(self.path or "data")

    def read(self, name: str, index: Index | None = None) -> np.ndarray:
        """Return a block of one array, or all of it.

        Raises:
            DataError: it cannot be read, or holds no real numbers.
        """
        if self._open is None or self._process != os.getpid():
            disown(self._open)
            self._open, self._process = self._opened(), os.getpid()
        index = (slice(None),) * len(self.entries[name].shape) if index is None else index
        try:
            return np.asarray(self._block(name, index))
        except DataError:
            raise
        except Exception as error:  # libraries raise a dozen kinds on damaged data
            raise DataError(self.place, name, "readable data", str(error) or type(error).__name__) from error

    def strings(self, name: str) -> list[str]:
        """Return a vector of names."""
        return [part.decode() if isinstance(part, bytes) else str(part) for part in self.read(name).ravel().tolist()]

    @abstractmethod
    def _opened(self) -> Any:
        """Open what `_block` reads from."""

    @abstractmethod
    def _block(self, name: str, index: Index) -> Any:
        """Read a block."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None, "_process": -1}


class MemoryStore(Store):
    """Arrays that the user has in memory."""

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        self.arrays = {name: np.asarray(array) for name, array in arrays.items()}
        super().__init__(None, {name: Entry(a.shape, a.dtype) for name, a in self.arrays.items()})

    def _opened(self) -> Any:
        return self.arrays

    def _block(self, name: str, index: Index) -> Any:
        return self.arrays[name][index]


class NpzStore(Store):
    """An `.npz` file; a member is compressed as a whole, and so is read whole, once in each process."""

    layout = "npz"

    def __init__(self, path: Path) -> None:
        check_file(path)
        if not zipfile.is_zipfile(path):  # numpy leaves the file open when it finds out by itself
            raise DataError(path, "file", "a complete .npz file", "something else, or a part of one")
        with told(path, "a complete .npz file"), zipfile.ZipFile(path) as file:
            entries = {name[:-4]: _npy_header(file, name) for name in file.namelist() if name.endswith(".npy")}
        super().__init__(path, entries)

    def _opened(self) -> dict[str, np.ndarray]:
        return {}

    def _block(self, name: str, index: Index) -> Any:
        if name not in self._open:
            with np.load(self.path or "", allow_pickle=False) as file:
                self._open[name] = file[name]
        return self._open[name][index]


class NpyStore(Store):
    """One or several `.npy` files, mapped into memory."""

    layout = "npy"

    def __init__(self, path: Path, files: Mapping[str, Path]) -> None:
        self.files = dict(files)
        for file in self.files.values():
            check_file(file)
        entries = {name: Entry(*self._map(file)) for name, file in self.files.items()}
        super().__init__(path, entries)

    def _opened(self) -> dict[str, np.ndarray]:
        return {}

    def _map(self, file: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
        with told(file, "a complete .npy file of plain numbers"):
            array = np.load(file, mmap_mode="r", allow_pickle=False)
            return array.shape, array.dtype

    def _block(self, name: str, index: Index) -> Any:
        if name not in self._open:
            self._open[name] = np.load(self.files[name], mmap_mode="r", allow_pickle=False)
        return np.array(self._open[name][index])


class MatStore(Store):
    """A MATLAB v5 file; compressed as a whole, so that an array is read whole, once in each process."""

    layout = "MATLAB v5"

    def __init__(self, path: Path) -> None:
        check_file(path)
        with told(path, "MATLAB v5 or v7.3"):
            found = whosmat(path)
        kinds = {"double": "f8", "single": "f4", "logical": "?", "char": "U1"}
        kinds |= {f"{sign}int{8 * n}": f"{sign or 'i'}{n}" for sign in ("", "u") for n in (1, 2, 4, 8)}
        super().__init__(path, {n: Entry(tuple(shape), np.dtype(kinds.get(kind, "O"))) for n, shape, kind in found})

    def _opened(self) -> dict[str, np.ndarray]:
        return {}

    def _block(self, name: str, index: Index) -> Any:
        if name not in self._open:
            self._open[name] = loadmat(self.path or "", variable_names=[name])[name]
        return self._open[name][index]


class Hdf5Store(Store):
    """An HDF5 file; of a MATLAB v7.3 file all axes are reversed back.

    Args:
        path: the file.
        group: read only what lies in this group; names keep it out.
    """

    def __init__(self, path: Path, group: str = "/") -> None:
        self.group = group
        with open_hdf5(path) as file:
            self.matlab = file.userblock_size > 0 and is_matlab(path)
            entries: dict[str, Entry] = {}

            def visit(name: str, item: Any) -> None:
                if isinstance(item, h5py.Dataset) and not name.startswith("#"):
                    entries[name] = self._entry(item)

            with told(path, "a complete HDF5 file"):
                file[group].visititems(visit)
        self.layout = "MATLAB v7.3" if self.matlab else "HDF5"
        super().__init__(path, entries)

    def _entry(self, item: h5py.Dataset) -> Entry:
        shape = item.shape or ()
        if self.matlab:
            return Entry(shape[::-1], item.dtype)
        labels = tuple(d.label or (d.keys() or [""])[0] for d in item.dims)
        unit = item.attrs.get("units", item.attrs.get("unit", ""))
        attributes = {k: v for k, v in item.attrs.items() if isinstance(v, (str, bytes, np.ndarray, np.generic))}
        return Entry(shape, item.dtype, labels if all(labels) else (), text(unit), attributes)

    def _opened(self) -> h5py.File:
        return open_hdf5(self.path or "")

    def _block(self, name: str, index: Index) -> Any:
        item = self._open[self.group][name]
        return item[index[::-1]].transpose() if self.matlab else item[index]


class ZarrStore(Store):
    """A zarr group, v2 or v3; needs the zarr package."""

    layout = "zarr"

    def __init__(self, path: Path) -> None:
        self.path = path
        with told(path, "a zarr group"):
            found = self._opened()
        entries = {name: self._entry(array) for name, array in found.items()}
        super().__init__(path, entries)

    def _entry(self, array: Any) -> Entry:
        labels = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS") or ()
        known = tuple(labels) if all(labels) else ()
        return Entry(tuple(array.shape), np.dtype(array.dtype), known, text(array.attrs.get("units", "")))

    def _opened(self) -> dict[str, Any]:
        zarr = lazy_import("zarr")
        root = zarr.open(str(self.path), mode="r")
        return dict(root.arrays()) if hasattr(root, "arrays") else {"values": root}

    def _block(self, name: str, index: Index) -> Any:
        return self._open[name][index]


@contextmanager
def told(path: Path, expected: str) -> Iterator[None]:
    """Turn whatever a library raises on a damaged file into one line.

    Args:
        path: of the file.
        expected: what it should have been.
    """
    try:
        yield
    except (DataError, ImportError, MemoryError):
        raise
    except Exception as error:
        raise DataError(path, "file", expected, str(error) or type(error).__name__) from error


def text(value: Any) -> str:
    """Return an attribute as text, whatever the library made of it; empty if it is none."""
    value = value.item() if isinstance(value, np.ndarray) and value.size == 1 else value
    return value.decode(errors="replace") if isinstance(value, bytes) else value if isinstance(value, str) else ""


def _npy_header(file: zipfile.ZipFile, member: str) -> Entry:
    """Read shape and type of a member without its numbers."""
    with file.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
        return Entry(tuple(shape), dtype)


def is_matlab(path: Path) -> bool:
    """Whether an HDF5 file is MATLAB's, whose axes are reversed: it says so itself, its ending may be of one's own."""
    with path.open("rb") as raw:
        return raw.read(10) == b"MATLAB 7.3"
