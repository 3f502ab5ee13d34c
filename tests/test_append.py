"""Append: what is new is measured as it would have been at once; what is not is known; what does not belong is refused."""

import bz2
import gzip
import importlib
import json
import os
import shutil
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from damage import edit, empty_sky
from same_bits import same_bits, same_stores
from small_nights import DAYS, SMALL, calibrations, lights, stop

import dphot
from dphot import cli, night, other_field, simulate
from dphot.errors import InputError, StoreError
from dphot.flags import FrameFlag
from dphot.progress import Progress
from dphot.store import Store


@pytest.fixture(scope="module")
def at_once(nights, tmp_path_factory):
    return dphot.reduce(nights, tmp_path_factory.mktemp("at_once") / "x.dphot", workers=0)


@pytest.fixture
def store(first, tmp_path):
    return dphot.open(shutil.copytree(first.path, tmp_path / "x.dphot"))


def n_commits(store):
    return len(dphot.open(store.path).history())


@pytest.mark.parametrize("order", [pytest.param((1, 2), marks=pytest.mark.slow), (2, 1)])
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


@pytest.mark.parametrize("with_calibration", [pytest.param(True, marks=pytest.mark.slow), False])
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


def test_a_calibration_frame_that_is_a_light_now_is_not_asked_for(nights, later, tmp_path):
    first = Path(shutil.copytree(nights[0], tmp_path / "first"))
    store = dphot.reduce(first, tmp_path / "y.dphot", workers=0)
    names = sorted(first.glob("flat*"))
    shutil.copy(lights(nights[2])[0], names[0])
    for path in later.glob("flat*"):
        path.unlink()
    done = store.append(later, workers=0)
    assert (done.frames, done.nights) == (5, (DAYS[1],))
    assert done.records[0]["calibration"]["inputs"]["flat"] == [str(names[1])]


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".fz"])
def test_calibration_that_was_compressed_since_serves_still(nights, later, tmp_path, ending):
    first = Path(shutil.copytree(nights[0], tmp_path / "first"))
    store = dphot.reduce(first, tmp_path / "y.dphot", workers=0)
    packed = [pack(path, ending) for path in sorted(first.glob("flat*"))]
    for path in later.glob("flat*"):
        path.unlink()
    (record,) = store.append(later, workers=0).records
    assert record["calibration"]["inputs"]["flat"] == packed and not record["calibration"]["missing"]
    # those of the other kinds are read again under their new names, too
    for path in sorted(first.glob("bias*")):
        pack(path, ending)
    (record,) = dphot.redo(store, DAYS[0], calibration=[*map(str, nights[0].glob("dark*"))], workers=0)
    assert record["calibration"]["inputs"]["flat"] == packed


def pack(path, ending):
    """Compress a file in its place; gives its new name."""
    packed = path.with_name(path.name + ending)
    if ending == ".fz":
        with fits.open(path) as hdus:
            fits.CompImageHDU(hdus[0].data, hdus[0].header).writeto(packed)
    else:
        packed.write_bytes({".gz": gzip, ".bz2": bz2}[ending].compress(path.read_bytes()))
    path.unlink()
    return str(packed)


def test_a_new_filter_is_a_new_series(store, later):
    for path in [*lights(later), *later.glob("flat*")]:
        edit(path, FILTER="g")
    assert store.append(later, workers=0).frames == 5
    assert list(store.photometry) == ["g", "r"]
    np.testing.assert_array_equal(store.photometry["g"].star_x, store.photometry["r"].star_x)
    assert np.isfinite(store.photometry["g"].flux[:, 5, 0]).all()


