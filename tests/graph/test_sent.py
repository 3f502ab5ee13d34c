"""Large arrays on a cluster: sent once, without Dask's warnings (errors here), and still there when workers die."""

import os
import signal
import threading
import time

import numpy as np
import pytest
from grid_field import grid_simulation

from dphot import simulate
from dphot.graph import masters as graph
from dphot.graph.run import run
from dphot.graph.sent import PIECE_BYTES, SMALL, sent
from dphot.io.choice import choose

pytestmark = pytest.mark.cluster
#: A float32 frame of this size is larger than what Dask warns of.
SIZE = 1700


@pytest.fixture(scope="module")
def client():
    from dphot.cluster import connect

    with connect(workers=2) as client:
        yield client


@pytest.fixture(scope="module")
def array():
    return np.random.default_rng(0).normal(0, 1, (SIZE, SIZE)).astype("f4")


def same(one, two):
    assert one.dtype == two.dtype and one.shape == two.shape and one.tobytes() == two.tobytes()


def strip(item, whole, zero, factor):
    return factor * whole[item] + zero[item]


def dies_at_first(item, whole, folder):
    """Kills its worker, and the next one too."""
    for name in ("one", "two"):
        try:
            (folder / name).touch(exist_ok=False)
        except FileExistsError:
            continue
        os._exit(1)
    return whole[item].sum()


def kill(client, address):
    pid = client.run(os.getpid)[address]
    os.kill(pid, signal.SIGKILL)
    return pid


@pytest.mark.parametrize("shape", [(SIZE, SIZE), (3, SIZE, SIZE), (SIZE * SIZE,), (7, 500_000)])
def test_an_array_comes_as_it_was(client, shape):
    rng = np.random.default_rng(1)
    for made in (
        rng.normal(0, 1, shape).astype("f4"),
        rng.integers(0, 9, shape).astype("u2"),
        np.zeros(shape),
    ):
        future = sent(made, client)
        same(future.result(), made)
    same(sent(made.astype("f4").T + 1, client).result(), np.ascontiguousarray(made.astype("f4").T + 1))


def test_what_is_small_travels_with_the_task(client):
    few = np.zeros(SMALL // 8)
    assert sent(few, client) is few and sent("text", client) == "text"


def test_zeros_with_a_sign_keep_it(client):
    same(sent(np.full((SIZE, SIZE), -0.0, "f4"), client).result(), np.full((SIZE, SIZE), -0.0, "f4"))


def test_each_array_is_sent_once_for_all_tasks(client, array):
    seen = set()
    zero = np.zeros_like(array)
    here = dict(run(strip, range(30), array, zero, 2.0))
    for item, row in run(strip, range(30), array, zero, 2.0, client=client):
        same(row, here[item])
        seen |= {str(key) for key in client.who_has() if str(key).startswith(("_joined", "zeros", "_same"))}
    whole = {key for key in seen if not key.startswith("_same")}
    assert len(whole) == 2 and len(seen - whole) <= -(-array.nbytes // PIECE_BYTES)


def test_an_array_outlives_the_only_worker_that_holds_it(client, array):
    future = sent(array, client)
    future.result()
    ((holder,),) = client.who_has([future]).values()
    kill(client, holder)
    assert client.submit(np.sum, future, pure=False).result() == np.sum(array)


def test_a_run_goes_on_when_workers_die_under_it(client, array, tmp_path):
    found = dict(run(dies_at_first, range(6), array, tmp_path, client=client))
    assert len(list(tmp_path.iterdir())) == 2
    assert found == {k: array[k].sum() for k in range(6)}


@pytest.fixture(scope="module")
def night():
    spec = grid_simulation(frames=1, bias=3, darks=3, flats=4, size=SIZE, hot_pixels=1e-4, dark_current=0.5,
                           flip=0.0, catalogue=((60.0, 60.0, 5000.0),), target=0)  # fmt: skip
    records = simulate.simulated_records(spec)
    (light,) = (r for r in records if r["type"] == "light")
    return records, light


@pytest.fixture(scope="module")
def built(night):
    records, light = night
    return graph.build(choose(light, records), light, None)


def identical(one, two):
    assert list(one.variables) == list(two.variables) and one.attrs == two.attrs
    for name in one.variables:
        same(one[name].values, two[name].values)


def test_masters_of_large_frames_are_those_of_one_process(client, night, built):
    records, light = night
    assert built.bias.nbytes > 10e6
    identical(graph.build(choose(light, records), light, client), built)


def test_masters_are_the_same_when_the_worker_with_the_bias_dies(client, night, built):
    records, light = night
    killed = []

    def watch():
        while not killed and not done.is_set():
            holders = [w for key, w in client.who_has().items() if str(key).startswith("_joined") and w]
            if holders:
                killed.append(kill(client, holders[0][0]))
            time.sleep(0.05)

    done = threading.Event()
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        again = graph.build(choose(light, records), light, client)
    finally:
        done.set()
        watcher.join()
    assert killed
    identical(again, built)
