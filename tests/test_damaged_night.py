"""A night of bad files: each is a flagged row and a note, and the others are measured as if nothing were wrong."""

import json
import shutil

import numpy as np
import pytest
from command_line import command
from damage import edit, empty_sky, light, truncate

import dphot
from dphot import simulate
from dphot.flags import FrameFlag
from dphot.io.readers import read_frame

NIGHT = "2026-03-14"


def other_field(path):
    """A frame of another field, with this frame's header."""
    spec = simulate.simulation(frames=1, size=256, seed=99, stars=60)
    edit(path, lambda pixels: simulate.prepare(spec).frame("light", 0))


# one frame, one fault: what is done to it, and the flag and the note that it comes to
FAULTS = {
    1: (lambda p: truncate(p), FrameFlag.UNREADABLE, "truncated"),
    2: (lambda p: p.write_bytes(b""), FrameFlag.UNREADABLE, "the file is empty"),
    3: (lambda p: p.write_bytes(b"hello" * 1000), FrameFlag.UNREADABLE, "not a FITS file"),
    4: (
        lambda p: edit(p, lambda a: a[:200, :180].copy()),
        FrameFlag.UNREADABLE,
        "width 180 and not 256",
    ),
    5: (lambda p: edit(p, XBINNING=2, YBINNING=2), FrameFlag.UNREADABLE, "xbinning 2 and not 1"),
    6: (lambda p: edit(p, GAIN=2.6), FrameFlag.UNREADABLE, "gain 2.6 and not 1.3"),
    7: (
        lambda p: edit(p, lambda a: np.full_like(a, 700)),
        FrameFlag.FEW_STARS,
        "0 stars found, 3 needed",
    ),
    8: (lambda p: edit(p, empty_sky), FrameFlag.FEW_STARS, "0 stars found"),
    9: (other_field, FrameFlag.ALIGN_FAILED, "cannot be aligned"),
    10: (lambda p: edit(p, DATE_OBS=None, JD=None), FrameFlag.BAD_TIME, "no time in the header"),
    11: (lambda p: edit(p, EXPTIME=None), FrameFlag.CALIBRATION_MISSING, "the dark is not subtracted"),
    12: (lambda p: edit(p, JD=2461115.0), FrameFlag(0), "DATE-OBS and JD disagree"),
    13: (lambda p: edit(p, OBJECT=None), FrameFlag(0), ""),
    14: (lambda p: edit(p, GAIN=None), FrameFlag(0), ""),
    15: (lambda p: (p.unlink(), p.symlink_to("/nowhere/x.fits")), FrameFlag.UNREADABLE, "no such file"),
    16: (lambda p: edit(p, lambda a: np.stack([a, a])), FrameFlag.UNREADABLE, "no 2-D image"),
    17: (lambda p: edit(p, lambda a: a.astype(np.float32)), FrameFlag.UNREADABLE, "dtype float32"),
}
NO_CONTENT = (2, 15)
LOST = FrameFlag.UNREADABLE | FrameFlag.FEW_STARS | FrameFlag.ALIGN_FAILED
N_LIGHTS = 24


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """A night in which nearly everything that can be wrong with a file is wrong with one; reduced."""
    place = tmp_path_factory.mktemp("damaged")
    (folder,) = simulate.write_nights(
        place, frames=N_LIGHTS, size=256, seed=3, stars=60, bias=3, darks=3, flats=4
    )
    for i, (damage, _, _) in FAULTS.items():
        damage(light(folder, i))
    shutil.copy(light(folder, 20), folder / "light-r-0020-copy.fits")
    truncate(folder / "bias-0002.fits")
    edit(folder / "flat-r-0002.fits", lambda a: np.zeros_like(a))
    edit(folder / "flat-r-0003.fits", lambda a: np.full_like(a, 65535))
    edit(folder / "dark-0002.fits", lambda a: np.full(a.shape, np.nan, np.float32))
    return folder, dphot.reduce(folder, place / "x.dphot", workers=0, chunk=5)


@pytest.mark.parametrize("i", FAULTS)
def test_each_bad_frame_is_a_row_with_its_flag_and_its_note(damaged, i):
    folder, store = damaged
    obs = store.photometry["r"].load()
    (row,) = np.flatnonzero(obs.path.values == str(light(folder, i)))
    _, flag, note = FAULTS[i]
    assert FrameFlag(int(obs.frame_flags[row])) & ~FrameFlag.BAD_TIME == flag & ~FrameFlag.BAD_TIME
    assert note in str(obs.note[row].values) and str(obs.note[row].values).count(note or "never") == bool(
        note
    )
    assert np.isfinite(obs.flux.values[row]).any() == (not flag & LOST)
    # A file that is there has a digest, whatever is in it: an append knows it again.
    assert bool(obs.digest[row].values) == (i not in NO_CONTENT)


