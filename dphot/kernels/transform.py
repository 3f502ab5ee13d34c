"""Plane transforms as 2x3 matrices: fit, apply, invert, compose and take apart.

A matrix ``M`` maps reference pixels to frame pixels: ``x' = M[0,0] x + M[0,1] y + M[0,2]`` and
``y' = M[1,0] x + M[1,1] y + M[1,2]``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from dphot.errors import AlignmentError, InputError
from dphot.kernels.order import median

Floats = NDArray[np.float64]

#: What is fitted; 'auto' is one of the others.
KINDS = ("similarity", "affine", "auto")
#: An affine fit replaces a similarity only with this many stars and below this chance of a needless choice.
AFFINE_STARS, AFFINE_CHANCE = 12, 1e-5
#: Errors are compared with residuals only where there are this many.
WEIGHTED_STARS = 12


class Parts(NamedTuple):
    """A transform in an astronomer's words (see `decompose`)."""

    dx: float
    dy: float
    rotation: float
    scale: float
    flip: bool
    mirror: bool


def apply(matrix: ArrayLike, x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    """Map positions through a transform.

    Parameters
    ----------
    matrix : (2, 3) array-like
        The transform.
    x, y : array-like
        Positions, px, of any common shape.

    Returns
    -------
    x, y : ndarray of float64
        The mapped positions, px.
    """
    m = np.asarray(matrix, np.float64)
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return m[0, 0] * x + m[0, 1] * y + m[0, 2], m[1, 0] * x + m[1, 1] * y + m[1, 2]


def compose(outer: ArrayLike, inner: ArrayLike) -> Floats:
    """Matrix that applies `inner` first and `outer` to its result (both (2, 3); returns (2, 3))."""
    a, b = np.asarray(outer, np.float64), np.asarray(inner, np.float64)
    out = a[:, :2] @ b
    out[:, 2] += a[:, 2]
    return out


def invert(matrix: ArrayLike) -> Floats:
    """Inverse of a (2, 3) transform, which must not be singular (`InputError`)."""
    m = np.asarray(matrix, np.float64)
    det = m[0, 0] * m[1, 1] - m[0, 1] * m[1, 0]
    if not math.isfinite(det) or det == 0.0:
        raise InputError(f"matrix: a transform with determinant {det} has no inverse")
    linear = np.array([[m[1, 1], -m[0, 1]], [-m[1, 0], m[0, 0]]]) / det
    return np.column_stack([linear, -linear @ m[:, 2]])


def decompose(matrix: ArrayLike, shape: tuple[int, int]) -> Parts:
    """Displacement, rotation, scale and parity of a transform.

    Parameters
    ----------
    matrix : (2, 3) array-like
        Reference to frame.
    shape : (int, int)
        (ny, nx) of the reference frame.

    Returns
    -------
    Parts
        `dx`, `dy`: displacement of the reference frame's centre, px. `rotation`: degrees counter-clockwise in
        (-180, 180]; of a mirrored frame, the rotation that follows the flip of y. `scale`: root of the
        determinant's size. `flip`: the field is turned by more than 90 degrees. `mirror`: the parity differs.
    """
    m = np.asarray(matrix, np.float64)
    cx, cy = (shape[1] - 1) / 2, (shape[0] - 1) / 2
    x, y = apply(m, cx, cy)
    det = float(m[0, 0] * m[1, 1] - m[0, 1] * m[1, 0])
    mirror = det < 0
    sign = -1.0 if mirror else 1.0
    rotation = math.degrees(math.atan2(m[1, 0] - sign * m[0, 1], m[0, 0] + sign * m[1, 1]))
    rotation = 180.0 if rotation == -180.0 else rotation
    return Parts(float(x) - cx, float(y) - cy, rotation, math.sqrt(abs(det)), abs(rotation) > 90.0, mirror)


@njit(cache=True, nogil=True)
def similarity(x, y, u, v, w, n, m):  # pragma: no cover - compiled
    """Weighted least-squares similarity of the first `n` pairs, of the better parity, into `m`; its determinant.

    The determinant is 0 where the positions determine none.
    """
    total = x0 = y0 = u0 = v0 = 0.0
    for i in range(n):
        total += w[i]
        x0 += w[i] * x[i]
        y0 += w[i] * y[i]
        u0 += w[i] * u[i]
        v0 += w[i] * v[i]
    if not total > 0.0:
        return 0.0
    x0, y0, u0, v0 = x0 / total, y0 / total, u0 / total, v0 / total
    norm = c1 = s1 = c2 = s2 = 0.0
    for i in range(n):
        dx, dy, du, dv = x[i] - x0, y[i] - y0, u[i] - u0, v[i] - v0
        norm += w[i] * (dx * dx + dy * dy)
        c1 += w[i] * (dx * du + dy * dv)
        s1 += w[i] * (dx * dv - dy * du)
        c2 += w[i] * (dx * du - dy * dv)
        s2 += w[i] * (dx * dv + dy * du)
    if not norm > 0.0:
        return 0.0
    sign = 1.0
    c, s = c1 / norm, s1 / norm
    if c2 * c2 + s2 * s2 > c1 * c1 + s1 * s1:
        sign = -1.0
        c, s = c2 / norm, s2 / norm
    m[0, 0], m[0, 1], m[1, 0], m[1, 1] = c, -sign * s, s, sign * c
    m[0, 2] = u0 - m[0, 0] * x0 - m[0, 1] * y0
    m[1, 2] = v0 - m[1, 0] * x0 - m[1, 1] * y0
    return sign * (c * c + s * s)


@njit(cache=True, nogil=True)
def _affine(x, y, u, v, w, n, m):  # pragma: no cover - compiled
    """Like `similarity`: the affine transform, and whether the positions determine one (1 or 0)."""
    total = x0 = y0 = u0 = v0 = 0.0
    for i in range(n):
        total += w[i]
        x0 += w[i] * x[i]
        y0 += w[i] * y[i]
        u0 += w[i] * u[i]
        v0 += w[i] * v[i]
    x0, y0, u0, v0 = x0 / total, y0 / total, u0 / total, v0 / total
    xx = xy = yy = xu = yu = xv = yv = 0.0
    for i in range(n):
        dx, dy, du, dv = w[i] * (x[i] - x0), w[i] * (y[i] - y0), u[i] - u0, v[i] - v0
        xx += dx * (x[i] - x0)
        xy += dx * (y[i] - y0)
        yy += dy * (y[i] - y0)
        xu += dx * du
        yu += dy * du
        xv += dx * dv
        yv += dy * dv
    det = xx * yy - xy * xy
    if not det > 1e-12 * (xx + yy) ** 2:
        return 0.0
    m[0, 0], m[0, 1] = (yy * xu - xy * yu) / det, (xx * yu - xy * xu) / det
    m[1, 0], m[1, 1] = (yy * xv - xy * yv) / det, (xx * yv - xy * xv) / det
    m[0, 2] = u0 - m[0, 0] * x0 - m[0, 1] * y0
    m[1, 2] = v0 - m[1, 0] * x0 - m[1, 1] * y0
    return 1.0


@njit(cache=True, nogil=True)
def _residual2(m, data):  # pragma: no cover - compiled
    """Squared distances from the fit, px2."""
    x, y, u, v = data[0], data[1], data[2], data[3]
    out = np.empty(len(x))
    for i in range(len(x)):
        out[i] = (m[0, 0] * x[i] + m[0, 1] * y[i] + m[0, 2] - u[i]) ** 2
        out[i] += (m[1, 0] * x[i] + m[1, 1] * y[i] + m[1, 2] - v[i]) ** 2
    return out


@njit(cache=True, nogil=True)
def _clipped(data, w, affine, sigma, rounds):  # pragma: no cover - compiled
    """Fit, residuals, clip, and again: the matrix, the pairs used, and whether they determine it.

    What is clipped are residuals in units of each pair's own error, or the faint stars would go first.
    """
    x, y, u, v = data[0], data[1], data[2], data[3]
    needed = 3 if affine else 2
    used = w > 0.0
    m = np.full((2, 3), np.nan)
    fine = False
    for _ in range(rounds + 1):
        a, b, c, d, e = x[used], y[used], u[used], v[used], w[used]
        count = len(a)
        if affine:
            fine = _affine(a, b, c, d, e, count, m) != 0.0
        else:
            fine = similarity(a, b, c, d, e, count, m) != 0.0
        if not fine:
            break
        chi2 = w * _residual2(m, data)
        # The median of squared distances is 2 ln 2 variances of one axis; fitted parameters shrink it.
        freedom = max(2 * count - 2 * needed, 1) / (2 * count)
        variance = np.median(chi2[used]) / (2 * np.log(2.0)) / freedom
        # Below 1e-6 px residuals are rounding, not measurements.
        keep = (w > 0.0) & (chi2 <= np.maximum(sigma**2 * variance, 1e-12 * w))
        if keep.sum() < needed + 1 or np.array_equal(keep, used):
            break
        used = keep
    return m, used, fine


def fit_transform(
    ref_x: ArrayLike,
    ref_y: ArrayLike,
    x: ArrayLike,
    y: ArrayLike,
    kind: str = "similarity",
    *,
    sigma: float = 3.5,
    iterations: int = 10,
    weights: ArrayLike | None = None,
) -> tuple[Floats, NDArray[np.bool_], float]:
    """Sigma-clipped least-squares transform between stars that are already paired.

    Parameters
    ----------
    ref_x, ref_y : (n,) array-like
        Reference positions, px.
    x, y : (n,) array-like
        Positions of the same stars in the frame, px. Pairs with a NaN are left out.
    kind : {'similarity', 'affine', 'auto'}
        'similarity' (mirrored where the stars are) has 4 parameters, 'affine' 6. 'auto' takes the affine one
        only with at least 12 stars, and where an F-test gives its being needless less than one chance in 1e5.
    sigma : float
        Stars farther than this many of their standard deviations (of one axis; of the weights' relative size,
        of the residuals' robust scale) are left out.
    iterations : int
        Most rounds of clipping.
    weights : (n,) array-like, optional
        Weights (1/variance); 0 leaves a star out.

    Returns
    -------
    matrix : (2, 3) ndarray
        Reference to frame.
    used : (n,) ndarray of bool
        The stars that were not clipped.
    rms : float
        Root of the (weighted) mean square distance of the used stars from the fit, px (both axes together).

    Raises
    ------
    AlignmentError
        Fewer than 2 (affine: 3) pairs, or pairs that do not determine the transform.
    """
    if kind not in KINDS:
        raise InputError(f"kind={kind!r}: use 'similarity', 'affine' or 'auto'")
    arrays = [np.ascontiguousarray(a, np.float64) for a in (ref_x, ref_y, x, y)]
    n = len(arrays[0])
    w = np.ones(n) if weights is None else np.array(weights, np.float64)
    if any(a.shape != (n,) for a in (*arrays, w)):
        shapes = [a.shape for a in (*arrays, w)]
        raise InputError(f"ref_x, ref_y, x, y and weights differ in length: {shapes}")
    data, w = np.array(arrays), w.copy()
    matrix, used, rms, count, fine = _fit(data, w, KINDS.index(kind), float(sigma), iterations)
    needed = 3 if kind == "affine" else 2
    if count < needed:
        raise AlignmentError(f"{count} usable star pair(s): {kind} needs at least {needed}")
    if not fine:
        where = "on one line" if kind == "affine" else "at one position"
        raise AlignmentError(f"the {count} stars to fit lie {where}: no {kind} transform is determined")
    return matrix, used, rms


@njit(cache=True, nogil=True)
def _fit(data, w, kind, sigma, rounds):  # pragma: no cover - compiled
    """`fit_transform` of x, y, u, v and weights, which lose the pairs that cannot be used.

    Returns the matrix, the pairs used, the rms, how many pairs there are, and whether they determine the transform.
    """
    count = 0
    for i in range(len(w)):
        if (
            math.isfinite(data[0, i] + data[1, i] + data[2, i] + data[3, i])
            and math.isfinite(w[i])
            and w[i] > 0
        ):
            count += 1
        else:
            data[:, i], w[i] = 0.0, 0.0
    affine = KINDS[kind] == "affine"
    if count < (3 if affine else 2):
        return np.full((2, 3), np.nan), w > 0, math.nan, count, False
    matrix, used, fine = _clipped(data, w, affine, sigma, rounds)
    if fine and KINDS[kind] == "auto" and used.sum() >= AFFINE_STARS:
        general, general_used, determined = _clipped(data, w, True, sigma, rounds)
        if determined and _needs_affine(data, w, used & general_used):
            matrix, used = general, general_used
    chi2, total = _residual2(matrix, data), 0.0
    mean = 0.0
    for i in range(len(w)):
        if used[i]:
            mean += w[i] * chi2[i]
            total += w[i]
    return matrix, used, math.sqrt(mean / total) if total > 0 else math.nan, count, fine


@njit(cache=True, nogil=True)
def _needs_affine(data, w, both):  # pragma: no cover - compiled
    """An F-test of the two models on the same stars, or the comparison would be one of the clipping."""
    n = both.sum()
    if n < AFFINE_STARS:
        return False
    x, y, u, v, w = data[0][both], data[1][both], data[2][both], data[3][both], w[both]
    same, m = np.stack((x, y, u, v)), np.empty((2, 3))
    similarity(x, y, u, v, w, n, m)
    similar = (w * _residual2(m, same)).sum()
    _affine(x, y, u, v, w, n, m)
    general = (w * _residual2(m, same)).sum()
    if similar <= 1e-12 * w.sum():
        return False
    freedom = 2 * n - 6
    ratio = (similar - general) / 2 / max(general / freedom, 1e-300)
    # the chance of a larger ratio: the F distribution with two degrees of freedom above has a closed form
    return (1 + 2 * ratio / freedom) ** (-freedom / 2) < AFFINE_CHANCE


def position_weights(distance2: ArrayLike, error: ArrayLike) -> Floats:
    """Weights of paired stars from the errors that they should have and the distances that they do have.

    The variance is modelled as ``k error^2 + s^2``: the fainter half of the stars gives the factor k, since errors
    are estimates; the brighter half tells whether something that all stars share (a distortion that the transform
    does not follow, the air) adds to it.

    Parameters
    ----------
    distance2 : (n,) array-like
        Squared distances from an unweighted fit, px2.
    error : (n,) array-like
        Expected error of a position along one axis, px.

    Returns
    -------
    (n,) ndarray
        1/variance, px-2; 0 where the error is not a positive number.
    """
    r2, errors = (np.ascontiguousarray(v, np.float64) for v in (distance2, error))
    return _weights(r2, errors)  # type: ignore[no-any-return]


@njit(cache=True, nogil=True)
def _weights(r2, error):  # pragma: no cover - compiled
    variance = error**2
    good = np.isfinite(variance) & (variance > 0)
    if good.sum() >= WEIGHTED_STARS:
        middle = median(variance[good])
        faint, bright = good & (variance >= middle), good & (variance <= middle)
        # The median of a squared distance is 2 ln 2 variances of one axis.
        variance = variance * max(median(r2[faint] / variance[faint]) / (2 * math.log(2)), 1e-12)
        variance = variance + _shared_variance(r2[bright], variance[bright])
    weights = np.zeros(len(r2))
    for i in range(len(r2)):
        if good[i]:
            weights[i] = 1.0 / variance[i]
    return weights


@njit(cache=True, nogil=True)
def _shared_variance(r2, variance):  # pragma: no cover - compiled
    """What must be added to the variances for the median of r2 / variance to be as expected; 0 within its noise."""
    expected, noise = 2 * math.log(2), 2.0 / math.sqrt(len(r2))
    if median(r2 / variance) <= expected + 3 * noise:
        return 0.0
    low, high = 0.0, r2.max()
    for _ in range(24):
        middle = (low + high) / 2
        if median(r2 / (variance + middle)) > expected:
            low = middle
        else:
            high = middle
    return high
