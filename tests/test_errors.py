"""Errors about input."""

import pickle

from cst_lightning.errors import DataError


def test_message_is_one_line_with_file_key_expected_found():
    assert str(DataError("a.mat", "u", "rank 4", "rank\n3")) == "a.mat: u: expected rank 4, found rank 3"


def test_error_survives_the_way_out_of_a_worker():
    error = DataError("a.mat", "u", "rank 4", "rank 3")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
