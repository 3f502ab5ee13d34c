"""Star lists that are quick to search: which stars lie where a transform puts those of another list."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dphot.kernels.transform import similarity

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


class StarList(NamedTuple):
    """One star list: positions, brightest first, their grid hash, and the local density of stars."""

    x: Floats
    y: Floats
    start: Indices
    """(nx ny + 1,) where the stars of each cell begin in `order`."""
    order: Indices
    density: Floats
    """(rows, columns) stars/px2 in coarse cells."""
    box: Floats
    """x0, y0, cell, nx, ny of the hash; width and height of a coarse cell, px."""

    @property
    def area(self) -> float:
        """Of the rectangle around the stars, px2."""
        return float(self.density.size * self.box[5] * self.box[6])


@njit(cache=True, nogil=True)
def make_list(x, y, tolerance):  # pragma: no cover - compiled
    """The list of at least one position (float64), for matches within `tolerance` px."""
    n = len(x)
    x0, y0 = x.min(), y.min()
    width, height = max(x.max() - x0, 20 * tolerance), max(y.max() - y0, 20 * tolerance)
    cell = max(2 * tolerance, np.sqrt(width * height / n))
    coarse = max(np.sqrt(6 * width * height / n), 10 * tolerance)
    columns, rows = max(int(width / coarse), 1), max(int(height / coarse), 1)
    box = np.array(
        [x0, y0, cell, int((x.max() - x0) / cell) + 1.0, int((y.max() - y0) / cell) + 1.0,
         width / columns * (1 + 1e-9), height / rows * (1 + 1e-9)]
    )  # fmt: skip
    nx, ny = int(box[3]), int(box[4])
    start = np.zeros(nx * ny + 1, np.int64)
    key = np.empty(n, np.int64)
    count = np.zeros((rows, columns))
    for i in range(n):
        key[i] = int((y[i] - y0) / cell) * nx + int((x[i] - x0) / cell)
        start[key[i] + 1] += 1
        count[int((y[i] - y0) / box[6]), int((x[i] - x0) / box[5])] += 1
    for q in range(nx * ny):
        start[q + 1] += start[q]
    fill = start[:-1].copy()
    order = np.empty(n, np.int64)
    for i in range(n):
        order[fill[key[i]]] = i
        fill[key[i]] += 1
    density = np.empty((rows, columns))
    for j in range(rows):
        for i in range(columns):
            around = count[max(j - 1, 0) : j + 2, max(i - 1, 0) : i + 2]
            density[j, i] = max(around.sum() / (around.size * box[5] * box[6]), 0.25 * n / (width * height))
    return StarList(x, y, start, order, density, box)


@njit(cache=True, nogil=True)
def nearest(px, py, radius, stars):  # pragma: no cover - compiled
    """Index of the star nearest to (px, py) within `radius`, or -1, and the distance squared."""
    box = stars.box
    nx, ny = int(box[3]), int(box[4])
    best, found = radius * radius, -1
    if not (px > box[0] - radius and py > box[1] - radius):
        return found, best
    i0 = max(int((px - radius - box[0]) / box[2]), 0)
    j0 = max(int((py - radius - box[1]) / box[2]), 0)
    i1 = min((px + radius - box[0]) / box[2], nx - 1.0)
    j1 = min((py + radius - box[1]) / box[2], ny - 1.0)
    for j in range(j0, int(j1) + 1):
        if i0 > i1:
            break
        for p in range(stars.start[j * nx + i0], stars.start[j * nx + int(i1) + 1]):
            q = stars.order[p]
            d = (stars.x[q] - px) ** 2 + (stars.y[q] - py) ** 2
            if d < best:
                best, found = d, q
    return found, best


@njit(cache=True, nogil=True)
def pair_up(m, x, y, radius, stars):  # pragma: no cover - compiled
    """One-to-one pairs of positions mapped by `m` and stars, each the other's nearest: index (n,) or -1."""
    index = np.full(len(x), -1, np.int64)
    owner = np.full(len(stars.x), -1, np.int64)
    distance = np.full(len(stars.x), np.inf)
    for i in range(len(x)):
        px = m[0, 0] * x[i] + m[0, 1] * y[i] + m[0, 2]
        py = m[1, 0] * x[i] + m[1, 1] * y[i] + m[1, 2]
        q, d = nearest(px, py, radius, stars)
        if q >= 0 and d < distance[q]:
            if owner[q] >= 0:
                index[owner[q]] = -1
            owner[q] = i
            distance[q] = d
            index[i] = q
    return index


@njit(cache=True, nogil=True)
def refine(matrix, x, y, frame, tolerance):  # pragma: no cover - compiled
    """Similarity fitted to the stars that match it until these no longer change: matrix and pairs."""
    m = matrix.copy()
    weight = np.ones(len(x))
    index = np.full(len(x), -1, np.int64)
    for turn in range(12):
        found = pair_up(m, x, y, tolerance * (2 if turn == 0 else 1), frame)
        pairs = np.flatnonzero(found >= 0)
        same = np.array_equal(found, index)
        index = found
        if len(pairs) < 3 or (turn > 1 and same):
            break
        at = found[pairs]
        similarity(x[pairs], y[pairs], frame.x[at], frame.y[at], weight, len(pairs), m)
    return m, index
