"""Differential photometry on the measured dataset."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from .errors import InputError
from .flags import FrameFlag, StarFlag
from .graph.stars import parse_target
from .io.site import sky_degrees
from .kernels import ensemble, noise
from .schema import DIFFERENTIAL, PHOTOMETRY, annotate, validate

#: A star's point with one of these flags weighs nothing in an artificial star. EDGE is not among them: apertures that
#: leave the frame have no flux, and the smaller ones are as good as any.
UNFIT = StarFlag.SATURATED | StarFlag.NONFINITE | StarFlag.NONLINEAR
#: A frame with one of these flags gives no differential flux.
LOST = FrameFlag.UNREADABLE | FrameFlag.ALIGN_FAILED | FrameFlag.FEW_STARS
#: A comparison star is good in at least this share of the frames that the target is measured in.
PRESENT = 0.8


def find_star(obs: xr.Dataset, target: int | str | tuple[float, float]) -> int:
    """Index of a star given by index, pixel position on the reference, or sky position.

    Parameters
    ----------
    obs : xarray.Dataset
        Photometry, with `star_x`, `star_y`, `star_ra`, `star_dec`.
    target : int, str or (float, float)
        An index, ``(x, y)``, or text as on the command line: ``"3"``, ``"423.2,286"``, ``"02:04:10.3,+46:41:16"``.

    Raises
    ------
    InputError
        If no star is there; the nearest is named.
    """
    if isinstance(target, str):
        target = parse_target(target)
    n = obs.sizes["star"]
    if isinstance(target, (int, np.integer)):
        if not 0 <= target < n:
            raise InputError(f"target: there is no star {target}; the stars are 0 to {n - 1}")
        return int(target)
    reach = 2.0 * float(np.nanmedian(obs.fwhm.values))
    if isinstance(target, str):
        ra, dec = sky_degrees(target)
        if not np.isfinite(obs.star_ra.values).any():
            raise InputError(f"target: {target!r}: the reference had no WCS, so give an index or x,y")
        east = (obs.star_ra.values - ra + 180.0) % 360.0 - 180.0
        distance = np.hypot(east * np.cos(np.radians(dec)), obs.star_dec.values - dec) * 3600
        limit, unit = max(10.0, reach * _pixel_scale(obs)), "arcsec"
    else:
        distance = np.hypot(obs.star_x.values - target[0], obs.star_y.values - target[1])
        limit, unit = reach, "px"
    nearest = int(np.nanargmin(distance))
    if not distance[nearest] <= limit:
        raise InputError(
            f"target: no star within {limit:.1f} {unit} of {target}; the nearest is star {nearest}, "
            f"{distance[nearest]:.1f} {unit} away; reduce with this target to have it measured"
        )
    return nearest


def _pixel_scale(obs: xr.Dataset) -> float:
    """Arcseconds of a pixel, from the stars' positions on frame and sky; 0 with fewer than two stars."""
    ra, dec = obs.star_ra.values, obs.star_dec.values
    east = ((ra - ra[0] + 180.0) % 360.0 - 180.0) * np.cos(np.radians(dec[0])) * 3600
    away = np.hypot(obs.star_x.values - obs.star_x.values[0], obs.star_y.values - obs.star_y.values[0])
    ratio = np.hypot(east, (dec - dec[0]) * 3600)[away > 0] / away[away > 0]
    return float(np.nanmedian(ratio)) if np.isfinite(ratio).any() else 0.0


