"""NetCDF, zarr, xarray objects and tables."""

import pickle
import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from cst_lightning.datamodules.readers.labelled import read_labelled, read_table
from cst_lightning.errors import DataError

RNG = np.random.default_rng(0)
HOURS, LAT, LON = np.array([10.5, 755.0, 1487.0]), np.array([90.0, 0.0, -90.0]), np.arange(20.0, 380.0, 90.0)
WIND = RNG.normal(size=(2, 3, 3, 4)).astype(np.float32)


def winds() -> xr.Dataset:
    """Monthly winds in miniature, with the names and attributes of the real file."""
    dims = ("TIME", "LAT", "LON")
    return xr.Dataset(
        {
            "UWND": (dims, WIND[0], {"units": "M/S", "missing_value": -99.9}),
            "VWND": (dims, WIND[1], {"units": "M/S"}),
        },
        {
            "TIME": ("TIME", HOURS, {"units": "hour since 1980-01-14 14:00:00", "axis": "T"}),
            "LAT": ("LAT", LAT, {"units": "degrees_north"}),
            "LON": ("LON", LON, {"units": "degrees_east"}),
        },
    )


def netcdf(folder):
    winds().to_netcdf(folder / "winds.nc")
    return folder / "winds.nc"


def netcdf3(folder):
    winds().to_netcdf(folder / "winds.nc", format="NETCDF3_CLASSIC")
    return folder / "winds.nc"


def zarr_group(folder):
    winds().to_zarr(folder / "winds.zarr", zarr_format=2)
    return folder / "winds.zarr"


@pytest.mark.parametrize("make", [netcdf, netcdf3, zarr_group, lambda folder: winds()])
def test_variables_on_the_same_axes_become_channels(tmp_path, make):
    source = read_labelled(make(tmp_path))
    assert source.shape == (1, 3, 3, 4, 2)
    assert source.channels == ("UWND", "VWND")
    assert [axis.name for axis in source.axes] == ["time", "LAT", "LON"]
    assert source.unit == "M/S"
    np.testing.assert_array_equal(source.axes[0].values, HOURS)
    # from south to north
    np.testing.assert_array_equal(source.axes[1].values, LAT[::-1])
    np.testing.assert_array_equal(source.read(0, 1, 3), np.moveaxis(WIND, 0, -1)[1:3, ::-1])


@pytest.mark.parametrize("make", [netcdf, zarr_group, lambda folder: winds()])
def test_readers_travel_to_other_processes(tmp_path, make):
    source = read_labelled(make(tmp_path))
    source.read(0, 0, 1)
    assert np.array_equal(pickle.loads(pickle.dumps(source)).read(0, 0, 3), source.read(0, 0, 3))


def test_times_are_not_interpreted(tmp_path):
    source = read_labelled(netcdf(tmp_path))
    assert source.axes[0].unit == "hour"
    assert source.notes[0] == "time: hour since 1980-01-14 14:00:00; the calendar is not interpreted"


def test_a_longitude_around_the_globe_is_periodic():
    source = read_labelled(winds())
    assert source.periodic == (False, False, True)
    assert "LON: wraps around" in source.notes[1]


def test_a_part_of_the_globe_is_not():
    assert read_labelled(winds().isel(LON=slice(0, 3))).periodic == (False, False, False)
    assert read_labelled(winds(), periodic=[]).periodic == (False, False, False)


def test_missing_values_are_nan(tmp_path):
    data = winds()
    data["UWND"][0, 0, 0] = np.nan
    data.to_netcdf(tmp_path / "gap.nc", encoding={"UWND": {"_FillValue": -99.9}})
    assert np.isnan(read_labelled(tmp_path / "gap.nc").read(0, 0, 1)[0, -1, 0, 0])


def test_a_key_chooses_a_variable():
    assert read_labelled(winds(), key="VWND").channels == ("VWND",)


def test_a_data_array_is_enough():
    array = xr.DataArray(WIND[0], dims=("time", "y", "x"), name="speed")
    source = read_labelled(array)
    assert source.channels == ("speed",)
    assert [axis.name for axis in source.axes] == ["time", "y", "x"]
    assert source.notes[0].startswith("time: not in the file, counted")


def test_samples_and_channels_are_known_by_name():
    array = xr.DataArray(WIND, dims=("member", "x", "time", "band"), coords={"band": list("rgbn"), "x": [0.0, 1, 2]})
    source = read_labelled(array)
    assert source.shape == (2, 3, 3, 4)
    assert source.channels == ("r", "g", "b", "n")
    np.testing.assert_array_equal(source.read(1, 0, 3), WIND[1].swapaxes(0, 1))


