"""Differential photometry of measured frames: what was put in comes back, and wrong requests are named."""

import re

import numpy as np
import pytest
import xarray as xr
from grid_field import grid_simulation

import dphot
from dphot import simulate
from dphot.differential import find_star
from dphot.errors import InputError
from dphot.flags import FrameFlag, StarFlag
from dphot.summaries import curve_lines, curve_summary


@pytest.fixture(scope="module")
def obs(tmp_path_factory):
    """Twenty-four frames in which star 3 follows a 5 % sinusoid, and star 6 varies more."""
    signal = simulate.Signal.sinusoid(0.05, 60.0)
    spec = grid_simulation(
        frames=24, signal=signal, variables=((6, simulate.Signal.sinusoid(0.3, 37.0)),), flip=0.0, scintillation=0.0,
        flats=9,
    )  # fmt: skip
    table = dphot.FrameTable.from_records(simulate.simulated_records(spec))
    store = dphot.reduce(table, tmp_path_factory.mktemp("lc") / "x", workers=0, stack=False)
    measured = store.photometry["r"].load()
    truth = simulate.truth(simulate.prepare(spec))
    return measured, truth


def star_at(obs, truth, star):
    k = list(truth.path.values).index(obs.attrs["reference"].rpartition("#")[2])
    return find_star(obs, (float(truth.x.values[k, star]), float(truth.y.values[k, star])))


def test_the_signal_comes_back_within_its_errors(obs):
    obs, truth = obs
    star = star_at(obs, truth, 3)
    lc = dphot.differential(obs, target=star)
    a = lc.attrs["aperture"]
    curve, error = lc.diff_flux.values[:, a, star], lc.diff_err.values[:, a, star]
    true = truth.relative.values[:, 3]
    residual = curve / np.median(curve) - true / np.median(true)
    assert np.std(residual) < 2.0 * np.median(error) and np.std(residual) < 0.004
    assert np.std(true) > 0.03


def test_variable_saturated_and_unfit_stars_lose_their_weight(obs):
    obs, truth = obs
    star, variable, bright = (star_at(obs, truth, i) for i in (3, 6, 0))
    lc = dphot.differential(obs, target=star)
    weight = lc.weight.values[lc.attrs["aperture"]]
    assert weight[star] == 0 and weight[bright] == 0 and weight[variable] < 0.02 * weight.max()
    assert abs(weight.sum() - 1) < 1e-9
    assert star not in lc.attrs["comparisons"] and bright not in lc.attrs["comparisons"]
    assert lc.attrs["comparisons"][0] == int(np.argmax(weight))


def test_a_star_at_the_edge_is_compared_with_in_the_apertures_that_fit(obs):
    """Star 4 comes so near the edge that all but its small apertures leave the frame for a third of the night."""
    obs, truth = obs
    star, other = star_at(obs, truth, 3), star_at(obs, truth, 4)
    cut = obs.copy(deep=True)
    cut["flags"][:8, other] |= int(StarFlag.EDGE)
    cut["flux"][:8, 12:, other] = np.nan
    weight, before = (dphot.differential(each, target=star).weight.values for each in (cut, obs))
    np.testing.assert_array_equal(weight[:12], before[:12])
    assert (before[6:20, other] > 0).all() and (weight[12:, other] == 0).all()


def test_a_lost_frame_gives_nan_and_changes_nothing_else(obs):
    obs, truth = obs
    star = star_at(obs, truth, 3)
    lost = obs.copy(deep=True)
    lost["frame_flags"][5] |= int(FrameFlag.ALIGN_FAILED)
    lost["flux"][5] = 1e6  # whatever stands there must not count
    lc = dphot.differential(lost, target=star, aperture=8)
    without = dphot.differential(obs.isel(time=np.arange(24) != 5), target=star, aperture=8)
    assert np.isnan(lc.diff_flux.values[5]).all()
    np.testing.assert_allclose(np.delete(lc.diff_flux.values, 5, 0), without.diff_flux.values, rtol=1e-9)


def test_a_flagged_point_of_a_comparison_weighs_nothing(obs):
    obs, truth = obs
    star, other = star_at(obs, truth, 3), star_at(obs, truth, 4)
    bad = obs.copy(deep=True)
    bad["flux"][7, :, other] *= 3
    bad["flags"][7, other] |= int(StarFlag.SATURATED)
    curve = dphot.differential(bad, target=star, aperture=8).diff_flux.values[:, 8, star]
    good = dphot.differential(obs, target=star, aperture=8).diff_flux.values[:, 8, star]
    np.testing.assert_allclose(curve, good, rtol=0.01)


