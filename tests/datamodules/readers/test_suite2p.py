"""Folders of suite2p in miniature."""

from pathlib import Path

import numpy as np
import pytest

from cst_lightning.datamodules.readers.suite2p import read_suite2p
from cst_lightning.errors import DataError

RNG = np.random.default_rng(0)
F = RNG.uniform(50, 100, (4, 30)).astype(np.float32)
FNEU = RNG.uniform(10, 20, (4, 30)).astype(np.float32)
ISCELL = np.array([[1, 0.9], [0, 0.6], [1, 0.7], [0, 0.1]])


def write(folder: Path, **changes: np.ndarray) -> Path:
    """Write a plane with the names that suite2p gives."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in {"F": F, "Fneu": FNEU, "spks": F / 10, "iscell": ISCELL, **changes}.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=True)
    return folder


def test_neuropil_is_subtracted_from_the_cells(tmp_path):
    found = read_suite2p(write(tmp_path / "plane0"), rate=6.0)
    assert found.shape == (1, 30, 2)
    np.testing.assert_allclose(found.read(0, 0, 30), (F - 0.7 * FNEU).T[:, [0, 2]], rtol=1e-6)


def test_fluorescence_as_it_is(tmp_path):
    found = read_suite2p(write(tmp_path), neuropil=None, rois="all")
    np.testing.assert_array_equal(found.read(0, 3, 9), F.T[3:9])


@pytest.mark.parametrize(("rois", "names"), [("cells", "02"), ("all", "0123"), (0.5, "012"), (0.8, "0")])
def test_rois_are_those_asked_for(tmp_path, rois, names):
    assert read_suite2p(write(tmp_path), rois=rois).channels == tuple(f"ROI {i}" for i in names)


def test_times_are_at_the_rate(tmp_path):
    axis = read_suite2p(write(tmp_path), rate=6.0).axes[0]
    assert axis.label == "time (s)"
    np.testing.assert_allclose(axis.values, np.arange(30) / 6)


def test_the_rate_is_not_unpickled_unasked(tmp_path):
    write(tmp_path, ops=np.array({"fs": 5.0}, dtype=object))
    found = read_suite2p(tmp_path)
    assert found.axes[0].unit == "frame"
    assert "allow_pickle" in found.notes[0]


def test_the_rate_is_unpickled_when_allowed(tmp_path):
    write(tmp_path, ops=np.array({"fs": 5.0}, dtype=object))
    assert read_suite2p(tmp_path, allow_pickle=True).axes[0].values[1] == pytest.approx(0.2)


def test_planes_stand_side_by_side(tmp_path):
    for plane, frames in ((0, 30), (1, 29)):
        write(tmp_path / f"suite2p/plane{plane}", F=F[:, :frames], Fneu=FNEU[:, :frames])
    found = read_suite2p(tmp_path, rate=6.0)
    assert found.shape == (1, 29, 4)
    assert found.channels[2] == "plane1 ROI 0"
    assert "left out" in found.notes[0]
    assert found.read(0, 27, 29).shape == (2, 4)


def test_one_plane_of_several(tmp_path):
    for plane in (0, 1):
        write(tmp_path / f"plane{plane}")
    assert read_suite2p(tmp_path, plane=1, rate=1.0).shape == (1, 30, 2)


BAD = {
    "missing": (lambda p: None, "nothing"),
    "no traces": (lambda p: p.mkdir(), "F.npy or plane0"),
    "pickled": (lambda p: write(p, F=np.array([{}, {}], dtype=object)), "plain numbers"),
    "truncated": (lambda p: (write(p) / "F.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00{"), "complete .npy"),
    "empty": (lambda p: (write(p) / "F.npy").write_bytes(b""), "an empty file"),
    "neuropil differs": (lambda p: write(p, Fneu=FNEU[:, :9]), r"shape \(4, 30\) as in F.npy"),
    "complex": (lambda p: write(p, F=F.astype(complex)), "real numbers"),
    "other rows than iscell": (lambda p: write(p, iscell=ISCELL[:3]), "axes that fit 3 ROI"),
    "no cell": (lambda p: write(p, iscell=0 * ISCELL), "at least one ROI"),
    "no iscell": (lambda p: (write(p) / "iscell.npy").unlink(), "rois all"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_folders_end_in_one_line(tmp_path, case):
    make, said = BAD[case]
    make(tmp_path / "plane0")
    with pytest.raises(DataError, match=said) as caught:
        read_suite2p(tmp_path / "plane0")
    assert "\n" not in str(caught.value)


def test_a_transposed_folder_is_found_out(tmp_path):
    write(tmp_path, F=np.ascontiguousarray(F.T), Fneu=np.ascontiguousarray(FNEU.T))
    found = read_suite2p(tmp_path, rate=6.0)
    assert found.shape == (1, 30, 2)
    assert "transposed" in found.notes[0]


def test_names_may_be_unicode_and_folders_read_only(tmp_path, read_only):
    folder = write(tmp_path / "Mäuse 鼠")
    with read_only(folder):
        assert read_suite2p(folder, rate=1.0).read(0, 0, 2).shape == (2, 2)


def test_where_time_is_can_be_said(tmp_path):
    square = {"F": F[:, :4], "Fneu": FNEU[:, :4]}
    with pytest.raises(DataError, match="the option layout"):
        read_suite2p(write(tmp_path, **square))
    found = read_suite2p(tmp_path, layout="time_first", neuropil=None, rois="all")
    np.testing.assert_array_equal(found.read(0, 0, 4), F[:, :4])
