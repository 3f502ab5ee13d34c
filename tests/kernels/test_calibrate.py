"""Calibration arithmetic, masks, overscan and the saturation level."""

import os
from pathlib import Path

import numpy as np
import pytest

from dphot.errors import InputError
from dphot.flags import PIXEL_BAD, PIXEL_NONFINITE, PIXEL_NONLINEAR, PIXEL_SATURATED
from dphot.kernels.calibrate import calibrate, estimate_saturation, overscan_correct, pixel_mask


@pytest.mark.parametrize("dtype", ["u2", ">i2", "f4", "u1"])
def test_calibrate_inverts_the_camera(dtype):
    rng = np.random.default_rng(0)
    truth = rng.uniform(20, 40, (40, 50))
    limits = ((5, 9), (0, 0.1), (0.9, 1.1))
    bias, rate, flat = (rng.uniform(low, high, truth.shape).astype("f4") for low, high in limits)
    raw = (truth * flat + bias + rate * 30).round().astype(dtype)
    found = calibrate(raw, bias, rate, flat, 30.0)
    assert found.dtype == np.float32 and found.flags.c_contiguous
    np.testing.assert_allclose(found, (raw.astype("f8") - bias - rate * 30.0) / flat, rtol=1e-5)
    np.testing.assert_allclose(found, truth, atol=0.6)


def test_a_linearity_correction_counts_from_the_bias_and_comes_before_dark_and_flat():
    rng = np.random.default_rng(4)
    true = rng.uniform(100, 50000, (30, 40))
    # the camera answers with s where s (1 + c1 s + c2 s^2) is the truth
    c1, c2 = 2e-6, -1e-11
    seen = np.interp(true, (s := np.linspace(0, 60000, 200001)) * (1 + c1 * s + c2 * s**2), s)
    bias, rate, flat = (np.full(true.shape, v, "f4") for v in (300.0, 2.0, 0.8))
    found = calibrate(seen + 300.0, bias, rate, flat, 10.0, (c1, c2))
    np.testing.assert_allclose(found, (true - 20.0) / 0.8, rtol=1e-6)


def test_calibrate_nan_stays_and_dead_flat_is_nan():
    zeros, ones = np.zeros((2, 3), "f4"), np.ones((2, 3), "f4")
    flat = np.array([[1, 0, -1], [np.nan, 2, 1]], "f4")
    raw = np.array([[4, 4, 4], [4, 4, np.nan]], "f4")
    expected = [[4, np.nan, np.nan], [np.nan, 2, np.nan]]
    np.testing.assert_array_equal(calibrate(raw, zeros, zeros, flat, 1), expected)
    assert calibrate(np.full((2, 3), -7, "i2"), zeros, zeros, ones, 1).min() == -7
    with pytest.raises(InputError, match=r"`flat` has shape \(3, 2\)"):
        calibrate(raw, zeros, zeros, np.ones((3, 2), "f4"), 1)


def test_the_hollow_core_of_a_saturated_star_is_saturated():
    row = np.array(
        [[900, 65535, 65535, 61000, 50000, 63000, 65535, 2000, 65535, 40000, 900, 65535]], np.uint16
    )
    assert (pixel_mask(row, None, 65535.0) == PIXEL_SATURATED).tolist() == [
        [False, True, True, True, True, True, True, False, True, False, False, True]
    ]


def test_pixel_mask_bits():
    raw = np.array([[0, 999, 1000], [1001, 5000, 6000]], "u2")
    bad = np.zeros(raw.shape, bool)
    bad[0, 1] = True
    both = PIXEL_SATURATED | PIXEL_NONLINEAR
    np.testing.assert_array_equal(
        pixel_mask(raw, bad, 5000, 1000), [[0, PIXEL_BAD, 0], [PIXEL_NONLINEAR, both, both]]
    )
    assert not pixel_mask(raw, None, np.nan).any()
    strange = np.array([[np.nan, np.inf, -np.inf, 1]], "f4")
    expected = [[PIXEL_NONFINITE, PIXEL_NONFINITE | PIXEL_SATURATED, PIXEL_NONFINITE, 0]]
    np.testing.assert_array_equal(pixel_mask(strange, None, 10.0), expected)
    with pytest.raises(InputError, match="`bad` has shape"):
        pixel_mask(raw, np.zeros((5, 5), bool), 1.0)


