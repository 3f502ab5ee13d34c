"""Frame records: dialects of made-up headers, and the truth about the real data sets."""

import math

import fits_files as ff
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from dphot.io.cards import parse
from dphot.io.headers import COLUMNS, angle, frame_record, section, slices, wcs_of, word_type
from dphot.io.readers import read_header
from dphot.kernels.timescale import airmass, bjd_tdb
from dphot.telescope import Telescope


def record(path="/x/a.fits", telescope=None, **values):
    structure = {"BITPIX": 16, "NAXIS": 2, "NAXIS1": 100, "NAXIS2": 80, "BZERO": 32768}
    text = ff.header(ff.card("SIMPLE", True), **structure, **values).decode()
    return frame_record(parse(text), path, telescope)


def of(path):
    return frame_record(read_header(str(path)), str(path))


def test_a_record_has_every_column_and_only_those():
    assert set(record()) == set(COLUMNS)


def test_a_common_header():
    found = record(
        **ff.LIGHT, XBINNING=2, YBINNING=3, AIRMASS=1.2, BAYERPAT="RGGB", SATURATE=60000, RDNOISE=5.5
    )
    expected = {
        "type": "light", "filter": "r", "object": "WASP-12", "telescope": "test", "camera": "cam",
        "exposure": 30.0,
        "gain": 1.25, "read_noise": 5.5, "temperature": -60.0, "airmass": 1.2,
        "saturation": 60000.0,
        "xbinning": 2, "ybinning": 3, "bayer": "RGGB", "width": 100, "height": 80, "dtype": "uint16",
        "note": "", "night": "2026-11-21",
    }  # fmt: skip
    assert {k: found[k] for k in expected} == expected
    assert np.datetime64(found["time"], "ns") == np.datetime64("2026-11-22T03:00:15.5")
    assert found["jd_utc"] == pytest.approx(2461366.6251794, abs=1e-6)
    assert (found["ra"], found["dec"]) == pytest.approx((97.636667, 29.672306), abs=1e-5)


def test_nothing_known_is_no_crash():
    found = record()
    assert found["type"] == "light" and "taken as light" in found["note"]
    assert found["time"] is None and found["night"] == "" and "no time" in found["note"]
    for name in ("exposure", "gain", "ra", "dec", "airmass", "temperature", "saturation", "jd_utc"):
        assert math.isnan(found[name])


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("Light Frame", "light"), ("LIGHT", "light"), ("OBJECT", "light"), ("EXPOSE", "light"),
        ("science", "light"),
        ("Bias Frame", "bias"), ("zero", "bias"), ("Dark Frame", "dark"), ("DARKFLAT", "dark"),
        ("Flat Field", "flat"),
        ("SKYFLAT", "flat"), ("twilight", "flat"), ("SPECTROSCOPIC", ""), ("", ""),
    ],
)  # fmt: skip
def test_words_of_image_types(word, kind):
    assert word_type(word) == kind


@pytest.mark.parametrize(
    ("written", "metres"),
    [
        (279.4, 0.2794),
        ("600.0", 0.6),
        (0.0, math.nan),
        (-80.0, math.nan),
        (0.28, math.nan),
        ("F/7", math.nan),
    ],
)
def test_the_diameter_is_written_in_millimetres(written, metres):
    assert record(APTDIA=written)["diameter"] == pytest.approx(metres, nan_ok=True)
    assert record(APTDIA=written, telescope=Telescope(diameter=1.2))["diameter"] == 1.2


def test_types_come_from_telescope_header_and_names_in_this_order():
    special = Telescope(image_types={"flat": ("evening",)})
    assert record(IMAGETYP="Evening", telescope=special)["type"] == "flat"
    assert record(IMAGTYP="Dark Frame", path="/n/flats/a.fits")["type"] == "dark"
    assert record(path="/n/flats/a.fits")["type"] == "flat"
    assert record(path="/n/r_flats/night1/001.fits")["type"] == "flat"
    assert record(path="/n/lights/bias-001.fits")["type"] == "bias"
    assert record(path="/n/Dark_Sky_Observatory/x1.fits")["type"] == "light"
    assert record(EXPTIME=0.0)["type"] == "bias"
    assert record(IMAGETYP="Dark", telescope=Telescope(fixed={"type": "light"}))["type"] == "light"
    assert "SPECTRO" in record(IMAGETYP="SPECTRO")["note"]


