"""Light of one star in the aperture of another, against a profile drawn pixel by pixel."""

import numpy as np
import pytest

from dphot.kernels.aperture import aperture_sums
from dphot.kernels.crowding import BETA, core_aperture, crowding, light_within, uncrowded
from dphot.simulate.moffat import draw_stars

FWHM = 16.0


@pytest.mark.parametrize("distance", [0.0, 6.0, 24.0, 50.0])
def test_the_share_is_the_sum_of_the_pixels(distance):
    image = np.zeros((401, 401))
    draw_stars(image, np.array([200.0]), np.array([200.0]), np.array([1.0]), (FWHM, FWHM), 0.0, BETA)
    radius = np.array([4.0, 16.0, 24.0, 50.0, 90.0])
    drawn = aperture_sums(image, np.array([200.0 + distance]), np.array([200.0]), radius)[:, 0]
    np.testing.assert_allclose(light_within(distance, radius, FWHM), drawn, atol=1e-3, rtol=0)


def test_a_circle_without_end_holds_all_and_far_away_nothing():
    assert light_within(3.0, 1e5, FWHM) == pytest.approx(1.0, abs=1e-6)
    assert light_within(1e4, 5.0, FWHM) < 1e-9
    assert np.isnan(light_within([np.nan, 1.0], [1.0, np.nan], FWHM)).all()


def test_a_neighbour_takes_the_apertures_that_reach_it_and_is_no_comparison_there():
    """Star 0 has a neighbour of half its light at 2 FWHM, a faint one further off, and a bright one far away."""
    x, y = np.array([100.0, 132.0, 100.0, 600.0]), np.array([100.0, 100.0, 180.0, 100.0])
    light = np.array([1e5, 5e4, 500.0, 1e6])
    radius = FWHM * np.array([0.5, 1.0, 1.5, 2.0, 3.0, 6.0])
    foreign, spilled = crowding(x, y, light, 0, radius, FWHM)
    assert core_aperture(radius, FWHM) == 1
    apart = [light_within(d, radius, FWHM) * f for d, f in ((32.0, 0.5), (80.0, 0.005))]
    np.testing.assert_allclose(foreign[4:], (sum(apart) / light_within(0.0, radius, FWHM))[4:], rtol=1e-12)
    assert uncrowded(foreign, radius, FWHM).tolist() == [True, True, False, False, False, False]
    assert (spilled[:, 0] == 0).all() and (spilled[:, 3] == 0).all()
    assert spilled[5, 1] == pytest.approx(2.0, rel=0.02) and 150 < spilled[5, 2] < 200
    alone = crowding(x[::3], y[::3], light[::3], 0, radius, FWHM)[0]
    assert (alone == 0).all() and uncrowded(alone, radius, FWHM).all()


def test_of_a_star_of_unknown_light_nothing_is_said():
    radius = np.array([8.0, 16.0, 32.0])
    for light in ([np.nan, 1e4], [-5.0, 1e4], [1e4, np.nan]):
        foreign, spilled = crowding(np.array([0.0, 20.0]), np.zeros(2), np.array(light), 0, radius, FWHM)
        assert uncrowded(foreign, radius, FWHM).all()
        assert not (spilled > 0.01).any()
