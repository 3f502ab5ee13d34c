"""Stars drawn by the simulator against brute-force integrals and closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from dphot.simulate.moffat import draw_stars, peak_fraction


def star(shape, x, y, flux, fwhm, theta=0.0, beta=4.0):
    image = np.zeros(shape)
    draw_stars(image, np.array([x]), np.array([y]), np.array([flux]), fwhm, theta, beta)
    return image


def brute(shape, x, y, fwhm, theta, beta, n=40):
    """Moffat integrated over each pixel by the midpoint rule on n x n sub-pixels."""
    sub = (np.arange(n) + 0.5) / n - 0.5
    yy = (np.arange(shape[0])[:, None] + sub).ravel()[:, None] - y
    xx = (np.arange(shape[1])[:, None] + sub).ravel()[None, :] - x
    alpha = np.array(fwhm) / (2 * np.sqrt(2 ** (1 / beta) - 1))
    along, across = xx * np.cos(theta) + yy * np.sin(theta), -xx * np.sin(theta) + yy * np.cos(theta)
    value = (
        (beta - 1)
        / (np.pi * alpha.prod())
        * (1 + (along / alpha[0]) ** 2 + (across / alpha[1]) ** 2) ** -beta
    )
    return value.reshape(shape[0], n, shape[1], n).mean(axis=(1, 3))


@pytest.mark.parametrize("beta", [2.5, 3.0, 3.7, 4.0])
@pytest.mark.parametrize("fwhm", [(1.5, 1.5), (2.2, 2.2), (3.5, 2.8), (8.0, 6.0)])
def test_pixels_are_integrals(fwhm, beta):
    ours, exact = (
        star((41, 43), 20.3, 19.6, 1.0, fwhm, 0.6, beta),
        brute((41, 43), 20.3, 19.6, fwhm, 0.6, beta),
    )
    drawn = ours > 0
    assert np.abs(ours - exact)[drawn].max() < 1e-4 * exact.max()


@pytest.mark.parametrize("beta", [2.5, 3.5, 4.765])
@pytest.mark.parametrize("flux", [1e3, 1e5, 1e7])
def test_flux_is_conserved(flux, beta):
    total = star((801, 801), 400.2, 399.7, flux, (3.5, 3.2), 0.3, beta).sum() / flux
    assert abs(total - 1) < 1.5e-4
    if flux >= 1e5 and beta > 3:
        assert abs(total - 1) < 1.5 * min(1e-4, max(20 / flux, 1e-5)) + 3e-5


def test_wings_outside_the_frame_reach_in():
    whole, part = (
        star((60, 60), 25.0, 30.0, 1e5, (4.0, 4.0)),
        star((60, 35), 0.0 - 0.0, 30.0, 1e5, (4.0, 4.0)),
    )
    assert np.array_equal(whole[:, 25:], part)
    assert star((60, 60), -3.0, 30.0, 1e5, (4.0, 4.0))[30, 0] > 0
    assert star((60, 60), -500.0, 30.0, 1e5, (4.0, 4.0)).sum() == 0


def test_centroid_and_orientation():
    image = star((81, 81), 40.37, 39.81, 1e6, (6.0, 4.0), np.deg2rad(30), 4.0)
    y, x = np.mgrid[:81, :81]
    near = np.hypot(x - 40.37, y - 39.81) < 30
    w = np.where(near, image, 0) / image[near].sum()
    cx, cy = (w * x).sum(), (w * y).sum()
    assert (cx, cy) == pytest.approx((40.37, 39.81), abs=2e-3)
    xx, yy, xy = (w * (x - cx) ** 2).sum(), (w * (y - cy) ** 2).sum(), (w * (x - cx) * (y - cy)).sum()
    assert np.rad2deg(0.5 * np.arctan2(2 * xy, xx - yy)) == pytest.approx(30, abs=1)


def test_peak_fraction_of_the_tutorial_psf():
    assert peak_fraction(3.5, 4.0) == pytest.approx(brute((3, 3), 1, 1, (3.5, 3.5), 0, 4.0)[1, 1], rel=1e-3)
