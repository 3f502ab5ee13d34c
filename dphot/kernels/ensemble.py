"""Differential photometry against an artificial star (Broeg, Fernandez & Neuhauser 2005, AN 326, 134)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from . import scatter
from .artificial import artificial_stars, excess, leave_out, light_curves, normalised, point, prepared, sums
from .order import median_near

Array = NDArray[np.float64]

#: No star is believed to be steadier than this (relative), whatever its noise model says.
STEADIEST = 1e-6
#: A star's point further than this from its artificial star, in standard deviations, weighs nothing in the others'.
OUTLIER = 5.0


@dataclass(frozen=True)
class Ensemble:
    """Light curves of all stars against their artificial stars."""

    weights: Array
    """(na, ns): weight of each star, sum 1; star i's own artificial star has these without star i."""
    artificial: Array
    """(nt, na, ns): artificial star of each star, itself left out, normalised to a mean of 1."""
    diff: Array
    """(nt, na, ns): flux over the artificial star, normalised to a median of 1."""
    diff_err: Array
    """(nt, na, ns): its standard deviation, the artificial star's own included."""
    rounds: int
    """Rounds until the weights settled."""


def broeg(
    flux: ArrayLike,
    flux_err: ArrayLike,
    target: int | None = None,
    use: ArrayLike | None = None,
    good: ArrayLike | None = None,
    iterations: int = 60,
    tol: float = 1e-3,
) -> Ensemble:
    """Differential light curves of all stars in all apertures, against weighted artificial stars.

    A_i(t) = sum_{j != i} w_j f_j(t) / sum_{j != i} w_j over the stars measured at t, with f_j = F_j / c_j.
    The weights start from the noise model and go on as 1 / s_j^2 until they settle. Against the paper:

    * s_j^2 is the variance of f_j / A_j LESS the part that comes from A_j, which otherwise robs the brightest
      stars of weight; and not less than the noise model's, so that two stars cannot lock on to each other.
    * An excess over the noise model counts by its significance: with few frames the scatter is known badly.
    * The variance is the whole one (slow variables lose their weight, which point-to-point differences would
      leave them), with deviations cut at `scatter.WINSOR` robust standard deviations: one bad frame costs little,
      and its point, more than `OUTLIER` standard deviations out, weighs nothing.
    * c_j is the median of F_j / A_j, not of F_j: a star that is missing in part of the frames then leaves and
      joins without a step.

    Parameters
    ----------
    flux, flux_err : array_like, shape (nt, na, ns)
        Fluxes of ns stars in na apertures and nt frames, and their standard deviations, in one unit.
    target : int, optional
        This star weighs nothing in any artificial star.
    use : array_like of bool, shape (ns,) or (na, ns), optional
        Stars that may be comparisons; by default all.
    good : array_like of bool, shape (nt, ns), optional
        False: the point weighs nothing. Points that are not finite or not positive never do.
    iterations : int, optional
        At most so many rounds.
    tol : float, optional
        The weights have settled when none changes by more than this, relative to the largest.

    Returns
    -------
    Ensemble
        Weights, artificial stars, differential fluxes and errors; NaN where the flux is, or where no
        comparison is left. Flagged points of a star still have their differential flux.

    Raises
    ------
    InputError
        Where the shapes do not fit or no star is left to compare with.
    """
    values, errors, present, may = _check(flux, flux_err, target, use, good)
    parts = [settled(*points, iterations, tol) for points in zip(values, errors, present, may, strict=True)]
    return _assemble(parts)


