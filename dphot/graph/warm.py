"""Compile the kernels once, spread over the workers, before all of them need all of them.

Numba keeps compiled code on disk. Without this, every process of a fresh installation would compile every kernel at the
same moment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..flags import PIXEL_BAD
from ..kernels import (
    aperture,
    byteorder,
    calibrate,
    centroid,
    combine,
    cosmic,
    detect,
    nightly,
    noise,
    psf,
    scatter,
    sky,
    transform,
)
from ..kernels.align import match
from ..kernels.resample import add_to_reference
from ..kernels.trails import on_trails

if TYPE_CHECKING:
    from distributed import Client


def _field(size: int = 160) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A small image with stars, its mask, and their positions; always the same."""
    rng = np.random.default_rng(0)
    x, y = rng.uniform(15, size - 15, (2, 16))
    rows, columns = np.mgrid[:size, :size]
    image = rng.normal(100.0, 3.0, (size, size))
    for i in range(x.size):
        image += 2000.0 / (1 + i) * np.exp(-((columns - x[i]) ** 2 + (rows - y[i]) ** 2) / 5.0)
    return image.astype(np.float32), np.zeros((size, size), np.uint8), x, y


def _finding() -> None:
    image, mask, x, y = _field(256)  # enough cells of sky to tell a steady one
    mask[int(y[0]), int(x[0])] = PIXEL_BAD
    detect.find_stars(image, mask, n_max=50)
    sky.thinned_median(image, 3)


def _shapes() -> None:
    image, mask, x, y = _field()
    psf.frame_psf(image, mask, x, y, flux=np.arange(x.size, 0, -1.0))
    centroid.windowed(image, x, y, 1.6, np.full(x.size, 100.0))


def _apertures() -> None:
    image, mask, x, y = _field()
    aperture.aperture_sums(image, x, y, np.array([2.0, 4.0]))
    sky.annulus_sky(image, mask, x, y, 6.0, 9.0, 3.0, x, y, np.full(x.size, 3.0))
    level = np.full(x.size, 10.0)
    cosmic.mark_cosmics(image, mask, x, y, 3.0, level, level, 1.0, 3.0)
    sky.star_flags(mask, image.astype(np.uint16), x, y, 3.0)


def _matching() -> None:
    _, _, x, y = _field()
    match(x, y, -x, y)  # mirrored: no shift, so that triangles are tried too
    transform.position_weights(x, np.full(x.size, 0.1))
    on_trails(x, y, 2.0)


def _pixels() -> None:
    image, mask, _, _ = _field()
    zero = np.zeros_like(image)
    raw = byteorder.to_native(image.astype(">i2"), unsigned=True)
    calibrate.calibrate(raw, zero, zero, zero + 1, 1.0)
    calibrate.calibrate(image, zero, zero, zero + 1, 1.0)
    calibrate.pixel_mask(raw, zero.astype(bool), 60000.0)
    combine.clipped_mean(np.stack([image] * 3))
    combine.bad_pixels(image, image)
    total, count = np.zeros(image.shape, np.int64), np.zeros(image.shape, np.int32)
    add_to_reference(image, mask, np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5]]), 0.0, 1.0, total, count)


def _comparing() -> None:
    image, _, x, y = _field()
    noise.response_at(image, x, y)
    flux = 1000.0 + np.random.default_rng(0).normal(0.0, 30.0, (12, 2, 8))
    flux[5, :, 3] = 2000.0
    nightly.summarise(flux, np.full(flux.shape, 30.0), np.ones((12, 8), bool))
    scatter.point_scatter(flux[..., 0])


#: Kernels that are compiled together; those that take longest come first, so that workers end at about the same time.
_PARTS: tuple[Callable[[], None], ...] = (_matching, _comparing, _pixels, _finding, _apertures, _shapes)


def warm(client: Client) -> None:
    """Have each kernel compiled by one worker (a second at most where they are compiled already)."""
    client.gather([client.submit(part, pure=False) for part in _PARTS])
