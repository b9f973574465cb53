"""Arrays of the user's own, in every container."""

import contextlib
import pickle

import h5py
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from cst_lightning.datamodules.readers.arrays import read_arrays
from cst_lightning.datamodules.readers.layouts import interpret
from cst_lightning.datamodules.readers.source import Gridded, Scattered
from cst_lightning.errors import DataError

RNG = np.random.default_rng(0)
TIME, Y, X = np.array([0.0, 0.1, 0.3, 0.4, 0.9]), np.arange(4.0), np.array([0.0, 2.0, 3.0])
FIELD = RNG.normal(size=(2, 5, 4, 3, 2)).astype(np.float32)  # sample, time, y, x, channel: all of different lengths
WHOLE = {"values": FIELD, "time": TIME, "y": Y, "x": X}


def npz(folder, **arrays):
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


def npz_small(folder, **arrays):
    np.savez_compressed(folder / "dätä.npz", **arrays)
    return folder / "dätä.npz"


def npy(folder, **arrays):
    (folder / "data").mkdir()
    for name, array in arrays.items():
        np.save(folder / "data" / f"{name}.npy", array)
    return folder / "data"


def hdf5(folder, **arrays):
    with h5py.File(folder / "data.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return folder / "data.h5"


def matlab5(folder, **arrays):
    savemat(folder / "data.mat", arrays)
    return folder / "data.mat"


def matlab73(folder, **arrays):
    """Write as MATLAB does above 2 GB: axes reversed, vectors as (n, 1), 512 bytes of header."""
    with h5py.File(folder / "data.mat", "w", userblock_size=512) as file:
        for name, array in arrays.items():
            file[name] = array.transpose() if array.ndim > 1 else array[:, None]
    with (folder / "data.mat").open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return folder / "data.mat"


def zarr_group(folder, **arrays):
    group = zarr.open_group(str(folder / "data.zarr"), mode="w")
    for name, array in arrays.items():
        group.create_array(name, data=array)
    return folder / "data.zarr"


WRITERS = [npz, npz_small, npy, hdf5, matlab5, matlab73, zarr_group]


@pytest.mark.parametrize("write", WRITERS)
def test_every_container_gives_the_same(tmp_path, write):
    source = read_arrays(write(tmp_path, **WHOLE))
    assert isinstance(source, Gridded)
    assert source.shape == (2, 5, 4, 3, 2)
    assert [axis.name for axis in source.axes] == ["time", "y", "x"]
    np.testing.assert_array_equal(source.axes[2].values, X)
    np.testing.assert_array_equal(source.read(1, 2, 4), FIELD[1, 2:4])


@pytest.mark.parametrize("write", WRITERS)
def test_readers_travel_to_other_processes(tmp_path, write):
    source = read_arrays(write(tmp_path, **WHOLE))
    source.read(0, 0, 1)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source)).read(1, 0, 5), FIELD[1])


@pytest.mark.parametrize("write", [npz, hdf5, matlab5, matlab73])
def test_scattered_points_are_parted_by_sample(tmp_path, write):
    coords, values = RNG.random((7, 3)), RNG.random((7, 2)).astype(np.float32)
    labels = np.array([4, 9, 4, 9, 9, 4, 4])
    source = read_arrays(write(tmp_path, coords=coords, values=values, sample=labels))
    assert isinstance(source, Scattered)
    assert [len(part) for part in source.coords] == [4, 3]
    order = np.flatnonzero(labels == 9)[np.argsort(coords[labels == 9, 0])]
    np.testing.assert_array_equal(source.coords[1], coords[order])
    np.testing.assert_array_equal(source.values[1], values[order])


SHAPES = {
    ("time",): (5,),
    ("time", "channel"): (5, 2),
    ("sample", "time", "channel"): (7, 5, 2),
    ("time", "y", "x"): (5, 4, 3),
    ("time", "x", "y"): (5, 3, 4),
    ("sample", "time", "y", "x"): (7, 5, 4, 3),
    ("time", "y", "x", "channel"): (5, 4, 3, 2),
    ("sample", "time", "y", "x", "channel"): (7, 5, 4, 3, 2),
}


