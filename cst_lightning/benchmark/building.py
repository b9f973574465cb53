"""From the settings of a cell to data, model and trainer, through the parser that `cst-fit` uses."""

from __future__ import annotations

import os
import pkgutil
import tempfile
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from cst_lightning import baselines
from cst_lightning.baselines import smoothing
from cst_lightning.baselines.frames import AlongTime
from cst_lightning.baselines.gaussian_process import GaussianProcess
from cst_lightning.baselines.interpolation import (
    Interpolator,
    InverseDistance,
    Linear,
    Nearest,
    RadialBasis,
    Spline,
)
from cst_lightning.baselines.principal import PrincipalComponents
from cst_lightning.benchmark.protocol import merged
from cst_lightning.errors import MissingPackageError
from cst_lightning.rois import Alone
from cst_lightning.settings import FitCLI
from cst_lightning.usage import UsageError, one_line

#: Interpolation by the word in a protocol; another class is named with `class_path` and `init_args`.
INTERPOLATORS: dict[str, Callable[[], Interpolator]] = {
    "linear": Linear,
    "pchip": lambda: Spline("pchip"),
    "cubic": lambda: Spline("cubic"),
    "makima": lambda: Spline("makima"),
    "nearest": Nearest,
    "idw": InverseDistance,
    "rbf": RadialBasis,
    "gp": lambda: GaussianProcess("likelier"),
    # along time, and what suits each sample and channel on its own
    "gp_each": smoothing.GaussianProcess,
    # each place along its own times
    "linear_in_time": lambda: AlongTime("linear"),
    "pchip_in_time": lambda: AlongTime("pchip"),
    "cubic_in_time": lambda: AlongTime("cubic"),
    "nearest_in_time": lambda: AlongTime("nearest"),
    "neighbour_mean": AlongTime,
    # a line along time holds its last value outside the observed times
    "persistence": lambda: AlongTime("linear"),
    # what the training samples have in common, along time
    "fpca": PrincipalComponents,
    "smoothing_spline": smoothing.SmoothingSpline,
    "smoothing_spline_in_time": lambda: Alone(smoothing.SmoothingSpline()),
    "gp_in_time": lambda: Alone(smoothing.GaussianProcess()),
}
# No checkpoints, no logs and no validation: the weights that the budget ends with are scored, by the same rule for all,
# and nothing is chosen by what is held out.
_TRAINER = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "limit_val_batches": 0,
    "devices": 1,
    "max_epochs": -1,
}


def build(settings: Mapping[str, Any], seed: int) -> FitCLI:
    """Build data, and model and trainer if there is something to train.

    Args:
        settings: of a `Case`.
        seed: of the data's draws and the weights, where these do not set their own.

    Returns:
        The parser with `datamodule`, `model` and `trainer`; nothing is set up yet.

    Raises:
        UsageError: a setting does not exist, in one line.
        MissingPackageError: a method needs a package that is not installed.
    """
    _import_baselines()
    data = merged(settings["data"], {"init_args": settings.get("own", {})})
    whole = {"seed_everything": seed, "data": data, "trainer": {**settings.get("trainer", {}), **_TRAINER}}
    whole["model"] = settings.get("model", {"class_path": "CSTModule"})  # the parser cannot do without one
    handle, name = tempfile.mkstemp(suffix=".yaml")
    try:
        with os.fdopen(handle, "w") as file:
            yaml.safe_dump(whole, file)
        return FitCLI(["--config", name, "--figures.every_n_epochs", "0"])
    except UsageError as error:  # the file's name says nothing: the user's own has another one
        raise UsageError(str(error).removeprefix(f"{name}: ")) from error
    except ValueError as error:  # the parser wraps what a constructor raises
        _raise_missing(error)
        raise UsageError(one_line(str(error))) from error
    finally:
        Path(name).unlink(missing_ok=True)


def _raise_missing(error: BaseException) -> None:
    """Raise the missing package that an error comes from, if it does."""
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, MissingPackageError):
            raise below
        below = below.__cause__ or below.__context__


def interpolator(settings: str | Mapping[str, Any]) -> Interpolator:
    """Return an interpolation by its word, or of the class that is named.

    Raises:
        UsageError: there is none.
        MissingPackageError: it needs a package that is not installed.
    """
    if isinstance(settings, str):
        if settings not in INTERPOLATORS:
            raise UsageError(f"interpolation: expected one of {', '.join(INTERPOLATORS)}, found {settings}")
        return INTERPOLATORS[settings]()
    module, _, name = str(settings["class_path"]).rpartition(".")
    try:
        kind = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"interpolation.class_path: expected an importable class, found {module}.{name}") from error
    found: Interpolator = kind(**settings.get("init_args", {}))
    if not callable(found) or not hasattr(found, "name"):
        raise UsageError(f"interpolation.class_path: expected an interpolator, found {module}.{name}")
    return found


def _import_baselines() -> None:
    """Make the baselines known by their short names, which classes are once their modules are imported."""
    for found in pkgutil.iter_modules(baselines.__path__, f"{baselines.__name__}."):
        import_module(found.name)
