"""How likely matches are by chance: star lists with their local density, and the tails of distributions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dphot.kernels import asterism

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

#: Pairs of unrelated stars are counted between these multiples of the tolerance.
NEAR_MISS = (1.5, 5.0)


@dataclass(frozen=True)
class StarList:
    """One star list: positions, their grid hash, and the local density of stars."""

    x: Floats
    y: Floats
    grid: tuple[Floats, Indices, Indices]
    density: Floats  # (ny, nx) stars/px2 in coarse cells
    cell: tuple[float, float]  # width and height of a coarse cell, px

    @property
    def area(self) -> float:
        ny, nx = self.density.shape
        return nx * ny * self.cell[0] * self.cell[1]


def make_list(x: Floats, y: Floats, tolerance: float) -> StarList:
    n = len(x)
    width, height = (max(float(np.ptp(a)), 20 * tolerance) for a in (x, y))
    coarse = max(math.sqrt(6 * width * height / n), 10 * tolerance)
    nx, ny = max(int(width / coarse), 1), max(int(height / coarse), 1)
    cell = (width / nx * (1 + 1e-9), height / ny * (1 + 1e-9))
    column, row = ((x - x.min()) / cell[0]).astype(np.int64), ((y - y.min()) / cell[1]).astype(np.int64)
    padded = np.zeros((ny + 2, nx + 2))
    padded[1:-1, 1:-1] = np.bincount(row * nx + column, minlength=nx * ny).reshape(ny, nx)
    inside = np.zeros_like(padded)
    inside[1:-1, 1:-1] = 1.0
    total, cells = (
        sum(a[j : ny + j, i : nx + i] for j in range(3) for i in range(3)) for a in (padded, inside)
    )
    mean = n / (width * height)
    density = np.maximum(total / (cells * cell[0] * cell[1]), mean / 4)
    fine = max(2 * tolerance, math.sqrt(width * height / n))
    return StarList(x, y, grid_hash(x, y, fine), density, cell)


def grid_hash(x: Floats, y: Floats, cell: float) -> tuple[Floats, Indices, Indices]:
    x0, y0 = float(x.min()), float(y.min())
    box = np.array([x0, y0, cell, int((x.max() - x0) / cell) + 1, int((y.max() - y0) / cell) + 1])
    return (box, *asterism.cell_index(x, y, box))


def log_tail(least: int, rate: Floats | float) -> float:
    """Upper bound of log10 of the chance of `least` or more events.

    Parameters
    ----------
    least : int
        The number of events seen.
    rate : float or (n,) ndarray
        Expected number of events (Poisson), or that of each of n places, of which each counts at most once.
    """
    total = float(np.sum(rate))
    if least <= total or least <= 0:
        return 0.0
    if total <= 0:
        return -math.inf
    log = least * math.log(total) - total - math.lgamma(least + 1) - math.log1p(-total / (least + 1))
    if isinstance(rate, np.ndarray) and least <= len(rate):
        # Chernoff's bound for unequal coins (Hoeffding 1963): telling where the field is crowded.
        f, p = least / len(rate), float(np.mean(-np.expm1(-rate)))
        if f > p:
            rest = (1 - f) * math.log((1 - f) / (1 - p)) if f < 1 else 0.0
            log = min(log, -len(rate) * (f * math.log(f / p) + rest))
    return min(log / math.log(10), 0.0)


def chance_rate(px: Floats, py: Floats, frame: StarList, tolerance: float) -> Floats:
    """Matches expected by chance at 1 px radius for each prediction that lands in the frame.

    This is pi times the density of stars there, raised where both lists crowd in the same places (clusters,
    trails): the pairs that miss each other by a few times the tolerance tell by how much.
    """
    column = np.floor((px - frame.grid[0][0]) / frame.cell[0])
    row = np.floor((py - frame.grid[0][1]) / frame.cell[1])
    ny, nx = frame.density.shape
    inside = (column >= 0) & (row >= 0) & (column < nx) & (row < ny)
    rate = math.pi * frame.density[row[inside].astype(np.int64), column[inside].astype(np.int64)]
    inner, outer = NEAR_MISS[0] * tolerance, NEAR_MISS[1] * tolerance
    missed = asterism.pairs_between(px, py, inner, outer, frame.x, frame.y, *frame.grid)
    certain = (missed - math.sqrt(missed)) / (outer**2 - inner**2)  # one miss in a sparse field tells nothing
    return rate * max(1.0, certain / max(float(rate.sum()), 1e-300))


def line_share(x: Floats, y: Floats, width: float) -> float:
    """Share of the stars that count: of most of them on one line (a trail, a column) only two do."""
    pick = np.linspace(0, len(x) - 1, min(len(x), 24)).astype(np.int64)
    if len(pick) < 5:
        return 1.0
    z = x[pick] + 1j * y[pick]
    i, j = np.triu_indices(len(pick), 1)
    step = z[j] - z[i]
    length = np.abs(step)
    step = step / np.maximum(length, 1e-9)
    distance = np.abs(((z[None, :] - z[i, None]) * step.conj()[:, None]).imag)
    on_line = (distance <= width).sum(axis=1)
    most = int(on_line[length > 4 * width].max(initial=0))
    return 1.0 if most < 5 or most <= len(pick) / 2 else 1 - (most - 2) / len(pick)


def evidence(
    distance: Floats, x: Floats, y: Floats, rate: Floats, tolerance: float, trials: float, free: int
) -> float:
    """log10 of the number of chance transforms with as many matches, at the most telling of five radii.

    Parameters
    ----------
    distance, x, y : (k,) ndarray
        Distances of the matches within `tolerance`, px, and their positions.
    rate : (n,) ndarray
        See `chance_rate`.
    trials : float
        Number of hypotheses that could have been tried.
    free : int
        Matches that come with a hypothesis: two stars define a similarity.
    """
    share = line_share(x, y, tolerance)
    best = math.inf
    for radius in tolerance * np.array([1.0, 0.7, 0.5, 0.25, 0.12]):
        count = math.floor(share * int((distance <= radius).sum()) + 1e-9)
        if count <= free:
            break
        # A fit pulls its stars closer than chance put them.
        slack = 1.0 if radius == tolerance or count < 3 else (count / (count - 2)) ** 2
        best = min(best, log_tail(count - free, slack * rate * radius**2))
    return best + math.log10(max(5 * trials, 1.0))
