"""One star's light curve over all nights of a store, from as little of it as that takes."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import xarray as xr

from .differential import default_star, find_star, star_numbers
from .errors import InputError
from .fluxes import EMPTY, Fluxes, gain_aperture, gain_in, nights_of
from .fluxes import PRESENT as STEADY
from .kernels import crowding, nightly
from .kernels.scatter import median, point_scatter
from .schema import DIFFERENTIAL, annotate
from .store import Store
from .store.ensemble import calibrated

_TABLES = ("level", "level_err", "rms", "noise", "points")
#: What a light curve is made of, and what a plot of it says of its points.
_READ = (
    "flux", "flux_err", "flags", "frame_flags", "scintillation", "aperture_radius", "night", "bjd_tdb", "path", "flip",
)  # fmt: skip
#: Of what is read, what differs from aperture to aperture.
_OF_APERTURE = ("flux", "flux_err", "aperture_radius")
#: A gain that the stars tell is taken from so many frames, or a night more: it is one number, and they tell it well.
GAIN_FRAMES = 500
#: A comparison star is measured in at least this share of the frames in which the target is.
PRESENT = 0.5


def light_curve(
    store: Store | str | os.PathLike[str],
    target: int | str | tuple[float, float] | None = None,
    filter: str | None = None,
    aperture: int | None = None,
    comparisons: Sequence[int] | None = None,
    exclude: Sequence[int] = (),
) -> xr.Dataset:
    """The differential light curve of a star over all nights of a store, on one scale.

    The aperture and the weights of the comparison stars come from what the store keeps of each night
    (`Store.ensemble`): a star that varies from night to night weighs as little as one that varies within a night.
    Nights that lack calibration have no say in this, unless they are the most: what flats would have taken off stays in
    their `night_level`. Only one aperture is read.

    Parameters
    ----------
    store : Store or path
        The store, or where it is.
    target : int, str or (float, float), optional
        The target (see `dphot.differential.find_star`); by default that of the reduction, or the brightest star that is
        measured well.
    filter : str, optional
        Needed where the store holds several.
    aperture : int, optional
        The aperture; by default, of those that hold little light of other stars, that in which the target scatters
        least from point to point, over all nights.
    comparisons, exclude : sequence of int, optional
        Comparison stars, by default all that are steady enough to weigh something and whose aperture does not hold the
        target's light; stars that are never used.

    Returns
    -------
    xarray.Dataset
        As `dphot.differential` gives it, with one aperture, whose index is the coordinate ``aperture``. `night_level`
        is the median of the target's nights: ``diff_flux / night_level`` has the offsets of the nights taken off.

    Raises
    ------
    InputError
        If the filter or the target is not there, or no comparison star is left.
    """
    if not isinstance(store, Store):
        store = Store.open(store)
    names = list(store.photometry)
    if filter is None and len(names) == 1:
        filter = names[0]
    if filter not in names:
        raise InputError(
            f"filter {filter!r}: {store.path} holds {', '.join(map(repr, names)) or 'no photometry'}"
        )
    obs = store.photometry[filter]
    nights = store.ensemble[filter]
    measured = nights["points"].values.max(axis=1).sum(axis=0)
    if target is None:
        whole = nights["points"].values.min(axis=1).sum(axis=0)
        star = default_star(obs, whole if whole.any() else measured)
    else:
        star = find_star(obs, target)
    if not measured[star]:
        raise InputError(
            f"target: star {star} is measured well in no frame, as one that is saturated is not; "
            "dphot.differential takes it all the same"
        )
    foreign, spilled, own = _crowding(store, filter, nights, star)
    if aperture is None:
        aperture = _best(nights, star, own)
    elif not 0 <= aperture < obs.sizes["aperture"]:
        raise InputError(
            f"aperture: there is no aperture {aperture}; they are 0 to {obs.sizes['aperture'] - 1}"
        )

    tables = [nights[name].values[:, aperture].astype(np.float64) for name in _TABLES]
    use = _candidates(tables[4], star, comparisons, exclude, spilled[aperture] > crowding.SHARE)
    fit = nightly.comparable(calibrated(nights))
    level, level_err, rms, noise, points = (table[fit] for table in tables)
    here = slice(aperture, aperture + 1)
    wanted = (*_READ, *EMPTY) if obs.attrs.get("flux_unit") == "ADU" else _READ
    read = store.rows(filter, wanted, aperture=here)  # the rest is read when it is asked for
    one = obs.isel(aperture=here).assign(read).assign_coords(read.coords)
    fluxes, gain = Fluxes(one), None
    if fluxes.empty is not None:
        gain = _gain(store, filter, nights, star, one)
        told, noise = noise, _noise(fluxes, gain[0], nights.night.values[fit])
        level_err = level_err * noise / told
    judged = nightly.judge(level, level_err, rms, noise, points, use)
    expected = np.nanmedian(np.where(np.isfinite(noise).any(axis=0), noise, 0.0), axis=0)
    flux, error = (v[:, 0] for v in fluxes.measured(0, gain[0] if gain else np.nan))
    scaling = np.isin(one.night.values.astype(str), nights.night.values.astype(str)[fit])
    artificial, diff, diff_err = nightly.light_curves(flux, error, fluxes.good, judged, expected, scaling)
    cube = ("time", "aperture", "star")
    ds = one.assign(
        diff_flux=(cube, diff[:, None]),
        diff_err=(cube, diff_err[:, None]),
        artificial=(("time", "aperture"), artificial[:, [star]]),
        weight=(("aperture", "star"), judged.weight[None]),
        scatter=("aperture", point_scatter(diff[:, [star]], one.night.values.astype(str))),
    )
    ds["night_level"] = ("time", "aperture"), nightly.night_levels(ds.night.values, diff[:, [star]])
    used = np.flatnonzero(judged.weight > 0)
    ds.attrs.update(
        target=star,
        aperture=0,
        comparisons=[int(i) for i in used[np.argsort(-judged.weight[used], kind="stable")]],
        method="Broeg et al. 2005, weights of all nights",
        foreign_light=float(foreign[aperture]),
    )
    if gain:
        ds.attrs["gain_from_scatter"], ds.attrs["gain_from_scatter_err"] = gain
    return annotate(ds, DIFFERENTIAL)


def _crowding(
    store: Store, filter: str, nights: xr.Dataset, star: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Light of others in the target's apertures, and of the target in theirs; apertures that hold little of others."""
    seen = store.rows(filter, ("fwhm", "aperture_radius", "star_x", "star_y", "star_flux"))
    fwhm = float(median(seen.fwhm.values))
    # apertures are all of one size, or of that of each frame's FWHM: a frame of the usual one tells
    radius = seen.aperture_radius.values[int(np.nanargmin(np.abs(seen.fwhm.values - fwhm)))]
    level = median(nights["level"].values[:, crowding.core_aperture(radius, fwhm)].T.astype(np.float64))
    light = np.where(np.isfinite(level), level, seen.star_flux.values)  # one that is saturated has no level
    foreign, spilled = crowding.crowding(seen.star_x.values, seen.star_y.values, light, star, radius, fwhm)
    return foreign, spilled, crowding.uncrowded(foreign, radius, fwhm)


