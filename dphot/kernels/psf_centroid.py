"""Maximum-likelihood positions of stars under the frame's own PSF."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from ._arrays import each
from .moffat import PsfModel
from .psf_pixels import before_pixels, nodes_for

#: Pixels out to this many FWHM from a star tell its position; out to the second it disturbs others.
REACH, WINGS = 1.5, 5.0
#: Points of the tabulated profile for each FWHM.
_FINE = 128
#: Rounds over all stars, at most; and the step, over the position's error, below which it has settled, or at the
#: end is at least no worse.
_ROUNDS, _TOLERANCE, _LIMIT_CYCLE = 50, 0.03, 0.3


@njit(cache=True, nogil=True, error_model="numpy")
def _fit(image, x, y, sky, variance, per_count, form, profile, slope, nodes, weights, first, near, max_shift):  # type: ignore[no-untyped-def]
    """Positions, heights and formal errors (4, nstar): all stars step at once, each before its neighbours' models.

    `form` holds A, B, C of r^2 = A dx^2 + 2 B dx dy + C dy^2, with r in FWHM; `profile` is P(r), `slope`
    P'(r) / r; a pixel is integrated at `nodes` along either side. Star s has the neighbours
    near[first[s] : first[s + 1]].
    """
    ny, nx = image.shape
    n, (a, b, c) = len(x), form
    det = a * c - b * b
    out = np.full((4, n), np.nan)
    px, py, height = x.copy(), y.copy(), np.zeros(n)
    new_x, new_y, new_height = x.copy(), y.copy(), np.zeros(n)
    step_x, step_y = np.zeros(n), np.zeros(n)
    alive, rests, stepped = np.ones(n, np.bool_), np.zeros(n, np.bool_), np.full(n, np.inf)
    last = len(profile) - 2
    for turn in range(_ROUNDS):
        moving = False
        for s in range(n):
            at_rest = rests[s]
            for m in range(first[s], first[s + 1]):
                at_rest = at_rest and rests[near[m]]
            if at_rest or not alive[s]:
                continue
            cx, cy, h = px[s], py[s], height[s]
            if not (-0.5 <= cx < nx - 0.5 and -0.5 <= cy < ny - 0.5 and math.isfinite(sky[s])):
                alive[s] = False
                continue
            span_x, span_y = REACH * math.sqrt(c / det), REACH * math.sqrt(a / det)
            x0, x1 = max(math.ceil(cx - span_x), 0), min(math.floor(cx + span_x), nx - 1)
            y0, y1 = max(math.ceil(cy - span_y), 0), min(math.floor(cy + span_y), ny - 1)
            hh = hx = hy = xx = xy = yy = gh = gx = gy = 0.0
            for i in range(y0, y1 + 1):
                dy = i - cy
                for j in range(x0, x1 + 1):
                    dx = j - cx
                    q = a * dx * dx + 2.0 * b * dx * dy + c * dy * dy
                    if q > REACH * REACH:
                        continue
                    p = vx = vy = 0.0
                    for v in range(len(nodes)):
                        for u in range(len(nodes)):
                            ex, ey, share = dx + nodes[u], dy + nodes[v], weights[u] * weights[v]
                            t = _FINE * math.sqrt(a * ex * ex + 2.0 * b * ex * ey + c * ey * ey)
                            k = int(t)
                            t -= k
                            p += share * (profile[k] + t * (profile[k + 1] - profile[k]))
                            d = -h * share * (slope[k] + t * (slope[k + 1] - slope[k]))
                            vx += d * (a * ex + b * ey)
                            vy += d * (b * ex + c * ey)
                    light = h * p
                    for m in range(first[s], first[s + 1]):
                        o = near[m]
                        beside = 0.0
                        for v in range(len(nodes)):
                            for u in range(len(nodes)):
                                ex, ey = j + nodes[u] - px[o], i + nodes[v] - py[o]
                                t = _FINE * math.sqrt(a * ex * ex + 2.0 * b * ex * ey + c * ey * ey)
                                k = int(t)
                                if k <= last:
                                    t -= k
                                    inside = profile[k] + t * (profile[k + 1] - profile[k])
                                    beside += weights[u] * weights[v] * inside
                        light += height[o] * beside
                    rest = image[i, j] - sky[s] - light
                    if not math.isfinite(rest):
                        continue
                    w = 1.0 / (variance[s] + per_count * max(light, 0.0))
                    hh += w * p * p
                    hx += w * p * vx
                    hy += w * p * vy
                    xx += w * vx * vx
                    xy += w * vx * vy
                    yy += w * vy * vy
                    gh += w * p * rest
                    gx += w * vx * rest
                    gy += w * vy * rest
            if turn == 0:  # the height alone
                new_height[s] = gh / hh
                moving = True
                continue
            # the height eliminated
            xx, xy, yy = xx - hx * hx / hh, xy - hx * hy / hh, yy - hy * hy / hh
            gx, gy = gx - hx * gh / hh, gy - hy * gh / hh
            minor = xx * yy - xy * xy
            if not (minor > 0.0 and h > 0.0):
                alive[s] = False
                continue
            dx, dy = (yy * gx - xy * gy) / minor, (xx * gy - xy * gx) / minor
            # a step longer than half the way to the half maximum is not to be trusted
            size = math.sqrt(dx * dx + dy * dy)
            short = min(1.0, 0.25 / (math.sqrt(a + c) * max(size, 1e-30)))
            if dx * step_x[s] + dy * step_y[s] < 0.0:  # to and fro: the minimum lies between
                short *= 0.5
            step_x[s], step_y[s] = dx, dy
            new_x[s], new_y[s] = cx + short * dx, cy + short * dy
            new_height[s] = max(h + (gh - hx * dx - hy * dy) / hh, 0.1 * h)
            out[2, s], out[3, s] = math.sqrt(yy / minor), math.sqrt(xx / minor)
            stepped[s] = size / min(out[2, s], out[3, s])
            alive[s] = (new_x[s] - x[s]) ** 2 + (new_y[s] - y[s]) ** 2 <= max_shift * max_shift
            moving = moving or stepped[s] >= _TOLERANCE
        for s in range(n):
            px[s], py[s], height[s] = new_x[s], new_y[s], new_height[s] if alive[s] else 0.0
            rests[s] = stepped[s] < _TOLERANCE or not alive[s]
        if not moving:
            break
    for s in range(n):
        if alive[s] and stepped[s] < _LIMIT_CYCLE:
            out[0, s], out[1, s] = px[s], py[s]
        else:
            out[2, s] = out[3, s] = np.nan
    return out


def _neighbours(
    x: NDArray[np.float64], y: NDArray[np.float64], radius: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each star's neighbours within the radius, one list behind the other, and where each begins."""
    order = np.argsort(y, kind="stable")
    start = np.searchsorted(y[order], y - radius)
    stop = np.searchsorted(y[order], y + radius, side="right")
    lists = [order[i:j] for i, j in zip(start, stop, strict=True)]
    near = [np.sort(k[(abs(x[k] - x[s]) < radius) & (k != s)]) for s, k in enumerate(lists)]
    first = np.concatenate([[0], np.cumsum([len(k) for k in near])]).astype(np.int64)
    return first, np.concatenate([*near, np.empty(0, np.int64)]).astype(np.int64)


