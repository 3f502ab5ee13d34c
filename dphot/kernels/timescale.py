"""Times and airmass: UTC to barycentric TDB, altitude, the local night. Offline: no tables are downloaded.

ERFA's functions are called directly rather than through `astropy.time` and `astropy.coordinates`: they
read no global configuration, ask for no Earth-rotation tables and issue no warnings, so they are
thread-safe. UT1 is taken as UTC (they differ by less than 0.9 s), which moves the observer by less than
420 m: 1.4 microseconds of light.
"""

from __future__ import annotations

import datetime

import erfa
import numpy as np
from numpy.typing import ArrayLike, NDArray

_DAY = 86400.0
_TT_TAI = 32.184 / _DAY
_LIGHT_DAYS_PER_AU = 499.004783836 / _DAY
_LIGHT_AU_PER_DAY = 1.0 / _LIGHT_DAYS_PER_AU
_METRES_PER_AU = 149597870700.0

Floats = NDArray[np.float64]


def _split(jd: ArrayLike) -> tuple[Floats, Floats]:
    """A Julian date as day and fraction, the precision ERFA is built for; unknown dates become J2000."""
    value = np.asarray(jd, dtype=np.float64)
    value = np.where(np.isfinite(value), value, 2451545.0)
    day = np.floor(value - 0.5) + 0.5
    return day, value - day


def _direction(ra: Floats, dec: Floats) -> Floats:
    alpha, delta = np.deg2rad(ra), np.deg2rad(dec)
    return np.stack([np.cos(delta) * np.cos(alpha), np.cos(delta) * np.sin(alpha), np.sin(delta)], axis=-1)


def _tt(jd: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """UTC as given, and TT, each as day and fraction."""
    utc1, utc2 = _split(jd)
    tai1, tai2, _ = erfa.ufunc.utctai(utc1, utc2)
    return utc1, utc2, tai1, tai2 + _TT_TAI


def _celestial(terrestrial: Floats, utc1: Floats, utc2: Floats) -> Floats:
    """A vector fixed to the Earth in celestial (GCRS) axes, shape (n, 3); one precession matrix a day."""
    angle = erfa.era00(utc1, utc2)
    x, y, z = terrestrial
    cos, sin = np.cos(angle), np.sin(angle)
    turned = np.stack([cos * x - sin * y, sin * x + cos * y, np.broadcast_to(z, angle.shape)], axis=-1)
    days, index = np.unique(utc1, return_inverse=True)
    matrices = erfa.c2i00b(days, 0.5)[index.reshape(utc1.shape)]
    return np.einsum("...ji,...j->...i", matrices, turned)


def to_utc(jd: ArrayLike, scale: str) -> Floats:
    """Julian dates of another time scale in UTC.

    Parameters
    ----------
    jd : array_like, any shape
        Julian dates, days.
    scale : str
        ``utc``, ``tai``, ``tt`` or ``tdb`` (taken as TT: they differ by less than 2 ms).

    Returns
    -------
    ndarray
        Julian dates in UTC, days, NaN where the input is.

    Raises
    ------
    ValueError
        If the scale is not one of these.
    """
    value = np.asarray(jd, dtype=np.float64)
    if scale == "utc":
        return value
    if scale not in ("tai", "tt", "tdb"):
        raise ValueError(f"time scale {scale!r}: utc, tai, tt or tdb are known")
    day, fraction = _split(value)
    if scale != "tai":
        fraction = fraction - _TT_TAI
    utc1, utc2, _ = erfa.ufunc.taiutc(day, fraction)
    return np.where(np.isfinite(value), utc1 + utc2, np.nan)


def bjd_tdb(
    jd_utc: ArrayLike, ra: ArrayLike, dec: ArrayLike, lat: float, lon_east: float, alt_m: float = 0.0
) -> Floats:
    """Barycentric Julian date in TDB of light from a fixed direction.

    Parameters
    ----------
    jd_utc : array_like, shape (n,)
        Julian dates in UTC, days.
    ra, dec : float or array_like, shape (n,)
        ICRS direction, degrees.
    lat, lon_east : float
        Geodetic site coordinates, degrees, longitude east-positive. NaN: the Earth's centre is used, which
        is wrong by up to 21 ms.
    alt_m : float
        Height above the ellipsoid, metres; NaN is taken as 0.

    Returns
    -------
    ndarray, shape (n,)
        BJD_TDB, days; NaN where time or direction are unknown.

    Notes
    -----
    TDB and the Earth's position follow ERFA ``dtdb`` (Fairhead & Bretagnon 1990) and ``epv00``, the ephemeris
    built into astropy; agreement with astropy is better than 0.1 ms. The source is taken at infinity.
    """
    jd, ra, dec = np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in (jd_utc, ra, dec)))
    utc1, utc2, tt1, tt2 = _tt(jd)
    known_site = bool(np.isfinite(lat) and np.isfinite(lon_east))
    height = float(alt_m) if np.isfinite(alt_m) else 0.0
    lam, phi = (np.deg2rad(lon_east), np.deg2rad(lat)) if known_site else (0.0, 0.0)
    xyz = erfa.gd2gc(1, lam, phi, height) if known_site else np.zeros(3)
    tdb2 = (
        tt2 + erfa.dtdb(tt1, tt2, np.mod(utc2, 1.0), lam, np.hypot(xyz[0], xyz[1]) / 1e3, xyz[2] / 1e3) / _DAY
    )
    _, earth, _ = erfa.ufunc.epv00(tt1, tdb2)
    observer = earth["p"] + _celestial(xyz / _METRES_PER_AU, utc1, utc2)
    light = np.sum(observer * _direction(ra, dec), axis=-1) * _LIGHT_DAYS_PER_AU
    return np.where(np.isfinite(jd), tt1 + (tdb2 + light), np.nan)


