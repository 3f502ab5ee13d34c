"""Append of what a camera, a copy or a clock spoiled: clouds, halves of files, files that vanish, wrong times."""

import gzip
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from damage import edit, empty_sky
from same_bits import same_bits, same_stores
from small_nights import DAYS, SMALL, lights, stop

import dphot
from dphot import cli, night, simulate
from dphot.checking import check
from dphot.flags import FrameFlag
from dphot.lineage import commit_line, explain, lineage_lines
from dphot.other_field import OtherField
from dphot.progress import Progress


@pytest.fixture
def store(first, tmp_path):
    return dphot.open(shutil.copytree(first.path, tmp_path / "x.dphot"))


def test_a_header_that_points_elsewhere_tells_another_field_from_clouds(store, later):
    for path in lights(later):
        edit(path, empty_sky, RA=150.0)
    # too few stars to be measured is not evidence of another field
    done = store.append(later, workers=0)
    assert (done.frames, done.frames_used) == (5, 0)


def test_a_night_of_clouds_is_flagged_rows_and_nothing_else_changes(first, store, later):
    for path in lights(later):
        edit(path, empty_sky)
    done = store.append(later, workers=0)
    assert (done.frames, done.frames_used) == (5, 0)
    obs = store.photometry["r"].load()
    assert (obs.frame_flags.values[5:] == FrameFlag.FEW_STARS).all() and np.isnan(obs.flux.values[5:]).all()
    same_bits(obs.isel(time=slice(5)), first.photometry["r"].load())
    assert np.isnan(store.stack["r"][DAYS[1]].values).all()
    (record,) = store.nights[1]["series"]
    assert record["frames_used"] == 0 and len(record["frames_dropped"]) == 5
    assert store.append(later, workers=0).frames == 0


def test_a_clouded_beginning_is_committed_in_steps(nights, later, tmp_path, monkeypatch):
    for path in lights(later)[:3]:
        edit(path, empty_sky)
    whole = dphot.reduce(nights[0], tmp_path / "whole.dphot", workers=0, reference=0, steps=[stop])
    store = dphot.open(shutil.copytree(whole.path, tmp_path / "steps.dphot"))
    whole.append(later, workers=0, steps=[stop])
    monkeypatch.setattr(night, "STEP_SECONDS", 1e-6)
    monkeypatch.setenv("DPHOT_TEST_STOP", "1")
    with pytest.raises(KeyboardInterrupt):
        store.append(later, workers=0, steps=[stop])
    store.refresh()
    assert store.photometry["r"].sizes["time"] == 8 and not store.nights[1]["complete"]
    assert store.nights[1]["series"][0]["frames_used"] == 0
    monkeypatch.delenv("DPHOT_TEST_STOP")
    assert store.append(later, workers=0, steps=[stop]).frames == 2
    same_stores(store, whole)


def test_another_field_after_clouds_is_refused_and_the_clouds_stay(store, later, tmp_path, monkeypatch):
    monkeypatch.setattr(night, "STEP_SECONDS", 1e-6)
    (other,) = simulate.write_nights(tmp_path, frames=5, night=1, **{**SMALL, "seed": 99, "stars": 60})
    for path in lights(other)[:2]:
        edit(path, empty_sky)
    for _ in range(2):  # and again, when the same folder is given again
        with pytest.raises(OtherField, match="none of 3 frames with stars"):
            store.append(other, workers=0)
        store.refresh()
        rows = store.photometry["r"].frame_flags.values[5:]
        assert list(rows) == [FrameFlag.FEW_STARS] * 2 and not store.nights[1]["complete"]
    # the night's own frames make it whole
    assert store.append(later, workers=0).frames == 5
    assert store.nights[1]["complete"] and store.nights[1]["series"][0]["frames_used"] == 5


