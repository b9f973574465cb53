"""Published data sets in miniature, with the real names and layouts."""

import pickle

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from cst_lightning.datamodules.readers.opening import open_source, recognise
from cst_lightning.errors import DataError
from cst_lightning.inspection import describe

RNG = np.random.default_rng(0)
U = RNG.normal(size=(3, 4, 5, 6)).astype(np.float32)  # sample, time, x, y
T, X, Y = np.linspace(0, 1, 4), (np.arange(5) + 0.5) / 5, (np.arange(6) + 0.5) / 6


def write(path, attributes=None, **content):
    with h5py.File(path, "w") as file:
        for key, value in content.items():
            file[key.replace("__", "/").replace("_coordinate", "-coordinate")] = value
        for key, named in (attributes or {}).items():
            place, _, name = key.rpartition("@")
            file[place or "/"].attrs[name] = named
    return path


def scalar(folder):
    """As 1D_Advection_Sols_beta0.4.hdf5: one time more than there are records."""
    edges = np.linspace(0, 1, 5)
    return write(folder / "1D_Advection_Sols_beta0.4.hdf5", tensor=U[..., 0], x_coordinate=X, t_coordinate=edges)


def flow(folder):
    names = {name: U + i for i, name in enumerate(["Vx", "Vy", "density", "pressure"])}
    path = folder / "2D_CFD_Rand_M0.1_Eta0.01_Zeta0.01_periodic_128_Train.hdf5"
    return write(path, x_coordinate=X, y_coordinate=Y, t_coordinate=T, **names)


def groups(folder):
    content = {}
    for i in range(3):
        content |= {f"{i:04d}__data": np.stack([U[i], -U[i]], -1), f"{i:04d}__grid__x": X, f"{i:04d}__grid__y": Y}
        content[f"{i:04d}__grid__t"] = T
    return write(folder / "2D_diff-react_NA_NA.h5", **content)


def incompressible(folder):
    times = np.tile(np.arange(4) * 0.005, (3, 1))
    velocity = np.stack([U, 2 * U], -1)
    return write(folder / "ns_incom_inhom_2d_512-0.h5", velocity=velocity, particles=U[..., None], t=times)


def well(folder):
    flags = {"sample_varying": True, "time_varying": True}
    attributes = {"@dataset_name": "turbulent_layer", "@n_spatial_dims": 2, "@n_trajectories": 3}
    attributes |= {"dimensions@spatial_dims": ["x", "y"], "t0_fields@field_names": ["density", "height"]}
    attributes |= {f"t0_fields/density@{k}": v for k, v in flags.items()}
    attributes |= {"boundary_conditions/x_periodic@bc_type": "PERIODIC"}
    attributes |= {"boundary_conditions/x_periodic@associated_dims": ["x"]}
    attributes |= {"boundary_conditions/y_wall@bc_type": "WALL", "boundary_conditions/y_wall@associated_dims": ["y"]}
    return write(
        folder / "turbulent_layer.hdf5", attributes,
        dimensions__time=T, dimensions__x=X, dimensions__y=Y,
        boundary_conditions__x_periodic__mask=np.ones(5, bool), boundary_conditions__y_wall__mask=np.ones(6, bool),
        t0_fields__density=U, t0_fields__height=U[:, 0, :, 0], t1_fields__velocity=np.stack([U, 2 * U], -1),
        t2_fields__stress=np.stack([U, 2 * U, 3 * U, 4 * U], -1).reshape(3, 4, 5, 6, 2, 2),
    )  # fmt: skip


def fno(folder):
    savemat(folder / "ns_V1e-5_N3.mat", {"u": RNG.normal(size=(3, 6, 6, 4)), "t": T[None] + 1})
    return folder / "ns_V1e-5_N3.mat"