def test_layout_says_what_dimensions_are():
    array = xr.DataArray(WIND, dims=("site", "p", "q", "epoch"))
    source = read_labelled(array, layout="sxct")
    assert source.shape == (2, 4, 3, 3)
    assert [axis.name for axis in source.axes] == ["time", "p"]
    np.testing.assert_array_equal(source.read(0, 0, 4), WIND[0].transpose(2, 0, 1))


def test_a_dimension_of_length_one_is_left_out():
    source = read_labelled(winds().expand_dims("surface"))
    assert source.shape == (1, 3, 3, 4, 2)
    assert "surface: of length 1, left out" in source.notes


def test_decoded_dates_become_seconds():
    array = xr.DataArray(WIND[0, :, 0], dims=("time", "x"), coords={"time": pd.date_range("2020-01-31", periods=3)})
    source = read_labelled(array)
    np.testing.assert_array_equal(source.axes[0].values, [0, 86400, 172800])


BAD = {
    "no time": (lambda: xr.DataArray(WIND[0], dims=("a", "b", "c")), "one dimension that is the time"),
    "no numbers along an axis": (lambda: xr.DataArray(WIND[0], dims=("time", "b", "c")), "what dimension b is"),
    "other dimensions": (
        lambda: winds().assign(T=(("TIME", "LAT", "h"), WIND[0])),
        "same dimensions, or the option key",
    ),
    "no numbers": (lambda: xr.Dataset({"a": ("time", ["x", "y"])}), "a data variable of numbers"),
    "text axis": (
        lambda: xr.DataArray(WIND[0], dims=("time", "y", "x"), coords={"x": list("abcd")}),
        "x: expected numbers",
    ),
    "complex": (lambda: xr.Dataset({"a": ("time", [1j, 2])}), "a data variable of numbers"),
    "decreasing time": (lambda: winds().isel(TIME=[1, 0, 2]), "increasing numbers"),
    "duplicate time": (lambda: winds().isel(TIME=[0, 0, 2]), "increasing numbers"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_read_is_told(case):
    make, told = BAD[case]
    with pytest.raises(DataError, match=told):
        read_labelled(make())


@pytest.mark.parametrize(
    "damage", [lambda b: b"", lambda b: b[:100], lambda b: b"text" * 100, lambda b: b[: len(b) // 2]]
)
def test_damaged_files_end_in_one_line(tmp_path, damage):
    path = netcdf(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"winds\.nc: file: expected") as caught:
        read_labelled(path)
    assert "\n" not in str(caught.value)


def table() -> pd.DataFrame:
    return pd.DataFrame({
        "sample": ["b", "a", "b", "a"], "time": [2.0, 1.0, 1.0, 3.0], "x": [0.0, 1.0, 2.0, 3.0],
        "pressure": [1, 2, 3, 4], "speed": [0.5, np.nan, 0.0, 1.0], "station": list("pqrs"),
    })  # fmt: skip


def test_a_table_is_scattered_points():
    source = read_table(table())
    assert source.axes == ("time", "x")
    assert source.channels == ("pressure", "speed")
    np.testing.assert_array_equal(source.coords[1], [[1, 2], [2, 0]])
    np.testing.assert_array_equal(source.values[0], [[2, np.nan], [4, 1]])


def test_a_table_may_lie_in_a_file(tmp_path):
    table().to_csv(tmp_path / "points.csv", index=False)
    assert read_table(tmp_path / "points.csv", key="speed", axes=["time", "x", "pressure"]).channels == ("speed",)


def test_a_place_that_is_not_a_number_is_named(tmp_path):
    spoilt = pd.DataFrame({"time": [0.0, 1.0, 2.0], "x": [0.5, float("nan"), 0.5], "u": [1.0, 2.0, 4.0]})
    spoilt.to_csv(tmp_path / "points.csv", index=False)
    with pytest.raises(DataError, match=r"points.csv: x of point 1 of sample 0: expected a finite number, found nan"):
        read_table(tmp_path / "points.csv", key="u", axes=["time", "x"])


def test_dates_in_a_table_are_seconds():
    dates = pd.DataFrame({"time": pd.to_datetime(["2020-01-01", "2020-01-02"]), "u": [0.0, 1.0]})
    source = read_table(dates)
    np.testing.assert_array_equal(source.coords[0], [[0], [86400]])


DATES = pd.date_range("2020-01-01", periods=3, freq="h")
INDEXED = {
    "dates": lambda: pd.DataFrame({"u": [1.0, 2.0, 4.0]}, index=DATES),
    "dates under a name": lambda: pd.DataFrame({"u": [1.0, 2.0, 4.0]}, index=DATES.rename("day")),
    "dates with a time zone": lambda: pd.DataFrame({"u": [1.0, 2.0, 4.0]}, index=DATES.tz_localize("Asia/Tokyo")),
    "durations": lambda: pd.DataFrame({"u": [1.0, 2.0, 4.0]}, index=DATES - DATES[0]),
    "periods": lambda: pd.DataFrame({"u": [1.0, 2.0, 4.0]}, index=DATES.to_period()),
    "set_index": lambda: pd.DataFrame({"time": [0, 3600, 7200], "u": [1.0, 2.0, 4.0]}).set_index("time"),
    "set_index of dates": lambda: pd.DataFrame({"time": DATES, "u": [1.0, 2.0, 4.0]}).set_index("time"),
    "not in order": lambda: pd.DataFrame({"u": [1.0, 2.0, 4.0]}, index=DATES)[::-1],
    "dates as text": lambda: pd.DataFrame({"time": DATES.strftime("%Y-%m-%d %H:%M"), "u": [1.0, 2.0, 4.0]}),
    "a series": lambda: pd.Series([1.0, 2.0, 4.0], index=DATES, name="u"),
    "a series along numbers": lambda: pd.Series([1.0, 2.0, 4.0], index=[0, 3600, 7200], name="u"),
    "numbers of pandas' own": lambda: pd.DataFrame({"u": pd.array([1, 2, 4], dtype="Int64")}, index=DATES),
}


@pytest.mark.parametrize("case", INDEXED)
def test_an_index_is_the_time(case):
    source = read_table(INDEXED[case]())
    assert (source.axes, source.channels) == (("time",), ("u",))
    np.testing.assert_array_equal(source.coords[0], [[0], [3600], [7200]])
    np.testing.assert_array_equal(source.values[0], [[1], [2], [4]])


def test_dates_tell_where_they_start_and_their_unit():
    source = read_table(pd.Series([1.0, 2.0], index=DATES[:2]), time_unit="min")
    assert source.units == ("min",)
    assert source.notes[0] == "time: taken from the index"
    assert re.fullmatch(r"time: counted from 2020-01-01T00:00:00(\.0+)?, in min", source.notes[1])


def test_levels_of_an_index_are_columns():
    source = read_table(table().set_index(["sample", "time"]))
    assert source.axes == ("time", "x")
    np.testing.assert_array_equal(source.coords[1], [[1, 2], [2, 0]])


def test_what_is_missing_in_a_column_of_pandas_own_is_nan():
    source = read_table(pd.DataFrame({"time": [0, 1], "u": pd.array([1, None], dtype="Int64")}))
    np.testing.assert_array_equal(source.values[0], [[1], [np.nan]])


BAD_TABLES = {
    "no date": (lambda: pd.Series([1.0, 2.0], index=pd.DatetimeIndex(["2020-01-01", None])), {}, "none in row 1"),
    "point without a sample": (
        lambda: table().assign(sample=["a", None, "b", "b"]),
        {},
        "sample: expected a sample for",
    ),
    "text for time": (lambda: pd.DataFrame({"time": ["soon", "late"], "u": [1, 2]}), {}, "numbers, or dates such as"),
    "dates in another order": (
        lambda: pd.DataFrame({"time": ["31/01/2020", "01/02/2020"], "u": [1, 2]}),
        {},
        "dates such as 2020-01-31",
    ),
    "time twice": (
        lambda: pd.DataFrame([[1, 2, 3]], columns=["time", "time", "u"]),
        {},
        "time: expected a column of this name",
    ),
    "no time": (lambda: table().drop(columns="time"), {}, "time: expected a column"),
    "no values": (lambda: table()[["time", "x"]], {}, "values: expected a column of numbers"),
    "axes": (table, {"axes": ["time", "lat"]}, "lat: expected a column"),
    "key": (table, {"key": "flux"}, "flux: expected a column"),
    "text": (table, {"key": "station"}, "station: expected numbers"),
    "no rows": (lambda: table()[:0], {}, "expected"),
    "gap in time": (lambda: table().assign(time=[1, np.nan, 2, 3]), {}, "finite"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_tables_that_cannot_be_read_are_told(case):
    make, options, told = BAD_TABLES[case]
    with pytest.raises(DataError, match=told):
        read_table(make(), **options)


@pytest.mark.parametrize("part", [0.5, 0.9, 0.995])
def test_a_classic_file_that_ends_early_is_not_read_as_zeros(tmp_path, part):
    path = netcdf3(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(DataError, match="expected a complete NetCDF file, found one that ends early"):
        read_labelled(path)
