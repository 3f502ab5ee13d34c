"""Milliseconds of the kernels, each against the plain alternative in the same run.

Usage: python examples/benchmarks/kernels.py [--json] [--quick] [--repeat N]

With --json one JSON object: kernel -> figures. Ratios are steady, milliseconds are not.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import sep
from astropy.stats import SigmaClip
from measuring import rounded, table
from photutils.aperture import ApertureStats, CircularAnnulus, CircularAperture
from plain_loop import shift_between, with_sep

from dphot.kernels.align import match
from dphot.kernels.aperture import annulus_sky, aperture_sums, star_flags
from dphot.kernels.calibrate import calibrate, pixel_mask
from dphot.kernels.combine import clipped_mean
from dphot.kernels.detect import find_stars
from dphot.kernels.ensemble import broeg

FWHM = 3.56
RADII = (0.1 + 0.25 * np.arange(32)) * FWHM


def fastest(repeat: int, *functions: Callable[[], object]) -> list[float]:
    """Shortest CPU time of each function in ms; they take turns, so that a busy machine is busy for all."""
    best = [np.inf] * len(functions)
    for function in functions:
        function()  # compilation and caches
    for _ in range(repeat):
        for k, function in enumerate(functions):
            start = time.process_time()
            function()
            best[k] = min(best[k], 1e3 * (time.process_time() - start))
    return best


def field(size: int, stars: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A raw frame of Gaussian stars, and their positions, the brightest first."""
    rng = np.random.default_rng(1)
    level = np.full((size, size), 300.0)
    x, y = rng.uniform(30, size - 30, (2, stars))
    rows, columns = np.mgrid[-10:11, -10:11]
    for xc, yc, peak in zip(x, y, np.geomspace(40000, 100, stars), strict=True):
        i, j = round(yc), round(xc)
        r2 = (rows + i - yc) ** 2 + (columns + j - xc) ** 2
        level[i - 10 : i + 11, j - 10 : j + 11] += peak * np.exp(-0.5 * r2 * (2.3548 / FWHM) ** 2)
    return rng.poisson(level).astype(np.uint16), x, y


def figures(size: int, stars: int, repeat: int) -> dict[str, dict[str, Any]]:
    """Kernel to its own time, those of its alternatives, and how far they differ."""
    raw, x, y = field(size, stars)
    image = raw.astype(np.float32)
    zeros, ones, mask = np.zeros_like(image), np.ones_like(image), np.zeros(image.shape, np.uint8)
    positions, exposure = np.c_[x, y], np.float32(10.0)
    annulus = CircularAnnulus(positions, 5 * FWHM, 8 * FWHM)
    cube = np.random.default_rng(2).normal(1000, 5, (10, 256, size)).astype(np.float32)
    flux = 1e5 * np.random.default_rng(3).normal(1, 0.003, (200, 32, 50))

    def photutils_sums() -> np.ndarray:
        apertures = (CircularAperture(positions, radius) for radius in RADII)
        return np.array([aperture.do_photometry(image, method="exact")[0] for aperture in apertures])

    def sep_sources() -> np.ndarray:
        background = sep.Background(image)
        return sep.extract(image - background.back(), 5.0, err=background.globalrms)

    near = {"neighbours_x": x, "neighbours_y": y, "neighbour_r": 3 * FWHM}
    kernels: dict[str, dict[str, Callable[[], Any]]] = {
        "aperture": {
            "dphot": lambda: aperture_sums(image, x, y, RADII),
            "sep": lambda: with_sep(image, x, y, RADII),
            "photutils": photutils_sums,
        },
        "calibration": {
            "dphot": lambda: calibrate(raw, zeros, zeros, ones, 10.0),
            "numpy": lambda: (raw - zeros - zeros * exposure) / ones,
        },
        "pixel_mask": {"dphot": lambda: pixel_mask(raw, None, 60000.0)},
        "detection": {"dphot": lambda: find_stars(image, mask, n_max=300), "sep": sep_sources},
        "alignment": {
            "dphot": lambda: match(x, y, x + 7.3, y - 4.1),
            "shift_only": lambda: shift_between(x[:20] + 7.3, y[:20] - 4.1, x[:20], y[:20]),
        },
        "sky": {
            "dphot": lambda: annulus_sky(image, mask, x, y, 5 * FWHM, 8 * FWHM, **near),
            "photutils": lambda: ApertureStats(image, annulus, sigma_clip=SigmaClip(3.0)).mean,
        },
        "star_flags": {"dphot": lambda: star_flags(mask, raw, x, y, 2 * FWHM)},
        "clipped_mean_of_10": {"dphot": lambda: clipped_mean(cube)},
        "broeg_200x32x50": {"dphot": lambda: broeg(flux, np.full(flux.shape, 300.0), target=0)},
    }
    result: dict[str, dict[str, Any]] = {}
    for name, functions in kernels.items():
        times = fastest(repeat, *functions.values())
        result[name] = {f"{who}_ms": ms for who, ms in zip(functions, times, strict=True)}
    ours, theirs = kernels["aperture"]["dphot"](), photutils_sums()
    result["aperture"]["max_rel_diff"] = float(np.nanmax(np.abs(ours / theirs - 1)))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--quick", action="store_true", help="a small image: shows that it runs, no more")
    parser.add_argument("--repeat", type=int, help="the shortest of so many runs counts [7]")
    options = parser.parse_args()
    size, stars = (256, 20) if options.quick else (2048, 500)
    result = rounded(figures(size, stars, options.repeat or (1 if options.quick else 7)))
    if options.json:
        json.dump(result, sys.stdout)
        return
    print(table(f"{size} x {size} px, {stars} stars, {RADII.size} radii to {RADII[-1]:.1f} px", result))
    row = result["aperture"]
    ratios = row["sep_ms"] / row["dphot_ms"], row["photutils_ms"] / row["dphot_ms"]
    print(f"apertures: {ratios[0]:.1f} x faster than sep, {ratios[1]:.1f} x faster than photutils")


if __name__ == "__main__":
    main()
