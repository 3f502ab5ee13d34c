"""The sky level around stars, and what is wrong with the pixels under them."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from ..flags import StarFlag
from ._arrays import each, frozen
from .order import select

#: Fewer annulus pixels than this do not make a sky.
MIN_PIXELS = 10
#: A neighbour nearer than this, in px, is the star itself.
SAME_STAR = 1.0
_EDGE = int(StarFlag.EDGE)  # a plain number for the compiled code


def annulus_sky(
    image: ArrayLike,
    mask: ArrayLike | None,
    x: ArrayLike,
    y: ArrayLike,
    r_in: float,
    r_out: float,
    sigma: float = 3.0,
    neighbours_x: ArrayLike = (),
    neighbours_y: ArrayLike = (),
    neighbour_r: ArrayLike = (),
    *,
    iterations: int = 10,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Sky level, rms of a sky pixel and number of pixels used, in an annulus around each star.

    Pixels count whose centre lies in the annulus and inside the frame, unmasked, finite, and not within
    `neighbour_r` of another star. They are clipped at `sigma` standard deviations around their median until
    nothing changes; the first width comes from the 16th percentile, which stars in the annulus hardly move.
    The level is the MEAN of what is left, not its median: the median of a Poisson sky lies 1/6 electron below
    its mean, and that of whole numbers sticks to them, by up to half a count off; an aperture multiplies it
    by its area. The clipped mean of a sky of photons is 0.04 e- low (see `clipped_photons`), and its variance
    is 1.03 s^2 / n, where the median has (pi / 2) s^2 / n.

    Parameters
    ----------
    image : array_like, shape (ny, nx)
        Image; used as float32.
    mask : array_like of uint8, shape (ny, nx), or None
        Pixels that are not 0 are left out.
    x, y : array_like, shape (nstar,)
        Positions in px.
    r_in, r_out : float
        Radii of the annulus in px.
    sigma : float, optional
        Clipping limit in standard deviations.
    neighbours_x, neighbours_y : array_like, shape (nneighbour,), optional
        Positions of all stars, the measured ones included: nearer than `SAME_STAR` is the star itself.
    neighbour_r : array_like, scalar or shape (nneighbour,), optional
        Radius around each of them to leave out, in px. Where this leaves fewer than `MIN_PIXELS`, no
        neighbour is left out.
    iterations : int, optional
        At most so many rounds of clipping.

    Returns
    -------
    sky, sky_rms : ndarray of float64, shape (nstar,)
        Level and standard deviation in the image's unit, the latter freed from the clipping's bias (the
        factor of a cut Gaussian); NaN where there are fewer than `MIN_PIXELS` pixels.
    n : ndarray of int64, shape (nstar,)
        Pixels used; 0 where there is no sky.
    """
    columns, rows = frozen(np.atleast_1d(x), np.float64), frozen(np.atleast_1d(y), np.float64)
    pixels = frozen(image, np.float32)
    masked = frozen(np.zeros(pixels.shape, np.uint8) if mask is None else mask, np.uint8)
    near_x, near_y = frozen(neighbours_x, np.float64), frozen(neighbours_y, np.float64)
    near_r = frozen(each(neighbour_r if near_x.size else 0.0, near_x))
    sky, rms = (np.full(columns.size, np.nan) for _ in range(2))
    n = np.zeros(columns.size, np.int64)
    density = math.exp(-0.5 * sigma * sigma) / math.sqrt(2 * math.pi)
    widen = 1 / math.sqrt(1 - 2 * sigma * density / math.erf(sigma / math.sqrt(2)))
    _annuli(pixels, masked, columns, rows, float(r_in), float(r_out), float(sigma), widen, int(iterations),
            near_x, near_y, near_r, sky, rms, n)  # fmt: skip
    return sky, rms, n


def clipped_photons(
    sky: ArrayLike, sky_rms: ArrayLike, gain: float, sigma: float = 3.0
) -> NDArray[np.float64]:
    """What clipping takes off the mean of a sky of photons: add it to the level of `annulus_sky`.

    Photons have a longer tail above than below. Of a distribution with skewness g, cutting at z standard
    deviations s lowers the mean by g s z^3 phi(z) / 3 (first order of the Edgeworth series); a Poisson sky gives
    g s = sky / s^2 in electrons. It is 0.04 e- at 3 s: nothing for one pixel, but all of an aperture share it. What
    the level is above the variance of a pixel is no light, but the camera's offset, where no bias was subtracted.

    Parameters
    ----------
    sky, sky_rms : array_like
        Level and standard deviation of a pixel, in ADU.
    gain : float
        e-/ADU; NaN where unknown: nothing is taken off then.
    sigma : float, optional
        The clipping limit z.

    Returns
    -------
    ndarray of float64
        In ADU; 0 for a level that is not positive, or without scatter.
    """
    level, width = np.asarray(sky, dtype=np.float64), np.asarray(sky_rms, dtype=np.float64)
    share = sigma**3 * math.exp(-0.5 * sigma**2) / math.sqrt(2 * math.pi) / 3.0
    known = (level > 0) & (width > 0) & np.isfinite(gain)
    variance = np.where(
        known, gain * np.square(width), 1.0
    )  # the level, if all of the noise were that of light
    return np.where(known, share * np.minimum(level, variance) / (gain * variance), 0.0)


