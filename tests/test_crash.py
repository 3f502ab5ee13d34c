"""Killed at any moment, with a full disk, on a read-only folder: the store is at its last commit, and a retry heals."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from same_bits import same_bits

import dphot
from dphot import cli

SCRIPT = Path(__file__).parent / "crash_trials.py"


def run(arguments, n):
    """Run trials in `n` processes at once; what each of them saw."""
    processes = [
        subprocess.Popen([sys.executable, SCRIPT, *map(str, arguments(i))], stdout=subprocess.PIPE, text=True)
        for i in range(n)
    ]
    seen = [json.loads(process.communicate()[0].splitlines()[-1]) for process in processes]
    print(seen)  # how many were killed, and at which commit
    return {key: [one[key] for one in seen] for key in seen[0]}


@pytest.mark.slow
def test_176_kills_of_a_run(tmp_path):
    """Creation, masters, reference, frames, steps, commits: the moments are spread over the whole run."""
    seen = run(lambda i: (tmp_path / f"{i}", 88, i), 2)
    assert seen["problems"] == [[], []]
    assert seen["killed"] == [88, 88]
    # the kills fell between all commits; before the store is there only a few of the moments fall, or none
    commits = {int(n) for one in seen["commits"] for n in one}
    assert {1, 2, 3} <= commits and max(commits) > 3


def address_of(scheduler, file):
    """The address of a scheduler that starts; its file is there before all of its text is."""
    while True:
        assert scheduler.poll() is None
        with suppress(FileNotFoundError, json.JSONDecodeError):
            return json.loads(file.read_text())["address"]
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.cluster
def test_24_kills_of_coordinator_and_workers(tmp_path):
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
        address = address_of(scheduler, tmp_path / "scheduler.json")
        seen = run(lambda i: (tmp_path / "trials", 24, 7, address, *(nanny.pid for nanny in nannies)), 1)
    finally:
        for process in (*nannies, scheduler):
            process.send_signal(signal.SIGTERM)
        for process in (*nannies, scheduler):
            process.wait(20)
    assert seen["problems"] == [[]] and seen["killed"] == [24]


def fill(folder):
    """Write until the disk is full."""
    with pytest.raises(OSError), open(folder / "filler", "wb", buffering=0) as file:
        while True:
            file.write(bytes(65536))
    with pytest.raises(OSError), open(folder / "filler", "ab", buffering=0) as file:
        while True:
            file.write(b"0")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 32 MiB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", place], capture_output=True)
    if made.returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_leaves_the_last_commit_and_one_error(small_night, small_store, small_disk, capsys):
    later = shutil.copytree(small_night, small_disk.parent / "later")
    for path in later.glob("light*"):
        with fits.open(path, mode="update") as hdus:
            date = np.datetime64(hdus[0].header["DATE-OBS"]) + np.timedelta64(6, "D")
            hdus[0].header["DATE-OBS"] = str(date)
            hdus[0].header.remove("JD", ignore_missing=True)
    place = shutil.copytree(small_store.path, small_disk / "x.dphot")
    before = dphot.open(place).photometry["r"].load()
    for free in (0, 1 << 16, 1 << 18):
        fill(small_disk)
        os.truncate(small_disk / "filler", (small_disk / "filler").stat().st_size - free)
        assert cli.main(["append", str(place), str(later), "--workers", "0", "--quiet"]) == 6
        error = capsys.readouterr().err
        assert str(place) in error and "No space left" in error and "Traceback" not in error
        (small_disk / "filler").unlink()
        same_bits(dphot.open(place).photometry["r"].load(), before)
    assert dphot.append(place, later, workers=0).frames_used == 8


def test_a_read_only_store_is_read_and_not_written(small_night, small_store, small_disk, capsys):
    later = shutil.copytree(small_night, small_disk.parent / "later")
    (later / "light-r-0008.fits").unlink()
    place = small_disk / "x.dphot"
    dphot.reduce(later, place, workers=0, stack=False)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert cli.main(["append", str(place), str(small_night), "--workers", "0", "--quiet"]) == 6
    error = capsys.readouterr().err
    assert str(place) in error and "Read-only file system" in error and "Traceback" not in error
    assert dphot.open(place).photometry["r"].load().sizes["time"] == 7
