"""Errors about input."""

import pickle

import pytest

from cst_lightning.errors import DataError, check_ranges


def test_message_is_one_line_with_file_key_expected_found():
    assert str(DataError("a.mat", "u", "rank 4", "rank\n3")) == "a.mat: u: expected rank 4, found rank 3"


def test_error_survives_the_way_out_of_a_worker():
    error = DataError("a.mat", "u", "rank 4", "rank 3")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize("value", [None, 0.5, float("nan")])
def test_settings_outside_of_their_range_are_named(value: float):
    with pytest.raises(ValueError, match=f"width is {value}, expected at least 1"):
        check_ranges(width=(value, 1, float("inf")))
