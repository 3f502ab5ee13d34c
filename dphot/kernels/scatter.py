"""Robust statistics of light curves: how much they scatter, and in which aperture the least."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from ._arrays import frozen
from .order import selected_median

Array = NDArray[np.float64]

#: Deviations count up to so many robust standard deviations in the variance of a light curve.
WINSOR = 4.0


def best_aperture(diff: ArrayLike, nights: ArrayLike | None = None) -> int:
    """The aperture whose light curve scatters least from point to point.

    Parameters
    ----------
    diff : array_like, shape (nt, na)
        Differential fluxes of one star, in the order of time.
    nights : array_like, shape (nt,), optional
        The night of each point (see `point_scatter`).

    Returns
    -------
    int
        Index of the aperture with the least robust variance of the differences between consecutive measured
        points, relative to its median flux. Apertures that lack more than a tenth of the points that the
        fullest one has do not compete.

    Raises
    ------
    InputError
        Where no aperture has three points.
    """
    scatter = point_scatter(diff, nights)
    points = np.isfinite(np.asarray(diff, dtype=np.float64)).sum(axis=0)
    if not np.isfinite(scatter).any():
        raise InputError("no aperture has three measured points: give more frames or another star to `diff`")
    complete = points >= 0.9 * points.max()
    return int(np.argmin(np.where(complete & np.isfinite(scatter), scatter, np.inf)))


def point_scatter(diff: ArrayLike, nights: ArrayLike | None = None) -> Array:
    """Point-to-point scatter of light curves: robust, untouched by slow variation.

    Parameters
    ----------
    diff : array_like, shape (nt, na)
        Differential fluxes of one star, in the order of time.
    nights : array_like, shape (nt,), optional
        The night of each point; by default all are of one.

    Returns
    -------
    ndarray of float64, shape (na,)
        Robust standard deviation of the differences between consecutive measured points over the root of 2,
        relative to the median flux: the noise of one point where it is white. Differences from one night to the next
        do not count, unless there are fewer than two others. NaN with fewer than three points.
    """
    curves = np.atleast_2d(np.asarray(diff, dtype=np.float64).T)
    out = np.full(len(curves), np.nan)
    of = (
        np.zeros(curves.shape[1]) if nights is None else np.unique(np.asarray(nights), return_inverse=True)[1]
    )
    _point_scatters(frozen(curves), frozen(of, np.int64), out)
    return out


def median(values: Array) -> Array:
    """Median along the last axis of what is finite; NaN where nothing is."""
    rows = _rows(values)
    out = np.empty(len(rows))
    _medians(rows, out)
    return out.reshape(values.shape[:-1])


def mean(values: Array) -> Array:
    """Mean along the last axis of what is finite; NaN where nothing is."""
    finite = np.isfinite(values)
    n = np.sum(finite, axis=-1)
    return np.where(n > 0, np.sum(np.where(finite, values, 0.0), axis=-1) / np.maximum(n, 1), np.nan)


def typical(squares: Array) -> Array:
    """Mean of squares along the last axis, none above what `variance` lets count."""
    rows = _rows(squares)
    out = np.empty(len(rows))
    _typicals(rows, out)
    return out.reshape(squares.shape[:-1])


def variance(values: Array) -> Array:
    """Variance along the last axis with deviations from the median cut at `WINSOR` robust standard deviations."""
    rows = _rows(values)
    out = np.empty(len(rows))
    _variances(rows, out)
    return out.reshape(values.shape[:-1])


def _rows(values: Array) -> Array:
    return frozen(values.reshape(math.prod(values.shape[:-1]), values.shape[-1]), np.float64)


@njit(cache=True, nogil=True, error_model="numpy")
def typical_of(squares, room):  # type: ignore[no-untyped-def]
    """`typical` of finite squares (n,); `room` (at least n,) is overwritten."""
    limit = _limit(squares, WINSOR**2, room)
    total = 0.0
    for square in squares:
        total += min(square, limit)
    return total / len(squares)


@njit(cache=True, nogil=True, error_model="numpy")
def variance_of(values, middle, away, room, least=3):  # type: ignore[no-untyped-def]
    """`variance` of finite values (n,) about their median `middle`; `away` and `room` (at least n,) are overwritten.

    NaN of fewer than `least`, which is 2 or more.
    """
    n = len(values)
    if n < least:
        return math.nan
    for t in range(n):
        away[t] = abs(values[t] - middle)
    limit = _limit(away[:n], WINSOR * 1.4826, room)
    total = squares = 0.0
    for value in values:
        cut = min(max(value - middle, -limit), limit)
        total += cut
        squares += cut * cut
    return (squares - total * total / n) / (n - 1)


@njit(cache=True, nogil=True, error_model="numpy")
def _limit(sizes, factor, room):  # type: ignore[no-untyped-def]
    """So many times the median of sizes (n,), or the largest of them where that is less."""
    largest = 0.0
    for size in sizes:
        largest = max(largest, size)
    below = 0
    for size in sizes:
        below += size * factor < largest
    # where not half of them lie below, the median does not either, and need not be found
    return largest if 2 * below < len(sizes) else factor * selected_median(sizes, room)


@njit(cache=True, nogil=True)
def _finite(values, out):  # type: ignore[no-untyped-def]
    """The finite of values (n,), in their order, in `out` (n,)."""
    n = 0
    for value in values:
        out[n] = value
        n += math.isfinite(value)
    return out[:n]


@njit(cache=True, nogil=True)
def _medians(rows, out):  # type: ignore[no-untyped-def]
    room, spare = np.empty(rows.shape[1]), np.empty(rows.shape[1])
    for i in range(len(rows)):
        out[i] = selected_median(_finite(rows[i], room), spare)


@njit(cache=True, nogil=True)
def _typicals(rows, out):  # type: ignore[no-untyped-def]
    room, spare = np.empty(rows.shape[1]), np.empty(rows.shape[1])
    for i in range(len(rows)):
        out[i] = typical_of(_finite(rows[i], room), spare)


@njit(cache=True, nogil=True)
def _variances(rows, out):  # type: ignore[no-untyped-def]
    room, spare, away = np.empty(rows.shape[1]), np.empty(rows.shape[1]), np.empty(rows.shape[1])
    for i in range(len(rows)):
        values = _finite(rows[i], room)
        out[i] = variance_of(values, selected_median(values, spare), away, spare)


@njit(cache=True, nogil=True, error_model="numpy")
def _point_scatters(curves, nights, out):  # type: ignore[no-untyped-def]
    nt = curves.shape[1]
    room, spare, away = np.empty(nt), np.empty(nt), np.empty(nt)
    for k in range(len(curves)):
        middle = selected_median(_finite(curves[k], room), spare)
        if not middle > 0:
            continue
        n = _steps(curves[k], nights, middle, True, room)
        if n < 2:
            n = _steps(curves[k], nights, middle, False, room)
        if n >= 2:
            steps = room[:n]
            # the mean of the differences, which the variance takes off, is that of the ends alone
            about = variance_of(steps, selected_median(steps, spare), away, spare, 2)
            out[k] = math.sqrt(about * (n - 1) / n / 2)


@njit(cache=True, nogil=True, error_model="numpy")
def _steps(curve, nights, middle, within, out):  # type: ignore[no-untyped-def]
    """Differences between consecutive finite points over `middle`, in `out`; how many. `within`: in one night only."""
    n, last = 0, -1
    for t in range(len(curve)):
        if math.isfinite(curve[t]):
            if last >= 0 and (not within or nights[t] == nights[last]):
                out[n] = curve[t] / middle - curve[last] / middle
                n += 1
            last = t
    return n
