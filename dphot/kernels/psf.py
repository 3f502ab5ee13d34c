"""The point spread function of a frame: median of star cutouts, and the Moffat fitted to it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from ..flags import PIXEL_BAD, PIXEL_COSMIC, PIXEL_NONFINITE, PIXEL_NONLINEAR, PIXEL_SATURATED
from ._arrays import each
from .centroid import GAUSSIAN_FWHM, gaussian_width, windowed
from .moffat import PsfModel, fit, fit_gaussian, fit_moffat, render
from .order import median, select

__all__ = ["PsfModel", "fit_gaussian", "fit_moffat", "frame_psf", "median_psf", "render"]

_UNFIT = int(PIXEL_SATURATED | PIXEL_BAD | PIXEL_COSMIC | PIXEL_NONFINITE | PIXEL_NONLINEAR)

#: A star's pixels are used to this many FWHM from its centre, along rows and columns.
REACH = 2.5
#: Of wide stars every second, third ... row and column is used: the pixels stay this fine, in FWHM.
COARSE = 0.4
#: How alike the stars of a frame are, in parts of the peak: a star measured better than that weighs no more.
LIKENESS = 0.01
#: So many pixels, of all stars together, make the PSF.
SAMPLES = 5000
#: A centroid this far from where its star was found has lost it [px].
STRAY = 2.0


@njit(cache=True, nogil=True)
def _moffat(p, k, dx, dy):  # type: ignore[no-untyped-def]
    """The fit's parameters p, k = 2^p[7] - 1, at an offset from the star, without the background."""
    dx -= p[1]
    dy -= p[2]
    q = p[3] * dx * dx + 2.0 * p[4] * dx * dy + p[5] * dy * dy
    return p[0] * math.exp(-math.log(1.0 + k * q) / p[7])


@njit(cache=True, nogil=True)
def _stack(image, x, y, sky, noise, side, step, model):  # type: ignore[no-untyped-def]
    """Weighted median of normalised cutouts, each sample moved to the cell's centre by the model's own slope.

    A cutout has `side` cells, `step` px apart, on all sides of the central one.
    """
    n, size, k = len(x), 2 * side + 1, 2.0 ** model[7] - 1.0
    samples, shape, weight = np.empty((size, size, n)), np.empty((size, size)), np.empty(n)
    for s in range(n):
        ix, iy = math.floor(x[s] + 0.5), math.floor(y[s] + 0.5)
        up = down = 0.0
        for i in range(size):
            for j in range(size):
                row, column = iy + (i - side) * step, ix + (j - side) * step
                shape[i, j] = _moffat(model, k, column - x[s], row - y[s])
                samples[i, j, s] = image[row, column] - sky[s]
                if math.isfinite(samples[i, j, s]):
                    up += shape[i, j] * samples[i, j, s]
                    down += shape[i, j] * shape[i, j]
        scale = max(up / down, 1e-300)
        weight[s] = 1.0 / ((noise[s] / scale) ** 2 + (LIKENESS * model[0]) ** 2)
        for i in range(size):
            for j in range(size):
                value = samples[i, j, s]
                samples[i, j, s] = value / scale - shape[i, j] if math.isfinite(value) else 0.0
    half = 0.5 * weight.sum()
    stamp, w = np.empty((size, size)), np.empty(n)
    for i in range(size):
        for j in range(size):
            cell = samples[i, j]
            for a in range(n):  # a few values: insertion sort
                value, b = cell[a], a
                while b > 0 and cell[b - 1] > value:
                    cell[b], w[b] = cell[b - 1], w[b - 1]
                    b -= 1
                cell[b], w[b] = value, weight[a]
            # a value stands in the middle of its weight; between two of them the median is linear
            a, rest, pace = 0, half - 0.5 * w[0], math.inf
            while a < n - 1 and rest > 0.0:
                pace = 0.5 * (w[a] + w[a + 1])
                rest -= pace
                a += 1
            middle = cell[a] + (cell[a] - cell[a - 1]) * rest / pace if a > 0 else cell[a]
            stamp[i, j] = middle + _moffat(model, k, (j - side) * step, (i - side) * step)
    return stamp


