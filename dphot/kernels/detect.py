"""Finding stars: carefully on the reference (sep), quickly on every frame (`find_stars`)."""

from __future__ import annotations

import math

import numpy as np
import sep
from numpy.typing import NDArray

from ..errors import InputError
from ..flags import PIXEL_SATURATED
from .centroid import GAUSSIAN_FWHM, gaussian_width, windowed
from .finder import (
    MIN_SHARE,
    RELATIVE_SHARE,
    SMOOTH_RMS,
    UNUSABLE,
    checked,
    find_stars,
    measure_maxima,
    repair,
)

__all__ = ["SOURCE_DTYPE", "background", "detect", "find_stars"]

#: Columns of the table of `detect`.
SOURCE_DTYPE = np.dtype([
    ("x", "f8"), ("y", "f8"), ("flux", "f8"), ("peak", "f8"), ("snr", "f8"), ("fwhm", "f8"),
    ("a", "f8"), ("b", "f8"), ("theta", "f8"), ("npix", "i4"),
    ("saturated", "?"), ("edge", "?"), ("extended", "?"), ("sharp", "?"),
])  # fmt: skip


def background(
    image: NDArray, mask: NDArray[np.uint8] | None = None, box: int = 64
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Sky level and noise of an image on a mesh (SExtractor's).

    Parameters
    ----------
    image : array (ny, nx)
        Pixels.
    mask : uint8 array (ny, nx), optional
        Pixel bits; bad, cosmic and not finite pixels are left out, and NaN always.
    box : int
        Width of a mesh cell [px].

    Returns
    -------
    level, rms : float32 array (ny, nx)
        Sky and its standard deviation per pixel, in the unit of the image.

    Raises
    ------
    InputError
        If the shapes do not fit.

    References
    ----------
    Bertin & Arnouts 1996, A&AS 117, 393; Barbary 2016, JOSS 1, 58.
    """
    pixels, bad = _for_sep(image, mask)
    return _mesh(pixels, bad, box)


def _mesh(
    pixels: NDArray[np.float32], bad: NDArray[np.bool_], box: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Level, and the noise of what remains: in the image itself a gradient within a cell counts as noise."""
    level = sep.Background(pixels, mask=bad, bw=box, bh=box).back()
    return level, sep.Background(pixels - level, mask=bad, bw=box, bh=box).rms()


def _for_sep(image: NDArray, mask: NDArray[np.uint8] | None) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    pixels = checked(image, mask)
    bad = ~np.isfinite(pixels)
    if bad.any():
        pixels = np.where(bad, np.float32(0), pixels)
    if mask is not None:
        bad |= (mask & UNUSABLE) != 0
    return pixels, bad


def _filled(
    pixels: NDArray[np.float32], bad: NDArray[np.bool_], level: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Bad pixels replaced by the mean of their neighbours, or by the sky.

    Given as a mask, a single one in the wings of a bright star keeps sep from parting it from its neighbours.
    """
    if not bad.any():
        return pixels
    whole = repair(pixels, bad.view(np.uint8), 1)
    return np.where(np.isfinite(whole), whole, level)


def _extract(data: NDArray, threshold: float, rms: NDArray, fwhm: float) -> NDArray:
    """`sep.extract` with a kernel of the stars' width; its limits are raised until the image fits.

    sep's own cleaning is off: it takes every second star away where the field is rich.
    """
    # over crowded stars a wide kernel melts neighbours together, so that it is as small as the stars allow
    half = 1 if fwhm < 3.5 else min(math.ceil(fwhm), 6)
    r2 = np.add.outer(np.arange(-half, half + 1) ** 2, np.arange(-half, half + 1) ** 2)
    kernel = np.exp(-0.5 * r2 * (GAUSSIAN_FWHM / fwhm) ** 2)
    # The noise is smooth under a kernel: that of the filtered image is in proportion. sep's own matched filter weighs
    # each pixel anew, which takes ten times as long.
    filtered = rms * np.float32(np.sqrt(np.sum(kernel**2)) / np.sum(kernel))
    for attempt in range(6):
        try:
            return sep.extract(
                data, threshold, err=filtered, minarea=3 if fwhm < 2.5 else 5, filter_kernel=kernel,
                filter_type="conv", deblend_nthresh=32, deblend_cont=0.0005, clean=False,
            )  # fmt: skip
        except Exception as error:  # sep raises bare exceptions
            if attempt == 5 or not any(word in str(error) for word in ("pixel buffer", "overflow", "limit")):
                raise InputError(f"image: source extraction failed ({error}); raise the threshold") from error
            sep.set_extract_pixstack(4 * sep.get_extract_pixstack())
            sep.set_sub_object_limit(4 * sep.get_sub_object_limit())
    raise AssertionError("unreachable")


def detect(
    image: NDArray,
    mask: NDArray[np.uint8] | None = None,
    sigma: float = 5.0,
    box: int = 64,
    margin: float | None = None,
    fwhm: float | None = None,
) -> NDArray:
    """Sources of the reference frame: background mesh, matched filter, deblended, windowed centroids.

    Parameters
    ----------
    image : array (ny, nx)
        Calibrated pixels.
    mask : uint8 array (ny, nx), optional
        Pixel bits of `dphot.flags`.
    sigma : float
        Threshold on the filtered image, in its own noise.
    box : int
        Width of a cell of the background mesh [px].
    margin : float, optional
        A source closer to the border is at the edge [px]; two FWHM by default.
    fwhm : float, optional
        FWHM of the stars [px]; by default found from the brightest.

    Returns
    -------
    structured array (nsource,)
        `SOURCE_DTYPE`, the brightest first: x, y centroids [px]; flux, isophotal, and peak above the sky
        [unit of the image]; snr of the flux in the sky's noise; fwhm of a Gaussian [px] (NaN if none fits);
        a, b [px] and theta [rad, counter-clockwise from x] of the second moments; npix above the threshold;
        and the marks saturated (a saturated pixel within one FWHM), edge, extended (wider than the stars) and
        sharp (narrower than the stars: a hot pixel or a cosmic ray). Marked sources are not dropped.

    Raises
    ------
    InputError
        If the shapes do not fit, or sep gives up.
    """
    pixels, bad = _for_sep(image, mask)
    level, rms = _mesh(pixels, bad, box)
    data = _filled(pixels, bad, level) - level
    rms = np.maximum(rms, np.float32(max(1e-6 * float(abs(pixels[~bad]).max(initial=0.0)), 1e-30)))
    if fwhm is None:
        x, y, _, _ = find_stars(pixels, mask, n_max=200)
        _, _, widths = gaussian_width(data, x, y)
        fwhm = GAUSSIAN_FWHM * float(np.nanmedian(widths)) if np.isfinite(widths).any() else 3.0
    objects = _extract(data, sigma, rms, fwhm)
    # what does not stand out from its own surroundings is noise on the wings of a brighter star
    peaks = objects["ypeak"], objects["xpeak"]
    _, height, _, _ = measure_maxima(data, peaks[1].astype(np.float64), peaks[0].astype(np.float64), fwhm)
    objects = objects[~(height < sigma * SMOOTH_RMS * rms[peaks])]
    out = np.zeros(len(objects), SOURCE_DTYPE)
    for name in ("flux", "peak", "a", "b", "theta", "npix"):
        out[name] = objects[name]
    x, y, ok = windowed(data, objects["x"], objects["y"], fwhm / GAUSSIAN_FWHM)
    out["x"], out["y"] = np.where(ok, x, objects["x"]), np.where(ok, y, objects["y"])
    row = np.clip(np.rint(out["y"]).astype(int), 0, data.shape[0] - 1)
    column = np.clip(np.rint(out["x"]).astype(int), 0, data.shape[1] - 1)
    out["snr"] = out["flux"] / (rms[row, column] * np.sqrt(np.maximum(out["npix"], 1)))
    _, _, width = gaussian_width(data, out["x"], out["y"])
    out["fwhm"] = GAUSSIAN_FWHM * width
    edge = 2.0 * fwhm if margin is None else margin
    ny, nx = data.shape
    inside = np.minimum(np.minimum(out["x"], nx - 1 - out["x"]), np.minimum(out["y"], ny - 1 - out["y"]))
    out["edge"] = inside < edge
    if mask is not None and (mask & PIXEL_SATURATED).any():
        out["saturated"] = _near((mask & PIXEL_SATURATED) != 0, row, column, max(math.ceil(fwhm), 1))
    _mark_shapes(out, data, objects["xpeak"], objects["ypeak"])
    return out[np.lexsort((out["x"], out["y"], -out["flux"]))]


def _near(pixels: NDArray[np.bool_], row: NDArray, column: NDArray, reach: int) -> NDArray[np.bool_]:
    """Whether one of the pixels lies within `reach` of each place."""
    return np.array(
        [
            pixels[max(i - reach, 0) : i + reach + 1, max(j - reach, 0) : j + reach + 1].any()
            for i, j in zip(row, column, strict=True)
        ],
        dtype=bool,
    )


def _mark_shapes(out: NDArray, data: NDArray[np.float32], column: NDArray, row: NDArray) -> None:
    """Mark what is wider or sharper than the stars, which are the bulk of the clear, unsaturated sources."""
    share = _neighbour_share(data, column, row)
    clear = (out["snr"] > 20) & (share > MIN_SHARE) & np.isfinite(out["fwhm"])
    clear &= ~out["saturated"] & ~out["edge"]
    out["sharp"] = share < MIN_SHARE
    if np.count_nonzero(clear) < 3:
        return
    usual, typical = float(np.median(out["fwhm"][clear])), float(np.median(share[clear]))
    scatter = 1.4826 * float(np.median(abs(out["fwhm"][clear] - usual))) / usual
    # a width is measured to about 1 / snr
    with np.errstate(divide="ignore", invalid="ignore"):
        allowed = np.maximum(0.25, 5.0 * scatter) + 5.0 / np.maximum(out["snr"], 1e-3)
        wide = out["fwhm"] / usual - 1.0 > allowed
    out["extended"] = (wide | ~np.isfinite(out["fwhm"])) & ~out["saturated"]
    out["sharp"] |= (share < RELATIVE_SHARE * typical) & ~out["saturated"]
    out["extended"] &= ~out["sharp"]


def _neighbour_share(data: NDArray[np.float32], column: NDArray, row: NDArray) -> NDArray[np.float64]:
    """Mean of the eight neighbours of a pixel, over that pixel."""
    rows = [np.clip(row + a, 0, data.shape[0] - 1) for a in (-1, 0, 1)]
    columns = [np.clip(column + b, 0, data.shape[1] - 1) for b in (-1, 0, 1)]
    peak = data[row, column].astype(np.float64)
    total = sum(data[i, j].astype(np.float64) for i in rows for j in columns) - peak
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(peak > 0, total / (8.0 * peak), 0.0)
