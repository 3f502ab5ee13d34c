"""Order statistics of a few values, without the overhead of general functions."""

from __future__ import annotations

import math

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def median(values):  # type: ignore[no-untyped-def]
    """Median of float64 values (n,); NaN where one is NaN, or there are none."""
    n = len(values)
    if n == 0:
        return math.nan
    ranked = np.sort(values)  # NaN comes last
    return ranked[-1] if math.isnan(ranked[-1]) else 0.5 * (ranked[(n - 1) // 2] + ranked[n // 2])
