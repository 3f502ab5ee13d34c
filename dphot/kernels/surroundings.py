"""The smooth part of an image: medians of tiles, interpolated."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from ._arrays import frozen
from .medians import median, tile_medians


def surroundings(image: ArrayLike, tile: int = 32) -> NDArray[np.float64]:
    """Medians of tiles, interpolated linearly between their centres and on to the edges.

    Parameters
    ----------
    image : array_like, shape (ny, nx)
        Pixels that are not finite are left out; a tile without others has the median of the image.
    tile : int, optional
        Width and height of a tile in px, about: an image has a whole number of them.

    Returns
    -------
    ndarray of float64, shape (ny, nx)
        NaN where no pixel of the image is finite.
    """
    pixels = frozen(image)
    counts = [max(1, n // tile) for n in pixels.shape]
    rows, columns = (np.linspace(0, n, k + 1).astype(int) for n, k in zip(pixels.shape, counts, strict=True))
    mesh = tile_medians(pixels, rows, columns, finite=True)
    unknown = np.isnan(mesh)
    if unknown.any():
        mesh[unknown] = median(pixels, finite=True)
    for axis, k in enumerate(counts):
        ends = [(1, 1) if k > 1 and a == axis else (0, 0) for a in (0, 1)]
        mesh = np.pad(mesh, ends, mode="reflect", reflect_type="odd")
    at_y, at_x = (
        (np.arange(n) + 0.5) * k / n - 0.5 + (k > 1) for n, k in zip(pixels.shape, counts, strict=True)
    )
    out = np.empty(pixels.shape)
    _interpolate(mesh, *_places(at_y, mesh.shape[0]), *_places(at_x, mesh.shape[1]), out)
    return out


def _places(at: NDArray[np.float64], n: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The point of a mesh before each place, and how far the place is from it; 0 with a single point."""
    before = np.clip(np.floor(at), 0, max(n - 2, 0))
    return before.astype(np.int64), at - before if n > 1 else np.zeros_like(at)


@njit(cache=True, nogil=True, error_model="numpy")
def _interpolate(mesh, row, down, column, right, out):
    for j in range(out.shape[0]):
        above, below = mesh[row[j]], mesh[min(row[j] + 1, mesh.shape[0] - 1)]
        near, far = 1.0 - down[j], down[j]
        for i in range(out.shape[1]):
            k = column[i]
            following = min(k + 1, mesh.shape[1] - 1)
            left = 1.0 - right[i]
            value = above[k] * near * left + above[following] * near * (1.0 - left)
            out[j, i] = value + below[k] * far * left + below[following] * far * (1.0 - left)
