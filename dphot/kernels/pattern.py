"""The detector's fixed pattern, from frames of a drifting field."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import median_filter


def fixed_pattern(median: ArrayLike, box: int = 31) -> NDArray[np.float32]:
    """What is left of the median of many frames once its smooth part is taken off: hot pixels and column offsets.

    Parameters
    ----------
    median : array_like (ny, nx)
        Pixel by pixel median of frames whose own levels were subtracted; the field must have drifted by several FWHM
        between them, so that stars drop out.
    box : int
        Width of the running median that takes sky and vignetting off (px).

    Returns
    -------
    ndarray float32 (ny, nx)
        In the unit of the frames; its median is 0 within any box.
    """
    image = np.asarray(median, dtype=np.float32)
    return image - median_filter(image, size=box, mode="nearest")
