"""Light curves over the nights of a store."""

import shutil

import dask
import numpy as np
import pytest
from flux_night import flux_night
from store_night import append, make_night

import dphot
from dphot import simulate
from dphot.errors import InputError
from dphot.store import Store
from dphot.summaries import curve_lines, curve_summary


@pytest.fixture(scope="module")
def two_nights(tmp_path_factory):
    """Two small simulated nights of one field, reduced, and the truth of each."""
    folder = tmp_path_factory.mktemp("two")
    folders = simulate.write_nights(
        folder, nights=2, frames=8, size=256, seed=3, stars=60, bias=3, darks=3, flats=3
    )
    return dphot.reduce([str(f) for f in folders], folder / "two.dphot", workers=0, stack=False)


def test_it_is_the_curve_of_differential_to_its_errors(two_nights):
    lc = dphot.light_curve(two_nights, target=5)
    (obs,) = two_nights.photometry.values()
    aperture = int(lc.aperture[0])
    whole = dphot.differential(obs, target=5, aperture=aperture)
    a, b = lc.diff_flux.values[:, 0, 5], whole.diff_flux.values[:, aperture, 5]
    err = whole.diff_err.values[:, aperture, 5]
    assert np.std((a - b) / err) < 0.5 and abs(np.median(a) - 1) < 1e-6
    np.testing.assert_allclose(lc.diff_err.values[:, 0, 5], err, rtol=0.2)
    assert (
        lc.attrs["target"] == 5 and 5 not in lc.attrs["comparisons"] and lc.weight.sum() == pytest.approx(1)
    )
    assert lc.sizes["time"] == 16 and lc.sizes["aperture"] == 1


def test_a_night_without_flats_changes_no_other(two_nights, tmp_path):
    """As if the lamp had failed: the pixels under the stars are felt in that night, and there alone."""
    store = dphot.open(shutil.copytree(two_nights.path, tmp_path / "three.dphot"))
    (folder,) = simulate.write_nights(
        tmp_path, night=2, frames=8, size=256, seed=3, stars=60, bias=3, darks=3, flats=0
    )
    store.append(folder, workers=0, calibration_days=0)
    (missing,) = store.nights[2]["series"][0]["calibration"]["missing"]
    assert missing.startswith("flat")
    before, after = (dphot.light_curve(one, target=5, aperture=8, exclude=[0]) for one in (two_nights, store))
    np.testing.assert_allclose(after.diff_flux[:16, 0, 5], before.diff_flux[:, 0, 5], rtol=1e-9)
    np.testing.assert_allclose(after.weight, before.weight, atol=1e-9)
    np.testing.assert_allclose(np.nanmedian(after.diff_flux[16:, 0, 5]), after.night_level[16, 0])


def test_offsets_of_the_nights_can_be_taken_off(two_nights):
    for lc in (
        dphot.light_curve(two_nights, target=2),
        dphot.differential(next(iter(two_nights.photometry.values())), 2),
    ):
        curve = (lc.diff_flux.isel(star=2) / lc.night_level).values
        for night in np.unique(lc.night.values.astype(str)):
            levels = np.nanmedian(curve[lc.night.values == night], axis=0)
            np.testing.assert_allclose(levels[np.isfinite(levels)], 1, rtol=1e-12)


def test_choices(two_nights):
    named = {"comparisons": np.array([0, 3, 4]), "exclude": np.array([3])}
    lc = dphot.light_curve(two_nights.path, target=1, aperture=7, **named)
    assert int(lc.aperture[0]) == 7 and sorted(lc.attrs["comparisons"]) == [0, 4]
    np.testing.assert_array_equal(
        lc.flux.values[:, 0], next(iter(two_nights.photometry.values())).flux.values[:, 7]
    )


def test_without_a_target_it_is_the_star_of_differential(two_nights, tmp_path):
    """The brightest measured well: in a camera that saturates earlier the second, by both ways."""
    early = dphot.reduce(two_nights, tmp_path / "early.dphot", workers=0, stack=False, saturation=7000)
    for store, star in ((two_nights, 0), (early, 1)):
        (obs,) = store.photometry.values()
        assert dphot.light_curve(store).attrs["target"] == dphot.differential(obs).attrs["target"] == star


