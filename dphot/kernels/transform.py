"""Plane transforms as 2x3 matrices: fit, apply, invert, compose and take apart.

A matrix ``M`` maps reference pixels to frame pixels: ``x' = M[0,0] x + M[0,1] y + M[0,2]`` and
``y' = M[1,0] x + M[1,1] y + M[1,2]``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import fdtrc

from dphot.errors import AlignmentError, InputError

Floats = NDArray[np.float64]

#: An affine fit replaces a similarity only with this many stars and below this chance of a needless choice.
AFFINE_STARS, AFFINE_CHANCE = 12, 1e-5


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


def _similarity(data: Floats, w: Floats) -> Floats:
    """Weighted least-squares similarity of the better parity; `data` (4, n) is x, y and x', y'."""
    x, y, u, v = data
    total = w.sum()
    z, q = x + 1j * y, u + 1j * v
    z0, q0 = (w * z).sum() / total, (w * q).sum() / total
    z, q = z - z0, q - q0
    norm = (w * np.abs(z) ** 2).sum()
    if not norm > 0:
        raise AlignmentError(f"the {len(x)} star(s) to fit lie at one position: no rotation is determined")
    direct, mirrored = (w * z.conj() * q).sum() / norm, (w * z * q).sum() / norm
    if abs(direct) >= abs(mirrored):
        shift = q0 - direct * z0
        return np.array([[direct.real, -direct.imag, shift.real], [direct.imag, direct.real, shift.imag]])
    shift = q0 - mirrored * z0.conjugate()
    return np.array([[mirrored.real, mirrored.imag, shift.real], [mirrored.imag, -mirrored.real, shift.imag]])


def _affine(data: Floats, w: Floats) -> Floats:
    x, y, u, v = data
    total = w.sum()
    x0, y0, u0, v0 = ((w * a).sum() / total for a in (x, y, u, v))
    x, y, u, v = x - x0, y - y0, u - u0, v - v0
    xx, xy, yy = (w * x * x).sum(), (w * x * y).sum(), (w * y * y).sum()
    det = xx * yy - xy * xy
    if not det > 1e-12 * (xx + yy) ** 2:
        raise AlignmentError(f"the {len(x)} stars to fit lie on one line: no affine transform is determined")
    rows = []
    for a, a0 in ((u, u0), (v, v0)):
        ax, ay = (w * x * a).sum(), (w * y * a).sum()
        p, q = (yy * ax - xy * ay) / det, (xx * ay - xy * ax) / det
        rows.append([p, q, a0 - p * x0 - q * y0])
    return np.array(rows)


def _residual2(m: Floats, data: Floats) -> Floats:
    px, py = apply(m, data[0], data[1])
    return (px - data[2]) ** 2 + (py - data[3]) ** 2


def _clipped(
    data: Floats, w: Floats, kind: str, sigma: float, iterations: int
) -> tuple[Floats, NDArray[np.bool_]]:
    needed = 2 if kind == "similarity" else 3
    used = w > 0
    matrix = np.full((2, 3), np.nan)
    for _ in range(iterations + 1):
        fit = _similarity if kind == "similarity" else _affine
        matrix = fit(data[:, used], w[used])
        r2 = _residual2(matrix, data)
        # The median of squared distances is 2 ln 2 variances of one axis; fitted parameters shrink it.
        count = int(used.sum())
        freedom = max(2 * count - 2 * needed, 1) / (2 * count)
        variance = float(np.median(r2[used])) / (2 * math.log(2)) / freedom
        keep = (w > 0) & (r2 <= max(sigma**2 * variance, 1e-12))
        if keep.sum() < needed + 1 or np.array_equal(keep, used):
            break
        used = keep
    return matrix, used


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
        Stars farther than this many standard deviations (of one axis, robust) are left out.
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
        Root mean square distance of the used stars from the fit, px (both axes together).

    Raises
    ------
    AlignmentError
        Fewer than 2 (affine: 3) pairs, or pairs that do not determine the transform.
    """
    if kind not in ("similarity", "affine", "auto"):
        raise InputError(f"kind={kind!r}: use 'similarity', 'affine' or 'auto'")
    arrays = [np.ascontiguousarray(a, np.float64) for a in (ref_x, ref_y, x, y)]
    n = len(arrays[0])
    w = np.ones(n) if weights is None else np.array(weights, np.float64)
    if any(a.shape != (n,) for a in (*arrays, w)):
        shapes = [a.shape for a in (*arrays, w)]
        raise InputError(f"ref_x, ref_y, x, y and weights differ in length: {shapes}")
    good = np.isfinite(np.sum(arrays, axis=0)) & np.isfinite(w) & (w > 0)
    w[~good] = 0.0
    data = np.where(good, np.array(arrays), 0.0)
    needed = 3 if kind == "affine" else 2
    if good.sum() < needed:
        raise AlignmentError(f"{int(good.sum())} usable star pair(s): {kind} needs at least {needed}")
    if kind != "auto":
        matrix, used = _clipped(data, w, kind, sigma, iterations)
    else:
        matrix, used = _clipped(data, w, "similarity", sigma, iterations)
        if used.sum() >= AFFINE_STARS:
            matrix, used = _affine_if_needed(data, w, matrix, used, sigma, iterations)
    return matrix, used, math.sqrt(float(np.mean(_residual2(matrix, data)[used])))


def _affine_if_needed(
    data: Floats,
    w: Floats,
    matrix: Floats,
    used: NDArray[np.bool_],
    sigma: float,
    iterations: int,
) -> tuple[Floats, NDArray[np.bool_]]:
    try:
        affine, affine_used = _clipped(data, w, "affine", sigma, iterations)
    except AlignmentError:
        return matrix, used  # stars on one line: only the similarity is determined
    both = used & affine_used
    freedom = 2 * int(both.sum()) - 6
    if both.sum() < AFFINE_STARS:
        return matrix, used
    part, w_part = data[:, both], w[both]
    # Both models on the same stars, or the comparison would be one of the clipping.
    similar = float((w_part * _residual2(_similarity(part, w_part), part)).sum())
    general = float((w_part * _residual2(_affine(part, w_part), part)).sum())
    # Below 1e-6 px the residuals are rounding, not measurements.
    if similar <= 1e-12 * w_part.sum():
        return matrix, used
    ratio = (similar - general) / 2 / max(general / freedom, 1e-300)
    return (affine, affine_used) if fdtrc(2, freedom, ratio) < AFFINE_CHANCE else (matrix, used)
