"""Damage is found, named with its night, and mended where the raw files allow it."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

import dphot
from dphot import cli, simulate
from dphot.checking import check, problem_lines, repair
from dphot.store import Store, health, older
from dphot.store.layout import frames_group


@pytest.fixture
def store(small_store, tmp_path):
    """A copy of the small night's store, to be damaged."""
    return dphot.open(shutil.copytree(small_store.path, tmp_path / "field.dphot"))


def flip(path: Path, place: float = 0.5) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * place)] ^= 0x10
    path.write_bytes(data)


def test_a_sound_store(small_store):
    problems, files = check(small_store)
    assert problems == [] and (files["changed"], files["missing"]) == ([], []) and files["same"] == 8 + 9
    assert problem_lines(problems, files)[-1] == "the store is whole"


def test_every_flipped_byte_of_a_chunk_is_found(store):
    """Wherever it is; without checksums those in the middle are read as other numbers."""
    (obs,) = store.photometry.values()
    largest = sorted((Path(store.path) / "chunks").iterdir(), key=lambda f: f.stat().st_size)[-1]
    whole = largest.read_bytes()
    for place in (0.0, 0.2, 0.5, 0.9, 0.9999):
        flip(largest, place)
        problems, _ = check(Store.open(store.path), files=False)
        assert len(problems) == 1 and "1 chunk of" in problems[0].what and problems[0].nights, place
        largest.write_bytes(whole)
    assert check(Store.open(store.path), files=False)[0] == []


@pytest.mark.slow
def test_writers_that_meet_damage_say_so_and_the_cure_works(store, small_night, tmp_path, capsys):
    """The last chunk of an array is read back before rows are added, whatever night they are of."""
    (later,) = simulate.write_nights(
        tmp_path / "later", night=1, frames=4, size=256, seed=3, stars=60, bias=3, darks=3, flats=3
    )
    before = store.history()[1].id
    for chunk in sorted((Path(store.path) / "chunks").iterdir(), key=lambda f: -f.stat().st_size):
        flip(chunk)
        (problem,) = health.damage(Store.open(store.path).session)
        if problem.place == "photometry/r/flux":
            break
        flip(chunk)
    night = store.nights[0]["night"]
    for command in (
        ["append", store.path, str(later)],
        ["redo", store.path, night, "--set", "sky_sigma=2.5"],
    ):
        assert cli.main([*command, "--workers", "0"]) == 6
        err = capsys.readouterr().err
        assert f"`dphot check {store.path}` tells what" in err and "Traceback" not in err
    assert "dphot rollback" in problem.cure and "append" in problem.cure
    damaged = Store.open(store.path)
    damaged.rollback(before)
    assert damaged.append([small_night, later], workers=0).frames == 12
    assert check(Store.open(store.path))[0] == []


def test_a_damaged_frame_is_named_the_rest_is_readable_and_it_comes_back(store, small_store):
    name, night = next((f, n) for f in store.frames for n in store.frames[f])
    raw = store.frames[name][night].raw
    for chunk in sorted((Path(store.path) / "chunks").iterdir(), key=lambda f: -f.stat().st_size):
        flip(chunk)
        damaged = Store.open(store.path)
        (problem,) = health.damage(damaged.session)
        if problem.place == f"{frames_group(name, night)}/raw":
            break
        flip(chunk)
    problems, found = check(damaged)
    assert problems == [problem] and problem.nights == [night]
    (row,) = problem.rows
    others = [i for i in range(raw.sizes["time"]) if i != row]
    order = np.argsort(damaged.frames[name][night].time.values)
    assert np.array_equal(order, np.arange(len(order)))  # stored in order of time here
    for i in others:
        np.testing.assert_array_equal(
            damaged.frames[name][night].raw[i], small_store.frames[name][night].raw[i]
        )
    np.testing.assert_array_equal(damaged.photometry[name].flux, small_store.photometry[name].flux)
    with pytest.raises(Exception, match="checksum"):
        damaged.frames[name][night].raw[row].load()

    before = damaged.history()[0].id
    (done,) = repair(damaged, problems, found)
    assert night in done and "is restored from its file" in done
    assert check(damaged)[0] == []
    (past,), found = check(damaged, versions=True)
    assert past.earlier and past.nights == [night] and before in past.what and problem.place in past.what
    assert problem_lines([past], found)[-1] == "the present state is whole"
    np.testing.assert_array_equal(damaged.frames[name][night].raw, small_store.frames[name][night].raw)
    assert damaged.history()[0].metadata["repaired"] == [done]
    assert repair(damaged, [past], found) == []
    damaged.collect(timedelta(0))
    assert check(damaged, versions=True)[0] == []


def test_what_the_present_state_shares_with_a_tag_is_told_once(store):
    """Also where a collection has cut the line between the two."""
    with store.transaction("another") as tx:
        tx.write_attrs({"note": "one"})
    store.tag("v1")
    store.rollback(store.history()[1].id)
    store.collect(timedelta(0))
    largest = sorted((Path(store.path) / "chunks").iterdir(), key=lambda f: f.stat().st_size)[-1]
    flip(largest)
    (problem,) = check(Store.open(store.path), files=False)[0]
    assert not problem.place.startswith("tag")


