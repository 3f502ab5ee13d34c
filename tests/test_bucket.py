"""Stores in a bucket: a real S3 server process on loopback, and two processes that append at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import dphot
from dphot.store import Store

KEYS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
}

#: What one of the writers does: commits of its own nights, each again where the other was first.
WRITER = """
import sys
import numpy as np
from dphot.store import ConflictError, Store
path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
again = 0
for i in range(count):
    while True:
        store = Store.open(path)
        try:
            with store.transaction(f"{name} {i}") as tx:
                held = tx.root.attrs.get("held", [])
                tx.write_attrs({"held": [*held, f"{name} {i}"]})
                tx.write_night(f"{name}-{i}", {"series": []})
            break
        except ConflictError:
            again += 1
print(again)
"""


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """Address of an empty bucket."""
    pytest.importorskip("moto", reason="moto[server] is not installed")
    boto3 = pytest.importorskip("boto3")
    log = tmp_path_factory.mktemp("moto") / "log"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with open(log, "w") as out, pytest.MonkeyPatch.context() as environment:
        server = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        try:
            endpoint = address_in(log, server)
            for name, value in {**KEYS, "AWS_ENDPOINT_URL": endpoint}.items():
                environment.setenv(name, value)
            boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="observatory")
            yield "s3://observatory"
        finally:
            server.terminate()
            server.wait(10)


def address_in(log: Path, server: subprocess.Popen) -> str:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert server.poll() is None, log.read_text()
        for word in log.read_text().split():
            if word.startswith("http://127.0.0.1:"):
                return word
        time.sleep(0.1)
    raise AssertionError(f"the server does not start: {log.read_text()}")


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=dict(os.environ), timeout=540
    )


@pytest.mark.slow
def test_fifty_commits_of_two_writers_are_all_there(bucket):
    path = f"{bucket}/two-writers"
    Store.create(path, {"object": "x"})
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda name: run("-c", WRITER, path, name, "25"), ("a", "b")))
    assert [one.returncode for one in done] == [0, 0], [one.stderr[-2000:] for one in done]
    wanted = {f"{name} {i}" for name in "ab" for i in range(25)}
    store = Store.open(path)
    assert set(store.attrs["held"]) == wanted and len(store.attrs["held"]) == 50
    assert {commit.message for commit in store.history()} >= wanted
    # The test is one of conflicts: without any, the two ran one after the other.
    assert sum(int(one.stdout) for one in done) > 0


@pytest.mark.slow
def test_two_machines_append_their_nights_to_one_store(bucket, tmp_path):
    nights = dphot.simulate.write_nights(
        tmp_path / "raw", nights=5, frames=3, size=128, seed=3, stars=25, bias=2, darks=2, flats=2, clouds=0
    )
    path = f"{bucket}/field"
    dphot.reduce(nights[0], path, workers=0)
    parts = ([str(nights[1]), str(nights[3])], [str(nights[2]), str(nights[4])])
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(
            lambda folders: [run("-m", "dphot.cli", "append", path, folder, "--workers", "0", "--json") for folder in folders],
            parts,
        ))  # fmt: skip
    for one in (one for machine in done for one in machine):
        assert one.returncode == 0, one.stderr[-2000:]
        assert json.loads(one.stdout.splitlines()[-1])["frames"] == 3
    at_once = dphot.reduce(nights, tmp_path / "once.dphot", workers=0, reference=reference_of(path))
    (name,) = at_once.photometry
    here, there = at_once.photometry[name].load(), dphot.open(path).photometry[name].load()
    assert here.sizes == there.sizes
    np.testing.assert_array_equal(here.digest, there.digest)
    np.testing.assert_array_equal(here.flux, there.flux)
    np.testing.assert_array_equal(here.flux_err, there.flux_err)


def reference_of(path: str) -> str:
    return str(dphot.open(path).reference.attrs["path"])
