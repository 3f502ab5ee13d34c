"""Photon transfer: gain and read noise of a camera from pairs of equal frames."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Side of the tiles that noise is measured in, px: across one, no illumination changes by more than the noise.
TILE = 32
#: Tiles measured at most, evenly spread: two million pixels tell a variance to 0.1 %.
MAX_TILES = 2048
#: Clipping limit in standard deviations.
CLIP = 4.0


def bias_variance(first: ArrayLike, second: ArrayLike) -> float:
    """Variance of a pixel's read-out, digitisation included.

    Half the variance of the difference of two bias frames, in which the bias' own structure cancels: the median
    over tiles.

    Parameters
    ----------
    first, second : array_like, shape (ny, nx)
        Two bias frames, or two darks of the same exposure, in ADU.

    Returns
    -------
    float
        ADU^2; NaN where no tile is whole.
    """
    one, two = _tiles(first), _tiles(second)
    return _middle(0.5 * _clipped_variance(one - two))


def inverse_gains(first: ArrayLike, second: ArrayLike, bias_variance: float) -> NDArray[np.float64]:
    """1 / gain in each tile of two flats (Janesick 2001, Scientific Charge-Coupled Devices, ch. 4).

    Both are divided by their own level in the tile, so that they may differ in brightness (twilight); in the
    difference the flat field cancels. Its variance is (1/m1 + 1/m2) / gain + v (1/m1^2 + 1/m2^2), with the
    levels m and the variance v of the read-out.

    Parameters
    ----------
    first, second : array_like, shape (ny, nx)
        Two flats of one filter without bias and dark, in ADU.
    bias_variance : float
        Variance of a pixel's read-out in ADU^2.

    Returns
    -------
    ndarray of float64, shape (ntile,)
        In ADU/e-; tiles that are not whole, or without light, are left out.
    """
    one, two = _tiles(first), _tiles(second)
    levels = np.stack([np.median(tiles, axis=(1, 2)) for tiles in (one, two)]).astype(np.float64)
    lit = (levels > 0).all(axis=0)
    levels = levels[:, lit]
    scaled = [tiles[lit] / level[:, None, None] for tiles, level in zip((one, two), levels, strict=True)]
    noise = _clipped_variance(scaled[0] - scaled[1])
    photons = noise - bias_variance * (1.0 / levels**2).sum(axis=0)
    return photons / (1.0 / levels).sum(axis=0)


def gain_of(inverse: ArrayLike) -> tuple[float, float]:
    """Gain and its standard deviation from the tiles of all pairs.

    Parameters
    ----------
    inverse : array_like
        What `inverse_gains` found, of all pairs together.

    Returns
    -------
    gain, error : float
        e-/ADU: the inverse of the median, which a tile with a star or a moved speck of dust does not change. NaN
        where there is none, or no photon noise.
    """
    values = np.asarray(inverse, dtype=np.float64)
    middle = _middle(values)
    if not middle > 0:
        return math.nan, math.nan
    spread = 1.4826 * _middle(np.abs(values - middle))
    return 1.0 / middle, math.sqrt(math.pi / 2 / values.size) * spread / middle**2


def _tiles(image: ArrayLike) -> NDArray[np.float64]:
    """Up to `MAX_TILES` tiles (ntile, height, width) of an image."""
    pixels = np.asarray(image)
    height, width = (min(TILE, n) for n in pixels.shape)
    rows, columns = pixels.shape[0] // height, pixels.shape[1] // width
    blocks = pixels[: rows * height, : columns * width].reshape(rows, height, columns, width)
    n = rows * columns
    chosen = np.unique(np.linspace(0, n - 1, min(n, MAX_TILES)).round().astype(np.int64))
    return blocks[chosen // columns, :, chosen % columns].astype(np.float64)


def _clipped_variance(tiles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variance of each tile (ntile,), clipped at `CLIP`; NaN where a pixel is not finite.

    Rows and columns are levelled first: many read-outs shift whole lines, some each second one.
    """
    _, height, width = tiles.shape
    kept = np.ones(tiles.shape, np.bool_)
    for _ in range(4):
        away = tiles - _mean(tiles, kept, 1)
        away -= _mean(away, kept, 2)
        variance = _mean(np.square(away), kept, (1, 2))
        kept = np.abs(away) <= CLIP * np.sqrt(variance)
    density = math.exp(-0.5 * CLIP**2) / math.sqrt(2 * math.pi)
    cut = 1.0 - 2.0 * CLIP * density / math.erf(CLIP / math.sqrt(2))
    freedom = (1.0 - 1.0 / height) * (1.0 - 1.0 / width)
    return variance.ravel() / (cut * freedom)


def _mean(
    tiles: NDArray[np.float64], kept: NDArray[np.bool_], axis: int | tuple[int, int]
) -> NDArray[np.float64]:
    """Mean along an axis of what is kept; NaN where nothing is."""
    n = np.sum(kept, axis=axis, keepdims=True)
    return np.sum(tiles, axis=axis, where=kept, keepdims=True) / np.where(n > 0, n, np.nan)


def _middle(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else math.nan