@pytest.mark.parametrize("roles", SHAPES, ids="-".join)
def test_vectors_decide_which_axis_is_what(roles):
    vectors = {"time": TIME, "x": X, "y": Y} if "x" in roles else {"time": TIME}
    assert interpret(SHAPES[roles], vectors) == roles


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.permutations([3, 4, 5, 6, 7]),
    space=st.permutations(["x", "y", "z"]).flatmap(lambda names: st.integers(0, 3).map(lambda n: names[:n])),
    sample=st.booleans(),
    channel=st.booleans(),
)
def test_distinct_lengths_always_decide(lengths, space, sample, channel):
    sizes = dict(zip(["time", "x", "y", "z", "channel"], lengths, strict=True)) | {"sample": 9}
    if sample and not space and not channel:
        channel = True  # (sample, time) alone is no documented layout
    roles = (*["sample"] * sample, "time", *space, *["channel"] * channel)
    vectors = {name: np.arange(float(sizes[name])) for name in ("time", *space)}
    assert interpret([sizes[role] for role in roles], vectors) == roles


AMBIGUOUS = {
    "square": ((5, 4, 4), {"time": TIME, "x": Y, "y": 2 * Y}, "'txy' or 'tyx'"),
    "no vectors": ((5, 4, 3), {}, "set layout"),
    "no space": ((5, 4, 3), {"time": TIME}, "set layout"),
    "time twice": ((5, 5, 3), {"time": TIME}, "set layout"),
    "sample or channel": ((5, 5, 5), {"time": TIME, "x": X[:1].repeat(5) + TIME}, "'txc' or 'stx'"),
    "two axes of one length": ((5, 5), {"time": TIME}, "which axis is time; set layout to 'tc' or 'ct'"),
    "two axes without time": ((2, 5), {}, "which axis is time; set layout to 'tc' or 'ct'"),
    "square, time last": ((4, 4, 5), {"time": TIME, "x": Y, "y": Y}, "'xyt' or 'yxt'"),
    "sample or channel, time last": ((7, 4, 5), {"time": TIME, "x": Y}, "'cxt' or 'sxt'"),
    "film without rows and columns": ((5, 4, 3), {"time": TIME}, "such as 'tyx' if the other axes are space"),
    "film without rows and columns, time last": ((4, 3, 5), {"time": TIME}, "such as 'yxt' if the other axes"),
    "times under another name": ((4, 3, 5), {"lat": Y, "lon": X, "seconds": TIME}, "set layout to 'time,lon,seconds'"),
    "as many times as no axis": (
        (6, 2),
        {"time": TIME},
        r"time: expected as many numbers as an axis of values \(6, 2\)",
    ),
}


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_what_is_ambiguous_names_the_option(case):
    shape, vectors, told = AMBIGUOUS[case]
    with pytest.raises(DataError, match=told):
        interpret(shape, vectors)


LAST = {
    ("channel", "time"): (2, 5),
    ("x", "time"): (3, 5),
    ("y", "x", "time"): (4, 3, 5),
    ("x", "y", "time"): (3, 4, 5),
    ("y", "x", "time", "channel"): (4, 3, 5, 2),
}


@pytest.mark.parametrize("roles", LAST, ids="-".join)
def test_time_last_is_known_by_its_length_and_it_says_so(roles):
    vectors = {"time": TIME} | {name: vector for name, vector in (("x", X), ("y", Y)) if name in roles}
    values = RNG.random(LAST[roles])
    source = read_arrays({"values": values, **vectors})
    order = [
        roles.index(role) for role in ("time", *(axis.name for axis in source.axes[1:]), "channel") if role in roles
    ]
    np.testing.assert_array_equal(source.read(0, 0, 5).ravel(), values.transpose(order).astype(np.float32).ravel())
    assert f"read as ({', '.join(roles)}), because time has 5 numbers" in source.notes[0]


def test_two_channels_with_time_last_are_no_samples():
    source = read_arrays({"values": np.zeros((2, 5)), "time": TIME})
    assert source.shape == (1, 5, 2)
    assert source.notes[0].endswith("layout 'st' would read samples")


def test_layout_reads_curves_as_samples():
    source = read_arrays({"values": np.zeros((2, 5)), "time": TIME}, layout="st")
    assert source.shape == (2, 5, 1)
    assert source.notes == ()