def test_the_others_are_measured_as_if_nothing_were_wrong(damaged):
    folder, store = damaged
    obs = store.photometry["r"].load()
    fine = [str(light(folder, i)) for i in range(18, N_LIGHTS + 1)]
    rows = obs.isel(time=np.isin(obs.path.values, fine))
    assert rows.sizes["time"] == 7 and not rows.frame_flags.values.any() and (rows.note.values == "").all()
    good = rows.flux.values[:, 8, :6]
    assert np.isfinite(good).all() and (np.std(good, axis=0) < 0.2 * np.mean(good, axis=0)).all()


def test_a_file_that_is_cut_has_the_time_of_its_header(damaged):
    folder, store = damaged
    obs = store.photometry["r"].load()
    (row,) = np.flatnonzero(obs.path.values == str(light(folder, 1)))
    assert obs.frame_flags.values[row] == FrameFlag.UNREADABLE and not np.isnat(obs.time.values[row])


def test_rows_without_a_time_come_last_and_keep_their_night(damaged):
    _, store = damaged
    obs = store.photometry["r"].load()
    timeless = np.isnat(obs.time.values)
    bad = {i for i, (_, flag, note) in FAULTS.items() if flag == FrameFlag.BAD_TIME or note in (
        "the file is empty", "not a FITS file", "no such file", "no 2-D image")}  # fmt: skip
    assert timeless.sum() == len(bad) and timeless[-len(bad) :].all()
    assert ((obs.frame_flags.values & FrameFlag.BAD_TIME) != 0).tolist() == timeless.tolist()
    assert set(obs.night.values) == {NIGHT} and np.isnan(obs.bjd_tdb.values[timeless]).all()


def test_the_record_counts_every_file(damaged):
    folder, store = damaged
    (record,) = store.nights[0]["series"]
    lost = {str(light(folder, i)) for i, (_, flag, _) in FAULTS.items() if flag & LOST}
    copy = str(folder / "light-r-0020-copy.fits")
    dropped = {item["path"]: item for item in record["frames_dropped"]}
    assert len(dropped) == len(lost) + 1 and lost < set(dropped)
    assert set(dropped) - lost == {copy} and dropped[copy]["flags"] == ["DUPLICATE"]
    assert dropped[copy]["reason"] == f"a copy of {light(folder, 20)}"
    assert record["frames"] == N_LIGHTS + 1 and record["frames_used"] == record["frames"] - len(dropped)
    noted = {item["path"]: item["note"] for item in record["frames_noted"]}
    assert "disagree" in noted[str(light(folder, 12))] and "time" in noted[str(light(folder, 10))]
    json.dumps(record, allow_nan=False)


def test_bad_calibration_frames_are_left_out_and_named(damaged):
    folder, store = damaged
    found = store.nights[0]["series"][0]["calibration"]
    notes = " ".join(found["notes"])
    for name in ("bias-0002.fits", "flat-r-0002.fits", "flat-r-0003.fits", "dark-0002.fits"):
        assert str(folder / name) in notes and str(folder / name) not in str(found["inputs"])
    assert "is saturated" in notes and "no pixel holds a number" in notes and not found["missing"]
    assert {k: len(v) for k, v in found["inputs"].items()} == {"bias": 2, "dark": 2, "flat": 2}


def test_raw_frames_are_kept_where_they_could_be_read(damaged):
    folder, store = damaged
    frames = store.frames["r"][NIGHT]
    for i in (7, 9, 12, 20):
        (row,) = np.flatnonzero(frames.path.values == str(light(folder, i)))
        np.testing.assert_array_equal(frames.raw[int(row)].values, read_frame(str(light(folder, i)))[0])
    (row,) = np.flatnonzero(frames.path.values == str(light(folder, 2)))
    assert not frames.raw[int(row)].values.any() and not frames.kept[int(row)]
    fails = {str(light(folder, i)) for i, (_, flag, _) in FAULTS.items() if flag == FrameFlag.UNREADABLE}
    assert set(frames.path.values[frames.kept.values == 0]) == fails
    cube = dphot.cube(frames)  # frames known to be bad are no part of a cube
    assert str(light(folder, 2)) not in cube.path.values and str(light(folder, 12)) in cube.path.values


def test_the_command_line_says_all_that(damaged, capsys, tmp_path):
    folder, _ = damaged
    arguments = ("reduce", folder, "--store", tmp_path / "x.dphot", "--workers", "0", "--json", "--no-stack")
    code, result, err = command(capsys, *arguments)
    assert code == 0 and result["frames"] == N_LIGHTS + 1
    assert len(result["frames_dropped"]) == result["frames"] - result["frames_used"]
    code, result, err = command(capsys, *arguments)
    assert code == 6 and "exists" in result["error"] and "--overwrite" in err
