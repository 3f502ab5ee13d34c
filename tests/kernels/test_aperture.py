"""Aperture sums against geometry and photutils; sky and flags against known images."""

import math
import threading

import numpy as np
import pytest
from photutils.aperture import CircularAperture

from dphot.flags import PIXEL_BAD, PIXEL_SATURATED, StarFlag
from dphot.kernels.aperture import annulus_sky, aperture_sums, circle_area, star_flags

RADII = (0.1 + 0.25 * np.arange(32)) * 3.56


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(1).normal(300, 17, (200, 210)).astype(np.float32)


def scattered(n=60, seed=2):
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(35, 165, n), rng.uniform(35, 165, n)
    x[:5] = [100, 100.5, 100.5, 99.5, 100 + 1e-13]
    y[:5] = [100, 100, 100.5, 99.5, 100.5 - 1e-13]
    return x, y


def test_ones_give_the_circle_area():
    x, y = scattered()
    special = [0.01, 0.1, 0.4999, 0.5, 0.5001, math.sqrt(0.5), 1, 1.5, 2.5, 3.2, 5.66, 14.2]
    radii = np.concatenate([special, RADII])
    sums = aperture_sums(np.ones((200, 210)), x, y, radii)
    np.testing.assert_allclose(sums, np.broadcast_to(circle_area(radii)[:, None], sums.shape), rtol=2e-11)


def photutils_sums(image, x, y, radius):
    """Exact sums by photutils, through its masks: the one way that all its versions share."""
    masks = CircularAperture(np.c_[x, y], radius).to_mask(method="exact")
    return np.array([mask.multiply(image.astype(float)).sum() for mask in masks])


def test_equals_photutils_exact(image):
    x, y = scattered()
    expected = [photutils_sums(image, x, y, r) for r in RADII]
    np.testing.assert_allclose(aperture_sums(image, x, y, RADII), expected, rtol=1e-11)


def test_single_pixel_overlap():
    """One bright pixel gives exactly its own overlap, also when it lies on the circle."""
    image = np.zeros((21, 21))
    image[12, 13] = 1.0
    rng = np.random.default_rng(3)
    x, y = rng.uniform(9.5, 11.5, 40), rng.uniform(9.5, 11.5, 40)
    for radius in (0.3, 1.7, 2.4, 3.3, 3.9):
        expected = photutils_sums(image, x, y, radius)
        np.testing.assert_allclose(aperture_sums(image, x, y, [radius])[0], expected, atol=1e-12)


def test_circles_that_touch_the_frame_and_the_pixels_edges():
    """Everything on the grid: corners on the circle, edges tangent to it, the frame's edge reached."""
    image = np.random.default_rng(4).normal(100, 9, (21, 21)).astype(np.float32)
    for x, y, radius in [
        (10, 10, 10.5),
        (10.5, 10.5, 5.0),
        (10.5, 9.5, 2.5**0.5),
        (2.5, 10.5, 3.0),
        (10, 10, 0.5),
    ]:
        expected = photutils_sums(image, np.array([x]), np.array([y]), radius)
        np.testing.assert_allclose(aperture_sums(image, [x], [y], [radius])[0], expected, rtol=1e-12)


def test_tiny_aperture_in_one_pixel(image):
    np.testing.assert_allclose(
        aperture_sums(image, [50.2, 50.39], [60.3, 59.7], [0.1]),
        math.pi * 0.01 * float(image[60, 50]) * np.ones((1, 2)),
        rtol=1e-11,
    )


def test_order_of_radii_does_not_matter(image):
    x, y = scattered(20)
    shuffled = np.random.default_rng(0).permutation(RADII.size)
    expected = aperture_sums(image, x, y, RADII)[shuffled]
    np.testing.assert_array_equal(aperture_sums(image, x, y, RADII[shuffled]), expected)


