"""The detector's fixed pattern, from frames of a drifting field."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .surroundings import surroundings


def night_medians(cube: ArrayLike) -> NDArray[np.float32]:
    """Medians over all frames, over the first half of them, and over the second.

    Parameters
    ----------
    cube : array_like, shape (n, ny, nx)
        Frames in time order, their own levels subtracted, n >= 2.

    Returns
    -------
    ndarray of float32, shape (3, ny, nx)
        NaN where a frame is.
    """
    frames = np.asarray(cube, dtype=np.float32)
    middle = len(frames) // 2
    return np.stack([_median(part) for part in (frames, frames[:middle], frames[middle:])])


def fixed_pattern(medians: ArrayLike) -> tuple[NDArray[np.float32], float, float]:
    """What medians of a drifting field show once their smooth part is taken off: hot pixels and column offsets.

    Parameters
    ----------
    medians : array_like, shape (3, ny, nx)
        From `night_medians`; the field must have drifted by several FWHM, so that stars drop out.

    Returns
    -------
    pattern : ndarray of float32, shape (ny, nx)
        In the unit of the frames; its median is 0 within any tile of 32 px.
    signal, noise : float
        Mean squares of the pattern itself (what the two halves have in common) and of its error (a quarter of the
        mean square of their difference): taking the pattern off helps where the first is the larger.
    """
    # Halves of the night, not every other frame: what stars leave behind is then no common part.
    pattern, first, second = (
        (median - surroundings(median)).astype(np.float32) for median in np.asarray(medians, np.float64)
    )
    return pattern, float(np.nanmean(first * second)), float(np.nanmean((first - second) ** 2)) / 4.0


def _median(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    n = len(frames)
    ordered = np.sort(frames, axis=0)  # several times as fast as numpy's median
    median = 0.5 * (ordered[(n - 1) // 2] + ordered[n // 2])
    return np.where(np.isnan(ordered[-1]), np.float32(np.nan), median)


def resting_share(x: ArrayLike, y: ArrayLike, radius: float) -> float:
    """The largest share of the night that a star spends on one spot of the detector.

    Parameters
    ----------
    x, y : array_like, shape (n, k)
        Positions of k stars in n frames spread evenly over the night (px).
    radius : float
        What counts as the same spot (px).

    Returns
    -------
    float
        Of all frames of a star, the share of the others in which it lies within `radius` of the place it has in
        that frame, at its largest; 1 with fewer than two frames.
    """
    places = np.stack([np.asarray(x, float), np.asarray(y, float)])
    n = places.shape[1]
    if n < 2:
        return 1.0
    apart = np.hypot(*(places[:, :, None, :] - places[:, None, :, :]))
    return float((np.sum(apart < radius, axis=1).max() - 1) / (n - 1))