def _gain(store: Store, filter: str, nights: xr.Dataset, star: int, one: xr.Dataset) -> tuple[float, float]:
    """Gain and its error (e-/ADU) from the scatter of the stars, in the nights of the most frames.

    As in `dphot.differential` it is taken in the aperture in which the stars scatter least, whichever is shown. What
    the nights keep tells which, so that no other is read.
    """
    points = nights["points"].values.sum(axis=0)
    scatter = median(np.moveaxis(nights["scatter"].values, 0, -1).astype(np.float64))
    steady = (points >= np.maximum(STEADY * points[:, [star]], 1)) & np.isfinite(scatter)
    a = gain_aperture(steady, lambda a: scatter[a])
    if a is not None and a != int(one.aperture[0]):  # None: nights of one or two frames keep no scatter
        read = store.rows(filter, _OF_APERTURE, aperture=slice(a, a + 1))
        one = one.assign({name: read[name].variable for name in _OF_APERTURE})
    _, night, counts = np.unique(nights_of(one), return_inverse=True, return_counts=True)
    most = np.argsort(-counts, kind="stable")
    enough = most[: int(np.searchsorted(np.cumsum(counts[most]), GAIN_FRAMES)) + 1]
    fluxes = Fluxes(one.isel(time=np.isin(night, enough)))
    return gain_in(fluxes, 0, fluxes.steady(star)[0])


def _noise(fluxes: Fluxes, gain: float, nights: np.ndarray) -> np.ndarray:
    """What one point is expected to scatter (night, star): what the nights keep rests on a gain of 1 e-/ADU."""
    flux, error = (v[:, 0] for v in fluxes.measured(0, gain))
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(fluxes.good & (flux > 0), error / flux, np.nan)
    return np.array([median(relative[fluxes.nights == night].T) for night in nights.astype(str)])


def _best(nights: xr.Dataset, star: int, own: np.ndarray) -> int:
    """Of the apertures that hold a star's own light alone that in which it scatters least, over the nights."""
    scatter = np.where(own, nights["scatter"].values[:, :, star], np.nan)
    nowhere = ~np.isfinite(scatter).any(axis=0)
    if nowhere.all():  # nights of one or two frames: the levels of the nights tell
        level = np.where(own, nights["level"].values[:, :, star], np.nan)
        noise = nights["level_err"].values[:, :, star] / level
        scatter, nowhere = noise, ~np.isfinite(noise).any(axis=0)
    if nowhere.all():
        raise InputError(f"target: star {star} is measured in no night")
    typical = np.nanmedian(np.where(nowhere, np.inf, scatter), axis=0)
    return int(np.argmin(typical))


def _candidates(
    points: np.ndarray,
    star: int,
    comparisons: Sequence[int] | None,
    exclude: Sequence[int],
    spoilt: np.ndarray,
) -> np.ndarray:
    """Which stars may be comparisons (bool for each star); those that are `spoilt` only where they are named."""
    n = points.shape[1]
    mine = points[points[:, star] > 0]  # nights in which the target is measured
    use = ~spoilt & (mine.sum(axis=0) >= PRESENT * max(mine[:, star].sum(), 1))
    if comparisons is not None:
        use = np.isin(np.arange(n), star_numbers("comparisons", comparisons, n))
    use[[star, *star_numbers("exclude", exclude, n)]] = False
    if not use.any():
        raise InputError("comparisons: no star is left; name some, or exclude fewer")
    return use
