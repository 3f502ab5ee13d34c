"""The PSF as it is before the pixels integrate it: what narrow stars have to be compared with."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .moffat import PsfModel, fit_gaussian, fit_moffat, render

Floats = NDArray[np.float64]

#: Below these widths of the minor axis [px] a pixel is integrated at so many nodes a side.
NODES = ((2.2, 3), (4.5, 2))
#: Rounds of the search for the PSF without pixels, and the change of a width [px] that is none.
_ROUNDS, _TOLERANCE = 12, 1e-5
#: A fit's stamp reaches so many FWHM from the centre, and at least so many pixels.
_REACH, _LEAST = 2.5, 5


def nodes_for(psf: PsfModel) -> tuple[Floats, Floats]:
    """Gauss-Legendre nodes and weights over one pixel [px]; for a wide PSF the pixel's centre alone."""
    count = next((n for width, n in NODES if psf.fwhm_y < width), 1)
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return nodes / 2, weights / 2


def before_pixels(psf: PsfModel) -> PsfModel:
    """The Moffat or Gaussian that, integrated over pixels and fitted at their centres, gives a PSF as it is seen.

    A Moffat that pixels have integrated is none any more: with a FWHM of 1.6 px the best fit to its pixels is off by
    some percent of the peak, which would put the errors of bright stars' positions above what their photons allow.

    Parameters
    ----------
    psf : PsfModel
        As `frame_psf` gives it.

    Returns
    -------
    PsfModel
        Narrower; the PSF itself where it is too wide to matter, or where none is found.
    """
    nodes, weights = nodes_for(psf)
    if len(nodes) == 1:
        return psf
    side = max(_LEAST, math.ceil(_REACH * psf.fwhm))
    seen = replace(psf, amplitude=1.0, background=0.0, x0=float(side), y0=float(side))
    fit = fit_gaussian if math.isinf(psf.beta) else fit_moffat
    trial = seen
    for _ in range(_ROUNDS):
        found = fit(_integrated(trial, (2 * side + 1, 2 * side + 1), nodes, weights))
        if found is None:
            return psf
        fwhm_x = _corrected(trial.fwhm_x, seen.fwhm_x, found.fwhm_x)
        fwhm_y = _corrected(trial.fwhm_y, seen.fwhm_y, found.fwhm_y)
        beta = math.inf
        if not math.isinf(seen.beta):
            beta = 1.0 / min(max(1.0 / trial.beta + 1.0 / seen.beta - 1.0 / found.beta, 0.02), 0.9)
        step = max(abs(fwhm_x - trial.fwhm_x), abs(fwhm_y - trial.fwhm_y))
        trial = _with_widths(trial, fwhm_x, fwhm_y, beta)
        if step < _TOLERANCE:
            break
    return replace(trial, x0=psf.x0, y0=psf.y0)


def _corrected(trial: float, wanted: float, found: float) -> float:
    """A width that gives the one wanted, where a trial gave another: variances add."""
    return math.sqrt(max(trial**2 + wanted**2 - found**2, 0.04))


def _with_widths(psf: PsfModel, fwhm_x: float, fwhm_y: float, beta: float) -> PsfModel:
    shaped = replace(psf, s1=1.0, s2=1.0, beta=beta)  # of width 1 / s
    return replace(shaped, s1=fwhm_x / shaped.fwhm_x, s2=fwhm_y / shaped.fwhm_y)


def _integrated(psf: PsfModel, shape: tuple[int, int], nodes: Floats, weights: Floats) -> Floats:
    """The model as pixels see it."""
    out = np.zeros(shape)
    for dy, wy in zip(nodes, weights, strict=True):
        for dx, wx in zip(nodes, weights, strict=True):
            out += wx * wy * render(replace(psf, x0=psf.x0 - dx, y0=psf.y0 - dy), shape)
    return out
