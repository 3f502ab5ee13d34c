"""Stores in a bucket: whole nights reduced and watched there, and two processes that append at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest
from s3_server import (
    KEYS,
    boto3_client,
    place,
    put,
    reference_of,
    rename,
    requests,
    small_nights,
    upload,
)

import dphot
from dphot import cli
from dphot.checking import check
from dphot.errors import BucketError, StoreError
from dphot.flags import FrameFlag
from dphot.formats import export
from dphot.graph.reference import NoReference
from dphot.lineage import explain
from dphot.progress import Progress
from dphot.store import Store
from dphot.watch import watch

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


def same_numbers(here: Store, there: Store) -> None:
    (name,) = here.photometry
    a, b = here.photometry[name].load(), there.photometry[name].load()
    assert a.sizes == b.sizes
    for variable in ("digest", "flux", "flux_err", "frame_flags", "night"):
        np.testing.assert_array_equal(a[variable], b[variable])
    assert [os.path.basename(p) for p in a.path.values] == [os.path.basename(p) for p in b.path.values]


@pytest.mark.slow
@pytest.mark.parametrize("compress", [None, "gz", "fz"])
def test_frames_and_store_in_a_bucket_give_the_bits_of_the_folder(bucket, server_log, tmp_path, compress):
    first, second = small_nights(tmp_path / "raw", nights=2, compress=compress)
    raw, path = f"{bucket}/raw-{compress}", f"{bucket}/store-{compress}"
    upload(first, f"{raw}/1")
    upload(second, f"{raw}/2")
    # One of them came only half.
    cut = sorted(second.glob("light*"))[1]
    cut.write_bytes(cut.read_bytes()[:9000])
    put(f"{raw}/2/{cut.name}", cut.read_bytes())
    here = dphot.reduce(first, tmp_path / "here.dphot", workers=0)
    there = dphot.reduce(f"{raw}/1/", path, workers=0)
    here.append(second, workers=0)
    assert there.append(f"{raw}/2/", workers=0).frames == 3
    same_numbers(here, there)
    (obs,) = there.photometry.values()
    bad = obs.frame_flags.values & int(FrameFlag.UNREADABLE) > 0
    assert [os.path.basename(p) for p in obs.path.values[bad]] == [cut.name]
    assert "truncated" in str(obs.note.values[bad][0])
    problems, found = check(there)
    assert not problems and found == {
        "same": len(list(tmp_path.glob("raw/*/*.f*"))),
        "changed": [],
        "missing": [],
    }
    # A second append tries the bad one again, and reads no other; a renamed object is the same frame.
    before = len(requests(server_log, f"raw-{compress}/2/"))
    assert there.append(f"{raw}/2/", workers=0).frames == 0
    assert {key.rpartition("/")[2] for key in requests(server_log, f"raw-{compress}/2/")[before:]} == {
        cut.name
    }
    assert there.append([f"{raw}/1/", f"{raw}/2/"], workers=0).frames == 0
    light = sorted(second.glob("light*"))[0].name
    rename(f"{raw}/2/{light}", f"{raw}/2/renamed-{light}")
    assert there.append(f"{raw}/2/", workers=0).frames == 0
    assert check(there)[1]["missing"] == [f"{raw}/2/{light}"]
    assert explain(there, str(obs.time.values[0]))["frame"]["file"] == "same"


def keys(address: str) -> list[str]:
    found = boto3_client().list_objects_v2(Bucket=place(address)["Bucket"], Prefix=place(address)["Key"])
    return sorted(one["Key"] for one in found.get("Contents", []))


@pytest.mark.slow
def test_frames_at_the_root_of_a_bucket_are_reduced(bucket, tmp_path):
    boto3_client().create_bucket(Bucket="rooted")
    (night,) = small_nights(tmp_path / "raw")
    upload(night, "s3://rooted")
    here = dphot.reduce(night, tmp_path / "here.dphot", workers=0)
    for i, root in enumerate(("s3://rooted", "s3://rooted/")):
        there = tmp_path / f"{i}.dphot"
        assert cli.main(["reduce", root, "--store", str(there), "--workers", "0", "--quiet"]) == 0
        same_numbers(here, Store.open(there))
        assert check(Store.open(there))[0] == []
    # beside the frames, under a prefix of its own
    beside = dphot.reduce("s3://rooted", "s3://rooted/field", workers=0)
    same_numbers(here, beside)
    assert beside.append("s3://rooted", workers=0).frames == 0
    with pytest.raises(StoreError, match="name a bucket and a prefix"):
        dphot.reduce(night, "s3://rooted", workers=0)


@pytest.mark.slow
def test_a_reduction_that_fails_leaves_nothing_of_its_own_in_the_bucket(bucket, tmp_path):
    first, second = small_nights(tmp_path, nights=2)
    path = f"{bucket}/failing"
    put(f"{path}-2/chunks/0C7SBDZY084SHH4H6FV0", b"x")
    others = [
        f"{path}/{name}"
        for name in ("chunks/notes.txt", "light.fits", "refs/other/ref.json", "deep/config.yaml")
    ]

    def stop(image, record):
        for address in others:  # they come while the store is made
            put(address, b"x")
        raise KeyboardInterrupt

    for error, options in ((NoReference, {"min_stars": 1000}), (KeyboardInterrupt, {"steps": [stop]})):
        before = keys(path)
        with pytest.raises(error):
            dphot.reduce(first, path, workers=0, **options)
        assert keys(path) == sorted({*before, *(place(a)["Key"] for a in others * ("steps" in options))})
        assert not Store.exists(path)
    for address in others:
        boto3_client().delete_object(**place(address))

    def stop_later(image, record):
        if record["night"] == "2026-03-15":
            raise KeyboardInterrupt
        return image

    with pytest.raises(KeyboardInterrupt):
        dphot.reduce([first, second], path, workers=0, reference=0, steps=[stop_later])
    assert [night["night"] for night in Store.open(path).nights] == ["2026-03-14"]
    assert keys(f"{path}-2/")


@pytest.mark.slow
def test_a_bucket_that_goes_away_ends_the_run_and_leaves_nothing(bucket, small_night, tmp_path, monkeypatch):
    upload(small_night, f"{bucket}/away")
    table = dphot.scan(f"{bucket}/away")
    store = dphot.reduce(table, tmp_path / "kept.dphot", workers=0)
    (time,) = store.photometry["r"].time.values[:1]
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(BucketError, match=f"{bucket}/away"):
        dphot.reduce(table, tmp_path / "none.dphot", workers=0)
    assert not (tmp_path / "none.dphot").exists()
    with pytest.raises(BucketError, match=f"{bucket}/away"):
        check(store)
    assert check(store, files=False)[0] == []
    assert explain(store, str(time))["frame"]["file"] == "unreachable"
    export(store, store.photometry["r"], tmp_path / "lc.phot", target=0)


@pytest.mark.slow
def test_a_night_that_comes_into_a_bucket_is_watched(bucket, small_night, tmp_path):
    stop, path = Event(), tmp_path / "w.dphot"
    with ThreadPoolExecutor(1) as pool:
        coming = f"{bucket}/coming"
        upload(small_night, "s3://observatory/before")
        run = pool.submit(
            watch, path, coming, every=0.0, poll=0.1, stop=stop, on_commit=lambda store: stop.set()
        )
        for p in sorted(small_night.glob("*.fits")):
            put(f"{coming}/{p.name}", p.read_bytes())
        added = run.result(300)
    assert 5 <= added <= 8
    dphot.append(path, coming, workers=0)
    assert dphot.open(path).photometry["r"].sizes["time"] == 8


def test_a_watch_outlasts_a_bucket_that_goes_away(bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    stop, said = Event(), []

    class Outage(Progress):
        def say(self, text):
            said.append(text)
            if "no credentials" in text and len(said) == 3:
                monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS["AWS_ACCESS_KEY_ID"])
                stop.set()
            else:
                monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)

    assert (
        watch(tmp_path / "w.dphot", f"{bucket}/none-yet", poll=0.01, stop=stop, progress=Outage(False)) == 0
    )
    assert said[0] == f"watching {bucket}/none-yet" and len(said) == 3


@pytest.mark.cluster
def test_workers_read_from_the_bucket_themselves(bucket, small_night, tmp_path):
    upload(small_night, f"{bucket}/for-workers")
    there = dphot.reduce(f"{bucket}/for-workers", f"{bucket}/by-workers", workers=2, chunk=2)
    same_numbers(dphot.reduce(small_night, tmp_path / "here.dphot", workers=0), there)
