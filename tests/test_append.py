"""Append: what is new is measured as it would have been at once; what is not is known; what does not belong is refused."""

import importlib
import json
import os
import shutil
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from same_bits import same_bits, same_stores

import dphot
from dphot import cli, night, other_field, simulate
from dphot.checking import check
from dphot.errors import InputError, StoreError
from dphot.flags import FrameFlag
from dphot.lineage import commit_line, explain, lineage_lines
from dphot.store import Store

SMALL = {"size": 128, "seed": 3, "stars": 25, "bias": 2, "darks": 2, "flats": 2, "clouds": 0}
DAYS = ("2026-03-14", "2026-03-15", "2026-03-16")
LOST = FrameFlag.UNREADABLE | FrameFlag.FEW_STARS | FrameFlag.ALIGN_FAILED


def lights(folder):
    return sorted(folder.glob("light*"))


def calibrations(folder):
    return sorted(p for p in folder.glob("*.fits") if not p.name.startswith("light"))


def edit(path, pixels=None, **cards):
    """Change header cards (``_`` for ``-``, None removes), and pixels."""
    with fits.open(path) as hdus:
        data, header = hdus[0].data, hdus[0].header
    for key, value in cards.items():
        if value is None:
            header.remove(key.replace("_", "-"), ignore_missing=True)
        else:
            header[key.replace("_", "-")] = value
    fits.writeto(path, data if pixels is None else pixels(data), header, overwrite=True)


def clouded(pixels):
    return np.random.default_rng(1).poisson(900, pixels.shape).astype(np.uint16)


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    return simulate.write_nights(tmp_path_factory.mktemp("nights"), nights=3, frames=5, **SMALL)


@pytest.fixture(scope="module")
def at_once(nights, tmp_path_factory):
    return dphot.reduce(nights, tmp_path_factory.mktemp("at_once") / "x.dphot", workers=0)


@pytest.fixture(scope="module")
def first(nights, tmp_path_factory):
    """The first night alone."""
    return dphot.reduce(nights[0], tmp_path_factory.mktemp("first") / "x.dphot", workers=0)


@pytest.fixture
def store(first, tmp_path):
    return dphot.open(shutil.copytree(first.path, tmp_path / "x.dphot"))


@pytest.fixture
def later(nights, tmp_path):
    """A copy of the second night's folder, to be changed."""
    return Path(shutil.copytree(nights[1], tmp_path / "later"))


def n_commits(store):
    return len(dphot.open(store.path).history())


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_nights_one_by_one_in_any_order_equal_all_at_once(nights, at_once, store, order):
    for i in order:
        before = n_commits(store)
        done = store.append(nights[i], workers=0)
        assert (done.frames, done.frames_used, done.nights) == (5, 5, (DAYS[i],))
        assert n_commits(store) == before + 1 and "5 new frames" in repr(done)
    same_stores(store, at_once)
    assert (np.diff(store.photometry["r"].time.values) > np.timedelta64(0, "ns")).all()
    assert all(record["complete"] for record in store.nights)


