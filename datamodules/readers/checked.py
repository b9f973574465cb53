"""The last word on a file: it opens and gives what was promised, or one line says what is wrong.

Readers say what they find wrong themselves. But libraries do not promise kinds of errors: after one flipped byte, HDF5
raises a RuntimeError here and a KeyError there, and FFmpeg a UnicodeDecodeError.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cst_lightning.datamodules.readers.source import Gridded, Reader, Source
from cst_lightning.errors import DataError

# What no file can cause: a package is missing, or we have made a mistake.
_OURS = (DataError, ImportError, NameError, NotImplementedError)


def checked(place: str | os.PathLike[str], open_it: Callable[[], Source]) -> Source:
    """Open a source; whatever goes wrong then, or when it is read, is a `DataError`.

    Args:
        place: the file, for messages.
        open_it: returns the source.

    Raises:
        DataError: it cannot be opened.
        ImportError: a package is missing.
    """
    try:
        source = open_it()
    except _OURS:
        raise
    except Exception as error:
        raise DataError(place, "file", "a complete file", _reason(error)) from error
    if not isinstance(source, Gridded):
        return source
    return replace(source, read=Checked(source.read, str(source.path or place), source.shape))


@dataclass
class Checked:
    """A `Reader` that is held to its promise; what else the reader has can be asked for as before.

    Attributes:
        read: the reader.
        place: the file, for messages.
        shape: (S, T, *space, c).
    """

    read: Reader
    place: str
    shape: tuple[int, ...]

    def __call__(self, sample: int, start: int, stop: int) -> np.ndarray:
        """Return frames (t, *space, c), float32, finite or NaN."""
        key = f"frames {start} to {stop - 1} of recording {sample}"
        try:
            values = np.asarray(self.read(sample, start, stop), dtype=np.float32)
        except _OURS:
            raise
        except Exception as error:
            raise DataError(self.place, key, "readable data", _reason(error)) from error
        wanted = (stop - start, *self.shape[2:])
        if values.shape != wanted:
            raise DataError(self.place, key, f"shape {wanted}", f"{values.shape}")
        if np.isinf(values).any():
            odd = np.argwhere(np.isinf(values))
            where = ", ".join(str(int(n)) for n in (start + odd[0, 0], *odd[0, 1:]))
            found = f"infinity, or a number above 3e38, {len(odd):,} times, the first at [{where}]"
            raise DataError(self.place, key, "finite numbers, or NaN for unobserved", found)
        return values

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "read" not in self.__dict__:  # while it is being unpickled
            raise AttributeError(name)
        return getattr(self.read, name)


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "more than fits into memory"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
