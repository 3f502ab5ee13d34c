"""Photometry whose noise is known exactly: fluxes drawn at random instead of frames, for many samples."""

import numpy as np
import xarray as xr

from dphot.kernels import noise

RADIUS = 5.0
SKY_PIXELS = 1200
SKY_RMS = 12.0


def flux_night(level, frames, seed, gain=None, scintillation=0.0, hidden=0.0, relative=1.0, samples=1):
    """A night of measured fluxes.

    Parameters
    ----------
    level : array (star,)
        Mean electrons.
    frames : int
    seed : int
    gain : float, optional
        The fluxes are in ADU of this gain (e-/ADU), which the dataset does not tell.
    scintillation : float
        Relative, as the dataset says.
    hidden : float
        Relative noise of all stars that the dataset does not tell.
    relative : array (time, star)
        Light curves.
    samples : int
        Independent nights, as apertures.

    Returns
    -------
    xarray.Dataset
        Of the variables that `dphot.differential` needs, each aperture with noise of its own.
    """
    rng = np.random.default_rng(seed)
    level = np.asarray(level, float)
    shape = frames, samples, level.size
    air = 1 + 0.05 * np.cumsum(rng.standard_normal(frames)) / np.sqrt(frames)
    true = np.broadcast_to((air[:, None] * level * relative)[:, None], shape)
    sky = noise.flux_variance(
        0.0, np.pi * RADIUS**2, SKY_RMS, SKY_PIXELS, noise_area=noise.noise_area(RADIUS)
    )
    shining = true * (1 + np.hypot(scintillation, hidden) * rng.standard_normal(shape))
    flux = rng.poisson(shining) + np.sqrt(sky) * rng.standard_normal(shape)
    unit = gain or 1.0
    flux = flux / unit
    variance = np.maximum(flux, 0.0) + sky / unit**2
    one = np.ones((frames, level.size))
    return xr.Dataset(
        {
            "flux": (("time", "aperture", "star"), flux),
            "flux_err": (("time", "aperture", "star"), np.sqrt(variance)),
            "flags": (("time", "star"), np.zeros(one.shape, np.uint16)),
            "sky_rms": (("time", "star"), SKY_RMS / unit * one),
            "sky_pixels": (("time", "star"), np.full(one.shape, SKY_PIXELS, np.int32)),
            "frame_flags": ("time", np.zeros(frames, np.uint16)),
            "scintillation": ("time", np.full(frames, scintillation or np.nan)),
            "fwhm": ("time", np.full(frames, 4.0)),
            "aperture_radius": (("time", "aperture"), np.full((frames, samples), RADIUS)),
            "star_x": ("star", 30.0 * np.arange(level.size)),
            "star_y": ("star", np.zeros(level.size)),
        },
        attrs={"flux_unit": "ADU" if gain else "e-"},
    )
