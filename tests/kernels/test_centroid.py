"""Windowed centroids against truth, the Cramer-Rao bound and sep."""

import numpy as np
import pytest
import sep

from dphot.errors import InputError
from dphot.kernels.centroid import GAUSSIAN_FWHM, gaussian_width, windowed


def moffat(dx, dy, fwhm, beta=3.0):
    s2 = fwhm**2 / 4 / (2 ** (1 / beta) - 1)
    return (1 + (dx**2 + dy**2) / s2) ** -beta


def stars(fwhm, n=100, pitch=41, oversample=1, seed=1, flux=1000.0):
    """A grid of stars of peak `flux`, at random pixel phases; sub-pixels averaged if asked."""
    rng = np.random.default_rng(seed)
    m = int(np.ceil(np.sqrt(n)))
    grid = np.arange(m * m)[:n]
    x = grid % m * pitch + pitch // 2 + rng.uniform(-0.5, 0.5, n)
    y = grid // m * pitch + pitch // 2 + rng.uniform(-0.5, 0.5, n)
    image = np.zeros((m * pitch, m * pitch))
    offsets = (np.arange(oversample) + 0.5) / oversample - 0.5
    for k in range(n):
        i, j = grid[k] // m * pitch, grid[k] % m * pitch
        yy, xx = np.mgrid[i : i + pitch, j : j + pitch].astype(float)
        cell = [moffat(xx + a - x[k], yy + b - y[k], fwhm) for a in offsets for b in offsets]
        image[i : i + pitch, j : j + pitch] = flux * np.mean(cell, axis=0)
    return image, x, y


@pytest.mark.parametrize("fwhm", [2.0, 2.5, 3.0, 5.0, 8.0])
@pytest.mark.parametrize("oversample", [1, 5])
def test_no_pixel_phase_bias(fwhm, oversample):
    image, x, y = stars(fwhm, n=64, pitch=61, oversample=oversample)
    cx, cy, ok = windowed(image, np.rint(x), np.rint(y), fwhm / GAUSSIAN_FWHM)
    assert ok.all()
    assert np.abs(cx - x).max() < 0.005
    assert np.abs(cy - y).max() < 0.005


@pytest.mark.parametrize("fwhm", [2.0, 3.0, 4.0])
def test_scatter_near_cramer_rao_bound(fwhm):
    noise, flux = 10.0, 800.0
    image, x, y = stars(fwhm, n=900, pitch=31, flux=flux)
    image = image + 100 + np.random.default_rng(5).normal(0, noise, image.shape)
    yy, xx = np.mgrid[-15:16, -15:16]
    slope = flux * (moffat(xx - 1e-4, yy, fwhm) - moffat(xx + 1e-4, yy, fwhm)) / 2e-4
    bound = noise / np.sqrt((slope**2).sum())
    cx, cy, ok = windowed(image, np.rint(x), np.rint(y), fwhm / GAUSSIAN_FWHM, sky=100.0)
    assert ok.mean() > 0.99
    scatter = np.std(np.concatenate([cx - x, cy - y])[np.concatenate([ok, ok])])
    # 1800 errors tell a standard deviation to 1.7 percent
    assert 0.95 * bound < scatter < 1.10 * bound * 1.02


def test_agrees_with_sep():
    image, x, y = stars(4.0)
    image = np.ascontiguousarray(image, np.float32)
    wx, wy, flag = sep.winpos(image, np.rint(x), np.rint(y), 4.0 / GAUSSIAN_FWHM)
    cx, cy, _ = windowed(image, np.rint(x), np.rint(y), 4.0 / GAUSSIAN_FWHM)
    assert (flag == 0).all()
    np.testing.assert_allclose(cx, wx, atol=2e-3)
    np.testing.assert_allclose(cy, wy, atol=2e-3)


def test_nan_where_nothing_can_be_measured():
    image, x, y = stars(3.0, n=9)
    image[round(y[4]), round(x[4])] = np.nan
    start_x, start_y = x.copy(), y.copy()
    start_x[0] = -3.0  # off the frame
    start_x[1] = np.nan
    start_x[2] += 12.0  # empty sky beside the star
    cx, cy, ok = windowed(image - 1.0, start_x, start_y, 1.3)
    assert list(ok) == [False, False, False, True, False, True, True, True, True]
    assert np.isnan(cx[~ok]).all() and np.isnan(cy[~ok]).all()
    np.testing.assert_allclose(cx[ok], x[ok], atol=0.01)


def test_far_nan_does_no_harm_and_border_does_not_pull():
    image, x, y = stars(3.0, n=4)
    image[int(y[0]) + 5, int(x[0])] = np.nan
    cut = image[:, int(x[0]) - 2 :]  # the star stands two pixels from the border
    cx, cy, ok = windowed(cut, x[:1] - int(x[0]) + 2, y[:1], 1.3)
    assert ok[0]
    assert cx[0] == pytest.approx(x[0] - int(x[0]) + 2, abs=0.05)
    assert cy[0] == pytest.approx(y[0], abs=0.005)


@pytest.mark.parametrize("sigma", [0.8, 1.3, 2.0, 3.5])
def test_gaussian_width(sigma):
    yy, xx = np.mgrid[:61, :61]
    image = 50 + 900 * np.exp(-0.5 * ((xx - 30.3) ** 2 + (yy - 29.8) ** 2) / sigma**2)
    x, y, width = gaussian_width(image, [30.0], [30.0], sky=50.0)
    assert width[0] == pytest.approx(sigma, rel=0.01)
    assert (x[0], y[0]) == (pytest.approx(30.3, abs=0.02), pytest.approx(29.8, abs=0.02))


def test_order_of_stars_does_not_matter():
    image, x, y = stars(3.0)
    image = image + np.random.default_rng(2).normal(0, 20, image.shape)
    one = windowed(image, x, y, 1.3)
    other = windowed(image, x[::-1], y[::-1], 1.3)
    np.testing.assert_array_equal(one[0], other[0][::-1])


def test_wrong_shapes_are_refused():
    with pytest.raises(InputError, match="x, y: shapes"):
        windowed(np.zeros((20, 20)), [1.0, 2.0], [1.0], 1.0)
    with pytest.raises(InputError, match="image: 1 dimensions"):
        windowed(np.zeros(20), [1.0], [1.0], 1.0)