def star_flags(
    mask: ArrayLike, image: ArrayLike, x: ArrayLike, y: ArrayLike, radius: float
) -> tuple[NDArray[np.uint16], NDArray[np.float64]]:
    """What the mask says about the pixels under each star, and the highest of them.

    Parameters
    ----------
    mask : array_like of uint8, shape (ny, nx)
        Bits ``PIXEL_*`` of `dphot.flags`.
    image : array_like, shape (ny, nx)
        Raw image (any type), for the peak.
    x, y : array_like, shape (nstar,)
        Positions in px.
    radius : float
        Flagging radius in px: pixels count whose centre lies within, and the one that holds the position.

    Returns
    -------
    flags : ndarray of uint16, shape (nstar,)
        All mask bits under the star, and `StarFlag.EDGE` where the circle leaves the frame. A star without a
        position has no flags: the frame's own flags tell why.
    peak : ndarray of float64, shape (nstar,)
        Highest finite pixel in the image's unit; NaN where there is none.
    """
    columns, rows = frozen(np.atleast_1d(x), np.float64), frozen(np.atleast_1d(y), np.float64)
    flags = np.zeros(columns.size, np.uint16)
    peak = np.full(columns.size, np.nan)
    _flags(frozen(mask, np.uint8), frozen(image), columns, rows, float(radius), flags, peak)
    return flags, peak


