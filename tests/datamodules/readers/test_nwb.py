"""NWB files in miniature: version 2 as pynwb writes it, version 1 as the Allen Brain Observatory has it."""

from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
import pytest

from cst_lightning.datamodules.readers.nwb import read_nwb
from cst_lightning.errors import DataError

TRACES = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
STAMPS = 5 + np.cumsum(np.random.default_rng(1).uniform(0.1, 0.2, 40))


def write(
    path: Path, data: np.ndarray = TRACES, stamps: np.ndarray | None = STAMPS, rois: int = 3, container: str = "DfOverF"
) -> Path:
    """Write the groups, attributes and data sets of an NWB 2 file that are read."""
    with h5py.File(path, "a") as file:
        file.attrs["nwb_version"] = "2.6.0"
        group = file.create_group(f"processing/ophys/{container}/RoiResponseSeries")
        group.attrs["neurodata_type"] = "RoiResponseSeries"
        group["data"] = data
        group["data"].attrs.update({"conversion": 1.0, "unit": "lumens", "resolution": -1.0})
        if rois:
            group["rois"] = np.arange(rois)
        if stamps is None:
            group["starting_time"] = 2.0
            group["starting_time"].attrs["rate"] = 10.0
        else:
            group["timestamps"] = stamps
    return path


def test_time_x_roi_with_true_timestamps(tmp_path):
    found = read_nwb(write(tmp_path / "a.nwb"))
    np.testing.assert_array_equal(found.read(0, 3, 9), TRACES[3:9])
    np.testing.assert_array_equal(found.axes[0].values, STAMPS)
    assert found.notes == ("signal is processing/ophys/DfOverF/RoiResponseSeries",)


def test_a_transposed_file_is_found_out_and_noted(tmp_path):
    found = read_nwb(write(tmp_path / "a.nwb", TRACES.T))
    np.testing.assert_array_equal(found.read(0, 3, 9), TRACES[3:9])
    assert "transposed" in found.notes[1]


def test_a_square_file_names_the_option(tmp_path):
    path = write(tmp_path / "a.nwb", TRACES[:3], STAMPS[:3])
    with pytest.raises(DataError, match="the option layout"):
        read_nwb(path)
    np.testing.assert_array_equal(read_nwb(path, layout="time_last").read(0, 0, 3), TRACES[:3].T)


def test_a_rate_and_a_start_are_times_as_well(tmp_path):
    times = read_nwb(write(tmp_path / "a.nwb", stamps=None)).axes[0].values
    np.testing.assert_allclose(times, 2 + np.arange(40) / 10)


def test_dff_is_preferred_and_another_series_can_be_named(tmp_path):
    path = write(write(tmp_path / "a.nwb"), TRACES + 9, container="Fluorescence")
    assert read_nwb(path).unit == "dF/F"
    np.testing.assert_array_equal(read_nwb(path, signal="Fluorescence").read(0, 0, 2), TRACES[:2] + 9)


def test_a_conversion_is_applied(tmp_path):
    path = write(tmp_path / "a.nwb")
    with h5py.File(path, "a") as file:
        file["processing/ophys/DfOverF/RoiResponseSeries/data"].attrs.update({"conversion": 2.0, "offset": 1.0})
    np.testing.assert_allclose(read_nwb(path).read(0, 0, 2), 2 * TRACES[:2] + 1)


def test_rois_that_are_no_cells_are_left_out(tmp_path):
    path = write(tmp_path / "a.nwb")
    with h5py.File(path, "a") as file:
        table = file.create_group("processing/ophys/ImageSegmentation/PlaneSegmentation")
        table["iscell"] = np.array([[1, 0.9], [0, 0.2], [1, 0.8]])
        file["processing/ophys/DfOverF/RoiResponseSeries/rois"].attrs["table"] = table.ref
    assert read_nwb(path).channels == ("ROI 0", "ROI 2")
    assert read_nwb(path, rois="all").shape == (1, 40, 3)


MOVIE = np.random.default_rng(0).normal(size=(40, 5, 4)).astype(np.float32)


@pytest.mark.parametrize(
    ("dimension", "turned", "told"),
    [
        (None, True, "stored (x, y) = (5, 4), as the schema"),
        ((5, 4), True, "stored (x, y) = (5, 4), as dimension says"),
        ((4, 5), False, "stored as (y, x) = (5, 4)"),
        ((9, 9), True, "as the schema"),
    ],
)
def test_a_movie_has_x_before_y_unless_its_dimension_says_else(tmp_path, dimension, turned, told):
    with h5py.File(tmp_path / "a.nwb", "w") as file:
        group = file.create_group("acquisition/TwoPhotonSeries")
        group.attrs["neurodata_type"] = "TwoPhotonSeries"
        group["data"], group["timestamps"] = MOVIE, STAMPS
        if dimension is not None:
            group["dimension"] = np.array(dimension, "i4")
    found = read_nwb(tmp_path / "a.nwb")
    assert [axis.name for axis in found.axes] == ["time", "y", "x"]
    np.testing.assert_array_equal(found.read(0, 2, 4)[..., 0], MOVIE[2:4].transpose(0, 2, 1) if turned else MOVIE[2:4])
    assert told in found.notes[-1]


