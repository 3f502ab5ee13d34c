"""Bad input: a flagged row and a note, or one clear error; never a lost file, never a traceback."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from grid_field import grid_simulation

import dphot
from dphot import cli, planning, simulate
from dphot.errors import CalibrationError, DphotError, InputError, StoreError
from dphot.flags import FrameFlag
from dphot.io.readers import read_frame

NIGHT = "2026-03-14"


def light(folder, i):
    return folder / f"light-r-{i:04d}.fits"


def edit(path, **cards):
    """Set header cards (``_`` for ``-``), or remove those of None."""
    with fits.open(path, mode="update") as hdus:
        for key, value in cards.items():
            if value is None:
                hdus[0].header.remove(key.replace("_", "-"), ignore_missing=True)
            else:
                hdus[0].header[key.replace("_", "-")] = value


def replace_pixels(path, change):
    with fits.open(path) as hdus:
        data, header = change(hdus[0].data), hdus[0].header
    if data.dtype.kind == "f":
        for key in ("BZERO", "BSCALE"):
            header.remove(key, ignore_missing=True)
    fits.writeto(path, data, header, overwrite=True)


def truncate(path, size=40000):
    path.write_bytes(path.read_bytes()[:size])


def empty_sky(pixels):
    return np.random.default_rng(1).poisson(900, pixels.shape).astype(np.uint16)


def command(capsys, *arguments):
    """Exit code, last line of standard output as JSON (where asked for), standard error."""
    code = cli.main([str(a) for a in arguments])
    captured = capsys.readouterr()
    last = captured.out.strip().splitlines()[-1:] if "--json" in arguments else []
    assert "Traceback" not in captured.err and not any("NaN" in line for line in last)
    return code, json.loads(last[0]) if last else None, captured.err


def other_field(path):
    """A frame of another field, with this frame's header."""
    spec = simulate.simulation(frames=1, size=256, seed=99, stars=60)
    replace_pixels(path, lambda pixels: simulate.prepare(spec).frame("light", 0))


