"""Files where they are: listed, looked at and read; those of a bucket are in test_bucket.py."""

import hashlib
import os
import threading
from pathlib import Path

import pytest

from dphot.errors import InputError
from dphot.io import files


@pytest.fixture
def folder(tmp_path):
    """Files at two levels, hidden ones, a link to nothing, and one back to the top."""
    for name in (
        "b.fits",
        "a.fits",
        "notes.txt",
        ".hidden.fits",
        "deep/c.fits",
        ".git/d.fits",
        "deep/er/e.fits",
    ):
        path = tmp_path / "top" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    (tmp_path / "top" / "gone.fits").symlink_to(tmp_path / "nothing")
    (tmp_path / "top" / "deep" / "back").symlink_to(tmp_path / "top")
    return tmp_path / "top"


def walked(folder, depth=None):
    found = files.walk(str(folder), depth, lambda name: name.endswith(".fits"))
    return {os.path.relpath(path, folder): status for path, status in found}


def test_a_folder_is_walked_in_order(folder):
    found = walked(folder)
    assert list(found) == ["a.fits", "b.fits", "deep/c.fits", "deep/er/e.fits", "gone.fits", "notes.txt"]
    state = (folder / "deep/c.fits").stat()
    assert found["deep/c.fits"] == (state.st_size, state.st_mtime_ns) == (11, state.st_mtime_ns)
    assert found["gone.fits"] == (0, 0) and found["notes.txt"] is None
    assert list(walked(folder, depth=0)) == ["a.fits", "b.fits", "gone.fits", "notes.txt"]
    assert "deep/c.fits" in walked(folder, depth=1) and "deep/er/e.fits" not in walked(folder, depth=1)
    with pytest.raises(InputError, match=r"nothing: cannot be listed: No such file"):
        walked(folder / "nothing")


def test_statuses_are_of_files_that_are_there(folder):
    paths = [str(folder / name) for name in ("a.fits", "deep", "none.fits", "gone.fits")]
    assert files.statuses([*paths, "sim:x", "a\0b"]) == {
        paths[0]: (6, (folder / "a.fits").stat().st_mtime_ns)
    }
    assert files.is_folder(paths[1]) and not files.is_folder(paths[0]) and not files.is_folder(paths[2])


def test_a_file_is_read_whole_or_in_part(tmp_path):
    path, data = tmp_path / "a", os.urandom(100_000)
    path.write_bytes(data)
    assert files.read_whole(str(path)) == bytearray(data)
    assert files.sha256(str(path)) == hashlib.sha256(data).hexdigest()
    with files.open_file(str(path)) as file:
        file.seek(99_990)
        assert file.read() == data[-10:]
    (tmp_path / "empty").touch()
    assert files.read_whole(str(tmp_path / "empty")) == b"" and files.sha256(str(tmp_path / "empty")) == ""
    for read in (files.read_whole, files.sha256, files.open_file):
        with pytest.raises(FileNotFoundError):
            read(str(tmp_path / "none"))


def test_paths_and_addresses_are_made_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.absolute("a/../b") == files.absolute("~/b/") == str(tmp_path / "b")
    for text in (
        "s3://bucket/night/a.fits",
        str(Path("s3://bucket/night/a.fits")),
        "s3://bucket//night/a.fits",
    ):
        assert files.absolute(text) == "s3://bucket/night/a.fits"
    assert files.is_remote("s3://bucket") and not files.is_remote("/s3/bucket")


def test_a_place_in_a_bucket_is_told_with_its_service(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://one")
    one = files.place("s3://bucket/night")
    assert one == files.place("s3://bucket/night/")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://two")
    assert files.place("s3://bucket/night") != one
    assert files.place("/data/night/") == "/data/night"


def test_many_are_asked_for_at_once_only_of_a_bucket():
    assert files.each(lambda i: (i, threading.get_ident()), range(3), remote=False) == [
        (i, threading.get_ident()) for i in range(3)
    ]
    together = threading.Barrier(4, timeout=30)

    def wait(i):
        together.wait()
        return i

    assert files.each(wait, range(8), remote=True) == list(range(8))
