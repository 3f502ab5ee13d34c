"""Sky and noise on the coarse grid of the quick finder."""

import numpy as np
import pytest

from dphot.kernels.skygrid import sky_grid, steady


def image(seed=1, shape=(300, 420), noise=4.0):
    """A sloping sky with white noise."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    rng = np.random.default_rng(seed)
    return (200 + 0.1 * rows - 0.05 * columns + rng.normal(0, noise, shape)).astype(np.float32)


def test_each_cell_has_its_sky_and_the_noise_of_smoothed_pixels():
    cells = (5, 7)
    sky, rms = sky_grid(image(), *cells)
    middle_row, middle_column = (
        (np.arange(n) + 0.5) * size / n for n, size in zip(cells, (300, 420), strict=True)
    )
    truth = 200 + 0.1 * middle_row[:, None] - 0.05 * middle_column
    smoothed = 0.375 * 4.0  # the rms of white noise after [1 2 1] x [1 2 1] / 16
    # a median of some 150 samples is good to a tenth of their own scatter: noise and the slope within a cell
    assert abs(sky - truth).max() < 4 * 1.25 * np.hypot(smoothed, 0.1 * 60 / 12**0.5) / 12
    assert np.median(rms) == pytest.approx(smoothed, rel=0.05)


def test_stars_and_holes_do_not_count():
    pixels = image()
    clean, clean_rms = sky_grid(pixels, 5, 7)
    spoilt = pixels.copy()
    spoilt[20:28, 20:28] += 5000.0
    spoilt[200:206, 300:330] = np.nan
    sky, rms = sky_grid(spoilt, 5, 7)
    assert abs(sky - clean).max() < 1.0 and abs(rms - clean_rms).max() < 0.4


def test_a_cell_without_pixels_is_not_a_number_and_takes_what_is_around():
    pixels = image()
    pixels[:60, :60] = np.nan
    sky, rms = sky_grid(pixels, 5, 7)
    assert np.isnan([sky[0, 0], rms[0, 0]]).all() and np.isfinite(sky.ravel()[1:]).all()
    filled = steady(sky, np.full(sky.shape, 3.0))
    assert np.isfinite(filled).all() and abs(filled[0, 0] - 200) < 10


def test_slopes_pass_and_a_cell_that_stands_out_does_not():
    rows, columns = np.mgrid[:6, :5]
    slope = 100.0 + 3.0 * rows - 2.0 * columns
    np.testing.assert_array_equal(steady(slope, np.ones(slope.shape)), slope)
    odd = slope.copy()
    odd[3, 2] += 50.0
    assert abs(steady(odd, np.ones(slope.shape)) - slope).max() <= 3.0
