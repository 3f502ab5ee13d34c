"""Frames that cannot be aligned alone, in a night whose other frames can."""

from types import SimpleNamespace

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from grid_field import grid_simulation

import dphot
from dphot import simulate
from dphot.config import Config
from dphot.flags import FrameFlag
from dphot.graph import chunks, reference
from dphot.graph.chunks import Chunk, Task, measure_chunk, measure_night
from dphot.graph.context import reference_from_dataset
from dphot.graph.frame import Masters, calibrate_frame
from dphot.graph.priors import priors
from dphot.io.readers import read_record
from dphot.kernels import transform

FAILED = int(FrameFlag.ALIGN_FAILED)


def frames(*given):
    """Records and rows of frames: (time, transform or None, night)."""
    records = [{"jd_utc": t, "night": night} for t, _, night in given]
    rows = [{"transform": np.full(6, np.nan) if m is None else np.ravel(m), "frame_flags": FAILED * (m is None)}
            for _, m, _ in given]  # fmt: skip
    return records, rows


def shifted(dx, dy=0.0, sign=1.0):
    return np.array([[sign, 0.0, dx], [0.0, sign, dy]])


def test_a_prior_lies_between_its_neighbours_in_time_in_any_order():
    given = [
        (1.0, shifted(10), "a"),
        (2.0, None, "a"),
        (5.0, shifted(50, -8), "a"),
        (6.0, None, "a"),
        (1.9, shifted(99), "b"),
    ]
    for order in ([0, 1, 2, 3, 4], [4, 2, 3, 1, 0]):
        found = priors(*frames(*(given[i] for i in order)))
        assert sorted(found) == sorted((order.index(1), order.index(3)))
        np.testing.assert_allclose(found[order.index(1)], shifted(20, -2))
        np.testing.assert_allclose(found[order.index(3)], shifted(50, -8))  # the last keeps its place


def test_next_to_a_flip_the_nearest_counts():
    found = priors(*frames((0.0, shifted(10), "a"), (1.0, None, "a"), (4.0, shifted(300, 300, -1.0), "a")))
    np.testing.assert_allclose(found[1], shifted(10))


def test_without_a_time_or_any_aligned_frame_there_is_none():
    assert priors(*frames((np.nan, None, "a"), (1.0, shifted(1), "a"))) == {}
    assert priors(*frames((0.0, None, "a"), (np.nan, shifted(1), "a"), (1.0, shifted(1), "b"))) == {}
    records, rows = frames((0.0, None, "a"), (1.0, shifted(1), "a"))
    rows[0]["frame_flags"] = int(FrameFlag.UNREADABLE)
    assert priors(records, rows) == {}


@pytest.fixture(scope="module")
def night():
    """A drifting night; in its third frame clouds leave four stars, which chance could match elsewhere too."""
    spec = grid_simulation(frames=5, flip=0.0, rotation=0.0, drift=(20.0, -12.0))
    records = [
        {**dict.fromkeys(("latitude", "longitude", "altitude"), np.nan), **r, "error": ""}
        for r in simulate.simulated_records(spec, kinds=("light",))
    ]
    truth = simulate.truth(simulate.prepare(spec))
    keep = np.argsort(-np.array([star[2] for star in spec.catalogue]))[1:5]
    v, u = np.mgrid[: spec.height, : spec.width]

    def cloud(image, record):
        if record["path"] != records[2]["path"]:
            return image
        seen = np.zeros(image.shape, bool)
        for star in keep:
            x, y = (float(truth[k].values[2, star]) for k in ("x", "y"))
            seen |= (u - x) ** 2 + (v - y) ** 2 < 14.0**2
        noise = np.random.default_rng(1).normal(np.median(image), 5.0, image.shape)
        return np.where(seen, image, noise).astype(np.float32)

    made = reference.make(records[0], Masters.none((spec.height, spec.width)), Config())
    return records, truth, cloud, made


@pytest.fixture
def task(night, monkeypatch):
    records, _, cloud, made = night
    masters = Masters.none((340, 340))
    monkeypatch.setattr(chunks, "load_masters", lambda handle: masters)
    monkeypatch.setattr(chunks, "load_reference", lambda handle: reference_from_dataset(made))
    return Task(SimpleNamespace(fork=None), Config(), steps=(cloud,))


@pytest.mark.parametrize("size", [1, 2, 9])
def test_neighbours_in_time_help_a_frame_of_four_stars(night, task, size):
    records, truth, _, made = night
    (alone, _), _ = measure_chunk(Chunk(0, tuple(records)), task)
    assert [r["frame_flags"] & FAILED for r in alone] == [0, 0, FAILED, 0, 0]
    ref = reference_from_dataset(made)
    rows, _, stack = measure_night(records, Task(task.handle, Config(chunk=size), steps=task.steps), ref)
    assert not any(r["frame_flags"] & FAILED for r in rows)
    moved = [truth[k].values[2, 3] - truth[k].values[0, 3] for k in ("x", "y")]
    m = rows[2]["transform"].reshape(2, 3)
    x, y = transform.apply(m, truth.x.values[0, 3], truth.y.values[0, 3])
    assert np.hypot(x - truth.x.values[2, 3], y - truth.y.values[2, 3]) < 0.2 and np.hypot(*moved) > 5
    assert stack.count.max() == 5
    for i in (0, 1, 3, 4):
        assert rows[i]["flux"].tobytes() == alone[i]["flux"].tobytes()


def test_the_verbs_give_the_same(night, task):
    records, _, cloud, made = night
    ref = reference_from_dataset(made)
    rows, _, _ = measure_night(records, task, ref)
    masters = Masters.none(ref.shape)
    frames = [calibrate_frame(read_record(r)[0], r, masters, ref.saturation, (cloud,)) for r in records]
    dims = ("time", "y", "x")
    cubes = {
        name: (dims, da.from_array(np.stack(part), chunks=(2, -1, -1)))
        for name, part in zip(("image", "mask", "counts"), zip(*frames, strict=True), strict=True)
    }
    items = np.empty(len(records), object)
    items[:] = records
    obs = dphot.photometry(xr.Dataset(cubes, coords={"record": ("time", items)}), made)
    assert not (obs.frame_flags.values & FAILED).any()
    np.testing.assert_array_equal(obs.flux.values, [row["flux"] for row in rows])
