"""The fixed pattern of a detector, against one that was put in."""

import numpy as np
import pytest

from dphot.kernels.pattern import fixed_pattern, night_medians, resting_share


@pytest.fixture(scope="module")
def detector():
    """Hot pixels and column offsets of a detector, ADU."""
    rng = np.random.default_rng(7)
    pattern = np.zeros((96, 128)) + rng.normal(0, 3.0, 128)
    pattern[rng.random(pattern.shape) < 2e-3] += 200.0
    return pattern


def night(pattern, rng, n=40, noise=10.0):
    """Frames of a sloping sky and of stars that move by 4 px a frame."""
    y, x = np.mgrid[: pattern.shape[0], : pattern.shape[1]]
    for i in range(n):
        stars = sum(3000 * np.exp(-((x - px - 4 * i) ** 2 + (y - py - i) ** 2) / 4) for px, py in
                    rng.uniform((-160, -40), (120, 90), (1, 2)))  # fmt: skip
        yield pattern + stars + 0.2 * x + rng.normal(0, noise, pattern.shape)


def test_the_pattern_comes_back_with_its_error(detector):
    medians = night_medians(np.stack(list(night(detector, np.random.default_rng(1)))))
    found, signal, noise = fixed_pattern(medians)
    known = np.pi / 2 * 10.0**2 / 40  # variance of the median of 40 normal values
    true = detector - np.median(detector)
    assert noise == pytest.approx(known, rel=0.15)
    assert signal == pytest.approx(np.mean(true**2), rel=0.15)
    hot = detector > 100
    np.testing.assert_allclose(found[hot], true[hot], atol=8)
    # the columns' own offsets are part of a tile's median: 32 columns of 3 ADU
    assert np.std((found - true)[~hot]) < np.sqrt(1.3 * known + np.pi / 2 * 9 / 32)


def test_without_a_pattern_only_noise_is_found():
    medians = night_medians(np.stack(list(night(np.zeros((96, 128)), np.random.default_rng(2)))))
    _, signal, noise = fixed_pattern(medians)
    assert abs(signal) < 0.1 * noise


def test_a_pixel_without_a_number_stays_without_one():
    cube = np.zeros((4, 64, 64), np.float32)
    cube[2, 5, 6] = np.nan
    found, _, _ = fixed_pattern(night_medians(cube))
    assert np.flatnonzero(np.isnan(found)).tolist() == [5 * 64 + 6]


def test_resting_share():
    along = np.arange(21.0)[:, None]
    none = np.zeros_like(along)
    assert resting_share(none, none, 1.0) == 1.0
    assert resting_share(10 * along, none, 1.0) == 0.0
    assert resting_share(along, none, 2.5) == pytest.approx(4 / 20)  # two neighbours on each side
    # one star stays where it is while the field turns about it
    assert resting_share(np.hstack([none, 10 * along]), np.hstack([none, none]), 1.0) == 1.0
    assert resting_share([[1.0]], [[1.0]], 1.0) == 1.0