def test_a_star_that_saturates_all_night_is_named(two_nights, tmp_path):
    early = dphot.reduce(two_nights, tmp_path / "early.dphot", workers=0, stack=False, saturation=3000)
    with pytest.raises(InputError, match="star 0 is measured well in no frame"):
        dphot.light_curve(early, target=0)


@pytest.mark.parametrize(("options", "message"), [
    ({"target": 999}, "no star 999"), ({"aperture": 99}, "no aperture 99"), ({"filter": "z"}, "holds"),
    ({"comparisons": [999]}, "no stars"), ({"exclude": [True]}, r"exclude: \[True\] is no list"), ({"comparisons": [0], "target": 0}, "no star is left"),
])  # fmt: skip
def test_what_is_not_there(two_nights, options, message):
    with pytest.raises(InputError, match=message):
        dphot.light_curve(two_nights, **options)


def test_neither_it_nor_its_plot_computes_a_dask_graph(two_nights):
    """Years of nights are read in seconds that way."""

    def forbidden(dsk, keys, **kwargs):
        raise AssertionError("a Dask graph was computed")

    with dask.config.set(scheduler=forbidden):
        lc = dphot.light_curve(two_nights, target=1)
        lc.dphot.plot()
        with pytest.raises(AssertionError, match="Dask graph"):
            lc.airmass.load()
    assert np.isfinite(lc.airmass).all()


def test_a_plot_can_be_made(two_nights):
    assert dphot.light_curve(two_nights, target=0).dphot.plot() is not None


def test_a_star_that_is_there_on_one_side_of_the_pier_only_is_no_comparison(tmp_path):
    (folder,) = simulate.write_nights(
        tmp_path,
        frames=10,
        size=200,
        seed=3,
        stars=40,
        bias=2,
        darks=0,
        flats=2,
        flip=0.3,
        flip_offset=(40.0, 0.0),
    )
    lc = dphot.light_curve(dphot.reduce(folder, tmp_path / "x.dphot", workers=0, stack=False, reference=0))
    target, used = lc.attrs["target"], lc.attrs["comparisons"]
    points = np.isfinite(lc.diff_flux.values[:, 0]).sum(axis=0)
    assert ((points > 0) & (points < 0.5 * points[target])).any()
    assert len(used) > 5 and (points[used] >= 0.5 * points[target]).all()


def measured_night(day, level, gain):
    """A night of drawn fluxes with every variable that a store wants."""
    drawn = flux_night(level, 40 + day, seed=day, gain=gain)
    ds = make_night(day, frames=40 + day, stars=len(level), apertures=1)
    return ds.assign({name: drawn[name] for name in drawn.variables}).assign_attrs(drawn.attrs)


def test_errors_rest_on_the_gain_that_the_stars_tell_where_none_is_known(tmp_path):
    level = 4e5 * 10 ** (-0.4 * np.random.default_rng(1).uniform(0, 5.5, 60))
    curves = {}
    for gain in (8.0, None):
        store = Store.create(tmp_path / f"{gain}.dphot", {})
        for day in (1, 2, 3):
            append(store, "r", measured_night(day, level, gain))
        curves[gain] = dphot.light_curve(store, target=2)
    told, known = curves.values()
    assert told.attrs["gain_from_scatter"] == pytest.approx(8.0, rel=0.15)
    assert told.attrs["gain_from_scatter_err"] < 1.5 and "gain_from_scatter" not in known.attrs
    np.testing.assert_allclose(told.diff_err, known.diff_err, rtol=0.1)
    same = dphot.differential(dphot.open(tmp_path / "8.0.dphot").photometry["r"].load(), target=2)
    assert told.attrs["gain_from_scatter"] == pytest.approx(same.attrs["gain_from_scatter"], rel=0.05)
    assert any("by the scatter of the stars it is" in line for line in curve_lines(curve_summary(told)))
