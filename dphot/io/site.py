"""Where a frame was taken and where it looks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..errors import InputError
from ..telescope import get


def sky_degrees(text: str) -> tuple[float, float]:
    """Right ascension and declination in degrees of a sky position's text, as ``02:04:10.3,+46:41:16``.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    from astropy.coordinates import Angle

    ra, _, dec = text.partition(",")
    try:
        hours = ":" in ra or "h" in ra
        return float(Angle(ra, unit="hourangle" if hours else "deg").deg), float(Angle(dec, unit="deg").deg)
    except ValueError as error:
        raise InputError(f"{text!r} is no sky position: {error}") from error


#: What a frame's record says of the place it was taken from, and of where it looks.
SITE = ("latitude", "longitude", "altitude", "ra", "dec")


def site_of(
    record: Mapping[str, Any],
    telescope: str = "",
    coordinates: str = "",
    field: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Site and pointing of a frame; NaN where unknown.

    Parameters
    ----------
    record : mapping
        Row of the frame table.
    telescope : str
        Name or file of the telescope, where one is set; otherwise the record's own.
    coordinates : str
        Sky position that stands instead of the record's.
    field : mapping, optional
        What is known of the whole field, as its reference frame says it; it stands before the record's.

    Returns
    -------
    dict
        `latitude`, `longitude` (deg, east positive), `altitude` (m), `ra`, `dec` (deg), and the `diameter` (m) that the
        telescope's file tells (see `diameter_of`).
    """
    known_of_field = {k: v for k, v in (field or {}).items() if math.isfinite(v)}
    out = {k: float(known_of_field.get(k, record[k])) for k in SITE}
    if coordinates:
        out["ra"], out["dec"] = sky_degrees(coordinates)
    try:
        known = get(telescope or record["telescope"]) if telescope or record["telescope"] else None
    except InputError:
        known = None
    return {**out, "diameter": known.diameter if known else math.nan}


def diameter_of(record: Mapping[str, Any], site: Mapping[str, float]) -> float:
    """Diameter in metres of the telescope that took a frame: its file's, else the one in the frame's record, or NaN.

    Not the reference's: what a frame's errors are must not hang on which frame came first. Records of older stores
    know no diameter.
    """
    told = site["diameter"]
    return told if math.isfinite(told) else float(record.get("diameter", math.nan))
