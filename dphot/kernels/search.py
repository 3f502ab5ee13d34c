"""Proposals for the transform between two star lists, each judged by its evidence.

Three ways, from cheap to thorough: a shift, of the field as it is or turned by half a circle; a shift of a prior
transform; and triangles of neighbouring bright stars that agree in shape and size (Groth 1986, AJ 91, 1244; here
with absolute sides, since the scale is known to a few per cent).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dphot.kernels import asterism
from dphot.kernels.evidence import judge, log_tail, refined
from dphot.kernels.pairing import Floats, Indices, StarList, make_list
from dphot.kernels.transform import apply

#: A transform is accepted where fewer than 10^this like it are expected by chance.
LOG_CHANCE = -6.0
#: Stars and neighbours a star of the triangle graphs, tried in turn.
STAGES = ((50, 20), (160, 14), (400, 10))
TRIANGLES, CANDIDATES, TRIALS = 16000, 40000, 150
#: Reference stars that a proposed transform is refined and judged on.
BRIGHT = 600
#: In a field that repeats itself, as test patterns do, wrong transforms match much of it far beyond chance; one that
#: matches this share of the shorter list has no rival.
CLEAR_SHARE = 0.9
#: Brightest stars of either list whose differences propose a shift.
SHIFT_STARS = 60
#: Brightest stars that propose a shift of a prior, and its length in tolerances.
PRIOR_STARS, PRIOR_REACH = 200, 15.0


@dataclass(frozen=True)
class Limits:
    """What a transform may be, and how well positions agree."""

    tolerance: float
    scale: float
    mirror: bool
    clear_share: float = 0.0
    """Share of the shorter list that leaves no doubt: of a field that repeats itself, `CLEAR_SHARE`."""


@dataclass(frozen=True)
class Found:
    """The best transform so far."""

    log_chance: float
    matrix: Floats
    count: int


NOTHING = Found(math.inf, np.full((2, 3), np.nan), 0)


class Triangles(NamedTuple):
    """Triangles of one list's bright stars, and the lengths of all sides they may have."""

    stars: StarList
    sides: Floats
    """(k,) sorted, px."""
    vertex: Indices
    """(n, 3) into `stars`, opposite the sides."""
    side: Floats
    """(n, 3) px, longest first."""


def bounded(m: Floats, log: float, count: int, limits: Limits) -> Found:
    """The transform, or nothing where it scales or mirrors as it may not."""
    det = m[0, 0] * m[1, 1] - m[0, 1] * m[1, 0]
    # The scale of a few stars has its own error.
    if count < 3 or abs(math.sqrt(abs(det)) - 1) > limits.scale + 0.005 or (det < 0 and not limits.mirror):
        return NOTHING
    return Found(log, m, count)


def settle(m: Floats, ref: StarList, frame: StarList, limits: Limits, trials: float) -> Found:
    """The transform refined from `m` and its evidence as one similarity of `trials`, which two stars define."""
    x, y = ref.x[:BRIGHT], ref.y[:BRIGHT]
    m, log, count = refined(m, x, y, frame, limits.tolerance, float(trials), 2)
    return bounded(m, log, count, limits)


def best_of(a: Found, b: Found) -> Found:
    """The one with the stronger evidence."""
    return b if b.log_chance < a.log_chance else a


def is_clear(found: Found, ref: StarList, frame: StarList, limits: Limits) -> bool:
    """Whether a transform can be trusted, and needs no comparison with others."""
    shorter = min(len(ref.x), len(frame.x), BRIGHT)
    return found.log_chance < LOG_CHANCE and found.count >= limits.clear_share * shorter


def repeats(stars: StarList, limits: Limits) -> bool:
    """Whether a field looks like itself when it is shifted, or turned by half a circle."""
    found = (
        _shifted(1.0, 10 * limits.tolerance, stars, stars, limits),
        _shifted(-1.0, 0.0, stars, stars, limits),
    )
    return min(f.log_chance for f in found) < LOG_CHANCE / 2


def triangles_of(stars: StarList, stage: tuple[int, int], tolerance: float) -> Triangles:
    """Triangles of neighbours among the brightest stars, which are taken from all over the field."""
    n, neighbours = stage
    cell = max(math.sqrt(stars.area / n), 4 * tolerance)
    pick = asterism.spread_brightest(stars.x, stars.y, n, cell, 3)
    x, y = stars.x[pick], stars.y[pick]
    graph = asterism.neighbour_graph(x, y, min(neighbours, len(pick)), 6 * tolerance)
    i, j = np.nonzero(np.triu(graph))
    vertex, side = asterism.triangles(x, y, graph, TRIANGLES)
    return Triangles(make_list(x, y, tolerance), np.sort(np.hypot(x[i] - x[j], y[i] - y[j])), vertex, side)


def by_triangles(
    ref: StarList, frame: StarList, limits: Limits, ref_triangles: Callable[[int], Triangles] | None = None
) -> Found:
    """The best transform that triangles propose; `ref_triangles` gives those of the reference at each stage."""
    best, tolerance = NOTHING, limits.tolerance
    for number, stage in enumerate(STAGES):
        a = ref_triangles(number) if ref_triangles else triangles_of(ref, stage, tolerance)
        b = triangles_of(frame, stage, tolerance)
        if len(a.side) and len(b.side):
            best = best_of(best, _by_triangles(a, b, ref, frame, limits))
        complete = len(a.stars.x) == len(ref.x) and len(b.stars.x) == len(frame.x)
        if best.log_chance < LOG_CHANCE or complete:
            break
    return best


