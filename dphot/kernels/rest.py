"""Stars at rest: they lie at the same pixels in both lists, as a field that did not move, or as hot pixels do."""

from __future__ import annotations

import math

import numpy as np

from dphot.kernels.evidence import chance_rate, log_tail
from dphot.kernels.pairing import Floats, Indices, StarList, pair_up
from dphot.kernels.search import NOTHING, Found, Limits, settle
from dphot.kernels.transform import apply, fit_transform

#: Stars of both lists this close in pixels of the detector may be its own (hot pixels).
REST_RADIUS = 0.5
#: A field that moves nowhere by more than this (px) is called at rest, and believed to be so only where this
#: share of both lists agrees, or where a prior says so too.
REST_SHIFT, REST_SHARE = 0.1, 0.5

IDENTITY = np.eye(2, 3)


def paired(index: Indices, ref: StarList, frame: StarList) -> tuple[Floats, Floats, Floats, Floats]:
    """Positions of paired stars in the reference and in the frame."""
    pairs = np.flatnonzero(index >= 0)
    at = index[pairs]
    return ref.x[pairs], ref.y[pairs], frame.x[at], frame.y[at]


def motion(m: Floats, x: Floats, y: Floats) -> float:
    """The largest displacement of the positions by a transform, px."""
    px, py = apply(m, x, y)
    return math.sqrt(float(((px - x) ** 2 + (py - y) ** 2).max()))


def is_telling(rest: Indices, ref: StarList, frame: StarList, tolerance: float) -> bool:
    """Whether more stars are at rest than chance would have it."""
    count = int((rest >= 0).sum())
    return count > 0 and _chance(count, ref, frame, tolerance) < -3


def _chance(count: int, ref: StarList, frame: StarList, tolerance: float) -> float:
    return float(log_tail(count, chance_rate(ref.x, ref.y, frame, tolerance) * REST_RADIUS**2))


def drifts(rest: Indices, ref: StarList, frame: StarList) -> bool:
    """Whether the pairs at rest have a small motion in common: then they are stars, for pixels have none."""
    x, y, u, v = paired(rest, ref, frame)
    dx, dy = u - x, v - y
    step = math.hypot(dx.mean(), dy.mean())
    scatter = math.sqrt(float((dx.var() + dy.var()) / len(x)))
    return len(x) >= 6 and step > max(REST_SHIFT, 5 * scatter)


def at_rest(ref: StarList, frame: StarList, limits: Limits) -> Found:
    """The transform of stars that lie where the reference's lie: one hypothesis, defined by no star."""
    count = int((pair_up(IDENTITY, ref.x, ref.y, REST_RADIUS, frame) >= 0).sum())
    best = settle(IDENTITY, ref, frame, limits, 1.0) if count >= 3 else NOTHING
    log = _chance(count, ref, frame, limits.tolerance)
    return Found(log, best.matrix, best.count) if best is not NOTHING else NOTHING


def is_pattern(m: Floats, ref: StarList, frame: StarList, rest: Indices, tolerance: float) -> bool:
    """Whether the pairs at rest are the detector's own, where the field moves by `m`.

    They are if it moves by far more, or if they themselves do not move at all: stars follow a small drift.
    """
    x, y, u, v = paired(rest, ref, frame)
    if motion(m, x, y) > 2 * tolerance:
        return True
    if len(x) < 20:
        return math.hypot(float(np.mean(u - x)), float(np.mean(v - y))) < REST_SHIFT
    own, _, _ = fit_transform(x, y, u, v)
    return motion(own, x, y) < REST_SHIFT
