"""Is it the same frame? By file, by content, by time: copies, frames that a store holds, clocks that went wrong."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from .graph.assemble import instants
from .io.listing import unpacked
from .io.readers import file_digest
from .store import Holdings

Record = Mapping[str, Any]

#: Files whose digests one task makes.
_BATCH = 16
#: A sequence of files is in order of time where no more than this share of its steps goes back.
_STRAY_STEPS = 0.1


def unheld(records: Sequence[dict[str, Any]], held: Holdings) -> list[dict[str, Any]]:
    """The frames that a store does not hold.

    A file whose path, size and time of change the store knows is not read, nor is one whose path and mid-exposure time
    are those of a frame that was measured: it is that exposure, though its header was edited, or the file cut or
    compressed, since. One that tells no time any more, since nothing is left of it, is known by its path.
    Of the others only those of a size and mid-exposure time that the store holds are read for their digest: a frame
    that was renamed or copied is the same.

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
        and (r["filter"], unpacked(r["path"]), time) not in held.exposures
        and not (_tells_nothing(r) and unpacked(r["path"]) in measured)
    ]
    alike = {str(r["path"]) for r, time in new if (r["filter"], int(r["size"]), time) in held.alike}
    digests = _digests(sorted(alike))

    def known(record: Record) -> bool:
        digest = digests.get(record["path"])
        lost = digest == "" and (record["filter"], record["path"]) in held.undigested
        return lost or (record["filter"], digest) in held.digests

    return [r for r, _ in new if not known(r)]


def written_since(records: Sequence[Record], held: Holdings) -> list[str]:
    """Paths of files that were measured and have been written to since, whether or not that changed them.

    Parameters
    ----------
    records, held
        As for `unheld`.
    """
    measured = {(path, time) for _, path, time in held.exposures}
    paths = {path for path, _ in measured}
    as_it_was = {(path, size, changed) for _, path, size, changed in held.files}
    return [
        str(r["path"])
        for r, time in zip(records, _nanoseconds(records), strict=True)
        if ((unpacked(r["path"]), time) in measured or (_tells_nothing(r) and unpacked(r["path"]) in paths))
        and (r["path"], int(r["size"]), int(r["mtime_ns"])) not in as_it_was
    ]


def _tells_nothing(record: Record) -> bool:
    return bool(record["error"]) and bool(pd.isna(record["time"]))


def copies_among(records: Sequence[Record]) -> dict[str, str]:
    """Path of each copy, and of the frame it copies.

    Of one size, instant and exposure those are copies that have the same bytes; of one name and instant that which is
    compressed.
    """
    # A copy has the longer name, as a rule.
    whole = {str(r["path"]): r for r in sorted(records, key=lambda r: (len(str(r["path"])), str(r["path"])))}
    copies: dict[str, str] = {}
    plain: dict[tuple[str, str], str] = {}
    alike: dict[tuple[str, ...], list[str]] = {}
    for path, record in whole.items():
        if not record["error"] and not pd.isna(record["time"]):
            kept = plain.setdefault((unpacked(path), str(record["time"])), path)
            if kept != path:
                copies[path] = kept
                continue
        alike.setdefault(tuple(str(record[k]) for k in ("size", "time", "exposure")), []).append(path)
    twins = [paths for paths in alike.values() if len(paths) > 1]
    digests = _digests([path for paths in twins for path in paths])
    for paths in twins:
        first: dict[str, str] = {}
        for path in paths:
            kept = first.setdefault(digests[path] or path, path)
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


def _digests(paths: Sequence[str]) -> dict[str, str]:
    """Digest of each file, made through Dask: on the cluster where a client is connected, else in threads."""
    batches = [paths[i : i + _BATCH] for i in range(0, len(paths), _BATCH)]
    if len(batches) < 2:
        return {path: file_digest(path) for path in paths}
    import dask

    parts = dask.compute(*(dask.delayed(partial(_digest_batch, batch))() for batch in batches))
    return {path: digest for part in parts for path, digest in part.items()}


def _digest_batch(paths: Sequence[str]) -> dict[str, str]:
    return {path: file_digest(path) for path in paths}
