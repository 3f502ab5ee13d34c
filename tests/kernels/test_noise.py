"""The noise model against its formula and against simulated apertures."""

import itertools
import math

import numpy as np
import pytest

from dphot.kernels.aperture import annulus_sky, aperture_sums, circle_area
from dphot.kernels.noise import (
    SKY_VARIANCE,
    flux_variance,
    noise_area,
    response_at,
    scintillation,
    star_noise,
)
from dphot.kernels.sky import clipped_photons
from dphot.simulate.moffat import draw_stars


def test_terms():
    assert flux_variance(1000, 50, 0, 100) == 1000
    assert flux_variance(1000, 50, 0, 100, shot=1.25) == 1250
    assert flux_variance(-5, 50, 2, 100, sky_variance=1.0) == pytest.approx(50 * 4 + 2500 * 4 / 100)
    assert flux_variance(0, 50, 2, 100, sky_variance=math.pi / 2) == pytest.approx(200 + math.pi / 2 * 100)
    assert flux_variance(0, 12, 0, 100, gain=2.0) == pytest.approx(4.0)
    assert flux_variance(0, 12, 0, 100, masters=7.0) == pytest.approx(7.0)


def test_shapes_broadcast_and_nan_stays():
    flux = np.ones((4, 3, 2))
    n = np.array([100, 0])
    variance = flux_variance(flux, np.arange(1, 4)[:, None], np.ones((4, 1, 2)), n)
    assert variance.shape == (4, 3, 2)
    assert np.isfinite(variance[..., 0]).all() and np.isnan(variance[..., 1]).all()
    assert np.isnan(flux_variance(np.nan, 1, 1, 1))


@pytest.mark.parametrize("gain", [1.0, 4.0])
def test_pull(gain):
    """Fluxes of simulated stars scatter as the model says, in the star's and in the sky's regime."""
    rng = np.random.default_rng(1)
    at = np.arange(30, 1170, 60)
    x, y = (v.ravel().astype(float) for v in np.meshgrid(at, at))
    radii = np.array([3.0, 6.0, 12.0])
    areas = circle_area(radii)[:, None]
    truth = rng.choice([0.0, 300.0, 3e4], x.size)
    expected = np.full((1200, 1200), 60.0)
    ys, xs = np.mgrid[-12:13, -12:13]
    psf = np.exp(-0.5 * (xs**2 + ys**2))
    for i, j, flux in zip(x.astype(int), y.astype(int), truth, strict=True):
        expected[j - 12 : j + 13, i - 12 : i + 13] += flux * psf / psf.sum()
    counts = ((rng.poisson(expected) + rng.normal(0, 5, expected.shape)) / gain).round()
    sky, rms, n = annulus_sky(counts, None, x, y, 14, 22)
    flux = gain * (aperture_sums(counts, x, y, radii) - areas * sky)
    inside = aperture_sums(expected, x, y, radii) - 60 * areas
    # the expected flux, not the measured one: a low flux would get a low error and bias the pull
    sigma = np.sqrt(flux_variance(inside, areas, gain * rms, n, noise_area=noise_area(radii)[:, None]))
    pull = (flux - inside) / sigma
    for k in range(radii.size):
        for value in np.unique(truth):
            some = pull[k, truth == value]
            assert abs(some.mean()) < 4 / math.sqrt(some.size)
            assert some.std() == pytest.approx(1.0, abs=4 / math.sqrt(2 * some.size))
    assert pull.std() == pytest.approx(1.0, abs=0.06)


def test_noise_area_is_the_sum_of_squared_overlaps():
    """Ones at a single pixel each: the overlaps themselves, squared and summed, averaged over positions."""
    rng = np.random.default_rng(2)
    radii = np.array([0.1, 0.36, 1.0, 2.0, 4.0])
    x, y = rng.uniform(6.5, 7.5, 200), rng.uniform(6.5, 7.5, 200)
    squares = np.zeros((radii.size, x.size))
    for row in range(15):
        for column in range(15):
            image = np.zeros((15, 15))
            image[row, column] = 1.0
            squares += aperture_sums(image, x, y, radii) ** 2
    np.testing.assert_allclose(noise_area(radii), squares.mean(axis=1), rtol=0.08)
    np.testing.assert_allclose(noise_area(radii)[2:], squares.mean(axis=1)[2:], rtol=0.015)


@pytest.mark.parametrize("beta", [2.5, 4.0, math.inf])
def test_star_noise_is_the_sum_over_the_pixels(beta):
    """Weights squared times light, and times light squared, of stars drawn at many places within a pixel."""
    radii = np.array([0.3, 1.0, 2.0, 3.0, 6.0, 9.0])
    sums = np.zeros((3, radii.size))
    phases = 11.5 + (np.arange(6) + 0.5) / 6
    for x, y in itertools.product(phases, phases):
        light = np.zeros((25, 25))
        draw_stars(light, *np.array([[x], [y], [1e6]]), (3.0, 3.0), 0.0, min(beta, 60.0))
        weight = overlap(radii, x - 12, y - 12)
        sums += [(weight**p * light**q).sum(axis=(1, 2)) for p, q in ((1, 1), (2, 1), (2, 2))]
    flux, shot, squares = sums / 36
    wide = math.sqrt(9 + 2.3548**2 / 12)  # the pixel's own width
    # below 1 px `noise_area` is good to 6 %
    found_shot, found_area = star_noise(radii, wide, beta)
    np.testing.assert_allclose(found_shot, shot / flux, rtol=0.08)
    np.testing.assert_allclose(found_shot[2:], (shot / flux)[2:], rtol=0.01)
    np.testing.assert_allclose(found_area, flux**2 / squares, rtol=0.08)
    np.testing.assert_allclose(found_area[2:], (flux**2 / squares)[2:], rtol=0.03)


