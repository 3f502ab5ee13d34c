"""Asterism matching: the transform between two star lists, or a refusal with its numbers.

Triangles of neighbouring bright stars that agree in shape and size propose transforms (Groth 1986, AJ 91,
1244; here with absolute sides, since the scale is known to a few per cent); each proposal is counted on all
bright stars. Statistics alone accept: the number of transforms, of all that could be tried between unrelated
lists, that would match as many stars by chance. A prior only proposes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree

from dphot.errors import AlignmentError, InputError
from dphot.kernels import asterism
from dphot.kernels.evidence import (
    Floats,
    Indices,
    StarList,
    chance_rate,
    evidence,
    grid_hash,
    log_tail,
    make_list,
)
from dphot.kernels.transform import Parts, apply, compose, decompose, fit_transform, invert

__all__ = ["Match", "Parts", "apply", "compose", "decompose", "fit_transform", "invert", "match"]

#: Largest change of scale, and whether a mirrored frame is possible.
Limits = tuple[float, bool]

#: A transform is accepted where fewer than 10^this like it are expected by chance.
LOG_CHANCE = -6.0
#: Stars and neighbours a star of the triangle graphs, tried in turn.
STAGES = ((50, 20), (160, 20), (300, 18))
TRIANGLES, CANDIDATES, TRIALS = 16000, 40000, 800
#: Reference stars that a proposed transform is refined and judged on.
BRIGHT = 600
#: Stars of both lists this close in pixels of the detector may be its own (hot pixels).
REST_RADIUS = 0.5
#: A field that moves nowhere by more than this (px) is called at rest, and believed to be so only where this
#: share of both lists agrees.
REST_SHIFT, REST_SHARE = 0.1, 0.5


@dataclass(frozen=True)
class Match:
    """A trustworthy transform and the stars it rests on."""

    matrix: Floats
    """(2, 3), reference pixels to frame pixels."""
    ref_index: Indices
    """(n,) indices into the reference list."""
    index: Indices
    """(n,) indices into the frame's list, one-to-one with `ref_index`."""
    rms: float
    """Root mean square distance of the matched stars, px."""
    n: int
    """Number of matched stars."""
    log_chance: float
    """log10 of the number of transforms as good as the proposed one that chance would give."""
    at_rest: bool
    """The identity to a tenth of a pixel: stars alone cannot tell it from the detector's own pattern."""


def _refine(
    matrix: Floats, ref: StarList, frame: StarList, tolerance: float
) -> tuple[Floats, Indices, Floats]:
    """Similarity fitted to the bright stars that match it until these no longer change; the stars' indices in
    the frame and their distances."""
    m = matrix.copy()
    rx, ry = ref.x[:BRIGHT], ref.y[:BRIGHT]
    previous = np.empty(0, np.int64)
    for turn in range(8):
        px, py = apply(m, rx, ry)
        found = asterism.pair_up(px, py, tolerance * (2 if turn == 0 else 1), frame.x, frame.y, *frame.grid)
        pairs = np.flatnonzero(found >= 0)
        at = found[pairs]
        if len(pairs) < 3 or (turn > 1 and np.array_equal(found, previous)):
            break
        previous = found
        asterism.fit_similarity(rx[pairs], ry[pairs], frame.x[at], frame.y[at], len(pairs), m)
    distance = np.hypot(px[pairs] - frame.x[at], py[pairs] - frame.y[at])
    return m, at, distance


@dataclass(frozen=True)
class _Found:
    """The best transform so far."""

    log_chance: float
    matrix: Floats
    count: int


_NOTHING = _Found(math.inf, np.full((2, 3), np.nan), 0)


def _better(
    best: _Found, m: Floats, ref: StarList, frame: StarList, tolerance: float, limits: Limits, trials: float
) -> _Found:
    """`best`, or the transform refined from `m` where its evidence is stronger."""
    m, at, distance = _refine(m, ref, frame, tolerance)
    det = m[0, 0] * m[1, 1] - m[0, 1] * m[1, 0]
    # The scale of a few stars has its own error.
    if len(at) < 3 or abs(math.sqrt(abs(det)) - 1) > limits[0] + 0.005 or (det < 0 and not limits[1]):
        return best
    rate = chance_rate(*apply(m, ref.x[:BRIGHT], ref.y[:BRIGHT]), frame, tolerance)
    log = evidence(distance, frame.x[at], frame.y[at], rate, tolerance, trials, 2)
    return _Found(log, m, len(at)) if log < best.log_chance else best