def test_the_history_is_listed_where_the_list_of_what_gc_let_go_is_damaged(store, capsys):
    with store.transaction("another") as tx:
        tx.write_attrs({"note": "one"})
    kept = {file: file.read_bytes() for file in Path(store.path).glob("manifests/*")}
    store.collect(timedelta(0))
    (log,) = {*Path(store.path).glob("manifests/*")} - set(kept)
    log.write_bytes(log.read_bytes()[:50])
    damaged, told = Store.open(store.path), []
    assert damaged.history(everything=True, broken=told.append) == damaged.history()
    assert "does not tell which versions gc let go" in told[0]
    assert cli.main(["history", store.path]) == 6
    assert damaged.history()[0].id in capsys.readouterr().out
    assert damaged.at(damaged.history()[0].id[:6]).path == store.path


def test_damaged_photometry_names_its_nights_and_leaves_the_others(tmp_path):
    from store_night import make_night

    store = Store.create(tmp_path / "field.dphot", {})
    for day in (1, 2, 3):
        with store.transaction(f"night {day}") as tx:
            tx.append_photometry("r", make_night(day, frames=128, stars=20))
            tx.write_night(f"2026-11-{day:02d}", {})
    whole = store.photometry["r"].load()
    by_size = sorted((tmp_path / "field.dphot" / "chunks").iterdir(), key=lambda file: -file.stat().st_size)
    seen = set()
    for file in by_size[:6]:  # the largest are flux and flux_err: 128 x 20 x 3 doubles, a chunk a night
        flip(file)
        damaged = Store.open(store.path)
        (problem,) = check(damaged, files=False)[0]
        (night,) = problem.nights
        for day in {1, 2, 3} - {int(night[-2:])}:
            rows = slice(128 * (day - 1), 128 * day)
            np.testing.assert_array_equal(damaged.photometry["r"].flux[rows], whole.flux[rows])
            np.testing.assert_array_equal(damaged.photometry["r"].flux_err[rows], whole.flux_err[rows])
        seen.add((problem.place.split("/")[-1], night))
        flip(file)
    assert seen == {(name, f"2026-11-0{day}") for name in ("flux", "flux_err") for day in (1, 2, 3)}


def test_a_damaged_chunk_of_several_nights_names_them_all(tmp_path):
    from store_night import make_night

    store = Store.create(tmp_path / "field.dphot", {})
    for day in (1, 2, 3):
        with store.transaction(f"night {day}") as tx:
            tx.append_photometry("r", make_night(day))
            tx.write_night(f"2026-11-{day:02d}", {})
    named = {}
    for file in (tmp_path / "field.dphot" / "chunks").iterdir():
        flip(file)
        named |= {problem.place.split("/")[-1]: problem.nights for problem in check(store, files=False)[0]}
        flip(file)
    for name in ("flux", "flux_err", "transform", "digest"):
        assert [*named[name]] == ["2026-11-01", "2026-11-02", "2026-11-03"]


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damage", [halve, pytest.param(Path.unlink, marks=pytest.mark.slow)])
def test_a_manifest_that_is_damaged_or_gone(store, damage):
    manifests = sorted((Path(store.path) / "manifests").iterdir(), key=lambda f: f.stat().st_size)
    named = set()
    for manifest in [*manifests[:3], *manifests[-6:]]:
        whole = manifest.read_bytes()
        damage(manifest)
        problems, _ = check(Store.open(store.path), files=False)
        assert problems and all(p.what for p in problems)
        named.update(night for p in problems for night in p.nights)
        manifest.write_bytes(whole)
    assert named == {"2026-03-14"}


def test_a_commit_that_is_gone(store):
    with store.transaction("note") as tx:
        tx.write_attrs({"note": 1})
    snapshot = Path(store.path) / "snapshots" / store.history()[1].id
    snapshot.unlink()
    problems, _ = check(Store.open(store.path), files=False)
    assert [p.place for p in problems] == ["history"] and "cannot be read" in problems[0].what
    assert snapshot.name in problems[0].what and store.history(broken=print)[0].id in problems[0].what