def test_one_radius_or_one_star_at_a_time_gives_the_same_bits(image):
    x, y = scattered(20)
    together = aperture_sums(image, x, y, RADII)
    alone = np.concatenate([aperture_sums(image, x[i], y[i], RADII) for i in range(20)], axis=1)
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together, [aperture_sums(image, x, y, radius)[0] for radius in RADII])
    results = {}
    threads = [
        threading.Thread(target=lambda k: results.update({k: aperture_sums(image, x, y, RADII)}), args=(k,))
        for k in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k in range(4):
        np.testing.assert_array_equal(results[k], together)


def test_leaving_the_frame_is_nan():
    image = np.ones((20, 30), np.float32)
    sums = aperture_sums(image, [4.0, 25.0, 15, 15, -3, 29.5, -0.5], [10, 10, 4, 15, 10, 10, 10], [4.5, 4.6])
    assert np.isfinite(sums[0, :4]).all()
    np.testing.assert_allclose(sums[0, :4], math.pi * 4.5**2)
    assert np.isnan(sums[1]).all() and np.isnan(sums[:, 4:]).all()


def test_bad_positions_and_radii_are_nan(image):
    sums = aperture_sums(image, [np.nan, np.inf, 100], [100, 100, 100], [3, np.nan, 0, -1, 5])
    assert np.isfinite(sums[[0, 4], 2]).all()
    assert np.isnan(sums[:, :2]).all() and np.isnan(sums[1:4]).all()
    assert aperture_sums(image, [], [], [1, 2]).shape == (2, 0)
    assert aperture_sums(image, [5.0], [5.0], []).shape == (0, 1)


@pytest.mark.parametrize(("dx", "dy"), [(7, 0), (-7, 0), (0, 7), (0, -7), (5, 5), (-3, 6)])
def test_nan_pixel_spoils_only_the_radii_that_touch_it(image, dx, dy):
    spoilt = image.copy()
    spoilt[90 + dy, 80 + dx] = np.nan
    x, y = 80.3, 89.8
    nearest = math.hypot(max(abs(80 + dx - x) - 0.5, 0), max(abs(90 + dy - y) - 0.5, 0))
    sums, clean = (aperture_sums(i, [x], [y], RADII)[:, 0] for i in (spoilt, image))
    np.testing.assert_array_equal(np.isnan(sums), RADII > nearest)
    np.testing.assert_array_equal(sums[RADII <= nearest], clean[RADII <= nearest])


def test_inputs_are_not_touched_and_may_be_read_only(image):
    frozen = image.copy()
    frozen.flags.writeable = False
    x, y = scattered(5)
    swapped = aperture_sums(image.astype(">f8"), x, y, RADII)
    np.testing.assert_array_equal(aperture_sums(frozen, x, y, RADII), swapped)


# sky


def sky_positions(n=150):
    rng = np.random.default_rng(5)
    return rng.uniform(30, 480, n), rng.uniform(30, 480, n)


@pytest.mark.parametrize(
    ("make", "level", "rms"),
    [
        (lambda r, s: r.normal(100.3, 7.0, s), 100.3, 7.0),
        (lambda r, s: r.normal(100.3, 3.0, s).round(), 100.3, math.sqrt(9 + 1 / 12)),
        (lambda r, s: r.normal(100.3, 0.8, s).round(), 100.3, math.sqrt(0.64 + 1 / 12)),
        (lambda r, s: r.poisson(300, s), 300, math.sqrt(300)),
        (lambda r, s: r.poisson(30, s), 30, math.sqrt(30)),
        (lambda r, s: (r.poisson(300, s) / 4).round() * 4, 300, math.sqrt(300 + 16 / 12)),
    ],
)
def test_sky_is_unbiased(make, level, rms):
    """A bright star of 1e6 e- in an aperture of 28 px must not be off by 0.02 %: 0.08 e- per pixel."""
    image = make(np.random.default_rng(4), (512, 512))
    x, y = sky_positions()
    sky, sky_rms, n = annulus_sky(image, None, x, y, 17.8, 28.5)
    assert abs(sky.mean() - level) < 0.08 + 3 * rms / math.sqrt(n.sum() / 3)
    assert sky_rms.mean() == pytest.approx(rms, rel=0.01)
    assert n.mean() == pytest.approx(math.pi * (28.5**2 - 17.8**2), rel=0.01)


def test_sky_variance_is_rms_squared_over_n():
    image = np.random.default_rng(6).normal(0, 10, (1024, 1024))
    x, y = (v.ravel() for v in np.meshgrid(np.arange(12, 1012, 24), np.arange(12, 1012, 24)))
    sky, rms, n = annulus_sky(image, None, x, y, 5, 11)
    assert np.var(sky / (rms / np.sqrt(n))) == pytest.approx(1.0, abs=0.12)


def test_stars_and_cosmic_rays_in_the_annulus_are_clipped():
    rng = np.random.default_rng(7)
    image = rng.normal(100, 5, (512, 512))
    hit = rng.random(image.shape) < 0.05
    image[hit] += rng.exponential(400, hit.sum()) + 40
    sky, rms, _ = annulus_sky(image, None, *sky_positions(), 10, 20)
    assert abs(np.median(sky) - 100) < 0.1
    assert np.median(rms) == pytest.approx(5, rel=0.02)


def test_mask_and_neighbours_are_left_out():
    image = np.full((101, 101), 10.0)
    image[:, 61:] = 50.0
    mask = np.zeros(image.shape, np.uint8)
    clean = annulus_sky(image, mask, [50.0], [50.0], 8, 20)
    assert clean[2][0] == np.count_nonzero(ring(50, 50, 8, 20))
    mask[:, 61:] = PIXEL_BAD
    sky, rms, _ = annulus_sky(image, mask, [50.0], [50.0], 8, 20)
    assert (sky[0], rms[0]) == (10.0, 0.0)
    # neighbours: the star itself in the list does not count, another one takes its disc out
    ys, xs = np.mgrid[:101, :101]
    kept = ring(50, 50, 8, 20) & (np.hypot(xs - 65, ys - 50) > 6)
    noise = np.random.default_rng(0).normal(10, 1, image.shape)
    found = annulus_sky(noise, None, [50.0], [50.0], 8, 20, 9.0, [50.2, 65.0], [50.0, 50.0], [30.0, 6.0])
    assert found[2][0] == np.count_nonzero(kept)
    np.testing.assert_allclose(found[0][0], noise[kept].astype(np.float32).mean(), rtol=1e-7)


def ring(x, y, r_in, r_out, shape=(101, 101)):
    ys, xs = np.mgrid[: shape[0], : shape[1]]
    distance = np.hypot(xs - x, ys - y)
    return (distance >= r_in) & (distance <= r_out)


def test_crowded_annulus_falls_back_to_all_pixels():
    image = np.full((101, 101), 3.0)
    sky, _, n = annulus_sky(image, None, [50.0], [50.0], 8, 12, 3.0, [55.0], [50.0], 40.0)
    assert sky[0] == 3.0 and n[0] == np.count_nonzero(ring(50, 50, 8, 12))


def test_sky_without_pixels_is_nan():
    image = np.full((50, 50), np.nan)
    image[:20] = 1.0
    sky, rms, n = annulus_sky(image, None, [25, 25, np.nan, 500], [40, 10, 10, 10], 3, 6)
    np.testing.assert_array_equal(np.isnan(sky), [True, False, True, True])
    np.testing.assert_array_equal(np.isnan(rms), [True, False, True, True])
    np.testing.assert_array_equal(n > 0, [False, True, False, False])


def test_sky_is_the_same_from_one_star_or_many():
    image = np.random.default_rng(8).normal(100, 5, (512, 512))
    x, y = sky_positions(30)
    together = annulus_sky(image, None, x, y, 10, 20)
    alone = [annulus_sky(image, None, x[i], y[i], 10, 20) for i in range(30)]
    for k in range(3):
        np.testing.assert_array_equal(together[k], np.concatenate([a[k] for a in alone]))


# flags


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_flags_and_peak_within_the_radius(dtype):
    raw = np.full((60, 60), 100, dtype)
    raw[30, 34], raw[30, 35] = 900, 5000
    mask = np.zeros(raw.shape, np.uint8)
    mask[30, 35], mask[26, 30] = PIXEL_SATURATED, PIXEL_BAD
    flags, peak = star_flags(mask, raw, [30, 30, 30, 31, 2, 80, np.nan], [30, 30, 30, 30, 30, 30, 30], 4.0)
    np.testing.assert_array_equal(flags[:3], [StarFlag.BAD_PIXEL] * 3)
    assert flags[3] == StarFlag.SATURATED and flags[4] == StarFlag.EDGE and flags[5] == StarFlag.EDGE
    assert flags[6] == 0 and flags.dtype == np.uint16
    np.testing.assert_array_equal(peak, [900, 900, 900, 5000, 100, np.nan, np.nan])


def test_flags_and_peak_are_those_of_the_pixels_within():
    rng = np.random.default_rng(8)
    raw, mask = rng.normal(500, 200, (40, 50)), rng.choice([0, 0, 0, 0, 1, 4, 16], (40, 50)).astype(np.uint8)
    raw[rng.random(raw.shape) < 0.05] = np.nan
    x, y = rng.uniform(-3, 53, 200), rng.uniform(-3, 43, 200)
    rows, columns = np.mgrid[:40, :50]
    for radius in (0.3, 2.7, 6.0):
        flags, peak = star_flags(mask, raw, x, y, radius)
        for k in range(x.size):
            own = (rows == np.floor(y[k] + 0.5)) & (columns == np.floor(x[k] + 0.5))
            under = own | ((columns - x[k]) ** 2 + (rows - y[k]) ** 2 <= radius**2)
            room = min(x[k] + 0.5, 49.5 - x[k], y[k] + 0.5, 39.5 - y[k])
            bits = np.bitwise_or.reduce(mask[under], initial=0) | (StarFlag.EDGE if room < radius else 0)
            highest = np.nanmax(raw[under]) if np.isfinite(raw[under]).any() else np.nan
            assert flags[k] == bits
            np.testing.assert_equal(peak[k], highest)


def test_smallest_radius_still_sees_its_pixel():
    raw = np.arange(25.0).reshape(5, 5)
    raw[1, 1] = np.nan
    _, peak = star_flags(np.zeros((5, 5), np.uint8), raw, [2.4, 1.0], [2.4, 1.0], 0.05)
    np.testing.assert_array_equal(peak, [12, np.nan])