def test_overscan_by_row_follows_a_drifting_level():
    rng = np.random.default_rng(1)
    level = 300 + 5 * np.sin(np.arange(200) / 20)
    raw = (level[:, None] + rng.normal(0, 3, (200, 160))).round().astype("u2")
    raw[50, 150] = 9000  # a cosmic ray in the strip
    found = overscan_correct(raw, (slice(0, 200), slice(120, 160)))
    assert found.dtype == np.float32 and found.shape == raw.shape
    assert abs(found[:, :120].mean(axis=1)).max() < 4 * 3 * np.sqrt(1 / 40 + 1 / 120)
    assert abs(found[:, :120].mean()) < 0.1


def test_overscan_across_the_top_is_one_level():
    raw = np.full((100, 80), 150.0, "f4")
    raw[:10] = 100.25
    raw[3, 3] = np.nan
    found = overscan_correct(raw, (slice(0, 10), slice(0, 80)))
    np.testing.assert_array_equal(found[10:], np.float32(49.75))
    with pytest.raises(InputError, match="overscan"):
        overscan_correct(raw, (slice(0, 0), slice(0, 80)))


def test_deep_overscan_across_the_top_follows_the_columns():
    rng = np.random.default_rng(3)
    level = 300 + rng.normal(0, 5, 80)
    raw = (level + rng.normal(0, 3, (200, 80))).astype("f4")
    found = overscan_correct(raw, (slice(150, 200), slice(0, 80)))
    assert abs(found[:150].mean(axis=0)).max() < 4 * 3 * np.sqrt(1 / 50 + 1 / 150)


def stars(ceiling, n=40, seed=0, size=200, dtype="u2"):
    rng = np.random.default_rng(seed)
    ys, xs = np.mgrid[:size, :size]
    image = rng.normal(500, 10, (size, size))
    for flux in 10 ** rng.uniform(2, 5.3, n):
        x, y = rng.uniform(10, size - 10, 2)
        image += flux / 2 * np.exp(-0.5 * ((xs - x) ** 2 + (ys - y) ** 2) / 4)
    return np.minimum(image, ceiling).round().astype(dtype)


@pytest.mark.parametrize("ceiling", [1500, 4095, 30000, 50000, 65535])
@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_saturation_is_found(ceiling, dtype):
    assert estimate_saturation(stars(ceiling, dtype=dtype)) == ceiling


def test_no_saturation_where_nothing_piles_up():
    rng = np.random.default_rng(2)
    for seed in range(10):
        assert np.isnan(estimate_saturation(stars(1e9, seed=seed, dtype="f4")))
    for width in (0.3, 1, 3, 10, 100):
        assert np.isnan(estimate_saturation(rng.normal(1000, width, (300, 300)).round().astype("u2")))
    assert np.isnan(estimate_saturation(np.zeros((5, 5), "u2")))
    assert np.isnan(estimate_saturation(np.full((5, 5), np.nan)))


def test_saturation_ignores_nan():
    image = stars(30000, dtype="f4")
    image[0, :5] = np.nan, np.inf, -np.inf, np.nan, np.nan
    assert estimate_saturation(image) == 30000


@pytest.mark.real
def test_saturation_of_a_12_bit_camera():
    folder = Path(os.environ.get("DPHOT_DATA", "")) / "hatp32"
    if "DPHOT_DATA" not in os.environ or not folder.is_dir():
        pytest.skip("no hatp32 folder under DPHOT_DATA")
    from astropy.io import fits

    for path in sorted(folder.glob("*.FITS.gz"))[::60]:
        assert estimate_saturation(fits.getdata(path)) == 4095
