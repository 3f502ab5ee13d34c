"""Differential photometry on the measured dataset."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from .errors import InputError
from .flags import LOST, UNFIT
from .graph.stars import parse_target
from .io.site import sky_degrees
from .kernels import crowding, ensemble, nightly, noise, scatter
from .kernels.gain import gain_from_scatter
from .schema import DIFFERENTIAL, PHOTOMETRY, annotate, validate

#: A comparison star is good in at least this share of the frames that the target is measured in.
PRESENT = 0.8
#: Of fewer steps within the nights chance would choose the aperture.
STEPS = 6
#: Rounds in which the gain from the stars' scatter and the ensemble's own noise settle.
GAIN_ROUNDS = 8


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
    validate(obs, PHOTOMETRY, ("flux", "flux_err", "flags", "frame_flags"))
    fluxes = _Fluxes(obs)
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
    gain = _gain(fluxes, steady) if fluxes.empty is not None else None
    diff, diff_err, artificial = np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape[:2], np.nan)
    weight = np.zeros(shape[1:])
    for a in map(
        int, np.flatnonzero(use.any(axis=1))
    ):  # one at a time: the arrays of a long series are large
        found = fluxes.compare(a, use[a], star, gain[0] if gain else np.nan)
        diff[:, a], diff_err[:, a] = found.diff[:, 0], found.diff_err[:, 0]
        artificial[:, a], weight[a] = found.artificial[:, 0, star], found.weights[0]
    nights = _nights(obs)
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


def _nights(ds: xr.Dataset) -> np.ndarray:
    return ds["night"].values.astype(str) if "night" in ds else np.full(ds.sizes["time"], "")


def _crowding(obs: xr.Dataset, fluxes: _Fluxes, star: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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


class _Fluxes:
    """Fluxes and their variances, an aperture at a time."""

    def __init__(self, obs: xr.Dataset):
        self.flux, self.flux_err = obs.flux.values, obs.flux_err.values
        self.lost = (obs.frame_flags.values & int(LOST)) != 0
        self.good = ((obs.flags.values & int(UNFIT)) == 0) & ~self.lost[:, None]
        self.nights = _nights(obs)
        self.twinkling = np.nan_to_num(obs.scintillation.values)[:, None]
        #: What gives the variance of an empty aperture; only where the gain is not known: e- else hold all there is.
        self.empty = None
        if obs.attrs.get("flux_unit") == "ADU":
            self.empty = tuple(obs[k].values for k in ("aperture_radius", "sky_rms", "sky_pixels"))

    def of_star(self, star: int) -> np.ndarray:
        """Fluxes (time, aperture) of one star."""
        return np.where(self.lost[:, None], np.nan, self.flux[:, :, star])

    def points(self) -> np.ndarray:
        """In how many frames each star is measured well in all apertures; where none is, in one at least: (star,)."""
        some, whole = np.zeros(self.good.shape, bool), self.good.copy()
        for a in range(self.flux.shape[1]):
            there = np.isfinite(self.flux[:, a])
            some |= there
            whole &= there
        return np.count_nonzero(whole if whole.any() else some & self.good, axis=0)

    def parts(self, a: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Fluxes, and the two parts of their variance: what goes as 1 / gain, and the rest; (time, 1, star).

        Where the gain is not known, the noise model took 1 e-/ADU for the photons of the stars.
        """
        flux = np.where(self.lost[:, None], np.nan, self.flux[:, a])
        variance = np.square(self.flux_err[:, a])
        rest = variance
        if self.empty is not None:
            radius, sky_rms, sky_pixels = self.empty
            radius = radius[:, a, None]
            rest = noise.flux_variance(
                0.0, np.pi * radius**2, sky_rms, sky_pixels, noise_area=noise.noise_area(radius)
            )
        photons = np.maximum(variance - rest, 0.0)
        return flux[:, None], photons[:, None], (rest + np.square(self.twinkling * flux))[:, None]

    def compare(self, a: int, use: np.ndarray, star: int | None, gain: float = np.nan) -> ensemble.Ensemble:
        """Light curves in one aperture; `gain` (e-/ADU) where the fluxes are in ADU."""
        flux, photons, rest = self.parts(a)
        error = np.sqrt(rest + photons / (gain if np.isfinite(gain) else 1.0))
        return ensemble.broeg(flux, error, target=star, use=use, good=self.good)

    def scatter(self, found: ensemble.Ensemble, stars: np.ndarray) -> np.ndarray:
        """Point-to-point scatter (star,) of good points in one aperture."""
        return scatter.point_scatter(np.where(self.good, found.diff[:, 0], np.nan)[:, stars], self.nights)

    def steady(self, star: int) -> np.ndarray:
        """Stars measured well in most of the frames in which the target is: bool (aperture, star)."""
        out = np.zeros(self.flux.shape[1:], bool)
        for a in range(len(out)):
            frames = np.isfinite(self.flux[:, a, star]) & ~self.lost
            with np.errstate(invalid="ignore"):
                measured = (self.flux[frames, a] > 0) & self.good[frames]
            out[a] = measured.sum(axis=0) >= max(PRESENT * frames.sum(), 1)
        return out


