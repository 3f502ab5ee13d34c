"""What an error of the sky does to a bright star's flux, with the light of all stars known."""

import numpy as np
import pytest

from dphot.kernels.sky import annulus_sky, clipped_photons
from dphot.simulate.moffat import draw_stars

SKY, READ, FWHM = 300.0, 7.0, 3.5
#: Aperture whose area multiplies the sky's error.
AREA = np.pi * (2.0 * FWHM) ** 2


def bias_of_bright_stars(stars, beta=4.0, masked=True, size=1400, seed=2):
    """Relative flux errors that the sky alone makes, of 60 bright stars among so many fainter ones."""
    rng = np.random.default_rng(seed)
    column, row = np.meshgrid(np.linspace(100, size - 100, 10), np.linspace(100, size - 100, 6))
    x, y = (np.append(k.ravel(), rng.uniform(0, size, stars)) for k in (column, row))
    flux = np.append(np.full(60, 1e6), 2e3 * 10 ** rng.uniform(0, 2, stars))
    light = np.zeros((size, size))
    draw_stars(light, x, y, flux, (FWHM, FWHM), 0.0, beta)
    image = (rng.poisson(light + SKY) + rng.normal(0, READ, light.shape)).astype(np.float32)
    # a neighbour is left out as far as it stands out of the sky's noise
    k = 2 ** (1 / beta) - 1
    peak = flux * (beta - 1) * 4 * k / np.pi / FWHM**2
    reach = FWHM / 2 * np.sqrt(np.maximum((peak / 0.2 / np.sqrt(SKY + READ**2)) ** (1 / beta) - 1, 0.0) / k)
    near = (x, y, np.clip(reach, 1.5 * FWHM, 8 * FWHM)) if masked else ()
    level, rms, _ = annulus_sky(image, None, x[:60], y[:60], 5 * FWHM, 8 * FWHM, 3.0, *near)
    return -AREA * (level + clipped_photons(level, rms, 1.0) - SKY) / flux[:60]


def test_sky_costs_a_bright_star_less_than_two_parts_in_ten_thousand():
    assert abs(bias_of_bright_stars(0).mean()) < 2e-4


@pytest.mark.parametrize("stars", [300, 1500])
def test_neighbours_in_the_annulus_are_left_out(stars):
    """From a star every 80 px to one every 36 px, where annuli of 56 px hold two."""
    assert abs(bias_of_bright_stars(stars).mean()) < 2e-4
    # without the mask the clipped mean keeps their wings
    assert abs(bias_of_bright_stars(stars, masked=False).mean()) > abs(bias_of_bright_stars(stars).mean())


def test_own_wings_in_the_annulus():
    """A Moffat's wings reach into its own annulus: the share is the profile's, and the same for all stars."""
    beta = 2.5
    r = np.sqrt(np.linspace(25.0, 64.0, 2000)) * FWHM  # equal areas
    s2 = FWHM**2 / 4 / (2 ** (1 / beta) - 1)
    wings = np.mean((beta - 1) / np.pi / s2 * (1 + r**2 / s2) ** -beta)
    bias = bias_of_bright_stars(0, beta)
    assert bias.mean() == pytest.approx(-AREA * wings, abs=1e-4)
    assert bias.std() < 3e-4
