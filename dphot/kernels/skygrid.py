"""Sky and noise of a frame on a coarse grid, for the quick finder."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def _samples(image, rows, columns):  # type: ignore[no-untyped-def]
    """Samples of the smoothed image in each cell, and differences of neighbours: (2, cell, n), NaN at the end."""
    ny, nx = image.shape
    height, width = ny // rows + 1, nx // columns + 1
    # in their own precision, which is sorted in half the time; of wide cells one step more than of narrow ones
    size = (height // max((height - 3) // 12, 1) + 1) * (width // max((width - 3) // 12, 4) + 1)
    out = np.full((2, rows * columns, size), np.float32(np.nan))
    most = 0
    for r in range(rows):
        top, bottom = max(r * ny // rows, 1), min((r + 1) * ny // rows, ny - 1)
        di = max((bottom - top) // 12, 1)
        for c in range(columns):
            left, right = max(c * nx // columns, 1), min((c + 1) * nx // columns, nx - 1)
            dj = max((right - left) // 12, 4)  # samples 4 px apart share no pixel
            n = m = 0
            for i in range(top + di // 2, bottom, di):
                up, mid, down = image[i - 1], image[i], image[i + 1]
                last = math.nan
                for j in range(left, right, dj):
                    side = up[j - 1] + up[j + 1] + down[j - 1] + down[j + 1]
                    value = (side + 2.0 * (up[j] + down[j] + mid[j - 1] + mid[j + 1]) + 4.0 * mid[j]) / 16.0
                    if math.isfinite(value):
                        out[0, r * columns + c, n] = value
                        n += 1
                        if math.isfinite(last):
                            out[1, r * columns + c, m] = value - last
                            m += 1
                    last = value
            most = max(most, n)
    return out[:, :, :most]


@njit(cache=True, nogil=True)
def _clipped(samples):  # type: ignore[no-untyped-def]
    """Median and standard deviation after clipping at 3 sigma, of each row of sorted values with NaN at the end."""
    out = np.full((2, samples.shape[0]), np.nan)
    for k in range(samples.shape[0]):
        part, high = samples[k], samples.shape[1]
        while high > 0 and math.isnan(part[high - 1]):
            high -= 1
        low = 0
        if high < 5:
            continue
        for _ in range(4):
            m = high - low
            out[0, k] = 0.5 * (part[low + (m - 1) // 2] + part[low + m // 2])
            # 0.7413 (q75 - q25) is the standard deviation of a normal law
            out[1, k] = 0.7413 * (part[low + (3 * m) // 4] - part[low + m // 4])
            if not out[1, k] > 0.0:
                break
            first, last = low, high
            while part[first] < out[0, k] - 3.0 * out[1, k]:
                first += 1
            while part[last - 1] > out[0, k] + 3.0 * out[1, k]:
                last -= 1
            if first == low and last == high:
                break
            low, high = first, last
    return out


def sky_grid(
    image: NDArray[np.float32], rows: int, columns: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sky and noise of the smoothed image in rows x columns cells, from some 150 samples each.

    The noise is that of differences between neighbouring samples, which no gradient of the sky enlarges.
    """
    samples = _samples(image, rows, columns)
    samples.sort(axis=-1)  # numpy sorts with vector instructions, compiled code does not
    sky, rms = _clipped(samples[0])[0], _clipped(samples[1])[1]
    return sky.reshape(rows, columns), rms.reshape(rows, columns) / math.sqrt(2.0)


@njit(cache=True, nogil=True)
def _steady(grid, spread):  # type: ignore[no-untyped-def]
    rows, columns = grid.shape
    wide = np.empty((rows + 2, columns + 2))
    wide[1:-1, 1:-1] = grid
    wide[0, 1:-1], wide[-1, 1:-1] = 2 * grid[0] - grid[1], 2 * grid[-1] - grid[-2]
    wide[:, 0], wide[:, -1] = 2 * wide[:, 1] - wide[:, 2], 2 * wide[:, -2] - wide[:, -3]
    out, around = grid.copy(), np.empty(9)
    for r in range(rows):
        for c in range(columns):
            for k in range(9):  # insertion sort
                value, b = wide[r + k // 3, c + k % 3], k
                while b > 0 and around[b - 1] > value:
                    around[b] = around[b - 1]
                    b -= 1
                around[b] = value
            if abs(grid[r, c] - around[4]) > spread[r, c]:
                out[r, c] = around[4]
    return out


def steady(grid: NDArray[np.float64], spread: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cells far off the median of their 3 x 3 surroundings replaced by it; linear slopes pass unchanged."""
    good = np.isfinite(grid)
    if not good.all():
        grid = np.where(good, grid, np.median(grid[good]) if good.any() else 0.0)
    return grid if min(grid.shape) < 3 else _steady(grid, spread)