def test_stars_are_found_by_index_position_and_text(obs):
    obs, _ = obs
    x, y = float(obs.star_x[4]), float(obs.star_y[4])
    assert (
        find_star(obs, 4)
        == find_star(obs, "4")
        == find_star(obs, (x + 1, y))
        == find_star(obs, f"{x:.1f},{y:.1f}")
        == 4
    )


def test_a_sky_position_needs_a_wcs(tmp_path):
    spec = grid_simulation(frames=4, wcs=True, flip=0.0)
    table = dphot.FrameTable.from_records(simulate.simulated_records(spec))
    obs = dphot.reduce(table, tmp_path / "x", workers=0, stack=False).photometry["r"].load()
    ra, dec = float(obs.star_ra[2]), float(obs.star_dec[2])
    assert abs(ra - spec.ra) < 0.1 and abs(dec - spec.dec) < 0.1
    assert find_star(obs, f"{ra:.6f}d,{dec:.6f}d") == 2
    with pytest.raises(InputError, match="no star within 10.0 arcsec"):
        find_star(obs, f"{ra:.6f}d,{dec + 1:.6f}d")


@pytest.mark.parametrize(
    "request_, message",
    [
        ({"target": 99}, "no star 99"), ({"target": -1}, "no star -1"), ({"target": "foo"}, "'foo' is neither"),
        ({"target": 5.0}, "5.0 is no star's index"), ({"target": (1, 2, 3)}, r"\(1, 2, 3\) is no star's index"),
        ({"target": "1,2"}, "the nearest is star"), ({"target": "10:00:00,+20:00:00"}, "no WCS"),
        ({"target": 0, "comparisons": [99]}, r"no stars \[99\]"), ({"target": 0, "comparisons": [0]}, "no star is left"),
        ({"target": 0, "exclude": list(range(25))}, "no star is left"), ({"target": 0, "aperture": 99}, "no aperture 99"),
    ],
)  # fmt: skip
def test_wrong_requests_are_named(obs, request_, message):
    with pytest.raises(InputError, match=message):
        dphot.differential(obs[0], **request_)


@pytest.mark.parametrize("as_", [tuple, np.array, xr.DataArray, lambda stars: np.array(stars, np.uint8)])
def test_stars_are_named_by_any_sequence_of_integers(obs, as_):
    expected = dphot.differential(obs[0], 0, comparisons=[1, 2, 3, 4], exclude=[2])
    found = dphot.differential(obs[0], 0, comparisons=as_([1, 2, 3, 4]), exclude=as_([2]))
    assert sorted(found.attrs["comparisons"]) == [1, 3, 4]
    xr.testing.assert_identical(found, expected)


@pytest.mark.parametrize("option", ["comparisons", "exclude"])
@pytest.mark.parametrize(
    "stars", [[True, 2], np.ones(25, bool), "12", 3, np.array(3), [1.5], [2.0], [[1, 2]], [None]]
)
def test_what_is_no_list_of_stars_is_named(obs, option, stars):
    with pytest.raises(InputError, match=rf"{option}: {re.escape(repr(stars))} is no list of star numbers"):
        dphot.differential(obs[0], 0, **{option: stars})


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_too_few_frames_are_said(obs, rows):
    with pytest.raises(InputError, match=f"measured in {rows} of {rows} frames; a light curve needs three"):
        dphot.differential(obs[0].isel(time=slice(0, rows)), target=1)


def test_of_three_frames_the_errors_tell_the_aperture(obs):
    """Two steps are the least in an aperture by chance; many nights of a frame or two have no more."""
    few = obs[0].isel(time=slice(0, 3))
    lc = dphot.differential(few, target=1)
    error = np.median(lc.diff_err.values[:, :, 1] / lc.diff_flux.values[:, :, 1], axis=0)
    assert lc.attrs["aperture"] == np.nanargmin(error) and np.isfinite(
        lc.scatter.values[lc.attrs["aperture"]]
    )
    nights = obs[0].assign(night=("time", np.arange(24).astype(str).astype(object)))
    whole, apart = (dphot.differential(one, target=3) for one in (obs[0], nights))
    error = np.nanmedian(apart.diff_err.values[:, :, 3] / apart.diff_flux.values[:, :, 3], axis=0)
    assert apart.attrs["aperture"] == np.nanargmin(error) != whole.attrs["aperture"]
    gone = few.copy(deep=True)
    gone["flux"][0, ::2, 1] = gone["flux"][1, 1::2, 1] = np.nan
    with pytest.raises(
        InputError, match="star 1 has 2 points in its fullest aperture, of 3 frames; it needs three"
    ):
        dphot.differential(gone, target=1)


