"""Clocks of many cameras, each against its hand-made answer."""

import numpy as np
import pytest

from dphot.io.cards import parse
from dphot.io.times import middle, parse_clock, parse_date
from dphot.telescope import Telescope


def header(first_comment="", **values):
    cards = [f"SIMPLE  =                    T / {first_comment}".ljust(80)]
    for key, value in values.items():
        text = f"'{value}'" if isinstance(value, str) else repr(value)
        cards.append(f"{key.replace('_', '-'):8}= {text}".ljust(80))
    return parse("".join(cards))


def mid(values, exposure=60.0, telescope=None, comment=""):
    ns, _, notes = middle(header(comment, **values), telescope or Telescope(), exposure)
    return None if ns is None else str(np.datetime64(ns, "ns").astype("datetime64[ms]")), notes


@pytest.mark.parametrize(
    "values",
    [
        {"DATE_OBS": "2017-12-20T01:33:43.317"},
        {"DATE_OBS": "2017-12-20 T01:33:43.317"},
        {"DATE_OBS": "2017-12-20 01:33:43.317"},
        {"DATE_OBS": "2017/12/20T01:33:43.317Z"},
        {"DATE_OBS": "2017-12-19T18:33:43.317-0700"},
        {"DATE_OBS": "2017-12-19T18:33:43.317-07:00"},
        {"DATE_OBS": "2017-12-20T07:03:43.317+05:30"},
        {"DATE_OBS": "2017-12-20", "TIME_OBS": "01:33:43.317"},
        {"DATE_OBS": "2017-12-20", "UT": " 01:33:43.317 "},
        {"DATE_OBS": "2017-12-20", "UTCSTART": "01:33:43.317"},
        {"DATE_OBS": "2017-12-20", "UT_OBS": "01:33:43.317"},
        {"UT_OBS": "2017-12-20T01:33:43.317-0000"},
        {"DATE_OBS": "2017-12-19T18:33:43.317-0700", "UT_OBS": "2017-12-20T01:33:43.317-0000"},
        {"DATE_OBS": "2017-12-19T25:33:00", "DATE_BEG": "2017-12-20T01:33:43.317"},
    ],
)
def test_texts_of_one_instant(values):
    assert mid(values) == ("2017-12-20T01:34:13.317", [])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"MJD_OBS": 58107.5}, "2017-12-20T12:00:30.000"),
        ({"MJD_OBS": "58107.5"}, "2017-12-20T12:00:30.000"),
        ({"JD": 2458108.0}, "2017-12-20T12:00:30.000"),
        ({"JD_MID": 2458108.0}, "2017-12-20T12:00:00.000"),
        ({"MIDTIMJD": 2458108.0}, "2017-12-20T12:00:00.000"),
        ({"DATE_AVG": "2017-12-20T12:00:00"}, "2017-12-20T12:00:00.000"),
    ],
)
def test_julian_dates_and_middles(values, expected):
    assert mid(values) == (expected, [])


def test_old_dates_and_leap_seconds():
    assert parse_date("19/05/94") == (8904, "")
    assert parse_date("2021-02-30") is None
    assert parse_clock("23:59:60.5")[0] == 86400_500_000_000
    assert parse_clock("24:61:00") is None
    assert parse_clock("9:38:50 PM")[0] == (21 * 3600 + 38 * 60 + 50) * 10**9
    assert parse_clock("12:00:01 AM")[0] == 10**9


def test_a_disagreement_names_both_and_which_is_used():
    time, notes = mid({"DATE_OBS": "2017-12-20T00:00:00", "JD": 2458108.0})
    assert time == "2017-12-20T00:00:30.000"
    assert notes == ["DATE-OBS and JD disagree by 43200 s; DATE-OBS used"]
    time, notes = mid({"DATE_OBS": "2017-12-19T18:33:43", "UT_OBS": "2017-12-20T01:33:43"})
    assert time == "2017-12-20T01:34:13.000"
    assert notes == ["UT-OBS and DATE-OBS disagree by 25200 s; UT-OBS used"]
    for jd in (2458107.58333333, 2458107.58333337):  # written to a millisecond
        assert mid({"DATE_OBS": "2017-12-20T00:00:00", "JD": jd})[1] == [
            "DATE-OBS and JD disagree by 7200 s; DATE-OBS used"
        ]
    assert "by 7200.5 s" in mid({"DATE_OBS": "2017-12-20T00:00:00", "JD": 2458107.58333912})[1][0]


def test_a_rounded_number_does_not_disagree():
    assert mid({"DATE_OBS": "2017-12-20T01:34:20", "MJD_OBS": 58107.065}, exposure=5.0)[1] == []
    assert mid({"DATE_OBS": "2017-12-20T01:34:20", "MJD_OBS": 58107.0650001}, exposure=5.0)[1] != []


