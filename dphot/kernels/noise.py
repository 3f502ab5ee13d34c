"""The noise model of aperture photometry, in electrons, and scintillation."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Variance of a sky level in units of s^2 / n: 1 for the clipped mean of `kernels.aperture.annulus_sky`;
#: a median would have pi / 2.
SKY_VARIANCE = 1.0


def noise_area(radius: ArrayLike) -> NDArray[np.float64]:
    """Pixels whose noise an exact circular aperture adds up: the sum of the squared overlaps.

    A pixel that the circle cuts contributes the square of its share to the variance. On average over
    positions within a pixel this gives pi r^2 - 1.04 r (simulated; good to 0.2 % for r >= 1 px, 6 % below),
    11 % less than the area at r = 3 px.

    Parameters
    ----------
    radius : array_like
        Radii in px.

    Returns
    -------
    ndarray of float64
        Area in px^2 to give to `flux_variance`, same shape.
    """
    r = np.asarray(radius, dtype=np.float64)
    area = math.pi * np.square(r)
    return np.maximum(area - 1.04 * r, np.square(area) * np.maximum(1.0 - 1.05 * r, 0.0))


def flux_variance(
    flux: ArrayLike,
    area: ArrayLike,
    sky_rms: ArrayLike,
    n_sky: ArrayLike,
    *,
    noise_area: ArrayLike | None = None,
    masters: ArrayLike = 0.0,
    gain: ArrayLike = 0.0,
    sky_variance: float = SKY_VARIANCE,
) -> NDArray[np.float64]:
    """Variance of a sky-subtracted aperture flux.

    F + A s^2 + k A^2 s^2 / n + masters + A gain^2 / 12: shot noise of the star; all that scatters a pixel of
    empty sky (sky, dark current, read noise: all of it is in the measured s, so read noise is not added
    again); the error of the sky level, which all pixels of the aperture share; what the masters add. A
    negative flux has no shot noise. All inputs broadcast against each other.

    Parameters
    ----------
    flux : array_like
        Sky-subtracted flux in e-.
    area : array_like
        Area of the aperture in px^2.
    sky_rms : array_like
        Standard deviation s of one sky pixel in e-.
    n_sky : array_like
        Number n of annulus pixels used.
    noise_area : array_like, optional
        Replaces A in the terms A s^2 and A gain^2 / 12; by default `area`, which is too much for small
        apertures: see the function `noise_area`.
    masters : array_like, optional
        Variance in e-^2 that the masters put into this flux and that is the same in all frames.
    gain : array_like, optional
        e-/ADU, only where `sky_rms` does NOT come from digitised pixels: adds the digitisation noise
        gain^2 / 12 of each pixel. A measured rms already holds it.
    sky_variance : float, optional
        k, the variance of the sky level in units of s^2 / n.

    Returns
    -------
    ndarray of float64
        Variance in e-^2; NaN where an input is NaN or n is 0.
    """
    flux, area, sky_rms, n_sky = (np.asarray(v, dtype=np.float64) for v in (flux, area, sky_rms, n_sky))
    per_pixel = np.square(sky_rms)
    pixels = np.where(n_sky > 0, n_sky, np.nan)
    digitisation = np.square(np.asarray(gain, dtype=np.float64)) / 12.0
    noisy = area if noise_area is None else np.asarray(noise_area, dtype=np.float64)
    return (
        np.maximum(flux, 0.0)
        + noisy * (per_pixel + digitisation)
        + sky_variance * np.square(area) * per_pixel / pixels
        + np.asarray(masters, dtype=np.float64)
    )


def scintillation(
    airmass: ArrayLike, exposure: ArrayLike, diameter_m: ArrayLike, altitude_m: ArrayLike
) -> NDArray[np.float64]:
    """Relative scintillation noise of a long exposure.

    sigma^2 = 10e-6 C_Y^2 D^(-4/3) t^-1 X^3 exp(-2 h / H) with C_Y = 1.5, the median of the sites measured,
    and H = 8000 m: equation 7 of Osborn et al. 2015, MNRAS 452, 1707.

    Parameters
    ----------
    airmass : array_like
        Airmass X.
    exposure : array_like
        Exposure time t in s.
    diameter_m : array_like
        Diameter D of the telescope in m.
    altitude_m : array_like
        Altitude h of the observatory in m.

    Returns
    -------
    ndarray of float64
        Standard deviation relative to the flux; NaN where an input is NaN or not positive (altitude may be).
    """
    airmass, exposure, diameter, altitude = (
        np.asarray(v, dtype=np.float64) for v in (airmass, exposure, diameter_m, altitude_m)
    )
    positive = (airmass > 0) & (exposure > 0) & (diameter > 0)
    airmass, exposure, diameter = (np.where(positive, v, np.nan) for v in (airmass, exposure, diameter))
    variance = 10e-6 * 1.5**2 * diameter ** (-4 / 3) / exposure * airmass**3 * np.exp(-2 * altitude / 8000.0)
    return np.sqrt(variance)


def gain_from_scatter(
    flux: ArrayLike, flux_err: ArrayLike, scintillation: ArrayLike, scatter: ArrayLike, least: int = 5
) -> float:
    """Gain of a camera from the scatter of its stars, where nothing else tells it.

    A star's variance in ADU^2 is F / g + r + (s F)^2, with r all that does not come from its own photons. Each star
    whose photons dominate gives 1 / g; the median over them is taken. Whatever else makes stars scatter (flat
    field, guiding) lowers the result: it is an effective gain.

    Parameters
    ----------
    flux, flux_err : array_like, shape (nt, ns)
        Fluxes in ADU, and their standard deviations as `flux_variance` gives them for a gain of 1 e-/ADU.
    scintillation : array_like, shape (nt, ns)
        Standard deviation by scintillation, ADU; 0 where unknown.
    scatter : array_like, shape (ns,)
        Relative scatter of one point, as measured.
    least : int, optional
        With fewer stars there is no result.

    Returns
    -------
    float
        e-/ADU; NaN where too few stars tell.
    """
    level = np.nan_to_num(np.asarray(flux, dtype=np.float64))
    error = np.asarray(flux_err, dtype=np.float64)
    seen = np.isfinite(np.asarray(flux)) & np.isfinite(error)
    count = np.maximum(seen.sum(axis=0), 1)
    mean = np.where(seen, level, 0.0).sum(axis=0) / count
    rest = np.where(seen, error**2 - level, 0.0).sum(axis=0) / count
    twinkling = np.where(seen, np.nan_to_num(np.asarray(scintillation)) ** 2, 0.0).sum(axis=0) / count
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = ((np.asarray(scatter) * mean) ** 2 - rest - twinkling) / mean
    telling = np.isfinite(inverse) & (inverse > 0) & (inverse * mean > rest)
    return float(1.0 / np.median(inverse[telling])) if np.count_nonzero(telling) >= least else float("nan")
