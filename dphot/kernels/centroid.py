"""Windowed centroids and Gaussian widths of stars: one loop over each star's own pixels."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from ._arrays import each

#: FWHM of a Gaussian over its standard deviation.
GAUSSIAN_FWHM = 2.0 * math.sqrt(2.0 * math.log(2.0))

#: A narrower window would see the pixel grid: at FWHM 2 px the position would depend on the pixel phase.
MIN_WINDOW = 1.15

# The window ends at four sigma, where its weight is 3e-4; steps below the tolerance (px) have converged.
_REACH, _TOLERANCE, _LIMIT_CYCLE = 4.0, 1e-5, 1e-3
_MIN_SIGMA, _MAX_SIGMA = 0.4, 20.0


@njit(cache=True, nogil=True)
def _window(image, x, y, sigma, sky, iterations, max_shift, adapt):  # type: ignore[no-untyped-def]
    """Centroid of every star under a Gaussian window; with `adapt` the window takes the star's own width."""
    ny, nx = image.shape
    n = len(x)
    out = np.full((3, n), np.nan)
    gx = np.empty(2 * math.ceil(_REACH * _MAX_SIGMA) + 1)
    for k in range(n):
        cx, cy, s, level = x[k], y[k], sigma[k], sky[k]
        if not (math.isfinite(cx) and math.isfinite(cy) and math.isfinite(level) and s > 0.0):
            continue
        ok, step = False, math.inf
        for _ in range(iterations):
            if not (-0.5 <= cx < nx - 0.5 and -0.5 <= cy < ny - 0.5):
                break
            s = min(max(s, _MIN_SIGMA), _MAX_SIGMA)
            ix, iy, reach = math.floor(cx + 0.5), math.floor(cy + 0.5), math.ceil(_REACH * s)
            # symmetric even at the border, where one half alone would pull the centroid inwards
            hx, hy = min(reach, ix, nx - 1 - ix), min(reach, iy, ny - 1 - iy)
            if hx < s or hy < s:
                break
            half_inverse = 0.5 / (s * s)
            for j in range(ix - hx, ix + hx + 1):
                gx[j - ix + hx] = math.exp(-half_inverse * (j - cx) * (j - cx))
            s0 = sx = sy = s2 = 0.0
            for i in range(iy - hy, iy + hy + 1):
                dy = i - cy
                wy = math.exp(-half_inverse * dy * dy)
                r0 = r1 = r2 = 0.0
                for j in range(ix - hx, ix + hx + 1):
                    dx = j - cx
                    w = gx[j - ix + hx]
                    value = image[i, j] - level
                    if w * wy < 0.05 and not math.isfinite(value):
                        continue  # far out a missing pixel does no harm; nearer it makes the sums NaN
                    f = w * value
                    r0 += f
                    r1 += f * dx
                    r2 += f * dx * dx
                s0 += wy * r0
                sx += wy * r1
                sy += wy * dy * r0
                s2 += wy * (r2 + dy * dy * r0)
            if not s0 > 0.0:
                break
            # twice the mean offset: under a window as wide as the star it is half of the true one
            dx, dy = 2.0 * sx / s0, 2.0 * sy / s0
            cx += dx
            cy += dy
            if (cx - x[k]) ** 2 + (cy - y[k]) ** 2 > max_shift[k] ** 2:
                break
            change = 0.0
            if adapt:
                # a Gaussian star of width p under a window s has the variance m2 = 1 / (1/s^2 + 1/p^2)
                m2 = 0.5 * s2 / s0
                if not m2 > 0.0:
                    break
                wanted = math.sqrt(1.0 / (1.0 / m2 - 1.0 / (s * s))) if m2 < 0.8 * s * s else 2.0 * s
                change = wanted - s
                s = wanted
                if s > _MAX_SIGMA:
                    break
            step = math.sqrt(dx * dx + dy * dy + change * change)
            if step < _TOLERANCE * (100.0 if adapt else 1.0):
                ok = True
                break
            if not math.isfinite(step):
                break
        else:
            ok = step < _LIMIT_CYCLE * (10.0 if adapt else 1.0)
        if ok:
            out[0, k], out[1, k], out[2, k] = cx, cy, s
    return out


