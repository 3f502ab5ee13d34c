"""An image on the reference's pixel grid, for stacks and pictures; photometry never uses it."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from dphot.errors import InputError
from dphot.kernels._arrays import frozen

#: Up to this much turn or stretch, runs of pixels between grid lines are long enough to be worth finding.
_STRAIGHT = 0.05


@njit(cache=True, nogil=True)
def _inside(m, i, x_row, y_row, nx, ny):  # pragma: no cover - compiled
    x, y = m[0, 0] * i + x_row, m[1, 0] * i + y_row
    # Written so that NaN fails too.
    return x >= 0.0 and y >= 0.0 and x <= nx - 1 and y <= ny - 1


@njit(cache=True, nogil=True)
def _run(start, slope):  # pragma: no cover - compiled
    """For how many pixels a coordinate with this fraction at the first one stays between two grid lines."""
    room = 1.0 - start if slope > 0.0 else start
    return max(int(room / abs(slope)), 1) if abs(slope) > 1e-12 else 1 << 30


@njit(cache=True, nogil=True)
def _row(image, m, j, out):  # pragma: no cover - compiled
    """One row of the reference's grid; NaN outside the frame and beside a NaN."""
    ny, nx = image.shape
    flat = image.reshape(-1)
    x_row, y_row = m[0, 1] * j + m[0, 2], m[1, 1] * j + m[1, 2]
    first, last = 0, len(out)
    while first < last and not _inside(m, first, x_row, y_row, nx, ny):
        out[first] = np.nan
        first += 1
    while last > first and not _inside(m, last - 1, x_row, y_row, nx, ny):
        last -= 1
        out[last] = np.nan
    straight = abs(m[0, 0] - 1.0) + abs(m[1, 0]) < _STRAIGHT
    i = first
    while i < last:
        x, y = m[0, 0] * i + x_row, m[1, 0] * i + y_row
        x0, y0 = int(x), int(y)
        # A pixel that weighs nothing is not looked at: it may be NaN, or lie outside.
        right = 0 if x == x0 and (m[0, 0] == 1.0 or x0 == nx - 1) else 1
        down = 0 if y == y0 and (m[1, 0] == 0.0 or y0 == ny - 1) else nx
        n = 1
        if straight:
            # Between grid lines the four pixels move along with the row: a loop of vector instructions.
            n = min(_run(x - x0, m[0, 0] - 1.0), _run(y - y0, m[1, 0]), last - i, nx - x0 - right)
        above, below, part = flat[y0 * nx + x0 :], flat[y0 * nx + x0 + down :], out[i : i + n]
        for k in range(n):
            fx = np.float32(m[0, 0] * (i + k) + x_row - (x0 + k))
            fy = np.float32(m[1, 0] * (i + k) + y_row - y0)
            low = above[k] + fx * (above[k + right] - above[k])
            high = below[k] + fx * (below[k + right] - below[k])
            part[k] = low + fy * (high - low)
        i += n


@njit(cache=True, nogil=True)
def _bilinear(image, m, out):  # pragma: no cover - compiled
    for j in range(out.shape[0]):
        _row(image, m, j, out[j])


@njit(cache=True, nogil=True)
def _add(image, m, sky, unit, total, count):  # pragma: no cover - compiled
    line = np.empty(total.shape[1], np.float32)
    scale = 1.0 / unit
    for j in range(total.shape[0]):
        _row(image, m, j, line)
        row, seen = total[j], count[j]
        for i in range(len(line)):
            value = np.float64(line[i] - sky) * scale
            valid = abs(value) < np.inf
            row[i] += np.int64(np.rint(value)) if valid else np.int64(0)
            seen[i] += valid


def _prepared(
    image: NDArray, mask: NDArray[np.uint8] | None, matrix: ArrayLike
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The image with NaN where it is masked, and the matrix."""
    image = frozen(image, np.float32)
    matrix = frozen(matrix, np.float64)
    if image.ndim != 2 or (mask is not None and mask.shape != image.shape):
        shape = None if mask is None else mask.shape
        raise InputError(f"image has shape {image.shape}, mask {shape}: both must be the same (ny, nx)")
    if matrix.shape != (2, 3):
        raise InputError(f"matrix has shape {matrix.shape}, not (2, 3)")
    if mask is not None and mask.any():
        image = frozen(np.where(mask != 0, np.float32(np.nan), image))
    return image, matrix


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
    image, matrix = _prepared(image, mask, matrix)
    value = np.empty(shape, np.float32)
    _bilinear(image, matrix, value)
    return value, np.isfinite(value)


def add_to_reference(
    image: NDArray[np.float32],
    mask: NDArray[np.uint8] | None,
    matrix: NDArray[np.float64],
    sky: float,
    unit: float,
    total: NDArray[np.int64],
    count: NDArray[np.int32],
) -> None:
    """Add a frame, less its sky, to a sum on the reference's grid, in whole units: exact, so in any order.

    Parameters
    ----------
    image, mask, matrix
        As for `to_reference`.
    sky : float
        Subtracted from every pixel, in the image's unit.
    unit : float
        What 1 means in `total`, in the image's unit.
    total : (ny, nx) int64 array
        The sum, in units; added to.
    count : (ny, nx) int32 array
        How many frames are in each pixel; added to.

    Raises
    ------
    InputError
        As `to_reference`.
    """
    image, matrix = _prepared(image, mask, matrix)
    _add(image, matrix, np.float32(sky), float(unit), total, count)
