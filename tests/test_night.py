"""Bad input: flagged rows and notes, or one clear error; never a lost file, never a traceback."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import command
from damage import edit, empty_sky, light, truncate
from grid_field import grid_simulation

import dphot
from dphot import planning, simulate
from dphot.errors import CalibrationError, DphotError, InputError, StoreError
from dphot.flags import FrameFlag

NIGHT = "2026-03-14"


@pytest.mark.parametrize(
    "damage, code, words",
    [
        (lambda d: [p.unlink() for p in d.iterdir()], 2, ("no frames in", "files ending in")),
        (lambda d: shutil.rmtree(d), 2, ("no such folder",)),
        (lambda d: [p.unlink() for p in d.glob("light*")], 2, ("no light frames", "3 bias, 3 dark, 3 flat")),
        (lambda d: [truncate(p) for p in d.glob("light*")], 2, ("8 unusable", "light-r-0001.fits", "truncated", "and 5 more")),
        (lambda d: [edit(p, empty_sky) for p in d.glob("light*")], 2, ("none of 8 frames", "0 stars")),
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
        edit(path, lambda a: np.zeros_like(a))
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


def test_a_light_warmer_than_the_darks_is_flagged(night_copy, tmp_path):
    edit(light(night_copy, 3), CCD_TEMP=-12.0)
    store = dphot.reduce(night_copy, tmp_path / "x", workers=0)
    for again in (store, dphot.reduce(store, tmp_path / "again", workers=0)):
        obs = again.photometry["r"].load()
        (row,) = np.flatnonzero(obs.frame_flags.values)
        assert obs.path.values[row] == str(light(night_copy, 3))
        assert obs.frame_flags.values[row] == FrameFlag.CALIBRATION_MISSING
        assert "taken at -12.0 deg C, the darks at -20.0; dark_temperature = 3" in str(obs.note[row].values)


def test_a_clouded_first_night_does_not_cost_the_second(night_copy, tmp_path):
    early = night_copy / "early"
    early.mkdir()
    for i in (1, 2):
        shutil.copy(light(night_copy, i), light(early, i))
        edit(light(early, i), DATE_OBS=f"2026-03-10T22:0{i}:00", JD=None)
        edit(light(early, i), empty_sky)
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
        edit(path, lambda a: a.astype(np.float32))

    def hole(a):
        a[100:140] = np.nan
        a[50, 50] = np.inf
        return a

    edit(light(folder, 2), lambda a: np.full_like(a, np.nan))
    edit(light(folder, 3), hole)
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
    link = tmp_path / "desk" / "link"
    link.parent.mkdir()
    link.symlink_to(place)
    again = dphot.reduce(night_copy, link, workers=0, overwrite=True, max_stars=5)
    assert link.is_symlink() and list(link.parent.iterdir()) == [link]
    assert dphot.open(place).photometry["r"].sizes["star"] == 5
    assert again.photometry["r"].sizes["star"] == 5
    assert [p.name for p in tmp_path.glob("*dphot*")] + [p.name for p in tmp_path.glob(".*")] == [
        "kept.dphot"
    ]
