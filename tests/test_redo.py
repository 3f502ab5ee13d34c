"""A night measured again from what the store keeps."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits
from damage import edit
from same_bits import same_bits

import dphot
from dphot import cli, simulate
from dphot.changes import change_lines, diff
from dphot.errors import InputError
from dphot.flags import FrameFlag


@pytest.fixture
def store(night_copy, tmp_path):
    """A small night, reduced; its files are gone."""
    store = dphot.reduce(night_copy, tmp_path / "field.dphot", workers=0)
    shutil.rmtree(night_copy)
    return store


def test_the_same_settings_give_the_same_bits_and_others_are_a_new_version(store):
    night, (name,) = store.nights[0]["night"], store.photometry
    before, first = store.photometry[name].load(), store.history()[0].id
    stack = store.stack[name][night].values
    dphot.redo(store, night, workers=0)
    same_bits(store.photometry[name].load(), before)
    np.testing.assert_array_equal(store.stack[name][night].values, stack)
    assert diff(store.at(first), store)["filters"][name]["frames_changed"] == 0

    (record,) = dphot.redo(store, night, workers=0, annulus="6,9")
    after = store.photometry[name].load()
    assert record["config"]["annulus"] == (6.0, 9.0) and store.nights[0]["series"][0]["frames_used"] == 8
    np.testing.assert_allclose(after.annulus_outer, before.annulus_outer * 9 / 8)
    assert store.history()[0].metadata["redone"] and len(store.ensemble[name].night) == 1
    xr.testing.assert_identical(dphot.open(store.path, snapshot=first).photometry[name].load(), before)
    told = diff(store.at(first), store)
    assert told["filters"][name]["frames_changed"] == 8 and "annulus" in next(iter(told["settings"].values()))


def test_what_cannot_be_changed_for_one_night(store):
    night = store.nights[0]["night"]
    for settings, message in (
        ({"max_stars": 3}, "max_stars: the star list"), ({"apertures": (1, 2)}, "2 given, the store's nights have 32"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            dphot.redo(store, night, workers=0, **settings)
    with pytest.raises(InputError, match=f"no night '1999-01-01'; the nights are {night}"):
        dphot.redo(store, "1999-01-01", workers=0)
    assert len(store.history()) == 2


def test_the_night_of_frames_without_a_time_is_named_unknown(night_copy, tmp_path, capsys):
    for path in night_copy.glob("light*"):
        edit(path, DATE_OBS=None, JD=None)
    store = dphot.reduce(night_copy, tmp_path / "field.dphot", workers=0)
    assert [record["night"] for record in store.nights] == [""]
    with pytest.raises(InputError, match="no night '1999-01-01'; the nights are unknown"):
        dphot.redo(store, "1999-01-01", workers=0)
    assert cli.main(["redo", store.path, "unknown", "--workers", "0", "--set", "annulus=6,9"]) == 0
    assert "unknown night r: 8 of 8 frames measured again" in capsys.readouterr().out
    store.refresh()
    assert store.nights[0]["series"][0]["redone"] and len(store.nights) == 1
    assert store.history()[0].message == "night unknown, measured again"


def brighter(image, record):
    """A step of the user's."""
    return image * np.float32(1.5)


@pytest.mark.parametrize(
    "changed", [{"annulus": "6,9"}, pytest.param({"steps": "test_redo:brighter"}, marks=pytest.mark.slow)]
)
def test_late_frames_of_a_night_measured_again_are_measured_as_it_was(night_copy, tmp_path, changed):
    whole = dphot.reduce(night_copy, tmp_path / "whole.dphot", workers=0, reference=3)
    night, (name,) = whole.nights[0]["night"], whole.photometry
    dphot.redo(whole, night, workers=0, **changed)
    late = sorted(night_copy.glob("light*"))[-3:]
    aside = [path.rename(tmp_path / path.name) for path in late]
    store = dphot.reduce(night_copy, tmp_path / "field.dphot", workers=0, reference=3)
    dphot.redo(store, night, workers=0, **changed)
    for path, there in zip(aside, late, strict=True):
        path.rename(there)
    assert store.append(night_copy, workers=0).frames == 3
    same_bits(store.photometry[name].load(), whole.photometry[name].load())
    (mine,), (its,) = store.nights[0]["series"], whole.nights[0]["series"]
    assert all(mine[key] == its[key] for key in ("config", "config_digest", "steps", "frames_used"))


def test_a_night_measured_again_with_steps_binds_no_other(store, small_night, tmp_path):
    dphot.redo(store, store.nights[0]["night"], workers=0, steps=[brighter])
    with pytest.raises(InputError, match="steps brighter; give the same"):
        late = shutil.copytree(small_night, tmp_path / "late")
        edit(sorted(late.glob("light*"))[0], lambda pixels: np.roll(pixels, 1, axis=1))
        store.append(late, workers=0)
    (other,) = simulate.write_nights(
        tmp_path / "n", frames=3, size=256, seed=3, stars=60, bias=3, darks=3, flats=3
    )
    for path in other.glob("*.fits"):
        date = str(np.datetime64(fits.getval(path, "DATE-OBS")) + np.timedelta64(2, "D"))
        with fits.open(path, mode="update") as hdus:
            hdus[0].header["DATE-OBS"] = date
            hdus[0].header.remove("JD", ignore_missing=True)
    assert store.append(other, workers=0).frames_used == 3


