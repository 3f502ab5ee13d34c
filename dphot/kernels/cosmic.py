"""Cosmic rays and hot pixels under stars: pixels that rise above their neighbours more sharply than starlight can."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from ..flags import PIXEL_BAD, PIXEL_COSMIC, PIXEL_NONFINITE, PIXEL_SATURATED
from ._arrays import frozen

#: A pixel is called a cosmic ray from so many standard deviations on.
SIGMA = 6.0
#: The sharpest that starlight may be: that of a PSF narrower by this factor than the frame's.
NARROWER = 0.92
#: What the PSF is known to, as a share of a pixel's light.
PSF_ERROR = 0.03
#: So many stars tell how sharp cores are: as the sharpest but for a quarter, among which cosmic rays may be.
ENOUGH, SHARP = 10, 0.75
#: Stars count whose peak stands out of the sky by so many standard deviations.
BRIGHT = 30.0
#: Variance of the median of four values in units of theirs (the mean of the middle two; normal values).
MEDIAN_OF_FOUR = 0.298


def sharpest(fwhm: float, beta: float) -> float:
    """The largest ratio of a star's pixel to the median of its four neighbours: that of the peak to the next pixel.

    For a round Gaussian the ratio to the geometric mean of two opposite neighbours is the same wherever the star is
    centred, so that no sum of stars exceeds it; a Moffat's wings are flatter than its core.

    Parameters
    ----------
    fwhm, beta : float
        Of the PSF as seen in the pixels (px); `beta` is infinite for a Gaussian.

    Returns
    -------
    float
        More than 1.
    """
    if not math.isfinite(beta):
        return math.exp(4.0 * math.log(2.0) / fwhm**2)
    return (1.0 + 4.0 * (2.0 ** (1.0 / beta) - 1.0) / fwhm**2) ** beta


def mark_cosmics(
    image: ArrayLike,
    mask: ArrayLike,
    x: ArrayLike,
    y: ArrayLike,
    radius: float,
    sky: ArrayLike,
    sky_rms: ArrayLike,
    gain: float,
    fwhm: float,
    beta: float = np.inf,
) -> NDArray[np.uint8]:
    """The mask, with ``PIXEL_COSMIC`` where a pixel near a star is sharper than the PSF allows.

    Judged is each pixel against the median of its four neighbours, times `sharpest` for a PSF 8 % narrower than
    the frame's, or than what the cores of its own stars show where they are sharper (as in the wide field of a
    lens). What is left must exceed `SIGMA` standard deviations of the sky's noise in all five, of the photon
    noise of the light expected, and of `PSF_ERROR`. The idea is that of L.A.Cosmic's contrast (van Dokkum 2001,
    PASP 113, 1420), with the PSF itself in the place of a fine-structure image. Pixels beside saturated ones are
    not judged.

    Parameters
    ----------
    image : array_like, shape (ny, nx)
        Calibrated frame in ADU; used as float32.
    mask : array_like of uint8, shape (ny, nx)
        Bits ``PIXEL_*`` of `dphot.flags`; pixels that are bad, saturated or not finite are no neighbours.
    x, y : array_like, shape (nstar,)
        Positions in px.
    radius : float
        Pixels whose centre lies within are judged (px).
    sky, sky_rms : array_like, shape (nstar,)
        Sky and its standard deviation (ADU); stars where they are not finite are left.
    gain : float
        e-/ADU; where it is not known 1 is taken.
    fwhm, beta : float
        Of the frame's PSF along its minor axis (px), and its Moffat exponent.

    Returns
    -------
    ndarray of uint8, shape (ny, nx)
        A copy.
    """
    out = np.array(mask, np.uint8)
    pixels = frozen(image, np.float32)
    at_x, at_y, level, noise = (frozen(np.atleast_1d(v), np.float64) for v in (x, y, sky, sky_rms))
    cores = np.empty(at_x.size)
    _cores(pixels, out, at_x, at_y, level, noise, cores)
    cores = cores[np.isfinite(cores)]
    ratio = sharpest(NARROWER * fwhm, beta)
    if cores.size >= ENOUGH:
        usual = np.interp(SHARP * (cores.size - 1), np.arange(cores.size), np.sort(cores))
        ratio = max(ratio, float(usual) ** (1.0 / NARROWER**2))
    per_count = 1.0 / gain if gain > 0 else 1.0
    _mark(pixels, out, at_x, at_y, level, noise, float(radius), ratio, per_count)
    return out


def repaired(
    image: ArrayLike,
    mask: ArrayLike,
    x: ArrayLike,
    y: ArrayLike,
    radius: float,
    sky: ArrayLike,
    fwhm: float,
    beta: float = np.inf,
) -> NDArray[np.float32]:
    """The image with the bad pixels near stars replaced by what their neighbours and the PSF tell.

    A pixel that is bad, a cosmic ray or not finite (a saturated one is not) becomes the sky plus the star's profile
    there, scaled to the good pixels around it (5 x 5). The first star of the list that reaches a pixel gives its value.

    Parameters
    ----------
    image, mask, x, y, radius, sky, fwhm, beta
        As for `mark_cosmics`; `fwhm` is the mean of the two axes.

    Returns
    -------
    ndarray of float32, shape (ny, nx)
        A copy.
    """
    out = np.array(image, np.float32)
    at_x, at_y, level = (frozen(np.atleast_1d(v), np.float64) for v in (x, y, sky))
    exponent = float(beta) if math.isfinite(beta) else 1e3  # a Gaussian to a thousandth
    pixels, bits = frozen(image, np.float32), frozen(mask, np.uint8)
    _repair(pixels, bits, out, at_x, at_y, level, float(radius), float(fwhm), exponent)
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _box(place, radius, size):
    """First and last index (half-open) of the pixels within `radius` of a place."""
    return max(math.ceil(place - radius), 0), min(math.floor(place + radius) + 1, size)


@njit(cache=True, nogil=True, error_model="numpy")
def _middle(image, mask, j, i, level, beside):
    """Median of the four neighbours of a pixel above the sky; NaN where one is saturated or two are unfit."""
    marks = mask[j - 1, i] | mask[j + 1, i] | mask[j, i - 1] | mask[j, i + 1]
    if marks & PIXEL_SATURATED:
        return np.nan
    if not marks & (PIXEL_BAD | PIXEL_NONFINITE):
        up, down, left, right = image[j - 1, i], image[j + 1, i], image[j, i - 1], image[j, i + 1]
        lower = max(min(up, down), min(left, right)) - level
        return 0.5 * (lower + (min(max(up, down), max(left, right)) - level))
    n = 0
    for k in range(4):
        row = j + (k == 0) - (k == 1)
        column = i + (k == 2) - (k == 3)
        if not mask[row, column] & (PIXEL_BAD | PIXEL_NONFINITE):
            value = image[row, column] - level
            place = n
            while place > 0 and beside[place - 1] > value:
                beside[place] = beside[place - 1]
                place -= 1
            beside[place] = value
            n += 1
    return 0.5 * (beside[(n - 1) // 2] + beside[n // 2]) if n > 2 else np.nan


@njit(cache=True, nogil=True, error_model="numpy")
def _cores(image, mask, x, y, sky, sky_rms, ratios):
    """Ratio of each bright star's highest pixel to the median of its neighbours; NaN for other stars."""
    ny, nx = image.shape
    beside = np.empty(4)
    for star in range(x.size):
        ratios[star] = np.nan
        if not (2.0 <= x[star] < nx - 3.0 and 2.0 <= y[star] < ny - 3.0):
            continue
        column = math.floor(x[star] + 0.5)
        row = math.floor(y[star] + 0.5)
        peak = -np.inf
        for v in range(row - 1, row + 2):
            for u in range(column - 1, column + 2):
                if image[v, u] > peak:
                    peak = image[v, u]
                    j = v
                    i = u
        if peak - sky[star] > BRIGHT * sky_rms[star] and mask[j, i] == 0:
            ratios[star] = (peak - sky[star]) / _middle(image, mask, j, i, sky[star], beside)