# one frame, one fault: what is done to it, and the flag and the note that it comes to
FAULTS = {
    1: (lambda p: truncate(p), FrameFlag.UNREADABLE, "truncated"),
    2: (lambda p: p.write_bytes(b""), FrameFlag.UNREADABLE, "the file is empty"),
    3: (lambda p: p.write_bytes(b"hello" * 1000), FrameFlag.UNREADABLE, "not a FITS file"),
    4: (
        lambda p: replace_pixels(p, lambda a: a[:200, :180].copy()),
        FrameFlag.UNREADABLE,
        "width 180 and not 256",
    ),
    5: (lambda p: edit(p, XBINNING=2, YBINNING=2), FrameFlag.UNREADABLE, "xbinning 2 and not 1"),
    6: (lambda p: edit(p, GAIN=2.6), FrameFlag.UNREADABLE, "gain 2.6 and not 1.3"),
    7: (
        lambda p: replace_pixels(p, lambda a: np.full_like(a, 700)),
        FrameFlag.FEW_STARS,
        "0 stars found, 3 needed",
    ),
    8: (lambda p: replace_pixels(p, empty_sky), FrameFlag.FEW_STARS, "0 stars found"),
    9: (other_field, FrameFlag.ALIGN_FAILED, "cannot be aligned"),
    10: (lambda p: edit(p, DATE_OBS=None, JD=None), FrameFlag.BAD_TIME, "no time in the header"),
    11: (lambda p: edit(p, EXPTIME=None), FrameFlag.CALIBRATION_MISSING, "the dark is not subtracted"),
    12: (lambda p: edit(p, JD=2461115.0), FrameFlag(0), "DATE-OBS and JD disagree"),
    13: (lambda p: edit(p, OBJECT=None), FrameFlag(0), ""),
    14: (lambda p: edit(p, GAIN=None), FrameFlag(0), ""),
    15: (lambda p: (p.unlink(), p.symlink_to("/nowhere/x.fits")), FrameFlag.UNREADABLE, "no such file"),
    16: (lambda p: replace_pixels(p, lambda a: np.stack([a, a])), FrameFlag.UNREADABLE, "no 2-D image"),
    17: (lambda p: replace_pixels(p, lambda a: a.astype(np.float32)), FrameFlag.UNREADABLE, "dtype float32"),
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
    replace_pixels(folder / "flat-r-0002.fits", lambda a: np.zeros_like(a))
    replace_pixels(folder / "flat-r-0003.fits", lambda a: np.full_like(a, 65535))
    replace_pixels(folder / "dark-0002.fits", lambda a: np.full(a.shape, np.nan, np.float32))
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


def test_rows_without_a_time_come_last_and_keep_their_night(damaged):
    _, store = damaged
    obs = store.photometry["r"].load()
    timeless = np.isnat(obs.time.values)
    bad = {i for i, (_, flag, note) in FAULTS.items() if flag == FrameFlag.BAD_TIME or note in (
        "truncated", "the file is empty", "not a FITS file", "no such file", "no 2-D image")}  # fmt: skip
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


@pytest.mark.parametrize(
    "damage, code, words",
    [
        (lambda d: [p.unlink() for p in d.iterdir()], 2, ("no frames in", "files ending in")),
        (lambda d: shutil.rmtree(d), 2, ("no such folder",)),
        (lambda d: [p.unlink() for p in d.glob("light*")], 2, ("no light frames", "3 bias, 3 dark, 3 flat")),
        (lambda d: [truncate(p) for p in d.glob("light*")], 2, ("8 unusable", "light-r-0001.fits", "truncated")),
        (lambda d: [replace_pixels(p, empty_sky) for p in d.glob("light*")], 2, ("none of 8 frames", "0 stars")),
        (lambda d: edit(light(d, 2), OBJECT="M 31"), 2, ("several objects, Field 1, M 31", "--object")),
        (lambda d: edit(light(d, 2), TELESCOP="Other"), 2, ("several telescopes, Other, Sim40",)),
        (lambda d: edit(light(d, 2), INSTRUME="Other"), 2, ("several cameras, Other, SimCam",)),
        (lambda d: ["--strict"] + [p.unlink() for p in d.glob("flat*")][:0], 4, ("missing flat in filter 'r'",)),
        (lambda d: ["--object", "M 33"], 2, ("object 'M 33'", "the lights have object 'Field 1'")),
        (lambda d: ["--telescope", "Nowhere"], 2, ("no telescope 'Nowhere'",)),
        (lambda d: ["--aperture-unit", "furlong", "--chunk", "0"], 2, ("aperture_unit", "chunk", "2 problem")),
        (lambda d: ["--config", "nowhere.toml"], 2, ("nowhere.toml",)),
    ],
)  # fmt: skip
def test_one_clear_error_and_its_exit_code(night_copy, tmp_path, capsys, damage, code, words):
    extra = damage(night_copy)
    extra = extra if isinstance(extra, list) and extra and isinstance(extra[0], str) else []
    store = tmp_path / "x.dphot"
    found, result, err = command(
        capsys, "reduce", night_copy, "--store", store, "--workers", "0", "--json", "--quiet", *extra
    )
    assert found == code == result["exit_code"] and not store.exists()
    for word in words:
        assert word in err and word in result["error"]
    assert len(err) < 1000


def test_an_unfit_telescope_file_names_all_its_problems(night_copy, tmp_path, capsys):
    path = tmp_path / "t.toml"
    path.write_text('name = "x"\nfoo = 3\ngain = "a"\n')
    code, result, err = command(
        capsys,
        "reduce",
        night_copy,
        "--store",
        tmp_path / "x",
        "--telescope",
        path,
        "--workers",
        "0",
        "--json",
    )
    assert code == 2 and "foo" in err and "gain" in err and "2 problem" in result["error"]


def test_a_place_that_cannot_be_written_is_named(night_copy, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    code, result, _ = command(
        capsys,
        "reduce",
        night_copy,
        "--store",
        tmp_path / "file" / "x",
        "--workers",
        "0",
        "--json",
        "--quiet",
    )
    assert code == 6 and str(tmp_path / "file") in result["error"]


def test_a_folder_that_is_no_store_is_never_replaced(night_copy, tmp_path, capsys):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "thesis.tex").write_text("the only copy")
    code, _, err = command(
        capsys, "reduce", night_copy, "--store", tmp_path / "x", "--workers", "0", "--overwrite", "--quiet"
    )
    assert code == 6 and "not a dphot store" in err and (tmp_path / "x" / "thesis.tex").exists()


def test_without_any_calibration_frames_are_measured_and_flagged(night_copy, tmp_path):
    for path in [*night_copy.glob("bias*"), *night_copy.glob("dark*"), *night_copy.glob("flat*")]:
        path.unlink()
    store = dphot.reduce(night_copy, tmp_path / "x", workers=0)
    obs = store.photometry["r"].load()
    assert (obs.frame_flags.values == FrameFlag.CALIBRATION_MISSING).all() and np.isfinite(
        obs.flux.values[:, 5, 0]
    ).all()
    missing = store.nights[0]["series"][0]["calibration"]["missing"]
    assert [m.split(":")[0].split()[0] for m in missing] == ["bias", "dark", "flat"]
    # of each night its record tells: what stands with the series would be true of one of them
    assert "calibration_missing" not in obs.attrs


def test_strict_refuses_calibration_frames_that_cannot_be_read(night_copy, tmp_path):
    for path in night_copy.glob("flat*"):
        replace_pixels(path, lambda a: np.zeros_like(a))
    with pytest.raises(CalibrationError, match="flat: none of 3 can be used"):
        dphot.reduce(night_copy, tmp_path / "x", workers=0, strict=True)
    assert not (tmp_path / "x").exists()


def test_lights_without_a_filter_are_a_series_and_never_the_reference(night_copy, tmp_path):
    edit(light(night_copy, 1), FILTER=None)
    store = dphot.reduce(night_copy, tmp_path / "x", workers=0)
    assert list(store.photometry) == ["", "r"]
    assert store.photometry[""].sizes["time"] == 1 and store.reference.attrs["filter"] == "r"


def test_a_night_without_any_time_is_measured(night_copy, tmp_path):
    for path in night_copy.glob("light*"):
        edit(path, DATE_OBS=None, JD=None)
    store = dphot.reduce(night_copy, tmp_path / "x", workers=0)
    obs = store.photometry["r"].load()
    assert (obs.frame_flags.values == FrameFlag.BAD_TIME).all() and np.isnat(obs.time.values).all()
    assert np.isfinite(obs.flux.values[:, 5, 0]).all() and [n["night"] for n in store.nights] == [""]
    assert dphot.differential(obs, target=0).sizes["time"] == 8


def test_without_exposures_no_dark_is_chosen(night_copy):
    for path in night_copy.glob("light*"):
        edit(path, EXPTIME=None)
    (series,) = planning.plan(dphot.scan(night_copy, store=False), dphot.Config())
    assert not series.choice.dark and any("exposure is not known" in note for note in series.choice.notes)
    assert any(text.startswith("dark") for text in series.choice.missing)


def test_lights_of_another_exposure_than_the_only_dark_are_flagged(night_copy, tmp_path):
    for path in night_copy.glob("bias*"):
        path.unlink()
    edit(light(night_copy, 3), EXPTIME=30.0)
    store = dphot.reduce(night_copy, tmp_path / "x", workers=0)
    obs = store.photometry["r"].load()
    (row,) = np.flatnonzero(obs.frame_flags.values)
    assert obs.path.values[row] == str(light(night_copy, 3)) and "dark of 60 s" in str(obs.note[row].values)
    assert store.nights[0]["series"][0]["calibration"]["notes"] == [
        "there is no bias; the dark is subtracted whole"
    ]


def test_a_clouded_first_night_does_not_cost_the_second(night_copy, tmp_path):
    early = night_copy / "early"
    early.mkdir()
    for i in (1, 2):
        shutil.copy(light(night_copy, i), light(early, i))
        edit(light(early, i), DATE_OBS=f"2026-03-10T22:0{i}:00", JD=None)
        replace_pixels(light(early, i), empty_sky)
    store = dphot.reduce(night_copy, tmp_path / "x", workers=0)
    assert [n["night"] for n in store.nights] == ["2026-03-10", NIGHT] and store.reference.attrs[
        "night"
    ] == NIGHT
    obs = store.photometry["r"].load()
    assert (obs.frame_flags.values == FrameFlag.FEW_STARS).tolist() == [True] * 2 + [False] * 8


def raises_for_one(image, record):
    if record["path"].endswith("0004.fits"):
        raise ValueError("no good")
    return image


def wrong_shape_for_one(image, record):
    return image[:10] if record["path"].endswith("0004.fits") else image


@pytest.mark.parametrize(
    "step, note", [(raises_for_one, "ValueError: no good"), (wrong_shape_for_one, "(10, 256)")]
)
def test_a_step_that_fails_costs_its_frame(small_night, tmp_path, step, note):
    store = dphot.reduce(small_night, tmp_path / "x", workers=0, steps=(step,))
    (record,) = store.nights[0]["series"]
    (dropped,) = record["frames_dropped"]
    assert (
        dropped["flags"] == ["UNREADABLE"]
        and note in dropped["reason"]
        and step.__name__ in dropped["reason"]
    )
    assert record["frames_used"] == 7 and record["steps"] == [step.__name__]


def test_a_step_that_always_fails_is_one_error(small_night, tmp_path):
    def broken(image, record):
        raise RuntimeError("always")

    with pytest.raises(InputError, match="step broken: RuntimeError: always"):
        dphot.reduce(small_night, tmp_path / "x", workers=0, steps=(broken,))
    with pytest.raises(InputError, match="steps: 3 is no function"):
        dphot.reduce(small_night, tmp_path / "x", workers=0, steps=(3,))


def test_a_light_that_vanishes_after_the_scan_is_a_flagged_row(night_copy, tmp_path):
    table = dphot.scan(night_copy, store=False)
    light(night_copy, 5).unlink()
    for path in night_copy.glob("bias*"):
        path.unlink()
    store = dphot.reduce(table, tmp_path / "x", workers=0)
    (record,) = store.nights[0]["series"]
    assert [d["path"] for d in record["frames_dropped"]] == [str(light(night_copy, 5))]
    # without a bias the dark, of the lights' own exposure, is subtracted whole
    assert "the dark is subtracted whole" in " ".join(record["calibration"]["notes"])
    assert not record["calibration"]["missing"]


def test_frames_of_numbers_that_are_no_numbers(tmp_path):
    """Float frames: one all NaN, one with a NaN region, one with an infinity, one without a number in its dark."""
    (folder,) = simulate.write_nights(
        tmp_path, frames=6, size=256, seed=3, stars=60, bias=2, darks=2, flats=2
    )
    for path in folder.glob("light*"):
        replace_pixels(path, lambda a: a.astype(np.float32))

    def hole(a):
        a[100:140] = np.nan
        a[50, 50] = np.inf
        return a

    replace_pixels(light(folder, 2), lambda a: np.full_like(a, np.nan))
    replace_pixels(light(folder, 3), hole)
    store = dphot.reduce(folder, tmp_path / "x", workers=0)
    obs = store.photometry["r"].load()
    assert obs.frame_flags.values.tolist() == [0, FrameFlag.FEW_STARS, 0, 0, 0, 0]
    inside = (obs.y.values[2] > 105) & (obs.y.values[2] < 135)
    assert inside.any() and np.isnan(obs.flux.values[2, 10, inside]).all()
    assert (obs.flags.values[2, inside] & 64).all() and np.isfinite(obs.flux.values[2, 5, ~inside]).any()
    assert np.isfinite(store.stack["r"][NIGHT].values).mean() > 0.9


def test_a_pattern_is_taken_from_the_lights(tmp_path):
    spec = simulate.simulation(
        frames=12,
        size=256,
        seed=3,
        stars=40,
        darks=0,
        drift=(40.0, 30.0),
        hours=2.0,
        hot_pixels=2e-3,
        exposure=120.0,
    )
    table = dphot.FrameTable.from_records(simulate.simulated_records(spec))
    store = dphot.reduce(table, tmp_path / "x", workers=0, pattern=True, stack=False)
    plain = dphot.reduce(table, tmp_path / "y", workers=0, stack=False)
    night = simulate.prepare(spec)
    hot = night.camera.dark > 5.0  # e-/s: 460 ADU in 120 s
    masters, without = (next(iter(s.masters.values())).load() for s in (store, plain))
    true = night.camera.bias + night.camera.dark * 120 / spec.gain
    assert hot.sum() > 30
    assert np.median(np.abs(masters.bias.values - true)[hot]) < 0.15 * np.median(
        np.abs(without.bias.values - true)[hot]
    )
    (record,) = store.nights[0]["series"]
    assert "from the lights themselves (12 frames)" in " ".join(record["calibration"]["notes"])


def test_copies_are_told_from_twins(tmp_path):
    """Frames of one size and instant are compared by content: no time in the header makes no copy."""
    spec = grid_simulation(frames=4, flip=0.0)
    records = [{**r, "time": np.datetime64("NaT", "ns"), "night": "", "jd_utc": np.nan}
               for r in simulate.simulated_records(spec)]  # fmt: skip
    (series,) = planning.plan(dphot.FrameTable.from_records(records), dphot.Config())
    assert len(series.lights) == 4 and not series.copies


def kills_its_worker(image, record):
    import os

    if record["path"].endswith("0004.fits"):
        os._exit(1)
    return image


def fails_where_that_kills(image, record):
    if record["path"].endswith("0004.fits"):
        raise ValueError("this one")
    return image


@pytest.mark.cluster
def test_a_frame_that_kills_its_worker_is_flagged_and_the_others_are_measured(small_night, tmp_path):
    store = dphot.reduce(small_night, tmp_path / "x", workers=2, steps=(kills_its_worker,), chunk=3)
    (record,) = store.nights[0]["series"]
    (dropped,) = record["frames_dropped"]
    assert Path(dropped["path"]).name == "light-r-0004.fits" and dropped["flags"] == ["UNREADABLE"]
    assert "worker was killed" in dropped["reason"] and record["frames_used"] == 7
    here = dphot.reduce(small_night, tmp_path / "y", workers=0, steps=(fails_where_that_kills,))
    (night,) = here.stack["r"]
    np.testing.assert_array_equal(store.stack["r"][night], here.stack["r"][night])


def test_a_store_is_replaced_only_by_a_whole_one(night_copy, tmp_path):
    def fails(image, record):
        raise RuntimeError("no")

    place = tmp_path / "kept.dphot"
    first = dphot.reduce(night_copy, place, workers=0, stack=False)
    digests = first.digests("r")
    with pytest.raises(DphotError):
        dphot.reduce(night_copy, place, workers=0, overwrite=True, steps=[fails])
    assert dphot.open(place).digests("r") == digests
    with pytest.raises(StoreError, match="--overwrite"):
        dphot.reduce(night_copy, place, workers=0)
    again = dphot.reduce(night_copy, place, workers=0, overwrite=True, max_stars=5)
    assert again.photometry["r"].sizes["star"] == 5
    assert [p.name for p in tmp_path.glob("*dphot*")] + [p.name for p in tmp_path.glob(".*")] == [
        "kept.dphot"
    ]