def published(
    flux: ArrayLike,
    flux_err: ArrayLike,
    target: int | None = None,
    use: ArrayLike | None = None,
    good: ArrayLike | None = None,
    iterations: int = 200,
    tol: float = 1e-5,
) -> Ensemble:
    """The algorithm as published, for comparison: f_j = F_j / <F_j>, w_j = 1 / var(f_j / A_j), nothing else.

    Parameters, return value and errors are those of `broeg`; no point is left out but those that `good` names.
    """
    values, errors, present, may = _check(flux, flux_err, target, use, good)
    parts = []
    for f, e, there, allowed in zip(values, errors, present, may, strict=True):
        level = np.ma.mean(np.ma.array(f, mask=~there), axis=1).filled(np.nan)
        model = scatter.typical(np.where(there, np.square(e / f), np.nan))
        usable = allowed & (model > 0)
        variance = np.where(usable, model, np.inf)
        rounds = 0
        for rounds in range(1, iterations + 1):  # noqa: B007
            weights, artificial, _ = artificial_stars(f, e, there, level, variance, model)
            ratio = f / level[:, None] / artificial
            curves = np.ma.masked_invalid(np.where(there, ratio, np.nan))
            measured = np.ma.var(curves, axis=1).filled(np.nan)
            variance = np.where(usable, np.where(measured > 0, measured, variance), np.inf)
            if np.max(np.abs(normalised(1.0 / variance) - weights)) <= tol:
                break
        parts.append((*light_curves(f, e, there, level, variance, model), rounds))
    return _assemble(parts)


def _check(
    flux: ArrayLike, flux_err: ArrayLike, target: int | None, use: ArrayLike | None, good: ArrayLike | None
) -> tuple[Array, Array, NDArray[np.bool_], NDArray[np.bool_]]:
    """Flux, error and presence as (na, ns, nt), and which stars may be comparisons."""
    f, e = np.asarray(flux, dtype=np.float64), np.asarray(flux_err, dtype=np.float64)
    if f.ndim != 3 or f.shape != e.shape:
        found = f"`flux` and `flux_err` have shapes {f.shape} and {e.shape}"
        raise InputError(f"{found}, expected (nt, na, ns) of both")
    nt, na, ns = f.shape
    may = np.ones(ns, np.bool_) if use is None else np.asarray(use, dtype=np.bool_)
    weigh = np.ones((nt, ns), np.bool_) if good is None else np.asarray(good, dtype=np.bool_)
    if may.shape not in ((ns,), (na, ns)) or weigh.shape != (nt, ns):
        found = f"`use` and `good` have shapes {may.shape} and {weigh.shape}"
        raise InputError(f"{found}, expected {(ns,)} or {(na, ns)}, and {(nt, ns)}")
    may = np.array(np.broadcast_to(may, (na, ns)))
    if target is not None:
        if not 0 <= target < ns:
            raise InputError(f"`target` is {target}, but the stars are numbered 0 to {ns - 1}")
        may[:, target] = False
    if not may.any():
        raise InputError("no comparison star is left: let `use` admit at least one besides the target")
    f, e = (np.ascontiguousarray(v.transpose(1, 2, 0)) for v in (f, e))
    present = np.isfinite(f) & (f > 0) & np.isfinite(e) & weigh.T
    return f, e, present, may


def _assemble(parts: list[tuple[Array, Array, Array, Array, int]]) -> Ensemble:
    weights, *curves, rounds = zip(*parts, strict=True)
    artificial, diff, diff_err = (np.stack([v.T for v in values], axis=1) for values in curves)
    return Ensemble(np.array(weights), artificial, diff, diff_err, max(rounds))


def settled(
    f: Array,
    e: Array,
    present: NDArray[np.bool_],
    may: NDArray[np.bool_],
    iterations: int = 60,
    tol: float = 1e-3,
) -> tuple[Array, Array, Array, Array, int]:
    """`broeg` in one aperture.

    Parameters
    ----------
    f, e : ndarray of float64, shape (ns, nt)
        Fluxes and their standard deviations.
    present : ndarray of bool, shape (ns, nt)
        Points that count: flux and error are finite, the flux is positive.
    may : ndarray of bool, shape (ns,)
        Stars that may be comparisons.
    iterations, tol : optional
        As in `broeg`.

    Returns
    -------
    weights, artificial, diff, diff_err : ndarray of float64
        As in `Ensemble`, (ns,) and (ns, nt).
    rounds : int
        Rounds until the weights settled.
    """
    level = scatter.median(np.where(present, f, np.nan))
    noise = np.divide(e, f, out=np.full(f.shape, np.nan), where=present)
    model = np.maximum(scatter.typical(np.square(noise)), STEADIEST**2)
    usable = may & np.isfinite(model)
    variance = np.where(usable, model, np.inf)
    stars = prepared(f, e, present, level)
    rounds = _settle(*stars, variance, model, np.flatnonzero(usable), iterations, tol)
    return (*light_curves(f, e, *stars[2:], variance, model), rounds)


