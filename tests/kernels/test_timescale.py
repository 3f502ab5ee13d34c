"""Times against astropy, published values and arithmetic."""

import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import AltAz, EarthLocation, SkyCoord
from astropy.time import Time
from astropy.utils import iers

from dphot.kernels import timescale

SITE = (31.68, -110.88, 1000.0)


@pytest.fixture
def sky():
    """500 random times and directions, and astropy's objects for them."""
    rng = np.random.default_rng(5)
    jd = 2451545.0 + rng.uniform(0.0, 9000.0, 500)
    ra, dec = rng.uniform(0.0, 360.0, 500), rng.uniform(-89.0, 89.0, 500)
    location = EarthLocation.from_geodetic(SITE[1] * u.deg, SITE[0] * u.deg, SITE[2] * u.m)
    with iers.conf.set_temp("auto_download", False):
        yield (
            jd,
            ra,
            dec,
            Time(jd, format="jd", scale="utc", location=location),
            SkyCoord(ra, dec, unit="deg"),
        )


def test_bjd_tdb_equals_astropy(sky):
    jd, ra, dec, time, coordinates = sky
    expected = (time.tdb + time.light_travel_time(coordinates, ephemeris="builtin")).jd
    assert np.max(np.abs(timescale.bjd_tdb(jd, ra, dec, *SITE) - expected)) * 86400 < 1e-4


def test_bjd_tdb_of_hatp32():
    """UT-OBS plus half the exposure of the first and last frame, from the published reduction."""
    start = np.array(["2017-12-20T01:33:43.317"], dtype="datetime64[ms]")
    jd = 2440587.5 + start.astype("int64") / 86400e3 + 30 / 86400
    star = SkyCoord("02:04:10.28 +46:41:16.2", unit=("hourangle", "deg"))
    bjd = timescale.bjd_tdb(jd, star.ra.deg, star.dec.deg, 31.68, -110.88)
    assert abs(bjd[0] - 2458107.56985755) * 86400 < 0.1


def test_altitude_equals_astropy(sky):
    jd, ra, dec, time, coordinates = sky
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = AltAz(obstime=time, location=time.location)
        expected = coordinates.transform_to(frame).alt.deg
    # UT1 - UTC reaches 0.9 s: 13 arcsec
    assert np.max(np.abs(timescale.altitude(jd, ra, dec, *SITE[:2]) - expected)) < 15 / 3600


def test_airmass_is_the_secant_high_up_and_nan_below_the_horizon(sky):
    jd, ra, dec, _, _ = sky
    altitude = timescale.altitude(jd, ra, dec, *SITE[:2])
    airmass = timescale.airmass(jd, ra, dec, *SITE)
    high = altitude > 45
    np.testing.assert_allclose(airmass[high], 1 / np.sin(np.deg2rad(altitude[high])), rtol=2e-3)
    assert np.isnan(airmass[altitude < 0]).all()
    assert np.isfinite(airmass[altitude > 0]).all()
    assert np.nanmin(airmass) > 0.999


def test_unknown_values_stay_nan():
    assert np.isnan(timescale.bjd_tdb([np.nan, 2458000.0], 10.0, 20.0, *SITE)).tolist() == [True, False]
    assert np.isnan(timescale.bjd_tdb(2458000.0, np.nan, 20.0, *SITE))
    assert np.isnan(timescale.airmass(2458000.0, 10.0, 20.0, np.nan, np.nan))
    assert np.isnan(timescale.airmass(2458000.0, np.nan, 20.0, *SITE))


def test_without_a_site_the_earths_centre_is_used():
    jd = np.linspace(2458000.0, 2458001.0, 97)
    difference = timescale.bjd_tdb(jd, 10.0, 0.0, np.nan, np.nan) - timescale.bjd_tdb(jd, 10.0, 0.0, 0.0, 0.0)
    assert 0.015 < np.max(np.abs(difference)) * 86400 < 0.0215  # the Earth's radius is 21.3 ms of light


@pytest.mark.parametrize("scale", ["tai", "tt", "tdb"])
def test_to_utc_equals_astropy(scale):
    time = Time([2451545.3, 2458000.25], format="jd", scale="utc")
    given = getattr(time, scale).jd
    assert np.max(np.abs(timescale.to_utc(given, scale) - time.jd)) * 86400 < 2.1e-3
    assert np.isnan(timescale.to_utc(np.nan, scale))


def test_to_utc_names_the_scales_it_knows():
    with pytest.raises(ValueError, match="utc, tai, tt or tdb"):
        timescale.to_utc(2458000.0, "local")


@pytest.mark.parametrize(
    ("utc", "longitude", "night"),
    [
        ("2017-12-20T01:33:43", -110.88, "2017-12-19"),
        ("2017-12-20T08:33:43", -110.88, "2017-12-19"),
        ("2017-12-20T01:33:43", 249.12, "2017-12-19"),
        ("2017-12-19T14:50:00", 149.0, "2017-12-19"),
        ("2017-12-19T15:10:00", 149.0, "2017-12-19"),
        ("2017-12-19T23:00:00", np.nan, "2017-12-19"),
        ("2017-12-20T11:59:00", 0.0, "2017-12-19"),
        ("2017-12-20T12:01:00", 0.0, "2017-12-20"),
        ("2000-02-29T22:00:00", 0.0, "2000-02-29"),
    ],
)
def test_local_night_runs_from_noon_to_noon(utc, longitude, night):
    jd = 2440587.5 + np.datetime64(utc, "s").astype("int64") / 86400
    assert timescale.local_night(jd, longitude) == night


def test_local_night_of_an_unknown_time_is_empty():
    assert timescale.local_night(np.nan, 10.0) == ""