def _triangle_search(ref: StarList, frame: StarList, tolerance: float, limits: Limits) -> _Found:
    """The best transform that triangles of neighbouring bright stars propose."""
    best = _NOTHING
    for n, neighbours in STAGES:
        sides, graphs, stars = [], [], []
        for stars_of in (ref, frame):
            cell = max(math.sqrt(stars_of.area / n), 4 * tolerance)
            pick = asterism.spread_brightest(stars_of.x, stars_of.y, n, cell, 3)
            x, y = stars_of.x[pick], stars_of.y[pick]
            graph = asterism.neighbour_graph(x, y, min(neighbours, len(pick)), 6 * tolerance)
            i, j = np.nonzero(np.triu(graph))
            stars.append((x, y))
            sides.append(np.sort(np.hypot(x[i] - x[j], y[i] - y[j])))
            graphs.append(graph)
        if not len(sides[0]) or not len(sides[1]):
            continue
        reach = sides[0] * limits[0] + tolerance
        equal = np.searchsorted(sides[1], sides[0] + reach) - np.searchsorted(sides[1], sides[0] - reach)
        trials = float(equal.sum()) * (4 if limits[1] else 2)
        (rx, ry), (x, y) = stars
        vertex_r, side_r = asterism.triangles(rx, ry, graphs[0], TRIANGLES)
        vertex_f, side_f = asterism.triangles(x, y, graphs[1], TRIANGLES)
        by_size = np.argsort(side_f[:, 0], kind="stable")
        vertex_f, side_f = vertex_f[by_size], side_f[by_size]
        pairs = asterism.shape_pairs(side_r, side_f, 0.8 * tolerance, limits[0], CANDIDATES)
        votes = asterism.least_votes(pairs, vertex_r, vertex_f, len(rx), len(x))
        rank = np.argsort(-votes, kind="stable")
        rate = len(rx) * len(x) * math.pi * tolerance**2 / max(ref.area, frame.area)
        enough = 4
        while log_tail(enough - 2, 2 * rate) + math.log10(trials + 1) > LOG_CHANCE - 4:
            enough += 1
        near = 1 if min(len(rx), len(x)) <= 12 else 2
        options = np.array([limits[0], float(limits[1]), TRIALS])
        grid = grid_hash(x, y, max(2 * tolerance, math.sqrt(frame.area / len(x))))
        found = asterism.verify(
            rx, ry, x, y, *grid, pairs, rank, vertex_r, vertex_f, tolerance, near, options, enough
        )
        for matrix in _distinct(found, ref, tolerance):
            best = _better(best, matrix, ref, frame, tolerance, limits, trials)
            if best.log_chance < LOG_CHANCE - 6:
                break
        if best.log_chance < LOG_CHANCE or (len(rx) == len(ref.x) and len(x) == len(frame.x)):
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


def _prior_search(prior: Floats, ref: StarList, frame: StarList, tolerance: float, limits: Limits) -> _Found:
    """The best transform that shifts of the prior propose, judged as any other (one star defines a shift)."""
    n, reach = 200, 15 * tolerance
    px, py = apply(prior, ref.x[:n], ref.y[:n])
    dx, dy = frame.x[None, :n] - px[:, None], frame.y[None, :n] - py[:, None]
    close = dx**2 + dy**2 <= reach**2
    dx, dy = dx[close], dy[close]
    if len(dx) == 0:
        return _NOTHING
    nearest = np.argsort(dx**2 + dy**2, kind="stable")[:400]
    dx, dy = dx[nearest], dy[nearest]
    votes = ((dx[:, None] - dx) ** 2 + (dy[:, None] - dy) ** 2 <= tolerance**2).sum(axis=1)
    top = int(np.argmax(votes))
    near = (dx - dx[top]) ** 2 + (dy - dy[top]) ** 2 <= tolerance**2
    shifted = prior.copy()
    shifted[:, 2] += dx[near].mean(), dy[near].mean()
    px, py = apply(shifted, ref.x[:BRIGHT], ref.y[:BRIGHT])
    found = asterism.pair_up(px, py, tolerance, frame.x, frame.y, *frame.grid)
    pairs = np.flatnonzero(found >= 0)
    at = found[pairs]
    distance = np.hypot(px[pairs] - frame.x[at], py[pairs] - frame.y[at])
    rate = chance_rate(px, py, frame, tolerance)
    log = evidence(distance, frame.x[at], frame.y[at], rate, tolerance, len(dx), 1)
    best = _better(_NOTHING, shifted, ref, frame, tolerance, limits, 1.0)
    # The refined transform must still be the one the shift was judged for.
    turned = np.abs(best.matrix[:, :2] - prior[:, :2]).max()
    if best is _NOTHING or best.count < len(pairs) or not turned < 0.02:
        return _NOTHING
    return _Found(log, best.matrix, best.count)


