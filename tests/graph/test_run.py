"""Running a function over items: any order, failures, workers that die."""

import os

import pytest

from dphot.graph.run import Failed, run


def double(item, plus=0):
    return 2 * item + plus


def fail(item):
    raise ValueError(f"no {item}")


def die(item):
    """Kills its worker at 3; items may be single numbers or lists."""
    if item == 3 or (isinstance(item, list) and 3 in item):
        os._exit(1)
    return item


def test_in_this_process_results_come_as_they_are_made():
    done = []
    results = run(double, [1, 2, 3], 10, on_done=done.append)
    assert next(results) == (1, 12) and done == [1]
    assert list(results) == [(2, 14), (3, 16)] and done == [1, 2, 3]


def test_what_a_function_raises_ends_the_run():
    with pytest.raises(ValueError, match="no 1"):
        list(run(fail, [1, 2]))


@pytest.fixture(scope="module")
def client():
    from dphot.cluster import connect

    with connect(workers=2) as client:
        yield client


@pytest.mark.cluster
def test_on_workers_every_item_comes_once(client):
    assert sorted(run(double, range(20), 1, client=client)) == [(i, 2 * i + 1) for i in range(20)]
    with pytest.raises(ValueError, match="no 1"):
        list(run(fail, [1], client=client))


@pytest.mark.cluster
def test_the_item_that_kills_is_failed_and_no_other(client):
    items = [[0, 1], [2, 3, 4], [5, 6]]
    done = []
    results = list(
        run(die, items, client=client, split=lambda item: [[i] for i in item], on_done=done.append)
    )
    failed = [item for item, result in results if isinstance(result, Failed)]
    assert failed == [[3]] and "worker was killed" in next(
        r.reason for _, r in results if isinstance(r, Failed)
    )
    assert sorted(i for item, _ in results for i in item) == list(range(7))
    assert sorted(i for item in done for i in item) == list(range(7))
