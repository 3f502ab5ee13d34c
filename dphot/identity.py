"""Is it the same frame? By file, by content, by time: copies, frames that a store holds, clocks that went wrong."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from .errors import FrameError
from .graph.assemble import instants
from .io.listing import unpacked
from .io.readers import file_digest, pixel_mark, read_record
from .store import Holdings

Record = Mapping[str, Any]

#: Files that one task looks at.
_BATCH = 16
#: A sequence of files is in order of time where no more than this share of its steps goes back.
_STRAY_STEPS = 0.1


def unheld(records: Sequence[dict[str, Any]], held: Holdings) -> list[dict[str, Any]]:
    """The frames that a store does not hold.

    A file whose path, size and time of change the store knows is not read. Of the others only those are that have a
    mid-exposure time, or a path, that the store holds: a frame that was renamed or copied has its digest; one whose
    header was edited, be it the filter, or that is in another file, as one compressed or written by a plate solver, has
    its pixels. A file that was measured and is cut now is that exposure, too; one of which nothing is left is known by
    its path.

    Parameters
    ----------
    records : sequence of mapping
        Rows of the frame table.
    held : Holdings
        What the store holds.
    """
    measured = {path for _, path, _ in held.exposures}
    new = [
        (r, time)
        for r, time in zip(records, _nanoseconds(records), strict=True)
        if (r["filter"], r["path"], int(r["size"]), int(r["mtime_ns"])) not in held.files
        and not (_tells_nothing(r) and unpacked(r["path"]) in measured)
    ]
    alike = [r for r, time in new if (r["filter"], int(r["size"]), time) in held.alike]
    digests = _of_files(_digest, alike)

    def known(record: Record) -> bool:
        digest = digests.get(_key(record))
        lost = digest == "" and (record["filter"], record["path"]) in held.undigested
        return lost or (record["filter"], digest) in held.digests

    left, doubtful = [], []
    for record, time in new:
        same = (record["filter"], unpacked(record["path"]), time) in held.exposures
        marked = record["path"] in held.places or time in held.places
        if known(record) or (same and (record["error"] or not marked)):
            continue
        left.append(record)
        if marked and not record["error"]:
            doubtful.append(record)
    marks = _of_files(_mark, doubtful)
    return [r for r in left if marks.get(_key(r)) not in held.pixels]


def written_since(records: Sequence[Record], fresh: Collection[str], held: Holdings) -> list[str]:
    """Paths of files that were measured and have been written to since, whether or not that changed them.

    Parameters
    ----------
    records, held
        As for `unheld`.
    fresh : collection of str
        Paths of files that hold a new frame now.
    """
    measured = {path for _, path, _ in held.exposures}
    as_it_was = {(path, size, changed) for _, path, size, changed in held.files}
    return [
        str(r["path"])
        for r in records
        if unpacked(r["path"]) in measured
        and r["path"] not in fresh
        and (r["path"], int(r["size"]), int(r["mtime_ns"])) not in as_it_was
    ]


def _tells_nothing(record: Record) -> bool:
    return bool(record["error"]) and bool(pd.isna(record["time"]))


def copies_among(records: Sequence[Record]) -> dict[str, str]:
    """Path of each copy, and of the frame it copies: of one instant, exposure and shape, those of the same pixels."""
    alike: dict[tuple[str, ...], list[Record]] = {}
    # A copy has the longer name, as a rule.
    whole = {str(r["path"]): r for r in sorted(records, key=lambda r: (len(str(r["path"])), str(r["path"])))}
    for record in whole.values():
        key = tuple(str(record[k]) for k in ("time", "exposure", "width", "height"))
        alike.setdefault(key, []).append(record)
    twins = [group for group in alike.values() if len(group) > 1]
    marks = _of_files(_mark, [record for group in twins for record in group])
    copies = {}
    for group in twins:
        first: dict[str, str] = {}
        for record in group:
            path = str(record["path"])
            kept = first.setdefault(marks[_key(record)] or path, path)
            if kept != path:
                copies[path] = kept
    return copies


def odd_times(records: Sequence[Record]) -> dict[str, str]:
    """What is odd with the times of frames, by path: shared by two frames of a filter, or out of sequence.

    Files that are numbered are in order of time, as a rule; where nearly all of a folder's are, one whose time lies
    before that of the file before it tells of a clock that jumped.
    """
    notes: dict[str, list[str]] = {}
    same: dict[tuple[str, int], list[str]] = {}
    rows: dict[tuple[str, str, str], list[tuple[list[int], int, str]]] = {}
    for record, time in zip(records, instants(records), strict=True):
        if not np.isnat(time):
            path, ns = str(record["path"]), int(time.astype(np.int64))
            folder, name = os.path.split(path)
            same.setdefault((record["filter"], ns), []).append(path)
            numbers = [int(digits) for digits in re.findall(r"\d+", name)]
            kind = record["filter"], folder, re.sub(r"\d+", "#", name)
            rows.setdefault(kind, []).append((numbers, ns, path))
    for paths in same.values():
        for path in paths if len(paths) > 1 else []:
            other = next(os.path.basename(p) for p in sorted(paths) if p != path)
            notes.setdefault(path, []).append(f"the same mid-exposure time as {other}")
    for row in rows.values():
        row.sort()
        back = [(a, b) for a, b in pairwise(row) if b[1] < a[1]]
        if len(back) <= max(1, _STRAY_STEPS * len(row)) and len(row) > 2:
            for (_, before, name), (_, ns, path) in back:
                jump = f"the clock went back by {(before - ns) / 1e9:.0f} s after {os.path.basename(name)}"
                notes.setdefault(path, []).append(jump)
    return {path: " | ".join(dict.fromkeys(parts)) for path, parts in notes.items()}


def _nanoseconds(records: Sequence[Record]) -> list[int]:
    return [int(ns) for ns in instants(records).astype(np.int64)]


def _key(record: Record) -> tuple[str, str]:
    return str(record["filter"]), str(record["path"])


def _digest(record: Record) -> str:
    return file_digest(str(record["path"]))


def _mark(record: Record) -> str:
    """The mark of a frame's pixels; of a file that cannot be read its digest."""
    try:
        return pixel_mark(read_record(record)[0])
    except FrameError:
        return _digest(record)


def _of_files(look: Callable[[Record], str], records: Sequence[Record]) -> dict[tuple[str, str], str]:
    """What a look at each file tells, through Dask: on the cluster where a client is connected, else in threads."""
    batches = [records[i : i + _BATCH] for i in range(0, len(records), _BATCH)]
    if len(batches) < 2:
        return _look_at(look, records)
    import dask

    parts = dask.compute(*(dask.delayed(partial(_look_at, look, batch))() for batch in batches))
    return {key: found for part in parts for key, found in part.items()}


def _look_at(look: Callable[[Record], str], records: Sequence[Record]) -> dict[tuple[str, str], str]:
    return {_key(record): look(record) for record in records}
