"""Times and airmass of frames, each from the place that it was taken at."""

import astropy.units as u
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import AltAz, EarthLocation, SkyCoord
from astropy.time import Time

from dphot.graph.assemble import add_times
from dphot.io.headers import empty_record

CHARLESTON, BORDEAUX = (32.8965, -79.7625, np.nan), (44.7417, -0.6208, 60.0)
RA, DEC = 192.72, 41.12
JD = np.array([2460761.55645, 2460761.73965, 2460775.37116, np.nan, 2460775.38])


def frames(places):
    site = dict(zip(("latitude", "longitude", "altitude"), CHARLESTON, strict=True))
    records = [
        {**empty_record(f"{i}.fits"), **dict(zip(site, place, strict=True))} for i, place in enumerate(places)
    ]
    ds = xr.Dataset({"jd_utc": ("time", JD), "exposure": ("time", np.full(5, 10.0))})
    add_times(ds, {**site, "ra": RA, "dec": DEC, "diameter": 0.05}, records)
    return ds


def test_each_frame_has_the_airmass_of_its_own_place():
    """An observer of a group looks from elsewhere; a frame that does not tell its place is from the reference's."""
    nowhere = (np.nan,) * 3
    ds = frames([CHARLESTON, nowhere, BORDEAUX, BORDEAUX, BORDEAUX])
    for i, (latitude, longitude, altitude) in {
        0: CHARLESTON,
        1: CHARLESTON,
        2: BORDEAUX,
        4: BORDEAUX,
    }.items():
        ground = EarthLocation.from_geodetic(longitude, latitude, np.nan_to_num(altitude))
        at = AltAz(obstime=Time(JD[i], format="jd"), location=ground)
        secz = SkyCoord(RA * u.deg, DEC * u.deg).transform_to(at).secz
        assert ds.airmass.values[i] == pytest.approx(float(secz), rel=5e-3)  # which knows no refraction
    assert np.isnan(ds.airmass.values[3]) and np.isnan(ds.bjd_tdb.values[3])
    assert np.isfinite(ds.scintillation.values[[0, 1, 2, 4]]).all()


def test_scintillation_is_that_of_the_telescope_that_took_the_frame():
    """The telescope's file stands before the header; a frame that knows no diameter, as in older stores, has none."""
    site = {
        "latitude": 28.3,
        "longitude": -16.5,
        "altitude": 2390.0,
        "ra": RA,
        "dec": DEC,
        "diameter": np.nan,
    }
    records = [empty_record(f"{i}.fits", diameter=d) for i, d in enumerate((0.05, 0.4, np.nan, 0.4, 0.4))]
    del records[2]["diameter"]
    ds = xr.Dataset({"jd_utc": ("time", np.full(5, JD[0])), "exposure": ("time", np.full(5, 10.0))})
    own, filed = ds.copy(), ds.copy()
    add_times(own, site, records)
    add_times(filed, {**site, "diameter": 0.4}, records)
    np.testing.assert_allclose(own.scintillation[0] / own.scintillation[1], 8 ** (2 / 3))
    assert np.isnan(own.scintillation[2])
    np.testing.assert_array_equal(filed.scintillation, np.full(5, own.scintillation[1]))


def test_a_simulated_night_scintillates_as_its_headers_let_expect(small_night, small_store):
    obs = small_store.photometry["r"].load()
    with xr.open_dataset(small_night / "truth.nc") as truth:
        # whose airmass knows no refraction
        np.testing.assert_allclose(obs.scintillation, truth.scintillation.sortby("time"), rtol=2e-3)
    (record,) = small_store.nights[0]["series"]
    assert record["telescope"]["diameter"] == 0.4 and "diameter" not in {m["name"] for m in record["missing"]}


def test_the_same_bits_whoever_else_was_there():
    mixed, alike = frames([CHARLESTON, CHARLESTON, BORDEAUX, BORDEAUX, BORDEAUX]), frames([BORDEAUX] * 5)
    for name in ("airmass", "bjd_tdb", "scintillation"):
        np.testing.assert_array_equal(mixed[name][2:], alike[name][2:])
    assert not np.array_equal(mixed.bjd_tdb[:2], alike.bjd_tdb[:2])
