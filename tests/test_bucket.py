"""Frames and stores in a bucket: a real S3 server process on loopback, and two processes that append at once."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from flaky_server import flaky

import dphot
from dphot import cli
from dphot.checking import check
from dphot.errors import BucketError, FrameError, InputError, StoreError
from dphot.flags import FrameFlag
from dphot.formats import export
from dphot.graph.reference import NoReference
from dphot.io import files
from dphot.io.bucket import FIRST_READ, ObjectFile
from dphot.io.readers import file_digest, read_frame, read_header, read_pixels
from dphot.lineage import explain
from dphot.progress import Progress
from dphot.store import Store
from dphot.watch import watch

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
def server_log(tmp_path_factory):
    """The file in which the server tells of every request."""
    return tmp_path_factory.mktemp("moto") / "log"


@pytest.fixture(scope="module")
def bucket(server_log):
    """Address of an empty bucket."""
    pytest.importorskip("moto", reason="moto[server] is not installed")
    boto3 = pytest.importorskip("boto3")
    log = server_log
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


def upload(folder: Path, address: str, names=lambda name: name) -> None:
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        put(f"{address}/{names(path.relative_to(folder).as_posix())}", path.read_bytes())


def put(address: str, data: bytes) -> None:
    boto3_client().put_object(**place(address), Body=data)


def boto3_client():
    import boto3

    return boto3.client("s3")


def place(address: str) -> dict[str, str]:
    bucket, _, key = address.removeprefix("s3://").partition("/")
    return {"Bucket": bucket, "Key": key}


def rename(old: str, new: str) -> None:
    client = boto3_client()
    client.copy_object(**place(new), CopySource=place(old))
    client.delete_object(**place(old))


def requests(log: Path, name: str) -> list[str]:
    """Keys of the objects that were asked for, of those with a name in them."""
    asked = re.findall(r"\"\S*GET /observatory/(\S*) HTTP", log.read_text())
    return [key for key in asked if name in key]


def light(pixels: np.ndarray, long_primary: bool = False) -> bytes:
    """A light as FITS; with `long_primary` in an extension, behind a header longer than what is read at first."""
    cards = {"IMAGETYP": "Light Frame", "DATE-OBS": "2026-11-22T03:00:00", "EXPTIME": 30.0, "FILTER": "r"}
    image = (fits.ImageHDU if long_primary else fits.PrimaryHDU)(pixels, fits.Header(cards))
    out, primary = io.BytesIO(), fits.PrimaryHDU(header=fits.Header({f"KEY{i}": i for i in range(400)}))
    fits.HDUList([primary, image] if long_primary else [image]).writeto(out)
    return out.getvalue()


def small_nights(folder: Path, **values) -> list[Path]:
    return dphot.simulate.write_nights(
        folder, **{"frames": 3, "size": 128, "seed": 3, "stars": 25, "bias": 2, "darks": 2, "flats": 2, "clouds": 0, **values}
    )  # fmt: skip


def rows(table: dphot.FrameTable) -> pd.DataFrame:
    """The table with names for paths, and no times of change."""
    frames = table.to_pandas().drop(columns="mtime_ns")
    return frames.assign(path=[os.path.basename(path) for path in frames["path"]])


@pytest.mark.parametrize("compress", [None, "gz", "fz"])
def test_a_scan_is_that_of_the_folder_and_reads_each_header_once(bucket, server_log, tmp_path, compress):
    (night,) = small_nights(tmp_path, size=200, stars=5, target=0, compress=compress)
    address = f"{bucket}/scan-{compress}/night"
    upload(night, address)
    here, there = dphot.scan(night), dphot.scan(address + "/")
    pd.testing.assert_frame_equal(rows(here), rows(there))
    assert here.ignored == there.ignored == 1
    names = here.to_pandas()["path"]
    assert here.to_pandas()["size"].min() > FIRST_READ
    # Of a gzip file the last bytes tell its length.
    once = len(names) * (2 if compress == "gz" else 1)
    assert len(requests(server_log, f"scan-{compress}/night/")) == once
    again = dphot.scan(address + "/")
    assert len(requests(server_log, f"scan-{compress}/night/")) == once
    pd.testing.assert_frame_equal(there.to_pandas(), again.to_pandas())
    # One object that changes is read again, and only that.
    changed = f"{address}/{os.path.basename(names[0])}"
    put(changed, b"SIMPLE  =")
    assert list(dphot.scan(address).errors["path"]) == [changed]
    assert len(requests(server_log, f"scan-{compress}/night/")) == once + 1


def test_a_bucket_is_a_tree_of_folders(bucket):
    frame = light(np.zeros((4, 5), "i2"))
    odd = "a b+c%20#é?.fits"
    for name in (odd, "deep/er/b.fits", ".hidden/c.fits", ".d.fits"):
        put(f"{bucket}/tree/{name}", frame)
    for name, data in (("notes.txt", b"x"), ("deep/", b""), ("empty.fits", b"")):
        put(f"{bucket}/tree/{name}", data)
    put(f"{bucket}/tree-2/e.fits", frame)
    table = dphot.scan(f"{bucket}/tree")
    assert sorted(table.to_pandas()["path"]) == [
        f"{bucket}/tree/{n}" for n in (odd, "deep/er/b.fits", "empty.fits")
    ]
    assert "empty" in table.errors["error"][0] and len(table.errors) == 1 and table.ignored == 1
    assert len(dphot.scan(f"{bucket}/tree", depth=1)) == 2
    assert len(dphot.scan(f"{bucket}/tree/deep")) == 1
    (one,) = dphot.scan([f"{bucket}/tree/{odd}"]).records()
    assert one["path"] == f"{bucket}/tree/{odd}" and one["size"] == len(frame)
    assert len(dphot.scan(Path(f"{bucket}/tree"))) == 3  # pathlib makes one slash of two
    assert list(files.statuses([f"{bucket}/tree/empty.fits", f"{bucket}/tree/none.fits"])) == [
        f"{bucket}/tree/empty.fits"
    ]


def test_a_name_that_no_folder_could_have_is_told(bucket):
    put(f"{bucket}/twice//a.fits", b"x")
    with pytest.raises(BucketError, match=r"/twice: cannot be listed: .*twice//a.fits.*empty.*rename it"):
        dphot.scan(f"{bucket}/twice")


def test_frames_are_read_as_files_are(bucket, tmp_path):
    pixels = np.random.default_rng(5).integers(0, 60000, (300, 200)).astype("u2")
    plain, behind = light(pixels), light(pixels, long_primary=True)
    packed = gzip.compress(plain), bz2.compress(behind)
    for name, data in zip(
        ("a.fits", "b.fits", "c.gz", "c.bz2", "d.fits"), (plain, behind, *packed, plain[:50000]), strict=True
    ):
        local, address = str(tmp_path / name), f"{bucket}/frames/{name}"
        Path(local).write_bytes(data)
        put(address, data)
        assert file_digest(address) == file_digest(local)
        if name == "d.fits":
            for read in (read_header, read_pixels, read_frame):
                with pytest.raises(FrameError, match="truncated: 50000 bytes"):
                    read(address)
            continue
        assert read_header(address) == read_header(local)
        for read in (read_pixels(address), read_frame(address)[0]):
            np.testing.assert_array_equal(read, pixels)
        assert read_frame(address)[1] == hashlib.sha256(data).hexdigest()


def test_any_part_of_an_object_is_that_of_the_file(bucket):
    data = np.random.default_rng(2).bytes(20 * FIRST_READ)
    put(f"{bucket}/parts", data)
    with ObjectFile(f"{bucket}/parts") as stream:
        for start, size in (
            (0, 100),
            (FIRST_READ - 5, 10),
            (7 * FIRST_READ, 1),
            (50, 3),
            (len(data) - 4, 99),
            (len(data), 9),
        ):
            assert stream.seek(start) == start
            assert stream.read(size) == data[start : start + size]
        assert stream.seek(-8, os.SEEK_END) == len(data) - 8 and stream.read() == data[-8:]
        stream.seek(0)
        assert hashlib.file_digest(stream, "sha256").hexdigest() == hashlib.sha256(data).hexdigest()


def test_what_is_not_there_is_told(bucket):
    with pytest.raises(InputError, match=f"no such folder or file: {bucket}/nothing"):
        dphot.scan(f"{bucket}/nothing/")
    with pytest.raises(
        InputError, match=r"s3://no-such-bucket/x: no such bucket.*AWS_ENDPOINT_URL=http://127"
    ):
        dphot.scan("s3://no-such-bucket/x")
    with pytest.raises(InputError, match="names no bucket"):
        dphot.scan("s3://")
    for path in (f"{bucket}/nothing/a.fits", "s3://no-such-bucket/a.fits"):
        with pytest.raises(FrameError, match=f"{path}: no such file"):
            read_frame(path)
        assert file_digest(path) == ""


@pytest.fixture
def guarded(bucket):
    """The bucket while the server looks at credentials; those of one who may list, and read nothing."""
    import boto3

    def guard(after: str) -> None:
        address = f"{os.environ['AWS_ENDPOINT_URL']}/moto-api/reset-auth"
        headers = {"Content-Type": "text/plain"}
        urllib.request.urlopen(
            urllib.request.Request(address, after.encode(), headers, method="POST")
        ).close()

    iam = boto3.client("iam")
    iam.create_user(UserName="visitor")
    may = {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [may]})
    iam.put_user_policy(UserName="visitor", PolicyName="list", PolicyDocument=policy)
    key = iam.create_access_key(UserName="visitor")["AccessKey"]
    for name in ("a.fits", "deep/b.fits"):
        put(f"{bucket}/guarded/{name}", light(np.zeros((4, 5), "i2")))
    guard("0")
    try:
        yield {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    finally:
        guard("inf")


def test_what_is_not_allowed_is_told(bucket, guarded, monkeypatch):
    with pytest.raises(BucketError, match=r"refused \(InvalidAccessKeyId: .*check AWS_ACCESS_KEY_ID"):
        dphot.scan(f"{bucket}/guarded")
    with pytest.raises(BucketError, match="refused"):
        file_digest(f"{bucket}/guarded/a.fits")
    for name, value in guarded.items():
        monkeypatch.setenv(name, value)
    table = dphot.scan([f"{bucket}/guarded/deep/", f"{bucket}/guarded/a.fits"])
    assert len(table) == len(table.errors) == 2
    assert table.errors["error"].str.contains("access denied; check AWS_ACCESS_KEY_ID").all()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(BucketError, match="SignatureDoesNotMatch"):
        dphot.scan(f"{bucket}/tree")


def test_without_credentials_or_with_those_of_a_profile(bucket, tmp_path, monkeypatch):
    put(f"{bucket}/profile/a.fits", light(np.zeros((4, 5), "i2")))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(BucketError, match="no credentials.*AWS_PROFILE"):
        dphot.scan(f"{bucket}/tree")
    keys = "aws_access_key_id = testing\naws_secret_access_key = testing\n"
    (tmp_path / "credentials").write_text(f"[observer]\n{keys}")
    monkeypatch.setenv("AWS_PROFILE", "observer")
    assert len(dphot.scan(f"{bucket}/profile").lights) == 1


def test_an_endpoint_that_is_none_and_a_library_that_is_missing(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "127.0.0.1:9000")
    with pytest.raises(BucketError, match="AWS_ENDPOINT_URL_S3=127.0.0.1:9000 is no address; write http://"):
        dphot.scan(f"{bucket}/tree")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(BucketError, match=r"pip install 'dphot\[s3\]'"):
        dphot.scan(f"{bucket}/tree")


@pytest.mark.slow
def test_answers_that_break_off_are_asked_for_again(bucket, tmp_path, monkeypatch):
    (night,) = small_nights(tmp_path, size=200, stars=5, target=0)
    upload(night, f"{bucket}/flaky")
    with flaky(os.environ["AWS_ENDPOINT_URL"]) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        table = dphot.scan(f"{bucket}/flaky")
        pd.testing.assert_frame_equal(rows(table), rows(dphot.scan(night)))
        for path in table.to_pandas()["path"]:
            assert file_digest(path) == file_digest(str(night / os.path.basename(path)))


@pytest.mark.slow
def test_an_endpoint_where_nothing_answers_is_told(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(
        BucketError, match=r"does not answer \(Connection refused\).*AWS_ENDPOINT_URL=http://127.0.0.1:9"
    ):
        dphot.scan(f"{bucket}/tree")


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
