"""Moffat and Gaussian fits of a stamp: a deterministic Levenberg-Marquardt."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..errors import InputError
from .centroid import GAUSSIAN_FWHM

_LN2 = math.log(2.0)
_T_MIN, _T_MAX = 1.0 / 50.0, 1.0 / 1.1  # bounds of 1 / beta


@dataclass(frozen=True)
class PsfModel:
    """An elliptical Moffat, or for infinite `beta` a Gaussian: amplitude (1 + q)^-beta + background.

    Here q = (u / s1)^2 + (v / s2)^2 (for the Gaussian exp(-q / 2)) with u along the major axis. The widths
    are those seen in the pixels: the pixel's own size is part of them.
    """

    amplitude: float
    """Height above the background, in the unit of the stamp."""
    x0: float
    """Centre, column of the stamp [px]."""
    y0: float
    """Centre, row of the stamp [px]."""
    s1: float
    """Scale along the major axis [px]; s1 >= s2."""
    s2: float
    """Scale along the minor axis [px]."""
    theta: float
    """Angle from x to the major axis, counter-clockwise, in (-pi/2, pi/2] [rad]; 0 for a round one."""
    beta: float
    """Moffat exponent within 1.1 to 50; infinite for a Gaussian."""
    background: float
    """Level far from the centre, in the unit of the stamp."""
    rms: float = math.nan
    """Root-mean-square residual of the fit, in the unit of the stamp."""

    @property
    def _width(self) -> float:
        return GAUSSIAN_FWHM if math.isinf(self.beta) else 2.0 * math.sqrt(2.0 ** (1.0 / self.beta) - 1.0)

    @property
    def fwhm_x(self) -> float:
        """Full width at half maximum along the major axis [px]."""
        return self.s1 * self._width

    @property
    def fwhm_y(self) -> float:
        """Full width at half maximum along the minor axis [px]."""
        return self.s2 * self._width

    @property
    def fwhm(self) -> float:
        """Geometric mean of the two widths [px]: the round PSF of the same area."""
        return math.sqrt(self.fwhm_x * self.fwhm_y)

    @property
    def ellipticity(self) -> float:
        """1 - minor / major."""
        return 1.0 - self.s2 / self.s1


@njit(cache=True, nogil=True)
def _solve(matrix, vector, n):  # type: ignore[no-untyped-def]
    """Cholesky solution of the leading n x n system, in place of `vector`; NaN if not positive definite."""
    low = np.empty((n, n))
    for i in range(n):
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= low[i, k] * low[j, k]
            if i == j:
                low[i, i] = math.sqrt(total) if total > 0.0 else math.nan
            else:
                low[i, j] = total / low[j, j]
    for i in range(n):
        for k in range(i):
            vector[i] -= low[i, k] * vector[k]
        vector[i] /= low[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            vector[i] -= low[k, i] * vector[k]
        vector[i] /= low[i, i]


@njit(cache=True, nogil=True)
def _normal_equations(stamp, weight, p, hessian, gradient):  # type: ignore[no-untyped-def]
    """Sum of squares of the model p, and its normal equations.

    p = amplitude, x0, y0, A, B, C, background, t: the half maximum lies on A dx^2 + 2 B dx dy + C dy^2 = 1
    whatever t = 1 / beta is, so that width and wings hardly correlate; t = 0 is the Gaussian.
    """
    ny, nx = stamp.shape
    t = p[7]
    moffat = t > 0.0
    k = 2.0**t - 1.0 if moffat else _LN2
    slope = _LN2 * (k + 1.0)
    d = np.ones(8)
    chi2 = 0.0
    for a in range(8):
        gradient[a] = 0.0
        for b in range(a + 1):
            hessian[a, b] = 0.0
    for i in range(ny):
        dy = i - p[2]
        for j in range(nx):
            w = weight[i, j]
            if not w > 0.0:
                continue
            dx = j - p[1]
            q = p[3] * dx * dx + 2.0 * p[4] * dx * dy + p[5] * dy * dy
            base = 1.0 + k * q if moffat else 1.0
            exponent = math.log(base) / t if moffat else k * q
            e = math.exp(-exponent)
            residual = stamp[i, j] - p[0] * e - p[6]
            chi2 += w * residual * residual
            dq = -p[0] * e * k / (t * base) if moffat else -p[0] * e * k
            d[0] = e
            d[1] = -2.0 * dq * (p[3] * dx + p[4] * dy)
            d[2] = -2.0 * dq * (p[4] * dx + p[5] * dy)
            d[3] = dq * dx * dx
            d[4] = 2.0 * dq * dx * dy
            d[5] = dq * dy * dy
            d[7] = p[0] * e * (exponent - slope * q / base) / t if moffat else 0.0
            for a in range(8):
                wa = w * d[a]
                gradient[a] += wa * residual
                for b in range(a + 1):
                    hessian[a, b] += wa * d[b]
    return chi2


@njit(cache=True, nogil=True)
def _levenberg(stamp, weight, start, n, iterations):  # type: ignore[no-untyped-def]
    """Levenberg-Marquardt fit of the first n (7 or 8) parameters; returns p, sum of squares, converged."""
    ny, nx = stamp.shape
    p, trial = start.copy(), start.copy()
    hessian, gradient = np.zeros((8, 8)), np.zeros(8)
    new_hessian, new_gradient = np.zeros((8, 8)), np.zeros(8)
    step, bounded = np.zeros(8), False
    best, damping = math.inf, 1e-2
    for _ in range(iterations):
        # half widths from 0.3 px to twice the stamp: outside the pixels say nothing
        det = trial[3] * trial[5] - trial[4] * trial[4]
        allowed = trial[3] > 0.0 and det > 0.0625 / (nx * ny) ** 2 and trial[3] + trial[5] < 25.0
        chi2 = math.inf
        if allowed and -1.0 < trial[1] < nx and -1.0 < trial[2] < ny:
            chi2 = _normal_equations(stamp, weight, trial, new_hessian, new_gradient)
        if chi2 <= best:
            gain = best - chi2
            best = chi2
            for a in range(8):  # loops, since slices would take seconds to compile
                p[a], gradient[a] = trial[a], new_gradient[a]
                for b in range(a + 1):
                    hessian[a, b] = new_hessian[a, b]
            if gain <= 1e-9 * chi2:
                return p, best, True
            damping = max(damping * 0.1, 1e-9)
        else:
            damping *= 10.0
            if damping > 1e10:
                # no direction is better: the minimum, as far as numbers can tell
                return p, best, best < math.inf
        bounded = False
        for attempt in range(2):
            # at the bound of beta: t goes onto it, and the others take the best step given that
            m = 7 if bounded else n
            for a in range(m):
                for b in range(a):
                    new_hessian[a, b] = hessian[a, b]
                new_hessian[a, a] = hessian[a, a] * (1.0 + damping) + 1e-300
                step[a] = gradient[a] - (hessian[7, a] * step[7] if bounded else 0.0)
            _solve(new_hessian, step, m)
            if attempt == 1 or n == 7 or _T_MIN <= p[7] + step[7] <= _T_MAX:
                break
            step[7] = min(max(p[7] + step[7], _T_MIN), _T_MAX) - p[7]
            bounded = True
        for a in range(n):
            trial[a] = p[a] + step[a]
    return p, best, False


def _start(stamp: NDArray[np.float64], gaussian: bool) -> NDArray[np.float64]:
    """First parameters: level of the border, highest pixel, area above half of it."""
    border = np.concatenate([stamp[0], stamp[-1], stamp[1:-1, 0], stamp[1:-1, -1]])
    level = float(np.nanmedian(border))
    above = np.where(np.isfinite(stamp), stamp - level, -np.inf)
    row, column = divmod(int(np.argmax(above)), stamp.shape[1])
    peak = float(above[row, column])
    inverse = math.pi / max(int(np.count_nonzero(above > 0.5 * peak)), 2)  # (2 / fwhm)^2 of that area
    return np.array([peak, column, row, inverse, 0.0, inverse, level, 0.0 if gaussian else 1.0 / 3.0])


def fit(
    stamp: NDArray, weights: NDArray | None, gaussian: bool, start: NDArray[np.float64] | None = None
) -> tuple[PsfModel, NDArray[np.float64]] | None:
    pixels = np.ascontiguousarray(stamp, np.float64)
    if pixels.ndim != 2 or min(pixels.shape) < 5:
        raise InputError(f"stamp: shape {pixels.shape}, expected two dimensions of at least 5 px")
    weight = np.ones_like(pixels) if weights is None else np.array(weights, np.float64)
    if weight.shape != pixels.shape:
        raise InputError(f"weights: shape {weight.shape}, expected that of the stamp, {pixels.shape}")
    finite = np.isfinite(pixels)
    if not finite.all():
        weight[~finite] = 0.0
    n = 7 if gaussian else 8
    used = int(np.count_nonzero(weight > 0.0))
    if used <= n:
        return None
    first = _start(np.where(weight > 0.0, pixels, np.nan), gaussian) if start is None else start
    if not (np.isfinite(first).all() and first[0] > 0.0):
        return None
    p, chi2, converged = _levenberg(pixels, weight, first, n, 100)
    if not (converged and p[0] > 0.0):
        return None
    return _model(p, math.sqrt(chi2 / float(weight.sum()))), p


def _model(p: NDArray[np.float64], rms: float) -> PsfModel:
    """The fit's own parameters as a `PsfModel`."""
    amplitude, x0, y0, a, b, c, background, t = (float(v) for v in p)
    mean, spread = 0.5 * (a + c), math.hypot(0.5 * (a - c), b)
    width = 2.0 * math.sqrt(2.0**t - 1.0) if t > 0.0 else GAUSSIAN_FWHM
    s1, s2 = 2.0 / (width * math.sqrt(mean - spread)), 2.0 / (width * math.sqrt(mean + spread))
    theta = 0.0
    if spread > 1e-12 * mean:
        # the major axis is where the quadratic form is smallest
        theta = 0.5 * math.atan2(-b, 0.5 * (c - a))
        if theta <= -0.5 * math.pi:
            theta += math.pi
    return PsfModel(amplitude, x0, y0, s1, s2, theta, 1.0 / t if t > 0.0 else math.inf, background, rms)


