"""An image on the reference's pixel grid, for stacks and pictures; photometry never uses it."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dphot.errors import InputError
from dphot.kernels._arrays import frozen


@njit(cache=True, nogil=True, fastmath=False)
def _bilinear(image, mask, m, out, valid):  # pragma: no cover - compiled
    ny, nx = image.shape
    for j in range(out.shape[0]):
        x_row = m[0, 1] * j + m[0, 2]
        y_row = m[1, 1] * j + m[1, 2]
        for i in range(out.shape[1]):
            x = m[0, 0] * i + x_row
            y = m[1, 0] * i + y_row
            # Written so that NaN fails too.
            if not (x >= 0.0 and y >= 0.0 and x <= nx - 1 and y <= ny - 1):
                out[j, i] = np.nan
                continue
            # Unsigned, or each index would be tested for counting from the end.
            x0 = np.uint64(x)
            y0 = np.uint64(y)
            fx = x - x0
            fy = y - y0
            # A pixel that weighs nothing is not looked at: it may be masked, or lie outside.
            x1 = x0 + np.uint64(fx > 0.0)
            y1 = y0 + np.uint64(fy > 0.0)
            if mask[y0, x0] | mask[y0, x1] | mask[y1, x0] | mask[y1, x1]:
                out[j, i] = np.nan
                continue
            low = image[y0, x0] + fx * (image[y0, x1] - image[y0, x0])
            high = image[y1, x0] + fx * (image[y1, x1] - image[y1, x0])
            value = low + fy * (high - low)
            out[j, i] = value
            valid[j, i] = np.isfinite(value)


def to_reference(
    image: NDArray[np.float32],
    mask: NDArray[np.uint8] | None,
    matrix: NDArray[np.float64],
    shape: tuple[int, int],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Values of a frame at the pixels of the reference, bilinear.

    A transform of unit scale keeps the flux of what lies well inside: each pixel's four weights sum to one.

    Parameters
    ----------
    image : (ny, nx) float32 array
        The frame, ADU or electrons per pixel.
    mask : (ny, nx) uint8 array or None
        Pixels that are not 0 are not used.
    matrix : (2, 3) float64 array
        Reference pixels to frame pixels.
    shape : (int, int)
        (ny, nx) of the reference.

    Returns
    -------
    value : `shape` ndarray of float32
        In the image's unit; NaN where not valid.
    valid : `shape` ndarray of bool
        False outside the frame and where a pixel that counts is masked or not finite.

    Raises
    ------
    InputError
        The mask's shape is not the image's, or the matrix is not 2x3.
    """
    image = frozen(image, np.float32)
    mask = frozen(np.zeros(image.shape, np.uint8) if mask is None else mask, np.uint8)
    matrix = frozen(matrix, np.float64)
    if image.ndim != 2 or mask.shape != image.shape:
        raise InputError(f"image has shape {image.shape}, mask {mask.shape}: both must be the same (ny, nx)")
    if matrix.shape != (2, 3):
        raise InputError(f"matrix has shape {matrix.shape}, not (2, 3)")
    value = np.empty(shape, np.float32)
    valid = np.zeros(shape, np.bool_)
    _bilinear(image, mask, matrix, value, valid)
    return value, valid
