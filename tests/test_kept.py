"""Frames that a store keeps, as copies or as links, are measured again without any other file."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from same_bits import same_bits, same_stores

import dphot
from dphot.checking import check, repair
from dphot.cli import main
from dphot.errors import FrameError, InputError, StoreError


def bytes_of(store):
    return sum(path.stat().st_size for path in Path(store.path).rglob("*") if path.is_file())


@pytest.fixture
def linked(night_copy, tmp_path):
    """The small night in a store that links its frames."""
    return dphot.reduce(night_copy, tmp_path / "linked.dphot", workers=0, frames="link")


def test_a_store_without_its_files_gives_the_same_store(small_store, tmp_path):
    again = dphot.reduce(small_store, tmp_path / "again.dphot", workers=0)
    first = again.reference.attrs["path"]
    assert first == small_store.reference.attrs["path"] == again.attrs["config"]["reference"]
    settings = {**small_store.attrs["config"], "reference": first}
    assert dict(again.attrs["config"]) == {
        k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()
    }
    (name,) = small_store.photometry
    same_bits(again.photometry[name].load(), small_store.photometry[name].load())
    for night in small_store.frames[name]:
        same_bits(again.frames[name][night].load(), small_store.frames[name][night].load(), but=("record",))
        np.testing.assert_array_equal(again.stack[name][night], small_store.stack[name][night])
        for key in ("calibration", "frames_used", "frames_dropped"):
            assert again.nights[0]["series"][0][key] == small_store.nights[0]["series"][0][key]
    for key in small_store.masters:
        same_bits(again.masters[key].load(), small_store.masters[key].load())


@pytest.mark.slow
def test_other_apertures_stars_and_reference(night_copy, tmp_path):
    store = dphot.reduce(night_copy, tmp_path / "first.dphot", workers=0)
    (name,) = store.photometry
    obs = store.photometry[name].load()
    stars = tmp_path / "stars.csv"
    stars.write_text(
        "x,y\n"
        + "\n".join(f"{x},{y}" for x, y in zip(obs.star_x.values[3:6], obs.star_y.values[3:6], strict=True))
    )
    other = [str(p) for p in obs.path.values if str(p) != store.reference.attrs["path"]][-1]
    changed = {"apertures": (1.0, 1.5), "stars": str(stars)}
    from_files = dphot.reduce(
        night_copy, tmp_path / "files.dphot", workers=0, reference=store.reference.attrs["path"], **changed
    )
    from_files_2 = dphot.reduce(night_copy, tmp_path / "files2.dphot", workers=0, reference=other)
    shutil.rmtree(night_copy)
    same_stores(dphot.reduce(store.path, tmp_path / "kept.dphot", workers=0, **changed), from_files)
    again = dphot.reduce(store.path, tmp_path / "kept2.dphot", workers=0, reference=other)
    assert again.reference.attrs["path"] == other
    same_bits(again.photometry[name].load(), from_files_2.photometry[name].load())


def test_the_command_measures_a_store_again(small_store, tmp_path, capsys):
    place = tmp_path / "again.dphot"
    assert (
        main(
            [
                "reduce",
                small_store.path,
                "--store",
                str(place),
                "--apertures",
                "1,2",
                "--workers",
                "0",
                "--json",
            ]
        )
        == 0
    )
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["frames_used"], result["apertures"]) == (8, 2)


def test_a_store_that_keeps_nothing_says_so(night_copy, tmp_path):
    bare = dphot.reduce(night_copy, tmp_path / "bare.dphot", workers=0, frames="none", stack=False)
    with pytest.raises(InputError, match="keeps no pixels, but none; give the files"):
        dphot.reduce(bare, tmp_path / "again.dphot", workers=0)
    assert not (tmp_path / "again.dphot").exists()


def test_links_hold_no_pixels_and_read_them_bit_for_bit(linked, small_store):
    (name,) = small_store.photometry
    for night in small_store.frames[name]:
        copied, named = small_store.frames[name][night], linked.frames[name][night]
        assert named.raw.dtype == copied.raw.dtype and named.raw.attrs == copied.raw.attrs
        np.testing.assert_array_equal(named.raw, copied.raw)
        np.testing.assert_array_equal(named.raw[2:5, 10:20, 7], copied.raw[2:5, 10:20, 7])
    same_bits(linked.photometry[name].load(), small_store.photometry[name].load(), but=("path", "file_time"))
    assert (
        bytes_of(small_store) - bytes_of(linked) > 0.5 * 8 * 256 * 256
    )  # half a byte a pixel at the very least
    assert check(linked)[0] == []


def test_links_of_late_frames_and_of_bad_ones(night_copy, tmp_path):
    later = tmp_path / "later"
    later.mkdir()
    lights = sorted(night_copy.glob("light-*.fits"))
    for path in lights[5:]:
        shutil.move(path, later)
    data = lights[1].read_bytes()
    lights[1].write_bytes(data[: len(data) // 2])
    store = dphot.reduce(night_copy, tmp_path / "x.dphot", workers=0, frames="link")
    store.append(later, workers=0)
    (name,), (night,) = store.photometry, {r["night"] for r in store.nights}
    frames = store.frames[name][night]
    (bad,) = np.flatnonzero(frames.kept.values == 0)
    assert frames.path.values[bad] == str(lights[1]) and frames.sizes["time"] == 8
    assert not frames.raw[bad].values.any() and frames.raw[bad - 1].values.all()
    assert check(store)[0] == []
    before = store.photometry[name].load()
    dphot.redo(store, night, workers=0)
    same_bits(store.photometry[name].load(), before)


def test_a_link_that_leads_nowhere_is_named_and_followed(linked, night_copy, tmp_path):
    (name,), night = linked.photometry, linked.nights[0]["night"]
    before = linked.photometry[name].load()
    gone = tmp_path / "elsewhere" / "renamed.fits"
    gone.parent.mkdir()
    path = str(linked.photometry[name].path.values[2])
    shutil.move(path, gone)
    with pytest.raises(FrameError, match=f"{path}: no such file"):
        linked.frames[name][night].raw[2].load()
    np.testing.assert_array_equal(linked.frames[name][night].raw[3].load().shape, (256, 256))
    for again in (
        lambda: dphot.redo(linked, night, workers=0),
        lambda: dphot.reduce(linked, tmp_path / "n.dphot", workers=0),
    ):
        with pytest.raises(
            StoreError, match=r"of 8 frames that are links 1 lead nowhere .*--repair --moved-to FOLDER"
        ):
            again()
    assert len(linked.history()) == 2
    problems, found = check(linked)
    assert [(p.place, p.nights) for p in problems] == [
        (path, [night])
    ] and "keeps a link to it only" in problems[0].what
    assert repair(linked, problems, found, str(gone.parent)) == [f"{path} is now {gone}"]
    assert check(linked)[0] == []
    dphot.redo(linked, night, workers=0)
    same_bits(linked.photometry[name].load(), before, but=("path",))


def test_another_file_under_a_links_name_is_refused(linked, night_copy):
    (name,), night = linked.photometry, linked.nights[0]["night"]
    first, second = sorted(night_copy.glob("light-*.fits"))[:2]
    shutil.copy(second, first)
    with pytest.raises(FrameError, match="is another file than before"):
        linked.frames[name][night].raw[0].load()
    with pytest.raises(StoreError, match="1 lead nowhere .*is another file than before"):
        dphot.redo(linked, night, workers=0)