def test_the_target_of_the_reduction_is_the_default(obs):
    obs, truth = obs
    star = star_at(obs, truth, 3)
    told = obs.assign_attrs(target=f"{float(obs.star_x[star]):.1f},{float(obs.star_y[star]):.1f}")
    assert dphot.differential(told).attrs["target"] == star


def test_without_one_it_is_the_brightest_star_that_is_measured_well(obs):
    """Not one that is saturated, or leaves the field, in most of the night."""
    obs = obs[0].copy(deep=True)
    assert (obs["flags"][:, 0] & int(StarFlag.SATURATED)).all() and dphot.differential(obs).attrs[
        "target"
    ] == 1
    obs["flux"][:12, :, 1] = np.nan
    assert dphot.differential(obs).attrs["target"] == 2
    obs["flags"][:] = int(StarFlag.SATURATED)  # all alike
    with pytest.raises(InputError, match="no star is left"):
        dphot.differential(obs)


@pytest.fixture(scope="module")
def crowded(tmp_path_factory):
    """A star that varies by 5 %, with one of half its light 7 px away, and one of a hundredth 15 px away."""
    places = grid_simulation().catalogue
    x, y, flux = places[3]
    spec = grid_simulation(
        frames=24, catalogue=(*places, (x + 7.0, y, 0.5 * flux), (x, y + 15.0, 0.01 * flux)), flip=0.0,
        scintillation=0.002, signal=simulate.Signal.sinusoid(0.05, 60.0), flats=9,
    )  # fmt: skip
    table = dphot.FrameTable.from_records(simulate.simulated_records(spec))
    store = dphot.reduce(table, tmp_path_factory.mktemp("crowded") / "x", workers=0, stack=False)
    return store, simulate.truth(simulate.prepare(spec))


@pytest.mark.parametrize("over_nights", [False, True])
def test_a_neighbour_does_not_dilute_what_a_star_varies_by(crowded, over_nights):
    store, truth = crowded
    obs = store.photometry["r"].load()
    star = star_at(obs, truth, 3)
    lc = dphot.light_curve(store, star) if over_nights else dphot.differential(obs, star)
    a = lc.attrs["aperture"]
    true, curve = truth.relative.values[:, 3], lc.diff_flux.values[:, a, star]
    slope = np.polyfit(true - true.mean(), curve / curve.mean(), 1)[0]
    assert abs(slope - 1) < 0.03 and lc.attrs["foreign_light"] < 0.03
    wide = dphot.differential(obs, star, aperture=12)
    curve = wide.diff_flux.values[:, 12, star]
    assert np.polyfit(true - true.mean(), curve / curve.mean(), 1)[0] < 0.75  # as the wide apertures see it
    assert wide.attrs["foreign_light"] == pytest.approx(0.5, abs=0.05)
    (warning,) = [line for line in curve_lines(curve_summary(wide)) if "other stars add" in line]
    assert "its variation is seen so much too small" in warning


def test_a_star_in_whose_aperture_the_target_shines_is_no_comparison(crowded):
    store, truth = crowded
    obs = store.photometry["r"].load()
    star = star_at(obs, truth, 3)
    near = [int(i) for i in np.flatnonzero(np.hypot(obs.star_x - obs.star_x[star], obs.star_y - obs.star_y[star]) < 18)
            if i != star]  # fmt: skip
    assert len(near) == 2
    lc = dphot.differential(obs, star)
    assert (lc.weight.values[12:, near] == 0).all()
    named = dphot.differential(obs, star, comparisons=[near[0], 1, 2], aperture=12)
    assert named.weight.values[12, near[0]] > 0  # who names it has it


def test_the_star_that_is_meant_stands_clear_of_the_edge(obs):
    measured, truth = obs
    bright = dphot.differential(measured).attrs["target"]
    cut = measured.copy(deep=True)
    cut["flux"][:, 12:, bright] = np.nan  # larger apertures leave the frame
    assert dphot.differential(cut).attrs["target"] != bright


def test_a_target_that_is_saturated_is_told(obs):
    measured, truth = obs
    lines = curve_lines(curve_summary(dphot.differential(measured, star_at(measured, truth, 0))))
    assert any("the target is saturated in 24 of 24 frames" in line for line in lines)
