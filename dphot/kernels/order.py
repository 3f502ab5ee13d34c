"""Order statistics of a few values, without the overhead of general functions."""

from __future__ import annotations

import math

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def median(values):  # type: ignore[no-untyped-def]
    """Median of float64 values (n,); NaN where one is NaN, or there are none."""
    n = len(values)
    if n == 0:
        return math.nan
    ranked = np.sort(values)  # NaN comes last
    return ranked[-1] if math.isnan(ranked[-1]) else 0.5 * (ranked[(n - 1) // 2] + ranked[n // 2])


@njit(cache=True, nogil=True, error_model="numpy")
def _middle(a, b, c):  # type: ignore[no-untyped-def]
    return max(min(a, b), min(max(a, b), c))


@njit(cache=True, nogil=True, error_model="numpy")
def select(values, n, k):  # type: ignore[no-untyped-def]
    """The k-th smallest of values[:n]; reorders them: none larger before k, none smaller after.

    Quickselect whose partition has no branch to mispredict; what equals the pivot is set apart by a second
    pass, which whole numbers need.
    """
    low = 0
    high = n - 1
    while low < high:
        step = (high - low) // 8
        if step > 16:  # the middle of nine values halves better than that of three
            a = _middle(values[low], values[low + step], values[low + 2 * step])
            b = _middle(values[low + 3 * step], values[low + 4 * step], values[low + 5 * step])
            c = _middle(values[low + 6 * step], values[low + 7 * step], values[high])
            pivot = _middle(a, b, c)
        else:
            pivot = _middle(values[low], values[(low + high) // 2], values[high])
        split = low
        for i in range(low, high + 1):
            value = values[i]
            values[i] = values[split]
            values[split] = value
            split += value < pivot
        if k < split:
            high = split - 1
            continue
        low = split
        for i in range(split, high + 1):
            value = values[i]
            values[i] = values[split]
            values[split] = value
            split += value == pivot
        if k < split:
            break
        low = split
    return values[k]


@njit(cache=True, nogil=True, error_model="numpy")
def selected_median(values, room):  # type: ignore[no-untyped-def]
    """Median of finite float64 values (n,), NaN of none; `room` (at least n,) is overwritten.

    Unlike `median` in time that goes as n.
    """
    n = len(values)
    if n == 0:
        return math.nan
    room[:n] = values
    upper = select(room, n, n // 2)
    return upper if n % 2 else 0.5 * (room[: n // 2].max() + upper)


@njit(cache=True, nogil=True, error_model="numpy")
def median_near(values, guess, width, room):  # type: ignore[no-untyped-def]
    """The same, soonest where it is less than `width` from `guess`: only the values there are put in order."""
    below = n = 0
    for value in values:
        room[n] = value
        n += abs(value - guess) < width
        below += value <= guess - width
    k = len(values) // 2 - below
    if not 1 <= k < n:
        return selected_median(values, room)
    upper = select(room, n, k)
    return upper if len(values) % 2 else 0.5 * (room[:k].max() + upper)