def test_tagged_versions_are_read_where_they_are_not_the_present_one(store, monkeypatch):
    store.tag("v1")
    earlier, manifests = (list((Path(store.path) / part).iterdir()) for part in ("chunks", "manifests"))
    (name,) = store.photometry
    with store.transaction("other numbers") as tx:
        flux = tx.root[f"photometry/{name}/flux"]
        flux[:] = 2 * flux[:]
    store.tag("same")
    with store.transaction("note") as tx:
        tx.write_attrs({"note": 1})
    read, error = [], health._error
    monkeypatch.setattr(health, "_error", lambda array, index: read.append(array.path) or error(array, index))
    assert list(health.damage(store.session)) == []
    alone = len(read)
    assert check(store, files=False)[0] == []
    assert len(read) == 2 * alone + store._root[f"photometry/{name}/flux"].nchunks
    monkeypatch.undo()
    for chunk in earlier:
        flip(chunk)
    (problem,) = older.tagged_problems(store.path, store.session)
    assert problem.place == f"tag v1: photometry/{name}/flux" and "cannot be read" in problem.what
    for chunk in earlier:
        flip(chunk)
    assert repair(store, [problem], {}) == []
    for file in manifests:
        file.rename(file.with_suffix(".aside"))
    lost = {problem.place for problem in older.tagged_problems(store.path, store.session)}
    assert lost >= {f"tag v1: photometry/{name}/{variable}" for variable in ("flux", "flux_err", "time")}
    for file in manifests:
        file.with_suffix(".aside").rename(file)
    store.rollback("v1")
    assert check(store, files=False)[0] == []
    (Path(store.path) / "snapshots" / store.tags["same"]).unlink()
    (problem,) = check(Store.open(store.path), files=False)[0]
    assert (
        problem.place == "tag same"
        and "cannot be opened" in problem.what
        and repair(store, [problem], {}) == []
    )


def test_variables_that_do_not_fit(store):
    (name,) = store.photometry
    with store.transaction("vandalism") as tx:
        group = tx.root[f"photometry/{name}"]
        del group["fwhm"]
        group["airmass"].resize((3,))
    found = {p.place.split("/")[-1]: p.what for p in check(store, files=False)[0]}
    assert found["fwhm"] == "is missing" and "differ in the size of time: 3, 8" in found[name]


def test_settings_that_were_edited(store):
    night = store.nights[0]
    night["series"][0]["config"]["gain"] = 99.0
    with store.transaction("forgery") as tx:
        tx.write_night(night["night"], {"series": night["series"]})
    (problem,) = check(store, files=False)[0]
    assert "not those of their digest" in problem.what and problem.nights == [night["night"]]


def test_files_that_changed_moved_or_went(night_copy, tmp_path):
    store = dphot.reduce(night_copy, tmp_path / "s.dphot", workers=0, stack=False)
    (obs,) = store.photometry.values()
    changed, moved, gone = (Path(p) for p in obs.path.values[:3])
    flat, other_flat = sorted(night_copy.glob("flat*"))[:2]
    changed.write_bytes(changed.read_bytes() + bytes(2880))
    (tmp_path / "archive").mkdir()
    moved.rename(tmp_path / "archive" / "renamed.fits")
    flat.rename(tmp_path / "archive" / "flat.fits")
    other_flat.rename(tmp_path / "archive" / "other.fits")
    (tmp_path / "archive" / "other.fits").write_bytes(bytes(2880))
    gone.unlink()
    problems, found = check(store)
    (problem,) = problems
    assert problem.place == str(changed) and "another file" in problem.what and len(problem.nights) == 1
    assert found["same"] == 8 + 9 - 5
    assert found["missing"] == sorted(map(str, (moved, gone, flat, other_flat)))

    before = store.photometry[next(iter(store.photometry))].load()
    (record,) = store.nights[0]["series"]
    done = repair(store, problems, found, str(tmp_path / "archive"))
    assert done == [
        f"{flat} is now {tmp_path}/archive/flat.fits",
        f"{moved} is now {tmp_path}/archive/renamed.fits",
    ]
    problems, found = check(store)
    assert found["missing"] == sorted(map(str, (gone, other_flat))) and len(problems) == 1
    told = [store.nights[0]["series"][0]["calibration"]["inputs"]["flat"],
            [one["path"] for one in dphot.explain(store, str(obs.time.values[0]))["masters"]["flat"]]]  # fmt: skip
    assert all(str(tmp_path / "archive" / "flat.fits") in flats and str(flat) not in flats for flats in told)
    assert all(len(flats) == 3 and str(other_flat) in flats for flats in told)
    assert store.nights[0]["series"][0]["config"] == record["config"]
    (after,) = store.photometry.values()
    assert after.path.values[1] == str(tmp_path / "archive" / "renamed.fits")
    np.testing.assert_array_equal(after.flux, before.flux)


def test_a_linked_file_is_followed_though_another_has_taken_its_name(night_copy, tmp_path):
    """A camera that counts from one again."""
    store = dphot.reduce(night_copy, tmp_path / "s.dphot", workers=0, stack=False, frames="link")
    (obs,) = store.photometry.values()
    path, other = (Path(p) for p in obs.path.values[:2])
    (name,) = store.frames
    (frames,) = store.frames[name].values()
    before = frames.raw.values
    (tmp_path / "archive").mkdir()
    path.rename(tmp_path / "archive" / "kept.fits")
    content = bytearray(other.read_bytes())
    content[-3000] ^= 1
    path.write_bytes(content)
    problems, found = check(store)
    assert "--moved-to" in problems[0].cure and found["changed"] == [str(path)]
    assert repair(store, problems, found, str(tmp_path / "archive")) == [
        f"{path} is now {tmp_path}/archive/kept.fits"
    ]
    assert check(store)[0] == []
    (frames,) = store.frames[name].values()
    np.testing.assert_array_equal(frames.raw.values, before)
