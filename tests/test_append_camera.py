"""Append of what another camera made, or the same one otherwise: other binnings, gains, sizes, a guider's frames."""

import json
import shutil
from pathlib import Path

import pytest
from damage import edit
from small_nights import DAYS, lights

import dphot
from dphot import cli, other_field
from dphot.errors import InputError


@pytest.fixture
def store(first, tmp_path):
    return dphot.open(shutil.copytree(first.path, tmp_path / "x.dphot"))


@pytest.mark.parametrize(
    "change, words",
    [
        (
            lambda p: edit(p, lambda a: a[::2, ::2].copy(), XBINNING=2, YBINNING=2),
            ("64x64", "binned 2x2", "128x128"),
        ),
        (
            lambda p: edit(p, XBINNING=2, YBINNING=2),
            ("light-r-0003.fits is binned 2x2", "reference 1x1", "store of its own"),
        ),
        (lambda p: edit(p, GAIN=2.6), ("2.6", "1.3", "store of its own")),
    ],
)
def test_another_binning_or_gain_is_refused(store, later, change, words):
    before = len(dphot.open(store.path).history())
    for path in later.glob("*.fits"):
        change(path)
    with pytest.raises(InputError) as error:
        store.append(later, workers=0)
    assert all(word in str(error.value) for word in words) and len(dphot.open(store.path).history()) == before


def binned(folder, names="*.fits"):
    """Bin the pixels of some frames 2x2."""
    for path in folder.glob(names):
        edit(
            path,
            lambda a: a.reshape(a.shape[0] // 2, 2, -1, 2).mean((1, 3)).astype(a.dtype),
            XBINNING=2,
            YBINNING=2,
        )


def test_a_night_in_another_binning_costs_no_other(nights, store, later):
    binned(later)
    for frames in (5, 0):  # and again, when the same folders are given again
        with pytest.raises(
            other_field.OtherField, match=f"^{DAYS[1]} r: frames of 64x64 px .binned 2x2"
        ) as error:
            store.append([later, nights[2]], workers=0)
        assert error.value.committed == ((DAYS[2],) if frames else ())
        store.refresh()
        assert [n["night"] for n in store.nights] == [DAYS[0], DAYS[2]]


def test_a_new_store_of_nights_in_two_binnings_is_of_the_first(nights, later, tmp_path):
    binned(later)
    with pytest.raises(other_field.OtherField, match=f"^{DAYS[1]} r: frames of 64x64 px") as error:
        dphot.reduce([nights[0], later, nights[2]], tmp_path / "new.dphot", workers=0)
    assert error.value.committed == (DAYS[0], DAYS[2])
    assert [n["night"] for n in dphot.open(tmp_path / "new.dphot").nights] == [DAYS[0], DAYS[2]]


def test_a_filter_in_another_binning_costs_no_other(store, later):
    for path in lights(later)[:2]:
        edit(path, FILTER="g")
        binned(later, path.name)
    with pytest.raises(other_field.OtherField, match=f"^{DAYS[1]} g: frames of 64x64 px") as error:
        store.append(later, workers=0)
    assert error.value.committed == (DAYS[1],)
    store.refresh()
    assert [(r["filter"], r["frames_used"]) for r in store.nights[1]["series"]] == [("r", 3)]


def test_most_of_a_night_in_another_binning_is_flagged(store, later):
    for path in lights(later)[1:]:
        binned(later, path.name)
    done = store.append(later, workers=0)
    assert (done.frames, done.frames_used) == (5, 1)
    assert all("xbinning 2 and not 1" in d["reason"] for d in done.records[0]["frames_dropped"])


def test_frames_of_a_guider_among_a_nights_are_left_out_and_named(nights, later, tmp_path, capsys):
    for path in nights[0].glob("*.fits"):
        (tmp_path / "own").mkdir(exist_ok=True)
        edit(Path(shutil.copy(path, tmp_path / "own")), INSTRUME="Main")
    store = dphot.reduce(tmp_path / "own", tmp_path / "own.dphot", workers=0)
    assert store.reference.attrs["camera"] == "Main"
    focus = lights(later)[0].rename(later / "focus.fits")
    for path in later.glob("*.fits"):
        edit(path, INSTRUME="Guider" if path == focus else "Main")
    assert cli.main(["append", store.path, str(later), "--workers", "0", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out.splitlines()[-1])["frames"] == 4
    assert f"left out, of another camera than the store's 'Main': {focus} ('Guider'); where" in said.err
    # a whole night under another name is measured, as it would be if it were given alone
    renamed = Path(shutil.copytree(nights[2], tmp_path / "renamed"))
    for path in renamed.glob("*.fits"):
        edit(path, INSTRUME="Main2")
    assert store.append([tmp_path / "own", later, renamed], workers=0).nights == (DAYS[2],)
    # a new store cannot tell which of them is meant
    with pytest.raises(InputError, match="several cameras, Guider, Main"):
        dphot.reduce(later, tmp_path / "new.dphot", workers=0)


def test_a_reference_that_tells_no_binning_refuses_none(store, later):
    """As those of older stores."""
    with store.transaction("as it was written once") as tx:
        del tx.root["reference"].attrs["binning"]
    for path in later.glob("*.fits"):
        edit(path, XBINNING=2, YBINNING=2)
    assert store.append(later, workers=0).frames_used == 5
