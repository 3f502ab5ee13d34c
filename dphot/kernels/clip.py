"""The clipped mean of a stack of frames, many pixels at a time.

The values of a pixel are sorted by a network of exchanges, the same for every pixel, which the compiler does for
several pixels at once; so are the median, the deviation and the mean. Only pixels of which something is clipped or
missing, a few in a hundred, are looked at one by one.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

#: Bytes of frames that are sorted at a time: they stay in the processor's cache.
BLOCK_BYTES = 2**20


def clipped(
    cube: NDArray[np.float32], sigma: float, iterations: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int16]]:
    """Mean, its variance, and the number of values kept; see `dphot.kernels.combine.clipped_mean`.

    Parameters
    ----------
    cube : ndarray of float32, shape (n, ny, nx)
        Frames, n >= 1, read-only.
    sigma : float
        Clipping limit.
    iterations : int
        Rounds of clipping at most.

    Returns
    -------
    mean, variance : ndarray of float32, shape (ny, nx)
    n_used : ndarray of int16, shape (ny, nx)
    """
    n, ny, nx = cube.shape
    mean, variance = np.empty((ny, nx), np.float32), np.empty((ny, nx), np.float32)
    n_used = np.empty((ny, nx), np.int16)
    bits, exchanges = cube.view(np.int32), network(n)
    height = max(1, min(ny, BLOCK_BYTES // max(4 * n * nx, 1)))
    ranked = np.empty((height, n * nx), np.float32)
    middles, widths = np.zeros((height, nx)), np.empty((height, nx))
    for y in range(0, ny, height):
        rows = min(height, ny - y)
        _rank(bits, y, exchanges, ranked[:rows], middles, widths)
        ordered = np.sort(widths[:rows], axis=1)
        _average(ranked[:rows], middles, widths, ordered, sigma, iterations, y, mean, variance, n_used)
    return mean, variance, n_used


@lru_cache(maxsize=64)
def network(n: int) -> NDArray[np.int64]:
    """Pairs (first < second) that, put in order one after the other, sort n values.

    Batcher's merge exchange (Knuth, The Art of Computer Programming 3, 5.2.2, algorithm M).
    """
    pairs = []
    top = 1 << max((n - 1).bit_length() - 1, 0)
    p = top if n > 1 else 0
    while p:
        q, r, d = top, 0, p
        while True:
            pairs += [(i, i + d) for i in range(n - d) if i & p == r]
            if q == p:
                break
            d, q, r = q - p, q >> 1, p
        p >>= 1
    return np.array(pairs, np.int64).reshape(-1, 2)


@njit(cache=True, nogil=True, error_model="numpy")
def _deviation(values, n):
    """Median of sorted values, and their standard deviation from the median absolute deviation.

    The last factor frees a handful of normal values from its bias (simulated for n = 3 to 50, good to 2 %).
    """
    middle = 0.5 * (values[(n - 1) // 2] + values[n // 2])
    # Both sides are sorted by their distance already: they are merged up to the median.
    left, right = (n - 1) // 2, (n - 1) // 2 + 1
    before = away = 0.0
    for _ in range(n // 2 + 1):
        before = away
        if right >= n or (left >= 0 and middle - values[left] <= values[right] - middle):
            away = middle - values[left]
            left -= 1
        else:
            away = values[right] - middle
            right += 1
    width = 1.4826 * (0.5 * (before + away) if n % 2 == 0 else away)
    return middle, width / (1.0 - 1.0 / n - 1.1 / (n * n)) if n > 2 else width


@njit(cache=True, nogil=True, error_model="numpy")
def _step(n):
    """Pixels whose n values each are looked at together.

    Their values fill half of a first-level cache; an odd multiple of its lines, lest they all fall on the same few.
    """
    return (4096 // n) // 32 * 32 + 16


@njit(cache=True, nogil=True, error_model="numpy")
def _sort(bits, y, start, exchanges, keys, pixels):
    """Sort the values of each of the pixels (n, size) in row y from column `start` on.

    `bits` and `pixels` are those of float32 values. What is not finite comes last, as infinity. They are sorted as
    whole numbers of the same order, several times as fast: of floats, the compiler does not know that the lesser
    is one of the two.
    """
    n, size = pixels.shape
    for k in range(n):
        source, target = bits[k, y][start : start + size], keys[k]
        for x in range(size):
            value = source[x]
            value = value if (value & 0x7FFFFFFF) < 0x7F800000 else np.int32(0x7F800000)
            target[x] = value ^ ((value >> 31) & 0x7FFFFFFF)
    for e in range(exchanges.shape[0]):
        first, second = keys[exchanges[e, 0]], keys[exchanges[e, 1]]
        for x in range(size):
            one, two = first[x], second[x]
            first[x] = min(one, two)
            second[x] = max(one, two)
    for k in range(n):
        source, target = keys[k], pixels[k]
        for x in range(size):
            target[x] = source[x] ^ ((source[x] >> 31) & 0x7FFFFFFF)


@njit(cache=True, nogil=True, error_model="numpy")
def _nearest(pixels, middle, rank, scratch):
    """The distance to the median that `rank` values do not exceed, of each column of sorted values (n, size).

    The distances to either side are sorted. Of i from the left and the others from the right the largest is at
    least the one sought, and equal to it for the right i.
    """
    n, size = pixels.shape
    left = (n - 1) // 2
    least, other = scratch[0], scratch[1]
    least[:] = np.inf
    for i in range(max(0, rank - (n - 1 - left)), min(rank, left + 1) + 1):
        # where nothing comes from one side, the other's value stands for it too
        low = pixels[left + 1 - i if i > 0 else left + rank]
        high = pixels[left + rank - i if i < rank else left + 1 - i]
        for x in range(size):  # written elsewhere: the compiler would store only some, one at a time
            one = abs(low[x] - middle[x])
            two = abs(high[x] - middle[x])
            one = one if one > two else two
            other[x] = one if one < least[x] else least[x]
        least, other = other, least
    return least


@njit(cache=True, nogil=True, error_model="numpy")
def _rank(bits, y, exchanges, ranked, middles, widths):
    """Sort the values of each pixel of some rows from y on (see `_sort`); their medians and deviations.

    The deviation of fewer than three values is infinity.
    """
    n, nx = bits.shape[0], bits.shape[2]
    step = _step(n)
    scratch = np.empty((4, step))
    keys = np.empty(n * step, np.int32)
    column = np.empty(n)
    free = 1.0 - 1.0 / n - 1.1 / (n * n)
    for row in range(ranked.shape[0]):
        for start in range(0, nx, step):
            size = min(step, nx - start)
            part = ranked[row][n * start : n * (start + size)].reshape(n, size)
            space = keys[: n * size].reshape(n, size)
            _sort(bits, y + row, start, exchanges, space, part.view(np.int32))
            middle, width = middles[row][start : start + size], widths[row][start : start + size]
            if n > 2:
                low, high = part[(n - 1) // 2], part[n // 2]
                for x in range(size):
                    middle[x] = 0.5 * (float(low[x]) + float(high[x]))
                away = _nearest(part, middle, n // 2 + 1, scratch[:2])
                before = away if n % 2 else _nearest(part, middle, n // 2, scratch[2:])
                for x in range(size):
                    both = 0.5 * (before[x] + away[x]) if n % 2 == 0 else away[x]
                    width[x] = 1.4826 * both / free
            last = part[n - 1]
            for x in range(size):
                if n > 2 and last[x] < np.float32(np.inf):
                    continue
                count = _finite(part, x, column)
                width[x] = np.inf
                if count > 2:
                    middle[x], width[x] = _deviation(column, count)


@njit(cache=True, nogil=True, error_model="numpy")
def _finite(pixels, x, column):
    """Copy the finite values of one pixel; how many there are."""
    count = 0
    while count < pixels.shape[0] and pixels[count, x] < np.inf:
        column[count] = pixels[count, x]
        count += 1
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def _floor(ordered):
    """The deviation of a typical pixel of a row, from all of them in order.

    The mean of the inner half: unlike a median it does not stick to whole numbers.
    """
    typical = ordered.size
    while typical > 0 and not ordered[typical - 1] < np.inf:
        typical -= 1
    total = 0.0
    for k in range(typical // 4, typical - typical // 4):
        total += ordered[k]
    return total / max(typical - 2 * (typical // 4), 1)


@njit(cache=True, nogil=True, error_model="numpy")
def _average(ranked, middles, widths, ordered, sigma, iterations, y, mean, variance, n_used):
    """The clipped mean of rows of sorted values, its variance and the numbers kept, written from row y on."""
    n, nx = ranked.shape[1] // mean.shape[1], mean.shape[1]
    step = _step(n)
    average, squares = np.empty(step), np.empty(step)
    odd = np.empty(step, np.bool_)
    column = np.empty(n)
    for row in range(ranked.shape[0]):
        floor = _floor(ordered[row])
        for start in range(0, nx, step):
            size = min(step, nx - start)
            pixels = ranked[row][n * start : n * (start + size)].reshape(n, size)
            out, spread = mean[y + row][start : start + size], variance[y + row][start : start + size]
            used = n_used[y + row][start : start + size]
            middle, width = middles[row][start : start + size], widths[row][start : start + size]
            for x in range(size):
                average[x] = squares[x] = 0.0
            for k in range(n):
                values = pixels[k]
                for x in range(size):
                    average[x] += values[x]
            for x in range(size):
                average[x] /= n
            for k in range(n):
                values = pixels[k]
                for x in range(size):
                    away = values[x] - average[x]
                    squares[x] += away * away
            low, high = pixels[0], pixels[n - 1]
            for x in range(size):
                out[x] = average[x]
                spread[x] = squares[x] / float((n - 1) * n)
                used[x] = n
                wide = width[x] if width[x] > floor else floor
                outside = (low[x] < middle[x] - sigma * wide) | (high[x] > middle[x] + sigma * wide)
                odd[x] = ((n > 2) & outside) | (high[x] == np.float32(np.inf))
            for x in range(size):
                if odd[x]:
                    count = _finite(pixels, x, column)
                    wide = max(width[x], floor)
                    kept = _clip(column, count, middle[x], wide, floor, sigma, iterations)
                    out[x], spread[x], used[x] = kept


@njit(cache=True, nogil=True, error_model="numpy")
def _clip(values, count, centre, width, floor, sigma, iterations):
    """Clipped mean of sorted values, its variance, and how many are kept."""
    low = 0
    high = count
    average = np.nan
    squares = 0.0
    for _ in range(iterations + 1):
        if count > 2:
            limit = sigma * width
            first = 0
            while first < count - 1 and values[first] < centre - limit:
                first += 1
            last = count
            while last > first + 1 and values[last - 1] > centre + limit:
                last -= 1
        else:
            first = 0
            last = count
        changed = first != low or last != high
        low = first
        high = last
        total = 0.0
        for k in range(low, high):
            total += values[k]
        average = total / (high - low)
        squares = 0.0
        for k in range(low, high):
            squares += (values[k] - average) ** 2
        if count <= 2 or not changed:
            break
        centre = 0.5 * (values[(low + high - 1) // 2] + values[(low + high) // 2])
        width = max(math.sqrt(squares / max(high - low - 1, 1)), floor)
    kept = high - low
    return (
        average if kept > 0 else np.nan,
        squares / ((kept - 1) * kept) if kept > 1 else np.nan,
        kept,
    )
