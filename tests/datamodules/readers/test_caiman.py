"""Files of CaImAn in miniature."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from cst_lightning.datamodules.readers.caiman import read_caiman
from cst_lightning.errors import DataError

C = np.random.default_rng(0).normal(size=(4, 50))


def write(path: Path, **changes: object) -> Path:
    """Write what `cnmf.save` writes: groups of arrays, and a scalar string for None."""
    content = {
        "estimates/C": C,
        "estimates/YrA": 0.1 * C,
        "estimates/F_dff": C / 2,
        "estimates/S": np.abs(C),
        "estimates/f": np.ones((2, 50)),
        "estimates/A/shape": np.array([100, 4]),
        "estimates/idx_components": np.array([3, 0]),
        "params/data/fr": 7.5,
        **changes,
    }
    with h5py.File(path, "w") as file:
        for key, value in content.items():
            if value is not None:
                file[key] = value
    return path


def test_dff_of_accepted_components(tmp_path):
    found = read_caiman(write(tmp_path / "a.hdf5"))
    assert found.channels == ("ROI 0", "ROI 3")
    assert found.unit == "dF/F"
    np.testing.assert_allclose(found.read(0, 0, 50), (C / 2).T[:, [0, 3]], rtol=1e-6)


def test_the_rate_is_the_files(tmp_path):
    np.testing.assert_allclose(read_caiman(write(tmp_path / "a.hdf5")).axes[0].values[:2], [0, 1 / 7.5])


def test_a_scalar_stands_for_what_was_not_computed(tmp_path):
    found = read_caiman(write(tmp_path / "a.hdf5", **{"estimates/F_dff": "NoneType"}))
    assert "signal is C" in found.notes[0]
    np.testing.assert_allclose(found.read(0, 4, 6), C.T[4:6, [0, 3]], rtol=1e-6)


def test_what_was_measured_is_the_model_and_its_residual(tmp_path):
    found = read_caiman(write(tmp_path / "a.hdf5"), signal="C+YrA", rois="all")
    np.testing.assert_allclose(found.read(0, 0, 50), 1.1 * C.T, rtol=1e-6)


def test_all_components_count_where_none_were_judged(tmp_path):
    assert read_caiman(write(tmp_path / "a.hdf5", **{"estimates/idx_components": "NoneType"})).shape == (1, 50, 4)


BAD = {
    "no such signal": ({"estimates/F_dff": "NoneType"}, {"signal": "F_dff"}, "a scalar in estimates/F_dff"),
    "no traces": ({"estimates/F_dff": None, "estimates/C": None}, {}, "estimates/C: expected components x frames"),
    "counts fit no axis": ({"estimates/A/shape": np.array([100, 5])}, {}, "axes that fit 50 timestamps, 5 ROI"),
    "none accepted": ({"estimates/idx_components": np.zeros(0, int)}, {}, "at least one accepted"),
    "accepted too many": ({"estimates/idx_components": np.array([9])}, {}, "components below 4"),
    "not numbers": ({"estimates/F_dff": np.array([[b"a", b"b"]])}, {}, "real numbers"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_end_in_one_line(tmp_path, case):
    changes, options, said = BAD[case]
    with pytest.raises(DataError, match=said) as caught:
        read_caiman(write(tmp_path / "a.hdf5", **changes), **options)
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_named(tmp_path):
    path = write(tmp_path / "a.hdf5")
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(DataError, match="a complete HDF5 file"):
        read_caiman(path)


def test_a_transposed_array_is_found_out(tmp_path):
    found = read_caiman(write(tmp_path / "a.hdf5", **{"estimates/F_dff": C.T / 2}))
    np.testing.assert_allclose(found.read(0, 0, 50), (C / 2).T[:, [0, 3]], rtol=1e-6)
    assert "transposed" in found.notes[1]


def test_a_rate_counts_before_the_files_and_is_told(tmp_path):
    found = read_caiman(write(tmp_path / "a.hdf5"), rate=10.0, signal="C")
    assert found.axes[0].values[1] == pytest.approx(0.1)
    assert found.notes == ("rate 10 counts, not the 7.5/s of the file",)