def altitude(jd_utc: ArrayLike, ra: ArrayLike, dec: ArrayLike, lat: float, lon_east: float) -> Floats:
    """True altitude (without refraction) of a fixed direction.

    Parameters
    ----------
    jd_utc, ra, dec, lat, lon_east
        As for `bjd_tdb`.

    Returns
    -------
    ndarray, shape (n,)
        Altitude in degrees; NaN where time, direction or site are unknown.
    """
    jd, ra, dec = np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in (jd_utc, ra, dec)))
    if not (np.isfinite(lat) and np.isfinite(lon_east)):
        return np.full(jd.shape, np.nan)
    utc1, utc2, tt1, tt2 = _tt(jd)
    phi, lam = np.deg2rad(lat), np.deg2rad(lon_east)
    normal = np.array([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)])
    _, earth, _ = erfa.ufunc.epv00(tt1, tt2)
    apparent = _direction(ra, dec) + earth["v"] / _LIGHT_AU_PER_DAY  # aberration, up to 20 arcsec
    apparent = apparent / np.linalg.norm(apparent, axis=-1, keepdims=True)
    sine = np.sum(apparent * _celestial(normal, utc1, utc2), axis=-1)
    return np.where(np.isfinite(jd), np.rad2deg(np.arcsin(np.clip(sine, -1.0, 1.0))), np.nan)


def airmass(
    jd_utc: ArrayLike, ra: ArrayLike, dec: ArrayLike, lat: float, lon_east: float, alt_m: float = 0.0
) -> Floats:
    """Relative airmass of a fixed direction.

    Parameters
    ----------
    jd_utc, ra, dec, lat, lon_east, alt_m
        As for `bjd_tdb`; the height does not matter and is taken so that both are called alike.

    Returns
    -------
    ndarray, shape (n,)
        Airmass; NaN below the horizon, and where time, direction or site are unknown.

    Notes
    -----
    Young (1994, Applied Optics 33, 1108), the formula that takes the TRUE altitude.
    """
    c = np.sin(np.deg2rad(altitude(jd_utc, ra, dec, lat, lon_east)))
    c = np.where(c >= 0, c, np.nan)
    return (1.002432 * c**2 + 0.148386 * c + 0.0096467) / (
        c**3 + 0.149864 * c**2 + 0.0102963 * c + 0.000303978
    )


def local_night(jd_utc: float, lon_east: float) -> str:
    """The date of the evening: nights run from local mean noon to noon.

    Parameters
    ----------
    jd_utc : float
        Julian date in UTC, days.
    lon_east : float
        Longitude, degrees, east-positive; NaN is taken as 0.

    Returns
    -------
    str
        ``YYYY-MM-DD``, or ``''`` where the time is unknown.
    """
    if not np.isfinite(jd_utc):
        return ""
    east = float(lon_east) if np.isfinite(lon_east) else 0.0
    east = (east + 180.0) % 360.0 - 180.0  # 249.12 and -110.88 are one place
    noon = int(np.floor(float(jd_utc) + east / 360.0))
    return datetime.date.fromordinal(noon - 1721425).isoformat()
