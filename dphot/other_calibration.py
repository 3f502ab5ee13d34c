"""Other calibration frames for a night of a store: flats that came late, say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import xarray as xr

from .calibration import masters as make_masters
from .config import Config
from .errors import InputError
from .io import bayer
from .io.choice import choose, dark_misfit
from .io.frames import FrameTable, scan
from .io.listing import still_there
from .planning import standard

if TYPE_CHECKING:
    from distributed import Client

Record = dict[str, Any]


def other_masters(
    before: Record, lights: Sequence[Record], given: FrameTable, config: Config, client: Client | None
) -> tuple[xr.Dataset, set[tuple[str, int]]] | None:
    """Masters of one filter of a night from frames given; a kind that is not among them stays as it was.

    Parameters
    ----------
    before : mapping
        The record of this filter of the night.
    lights : sequence of mapping
        Its lights.
    given : FrameTable
        Calibration frames; others are passed over.
    config : Config
        Its settings.
    client : distributed.Client, optional
        Where to read and combine.

    Returns
    -------
    masters : xarray.Dataset
        As `dphot.masters`.
    lacking : set of (str, int)
        Path and time of change (ns) of the lights for which some calibration is missing all the same. Instead of both
        None where no frame given is of this filter.

    Raises
    ------
    InputError
        If frames given do not serve, or files of the other kinds, of which the masters are made, too, are gone.
    """
    label = f"night {before['night'] or 'unknown'}, filter {before['filter']!r}"
    light = standard([r for r in lights if not r["error"]])
    new = [r for r in _fitting(given, light) if r["type"] != "flat" or r["filter"] in ("", light["filter"])]
    kinds = {r["type"] for r in new}
    if not kinds:
        return None
    inputs = before["calibration"]["inputs"]
    paths = [path for kind, named in inputs.items() if kind not in kinds for path in named]
    there = still_there(paths)
    gone = [path for path in paths if path not in there]
    if gone:
        raise InputError(
            f"{label}: {len(gone)} of the calibration frames that served it are gone, as {gone[0]}; give frames of "
            "that kind, too"
        )
    old = (
        _fitting(scan([*there.values()], telescope=config.telescope or None, store=False), light)
        if paths
        else []
    )
    choice = choose(light, [*new, *old], config)
    idle = sorted(kind for kind in kinds if not getattr(choice, kind))
    if idle:
        why = (
            "; ".join(choice.notes) or f"none was taken within calibration_days = {config.calibration_days:g}"
        )
        raise InputError(f"{label}: of the frames given no {' and no '.join(idle)} serves it: {why}")
    masters = make_masters(choice, light, client, lights, config)
    lacking = {
        (r["path"], r["mtime_ns"])
        for r in lights
        if masters.attrs["missing"] or (not r["error"] and dark_misfit(choice, r, config))
    }
    return masters, lacking


def _fitting(table: FrameTable, light: Record) -> list[Record]:
    """The calibration frames of a table; of a mosaic the channel that the light is."""
    frames = [r for r in table.records() if r["type"] in ("bias", "dark", "flat") and not r["error"]]
    if not light["channel"]:
        return frames
    return [bayer.channel(r, light["channel"], light["bayer"]) for r in frames]
