"""Figures are drawn from any table, and show what they should."""

import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from cst_lightning.benchmark.charts import _axis_of, _grade, bars, curves
from cst_lightning.benchmark.statistics import Row, summarise

LINES = {"": {"m0": "m0", "m1": "m1"}}


def rows(*means: float) -> list[Row]:
    rng = np.random.default_rng(0)
    return summarise({f"m{i}": {0: mean * rng.lognormal(0, 0.2, 9)} for i, mean in enumerate(means)})


@pytest.mark.parametrize("means", [(1.0, 2.0), (1e-4, 1.0, 3.0), (1.0,), (0.0, 1.0)])
def test_bars_are_drawn(tmp_path: Path, means: tuple[float, ...]) -> None:
    path = bars(rows(*means), "MSE", tmp_path / "f" / "bars.png")
    with Image.open(path) as picture:
        assert np.asarray(picture.convert("L")).std() > 5  # not an empty page


def test_methods_without_a_mean_are_left_out(tmp_path: Path) -> None:
    found = rows(1.0, 2.0)
    bars([found[0], found[1]._replace(mean=math.nan)], "MSE", tmp_path / "bars.png")
    with Image.open(tmp_path / "bars.png") as one, Image.open(bars(found, "MSE", tmp_path / "two.png")) as two:
        assert one.height < two.height


def test_curves_are_drawn_also_where_a_method_is_missing(tmp_path: Path) -> None:
    tables = [rows(1.0, 2.0), rows(1.0)[:1], rows(3.0, 90.0)]
    path = curves([0.0, 1e-6, 1e-3], tables, LINES, ("mu", "MSE"), tmp_path / "curves.png")
    with Image.open(path) as picture:
        assert np.asarray(picture.convert("L")).std() > 5


@pytest.mark.parametrize(
    ("limits", "names"),
    [
        ((3e-4, 6e-3), ["5e-4", "1e-3", "2e-3", "5e-3"]),
        ((0.08, 1.1), ["0.1", "0.2", "0.5", "1"]),
        ((5e-5, 2.0), ["1e-4", "1e-3", "1e-2", "1e-1", "1"]),
    ],
)
def test_a_logarithmic_axis_has_several_numbers_even_within_a_decade(
    limits: tuple[float, float], names: list[str]
) -> None:
    axis = Figure().add_subplot()
    axis.set_ylim(*limits)
    _grade(axis)
    places = [place for place in axis.yaxis.get_majorticklocs() if limits[0] <= place <= limits[1]]
    assert axis.yaxis.get_major_formatter().format_ticks(places) == names


def test_the_best_value_is_a_line_where_it_is_neither_high_nor_low(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Figure] = []
    monkeypatch.setattr("cst_lightning.drawing.save", lambda figure, path: kept.append(figure) or path)
    for ideal in (None, 1.0):
        curves([0.0, 1.0], [rows(1.0, 2.0)] * 2, LINES, ("mu", "roughness"), tmp_path / "x.png", ideal)
    plain, marked = (len(figure.axes[0].lines) for figure in kept)
    assert marked == plain + 1


def test_places_on_the_axis() -> None:
    assert _axis_of([1, 10, 100]) == ([1.0, 10.0, 100.0], True, ["1", "10", "100"])
    assert _axis_of([0.0, 0.1, 0.2]) == ([0.0, 0.1, 0.2], False, ["0", "0.1", "0.2"])
    assert _axis_of([0.0, 1e-8, 1e-3]) == ([-9.0, -8.0, -3.0], False, ["0", "1e-8", "1e-3"])
    assert _axis_of([5e-4, 1e-3, 1.5e-3]) == ([5e-4, 1e-3, 1.5e-3], False, ["5e-4", "1e-3", "1.5e-3"])
    assert _axis_of(["a", "b"]) == ([0.0, 1.0], False, ["a", "b"])


def test_panels_share_their_axes_and_a_legend_if_their_lines_are_called_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Figure] = []
    monkeypatch.setattr("cst_lightning.drawing.save", lambda figure, path: kept.append(figure) or path)
    tables, labels = [rows(1.0, 2.0, 30.0)] * 2, ("mu", "MSE")
    for right in ("zero", "one"):
        panels = {"left": {"m0": "zero"}, "right": {"m2": right}}
        curves([0.0, 1.0], tables, panels, labels, tmp_path / "x.png")
    for figure, legends in zip(kept, (1, 2), strict=True):
        assert [axis.get_title() for axis in figure.axes] == ["left", "right"]
        assert len({axis.get_ylim() for axis in figure.axes}) == 1
        assert figure.axes[0].get_yscale() == "log"
        assert sum(axis.get_legend() is not None for axis in figure.axes) == legends
