"""What goes into a plot: one star and aperture, flagged points known, errors that name the cure."""

from __future__ import annotations

import numpy as np
import pytest
import views_factory as factory
import xarray as xr

from dphot.errors import InputError
from dphot.flags import FrameFlag, StarFlag
from dphot.summaries import curve_summary
from dphot.views import drawn, facts, sections, select


def test_curve_is_the_targets_in_the_best_aperture(lc: xr.Dataset) -> None:
    c = select.curve(lc)
    best = lc.attrs["aperture"]
    assert (c.star, c.aperture, c.offset, c.scale) == (0, best, 2461000, "BJD (TDB)")
    assert c.time.size == lc.sizes["time"] - 1  # one frame could not be read
    np.testing.assert_array_equal(c.flux, lc.diff_flux.values[c.rows, best, 0])
    np.testing.assert_allclose(c.time + c.offset, lc.bjd_tdb.values[c.rows])


def test_flagged_points_are_those_that_speak_against_a_point(lc: xr.Dataset) -> None:
    c = select.curve(lc)
    saturated = (lc.flags.values[c.rows, 0] & int(StarFlag.SATURATED)) != 0
    assert c.flagged[saturated].all() and c.reason[int(np.flatnonzero(saturated)[0])] == "SATURATED"
    assert {"CLOUD", "SATURATED", "none"} == set(c.reason)
    clouded = (lc.frame_flags.values[c.rows] & int(FrameFlag.CLOUD)) != 0
    assert [reason != "none" for reason in c.reason] == c.flagged.tolist()
    assert ["CLOUD" in reason for reason in c.reason] == clouded.tolist()
    always = select.curve(lc, target=6)  # a neighbour in every frame: not a matter of single points
    assert set(always.reason) == {"CLOUD", "none"}


@pytest.mark.parametrize("folder", ["/raw/a night/", "C:\\raw\\a night\\", ""])
def test_frames_are_named_without_their_folder(lc: xr.Dataset, folder: str) -> None:
    names = [f"light-{i:04d}.fits" for i in range(lc.sizes["time"])]
    lc["path"] = "time", np.array([folder + name for name in names], object)
    c = select.curve(lc)
    assert list(c.frame) == [names[i] for i in c.rows]


def test_unfit_points_are_flagged_even_if_all_are() -> None:
    always, once = np.full(9, int(StarFlag.SATURATED)), np.array([int(StarFlag.COSMIC)] + 8 * [0])
    assert select.telling_bits(always) & StarFlag.SATURATED
    assert select.telling_bits(once) & StarFlag.COSMIC
    assert not select.telling_bits(np.full(9, int(StarFlag.BAD_PIXEL))) & StarFlag.BAD_PIXEL


def test_what_is_set_wherever_a_star_was_measured_speaks_against_no_point() -> None:
    lc = factory.make_lc()
    lc["flags"][:, 3] = 0
    lc["flags"][:80, 3] = int(StarFlag.BAD_PIXEL)
    lc["diff_flux"][80:, :, 3] = np.nan  # on the other side of the pier it lies off the frame
    assert select.curve(lc, target=3).good.sum() > 70


def test_marks_and_bins_do_not_hide_a_month() -> None:
    one, month = select.curve(factory.make_lc()), select.curve(factory.make_lc(frames=360, nights=30))
    assert one.flips.size == 1 and month.flips.size == 0 and len(set(month.flip)) == 2
    assert one.has_bins(0.005) and not month.has_bins(0.005) and month.has_bins(0.1)
    assert not one.has_bins(0.0)


def test_the_line_of_the_truth_breaks_between_nights() -> None:
    lc = factory.make_lc(nights=3)
    c, truth = select.curve(lc), factory.make_truth(lc.bjd_tdb.values)
    time, flux = drawn.truth_line(c, truth)
    assert np.isnan(flux).sum() == 2 and (np.diff(time) > 0).all()
    np.testing.assert_array_equal(flux[np.isfinite(flux)], drawn.scaled_truth(c, truth))


def test_a_target_of_any_amplitude_is_within_the_axis_of_the_comparisons(lc: xr.Dataset) -> None:
    strong = lc.copy(deep=True)
    strong["diff_flux"][:60, :, 0] += 0.3
    curves, _, level = drawn.comparison_rows(strong, None, 15)
    low, high = drawn.row_limits(curves, level)
    good = curves[0].flux[curves[0].good] - 1
    assert high > np.percentile(good, 99) and low < level[-1]


