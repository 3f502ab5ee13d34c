"""Raw frames that a store does not copy: it names their files, and each is checked when it is read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from ..errors import FrameError, StoreError
from ..io.files import statuses
from ..io.readers import read_record
from . import encodings

#: Attributes of raw frames, copied or linked.
RAW_ATTRS = {"units": "ADU", "long_name": "raw frame as the camera gave it"}
#: Attribute of a group of raw frames whose files are linked: height, width and type of a frame.
LINKED = "linked"
#: What to do about a link that leads nowhere.
CURE = "put the file back, or follow it: dphot check {store} --repair --moved-to FOLDER"


def kind(attrs: Mapping[str, Any]) -> tuple[tuple[int, int], np.dtype]:
    """Size (ny, nx) and type of the linked frames of a group."""
    height, width, dtype = attrs[LINKED]
    return (int(height), int(width)), np.dtype(dtype)


def with_raw(ds: xr.Dataset, rows: int, name: str) -> xr.Dataset:
    """A group of linked frames with its `raw` (time, y, x), each read from its file when it is needed.

    Parameters
    ----------
    ds : xarray.Dataset
        The group as it is stored.
    rows : int
        Frames to a Dask chunk.
    name : str
        Of the Dask array: the same for the same frames only.
    """
    import dask.array as da  # takes half a second to load, and most of what is done with a store needs none

    frames = LinkedFrames([str(text) for text in ds["record"].values], *kind(ds.attrs))
    raw = da.from_array(frames, chunks=(rows, *frames.shape[1:]), name=name, asarray=False)
    return ds.assign(raw=(("time", "y", "x"), raw, RAW_ATTRS))


class LinkedFrames:
    """Linked frames as an array (time, y, x); those whose file could not be read when they were measured are 0 or NaN.

    Parameters
    ----------
    records : sequence of str
        Frame records as the store keeps them, with the `digest` of each.
    shape : (int, int)
        Size of a frame.
    dtype : numpy dtype
        Its type.
    """

    def __init__(self, records: Sequence[str], shape: tuple[int, int], dtype: np.dtype):
        self._records = list(records)
        self.shape = (len(self._records), *shape)
        self.dtype = dtype
        self.ndim = 3

    def __getitem__(self, key: tuple[Any, ...]) -> np.ndarray:
        rows = np.arange(self.shape[0])[key[0]]
        frames = [self._frame(row)[tuple(key[1:])] for row in np.atleast_1d(rows)]
        return np.stack(frames) if rows.ndim else frames[0]

    def _frame(self, row: int) -> np.ndarray:
        record = encodings.restore(json.loads(self._records[row]))
        if record["error"]:
            return np.full(self.shape[1:], encodings.fill_value(self.dtype), self.dtype)
        return read_record(record)[0]


def refuse_broken(store: str, records: Sequence[Mapping[str, Any]]) -> None:
    """Refuse to go on where files of linked frames are gone, or are other ones; those that changed are read.

    Raises
    ------
    StoreError
        With their number, and the first of them.
    """
    states = statuses([str(r["path"]) for r in records if not r["error"]])
    doubtful = [r for r in records if not r["error"] and states.get(r["path"]) != (r["size"], r["mtime_ns"])]
    broken = [f"{r['path']}: {why}" for r in doubtful if (why := _broken(r))]
    if broken:
        cure = CURE.format(store=store)
        raise StoreError(
            f"{store}: of {len(records)} frames that are links {len(broken)} lead nowhere ({broken[0]}); {cure}"
        )


def _broken(record: Mapping[str, Any]) -> str:
    """What is wrong with the file of a linked frame; nothing where it is the one that was measured."""
    try:
        read_record(record)
    except FrameError as error:
        return error.problem
    return ""
