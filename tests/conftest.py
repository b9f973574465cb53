"""What every test gets."""

import os

import pytest

# Before the first import of matplotlib: figures are drawn to files, there is no screen.
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Tiny tensors gain nothing from threads, and test processes beside each other lose by them."""
    import torch

    torch.set_num_threads(1)