def test_time_is_start_middle_or_end():
    values = {"DATE_OBS": "2017-12-20T12:00:00"}
    for word, expected in (("start", "12:00:30"), ("middle", "12:00:00"), ("end", "11:59:30")):
        assert mid(values, telescope=Telescope(time_is=word))[0] == f"2017-12-20T{expected}.000"


def test_other_time_scales():
    values = {"DATE_OBS": "2017-12-20T12:00:37"}
    assert mid(values, 0.0, Telescope(time_scale="tai"))[0] == "2017-12-20T12:00:00.000"
    assert mid({**values, "TIMESYS": "TAI"}, 0.0)[0] == "2017-12-20T12:00:00.000"
    assert "LOCAL" in mid({**values, "TIMESYS": "LOCAL"}, 0.0)[1][0]


def test_twelve_hour_clock():
    values = {"DATE_OBS": "2021-09-17 T09:38:50"}
    evening = "2021-09-17T21:39:20.000"
    assert mid(values)[0] == "2021-09-17T09:39:20.000"
    assert mid(values, comment="C# FITS: 9/17/2021 9:38:50 PM")[0] == evening
    assert mid(values, comment="C# FITS: 9/17/2021 9:38:51 PM")[0] == "2021-09-17T09:39:20.000"
    assert mid(values, telescope=Telescope(clock="12h"))[0] == evening
    assert mid(values, telescope=Telescope(clock="24h"), comment="9:38:50 PM")[0] == "2021-09-17T09:39:20.000"
    midnight = {"DATE_OBS": "2021-09-18 T12:10:00"}
    assert mid(midnight, comment="9/18/2021 12:10:00 AM")[0] == "2021-09-18T00:10:30.000"


def test_an_offset_is_added_once_and_never_to_a_zoned_time():
    shifted = Telescope(time_offset_hours=12)
    assert mid({"DATE_OBS": "2021-09-17 T09:38:50"}, telescope=shifted)[0] == "2021-09-17T21:39:20.000"
    commented = mid({"DATE_OBS": "2021-09-17 T09:38:50"}, telescope=shifted, comment="9:38:50 PM")
    assert commented[0] == "2021-09-17T21:39:20.000"
    assert mid({"DATE_OBS": "2021-09-17T09:38:50Z"}, telescope=shifted)[0] == "2021-09-17T09:39:20.000"


def test_a_telescopes_keyword_goes_first():
    values = {"DATE_OBS": "2021-09-17T09:38:50", "MJD_OBS": 59474.5}
    assert mid(values, telescope=Telescope(keywords={"jd": ("MJD-OBS",)}))[0] == "2021-09-17T12:00:30.000"


def test_no_time_is_none_with_a_reason():
    ns, date, notes = middle(header(OBJECT="x"), Telescope(), 60.0)
    assert (ns, date) == (None, "")
    assert "no time" in notes[0]
    ns, date, notes = middle(header(DATE_OBS="2021-09-17"), Telescope(), 60.0)
    assert (ns, date) == (None, "2021-09-17")
    assert "no time of day" in notes[0]
    assert "stands for the middle" in mid({"DATE_OBS": "2021-09-17T00:00:00"}, exposure=float("nan"))[1][0]


def test_a_year_of_two_digits_is_of_the_last_century_and_told_where_no_camera_was():
    instant, notes = mid({"DATE_OBS": "15/03/26", "UT": "02:10:00"})
    assert instant == "1926-03-15T02:10:30.000"
    assert notes == [
        "DATE-OBS '15/03/26' is read as 1926, as the FITS standard says; write 2026-03-15 if that is meant"
    ]
    assert mid({"DATE_OBS": "15/03/96", "UT": "02:10:00"}) == ("1996-03-15T02:10:30.000", [])
    assert mid({"DATE_OBS": "15/03/26", "JD": 2458108.0}) == ("2017-12-20T12:00:30.000", [])


def test_a_clock_that_was_never_set_tells_no_time():
    instant, notes = mid({"DATE_OBS": "1970-01-01T02:10:00"})
    assert instant is None and notes == ["DATE-OBS is of 1970: the camera's clock was not set"]
    assert mid({"DATE_OBS": "1970-01-01T00:00:00-0700", "JD": 2440587.6})[0] is None
    instant, notes = mid({"DATE_OBS": "1970-01-01T02:10:00", "JD": 2458107.5648532})
    assert instant.startswith("2017-12-20T01:3") and "was not set" in notes[0]
    assert mid({"DATE_OBS": "1971-01-01T00:00:00"})[0] == "1971-01-01T00:00:30.000"