def differential(
    obs: xr.Dataset,
    target: int | str | tuple[float, float] | None = None,
    comparisons: Sequence[int] | None = None,
    aperture: int | None = None,
    exclude: Sequence[int] = (),
) -> xr.Dataset:
    """Differential light curves of all stars in all apertures.

    Parameters
    ----------
    obs : xarray.Dataset
        Photometry of one filter, as ``dphot.open(store).photometry[filter]``.
    target : int, str or (float, float), optional
        The target (see `find_star`); by default the one the reduction was told, or the brightest star.
    comparisons : sequence of int, optional
        Comparison stars; by default all that are measured well, weighted by how steady they are.
    aperture : int, optional
        The aperture to show; by default that with the least point-to-point scatter of the target.
    exclude : sequence of int
        Stars never used as comparison.

    Returns
    -------
    xarray.Dataset
        The photometry with `diff_flux`, `diff_err`, `artificial`, `weight` and `scatter`
        (see `dphot.schema.DIFFERENTIAL`); attributes `target`, `aperture`, `comparisons`. The errors hold scintillation
        where it is known. Where the gain is not known, they rest on one that the scatter of the comparison stars tells
        (attribute `gain_from_scatter`, e-/ADU).

    Raises
    ------
    InputError
        If the target is not there, or measured in fewer than three frames, or no comparison star is left.

    References
    ----------
    Broeg, Fernandez and Neuhaeuser 2005, AN 326, 134.
    """
    validate(obs, PHOTOMETRY, ("flux", "flux_err", "flags", "frame_flags"))
    if target is None:
        target = str(obs.attrs.get("target", "")) or 0
    star = find_star(obs, target)
    flux, flux_err = obs.flux.values, obs.flux_err.values
    lost = (obs.frame_flags.values & int(LOST)) != 0
    points = int(np.count_nonzero(np.isfinite(flux[~lost, :, star]).any(axis=1)))
    if points < 3:
        raise InputError(
            f"target: star {star} is measured in {points} of {obs.sizes['time']} frames; a light curve needs three"
        )
    good = ((obs.flags.values & int(UNFIT)) == 0) & ~lost[:, None]
    use = _candidates(flux, good, star, comparisons, exclude)
    flux = np.where(lost[:, None, None], np.nan, flux)
    twinkling = np.nan_to_num(obs.scintillation.values)[:, None, None] * flux
    result = ensemble.broeg(flux, np.hypot(flux_err, twinkling), target=star, use=use, good=good)
    gain = np.nan
    if obs.attrs.get("flux_unit") == "ADU":
        # The noise model took 1 e-/ADU. The scatter of the stars themselves tells the photon noise.
        best = int(ensemble.best_aperture(result.diff[:, :, star]))
        steady = _measured(flux, good, star)[best]
        gain = noise.gain_from_scatter(
            flux[:, best, steady], flux_err[:, best, steady], twinkling[:, best, steady],
            ensemble.point_scatter(result.diff[:, best, steady]),
        )  # fmt: skip
        if np.isfinite(gain):
            variance = flux_err**2 + np.maximum(flux, 0.0) * (1.0 / gain - 1.0)
            flux_err = np.sqrt(np.maximum(variance, 0.0))
            result = ensemble.broeg(flux, np.hypot(flux_err, twinkling), target=star, use=use, good=good)
    scatter = ensemble.point_scatter(result.diff[:, :, star])
    if aperture is None:
        aperture = int(ensemble.best_aperture(result.diff[:, :, star]))
    elif not 0 <= aperture < obs.sizes["aperture"]:
        raise InputError(
            f"aperture: there is no aperture {aperture}; they are 0 to {obs.sizes['aperture'] - 1}"
        )
    weight = result.weights
    ds = obs.assign(
        diff_flux=(("time", "aperture", "star"), result.diff),
        diff_err=(("time", "aperture", "star"), result.diff_err),
        artificial=(("time", "aperture"), result.artificial[:, :, star]),
        weight=(("aperture", "star"), weight),
        scatter=("aperture", scatter),
    )
    used = np.flatnonzero(weight[aperture] > 0)
    ds.attrs.update(
        target=star,
        aperture=aperture,
        comparisons=[int(i) for i in used[np.argsort(-weight[aperture][used], kind="stable")]],
        method="Broeg et al. 2005",
    )
    if np.isfinite(gain):
        ds.attrs["gain_from_scatter"] = gain
    validate(ds, DIFFERENTIAL, tuple(DIFFERENTIAL))
    return annotate(ds, DIFFERENTIAL)


def _measured(flux: np.ndarray, good: np.ndarray, star: int) -> np.ndarray:
    """Stars measured well in most of the frames in which the target is: bool (aperture, star)."""
    frames = np.isfinite(flux[:, :, star])[:, :, None]
    with np.errstate(invalid="ignore"):
        measured = (flux > 0) & good[:, None, :] & frames
    return measured.sum(axis=0) >= np.maximum(PRESENT * frames.sum(axis=0), 1)


def _candidates(
    flux: np.ndarray, good: np.ndarray, star: int, comparisons: Sequence[int] | None, exclude: Sequence[int]
) -> np.ndarray:
    """Which stars may be comparisons: bool (aperture, star)."""
    n = flux.shape[2]
    named = [*(comparisons or ()), *exclude]
    unknown = [i for i in named if not 0 <= i < n]
    if unknown:
        raise InputError(f"comparisons: there are no stars {unknown}; the stars are 0 to {n - 1}")
    if comparisons is not None:
        use = np.tile(np.isin(np.arange(n), list(comparisons)), (flux.shape[1], 1))
    else:
        use = _measured(flux, good, star)
    use[:, [*exclude, star]] = False
    if not use.any():
        raise InputError("comparisons: no star is left; name some, or exclude fewer")
    return use
