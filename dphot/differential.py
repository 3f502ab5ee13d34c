"""Differential photometry on the measured dataset."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import numpy as np
import xarray as xr

from .errors import InputError
from .fluxes import PRESENT, Fluxes, gain_of_stars, nights_of
from .graph.stars import parse_target
from .io.site import sky_degrees
from .kernels import crowding, nightly, scatter
from .schema import DIFFERENTIAL, PHOTOMETRY, annotate, validate

#: Of fewer steps within the nights chance would choose the aperture.
STEPS = 6


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
        If no star is there, whereby the nearest is named; or `target` is nothing of these.
    """
    if isinstance(target, str):
        target = parse_target(target)
    n = obs.sizes["star"]
    if isinstance(target, (int, np.integer)):
        if not 0 <= target < n:
            raise InputError(f"target: there is no star {target}; the stars are 0 to {n - 1}")
        return int(target)
    if not isinstance(target, str) and (np.ndim(target) != 1 or len(target) != 2):
        raise InputError(f"target: {target!r} is no star's index, no (x, y) and no text of a sky position")
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


def default_star(obs: xr.Dataset, points: np.ndarray) -> int:
    """Index of the star that is meant where none is named: the reduction's target, or the brightest measured well.

    Parameters
    ----------
    obs : xarray.Dataset
        Photometry.
    points : array, shape (star,)
        In how many frames each star is measured well in all apertures: not so near the edge that the largest leave it.

    Raises
    ------
    InputError
        If the reduction's target is not there.
    """
    told = str(obs.attrs.get("target", ""))
    # stars come in order of brightness, and the first may be saturated all night
    return find_star(obs, told) if told else int(np.argmax(points >= PRESENT * points.max()))