def overlap(radii, x, y, half=12):
    """Share of each pixel that lies in circles around (x, y), from the sums of images of one pixel each."""
    fine = (np.arange(20) + 0.5) / 20 - 0.5
    at = (np.arange(-half, half + 1)[:, None] + fine).ravel()
    inside = (at[None, :, None] - y) ** 2 + (at[None, None, :] - x) ** 2 <= np.square(radii)[:, None, None]
    n = 2 * half + 1
    return inside.reshape(radii.size, n, 20, n, 20).mean(axis=(2, 4))


def test_a_gaussian_star_has_kings_area():
    _, area = star_noise(np.array([50.0]), 2.3548, math.inf)
    np.testing.assert_allclose(area, 4 * math.pi, rtol=1e-3)


def test_response_is_the_flats_and_no_single_pixels():
    flat = np.ones((20, 30), np.float32)
    flat[:, 15:] = 0.75
    flat[10, 5] = 0.1  # a dead pixel
    x, y = np.array([5.0, 20.2, 29.6, -40.0, np.nan]), np.array([10.0, 3.0, 19.4, 5.0, 1.0])
    np.testing.assert_array_equal(response_at(flat, x, y), [1.0, 0.75, 0.75, 1.0, np.nan])


def test_the_sky_level_scatters_by_its_variance():
    rng = np.random.default_rng(6)
    at = np.arange(25, 1480, 42.0)
    x, y = (v.ravel() for v in np.meshgrid(at, at))
    pull = []
    for _ in range(8):
        level, rms, n = annulus_sky(rng.normal(1000.0, 50.0, (1500, 1500)), None, x, y, 12, 20)
        pull.append((level - 1000.0) / rms * np.sqrt(n))
    assert np.var(pull) == pytest.approx(SKY_VARIANCE, abs=4 * math.sqrt(2 / np.size(pull)))


@pytest.mark.parametrize(("gain", "photons"), [(1.0, 100.0), (2.5, 900.0)])
def test_a_sky_of_photons_is_not_low(gain, photons):
    rng = np.random.default_rng(7)
    at = np.arange(25, 1480, 42.0)
    x, y = (v.ravel() for v in np.meshgrid(at, at))
    found, taken, error = [], [], []
    for _ in range(8):
        frame = (rng.poisson(photons, (1500, 1500)) + rng.uniform(-0.5, 0.5, (1500, 1500))) / gain
        level, rms, n = annulus_sky(frame, None, x, y, 12, 20)
        found.append(gain * level - photons)
        taken.append(gain * clipped_photons(level, rms, gain))
        error.append(gain * rms / np.sqrt(n))
    sigma = np.mean(error) / math.sqrt(np.size(error))
    assert np.mean(taken) == pytest.approx(0.04, abs=0.001)
    assert abs(np.mean(found) + np.mean(taken)) < 4 * sigma
    assert clipped_photons(100.0, 10.0, np.nan) == 0 and clipped_photons(
        [-1.0, 1.0], [1.0, 0.0], 1.0
    ).tolist() == [0, 0]


def test_an_offset_that_was_not_subtracted_is_no_light():
    """Of a faint sky on a camera's offset of 500 e- what is given back stays below what a sky of light loses."""
    rng = np.random.default_rng(8)
    gain, at = 0.25, np.arange(25, 1480, 42.0)
    x, y = (v.ravel() for v in np.meshgrid(at, at))
    frame = (rng.poisson(5.0, (1500, 1500)) + rng.normal(500.0, 1.5, (1500, 1500))) / gain
    level, rms, _ = annulus_sky(frame, None, x, y, 12, 20)
    low = gain * (level + clipped_photons(level, rms, gain)) - 505.0
    assert abs(np.mean(low)) < 0.03 and gain * clipped_photons(5000.0, 8.0, gain) == pytest.approx(
        0.04, abs=0.001
    )


def test_scintillation_formula():
    """1 m, sea level, zenith, 1 s: sigma = sqrt(10e-6) 1.5."""
    assert scintillation(1, 1, 1, 0) == pytest.approx(1.5 * math.sqrt(1e-5))
    ratio = scintillation(2, 10, 2, 2400) / scintillation(1, 1, 1, 0)
    assert ratio == pytest.approx(math.sqrt(8 / 10 * 2 ** (-4 / 3) * math.exp(-0.6)))


def test_scintillation_without_input_is_nan():
    airmass = np.array([1.0, np.nan, -1.0, 0.0])
    np.testing.assert_array_equal(np.isnan(scintillation(airmass, 1, 1, 0)), [False, True, True, True])
    assert np.isnan(scintillation(1, 0, 1, 0)) and np.isnan(scintillation(1, 1, np.nan, 0))