TXY = ("time", "x", "y")
LAYOUTS = {
    "scalar": (scalar, "pdebench", (3, 4, 5, 1), ("time", "x"), U[1, 1:3, :, :1]),
    "flow": (flow, "pdebench", (3, 4, 5, 6, 4), TXY, np.stack([U + 2, U + 3, U, U + 1], -1)[1, 1:3]),
    "groups": (groups, "pdebench", (3, 4, 5, 6, 2), TXY, np.stack([U, -U], -1)[1, 1:3]),
    "incompressible": (incompressible, "pdebench", (3, 4, 5, 6, 2), TXY, np.stack([U, 2 * U], -1)[1, 1:3]),
    "well": (
        well, "well", (3, 4, 5, 6, 7), TXY, (U[..., None] * [1, 1, 2, 1, 2, 3, 4])[1, 1:3],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_are_recognised_and_read(tmp_path, name):
    make, kind, shape, axes, block = LAYOUTS[name]
    path = make(tmp_path)
    assert recognise(path) == kind
    source = open_source(path)
    assert source.shape == shape
    assert tuple(axis.name for axis in source.axes) == axes
    np.testing.assert_allclose(pickle.loads(pickle.dumps(source)).read(1, 1, 3), block, rtol=1e-6)


def test_the_last_edge_of_the_times_is_left_out(tmp_path):
    source = open_source(scalar(tmp_path))
    np.testing.assert_allclose(source.axes[0].values, [0, 0.25, 0.5, 0.75])
    assert "has 5 numbers for 4 times" in source.notes[0]


def test_times_of_incompressible_flow_are_the_samples(tmp_path):
    source = open_source(incompressible(tmp_path))
    np.testing.assert_allclose(source.axes[0].values, [0, 0.005, 0.01, 0.015])
    np.testing.assert_allclose(source.axes[1].values, X)


def test_boundaries_of_the_well_say_what_wraps(tmp_path):
    source = open_source(well(tmp_path))
    assert source.periodic == (False, True, False)
    assert source.notes == ("t0_fields/height: left out, it does not vary with sample, time and place (3, 5)",)


def test_a_field_of_the_well_is_chosen_by_key(tmp_path):
    source = open_source(well(tmp_path), key="t1_fields/velocity")
    assert source.channels == ("velocity 0", "velocity 1")


def test_fno_files_go_through_the_cache(tmp_path):
    path = fno(tmp_path)
    assert recognise(path) == "fno"
    source = open_source(path, cache_dir=tmp_path / "cache")
    assert source.shape == (3, 4, 6, 6, 1)
    assert source.periodic == (False, True, True)
    assert source.path == path


BAD = {
    "rank": lambda p: write(p / "a.hdf5", tensor=U, x_coordinate=X, t_coordinate=T),
    "times": lambda p: write(p / "a.hdf5", tensor=U[..., 0], x_coordinate=X, t_coordinate=T[:2]),
    "places": lambda p: write(p / "a.hdf5", tensor=U[..., 0], x_coordinate=Y, t_coordinate=T),
    "groups differ": lambda p: write(
        p / "a.h5",
        **{"0000__data": U, "0001__data": U[1:], "0000__grid__t": T[:3], "0000__grid__x": T, "0000__grid__y": X},
    ),
    "no grid": lambda p: write(p / "a.h5", **{"0000__data": U, "0000__grid__t": T[:3]}),
    "samples at other times": lambda p: write(p / "a.h5", velocity=np.stack([U, U], -1), t=RNG.random((3, 4))),
    "well without x": lambda p: write(
        p / "a.h5", {"@n_spatial_dims": 2, "dimensions@spatial_dims": ["x"]}, dimensions__time=T, t0_fields__u=U
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_other_layouts_end_in_one_line(tmp_path, case):
    path = BAD[case](tmp_path)
    with pytest.raises(DataError, match="expected") as caught:
        open_source(path)
    assert str(path) in str(caught.value)


def test_variables_of_a_flow_are_chosen_by_key(tmp_path):
    source = open_source(flow(tmp_path), key=["Vx", "pressure"])
    assert source.channels == ("Vx", "pressure")
    np.testing.assert_allclose(source.read(1, 1, 3), np.stack([U, U + 3], -1)[1, 1:3], rtol=1e-6)


def test_a_field_of_the_well_may_be_named_without_its_group(tmp_path):
    assert open_source(well(tmp_path), key="velocity").channels == ("velocity 0", "velocity 1")


@pytest.mark.parametrize("make", [scalar, flow, groups, incompressible, fno])
def test_variables_that_are_not_there_are_told(tmp_path, make):
    with pytest.raises(DataError, match="wind"):
        open_source(make(tmp_path), key="wind")


@pytest.mark.parametrize("make", [scalar, flow, groups, incompressible, well, fno])
@pytest.mark.parametrize("option", [{"layout": "tsyxc"}, {"axes": ["t", "lat", "lon"]}])
def test_what_contradicts_a_known_layout_is_refused(tmp_path, make, option):
    with pytest.raises(DataError, match="this format has its own"):
        open_source(make(tmp_path), **option)


@pytest.mark.parametrize("option", [{"layout": "stxyc"}, {"axes": ["t", "x", "y"]}])
def test_what_says_the_same_as_a_known_layout_is_not(tmp_path, option):
    assert open_source(groups(tmp_path), **option).shape == (3, 4, 5, 6, 2)


@pytest.mark.parametrize("make", [scalar, flow, groups, incompressible, well, fno])
def test_a_rate_counts_before_the_times_and_is_told(tmp_path, make):
    source = open_source(make(tmp_path), rate=8.0)
    np.testing.assert_allclose(source.axes[0].values, np.arange(4) / 8)
    assert "time: rate 8 counts, not the times in the file" in source.notes


def test_fno_files_are_described_without_converting_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = fno(tmp_path)
    source = open_source(path)
    assert describe(source).read == 3 * 4 * 36
    assert list(tmp_path.iterdir()) == [path]
    converted = open_source(path, cache_dir=tmp_path / "cache")
    for i in range(3):
        np.testing.assert_array_equal(source.read(i, 1, 3), converted.read(i, 1, 3))
