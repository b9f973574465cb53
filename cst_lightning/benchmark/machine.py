"""What a measurement was taken with, and what it took; no names of hosts, people or folders."""

from __future__ import annotations

import hashlib
import os
import platform
import resource
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import cst_lightning
from cst_lightning import callbacks, datamodules

# A method that needs one of these says so by having it imported.
_PACKAGES = ("torch", "lightning", "torchmetrics", "numpy", "scipy", "gpytorch", "neuraloperator", "transformers")
_MODULES = {"neuraloperator": "neuralop"}


def versions() -> dict[str, str]:
    """Return versions of Python, this library and the packages that are in use."""
    found = {"python": platform.python_version(), "cst-lightning": cst_lightning.__version__}
    for name in _PACKAGES:
        if _MODULES.get(name, name) in sys.modules:
            try:
                found[name] = version(name)
            except PackageNotFoundError:  # imported from a folder
                found[name] = "unknown"
    return found


def facts(device: torch.device | None = None) -> dict[str, str | int]:
    """Return what machine this is: system, processor, cores, threads in use and the accelerator.

    Args:
        device: that was trained on; the processor if None.
    """
    found: dict[str, str | int] = {
        "system": platform.system(),
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
    }
    if device is not None and device.type == "cuda":
        found["accelerator"] = torch.cuda.get_device_name(device)
    elif device is not None and device.type != "cpu":
        found["accelerator"] = device.type
    return found


@cache
def source_digest() -> str:
    """Return a hash of this library's sources: figures taken with different code are told apart without git."""
    # an editable install has these beside each other
    folders = [Path(part.__path__[0]) for part in (cst_lightning, datamodules, callbacks)]
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def peak_memory() -> float:
    """Return the largest resident memory of this process so far, in MiB, imported libraries included."""
    if (found := _status("VmHWM")) is not None:  # `ru_maxrss` is inherited from the parent, which may have had more
        return found
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def file_memory() -> float:
    """Return the resident memory of this process that is parts of files, libraries above all, in MiB; 0 if unknown."""
    return _status("RssFile") or 0.0


def _status(key: str) -> float | None:
    """Return a size that Linux keeps of this process, in MiB."""
    path = Path("/proc/self/status")
    lines = path.read_text().splitlines() if path.is_file() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{key}:")), None)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()
