"""Masters and reference as datasets, digests, and what a process keeps."""

import pickle
from dataclasses import replace

import numpy as np

from dphot.graph import context
from dphot.graph.context import Handle, digest, masters_from_dataset, masters_to_dataset
from dphot.graph.frame import Masters


def some_masters():
    rng = np.random.default_rng(1)
    maps = [rng.random((6, 7), np.float32) for _ in range(3)]
    return Masters(*maps, rng.random((6, 7)) > 0.8, 0.25)


def test_masters_survive_the_dataset():
    one = some_masters()
    two = masters_from_dataset(masters_to_dataset(one))
    assert digest(one) == digest(two) and two.bad.dtype == bool and two.flat_variance == 0.25


def test_a_digest_sees_every_pixel_and_number():
    one = some_masters()
    other = replace(
        one, flat=np.nextafter(one.flat, np.float32(2), where=one.flat > 0.99, out=one.flat.copy())
    )
    assert digest(one) != digest(replace(one, flat_variance=0.26))
    assert digest(one) != digest(replace(one, bad=~one.bad)) and digest(one) == digest(some_masters())
    assert (digest(one) == digest(other)) == bool((one.flat == other.flat).all())
    assert digest(np.zeros(4)) != digest(np.zeros((2, 2))) != digest(np.zeros((2, 2), np.float32))


def test_a_process_reads_once_whatever_fork_brings_the_digest(monkeypatch):
    reads = []
    monkeypatch.setattr(
        context, "read_dataset", lambda fork, group: reads.append(group) or masters_to_dataset(some_masters())
    )
    context.load_masters.cache_clear()
    one, two = Handle("a", object(), "n/r"), Handle("a", object(), "n/r")
    assert context.load_masters(one) is context.load_masters(two) and len(reads) == 1
    assert context.load_masters(Handle("b", None, "n/r")) is not context.load_masters(one) and len(reads) == 2
    context.load_masters.cache_clear()
    assert pickle.loads(pickle.dumps(Handle("a", None, "n"))) == Handle("a", 1, "m")
