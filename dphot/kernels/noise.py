"""The noise model of aperture photometry, in electrons, and scintillation."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from ._arrays import frozen
from .order import median

#: Variance of a sky level in units of s^2 / n: simulated for the mean clipped at 3 sigma around the median of
#: `kernels.sky.annulus_sky`; a plain mean would have 1, a median pi / 2.
SKY_VARIANCE = 1.03


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


def star_noise(
    radius: ArrayLike, fwhm: float, beta: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How the light of a star within an aperture makes noise, for a Moffat profile.

    A pixel that the circle cuts adds its share w of the light, but w^2 of the variance. What is lost thereby
    is pi r^2 - `noise_area` times what the profile has at the circle: of its value for the photons, of its
    square for the flat field, whose error goes with the light of each pixel.

    Parameters
    ----------
    radius : array_like
        Radii of apertures centred on the star, in px.
    fwhm : float
        FWHM of the profile as seen in the pixels, in px.
    beta : float
        Its Moffat exponent, above 1; infinite for a Gaussian.

    Returns
    -------
    shot : ndarray of float64
        Photon variance over flux (both in e-) in the aperture: 1 but for the pixels cut. Same shape as `radius`.
    area : ndarray of float64
        Noise-equivalent area in px^2 (King 1983, PASP 95, 163) of the light in the aperture: a relative error
        v of every pixel, independent of each other, gives the flux F the variance F^2 v / area.
    """
    r = np.asarray(radius, dtype=np.float64)
    exponent = min(float(beta), 1e9)  # a Gaussian to all digits
    alpha2 = fwhm**2 / (4.0 * math.expm1(math.log(2.0) / exponent))
    fall = np.log1p(np.square(r) / alpha2)
    centre = (exponent - 1.0) / (math.pi * alpha2)
    rim = centre * np.exp(-exponent * fall)
    flux = -np.expm1((1.0 - exponent) * fall)
    squares = -np.expm1((1.0 - 2.0 * exponent) * fall) * math.pi * alpha2 / (2.0 * exponent - 1.0) * centre**2
    lost = math.pi * np.square(r) - noise_area(r)
    return 1.0 - lost * rim / flux, np.square(flux) / (squares - lost * np.square(rim))


def response_at(flat: ArrayLike, x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
    """Response of the detector under stars: the median of the flat's 3 x 3 pixels there.

    Parameters
    ----------
    flat : array_like, shape (ny, nx)
        Master flat.
    x, y : array_like, shape (nstar,)
        Positions in px; those off the frame get the nearest pixels.

    Returns
    -------
    ndarray of float64, shape (nstar,)
        NaN where a position is not finite.
    """
    columns, rows = (np.array(v, np.float64, ndmin=1) for v in (x, y))
    return _medians(frozen(flat, np.float32), columns, rows)  # type: ignore[no-any-return]


@njit(cache=True, nogil=True)
def _medians(master, columns, rows):  # type: ignore[no-untyped-def]
    ny, nx = master.shape
    out, around = np.full(columns.size, np.nan), np.empty(9)
    for k in range(columns.size):
        if math.isfinite(columns[k]) and math.isfinite(rows[k]):
            j, i = round(rows[k]), round(columns[k])
            for n in range(9):
                a, b = min(max(j + n // 3 - 1, 0), ny - 1), min(max(i + n % 3 - 1, 0), nx - 1)
                around[n] = master[a, b]
            out[k] = median(around)
    return out


def flux_variance(
    flux: ArrayLike,
    area: ArrayLike,
    sky_rms: ArrayLike,
    n_sky: ArrayLike,
    *,
    noise_area: ArrayLike | None = None,
    shot: ArrayLike = 1.0,
    masters: ArrayLike = 0.0,
    gain: ArrayLike = 0.0,
    sky_variance: float = SKY_VARIANCE,
) -> NDArray[np.float64]:
    """Variance of a sky-subtracted aperture flux.

    F + A s^2 + k A^2 s^2 / n + masters + A gain^2 / 12: shot noise of the star; all that scatters a pixel of
    empty sky; the error of the sky level, which all pixels of the aperture share; what the flat's error makes
    of the star's light. A negative flux has no shot noise. All inputs broadcast against each other.

    The measured s holds sky, dark current, read noise and digitisation of the frame, and those of the master
    bias, of the master dark times the exposure and of the flat times the sky: they differ from pixel to pixel in
    the annulus as they do in the aperture. None of them is added again. The masters' part is the same in all
    frames at the same pixels. It belongs to the error of one flux, but in a series without drift it is a constant
    that shifts all points alike: such a series scatters less from point to point than its errors say, by
    (1 + 1/n)^-1/2 in the extreme of nothing but read noise and a bias of n frames.

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
    shot : array_like, optional
        Photon variance of the star for each e- of its flux: that of `star_noise`, over the response of the
        pixels (a flux divided by a flat of 0.8 stems from 0.8 as many photons).
    masters : array_like, optional
        Variance in e-^2 that the flat's error puts into this flux: F^2 v / area, with the relative variance v
        of a flat's pixel and the area of `star_noise`.
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
        np.maximum(flux, 0.0) * np.asarray(shot, dtype=np.float64)
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
