"""Stars named by the user: a target, or a list of positions."""

from __future__ import annotations

import csv
import re
from typing import Any

import numpy as np

from ..errors import InputError
from ..io.site import sky_degrees

#: A named pixel position stands for the star within this many FWHM.
NEAR_FWHM = 1.5


def parse_target(text: str) -> int | tuple[float, float] | str:
    """What a target's text means: a star index, pixel coordinates, or a sky position (returned as text).

    Plain numbers with a comma are pixels; a sky position is sexagesimal (``02:04:10.3,+46:41:16``) or carries degree
    signs (``31.0428d,46.6878d``).

    Raises
    ------
    InputError
        If the text is none of these.
    """
    parts = [p.strip() for p in str(text).split(",")]
    try:
        if len(parts) == 1:
            return int(parts[0])
        if len(parts) == 2:
            if any(re.search(r"[:dhms]", p) for p in parts):
                return ",".join(parts)
            return float(parts[0]), float(parts[1])
    except ValueError:
        pass
    raise InputError(
        f"target: {text!r} is neither an index, nor x,y, nor ra,dec (02:04:10.3,+46:41:16 or 31.0d,46.7d)"
    )


def sky_to_pixels(wcs: Any, ra: np.ndarray, dec: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixel positions of sky positions.

    Raises
    ------
    InputError
        If the reference has no WCS.
    """
    from astropy.coordinates import SkyCoord

    if wcs is None:
        raise InputError(
            f"{what}: the reference has no WCS, so a sky position cannot be placed; give x,y in pixels"
        )
    x, y = wcs.world_to_pixel(SkyCoord(ra, dec, unit="deg"))
    return np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))


def read_rows(path: str) -> tuple[bool, np.ndarray, np.ndarray]:
    """Whether a CSV file's columns are `x,y` (or else `ra,dec`), and their values.

    Raises
    ------
    InputError
        If the file or its columns cannot be read, or a value is not finite; its line is named.
    """
    wanted = "expected CSV with a header x,y or ra,dec (degrees)"
    try:
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file, skipinitialspace=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"stars: {path}: {error}; {wanted}") from error
    names = next((n for n in (("x", "y"), ("ra", "dec")) if rows and set(n) <= set(rows[0])), None)
    if names is None:
        raise InputError(
            f"stars: {path}: {len(rows)} rows with columns {list(rows[0]) if rows else []}; {wanted}"
        )
    values = np.empty((2, len(rows)))
    for i, row in enumerate(rows):
        try:
            values[:, i] = [float(row[n]) for n in names]
        except (TypeError, ValueError):
            values[:, i] = np.nan
        if not np.isfinite(values[:, i]).all():
            raise InputError(
                f"stars: {path}, line {i + 2}: {[row[n] for n in names]} are not two numbers; {wanted}"
            )
    return names == ("x", "y"), *values


def read_star_list(path: str, wcs: Any, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Positions from a CSV file with columns `x,y`, or `ra,dec` in degrees; star i is row i, on the frame or not.

    Raises
    ------
    InputError
        If the file or its columns cannot be read, or no position lies on the frame.
    """
    pixels, first, second = read_rows(path)
    x, y = (first, second) if pixels else sky_to_pixels(wcs, first, second, f"stars: {path}")
    inside = (x > -0.5) & (x < shape[1] - 0.5) & (y > -0.5) & (y < shape[0] - 0.5)
    if not inside.any():
        raise InputError(
            f"stars: {path}: none of {x.size} positions lies on the frame of {shape[1]}x{shape[0]} pixels"
        )
    return x, y


def add_target(
    text: str,
    x: np.ndarray,
    y: np.ndarray,
    flux: np.ndarray,
    sources: np.ndarray,
    wcs: Any,
    fwhm: float,
    shape: tuple[int, ...],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The star list with the target in it, if its position is not there yet.

    A detected star near the position is taken; otherwise the position itself is measured.

    Raises
    ------
    InputError
        If there is no such star, or the position is not on the frame or cannot be placed.
    """
    target = parse_target(text)
    if isinstance(target, int):
        if not 0 <= target < x.size:
            raise InputError(f"target: there is no star {target}; {x.size} are measured")
        return x, y, flux
    if isinstance(target, str):
        ra, dec = sky_degrees(target)
        (tx,), (ty,) = sky_to_pixels(wcs, np.array([ra]), np.array([dec]), "target")
    else:
        tx, ty = target
    if not (-0.5 <= tx <= shape[1] - 0.5 and -0.5 <= ty <= shape[0] - 0.5):
        raise InputError(
            f"target: {text} is at x {tx:.1f}, y {ty:.1f}, outside the reference of {shape[1]}x{shape[0]} pixels"
        )
    if x.size and np.hypot(x - tx, y - ty).min() <= NEAR_FWHM * fwhm:
        return x, y, flux
    distance = np.hypot(sources["x"] - tx, sources["y"] - ty)
    nearest = int(np.argmin(distance))
    if distance[nearest] <= NEAR_FWHM * fwhm:
        tx, ty, brightness = (float(sources[k][nearest]) for k in ("x", "y", "flux"))
    else:
        brightness = np.nan
    return np.append(x, tx), np.append(y, ty), np.append(flux, brightness)