def test_frames_of_another_field_are_refused_with_the_numbers(nights, store, tmp_path, capsys):
    (other,) = simulate.write_nights(tmp_path, frames=5, night=1, **{**SMALL, "seed": 99, "stars": 60})
    before = n_commits(store)
    code = cli.main(["append", store.path, str(other), str(nights[2]), "--workers", "0", "--json"])
    captured = capsys.readouterr()
    error = json.loads(captured.out.splitlines()[-1])
    assert code == error["exit_code"] == 2 and error["kind"] == "OtherField"
    assert "none of 5 frames" in error["error"] and "stars, the reference" in error["error"]
    assert error["committed"] == [DAYS[2]]
    assert captured.err.splitlines()[-1] == f"committed all the same: {DAYS[2]}"
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
        edit(Path(shutil.copy(path, late)), empty_sky)
    done = store.append(late, workers=0)
    assert (done.frames, done.frames_used, done.nights) == (2, 0, (DAYS[0],))
    assert (store.photometry["r"].frame_flags.values & FrameFlag.FEW_STARS > 0).sum() == 2
    # a night of clouds alone is no exception
    (other,) = simulate.write_nights(tmp_path, frames=2, night=1, **{**SMALL, "seed": 99, "stars": 60})
    edit(Path(shutil.copy(lights(nights[1])[0], late / "next.fits")), empty_sky)
    assert store.append(late, workers=0).frames == 1
    with pytest.raises(other_field.OtherField, match="none of 2 frames"):
        store.append([str(p) for p in lights(other)], workers=0)


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


@pytest.mark.parametrize("chunk", [pytest.param(1, marks=pytest.mark.slow), 16])
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


@pytest.mark.slow
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


def test_the_same_nights_by_two_writers_are_there_once(nights, store, tmp_path, monkeypatch):
    """The second plans while the first measures, and finds under the lock what is left to do: of each night in turn."""
    module = importlib.import_module("dphot.append")
    commit = module.commit_nights
    folders = [Path(shutil.copytree(night, tmp_path / night.name)) for night in nights[1:3]]
    for folder in folders:
        (folder / "light-r-0009.fits").touch()  # has no digest that could tell it is there

    def late(*args, **kwargs):
        monkeypatch.setattr(module, "commit_nights", commit)
        assert dphot.append(store.path, folders, workers=0).frames == 12
        return commit(*args, **kwargs)

    monkeypatch.setattr(module, "commit_nights", late)
    assert store.append(folders, workers=0).frames == 0
    paths = list(store.photometry["r"].path.values)
    assert len(paths) == len(set(paths)) == 17 and n_commits(store) == 4


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


def test_a_telescope_file_that_changed_between_nights_is_told(nights, tmp_path, capsys):
    place = dphot.Telescope(name="Sim40", diameter=0.4).save(tmp_path)
    store = dphot.reduce(nights[0], tmp_path / "x.dphot", workers=0, telescope=str(place))
    progress = Progress(bars=False, lines=True)
    store.append(nights[1], workers=0, progress=progress)
    assert "telescope's file was another" not in capsys.readouterr().err
    dphot.Telescope(name="Sim40", diameter=0.5).save(tmp_path)
    assert store.append(nights[2], workers=0, progress=progress).frames == 5
    assert (
        f"{place}: the telescope's file was another when the last night was measured"
        in capsys.readouterr().err
    )
    digests = [record["telescope_digest"] for night in store.nights for record in night["series"]]
    assert digests[0] == digests[1] != digests[2] and digests[0]


def test_flats_that_come_after_their_night_was_begun_are_told_not_to_serve(
    nights, store, later, tmp_path, capsys
):
    flats = [path.rename(tmp_path / path.name) for path in sorted(later.glob("flat*"))]
    late = lights(later)[3].rename(tmp_path / "late.fits")
    store.append(later, workers=0, calibration_days=0)
    for path in (*flats, late):
        path.rename(later / path.name)
    progress = Progress(bars=False, lines=True)
    assert store.append(later, workers=0, calibration_days=0, progress=progress).frames == 1
    said = capsys.readouterr().err
    assert "1 lights; calibrated with 2 bias, 2 dark, 0 flat, the masters as they are" in said
    assert (
        f"flat: none in the night's masters; `dphot redo {store.path} {DAYS[1]} --calibration FOLDER`" in said
    )
    dphot.redo(store, DAYS[1], calibration=later, workers=0)
    assert not (store.photometry["r"].frame_flags.values & FrameFlag.CALIBRATION_MISSING).any()


def test_another_exposure_under_a_name_and_time_that_are_known_is_measured(store, later):
    """A camera that counts from one again, and a clock that stands."""
    store.append(later, workers=0)
    for path in lights(later)[:2]:
        edit(path, lambda pixels: np.roll(pixels, 1, axis=1))
    done = store.append(later, workers=0)
    assert (done.frames, done.frames_used) == (2, 2) and store.append(later, workers=0).frames == 0
