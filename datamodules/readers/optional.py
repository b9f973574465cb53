"""Packages that only some files need."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from cst_lightning.errors import MissingPackageError


def lazy_import(name: str, extra: str = "data") -> ModuleType:
    """Import a package of an extra, or say how to install it.

    Args:
        name: of the module, such as "av".
        extra: of ours, that brings it.

    Raises:
        MissingPackageError: it is not installed; the message is the line to type.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise  # it is there, something that it needs is not
        raise MissingPackageError(name, extra) from error