def test_other_names_with_time_last_are_space():
    source = read_arrays({"values": FIELD[0, ..., 0].transpose(1, 2, 0), "time": TIME, "lat": Y, "lon": X})
    assert [axis.name for axis in source.axes] == ["time", "lat", "lon"]
    np.testing.assert_array_equal(source.read(0, 0, 5), FIELD[0, ..., :1])


def test_the_axis_without_a_vector_is_time():
    source = read_arrays({"values": np.zeros((4, 3, 5)), "y": Y, "x": X})
    assert source.shape == (1, 5, 4, 3, 1)
    assert "because the axis without a vector is time" in source.notes[0]


def test_the_documented_order_comes_first_and_a_twin_is_named():
    source = read_arrays({"values": np.zeros((5, 3, 5)), "time": TIME, "x": X, "y": TIME})
    assert source.shape == (1, 5, 3, 5, 1)
    assert "layout 'yxt' would fit as well" in source.notes[0]


def test_times_of_a_vector_are_counted():
    with pytest.raises(DataError, match=r"time: expected 6 numbers as in values \(6,\), found 5"):
        read_arrays({"values": np.zeros(6), "time": TIME})


def test_which_of_two_equal_axes_is_x_is_not_guessed():
    with pytest.raises(DataError, match="one reading; set layout to 'txy' or 'tyx'"):
        interpret((5, 4, 4), {"time": TIME, "x": Y, "y": Y})
    assert interpret((5, 4, 4), {"time": TIME, "x": Y, "y": Y}, layout="tyx") == ("time", "y", "x")


@pytest.mark.parametrize(
    ("layout", "order"), [("stxyc", (0, 1, 3, 2, 4)), ("xytsc", (3, 2, 1, 0, 4)), ("ctyxs", (4, 1, 2, 3, 0))]
)
def test_layout_puts_axes_in_order(layout, order):
    source = read_arrays(WHOLE | {"values": FIELD.transpose(order)}, layout=layout)
    names = [axis.name for axis in source.axes]
    wanted = FIELD[1] if names == ["time", "y", "x"] else FIELD[1].swapaxes(1, 2)
    np.testing.assert_array_equal(source.read(1, 0, 5), wanted)


def test_layout_may_stand_in_the_file(tmp_path):
    square = RNG.random((5, 4, 4))
    path = npz(tmp_path, values=square, time=TIME, lat=Y, lon=Y + 1, layout=np.array("time,lat,lon"))
    assert [axis.name for axis in read_arrays(path).axes] == ["time", "lat", "lon"]


def test_hdf5_labels_name_the_axes(tmp_path):
    path = hdf5(tmp_path, values=FIELD[0, :, :, :, 0], depth=Y, lat=X)
    with h5py.File(path, "a") as file:
        for axis, name in enumerate(["time", "depth", "lat"]):
            file["values"].dims[axis].label = name
        file["values"].attrs["units"], file["depth"].attrs["units"] = "K", "m"
    source = read_arrays(path)
    assert [axis.label for axis in source.axes] == ["time (frames)", "depth (m)", "lat"]
    assert source.unit == "K"
    assert source.notes == ("time: not in the file, counted 0, 1, 2, ... (option rate)",)


def test_vectors_of_other_names_are_space_and_it_says_so():
    source = read_arrays({"values": FIELD[0, ..., 0], "time": TIME, "lat": Y, "lon": X})
    assert [axis.name for axis in source.axes] == ["time", "lat", "lon"]
    assert "lat: taken as a space axis" in source.notes[0]


def test_labels_of_samples_are_no_axis():
    found = read_arrays({"values": np.zeros((7, 5, 2)), "time": TIME, "condition": np.arange(7)})
    assert found.shape == (7, 5, 2)


def test_axes_option_names_the_vectors():
    source = read_arrays(
        {"film": FIELD[0, ..., 0], "seconds": TIME, "a": Y, "b": X}, key="film", axes=["seconds", "a", "b"]
    )
    np.testing.assert_array_equal(source.axes[0].values, TIME)
    assert [axis.name for axis in source.axes] == ["time", "a", "b"]


