"""Where raw frames are: files in folders, or objects of a bucket (``s3://bucket/key``); all access to them is here."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, TypeVar, cast

from ..errors import InputError
from . import bucket

T = TypeVar("T")
R = TypeVar("R")

#: Size in bytes, and time of the last change in ns.
Status = tuple[int, int]

#: Requests to a bucket at once: nearly all of their time is waiting.
_AT_ONCE = 16


def is_remote(path: str) -> bool:
    """Whether a path names an object of a bucket, or all of a prefix."""
    return path.startswith(bucket.SCHEME)


def absolute(path: str) -> str:
    """The whole path of a file or folder, or the address of an object or a prefix."""
    if re.match("s3:/", path):
        return bucket.SCHEME + re.sub("/+", "/", path[3:])[1:]  # of two slashes pathlib leaves one
    return os.path.abspath(os.path.expanduser(path))


def place(path: str) -> str:
    """The whole path; of an address with the service it is asked of, since several may have buckets of one name."""
    path = absolute(path)
    return f"{bucket.endpoint() or ''} {path.rstrip('/')}" if is_remote(path) else path


def is_folder(path: str) -> bool:
    """Whether a path is a folder, or anything lies under an address.

    Raises
    ------
    InputError
        If there is no such bucket.
    BucketError
        If it cannot be listed.
    """
    if is_remote(path):
        return next(bucket.objects(path), None) is not None
    return os.path.isdir(path)


def statuses(paths: Collection[str]) -> dict[str, Status]:
    """Size and time of change of those of the paths that are files; an object that may not be looked at has neither.

    Raises
    ------
    BucketError
        If a bucket cannot be used at all.
    """
    found = each(_status, list(paths), any(is_remote(path) for path in paths))
    return {path: status for path, status in zip(paths, found, strict=True) if status is not None}


def changed_since(path: str, status: Status) -> Status | None:
    """What a file is now, where that is not what it was; objects of a bucket are written at once."""
    now = None if is_remote(path) else _status(path)
    return None if now is None or now == status else now


def walk(folder: str, depth: int | None, wanted: Callable[[str], Any]) -> Iterator[tuple[str, Status | None]]:
    """Every file of a folder with its status, or None where its name is not wanted.

    Parameters
    ----------
    folder : str
        Folder, or address of a prefix.
    depth : int, optional
        Levels of folders below; 0: only the folder itself; None: all.
    wanted : callable
        Told the name of a file.

    Raises
    ------
    InputError
        If the folder cannot be listed.
    BucketError
        If the bucket cannot be listed.
    """
    if is_remote(folder):
        yield from _walk_objects(folder, depth, wanted)
    else:
        yield from _walk_files(folder, depth, wanted, set())


def open_file(path: str) -> BinaryIO:
    """A file or object, open for reading; of an object only those parts are fetched that are read.

    Raises
    ------
    OSError
        If it is not there, or may not be read.
    BucketError
        If the bucket cannot be used at all.
    """
    return cast(BinaryIO, bucket.ObjectFile(path)) if is_remote(path) else open(path, "rb")


def read_whole(path: str) -> bytearray:
    """All bytes of a file or object, writable, read once.

    Raises
    ------
    OSError, BucketError
        As `open_file`.
    """
    if is_remote(path):
        return bytearray(bucket.read(path)[0])
    with open(path, "rb") as file:
        buffer = bytearray(os.fstat(file.fileno()).st_size)
        del buffer[file.readinto(buffer) :]
    return buffer


def sha256(path: str) -> str:
    """SHA-256 of a file or object, hexadecimal; empty where it has no bytes.

    Raises
    ------
    OSError, BucketError
        As `open_file`.
    """
    if is_remote(path):
        data = bucket.read(path)[0]
        return hashlib.sha256(data).hexdigest() if len(data) else ""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if os.fstat(file.fileno()).st_size else ""


def each(function: Callable[[T], R], items: Sequence[T], remote: bool) -> list[R]:
    """A function's results for all items, in order; with `remote` of many at once."""
    if not remote or len(items) < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(min(_AT_ONCE, len(items))) as pool:
        return list(pool.map(function, items))


def _status(path: str) -> Status | None:
    try:
        if is_remote(path):
            key = path[len(bucket.SCHEME) :].partition("/")[2]
            return bucket.status(path) if key and not key.endswith("/") else None
        found = os.stat(path)
    except PermissionError:
        return (0, 0) if is_remote(path) else None
    except (OSError, ValueError):
        return None
    return None if stat.S_ISDIR(found.st_mode) else (found.st_size, found.st_mtime_ns)


def _walk_files(
    folder: str, depth: int | None, wanted: Callable[[str], Any], visited: set[str]
) -> Iterator[tuple[str, Status | None]]:
    real = os.path.realpath(folder)
    if real in visited:  # a link back to a folder above
        return
    visited.add(real)
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed: {error.strerror or error}") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if _leads_to_folder(entry):
            if depth is None or depth > 0:
                yield from _walk_files(entry.path, None if depth is None else depth - 1, wanted, visited)
        elif wanted(entry.name):
            try:
                status = entry.stat()
                yield entry.path, (status.st_size, status.st_mtime_ns)
            except OSError:  # a dangling link: it gets its row and its error
                yield entry.path, (0, 0)
        else:
            yield entry.path, None


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _walk_objects(
    folder: str, depth: int | None, wanted: Callable[[str], Any]
) -> Iterator[tuple[str, Status | None]]:
    start = len(folder.rstrip("/")) + 1
    for address, size, changed in bucket.objects(folder):
        *folders, name = address[start:].split("/")
        hidden = any(part.startswith(".") for part in (*folders, name))
        if hidden or (depth is not None and len(folders) > depth):
            continue
        if wanted(name):
            yield address, (size, changed)
        elif size:  # an empty object stands for a folder
            yield address, None
