"""Cosmic rays and hot pixels under simulated stars: found, and stars not taken for them."""

import numpy as np
import pytest
from scipy.special import erf

from dphot.flags import PIXEL_BAD, PIXEL_COSMIC, PIXEL_NONFINITE, PIXEL_SATURATED
from dphot.kernels.cosmic import _middle, mark_cosmics, repaired, sharpest

SKY, GAIN, READ = 200.0, 1.3, 5.0
NOISE = np.hypot(np.sqrt(SKY / GAIN), READ / GAIN)


def profile(size, place, sigma):
    edges = np.arange(size + 1) - 0.5 - place
    return np.diff(erf(edges / (sigma * 2**0.5))) / 2


def field(fwhm, ellipticity, seed, n=8):
    """Image in ADU of n x n stars with cores and wings, integrated over pixels; positions and fluxes (ADU)."""
    rng = np.random.default_rng(seed)
    step = round(10 * max(fwhm, 2.0))
    size = n * step
    places = np.stack(np.meshgrid(*[(np.arange(n) + 0.5) * step] * 2)).reshape(2, -1)
    x, y = places + rng.uniform(-0.5, 0.5, places.shape)
    flux = np.exp(rng.uniform(np.log(300), np.log(3e5), x.size))
    # the pixel widens what falls on it
    sigma = np.sqrt(max((fwhm / 2.3548) ** 2 - 1 / 12, 0.3)) * np.array(
        [1 - ellipticity / 2, 1 + ellipticity / 2]
    )
    image = np.full((size, size), SKY)
    for share, wider in ((0.85, 1.0), (0.15, 2.2)):
        across, along = (profile(size, v[:, None], wider * s) for v, s in zip((x, y), sigma, strict=True))
        image += (share * flux[:, None] * along).T @ across
    noisy = rng.poisson(image * GAIN) + rng.normal(0, READ, image.shape)
    return (noisy / GAIN).astype(np.float32), x, y, flux


def marked(image, x, y, fwhm, mask=None, ellipticity=0.0, gain=GAIN):
    mask = np.zeros(image.shape, np.uint8) if mask is None else mask
    level, noise = (np.full(x.size, v) for v in (SKY, NOISE))
    narrow = fwhm * (1 - ellipticity / 2)
    return mark_cosmics(image, mask, x, y, 2 * fwhm, level, noise, gain, narrow)


def test_the_sharpest_light_is_a_star_on_a_pixel():
    sigma = 3.0 / (2 * np.sqrt(2 * np.log(2)))
    assert sharpest(3.0, np.inf) == pytest.approx(np.exp(1 / (2 * sigma**2)))
    scale = 3.0 / (2 * np.sqrt(2 ** (1 / 2.5) - 1))
    assert sharpest(3.0, 2.5) == pytest.approx((1 + 1 / scale**2) ** 2.5)


@pytest.mark.parametrize("ellipticity", [0.0, 0.2])
@pytest.mark.parametrize("fwhm", [1.6, 2.0, 3.0, 5.0, 8.0])
def test_stars_are_no_cosmic_rays(fwhm, ellipticity):
    image, x, y, _ = field(fwhm, ellipticity, 1)
    assert not marked(image, x, y, fwhm, ellipticity=ellipticity).any()


@pytest.mark.slow
@pytest.mark.parametrize("fwhm", [1.6, 2.0, 3.0, 5.0, 8.0])
def test_fewer_than_one_star_in_a_thousand_is_taken_for_a_cosmic_ray(fwhm):
    false = stars = 0
    for seed in range(16):
        image, x, y, _ = field(fwhm, 0.1, seed)
        found = marked(image, x, y, fwhm, ellipticity=0.1)
        false += np.count_nonzero(found)
        stars += x.size
    assert stars >= 1000 and false <= 1e-3 * stars


@pytest.mark.parametrize("gain", [GAIN, np.nan])
@pytest.mark.parametrize("fwhm, share", [(1.6, 0.3), (2.0, 0.2), (3.0, 0.05), (5.0, 0.05), (8.0, 0.05)])
def test_a_cosmic_ray_of_some_of_a_stars_light_is_found(fwhm, share, gain):
    """One of 20 sky sigmas and `share` of the star's light, anywhere within a FWHM, in one star of eight."""
    found = []
    for seed in range(5):
        image, x, y, flux = field(fwhm, 0.0, seed)
        rng = np.random.default_rng(seed)
        hit = np.arange(0, x.size, 8)
        i, j = (np.rint(v[hit] + rng.uniform(-0.7, 0.7, hit.size) * fwhm).astype(int) for v in (x, y))
        image[j, i] += (20 * NOISE + share * flux[hit]).astype(np.float32)
        out = marked(image, x, y, fwhm, gain=gain)
        found += list(out[j, i] == PIXEL_COSMIC)
        out[j, i] = 0
        # what is marked beside is not more than the ray's own neighbours
        assert np.count_nonzero(out) <= 1
    assert np.mean(found) >= 0.95


