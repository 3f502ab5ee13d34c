"""A night that arrives file by file, some of them half written."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from damage import edit

import dphot
from dphot import cli, simulate
from dphot.errors import InputError, StoreError
from dphot.flags import FrameFlag
from dphot.progress import Progress
from dphot.watch import Arrivals, watch


def record(path, size, mtime_ns, error=""):
    return {"path": path, "size": size, "mtime_ns": mtime_ns, "error": error}


def test_a_file_is_whole_when_it_stays_as_it_is():
    arrivals = Arrivals(patience=60.0)
    assert arrivals.look([record("a", 10, 1)], 0.0) == []
    (whole,) = arrivals.look([record("a", 10, 1), record("b", 5, 2)], 1.0)
    assert whole["path"] == "a" and arrivals.last_change == 1.0
    assert [r["path"] for r in arrivals.look([record("a", 10, 1), record("b", 9, 3)], 2.0)] == ["a"]
    assert len(arrivals.look([record("a", 10, 1), record("b", 9, 3)], 3.0)) == 2
    assert arrivals.last_change == 2.0


def test_a_file_that_cannot_be_read_is_waited_for():
    arrivals, half = Arrivals(patience=60.0), record("a", 10, 1, "truncated")
    for now in (0.0, 30.0, 59.0):
        assert arrivals.look([half], now) == []
    assert arrivals.look([half], 60.0) == [half]


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        watch(tmp_path / "x.dphot", tmp_path / "camera")


def lights_of(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*.fits") if "light" in p.name)


def test_a_stop_takes_in_what_is_there_and_a_second_watch_finds_nothing_new(small_night, tmp_path):
    stop = Event()
    stop.set()
    camera, store = tmp_path / "camera", tmp_path / "w.dphot"
    shutil.copytree(small_night, camera)
    # Nothing has been seen twice yet, so nothing is known to be whole.
    left: dict[str, str] = {}
    assert watch(store, camera, stop=stop, on_end=left.update) == 0 and not store.exists()
    assert sorted(left) == sorted(map(str, camera.glob("*.fits"))) and not any(left.values())

    stop, seen, ended = Event(), [], []

    def reported(opened):
        seen.append(len(opened.photometry["r"].time))
        stop.set()

    assert watch(store, camera, every=0.0, poll=0.05, stop=stop, on_commit=reported, on_end=ended.append) == 8
    at_once = dphot.reduce(small_night, tmp_path / "once.dphot", workers=0).photometry["r"].load()
    watched = dphot.open(store).photometry["r"].load()
    assert seen == [8] and ended == [{}]
    np.testing.assert_array_equal(watched.flux, at_once.flux)


def test_what_calibration_lacks_is_said_once_in_a_night(small_night, tmp_path, capsys):
    camera, stop, commits = tmp_path / "camera", Event(), []
    lights = lights_of(small_night)
    without = shutil.ignore_patterns("flat*", *(path.name for path in lights[5:]))
    shutil.copytree(small_night, camera, ignore=without)

    def reported(opened):
        commits.append(opened)
        for path in lights[5:]:
            shutil.copy(path, camera)
        if len(commits) == 2:
            stop.set()

    progress = Progress(bars=False, lines=True)
    assert (
        watch(
            tmp_path / "w.dphot",
            camera,
            every=0.0,
            poll=0.05,
            stop=stop,
            on_commit=reported,
            progress=progress,
        )
        == 8
    )
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "calibration missing: flat" in line]
    assert "filter r" in line


def test_what_cannot_be_stored_in_the_end_is_an_error(small_store, tmp_path):
    """Not before: there may be room again, or another writer be done."""
    store = Path(shutil.copytree(small_store.path, tmp_path / "w.dphot"))
    (camera,) = simulate.write_nights(
        tmp_path / "camera", night=1, frames=2, size=256, seed=3, stars=60, bias=0, darks=0, flats=0
    )
    lock, stop, said = store / "dphot.lock", Event(), []
    lock.unlink(missing_ok=True)
    lock.mkdir()  # permissions would not stop a test that runs as root

    class Telling(Progress):
        def say(self, text):
            said.append(text)
            if "to be tried again" in text:
                stop.set()

    with pytest.raises(StoreError, match="cannot be written"):
        watch(store, camera, every=0.0, poll=0.05, stop=stop, progress=Telling(bars=False))
    assert sum("to be tried again" in text for text in said) == 1
    lock.rmdir()
    stop.clear()
    assert watch(store, camera, every=0.0, poll=0.05, stop=stop, on_commit=lambda opened: stop.set()) == 2


def test_nights_beside_one_that_is_refused_are_reported_and_its_files_told(
    nights, first, later, tmp_path, capsys
):
    store, stop, commits = shutil.copytree(first.path, tmp_path / "w.dphot"), Event(), []
    lights = lights_of(later)
    for path in lights:
        edit(path, XBINNING=2, YBINNING=2)
    camera = Path(shutil.copytree(nights[2], tmp_path / "camera"))
    later.rename(camera / "later")

    def reported(opened):
        commits.append(len(opened.nights))
        stop.set()

    refused, ended = {}, {}
    frames = watch(
        store, camera, every=0.0, poll=0.05, stop=stop, on_commit=reported, on_refused=refused.update,
        on_end=ended.update, progress=Progress(bars=False, lines=True),
    )  # fmt: skip
    assert frames == 5 and commits == [2]
    assert ended == refused and sorted(ended) == [str(camera / "later" / path.name) for path in lights]
    assert all("binned 2x2, the store's reference 1x1" in why for why in ended.values())
    assert "not added: 2026-03-15 r: " in capsys.readouterr().err


def test_a_report_that_cannot_be_written_is_told_and_the_night_goes_on(first, later, tmp_path, capsys):
    store, stop = shutil.copytree(first.path, tmp_path / "w.dphot"), Event()

    def reported(opened):
        stop.set()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "w.html")

    progress = Progress(bars=False, lines=True)
    assert watch(store, later, every=0.0, poll=0.05, stop=stop, on_commit=reported, progress=progress) == 5
    assert "no report yet: [Errno 28] No space left on device: 'w.html'" in capsys.readouterr().err


def test_a_report_without_a_folder_is_refused_at_the_start(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(dphot, "watch", lambda *args, **settings: pytest.fail("it began"))
    arguments = [
        "watch",
        str(tmp_path / "w.dphot"),
        str(tmp_path),
        "--output",
        str(tmp_path / "gone" / "w.html"),
    ]
    assert cli.main([*arguments, "--json"]) == 2
    assert (
        "gone does not exist; make it first" in json.loads(capsys.readouterr().out.splitlines()[-1])["error"]
    )


def test_files_refused_all_together_are_told_until_they_go_in(nights, first, later, tmp_path):
    store, stop, ended = shutil.copytree(first.path, tmp_path / "w.dphot"), Event(), {}
    lights = lights_of(later)
    edit(lights[0], OBJECT="another", RA=None, DEC=None)
    edit(lights[1], OBJECT="a third")
    for path in lights[2:]:
        path.unlink()

    def refused(files):
        assert sorted(files) == list(map(str, lights[:2])) and "several objects" in files[str(lights[0])]
        lights[0].unlink()
        shutil.copy(nights[1] / lights[2].name, later)

    watch(
        store, later, every=0.0, poll=0.05, stop=stop, on_commit=lambda opened: stop.set(), on_refused=refused,
        on_end=ended.update,
    )  # fmt: skip
    assert ended == {}


def test_the_command_names_refused_files_and_ends_with_an_error(tmp_path, monkeypatch, capsys):
    def watched(*args, on_refused, on_end, **settings):
        on_refused({"/a.fits": "of another field", "/mended.fits": "of another field"})
        on_end({"/a.fits": "of another field", "/b.fits": ""})
        return 3

    monkeypatch.setattr(dphot, "watch", watched)
    assert cli.main(["watch", "w.dphot", str(tmp_path), "--json"]) == 2
    said = capsys.readouterr()
    result = json.loads(said.out.splitlines()[-1])
    assert result["frames"] == 3 and result["unfinished"] == [
        {"path": "/a.fits", "error": "of another field"},
        {"path": "/b.fits", "error": ""},
    ]
    assert "/b.fits: changed a moment ago\nrefused:\n  /a.fits: of another field" in said.err


def test_files_that_may_be_half_written_are_named_at_the_end(small_night, tmp_path, capsys):
    camera, store = tmp_path / "camera", tmp_path / "w.dphot"
    camera.mkdir()
    half = camera / "light-r-0001.fits"
    half.write_bytes(lights_of(small_night)[0].read_bytes()[:20000])
    usual = signal.getsignal(signal.SIGTERM)

    def terminate():
        until = time.monotonic() + 60
        while signal.getsignal(signal.SIGTERM) is usual:  # the command has not begun
            assert time.monotonic() < until
            time.sleep(0.05)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(terminate)
        assert cli.main(["watch", str(store), str(camera), "--poll", "0.1", "--json"]) == 0
    assert done.result() is None
    said = capsys.readouterr()
    result = json.loads(said.out.splitlines()[-1])
    (one,) = result["unfinished"]
    assert result["frames"] == 0 and one["path"] == str(half) and "truncated" in one["error"]
    assert "0 frames added; not added, since they may be half written" in said.err
    assert f"  {half}: " in said.err and not store.exists()


@pytest.mark.slow
def test_a_night_arrives_while_the_command_runs(small_night, tmp_path):
    camera, store, page = tmp_path / "camera", tmp_path / "w.dphot", tmp_path / "w.html"
    camera.mkdir()
    lights = lights_of(small_night)
    for path in set(small_night.rglob("*.fits")) - set(lights):
        shutil.copy(path, camera)
    command = [
        sys.executable,
        "-m",
        "dphot.cli",
        "watch",
        str(store),
        str(camera),
        "--poll",
        "0.2",
        "--every",
        "0.01",
    ]
    run = subprocess.Popen(
        [*command, "--patience", "0.1"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        whole = lights[6].read_bytes()
        (camera / "light-r-0099.fits").write_bytes(whole[: len(whole) // 3])
        for i, path in enumerate(lights):
            content = path.read_bytes()
            with open(camera / path.name, "wb") as out:
                # A camera that writes slowly.
                out.write(content[:9000])
                out.flush()
                time.sleep(0.5)
                out.write(content[9000:])
            if i == 5:
                wait_for(lambda: page.exists(), run)
        wait_for(lambda: store.exists() and frames_of(store) == 9, run)
    finally:
        run.send_signal(signal.SIGTERM)
        said, _ = run.communicate(timeout=60)
    assert run.returncode == 0, said
    watched = dphot.open(store).photometry["r"].load()
    bad = watched.frame_flags.values & int(FrameFlag.UNREADABLE) > 0
    assert [Path(str(p)).name for p in watched.path.values[bad]] == ["light-r-0099.fits"]
    # The reference was chosen among the first frames: made of that one at once, the night is the same.
    name = Path(str(dphot.open(store).reference.attrs["path"])).name
    at_once = (
        dphot.reduce(small_night, tmp_path / "once.dphot", workers=0, reference=name).photometry["r"].load()
    )
    np.testing.assert_array_equal(watched.flux.values[~bad], at_once.flux.values)
    assert "up to date" in said and page.stat().st_size > 100_000


def frames_of(store: Path) -> int:
    try:
        return int(dphot.open(store).photometry["r"].sizes["time"])
    except KeyError:
        return 0


def wait_for(ready, run, seconds=120.0):
    until = time.monotonic() + seconds
    while not ready():
        assert run.poll() is None, run.stdout.read()
        if time.monotonic() >= until:
            run.terminate()
            pytest.fail(f"the watch does nothing: {run.communicate(timeout=60)[0]}")
        time.sleep(0.2)