@pytest.mark.parametrize(
    "frames", ["copy", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("link", "none"))]
)
def test_a_file_that_comes_whole_takes_the_place_of_its_half(nights, later, tmp_path, frames, capsys):
    half, other = lights(later)[1:3]
    whole = {path: path.read_bytes() for path in (half, other)}
    for path in whole:
        path.write_bytes(whole[path][:20000])
    store = dphot.reduce([nights[0], later], tmp_path / "x.dphot", workers=0, frames=frames)
    half.write_bytes(whole[half][:25000])
    assert store.append(later, workers=0).frames == 1
    assert store.photometry["r"].sizes["time"] == 10 and store.nights[1]["series"][0]["frames"] == 5
    for path in whole:
        path.write_bytes(whole[path])
    assert cli.main(["append", store.path, str(later), "--workers", "0", "--json"]) == 0
    said = capsys.readouterr().err
    assert all(f"{path}: takes the place of what could not be read" in said for path in whole)
    store.refresh()
    same_stores(store, dphot.reduce([nights[0], later], tmp_path / "once.dphot", workers=0, frames=frames))
    commit = store.history()[0]
    assert commit.metadata["superseded"] == [str(half), str(other)] and "2 files in the place" in commit_line(
        commit
    )
    assert check(store)[0] == [] and store.append(later, workers=0).frames == 0
    if frames != "none":
        assert dphot.redo(store, DAYS[1], workers=0)[0]["frames_used"] == 5
        assert dphot.reduce(store, tmp_path / "again.dphot", workers=0).photometry["r"].sizes["time"] == 10


def test_a_night_of_halves_is_flagged_rows_until_they_come_whole(nights, first, store, later, tmp_path):
    whole = {path: path.read_bytes() for path in lights(later)}
    for path in whole:
        path.write_bytes(whole[path][:20000])
    empty = lights(later)[1]
    empty.write_bytes(b"")  # which tells nothing, and belongs where its neighbours do
    done = store.append([str(path) for path in whole], workers=0)
    assert (done.frames, done.frames_used, done.nights) == (5, 0, (DAYS[1],))
    obs = store.photometry["r"].load()
    new = obs.isel(time=obs.night.values == DAYS[1])
    assert (new.frame_flags.values & FrameFlag.UNREADABLE).all() and np.isnan(new.flux.values).all()
    assert new.path.values[np.isnat(new.time.values)] == [str(empty)]
    same_bits(obs.isel(time=obs.night.values == DAYS[0]), first.photometry["r"].load())
    assert store.append(lights(later)[0], workers=0).frames == 0 and check(store)[0] == []
    for path in whole:
        path.write_bytes(whole[path])
    done = store.append(later, workers=0)
    assert (done.frames, done.frames_used) == (5, 5) and check(store)[0] == []
    same_stores(store, dphot.reduce([nights[0], later], tmp_path / "once.dphot", workers=0))


def test_a_first_night_of_halves_does_not_cost_the_second(nights, tmp_path):
    folder = shutil.copytree(nights[0], tmp_path / "halves")
    for path in lights(folder):
        path.write_bytes(path.read_bytes()[:20000])
    store = dphot.reduce([folder, nights[1]], tmp_path / "x.dphot", workers=0)
    used = {night["night"]: night["series"][0]["frames_used"] for night in store.nights}
    assert used == {DAYS[0]: 0, DAYS[1]: 5} and store.photometry["r"].sizes["time"] == 10


def test_a_file_that_comes_whole_in_another_filter_takes_its_place_too(store, later):
    half, *others = lights(later)
    for path in [*others[:2], sorted(later.glob("flat*"))[0], half]:
        edit(path, FILTER="g")
    os.utime(half)
    whole = half.read_bytes()
    half.unlink()
    half = half.with_name(others[-1].name.replace("0005", "0006"))
    half.write_bytes(whole[:1000])  # of the header, too, a half
    assert store.append(later, workers=0).frames == 5
    dropped = {r["filter"]: len(r["frames_dropped"]) for r in store.nights[1]["series"]}
    assert dropped == {"g": 0, "r": 1}
    half.write_bytes(whole)
    assert store.append(later, workers=0).frames == 1
    told = {r["filter"]: (r["frames"], r["frames_dropped"]) for r in store.nights[1]["series"]}
    assert told == {"g": (3, []), "r": (2, [])}
    assert [store.photometry[f].sizes["time"] for f in "gr"] == [3, 7] and check(store)[0] == []


