"""Which frames a store holds: what tells a new frame from one that was measured already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr

from ..flags import FrameFlag
from ..io.listing import unpacked
from . import encodings, layout, repository

#: The columns of the photometry that identify a frame.
_COLUMNS = ("path", "digest", "pixels", "file_size", "file_time", "time", "frame_flags")


@dataclass(frozen=True)
class Holdings:
    """The frames measured at one commit, each with its filter: a file of a colour camera is a frame in several."""

    snapshot: str
    """The commit."""
    files: frozenset[tuple[str, str, int, int]] = frozenset()
    """Filter, path, size (bytes) and last change (ns) of each file that has a digest."""
    alike: frozenset[tuple[str, int, int]] = frozenset()
    """Filter, size and mid-exposure time (ns; NaT as the smallest integer) of each frame: a copy has the same."""
    digests: frozenset[tuple[str, str]] = frozenset()
    """Filter and digest of each frame that has one."""
    pixels: frozenset[str] = frozenset()
    """Mark of the pixels of each frame that was read."""
    places: frozenset[str | int] = frozenset()
    """Path and mid-exposure time (ns) of each of those, whatever filter its header told."""
    undigested: frozenset[tuple[str, str]] = frozenset()
    """Filter and path of each file that could not be read at all, or was empty."""
    exposures: frozenset[tuple[str, str, int]] = frozenset()
    """Filter, path (unpacked) and mid-exposure time (ns) of each frame whose file could be read and told a time."""


def holdings(session: Any) -> Holdings:
    """The frames that a store holds.

    Parameters
    ----------
    session : icechunk.Session
        The commit to look at.
    """
    root = repository.root_group(session)
    photometry = root.get(layout.PHOTOMETRY)
    groups: list[Any] = list(photometry.groups()) if isinstance(photometry, zarr.Group) else []
    columns: dict[str, list[Any]] = {name: [] for name in ("filter", *_COLUMNS)}
    for encoded, group in groups:
        for name in _COLUMNS:
            there = name in group  # `pixels` came later
            columns[name] += np.asarray(group[name][:]).tolist() if there else [""] * group["path"].shape[0]
        columns["filter"] += [layout.decode_name(encoded)] * group["path"].shape[0]
    filters, path, digest, pixels, size, changed, time, flags = columns.values()
    identified = list(zip(filters, path, digest, strict=True))
    return Holdings(
        session.snapshot_id,
        # one that could not be read at all may be readable now, and be the same by size and time
        files=frozenset(
            f for f, d in zip(zip(filters, path, size, changed, strict=True), digest, strict=True) if d
        ),
        alike=frozenset(zip(filters, size, time, strict=True)),
        digests=frozenset((f, d) for f, _, d in identified if d),
        pixels=frozenset(mark for mark in pixels if mark),
        places=frozenset(
            place
            for mark, *places in zip(pixels, path, time, strict=True)
            for place in places
            if mark and place != encodings.NAT
        ),
        undigested=frozenset((f, p) for f, p, d in identified if not d),
        exposures=frozenset(
            (f, unpacked(p), t)
            for f, p, t, bits in zip(filters, path, time, flags, strict=True)
            if not bits & FrameFlag.UNREADABLE and t != encodings.NAT
        ),
    )


def digests(root: zarr.Group, filter: str) -> set[str]:
    """Digests of the frames measured in a filter; none where the store does not know it."""
    array = root.get(f"{layout.photometry_group(filter)}/digest")
    return {str(d) for d in np.asarray(array[:]) if d} if isinstance(array, zarr.Array) else set()
