"""The stars of a simulated field, and how their own light varies. The same on every night."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .moffat import peak_fraction
from .spec import Simulation

Array = NDArray[np.float64]

#: Streams of random numbers: what is drawn, beside seed, night and index.
LIGHT, BIAS, DARK, FLAT, FIELD, VARIABILITY, CAMERA, WEATHER = range(8)


def generator(spec: Simulation, stream: int, index: int = 0, nightly: bool = True) -> np.random.Generator:
    """The random numbers of one frame or one purpose, whatever was drawn before.

    Parameters
    ----------
    spec : Simulation
        Gives seed and night.
    stream, index : int
        Which purpose, and which frame of it.
    nightly : bool
        False: the same on every night.
    """
    night = spec.night if nightly else 0
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence((spec.seed, night, stream, index))))


@dataclass(frozen=True)
class Wander:
    """Slow random curves of unit variance: a sum of sinusoids, so that any instant can be asked for alone."""

    omega: Array
    phase: Array
    height: Array

    @classmethod
    def draw(cls, rng: np.random.Generator, count: int, days: float, modes: int = 8) -> Wander:
        """`count` independent curves whose typical period is `days`."""
        omega = 2 * np.pi / days * np.abs(rng.normal(0.9, 0.35, (count, modes)))
        height = rng.standard_normal((count, modes))
        height *= np.sqrt(2 / np.sum(height**2, axis=1, keepdims=True))
        return cls(omega, rng.uniform(0, 2 * np.pi, (count, modes)), height)

    def __call__(self, t: ArrayLike) -> Array:
        """The curves (time, count) at times `t` (time,), d."""
        times = np.asarray(t, float)[:, None]
        total = np.zeros((times.size, len(self.omega)))
        for k in range(self.omega.shape[1]):
            total += self.height[:, k] * np.sin(self.omega[:, k] * times + self.phase[:, k])
        return total


@dataclass(frozen=True)
class Field:
    """The stars of a field.

    `x`, `y` (star,) are pixels of the zero-shift system; `flux` (filter, star) electrons of one exposure
    outside the atmosphere; `variability` (star,) the standard deviation of the slow intrinsic variation.
    """

    spec: Simulation
    x: Array
    y: Array
    flux: Array
    variability: Array
    wander: Wander

    def relative(self, t: ArrayLike) -> Array:
        """Intrinsic light curves (time, star), around 1; `t` (time,) in days from the first night's start."""
        times = np.atleast_1d(np.asarray(t, float))
        out = np.maximum(1 + self.variability * self.wander(times), 0.0)
        if self.spec.target >= 0:
            out[:, self.spec.target] = self.spec.signal(times)
        for star, signal in self.spec.variables:
            out[:, star] = signal(times)
        return out


def make_field(spec: Simulation) -> Field:
    """Draw the stars of a field, or take them from the catalogue.

    Parameters
    ----------
    spec : Simulation
        The brightness counts go as 10^(slope m) over `magnitude_range`, evenly filled, so that every seed
        has its bright stars; star 0 is the brightest. Positions are uniform over all the sky that the
        night's frames see.

    Returns
    -------
    Field
    """
    rng = generator(spec, FIELD, nightly=False)
    if spec.catalogue:
        x, y, rate = np.array(spec.catalogue, float).T
        flux = rate * spec.exposure
    else:
        x, y = _positions(spec, rng)
        # inverse of the cumulative counts, one star in each of n equal slices
        slices = (np.arange(x.size) + rng.uniform(0, 1, x.size)) / x.size
        if abs(spec.slope) < 1e-9:
            magnitude = spec.magnitude_range * slices
        else:
            magnitude = np.log10(1 + slices * (10 ** (spec.slope * spec.magnitude_range) - 1)) / spec.slope
        magnitude -= magnitude[0]
        flux = spec.peak * spec.gain / peak_fraction(spec.fwhm, spec.beta) * 10 ** (-0.4 * magnitude)
    colour = rng.normal(0, 0.3, x.size)
    fluxes = np.stack([flux * 10 ** (-0.4 * colour * k) for k in range(len(spec.filters))])
    rng = generator(spec, VARIABILITY, nightly=False)
    deviation = 0.5 * spec.variability * rng.beta(1, 8, x.size)
    return Field(spec, x, y, fluxes, deviation, Wander.draw(rng, x.size, spec.variability_days))


def margin(spec: Simulation) -> float:
    """How far outside the zero-shift frame the night's frames can see, px; stars beyond it do not matter."""
    drift = np.hypot(*spec.drift) * spec.hours
    flip = np.hypot(*spec.flip_offset) if spec.flip > 0 else 0.0
    turn = min(1.0, np.deg2rad(abs(spec.rotation)) * spec.hours) * np.hypot(spec.width, spec.height) / 2
    return float(np.ceil(drift + flip + turn + spec.dither + 3 * spec.fwhm))


def _positions(spec: Simulation, rng: np.random.Generator) -> tuple[Array, Array]:
    border = margin(spec)
    low = np.array([-border, -border])
    high = np.array([spec.width - 1 + border, spec.height - 1 + border])
    count = max(spec.stars, round(spec.stars * float(np.prod(high - low)) / (spec.width * spec.height)))
    place = rng.uniform(low, high, (count, 2))
    if spec.target >= 0:
        centre = np.array([spec.width // 2, spec.height // 2], float)
        # a tiny frame cannot keep its stars away from the target
        isolation = min(spec.isolation, 0.4 * float(np.min(high - low)))
        while np.any(close := np.hypot(*(place - centre).T) < isolation):
            place[close] = rng.uniform(low, high, (int(close.sum()), 2))
        place[spec.target] = centre
    return np.ascontiguousarray(place[:, 0]), np.ascontiguousarray(place[:, 1])
