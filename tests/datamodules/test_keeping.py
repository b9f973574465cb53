"""What is kept of reading and drawing: as much as there is room for, and nothing in other processes."""

import pickle

from cst_lightning.datamodules.keeping import Keep


def test_it_is_made_once() -> None:
    keep, made = Keep(), []
    for _ in range(3):
        assert keep.get(7, lambda: made.append(1) or [5], len) == [5]
    assert made == [1]


def test_what_has_no_room_is_made_each_time_and_the_first_stays() -> None:
    keep, made = Keep(most=3), []
    for key in ("a", "b", "a", "b", "c"):
        assert keep.get(key, lambda key=key: made.append(key) or [key, key], len) == [key, key]
    assert made == ["a", "b", "b", "c"]
    assert keep.size == 2


def test_a_copy_for_another_process_starts_empty() -> None:
    keep = Keep(most=3)
    keep.get("a", lambda: [1, 2], len)
    copy = pickle.loads(pickle.dumps(keep))
    assert (copy.most, copy.size) == (3, 0)
    assert copy.get("a", lambda: [3], len) == [3]
    assert keep.get("a", lambda: [3], len) == [1, 2]
