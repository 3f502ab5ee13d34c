"""Readers: the camera's own integers, every container, and errors that say what is wrong."""

import bz2
import hashlib
import sys
import types
from pathlib import Path

import fits_files as ff
import numpy as np
import pytest
from astropy.io import fits

from dphot.errors import FrameError
from dphot.io.cards import parse
from dphot.io.readers import read_frame, read_header, read_pixels

RNG = np.random.default_rng(3)
STORED = {
    "u1": RNG.integers(0, 256, (13, 17)).astype("u1"),
    "i2": RNG.integers(-32768, 32768, (13, 17)).astype("i2"),
    "i4": RNG.integers(-(2**31), 2**31, (13, 17)).astype("i4"),
    "i8": RNG.integers(-(2**60), 2**60, (13, 17)).astype("i8"),
    "f4": RNG.normal(size=(13, 17)).astype("f4"),
    "f8": RNG.normal(size=(13, 17)).astype("f8"),
}


def both(path, hdu=None):
    """The pixels read both ways, which must be the same, with the type the header promises."""
    pixels, digest = read_frame(path, hdu)
    again = read_pixels(path, hdu)
    np.testing.assert_array_equal(pixels, again)
    assert pixels.dtype == again.dtype == read_header(path, hdu).dtype
    assert pixels.dtype.isnative and pixels.flags.c_contiguous and pixels.flags.writeable
    assert digest == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return pixels


@pytest.mark.parametrize(
    ("kind", "zero", "native"),
    [
        ("u1", None, "u1"), ("u1", -128, "i1"), ("i2", None, "i2"), ("i2", 32768, "u2"),
        ("i2", 32768.0, "u2"),
        ("i4", None, "i4"), ("i4", 2147483648, "u4"), ("i8", None, "i8"),
        ("i8", 9223372036854775808, "u8"),
        ("f4", None, "f4"), ("f8", None, "f4"),
    ],
)  # fmt: skip
def test_the_cameras_own_type_in_native_order(tmp_path, kind, zero, native):
    stored = STORED[kind]
    scaling = {} if zero is None else {"BZERO": zero, "BSCALE": 1}
    pixels = both(ff.write(tmp_path / "a.fits", ff.image(stored, **scaling)))
    assert pixels.dtype == np.dtype(native)
    expected = stored.astype(object) + int(zero or 0) if stored.dtype.kind != "f" else stored.astype("f4")
    np.testing.assert_array_equal(pixels.astype(object), expected)


def test_scaled_integers_and_blanks_become_float(tmp_path):
    stored = STORED["i2"].copy()
    stored[2, 3] = -999
    path = ff.write(tmp_path / "a.fits", ff.image(stored, BZERO=100.5, BSCALE=0.25, BLANK=-999))
    pixels = both(path)
    expected = (stored * 0.25 + 100.5).astype("f4")
    expected[stored == -999] = np.nan
    np.testing.assert_array_equal(pixels, expected)


def test_a_blank_that_cannot_occur_is_a_note(tmp_path):
    path = ff.write(tmp_path / "a.fits", ff.image(STORED["i2"], BZERO=32768, BLANK=32768))
    assert both(path).dtype == np.uint16
    assert "BLANK = 32768" in read_header(path).notes[0]


@pytest.mark.parametrize("name", ["a.fits", "a.fit.gz", "a.fits.bz2", "not-a-fits-name.gz"])
def test_containers_are_told_by_their_bytes(tmp_path, name):
    data = ff.image(STORED["i2"], BZERO=32768)
    path = ff.write(tmp_path / name, bz2.compress(data) if name.endswith("bz2") else data)
    np.testing.assert_array_equal(both(path), (STORED["i2"].astype("i4") + 32768).astype("u2"))


@pytest.mark.parametrize("compression", ["RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1"])
def test_tile_compressed_integers_come_back_exactly(tmp_path, compression):
    pixels = RNG.integers(300, 60000, (40, 50)).astype("u2")
    path = str(tmp_path / "a.fits.fz")
    hdu = fits.CompImageHDU(pixels, compression_type=compression)
    hdu.header["FILTER"] = "V"
    hdu.writeto(path)
    np.testing.assert_array_equal(both(path), pixels)
    header = read_header(path)
    assert (header.hdu, header.shape, header["FILTER"]) == (1, (40, 50), "V")
    assert "TFORM1" not in header


def test_the_first_image_is_taken_and_the_primary_header_lies_beneath(tmp_path):
    first, second = STORED["i2"], STORED["f4"]
    primary = ff.header(ff.card("SIMPLE", True), BITPIX=8, NAXIS=0, EXTEND=True, OBJECT="M 13", GAIN=0.0)
    data = primary + ff.image(first, simple=False, GAIN=1.5) + ff.image(second, simple=False)
    path = ff.write(tmp_path / "a.fits", data)
    np.testing.assert_array_equal(both(path), first)
    np.testing.assert_array_equal(both(path, 2), second)
    header = read_header(path)
    assert (header.hdu, header["OBJECT"], header["GAIN"]) == (1, "M 13", 1.5)
    with pytest.raises(FrameError, match="HDU 0 holds no data"):
        read_header(path, 0)
    with pytest.raises(FrameError, match="there is no HDU 7"):
        read_pixels(path, 7)


