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
        Pixels whose mean was taken for the sky; infinite: an exact sky.
    use : array (star,) or (time, star) of bool, optional
        Stars, or points of stars, that may be compared with; all by default. A star that is left in fewer than
        half of the target's frames, or is not above zero on average, never is.
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
    allowed = np.ones(expected, bool) if use is None else np.array(np.broadcast_to(use, expected), bool)
    allowed[:, chosen] = False
    # only frames in which the target was measured count, for every star alike
    seen = np.isfinite(flux[:, :, chosen])[:, :, None]
    flux = np.where(seen, flux, np.nan)
    points = np.isfinite(flux) & allowed[:, None, :]
    enough = 2 * points.sum(axis=0) >= np.maximum(seen.sum(axis=0), 1)
    usable = enough & (_mean(flux) > 0)
    points &= usable

    expected_flux = truth["flux"].values
    share, about = _about_truth(flux, expected_flux, points)
    variance = _variance(share, about, truth, np.asarray(areas, float), np.asarray(sky_pixels, float))
    weights = np.where(usable, 1 / variance, 0.0)
    total = weights.sum(axis=1)
    if not np.any(total > 0):
        raise InputError("ensemble_floor: no comparison star was measured in enough frames in any aperture")
    with np.errstate(invalid="ignore", divide="ignore"):
        weights = weights / total[:, None]
        relative = flux / (share * expected_flux.mean(axis=0))
        there = np.where(points, weights, 0.0)
        artificial = np.einsum("tas,tas->ta", there, np.where(points, relative, 0.0)) / there.sum(axis=2)
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


def _about_truth(flux: Array, expected: Array, points: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Share (aperture, star) of a star's light that is measured, and what the fluxes are over all that is expected.

    The latter (time, aperture, star) is 1 but for noise. What all stars share (seeing outside the aperture) is
    taken off, so that the share of a star that is missing in some frames is that of all frames.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = flux / expected[:, None, :]
        common = np.median(np.where(points, ratio / _mean(ratio), 1.0), axis=2, keepdims=True)
        share = _mean(ratio / common)
        return share, ratio / common / share


def _variance(share: Array, about: Array, truth: xr.Dataset, areas: Array, sky_pixels: Array) -> Array:
    """Relative variance (aperture, star) of every star, time mean."""
    star, relative = truth["flux"].values, truth["relative"].values
    areas = np.broadcast_to(areas, about.shape[:2])[:, :, None]
    pixel = (truth["sky"].values + truth.attrs["dark"] + truth.attrs["read_noise"] ** 2)[:, None, None]
    annulus = np.broadcast_to(sky_pixels, about.shape[:1])[:, None, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        inside = np.clip(share, 0.0, 1.0) * star[:, None, :]
        noise = (inside + areas * pixel * (1 + areas / annulus)) / inside**2
        noise = noise + truth["scintillation"].values[:, None, None] ** 2
        noise = _mean(np.where(np.isfinite(about), noise, np.nan))
        scatter = _mean((about - 1) ** 2)
    noise = np.where(scatter > 4 * noise, scatter, noise)
    return noise + np.var(relative / relative.mean(axis=0), axis=0)
