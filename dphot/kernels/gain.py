"""The gain of a camera from the scatter of its stars, where nothing else tells it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Stars so many standard deviations from the fit do not count (Tukey's biweight, 95 % efficient).
TUKEY = 4.685
#: A gain with a larger relative standard deviation than this is none.
UNCERTAIN = 0.3


def gain_from_scatter(
    scatter: ArrayLike, photons: ArrayLike, rest: ArrayLike, points: ArrayLike
) -> tuple[float, float]:
    """Gain from how the scatter of stars goes with their brightness.

    The relative variance of a star is P / g + R + c: its photons, what else the noise model knows, and what makes all
    stars scatter in proportion to their light (scintillation that is not known, guiding on an uneven flat). Both 1 / g
    and c are fitted, since c would otherwise pass for photons of a lower gain. Of each star the cube root of measured
    over expected variance is compared, which is nearly normal (Wilson and Hilferty 1931, PNAS 17, 684), and what lies
    far out (variables, blends) does not count.

    Parameters
    ----------
    scatter : array_like, shape (ns,)
        Relative point-to-point scatter of the light curves (`kernels.scatter.point_scatter`).
    photons : array_like, shape (ns,)
        Relative variance P by the star's photons were the gain 1 e-/ADU: one over its flux in ADU.
    rest : array_like, shape (ns,)
        Relative variance R by all else that is known: sky, read noise, scintillation, the stars compared with.
    points : array_like of int, shape (ns,)
        Points of each light curve.

    Returns
    -------
    gain, error : float
        e-/ADU, and its standard deviation; both NaN where the stars do not tell it to `UNCERTAIN`.
    """
    s, p, r, n = (np.asarray(v, dtype=np.float64) for v in (scatter, photons, rest, points))
    use = (s > 0) & (p > 0) & (r >= 0) & (n >= 4) & np.isfinite(s + p + r)
    measured, p, r, n = np.square(s[use]), p[use], r[use], n[use]
    unknown = float("nan"), float("nan")
    if p.size < 3:
        return unknown
    freedom = 2.0 * np.square(n - 1) / (3 * n - 4)  # of the variance of successive differences
    terms = np.stack([p, np.ones(p.size)], axis=1)
    k, c = float(np.median(measured / p)), 0.0
    for trial in range(200):
        expected = np.maximum(k * p + c + r, 0.1 * (k * p + r))
        away = _normal(measured / expected, freedom)
        # from wide to narrow: far stars are let go only once the fit is near
        limit = TUKEY * max(1.0, float(np.median(np.abs(away))) / 0.6745, 16.0 / 2**trial)
        inside = np.maximum(1.0 - np.square(away / limit), 0.0)
        weight = np.square(inside)
        rows = terms / expected[:, None] * np.sqrt(freedom / 2)[:, None]
        scale = np.sqrt(np.square(rows).sum(axis=0))
        rows /= scale
        normal = (rows * weight[:, None]).T @ rows
        if not np.linalg.det(normal) > 1e-6:
            return unknown
        step = np.linalg.solve(normal, rows.T @ (weight * away)) / scale
        step[0] = np.clip(step[0], -0.5 * k, k)
        k, c = k + float(step[0]), c + float(step[1])
        if trial > 4 and abs(step[0]) < 1e-6 * k:
            break
    else:
        return unknown
    slope = np.mean(inside * (1.0 - 5.0 * np.square(away / limit)))
    # 1 but for chance where the stars have the noise that is fitted, and more where they have not
    spread = max(1.0, float(np.sqrt(np.mean(np.square(weight * away))) / max(slope, 0.1)))
    error = float(spread * np.sqrt(np.linalg.inv(rows.T @ rows)[0, 0]) / scale[0] / k)
    return (1 / k, error / k) if error < UNCERTAIN else unknown


def _normal(ratio: NDArray[np.float64], freedom: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ratios of measured to expected variance as normal deviates."""
    h = 2.0 / (9.0 * freedom)
    return (np.cbrt(ratio) - (1.0 - h)) / np.sqrt(h)
