"""How a process ends that has just read a store."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes cannot be bound to a core here")
@pytest.mark.parametrize(
    "arguments",
    [
        ["-m", "dphot.cli", "tag"],
        ["-c", "import dphot, sys; list(dphot.open(sys.argv[1]).photometry)"],
    ],
    ids=["command", "script"],
)
def test_a_process_that_ends_just_after_it_read_a_store_ends_well(small_store, arguments):
    """On one core half of such commands aborted: a thread of Icechunk was still at work."""
    core = {min(os.sched_getaffinity(0))}
    for _ in range(8):
        done = subprocess.run(
            [sys.executable, *arguments, small_store.path], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, core),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
