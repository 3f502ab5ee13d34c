"""Simulated pairs of star lists with a known transform, and what theory says of them."""

from __future__ import annotations

import numpy as np
from scipy.stats import poisson

from dphot.kernels import align

#: The matcher's default tolerance, px.
TOLERANCE = 2.0


def similarity(shape, rotation=0.0, scale=1.0, mirror=False, shift=(0.0, 0.0)):
    """Matrix that turns, scales and mirrors about the centre of a frame, then shifts."""
    c = np.array([(shape[1] - 1) / 2, (shape[0] - 1) / 2])
    t = np.radians(rotation)
    linear = scale * np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]])
    if mirror:
        linear = linear @ np.diag([1.0, -1.0])
    return np.column_stack([linear, c + shift - linear @ c])


def error(matrix, truth, sky):
    """Largest error of a transform at the given reference positions, px."""
    if len(sky) == 0:
        return np.inf
    return np.hypot(*np.subtract(align.apply(matrix, *sky.T), align.apply(truth, *sky.T))).max()


def simulate(rng, n=None, shift=0.6, hot=0, cloud=1.0, pieces=0):
    """Two lists of one sky, their true transform, and the stars in common.

    Any rotation and parity, shifts of up to 60 % of the field, 2 % of scale, up to 40 % missing and 40 % false stars;
    now and then a cluster or a trail. `hot` more stand at the same pixels of both; `cloud` is the share of the frame's
    stars that shine through; `pieces` of a trail lie on a line across each.
    """
    width, height = rng.uniform(400, 4000, 2)
    height = max(height, 0.6 * width)
    n = int(np.exp(rng.uniform(np.log(5), np.log(5000)))) if n is None else n
    size = np.array([width, height])
    noise = rng.uniform(0.05, 0.5)
    truth = similarity(
        (height, width),
        rng.uniform(-180, 180),
        1 + rng.uniform(-0.019, 0.019),
        rng.random() < 0.5,
        rng.uniform(-shift, shift, 2) * [width, height],
    )
    reach = 1.15 * np.hypot(width, height)  # the frame's farthest corner
    count = int(n * (2 * reach) ** 2 / (width * height))
    sky = size / 2 + rng.uniform(-reach, reach, (count, 2))
    if rng.random() < 0.3:
        cluster = len(sky) // 50
        sky[:cluster] = rng.normal([width / 2, height / 2], width / 8, (cluster, 2))
    brightness = rng.exponential(1, len(sky))
    moved = np.column_stack(align.apply(truth, *sky.T))

    def inside(p):
        return ((p >= 0) & (p < [width, height])).all(axis=1)

    seen = np.flatnonzero(inside(sky))
    found = np.flatnonzero(inside(moved) & (rng.random(len(sky)) >= rng.uniform(0, 0.4)))
    ref, frame = (p[i] + rng.normal(0, noise, (len(i), 2)) for p, i in ((sky, seen), (moved, found)))
    ref_light = brightness[seen]
    light = brightness[found] + rng.normal(0, rng.uniform(0, 0.5), len(found))
    through = np.sort(np.argsort(-light)[: int(np.ceil(cloud * len(found)))])
    found, frame, light = found[through], frame[through], light[through]
    extra = [rng.uniform(0, 1, (int(rng.uniform(0, 2 / 3) * len(found)), 2)) * [width, height]]
    if rng.random() < 0.2:
        along = np.linspace(0, width, min(max(len(found) // 10, 3), 40))
        turn = rng.uniform(0, 2 * np.pi)
        trail = rng.uniform(0, 1, 2) * size + np.outer(along, [np.cos(turn), np.sin(turn)])
        extra.append(trail[inside(trail)] + rng.normal(0, 0.3, (inside(trail).sum(), 2)))
    if pieces:
        lines = [rng.uniform(0, 1, 2) * size * [1, 0.2] + np.outer(np.linspace(0, height, pieces), step) + rng.normal(0, 0.3, (pieces, 2))
                 for step in ((0.05, 0.8), (0.3, 0.75))]  # fmt: skip
        ref = np.vstack([ref, lines[0]])
        ref_light = np.append(ref_light, rng.exponential(1, pieces))
        extra.append(lines[1])
    bad = rng.uniform(0, 1, (hot, 2)) * [width, height]
    extra.append(bad + rng.normal(0, 0.05, bad.shape))
    ref = np.vstack([ref, bad + rng.normal(0, 0.05, bad.shape)])
    ref_light = np.append(ref_light, rng.exponential(1, hot))
    frame = np.vstack([frame, *extra])
    light = np.append(light, rng.exponential(1, len(frame) - len(light)))
    common = sky[np.intersect1d(seen, found)]
    return ref[np.argsort(-ref_light)], frame[np.argsort(-light)], truth, common


def log_chance(ref, frame, truth, common, prior_reach=None):
    """log10 of the number of transforms that would match as many stars as are in common, if all were chance.

    Every pair of reference stars may be laid on every ordered pair of the frame's, in either parity; these two match
    then by construction. Each other reference star that lands in the frame finds one of its stars by chance at the
    rate pi tolerance^2 times their density. Near a prior, every star may be laid on every star within `prior_reach`,
    and one matches by construction.
    """
    both = np.vstack([ref, frame])
    low, size = both.min(axis=0), np.maximum(np.ptp(both, axis=0), 20 * TOLERANCE)
    landed = np.column_stack(align.apply(truth, *ref.T))
    inside = int(((landed >= low) & (landed <= low + size)).all(axis=1).sum())
    n, m = len(ref), len(frame)
    rate = inside * np.pi * TOLERANCE**2 * m / size.prod()
    if prior_reach is None:
        hypotheses, free = n * (n - 1) * m * (m - 1), 2
    else:
        hypotheses, free = n * m * min(np.pi * prior_reach**2 / size.prod(), 1.0) + common, 1
    return np.log10(max(hypotheses, 1)) + poisson.logsf(common - free - 1, rate) / np.log(10)
