"""Continuous Spatiotemporal Transformers: fit a smooth function of space and time to scattered observations."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cst_lightning.field import Field
    from cst_lightning.module import CSTModule
    from cst_lightning.network import CSTNetwork
    from cst_lightning.sobolev import SobolevLoss

__all__ = ["CSTModule", "CSTNetwork", "Field", "SobolevLoss", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Import a public class when it is first asked for: torch takes seconds, `cst-fit --help` none."""
    homes = {"CSTModule": "module", "CSTNetwork": "network", "Field": "field", "SobolevLoss": "sobolev"}
    if name not in homes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"cst_lightning.{homes[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