@pytest.mark.parametrize(
    ("values", "gain"),
    [
        ({"EGAIN": 0.6, "GAIN": 100}, 0.6),
        ({"GAIN": 1.9}, 1.9),
        ({"GAIN": 2}, 2.0),
        ({"GAIN": 0.0}, math.nan),
        ({"GAIN": 80}, math.nan),
        ({"GAIN": 80, "INSTRUME": "Seestar S50"}, math.nan),
        ({"GAIN": 1.0, "INSTRUME": "ZWO ASI1600MM"}, math.nan),
        ({"GAIN": 5, "OFFSET": 10}, math.nan),
    ],
)
def test_gain_is_only_what_can_be_electrons_per_adu(values, gain):
    found = record(**values)
    np.testing.assert_equal(found["gain"], gain)
    if values.get("GAIN") == 80:
        assert "camera setting" in found["note"]


@pytest.mark.parametrize(("other", "gain", "noise"), [(0, 4.81, 8.9), (1, math.nan, math.nan)])
def test_amplifier_gain_where_one_is_in_use(other, gain, noise):
    lines = [f"AAMP_01 = {other}", "AAMP_02 = 1", "AGAIN_01= 4.95", "AGAIN_02= 4.81", "ARDNS_02= 8.9"]
    structure = ["BITPIX  = 16", "NAXIS   = 2", "NAXIS1  = 10", "NAXIS2  = 10"]
    text = "".join(line.ljust(80) for line in ["SIMPLE  = T", *structure, *lines])
    found = frame_record(parse(text), "a.fits")
    np.testing.assert_equal((found["gain"], found["read_noise"]), (gain, noise))


def test_gain_and_noise_of_the_telescope_where_the_header_has_none():
    known = Telescope(gain=1.5, read_noise=7.0, saturation=50000.0)
    found = record(GAIN=100, SATURATE=60000, telescope=known)
    assert (found["gain"], found["read_noise"], found["saturation"]) == (1.5, 7.0, 50000.0)
    assert record(EGAIN=2.0, telescope=known)["gain"] == 2.0


def test_fixed_values_and_mapped_keywords():
    telescope = Telescope(
        fixed={"object": "M 13", "filter": "L", "ra": 250.4, "dec": 36.5}, keywords={"object": ("X",)}
    )
    found = record(OBJECT="?", FILTER="none", telescope=telescope, IMAGETYP="light")
    assert (found["object"], found["filter"], found["ra"], found["dec"]) == ("M 13", "L", 250.4, 36.5)
    assert (
        record(OBJECT="a", MYOBJ="b", telescope=Telescope(keywords={"object": ("MYOBJ",)}))["object"] == "b"
    )


def test_sections_are_zero_based_half_open_and_checked():
    found = record(TRIMSEC="[ 11:  90,  1: 80]", BIASSEC="[1:10,1:80]")
    assert (found["trim"], found["overscan"]) == ("10:90,0:80", "0:10,0:80")
    assert slices(found["trim"]) == (slice(0, 80), slice(10, 90))
    assert slices("") == (slice(None), slice(None))
    assert record(TRIMSEC="[1:100,1:80]")["trim"] == ""
    assert record(TRIMSEC="[1:100,1:80]", telescope=Telescope(trimming=(5, 7)))["trim"] == "5:95,7:73"
    both = record(TRIMSEC="[21:100,1:80]", telescope=Telescope(trimming=(5, 7)))
    assert both["trim"] == "20:95,7:73"
    assert (
        record(TRIMSEC="[21:100,1:80]", telescope=Telescope(trim_section="[2:99,2:79]"))["trim"]
        == "1:99,1:79"
    )
    outside = record(TRIMSEC="[1:200,1:80]")
    assert outside["trim"] == "" and "does not fit 100 x 80" in outside["note"]
    assert record(BIASSEC="UNKNOWN", TRIMSEC="[0:0,0:0]")["note"].count("section") == 0
    assert record(DATASEC="[11:100,1:80]")["trim"] == ""
    assert record(DATASEC="[11:100,1:80]", BIASSEC="[1:10,1:80]")["trim"] == "10:100,0:80"
    assert section("[90:11,80:1]", (80, 100)) == (10, 90, 0, 80)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12:30:00", 12.5), ("-00:30:00", -0.5), ("12 30 00.0", 12.5), ("+41d12m00s", 41.2),
        (" 193.5 ", 193.5),
        ("110:30:00 W", -110.5), (17.25, 17.25), ("unknown", math.nan), ("", math.nan), (None, math.nan),
    ],
)  # fmt: skip
def test_angles(text, expected):
    np.testing.assert_allclose(angle(text), expected)


