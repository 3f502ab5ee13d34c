"""What changes from frame to frame: time, airmass, transparency, sky, seeing and pointing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .field import WEATHER, Wander, generator
from .heavens import DAY_MS, UNIX_JD, airmass, altitude, scintillation
from .spec import Simulation

Array = NDArray[np.float64]

#: Time between two calibration frames beside their exposure, ms, and from the last one to the first light.
READOUT_MS, TWILIGHT_MS = 2_000, 600_000


@dataclass(frozen=True)
class Timeline:
    """The lights of a night in time order; every array has one entry a light."""

    start_ms: NDArray[np.int64]
    """Start of the exposure, ms of Unix time (UTC)."""
    jd_utc: Array
    """Mid-exposure."""
    days: Array
    """Mid-exposure, days from the start of night 0: the time of the light curves."""
    filter: NDArray[np.int64]
    """Index into the filters."""
    airmass: Array
    transmission: Array
    """Share of the light that reaches the detector: extinction, transparency, clouds."""
    cloud: Array
    """Extinction by clouds, mag."""
    sky: Array
    """e-/px at the frame's centre."""
    fwhm: Array
    """Geometric mean of both axes, px."""
    matrix: Array
    """(light, 2, 3): zero-shift system to frame."""
    flipped: NDArray[np.bool_]
    scintillation: Array
    """Relative standard deviation."""


def make_timeline(spec: Simulation) -> Timeline:
    """All that changes over a night, from (seed, night) alone.

    Raises
    ------
    InputError
        If the field is lower than 10 deg in some frame.
    """
    n = spec.n_lights
    rng = generator(spec, WEATHER)
    first = spec.start_jd + spec.night
    steps = np.arange(n) * (spec.cadence if n > 1 else 0.0)
    start_ms = np.rint((first - UNIX_JD) * DAY_MS + steps * 1000).astype(np.int64)
    jd_utc = (start_ms + spec.exposure * 500) / DAY_MS + UNIX_JD
    since = (jd_utc - first) * 24
    height = altitude(jd_utc, spec.ra, spec.dec, spec.latitude, spec.longitude)
    if height.min() < 10:
        worst = int(height.argmin())
        raise InputError(
            f"simulation: the field stands at {height[worst]:.1f} deg in light {worst} of night {spec.night} "
            "(at least 10 needed): change ra, start_jd, hours or the site"
        )
    x = airmass(height)
    which = np.arange(n) % len(spec.filters)

    transparency = spec.transparency_rms * Wander.draw(rng, 1, spec.transparency_days)(since / 24)[:, 0]
    cloud = _clouds(spec, rng, since)
    transmission = 10 ** (-0.4 * (spec.extinction * 0.8**which * x + cloud)) * np.exp(
        transparency - transparency.max()
    )
    seeing = spec.seeing_rms * Wander.draw(rng, 1, 0.08)(since / 24)[
        :, 0
    ] + 0.4 * spec.seeing_rms * rng.standard_normal(n)
    flipped = (spec.flip > 0) & (np.arange(n) >= round(spec.flip * n))
    return Timeline(
        start_ms=start_ms,
        jd_utc=jd_utc,
        days=jd_utc - spec.start_jd,
        filter=which,
        airmass=x,
        transmission=transmission,
        cloud=cloud,
        # a cloud shines by the light it scatters
        sky=spec.sky * (1 + spec.sky_trend * since / spec.hours) * (1 + 0.3 * cloud),
        fwhm=spec.fwhm * x**spec.seeing_airmass * np.exp(seeing),
        matrix=_pointing(spec, rng, since, flipped),
        flipped=flipped,
        scintillation=scintillation(x, spec.exposure, spec.diameter, spec.altitude, spec.scintillation),
    )


def _clouds(spec: Simulation, rng: np.random.Generator, since: Array) -> Array:
    total = np.zeros(since.size)
    for k in range(spec.clouds):
        depth = spec.cloud_depth * (1.0 if k == 0 else rng.uniform(0.1, 0.8))
        middle, width = rng.uniform(0.05, 0.95) * spec.hours, rng.uniform(0.01, 0.03) * spec.hours
        ragged = 1 + 0.3 * Wander.draw(rng, 1, width / 24)(since / 24)[:, 0]
        total += depth * np.exp(-0.5 * ((since - middle) / width) ** 2) * np.maximum(ragged, 0.1)
    return total


def _pointing(spec: Simulation, rng: np.random.Generator, since: Array, flipped: NDArray[np.bool_]) -> Array:
    angle = np.deg2rad(spec.rotation * since + 180.0 * flipped)
    cos, sin = np.cos(angle), np.sin(angle)
    # exactly -1 and 0 for a pure flip, so that a turned frame stays on the pixel grid
    cos, sin = np.where(np.abs(cos) < 1e-15, 0, cos), np.where(np.abs(sin) < 1e-15, 0, sin)
    off = np.outer(since, spec.drift) + rng.uniform(-spec.dither, spec.dither, (since.size, 2))
    off += np.outer(flipped, spec.flip_offset)
    centre = np.array([spec.width - 1, spec.height - 1]) / 2
    matrix = np.empty((since.size, 2, 3))
    matrix[:, :, :2] = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
    matrix[:, :, 2] = centre + off - matrix[:, :, :2] @ centre
    return matrix


def calibration_times(spec: Simulation) -> dict[str, NDArray[np.int64]]:
    """Starts of the calibration frames (ms of Unix time), one after the other before the first light.

    Returns
    -------
    dict
        ``bias``, ``dark``, ``flat`` to arrays in the order of the frames' indices.
    """
    exposure = np.concatenate(
        [
            np.zeros(spec.bias),
            np.full(spec.darks, spec.exposure),
            np.full(spec.flats * len(spec.filters), spec.flat_exposure),
        ]
    )
    length = np.rint(exposure * 1000).astype(np.int64) + READOUT_MS
    first_light = round((spec.start_jd + spec.night - UNIX_JD) * DAY_MS)
    start = first_light - TWILIGHT_MS - length.sum() + np.cumsum(length) - length
    bias, dark, flat = np.split(start, [spec.bias, spec.bias + spec.darks])
    return {"bias": bias, "dark": dark, "flat": flat}