def star_numbers(name: str, given: Sequence[int], n: int) -> list[int]:
    """The numbers of stars that a user names, of `n` stars there are.

    Raises
    ------
    InputError
        If they are no integers: a mask, say, would name stars 0 and 1. Or if there is no such star.
    """
    try:
        numbers = [operator.index(np.asarray(star)[()]) for star in given]
    except TypeError as error:
        raise InputError(f"{name}: {given!r} is no list of star numbers, as [1, 2, 5]") from error
    if unknown := [star for star in numbers if not 0 <= star < n]:
        raise InputError(f"{name}: there are no stars {unknown}; the stars are 0 to {n - 1}")
    return numbers


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
        The target (see `find_star`); by default the one the reduction was told, or the brightest star that is
        measured well.
    comparisons : sequence of int, optional
        Comparison stars; by default all that are measured well, weighted by how steady they are; in apertures that hold
        the target's light a star is none.
    aperture : int, optional
        The aperture to show; by default, of those that hold little light of other stars, that with the least
        point-to-point scatter of the target, or with its least error where there are too few points in the nights to
        tell.
    exclude : sequence of int
        Stars never used as comparison.

    Returns
    -------
    xarray.Dataset
        The photometry with `diff_flux`, `diff_err`, `artificial`, `weight` and `scatter`
        (see `dphot.schema.DIFFERENTIAL`); attributes `target`, `aperture`, `comparisons`, and `foreign_light`: that of
        other stars in the aperture, relative to the target's own (`kernels.crowding`). The errors hold scintillation
        where it is known. Where the gain is not known, they rest on one that the scatter of the stars tells (attributes
        `gain_from_scatter` and `gain_from_scatter_err`, e-/ADU); where the stars do not tell it, on 1 e-/ADU, and the
        attributes are NaN.

    Raises
    ------
    InputError
        If the target is not there, or measured in fewer than three frames, or no comparison star is left.

    References
    ----------
    Broeg, Fernandez and Neuhaeuser 2005, AN 326, 134.
    """
    validate(obs, PHOTOMETRY, ("flux", "flux_err", "flags", "frame_flags", "fwhm", "aperture_radius"))
    fluxes = Fluxes(obs)
    star = default_star(obs, fluxes.points()) if target is None else find_star(obs, target)
    points = int(np.count_nonzero(np.isfinite(fluxes.of_star(star)).any(axis=1)))
    if points < 3:
        raise InputError(
            f"target: star {star} is measured in {points} of {obs.sizes['time']} frames; a light curve needs three"
        )
    steady = fluxes.steady(star)
    foreign, spilled, own = _crowding(obs, fluxes, star)
    if comparisons is None:
        steady &= spilled <= crowding.SHARE
    use = _candidates(steady, star, comparisons, exclude)
    shape = fluxes.flux.shape
    if aperture is not None and not 0 <= aperture < shape[1]:
        raise InputError(f"aperture: there is no aperture {aperture}; they are 0 to {shape[1] - 1}")
    gain = gain_of_stars(fluxes, steady) if fluxes.empty is not None else None
    diff, diff_err, artificial = np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape[:2], np.nan)
    weight = np.zeros(shape[1:])
    for a in map(
        int, np.flatnonzero(use.any(axis=1))
    ):  # one at a time: the arrays of a long series are large
        found = fluxes.compare(a, use[a], star, gain[0] if gain else np.nan)
        diff[:, a], diff_err[:, a] = found.diff[:, 0], found.diff_err[:, 0]
        artificial[:, a], weight[a] = found.artificial[:, 0, star], found.weights[0]
    nights = nights_of(obs)
    if aperture is None:
        aperture = _best_aperture(np.where(own, diff[:, :, star], np.nan), diff_err[:, :, star], nights, star)
    ds = obs.assign(
        diff_flux=(("time", "aperture", "star"), diff),
        diff_err=(("time", "aperture", "star"), diff_err),
        artificial=(("time", "aperture"), artificial),
        weight=(("aperture", "star"), weight),
        scatter=("aperture", scatter.point_scatter(diff[:, :, star], nights)),
    )
    ds["night_level"] = ("time", "aperture"), nightly.night_levels(nights, diff[:, :, star])
    used = np.flatnonzero(weight[aperture] > 0)
    ds.attrs.update(
        target=star,
        aperture=aperture,
        comparisons=[int(i) for i in used[np.argsort(-weight[aperture][used], kind="stable")]],
        method="Broeg et al. 2005",
        foreign_light=float(foreign[aperture]),
    )
    if gain:
        ds.attrs["gain_from_scatter"], ds.attrs["gain_from_scatter_err"] = gain
    validate(ds, DIFFERENTIAL, tuple(DIFFERENTIAL))
    return annotate(ds, DIFFERENTIAL)


def _crowding(obs: xr.Dataset, fluxes: Fluxes, star: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Light of others in the target's apertures, and of the target in theirs; apertures that hold little of others."""
    radius = scatter.median(obs.aperture_radius.values.T)
    fwhm = float(scatter.median(obs.fwhm.values))
    core = crowding.core_aperture(radius, fwhm)
    light = scatter.median(np.where(fluxes.lost[:, None], np.nan, fluxes.flux[:, core]).T)
    foreign, spilled = crowding.crowding(obs.star_x.values, obs.star_y.values, light, star, radius, fwhm)
    return foreign, spilled, crowding.uncrowded(foreign, radius, fwhm)


def _best_aperture(curves: np.ndarray, errors: np.ndarray, nights: np.ndarray, star: int) -> int:
    """The aperture in which the target scatters least; where there are too few points to tell, of the least error."""
    finite = np.isfinite(curves)
    points = finite.sum(axis=0)
    if points.max() < 3:
        raise InputError(
            f"target: the light curve of star {star} has {points.max()} points in its fullest aperture, of "
            f"{len(curves)} frames; it needs three"
        )
    there = finite.any(axis=1)
    if np.count_nonzero(nights[there][1:] == nights[there][:-1]) >= STEPS:
        return int(scatter.best_aperture(curves, nights))
    complete = points >= 0.9 * points.max()
    with np.errstate(invalid="ignore"):
        error = np.where(finite & complete, np.abs(errors / curves), np.inf)
    return int(np.argmin(np.median(np.where(np.isnan(error), np.inf, error), axis=0)))


def _candidates(
    steady: np.ndarray, star: int, comparisons: Sequence[int] | None, exclude: Sequence[int]
) -> np.ndarray:
    """Which stars may be comparisons: bool (aperture, star)."""
    n = steady.shape[1]
    if comparisons is not None:
        named = np.isin(np.arange(n), star_numbers("comparisons", comparisons, n))
        use = np.tile(named, (len(steady), 1))
    else:
        use = steady.copy()
    use[:, [*star_numbers("exclude", exclude, n), star]] = False
    if not use.any():
        raise InputError("comparisons: no star is left; name some, or exclude fewer")
    return use