def test_right_ascension_in_hours_or_degrees():
    assert record(RA="10:00:00", DEC="-05:30:00")["ra"] == 150.0
    assert record(RA=150.0, DEC=-5.5)["ra"] == 150.0
    assert record(RA="150.0", DEC="-5.5")["ra"] == 150.0
    assert record(RA=10.0, DEC=-5.5, telescope=Telescope(ra_unit="hour"))["ra"] == 150.0
    assert record(OBJCTRA="10 00 00", OBJCTDEC="-05 30 00")["dec"] == -5.5
    assert math.isnan(record(RA=400.0, DEC=-5.5)["ra"])


def test_the_site_cuts_the_nights():
    values = {**ff.LIGHT, "DATE_OBS": "2026-11-22T14:00:00"}
    assert record(**values)["night"] == "2026-11-22"
    assert record(**values, SITELAT="-31:16:24", SITELONG="-110:00:00")["night"] == "2026-11-21"
    site = Telescope(latitude=1.0, longitude=-110.0)
    assert record(**values, SITELONG=10.0, SITELAT=1.0, telescope=site)["night"] == "2026-11-21"
    found = record(**values, LATITUDE=31.7, ALTITUDE=2206.0, LONGITUD=-111.5)
    assert (found["latitude"], found["longitude"], found["altitude"]) == (31.7, -111.5, 2206.0)
    assert math.isnan(record(**values, ALTITUDE=40.4)["altitude"])


def test_a_west_longitude_by_its_comment():
    text = (
        ff.header(ff.card("SIMPLE", True), BITPIX=16, NAXIS=2, NAXIS1=9, NAXIS2=9)[:400]
        .decode()
        .replace("END", "   ")
    )
    text += ff.card("LATITUDE", 31.68) + ff.card("LONGITUD", 110.88, "degrees west of Greenwich")
    assert frame_record(parse(text), "a.fits")["longitude"] == -110.88


def test_binning_and_kelvin():
    assert record(CCDSUM="3 2")["xbinning"] == 3
    assert record(CCDSUM="3 2")["ybinning"] == 2
    assert record(BINNING="2x2")["ybinning"] == 2
    assert record(CAMTEMP=271.0)["temperature"] == pytest.approx(-2.15)


def test_a_header_without_celestial_axes_has_no_wcs():
    assert wcs_of({"CTYPE1": "PIXEL", "CTYPE2": "PIXEL", "CRVAL1": 1.0}) is None
    assert wcs_of({}) is None


@pytest.mark.real
def test_real_hatp32(data_dir):
    paths = sorted(data_dir("hatp32").glob("*.FITS.gz"))
    star = SkyCoord("02:04:10.28 +46:41:16.2", unit=("hourangle", "deg"))
    for path, truth, air in ((paths[0], 2458107.56985755, 1.13), (paths[-1], 2458107.86322833, 1.91)):
        found = of(path)
        site = found["latitude"], found["longitude"], found["altitude"]
        bjd = bjd_tdb(found["jd_utc"], star.ra.deg, star.dec.deg, *site)
        assert abs(bjd - truth) * 86400 < 0.1
        assert airmass(found["jd_utc"], star.ra.deg, star.dec.deg, *site) == pytest.approx(air, abs=0.01)
        assert (found["telescope"], found["type"], found["night"]) == (
            "MicroObservatory",
            "light",
            "2017-12-19",
        )
        assert (found["width"], found["height"], found["exposure"]) == (650, 500, 60.0)
        assert site[:2] == (31.68, -110.88)
        assert found["saturation"] == 4095 and math.isnan(found["gain"])
        assert "disagree" not in found["note"]


