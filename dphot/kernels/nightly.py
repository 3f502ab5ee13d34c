"""What a night tells of each star, and what many nights together tell of it as a comparison.

The ensemble of years is judged from a few numbers of each star and night, so that one more night costs the same
whether it is the third or the thousandth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtri

from .artificial import light_curves as _light_curves
from .ensemble import broeg, settled
from .scatter import median as _median
from .scatter import variance as _variance

Array = NDArray[np.float64]

#: A comparison star is measured in at least this share of the frames in which the fullest is.
PRESENT = 0.5
#: Fewer points, or nights, show no scatter that could be told from their noise.
ENOUGH = 3
#: A star is variable where its variance, within the nights or between them, is so many times what its noise lets
#: expect, in units of the typical star's ratio ...
CONTRAST = 4.0
#: ... and more than chance would have it: steady stars come to it this often (one-sided 4 sigma).
CHANCE = 3.2e-5
#: Stars that stand out leave the comparisons one at a time, or this share of them.
LEAVING = 0.1


@dataclass(frozen=True)
class Night:
    """What one night tells of each star in each aperture, all (na, ns)."""

    level: Array
    """Flux with the night's common variation taken off; NaN where the star was not measured."""
    level_err: Array
    """Its standard deviation."""
    rms: Array
    """Relative standard deviation of the star against the others; NaN with fewer than three points."""
    scatter: Array
    """The same from point to point, blind to slow variation."""
    noise: Array
    """Relative standard deviation of one point that the noise model expects."""
    points: Array
    """Number of points."""


def summarise(flux: ArrayLike, flux_err: ArrayLike, good: ArrayLike) -> Night:
    """What a night tells of each star.

    Parameters
    ----------
    flux, flux_err : array_like, shape (nt, na, ns)
        Fluxes in the order of time, and their standard deviations.
    good : array_like of bool, shape (nt, ns)
        Points that count.

    Returns
    -------
    Night
        The same for the same points, whatever was measured in other nights.
    """
    f, e = (np.ascontiguousarray(np.transpose(v, (1, 2, 0)), dtype=np.float64) for v in (flux, flux_err))
    there = np.isfinite(f) & (f > 0) & np.isfinite(e) & np.asarray(good, dtype=bool).T
    f, e = (np.where(there, v, np.nan) for v in (f, e))
    points = there.sum(axis=-1)
    noise = _median(e / f)
    use = (points >= PRESENT * points.max(axis=1, keepdims=True, initial=0)) & (points >= ENOUGH)
    if np.count_nonzero(use.sum(axis=1) >= 2) == 0:
        # Too few points to tell the sky from the stars; a later look at all nights can.
        n = np.maximum(points, 1)
        level = np.where(points > 0, np.nansum(f, axis=-1) / n, np.nan)
        unknown = np.full_like(level, np.nan)
        return Night(level, noise * level / np.sqrt(n), unknown, unknown, noise, points.astype(float))
    level, err, rms, scatter = (np.empty(points.shape) for _ in range(4))
    for a in range(len(f)):  # one at a time: the arrays of a long night are large
        _, star, curve, curve_err, _ = settled(f[a], e[a], there[a], use[a])
        level[a], err[a] = _median(f[a] / star), _median(curve_err)
        rms[a], scatter[a] = np.sqrt(_variance(curve)), np.sqrt(_variance(np.diff(curve)) / 2)
    return Night(
        level=level,
        # of a median: the root of pi / 2 above that of a mean
        level_err=level * err * np.sqrt(np.pi / 2 / np.maximum(points, 1)),
        rms=np.where(points >= ENOUGH, rms, np.nan),
        scatter=np.where(points >= ENOUGH, scatter, np.nan),
        noise=noise,
        points=points.astype(float),
    )


@dataclass(frozen=True)
class Judgement:
    """What all nights tell of the stars as comparisons, all (ns,)."""

    weight: Array
    """Weight in an artificial star, sum 1."""
    scale: Array
    """Level of each star on one scale for all nights."""
    variance: Array
    """Relative variance of a point: noise, and whatever the star does beyond that."""
    variable: NDArray[np.bool_]
    """Whether the star varies beyond doubt."""


def judge(
    level: ArrayLike,
    level_err: ArrayLike,
    rms: ArrayLike,
    noise: ArrayLike,
    points: ArrayLike,
    use: ArrayLike | None = None,
) -> Judgement:
    """Judge the stars as comparisons, in one aperture, from what each night tells.

    The variance of a star is that within the nights, and what its nightly levels scatter beyond their errors.

    Parameters
    ----------
    level, level_err, rms, noise, points : array_like, shape (nights, ns)
        As in `Night`.
    use : array_like of bool, shape (ns,), optional
        Stars that may be comparisons; by default all.

    Returns
    -------
    Judgement
        Does not depend on the order of the nights.
    """
    levels, errors, inner, model, count = (
        np.asarray(v, dtype=np.float64) for v in (level, level_err, rms, noise, points)
    )
    may = np.ones(levels.shape[1], bool) if use is None else np.asarray(use, dtype=bool)
    measured = np.isfinite(levels) & (levels > 0)
    total = np.sum(np.where(measured, count, 0.0), axis=0)
    nights = measured.sum(axis=0)
    expected = _median(np.square(model).T)
    within = _median(np.square(inner).T)
    within = np.where(np.isfinite(within), within, expected)
    between = np.zeros_like(expected)
    variable = _stands_out(within, expected, total, may)
    if levels.shape[0] >= ENOUGH and np.count_nonzero(may & (nights >= ENOUGH)) >= 2:
        scale, spread, own = _between(levels, errors, may & (nights >= ENOUGH), nights)
        between = np.nan_to_num(np.maximum(spread - own, 0.0))
        variable |= _stands_out(spread, own, nights, may)
    else:
        sky = _median(levels / _median(levels.T))[:, None]
        scale = _median((levels / sky).T)
    variance = np.maximum(within, expected) + between
    usable = may & np.isfinite(variance) & (variance > 0) & np.isfinite(scale)
    weight = np.where(usable, 1.0 / np.where(usable, variance, 1.0), 0.0)
    return Judgement(
        weight / max(float(weight.sum()), np.finfo(float).tiny), scale, variance, variable & usable
    )


