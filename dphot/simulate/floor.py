"""How good a light curve can be: true positions, and the ensemble weighted by the true variances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Floor:
    """What the truth allows; see `ensemble_floor`."""

    rms: Array
    """(aperture,) rms of the target's residuals."""
    weights: Array
    """(aperture, star), sum 1."""
    diff_flux: Array
    """(time, aperture), mean 1."""
    variance: Array
    """(aperture, star) relative variance of each star, time mean."""
    best: int
    """Aperture with the least rms."""
    rms_floor: float
    """Its rms."""


def residual_rms(diff_flux: ArrayLike, injected: ArrayLike) -> float:
    """Root-mean-square of a light curve minus the injected one.

    Parameters
    ----------
    diff_flux, injected : array (time,)
        Any normalisation: both are divided by their mean over the times where both are finite.

    Returns
    -------
    float
        Relative; NaN with fewer than two finite points.
    """
    d, i = np.broadcast_arrays(np.asarray(diff_flux, float), np.asarray(injected, float))
    good = np.isfinite(d) & np.isfinite(i)
    if good.sum() < 2:
        return float("nan")
    return float(np.sqrt(np.mean((d[good] / d[good].mean() - i[good] / i[good].mean()) ** 2)))


def ensemble_floor(
    measured: ArrayLike,
    truth: xr.Dataset,
    areas: ArrayLike,
    *,
    sky_pixels: ArrayLike = np.inf,
    use: ArrayLike | None = None,
    target: int | None = None,
) -> Floor:
    """The least scatter that aperture photometry and a weighted ensemble reach on a simulated night.

    The weight of a comparison star is one over its true relative variance in that aperture: photons of star
    and sky, dark current, read noise, the annulus's own noise, scintillation and intrinsic variation. A
    star whose scatter about the truth is more than twice what that explains (a blend, a saturated core, a
    cosmic ray) has that scatter instead.

    Parameters
    ----------
    measured : array (time, aperture, star)
        Sky-subtracted electrons in apertures at the true positions; NaN where not measured.
    truth : xarray.Dataset
        The night's truth, the same times and stars.
    areas : array (aperture,) or (time, aperture)
        Aperture areas, px2.
    sky_pixels : array (), (time,)
        Pixels from which the sky's median was taken; infinite: an exact sky.
    use : array (star,) of bool, optional
        Stars that may be comparisons; all by default. A star that is NaN in a frame where the target is
        not, or that is not above zero on average, never is one.
    target : int, optional
        Star index; the truth's own by default.

    Returns
    -------
    Floor

    Raises
    ------
    InputError
        If the shapes do not fit, or no star can be compared with in any aperture.
    """
    flux = np.asarray(measured, float)
    expected = (truth.sizes["time"], truth.sizes["star"])
    if flux.ndim != 3 or (flux.shape[0], flux.shape[2]) != expected:
        raise InputError(
            f"measured: shape {flux.shape}, expected (time, aperture, star) with {expected} times and stars"
        )
    chosen = int(truth.attrs["target"]) if target is None else target
    allowed = np.ones(expected[1], bool) if use is None else np.asarray(use, bool).copy()
    allowed[chosen] = False
    # only frames in which the target was measured count, for every star alike
    flux = np.where(np.isfinite(flux[:, :, chosen])[:, :, None], flux, np.nan)
    seen = np.isfinite(flux[:, :, chosen])
    complete = np.all(np.isfinite(flux) | ~seen[:, :, None], axis=0) & seen.any(axis=0)[:, None]
    mean = _mean(flux)
    usable = complete & (mean > 0) & allowed

    variance = _variance(flux, mean, truth, np.asarray(areas, float), np.asarray(sky_pixels, float), usable)
    weights = np.where(usable, 1 / variance, 0.0)
    total = weights.sum(axis=1)
    if not np.any(total > 0):
        raise InputError("ensemble_floor: no comparison star was measured in every frame in any aperture")
    with np.errstate(invalid="ignore", divide="ignore"):
        weights = weights / total[:, None]
        relative = flux / mean
        artificial = np.einsum("as,tas->ta", weights, np.where(weights > 0, relative, 0.0))
        diff = relative[:, :, chosen] / artificial
        diff = diff / _mean(diff)
    injected = truth["relative"].values[:, chosen]
    rms = np.array([residual_rms(diff[:, a], injected) for a in range(flux.shape[1])])
    best = int(np.nanargmin(rms))
    return Floor(rms, weights, diff, variance, best, float(rms[best]))


def _mean(values: Array) -> Array:
    """Mean over the first axis, NaN left out, without a warning where there is nothing."""
    good = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(good, values, 0.0).sum(axis=0) / good.sum(axis=0)


def _variance(
    flux: Array, mean: Array, truth: xr.Dataset, areas: Array, sky_pixels: Array, usable: Array
) -> Array:
    """Relative variance (aperture, star) of every star, time mean."""
    star, relative = truth["flux"].values, truth["relative"].values
    areas = np.broadcast_to(areas, flux.shape[:2])[:, :, None]
    pixel = (truth["sky"].values + truth.attrs["dark"] + truth.attrs["read_noise"] ** 2)[:, None, None]
    annulus = np.broadcast_to(sky_pixels, flux.shape[:1])[:, None, None]
    # of the star's own photons only those within the aperture; the share follows from what was measured
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.clip(mean / _mean(np.where(np.isfinite(flux), star[:, None, :], np.nan)), 0.0, 1.0)
        inside = share * star[:, None, :]
        noise = (inside + areas * pixel * (1 + 0.5 * np.pi * areas / annulus)) / inside**2
        noise = noise + truth["scintillation"].values[:, None, None] ** 2
        noise = _mean(np.where(np.isfinite(flux), noise, np.nan))
        # scatter about the truth, less what all stars share (seeing outside the aperture)
        about = flux / mean / (star / star.mean(axis=0))[:, None, :]
        about = about / _mean(about)
        common = np.nanmedian(np.where(usable & np.isfinite(about), about, 1.0), axis=2, keepdims=True)
        scatter = _mean((about / common - 1) ** 2)
    noise = np.where(scatter > 4 * noise, scatter, noise)
    return noise + np.var(relative / relative.mean(axis=0), axis=0)