def test_a_track_of_two_pixels_is_found():
    image, x, y, _ = field(3.0, 0.0, 3)
    i, j = np.rint(x[::8]).astype(int) + 2, np.rint(y[::8]).astype(int) - 1
    image[j, i] += 30000
    image[j, i + 1] += 20000
    out = marked(image, x, y, 3.0)
    assert (out[j, i] == PIXEL_COSMIC).all() and (out[j, i + 1] == PIXEL_COSMIC).all()


def test_the_middle_is_the_median_of_the_neighbours_that_are_fit():
    rng = np.random.default_rng(4)
    marks = np.array([0, PIXEL_COSMIC, PIXEL_BAD, PIXEL_NONFINITE, PIXEL_SATURATED], np.uint8)
    level = 3.0
    for chances in ((0.9, 0.1, 0, 0, 0), (0.5, 0.1, 0.2, 0.15, 0.05)):
        for _ in range(300):
            image = rng.integers(-4, 5, (3, 3)).astype(np.float32)  # small numbers: many are equal
            mask = rng.choice(marks, (3, 3), p=chances)
            beside = [(0, 1), (2, 1), (1, 0), (1, 2)]
            fit = [image[k] - level for k in beside if not mask[k] & (PIXEL_BAD | PIXEL_NONFINITE)]
            saturated = any(mask[k] & PIXEL_SATURATED for k in beside)
            expected = np.median(fit) if len(fit) > 2 and not saturated else np.nan
            np.testing.assert_equal(_middle(image, mask, 1, 1, level, np.empty(4)), expected)


def test_masked_pixels_are_not_judged_nor_what_lies_beside_saturation():
    image, x, y, _ = field(3.0, 0.0, 4)
    i, j = np.rint(x).astype(int), np.rint(y).astype(int)
    mask = np.zeros(image.shape, np.uint8)
    image[j, i + 2] += 20000
    mask[j[::2], i[::2] + 2] = PIXEL_BAD
    mask[j[1::2], i[1::2] + 1] = PIXEL_SATURATED
    before = mask.copy()
    out = marked(image, x, y, 3.0, mask)
    assert not (out & PIXEL_COSMIC)[j, i + 2].any()
    np.testing.assert_array_equal(mask, before)  # what is given stays
    assert not marked(image, np.full(3, np.nan), np.full(3, np.nan), 3.0).any()


@pytest.mark.parametrize("fwhm", [2.0, 3.0, 5.0])
def test_a_repaired_star_has_its_light_back(fwhm):
    """A dead or hit pixel within half a FWHM of the centre: most of what it spoilt is mended."""
    image, x, y, flux = field(fwhm, 0.0, 5)
    rng = np.random.default_rng(6)
    i, j = (np.rint(v + rng.uniform(-0.5, 0.5, v.size) * fwhm).astype(int) for v in (x, y))
    true = image[j, i].copy()
    mask = np.zeros(image.shape, np.uint8)
    mask[j, i] = np.where(np.arange(x.size) % 2, PIXEL_BAD, PIXEL_COSMIC)
    image[j, i] = np.where(np.arange(x.size) % 2, np.float32(np.nan), true + 30000)
    out = repaired(image, mask, x, y, 3 * fwhm, np.full(x.size, SKY), fwhm)
    light = true - SKY
    bright = light > 100 * NOISE
    assert bright.sum() > 5
    # the model lacks the wings and the exact width: a tenth of the pixel's light as a rule, a third at worst
    error = np.abs(out[j, i] - true)[bright] / light[bright]
    assert np.median(error) < 0.1 and error.max() < 0.33
    faint = light < 3 * NOISE
    assert np.abs(out[j, i] - true)[faint].max(initial=0) < 6 * NOISE
    same = np.ones(image.shape, bool)
    same[j, i] = False
    np.testing.assert_array_equal(out[same], image[same])


def test_a_saturated_pixel_is_not_repaired():
    image, x, y, _ = field(3.0, 0.0, 7)
    mask = np.full(image.shape, PIXEL_SATURATED | PIXEL_BAD, np.uint8)
    np.testing.assert_array_equal(repaired(image, mask, x, y, 9.0, np.full(x.size, SKY), 3.0), image)
