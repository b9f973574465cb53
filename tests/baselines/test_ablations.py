"""Every ablation is a setting that exists, and changes what it says."""

import inspect

import pytest

from cst_lightning import CSTModule, CSTNetwork
from cst_lightning.baselines.ablations import ABLATIONS
from cst_lightning.datamodules import SpiralsDataModule
from cst_lightning.datamodules.base import FieldDataModule

MODEL = {**inspect.signature(CSTModule).parameters, **inspect.signature(CSTNetwork).parameters}
DATA = inspect.signature(FieldDataModule).parameters


@pytest.mark.parametrize("name", ABLATIONS)
def test_settings_exist_and_can_be_built(name: str) -> None:
    settings = ABLATIONS[name]
    assert set(settings) <= {"model", "data"}
    assert set(settings.get("model", {})) <= set(MODEL)
    CSTModule(1, 2, width=8, heads=2, **settings.get("model", {}))
    SpiralsDataModule(**settings.get("data", {}))


@pytest.mark.parametrize("name", [name for name in ABLATIONS if name not in ("cst", "cst - noise")])
def test_each_leaves_something_out_of_the_defaults(name: str) -> None:
    defaults = {"model": MODEL, "data": DATA}
    assert all(
        list(value) != list(default) if isinstance(value, list) else value != default
        for part, settings in ABLATIONS[name].items()
        for key, value in settings.items()
        for default in [defaults[part][key].default]
        if key != "target"  # the default is what it needs
    )
