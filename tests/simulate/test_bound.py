"""The Cramer-Rao bound against what theory says in closed form."""

import numpy as np
import pytest

from dphot.simulate import position_bound

#: A Moffat of so high an exponent is a Gaussian.
NEARLY_GAUSSIAN = 400.0


@pytest.mark.parametrize("fwhm", [5.0, 8.0])
def test_photons_alone(fwhm):
    """Without sky a Gaussian's position is its width over the root of its electrons."""
    sigma = np.hypot(fwhm / 2.3548, 1 / np.sqrt(12))  # the pixels widen it
    x, y, snr = position_bound(1e6, (fwhm, fwhm), beta=NEARLY_GAUSSIAN, sky=0.0, read_noise=0.01)
    assert x == pytest.approx(sigma / 1e3, rel=0.02) and y == pytest.approx(x, rel=1e-3)
    assert snr == pytest.approx(1e3, rel=1e-3)


def test_sky_alone():
    """Where the sky dominates, a Gaussian has sigma_x = sqrt(8 pi) sigma^2 s / F (King 1983)."""
    fwhm, flux, sky = 5.0, 100.0, 1e4
    sigma = np.hypot(fwhm / 2.3548, 1 / np.sqrt(12))
    x, _, snr = position_bound(flux, (fwhm, fwhm), beta=NEARLY_GAUSSIAN, sky=sky, read_noise=0.0)
    assert x == pytest.approx(np.sqrt(8 * np.pi) * sigma**2 * np.sqrt(sky) / flux, rel=0.02)
    assert snr == pytest.approx(flux / np.sqrt(4 * np.pi * sigma**2 * sky), rel=0.02)


def test_an_elliptical_star_and_a_neighbour():
    along, across, _ = position_bound(1e4, (5.0, 3.5), sky=100.0, read_noise=5.0)
    assert along > 1.3 * across
    turned = position_bound(1e4, (5.0, 3.5), np.pi / 2, sky=100.0, read_noise=5.0)
    assert turned[1] == pytest.approx(along, rel=0.02)
    near = position_bound(1e4, (3.5, 3.5), sky=100.0, read_noise=5.0, neighbour=(4.0, 0.0, 1e4))
    far = position_bound(1e4, (3.5, 3.5), sky=100.0, read_noise=5.0, neighbour=(12.0, 0.0, 1e4))
    alone = position_bound(1e4, (3.5, 3.5), sky=100.0, read_noise=5.0)
    assert near[0] > 1.1 * alone[0]
    assert far[0] == pytest.approx(alone[0], rel=0.02)
