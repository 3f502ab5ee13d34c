"""One simulated night, prepared once, of which any frame can be made alone and in any order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .camera import Camera, make_camera, read_out
from .field import BIAS, DARK, FLAT, LIGHT, Field, generator, make_field
from .moffat import draw_stars
from .spec import Simulation
from .timeline import Timeline, calibration_times, make_timeline

#: Frame kinds and their streams of random numbers.
KINDS = {"light": LIGHT, "bias": BIAS, "dark": DARK, "flat": FLAT}


@dataclass(frozen=True)
class Night:
    """A night ready to be rendered; make it with `prepare`."""

    spec: Simulation
    field: Field
    timeline: Timeline

    @cached_property
    def camera(self) -> Camera:
        """The detector, drawn when the first pixel is needed."""
        return _camera(self.spec.patch(night=0).to_json())

    @cached_property
    def calibration_start(self) -> dict[str, NDArray[np.int64]]:
        """Starts of the calibration frames, ms of Unix time."""
        return calibration_times(self.spec)

    def count(self, kind: str) -> int:
        """Frames of a kind: ``light``, ``bias``, ``dark`` or ``flat``."""
        spec = self.spec
        lights, flats = spec.n_lights, spec.flats * len(spec.filters)
        return {"light": lights, "bias": spec.bias, "dark": spec.darks, "flat": flats}[kind]

    def filter_index(self, kind: str, index: int) -> int:
        """Which filter a light or a flat was taken through: lights take turns, flats come in blocks."""
        return int(self.timeline.filter[index]) if kind == "light" else index // self.spec.flats

    def exposure(self, kind: str) -> float:
        """Exposure of a kind of frame, s."""
        spec = self.spec
        return {"light": spec.exposure, "bias": 0.0, "dark": spec.exposure, "flat": spec.flat_exposure}[kind]

    def positions(self, index: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """True x, y (star,) of all stars in one light, px."""
        m = self.timeline.matrix[index]
        x, y = self.field.x, self.field.y
        return m[0, 0] * x + m[0, 1] * y + m[0, 2], m[1, 0] * x + m[1, 1] * y + m[1, 2]

    def flux(self, index: int) -> NDArray[np.float64]:
        """Expected electrons (star,) of the stars in a light: varied, dimmed by the air, before the flat."""
        line = self.timeline
        relative = self.field.relative(line.days[index : index + 1])[0]
        return self.field.flux[line.filter[index]] * relative * line.transmission[index]

    def axes(self, index: int | slice) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """FWHM along the major and the minor axis of one or many lights, px."""
        root = np.sqrt(1 - self.spec.ellipticity)
        fwhm = np.asarray(self.timeline.fwhm[index])
        return fwhm / root, fwhm * root

    def starlight(self, index: int, scintillating: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Expected electrons (height, width) of the stars alone in one light, before the flat.

        Parameters
        ----------
        index : int
            The light.
        scintillating : ndarray (star,), optional
            Factors on the stars' fluxes.
        """
        image = np.zeros((self.spec.height, self.spec.width))
        flux = self.flux(index)
        if scintillating is not None:
            flux = flux * scintillating
        major, minor = self.axes(index)
        theta = float(np.deg2rad(self.spec.theta))
        draw_stars(image, *self.positions(index), flux, (float(major), float(minor)), theta, self.spec.beta)
        return image

    def frame(self, kind: str, index: int) -> NDArray[np.uint16]:
        """Raw pixels of one frame.

        Parameters
        ----------
        kind : str
            ``light``, ``bias``, ``dark`` or ``flat``.
        index : int
            Which one, from 0.

        Returns
        -------
        ndarray (height, width) uint16
            ADU.

        Raises
        ------
        InputError
            If the night has no such frame.
        """
        if kind not in KINDS or not 0 <= index < self.count(kind):
            counts = ", ".join(f"{self.count(k)} {k}" for k in KINDS)
            raise InputError(f"simulated frame {kind}/{index}: this night has {counts}, counted from 0")
        rng, camera, exposure = generator(self.spec, KINDS[kind], index), self.camera, self.exposure(kind)
        electrons = camera.dark * np.float64(exposure)
        if kind == "light":
            sigma = self.timeline.scintillation[index]
            # log-normal, mean 1: a star never shines less than nothing
            factors = np.exp(sigma * rng.standard_normal(self.field.x.size) - sigma**2 / 2)
            light = self.starlight(index, factors)
            light += self.timeline.sky[index] * camera.slant
            light *= camera.response[self.filter_index(kind, index)]
            electrons += light
        elif kind == "flat":
            # the twilight fades from one flat to the next
            level = self.spec.flat_level * self.spec.gain * 0.96 ** (index % self.spec.flats)
            electrons += level * camera.response[self.filter_index(kind, index)]
        return read_out(camera, electrons, exposure, rng)


@lru_cache(maxsize=2)
def _camera(text: str) -> Camera:
    # its maps are the largest thing here, and the same on every night
    return make_camera(Simulation.from_json(text))


@lru_cache(maxsize=8)
def _prepared(text: str) -> Night:
    spec = Simulation.from_json(text)
    return Night(spec, make_field(spec), make_timeline(spec))


def prepare(spec: Simulation | str) -> Night:
    """A night ready to be rendered; the last eight are kept by each process.

    Parameters
    ----------
    spec : Simulation or str
        The record, or its JSON.
    """
    return _prepared(spec if isinstance(spec, str) else spec.to_json())
