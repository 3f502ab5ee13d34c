"""What the plots show, as numbers: bins, scatter, stretches, profiles. Arrays in, arrays out."""

from __future__ import annotations

import numpy as np

#: Default width of a bin, in days: 7.2 minutes.
BIN_WIDTH = 0.005

#: Two consecutive points further apart than this (days) belong to different nights.
NIGHT_GAP = 0.25


def bin_series(
    time: np.ndarray,
    value: np.ndarray,
    error: np.ndarray | None = None,
    width: float = BIN_WIDTH,
    *,
    weighted: bool = True,
    errors: str = "model",
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mean of the points in bins of equal width, counted from the first point.

    Parameters
    ----------
    time, value : array, shape (n,)
        Points; those where either (or the error) is not finite are left out.
    error : array, shape (n,), optional
        Standard deviations of the points.
    width : float
        Width of a bin, in the unit of `time`.
    weighted : bool
        Weigh points by 1 / error**2 (needs `error`); otherwise the plain mean.
    errors : {"model", "scatter"}
        Error of a bin: propagated from `error`, or the scatter in the bin over sqrt(n) (NaN for one point).

    Returns
    -------
    time, value, error, count : arrays, shape (m,)
        Mean time, mean value, error of the mean, and number of points of each bin that is not empty.
        The error is NaN where it is not known.

    Raises
    ------
    ValueError
        If `width` is not positive or `errors` is neither of the two.
    """
    if not width > 0:
        raise ValueError(f"width = {width}: the width of a bin must be positive")
    if errors not in ("model", "scatter"):
        raise ValueError(f"errors = {errors!r}: expected 'model' or 'scatter'")
    time, value = np.asarray(time, float), np.asarray(value, float)
    sigma = np.full(time.shape, np.nan) if error is None else np.asarray(error, float)
    use = np.isfinite(time) & np.isfinite(value)
    if error is not None:
        use &= np.isfinite(sigma) & (sigma > 0)
    time, value, sigma = time[use], value[use], sigma[use]
    if time.size == 0:
        empty = np.empty(0)
        return empty, empty, empty, np.empty(0, int)
    slot = np.floor((time - time.min()) / width).astype(np.int64)
    _, index = np.unique(slot, return_inverse=True)
    weight = 1 / sigma**2 if weighted and error is not None else np.ones_like(value)
    count = np.bincount(index)
    total = np.bincount(index, weight)
    mean_time = np.bincount(index, weight * time) / total
    mean = np.bincount(index, weight * value) / total
    if errors == "model":
        spread = np.sqrt(np.bincount(index, (weight * sigma) ** 2)) / total
    else:
        residual = np.bincount(index, weight * (value - mean[index]) ** 2) / total
        spread = np.where(count > 1, np.sqrt(residual / np.maximum(count - 1, 1)), np.nan)
    return mean_time, mean, spread, count


def smooth_scatter(time: np.ndarray, value: np.ndarray, gap: float = NIGHT_GAP) -> float:
    """Scatter about the straight line through the two neighbours, blind to slopes.

    Parameters
    ----------
    time, value : array, shape (n,)
        Points in time order; not finite ones are left out.
    gap : float
        Points with a longer gap on either side are left out, in the unit of `time`.

    Returns
    -------
    float
        sqrt(mean((v_i - (v_(i-1) + v_(i+1)) / 2)**2) / 1.5): the standard deviation of white noise. NaN where
        no point has two neighbours.
    """
    use = np.isfinite(time) & np.isfinite(value)
    time, value = np.asarray(time, float)[use], np.asarray(value, float)[use]
    if value.size < 3:
        return float("nan")
    step = np.diff(time) < gap
    residual = (value[1:-1] - (value[:-2] + value[2:]) / 2)[step[:-1] & step[1:]]
    return float(np.sqrt(np.mean(residual**2) / 1.5)) if residual.size else float("nan")


def precision(
    time: np.ndarray, value: np.ndarray, error: np.ndarray, width: float = BIN_WIDTH
) -> dict[str, float]:
    """How well a light curve is measured.

    Parameters
    ----------
    time, value, error : array, shape (n,)
        The good points of a light curve, in time order.
    width : float
        Width of the bins, in the unit of `time`.

    Returns
    -------
    dict
        ``points``; ``rms`` about the mean; ``bins``; ``binned_rms``; ``binned_scatter`` (see `smooth_scatter`).
        NaN where there are too few points.
    """
    use = np.isfinite(time) & np.isfinite(value)
    time, value, error = np.asarray(time)[use], np.asarray(value)[use], np.asarray(error)[use]
    bins_time, bins, _, _ = bin_series(time, value, error, width)
    return {
        "points": int(value.size),
        "rms": float(np.std(value)) if value.size > 1 else float("nan"),
        "bins": int(bins.size),
        "binned_rms": float(np.std(bins)) if bins.size > 1 else float("nan"),
        "binned_scatter": smooth_scatter(bins_time, bins),
    }


def flip_times(time: np.ndarray, flip: np.ndarray, gap: float = NIGHT_GAP) -> np.ndarray:
    """Times halfway between consecutive frames of a night where `flip` changes.

    Parameters
    ----------
    time : array, shape (n,)
        Times in order.
    flip : array, shape (n,)
        State of each frame; negative or NaN: not known, skipped.
    gap : float
        Changes over longer gaps (another night) are not reported.
    """
    known = np.isfinite(time) & np.isfinite(flip) & (np.asarray(flip, float) >= 0)
    time, flip = np.asarray(time, float)[known], np.asarray(flip)[known]
    change = (np.diff(flip) != 0) & (np.diff(time) < gap)
    return (time[:-1] + time[1:])[change] / 2


def limits(value: np.ndarray, pad: float = 0.08, percent: float = 0.5) -> tuple[float, float]:
    """Range of an axis that shows the values, single outliers aside.

    Parameters
    ----------
    value : array
        Values; not finite ones are left out.
    pad : float
        Margin on each side, in units of the range.
    percent : float
        Percentile cut off at each end before a margin of half the range is given back to what was cut.

    Returns
    -------
    (float, float)
        (0, 1) where there is no finite value.
    """
    value = np.asarray(value, float)
    value = value[np.isfinite(value)]
    if value.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(value, [percent, 100 - percent])
    span = high - low or abs(high) * 0.01 or 1.0
    low, high = max(value.min(), low - span / 2), min(value.max(), high + span / 2)
    span = high - low or span
    return float(low - pad * span), float(high + pad * span)


def scaled(value: np.ndarray, percent: float = 1.0) -> tuple[np.ndarray, float, float]:
    """Values scaled so that most of their range (between two percentiles) covers -0.5 to 0.5.

    Returns
    -------
    scaled : array
        Clipped to (-0.7, 0.7); a constant gives 0.
    low, high : float
        The lowest and the highest value, beyond the percentiles too; NaN where nothing is finite.
    """
    value = np.asarray(value, float)
    finite = value[np.isfinite(value)]
    if finite.size == 0:
        return np.full(value.shape, np.nan), float("nan"), float("nan")
    ends = float(finite.min()), float(finite.max())
    for low, high in (np.percentile(finite, [percent, 100 - percent]), ends):  # all but a few may be equal
        if high - low > 1e-9 * max(abs(high), 1e-30):
            return np.clip((value - low) / (high - low) - 0.5, -0.7, 0.7), *ends
    return np.where(np.isfinite(value), 0.0, np.nan), *ends


def block_mean(image: np.ndarray, limit: int = 1024) -> tuple[np.ndarray, int]:
    """The image averaged in square blocks so that neither side exceeds `limit` pixels.

    Parameters
    ----------
    image : array, shape (ny, nx)
        NaN pixels are left out of the means.

    Returns
    -------
    image : float32 array
        Blocks that hold no finite pixel are NaN; an incomplete block at the far edges is filled with NaN.
    factor : int
        Pixels of a block along a side: block (j, i) is centred at ((j + 0.5) factor - 0.5, ...).
    """
    factor = int(np.ceil(max(image.shape) / limit))
    image = np.asarray(image, np.float32)
    if factor <= 1:
        return image, 1
    ny, nx = (-(-n // factor) * factor for n in image.shape)
    padded = np.full((ny, nx), np.nan, np.float32)
    padded[: image.shape[0], : image.shape[1]] = image
    blocks = padded.reshape(ny // factor, factor, nx // factor, factor)
    valid = np.isfinite(blocks)
    count = valid.sum(axis=(1, 3))
    total = np.where(valid, blocks, 0).sum(axis=(1, 3), dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32), factor


def stretch(image: np.ndarray) -> np.ndarray:
    """An image of stars in 256 grey levels: zscale at the faint end, arcsinh to the bright end.

    Parameters
    ----------
    image : array, shape (ny, nx)
        NaN where nothing was seen.

    Returns
    -------
    uint8 array, shape (ny, nx)
        0 where NaN or below the sky's lower zscale limit, 255 at the 99.9th percentile and above.
    """
    from astropy.visualization import ZScaleInterval

    image = np.asarray(image, float)
    finite = image[np.isfinite(image)]
    if finite.size == 0 or finite.min() == finite.max():
        return np.zeros(image.shape, np.uint8)
    low, soft = ZScaleInterval().get_limits(finite)
    high = float(np.percentile(finite, 99.9))
    if high <= low:
        high = float(finite.max())
    knee = max(float(soft - low), 1e-3 * (high - low))
    level = np.arcsinh((np.nan_to_num(image, nan=low) - low) / knee) / np.arcsinh((high - low) / knee)
    return (255 * np.clip(level, 0, 1)).astype(np.uint8)


def radial_profile(stamp: np.ndarray, x0: float, y0: float) -> tuple[np.ndarray, np.ndarray]:
    """Distance from the centre and value of every finite pixel, sorted by distance."""
    y, x = np.indices(stamp.shape)
    radius = np.hypot(x - x0, y - y0).ravel()
    value = np.asarray(stamp, float).ravel()
    order = np.argsort(radius, kind="stable")
    order = order[np.isfinite(value[order])]
    return radius[order], value[order]


def noise_terms(
    flux: np.ndarray,
    area: float,
    sky_rms: float,
    sky_pixels: float,
    scintillation: float,
    read_noise: float = np.nan,
) -> dict[str, np.ndarray]:
    """Relative noise of a star against its flux, term by term.

    Parameters
    ----------
    flux : array, shape (n,)
        Flux in electrons.
    area : float
        Aperture area, px2.
    sky_rms : float
        Standard deviation of a sky pixel, electrons (sky, dark and read noise together).
    sky_pixels : float
        Annulus pixels behind the sky level.
    scintillation : float
        Relative scintillation noise; NaN where not known.
    read_noise : float, optional
        Read noise of a pixel, electrons; where it is known its part of the sky's is a term of its own.

    Returns
    -------
    dict
        ``photons``, ``sky`` (or ``dark sky`` and ``read noise``), ``scintillation`` (where known), ``total``: relative
        deviations, shape (n,).

    Notes
    -----
    Photons sqrt(F); sky sqrt(A s^2 + (pi / 2) A^2 s^2 / n), the second term being the median sky's own error.
    """
    sky = np.sqrt(area * sky_rms**2 + np.pi / 2 * (area * sky_rms) ** 2 / sky_pixels)
    terms = {"photons": 1 / np.sqrt(flux), "sky": sky / flux}
    if np.isfinite(read_noise):
        read = np.sqrt(area) * min(read_noise, sky_rms)
        terms = {
            "photons": terms["photons"],
            "dark sky": np.sqrt(sky**2 - read**2) / flux,
            "read noise": read / flux,
        }
    if np.isfinite(scintillation) and scintillation > 0:
        terms["scintillation"] = np.full_like(flux, scintillation)
    terms["total"] = np.sqrt(np.sum([term**2 for term in terms.values()], axis=0))
    return terms
