"""Masters: the clipped mean of calibration frames, flats, and the pixels that cannot be calibrated."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtr, chdtri

from ..errors import InputError
from ._arrays import frozen
from .clip import clipped
from .medians import median, quantile
from .surroundings import surroundings


def clipped_mean(
    cube: ArrayLike, sigma: float = 3.0, iterations: int = 5
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int16]]:
    """Mean over frames without cosmic rays and other outliers, pixel by pixel.

    Clipping starts from the median and the median absolute deviation of each pixel and goes on with the
    standard deviation of what is left. No pixel is clipped more sharply than a typical pixel of its row: with
    a handful of frames the values of one pixel often agree far too well by chance. One or two values are
    never clipped.

    Parameters
    ----------
    cube : array_like, shape (n, ny, nx)
        Frames; used as float32. NaN counts as missing. To save memory call it on blocks of WHOLE rows:
        rows do not know of each other, so the blocking does not change a bit of the result.
    sigma : float, optional
        Clipping limit in standard deviations.
    iterations : int, optional
        At most so many rounds of clipping.

    Returns
    -------
    mean : ndarray of float32, shape (ny, nx)
        Mean of the values kept; NaN where there is none.
    variance : ndarray of float32, shape (ny, nx)
        Variance of that mean, from the scatter of the values kept; NaN where fewer than two are.
    n_used : ndarray of int16, shape (ny, nx)
        Number of values kept.

    Raises
    ------
    InputError
        Where the cube is not three-dimensional or holds no frame.
    """
    frames = frozen(cube, np.float32)
    if frames.ndim != 3 or frames.shape[0] == 0:
        raise InputError(f"`cube` has shape {frames.shape}, expected (n, ny, nx) with at least one frame")
    return clipped(frames, float(sigma), int(iterations))


def typical_variance(variance: ArrayLike, n: int) -> float:
    """Variance of a typical pixel of a master.

    The mean of the lower three quarters of the pixels, which odd ones do not reach, freed from its bias: they
    are compared with the lower three quarters of a chi-square distribution of n - 1 degrees of freedom. (The
    variance of a few values is more often too small than too large: with three, its median is 0.69 of the truth.)

    Parameters
    ----------
    variance : array_like
        Variances of the pixels, as `clipped_mean` gives them; NaN are left out.
    n : int
        Values that each comes from.

    Returns
    -------
    float
        0 where nothing is known: no pixel is finite, or n is below 2.
    """
    known = np.asarray(variance)
    known = known[np.isfinite(known)]
    if n < 2 or not known.size:
        return 0.0
    freedom, share = n - 1, 0.75
    lower = np.sort(known)[: max(1, round(share * known.size))].astype(np.float64)
    # The mean of a chi-square distribution below x is that of freedom + 2 up to x, times its freedom.
    expected = chdtr(freedom + 2, chdtri(freedom, 1.0 - share)) / share
    return float(np.mean(lower) / expected)


def make_flat(
    frames: ArrayLike, levels: ArrayLike | None = None, sigma: float = 3.0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Master flat: each frame divided by its own level, then the clipped mean.

    Parameters
    ----------
    frames : array_like, shape (n, ny, nx)
        Flat frames without bias and dark, in ADU.
    levels : array_like, shape (n,), optional
        Level of each frame; by default its median. Give the medians of the whole frames for blocks of rows.
    sigma : float, optional
        Clipping limit in standard deviations.

    Returns
    -------
    flat, variance : ndarray of float32, shape (ny, nx)
        Relative response and the variance of it (NaN with a single frame).

    Raises
    ------
    InputError
        Where a frame's level is not positive.
    """
    cube = np.asarray(frames, dtype=np.float32)
    if levels is None:
        finite = (frame[np.isfinite(frame)] for frame in cube)
        levels = [float(np.median(pixels)) if pixels.size else np.nan for pixels in finite]
    level = np.asarray(levels, dtype=np.float64)
    dim = np.flatnonzero(~(level > 0))
    if dim.size:
        found = f"flat frames {dim.tolist()} lie {level[dim].tolist()} ADU above bias and dark"
        raise InputError(f"{found}: leave them out")
    flat, variance, _ = clipped_mean(cube / level.astype(np.float32)[:, None, None], sigma)
    return flat, variance


def bad_pixels(
    dark_rate: ArrayLike | None = None,
    flat: ArrayLike | None = None,
    dark_variance: ArrayLike | None = None,
    flat_variance: ArrayLike | None = None,
    *,
    hot_sigma: float = 30.0,
    dead: float = 0.5,
    bright: float = 1.5,
    wild: float = 25.0,
) -> NDArray[np.bool_]:
    """Pixels that calibration does not repair.

    Hot: dark current more than `hot_sigma` robust standard deviations of the map above its median (warm
    pixels below that subtract well). Dead or odd: response below `dead` or above `bright` times that of
    the surroundings (the median of tiles of 32 px, interpolated), so that vignetting does not count. Wild:
    variance more than `wild` times that of a normal pixel. A NaN in any map is bad, except in a variance that
    is NaN everywhere, as that of a single frame.

    Parameters
    ----------
    dark_rate, flat : array_like, shape (ny, nx), or None
        Masters.
    dark_variance, flat_variance : array_like, shape (ny, nx), or None
        Variances of the masters.
    hot_sigma, dead, bright, wild : float, optional
        Limits, see above.

    Returns
    -------
    ndarray of bool, shape (ny, nx)
        True where a pixel is bad.

    Raises
    ------
    InputError
        Where neither a dark nor a flat is given, or the shapes differ.
    """
    maps = [np.asarray(m) for m in (dark_rate, flat, dark_variance, flat_variance) if m is not None]
    if (dark_rate is None and flat is None) or len({m.shape for m in maps}) != 1:
        found = [m.shape for m in maps]
        raise InputError(f"bad pixels need `dark_rate` or `flat`, maps of one shape; found shapes {found}")
    bad = np.zeros(maps[0].shape, np.bool_)
    if dark_rate is not None:
        rate = np.asarray(dark_rate, dtype=np.float32)
        middle = median(rate, finite=True)
        width = middle - quantile(rate, 0.1587)  # from the side without hot pixels
        if width == 0:  # a synthetic or coarse dark
            width = float(np.std(rate[np.isfinite(rate)]))
        bad |= ~(rate <= middle + hot_sigma * width)
    if flat is not None:
        response = np.asarray(flat, dtype=np.float32)
        relative = response / surroundings(response)
        bad |= ~((relative >= dead) & (relative <= bright))
    for variance in (dark_variance, flat_variance):
        if variance is None or not np.isfinite(variance).any():
            continue
        values = np.asarray(variance, dtype=np.float64)
        finite = values[np.isfinite(values)]
        normal = np.mean(finite[finite <= np.quantile(finite, 0.99)])  # a median is far low with few frames
        bad |= ~(values <= wild * normal) if normal > 0 else ~np.isfinite(values)
    return bad