@njit(cache=True, nogil=True, error_model="numpy")
def _mark(image, mask, x, y, sky, sky_rms, radius, ratio, per_count):
    ny, nx = image.shape
    unfit = PIXEL_BAD | PIXEL_SATURATED | PIXEL_NONFINITE
    beside = np.empty(4)
    quiet = 1.0 + MEDIAN_OF_FOUR * ratio * ratio
    for star in range(x.size):
        level = sky[star]
        noise = sky_rms[star] ** 2
        if not (abs(x[star]) + abs(y[star]) + abs(level) + noise < np.inf):
            continue
        first, last = _box(y[star], radius, ny)
        left, right = _box(x[star], radius, nx)
        for j in range(max(first, 1), min(last, ny - 1)):
            for i in range(max(left, 1), min(right, nx - 1)):
                excess = image[j, i] - level
                if mask[j, i] & unfit or (i - x[star]) ** 2 + (j - y[star]) ** 2 > radius * radius:
                    continue
                # the cheap test first: most pixels lie well below
                if not excess * excess > SIGMA * SIGMA * noise or excess < 0.0:
                    continue
                middle = _middle(image, mask, j, i, level, beside)
                if math.isnan(middle):
                    continue
                expected = ratio * max(middle, 0.0)
                photons = expected * (1.0 + MEDIAN_OF_FOUR * ratio) * per_count
                variance = noise * quiet + photons + (PSF_ERROR * expected) ** 2
                residual = excess - expected
                if residual > 0.0 and residual * residual > SIGMA * SIGMA * variance:
                    mask[j, i] |= PIXEL_COSMIC


@njit(cache=True, nogil=True, error_model="numpy")
def _repair(image, mask, out, x, y, sky, radius, fwhm, beta):
    ny, nx = image.shape
    unfit = PIXEL_BAD | PIXEL_COSMIC | PIXEL_NONFINITE
    done = np.zeros((ny, nx), np.bool_)
    scale = 4.0 * (2.0 ** (1.0 / beta) - 1.0) / (fwhm * fwhm)
    for star in range(x.size):
        if not (abs(x[star]) + abs(y[star]) + abs(sky[star]) < np.inf):
            continue
        first, last = _box(y[star], radius, ny)
        left, right = _box(x[star], radius, nx)
        for j in range(first, last):
            for i in range(left, right):
                away = (i - x[star]) ** 2 + (j - y[star]) ** 2
                if not mask[j, i] & unfit or mask[j, i] & PIXEL_SATURATED or done[j, i] or away > radius**2:
                    continue
                light = 0.0
                profile = 0.0
                for v in range(max(j - 2, 0), min(j + 3, ny)):
                    for u in range(max(i - 2, 0), min(i + 3, nx)):
                        if not mask[v, u]:
                            light += image[v, u] - sky[star]
                            profile += (1.0 + scale * ((u - x[star]) ** 2 + (v - y[star]) ** 2)) ** -beta
                if profile > 0.0:
                    here = (1.0 + scale * away) ** -beta
                    out[j, i] = sky[star] + light * here / profile
                    done[j, i] = True