def fit_moffat(stamp: NDArray, weights: NDArray | None = None) -> PsfModel | None:
    """Least-squares elliptical Moffat of a stamp that holds one star.

    Parameters
    ----------
    stamp : array (ny, nx)
        Pixels; NaN are left out.
    weights : array (ny, nx), optional
        Inverse variances; 1 by default.

    Returns
    -------
    PsfModel or None
        None where no star can be fitted: nothing above the border, too few pixels, or no convergence.

    Raises
    ------
    InputError
        If the shapes do not fit.

    Notes
    -----
    Levenberg-Marquardt with analytic derivatives, always from the same start: same stamp, same bits.
    beta stays within 1.1 to 50.

    References
    ----------
    Moffat 1969, A&A 3, 455.
    """
    found = fit(stamp, weights, gaussian=False)
    return None if found is None else found[0]


def fit_gaussian(stamp: NDArray, weights: NDArray | None = None) -> PsfModel | None:
    """Least-squares elliptical Gaussian of a stamp that holds one star.

    Parameters
    ----------
    stamp : array (ny, nx)
        Pixels; NaN are left out.
    weights : array (ny, nx), optional
        Inverse variances; 1 by default.

    Returns
    -------
    PsfModel or None
        With infinite `beta`; None where no star can be fitted.

    Raises
    ------
    InputError
        If the shapes do not fit.
    """
    found = fit(stamp, weights, gaussian=True)
    return None if found is None else found[0]


def render(model: PsfModel, shape: tuple[int, int]) -> NDArray[np.float64]:
    """The model at the pixel centres.

    Parameters
    ----------
    model : PsfModel
        The model.
    shape : (int, int)
        Rows and columns.

    Returns
    -------
    float64 array (ny, nx)
        In the unit of the model's amplitude, background included.
    """
    dy, dx = np.ogrid[: shape[0], : shape[1]]
    cos, sin = math.cos(model.theta), math.sin(model.theta)
    u = ((dx - model.x0) * cos + (dy - model.y0) * sin) / model.s1
    v = ((dy - model.y0) * cos - (dx - model.x0) * sin) / model.s2
    q = u * u + v * v
    profile = np.exp(-0.5 * q) if math.isinf(model.beta) else (1.0 + q) ** -model.beta
    return np.asarray(model.amplitude * profile + model.background)
