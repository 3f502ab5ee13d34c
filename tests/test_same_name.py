"""A name that comes again: of another frame, as a camera that counts from one again gives it, or of a file now whole."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

import dphot
from dphot.checking import check, repair


@pytest.fixture
def store(small_night, night_copy, tmp_path):
    """The small night; then a frame of its own, exposed later, under the name of the third."""
    store = dphot.reduce(night_copy, tmp_path / "field.dphot", workers=0)
    path = sorted(night_copy.glob("light*"))[2]
    with fits.open(path) as hdus:
        data, header = hdus[0].data, hdus[0].header
    header["DATE-OBS"] = str(np.datetime64(header["DATE-OBS"]) + np.timedelta64(30, "s"))
    header.remove("JD")
    fits.writeto(path, np.roll(data, 2, axis=1), header, overwrite=True)
    assert store.append(night_copy, workers=0).frames == 1
    return store, path


def rows_of(store, path):
    (obs,) = store.photometry.values()
    return obs.isel(time=np.flatnonzero(obs.path.values == str(path))).load()


def test_both_frames_are_measured_again(store):
    store, path = store
    before = rows_of(store, path)
    assert before.sizes["time"] == 2 and not np.array_equal(before.flux[0], before.flux[1])
    night = store.nights[0]["night"]
    dphot.redo(store, night, workers=0, annulus="6,9")
    assert len(set(rows_of(store, path).annulus_inner.values)) == 1
    dphot.redo(store, night, workers=0, annulus="5,8")
    after = rows_of(store, path)
    for name in ("flux", "x", "digest", "time", "file_time"):
        np.testing.assert_array_equal(after[name], before[name])


def test_a_repair_never_puts_one_frame_in_the_place_of_the_other(store):
    store, path = store
    (name,) = store.photometry
    raw = store.frames[name][store.nights[0]["night"]].raw.load()
    problems, found = check(store)
    (problem,) = problems
    assert problem.place == str(path) and "is another file than" in problem.what
    assert (found["changed"], found["same"]) == ([str(path)], 8 + 9 - 1)
    assert repair(store, problems, found) == []
    np.testing.assert_array_equal(store.frames[name][store.nights[0]["night"]].raw, raw)


@pytest.mark.slow
def test_a_file_that_comes_whole_is_no_fault_and_stays_measured(small_night, night_copy, tmp_path):
    path = sorted(night_copy.glob("light*"))[2]
    whole = path.read_bytes()
    path.write_bytes(whole[:20000])
    store = dphot.reduce(night_copy, tmp_path / "field.dphot", workers=0)
    path.write_bytes(whole)
    (problem,) = check(store)[0]
    assert problem.place == str(path) and "could not be used" in problem.what and "append" in problem.cure
    assert store.append(night_copy, workers=0).frames == 1
    assert check(store)[0] == []
    dphot.redo(store, store.nights[0]["night"], workers=0)
    assert not rows_of(store, path).frame_flags.values.any()


def test_frames_of_another_binning_are_no_damage(night_copy, tmp_path):
    path = sorted(night_copy.glob("light*"))[-1]
    with fits.open(path) as hdus:
        data, header = hdus[0].data, hdus[0].header
    header.update(XBINNING=2, YBINNING=2)
    fits.writeto(path, data[::2, ::2].copy(), header, overwrite=True)
    store = dphot.reduce(night_copy, tmp_path / "field.dphot", workers=0)
    assert store.nights[0]["series"][0]["frames_used"] == 7
    assert check(store)[0] == []