def test_a_cube_of_one_plane_is_an_image_and_one_of_three_is_not(tmp_path):
    plane = both(ff.write(tmp_path / "a.fits", ff.image(STORED["f4"][None])))
    np.testing.assert_array_equal(plane, STORED["f4"])
    path = ff.write(tmp_path / "b.fits", ff.image(np.zeros((3, 4, 5), "f4")))
    with pytest.raises(FrameError, match="a cube of 3 x 4 x 5"):
        read_header(path)


GOOD = ff.image(STORED["i2"], BZERO=32768)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("empty.fits", b"", "empty"),
        ("text.fits", b"hello, this is no image" * 200, "not a FITS file"),
        ("cut.fits", GOOD[: 2880 + 100], "truncated: 2980 bytes, the header promises 3322"),
        ("header.fits", GOOD[:400], "no END card"),
        ("bits.fits", GOOD.replace(b"                  16", b"                  17"), "BITPIX = 17"),
        ("table.fits", ff.header(ff.card("SIMPLE", True), BITPIX=8, NAXIS=0), "no 2-D image: HDU 0 no data"),
        ("huge.fits", GOOD.replace(b"                  17", b"          1000000000"), "truncated"),
    ],
)
def test_bad_files_say_what_is_wrong(tmp_path, name, data, reason):
    path = ff.write(tmp_path / name, data)
    for read in (read_header, read_pixels, read_frame):
        with pytest.raises(FrameError, match=reason) as error:
            read(path)
        assert error.value.path == path


def test_cut_containers_are_truncated(tmp_path):
    whole = ff.image(RNG.integers(0, 30000, (200, 300)).astype("i2"))
    for name in ("a.fits.gz", "a.fits.bz2"):
        path = tmp_path / name
        ff.write(path, whole if name.endswith("gz") else bz2.compress(whole))
        path.write_bytes(path.read_bytes()[:-5000])
        for read in (read_header, read_pixels, read_frame):
            with pytest.raises(FrameError, match="truncated or damaged"):
                read(str(path))


def test_a_missing_file_is_named(tmp_path):
    for read in (read_header, read_pixels, read_frame):
        with pytest.raises(FrameError, match="no such file"):
            read(str(tmp_path / "none.fits"))


def test_missing_padding_is_no_error(tmp_path):
    path = ff.write(tmp_path / "a.fits", GOOD[: 2880 + 2 * 13 * 17])
    np.testing.assert_array_equal(both(path), (STORED["i2"].astype("i4") + 32768).astype("u2"))


def test_cards_of_all_kinds():
    lines = [
        ff.card("SIMPLE", True),
        "QUOTE   = 'it''s / here' / comment",
        "FREE    = 2000.0 / Epoch",
        "FORTRAN =              1.5D+03",
        "EMPTY   =",
        "HIERARCH ESO DET GAIN = 2.5 / e-",
        "LONG    = 'one &'",
        "CONTINUE  'two'",
        "OPEN    = 'never closed",
        "TWICE   = 1",
        "TWICE   = 2",
        "COMMENT = 'not a value'",
        "END",
        "AFTER   = 1",
    ]
    header = parse("".join(line.ljust(80) for line in lines))
    expected = {
        "SIMPLE": True, "QUOTE": "it's / here", "FREE": 2000.0, "FORTRAN": 1500.0, "ESO DET GAIN": 2.5,
        "LONG": "one two", "OPEN": "never closed", "TWICE": 1,
    }  # fmt: skip
    assert dict(header) == expected
    assert "TWICE" in header.notes[0]
    assert header.comment("QUOTE") == "comment"


def test_simulated_frames_are_read_by_name(monkeypatch):
    raw = np.arange(12, dtype=np.uint16).reshape(3, 4)
    module = types.ModuleType("dphot.simulate")
    module.read_simulated = lambda path: (raw.copy(), {"OBJECT": path})
    monkeypatch.setitem(sys.modules, "dphot.simulate", module)
    pixels, digest = read_frame("sim:x")
    np.testing.assert_array_equal(pixels, raw)
    assert digest == hashlib.sha256(raw.tobytes()).hexdigest()
    header = read_header("sim:x")
    assert (header["OBJECT"], header.shape, header.dtype) == ("sim:x", (3, 4), np.uint16)


@pytest.mark.real
def test_real_formats_give_pixels_equal_to_astropy_or_a_reason(data_dir):
    bad = {"astropy_compressed_float_bzero.fits", "astropy_history_header.fits", "issue49test.fits"}
    paths = sorted(data_dir("formats").iterdir())
    assert len(paths) == 29
    for path in paths:
        if path.name in bad:
            with pytest.raises(FrameError, match="no 2-D image"):
                read_frame(str(path))
            continue
        pixels = both(str(path))
        if path.suffix == ".Z":
            np.testing.assert_array_equal(pixels, np.arange(25).reshape(5, 5))
            continue
        with fits.open(path, memmap=False) as hdus:
            expected = np.asarray(hdus[read_header(str(path)).hdu].data, dtype="f8")
        np.testing.assert_allclose(pixels.astype("f8"), expected, rtol=1e-6, err_msg=path.name)
