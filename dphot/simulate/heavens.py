"""Site, coordinates and time: airmass, night, scintillation. Independent of dphot's own time scales."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Julian date of the Unix epoch, and milliseconds a day.
UNIX_JD, DAY_MS = 2440587.5, 86_400_000


def altitude(
    jd_utc: ArrayLike, ra: float, dec: float, latitude: float, longitude: float
) -> NDArray[np.float64]:
    """True altitude of a star, deg.

    Mean sidereal time with UT1 = UTC and the precession of Lieske et al. (1977); nutation and aberration are
    left out, so it is good to about 0.01 deg.

    Parameters
    ----------
    jd_utc : array
        Julian date, UTC.
    ra, dec : float
        Right ascension and declination (ICRS), deg.
    latitude, longitude : float
        Site, deg, east positive.
    """
    days = np.asarray(jd_utc, float) - 2451545.0
    century = days / 36525
    zeta, z, tilt = (
        np.deg2rad(np.polyval(arcseconds, century) / 3600)
        for arcseconds in (
            (0.017998, 0.30188, 2306.2181, 0.0),
            (0.018203, 1.09468, 2306.2181, 0.0),
            (-0.041833, -0.42665, 2004.3109, 0.0),
        )
    )
    alpha, delta = np.deg2rad(ra) + zeta, np.deg2rad(dec)
    east = np.cos(delta) * np.sin(alpha)
    away = np.cos(tilt) * np.cos(delta) * np.cos(alpha) - np.sin(tilt) * np.sin(delta)
    north = np.sin(tilt) * np.cos(delta) * np.cos(alpha) + np.cos(tilt) * np.sin(delta)
    sidereal = np.deg2rad(280.46061837 + 360.98564736629 * days + longitude)
    hour_angle = sidereal - np.arctan2(east, away) - z
    phi = np.deg2rad(latitude)
    sine = np.sin(phi) * north + np.cos(phi) * np.hypot(east, away) * np.cos(hour_angle)
    return np.rad2deg(np.arcsin(np.clip(sine, -1, 1)))


def airmass(altitude_deg: ArrayLike) -> NDArray[np.float64]:
    """Airmass of Kasten & Young (1989) at a true altitude in deg; NaN below the horizon."""
    h = np.asarray(altitude_deg, float)
    above = np.where(h > 0, h, np.nan)
    return 1 / (np.sin(np.deg2rad(above)) + 0.50572 * (above + 6.07995) ** -1.6364)


def local_night(jd_utc: float, longitude: float) -> str:
    """The night from local noon to noon, `YYYY-MM-DD` of its evening; `longitude` in deg, east positive."""
    day = int(np.floor(jd_utc + longitude / 360))
    return str(np.datetime64(day - 2440588, "D"))


def scintillation(
    x: ArrayLike, exposure: float, diameter: float, site: float, c_y: float
) -> NDArray[np.float64]:
    """Relative scintillation noise of one exposure, Osborn et al. (2015, MNRAS 452, 1707), eq. 7.

    Parameters
    ----------
    x : array
        Airmass.
    exposure, diameter, site : float
        s, m, m above the sea.
    c_y : float
        Empirical coefficient, 1.5 for a median site; 0 turns scintillation off.
    """
    variance = 1e-5 * c_y**2 * diameter ** (-4 / 3) / exposure * np.asarray(x, float) ** 3
    return np.sqrt(variance * np.exp(-2 * site / 8000))