def test_utc_where_barycentric_times_are_not_known(lc: xr.Dataset) -> None:
    c = select.curve(lc.assign(bjd_tdb=lc.bjd_tdb * np.nan))
    assert c.scale == "JD (UTC)"
    np.testing.assert_allclose(c.time + c.offset, lc.jd_utc.values[c.rows])


def test_rows_come_in_time_order(lc: xr.Dataset) -> None:
    mixed = lc.isel(time=np.random.default_rng(0).permutation(lc.sizes["time"]))
    assert (np.diff(select.curve(mixed).time) > 0).all()
    np.testing.assert_array_equal(select.curve(mixed).flux, select.curve(lc).flux)


def test_all_stars_share_the_offset(lc: xr.Dataset) -> None:
    two = factory.make_lc(nights=2)
    late = two.diff_flux.copy()
    late[: two.sizes["time"] // 2, :, 1] = np.nan
    assert {select.curve(two.assign(diff_flux=late), star).offset for star in (0, 1)} == {2461000}


def test_one_night(lc: xr.Dataset) -> None:
    two = factory.make_lc(nights=2)
    c = select.curve(two, night="2025-11-22")
    assert set(c.night) == {"2025-11-22"} and c.offset == 2461001


@pytest.mark.parametrize(
    ("change", "arguments", "named"),
    [
        ({}, {"target": 99}, "target = 99.*0 to 39"),
        ({}, {"aperture": -1}, "aperture = -1.*0 to 5"),
        ({}, {"night": "1999-01-01"}, "1999-01-01.*2025-11-21"),
        ({"drop": "diff_flux"}, {}, r"diff_flux.*dphot\.differential"),
        ({"attrs": {}}, {}, "no target is known"),
        ({"blank": 3}, {"target": 3}, "star 3 .* no measured point"),
    ],
)
def test_errors_name_the_value_and_the_cure(
    lc: xr.Dataset, change: dict, arguments: dict, named: str
) -> None:
    if "drop" in change:
        lc = lc.drop_vars(change["drop"])
    if "attrs" in change:
        lc = lc.drop_attrs()
    if "blank" in change:
        lc = lc.assign(diff_flux=lc.diff_flux.where(np.arange(lc.sizes["star"]) != change["blank"]))
    with pytest.raises(InputError, match=named):
        select.curve(lc, **arguments)


def test_comparisons_come_heaviest_first(lc: xr.Dataset) -> None:
    aperture = lc.attrs["aperture"]
    stars = select.comparisons(lc, aperture, 0)
    assert sorted(stars) == sorted(lc.attrs["comparisons"])
    assert (np.diff(lc.weight.values[aperture][stars]) <= 0).all()
    assert select.comparisons(lc, aperture, 0, 3) == stars[:3]


def test_comparison_rows_do_not_overlap(lc: xr.Dataset) -> None:
    curves, labels, level = drawn.comparison_rows(lc, None, 15)
    assert len(curves) == len(labels) == len(level) == 16
    assert curves[0].star == 0 and labels[0].startswith("target 0")
    assert (np.diff(level) < 0).all()
    lowest = np.percentile(curves[0].flux[curves[0].good], 1) - 1
    assert lowest > level[1]


def test_a_comparison_without_points_is_left_out(lc: xr.Dataset) -> None:
    lc = lc.assign(diff_flux=lc.diff_flux.where(np.arange(lc.sizes["star"]) != 1))
    assert 1 not in [c.star for c in drawn.comparison_rows(lc, None, 15)[0]]


def test_truth_is_laid_on_the_good_points(lc: xr.Dataset) -> None:
    c = select.curve(lc)
    laid = drawn.scaled_truth(c, 1234.5 * factory.make_truth(lc.bjd_tdb.values))
    residual = (c.flux - laid)[c.good]
    assert abs(np.median(residual)) < 3e-4 and residual.std() < 3.5e-3
    assert laid.max() / laid.min() == pytest.approx(1 / (1 - factory.DEPTH))


def test_the_half_turn_of_a_flip_does_not_hide_the_rotation(lc: xr.Dataset) -> None:
    table = {
        label.split("\n")[0]: values for label, values, _, _ in drawn.disturbances(lc, None, None, None)[1]
    }
    assert np.abs(table["rotation"]).max() < 0.1
    assert set(table) == {"diff. flux", "dx", "dy", "FWHM", "airmass", "sky", "rotation", "flip"}


def test_rows_tell_the_lowest_and_the_highest_value(lc: xr.Dataset) -> None:
    lc = lc.assign(dx=lc.dx.copy(data=np.linspace(-1, 1, lc.sizes["time"])))
    lc["dx"][5], lc["dx"][9] = -10.94, 17.12
    labels = [label for label, *_ in drawn.disturbances(lc, None, None, None)[1]]
    assert "dx\n−10.9 to 17.1 px" in labels
    good = select.curve(lc).flux[select.curve(lc).good]
    assert labels[0] == f"diff. flux\n{good.min():.4f} to {good.max():.4f}"


def test_noise_model_needs_electrons(lc: xr.Dataset) -> None:
    assert drawn.precision_table(lc)["terms"]
    assert not drawn.precision_table(lc.assign_attrs(flux_unit="ADU"))["terms"]


def test_noise_model_meets_the_scatter(lc: xr.Dataset) -> None:
    """The invented stars scatter by photons, sky and 1.2 ppt; the model holds all but that."""
    table = drawn.precision_table(lc)
    use = np.isfinite(table["scatter"]) & (table["flux"] < 1e5)
    expected = np.interp(table["flux"][use], table["grid"], table["terms"]["total"] * 1e3)
    assert np.median(table["scatter"][use] / expected) == pytest.approx(1.0, abs=0.08)


def test_the_scatter_of_the_target_is_one_number_everywhere(lc: xr.Dataset) -> None:
    """Its name stands on tiles, in facts, labels, tables and plots; commands tell the dataset's."""
    best = lc.attrs["aperture"]
    lc = lc.assign(scatter=("aperture", 0.04 + 0.001 * np.arange(lc.sizes["aperture"])))
    told = facts.ppt(0.04 + 0.001 * best)
    assert dict(facts.facts(lc))["Point-to-point scatter"] == f"{told} per frame"
    assert f"{facts.ppt(0.041)} per frame" in dict(facts.facts(lc, aperture=1)).values()
    tiles = {name: value for value, name in sections.Sections(lc, [])._cards()}
    assert tiles["point-to-point scatter per frame"] == told
    assert told in drawn.comparison_rows(lc, None, 3)[1][0]
    assert drawn.precision_table(lc)["scatter"][0] == pytest.approx(40 + best)
    assert facts.ppt(facts.aperture_rows(lc)[best]["scatter"]) == told


def test_the_expected_noise_is_that_of_the_points_that_scatter(lc: xr.Dataset) -> None:
    best = lc.attrs["aperture"]
    lc = lc.copy(deep=True)
    lc["frame_flags"][:100] |= int(FrameFlag.CLOUD)
    lc["diff_err"][:100, best, 0] *= 5
    told = curve_summary(lc)
    said = dict(facts.facts(lc))
    assert said["Noise model expects"].startswith(f"{facts.ppt(told['expected'])} per frame")
    assert said["Point-to-point scatter"].startswith(f"{facts.ppt(told['scatter'])} per frame")
    unknown = lc.assign(diff_err=lc.diff_err * np.nan)
    assert dict(facts.facts(unknown))["Noise model expects"].startswith("– per frame")


def test_the_scatter_of_another_star_is_what_it_were_as_the_target() -> None:
    lc = factory.make_lc(nights=60)
    best = lc.attrs["aperture"]
    step = np.where(np.unique(lc.night, return_inverse=True)[1] % 2, 2.7, 3.3)
    noise = 1 + np.random.default_rng(7).normal(0, 0.004, lc.sizes["time"])
    lc["diff_flux"][:, best, 5] = step * noise
    (scatter,) = select.point_scatter(lc, best, [5])
    assert scatter == pytest.approx(0.004, rel=0.15)  # of the median flux, steps between nights left out
    mixed = lc.isel(time=np.random.default_rng(0).permutation(lc.sizes["time"]))
    assert select.point_scatter(mixed, best, [5])[0] == pytest.approx(scatter)
    assert [row["scatter"] for row in facts.weight_rows(lc) if row["star"] == 5] == [scatter]


def test_flags_are_counted(lc: xr.Dataset) -> None:
    counts = {name: (mine, total) for name, mine, total in facts.flag_counts(lc, 0)}
    assert counts["SATURATED"] == (4, 4)
    assert counts["NEIGHBOUR"] == (0, lc.sizes["time"])
    assert counts["UNREADABLE"] == (1, None)
