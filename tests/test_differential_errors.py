"""Errors of light curves are the scatter about the truth, from bright to faint, the gain known or not."""

import numpy as np
import pytest
from flux_night import flux_night
from grid_field import grid_simulation

import dphot
from dphot import simulate

#: From 10 % below saturation (a peak of 59,000 e- at FWHM 4 px) to a signal-to-noise of 5.
LEVELS = 1.2e6 * np.geomspace(1, 5e-4, 12)


def pulls(lc):
    """Deviations from the median in standard deviations; the truth is 1, and the median of the samples is 1."""
    return (lc.diff_flux.values - 1) / lc.diff_err.values


@pytest.mark.parametrize("target", [0, 5])
@pytest.mark.parametrize("scintillation", [0.0, 3e-3])
def test_pulls_are_those_of_a_normal_distribution(scintillation, target):
    """From 13,000 points a star: standard errors of 0.009 of the mean and 0.006 of the deviation."""
    obs = flux_night(LEVELS, frames=1000, seed=1, scintillation=scintillation, samples=13)
    found = pulls(dphot.differential(obs, target=target))
    assert LEVELS[-1] / obs.flux_err.values[:, :, -1].mean() == pytest.approx(5, abs=0.6)
    np.testing.assert_allclose(found.std(axis=(0, 1)), 1, atol=0.03)
    np.testing.assert_allclose(found.mean(axis=(0, 1)), 0, atol=0.03)


def test_pulls_with_few_comparisons():
    """One or two comparisons: the ensemble's own noise is as large as the target's, and the same in all points."""
    obs = flux_night([3e5, 2e5, 1e5], frames=1000, seed=2, samples=13)
    for comparisons in ([1], [1, 2]):
        found = pulls(dphot.differential(obs, target=0, comparisons=comparisons))[:, :, 0]
        assert found.std() == pytest.approx(1, abs=0.03) and found.mean() == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize(("gain", "hidden"), [(0.6, 0.0), (2.5, 2e-3), (20.0, 0.0)])
def test_an_unknown_gain_is_told_by_the_scatter(gain, hidden):
    """Twenty fields of 24 stars and 24 frames: right within its error, which is small enough to be of use."""
    off = []
    for seed in range(20):
        level = 4e5 * 10 ** (-0.4 * np.random.default_rng(seed).uniform(0, 5.5, 24))
        lc = dphot.differential(flux_night(level, 24, seed, gain=gain, hidden=hidden), target=2)
        found, error = lc.attrs["gain_from_scatter"], lc.attrs["gain_from_scatter_err"]
        off.append((gain / found - 1) * found / error)
    known = np.isfinite(off)
    assert known.sum() >= 15 and abs(np.mean(np.array(off)[known])) < 3.5 / np.sqrt(known.sum())
    assert np.nanmax(np.abs(off)) < 4


def test_errors_with_a_gain_from_the_scatter():
    level = 4e5 * 10 ** (-0.4 * np.random.default_rng(1).uniform(0, 5.5, 100))
    told = dphot.differential(flux_night(level, 200, 3, gain=8.0), target=2)
    known = dphot.differential(flux_night(level, 200, 3), target=2)
    assert told.attrs["gain_from_scatter"] == pytest.approx(8.0, rel=0.1)
    assert "gain_from_scatter" not in known.attrs
    np.testing.assert_allclose(told.diff_err.values, known.diff_err.values, rtol=0.1)
    np.testing.assert_allclose(told.diff_flux.values[..., 2], known.diff_flux.values[..., 2], rtol=1e-3)


def test_a_gain_that_is_not_told_is_nan():
    """Three stars in twelve frames tell nothing: the light curve is there, the gain is not."""
    lc = dphot.differential(flux_night([4e5, 2e5, 1e5], 12, 1, gain=2.0), target=0)
    assert np.isnan(lc.attrs["gain_from_scatter"]) and np.isnan(lc.attrs["gain_from_scatter_err"])
    assert np.isfinite(lc.diff_flux.values).all()


@pytest.fixture(scope="module")
def reduced(tmp_path_factory):
    """A function from changes to a simulation of 24 isolated stars to its photometry, measured by the pipeline."""

    def measure(told, **changes):
        spec = grid_simulation(flip=0.0, scintillation=0.0, **changes)
        records = [dict(r) for r in simulate.simulated_records(spec)]
        for record in records:
            record["gain"] = record["gain"] if told else np.nan
        table = dphot.FrameTable.from_records(records)
        store = dphot.reduce(table, tmp_path_factory.mktemp("errors") / "x", workers=0, stack=False)
        return store.photometry["r"].load()

    return measure


@pytest.mark.slow
def test_the_gain_comes_back_through_the_whole_pipeline(reduced):
    """No flat at all, so that nothing but the stars tells it."""
    even = {"pixel_response": 0.0, "vignetting": 0.0, "dust": 0, "hot_pixels": 0.0, "dead_pixels": 0.0}
    obs = reduced(False, frames=24, gain=2.5, flats=0, **even)
    lc = dphot.differential(obs, target=3)
    found, error = lc.attrs["gain_from_scatter"], lc.attrs["gain_from_scatter_err"]
    assert obs.attrs["flux_unit"] == "ADU" and abs(found - 2.5) < 3 * error and error < 0.3 * found


@pytest.mark.slow
def test_pulls_through_the_whole_pipeline(reduced):
    """24 stars in 220 frames, in the apertures of 0.85 to 2.6 FWHM: standard error of the deviation 0.01."""
    obs = reduced(True, frames=220, flats=30, bias=30, darks=30)
    lc = dphot.differential(obs, target=3)
    clean = (obs.flags.values == 0)[:, None, :]
    for a in (4, 6, 8, 10):
        found = pulls(lc)[:, a : a + 1][clean].ravel()
        assert found.std() == pytest.approx(1, abs=0.03) and abs(found.mean()) < 0.03
