"""Differential photometry against an artificial star (Broeg, Fernandez & Neuhauser 2005, AN 326, 134)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from . import scatter

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
    parts = [_settle(*points, iterations, tol) for points in zip(values, errors, present, may, strict=True)]
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
            weights = _normalise(1.0 / variance)
            ratio = f / level[:, None] / _leave_one_out(f / level[:, None], np.square(e), weights, there)[0]
            curves = np.ma.masked_invalid(np.where(there, ratio, np.nan))
            measured = np.ma.var(curves, axis=1).filled(np.nan)
            variance = np.where(usable, np.where(measured > 0, measured, variance), np.inf)
            if np.max(np.abs(_normalise(1.0 / variance) - weights)) <= tol:
                break
        parts.append((*_light_curves(f, e, there, level, variance, model), rounds))
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


def _settle(
    f: Array, e: Array, there: NDArray[np.bool_], may: NDArray[np.bool_], iterations: int, tol: float
) -> tuple[Array, Array, Array, Array, int]:
    """One aperture, all arrays (ns, nt)."""
    there = there.copy()
    level = scatter.median(np.where(there, f, np.nan))
    model = np.maximum(scatter.typical(np.where(there, np.square(e / f), np.nan)), STEADIEST**2)
    usable = may & np.isfinite(model)
    variance = np.where(usable, model, np.inf)
    least = 0.5 * np.sum(there[usable], axis=0)
    rounds = 0
    for rounds in range(1, iterations + 1):  # noqa: B007
        weights = _normalise(1.0 / variance)
        scaled = f / level[:, None]
        squares = _point_variance(scaled, e, level, variance, model)
        artificial, own = _leave_one_out(scaled, squares, weights, there)
        ratio = np.where(there, scaled / artificial, np.nan)
        middle = scatter.median(ratio)
        level = np.where(np.isfinite(middle), level * middle, level)
        total = scatter.variance(ratio, middle)
        excess = total - scatter.typical(np.where(there, own / np.square(artificial), np.nan)) - model
        measured = model + _significant(excess, total * np.sqrt(2.0 / np.maximum(np.sum(there, axis=1), 1)))
        # the geometric mean with the last: two stars that can only blame each other would swing for ever
        variance = np.where(usable, np.sqrt(np.where(usable, variance, 1.0) * measured), np.inf)
        if np.max(np.abs(_normalise(1.0 / variance) - weights)) <= tol * np.max(weights):
            away = np.abs(ratio - middle[:, None]) * artificial / np.sqrt(squares + own)
            odd = _odd(np.where(there & usable[:, None], away, np.nan), least)
            if not odd.any():
                break
            there &= ~odd
    return (*_light_curves(f, e, there, level, variance, model), rounds)


def _odd(away: Array, least: Array) -> NDArray[np.bool_]:
    """The worst point of each frame that lies `OUTLIER` standard deviations out (`away`, NaN where no comparison is).

    Only the worst: it draws the others' artificial stars with it. In each frame at least three stars tell which of
    them it is, and more than `least` stay.
    """
    size = np.where(np.isfinite(away), away, 0.0)
    count = np.sum(np.isfinite(away), axis=0)
    worst = np.argmax(size, axis=0)
    frames = np.flatnonzero((np.max(size, axis=0) > OUTLIER) & (count >= 3) & (count - 1 >= least))
    odd = np.zeros(away.shape, np.bool_)
    odd[worst[frames], frames] = True
    return odd


def _light_curves(
    f: Array, e: Array, there: NDArray[np.bool_], level: Array, variance: Array, model: Array
) -> tuple[Array, Array, Array, Array]:
    """Weights (ns,), artificial stars, differential fluxes and errors (ns, nt) of one aperture."""
    weights = _normalise(1.0 / variance)
    scaled = f / level[:, None]
    squares = _point_variance(scaled, e, level, variance, model)
    artificial, own = _leave_one_out(scaled, squares, weights, there)
    mean = scatter.mean(artificial)[:, None]
    artificial, own = artificial / mean, own / np.square(mean)
    diff = f / artificial
    err = np.sqrt(np.square(e) + np.square(diff) * own) / artificial
    middle = scatter.median(np.where(there, diff, np.nan))
    middle = np.where(np.isfinite(middle), middle, scatter.median(diff))[:, None]
    return weights, artificial, diff / middle, err / np.abs(middle)


def _assemble(parts: list[tuple[Array, Array, Array, Array, int]]) -> Ensemble:
    weights = np.array([part[0] for part in parts])
    artificial, diff, diff_err = (
        np.ascontiguousarray(np.stack(curves).transpose(2, 0, 1))
        for curves in ([part[1] for part in parts], [part[2] for part in parts], [part[3] for part in parts])
    )
    return Ensemble(weights, artificial, diff, diff_err, max(part[4] for part in parts))


def _normalise(weights: Array) -> Array:
    total = np.sum(weights)
    return weights / total if total > 0 else weights


def _point_variance(scaled: Array, e: Array, level: Array, variance: Array, model: Array) -> Array:
    """Variance of each scaled point: its noise model, and what the star scatters beyond that."""
    excess = np.where(np.isfinite(variance), np.maximum(variance - model, 0.0), 0.0)
    return np.square(e / level[:, None]) + excess[:, None] * np.square(scaled)


def _leave_one_out(
    scaled: Array, squares: Array, weights: Array, there: NDArray[np.bool_]
) -> tuple[Array, Array]:
    """Artificial star of each star without itself, and its variance, from sums over all stars."""
    w = np.where(there, weights[:, None], 0.0)
    terms = np.where(there & (w > 0), w * scaled, 0.0)
    noise = np.where(there & (w > 0), np.square(w) * squares, 0.0)
    total = np.sum(w, axis=0)
    rest = total - w
    rest = np.where(rest > 1e-9 * total, rest, np.nan)  # what is left of the others is rounding
    artificial = (np.sum(terms, axis=0) - terms) / rest
    return artificial, np.maximum(np.sum(noise, axis=0) - noise, 0.0) / np.square(rest)


def _significant(excess: Array, sigma: Array) -> Array:
    """What an excess of variance is worth: little within its own error (sigma), nearly all far outside it.

    A sharper cut than this was measured to hide a variable among few stars behind the others.
    """
    cube = np.where(excess > 0, excess, 0.0) ** 3
    return np.where(cube > 0, cube / (np.square(excess) + 4.0 * np.square(sigma)), 0.0)
