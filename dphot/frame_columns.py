"""What a store keeps beside each raw frame: enough to measure it again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .graph.assemble import instants
from .store.encodings import plain

Record = dict[str, Any]


def frame_columns(lights: Sequence[Record], kept: Sequence[bool], linked: bool = False) -> dict[str, Any]:
    """The columns of some raw frames (see `dphot.store.Transaction.reserve_frames`).

    Parameters
    ----------
    lights : sequence of dict
        Records of the frames.
    kept : sequence of bool
        Whether the pixels of each are there.
    linked : bool
        Whether they stay in their files.

    Returns
    -------
    dict
        `time`, `path`, `record` (JSON) and `kept`.
    """
    # Where another store keeps the pixels is no matter of this one; with a digest the file would be meant.
    passing = {"kept"} if linked else {"kept", "digest"}
    records = [{k: v for k, v in r.items() if k not in passing} | {"time": str(r["time"])} for r in lights]
    text = np.array([json.dumps(plain(r), sort_keys=True) for r in records], object)
    return {
        "time": instants(lights),
        "path": np.array([r["path"] for r in lights], object),
        "record": text,
        "kept": np.array(kept, np.uint8),
    }


def linked_record(record: Record, row: Mapping[str, Any]) -> Record:
    """The record of a frame that stays in its file: with its digest, or with what is wrong with it."""
    if not row.get("kept"):
        return {**record, "error": record["error"] or row["note"]}
    return {**record, "digest": row["digest"]}
