"""Built data kept on disk: one file a set of settings, complete or not there at all."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py

logger = logging.getLogger(__name__)

#: Part of every key: raise it when the layout of the files or the meaning of a setting changes.
FORMAT_VERSION = 1


def cached(
    folder: str | os.PathLike[str],
    name: str,
    settings: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    build: Callable[[h5py.File], None],
) -> Path:
    """Return the file built with these settings, building it first if it is missing or damaged.

    It is written under a temporary name in the same folder and renamed when it is complete, so that an interrupted
    build leaves nothing behind, and two processes that build at once both end with a whole file.

    Args:
        folder: created if missing.
        name: start of the file's name, for people.
        settings: everything the content depends on, plain JSON values; the rest of the name is a hash of it.
        shapes: expected data sets and their shapes; a file that differs is damaged.
        build: fills the open file.

    Returns:
        Path of the complete file.
    """
    text = json.dumps({"format": FORMAT_VERSION, **settings}, sort_keys=True)
    path = Path(folder) / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.h5"
    damage = _damage(path, text, shapes)
    if damage is None:
        return path
    if path.exists():
        logger.warning("%s: %s; building it again", path, damage)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".part")
    os.close(handle)
    try:
        _write(temporary, text, build)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return path


def _write(path: str, settings: str, build: Callable[[h5py.File], None]) -> None:
    """Build the content, make sure it is on disk, and only then mark it complete."""
    with h5py.File(path, "w") as file:
        file.attrs["settings"] = settings
        build(file)
        file.flush()
        file.attrs["complete"] = True
    os.chmod(path, 0o644)  # temporary files are private, a cache may be shared


def _damage(path: Path, settings: str, shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """Say what is wrong with a cache file, or return None if it is good."""
    try:
        with h5py.File(path, "r") as file:
            if not file.attrs.get("complete", False) or file.attrs.get("settings") != settings:
                return "the cache is incomplete"
            for key, shape in shapes.items():
                found = file[key].shape if key in file else None
                if found != shape:
                    return f"the cache has {key} of shape {found}, expected {shape}"
    except OSError as error:  # a truncated file does not open
        return f"the cache cannot be read ({str(error).splitlines()[0]})"
    except (KeyError, RuntimeError, AttributeError):  # damaged inside: h5py says so in several ways
        return "the cache is damaged"
    return None
