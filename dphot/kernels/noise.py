"""The noise model of aperture photometry, in electrons, and scintillation."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Variance of a sky level in units of s^2 / n: 1 for the clipped mean of `kernels.aperture.annulus_sky`;
#: a median would have pi / 2.
SKY_VARIANCE = 1.0


def flux_variance(
    flux: ArrayLike,
    area: ArrayLike,
    sky_rms: ArrayLike,
    n_sky: ArrayLike,
    *,
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
    return (
        np.maximum(flux, 0.0)
        + area * (per_pixel + digitisation)
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
