"""Several processes: workers that write frames, writers that compete, writers that are killed."""

import multiprocessing
import pickle
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import xarray as xr

from dphot.errors import StoreError
from dphot.store import Store, read_dataset, write_frames
from dphot.store.layout import masters_group


@pytest.fixture
def store(tmp_path):
    return Store.create(tmp_path / "field.dphot", {})


def frame(index):
    return np.random.default_rng(index).integers(0, 65536, size=(1, 16, 16), dtype=np.uint16)


def work(fork, indices):
    assert read_dataset(fork, masters_group("n")).bias.values.tolist() == [1.0, 2.0]
    for index in indices:
        fork = write_frames(fork, "r", "n", index, frame(index))
    return fork


def start(script, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *arguments], stdout=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_workers_write_through_pickled_forks(store):
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        for repeat in range(2):  # the second time as late frames
            with store.transaction("night") as tx:
                tx.write_masters("n", xr.Dataset({"bias": ("x", [1.0, 2.0])}))
                slots = tx.reserve_frames("r", "n", 10, (16, 16), "u2")
                assert slots.offset == 10 * repeat
                parts = [range(slots.offset + i, slots.offset + i + 2) for i in (0, 2, 4, 6, 8)]
                jobs = [pool.submit(work, tx.fork, part) for part in parts]
                tx.merge(*(job.result() for job in reversed(jobs)))
    np.testing.assert_array_equal(store.frames["r"]["n"].raw, np.concatenate([frame(i) for i in range(20)]))


@pytest.mark.slow
def test_no_append_is_lost_among_processes(store):
    script = """
        import sys
        from dphot.store import Store
        store = Store.open(sys.argv[1])
        for i in range(8):
            with store.transaction("append", wait=60) as tx:
                tx.write_night(f"{sys.argv[2]} {i}", {})
    """
    writers = [start(script, store.path, name) for name in "ab"]
    assert [writer.communicate(timeout=90) for writer in writers] == [("", None)] * 2
    assert [writer.returncode for writer in writers] == [0, 0]
    assert len(Store.open(store.path).nights) == 16 and len(Store.open(store.path).history()) == 17


def test_a_killed_writer_leaves_the_last_commit_and_no_lock(store, night):
    with store.transaction("first") as tx:
        tx.append_photometry("r", night(1))
    before = store.photometry["r"].load()
    script = """
        import pickle, sys, time
        from dphot.store import Store
        store = Store.open(sys.argv[1])
        with store.transaction("killed") as tx:
            tx.append_photometry("r", pickle.loads(bytes.fromhex(sys.argv[2])))
            tx.reserve_frames("r", "n", 3, (8, 8), "u2")
            print("written", flush=True)
            time.sleep(600)
    """
    writer = start(script, store.path, pickle.dumps(night(2)).hex())
    assert writer.stdout.readline() == "written\n"
    with pytest.raises(StoreError, match=f"process {writer.pid} on"):
        store.transaction("meanwhile", wait=0).__enter__()
    writer.send_signal(signal.SIGKILL)
    writer.wait(10)
    writer.stdout.close()
    xr.testing.assert_identical(Store.open(store.path).photometry["r"].load(), before)
    with store.transaction("again", wait=0) as tx:
        tx.append_photometry("r", night(2))
    expected = xr.concat([night(1), night(2)], "time", data_vars="minimal")
    xr.testing.assert_equal(store.photometry["r"].load(), expected)
    assert not store.frames


def test_a_folder_that_cannot_be_written_is_named(store, tmp_path):
    (tmp_path / "field.dphot" / "dphot.lock").mkdir()  # permissions would not stop a test that runs as root
    with pytest.raises(StoreError, match=r"field.dphot: cannot be written"):
        store.transaction("x").__enter__()
    assert Store.open(store.path).history()