def test_a_night_cut_short_stays_so(store):
    record = store.nights[0]
    with store.transaction("cut short") as tx:
        tx.write_night(record["night"], {"series": record["series"], "complete": False})
    dphot.redo(store, record["night"], workers=0)
    assert not store.nights[0]["complete"] and not store.history()[0].metadata["complete"]


@pytest.mark.slow
def test_flats_that_come_late_make_the_bits_of_flats_that_were_there(tmp_path):
    one, two = simulate.write_nights(
        tmp_path / "raw", nights=2, frames=5, size=128, seed=3, stars=25, bias=2, darks=2, flats=2
    )
    whole = dphot.reduce(one, tmp_path / "whole.dphot", workers=0)
    store = dphot.open(shutil.copytree(whole.path, tmp_path / "field.dphot"))
    whole.append(two, workers=0)
    late = tmp_path / "late"
    late.mkdir()
    flats = [Path(shutil.move(path, late / path.name)) for path in sorted(two.glob("flat*"))]
    store.append(two, workers=0)  # with the flats of the night before
    assert store.append([two, late], workers=0).frames == 0  # they are no lights, and change nothing

    (record,) = dphot.redo(store, two.name, workers=0, calibration=late)
    assert record["calibration"]["inputs"]["flat"] == [str(path) for path in flats]
    expected = whole.nights[1]["series"][0]["calibration"]["inputs"]
    assert record["calibration"]["inputs"]["bias"] == expected["bias"]
    for name, master in whole.masters[f"{two.name}/r"].load().items():
        np.testing.assert_array_equal(store.masters[f"{two.name}/r"][name], master)
    same_bits(store.photometry["r"].load(), whole.photometry["r"].load())
    np.testing.assert_array_equal(store.stack["r"][two.name], whole.stack["r"][two.name])


def test_flats_that_come_late_take_the_flag_off(night_copy, tmp_path):
    late = tmp_path / "late"
    late.mkdir()
    for path in sorted(night_copy.glob("flat*")):
        shutil.move(path, late / path.name)
    store = dphot.reduce(night_copy, tmp_path / "field.dphot", workers=0)
    night, first = store.nights[0]["night"], store.history()[0].id
    before = store.photometry["r"].load()
    assert (before.frame_flags.values & FrameFlag.CALIBRATION_MISSING).all()
    dphot.redo(store, night, workers=0, annulus=(6, 9))
    assert (store.photometry["r"].frame_flags.values & FrameFlag.CALIBRATION_MISSING).all()

    (record,) = dphot.redo(store, night, workers=0, calibration=late)
    assert record["calibration"]["missing"] == [] and record["config"]["annulus"] == (6.0, 9.0)
    assert not (store.photometry["r"].frame_flags.values & FrameFlag.CALIBRATION_MISSING).any()
    assert store.history()[0].message == f"night {night}, calibrated and measured again"
    xr.testing.assert_identical(store.at(first).photometry["r"].load(), before)
    told = diff(store.at(first), store)
    old, new = told["calibration"][f"{night} r"]["flat"]
    assert old == [] and len(new) == 3 and f"{night} r: 0 flat frames -> 3" in "\n".join(change_lines(told))


def test_calibration_that_does_not_serve_is_refused(night_copy, tmp_path):
    store = dphot.reduce(night_copy, tmp_path / "field.dphot", workers=0)
    night, other = store.nights[0]["night"], tmp_path / "other"
    other.mkdir()
    shutil.copy(night_copy / "light-r-0001.fits", other)
    with pytest.raises(InputError, match="no bias, no dark, and no flat in 'r' among 1 files"):
        dphot.redo(store, night, workers=0, calibration=other)
    (flat,) = simulate.write_nights(
        tmp_path / "later", frames=1, size=64, night=90, bias=0, darks=0, flats=2, ra=240.0, stars=5
    )
    with pytest.raises(
        InputError, match=f"night {night}, filter 'r': of the frames given no flat serves it: .*size"
    ):
        dphot.redo(store, night, workers=0, calibration=flat)
    gone = sorted(night_copy.glob("bias*"))[0]
    gone.unlink()
    with pytest.raises(InputError, match=f"1 of the calibration frames that served it are gone, as {gone}"):
        dphot.redo(store, night, workers=0, calibration=sorted(night_copy.glob("flat*")))
    assert len(store.history()) == 2


def test_calibration_frames_alone_are_nothing_to_append(store, small_night):
    with pytest.raises(InputError, match="no light frames among 3 files.*redo --calibration"):
        store.append(sorted(small_night.glob("flat*")), workers=0)
