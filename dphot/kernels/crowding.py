"""How much of one star's light lies within the aperture of another: which apertures hold a star's own light alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Moffat exponent of a seeing profile, with the wings that stars have (Trujillo et al. 2001, MNRAS 328, 977).
BETA = 3.0
#: Light of others that an aperture may hold, as a share of the star's own: a change of its light is seen as much too
#: small.
SHARE = 0.01
#: Further from an aperture's rim than so many FWHM a star's wings are even, and go with the sky.
REACH = 3.0
#: Nodes of the quadrature over the radius.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)


def light_within(distance: ArrayLike, radius: ArrayLike, fwhm: float) -> NDArray[np.float64]:
    """The share of a star's light in a circle at some distance from it, for a Moffat profile of exponent `BETA`.

    Parameters
    ----------
    distance : array_like
        From the star to the circle's centre, in px.
    radius : array_like
        Of the circle, in px; both broadcast.
    fwhm : float
        FWHM of the profile, in px.

    Returns
    -------
    ndarray of float64
        From 0 to 1; NaN where the distance or the radius is.
    """
    alpha2 = fwhm**2 / (4.0 * (2.0 ** (1.0 / BETA) - 1.0))
    d, r = np.broadcast_arrays(
        np.maximum(np.asarray(distance, dtype=np.float64), 1e-6 * fwhm), np.asarray(radius, dtype=np.float64)
    )
    # Round the star, rings closer than r - d lie wholly within the circle, those up to r + d in part: over an arc of
    # half angle phi. In the angle t, rho^2 = d^2 + r^2 - 2 d r cos t, the integrand is smooth to both ends.
    t = 0.5 * np.pi * (1.0 + _NODES)
    d, r = d[..., None], r[..., None]
    rho2 = np.square(d - r) + 4.0 * d * r * np.square(np.sin(0.5 * t))
    rho = np.sqrt(rho2)
    with np.errstate(invalid="ignore", divide="ignore"):
        phi = np.arccos(np.clip((rho2 + d**2 - r**2) / (2.0 * d * rho), -1.0, 1.0))
    density = (BETA - 1.0) / (np.pi * alpha2) * (1.0 + rho2 / alpha2) ** -BETA
    # 2 phi rho d(rho), with rho d(rho) = d r sin t dt
    arcs = np.sum(_WEIGHTS * 0.5 * np.pi * density * 2.0 * phi * d * r * np.sin(t), axis=-1)
    inner = np.maximum(r - d, 0.0)[..., 0]
    return arcs + 1.0 - (1.0 + inner**2 / alpha2) ** (1.0 - BETA)


def core_aperture(radius: ArrayLike, fwhm: float) -> int:
    """Index of the aperture that comes nearest to a radius of one FWHM: smaller ones lose more than they keep out."""
    return int(np.nanargmin(np.abs(np.asarray(radius, dtype=np.float64) - fwhm)))


def crowding(
    x: ArrayLike, y: ArrayLike, light: ArrayLike, star: int, radius: ArrayLike, fwhm: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What a star and the others have of each other's light in their apertures.

    Parameters
    ----------
    x, y : array_like, shape (ns,)
        Positions of the stars, in px.
    light : array_like, shape (ns,)
        Their light, in any unit; nothing is said of one that is not positive.
    star : int
        Index of the star.
    radius : array_like, shape (na,)
        Apertures, in px.
    fwhm : float
        FWHM of the stars, in px.

    Returns
    -------
    foreign : ndarray of float64, shape (na,)
        Light of all others in the star's aperture, relative to its own there.
    spilled : ndarray of float64, shape (na, ns)
        The star's light in the aperture of each other, relative to that one's own there; 0 for the star itself.
    """
    x, y, f, r = (np.asarray(v, dtype=np.float64) for v in (x, y, light, radius))
    f = np.where(f > 0, f, 0.0)
    distance = np.hypot(x - x[star], y - y[star])
    near = np.flatnonzero((distance < np.nanmax(r) + REACH * fwhm) & (np.arange(x.size) != star) & (f > 0))
    foreign, spilled = np.zeros(r.size), np.zeros((r.size, x.size))
    if f[star] > 0:
        share = light_within(distance[near], r[:, None], fwhm) / light_within(0.0, r, fwhm)[:, None]
        share = np.where(distance[near] - r[:, None] < REACH * fwhm, share, 0.0)
        foreign = (share * f[near]).sum(axis=1) / f[star]
        spilled[:, near] = share * f[star] / f[near]
    return foreign, spilled


def uncrowded(foreign: ArrayLike, radius: ArrayLike, fwhm: float) -> NDArray[np.bool_]:
    """Apertures that hold little more of other stars' light than `core_aperture`, which no aperture keeps out.

    Parameters
    ----------
    foreign : array_like, shape (na,)
        As `crowding` gives it.
    radius, fwhm
        As for `crowding`.
    """
    share = np.asarray(foreign, dtype=np.float64)
    return ~(share > share[core_aperture(radius, fwhm)] + SHARE)
