"""The lazy cube: frames as an xarray dataset (time, y, x), read when they are needed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import xarray as xr

from .errors import InputError
from .graph import lazy
from .graph.assemble import instants
from .store.encodings import restore

if TYPE_CHECKING:
    from .io.frames import FrameTable

#: Columns of the frame table that a cube carries as coordinates.
COORDINATES = ("path", "filter", "exposure", "jd_utc", "night")


def cube(frames: FrameTable | xr.Dataset, chunk: int = 16) -> xr.Dataset:
    """Lights as a lazy cube; nothing is read until it is computed.

    Parameters
    ----------
    frames : FrameTable or xarray.Dataset
        A frame table whose lights are of one size (``table.select(type="light", filter="r")``); or raw frames that a
        store keeps (``store.frames["r"]["2026-11-22"]``), read from there.
    chunk : int
        Frames in one block.

    Returns
    -------
    xarray.Dataset
        `raw` (time, y, x) in the camera's own type, ADU; `record` (time), the rows of the table, which the other
        verbs read; coordinates `time`, `path`, `filter`, `exposure`, `jd_utc`, `night`.

    Raises
    ------
    InputError
        If there are no usable frames, or they differ in size or type; the sizes found are named.
    """
    if isinstance(frames, xr.Dataset):
        return _from_store(frames)
    records = [r for r in frames.records() if not r["error"] and r["type"] == "light"]
    if not records:
        raise InputError("cube: the table holds no usable light frame")
    kinds = sorted({(r["height"], r["width"], r["dtype"]) for r in records})
    if len(kinds) > 1:
        found = ", ".join(f"{w}x{h} {t}" for h, w, t in kinds)
        raise InputError(
            f"cube: frames of several kinds ({found}); select one, as table.select(width={kinds[0][1]})"
        )
    height, width, dtype = kinds[0]
    items = lazy.records_array(records, chunk)
    return _labelled(lazy.raw_cube(items, (int(height), int(width)), dtype), records)


def _from_store(frames: xr.Dataset) -> xr.Dataset:
    """A cube of the raw frames that a store keeps, those that could not be read left out."""
    records = [restore(json.loads(str(text))) for text in frames.record.values]
    whole = [i for i, r in enumerate(records) if not r["error"]]
    raw = frames.raw.isel(time=whole).data
    chosen = [records[i] for i in whole]
    return _labelled(raw, chosen)


def _labelled(raw: da.Array, records: list[dict[str, Any]]) -> xr.Dataset:
    rows = np.empty(len(records), object)
    rows[:] = records
    ds = xr.Dataset({"raw": (("time", "y", "x"), raw), "record": ("time", rows)})
    ds = ds.assign_coords({k: ("time", np.array([r[k] for r in records])) for k in COORDINATES})
    ds = ds.assign_coords(time=instants(records))
    ds["raw"].attrs.update(units="ADU", long_name="raw counts")
    return ds
