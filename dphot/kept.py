"""Nights planned from what a store keeps, raw frames and masters: other apertures, stars or reference need no file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from .config import Config
from .errors import InputError
from .io.choice import Choice
from .planning import NightSeries, standard
from .store import Store, links, repairs

Record = dict[str, Any]


def source_of(frames: Any) -> Store | None:
    """The store that is meant as the source of frames: a `Store`, or the path of one; None for anything else."""
    if isinstance(frames, (list, tuple)) and len(frames) == 1:
        (frames,) = frames
    if isinstance(frames, str | Path) and Store.is_one(frames):
        return Store.open(frames)
    return frames if isinstance(frames, Store) else None


def settings(source: Store) -> Config:
    """The settings that a store was reduced with, its reference named: what is not changed stays as it is."""
    return Config().patch(**{**source.attrs["config"], "reference": source.reference.attrs["path"]})


def plan(source: Store, config: Config) -> list[NightSeries]:
    """What will be measured of the frames that a store keeps, with the masters that it has.

    Parameters
    ----------
    source : Store
        The store.
    config : Config
        `filter` selects frames.

    Returns
    -------
    list of NightSeries
        In order of date, then filter; all their frames are fresh.

    Raises
    ------
    InputError
        If the store keeps no frames (of that filter).
    StoreError
        If it keeps links, and files are gone, or are other ones.
    """
    found = list(repairs.stored_frames(source.session))
    chosen = [kept for kept in found if config.filter in ("", kept.filter)]
    if not chosen:
        there = (
            f"those of the filters {', '.join(sorted({kept.filter for kept in found}))}" if found else "none"
        )
        raise InputError(
            f"{source.path}: of the frames wanted it keeps no pixels, but {there}; give the files"
        )
    if config.frames == "link":
        copied = [r for kept in chosen if not kept.linked for r in kept.records]
        digests = _digests(source)
        links.refuse_broken(source.path, [{**r, "digest": digests.get(_file(r), "")} for r in copied])
    return sorted(
        (_series(source, kept) for kept in chosen), key=lambda series: (series.night, series.filter)
    )


def _series(source: Store, kept: repairs.Kept) -> NightSeries:
    digests = _digests(source, kept.filter)
    records = kept.readable(source.path, source.session.snapshot_id)
    records = sorted(
        ({**r, "digest": digests.get(_file(r), "")} for r in records),
        key=lambda r: (pd.isna(pd.Timestamp(r["time"])), pd.Timestamp(r["time"]).value, r["path"]),
    )
    masters = source.masters[f"{kept.night}/{kept.filter}"]
    light = standard([r for r in records if not r["error"]] or records)
    lights = tuple(records)
    return NightSeries(
        kept.night, kept.filter, lights, light, choice_of(masters, kept.night), lights, masters=masters
    )


def _file(record: Record) -> tuple[str, int, int]:
    """What tells a frame's file from another of the same name."""
    return str(record["path"]), int(record["size"]), int(record["mtime_ns"])


def _digests(source: Store, *filters: str) -> dict[tuple[str, int, int], str]:
    """The digest of each file that was measured."""
    names = ("path", "file_size", "file_time", "digest")
    return {
        (str(path), int(size), int(changed)): str(digest)
        for name in filters or source.photometry
        for path, size, changed, digest in zip(
            *(source.photometry[name][k].values for k in names), strict=True
        )
    }


def choice_of(masters: xr.Dataset, night: str) -> Choice:
    """The choice of calibration frames that masters were made of, as far as it matters once they are made."""
    told = masters.attrs
    bias, dark, flat = (
        tuple({"path": path, "night": night, "type": kind} for path in told["inputs"][kind])
        for kind in ("bias", "dark", "flat")
    )
    # without an exposure nothing tells whether the dark is right for a light
    of_dark = told.get("dark", {"exposures": [], "is_pedestal": False})
    # older masters tell no temperature
    warmth = of_dark.get("temperature", np.nan)
    dark = tuple(
        {**r, "exposure": exposure, "temperature": warmth} for r in dark for exposure in of_dark["exposures"]
    )
    return Choice(
        bias, dark, flat, of_dark["is_pedestal"], missing=tuple(told["missing"]), notes=tuple(told["notes"])
    )
