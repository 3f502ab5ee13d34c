"""The quick finder: the stars of one frame in a few milliseconds."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..errors import InputError
from ..flags import PIXEL_BAD, PIXEL_COSMIC, PIXEL_NONFINITE, PIXEL_SATURATED
from .centroid import GAUSSIAN_FWHM, gaussian_width, windowed
from .order import median
from .skygrid import sky_grid, steady

#: The rms of white noise after smoothing with [1 2 1] x [1 2 1] / 16.
SMOOTH_RMS = 0.375
#: Pixels that carry no usable light.
UNUSABLE = PIXEL_BAD | PIXEL_COSMIC | PIXEL_NONFINITE

#: Least mean of the eight neighbours over the highest pixel; a star of FWHM 1.6 px has 0.28, a hot pixel 0.
MIN_SHARE = 0.18
#: A share below this part of the usual star's is no star.
RELATIVE_SHARE = 0.5
#: So many bright stars tell what is usual.
BRIGHT = 100


def repair(image: NDArray[np.float32], mask: NDArray[np.uint8], bits: int) -> NDArray[np.float32]:
    """The image, with each masked pixel the mean of its unmasked neighbours, or NaN where it has none.

    The image itself where nothing is masked, a copy otherwise.
    """
    masked = np.flatnonzero((mask & np.uint8(bits)) != 0)
    if not len(masked):
        return image
    out = image.copy()
    _fill(image, mask, bits, masked, out)
    return out


@njit(cache=True, nogil=True)
def _fill(image, mask, bits, masked, out):  # type: ignore[no-untyped-def]
    ny, nx = image.shape
    for k in masked:
        i, j = k // nx, k % nx
        total, n = 0.0, 0
        for a in range(max(i - 1, 0), min(i + 2, ny)):
            for b in range(max(j - 1, 0), min(j + 2, nx)):
                if not mask[a, b] & bits and math.isfinite(image[a, b]):
                    total += image[a, b]
                    n += 1
        out[i, j] = total / n if n > 0 else math.nan


@njit(cache=True, nogil=True)
def _scan(image, level, limit):  # type: ignore[no-untyped-def]
    """Local maxima of the smoothed image above the limit.

    `level` and `limit` (rows, columns) are sky and threshold in cells; between their centres they are linear.
    Returns per maximum: column, row, smoothed height above the sky, sky, share of the neighbours, and the
    highest pixel above the sky.
    """
    ny, nx = image.shape
    rows, columns = level.shape
    found, n = np.empty((6, 4096)), 0
    three, smooth = np.zeros(nx, np.float32), np.full((3, nx), -np.inf, np.float32)
    bar, node, bright = np.zeros(nx, np.float32), np.zeros(columns), np.zeros(nx, np.int64)
    for i in range(1, ny):
        # row i - 1 is tested once the smoothed row i is there; row ny - 1 stands for the outside
        new = smooth[i % 3]
        if i < ny - 1:
            # slices, so that the loops become vector instructions
            up, mid, down = image[i - 1], image[i], image[i + 1]
            for j in range(nx):
                three[j] = up[j] + mid[j] + mid[j] + down[j]
            left, centre, right, inner = three[:-2], three[1:-1], three[2:], new[1:-1]
            for j in range(nx - 2):
                inner[j] = np.float32(0.0625) * (left[j] + centre[j] + centre[j] + right[j])
        else:
            for j in range(nx):
                new[j] = -np.inf
        t = i - 1
        if t == 0:
            continue
        here, above = smooth[t % 3], smooth[(t - 1) % 3]
        at = (t + 0.5) * rows / ny - 0.5
        r = min(max(math.floor(at), 0), max(rows - 2, 0))
        w, r1 = (at - r if rows > 1 else 0.0), min(r + 1, rows - 1)
        for c in range(columns):
            node[c] = (1.0 - w) * (level[r, c] + limit[r, c]) + w * (level[r1, c] + limit[r1, c])
        for c in range(max(columns - 1, 1)):
            # from centre to centre; the first and the last piece go on to the border
            first = 0 if c == 0 else math.ceil((c + 0.5) * nx / columns - 0.5)
            last = nx if c >= columns - 2 else math.ceil((c + 1.5) * nx / columns - 0.5)
            slope = (node[min(c + 1, columns - 1)] - node[c]) * columns / nx
            start = np.float32(node[c] + slope * (first - (c + 0.5) * nx / columns + 0.5))
            piece, slope = bar[first:last], np.float32(slope)
            for j in range(last - first):
                piece[j] = start + slope * np.float32(j)
        # most pieces hold nothing, which a loop of vector instructions tells
        n_bright = 0
        for first in range(1, nx - 1, 64):
            last = min(first + 64, nx - 1)
            part, piece, any_bright = here[first:last], bar[first:last], np.int32(0)
            for j in range(last - first):
                any_bright += np.int32(part[j] > piece[j])
            if any_bright:
                for j in range(first, last):
                    if here[j] > bar[j]:
                        bright[n_bright] = j
                        n_bright += 1
        for hit in range(n_bright):
            j = bright[hit]
            s = here[j]
            # of equal pixels, as on a saturated plateau, the first counts
            if not (s > here[j - 1] and s >= here[j + 1] and s > above[j - 1] and s > above[j]):
                continue
            if not (s > above[j + 1] and s >= new[j - 1] and s >= new[j] and s >= new[j + 1]):
                continue
            u = (j + 0.5) * columns / nx - 0.5
            c = min(max(math.floor(u), 0), max(columns - 2, 0))
            u, c1 = (u - c if columns > 1 else 0.0), min(c + 1, columns - 1)
            sky = (1 - w) * ((1 - u) * level[r, c] + u * level[r, c1]) + w * (
                (1 - u) * level[r1, c] + u * level[r1, c1]
            )
            # the highest pixel and its eight neighbours
            pi, pj = t, j
            for a in range(t - 1, t + 2):
                for b in range(j - 1, j + 2):
                    if image[a, b] > image[pi, pj]:
                        pi, pj = a, b
            total, m = 0.0, 0
            for a in range(max(pi - 1, 0), min(pi + 2, ny)):
                for b in range(max(pj - 1, 0), min(pj + 2, nx)):
                    total += image[a, b] - sky
                    m += 1
            peak = image[pi, pj] - sky
            if n == found.shape[1]:
                grown = np.empty((6, 2 * n))
                for k in range(6):
                    for a in range(n):
                        grown[k, a] = found[k, a]
                found = grown
            found[0, n], found[1, n], found[2, n], found[3, n] = j, t, s - sky, sky
            found[4, n] = (total - peak) / ((m - 1) * peak) if peak > 0.0 else 0.0
            found[5, n] = peak
            n += 1
    return found[:, :n].copy()


@njit(cache=True, nogil=True)
def measure_maxima(image, x, y, fwhm):  # type: ignore[no-untyped-def]
    """Sky on a ring, smoothed height, box flux, and whether a trail (1) runs through: (4, nstar)."""
    ny, nx = image.shape
    n = len(x)
    out = np.full((4, n), np.nan)
    radius, box = max(2.5 * fwhm, 4.0), int(min(max(round(0.8 * fwhm), 1), 8))
    ring, side, ring_x, ring_y = np.empty(24), np.empty(24), np.empty(24, np.int64), np.empty(24, np.int64)
    for a in range(24):
        ring_x[a] = round(radius * math.cos(2.0 * math.pi * a / 24))
        ring_y[a] = round(radius * math.sin(2.0 * math.pi * a / 24))
    for k in range(n):
        cx, cy = int(x[k]), int(y[k])
        m = 0
        for a in range(24):
            px, py = cx + ring_x[a], cy + ring_y[a]
            side[a] = math.nan
            if 1 <= px < nx - 1 and 1 <= py < ny - 1:
                total = 0.0
                for i in range(-1, 2):
                    w = 2.0 if i == 0 else 1.0
                    total += w * (image[py + i, px - 1] + 2.0 * image[py + i, px] + image[py + i, px + 1])
                side[a] = total / 16.0
                if math.isfinite(total):
                    ring[m] = side[a]
                    m += 1
        if m < 8:
            continue
        part = np.sort(ring[:m])
        sky = 0.5 * (part[(m - 1) // 2] + part[m // 2])
        flux = height = 0.0
        for i in range(cy - box, cy + box + 1):
            for j in range(cx - box, cx + box + 1):
                # a pixel outside the frame is taken for its mirror image
                a, b = i if 0 <= i < ny else 2 * cy - i, j if 0 <= j < nx else 2 * cx - j
                value = image[min(max(a, 0), ny - 1), min(max(b, 0), nx - 1)] - sky
                flux += value
                if abs(i - cy) <= 1 and abs(j - cx) <= 1:
                    height += value * (2 - abs(i - cy)) * (2 - abs(j - cx)) / 16.0
        trail = 0.0
        for a in range(12):
            if min(side[a], side[a + 12]) - sky > 0.5 * height:
                trail = 1.0
        out[0, k], out[1, k], out[2, k], out[3, k] = sky, height, flux, trail
    return out


@njit(cache=True, nogil=True)
def _brightest_nearby(x, y, flux, radius):  # type: ignore[no-untyped-def]
    """True for a star that has no brighter one within the radius; x, y sorted by y."""
    n = len(x)
    keep = np.ones(n, np.bool_)
    for i in range(n):
        j = i + 1
        while j < n and y[j] - y[i] < radius:
            if (x[j] - x[i]) ** 2 + (y[j] - y[i]) ** 2 < radius * radius:
                keep[j if flux[j] <= flux[i] else i] = False
            j += 1
    return keep


def checked(image: NDArray, mask: NDArray[np.uint8] | None) -> NDArray[np.float32]:
    """The image as C-contiguous float32, after a look at the shapes."""
    if np.ndim(image) != 2 or min(np.shape(image)) < 16:
        raise InputError(f"image: shape {np.shape(image)}, expected two dimensions (y, x) of at least 16 px")
    if mask is not None and mask.shape != image.shape:
        raise InputError(f"mask: shape {mask.shape}, expected that of the image, {image.shape}")
    return np.ascontiguousarray(image, np.float32)


def find_stars(
    image: NDArray,
    mask: NDArray[np.uint8] | None = None,
    n_max: int = 1000,
    sigma: float = 5.0,
    fwhm: float | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Stars of one frame, quickly: local maxima that carry light like the frame's own PSF.

    Parameters
    ----------
    image : array (ny, nx)
        Calibrated or raw pixels.
    mask : uint8 array (ny, nx), optional
        Pixel bits; bad, cosmic and not finite pixels are replaced by their neighbours' mean. Saturated stars
        are kept.
    n_max : int
        At most this many, the brightest.
    sigma : float
        Threshold on the smoothed image, in its own noise.
    fwhm : float, optional
        FWHM of the stars [px]; by default found from the brightest.

    Returns
    -------
    x, y : float64 array (nstar,)
        Windowed centroids [px].
    flux : float64 array (nstar,)
        Sum over a box of about 1.6 FWHM, in the unit of the image; the brightest star comes first.
    snr : float64 array (nstar,)
        Height in the smoothed image over its noise.

    Raises
    ------
    InputError
        If the image is not two-dimensional, smaller than 16 px, or the mask has another shape.

    Notes
    -----
    Sky and noise come from at most 16 x 16 cells, some 150 samples each. Hot pixels and cosmic rays have dark
    neighbours; trails go on to both sides. Of stars closer than 0.8 FWHM the brighter one is kept.
    """
    pixels = checked(image, mask)
    if mask is not None:
        pixels = repair(pixels, np.ascontiguousarray(mask), UNUSABLE)
    found, noise = np.empty((6, 0)), np.empty(0)
    if fwhm is None:
        found, noise = _maxima(pixels, sigma)
        fwhm = _frame_fwhm(pixels, mask, found)
    # wide stars are found among fewer, better pixels
    step = 1 if fwhm < 5.0 else max(min(int(fwhm / 2.5), min(pixels.shape) // 16), 1)
    binned = pixels if step == 1 else _binned(pixels, step)
    if step > 1 or found.shape[1] == 0:
        found, noise = _maxima(binned, sigma)
    if found.shape[1] == 0:
        return np.empty(0), np.empty(0), np.empty(0), np.empty(0)
    if found.shape[1] > 4 * n_max:
        clearest = _clearest(found, 4 * n_max)
        found, noise = np.take(found, clearest, axis=1), noise[clearest]
    sky, height, flux, trail = measure_maxima(binned, found[0], found[1], fwhm / step)
    share = _share(found, sky)
    with np.errstate(invalid="ignore"):
        keep = (height > sigma * noise) & (flux > 0) & (trail == 0) & (share > MIN_SHARE)
    clear = np.flatnonzero(keep & (height > 20 * noise) & ~_saturated(mask, found, step))
    if len(clear):
        brightest = clear[np.argsort(-height[clear], kind="stable")[:BRIGHT]]
        keep &= share > RELATIVE_SHARE * median(share[brightest])
    stars = np.flatnonzero(keep)
    most = int(1.3 * n_max) + 10  # spare ones stand in for those that turn out to be one star
    if len(stars) > most:
        stars = np.sort(stars[np.argsort(-flux[stars], kind="stable")[:most]])
    sky, flux, height, snr = sky[stars], flux[stars] * step**2, height[stars], height[stars] / noise[stars]
    first_x, first_y = (step * (found[k, stars] + 0.5) - 0.5 for k in (0, 1))
    x, y, ok = windowed(pixels, first_x, first_y, fwhm / GAUSSIAN_FWHM, sky)
    lost = np.flatnonzero(~ok & (height > 0.3 * np.max(height, initial=0.0)))
    if len(lost):
        # a saturated plateau is wide, and its first pixel far from the centre
        wide, start = 1.5 * fwhm / GAUSSIAN_FWHM, (first_x[lost], first_y[lost])
        x[lost], y[lost], ok[lost] = windowed(pixels, *start, wide, sky[lost], max_shift=2.0 * fwhm)
    # without a centroid, as in a blend or at the border, the maximum itself has to do
    x, y = np.where(ok, x, first_x), np.where(ok, y, first_y)
    order = np.lexsort((x, y))
    x, y, flux, snr = x[order], y[order], flux[order], snr[order]
    alone = _brightest_nearby(x, y, flux, max(0.8 * fwhm, 1.5))
    order = np.flatnonzero(alone)[np.lexsort((x[alone], y[alone], -flux[alone]))][:n_max]
    return x[order], y[order], flux[order], snr[order]


def _maxima(pixels: NDArray[np.float32], sigma: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Maxima of the smoothed image that are no hot pixels, as `_scan` gives them, and the noise at each."""
    ny, nx = pixels.shape
    rows, columns = (min(max(round(size / 64), 1), 16) for size in pixels.shape)
    sky, rms = sky_grid(pixels, rows, columns)
    if not np.isfinite(sky).any():
        return np.empty((6, 0)), np.empty(0)
    usual = median(rms[np.isfinite(rms)])
    # an image without noise still has rounding
    floor = max(0.1 * usual, 1e-6 * float(np.nanmax(abs(sky))), 1e-30)
    rms = np.maximum(steady(rms, np.full(rms.shape, 0.25 * usual)), floor)
    found = _scan(pixels, steady(sky, 3.0 * rms), sigma * rms)
    found = np.compress(found[4] > MIN_SHARE, found, axis=1)
    row, column = (found[1] * rows / ny).astype(int), (found[0] * columns / nx).astype(int)
    return found, rms[row, column]


def _clearest(found: NDArray[np.float64], n: int) -> NDArray[np.int64]:
    """The n maxima that stand out from their neighbours most: ripples in a bright star's halo are high, but flat."""
    contrast = found[5] * (1.0 - found[4])
    return np.sort(np.argsort(-contrast, kind="stable")[:n])


def _binned(pixels: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    """Means over step x step pixels; what is left over at the far borders is dropped."""
    ny, nx = (size // step for size in pixels.shape)
    out = np.zeros((ny, nx), np.float32)
    for i in range(step):
        for j in range(step):
            out += pixels[i : ny * step : step, j : nx * step : step]
    out /= np.float32(step**2)
    return out


def _share(found: NDArray[np.float64], sky: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the neighbours where the sky is `sky`: that of the halo, in the halo of a bright star."""
    away = sky - found[3]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(found[5] > away, (found[4] * found[5] - away) / (found[5] - away), 0.0)


@njit(cache=True, nogil=True)
def _near_saturated(mask, column, row, step):  # type: ignore[no-untyped-def]
    ny, nx = mask.shape
    near = np.zeros(len(column), np.bool_)
    for k in range(len(column)):
        j, i = int(column[k]) * step + step // 2, int(row[k]) * step + step // 2
        for a in range(max(i - step, 0), min(i + step + 1, ny)):
            for b in range(max(j - step, 0), min(j + step + 1, nx)):
                near[k] |= mask[a, b] & PIXEL_SATURATED != 0
    return near


def _saturated(mask: NDArray[np.uint8] | None, found: NDArray[np.float64], step: int) -> NDArray[np.bool_]:
    """Whether a saturated pixel is among the nine of each maximum, found with pixels of `step` binned."""
    if mask is None:
        return np.zeros(found.shape[1], np.bool_)
    return _near_saturated(np.ascontiguousarray(mask), found[0], found[1], step)  # type: ignore[no-any-return]


def _frame_fwhm(
    pixels: NDArray[np.float32], mask: NDArray[np.uint8] | None, found: NDArray[np.float64]
) -> float:
    """Median Gaussian FWHM of the bright maxima; 3 px where none can be measured."""
    found = np.take(found, _clearest(found, 300), axis=1)
    # What stands out from a ring of 7.5 px is a star, narrow or wide, and no ripple in a bright star's halo.
    _, height, _, _ = measure_maxima(pixels, found[0], found[1], 3.0)
    height = np.where(_saturated(mask, found, 1) | ~np.isfinite(height), -np.inf, height)
    # without a mask, the very brightest may be saturated
    bright = np.argsort(-height, kind="stable")[: min(60, max(5, len(height) // 2))]
    _, _, width = gaussian_width(pixels, found[0, bright], found[1, bright], found[3, bright])
    width = width[np.isfinite(width)]
    return min(max(GAUSSIAN_FWHM * median(width), 1.2), 12.0) if len(width) else 3.0
