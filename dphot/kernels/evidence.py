"""How likely matches are by chance: the rate of chance pairs and the tails of their distributions."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from dphot.kernels.pairing import pair_up, refine

#: Pairs of unrelated stars are counted between these multiples of the tolerance.
NEAR_MISS = (1.5, 5.0)


@njit(cache=True, nogil=True)
def log_tail(least, rate):  # pragma: no cover - compiled
    """Upper bound of log10 of the chance of `least` or more events.

    Parameters
    ----------
    least : int
        The number of events seen.
    rate : (n,) ndarray
        Expected number of events (Poisson) of each of n places, of which each counts at most once.
    """
    total = rate.sum()
    if least <= total or least <= 0:
        return 0.0
    if total <= 0:
        return -np.inf
    log = least * math.log(total) - total - math.lgamma(least + 1.0) - math.log1p(-total / (least + 1))
    if least <= len(rate):
        # Chernoff's bound for unequal coins (Hoeffding 1963): telling where the field is crowded.
        f, p = least / len(rate), np.mean(-np.expm1(-rate))
        if f > p:
            rest = (1 - f) * math.log((1 - f) / (1 - p)) if f < 1 else 0.0
            log = min(log, -len(rate) * (f * math.log(f / p) + rest))
    return min(log / math.log(10.0), 0.0)


@njit(cache=True, nogil=True)
def _pairs_between(px, py, inner, outer, stars):  # pragma: no cover - compiled
    """Number of (prediction, star) pairs whose distance lies between `inner` and `outer`."""
    box = stars.box
    nx, ny = int(box[3]), int(box[4])
    total = 0
    for i in range(len(px)):
        i0 = max(np.floor((px[i] - outer - box[0]) / box[2]), 0.0)
        j0 = max(np.floor((py[i] - outer - box[1]) / box[2]), 0.0)
        i1 = min((px[i] + outer - box[0]) / box[2], nx - 1.0)
        j1 = min((py[i] + outer - box[1]) / box[2], ny - 1.0)
        if not (i0 <= i1 and j0 <= j1):
            continue
        for j in range(int(j0), int(j1) + 1):
            for p in range(stars.start[j * nx + int(i0)], stars.start[j * nx + int(i1) + 1]):
                q = stars.order[p]
                d = (stars.x[q] - px[i]) ** 2 + (stars.y[q] - py[i]) ** 2
                if inner * inner < d and d <= outer * outer:
                    total += 1
    return total


@njit(cache=True, nogil=True)
def chance_rate(px, py, frame, tolerance):  # pragma: no cover - compiled
    """Matches expected by chance at 1 px radius for each prediction that lands in the frame.

    This is pi times the density of stars there, raised where both lists crowd in the same places (clusters,
    trails): the pairs that miss each other by a few times the tolerance tell by how much.
    """
    ny, nx = frame.density.shape
    rate = np.empty(len(px))
    n = 0
    for i in range(len(px)):
        column = np.floor((px[i] - frame.box[0]) / frame.box[5])
        row = np.floor((py[i] - frame.box[1]) / frame.box[6])
        if 0 <= column < nx and 0 <= row < ny:
            rate[n] = math.pi * frame.density[int(row), int(column)]
            n += 1
    rate = rate[:n]
    inner, outer = NEAR_MISS[0] * tolerance, NEAR_MISS[1] * tolerance
    missed = _pairs_between(px, py, inner, outer, frame)
    certain = (missed - math.sqrt(missed)) / (outer**2 - inner**2)  # one miss in a sparse field tells nothing
    return rate * max(1.0, certain / max(rate.sum(), 1e-300))


@njit(cache=True, nogil=True)
def line_share(x, y, width):  # pragma: no cover - compiled
    """Share of the stars that lie on one line (a trail, a column), if it is most of them; else 0."""
    n = min(len(x), 24)
    if n < 5:
        return 0.0
    pick = np.linspace(0.0, len(x) - 1.0, n).astype(np.int64)
    x, y = x[pick], y[pick]
    most = 0
    for i in range(n):
        for j in range(i + 1, n):
            dx, dy = x[j] - x[i], y[j] - y[i]
            length = math.sqrt(dx * dx + dy * dy)
            if length <= 4 * width:
                continue
            on_line = 0
            for k in range(n):
                on_line += abs(dx * (y[k] - y[i]) - dy * (x[k] - x[i])) <= width * length
            most = max(most, on_line)
    return most / n if most >= 5 and most > n / 2 else 0.0


@njit(cache=True, nogil=True)
def evidence(distance, x, y, rate, tolerance, trials, free):  # pragma: no cover - compiled
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
    line = line_share(x, y, tolerance)
    best = np.inf
    for part in (1.0, 0.7, 0.5, 0.25, 0.12):
        radius = part * tolerance
        count = (distance <= radius).sum()
        if line > 0:  # of those on it, only two tell
            count = math.floor((1 - line) * count + 1e-9) + 2
        if count <= free:
            break
        # A fit pulls its stars closer than chance put them.
        slack = 1.0 if part == 1.0 or count < 3 else (count / (count - 2)) ** 2
        best = min(best, log_tail(count - free, slack * rate * radius**2))
    return best + math.log10(max(5 * trials, 1.0))


@njit(cache=True, nogil=True)
def judge(m, x, y, frame, tolerance, trials, free):  # pragma: no cover - compiled
    """Evidence of a transform as it is: log10 of the chance, and how many of the stars (x, y) it matches."""
    index = pair_up(m, x, y, tolerance, frame)
    px = m[0, 0] * x + m[0, 1] * y + m[0, 2]
    py = m[1, 0] * x + m[1, 1] * y + m[1, 2]
    pairs = np.flatnonzero(index >= 0)
    at = index[pairs]
    distance = np.hypot(px[pairs] - frame.x[at], py[pairs] - frame.y[at])
    rate = chance_rate(px, py, frame, tolerance)
    return evidence(distance, frame.x[at], frame.y[at], rate, tolerance, trials, free), len(pairs)


@njit(cache=True, nogil=True)
def refined(matrix, x, y, frame, tolerance, trials, free):  # pragma: no cover - compiled
    """The transform refined on the stars that it matches, and its evidence (see `judge`)."""
    m, _ = refine(matrix, x, y, frame, tolerance)
    log, count = judge(m, x, y, frame, tolerance, trials, free)
    return m, log, count
