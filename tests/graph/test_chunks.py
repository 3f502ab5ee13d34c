"""The fused chain: rows, raw frames and the stack of a run of frames."""

from types import SimpleNamespace

import numpy as np
import pytest
from grid_field import grid_simulation

from dphot import simulate
from dphot.config import Config
from dphot.graph import chunks, reference
from dphot.graph.chunks import Chunk, Stack, Task, measure_chunk, measure_night
from dphot.graph.context import reference_from_dataset
from dphot.graph.frame import Masters


@pytest.fixture(scope="module")
def night():
    records = [
        {**r, "error": ""}
        for r in simulate.simulated_records(grid_simulation(frames=4, flip=0.0), kinds=("light",))
    ]
    masters = Masters.none((340, 340))
    ref = reference_from_dataset(reference.make(records[1], masters, Config()))
    return records, masters, ref


@pytest.fixture
def task(night, monkeypatch):
    _, masters, ref = night
    monkeypatch.setattr(chunks, "load_masters", lambda handle: masters)
    monkeypatch.setattr(chunks, "load_reference", lambda handle: ref)
    return Task(SimpleNamespace(fork=None), Config())


def test_a_stack_sums_exactly_in_any_order():
    rng = np.random.default_rng(2)
    frames = rng.normal(1000, 30, (50, 8, 9)).astype(np.float32)
    valid = rng.random((50, 8, 9)) > 0.2
    frames[~valid] = np.nan
    here, no_mask = np.eye(2, 3), np.zeros((8, 9), np.uint8)
    one, two, part = Stack.empty((8, 9)), Stack.empty((8, 9)), Stack.empty((8, 9))
    for frame in frames:
        one.add(frame, no_mask, here, 0.0)
    for i in rng.permutation(50):
        (two if i % 3 else part).add(frames[i], no_mask, here, 0.0)
    two.merge(part)
    assert (one.total == two.total).all() and (one.count == two.count).all()
    np.testing.assert_allclose(one.mean(), np.nanmean(frames.astype(float), axis=0), rtol=1e-6)
    assert np.isnan(Stack.empty((2, 2)).mean()).all()


def test_rows_come_in_order_and_bad_frames_are_rows(night, task):
    records, _, ref = night
    bad = [
        records[0],
        {**records[1], "error": "of another kind"},
        {**records[2], "path": "/nowhere.fits"},
        {**records[3], "width": 7},
    ]
    (rows, fork), stack = measure_chunk(Chunk(0, tuple(bad)), task)
    assert [r["frame_flags"] for r in rows] == [0, 1, 1, 1] and fork is None
    # what is there has a digest, whatever is wrong with it
    assert [bool(r["digest"]) for r in rows] == [True, True, False, True]
    assert (
        rows[1]["note"] == "of another kind"
        and rows[2]["note"] == "no such file"
        and "7x340" in rows[3]["note"]
    )
    assert stack.count.max() == 1 and np.isnan(rows[1]["flux"]).all()


def test_what_no_one_foresaw_costs_one_frame(night, task, monkeypatch):
    records, _, _ = night
    real = chunks.chain.measure

    def odd(image, *rest):
        if float(image[5, 5]) == odd.value:
            raise ZeroDivisionError("division by zero")
        return real(image, *rest)

    odd.value = float(simulate.read_simulated(records[2]["path"])[0][5, 5])
    monkeypatch.setattr(chunks.chain, "measure", odd)
    (rows, _), _ = measure_chunk(Chunk(0, tuple(records)), task)
    assert rows[2]["frame_flags"] == 1 and "ZeroDivisionError" in rows[2]["note"] and rows[2]["digest"]
    assert sum(r["frame_flags"] == 0 for r in rows) >= 3


@pytest.mark.parametrize("size", [1, 3, 9])
def test_a_night_is_its_frames_whatever_the_chunks(night, task, size):
    records, _, ref = night
    one = Task(task.handle, Config(chunk=size))
    done = []
    rows, forks, stack = measure_night(records, one, ref, on_done=lambda c: done.append(len(c.records)))
    (expected, _), total = measure_chunk(Chunk(0, tuple(records)), task)
    assert sum(done) == 4 and not forks
    assert all(a["flux"].tobytes() == b["flux"].tobytes() for a, b in zip(rows, expected, strict=True))
    assert (stack.total == total.total).all()


def test_chunks_split_into_their_frames():
    parts = Chunk(8, ({"a": 1}, {"a": 2})).split()
    assert [(p.start, len(p.records)) for p in parts] == [(8, 1), (9, 1)]
