"""What every test gets."""

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

# Before the first import of matplotlib: figures are drawn to files, there is no screen.
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Tiny tensors gain nothing from threads, and test processes beside each other lose by them."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def read_only() -> Callable[[Path], AbstractContextManager[None]]:
    """Make a folder and all below it read-only for a block, also for root."""
    return _read_only


@contextmanager
def _read_only(folder: Path) -> Iterator[None]:
    places = [folder, *folder.rglob("*")]
    for place in places:
        place.chmod(0o555 if place.is_dir() else 0o444)
    try:
        with _as_anybody():
            with pytest.raises(PermissionError):  # or the block would prove nothing
                (folder / "new").touch()
            yield
    finally:
        for place in places:
            place.chmod(0o755)


@contextmanager
def _as_anybody() -> Iterator[None]:
    """Give up root's right to write what is read-only (Linux: CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH) for a block."""
    if os.geteuid() != 0:
        yield
        return
    system = ctypes.CDLL(None, use_errno=True)
    version = (ctypes.c_uint32 * 2)(0x20080522, 0)  # of the interface; this thread
    held = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable, twice
    assert system.capget(version, held) == 0, os.strerror(ctypes.get_errno())
    fewer = (ctypes.c_uint32 * 6)(held[0] & ~0b110, *held[1:])
    assert system.capset(version, fewer) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        assert system.capset(version, held) == 0, os.strerror(ctypes.get_errno())
