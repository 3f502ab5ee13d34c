"""Measured fluxes and their errors, an aperture at a time, and the gain that the scatter of the stars tells."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from .flags import LOST, UNFIT
from .kernels import ensemble, noise, scatter
from .kernels.gain import gain_from_scatter

#: A comparison star is good in at least this share of the frames that the target is measured in.
PRESENT = 0.8
#: What gives the variance of an empty aperture.
EMPTY = ("aperture_radius", "sky_rms", "sky_pixels")
#: Fewer stars tell no gain.
STARS = 3
#: Rounds in which the gain from the stars' scatter and the ensemble's own noise settle.
GAIN_ROUNDS = 8


def nights_of(obs: xr.Dataset) -> np.ndarray:
    """The night of each frame (time,); all of one where none is told."""
    return obs["night"].values.astype(str) if "night" in obs else np.full(obs.sizes["time"], "")


class Fluxes:
    """Fluxes and their variances, an aperture at a time."""

    def __init__(self, obs: xr.Dataset):
        self.flux, self.flux_err = obs.flux.values, obs.flux_err.values
        self.lost = (obs.frame_flags.values & int(LOST)) != 0
        self.good = ((obs.flags.values & int(UNFIT)) == 0) & ~self.lost[:, None]
        self.nights = nights_of(obs)
        self.twinkling = np.nan_to_num(obs.scintillation.values)[:, None]
        #: Only where the gain is not known: e- else hold all there is.
        self.empty = None
        if obs.attrs.get("flux_unit") == "ADU":
            self.empty = tuple(obs[k].values for k in EMPTY)

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

    def measured(self, a: int, gain: float = np.nan) -> tuple[np.ndarray, np.ndarray]:
        """Fluxes in one aperture and their errors (time, 1, star); `gain` (e-/ADU) where the fluxes are in ADU."""
        flux, photons, rest = self.parts(a)
        return flux, np.sqrt(rest + photons / (gain if np.isfinite(gain) else 1.0))

    def compare(self, a: int, use: np.ndarray, star: int | None, gain: float = np.nan) -> ensemble.Ensemble:
        """Light curves in one aperture."""
        flux, error = self.measured(a, gain)
        return ensemble.broeg(flux, error, target=star, use=use, good=self.good)

    def scatter(self, found: ensemble.Ensemble, stars: np.ndarray | slice) -> np.ndarray:
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


def gain_of_stars(fluxes: Fluxes, steady: np.ndarray) -> tuple[float, float]:
    """Gain and its error (e-/ADU) from the scatter of the stars that are `steady` (aperture, star), or NaN."""

    def scatter_in(a: int) -> np.ndarray:
        return fluxes.scatter(fluxes.compare(a, steady[a], None), slice(None))

    a = gain_aperture(steady, scatter_in)
    return (np.nan, np.nan) if a is None else gain_in(fluxes, a, steady[a])


def gain_aperture(steady: np.ndarray, scatter_in: Callable[[int], np.ndarray]) -> int | None:
    """The aperture that tells the gain; None where too few stars are `steady` (aperture, star).

    It is that in which the stars scatter least, not that of the least error of the gain: this is least where chance
    makes the gain low. `scatter_in` gives the stars' scatter in an aperture.
    """
    count = steady.sum(axis=1)
    apertures = np.flatnonzero(count >= max(STARS, count.max() / 2))
    stars: np.ndarray = np.all(steady[apertures], axis=0)
    if not apertures.size or np.count_nonzero(stars) < STARS:
        return None
    each = np.array([scatter_in(int(a))[stars] for a in apertures])
    typical = np.median(each / each.min(axis=0), axis=1)
    return int(apertures[np.argmin(np.where(np.isfinite(typical), typical, np.inf))])


def gain_in(fluxes: Fluxes, a: int, use: np.ndarray) -> tuple[float, float]:
    """Gain and its error (e-/ADU) from the scatter of the stars of `use` (star,) in one aperture, or NaN.

    The ensemble's own noise rests on the gain, too: it is left to the fit at first, then taken from the last gain.
    """
    if np.count_nonzero(use) < STARS:
        return np.nan, np.nan
    gain, error = _fit_gain(fluxes, a, use)
    for _ in range(GAIN_ROUNDS):
        last = gain
        gain, error = _fit_gain(fluxes, a, use, last)
        if not abs(gain - last) > 0.1 * error:
            break
    return gain, error


def _fit_gain(fluxes: Fluxes, a: int, use: np.ndarray, gain: float = np.nan) -> tuple[float, float]:
    """One step of `gain_in`, with the errors that the last one gives."""
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
