"""Parts of several arrays are written together, as they would be one after the other."""

import numpy as np
import pytest
import zarr
from zarr.storage import MemoryStore

from dphot.store.writing import extend, write


@pytest.fixture
def group():
    group = zarr.open_group(MemoryStore(), mode="w")
    for name, dtype in {"number": "f8", "count": "i4", "text": np.dtypes.StringDType()}.items():
        group.create_array(name, shape=(3,), chunks=(2,), dtype=dtype)
    return group


VALUES = {
    "number": np.array([0.5, np.nan, 2.0]),
    "count": np.array([1, 2, 3], np.int32),
    "text": np.array(["a", "", "long" * 30], np.dtypes.StringDType()),
}


def test_parts_are_written_where_they_belong(group):
    write((group[name], ..., values) for name, values in VALUES.items())
    write(
        [(group["count"], slice(1, 2), np.array([7], np.int32)), (group["number"], slice(0, 0), np.empty(0))]
    )
    np.testing.assert_array_equal(group["number"][:], VALUES["number"])
    assert group["count"][:].tolist() == [1, 7, 3] and group["text"][:].tolist() == VALUES["text"].tolist()


def test_rows_come_behind_those_that_are_there(group):
    write((group[name], ..., values) for name, values in VALUES.items())
    for n in (2, 0, 1):
        extend((group[name], values[:n]) for name, values in VALUES.items())
    for name, values in VALUES.items():
        np.testing.assert_array_equal(group[name][:], np.concatenate([values, values[:2], values[:1]]))


def test_what_fails_is_told_when_all_else_is_written(group):
    slow = group.create_array("slow", shape=(4000,), chunks=(10,), dtype="f8")
    wrong = group["count"], 5, np.zeros(1, np.int32)  # there is no such place
    with pytest.raises(IndexError):
        write([wrong, (slow, ..., np.arange(4000.0))])
    np.testing.assert_array_equal(slow[:], np.arange(4000.0))
