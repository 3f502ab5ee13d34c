"""Exact circular-aperture sums for many radii in one walk over each star's pixels."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from ._arrays import frozen
from .sky import annulus_sky, star_flags

__all__ = ["annulus_sky", "aperture_sums", "circle_area", "star_flags"]


def circle_area(radius: ArrayLike) -> NDArray[np.float64]:
    """Area of circles.

    Parameters
    ----------
    radius : array_like
        Radii in px, any shape.

    Returns
    -------
    ndarray of float64
        pi r^2 in px^2, same shape.
    """
    return math.pi * np.square(np.asarray(radius, dtype=np.float64))


def aperture_sums(image: ArrayLike, x: ArrayLike, y: ArrayLike, radii: ArrayLike) -> NDArray[np.float64]:
    """Sums of an image over circles with exact circle-pixel overlap.

    The pixels are not resampled and not subsampled: a pixel counts with the exact area it shares with the
    circle, as in photutils' ``method="exact"``. Each star's pixel rows are walked once for all radii: whole
    pixels come from running sums that start at the centre, the others from the integral of sqrt(r^2 - u^2).
    The order of the additions is fixed, so the same input gives the same bits.

    Parameters
    ----------
    image : array_like, shape (ny, nx)
        Image; used as float32. Pixel centres are at integers.
    x, y : array_like, shape (nstar,)
        Centres in px (x is the column), anywhere within a pixel.
    radii : array_like, shape (nr,)
        Radii in px, in any order.

    Returns
    -------
    ndarray of float64, shape (nr, nstar)
        Sums in the image's unit. NaN where the circle leaves the frame, the position or the radius is not
        finite, the radius is not positive, or a pixel the circle touches is NaN.
    """
    radius = np.atleast_1d(np.asarray(radii, dtype=np.float64))
    order = np.argsort(radius, kind="stable")
    columns, rows = frozen(np.atleast_1d(x), np.float64), frozen(np.atleast_1d(y), np.float64)
    out = np.full((radius.size, columns.size), np.nan)
    usable = np.isfinite(radius[order]) & (radius[order] > 0)
    order = order[usable]
    if order.size and columns.size:
        sums = np.full((columns.size, order.size), np.nan)
        _sums(frozen(image, np.float32), columns, rows, frozen(radius[order]), sums)
        out[order] = sums.T
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _segment(cross, dot, r2, inverse):
    """Area between an arc and its chord; cross and dot products of the vectors to its ends, r^2 and 1 / r^2.

    It is r^2 / 2 (angle - sin(angle)). The series of asin(z) - z is cut where this changes the area of an
    aperture by less than 1e-12.
    """
    z = cross * inverse
    z2 = z * z
    if r2 > 200.0:  # a chord within a pixel is at most sqrt(2), so z <= 0.1
        tail = 1.0 / 6.0 + z2 * (3.0 / 40.0) + z2 * z2 * (5.0 / 112.0 + z2 * (35.0 / 1152.0))
        return 0.5 * r2 * z * z2 * tail
    if r2 > 32.0 or z2 < 0.0625:  # z <= 0.25
        z4 = z2 * z2
        tail = 63.0 / 2816.0 + z2 * (231.0 / 13312.0) + z4 * (143.0 / 10240.0 + z2 * (6435.0 / 557056.0))
        tail = 1.0 / 6.0 + z2 * (3.0 / 40.0) + z4 * (5.0 / 112.0 + z2 * (35.0 / 1152.0) + z4 * tail)
        return 0.5 * r2 * z * z2 * tail
    return 0.5 * (r2 * math.atan2(cross, dot) - cross)  # asin would lose half its digits near a quarter turn


@njit(cache=True, nogil=True, error_model="numpy")
def _half_row(pixels, running, count, first, v0, v1, near, far, r, heights):
    """Sum over one half row: the part of the row v0 <= v <= v1 that lies on one side of the centre.

    `pixels[m]` spans u from first + m - 1 to first + m (the one at the centre from 0 to first), `running` is
    its running sum with 0 in front, `heights[m]` the height of the circle of radius r over first + m; `near`
    and `far` are the circle's half widths at v0 and v1.
    """
    m = min(int(far - first) + 1, count) if far >= first else 0
    height = v1 - v0
    total = height * running[m]
    left = first + (m - 1) if m > 0 else 0.0
    area = (far - left) * height  # under the arc's beginning the row is covered to its far side
    p = far
    yp = min(v1, r)
    r2 = r * r
    inverse = 1.0 / r2
    while m < count and p < near:
        q = first + m
        yq = v0
        if q < near:
            yq = heights[m]
        else:
            q = near
        area += (q - p) * (0.5 * (yp + yq) - v0) + _segment(q * yp - p * yq, p * q + yp * yq, r2, inverse)
        total += area * pixels[m]
        area = 0.0
        p = q
        yp = yq
        m += 1
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _sums(image, x, y, radii, out):
    """Fill out (nstar, nr); radii ascending and positive; what does not fit into the frame stays as it is."""
    ny, nx = image.shape
    nr = radii.size
    size = min(int(radii[-1]) + 3, nx + 2)
    pixels = np.empty((2, size))
    running = np.zeros((2, size + 1))
    heights = np.empty((2, nr, size))
    near = np.empty(nr)
    far = np.empty(nr)
    first = np.empty(2)
    for star in range(x.size):
        xc = x[star]
        yc = y[star]
        room = min(min(xc + 0.5, nx - 0.5 - xc), min(yc + 0.5, ny - 0.5 - yc))
        n = 0
        while n < nr and radii[n] <= room:  # never true for NaN
            n += 1
        if n == 0:
            continue
        column = min(int(xc + 0.5), nx - 1)
        row = min(int(yc + 0.5), ny - 1)
        first[0] = column + 0.5 - xc
        first[1] = xc - (column - 0.5)
        for side in range(2):
            for k in range(n):
                m = 0
                while m < size and first[side] + m < radii[k]:
                    heights[side, k, m] = math.sqrt(radii[k] ** 2 - (first[side] + m) ** 2)
                    m += 1
        for k in range(n):
            out[star, k] = 0.0
        for step in (1, -1):
            v0 = 0.0
            v1 = 0.5 + step * (row - yc)
            j = row
            smallest = 0
            for k in range(n):
                near[k] = radii[k]
            while smallest < n and 0 <= j < ny:
                for k in range(smallest, n):
                    rest = radii[k] ** 2 - v1 * v1
                    far[k] = math.sqrt(rest) if rest > 0.0 else 0.0
                for side in range(2):
                    towards = 1 - 2 * side
                    count = 0
                    i = column
                    width = first[side]
                    while count < size and 0 <= i < nx:
                        value = float(image[j, i])
                        pixels[side, count] = value
                        running[side, count + 1] = running[side, count] + value * width
                        count += 1
                        if first[side] + count - 1 >= near[n - 1]:
                            break
                        width = 1.0
                        i += towards
                    for k in range(smallest, n):
                        out[star, k] += _half_row(
                            pixels[side],
                            running[side],
                            count,
                            first[side],
                            v0,
                            v1,
                            near[k],
                            far[k],
                            radii[k],
                            heights[side, k],
                        )
                for k in range(smallest, n):
                    near[k] = far[k]
                v0 = v1
                v1 += 1.0
                j += step
                while smallest < n and radii[smallest] <= v0:
                    smallest += 1
