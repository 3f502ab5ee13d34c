"""Killed at any moment, with a full disk, on a read-only folder: the store is at its last commit, and a retry heals."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "crash_trials.py"


def run(arguments, n):
    """Run trials in `n` processes at once; what they saw, added up."""
    processes = [
        subprocess.Popen([sys.executable, SCRIPT, *map(str, arguments(i))], stdout=subprocess.PIPE, text=True)
        for i in range(n)
    ]
    seen = [json.loads(process.communicate()[0].splitlines()[-1]) for process in processes]
    return {key: [one[key] for one in seen] for key in seen[0]}


@pytest.mark.slow
def test_200_kills_of_a_run(tmp_path):
    """Creation, masters, reference, frames, steps, commits: the moments are spread over the whole run."""
    seen = run(lambda i: (tmp_path / f"{i}", 100, i), 2)
    assert seen["problems"] == [[], []]
    assert sum(seen["trials"]) == 200 and sum(seen["killed"]) > 150
    # the kills fell before the store was there, and between all of its commits
    commits = {int(n) for one in seen["commits"] for n in one}
    assert {0, 1, 2, 3} <= commits and max(commits) > 3


@pytest.mark.slow
@pytest.mark.cluster
def test_kills_of_coordinator_and_workers(tmp_path):
    scheduler = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard", "--host",
         "127.0.0.1", "--scheduler-file", tmp_path / "scheduler.json"], stderr=subprocess.DEVNULL,
    )  # fmt: skip
    nannies = [
        subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", tmp_path / "scheduler.json",
             "--nthreads", "1", "--no-dashboard", "--local-directory", tmp_path / f"scratch{i}"],
            stderr=subprocess.DEVNULL,
        )
        for i in range(2)
    ]  # fmt: skip
    try:
        while not (tmp_path / "scheduler.json").exists():
            assert scheduler.poll() is None
        address = json.loads((tmp_path / "scheduler.json").read_text())["address"]
        seen = run(lambda i: (tmp_path / "trials", 24, 7, address, *(nanny.pid for nanny in nannies)), 1)
    finally:
        for process in (*nannies, scheduler):
            process.send_signal(signal.SIGTERM)
        for process in (*nannies, scheduler):
            process.wait(20)
    assert seen["problems"] == [[]] and seen["trials"] == [24] and seen["killed"][0] > 15
