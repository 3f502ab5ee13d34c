"""Every format gives back what the dataset holds, without dphot; and prose's format is exactly prose's."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import dphot
from dphot import formats
from dphot.errors import InputError
from dphot.formats import ROW_GROUP, long_table, write_netcdf, write_parquet
from dphot.phot import comparison_table, phot_dataset

TARGET = 1


@pytest.fixture(scope="module")
def lc(small_store):
    return dphot.differential(small_store.photometry["r"].load(), target=TARGET)


@pytest.fixture(scope="module")
def files(small_store, tmp_path_factory):
    """The same photometry in every format."""
    folder = tmp_path_factory.mktemp("exported")
    for ending, kind in formats.ENDINGS.items():
        obs = small_store.photometry["r"]
        assert dphot.export(small_store, obs, folder / f"lc{ending}", target=TARGET) == kind
    return folder


def same(given: xr.Dataset, ds: xr.Dataset) -> None:
    """Equal to the last bit, dimensions, names and units included."""
    assert set(given.variables) == set(ds.variables)
    for name, variable in ds.variables.items():
        found = given[name]
        assert found.dims == variable.dims
        np.testing.assert_array_equal(found.values, variable.values, err_msg=str(name))
        if variable.dtype.kind in "fiuM":
            assert found.dtype == variable.dtype, name
        assert {k: found.attrs[k] for k in variable.attrs} == variable.attrs


def test_netcdf(files, lc):
    for engine in ("h5netcdf", "netcdf4"):
        with xr.open_dataset(files / "lc.nc", engine=engine) as ds:
            same(ds, lc)
            assert ds.attrs["target"] == TARGET and ds.attrs["flux_unit"] == lc.attrs["flux_unit"]
            assert list(np.atleast_1d(ds.attrs["comparisons"])) == lc.attrs["comparisons"]
            assert set(ds.attrs) == set(lc.attrs)


def test_zarr(files, lc):
    ds = xr.open_zarr(files / "lc.zarr", consolidated=False).load()
    same(ds, lc)
    assert ds.attrs == lc.attrs


def test_parquet(files, lc):
    table = pd.read_parquet(files / "lc.parquet")
    assert len(table) == lc.sizes["time"] * lc.sizes["aperture"] * lc.sizes["star"]
    assert table.attrs == lc.attrs
    dims = ("time", "aperture", "star")
    shape = tuple(lc.sizes[d] for d in dims)
    full = xr.Dataset(coords={d: lc[d] for d in dims})
    for name, variable in lc.variables.items():
        if name == "transform":
            for i in range(6):
                got = table[f"transform_{i}"].to_numpy().reshape(shape)
                np.testing.assert_array_equal(got[:, 0, 0], variable.values[:, i])
        elif name not in dims:
            expected = lc[name].broadcast_like(full).transpose(*dims).values
            np.testing.assert_array_equal(table[name].to_numpy().reshape(shape), expected, err_msg=str(name))


def test_parquet_in_parts_is_the_same_table(lc, tmp_path, monkeypatch):
    assert lc.sizes["time"] * lc.sizes["aperture"] * lc.sizes["star"] < ROW_GROUP
    monkeypatch.setattr(formats, "ROW_GROUP", 3 * lc.sizes["aperture"] * lc.sizes["star"])
    write_parquet(lc, tmp_path / "parts.parquet")
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "parts.parquet"), long_table(lc), check_dtype=False
    )


def test_csv_is_the_light_curve(files, lc):
    table = pd.read_csv(files / "lc.csv")
    assert tuple(table.columns) == formats.COLUMNS and len(table) == lc.sizes["time"]


def test_files_open_without_dphot(files):
    script = f"""