def _between(
    levels: Array, errors: Array, may: NDArray[np.bool_], nights: Array
) -> tuple[Array, Array, Array]:
    """Scale of each star, the variance of its nightly levels, and what their errors let expect.

    Among few nights one star that changed makes all others seem to have: the worst leaves, one after the other (of many
    stars a share at a time), until none stands out. Each, those that left too, is then seen against those that stayed.
    """
    staying = may.copy()
    while True:
        found = broeg(levels[:, None, :], errors[:, None, :], use=staying)
        own = _median(np.square(found.diff_err[:, 0]).T)
        curves = np.ma.masked_invalid(np.where(np.isfinite(levels), found.diff[:, 0], np.nan))
        spread = np.ma.var(curves, axis=0, ddof=1).filled(np.nan)  # one night that is off shows in full
        suspects = _stands_out(spread, own, nights, staying)
        if not suspects.any() or np.count_nonzero(staying) <= 2:
            return _median((levels / found.artificial[:, 0]).T), spread, own
        worst = np.argsort(np.where(suspects, -spread / own, 0.0), kind="stable")
        count = min(max(1, int(LEAVING * np.count_nonzero(staying))), np.count_nonzero(suspects))
        staying[worst[:count]] = False


def _stands_out(variance: Array, noise: Array, points: Array, may: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Stars whose variance exceeds their noise far more than the typical star's does, and than chance has it."""
    ratio = np.where(may, variance / noise, np.nan)
    typical = float(_median(ratio[None])[0])
    # A variance of few points has a long tail: two standard deviations of it are 4 sigma of nothing.
    freedom = np.maximum(points - 1, 1)
    chance = chdtri(freedom, CHANCE) / freedom
    limit = max(1.0, typical if np.isfinite(typical) else 1.0) * np.maximum(CONTRAST, chance)
    return np.where(np.isfinite(ratio), ratio, 0.0) > limit


def comparable(calibrated: ArrayLike) -> NDArray[np.bool_]:
    """Nights that share one scale: those measured without calibration are left out, unless they are the most.

    Without flats a star's level is that of the pixels under it: off by per cents from other nights', for each star in
    another way.

    Parameters
    ----------
    calibrated : array_like of bool, shape (nights,)
        Whether nothing was missing in the night's calibration.
    """
    whole = np.asarray(calibrated, dtype=bool)
    return whole if 2 * np.count_nonzero(whole) >= whole.size else np.ones_like(whole)


def night_levels(nights: ArrayLike, curves: ArrayLike) -> Array:
    """Median of light curves in each night.

    Parameters
    ----------
    nights : array_like of str, shape (nt,)
        The night of each point.
    curves : array_like, shape (nt, n)
        Light curves.

    Returns
    -------
    ndarray of float64, shape (nt, n)
        For each point the median of its night; divide by it to take the offsets of the nights off. NaN where the
        night has no point.
    """
    values = np.asarray(curves, dtype=np.float64)
    number = np.unique(np.asarray(nights).astype(str), return_inverse=True)[1]
    out = np.empty_like(values)
    for rows in np.split(np.argsort(number, kind="stable"), np.cumsum(np.bincount(number))[:-1]):
        out[rows] = _median(_last(values[rows]))
    return out


def _last(values: Array) -> Array:
    """Time as the last axis."""
    return np.ascontiguousarray(np.moveaxis(values, 0, -1))


def light_curves(
    flux: ArrayLike,
    flux_err: ArrayLike,
    good: ArrayLike,
    judged: Judgement,
    noise: ArrayLike,
    scaling: ArrayLike = True,
) -> tuple[Array, Array, Array]:
    """Differential light curves of all stars in one aperture, with weights and scales that are known.

    Parameters
    ----------
    flux, flux_err : array_like, shape (nt, ns)
        Fluxes and their standard deviations.
    good : array_like of bool, shape (nt, ns)
        False: the point weighs nothing.
    judged : Judgement
        The stars as comparisons; those without weight (the target) are none.
    noise : array_like, shape (ns,)
        Relative standard deviation of a point that the noise model expects.
    scaling : array_like of bool, shape (nt,), optional
        Points whose median is 1 in each curve that has any; by default all.

    Returns
    -------
    artificial, diff, diff_err : ndarray of float64, shape (nt, ns)
        As in `dphot.kernels.ensemble.Ensemble`.
    """
    f, e = (np.ascontiguousarray(np.asarray(v, dtype=np.float64).T) for v in (flux, flux_err))
    there = np.isfinite(f) & (f > 0) & np.isfinite(e) & np.asarray(good, dtype=bool).T
    variance = np.where(judged.weight > 0, judged.variance, np.inf)
    scale = np.where(np.isfinite(judged.scale), judged.scale, 1.0)
    _, artificial, diff, err = _light_curves(f, e, there, scale, variance, np.square(np.asarray(noise)))
    if np.all(scaling):
        return artificial.T, diff.T, err.T
    middle = _median(np.where(there & np.asarray(scaling, dtype=bool), diff, np.nan))
    middle = np.where(np.isfinite(middle), middle, 1.0)[:, None]
    return artificial.T, (diff / middle).T, (err / middle).T
