"""Transactions: all of what is written or nothing, one writer at a time, workers that write into forks."""

import pickle
import threading

import icechunk
import numpy as np
import pytest
import xarray as xr
import zarr
from store_night import append

from dphot.errors import StoreError
from dphot.store import Store, read_dataset, repository, write_frames
from dphot.store.layout import masters_group


def test_an_exception_leaves_the_last_commit(store, night):
    append(store, "r", night(1))
    before = store.photometry["r"].load()
    with pytest.raises(RuntimeError, match="power"), store.transaction("fails") as tx:
        tx.append_photometry("r", night(2))
        tx.append_photometry("V", night(2))
        tx.write_night("2026-11-02", {})
        raise RuntimeError("power cut")
    again = Store.open(store.path)
    xr.testing.assert_identical(again.photometry["r"].load(), before)
    assert list(again.photometry) == ["r"] and not again.nights and len(again.history()) == 2
    append(store, "r", night(2))
    assert store.photometry["r"].sizes["time"] == 10


def test_nothing_written_is_no_commit(store):
    with store.transaction("nothing") as tx:
        pass
    assert tx.snapshot is None and len(store.history()) == 1


def test_over_is_over(store):
    with store.transaction("one") as tx:
        tx.write_night("n", {})
    assert tx.snapshot == store.history()[0].id
    with pytest.raises(StoreError, match="'one' is over"):
        tx.write_night("n", {})


def test_steps(store, night):
    with pytest.raises(RuntimeError), store.transaction("last") as tx:
        tx.append_photometry("r", night(1))
        assert tx.step("step 1", {"part": 1}) == store.history()[0].id
        assert tx.step("empty") is None
        tx.append_photometry("r", night(2))
        raise RuntimeError
    assert store.photometry["r"].sizes["time"] == 5
    assert [c.message for c in store.history()][:-1] == ["step 1"]


def test_an_array_in_the_hands_of_workers_must_not_change(store, night):
    append(store, "r", night(1))
    with pytest.raises(StoreError, match="cannot be merged"), store.transaction("wrong") as tx:
        tx.reserve_frames("r", "n", 1, (2, 2), "u2")
        copy = pickle.loads(pickle.dumps(tx.fork))
        tx.reserve_frames("r", "n", 1, (2, 2), "u2")
        tx.merge(write_frames(copy, "r", "n", 0, np.ones((1, 2, 2), "u2")))
    assert len(store.history()) == 2


def test_other_arrays_may_change_while_workers_work(store, night):
    append(store, "r", night(1))
    with store.transaction("fine") as tx:
        tx.write_masters("n", xr.Dataset({"bias": ("x", np.arange(3.0))}))
        tx.reserve_frames("r", "n", 2, (2, 2), "u2")
        copies = [pickle.loads(pickle.dumps(tx.fork)) for _ in range(2)]
        tx.append_photometry("r", night(2))
        tx.write_night("n", {"k": 1})
        assert read_dataset(copies[0], masters_group("n")).bias.sum() == 3
        frames = np.array([[[1, 1], [1, 1]], [[2, 2], [2, 2]]], "u2")
        back = [write_frames(f, "r", "n", i, frames[i : i + 1]) for i, f in enumerate(copies)]
        tx.merge(*back)
        tx.merge(back[0])  # a chunk that was computed twice
        tx.append_photometry("r", night(3))
    assert store.photometry["r"].sizes["time"] == 15
    np.testing.assert_array_equal(store.frames["r"]["n"].raw[:, 0, 0], [1, 2])


def test_masters_and_reference_may_be_rewritten_before_workers_read_them(store):
    for value in (1.0, 2.0):
        with store.transaction("again") as tx:
            tx.write_reference(xr.Dataset({"image": ("x", np.full(3 + int(value), value))}))
            tx.reserve_frames("r", "n", 1, (2, 2), "u2")
            copy = pickle.loads(pickle.dumps(tx.fork))
            assert (read_dataset(copy, "reference").image == value).all()
            tx.merge(write_frames(copy, "r", "n", int(value) - 1, np.ones((1, 2, 2), "u2")))
    assert store.reference.image.values.tolist() == [2.0] * 5


def test_a_second_writer_waits_or_refuses(store):
    other = Store.open(store.path)
    with store.transaction("first") as tx:
        with pytest.raises(StoreError, match=r"process \d+ on .* is writing to it; waited 0.1 s"):
            other.transaction("second", wait=0.1).__enter__()
        tx.write_night("a", {})
        thread = threading.Thread(target=lambda: append_record(other, "b"))
        thread.start()
    thread.join(20)
    assert [record["night"] for record in Store.open(store.path).nights] == ["a", "b"]


def test_another_committer_that_heeds_no_lock_is_noticed(store):
    with pytest.raises(StoreError, match="committed first"), store.transaction("mine") as tx:
        tx.write_night("a", {})
        session = icechunk.Repository.open(repository.storage(store.path)).writable_session("main")
        zarr.open_group(session.store, mode="r+").attrs["k"] = 1
        session.commit("theirs")
    assert Store.open(store.path).history()[0].message == "theirs"


def append_record(store, night):
    with store.transaction(night, wait=20) as tx:
        tx.write_night(night, {})
