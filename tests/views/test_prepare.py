"""The numbers behind the plots, against values known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from dphot.views import prepare


def test_bins_are_counted_from_the_first_point_and_empty_ones_left_out() -> None:
    time = np.array([10.0, 10.4, 11.2, 13.5])
    t, v, e, n = prepare.bin_series(time, np.array([1.0, 3.0, 5.0, 7.0]), np.full(4, 2.0), 1.0)
    np.testing.assert_allclose(t, [10.2, 11.2, 13.5])
    np.testing.assert_allclose(v, [2.0, 5.0, 7.0])
    np.testing.assert_allclose(e, [2 / np.sqrt(2), 2.0, 2.0])
    np.testing.assert_array_equal(n, [2, 1, 1])


def test_weights_follow_the_errors() -> None:
    value, error = np.array([0.0, 1.0]), np.array([1.0, 2.0])
    _, v, e, _ = prepare.bin_series(np.zeros(2), value, error, 1.0)
    assert v[0] == pytest.approx(0.2)  # (0 * 1 + 1 * 1/4) / (1 + 1/4)
    assert e[0] == pytest.approx(1 / np.sqrt(1.25))
    _, v, e, _ = prepare.bin_series(np.zeros(2), value, error, 1.0, weighted=False)
    assert v[0] == pytest.approx(0.5)
    assert e[0] == pytest.approx(np.sqrt(5) / 2)


def test_scatter_error_is_that_of_the_mean() -> None:
    value = np.random.default_rng(0).normal(0, 3.0, 4000)
    _, _, e, _ = prepare.bin_series(np.zeros(4000), value, None, 1.0, errors="scatter")
    assert e[0] == pytest.approx(value.std(ddof=1) / np.sqrt(4000))
    _, _, e, _ = prepare.bin_series(np.zeros(1), np.ones(1), None, 1.0, errors="scatter")
    assert np.isnan(e[0])


def test_bin_errors_are_honest() -> None:
    rng = np.random.default_rng(1)
    error = rng.uniform(0.5, 2.0, 20_000)
    _, v, e, _ = prepare.bin_series(np.arange(20_000.0), rng.normal(0, error), error, 10.0)
    assert np.std(v / e) == pytest.approx(1.0, abs=0.04)


def test_bins_leave_out_what_is_not_finite() -> None:
    time = np.array([0.0, 0.1, np.nan, 0.2])
    value = np.array([1.0, np.nan, 1.0, 3.0])
    _, v, _, n = prepare.bin_series(time, value, np.array([1.0, 1.0, 1.0, np.inf]), 1.0)
    assert v.tolist() == [1.0] and n.tolist() == [1]
    assert all(column.size == 0 for column in prepare.bin_series(time * np.nan, value))


@pytest.mark.parametrize("arguments", [{"width": 0.0}, {"errors": "none"}])
def test_bins_refuse_nonsense(arguments: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        prepare.bin_series(np.zeros(2), np.zeros(2), **arguments)


def test_smooth_scatter_is_sigma_for_noise_and_blind_to_slopes_and_gaps() -> None:
    noise = np.random.default_rng(5).normal(0, 2.0, 50_000)
    time = np.arange(50_000) * 1e-3
    assert prepare.smooth_scatter(time, noise + 3.0 * np.arange(50_000)) == pytest.approx(2.0, rel=0.02)
    stepped = np.where(np.arange(40) < 20, 0.0, 100.0) + np.arange(40)
    nights = np.where(np.arange(40) < 20, 0.0, 1.0) + np.arange(40) * 1e-3
    assert prepare.smooth_scatter(nights, stepped) == 0.0
    assert np.isnan(prepare.smooth_scatter(np.zeros(2), np.zeros(2)))


def test_precision_of_white_noise() -> None:
    rng = np.random.default_rng(3)
    time = np.arange(10_000) * 1e-4
    p = prepare.precision(time, 1 + rng.normal(0, 0.01, 10_000), np.full(10_000, 0.01), 1e-3)
    assert p["points"] == 10_000 and p["bins"] == pytest.approx(1000, abs=1)
    assert p["rms"] == pytest.approx(0.01, rel=0.03)
    assert p["binned_rms"] == pytest.approx(0.01 / np.sqrt(10), rel=0.1)
    assert p["binned_scatter"] == pytest.approx(0.01 / np.sqrt(10), rel=0.1)


def test_flips_lie_between_the_frames_of_one_night() -> None:
    time = np.array([0.0, 0.1, 0.2, 1.0, 1.1])
    assert prepare.flip_times(time, np.array([0, 0, 1, 0, 0])).tolist() == pytest.approx([0.15])
    assert prepare.flip_times(time, np.array([0, -1, 1, 1, 1])).tolist() == pytest.approx([0.1])


def test_limits_keep_everything_but_single_outliers() -> None:
    value = np.append(np.linspace(0, 1, 1000), [50.0, np.nan])
    low, high = prepare.limits(value)
    assert -0.2 < low < 0 and 1 < high < 2
    assert prepare.limits(np.array([np.nan])) == (0.0, 1.0)
    low, high = prepare.limits(np.full(5, 3.0))
    assert low < 3 < high


def test_scaled_covers_one_unit() -> None:
    level, low, high = prepare.scaled(np.linspace(-5, 15, 101), percent=0)
    assert (low, high) == (-5, 15)
    assert (level[0], level[-1]) == (-0.5, 0.5)
    assert prepare.scaled(np.full(3, 7.0))[0].tolist() == [0, 0, 0]
    assert np.isnan(prepare.scaled(np.full(3, np.nan))[1])


def test_scaled_tells_the_lowest_and_the_highest_though_it_scales_by_most() -> None:
    few = np.array([-10.9, -3.0, 0.0, 1.0, 2.0, 4.0, 9.0, 17.1])
    assert prepare.scaled(few)[1:] == (-10.9, 17.1)
    wild = np.append(np.linspace(0, 1, 1000), [50.0, np.nan])
    level, low, high = prepare.scaled(wild)
    assert (low, high) == (0.0, 50.0)
    assert np.ptp(level[:1000]) > 1.0 and level[1000] == 0.7
    level, low, high = prepare.scaled(np.append(np.zeros(999), 1.0))
    assert (low, high) == (0.0, 1.0) and (level[0], level[-1]) == (-0.5, 0.5)


def test_block_mean_keeps_the_level_and_the_places() -> None:
    image = np.full((50, 70), 4.0, np.float32)
    image[:10] = np.nan
    small, factor = prepare.block_mean(image, 20)
    assert factor == 4 and small.shape == (13, 18)
    assert np.nanmin(small) == np.nanmax(small) == 4.0
    assert np.isnan(small[:2]).all() and np.isfinite(small[3:]).all()
    assert prepare.block_mean(image, 70)[1] == 1


def test_stretch_orders_grey_levels_by_brightness() -> None:
    rng = np.random.default_rng(4)
    image = rng.normal(100, 5, (200, 200))
    image[100, 100], image[50, 50], image[0, 0] = 1e5, 1e4, np.nan
    grey = prepare.stretch(image)
    assert grey.dtype == np.uint8 and grey[0, 0] == 0
    assert grey[100, 100] == 255 and grey[50, 50] > np.median(grey) > 0
    assert (prepare.stretch(np.full((3, 3), np.nan)) == 0).all()


def test_radial_profile_of_a_cone() -> None:
    y, x = np.indices((21, 21))
    radius, value = prepare.radial_profile(10 - np.hypot(x - 9.3, y - 10.6), 9.3, 10.6)
    assert (np.diff(radius) >= 0).all()
    np.testing.assert_allclose(value, 10 - radius)


def test_noise_terms_in_their_limits() -> None:
    flux = np.array([1e2, 1e6])
    terms = prepare.noise_terms(flux, 50.0, 10.0, 1e9, 1e-3)
    np.testing.assert_allclose(terms["photons"], [0.1, 1e-3])
    np.testing.assert_allclose(terms["sky"], np.sqrt(50) * 10 / flux)  # a sky level known without error
    np.testing.assert_allclose(
        terms["total"] ** 2, sum(terms[k] ** 2 for k in ("photons", "sky", "scintillation"))
    )
    assert "scintillation" not in prepare.noise_terms(flux, 50.0, 10.0, 100.0, np.nan)


def test_read_noise_that_is_known_is_a_term_of_its_own() -> None:
    flux = np.array([1e2, 1e6])
    together = prepare.noise_terms(flux, 50.0, 10.0, 300.0, 1e-3)
    apart = prepare.noise_terms(flux, 50.0, 10.0, 300.0, 1e-3, read_noise=6.0)
    np.testing.assert_allclose(apart["read noise"], np.sqrt(50) * 6 / flux)
    np.testing.assert_allclose(apart["dark sky"] ** 2 + apart["read noise"] ** 2, together["sky"] ** 2)
    np.testing.assert_allclose(apart["total"], together["total"])
