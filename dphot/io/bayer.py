"""Colour cameras: each channel of a Bayer mosaic is a series of its own, measured on its own pixels.

A mosaic becomes three frames of half the size, without interpolation: the red pixels (TR), the blue ones (TB), and the
green ones (TG), of which each cell of 2 x 2 has two: their sum is the pixel. The names are the AAVSO's.
Position ``(x, y)`` in a channel lies at ``(2 x + ox, 2 y + oy)`` of the mosaic: the offset of the channel's pixel in
the cell, 0 or 1, and 0.5 for green.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Record = Mapping[str, Any]

#: Channels and the letters of their pixels; green, which has most light, first.
CHANNELS = {"TG": "G", "TR": "R", "TB": "B"}
PATTERNS = ("RGGB", "BGGR", "GRBG", "GBRG")
#: Filter names of colour cameras that tell no colour.
NO_FILTER = (
    "",
    "none",
    "clear",
    "open",
    "empty",
    "ircut",
    "ir cut",
    "ir-cut",
    "uv/ir",
    "uvir",
    "uv/ir cut",
    "l",
    "lum",
)


def stored_pattern(named: str, height: int, row_order: str = "", offset: tuple[int, int] = (0, 0)) -> str:
    """The colours of the first two pixels of the first two rows, as a file stores them.

    Parameters
    ----------
    named : str
        BAYERPAT: the pattern from the top left of the image.
    height : int
        Rows of the image.
    row_order : str
        ROWORDER: ``BOTTOM-UP`` where the last row stored is the top of the image; otherwise the first is.
    offset : tuple of int
        XBAYROFF and YBAYROFF: where in the pattern the top left pixel lies.

    Returns
    -------
    str
        One of `PATTERNS`; empty where `named` is none.
    """
    name = named.strip().upper()
    if name not in PATTERNS:
        return ""
    bottom_up = row_order.strip().upper() == "BOTTOM-UP"
    rows = [(height - 1 - j if bottom_up else j) + offset[1] for j in (0, 1)]
    return "".join(name[2 * (j % 2) + (i + offset[0]) % 2] for j in rows for i in (0, 1))


def series(record: Record) -> list[dict[str, Any]]:
    """The records of a frame's channels, TG first; of a frame that is no mosaic, the record itself."""
    return [channel(record, name) for name in CHANNELS] if record["bayer"] else [dict(record)]


def channel(record: Record, name: str, bayer: str = "") -> dict[str, Any]:
    """The record of one channel of a mosaic.

    Parameters
    ----------
    record : mapping
        Row of the frame table.
    name : str
        One of `CHANNELS`.
    bayer : str
        The pattern where the record names none: that of the lights which a calibration frame serves.

    Returns
    -------
    dict
        A record of the channel's frame: its size, sections, filter (the channel; after that of the mosaic where it had
        one), and read noise: that of two greens.
    """
    whole, cells = int(record["width"]) // 2, int(record["height"]) // 2
    green = name == "TG"
    told = str(record["filter"])
    own = name if told.strip().lower() in NO_FILTER else f"{told} {name}"
    return {
        **record, "channel": name, "bayer": record["bayer"] or bayer, "filter": own if told or record["type"] == "light"
        else "", "width": whole, "height": cells * (2 if green else 1),
        "trim": _halved(record["trim"], green, inside=True),
        "overscan": _halved(record["overscan"], green, inside=False),
        "xbinning": 2 * int(record["xbinning"]), "ybinning": 2 * int(record["ybinning"]),
        "read_noise": record["read_noise"] * (math.sqrt(2.0) if green else 1.0),
    }  # fmt: skip


def own_pixels(raw: NDArray[Any], record: Record) -> NDArray[Any]:
    """The pixels of a record's channel, all cells of them; of green two rows a cell, as in the mosaic.

    Parameters
    ----------
    raw : ndarray (ny, nx)
        The frame as read.
    record : mapping
        From `channel`; any other gives the frame itself.
    """
    name = record.get("channel", "")
    if not name:
        return raw
    ny, nx = (2 * (n // 2) for n in raw.shape)
    out = np.empty((ny, nx // 2) if name == "TG" else (ny // 2, nx // 2), raw.dtype)
    places = [k for k in range(4) if record["bayer"][k] == CHANNELS[name]]
    for k in places:
        out[k // 2 if name == "TG" else 0 :: len(places)] = raw[k // 2 : ny : 2, k % 2 : nx : 2]
    return out


def merge(pixels: Any, record: Record, how: Callable[..., Any]) -> Any:
    """The two greens of each cell made one by `how`, rows along the last axis but one; other pixels as they are."""
    return how(pixels[..., ::2, :], pixels[..., 1::2, :]) if record.get("channel", "") == "TG" else pixels


def origin(record: Record) -> tuple[float, float]:
    """Place (x, y) in the mosaic of the first pixel of a channel's trimmed frame."""
    places = [k for k in range(4) if record["bayer"][k] == CHANNELS[record["channel"]]]
    x0, y0 = (int(part.split(":")[0]) for part in (record["trim"] or "0:,0:").split(","))
    y0 = y0 if record["channel"] == "TG" else 2 * y0
    return 2 * x0 + sum(k % 2 for k in places) / len(places), y0 + sum(k // 2 for k in places) / len(places)


class ChannelWCS:
    """The WCS of a mosaic, for the trimmed pixels of one of its channels."""

    def __init__(self, wcs: Any, record: Record):
        self._wcs, self._origin = wcs, origin(record)

    def pixel_to_world(self, x: Any, y: Any) -> Any:
        """Sky position of a channel's pixel."""
        return self._wcs.pixel_to_world(
            *(2 * np.asarray(v) + o for v, o in zip((x, y), self._origin, strict=True))
        )

    def world_to_pixel(self, sky: Any) -> tuple[Any, Any]:
        """Channel's pixel (x, y) of a sky position."""
        x, y = (
            (np.asarray(v) - o) / 2 for v, o in zip(self._wcs.world_to_pixel(sky), self._origin, strict=True)
        )
        return x, y


def _halved(section: str, green: bool, inside: bool) -> str:
    """A section ``x0:x1,y0:y1`` of the mosaic in a channel's pixels: its whole cells, or all that it touches."""
    if not section:
        return ""
    bounds = [[int(v) for v in part.split(":")] for part in section.split(",")]
    (x0, x1), (y0, y1) = ([-(-a // 2), b // 2] if inside else [a // 2, -(-b // 2)] for a, b in bounds)
    rows = 2 if green else 1
    return f"{x0}:{x1},{rows * y0}:{rows * y1}"
