"""Frames in a bucket: they are scanned and read as those of a folder are, and what is wrong is told."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import os
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from flaky_server import flaky
from s3_server import (
    light,
    put,
    requests,
    rows,
    small_nights,
    upload,
)

import dphot
from dphot.errors import BucketError, FrameError, InputError
from dphot.io import files
from dphot.io.bucket import FIRST_READ, ObjectFile
from dphot.io.readers import file_digest, read_frame, read_header, read_pixels


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
