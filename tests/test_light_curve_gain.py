"""Errors of light curves over the nights of a store whose camera's gain is not known."""

import numpy as np
import pytest
import xarray as xr
from flux_night import flux_night
from store_night import append, make_night

import dphot
from dphot import summaries
from dphot.store import Store

GAIN = 8.0
LEVEL = 4e5 * 10 ** (-0.4 * np.random.default_rng(1).uniform(0, 5.5, 60))
DAYS = (1, 2, 3)


def series(place, gain, level=LEVEL, frames=60, days=DAYS):
    """A store of nights with three apertures, in the middle of which the stars scatter by known noise alone."""
    store = Store.create(place, {})
    for day in days:
        kinds = (flux_night(level, frames, [day, k], gain, hidden=h) for k, h in enumerate((4e-3, 0.0, 4e-3)))
        fluxes = xr.concat(kinds, "aperture", data_vars="minimal", coords="minimal", compat="override")
        made = make_night(day, frames, len(level))
        names = [k for k in made.variables if k in ("digest", "night", "path", "bjd_tdb", "flip", "time")]
        fluxes["star_flux"] = "star", np.asarray(level) / (gain or 1.0)
        append(store, "r", made[names].assign(fluxes.variables).assign_attrs(fluxes.attrs))
    return Store.open(store.path)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """The same electrons in ADU of a gain that only the stars tell."""
    return series(tmp_path_factory.mktemp("told") / "x", GAIN)


@pytest.mark.parametrize("target", [2, 5])
def test_errors_are_the_scatter_about_the_truth(told, target):
    """No star varies: 180 points of a star, a standard error of 0.05 of their deviation, less over all stars."""
    lc = dphot.light_curve(told, target=target, aperture=1)
    found, error = lc.attrs["gain_from_scatter"], lc.attrs["gain_from_scatter_err"]
    assert abs(found - GAIN) < 3 * error and error < 0.1 * GAIN
    pulls = (lc.diff_flux.values[:, 0] - 1) / lc.diff_err.values[:, 0]
    assert pulls[:, target].std() == pytest.approx(1, abs=0.16)
    assert np.median(pulls.std(axis=0)) == pytest.approx(1, abs=0.05)


def test_weights_and_errors_are_those_of_a_known_gain(told, tmp_path):
    known, lc = (
        dphot.light_curve(store, target=2, aperture=1) for store in (series(tmp_path / "x", None), told)
    )
    assert "gain_from_scatter" not in known.attrs
    np.testing.assert_allclose(lc.diff_err.values, known.diff_err.values, rtol=0.1)
    np.testing.assert_allclose(lc.weight.values, known.weight.values, atol=0.1 * known.weight.values.max())


def test_the_gain_is_that_of_differential_in_whatever_aperture_and_order(told, tmp_path):
    whole = dphot.differential(told.photometry["r"].load(), target=2)
    for store in (told, series(tmp_path / "x", GAIN, days=DAYS[::-1])):
        for aperture in (0, 1):
            lc = dphot.light_curve(store, target=2, aperture=aperture)
            assert all(lc.attrs[k] == whole.attrs[k] for k in summaries.GAIN)
            error = whole.diff_err.values[:, aperture, 2]
            np.testing.assert_allclose(lc.diff_err.values[:, 0, 2], error, rtol=0.1)


def test_a_gain_that_is_not_told_is_told_of(tmp_path):
    """Three stars in a few frames tell nothing."""
    lc = dphot.light_curve(series(tmp_path / "x", 2.0, [4e5, 2e5, 1e5], frames=6, days=(1, 2)), target=0)
    assert all(np.isnan(lc.attrs[k]) for k in summaries.GAIN) and np.isfinite(lc.diff_flux.values).all()
    assert f"  {summaries.NO_GAIN}" in summaries.curve_lines(
        summaries.curve_summary(lc.assign_attrs(filter="r"))
    )