def test_a_second_call_does_nothing_and_says_so(nights, first, store, capsys):
    before = n_commits(store)
    done = store.append(nights[0], workers=0)
    assert done.frames == 0 and "nothing new" in repr(done)
    assert cli.main(["append", store.path, str(nights[0]), "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out.splitlines()[-1])["frames"] == 0 and "nothing new" in captured.err
    assert n_commits(store) == before


def test_a_renamed_or_copied_frame_is_the_same(nights, store, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for i, path in enumerate(lights(nights[0])):
        shutil.copy(path, other / f"renamed-{i}.fits")
    before = n_commits(store)
    assert dphot.append(store, other, workers=0).frames == 0 and n_commits(store) == before


@pytest.mark.parametrize("with_calibration", [True, False])
def test_late_frames_extend_their_night(nights, at_once, store, tmp_path, with_calibration):
    early, late = tmp_path / "early", tmp_path / "late"
    for folder in (early, late):
        folder.mkdir()
    place = {p: early if i in (0, 3) else late for i, p in enumerate(lights(nights[1]))}
    for path, folder in place.items():
        os.link(path, folder / path.name)
    assert store.append([early, *calibrations(nights[1])], workers=0).frames == 2
    given = [late, *calibrations(nights[1])] if with_calibration else late
    done = store.append(given, workers=0)
    assert done.frames == 3 and [r["frames"] for r in done.records] == [5]
    store.append(nights[2], workers=0)
    same_bits(store.photometry["r"].load(), at_once.photometry["r"].load(), but=("path",))
    for kind in ("stack", "frames"):
        x, y = getattr(store, kind)["r"][DAYS[1]], getattr(at_once, kind)["r"][DAYS[1]]
        x, y = (x, y) if kind == "stack" else (x.raw, y.raw)
        assert x.values.tobytes() == y.values.tobytes()
    assert (np.diff(store.frames["r"][DAYS[1]].time.values) > np.timedelta64(0, "ns")).all()
    (record,) = store.nights[1]["series"]
    assert record["frames_used"] == 5 and not record["calibration"]["missing"]


def test_calibration_that_is_missing_is_that_of_a_near_night(nights, store, later, monkeypatch):
    for path in later.glob("flat*"):
        path.unlink()
    (record,) = store.append(later, workers=0).records
    inputs = record["calibration"]["inputs"]
    assert (
        inputs["flat"] == [str(p) for p in sorted(nights[0].glob("flat*"))]
        and not record["calibration"]["missing"]
    )
    assert inputs["bias"] == [str(p) for p in sorted(later.glob("bias*"))]


def test_a_new_filter_is_a_new_series(store, later):
    for path in [*lights(later), *later.glob("flat*")]:
        edit(path, FILTER="g")
    assert store.append(later, workers=0).frames == 5
    assert list(store.photometry) == ["g", "r"]
    np.testing.assert_array_equal(store.photometry["g"].star_x, store.photometry["r"].star_x)
    assert np.isfinite(store.photometry["g"].flux[:, 5, 0]).all()


@pytest.mark.parametrize(
    "change, words",
    [
        (
            lambda p: edit(p, lambda a: a[::2, ::2].copy(), XBINNING=2, YBINNING=2),
            ("64x64", "binned 2x2", "128x128"),
        ),
        (lambda p: edit(p, GAIN=2.6), ("2.6", "1.3", "store of its own")),
    ],
)
def test_another_binning_or_gain_is_refused(store, later, change, words):
    before = n_commits(store)
    for path in later.glob("*.fits"):
        change(path)
    with pytest.raises(InputError) as error:
        store.append(later, workers=0)
    assert all(word in str(error.value) for word in words) and n_commits(store) == before


def test_frames_of_another_field_are_refused_with_the_numbers(nights, store, tmp_path, capsys):
    (other,) = simulate.write_nights(tmp_path, frames=5, night=1, **{**SMALL, "seed": 99, "stars": 60})
    before = n_commits(store)
    code = cli.main(["append", store.path, str(other), str(nights[2]), "--workers", "0", "--json"])
    captured = capsys.readouterr()
    error = json.loads(captured.out.splitlines()[-1])
    assert code == error["exit_code"] == 2 and error["kind"] == "OtherField"
    assert "none of 5 frames" in error["error"] and "stars, the reference" in error["error"]
    # the other night of the same call is there; of this one there is nothing
    assert [n["night"] for n in dphot.open(store.path).nights] == [DAYS[0], DAYS[2]]
    assert n_commits(store) == before + 1


def test_late_frames_of_another_field_are_refused_and_clouded_ones_are_kept(nights, store, tmp_path):
    (other,) = simulate.write_nights(tmp_path, frames=2, night=0, **{**SMALL, "seed": 99, "stars": 60})
    before = n_commits(store)
    with pytest.raises(
        other_field.OtherField, match=r"none of 2 frames.* stars, the reference .*None of them"
    ):
        store.append([str(p) for p in lights(other)], workers=0)
    assert n_commits(store) == before and store.photometry["r"].sizes["time"] == 5
    late = tmp_path / "late"
    late.mkdir()
    for path in lights(nights[0])[:2]:
        edit(Path(shutil.copy(path, late)), clouded)
    done = store.append(late, workers=0)
    assert (done.frames, done.frames_used, done.nights) == (2, 0, (DAYS[0],))
    assert (store.photometry["r"].frame_flags.values & FrameFlag.FEW_STARS > 0).sum() == 2
    # a night of clouds alone is no exception
    (other,) = simulate.write_nights(tmp_path, frames=2, night=1, **{**SMALL, "seed": 99, "stars": 60})
    edit(Path(shutil.copy(lights(nights[1])[0], late / "next.fits")), clouded)
    assert store.append(late, workers=0).frames == 1
    with pytest.raises(other_field.OtherField, match="none of 2 frames"):
        store.append([str(p) for p in lights(other)], workers=0)


def test_a_header_that_points_elsewhere_tells_another_field_from_clouds(store, later):
    for path in lights(later):
        edit(path, clouded, RA=150.0)
    # too few stars to be measured is not evidence of another field
    done = store.append(later, workers=0)
    assert (done.frames, done.frames_used) == (5, 0)


def test_a_night_of_clouds_is_flagged_rows_and_nothing_else_changes(first, store, later):
    for path in lights(later):
        edit(path, clouded)
    done = store.append(later, workers=0)
    assert (done.frames, done.frames_used) == (5, 0)
    obs = store.photometry["r"].load()
    assert (obs.frame_flags.values[5:] == FrameFlag.FEW_STARS).all() and np.isnan(obs.flux.values[5:]).all()
    same_bits(obs.isel(time=slice(5)), first.photometry["r"].load())
    assert np.isnan(store.stack["r"][DAYS[1]].values).all()
    (record,) = store.nights[1]["series"]
    assert record["frames_used"] == 0 and len(record["frames_dropped"]) == 5
    assert store.append(later, workers=0).frames == 0


def test_settings_are_the_stores(nights, store):
    before = n_commits(store)
    with pytest.raises(InputError, match=r"max_stars = 7, the store has 500.*new store"):
        store.append(nights[1], workers=0, max_stars=7)
    with pytest.raises(InputError, match="through the steps none"):
        store.append(nights[1], workers=0, steps=[lambda image, record: image])
    assert n_commits(store) == before
    assert store.append(nights[1], workers=0, chunk=2, max_stars=500).frames == 5


def test_bad_files_are_known_again(store, later):
    truncated, empty, gone = lights(later)[:3]
    truncated.write_bytes(truncated.read_bytes()[:20000])
    empty.write_bytes(b"")
    gone.unlink()
    gone.symlink_to("/nowhere/x.fits")
    done = store.append(later, workers=0)
    assert (done.frames, done.frames_used) == (5, 2)
    before = n_commits(store)
    assert store.append(later, workers=0).frames == 0
    for path in (truncated, empty):
        os.utime(path)
    assert store.append(later, workers=0).frames == 0 and n_commits(store) == before


@pytest.mark.parametrize("frames", ["copy", "link", "none"])
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


def test_a_file_that_comes_whole_in_another_filter_takes_its_place_too(store, later):
    half, *others = lights(later)
    for path in [*others[:2], sorted(later.glob("flat*"))[0], half]:
        edit(path, FILTER="g")
    os.utime(half)
    whole = half.read_bytes()
    half.unlink()
    half = half.with_name(others[-1].name.replace("0005", "0006"))
    half.write_bytes(whole[:20000])
    assert store.append(later, workers=0).frames == 5
    dropped = {r["filter"]: len(r["frames_dropped"]) for r in store.nights[1]["series"]}
    assert dropped == {"g": 0, "r": 1}
    half.write_bytes(whole)
    assert store.append(later, workers=0).frames == 1
    told = {r["filter"]: (r["frames"], r["frames_dropped"]) for r in store.nights[1]["series"]}
    assert told == {"g": (3, []), "r": (2, [])}
    assert [store.photometry[f].sizes["time"] for f in "gr"] == [3, 7] and check(store)[0] == []


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


def stop(image, record):
    """A step of the user's that ends the run at one frame."""
    if record["path"].endswith("0004.fits") and os.environ.get("DPHOT_TEST_STOP"):
        raise KeyboardInterrupt
    return image


@pytest.mark.parametrize("chunk", [1, 16])
def test_a_long_night_is_committed_in_steps_and_goes_on_after_a_crash(nights, tmp_path, monkeypatch, chunk):
    whole = dphot.reduce(nights[0], tmp_path / "whole", workers=0, reference=0, steps=[stop], chunk=chunk)
    assert n_commits(whole) == 2
    monkeypatch.setattr(night, "STEP_SECONDS", 1e-6)
    monkeypatch.setenv("DPHOT_TEST_STOP", "1")
    with pytest.raises(KeyboardInterrupt):
        dphot.reduce(nights[0], tmp_path / "x", workers=0, reference=0, steps=[stop], chunk=chunk)
    store = dphot.open(tmp_path / "x")
    assert not store.nights[0]["complete"] and store.photometry["r"].sizes["time"] == 3
    assert n_commits(store) == 4
    monkeypatch.delenv("DPHOT_TEST_STOP")
    assert store.append(nights[0], workers=0, steps=[stop]).frames == 2
    assert store.nights[0]["complete"]
    same_stores(store, whole)


def test_a_night_of_two_filters_goes_on_where_it_stopped(nights, tmp_path, monkeypatch):
    folder = Path(shutil.copytree(nights[0], tmp_path / "two"))
    for path in [*lights(folder)[3:], *sorted(folder.glob("flat*"))[1:]]:
        edit(path, FILTER="g")
    whole = dphot.reduce(folder, tmp_path / "whole", workers=0, reference=0, steps=[stop])
    monkeypatch.setattr(night, "STEP_SECONDS", 1e-6)
    monkeypatch.setenv("DPHOT_TEST_STOP", "1")
    with pytest.raises(KeyboardInterrupt):
        dphot.reduce(folder, tmp_path / "x", workers=0, reference=0, steps=[stop])
    store = dphot.open(tmp_path / "x")
    assert list(store.photometry) == ["r"] and not store.nights[0]["complete"]
    monkeypatch.delenv("DPHOT_TEST_STOP")
    store.append(folder, workers=0, steps=[stop])
    same_stores(store, whole)


def test_where_another_writer_commits_first_the_night_is_done_again(nights, at_once, store, monkeypatch):
    """As in a bucket, which has no lock: the other's night arrives while this one is measured."""
    monkeypatch.setattr("dphot.store.transactions.lock.exclusive", lambda folder, wait: nullcontext())
    other = [nights[2]]
    run = night.measure_night

    def meanwhile(*args, **kwargs):
        while other:
            dphot.append(store.path, other.pop(), workers=0)
        return run(*args, **kwargs)

    monkeypatch.setattr(night, "measure_night", meanwhile)
    assert store.append(nights[1], workers=0).frames == 5
    same_stores(store, at_once)
    # the same night by both: none of its frames twice
    other.append(later := nights[1])
    assert store.append(later, workers=0).frames == 0


def test_the_same_night_by_two_writers_is_there_once(nights, store, monkeypatch):
    """The second plans while the first measures, and finds under the lock that nothing is left to do."""
    module = importlib.import_module("dphot.append")
    commit = module.commit_nights

    def late(*args, **kwargs):
        monkeypatch.setattr(module, "commit_nights", commit)
        assert dphot.append(store.path, nights[1], workers=0).frames == 5
        return commit(*args, **kwargs)

    monkeypatch.setattr(module, "commit_nights", late)
    assert store.append(nights[1], workers=0).frames == 0
    assert store.photometry["r"].sizes["time"] == 10 and n_commits(store) == 3


def test_a_second_writer_waits_or_refuses(nights, store):
    with Store.open(store.path).transaction("busy") as tx:
        with pytest.raises(StoreError, match="is writing to it; waited 0 s"):
            store.append(nights[1], workers=0, wait=0)
        tx.write_attrs({"note": "busy"})
    assert store.append(nights[1], workers=0).frames == 5 and store.attrs["note"] == "busy"


def test_only_the_stores_target_is_taken_of_a_folder_of_several(store, later, capsys):
    for path in lights(later)[:2]:
        edit(path, OBJECT="M 31")
    assert store.append(later, workers=0).frames == 3


def test_a_new_store_of_which_no_frame_could_be_measured_is_exit_code_5(nights, tmp_path, capsys):
    (tmp_path / "bad_step.py").write_text(
        "calls = []\ndef fails_later(image, record):\n"
        "    calls.append(1)\n    if len(calls) > 6:\n        raise ValueError('no')\n    return image\n"
    )
    import sys

    sys.path.insert(0, str(tmp_path))
    try:
        code = cli.main(["reduce", str(nights[0]), "--store", str(tmp_path / "x"), "--workers", "0", "--json",
                         "--steps", "bad_step:fails_later"])  # fmt: skip
    finally:
        sys.path.remove(str(tmp_path))
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert code == result["exit_code"] == 5 and result["frames_used"] == 0 and result["frames"] == 5
    assert dphot.open(tmp_path / "x").photometry["r"].sizes["time"] == 5
