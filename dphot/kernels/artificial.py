"""Artificial stars: for each star the weighted mean of all others, from sums over all of them."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from . import scatter

Array = NDArray[np.float64]


def artificial_stars(
    flux: Array, flux_err: Array, there: NDArray[np.bool_], level: Array, variance: Array, model: Array
) -> tuple[Array, Array, Array]:
    """Artificial star of each star, itself left out, in one aperture.

    Parameters
    ----------
    flux, flux_err : ndarray of float64, shape (ns, nt)
        Fluxes and their standard deviations.
    there : ndarray of bool, shape (ns, nt)
        Points that count.
    level : ndarray of float64, shape (ns,)
        Typical flux of each star.
    variance : ndarray of float64, shape (ns,)
        Relative variance of a point of each star, by whose inverse it weighs.
    model : ndarray of float64, shape (ns,)
        The part of this variance that `flux_err` tells.

    Returns
    -------
    weights : ndarray of float64, shape (ns,)
        Sum 1.
    artificial : ndarray of float64, shape (ns, nt)
        Weighted mean of the others, in units of their levels; NaN where there are none.
    own : ndarray of float64, shape (ns, nt)
        Its relative variance.
    """
    stars = prepared(flux, flux_err, there, level)
    weights = normalised(1.0 / variance)
    artificial, own = np.empty(flux.shape), np.empty(flux.shape)
    _leave_each_out((*stars, weights, excess(variance, model)), artificial, own)
    return weights, artificial, own


def light_curves(
    flux: Array, flux_err: Array, there: NDArray[np.bool_], level: Array, variance: Array, model: Array
) -> tuple[Array, Array, Array, Array]:
    """Light curves of all stars against their artificial stars, in one aperture.

    Parameters and `weights` are those of `artificial_stars`.

    Returns
    -------
    weights, artificial, diff, diff_err : ndarray of float64
        (ns,) and (ns, nt): as in `dphot.kernels.ensemble.Ensemble`.
    """
    weights, artificial, own = artificial_stars(flux, flux_err, there, level, variance, model)
    artificial = artificial / scatter.mean(artificial)[:, None]
    diff = flux / artificial
    err = np.sqrt(np.square(flux_err / artificial) + np.square(diff) * own)
    middle = scatter.median(np.where(there, diff, np.nan))
    middle = np.where(np.isfinite(middle), middle, scatter.median(diff))[:, None]
    return weights, artificial, diff / middle, err / np.abs(middle)


def prepared(
    flux: Array, flux_err: Array, there: NDArray[np.bool_], level: Array
) -> tuple[Array, Array, NDArray[np.bool_], Array]:
    """The same as the compiled code wants it: points that do not count are 0 instead of anything, levels known."""
    f, e = (np.where(there, v, 0.0) for v in (flux, flux_err))
    return f, e, np.array(there), np.where(np.isfinite(level), level, 1.0)


@njit(cache=True, nogil=True)
def normalised(weights):  # type: ignore[no-untyped-def]
    """Weights (ns,) with a sum of 1, or all 0."""
    total = np.sum(weights)
    return weights / total if total > 0 else weights


@njit(cache=True, nogil=True)
def excess(variance, model):  # type: ignore[no-untyped-def]
    """Variance (ns,) beyond the noise model; 0 of a star that is no comparison."""
    return np.where(np.isfinite(variance) & (variance > model), variance - model, 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def point(stars, j, t):  # type: ignore[no-untyped-def]
    """A point over its star's level, and its variance: the noise, and what the star scatters beyond that.

    `stars` are flux, error and presence as `prepared`, (ns, nt), and level, weight and excess, (ns,).
    """
    f, e, _, level, _, beyond = stars
    scaled = f[j, t] / level[j]
    noise = e[j, t] / level[j]
    return scaled, noise * noise + beyond[j] * scaled * scaled


@njit(cache=True, nogil=True, error_model="numpy")
def sums(stars):  # type: ignore[no-untyped-def]
    """Weights, weighted fluxes and the variances of these, summed over the stars: (nt,) each."""
    there, weight = stars[2], stars[4]
    ns, nt = there.shape
    total, light, noise = np.zeros(nt), np.zeros(nt), np.zeros(nt)
    for j in range(ns):
        for t in range(nt):
            scaled, squares = point(stars, j, t)
            w = weight[j] * there[j, t]
            total[t] += w
            light[t] += w * scaled
            noise[t] += w * w * squares
    return total, light, noise


@njit(cache=True, nogil=True, error_model="numpy")
def leave_out(stars, j, of_all, artificial, own):  # type: ignore[no-untyped-def]
    """Artificial star of star j and its relative variance, (nt,) each, from the `sums` over all stars."""
    total, light, noise = of_all
    there, weight = stars[2], stars[4]
    for t in range(len(total)):
        scaled, squares = point(stars, j, t)
        w = weight[j] * there[j, t]
        rest = total[t] - w
        known = rest > 1e-9 * total[t]  # what is left of the others may be rounding
        others = light[t] - w * scaled if known else math.nan
        artificial[t] = others / rest
        own[t] = max(noise[t] - w * w * squares, 0.0) / (others * others)


@njit(cache=True, nogil=True)
def _leave_each_out(stars, artificial, own):  # type: ignore[no-untyped-def]
    of_all = sums(stars)
    for j in range(len(artificial)):
        leave_out(stars, j, of_all, artificial[j], own[j])