def _by_triangles(a: Triangles, b: Triangles, ref: StarList, frame: StarList, limits: Limits) -> Found:
    tolerance = limits.tolerance
    reach = a.sides * limits.scale + tolerance
    equal = np.searchsorted(b.sides, a.sides + reach) - np.searchsorted(b.sides, a.sides - reach)
    trials = float(equal.sum()) * (4 if limits.mirror else 2)
    n, m = len(a.stars.x), len(b.stars.x)
    pairs = asterism.shape_pairs(a.side, b.side, 0.8 * tolerance, limits.scale, CANDIDATES)
    votes = asterism.least_votes(pairs, a.vertex, b.vertex, n, m)
    rank = np.argsort(-np.minimum(votes, 2**15 - 1).astype(np.int16), kind="stable")  # a radix sort
    rate = np.array([2 * n * m * math.pi * tolerance**2 / max(ref.area, frame.area)])
    enough = 4
    while log_tail(enough - 2, rate) + math.log10(trials + 1) > LOG_CHANCE - 4:
        enough += 1
    near = 1 if min(n, m) <= 12 else 2
    options = np.array(
        [limits.scale, float(limits.mirror), TRIALS, max(enough, limits.clear_share * min(n, m))]
    )
    proposed = asterism.verify(
        a.stars.x, a.stars.y, b.stars, pairs, rank, a.vertex, b.vertex, tolerance, near, options, enough
    )
    best = NOTHING
    for matrix in _distinct(proposed, ref, tolerance):
        best = best_of(best, settle(matrix, ref, frame, limits, trials))
        if is_clear(best, ref, frame, limits):
            break
    return best


def _distinct(found: Floats, ref: StarList, tolerance: float) -> list[Floats]:
    """The four proposals with most matches that differ from each other somewhere in the field."""
    corners = np.array([(ref.x.min(), ref.y.min(), 1.0), (ref.x.max(), ref.y.max(), 1.0)]).T
    kept: list[Floats] = []
    for row in found[np.argsort(-found[:, 6], kind="stable")]:
        m = row[:6].reshape(2, 3)
        if all(np.abs((m - other) @ corners).max() > 4 * tolerance for other in kept):
            kept.append(m)
        if len(kept) == 4:
            break
    return kept


def by_shift(ref: StarList, frame: StarList, limits: Limits) -> Found:
    """The best transform near a mere shift of the field, as it is or turned by half a circle.

    It is judged as if every pair of stars had been tried on every other, which is more than triangles do: what
    is accepted here would be there.
    """
    best = NOTHING
    for sign in (1.0, -1.0):
        best = best_of(best, _shifted(sign, 0.0, ref, frame, limits))
        if is_clear(best, ref, frame, limits):
            break
    return best


def _shifted(sign: float, least: float, ref: StarList, frame: StarList, limits: Limits) -> Found:
    """The field times `sign`, brought by the commonest shift of `least` px or more."""
    n = SHIFT_STARS
    trials = float(min(len(ref.x), BRIGHT) * min(len(frame.x), BRIGHT)) ** 2
    x, y = sign * ref.x[:n], sign * ref.y[:n]
    shift = asterism.commonest_shift(x, y, frame.x[:n], frame.y[:n], 2 * limits.tolerance, least)
    return settle(np.array([(sign, 0.0, shift[0]), (0.0, sign, shift[1])]), ref, frame, limits, trials)


def by_prior(prior: Floats, ref: StarList, frame: StarList, limits: Limits) -> Found:
    """The best transform that shifts of the prior propose, judged as any other (one star defines a shift)."""
    n, tolerance = PRIOR_STARS, limits.tolerance
    px, py = apply(prior, ref.x[:n], ref.y[:n])
    dx, dy = frame.x[None, :n] - px[:, None], frame.y[None, :n] - py[:, None]
    close = dx**2 + dy**2 <= (PRIOR_REACH * tolerance) ** 2
    dx, dy = dx[close], dy[close]
    if len(dx) == 0:
        return NOTHING
    nearest = np.argsort(dx**2 + dy**2, kind="stable")[:400]
    dx, dy = dx[nearest], dy[nearest]
    distance2 = (dx[:, None] - dx) ** 2 + (dy[:, None] - dy) ** 2
    top = int(np.argmax((distance2 <= tolerance**2).sum(axis=1)))
    near = distance2[top] <= tolerance**2
    shifted = prior.copy()
    shifted[:, 2] += dx[near].mean(), dy[near].mean()
    log, count = judge(shifted, ref.x[:BRIGHT], ref.y[:BRIGHT], frame, tolerance, float(len(dx)), 1)
    best = settle(shifted, ref, frame, limits, 1.0)
    # The refined transform must still be the one the shift was judged for.
    turned = np.abs(best.matrix[:, :2] - prior[:, :2]).max()
    if best is NOTHING or best.count < count or not turned < 0.02:
        return NOTHING
    return Found(log, best.matrix, best.count)