@pytest.mark.real
def test_real_m13_is_in_the_evening(data_dir):
    folder = data_dir("m13_orion")
    found = of(folder / "lights" / "9_17_21_M1310L20.fit.gz")
    assert np.datetime64(found["time"], "ns") == np.datetime64("2021-09-17T21:39:00")
    assert found["filter"] == found["object"] == "" and math.isnan(found["ra"])
    for name, kind in (("lights", "light"), ("bias", "bias"), ("dark", "dark"), ("flat", "flat")):
        assert {of(path)["type"] for path in (folder / name).iterdir()} == {kind}


@pytest.mark.real
def test_real_asteroid(data_dir):
    folder = data_dir("asteroid5945")
    path = folder / "lights" / "20190326.0126.fits.fz"
    found, header = of(path), read_header(str(path))
    assert found["jd_utc"] == pytest.approx(header["MIDTIMJD"], abs=1e-7)
    expected = {
        "trim": "17:1382,0:1370",
        "overscan": "1387:1432,0:1370",
        "gain": 4.95,
        "read_noise": 9.3,
        "filter": "VR",
    }
    assert {k: found[k] for k in expected} == expected
    assert (found["night"], found["xbinning"], found["dtype"]) == ("2019-03-25", 3, "uint16")
    assert {of(p)["type"] for p in (folder / "flat").iterdir()} == {"flat"}
    assert {of(p)["type"] for p in (folder / "bias").iterdir()} == {"bias"}


@pytest.mark.real
def test_real_asteroid_wcs_written_as_text_with_its_distortion(data_dir):
    header = read_header(str(data_dir("asteroid5945") / "lights" / "20190326.0126.fits.fz"))
    value = lambda key: float(header.get(key, 0.0))  # noqa: E731
    x, y = 100.0, 1300.0
    dx, dy = x + 1 - value("CRPIX1"), y + 1 - value("CRPIX2")
    xi, eta = value("CD1_1") * dx + value("CD1_2") * dy, value("CD2_1") * dx + value("CD2_2") * dy

    def distort(i, u, v):
        terms = (1, u, v, 0, u * u, u * v, v * v, u**3, u * u * v, u * v * v, v**3)
        return np.deg2rad(sum(value(f"PV{i}_{n}") * t for n, t in enumerate(terms)))

    u, v = distort(1, xi, eta), distort(2, eta, xi)
    ra0, dec0 = np.deg2rad(value("CRVAL1")), np.deg2rad(value("CRVAL2"))
    ra = ra0 + np.arctan2(u, np.cos(dec0) - v * np.sin(dec0))
    dec = np.arctan(np.cos(ra - ra0) * (v * np.cos(dec0) + np.sin(dec0)) / (np.cos(dec0) - v * np.sin(dec0)))
    np.testing.assert_allclose(wcs_of(header).all_pix2world(x, y, 0), np.rad2deg([ra, dec]), atol=1e-9)


@pytest.mark.real
def test_real_skycam_and_seestar(data_dir):
    found = of(data_dir("agpeg_skycam") / "t_e_20150608_381_1_1_1.fits.fz")
    assert (found["telescope"], found["type"], found["dtype"], found["night"]) == (
        "SkyCam-T", "light", "float32", "2015-06-08",
    )  # fmt: skip
    assert found["jd_utc"] - 2400000.5 - 5 / 86400 == pytest.approx(57182.1008796, abs=2e-5)
    header = read_header(found["path"])
    assert wcs_of(header).all_pix2world(429.443, 645.309, 0)[0] == pytest.approx(327.7612, abs=1e-3)
    found = of(sorted(data_dir("m94_seestar").iterdir())[0])
    assert (found["telescope"], found["bayer"], found["dtype"]) == ("Seestar S50", "GRBG", "uint16")
    assert math.isnan(found["gain"]) and "camera setting" in found["note"]
    assert (found["latitude"], found["longitude"]) == (32.8965, -79.7625)
