"""The plain alternative: a loop over the frames with astropy, sep, SciPy and photutils.

As an astronomer would write it who knows these libraries: masters once, then for every frame read, calibrate, find,
align, centre, measure all apertures, sky from a clipped annulus. It does less than dphot: no PSF fit, no masks, no
neighbours left out of the annulus, and an alignment that expects a mere shift.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import sep
import xarray as xr
from astropy.io import fits
from photutils.aperture import CircularAperture, aperture_photometry
from scipy.spatial import cKDTree

Apertures = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


class Steps:
    """CPU time of named steps, s."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.process_time()
        yield
        self.seconds[name] += time.process_time() - start


def with_sep(image: np.ndarray, x: np.ndarray, y: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Exact aperture sums (aperture, star) with sep."""
    return np.array([sep.sum_circle(image, x, y, radius, subpix=0)[0] for radius in radii])


def with_photutils(image: np.ndarray, x: np.ndarray, y: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Exact aperture sums (aperture, star) with photutils."""
    apertures = [CircularAperture(np.c_[x, y], radius) for radius in radii]
    result = aperture_photometry(image, apertures, method="exact")
    return np.array([result[f"aperture_sum_{k}"] for k in range(len(radii))])


def mean_of(folder: Path, pattern: str) -> np.ndarray:
    """Median of the calibration frames of one kind, float32."""
    return np.median([fits.getdata(path) for path in sorted(folder.glob(pattern))], axis=0).astype(np.float32)


def masters(folder: Path, exposure: float) -> tuple[np.ndarray, np.ndarray]:
    """What is subtracted from a light (ADU), and its flat."""
    bias, dark, flat = (mean_of(folder, f"{kind}-*.fits") for kind in ("bias", "dark", "flat"))
    darks = sorted(folder.glob("dark-*.fits"))
    rate = (dark - bias) / fits.getval(darks[0], "EXPTIME")
    response = flat - bias
    return bias + rate * np.float32(exposure), response / np.median(response)


def shift_between(x: np.ndarray, y: np.ndarray, x0: np.ndarray, y0: np.ndarray) -> np.ndarray:
    """The shift that most pairs of bright stars agree on, px."""
    pairs = np.stack([np.subtract.outer(x, x0).ravel(), np.subtract.outer(y, y0).ravel()], axis=1)
    tree = cKDTree(pairs)
    counts = tree.query_ball_point(pairs, 1.5, return_length=True)
    agreeing = tree.query_ball_point(pairs[np.argmax(counts)], 1.5)
    return np.median(pairs[agreeing], axis=0)


def clipped_annulus(
    image: np.ndarray, x: np.ndarray, y: np.ndarray, inner: float, outer: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sigma-clipped sky, rms and number of pixels of every star's annulus.

    Plain NumPy on one cutout a star, several times faster than photutils' `ApertureStats` with a `SigmaClip`.
    """
    reach = int(np.ceil(outer)) + 1
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    level, rms, n = np.full((3, x.size), np.nan)
    for k, (xc, yc) in enumerate(zip(x, y, strict=True)):
        i, j = round(yc), round(xc)
        if i < reach or j < reach or i + reach >= image.shape[0] or j + reach >= image.shape[1]:
            continue
        r2 = (columns + (j - xc)) ** 2 + (rows + (i - yc)) ** 2
        cutout = image[i - reach : i + reach + 1, j - reach : j + reach + 1]
        values = cutout[(r2 >= inner**2) & (r2 <= outer**2)]
        for _ in range(5):
            kept = values[np.abs(values - np.median(values)) <= 3.0 * values.std()]
            if kept.size == values.size:
                break
            values = kept
        level[k], rms[k], n[k] = values.mean(), values.std(), values.size
    return level, rms, n


def similarity(x0: np.ndarray, y0: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[complex, complex]:
    """Scale and rotation, and shift, of a least-squares similarity in complex numbers."""
    z0, z = x0 + 1j * y0, x + 1j * y
    a = np.vdot(z0 - z0.mean(), z - z.mean()) / np.vdot(z0 - z0.mean(), z0 - z0.mean())
    return a, z.mean() - a * z0.mean()


def reduce(
    folder: Path,
    radii: Sequence[float],
    annulus: tuple[float, float],
    n_stars: int,
    apertures: Apertures,
    stack: bool = False,
) -> tuple[xr.Dataset, dict[str, float]]:
    """Photometry of the lights of a folder.

    Parameters
    ----------
    folder : Path
        ``light-*.fits``, ``bias-*.fits``, ``dark-*.fits``, ``flat-*.fits``.
    radii, annulus : sequence of float
        Aperture radii, and inner and outer radius of the annulus, px.
    n_stars : int
        At most so many stars are measured, the brightest of the first light.
    apertures : callable
        `with_sep` or `with_photutils`.
    stack : bool
        Also add the aligned frames up.

    Returns
    -------
    xarray.Dataset
        `flux`, `flux_err` (time, aperture, star), `x`, `y`, `sky` (time, star), `fwhm` (time).
    dict
        CPU seconds of each step.
    """
    step = Steps()
    lights = sorted(folder.glob("light-*.fits"))
    radius = np.asarray(radii, float)
    area = np.pi * radius[:, None] ** 2
    with step("masters"):
        header = fits.getheader(lights[0])
        gain = float(header.get("GAIN", 1.0))
        dark, flat = masters(folder, float(header["EXPTIME"]))
    rows: dict[str, list[np.ndarray]] = defaultdict(list)
    times = []
    total: np.ndarray | None = None
    for index, path in enumerate(lights):
        with step("read"), fits.open(path, memmap=False) as hdus:
            raw = hdus[0].data
            times.append(np.datetime64(hdus[0].header["DATE-OBS"], "ns"))
        with step("calibrate"):
            image = (raw - dark) / flat
        with step("background"):
            background = sep.Background(image)
            clean = image - background.back()
        with step("extract"):
            found = sep.extract(clean, 5.0, err=background.globalrms)
            found = found[np.argsort(-found["flux"])]
            found = found[found["npix"] >= 5]
        with step("align"):
            if index == 0:
                first = found[:n_stars]
                x0, y0 = first["x"].astype(float), first["y"].astype(float)
                x0, y0, _ = sep.winpos(clean, x0, y0, 1.5)
                tree = cKDTree(np.c_[x0, y0])
            bright = found[:20]
            dx, dy = shift_between(bright["x"], bright["y"], x0[:20], y0[:20])
            distance, partner = tree.query(np.c_[found["x"] - dx, found["y"] - dy], distance_upper_bound=2.0)
            matched = np.flatnonzero(np.isfinite(distance))[:200]
            xw, yw, _ = sep.winpos(clean, found["x"][matched], found["y"][matched], 1.5)
            a, b = similarity(x0[partner[matched]], y0[partner[matched]], xw, yw)
            z = a * (x0 + 1j * y0) + b
            x, y = z.real.copy(), z.imag.copy()
        with step("apertures"):
            sums = apertures(image, x, y, radius)
        with step("sky"):
            sky, rms, n = clipped_annulus(image, x, y, *annulus)
        with step("rest"):
            flux = (sums - area * sky) * gain
            variance = np.maximum(flux, 0) + (area + area**2 / n) * (rms * gain) ** 2
            values = {"flux": flux, "flux_err": np.sqrt(variance), "x": x, "y": y, "sky": sky * gain}
            for name, value in values.items():
                rows[name].append(value)
            rows["fwhm"].append(2.3548 * np.median(np.sqrt(found["a"] * found["b"])[:50]))
        if stack:
            with step("stack"):
                shift = np.round([b.imag, b.real]).astype(int)
                moved = np.roll(clean, -shift, axis=(0, 1))  # by whole pixels
                total = moved.astype(np.float64) if total is None else total + moved
    with step("rest"):
        dims = {3: ("time", "aperture", "star"), 2: ("time", "star"), 1: ("time",)}
        arrays = {name: np.array(value) for name, value in rows.items()}
        ds = xr.Dataset({name: (dims[value.ndim], value) for name, value in arrays.items()})
        ds = ds.assign_coords(time=np.array(times))
        if total is not None:
            ds["stack"] = ("row", "column"), total / len(lights)
    return ds, dict(step.seconds)
