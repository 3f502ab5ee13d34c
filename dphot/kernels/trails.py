"""Detections along the trail of a satellite, or along a bad column: a line that no chance makes."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from dphot.kernels.evidence import log_tail

#: Brightest stars among which lines are looked for, and neighbours of each that give a direction.
STARS, NEIGHBOURS = 300, 6
#: A line is a trail where fewer than 10^this like it are expected by chance.
LOG_CHANCE = -6.0


@njit(cache=True, nogil=True)
def _along(x, y, line, width, reach):  # pragma: no cover - compiled
    """Number of positions near a line and near its middle; their own line, (middle x, y, angle), goes into `line`."""
    dx, dy = np.cos(line[2]), np.sin(line[2])
    n = 0
    sx = sy = xx = xy = yy = 0.0
    for k in range(len(x)):
        u, v = x[k] - line[0], y[k] - line[1]
        if abs(v * dx - u * dy) <= width and abs(u * dx + v * dy) <= reach:
            n += 1
            sx += u
            sy += v
            xx += u * u
            xy += u * v
            yy += v * v
    if n >= 2:
        line[0] += sx / n
        line[1] += sy / n
        line[2] = 0.5 * math.atan2(2 * (xy - sx * sy / n), (xx - sx * sx / n) - (yy - sy * sy / n))
    return n


@njit(cache=True, nogil=True)
def on_trails(x, y, width):  # pragma: no cover - compiled
    """Which positions lie on lines (n,), within `width` px of them.

    A line starts from two neighbours, whose direction is poor, and is fitted again to what lies on it, ever farther.
    """
    marked = np.zeros(len(x), np.bool_)
    a, b = x[:STARS], y[:STARS]
    n = len(a)
    if n < 6:
        return marked
    wide, high = max(a.max() - a.min(), width), max(b.max() - b.min(), width)
    expected = np.array([n * 2 * width * math.hypot(wide, high) / (wide * high)])
    least = 5
    while log_tail(least - 2, expected) + math.log10(n * NEIGHBOURS) > LOG_CHANCE:
        least += 1
    line = np.empty(3)
    for i in range(n):
        if marked[i]:
            continue
        distance2 = (a - a[i]) ** 2 + (b - b[i]) ** 2
        distance2[i] = np.inf
        for _ in range(min(NEIGHBOURS, n - 1)):
            j = np.argmin(distance2)
            reach = 4 * max(math.sqrt(distance2[j]), width)
            distance2[j] = np.inf
            line[0], line[1], line[2] = a[i], b[i], math.atan2(b[j] - b[i], a[j] - a[i])
            # Each time it must have met more than the two stars that made it.
            count = 4
            for _ in range(4):
                if count < 4:
                    break
                count = _along(a, b, line, width, reach)
                reach *= 5
            if count >= least:
                dx, dy = math.cos(line[2]), math.sin(line[2])
                marked |= np.abs((y - line[1]) * dx - (x - line[0]) * dy) <= width
                break
    return marked
