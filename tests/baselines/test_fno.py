"""FNO: as large as published, steps through time, and learns."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cst_lightning.baselines.fno import FNOModule, SteppingFNONetwork, operator
from cst_lightning.cli import fit


def test_fourier_weights_are_as_many_as_published() -> None:
    # FNO-3D of Li et al. has 6,558,537 parameters, 4,937 of them outside the Fourier layers (8 modes a half axis,
    # width 20). neuraloperator counts whole axes and one mode more of the halved one.
    with torch.device("meta"):
        made = operator(10, 1, (True, True, True), 20, 4, (16, 16, 14), 0.0, still=False)
    weights = [p for name, p in made.named_parameters() if "convs" in name and p.is_complex()]
    assert sum(2 * p.numel() for p in weights) == 6_558_537 - 4_937


def test_steps_repeat_what_was_observed_until_something_moves() -> None:
    network = SteppingFNONetwork(2, 1, (False, True), width=4, depth=1, modes=3)
    filled, seen = torch.randn(2, 5, 8, 1), torch.zeros(2, 5, 8, 1)
    seen[:, 2] = 1
    out = network.frames(filled, seen)  # an untrained operator is zero
    torch.testing.assert_close(out[:, :3], filled[:, :1].expand(-1, 3, -1, -1))
    torch.testing.assert_close(out[:, 3:], filled[:, 2:3].expand(-1, 2, -1, -1))


def test_forecast_never_looks_at_what_it_forecasts() -> None:
    torch.manual_seed(0)
    network = SteppingFNONetwork(2, 1, (False, True), width=4, depth=1, modes=3)
    torch.nn.init.normal_(network.operator.projection.fcs[1].weight)
    filled, seen = torch.randn(1, 6, 8, 1), torch.zeros(1, 6, 8, 1)
    seen[:, :3] = 1
    changed = filled.clone()
    changed[:, 3:] += 1
    assert torch.equal(network.frames(filled, seen), network.frames(changed, seen))


def test_all_axes_at_once_learn(waves: Callable[..., Any], train: Callable[..., Any]) -> None:
    data = waves()
    options: dict[str, Any] = {"width": 8, "depth": 2, "modes": [4, 4, 2], "lr": 1e-2, "residual": False}
    scores = train(lambda: FNOModule(3, 1, data.periodic, **options), data, 25)["fno"]
    assert scores["r2"] > 0.8


def test_steps_in_time_learn_to_forecast(waves: Callable[..., Any], train: Callable[..., Any]) -> None:
    forecast: dict[str, Any] = {"scheme": "tail", "supervision": "dense", "dense_points": 256}
    data = waves(**forecast, keep_ends=False, context=(1.0, 1.0), target="all", batch_size=8)
    options: dict[str, Any] = {"width": 8, "depth": 1, "modes": [4, 2], "lr": 2e-2, "history": 2}
    scores = train(lambda: FNOModule(3, 1, data.periodic, autoregressive=True, **options), data, 20)["fno"]
    assert scores["r2"] > 0.7


def test_modes_are_one_number_an_axis() -> None:
    with pytest.raises(ValueError, match="modes is"):
        FNOModule(3, 1, modes=[4, 4])


class Missing:
    """Answer for the import system that there is no neuraloperator."""

    def find_spec(self, name: str, *rest: Any) -> None:
        if name == "neuralop":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.fixture
def without_neuralop(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "neuralop"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])


@pytest.mark.usefixtures("without_neuralop")
def test_a_missing_package_is_named_by_the_command_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert fit(["--data", "NavierStokesDataModule", "--model", "FNOModule"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "pip install 'cst-lightning[baselines]'" in error
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("without_neuralop")
def test_a_missing_package_is_named_with_the_line_to_type() -> None:
    with pytest.raises(ImportError, match=r"pip install 'cst-lightning\[baselines\]'"):
        FNOModule(3, 1)
