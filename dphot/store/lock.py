"""One writer at a time: an exclusive lock on a local store.

Icechunk 1 on a local file system loses commits when several processes commit at once. `flock` belongs to the
open file, so the kernel frees it when its process dies, however it dies.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import StoreError

#: The lock's file, inside the store's folder.
NAME = "dphot.lock"


@contextmanager
def exclusive(folder: Path, wait: float) -> Iterator[None]:
    """Hold the lock of a store's folder.

    Parameters
    ----------
    folder : pathlib.Path
        The store's folder.
    wait : float
        How long to wait for another holder, s.

    Raises
    ------
    StoreError
        Naming the holder when it does not let go in time, or if the folder cannot be written.
    """
    handle = _opened(folder)
    try:
        _acquire(handle, folder, wait)
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        record = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
        with suppress(OSError):  # only for the message: a full disk is told where it matters
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps(record).encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(handle, 0)
    finally:
        os.close(handle)  # closing frees the lock; the file stays, or two waiters could lock two files


def check_writable(folder: Path) -> None:
    """Refuse a store's folder that cannot be written, as `exclusive` does; whoever holds the lock is not waited for."""
    os.close(_opened(folder))


def _opened(folder: Path) -> int:
    """The lock's file, open for writing."""
    try:
        # mode 0666 under the umask: a colleague's process must be able to take the lock too
        return os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written: {error.strerror}; check its permissions") from error


def _acquire(handle: int, folder: Path, wait: float) -> None:
    deadline = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise StoreError(
                    f"{folder}: {_holder(handle)} is writing to it; waited {wait:g} s. "
                    "Try again when it is done"
                ) from None
            time.sleep(0.05)


def _holder(handle: int) -> str:
    try:
        record = json.loads(os.pread(handle, 4096, 0))
        return f"process {record['pid']} on {record['host']} (since {record['since']})"
    except (ValueError, KeyError):
        return "another process"