@njit(cache=True, nogil=True, error_model="numpy")
def thinned_median(image, step):
    """Median of every `step`-th pixel of every `step`-th row; NaN where none is finite."""
    ny, nx = image.shape
    values = np.empty((ny // step + 1) * (nx // step + 1))
    n = 0
    for j in range(0, ny, step):
        for i in range(0, nx, step):
            values[n] = image[j, i]
            n += math.isfinite(values[n])
    if n == 0:
        return math.nan
    upper = select(values, n, n // 2)
    return upper if n % 2 else 0.5 * (upper + values[: n // 2].max())


@njit(cache=True, nogil=True, error_model="numpy")
def _clipped(values, n, sigma, widen, iterations, tail, middle):
    """Clipped mean, unbiased standard deviation and number kept of values[:n], which are reordered.

    All values are looked at once: then each round goes over those far out, and the median of what it leaves lies
    among those near the first one. Where that is not so, all values count as far out, and as near.
    """
    first = select(values, n, n // 2)
    start = first - select(values, n // 2 + 1, int(0.1587 * n))
    if start == 0.0:  # coarse numbers: a third of them are equal
        for i in range(n):
            start += (values[i] - first) ** 2
        start = math.sqrt(start / n)
    mean, width, before = first, start, 0
    for inner, near in ((0.6 * sigma * start, 0.1 * start), (-1.0, 1e300)):
        n_tail = n_middle = n_low = 0
        core = core_squares = 0.0
        for i in range(n):
            value = values[i]
            away = value - first
            far = abs(away) > inner
            tail[n_tail] = value
            n_tail += far
            middle[n_middle] = value
            n_middle += abs(away) <= near
            n_low += away < -near
            away = 0.0 if far else away
            core += away
            core_squares += away * away
        centre, width, before, rank = first, start, 0, 0
        for _ in range(iterations):
            limit = sigma * width
            if limit - abs(centre - first) < inner:
                rank = -1
                break
            kept = n - n_tail
            low = n_low
            total = core
            squares = core_squares
            for i in range(n_tail):
                away = tail[i] - first
                if abs(tail[i] - centre) <= limit:
                    kept += 1
                    total += away
                    squares += away * away
                elif away < 0.0:
                    low -= 1
            mean = first + total / kept
            width = widen * math.sqrt(max((squares - total * total / kept) / max(kept - 1, 1), 0.0))
            if kept == before:
                break
            before = kept
            rank = kept // 2 - low
            if not 0 <= rank < n_middle:
                rank = -1
                break
            centre = select(middle, n_middle, rank)
        if rank >= 0:
            break
    return mean, width, before


@njit(cache=True, nogil=True, error_model="numpy")
def _gather(image, mask, xc, yc, r_in, r_out, near_x, near_y, near_r, close, blocked, values):
    """Copy one annulus' good pixels into values; return how many; `close` indexes the neighbours."""
    ny, nx = image.shape
    n = 0
    # every 64 bytes are asked for first: they come from memory together, not one after the other
    left, right = max(0, math.ceil(xc - r_out)), min(nx - 1, math.floor(xc + r_out))
    asked = np.float32(0.0)
    for j in range(max(0, math.ceil(yc - r_out)), min(ny - 1, math.floor(yc + r_out)) + 1):
        for i in range(left, right + 1, 16):
            asked += image[j, i]
        asked += mask[j, left] + mask[j, right]
    values[0] = asked
    for j in range(max(0, math.ceil(yc - r_out)), min(ny - 1, math.floor(yc + r_out)) + 1):
        v2 = (j - yc) ** 2
        outer = math.sqrt(max(r_out * r_out - v2, 0.0))
        low = max(0, math.ceil(xc - outer))
        high = min(nx - 1, math.floor(xc + outer))
        for i in range(high - low + 1):
            blocked[i] = False
        for k in close:
            rest = near_r[k] ** 2 - (j - near_y[k]) ** 2
            if rest >= 0.0:
                half = math.sqrt(rest)
                first = max(low, math.ceil(near_x[k] - half))
                for i in range(first, min(high, math.floor(near_x[k] + half)) + 1):
                    blocked[i - low] = True
        left, right = high + 1, high + 1  # the row within the annulus is low to left, and right to high
        if v2 < r_in * r_in:
            inner = math.sqrt(r_in * r_in - v2)
            left = min(max(math.floor(xc - inner) + 1, low), high + 1)
            right = min(max(math.ceil(xc + inner), left), high + 1)
        for first, stop in ((low, left), (right, high + 1)):
            for i in range(first, stop):
                value = image[j, i]
                values[n] = value
                n += (mask[j, i] == 0) & (abs(value) < np.inf) & (not blocked[i - low])
    return n


@njit(cache=True, nogil=True, error_model="numpy")
def _annuli(image, mask, x, y, r_in, r_out, sigma, widen, iterations, near_x, near_y, near_r, sky, rms, used):
    size = 2 * math.ceil(r_out) + 3
    values, tail, middle = np.empty(size * size + 1), np.empty(size * size + 1), np.empty(size * size + 1)
    blocked = np.empty(size, np.bool_)
    close = np.empty(near_x.size, np.int64)
    for star in range(x.size):
        xc = x[star]
        yc = y[star]
        if not (abs(xc) < 1e9 and abs(yc) < 1e9):
            continue
        n_close = 0
        for k in range(near_x.size):
            d2 = (near_x[k] - xc) ** 2 + (near_y[k] - yc) ** 2
            if SAME_STAR**2 < d2 < (r_out + near_r[k]) ** 2:
                close[n_close] = k
                n_close += 1
        near = close[:n_close]
        n = _gather(image, mask, xc, yc, r_in, r_out, near_x, near_y, near_r, near, blocked, values)
        if n < MIN_PIXELS and n_close > 0:
            n = _gather(image, mask, xc, yc, r_in, r_out, near_x, near_y, near_r, close[:0], blocked, values)
        if n >= MIN_PIXELS:
            sky[star], rms[star], used[star] = _clipped(values, n, sigma, widen, iterations, tail, middle)


@njit(cache=True, nogil=True, error_model="numpy")
def _flags(mask, image, x, y, radius, flags, peak):
    ny, nx = mask.shape
    for star in range(x.size):
        xc = x[star]
        yc = y[star]
        if not (abs(xc) < 1e9 and abs(yc) < 1e9):
            continue
        room = min(min(xc + 0.5, nx - 0.5 - xc), min(yc + 0.5, ny - 0.5 - yc))
        if radius > room:
            flags[star] |= np.uint16(_EDGE)
        column = math.floor(xc + 0.5)
        row = math.floor(yc + 0.5)
        reach = math.ceil(radius) + 1
        bits, highest = np.uint16(0), -np.inf
        for j in range(max(0, row - reach), min(ny - 1, row + reach) + 1):
            v2 = (j - yc) ** 2
            for i in range(max(0, column - reach), min(nx - 1, column + reach) + 1):
                if (i - xc) ** 2 + v2 <= radius * radius or (i == column and j == row):
                    bits |= np.uint16(mask[j, i])
                    value = float(image[j, i])
                    if highest < value < np.inf:
                        highest = value
        flags[star] |= bits
        if highest > -np.inf:
            peak[star] = highest
