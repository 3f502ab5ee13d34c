"""Frame records of many files, read in batches."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from ..errors import BucketError, FrameError
from ..telescope import NAMED_BY, Telescope
from .cards import Header
from .files import changed_since, each, is_remote
from .headers import empty_record, frame_record
from .readers import read_header

_BATCH = 256
#: How often a file is read that changes meanwhile.
_TRIES = 3


def read_batch(
    files: Sequence[tuple[str, int, int]], telescope: Telescope | None, telescopes: Sequence[Telescope]
) -> list[dict[str, Any]]:
    """Records of some files; runs on a worker.

    Parameters
    ----------
    files : sequence of (path, size, mtime_ns)
        The files, as they were listed; the record of one that was written to since tells what it was when it was read.
    telescope : Telescope, optional
        Of all of them; None: each header's own.
    telescopes : sequence of Telescope
        Those a header's names are compared with.
    """
    found: dict[tuple[str, ...], Telescope] = {}

    def record(file: tuple[str, int, int]) -> dict[str, Any]:
        path, *status = file
        for _ in range(_TRIES):
            found = read(path, *status)
            if (now := changed_since(path, (found["size"], found["mtime_ns"]))) is None:
                return found
            status = [*now]
        return found | {"error": found["error"] or "changed while it was read; take it when it is whole"}

    def read(path: str, size: int, mtime_ns: int) -> dict[str, Any]:
        try:
            header, problem = _header(path, telescope.hdu if telescope is not None else None)
            used = telescope
            if used is None:
                names = tuple(str(header.get(key, "")) for key in NAMED_BY)
                used = found.setdefault(names, found.get(names) or Telescope.find(header, telescopes))
                if used.hdu >= 0:
                    header, problem = _header(path, used.hdu)
            return {**frame_record(header, path, used, size=size, mtime_ns=mtime_ns), "error": problem}
        except BucketError:
            raise
        except FrameError as error:
            problem = error.problem
        except Exception as error:  # one odd header must not stop a scan of thousands
            problem = f"header not understood: {type(error).__name__}: {error}"
        return empty_record(path, error=problem, size=size, mtime_ns=mtime_ns)

    return each(record, files, remote=any(is_remote(path) for path, *_ in files))


def _header(path: str, hdu: int | None) -> tuple[Header, str]:
    """The header of a file, and what is wrong with the file: one that is cut still tells what it was to be."""
    try:
        return read_header(path, hdu), ""
    except FrameError as error:
        if error.header is None:
            raise
        return error.header, error.problem


def read_all(
    files: Sequence[tuple[str, int, int]], telescope: Telescope | None, telescopes: Sequence[Telescope]
) -> list[dict[str, Any]]:
    """Records of any number of files: on the cluster where a client is connected, else in threads.

    Parameters
    ----------
    files, telescope, telescopes
        As for `read_batch`.
    """
    batches = [files[i : i + _BATCH] for i in range(0, len(files), _BATCH)]
    if len(batches) < 2:
        return read_batch(files, telescope, telescopes)
    import dask

    # bound arguments: Dask looks into others for what is lazy, file by file
    reads = (partial(read_batch, batch, telescope, telescopes) for batch in batches)
    parts = dask.compute(*(dask.delayed(read)() for read in reads))
    return [record for part in parts for record in part]
