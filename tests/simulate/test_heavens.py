"""The simulator's own sky against astropy."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import AltAz, EarthLocation, SkyCoord
from astropy.time import Time
from astropy.utils import iers
from astropy.wcs import WCS

from dphot.simulate import prepare, simulation
from dphot.simulate.header import frame_header
from dphot.simulate.heavens import airmass, altitude, local_night, scintillation


@pytest.mark.parametrize("start, ra, dec", [(2461114.35, 140.0, 20.0), (2450000.35, 352.0, 12.0)])
def test_altitude_agrees_with_astropy(start, ra, dec):
    jd = start + np.linspace(0, 0.2, 9)
    with iers.conf.set_temp("auto_download", False), iers.conf.set_temp("iers_degraded_accuracy", "ignore"):
        site = EarthLocation.from_geodetic(-7.8586 * u.deg, 31.2027 * u.deg, 2700 * u.m)
        frame = AltAz(obstime=Time(jd, format="jd", scale="utc"), location=site)
        expected = SkyCoord(ra * u.deg, dec * u.deg).transform_to(frame).alt.deg
    ours = altitude(jd, ra, dec, 31.2027, -7.8586)
    assert np.abs(ours - expected).max() < 0.015


def test_airmass():
    # secant at 60 deg; Kasten & Young's own table at 10 and 30 deg
    assert airmass([90, 60, 30, 10]) == pytest.approx([1, 1.154, 1.994, 5.58], abs=0.01)
    assert np.isnan(airmass(-1.0))


def test_night_turns_at_local_noon():
    midnight_utc = 2461113.5  # 2026-03-14 00:00 UTC
    assert local_night(midnight_utc, 0.0) == "2026-03-13"
    assert local_night(midnight_utc + 0.51, 0.0) == "2026-03-14"
    assert local_night(midnight_utc + 0.1, 150.0) == "2026-03-14"
    assert local_night(midnight_utc + 0.6, -150.0) == "2026-03-13"


def test_scintillation_scales_as_osborn():
    one = scintillation(1.0, 60.0, 1.0, 0.0, 1.5)
    assert one == pytest.approx(1.5 * np.sqrt(1e-5 / 60))
    assert scintillation(2.0, 15.0, 1.0, 0.0, 1.5) == pytest.approx(one * 2**1.5 * 2)
    assert scintillation(1.0, 60.0, 8.0, 8000.0, 1.5) == pytest.approx(one / 4 / np.e)


def test_header_airmass_is_the_sky_s_at_mid_exposure():
    night = prepare(simulation(frames=5, exposure=120.0))
    header = {k: v for k, (v, _) in frame_header(night, "light", 3).items()}
    middle = Time(header["DATE-OBS"], scale="utc").jd + header["EXPTIME"] / 2 / 86400
    high = altitude(middle, header["RA"], header["DEC"], header["SITELAT"], header["SITELONG"])
    assert header["AIRMASS"] == pytest.approx(float(airmass(high)), abs=2e-5)
    assert header["JD"] == pytest.approx(Time(header["DATE-OBS"], scale="utc").jd, abs=1e-8)


def test_wcs_follows_the_frame():
    night = prepare(simulation("transit", frames=10, size=200))
    places = []
    for k in (0, 9):  # before and after the flip
        cards = frame_header(night, "light", k)
        header = {key: value for key, (value, _) in cards.items() if key[:2] in ("CT", "CR", "CD", "CU")}
        x, y = night.positions(k)
        places.append(WCS(header).all_pix2world(x, y, 0))
    assert np.allclose(places[0], places[1], atol=1e-9)
    centre = WCS(header).all_world2pix([[night.spec.ra, night.spec.dec]], 0)[0]
    m = night.timeline.matrix[9]
    assert centre == pytest.approx(m[:, :2] @ [99.5, 99.5] + m[:, 2], abs=1e-6)