def _prepared(
    image: NDArray, x: ArrayLike, y: ArrayLike, sigma: ArrayLike, sky: ArrayLike | None
) -> tuple[NDArray[np.float32], list[NDArray[np.float64]]]:
    if np.ndim(image) != 2:
        raise InputError(f"image: {np.ndim(image)} dimensions, expected 2 (y, x)")
    x64 = np.ascontiguousarray(x, np.float64)
    y64 = np.ascontiguousarray(y, np.float64)
    if x64.ndim != 1 or x64.shape != y64.shape:
        raise InputError(f"x, y: shapes {x64.shape} and {y64.shape}, expected two equal 1-D arrays")
    spread = [each(v, x64) for v in (sigma, 0.0 if sky is None else sky)]
    return np.ascontiguousarray(image, np.float32), [x64, y64, *spread]


def windowed(
    image: NDArray,
    x: ArrayLike,
    y: ArrayLike,
    sigma_px: ArrayLike,
    sky: ArrayLike | None = None,
    iterations: int = 30,
    max_shift: ArrayLike | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Windowed centroids of stars (SExtractor's XWIN_IMAGE, YWIN_IMAGE).

    Parameters
    ----------
    image : array (ny, nx)
        Pixels; float32 is used as it is, another type is converted.
    x, y : array (nstar,)
        First positions [px].
    sigma_px : float or array (nstar,)
        Standard deviation of the Gaussian window [px], FWHM / 2.3548 of the stars; at least `MIN_WINDOW`.
    sky : float or array (nstar,), optional
        Sky under each star, in the unit of the image; None where it has been subtracted.
    iterations : int
        At most this many.
    max_shift : float or array (nstar,), optional
        A centroid further than this from its first position has lost its star [px]; one FWHM by default.

    Returns
    -------
    x, y : float64 array (nstar,)
        Centroids [px]; NaN where there is none: no light, not converged, lost, within one sigma of the
        border, or a NaN pixel close to the centre.
    ok : bool array (nstar,)
        Where there is one.

    Raises
    ------
    InputError
        If the shapes do not fit.

    Notes
    -----
    The fixed point solves sum w (I - sky) (x - x0) = 0, which is the maximum-likelihood position of a
    Gaussian star in the sky's noise. Where the star's own photons dominate it loses up to a third against
    the bound, at errors of a few thousandths of a pixel.

    References
    ----------
    Bertin & Arnouts 1996, A&AS 117, 393; SExtractor manual, "Windowed positional parameters".
    """
    pixels, (x64, y64, sigma, level) = _prepared(image, x, y, sigma_px, sky)
    sigma = np.maximum(sigma, MIN_WINDOW)
    shift = each(GAUSSIAN_FWHM * sigma if max_shift is None else max_shift, x64)
    out = _window(pixels, x64, y64, sigma, level, iterations, shift, False)
    return out[0], out[1], np.isfinite(out[0])


def gaussian_width(
    image: NDArray, x: ArrayLike, y: ArrayLike, sky: ArrayLike | None = None, start: ArrayLike = 1.5
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Position and width of stars by adaptive moments: the Gaussian window that fits the star's own width.

    Parameters
    ----------
    image : array (ny, nx)
        Pixels.
    x, y : array (nstar,)
        First positions [px].
    sky : float or array (nstar,), optional
        Sky under each star; None where it has been subtracted.
    start : float or array (nstar,)
        First width [px].

    Returns
    -------
    x, y, sigma : float64 array (nstar,)
        Centroids and standard deviations [px]; NaN where there is none. A first estimate: a star with Moffat
        wings appears some percent wider than its FWHM / 2.3548.

    References
    ----------
    Bernstein & Jarvis 2002, AJ 123, 583 (adaptive moments).
    """
    pixels, (x64, y64, sigma, level) = _prepared(image, x, y, start, sky)
    shift = each(8.0, x64)
    out = _window(pixels, x64, y64, sigma, level, 60, shift, True)
    return out[0], out[1], out[2]
