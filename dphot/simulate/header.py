"""The header a telescope would write, as plain values, and the row of the frame table that follows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .heavens import DAY_MS, UNIX_JD, local_night
from .render import Night


def frame_header(night: Night, kind: str, index: int) -> dict[str, tuple[Any, str]]:
    """Keyword to (value, comment) of one frame.

    Parameters
    ----------
    night : Night
        The prepared night.
    kind : str
        ``light``, ``bias``, ``dark`` or ``flat``.
    index : int
        Which one, from 0.
    """
    spec = night.spec
    start = _start_ms(night, kind, index)
    cards: dict[str, tuple[Any, str]] = {"TELESCOP": (spec.telescope, "telescope")}
    if spec.instrument:
        cards["INSTRUME"] = (spec.instrument, "camera")
    cards |= {
        "OBJECT": (spec.object, "name of the target"),
        "IMAGETYP": (kind, "type of frame"),
        "DATE-OBS": (str(np.datetime64(start, "ms")), "start of exposure, UTC"),
        "JD": (round(start / DAY_MS + UNIX_JD, 8), "[d] start of exposure, UTC"),
        "EXPTIME": (night.exposure(kind), "[s] exposure"),
    }
    if kind in ("light", "flat"):
        cards["FILTER"] = (spec.filters[night.filter_index(kind, index)], "filter")
    cards |= {
        "GAIN": (spec.gain, "[e-/ADU] gain"),
        "RDNOISE": (spec.read_noise, "[e-] read noise"),
        "SATURATE": (float(math.floor(spec.saturation)), "[ADU] saturation level"),
        "CCD-TEMP": (spec.temperature, "[C] sensor temperature"),
        "XBINNING": (1, "binning of columns"),
        "YBINNING": (1, "binning of rows"),
        "PIXSCALE": (spec.pixel_scale, "[arcsec/px] pixel scale"),
        "APTDIA": (spec.diameter * 1000, "[mm] aperture of the telescope"),
        "SITELAT": (spec.latitude, "[deg] latitude, north positive"),
        "SITELONG": (spec.longitude, "[deg] longitude, east positive"),
        "SITEELEV": (spec.altitude, "[m] above the sea"),
    }
    if kind == "light":
        cards |= {
            "RA": (spec.ra, "[deg] centre of the field, ICRS"),
            "DEC": (spec.dec, "[deg] centre of the field, ICRS"),
            "AIRMASS": (round(float(night.timeline.airmass[index]), 5), "at mid-exposure"),
            "PIERSIDE": ("EAST" if night.timeline.flipped[index] else "WEST", "side of pier"),
        }
        if spec.wcs:
            cards |= _wcs(night, index)
    return cards


def frame_record(night: Night, kind: str, index: int, path: str) -> dict[str, Any]:
    """Row of the frame table for one frame, as scanning its file would give it.

    Parameters
    ----------
    night : Night
        The prepared night.
    kind, index
        Which frame.
    path : str
        What the row's path says.
    """
    spec, header = night.spec, {k: v for k, (v, _) in frame_header(night, kind, index).items()}
    middle = _start_ms(night, kind, index) + header["EXPTIME"] * 500
    jd_utc = middle / DAY_MS + UNIX_JD
    return {
        "path": path, "hdu": 0, "error": "", "note": "", "type": kind,
        "telescope": spec.telescope, "camera": spec.instrument, "filter": header.get("FILTER", ""),
        "object": spec.object, "night": local_night(jd_utc, spec.longitude),
        "time": np.datetime64(round(middle * 1_000_000), "ns"), "jd_utc": jd_utc,
        "exposure": header["EXPTIME"],
        "width": spec.width, "height": spec.height, "dtype": "uint16", "xbinning": 1, "ybinning": 1,
        "gain": spec.gain, "read_noise": spec.read_noise, "temperature": spec.temperature,
        "ra": header.get("RA", math.nan), "dec": header.get("DEC", math.nan),
        "airmass": header.get("AIRMASS", math.nan), "saturation": header["SATURATE"],
        "trim": "", "overscan": "", "bayer": "", "channel": "",
        "nonlinear": math.nan, "linearity": "", "calibrated": 0, "size": 2 * spec.width * spec.height, "mtime_ns": 0,
    }  # fmt: skip


def _start_ms(night: Night, kind: str, index: int) -> int:
    starts = night.timeline.start_ms if kind == "light" else night.calibration_start[kind]
    return int(starts[index])


def _wcs(night: Night, index: int) -> dict[str, tuple[Any, str]]:
    """North up and east left in the zero-shift system, turned and shifted with the frame."""
    spec, matrix = night.spec, night.timeline.matrix[index]
    scale = spec.pixel_scale / 3600
    turn = np.diag([-scale, scale]) @ np.linalg.inv(matrix[:, :2])
    centre = matrix[:, :2] @ ((np.array([spec.width, spec.height]) - 1) / 2) + matrix[:, 2]
    return {
        "CTYPE1": ("RA---TAN", ""),
        "CTYPE2": ("DEC--TAN", ""),
        "CRVAL1": (spec.ra, "[deg]"),
        "CRVAL2": (spec.dec, "[deg]"),
        "CRPIX1": (float(centre[0] + 1), "first pixel is 1"),
        "CRPIX2": (float(centre[1] + 1), "first pixel is 1"),
        "CUNIT1": ("deg", ""),
        "CUNIT2": ("deg", ""),
        **{f"CD{i + 1}_{j + 1}": (float(turn[i, j]), "[deg/px]") for i in range(2) for j in range(2)},
        "RADESYS": ("ICRS", ""),
    }