def test_a_file_that_is_cut_after_it_was_measured_is_no_new_frame(store, later):
    store.append(later, workers=0)
    before, path = store.photometry["r"].load(), lights(later)[2]
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", whole):
        path.write_bytes(content)
        assert store.append(later, workers=0).frames == 0
    same_bits(store.photometry["r"].load(), before)
    edit(path, DATE_OBS="2026-03-16T03:00:00")  # a camera that gave the name to another exposure
    path.write_bytes(path.read_bytes()[: len(whole) // 2])
    assert store.append(later, workers=0).frames == 1


def test_a_header_that_is_edited_after_its_frame_was_measured_makes_no_second_frame(store, later, capsys):
    """As a plate solver does, or a keyword that was forgotten."""
    store.append(later, workers=0)
    before, (first, second, *_) = store.photometry["r"].load(), lights(later)
    edit(first, CRVAL1=30.0, CRVAL2=40.0)
    second.touch()
    progress = Progress(bars=False, lines=True)
    assert store.append(later, workers=0, progress=progress).frames == 0
    said = capsys.readouterr().err
    assert f"2 measured files have been written to since ({first} ...)" in said
    same_bits(store.photometry["r"].load(), before)
    (problem,) = check(store)[0]
    assert "another file" in problem.what and str(first) in str(problem)


def pack(path, data=None):
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(data or path.read_bytes()))


def test_a_file_that_is_compressed_is_the_same_frame(first, store, later, tmp_path, capsys):
    store.append(later, workers=0)
    before, (one, two, *_) = store.photometry["r"].load(), lights(later)
    pack(one)
    one.unlink()
    with fits.open(two) as hdus:
        packed = fits.CompImageHDU(hdus[0].data, hdus[0].header)
    packed.writeto(two.with_name(f"{two.name}.fz"))
    progress = Progress(bars=False, lines=True)
    assert store.append(later, workers=0, progress=progress).frames == 0
    assert "2 measured files have been written to since" in capsys.readouterr().err
    same_bits(store.photometry["r"].load(), before)


def test_of_a_file_and_the_same_compressed_one_is_measured(store, later):
    one, two = lights(later)[:2]
    pack(one)
    pack(two)
    two.write_bytes(two.read_bytes()[:20000])  # a half is no copy: both have their row
    done = store.append(later, workers=0)
    assert (done.frames, done.frames_used) == (6, 5)
    dropped = {Path(d["path"]).name: d["flags"] for d in done.records[0]["frames_dropped"]}
    assert dropped == {f"{one.name}.gz": ["DUPLICATE"], two.name: ["UNREADABLE"]}
    assert store.append(later, workers=0).frames == 0


def compressed_elsewhere(path):
    archive = path.parent / "archive"
    archive.mkdir(exist_ok=True)
    pack(path)
    path.with_name(f"{path.name}.gz").rename(archive / f"{path.name}.gz")
    path.unlink()


def solved_beside(path):
    solved = path.parent / "solved"
    solved.mkdir(exist_ok=True)
    copy = Path(shutil.copy(path, solved / f"{path.stem}.new.fits"))
    edit(copy, CRVAL1=30.0, CRVAL2=40.0)


def edited_and_moved(path):
    edit(path, OBSERVER="A. N. Other")
    (path.parent / "done").mkdir(exist_ok=True)
    path.rename(path.parent / "done" / path.name)


def clock_corrected(path):
    with fits.open(path) as hdus:
        date = np.datetime64(hdus[0].header["DATE-OBS"]) - np.timedelta64(3600, "s")
    edit(path, DATE_OBS=str(date), JD=None)


def filter_corrected(path):
    edit(path, FILTER="g")


@pytest.mark.parametrize(
    "change", [compressed_elsewhere, solved_beside, edited_and_moved, clock_corrected, filter_corrected]
)
def test_the_same_pixels_are_the_same_frame_in_whatever_file(store, later, change):
    store.append(later, workers=0)
    before = store.photometry["r"].load()
    for path in lights(later)[:2]:
        change(path)
    assert store.append(later, workers=0).frames == 0
    same_bits(store.photometry["r"].load(), before)


def test_of_frames_and_their_solved_copies_each_is_measured_once(nights, tmp_path):
    folder = Path(shutil.copytree(nights[0], tmp_path / "night"))
    for path in lights(folder):
        solved_beside(path)
    store = dphot.reduce(folder, tmp_path / "x.dphot", workers=0)
    assert store.photometry["r"].sizes["time"] == 5
    (record,) = store.nights[0]["series"]
    assert sum(d["flags"] == ["DUPLICATE"] for d in record["frames_dropped"]) == 5


def test_a_frame_without_a_time_is_known_by_its_pixels(store, later):
    path = lights(later)[1]
    edit(path, DATE_OBS=None, JD=None)
    store.append(later, workers=0)
    edit(path, OBSERVER="A. N. Other")
    assert store.append(later, workers=0).frames == 0


def test_a_file_that_comes_whole_and_compressed_takes_the_place_of_its_half(store, later):
    one, two = lights(later)[1:3]
    whole = {path: path.read_bytes() for path in (one, two)}
    for path in whole:
        path.write_bytes(whole[path][:20000])
    store.append(later, workers=0)
    # two halves are no copies of each other, and stay
    two.with_name(f"{two.name}.gz").write_bytes(gzip.compress(whole[two])[:15000])
    pack(one, whole[one])
    one.unlink()
    assert store.append(later, workers=0).frames == 2
    rows = store.photometry["r"].load().isel(time=slice(5, None))
    lost = {Path(p).name for p in rows.path.values[rows.frame_flags.values != 0]}
    assert rows.sizes["time"] == 6 and lost == {two.name, f"{two.name}.gz"}
    assert store.nights[1]["series"][0]["frames"] == 6 and store.append(later, workers=0).frames == 0
    # the half that stays beside its whole is known as that exposure
    pack(two, whole[two])
    assert store.append(later, workers=0).frames == 1
    rows = store.photometry["r"].load().isel(time=slice(5, None))
    assert rows.sizes["time"] == 5 and not rows.frame_flags.values.any()
    assert store.append(later, workers=0).frames == 0 and check(store)[0] == []


def test_a_file_that_becomes_whole_after_it_was_listed_is_measured_next_time(nights, store, later, tmp_path):
    half, more = lights(later)[1:3]
    whole = {path: path.read_bytes() for path in (half, more)}
    for path in whole:
        path.write_bytes(whole[path][:20000])
    table = dphot.scan(later, store=False)
    for path in whole:  # between the look at the folder and the measurement
        path.write_bytes(whole[path])
    assert store.append(table, workers=0).frames_used == 3
    assert store.append(later, workers=0).frames_used == 2
    same_stores(store, dphot.reduce([nights[0], later], tmp_path / "once.dphot", workers=0))
    assert check(store)[0] == [] and store.append(later, workers=0).frames == 0


def test_a_file_that_could_not_be_opened_is_measured_when_it_can_be(store, later):
    path = lights(later)[2]
    there = path.rename(path.with_suffix(".aside"))
    path.symlink_to(path.name)  # what cannot be opened, even by the administrator
    assert store.append(later, workers=0).frames_used == 4
    assert store.append(later, workers=0).frames == 0
    path.unlink()
    there.rename(path)
    with store.transaction(
        "as if the file had been without permission"
    ) as tx:  # the same size and time of change
        group = tx.root["photometry/r"]
        row = group["path"][:].tolist().index(str(path))
        group["file_size"][row], group["file_time"][row] = path.stat().st_size, path.stat().st_mtime_ns
    done = store.append(later, workers=0)
    assert (done.frames, done.frames_used) == (1, 1)
    assert store.photometry["r"].sizes["time"] == 10
    assert store.append(later, workers=0).frames == 0


def test_a_late_light_is_judged_by_the_darks_that_its_night_has(store, later):
    late = lights(later)[2]
    there = late.rename(late.with_suffix(".aside"))
    assert store.append(later, workers=0).frames == 4
    there.rename(late)
    edit(late, CCD_TEMP=-12.0)
    assert store.append(late, workers=0).frames_used == 1
    obs = store.photometry["r"].load().isel(time=7)
    assert int(obs.frame_flags) == FrameFlag.CALIBRATION_MISSING
    assert str(obs.note.values).count("taken at -12.0 deg C, the darks at -20.0") == 1


def test_a_frame_that_vanishes_before_it_is_measured_leaves_no_silent_zeros(store, later):
    table = dphot.scan(later, store=False)
    gone = lights(later)[2]
    gone.unlink()
    assert store.append(table, workers=0).frames_used == 4
    frames = store.frames["r"][DAYS[1]].load()
    assert frames.kept.values.tolist() == [1, 1, 0, 1, 1]
    cube = dphot.cube(frames)
    assert cube.sizes["time"] == 4 and str(gone) not in cube.path.values
    obs = store.photometry["r"].load().isel(time=7)
    assert "no such file" in str(obs.note.values) and int(obs.frame_flags) == FrameFlag.UNREADABLE


def test_duplicate_times_and_clock_jumps_are_kept_and_noted(store, later):
    paths = lights(later)
    with fits.open(paths[1]) as hdus:
        header = hdus[0].header
        date, jd = header["DATE-OBS"], header.get("JD")
    edit(paths[2], DATE_OBS=date, **({"JD": jd} if jd else {}))
    edit(paths[4], DATE_OBS=date.replace("T2", "T1"), JD=None)
    done = store.append(later, workers=0)
    assert (done.frames, done.frames_used) == (5, 5)
    obs = store.photometry["r"].load().isel(time=slice(5, None))
    notes = {Path(str(p)).name: str(n) for p, n in zip(obs.path.values, obs.note.values, strict=True)}
    assert f"the same mid-exposure time as {paths[2].name}" in notes[paths[1].name]
    assert f"the same mid-exposure time as {paths[1].name}" in notes[paths[2].name]
    found = explain(store, date)
    assert [one["frame"]["path"] for one in (found, *found["also"])] == [str(p) for p in paths[1:3]]
    text = "\n".join(lineage_lines(found))
    assert all(f"frame {path}" in text for path in paths[1:3]) and "also" not in explain(
        store, str(obs.time.values[0])
    )
    assert "the clock went back by" in notes[paths[4].name] and paths[3].name in notes[paths[4].name]
    assert (np.diff(obs.time.values) >= np.timedelta64(0, "ns")).all() and notes[paths[0].name] == ""


def test_a_clock_that_was_not_set_costs_the_time_and_not_the_frame(store, later):
    path = lights(later)[2]
    edit(path, DATE_OBS="1970-01-01T00:00:10", JD=None)
    done = store.append(later, workers=0)
    assert (done.frames_used, done.nights) == (5, (DAYS[1],))
    obs = store.photometry["r"].load().isel(time=-1)
    assert str(obs.path.values) == str(path) and np.isfinite(obs.flux.values).any()
    assert int(obs.frame_flags) == FrameFlag.BAD_TIME and "clock was not set" in str(obs.note.values)
