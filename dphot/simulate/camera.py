"""The detector: its fixed patterns, and how electrons become counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .field import CAMERA, generator
from .spec import Simulation

Map = NDArray[np.float32]
Image = NDArray[np.float64]


@dataclass(frozen=True)
class Camera:
    """Fixed patterns of a detector, the same on every night; all (height, width)."""

    spec: Simulation
    bias: Map
    """ADU."""
    dark: Map
    """e-/s."""
    response: tuple[Map, ...]
    """Flat of each filter, median 1: vignetting, dust, pixel response, dead pixels."""
    slant: Map
    """The sky's own shape, 1 at the centre."""


def make_camera(spec: Simulation) -> Camera:
    """Draw the detector of a simulation."""
    rng = generator(spec, CAMERA, nightly=False)
    shape = (spec.height, spec.width)
    v, u = np.meshgrid(np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1]), indexing="ij")

    columns = rng.standard_normal(spec.width)
    bias = spec.bias_level + spec.bias_structure * (0.7 * columns[None, :] + 1.2 * v)

    dark = spec.dark_current * rng.lognormal(-0.02, 0.2, shape)
    hot = rng.random(shape) < spec.hot_pixels
    dark[hot] += rng.exponential(spec.hot_rate, int(hot.sum()))

    common = (1 - spec.vignetting * (u**2 + v**2) / 2) * (
        1 + spec.pixel_response * rng.standard_normal(shape)
    )
    dead = rng.random(shape) < spec.dead_pixels
    common[dead] *= rng.uniform(0.1, 0.5, int(dead.sum()))
    response = []
    for _ in spec.filters:
        flat = common.copy()
        for _ in range(spec.dust):
            _dust(flat, rng)
        response.append((flat / np.median(flat)).astype(np.float32))
    slant = 1 + spec.sky_gradient * (0.4 * u + 0.3 * v)
    return Camera(
        spec, bias.astype(np.float32), dark.astype(np.float32), tuple(response), slant.astype(np.float32)
    )


def _dust(flat: Image, rng: np.random.Generator) -> None:
    """One out-of-focus speck: a ring of a few per cent, in place."""
    ny, nx = flat.shape
    x, y, radius = rng.uniform(0, nx), rng.uniform(0, ny), rng.uniform(0.01, 0.035) * max(nx, ny)
    depth = rng.uniform(0.01, 0.06)
    r = np.hypot(np.arange(nx)[None, :] - x, np.arange(ny)[:, None] - y)
    flat *= 1 - depth * np.exp(-0.5 * ((r - radius) / (0.35 * radius)) ** 2)


def read_out(
    camera: Camera, electrons: Image, exposure: float, rng: np.random.Generator
) -> NDArray[np.uint16]:
    """Counts of one exposure: photon noise, cosmic rays, full well, read noise, bias, digitiser.

    Parameters
    ----------
    camera : Camera
        The detector.
    electrons : ndarray (ny, nx)
        Expected electrons, dark current included.
    exposure : float
        s; cosmic rays come in proportion.
    rng : numpy.random.Generator
        The frame's own.

    Returns
    -------
    ndarray (ny, nx) uint16
        ADU.
    """
    spec = camera.spec
    signal = rng.poisson(electrons).astype(np.float64)
    for _ in range(rng.poisson(spec.cosmics * exposure / 3600)):
        _cosmic(signal, rng)
    np.minimum(signal, spec.full_well, out=signal)
    signal += spec.read_noise * rng.standard_normal(signal.shape, dtype=np.float32)
    signal *= 1 / spec.gain
    signal += camera.bias
    np.rint(signal, out=signal)
    np.clip(signal, 0, 2**spec.adc_bits - 1, out=signal)
    return signal.astype(np.uint16)


def _cosmic(signal: Image, rng: np.random.Generator) -> None:
    """One particle track, in place: a straight line of 1 to about 15 pixels."""
    ny, nx = signal.shape
    x, y, angle = rng.uniform(0, nx), rng.uniform(0, ny), rng.uniform(0, np.pi)
    length = min(15.0, rng.exponential(3.0))
    charge = rng.lognormal(np.log(800), 0.8)
    steps = np.arange(0, length + 0.5, 0.5)
    i = np.floor(x + steps * np.cos(angle)).astype(int)
    j = np.floor(y + steps * np.sin(angle)).astype(int)
    inside = (i >= 0) & (i < nx) & (j >= 0) & (j < ny)
    np.add.at(signal, (j[inside], i[inside]), np.rint(0.5 * charge))
