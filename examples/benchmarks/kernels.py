"""Time the kernels against the libraries that do the same, in one run on one core.

    python examples/benchmarks/kernels.py [--json] [--repeat 7]

Prints a table, or with --json one object: kernel -> figures. Ratios are steady, milliseconds are not.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
import sep
from photutils.aperture import CircularAperture

from dphot.kernels.aperture import annulus_sky, aperture_sums, star_flags
from dphot.kernels.calibrate import calibrate, pixel_mask
from dphot.kernels.combine import clipped_mean
from dphot.kernels.ensemble import broeg

SIZE, STARS, FWHM = 2048, 500, 3.56
RADII = (0.1 + 0.25 * np.arange(32)) * FWHM


def fastest(repeat: int, *functions: Callable[[], object]) -> list[float]:
    """Shortest time of each function in ms; they take turns, so that a busy machine is busy for all."""
    best = [np.inf] * len(functions)
    for function in functions:
        function()  # compilation and caches
    for _ in range(repeat):
        for k, function in enumerate(functions):
            start = time.perf_counter()
            function()
            best[k] = min(best[k], 1e3 * (time.perf_counter() - start))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--repeat", type=int, default=7, help="the shortest of so many runs counts")
    options = parser.parse_args()

    rng = np.random.default_rng(1)
    raw = rng.poisson(300, (SIZE, SIZE)).astype(np.uint16)
    image = raw.astype(np.float32)
    zeros, ones, mask = np.zeros_like(image), np.ones_like(image), np.zeros(image.shape, np.uint8)
    x, y = rng.uniform(30, SIZE - 30, (2, STARS))

    def ours() -> np.ndarray:
        return aperture_sums(image, x, y, RADII)

    def with_sep() -> np.ndarray:
        return np.array([sep.sum_circle(image, x, y, radius, subpix=0)[0] for radius in RADII])

    def with_photutils() -> np.ndarray:
        apertures = (CircularAperture(np.c_[x, y], radius) for radius in RADII)
        return np.array([aperture.do_photometry(image, method="exact")[0] for aperture in apertures])

    dphot_ms, sep_ms, photutils_ms = fastest(options.repeat, ours, with_sep, with_photutils)
    cube = rng.normal(1000, 5, (10, 256, SIZE)).astype(np.float32)
    flux = 1e5 * rng.normal(1, 0.003, (200, 32, 50))
    single = {
        "sky": lambda: annulus_sky(
            image, mask, x, y, 5 * FWHM, 8 * FWHM, neighbours_x=x, neighbours_y=y, neighbour_r=3 * FWHM
        ),
        "star_flags": lambda: star_flags(mask, raw, x, y, 2 * FWHM),
        "calibrate": lambda: calibrate(raw, zeros, zeros, ones, 10.0),
        "pixel_mask": lambda: pixel_mask(raw, None, 60000.0),
        "clipped_mean_10x256x2048": lambda: clipped_mean(cube),
        "broeg_200x32x50": lambda: broeg(flux, np.full(flux.shape, 300.0), target=0),
    }
    figures: dict[str, dict[str, float]] = {
        "aperture": {
            "dphot_ms": dphot_ms,
            "sep_ms": sep_ms,
            "photutils_ms": photutils_ms,
            "max_rel_diff": float(np.max(np.abs(ours() / with_photutils() - 1))),
        }
    }
    for name, time_ms in zip(single, fastest(options.repeat, *single.values()), strict=True):
        figures[name] = {"dphot_ms": time_ms}

    if options.json:
        print(json.dumps(figures))
        return
    print(f"{SIZE} x {SIZE} px, {STARS} stars, {RADII.size} radii to {RADII[-1]:.1f} px, best runs")
    for name, row in figures.items():
        print(f"{name:26s}" + "  ".join(f"{key} {value:.3g}" for key, value in row.items()))
    ratios = sep_ms / dphot_ms, photutils_ms / dphot_ms
    print(f"apertures: {ratios[0]:.1f} x faster than sep, {ratios[1]:.1f} x faster than photutils")


if __name__ == "__main__":
    main()
