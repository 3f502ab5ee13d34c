"""Sums that stay on the workers: each part once, whoever dies, and few of them travel."""

import os
import signal
import time
from collections import Counter

import numpy as np
import pytest

from dphot.graph import sums
from dphot.graph.run import Failed, run


class Tally:
    """Sums as they come, of how often each item is in them: one that is missing or doubled shows."""

    def __init__(self):
        self.total, self.came = Counter(), 0

    def __call__(self, part):
        self.came += 1
        self.total.update(part)


def count(item):
    """The item and a part that says so; item 5 has none."""
    return 2 * item, None if item == 5 else Counter({item: 1})


def slowly(item):
    time.sleep(0.1)
    return item, Counter({item: 1})


def of_list(items):
    return items, Counter(items)


def die(items):
    """Kills its worker at 33; items are lists."""
    if 33 in items:
        os._exit(1)
    return of_list(items)


def left(client):
    """What the workers hold, when there has been time to let go of it."""
    until = time.monotonic() + 10
    while (
        held := {key for key, workers in client.who_has().items() if workers}
    ) and time.monotonic() < until:
        time.sleep(0.05)
    return held


@pytest.fixture(scope="module")
def client():
    from dphot.cluster import connect

    with connect(workers=2) as client:
        yield client


def test_in_this_process_every_part_is_taken():
    tally = Tally()
    assert list(run(count, range(9), on_sum=tally)) == [(i, 2 * i) for i in range(9)]
    assert tally.total == Counter(i for i in range(9) if i != 5)


@pytest.mark.cluster
def test_on_workers_every_part_is_in_one_sum_and_few_travel(client):
    tally = Tally()
    found = run(count, range(100), client=client, on_sum=tally)
    assert sorted(found) == [(i, 2 * i) for i in range(100)]
    assert tally.total == Counter(i for i in range(100) if i != 5)
    assert tally.came <= 99 // sums.GATHERED + 2
    assert left(client) == set()


@pytest.mark.cluster
def test_parts_of_a_worker_that_dies_are_made_again(client):
    tally, seen = Tally(), []
    for item, _ in run(slowly, range(20), client=client, on_sum=tally):
        seen.append(item)
        if len(seen) == 8:  # their sums are on the workers: none has so many parts that it came
            assert not tally.came
            os.kill(min(client.run(os.getpid).values()), signal.SIGKILL)
    assert sorted(seen) == list(range(20)) and tally.total == Counter(range(20))


@pytest.mark.cluster
def test_what_kills_is_in_no_sum_and_all_else_in_one(client):
    items = [[3 * i, 3 * i + 1, 3 * i + 2] for i in range(20)]
    tally, found = Tally(), []
    for item, result in run(die, items, client=client, split=lambda item: [[i] for i in item], on_sum=tally):
        found += [i for i in item if not isinstance(result, Failed)]
    assert sorted(found) == [i for i in range(60) if i != 33]
    assert tally.total == Counter(found)
    assert left(client) == set()


@pytest.mark.cluster
def test_a_sum_that_was_given_up_is_made_of_its_items(client, monkeypatch):
    tally, given_up = Tally(), []
    receive = sums.Sums.receive

    def lose(self, future):
        """As if Dask had blamed a death on it."""
        if not given_up:
            given_up.extend(self._coming[future])
            self.lost += self._coming.pop(future)
        else:
            receive(self, future)

    monkeypatch.setattr(sums.Sums, "receive", lose)
    found = [item for item, _ in run(count, range(40), client=client, on_sum=tally)]
    assert sorted(found) == list(range(40)) and given_up
    assert tally.total == Counter(i for i in range(40) if i != 5)


@pytest.mark.cluster
def test_a_run_that_is_left_leaves_nothing(client):
    found = run(count, range(50), client=client, on_sum=Tally())
    for _ in range(3):
        next(found)
    found.close()
    assert left(client) == set()


def test_stacks_add_up():
    from dphot.graph.chunks import Stack

    one, two = (Stack(np.full((2, 3), n), np.full((2, 3), n, np.int32)) for n in (1, 2))
    both = one + two
    assert (both.total == 3).all() and (both.count == 3).all() and (one.total == 1).all()
    assert both.count.dtype == np.int32
