"""Masters: the clipped mean's efficiency and robustness, flats, bad pixels."""

import numpy as np
import pytest

from dphot.errors import InputError
from dphot.kernels.combine import bad_pixels, clipped_mean, make_flat, typical_variance


def noise(n, seed=0, shape=(60, 400), sigma=5.0):
    return np.random.default_rng(seed).normal(1000, sigma, (n, *shape)).round().astype("f4")


def test_one_and_two_frames_are_not_clipped():
    cube = noise(2)
    cube[0, 3, 4] = 60000
    mean, variance, n = clipped_mean(cube[:1])
    np.testing.assert_array_equal(mean, cube[0])
    assert np.isnan(variance).all() and (n == 1).all() and n.dtype == np.int16
    mean, variance, n = clipped_mean(cube)
    np.testing.assert_allclose(mean, cube.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(variance, np.var(cube, axis=0, ddof=1) / 2, rtol=1e-4)
    assert (n == 2).all()


@pytest.mark.parametrize("n", [3, 4, 5, 7, 10, 20, 50])
def test_cosmic_rays_go_and_the_noise_stays(n):
    cube = noise(n)
    rng = np.random.default_rng(1)
    hit = np.zeros(cube.shape, bool)
    frame, row, column = rng.integers(0, n, 60), np.arange(60), rng.integers(0, 400, 60)
    hit[frame, row, column] = True  # one pixel in each row, in one of the frames
    cube[hit] += rng.uniform(100, 60000, 60)
    mean, variance, used = clipped_mean(cube)
    ideal = np.sqrt((25 + 1 / 12) / n)
    struck = hit.any(axis=0)
    assert abs(mean[struck] - 1000).max() < 6 * ideal * np.sqrt(n / (n - 1))
    assert np.std(mean[~struck]) < 1.025 * ideal
    assert abs(np.mean(mean[~struck]) - 1000) < 4 * ideal / np.sqrt(mean.size)
    assert np.mean(variance[~struck]) == pytest.approx(ideal**2, rel=0.05)
    assert used[~struck].mean() > 0.997 * n - 0.01 and (used[struck] <= n - 1).all()


def test_missing_values_are_skipped():
    cube = noise(5)
    cube[0, 0, 0] = np.nan
    cube[:, 1, 1] = np.nan
    cube[:4, 2, 2] = np.inf
    mean, variance, n = clipped_mean(cube)
    assert n[0, 0] == 4 and n[1, 1] == 0 and n[2, 2] == 1
    assert np.isnan(mean[1, 1]) and mean[2, 2] == cube[4, 2, 2] and np.isnan(variance[2, 2])


def test_blocks_of_rows_give_the_same_bits():
    cube = noise(6)
    whole = clipped_mean(cube)
    parts = [clipped_mean(cube[:, k : k + 7]) for k in range(0, 60, 7)]
    for k in range(3):
        np.testing.assert_array_equal(whole[k], np.concatenate([p[k] for p in parts]))


def test_constant_frames_and_order_of_frames():
    mean, variance, n = clipped_mean(np.full((4, 3, 3), 7, "u2"))
    assert (mean == 7).all() and (variance == 0).all() and (n == 4).all()
    cube = noise(9)
    for a, b in zip(clipped_mean(cube), clipped_mean(cube[::-1]), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(InputError, match=r"\(n, ny, nx\)"):
        clipped_mean(np.zeros((3, 3)))


def test_flat_recovers_the_response_whatever_the_levels():
    rng = np.random.default_rng(3)
    ys, xs = np.mgrid[:100, :120]
    response = (1 - 0.3 * ((xs - 60) ** 2 + (ys - 50) ** 2) / 6100) * rng.normal(1, 0.02, (100, 120))
    response /= np.median(response)
    levels = np.array([40000, 30000, 20000, 10000, 25000, 15000, 35000])
    frames = rng.poisson(response * levels[:, None, None]).astype("f4")
    frames[2, 40:44, 40:44] += 8000  # a star in one twilight flat
    flat, variance = make_flat(frames)
    sigma = np.sqrt(variance)
    pull = (flat - response) / np.sqrt(np.mean(response / levels[:, None, None], axis=0) / levels.size)
    assert pull.std() == pytest.approx(1, abs=0.05) and abs(pull[40:44, 40:44]).max() < 5
    assert np.median(sigma) == pytest.approx(np.sqrt(np.mean(1 / levels) / 7), rel=0.1)
    blocks = [make_flat(frames[:, k : k + 50], np.median(frames, axis=(1, 2))) for k in (0, 50)]
    np.testing.assert_array_equal(np.concatenate([b[0] for b in blocks]), flat)


def test_flat_without_light_is_refused():
    frames = noise(3)
    frames[1] -= 2000
    with pytest.raises(InputError, match=r"flat frames \[1\]"):
        make_flat(frames)
    frames[1] = np.nan
    with pytest.raises(InputError, match=r"flat frames \[1\]"):
        make_flat(frames)


def test_bad_pixels_are_found_and_no_others():
    rng = np.random.default_rng(4)
    ys, xs = np.mgrid[:300, :400]
    rate = rng.normal(0.05, 0.01, (300, 400))
    flat = (1 - 0.55 * ((xs - 200) ** 2 + (ys - 150) ** 2) / 62500) * rng.normal(1, 0.01, rate.shape)
    dark_variance = 0.01**2 * rng.chisquare(2, rate.shape) / 2
    truth = np.zeros(rate.shape, bool)
    for k, (row, column) in enumerate(rng.integers(5, 295, (60, 2))):
        truth[row, column] = True
        if k % 4 == 0:
            rate[row, column] = 3.0
        elif k % 4 == 1:
            flat[row, column] *= 0.3
        elif k % 4 == 2:
            dark_variance[row, column] = 0.1
        else:
            flat[row, column] = np.nan
    found = bad_pixels(rate, flat, dark_variance)
    np.testing.assert_array_equal(found, truth)
    assert not bad_pixels(np.zeros((40, 40)), np.ones((40, 40)), np.full((40, 40), np.nan)).any()


def test_bad_pixels_need_maps_that_fit():
    with pytest.raises(InputError, match="dark_rate"):
        bad_pixels()
    with pytest.raises(InputError, match="shapes"):
        bad_pixels(np.zeros((4, 4)), np.ones((4, 5)))


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_the_typical_variance_is_that_of_the_mean_however_few_the_frames(n):
    _, variance, _ = clipped_mean(noise(n))
    # 24000 pixels; clipping at 3 sigma takes up to 3 % off a variance
    assert typical_variance(variance, n) == pytest.approx((25 + 1 / 12) / n, rel=0.05)


def test_the_variance_of_one_frame_is_unknown():
    assert (
        typical_variance(clipped_mean(noise(1))[1], 1) == 0.0 == typical_variance(np.full((2, 2), np.nan), 5)
    )
