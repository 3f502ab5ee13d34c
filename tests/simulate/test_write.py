"""Folders of FITS files with the truth beside them, and frames without files."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from astropy.io import fits

from dphot.errors import FrameError, InputError
from dphot.simulate import (
    open_truth,
    prepare,
    read_simulated,
    simulated_path,
    simulated_records,
    simulation,
    write_nights,
)

SMALL = {"frames": 3, "size": 64, "bias": 2, "darks": 1, "flats": 2, "stars": 8, "isolation": 5.0}


def digests(folder):
    return {
        p.name: hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.iterdir())
        if p.suffix != ".nc"
    }


def test_a_night_as_a_telescope_writes_it(tmp_path):
    calls = []
    (folder,) = write_nights(tmp_path, preset="transit", progress=lambda *a: calls.append(a), **SMALL)
    assert folder == tmp_path / "2026-03-14"
    assert calls[-1] == (8, 8) and len(calls) == 8
    assert sorted(p.name for p in folder.iterdir()) == [
        "bias-0001.fits", "bias-0002.fits", "dark-0001.fits", "flat-r-0001.fits", "flat-r-0002.fits",
        "light-r-0001.fits", "light-r-0002.fits", "light-r-0003.fits", "truth.nc",
    ]  # fmt: skip
    path = folder / "light-r-0003.fits"
    with fits.open(path, do_not_scale_image_data=True) as hdus:
        assert hdus[0].header["BITPIX"] == 16 and hdus[0].header["BZERO"] == 32768
    with fits.open(path) as hdus:
        hdus.verify("exception")
        data, header = hdus[0].data, hdus[0].header
    assert data.dtype == np.uint16 and data.shape == (64, 64)
    night = prepare(simulation("transit", seed=1, **SMALL))
    assert np.array_equal(data, night.frame("light", 2))
    assert header["IMAGETYP"] == "light" and header["FILTER"] == "r" and header["PIERSIDE"] == "EAST"
    assert len(header["DATE-OBS"]) == len("2026-03-14T20:24:00.000")
    wanted = (
        "TELESCOP INSTRUME OBJECT JD EXPTIME GAIN RDNOISE CCD-TEMP RA DEC SITELAT SITELONG SITEELEV AIRMASS"
    )
    assert not [k for k in (*wanted.split(), "XBINNING", "YBINNING", "SATURATE", "CTYPE1") if k not in header]
    assert "FILTER" not in fits.getheader(folder / "bias-0001.fits")

    true = open_truth(folder)
    assert true.x.dims == ("time", "star") and true.transform.dims == ("time", "coefficient")
    assert true.path.values.tolist() == [f"light-r-{k:04d}.fits" for k in (1, 2, 3)]
    start = np.datetime64(header["DATE-OBS"], "ns")
    assert true.time.values[2] == start + np.timedelta64(round(header["EXPTIME"] * 5e8), "ns")
    assert true.airmass.values[2] == pytest.approx(header["AIRMASS"], abs=1e-5)
    assert true.attrs["target"] == 2 and true.attrs["gain"] == header["GAIN"]
    assert prepare(true.attrs["simulation"]) is night


@pytest.mark.parametrize("compress", ["fz", "gz"])
def test_compressed_files_hold_the_same_pixels(tmp_path, compress):
    (folder,) = write_nights(tmp_path, compress=compress, **SMALL)
    path = folder / f"light-r-0002.fits.{compress}"
    night = prepare(simulation(seed=1, **SMALL))
    with fits.open(path) as hdus:
        hdu = hdus[1 if compress == "fz" else 0]
        assert hdu.data.dtype == np.uint16
        assert np.array_equal(hdu.data, night.frame("light", 1))
        assert hdu.header["IMAGETYP"] == "light"


@pytest.mark.parametrize("compress", [None, "fz", "gz"])
def test_same_seed_same_bytes(tmp_path, compress):
    one, two, other = (
        write_nights(tmp_path / name, seed=seed, compress=compress, **SMALL)[0]
        for name, seed in (("a", 5), ("b", 5), ("c", 6))
    )
    assert digests(one) == digests(two) != digests(other)
    assert open_truth(one).identical(open_truth(two))


def test_nights_and_filters(tmp_path):
    folders = write_nights(tmp_path, nights=2, filters=("g", "r"), **SMALL)
    assert [f.name for f in folders] == ["2026-03-14", "2026-03-15"]
    g, r = (open_truth(folders[1] / f"truth-{name}.nc") for name in "gr")
    assert not (folders[0] / "truth.nc").exists()
    assert g.sizes["time"] == r.sizes["time"] == 3 and g.attrs["filter"] == "g"
    assert (r.time.values > g.time.values).all()
    assert len(list(folders[0].glob("flat-*.fits"))) == 4
    assert fits.getheader(folders[0] / g.path.values[1])["FILTER"] == "g"
    (third,) = write_nights(tmp_path, night=2, **SMALL)
    assert third.name == "2026-03-16"


def test_an_existing_night_is_refused_and_replaced_on_demand(tmp_path):
    (folder,) = write_nights(tmp_path, **SMALL)
    (folder / "notes.txt").write_text("mine")
    before = digests(folder)
    with pytest.raises(InputError, match=r"2026-03-14: exists and is not empty.*overwrite"):
        write_nights(tmp_path, seed=2, **SMALL)
    assert digests(folder) == before
    write_nights(tmp_path, seed=2, overwrite=True, **{**SMALL, "frames": 2})
    after = digests(folder)
    assert "notes.txt" in after and "light-r-0003.fits" not in after
    for wrong in ({"compress": "zip"}, {"nights": 0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            write_nights(tmp_path / "new", **wrong)


def test_frames_without_files_are_those_of_the_files(tmp_path):
    spec = simulation(object="NGC #7", **SMALL)
    (folder,) = write_nights(tmp_path, object="NGC #7", **SMALL)
    rows = simulated_records(spec)
    files = sorted(p for p in folder.iterdir() if p.suffix == ".fits")
    assert len(rows) == len(files) == 8
    for row, file in zip(rows, files, strict=True):
        raw, header = read_simulated(row["path"])
        stored = fits.getheader(file)
        assert np.array_equal(raw, fits.getdata(file))
        assert {k: stored[k] for k in header} == header
        assert row["type"] == header["IMAGETYP"] and row["night"] == "2026-03-14"
        assert (row["height"], row["width"]) == raw.shape and row["dtype"] == raw.dtype.name
    light = rows[-1]
    assert light["airmass"] > 1 and light["filter"] == "r" and light["time"].dtype == "datetime64[ns]"
    record = tmp_path / "night.json"
    record.write_text(spec.to_json())
    assert np.array_equal(read_simulated(simulated_path(str(record), "light", 2))[0], raw)
    assert [r["night"] for r in simulated_records(spec, nights=2, kinds=("dark",))] == [
        "2026-03-14",
        "2026-03-15",
    ]


@pytest.mark.parametrize(
    "path", ["sim:{}#light/100", "sim:{}", "sim:{}#sky/1", "sim:{#light/1", "x.fits", "sim:no.json#light/1"]
)
def test_wrong_simulated_paths_say_so(path):
    with pytest.raises(FrameError) as caught:
        read_simulated(path)
    assert str(caught.value).startswith(path)