import sys, warnings
warnings.simplefilter("error")
import pandas, xarray
xarray.open_dataset({str(files / "lc.nc")!r}).load()
xarray.open_dataset({str(files / "lc.phot")!r}).load()
xarray.open_dataset({str(files / "lc.zarr")!r}, engine="zarr", consolidated=False).load()
pandas.read_parquet({str(files / "lc.parquet")!r})
assert "dphot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_instants_and_unknown_instants_survive_netcdf(tmp_path):
    time = np.array(["2026-11-22T01:02:03.123456789", "NaT", "1995-10-09T20:24:30.5"], "datetime64[ns]")
    write_netcdf(
        xr.Dataset({"time_of": ("row", time)}, attrs={"yes": True, "none": None, "empty": []}),
        tmp_path / "t.nc",
    )
    with xr.open_dataset(tmp_path / "t.nc") as ds:
        np.testing.assert_array_equal(ds["time_of"].values, time)
        assert {k: json.loads(v) for k, v in ds.attrs.items()} == {"yes": True, "none": None, "empty": []}


def test_what_is_there_is_replaced_only_when_told(small_store, tmp_path):
    obs = small_store.photometry["r"]
    for ending in (".csv", ".zarr"):
        path = tmp_path / f"lc{ending}"
        dphot.export(small_store, obs, path)
        with pytest.raises(InputError, match="--overwrite"):
            dphot.export(small_store, obs, path)
        dphot.export(small_store, obs, path, overwrite=True)
    folder = tmp_path / "thesis.zarr"
    folder.mkdir()
    with pytest.raises(InputError, match="not plain Zarr"):
        dphot.export(small_store, obs, folder, overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lc.csv", "lc.zarr", "thesis.zarr"]


def test_a_write_that_fails_leaves_what_was_there(small_store, tmp_path, monkeypatch):
    path = tmp_path / "lc.nc"
    path.write_text("precious")

    def fail(_, place):
        place.write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(formats, "write_netcdf", fail)
    with pytest.raises(OSError, match="disk full"):
        dphot.export(small_store, small_store.photometry["r"], path, overwrite=True)
    assert path.read_text() == "precious" and list(tmp_path.iterdir()) == [path]


def test_what_is_too_short_for_a_light_curve_is_exported_without_one(small_store, tmp_path):
    (obs,) = small_store.photometry.values()
    two = obs.isel(time=slice(0, 2))
    for ending in (".nc", ".parquet", ".zarr"):
        dphot.export(small_store, two, tmp_path / f"two{ending}")
    with xr.open_dataset(tmp_path / "two.nc") as ds:
        np.testing.assert_array_equal(ds.flux, two.flux)
        assert "diff_flux" not in ds
    assert len(pd.read_parquet(tmp_path / "two.parquet")) == two.flux.size
    named = {"comparisons": np.array([1, 2])}, {"exclude": np.array([1, 2])}
    asked = ("two.csv", {}), ("target.nc", {"target": 1}), *((f"{min(one)}.nc", one) for one in named)
    for name, options in asked:
        with pytest.raises(InputError, match="a light curve needs three"):
            dphot.export(small_store, two, tmp_path / name, **options)
        assert not (tmp_path / name).exists()


def test_a_name_without_a_format_is_refused(small_store, tmp_path):
    with pytest.raises(InputError, match="--format"):
        dphot.export(small_store, small_store.photometry["r"], tmp_path / "lc.txt")
    assert dphot.export(small_store, small_store.photometry["r"], tmp_path / "lc.txt", format="csv") == "csv"


# -- prose's .phot: names, dimensions and kinds of its 2.3.0
# -------------------------------------------------------

CUBE, TABLE, CHOICE = ("apertures", "star", "time"), ("apertures", "time"), ("apertures", "ncomps")
PHOT = {
    **dict.fromkeys(("raw_fluxes", "raw_errors", "diff_fluxes", "diff_errors"), (CUBE, "f8")),
    **dict.fromkeys(("apertures_area", "apertures_radii", "alc"), (TABLE, "f8")),
    "comps": (CHOICE, "i8"), "weights": (CHOICE, "f8"), "peaks": (("star", "time"), "f8"),
    **dict.fromkeys(("jd_utc", "bjd_tdb", "fwhm", "fwhmx", "fwhmy", "dx", "dy", "airmass", "exposure",
    "sky", "annulus_rin",
                     "annulus_rout", "annulus_area", "time"), (("time",), "f8")),
    "flip": (("time",), "O"), "path": (("time",), "O"), "stack": (("w", "h"), "f8"), "stars": (("star",
    "n"), "f8"),
}  # fmt: skip


@pytest.fixture(scope="module")
def phot(files):
    with xr.open_dataset(files / "lc.phot", engine="netcdf4") as ds:
        return ds.load()


def test_phot_has_exactly_proses_variables(phot):
    found = {
        n: (v.dims, "O" if v.dtype.kind in "OTU" else v.dtype.str[1:]) for n, v in phot.variables.items()
    }
    assert found == PHOT
    assert set(phot.coords) == {"time", "stack", "stars"}


def test_phot_holds_the_light_curve(phot, lc):
    order = ("aperture", "star", "time")
    for prose, ours in {
        "raw_fluxes": "flux",
        "raw_errors": "flux_err",
        "diff_fluxes": "diff_flux",
        "diff_errors": "diff_err",
    }.items():
        np.testing.assert_array_equal(phot[prose], lc[ours].transpose(*order))
    np.testing.assert_array_equal(phot.time, lc.bjd_tdb)
    np.testing.assert_array_equal(phot.alc, lc.artificial.T)
    np.testing.assert_array_equal(phot.stars, np.column_stack([lc.star_x, lc.star_y]))
    # prose counts from the start of the exposure
    np.testing.assert_allclose(phot.jd_utc + phot.exposure / 2 / 86400, lc.jd_utc, rtol=0, atol=1e-9)


def test_phot_lists_the_comparison_stars_the_heaviest_first(phot, lc):
    weight = phot.weights.values
    assert (np.diff(weight, axis=1) <= 0).all() and np.allclose(weight.sum(axis=1), 1)
    np.testing.assert_array_equal(np.take_along_axis(lc.weight.values, phot.comps.values, axis=1), weight)
    assert TARGET not in phot.comps.values[weight > 0]
    np.testing.assert_array_equal(comparison_table(lc), phot.comps)


def test_phot_attributes(phot, lc, small_store):
    a = phot.attrs
    assert (a["telescope"], a["filter"], a["name"]) == tuple(
        lc.attrs[k] for k in ("telescope", "filter", "object")
    )
    assert (
        a["date"] == small_store.nights[0]["night"]
        and a["time_format"] == "bjd_tdb"
        and a["exptime"] == a["EXPTIME"]
    )
    assert (a["target"], a["aperture"]) == (TARGET, lc.attrs["aperture"]) and a["method_diff"] == "broeg"
    assert len(a["photometry"]) > 1
    # the FITS cards of the stack, which prose makes its header from
    assert (
        (a["NAXIS2"], a["NAXIS1"]) == phot["stack"].shape and a["BITPIX"] == -64 and a["IMAGETYP"] == "stack"
    )
    assert {"TELESCOP", "OBJECT", "FILTER", "DATE-OBS", "RA", "DEC"} <= set(a) and "BZERO" not in a


def test_phot_cards_come_from_the_store_where_the_file_is_gone(small_store, lc):
    gone = lc.assign_attrs(reference="/nowhere/light.fits")
    ds = phot_dataset(small_store, gone)
    assert {"TELESCOP", "OBJECT", "FILTER", "DATE-OBS", "EXPTIME", "RA", "DEC", "NAXIS1"} <= set(ds.attrs)
    start = np.datetime64(lc.time.values[0]) - np.timedelta64(round(float(lc.exposure[0]) / 2 * 1e9), "ns")
    assert abs(np.datetime64(ds.attrs["DATE-OBS"]) - start) <= np.timedelta64(1, "ms")


def test_phot_leaves_out_frames_that_were_not_measured(small_store, lc):
    lost = lc.copy(deep=True)
    lost["flux"][2] = np.nan
    ds = phot_dataset(small_store, lost)
    assert ds.sizes["time"] == lc.sizes["time"] - 1 and list(ds.time.values) == list(
        np.delete(lc.bjd_tdb.values, 2)
    )


def test_phot_says_jd_where_the_place_on_the_sky_is_not_known(small_store, lc):
    ds = phot_dataset(small_store, lc.assign(bjd_tdb=lc.bjd_tdb * np.nan))
    assert ds.attrs["time_format"] == "jd_utc"
    np.testing.assert_array_equal(ds.time, ds.jd_utc)
