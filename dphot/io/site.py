"""Where a frame was taken and where it looks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..errors import InputError
from ..telescope import get


def site_of(record: Mapping[str, Any], telescope: str = "") -> dict[str, float]:
    """Site and pointing of a frame; NaN where unknown.

    Parameters
    ----------
    record : mapping
        Row of the frame table.
    telescope : str
        Name or file of the telescope, where one is set; otherwise the record's own.

    Returns
    -------
    dict
        `latitude`, `longitude` (deg, east positive), `altitude`, `diameter` (m), `ra`, `dec` (deg).
    """
    out = {k: float(record[k]) for k in ("latitude", "longitude", "altitude", "ra", "dec")}
    try:
        known = get(telescope or record["telescope"]) if telescope or record["telescope"] else None
    except InputError:
        known = None
    return {**out, "diameter": known.diameter if known else math.nan}
