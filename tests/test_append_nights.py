"""A month of nights, one by one: the same bits as at once, and the thirtieth costs what the third did."""

from pathlib import Path

import pytest
from same_bits import same_stores
from small_nights import SMALL

import dphot
from dphot import simulate


def size(store):
    return sum(path.stat().st_size for path in Path(store.path).rglob("*") if path.is_file())


@pytest.mark.slow
def test_thirty_nights_one_by_one_equal_all_at_once_and_the_last_costs_no_more(tmp_path):
    folders = simulate.write_nights(tmp_path / "raw", nights=30, frames=6, **SMALL)
    store = dphot.reduce(folders[0], tmp_path / "nightly.dphot", workers=0)
    written = [size(store)]
    for folder in folders[1:]:
        before = size(store)
        assert store.append(folder, workers=0).frames == 6
        # nothing of a local store is deleted by a commit: what it grew by is what was written
        written.append(size(store) - before)
    same_stores(store, dphot.reduce(folders, tmp_path / "at_once.dphot", workers=0))
    assert len(store.history()) == 31
    # An append rewrites the chunk of 128 rows that is not full yet: nights are compared that begin alike in a chunk,
    # the 23rd to 30th with the 2nd to 9th.
    assert sum(written[22:30]) / sum(written[1:9]) < 1.2
