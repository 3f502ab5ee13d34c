"""Colour mosaics: which pixel is which colour, and where it lies."""

import numpy as np
import pytest
from astropy.wcs import WCS

from dphot.errors import InputError
from dphot.graph.frame import trim_raw, trimmed_shape
from dphot.io.bayer import PATTERNS, ChannelWCS, channel, own_pixels, series, stored_pattern
from dphot.io.frames import FrameTable
from dphot.io.headers import empty_record


def record(pattern="GRBG", height=12, width=10, **values):
    given = {
        "type": "light",
        "bayer": pattern,
        "height": height,
        "width": width,
        "gain": 1.5,
        "read_noise": 4.0,
    }
    return {**empty_record("a.fits"), **given, **values}


def mosaic(pattern, height=12, width=10):
    """Letters of a stored pattern, pixel by pixel."""
    return np.tile(np.array(list(pattern)).reshape(2, 2), (height // 2 + 1, width // 2 + 1))[:height, :width]


@pytest.mark.parametrize("height", [12, 13])
@pytest.mark.parametrize("named", PATTERNS)
def test_the_stored_pattern_follows_rows_and_offsets(named, height):
    top_down = mosaic(named, 20, 20)
    for dx in (0, 1, 2):
        for dy in (0, 1, 3):
            shown = top_down[dy : dy + height, dx : dx + 10]
            assert stored_pattern(named, height, "TOP-DOWN", (dx, dy)) == "".join(shown[:2, :2].ravel())
            stored = shown[::-1]
            assert stored_pattern(named, height, "bottom-up", (dx, dy)) == "".join(stored[:2, :2].ravel())
    assert stored_pattern(f" {named.lower()} ", height) == named


def test_what_is_no_bayer_pattern_is_none():
    assert [stored_pattern(text, 10) for text in ("", "RGB", "RRGG", "XTRANS", "RGGBX")] == [""] * 5


@pytest.mark.parametrize("shape", [(12, 10), (13, 11)])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_each_channel_has_its_own_pixels_and_no_others(pattern, shape):
    raw = mosaic(pattern, *shape).view(np.uint32).astype(np.uint16)
    taken = 0
    for view in series(record(pattern, *shape)):
        own = own_pixels(raw, view)
        assert own.shape == (view["height"], view["width"]) and own.dtype == raw.dtype
        assert (own == ord(view["channel"][1])).all()
        assert trimmed_shape(view) == (6, 5)
        taken += own.size
    assert taken == 120  # every pixel of the whole cells once
    assert own_pixels(raw, record("")) is raw


@pytest.mark.parametrize("trim", ["", "3:9,1:11", "2:10,4:12"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_trimmed_channel_lies_where_it_says(pattern, trim):
    """Pixels that hold their own mosaic coordinates come out as the linear function that the WCS uses."""
    y, x = np.mgrid[:12, :10].astype(np.float32)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = (150.0, 20.0), (5.0, 6.0), (-1e-3, 1e-3)
    for view in series(record(pattern, trim=trim)):
        xs, ys = (trim_raw(own_pixels(values, view), view)[0] for values in (x, y))
        per_pixel = 2 if view["channel"] == "TG" else 1
        xs, ys = xs / per_pixel, ys / per_pixel
        ny, nx = xs.shape
        assert (ny, nx) == trimmed_shape(view) and ny >= 4 and nx >= 2
        j, i = np.mgrid[:ny, :nx]
        here = ChannelWCS(wcs, view)
        sky, expected = here.pixel_to_world(i, j), wcs.pixel_to_world(xs, ys)
        assert sky.separation(expected).arcsec.max() < 1e-6
        back = here.world_to_pixel(sky)
        np.testing.assert_allclose(back, (i, j), atol=1e-6)
        if trim:
            (x0, x1), (y0, y1) = (map(int, part.split(":")) for part in trim.split(","))
            assert xs.min() >= x0 and xs.max() < x1 and ys.min() >= y0 and ys.max() < y1


def test_two_greens_are_one_pixel():
    green, red, blue = series(record(filter="LP"))
    assert [r["filter"] for r in (green, red, blue)] == ["LP TG", "LP TR", "LP TB"]
    assert (green["gain"], green["read_noise"]) == (1.5, pytest.approx(4.0 * 2**0.5))
    assert (red["gain"], red["read_noise"], red["xbinning"]) == (1.5, 4.0, 2)
    raw = own_pixels(np.arange(120, dtype=np.uint16).reshape(12, 10), green)
    level, counts = trim_raw(raw, green)
    assert level[0, 0] == 0 + 11 and counts[0, 0] == 11  # greens of GRBG: (0, 0) and (1, 1)


def test_filters_that_name_no_colour_are_left_out():
    for name in ("IRCUT", "Clear", ""):
        assert [r["filter"] for r in series(record(filter=name))] == ["TG", "TR", "TB"]
    assert channel(record(type="flat"), "TR")["filter"] == ""
    assert channel(record(type="dark", bayer=""), "TR", "RGGB")["bayer"] == "RGGB"


def test_a_frame_that_is_no_mosaic_is_one_series():
    mono = record("")
    assert series(mono) == [mono]


def test_a_table_shows_one_channel():
    table = FrameTable.from_records([record(), record("", path="b.fits", type="dark")])
    green = table.channel("TG")
    assert [(r["type"], r["width"], r["channel"]) for r in green] == [("light", 5, "TG"), ("dark", 5, "TG")]
    with pytest.raises(InputError, match="'V' of Bayer patterns GRBG; there are TG, TR, TB"):
        table.channel("V")
    with pytest.raises(InputError, match="no colour mosaic"):
        FrameTable.from_records([record("")]).channel("TG")
