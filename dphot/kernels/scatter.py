"""Robust statistics of light curves: how much they scatter, and in which aperture the least."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError

Array = NDArray[np.float64]

#: Deviations count up to so many robust standard deviations in the variance of a light curve.
WINSOR = 4.0


def best_aperture(diff: ArrayLike) -> int:
    """The aperture whose light curve scatters least from point to point.

    Parameters
    ----------
    diff : array_like, shape (nt, na)
        Differential fluxes of one star, in the order of time.

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
    scatter = point_scatter(diff)
    points = np.isfinite(np.asarray(diff, dtype=np.float64)).sum(axis=0)
    if not np.isfinite(scatter).any():
        raise InputError("no aperture has three measured points: give more frames or another star to `diff`")
    complete = points >= 0.9 * points.max()
    return int(np.argmin(np.where(complete & np.isfinite(scatter), scatter, np.inf)))


def point_scatter(diff: ArrayLike) -> Array:
    """Point-to-point scatter of light curves: robust, untouched by slow variation.

    Parameters
    ----------
    diff : array_like, shape (nt, na)
        Differential fluxes of one star, in the order of time.

    Returns
    -------
    ndarray of float64, shape (na,)
        Robust standard deviation of the differences between consecutive measured points over the root of 2,
        relative to the median flux: the noise of one point where it is white. NaN with fewer than three
        points.
    """
    curves = np.atleast_2d(np.asarray(diff, dtype=np.float64).T)
    scatter = np.full(len(curves), np.nan)
    for k, curve in enumerate(curves):
        measured = curve[np.isfinite(curve)]
        if measured.size >= 3 and (middle := np.median(measured)) > 0:
            # the mean of the differences, which `variance` takes off, is that of the ends alone
            steps = measured.size - 1
            scatter[k] = np.sqrt(variance(np.diff(measured / middle)[None])[0] * (steps - 1) / steps / 2)
    return scatter


def median(values: Array) -> Array:
    """Median along the last axis without the NaN; NaN where there is nothing else."""
    out = np.full(values.shape[:-1], np.nan)
    n = np.sum(np.isfinite(values), axis=-1)
    for size in np.unique(n[n > 0]):  # NaN come last
        rows = n == size
        low, high = (size - 1) // 2, size // 2
        ordered = np.partition(values[rows], sorted({low, high}), axis=-1)
        out[rows] = 0.5 * (ordered[..., low] + ordered[..., high])
    return out


def mean(values: Array) -> Array:
    """Mean along the last axis without the NaN; NaN where there is nothing else."""
    finite = np.isfinite(values)
    n = np.sum(finite, axis=-1)
    return np.where(n > 0, np.sum(np.where(finite, values, 0.0), axis=-1) / np.maximum(n, 1), np.nan)


def typical(squares: Array) -> Array:
    """Mean of squares along the last axis, none above what `variance` lets count."""
    return mean(np.minimum(squares, WINSOR**2 * median(squares)[..., None]))


def variance(values: Array, middle: Array | None = None) -> Array:
    """Variance along the last axis with deviations from the median cut at `WINSOR` robust standard deviations."""
    away = values - (median(values) if middle is None else middle)[..., None]
    limit = WINSOR * 1.4826 * median(np.abs(away))[..., None]
    away = np.clip(away, -limit, limit)
    n = np.sum(np.isfinite(away), axis=-1)
    squares = mean(np.square(away - mean(away)[..., None]))
    return np.where(n > 2, squares * n / np.maximum(n - 1, 1), np.nan)