def test_several_keys_are_channels(tmp_path):
    path = hdf5(tmp_path, u=FIELD[..., 0], v=FIELD[..., 1], time=TIME, x=X, y=Y)
    source = read_arrays(path, key=["v", "u"])
    assert source.channels == ("v", "u")
    np.testing.assert_array_equal(source.read(0, 1, 3), FIELD[0, 1:3, ..., ::-1])


@pytest.mark.parametrize("chosen", [[1], ["values 1"]])
def test_channels_are_chosen_by_name_or_position(chosen):
    source = read_arrays(WHOLE, channels=chosen)
    assert source.channels == ("values 1",)
    np.testing.assert_array_equal(source.read(0, 0, 5), FIELD[0, ..., 1:])


def test_decreasing_space_is_turned_around():
    source = read_arrays(WHOLE | {"y": Y[::-1]})
    np.testing.assert_array_equal(source.axes[1].values, Y)
    np.testing.assert_array_equal(source.read(0, 0, 2), FIELD[0, :2, ::-1])


def test_periodic_axes_are_named():
    assert read_arrays(WHOLE, periodic=["x"]).periodic == (False, False, True)


def test_a_rate_counts_frames():
    source = read_arrays({"values": FIELD[0, ..., 0]}, layout="tyx", rate=20)
    np.testing.assert_allclose(source.axes[0].values, np.arange(5) / 20)
    assert source.axes[0].unit == "s"


def test_dates_become_seconds_to_the_nanosecond():
    dates = np.datetime64("2011-09-26T13:02:25.964389445", "ns") + np.array([0, 1, 103_000_007])
    source = read_arrays({"values": np.zeros((3, 2)), "time": dates})
    np.testing.assert_allclose(source.axes[0].values, [0, 1e-9, 0.103000007], rtol=1e-12)
    assert source.axes[0].unit == "s"


@pytest.mark.parametrize("write", [npz, hdf5])
def test_dates_may_be_text(tmp_path, write):
    texts = ["2020-01-01", "2020-01-01T12:00", "2020-01-02"]
    texts = np.array(texts if write is npz else [text.encode() for text in texts])
    source = read_arrays(write(tmp_path, values=np.zeros((3, 2)), time=texts), time_unit="h")
    np.testing.assert_array_equal(source.axes[0].values, [0, 12, 24])
    assert source.axes[0].unit == "h"


def test_integers_become_float32_and_nan_stays():
    source = read_arrays({"values": np.arange(5, dtype=np.uint16), "time": TIME})
    assert source.read(0, 0, 5).dtype == np.float32
    gap = np.where(TIME == 0.3, np.nan, TIME)
    assert np.isnan(read_arrays({"values": gap, "time": TIME}).read(0, 2, 3)).all()


def test_a_vector_without_times_is_one_channel():
    assert read_arrays({"values": np.arange(6.0)}).shape == (1, 6, 1)


def test_memory_stays_bounded_however_large_the_file(tmp_path):
    import resource

    with h5py.File(tmp_path / "large.h5", "w") as file:
        shape = (4, 4000, 512, 512, 1)  # 16 GiB, of which nothing is written
        file.create_dataset("values", shape, "f4", chunks=(1, 1, 512, 512, 1), fillvalue=2.5)
        file["time"], file["y"], file["x"] = np.arange(4000.0), np.arange(512.0), np.arange(512.0)
        file["values"].attrs["layout"] = "styxc"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    source = read_arrays(tmp_path / "large.h5")
    assert source.bytes > 2**33
    assert source.read(3, 2000, 2004).mean() == 2.5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024  # in KiB