@njit(cache=True, nogil=True)
def _outline(image, x, y, half):  # type: ignore[no-untyped-def]
    """Median of the outline of each star's cutout, two pixels wide, and its noise from the lower percentiles."""
    n, size = len(x), 2 * half + 1
    sky, noise, values = np.full(n, np.nan), np.full(n, np.nan), np.empty(8 * size)
    for s in range(n):
        top, left = math.floor(y[s] + 0.5) - half, math.floor(x[s] + 0.5) - half
        m = 0
        for i in range(size):
            for j in range(size):
                if min(i, j) < 2 or max(i, j) >= size - 2:
                    values[m] = image[top + i, left + j]
                    m += math.isfinite(values[m])
        if m > 0:
            sky[s] = select(values, m, m // 2)
            noise[s] = sky[s] - select(values, m // 2 + 1, int(0.1587 * m))
    return sky, noise


@njit(cache=True, nogil=True)
def _choose(mask, x, y, flux, half, core, radius, n_wanted, n_least):  # type: ignore[no-untyped-def]
    """The first stars that lie within the image, have a clean core and no neighbour.

    Where fewer than `n_least` stand alone, the first with neighbours or without.
    """
    ny, nx = mask.shape
    alone, usable = np.empty(n_wanted, np.int64), np.empty(n_wanted, np.int64)
    n = m = 0
    for s in range(len(x)):
        if not (half <= x[s] + 0.5 < nx - half and half <= y[s] + 0.5 < ny - half):
            continue
        ix, iy = math.floor(x[s] + 0.5), math.floor(y[s] + 0.5)
        marked = 0
        for i in range(iy - core, iy + core + 1):
            for j in range(ix - core, ix + core + 1):
                marked |= mask[i, j] & _UNFIT
        if marked:
            continue
        if m < n_wanted:
            usable[m] = s
            m += 1
        near = False
        for other in range(len(x)):
            if other != s and flux[other] > 0.02 * flux[s]:
                near |= (x[other] - x[s]) ** 2 + (y[other] - y[s]) ** 2 < radius * radius
        if not near:
            alone[n] = s
            n += 1
            if n == n_wanted:
                break
    return alone[:n] if n >= n_least else usable[:m]


def _median_model(
    image: NDArray[np.float32],
    x: NDArray,
    y: NDArray,
    sky: NDArray,
    noise: NDArray,
    fwhm: float,
    side: int,
    step: int,
) -> tuple[NDArray[np.float64], PsfModel | None]:
    """Stamp and its fit, in cells of `step` px: from a round Moffat of that FWHM, then from what it gave."""
    unit, centre = np.array([1, step, step, *3 * [step**-2], 1, 1]), np.array([0, side, side, 0, 0, 0, 0, 0])
    p = np.array([1.0, 0.0, 0.0, 4.0 / fwhm**2, 0.0, 4.0 / fwhm**2, 0.0, 0.3])
    for _ in range(2 if fwhm > 2.5 else 4):  # a steep profile is slower to settle
        stamp = _stack(image, x, y, sky, noise, side, step, p)
        found = fit(stamp, None, gaussian=False, start=p / unit + centre)
        if found is None:
            break
        p = (found[1] - centre) * unit
    return stamp, None if found is None else found[0]


def median_psf(
    image: NDArray, x: ArrayLike, y: ArrayLike, sky: ArrayLike | None = None, size: int = 21
) -> NDArray[np.float64]:
    """Median of normalised, sky-subtracted cutouts of stars, centred on the middle pixel.

    Parameters
    ----------
    image : array (ny, nx)
        Pixels.
    x, y : array (nstar,)
        Centroids of bright, isolated, unsaturated stars [px]; a cutout that leaves the frame is left out.
    sky : float or array (nstar,), optional
        Sky under each star; by default the median of the outline of its cutout.
    size : int
        Odd width of the stamp [px]; 5 to 7 FWHM suit.

    Returns
    -------
    float64 array (size, size)
        Sum 1.

    Raises
    ------
    InputError
        If no cutout lies in the frame, or the size is even or below 5.

    Notes
    -----
    No cutout is interpolated, which would widen the PSF. Every star samples a cell of the stamp up to half a
    pixel from its centre; a fitted Moffat tells how much the PSF changes over that distance, and the median
    is taken of what remains (Anderson & King 2000, PASP 112, 1360, with the model as the effective PSF).
    """
    if size < 5 or size % 2 == 0:
        raise InputError(f"size: {size}, expected an odd number of at least 5")
    pixels = np.ascontiguousarray(image, np.float32)
    half = size // 2
    x64, y64 = np.asarray(x, np.float64), np.asarray(y, np.float64)
    with np.errstate(invalid="ignore"):
        inside = np.minimum(x64, pixels.shape[1] - 1 - x64) >= half - 0.5
        inside &= np.minimum(y64, pixels.shape[0] - 1 - y64) > half - 0.5
    if not inside.any():
        raise InputError(f"x, y: none of {len(x64)} stars has its {size} px cutout within the frame")
    x64, y64 = x64[inside], y64[inside]
    level, noise = _outline(pixels, x64, y64, half)
    if sky is not None:
        level = each(sky, inside)[inside]
    sigma = gaussian_width(pixels, x64, y64, level)[2]
    sigma = sigma[np.isfinite(sigma)]
    fwhm = GAUSSIAN_FWHM * median(sigma) if sigma.size else 0.2 * size
    stamp, _ = _median_model(pixels, x64, y64, level, noise, fwhm, half, 1)
    return stamp / stamp.sum()


def frame_psf(
    image: NDArray,
    mask: NDArray[np.uint8] | None,
    x: ArrayLike,
    y: ArrayLike,
    *,
    flux: ArrayLike | None = None,
    fwhm: float | None = None,
    n_max: int = 25,
    n_min: int = 1,
) -> PsfModel | None:
    """The PSF of one frame from its own stars.

    Parameters
    ----------
    image : array (ny, nx)
        Calibrated pixels.
    mask : uint8 array (ny, nx), optional
        Pixel bits; saturated, bad and other marked stars are left out.
    x, y : array (nstar,)
        Positions of the stars, brightest first [px]; good to about one pixel.
    flux : array (nstar,), optional
        Their fluxes: a neighbour 50 times fainter then does no harm.
    fwhm : float, optional
        Expected FWHM [px]; by default found from the brightest stars.
    n_max : int
        Stars used, at most.
    n_min : int
        With fewer there is no PSF.

    Returns
    -------
    PsfModel or None
        With `x0`, `y0` from the stars' centroids and the amplitude of a star of flux 1; None where too few
        stars serve or the fit does not converge.

    Notes
    -----
    Isolated stars are preferred; where there are too few, the median bears some neighbours.
    """
    pixels = np.ascontiguousarray(image, np.float32)
    marks = np.zeros(pixels.shape, np.uint8) if mask is None else np.ascontiguousarray(mask, np.uint8)
    x64, y64 = (np.array(v, np.float64).ravel()[:400] for v in (x, y))
    light = np.ones(x64.shape) if flux is None else np.array(flux, np.float64).ravel()[:400]
    if fwhm is None:
        some = _choose(marks, x64, y64, light, 9, 2, 9.0, 12, 3)
        level, _ = _outline(pixels, x64[some], y64[some], 9)
        sigma = gaussian_width(pixels, x64[some], y64[some], level)[2]
        sigma = sigma[np.isfinite(sigma)]
        if not sigma.size:
            return None
        fwhm = GAUSSIAN_FWHM * median(sigma)
    step = max(int(COARSE * fwhm), 1)
    side = int(min(max(math.ceil(REACH * fwhm / step), 5), 15))
    half, n = side * step, min(n_max, SAMPLES // (2 * side + 1) ** 2)
    core = min(math.ceil(1.5 * fwhm), half)
    chosen = _choose(marks, x64, y64, light, half + math.ceil(STRAY), core, 1.2 * half, n, max(3, n_min))
    level, noise = _outline(pixels, x64[chosen], y64[chosen], half)
    cx, cy, ok = windowed(pixels, x64[chosen], y64[chosen], fwhm / GAUSSIAN_FWHM, level, max_shift=STRAY)
    if np.count_nonzero(ok) < max(n_min, 1):
        return None
    _, model = _median_model(pixels, cx[ok], cy[ok], level[ok], noise[ok], fwhm, side, step)
    if model is None:
        return None
    s1, s2 = model.s1 * step, model.s2 * step
    total = model.amplitude * math.pi * s1 * s2 / (model.beta - 1.0)
    return replace(
        model,
        amplitude=model.amplitude / total,
        background=model.background / total,
        rms=model.rms / total,
        x0=(model.x0 - side) * step,
        y0=(model.y0 - side) * step,
        s1=s1,
        s2=s2,
    )