def test_a_rate_counts_before_the_timestamps_and_is_told(tmp_path):
    found = read_nwb(write(tmp_path / "a.nwb"), rate=4.0)
    np.testing.assert_allclose(found.axes[0].values, np.arange(40) / 4)
    assert found.notes[-1] == "rate 4 counts, not the timestamps of the file"


def test_a_rate_of_nothing_is_refused(tmp_path):
    with pytest.raises(DataError, match="rate: expected a positive number"):
        read_nwb(write(tmp_path / "a.nwb", stamps=None), rate=0.0)


def allen(path: Path, data: np.ndarray) -> Path:
    """Write the part of an Allen Brain Observatory file that is read."""
    with h5py.File(path, "w") as file:
        file["nwb_version"] = b"NWB-1.0.6"
        for name in ("Fluorescence", "DfOverF"):
            group = file.create_group(f"processing/brain_observatory_pipeline/{name}/imaging_plane_1")
            group["data"], group["timestamps"] = data, STAMPS
    return path


def test_allen_files_are_cells_x_time(tmp_path):
    found = read_nwb(allen(tmp_path / "a.nwb", TRACES.T))
    assert (found.layout, found.unit) == ("Allen NWB 1", "dF/F")
    np.testing.assert_array_equal(found.read(0, 3, 9), TRACES[3:9])
    assert len(found.notes) == 1


def test_files_of_pynwb_are_read(tmp_path):
    pynwb = pytest.importorskip("pynwb")
    ophys = pytest.importorskip("pynwb.ophys")
    nwb = pynwb.NWBFile(
        session_description="a test", identifier="id", session_start_time=datetime(2024, 1, 1, tzinfo=UTC)
    )
    device = nwb.create_device(name="scope")
    channel = ophys.OpticalChannel(name="green", description="gcamp", emission_lambda=510.0)
    plane = nwb.create_imaging_plane(
        name="plane", optical_channel=channel, imaging_rate=10.0, description="d", device=device,
        excitation_lambda=920.0, indicator="GCaMP6s", location="V1",
    )  # fmt: skip
    segmentation = ophys.ImageSegmentation()
    table = segmentation.create_plane_segmentation(name="PlaneSegmentation", description="rois", imaging_plane=plane)
    for i in range(3):
        table.add_roi(pixel_mask=[(i, i, 1.0)])
    table.add_column(name="iscell", description="cell or not", data=[1, 0, 1])
    module = nwb.create_processing_module(name="ophys", description="d")
    module.add(segmentation)
    region = table.create_roi_table_region(description="all", region=[0, 1, 2])
    series = ophys.RoiResponseSeries(name="RoiResponseSeries", data=TRACES, unit="n.a.", rois=region, timestamps=STAMPS)
    container = ophys.DfOverF()
    module.add(container)
    container.add_roi_response_series(series)
    with pynwb.NWBHDF5IO(str(tmp_path / "a.nwb"), "w") as io:
        io.write(nwb)
    found = read_nwb(tmp_path / "a.nwb")
    assert found.channels == ("ROI 0", "ROI 2")
    np.testing.assert_array_equal(found.read(0, 0, 40), TRACES[:, [0, 2]])
    np.testing.assert_array_equal(found.axes[0].values, STAMPS)


BAD = {
    "too few timestamps": (lambda p: write(p, stamps=STAMPS[:39]), "axes that fit 39 timestamps, 3 ROI"),
    "times decrease": (lambda p: write(p, stamps=STAMPS[::-1].copy()), "increasing numbers"),
    "times repeat": (lambda p: write(p, stamps=np.r_[STAMPS[:1], STAMPS[:-1]]), "increasing numbers"),
    "times are NaN": (lambda p: write(p, stamps=STAMPS * np.nan), "finite numbers"),
    "two series": (lambda p: write(write(p, container="DfOverF"), container="x/DfOverF"), "the option signal"),
    "complex": (lambda p: write(p, TRACES.astype(complex)), "real numbers"),
    "no rows": (lambda p: write(p, TRACES[:0], STAMPS[:0]), "an array"),
    "nothing in it": (lambda p: h5py.File(p, "w").close(), "neither"),
    "missing": (lambda p: None, "nothing"),
    "no HDF5": (lambda p: p.write_bytes(b"NWB" * 99), "a complete HDF5 file"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_end_in_one_line(tmp_path, case):
    make, said = BAD[case]
    make(tmp_path / "a.nwb")
    with pytest.raises(DataError, match=said) as caught:
        read_nwb(tmp_path / "a.nwb")
    assert "\n" not in str(caught.value)
