"""Where the work runs changes nothing: real schedulers and workers, a client that exists, scripts without a
guard."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest
import xarray as xr

import dphot
from dphot import cluster
from dphot.errors import InputError

needs_processes = pytest.mark.cluster


def environment(folder):
    return {**os.environ, "DPHOT_HOME": str(folder / "home"), "DPHOT_CACHE": str(folder / "cache")}


@contextmanager
def running(log, *arguments):
    """A Dask process that is ended afterwards, its messages in `log`."""
    with open(log, "w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments], stdout=file, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


def address_in(log, timeout=30.0) -> str:
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        found = re.search(r"Scheduler at:\s+(tcp://\S+)", log.read_text())
        if found:
            return found[1]
        time.sleep(0.1)
    raise TimeoutError(log.read_text())


@needs_processes
def test_a_running_scheduler_gives_the_same_bits(small_night, small_store, tmp_path):
    log = tmp_path / "scheduler.log"
    place = ("--host", "127.0.0.1", "--port", "0")
    with running(log, "scheduler", *place, "--no-dashboard"):
        address = address_in(log)
        worker = ("worker", address, "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1")
        with running(tmp_path / "one.log", *worker), running(tmp_path / "two.log", *worker):
            command = [sys.executable, "-m", "dphot.cli", "reduce", small_night, "--store",
            tmp_path / "far.dphot",
                       "--scheduler", address, "--chunk", "3", "--json"]  # fmt: skip
            done = subprocess.run(
                command, capture_output=True, text=True, env=environment(tmp_path), timeout=120
            )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["frames_used"] == 8
    far, here = dphot.open(tmp_path / "far.dphot"), small_store
    same(far.photometry["r"].load(), here.photometry["r"].load())
    (night,) = here.stack["r"]
    np.testing.assert_array_equal(far.stack["r"][night], here.stack["r"][night])
    same(far.reference.load(), here.reference.load())


def same(one: xr.Dataset, other: xr.Dataset) -> None:
    assert set(one.variables) == set(other.variables)
    for name in one.variables:
        np.testing.assert_array_equal(one[name].values, other[name].values, err_msg=str(name))


def test_no_worker_means_no_client():
    with cluster.connect(0) as client:
        assert client is None


def test_a_negative_number_of_workers_is_refused():
    with pytest.raises(InputError, match="workers = -1"), cluster.connect(-1):
        pass


@needs_processes
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_scheduler_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr(cluster, "TIMEOUT", 1)
    with (
        pytest.raises(InputError, match=r"tcp://127\.0\.0\.1:9"),
        cluster.connect(scheduler="tcp://127.0.0.1:9"),
    ):
        pass


@needs_processes
def test_a_client_that_exists_is_used_and_left_open():
    from distributed import Client

    with Client(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0") as mine:
        with cluster.connect() as found:
            assert found is mine
        assert mine.status == "running" and mine.submit(sum, (1, 2)).result() == 3


SCRIPT = """
import sys
import dphot

print("begun")
with dphot.connect(1) as client:
    assert __file__.endswith("script.py")
    def double(x):
        return 2 * x
    print(client.submit(double, 21).result())
"""


@needs_processes
@pytest.mark.parametrize("command", [["script.py"], ["-m", "script"]])
def test_a_script_needs_no_guard(tmp_path, command):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True,
    timeout=90,
                          env=environment(tmp_path))  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "begun\n42\n"), done.stderr