BAD = {
    "missing": (lambda p: p / "none.npz", {}, "found nothing"),
    "empty": (lambda p: ((p / "a.npz").write_bytes(b"") and None) or p / "a.npz", {}, "found an empty file"),
    "no zip": (lambda p: _written(p / "a.npz", b"text" * 50), {}, "complete .npz"),
    "truncated npz": (lambda p: _half(npz(p, **WHOLE)), {}, "complete .npz"),
    "truncated npy": (lambda p: _half(_npy(p, FIELD)), {}, "complete .npy"),
    "truncated h5": (lambda p: _half(hdf5(p, **WHOLE)), {}, "complete HDF5"),
    "truncated mat": (lambda p: _half(matlab5(p, **WHOLE)), {}, "expected"),
    "no such key": (lambda p: npz(p, **WHOLE), {"key": "u"}, "u: expected an array of this name"),
    "nothing like values": (lambda p: npz(p, time=TIME, a=FIELD, b=FIELD), {}, "values: expected an array"),
    "pickled": (lambda p: npz(p, values=np.array([{}, 1] * 3), time=np.arange(6)), {}, "objects"),
    "complex": (lambda p: npz(p, values=FIELD + 1j, time=TIME, x=X, y=Y), {}, "complex numbers"),
    "text": (lambda p: npz(p, values=np.array(["a", "b"])), {}, "real numbers"),
    "duplicate times": (
        lambda p: npz(p, **WHOLE | {"time": TIME.round()}), {},
        r"time: expected increasing numbers \(keep one of each, numpy.unique\(time, return_index=True\)",
    ),
    "decreasing times": (
        lambda p: npz(p, **WHOLE | {"time": -TIME}), {},
        r"time: expected increasing numbers \(turn time and the values around, \[::-1\]\)",
    ),
    "unsorted times": (
        lambda p: npz(p, **WHOLE | {"time": TIME[[0, 2, 1, 3, 4]]}), {},
        r"into the order numpy.argsort\(time\)\), found",
    ),
    "unsorted times, some twice": (
        lambda p: npz(p, **WHOLE | {"time": TIME[[0, 2, 1, 3, 3]]}), {}, "argsort.*less what comes twice",
    ),
    "time with NaN": (lambda p: npz(p, **WHOLE | {"time": np.where(TIME, TIME, np.nan)}), {}, "time: expected finite"),
    "text for times": (
        lambda p: npz(p, **WHOLE | {"time": np.array(list("abcde"))}), {}, "time: expected numbers, or dates such as",
    ),
    "pickled times": (lambda p: npz(p, **WHOLE | {"time": np.array([{}] * 5)}), {}, "time: expected readable data"),
    "scattered without a sample": (
        lambda p: npz(p, coords=np.zeros((4, 2)), values=np.zeros(4), sample=[0, 0, np.nan, 1]), {}, "none for point 2",
    ),
    "other length": (lambda p: npz(p, **WHOLE | {"x": TIME}), {}, "set layout"),
    "layout": (lambda p: npz(p, **WHOLE), {"layout": "tyx"}, "expected 3 axes"),
    "layout without time": (lambda p: npz(p, **WHOLE), {"layout": "syxcz"}, "t among them"),
    "layout of other lengths": (lambda p: npz(p, **WHOLE), {"layout": "styxc", "axes": None, "key": "values"}, None),
    "axes": (lambda p: npz(p, **WHOLE), {"axes": ["time", "lat"]}, "axes: expected vectors of the file"),
    "periodic": (lambda p: npz(p, **WHOLE), {"periodic": ["lon"]}, "periodic: expected space axes"),
    "channels": (lambda p: npz(p, **WHOLE), {"channels": [2]}, "channels: expected some of"),
    "keys of two sizes": (lambda p: npz(p, u=FIELD, v=FIELD[:1], time=TIME, x=X, y=Y), {"key": ["u", "v"]}, "as in u"),
    "no frames": (lambda p: npz(p, values=FIELD[:, :0], time=TIME[:0], x=X, y=Y), {}, "expected"),
    "scattered": (lambda p: npz(p, coords=np.zeros((4, 2)), values=np.zeros((3, 1))), {}, "as in coords"),
    "scattered NaN": (lambda p: npz(p, coords=np.full((4, 2), np.nan), values=np.zeros((4, 1))), {}, "finite"),
    "scattered labels": (
        lambda p: npz(p, coords=np.zeros((4, 2)), values=np.zeros(4), sample=np.zeros(3)), {}, "sample: expected shape",
    ),
}  # fmt: skip


def _written(path, content):
    path.write_bytes(content)
    return path


def _npy(folder, array):
    np.save(folder / "a.npy", array)
    return folder / "a.npy"


