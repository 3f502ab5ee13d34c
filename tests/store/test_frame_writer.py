"""Raw frames written one by one come back as they were, wherever the blocks are cut."""

import numpy as np
import pytest

from dphot.errors import StoreError
from dphot.store import FrameWriter, Store


@pytest.mark.parametrize("collected", [0, 2 * 6 * 7 * 2, 2**20])
@pytest.mark.parametrize("places", [range(6), [0, 1, 3, 4], [5, 2, 3, 0], []])
def test_frames_come_back_as_they_were(tmp_path, collected, places):
    raw = np.random.default_rng(0).integers(0, 2**16, (6, 6, 7), dtype=np.uint16)
    store = Store.create(tmp_path / "field.dphot", {})
    with store.transaction("frames") as tx:
        tx.reserve_frames("r", "n", 6, (6, 7), "u2")
        writer = FrameWriter(tx.fork, "r", "n", collected)
        for place in places:
            writer.add(place, raw[place])
        tx.merge(writer.flush())
        assert writer.flush() is tx.fork  # a second time changes nothing
    expected = np.zeros_like(raw)
    expected[list(places)] = raw[list(places)]
    np.testing.assert_array_equal(store.frames["r"]["n"].raw, expected)


def test_a_misfit_is_refused_and_the_others_are_written(tmp_path):
    store = Store.create(tmp_path / "field.dphot", {})
    ones = np.ones((4, 4), np.uint16)
    with store.transaction("frames") as tx:
        tx.reserve_frames("r", "n", 3, (4, 4), "u2")
        writer = FrameWriter(tx.fork, "r", "n")
        writer.add(0, ones)
        writer.add(1, ones.astype(np.float32))
        with pytest.raises(StoreError, match="float32"):
            writer.add(2, ones)
        writer.add(2, ones)
        writer.flush()
    assert store.frames["r"]["n"].raw.values.max(axis=(1, 2)).tolist() == [1, 0, 1]
