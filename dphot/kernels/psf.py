"""The point spread function of a frame: median of star cutouts, and the Moffat fitted to it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from ..flags import PIXEL_BAD, PIXEL_COSMIC, PIXEL_NONFINITE, PIXEL_NONLINEAR, PIXEL_SATURATED
from .centroid import GAUSSIAN_FWHM, gaussian_width, windowed
from .moffat import PsfModel, fit, fit_gaussian, fit_moffat, render

__all__ = ["PsfModel", "fit_gaussian", "fit_moffat", "frame_psf", "median_psf", "render"]

_UNFIT = PIXEL_SATURATED | PIXEL_BAD | PIXEL_COSMIC | PIXEL_NONFINITE | PIXEL_NONLINEAR


@njit(cache=True, nogil=True)
def _stack(image, x, y, sky, half, model, use_model):  # type: ignore[no-untyped-def]
    """Median of normalised cutouts, each sample moved to the cell's centre by the model's own slope."""
    n, size = len(x), 2 * half + 1
    samples = np.empty((size, size, n))
    centre = np.zeros((size, size))
    t = model[7]
    k = 2.0**t - 1.0
    for i in range(size if use_model else 0):
        for j in range(size):
            dx, dy = j - half - model[1], i - half - model[2]
            q = model[3] * dx * dx + 2.0 * model[4] * dx * dy + model[5] * dy * dy
            centre[i, j] = model[0] * math.exp(-math.log(1.0 + k * q) / t)
    shape = np.zeros((size, size))
    for s in range(n):
        ix, iy = math.floor(x[s] + 0.5), math.floor(y[s] + 0.5)
        up = down = 0.0
        for i in range(size):
            for j in range(size):
                value = image[iy - half + i, ix - half + j] - sky[s]
                if use_model:
                    dx, dy = ix - half + j - x[s] - model[1], iy - half + i - y[s] - model[2]
                    q = model[3] * dx * dx + 2.0 * model[4] * dx * dy + model[5] * dy * dy
                    shape[i, j] = model[0] * math.exp(-math.log(1.0 + k * q) / t)
                    up += shape[i, j] * value
                    down += shape[i, j] * shape[i, j]
                else:
                    up += value
                    down = 1.0
        scale = up / down
        for i in range(size):
            for j in range(size):
                value = image[iy - half + i, ix - half + j] - sky[s]
                samples[i, j, s] = value / scale - shape[i, j]
    stamp = np.empty((size, size))
    for i in range(size):
        for j in range(size):
            cell = samples[i, j]
            for a in range(1, n):  # a few dozen values: insertion sort
                value, b = cell[a], a
                while b > 0 and cell[b - 1] > value:
                    cell[b] = cell[b - 1]
                    b -= 1
                cell[b] = value
            stamp[i, j] = centre[i, j] + 0.5 * (cell[(n - 1) // 2] + cell[n // 2])
    return stamp


def _border_sky(image: NDArray[np.float32], x: NDArray, y: NDArray, half: int) -> NDArray[np.float64]:
    """Median of the outline of each star's cutout, two pixels wide."""
    dy, dx = np.mgrid[-half : half + 1, -half : half + 1]
    outline = np.maximum(abs(dx), abs(dy)) > half - 2
    rows = np.floor(y + 0.5).astype(int)[:, None] + dy[outline]
    columns = np.floor(x + 0.5).astype(int)[:, None] + dx[outline]
    return np.median(image[rows, columns], axis=1).astype(np.float64)


def _median_model(
    image: NDArray[np.float32], x: NDArray, y: NDArray, sky: NDArray, half: int, rounds: int
) -> tuple[NDArray[np.float64], tuple[PsfModel, NDArray[np.float64]] | None]:
    """Stamp and fit; each round moves the samples by the last fit, and undoes the blur of the one before."""
    stamp = _stack(image, x, y, sky, half, np.ones(8), False)
    found = fit(stamp, None, gaussian=False)
    for _ in range(rounds):
        if found is None:
            break
        p = found[1].copy()
        p[1:3] -= half
        stamp = _stack(image, x, y, sky, half, p, True)
        found = fit(stamp, None, gaussian=False, start=found[1])
    return stamp, found


