"""A night measured again from what the store keeps."""

import shutil

import numpy as np
import pytest
import xarray as xr
from same_bits import same_bits

import dphot
from dphot.changes import changes
from dphot.errors import InputError


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
    assert changes(store.at(first), store)["filters"][name]["frames_changed"] == 0

    (record,) = dphot.redo(store, night, workers=0, annulus="6,9")
    after = store.photometry[name].load()
    assert record["config"]["annulus"] == (6.0, 9.0) and store.nights[0]["series"][0]["frames_used"] == 8
    np.testing.assert_allclose(after.annulus_outer, before.annulus_outer * 9 / 8)
    assert store.history()[0].metadata["redone"] and len(store.ensemble[name].night) == 1
    xr.testing.assert_identical(dphot.open(store.path, snapshot=first).photometry[name].load(), before)
    told = changes(store.at(first), store)
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
