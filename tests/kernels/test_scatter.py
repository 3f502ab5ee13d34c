"""The scatter of light curves: unbiased, robust, and least in the best aperture."""

import numpy as np
import pytest

from dphot.errors import InputError
from dphot.kernels.scatter import best_aperture, median, point_scatter


@pytest.mark.parametrize("frames", [24, 100])
def test_point_scatter_is_that_of_white_noise(frames):
    """Mean square over 4000 curves, to 1.5 %: of Gaussian noise, of which the cut takes 0.5 %, and beside a slow wave."""
    rng = np.random.default_rng(1)
    curves = 1 + 1e-3 * rng.standard_normal((frames, 4000))
    assert np.mean(point_scatter(curves) ** 2) == pytest.approx(1e-6, rel=0.015)
    waved = curves + 1e-3 * np.sin(np.arange(frames) / frames * 4)[:, None]
    assert np.mean(point_scatter(7 * waved) ** 2) == pytest.approx(1e-6, rel=0.03)


def test_steps_from_night_to_night_do_not_count():
    """A star that varies by 30 % between nights of three points, which scatter by 1 ppt."""
    rng = np.random.default_rng(5)
    night = np.repeat(np.arange(400), 3)
    curves = (1 + 0.3 * rng.standard_normal(400))[night, None] * (1 + 1e-3 * rng.standard_normal((1200, 4)))
    assert point_scatter(curves).min() > 3e-3
    assert np.median(point_scatter(curves, night)) == pytest.approx(1e-3, rel=0.1)
    curves[:, 1:] *= 1 + 5e-3 * rng.standard_normal((1200, 3))
    assert best_aperture(curves, night.astype(str)) == 0
    # nights of one point have no other steps
    np.testing.assert_array_equal(point_scatter(curves, np.arange(1200)), point_scatter(curves))


def test_three_points_have_a_scatter():
    np.testing.assert_allclose(point_scatter([1.0, 1.1, 1.0, np.nan]), 0.1 / np.sqrt(2))
    assert np.isnan(point_scatter([1.0, np.nan, 1.1])).all()


def test_median_leaves_out_nan_by_row():
    rng = np.random.default_rng(2)
    values = rng.standard_normal((40, 11))
    values[rng.random(values.shape) < 0.3] = np.nan
    values[3] = np.nan
    expected = [np.median(row[np.isfinite(row)]) if np.isfinite(row).any() else np.nan for row in values]
    np.testing.assert_array_equal(median(values), expected)


def test_best_aperture_is_the_quietest():
    rng = np.random.default_rng(0)
    noise = np.array([3, 2, 1, 1.5, 0.5]) * 1e-3
    diff = 1 + 0.02 * np.sin(np.arange(200) / 30)[:, None] + noise * rng.normal(size=(200, 5))
    diff[:, 2] *= 7  # scale does not matter
    diff[30:33, 2] = 90  # nor single bad frames
    diff[:150, 4] = np.nan  # the quietest, but hardly there
    assert best_aperture(diff) == 2
    with pytest.raises(InputError, match="three"):
        best_aperture(np.full((10, 3), np.nan))