def fitted(
    image: NDArray,
    x: ArrayLike,
    y: ArrayLike,
    psf: PsfModel,
    sky: ArrayLike = 0.0,
    sky_rms: ArrayLike = 1.0,
    gain: float = math.inf,
    max_shift: float | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Positions of stars by fitting the frame's PSF, all of them together.

    Parameters
    ----------
    image : array (ny, nx)
        Pixels; float32 is used as it is, another type is converted.
    x, y : array (nstar,)
        First positions, good to about half a FWHM [px]. Stars near a measured one belong into the list.
    psf : PsfModel
        The frame's PSF, as `frame_psf` gives it; its height and background play no part.
    sky, sky_rms : float or array (nstar,)
        Level under each star and rms of a sky pixel, in the unit of the image.
    gain : float
        Electrons in a unit of the image; where it is unknown (NaN), the sky's noise alone weighs.
    max_shift : float, optional
        A position further than this from its first one has lost its star [px]; one FWHM by default.

    Returns
    -------
    x, y : float64 array (nstar,)
        Positions [px]; NaN where there is none: no light, not converged, or lost.
    x_err, y_err : float64 array (nstar,)
        Their formal errors [px], the neighbours taken as known.

    Raises
    ------
    InputError
        If the shapes do not fit.

    Notes
    -----
    Height and position maximise the likelihood of the pixels within `REACH` FWHM; a pixel's variance is that of
    the sky plus the photons of the model (not of the pixel, which would pull towards low ones). The model is that of
    the PSF before the pixels, integrated over them (see `before_pixels`). Errors are thus
    at the Cramer-Rao bound from faint stars, whose sky dominates, to bright ones. All stars take a scoring step,
    then each is freed from its neighbours' models, until all rest; their order does not matter.

    References
    ----------
    King 1983, PASP 95, 163; Mendez et al. 2013, PASP 125, 580 (the bound of a position in pixels).
    """
    if np.ndim(image) != 2:
        raise InputError(f"image: {np.ndim(image)} dimensions, expected 2 (y, x)")
    x64, y64 = np.ascontiguousarray(x, np.float64), np.ascontiguousarray(y, np.float64)
    if x64.ndim != 1 or x64.shape != y64.shape:
        raise InputError(f"x, y: shapes {x64.shape} and {y64.shape}, expected two equal 1-D arrays")
    level, rms = each(sky, x64), each(sky_rms, x64)
    psf = before_pixels(psf)
    nodes, weights = nodes_for(psf)
    k = 2.0 ** (1.0 / psf.beta) - 1.0
    # r in FWHM: q of the model is 4 k r^2
    r = np.arange(WINGS * _FINE + 2.0) / _FINE
    base = 1.0 + 4.0 * k * r * r
    profile, slope = base**-psf.beta, -8.0 * k * psf.beta * base ** (-psf.beta - 1.0)
    cos, sin = math.cos(psf.theta), math.sin(psf.theta)
    major, minor = psf.fwhm_x**-2, psf.fwhm_y**-2
    form = np.array([
        major * cos * cos + minor * sin * sin, (major - minor) * sin * cos, major * sin * sin + minor * cos * cos,
    ])  # fmt: skip
    first, near = _neighbours(x64, y64, (REACH + 1.0) * psf.fwhm_x)
    per_count = 1.0 / gain if gain > 0 else 0.0
    shift = psf.fwhm if max_shift is None else float(max_shift)
    variance = np.maximum(rms, 1e-30) ** 2
    out = _fit(np.ascontiguousarray(image, np.float32), x64, y64, level, variance, per_count, form, profile,
               slope, nodes, weights, first, near, shift)  # fmt: skip
    return out[0], out[1], out[2], out[3]