def _half(path):
    return _written(path, path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("case", BAD)
def test_bad_files_end_in_one_line(tmp_path, case):
    write, options, told = BAD[case]
    path = write(tmp_path)
    if told is None:
        read_arrays(path, **options)
        return
    with pytest.raises(DataError, match=told) as caught:
        read_arrays(path, **options).read(0, 0, 1)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("value", [np.inf, 1e300])
def test_infinite_values_name_the_frames(value):
    source = read_arrays({"values": np.where(TIME == 0.3, value, TIME), "time": TIME})
    with pytest.raises(DataError, match="values, frames 0 to 4 of recording 0: expected finite"):
        source.read(0, 0, 5)


# MATLAB v5 is not among them: scipy.io.loadmat itself ends the process on some of these
@settings(max_examples=60, deadline=None)
@given(position=st.integers(0, 10_000), byte=st.integers(0, 255), kind=st.sampled_from([npz, hdf5, npy]))
def test_a_flipped_byte_is_read_or_told(tmp_path_factory, position, byte, kind):
    folder = tmp_path_factory.mktemp("fuzz")
    path = kind(folder, **WHOLE)
    file = path / "values.npy" if path.is_dir() else path
    content = bytearray(file.read_bytes())
    content[position % len(content)] = byte
    file.write_bytes(content)
    with contextlib.suppress(DataError):  # and nothing else
        assert read_arrays(path).read(0, 0, 1).dtype == np.float32


def test_a_rate_counts_before_the_times_and_is_told():
    source = read_arrays({"values": np.zeros((5, 2)), "time": np.arange(5.0)}, rate=4.0)
    np.testing.assert_allclose(source.axes[0].values, np.arange(5) / 4)
    assert "time: rate 4 counts, not the times in the file" in source.notes


@pytest.mark.parametrize("option", [{"rate": 2.0}, {"periodic": ["x"]}])
def test_options_of_grids_are_refused_for_points(option):
    with pytest.raises(DataError, match="for grids only"):
        read_arrays({"coords": np.zeros((3, 2)), "values": np.zeros(3)}, **option)


def test_points_may_have_several_arrays_of_values():
    source = read_arrays({"coords": np.zeros((3, 1)), "u": np.ones(3), "v": np.zeros((3, 2))}, key=["u", "v"])
    assert source.channels == ("u", "v 0", "v 1")
    np.testing.assert_array_equal(source.values[0], [[1, 0, 0]] * 3)


def test_samples_of_points_keep_their_names(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["coords"], file["values"] = np.arange(3.0)[:, None], np.arange(3.0)
        file["sample"] = ["mouse B", "mouse A", "mouse B"]
        file["coords"].attrs["units"] = ["ms"]
    source = read_arrays(tmp_path / "a.h5")
    assert source.labels == ("mouse A", "mouse B")
    assert [values.ravel().tolist() for values in source.values] == [[1], [0, 2]]
    assert source.units == ("ms",)


LARGE = 1e8 + np.random.default_rng(0).normal(size=(6, 2))


def test_digits_that_are_lost_are_told_once(caplog):
    source = read_arrays({"values": LARGE, "time": np.arange(6.0)})
    for _ in range(2):
        source.read(0, 0, 6)
    assert caplog.messages == ["data: values: values around 1e+08 keep steps of 8 in float32: subtract an offset first"]


def test_digits_of_points_that_are_lost_are_noted():
    source = read_arrays({"coords": np.arange(6.0)[:, None], "values": LARGE})
    assert "values around 1e+08 keep steps of 8" in source.notes[0]


@pytest.mark.parametrize(
    "values",
    [np.full((6, 2), 123456789.0), 1e5 + np.arange(12.0).reshape(6, 2), np.stack([LARGE[:, 0] * 0, np.arange(6)], 1)],
)
def test_digits_that_matter_little_are_not(values, caplog):
    read_arrays({"values": values, "time": np.arange(6.0)}).read(0, 0, 6)
    assert not caplog.messages


def test_one_channel_of_another_size_hides_nothing(caplog):
    values = np.stack([LARGE[:, 0], np.arange(6.0)], 1)
    read_arrays({"values": values, "time": np.arange(6.0)}, layout="tc").read(0, 0, 6)
    assert len(caplog.messages) == 1