def _at_rest(ref: StarList, frame: StarList, tolerance: float, limits: Limits) -> _Found:
    """The transform of stars that lie where the reference's lie: one hypothesis, defined by no star."""
    found = asterism.pair_up(ref.x, ref.y, REST_RADIUS, frame.x, frame.y, *frame.grid)
    count = int((found >= 0).sum())
    log = log_tail(count, chance_rate(ref.x, ref.y, frame, tolerance) * REST_RADIUS**2)
    identity = np.eye(2, 3)
    best = _better(_NOTHING, identity, ref, frame, tolerance, limits, 1.0) if count >= 3 else _NOTHING
    return _Found(log, best.matrix, best.count) if best is not _NOTHING else _NOTHING


def _clean(
    x: ArrayLike, y: ArrayLike, exclude: tuple[ArrayLike, ArrayLike] | None, name: str
) -> tuple[Floats, Floats, Indices]:
    """Positions and list indices of the stars that can be used."""
    x, y = np.array(x, np.float64), np.array(y, np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise InputError(f"{name}: x has shape {x.shape}, y {y.shape}: both must be the same (n,)")
    good = np.isfinite(x) & np.isfinite(y)
    index = np.flatnonzero(good)
    if exclude is not None:
        bad = cKDTree(np.column_stack([np.ravel(a).astype(np.float64) for a in exclude]))
        distance, _ = bad.query(np.column_stack([x[index], y[index]]), distance_upper_bound=1.0)
        index = index[~np.isfinite(distance)]
    return x[index], y[index], index


def match(
    ref_x: ArrayLike,
    ref_y: ArrayLike,
    x: ArrayLike,
    y: ArrayLike,
    *,
    tolerance: float = 2.0,
    max_scale: float = 0.02,
    allow_mirror: bool = True,
    prior: ArrayLike | None = None,
    exclude: tuple[ArrayLike, ArrayLike] | None = None,
    kind: str = "auto",
) -> Match:
    """The transform from a reference star list to a frame's, found from the pattern of the stars alone.

    Bears shifts of most of the field, any rotation, mirrored frames, missing and false stars, and brightness
    orders that agree only roughly. Stars at the same detector position in both lists (hot pixels, or a field
    that did not move) are first left out; their transform is believed only where the others give none.

    Parameters
    ----------
    ref_x, ref_y : (n,) array-like
        Reference positions, px, brightest first.
    x, y : (m,) array-like
        Positions in the frame, px, brightest first.
    tolerance : float
        Largest distance of a matched star, px: 3 to 4 times the error of a position in both lists together.
    max_scale : float
        Largest change of scale, as a fraction.
    allow_mirror : bool
        Whether a mirrored frame is possible.
    prior : (2, 3) array-like, optional
        A transform likely to be near, such as the neighbouring frame's: a proposal, judged as any other.
    exclude : (x, y) of array-likes, optional
        Detector positions known not to be stars: what lies within 1 px of them is left out of both lists.
    kind : {'auto', 'similarity', 'affine'}
        The transform of the last fit (see `fit_transform`).

    Returns
    -------
    Match

    Raises
    ------
    AlignmentError
        No transform that chance would not give as well; the message has the numbers.
    """
    rx, ry, r_index = _clean(ref_x, ref_y, exclude, "reference")
    fx, fy, f_index = _clean(x, y, exclude, "frame")
    if not tolerance > 0:
        raise InputError(f"tolerance={tolerance}: must be a positive number of pixels")
    if min(len(rx), len(fx)) < 3:
        raise AlignmentError(f"{len(rx)} reference and {len(fx)} frame stars: at least 3 of each are needed")
    limits = (max_scale, allow_mirror)
    ref, frame = make_list(rx, ry, tolerance), make_list(fx, fy, tolerance)
    rest = asterism.pair_up(rx, ry, REST_RADIUS, fx, fy, *frame.grid)
    resting = np.flatnonzero(rest >= 0)
    rest_is_likely = log_tail(len(resting), chance_rate(rx, ry, frame, tolerance) * REST_RADIUS**2) < -3
    moved_ref, moved_frame = ref, frame
    if rest_is_likely:
        stay = np.ones(len(fx), np.bool_)
        stay[rest[resting]] = False
        left = rest < 0
        if min(left.sum(), stay.sum()) >= 3:
            moved_ref = make_list(rx[left], ry[left], tolerance)
            moved_frame = make_list(fx[stay], fy[stay], tolerance)
    seed = None if prior is None else np.array(prior, np.float64)
    best = _NOTHING
    if moved_ref is not ref or not rest_is_likely:
        if seed is not None:
            best = _prior_search(seed, moved_ref, moved_frame, tolerance, limits)
        if best.log_chance >= LOG_CHANCE:
            other = _triangle_search(moved_ref, moved_frame, tolerance, limits)
            best = other if other.log_chance < best.log_chance else best
    from_rest = best.log_chance >= LOG_CHANCE and rest_is_likely
    if from_rest:
        best = _at_rest(ref, frame, tolerance, limits)
    if not best.log_chance < LOG_CHANCE:
        raise AlignmentError(
            f"no trustworthy transform between {len(rx)} reference and {len(fx)} frame stars: the best "
            f"matches {best.count} stars within {tolerance:g} px, and 10^{best.log_chance:.1f} as good are "
            f"expected by chance (10^{LOG_CHANCE:.0f} allowed)"
        )
    barred = None
    if rest_is_likely and not from_rest:
        if _is_pattern(best.matrix, ref, frame, rest, tolerance):
            barred = rest
        else:
            # The field hardly moved: what was left out are its stars, what was matched may be their outliers.
            whole = _at_rest(ref, frame, tolerance, limits)
            best = whole if whole.log_chance < LOG_CHANCE and whole.count > best.count else best
    result = _finish(best, ref, frame, (r_index, f_index), barred, tolerance, kind)
    if from_rest and result.at_rest and exclude is None:
        away = seed is not None and _motion(seed, rx, ry) > 5 * tolerance
        if away or result.n < REST_SHARE * max(len(rx), len(fx)):
            raise AlignmentError(
                f"of {len(rx)} reference and {len(fx)} frame stars only {result.n} agree, by lying exactly "
                f"where the reference's do{', while the prior has moved' if away else ''}: hot pixels "
                "would do the same (give their positions as exclude=)"
            )
    return result


def _motion(m: Floats, x: Floats, y: Floats) -> float:
    """The largest displacement of the positions by a transform, px."""
    return float(np.hypot(*np.subtract(apply(m, x, y), (x, y))).max())


def _is_pattern(m: Floats, ref: StarList, frame: StarList, rest: Indices, tolerance: float) -> bool:
    """Whether the pairs at rest are the detector's own, where the field moves by `m`.

    They are if it moves by far more, or if they themselves do not move at all: stars follow a small drift.
    """
    pairs = np.flatnonzero(rest >= 0)
    x, y, u, v = ref.x[pairs], ref.y[pairs], frame.x[rest[pairs]], frame.y[rest[pairs]]
    if _motion(m, x, y) > 2 * tolerance:
        return True
    if len(pairs) < 20:
        return math.hypot(float(np.mean(u - x)), float(np.mean(v - y))) < REST_SHIFT
    own, _, _ = fit_transform(x, y, u, v)
    return _motion(own, x, y) < REST_SHIFT


def _finish(
    best: _Found,
    ref: StarList,
    frame: StarList,
    indices: tuple[Indices, Indices],
    barred: Indices | None,
    tolerance: float,
    kind: str,
) -> Match:
    """The last fit, on all stars but the `barred` pairs (a frame index or -1 for each reference star)."""
    m, radius = best.matrix, tolerance
    for most in (BRIGHT, len(ref.x)):
        px, py = apply(m, ref.x[:most], ref.y[:most])
        found = asterism.pair_up(px, py, radius, frame.x, frame.y, *frame.grid)
        if barred is not None:
            found[found == barred[:most]] = -1
        pairs = np.flatnonzero(found >= 0)
        at = found[pairs]
        m, used, rms = fit_transform(ref.x[pairs], ref.y[pairs], frame.x[at], frame.y[at], kind)
        radius = min(tolerance, max(5 * rms, tolerance / 16))
    pairs, at = pairs[used], at[used]
    at_rest = _motion(m, ref.x, ref.y) < REST_SHIFT
    return Match(m, indices[0][pairs], indices[1][at], rms, len(pairs), best.log_chance, at_rest)