def _inside(shape: tuple[int, int], x: NDArray, y: NDArray, half: int) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        ix, iy = np.floor(x + 0.5), np.floor(y + 0.5)
        return (ix >= half) & (iy >= half) & (ix < shape[1] - half) & (iy < shape[0] - half)


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
    inside = _inside(pixels.shape, x64, y64, half)
    if not inside.any():
        raise InputError(f"x, y: none of {len(x64)} stars has its {size} px cutout within the frame")
    x64, y64 = x64[inside], y64[inside]
    level = (
        _border_sky(pixels, x64, y64, half)
        if sky is None
        else np.array(np.broadcast_to(np.asarray(sky, np.float64), inside.shape)[inside])
    )
    stamp, _ = _median_model(pixels, x64, y64, level, half, 2)
    return stamp / stamp.sum()


def _isolated(x: NDArray, y: NDArray, flux: NDArray | None, radius: float) -> NDArray[np.bool_]:
    """Stars without another one within the radius, unless that is 50 times fainter."""
    near = (x[:, None] - x) ** 2 + (y[:, None] - y) ** 2 < radius**2
    np.fill_diagonal(near, False)
    if flux is not None:
        near &= flux > 0.02 * flux[:, None]
    return ~near.any(axis=1)


def _clean(mask: NDArray[np.uint8], x: NDArray, y: NDArray, half: int) -> NDArray[np.bool_]:
    dy, dx = (offset.ravel() for offset in np.mgrid[-half : half + 1, -half : half + 1])
    rows, columns = np.floor(y + 0.5).astype(int)[:, None] + dy, np.floor(x + 0.5).astype(int)[:, None] + dx
    return ~(mask[rows, columns] & _UNFIT).any(axis=1)


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
    x64, y64 = np.asarray(x, np.float64)[:400], np.asarray(y, np.float64)[:400]
    light = None if flux is None else np.asarray(flux, np.float64)[:400]
    usable = _inside(pixels.shape, x64, y64, 7)
    index = np.flatnonzero(usable)
    if len(index) < n_min or len(index) == 0:
        return None
    if mask is not None:
        good = _clean(mask, x64[index], y64[index], 2)
        index = index[good]
    if fwhm is None:
        some = index[:40]
        if len(some) == 0:
            return None
        around = _border_sky(pixels, x64[some], y64[some], 7)
        _, _, sigma = gaussian_width(pixels, x64[some], y64[some], around)
        if not np.isfinite(sigma).any():
            return None
        fwhm = GAUSSIAN_FWHM * float(np.nanmedian(sigma))
    half = int(min(max(math.ceil(3.0 * fwhm), 5), 30))
    index = index[_inside(pixels.shape, x64[index], y64[index], half + 1)]
    isolated = _isolated(x64, y64, light, 1.2 * half)
    alone = index[isolated[index]]
    chosen = (alone if len(alone) >= max(3, n_min) else index)[: 2 * n_max]
    if mask is not None:
        chosen = chosen[_clean(mask, x64[chosen], y64[chosen], min(math.ceil(1.5 * fwhm), half))]
    # wide stars have pixels enough: fewer of them keep the time of a frame small
    chosen = chosen[: min(n_max, max(10, 12000 // (2 * half + 1) ** 2))]
    if len(chosen) == 0:
        return None
    sky = _border_sky(pixels, x64[chosen], y64[chosen], half)
    cx, cy, ok = windowed(pixels, x64[chosen], y64[chosen], fwhm / GAUSSIAN_FWHM, sky)
    ok[ok] &= _inside(pixels.shape, cx[ok], cy[ok], half)
    if np.count_nonzero(ok) < max(n_min, 1):
        return None
    stamp, found = _median_model(pixels, cx[ok], cy[ok], sky[ok], half, 1 if fwhm > 3.0 else 2)
    if found is None:
        return None
    model, total = found[0], float(stamp.sum())
    return replace(
        model,
        amplitude=model.amplitude / total,
        background=model.background / total,
        rms=model.rms / total,
        x0=model.x0 - half,
        y0=model.y0 - half,
    )