@njit(cache=True, nogil=True, error_model="numpy")
def _settle(f, e, there, level, variance, model, usable, iterations, tol):  # type: ignore[no-untyped-def]
    """Settle `level` and `variance` of the usable stars, and take odd points out of `there`; returns the rounds."""
    ns, nt = f.shape
    least = 0.5 * there[usable].sum(axis=0)
    middle = np.empty(ns)
    artificial, own, ratio = np.empty(nt), np.empty(nt), np.empty(nt)
    away, room = np.empty(nt), np.empty(nt)
    rounds = 0
    for rounds in range(1, iterations + 1):  # noqa: B007
        weight = normalised(1.0 / variance)
        stars = f, e, there, level.copy(), weight, excess(variance, model)
        of_all = sums(stars)
        for j in usable:
            leave_out(stars, j, of_all, artificial, own)
            n = 0
            for t in range(nt):
                artificial[t] = f[j, t] / level[j] / artificial[t]
            for t in range(nt):
                known = math.isfinite(artificial[t])
                ratio[n] = artificial[t]
                own[n] = own[t]
                n += there[j, t] & known
            middle[j] = median_near(ratio[:n], 1.0, 0.3 * math.sqrt(variance[j]), room)
            total = scatter.variance_of(ratio[:n], middle[j], away, room)
            beyond = total - scatter.typical_of(own[:n], room) - model[j]
            measured = model[j] + _significant(beyond, total * math.sqrt(2.0 / there[j].sum()))
            # the geometric mean with the last: two stars that can only blame each other would swing for ever
            variance[j] = math.sqrt(variance[j] * measured)
            if math.isfinite(middle[j]):
                level[j] *= middle[j]
        moved = np.max(np.abs(normalised(1.0 / variance) - weight))
        if moved <= tol * np.max(weight) and not _drop_odd(stars, usable, of_all, middle, least):
            break
    return rounds


@njit(cache=True, nogil=True, error_model="numpy")
def _drop_odd(stars, usable, of_all, middle, least):  # type: ignore[no-untyped-def]
    """Drop the worst point of each frame that lies `OUTLIER` standard deviations out; whether there was any.

    Only the worst: it draws the others' artificial stars with it. In each frame at least three stars tell which of
    them it is, and more than `least` stay.
    """
    there = stars[2]
    nt = there.shape[1]
    artificial, own, furthest = np.empty(nt), np.empty(nt), np.zeros(nt)
    worst, count = np.zeros(nt, np.int64), np.zeros(nt, np.int64)
    for j in usable:
        leave_out(stars, j, of_all, artificial, own)
        for t in range(nt):
            if there[j, t]:
                scaled, squares = point(stars, j, t)
                sigma = math.sqrt(squares / artificial[t] ** 2 + own[t])
                away = abs(scaled / artificial[t] - middle[j]) / sigma
                count[t] += math.isfinite(away)
                if math.isfinite(away) and away > furthest[t]:
                    furthest[t] = away
                    worst[t] = j
    odd = (furthest > OUTLIER) & (count >= 3) & (count - 1 >= least)
    for frame in np.flatnonzero(odd):
        there[worst[frame], frame] = False
    return odd.any()


@njit(cache=True, nogil=True, error_model="numpy")
def _significant(excess, sigma):  # type: ignore[no-untyped-def]
    """What an excess of variance is worth: little within its own error (sigma), nearly all far outside it.

    A sharper cut than this was measured to hide a variable among few stars behind the others.
    """
    return excess**3 / (excess**2 + 4.0 * sigma**2) if excess > 0 else 0.0