def _gain(fluxes: _Fluxes, steady: np.ndarray) -> tuple[float, float]:
    """Gain and its error (e-/ADU) from the scatter of the stars.

    It is taken in the aperture in which the stars scatter least, not in that of the least error of the gain: this is
    least where chance makes the gain low. The ensemble's own noise rests on the gain, too: it is left to the fit at
    first, then taken from the last gain.
    """
    count = steady.sum(axis=1)
    if count.max() < 3:
        return np.nan, np.nan
    apertures = [int(a) for a in np.flatnonzero(count >= max(3, count.max() / 2))]
    stars: np.ndarray = np.all(steady[apertures], axis=0)
    if np.count_nonzero(stars) < 3:
        return np.nan, np.nan
    each = np.array([fluxes.scatter(fluxes.compare(a, steady[a], None), stars) for a in apertures])
    typical = np.median(each / each.min(axis=0), axis=1)
    a = apertures[int(np.argmin(np.where(np.isfinite(typical), typical, np.inf)))]
    gain, error = _fit_gain(fluxes, a, steady[a])
    for _ in range(GAIN_ROUNDS):
        last = gain
        gain, error = _fit_gain(fluxes, a, steady[a], last)
        if not abs(gain - last) > 0.1 * error:
            break
    return gain, error


def _fit_gain(fluxes: _Fluxes, a: int, use: np.ndarray, gain: float = np.nan) -> tuple[float, float]:
    """One step of `_gain`, with the errors that the last one gives."""
    found = fluxes.compare(a, use, None, gain)
    flux, photons, rest = (v[:, 0, use] for v in fluxes.parts(a))
    star, error = found.artificial[:, 0, use], found.diff_err[:, 0, use]
    there = fluxes.good[:, use] & np.isfinite(found.diff[:, 0, use])

    def mean(values: np.ndarray) -> np.ndarray:
        return np.where(there, values, 0.0).sum(axis=0) / there.sum(axis=0)

    with np.errstate(invalid="ignore", divide="ignore"):
        level = star * mean(flux) / mean(star)  # what a flux is but for its noise
        known = mean(rest / np.square(level))
        light = mean(photons / np.square(level))
        if np.isfinite(gain):
            known = np.maximum(known, mean(np.square(error)) - light / gain)
    return gain_from_scatter(fluxes.scatter(found, use), light, known, there.sum(axis=0))


def _candidates(
    steady: np.ndarray, star: int, comparisons: Sequence[int] | None, exclude: Sequence[int]
) -> np.ndarray:
    """Which stars may be comparisons: bool (aperture, star)."""
    n = steady.shape[1]
    named = [*(comparisons or ()), *exclude]
    unknown = [i for i in named if not 0 <= i < n]
    if unknown:
        raise InputError(f"comparisons: there are no stars {unknown}; the stars are 0 to {n - 1}")
    if comparisons is not None:
        use = np.tile(np.isin(np.arange(n), list(comparisons)), (len(steady), 1))
    else:
        use = steady.copy()
    use[:, [*exclude, star]] = False
    if not use.any():
        raise InputError("comparisons: no star is left; name some, or exclude fewer")
    return use
