"""The least error that a star's position can have: the Cramer-Rao bound of the simulated pixels."""

from __future__ import annotations

import math

import numpy as np

from .moffat import draw_stars

#: Pixel phases over which the bound is a mean, and the step of its derivatives [px].
_PHASES, _STEP = ((0.0, 0.0), (0.25, 0.1), (0.5, 0.3), (0.4, 0.5)), 1e-3


def position_bound(
    flux: float,
    fwhm: tuple[float, float],
    theta: float = 0.0,
    beta: float = 3.0,
    *,
    sky: float,
    read_noise: float,
    neighbour: tuple[float, float, float] | None = None,
) -> tuple[float, float, float]:
    """Cramer-Rao bound of a star's position, as `dphot.simulate` draws it: a Moffat that the pixels integrate.

    Parameters
    ----------
    flux : float
        Electrons of the star.
    fwhm : (float, float)
        Along the first and the second axis [px].
    theta : float
        From x to the first axis, counter-clockwise [rad].
    beta : float
        Moffat exponent.
    sky : float
        Electrons of sky and dark current in a pixel; its level is taken as known.
    read_noise : float
        Electrons.
    neighbour : (float, float, float), optional
        Another star: its offset dx, dy [px] and its flux [e-], all unknown to the observer.

    Returns
    -------
    x_err, y_err : float
        The least standard deviation of an unbiased position [px], height and neighbour unknown too; mean
        variance over four pixel phases.
    snr : float
        The flux over its own bound.

    References
    ----------
    Mendez et al. 2013, PASP 125, 580.
    """
    half = math.ceil(4 * max(fwhm)) + 3
    stars = [(0.0, 0.0, flux)] + ([neighbour] if neighbour is not None else [])
    variances = []
    for phase in _PHASES:

        def star(
            dx: float,
            dy: float,
            light: float,
            centre: tuple[float, float] = (half + phase[0], half + phase[1]),
        ) -> np.ndarray:
            image = np.zeros((2 * half + 1, 2 * half + 1))
            x, y, electrons = (np.array([v]) for v in (centre[0] + dx, centre[1] + dy, light))
            draw_stars(image, x, y, electrons, fwhm, theta, beta)
            return image

        slopes = []
        for x, y, light in stars:
            slopes += [
                star(x, y, light) / light,
                (star(x + _STEP, y, light) - star(x - _STEP, y, light)) / (2 * _STEP),
                (star(x, y + _STEP, light) - star(x, y - _STEP, light)) / (2 * _STEP),
            ]
        variance = sum(star(*one) for one in stars) + sky + read_noise**2
        information = np.array([[(a * b / variance).sum() for a in slopes] for b in slopes])
        variances.append(np.diag(np.linalg.inv(information))[:3])
    height, x_variance, y_variance = np.mean(variances, axis=0)
    return math.sqrt(x_variance), math.sqrt(y_variance), flux / math.sqrt(height)
