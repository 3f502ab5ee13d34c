"""The command line as its users meet it: what is printed, what is refused, and the exit codes."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import dphot
from dphot import cli, commands, formats
from dphot.config import Config
from dphot.flags import LOST, FrameFlag

COLUMNS = ["jd_utc", "bjd_tdb", "diff_flux", "diff_err", "airmass", "fwhm", "dx", "dy", "sky", "flags"]


@pytest.fixture
def run(capsys):
    """Run a command; gives exit code, standard output and standard error."""

    def call(*arguments) -> tuple[int, str, str]:
        code = cli.main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def last_object(out: str) -> dict:
    """The JSON object on the last line, which is strict JSON."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(out.splitlines()[-1], parse_constant=refuse)


@pytest.fixture(scope="module")
def damaged(small_night, tmp_path_factory):
    """The small night with a cut file and an empty sky among its lights, reduced on the command line."""
    folder = tmp_path_factory.mktemp("damaged")
    night = shutil.copytree(small_night, folder / "night")
    cut, empty = sorted(night.glob("light-*"))[2:4]
    cut.write_bytes(cut.read_bytes()[:-60000])
    with fits.open(empty, mode="update") as hdus:
        noise = np.random.default_rng(1).normal(500, 10, hdus[0].data.shape)
        hdus[0].data = noise.round().astype(np.uint16)
    store = folder / "field.dphot"
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as environment, redirect_stdout(out), redirect_stderr(err):
        environment.setenv("DPHOT_HOME", str(folder / "home"))
        environment.setenv("DPHOT_CACHE", str(folder / "cache"))
        code = cli.main(["reduce", str(night), "--store", str(store), "--workers", "0", "--json"])
    assert code == 0
    return store, cut.name, empty.name, out.getvalue(), err.getvalue()


def test_reduce_prints_one_object_and_tells_the_rest_aside(damaged):
    _, cut, empty, out, err = damaged
    assert out.count("\n") == 1
    result = last_object(out)
    assert (result["frames"], result["frames_used"], result["apertures"], result["nights"]) == (8, 6, 32, 1)
    dropped = {Path(d["path"]).name: d for d in result["frames_dropped"]}
    assert set(dropped) == {cut, empty} and all(d["reason"] for d in dropped.values())
    assert dropped[cut]["flags"][0] == "UNREADABLE" and dropped[empty]["flags"][0] in (
        "FEW_STARS",
        "ALIGN_FAILED",
    )
    assert result["calibration"] == {"bias": 3, "dark": 3, "flat": 3} and result["calibration_missing"] == []
    for text in (
        "8 lights",
        "3 bias, 3 dark, 3 flat",
        "reference light-",
        f"dropped {cut}: UNREADABLE",
        f"dropped {empty}: ",
    ):
        assert text in err


def test_the_csv_has_a_row_for_every_frame_with_all_digits(damaged, run, tmp_path):
    store, *_ = damaged
    path = tmp_path / "lc.csv"
    code, out, _ = run("differential", store, "--target", 1, "--csv", path, "--json")
    result = last_object(out)
    assert code == 0 and out.count("\n") == 1 and result["target"] == 1 and result["frames"] == 6
    head, *rows = [line.split(",") for line in path.read_text().splitlines()]
    assert head == COLUMNS and len(rows) == 8
    table = {
        name: np.array([float(v or "nan") for v in column])
        for name, column in zip(head, zip(*rows, strict=True), strict=True)
    }
    obs = dphot.open(store).photometry["r"].load()
    lc = dphot.differential(obs, target=1)
    star = {
        "diff_flux": lc.diff_flux[:, result["aperture"], 1],
        "diff_err": lc.diff_err[:, result["aperture"], 1],
        "sky": lc.sky[:, 1],
    }
    for name in COLUMNS[:-1]:
        np.testing.assert_array_equal(table[name], star.get(name, lc.get(name)).values)
    lost = np.isnan(table["diff_flux"])
    flags = table["flags"].astype(np.int64)
    assert lost.sum() == 2
    np.testing.assert_array_equal(flags & 0xFFFF, lc["flags"].values[:, 1])
    np.testing.assert_array_equal((flags >> 16 & int(LOST)) != 0, lost)
    assert {int(f) >> 16 & int(LOST) for f in flags[lost]} >= {
        int(FrameFlag.UNREADABLE)
    } and ",,," in path.read_text()


def test_differential_tells_what_an_astronomer_wants_to_know(damaged, run):
    store, *_ = damaged
    code, out, _ = run("differential", store, "--target", 1)
    assert code == 0 and out.count("\n") == 3
    for text in (
        "star 1 at (",
        "filter r",
        "6 of 8 frames",
        "comparison stars",
        "point-to-point scatter",
        "ppt expected",
    ):
        assert text in out


def test_target_by_position_comparisons_and_aperture(damaged, run):
    store, *_ = damaged
    star = dphot.open(store).reference.load()
    place = f"{float(star.star_x[2]) + 0.4},{float(star.star_y[2])}"
    _, out, _ = run(
        "differential",
        store,
        "--target",
        place,
        "--comparisons",
        "0,1,3",
        "--exclude",
        "3",
        "--aperture",
        4,
        "--json",
    )
    result = last_object(out)
    assert (result["target"], sorted(result["comparisons"]), result["aperture"]) == (2, [0, 1], 4)
    assert np.isclose(sum(result["weights"]), 1, atol=1e-5)


def test_quiet_says_nothing(damaged, run):
    assert run("differential", damaged[0], "--target", 1, "--quiet") == (0, "", "")


def test_scan(small_night, run):
    code, out, _ = run("scan", small_night, "--json")
    result = last_object(out)
    assert (
        code == 0
        and result["types"] == {"bias": 3, "dark": 3, "flat": 3, "light": 8}
        and result["errors"] == []
    )
    assert {g["type"]: g["frames"] for g in result["groups"]} == result["types"]
    code, out, _ = run("scan", small_night, "--errors")
    assert code == 0 and "light" in out and "every file can be used" in out


def test_scan_lists_bad_files(night_copy, run):
    next(night_copy.glob("light-*")).write_bytes(b"no image")
    _, out, _ = run("scan", night_copy, "--json")
    result = last_object(out)
    assert result["types"]["unusable"] == 1 and result["errors"][0]["error"]


def test_simulate_makes_a_folder_a_night(run, tmp_path):
    few = ("--frames", 1, "--size", 32, "--nights", 2, "--json", "--quiet")
    code, out, err = run("simulate", tmp_path / "sky", *few)
    folders = last_object(out)["folders"]
    assert (
        code == 0 and not err and len(folders) == 2 and all((Path(f) / "truth.nc").is_file() for f in folders)
    )
    assert run("simulate", tmp_path / "sky", *few)[0] == 2
    assert run("simulate", tmp_path / "sky", *few, "--overwrite")[0] == 0


def test_telescopes_are_added_and_never_replaced_in_silence(run, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('name = "Mine"\ngain = 2.0\n')
    assert run("telescope", "add", path)[0] == 0
    assert run("telescope", "add", path)[0] == 0  # the same again changes nothing
    path.write_text('name = "Mine"\ngain = 3.0\n')
    code, _, err = run("telescope", "add", path)
    assert code == 2 and "--overwrite" in err
    assert "gain = 2.0" in run("telescope", "show", "mine")[1]
    assert run("telescope", "add", path, "--overwrite")[0] == 0
    code, out, _ = run("telescope", "show", "mine", "--json")
    assert "gain = 3.0" in last_object(out)["toml"] and "diameter" in last_object(out)["missing"]
    assert "Mine" in last_object(run("telescope", "list", "--json")[1])["telescopes"]


def test_settings_come_from_a_file_and_options_win(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text("max_stars = 20\nsky_sigma = 2.5\nstack = false\n")
    arguments = cli.parse(
        ["reduce", "night", "--store", "s", "--config", str(path), "--max-stars", "30", "--stack"]
    )
    expected = Config(max_stars=30, sky_sigma=2.5, stack=True)
    assert Config().patch(**commands.settings(arguments)) == expected


def test_every_setting_is_an_option_with_its_text(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["reduce", "--help"])
    out = " ".join(capsys.readouterr().out.split())
    for field in fields(Config):
        assert "--" + field.name.replace("_", "-") in out
    assert "Sky position of the field" in out and "[0.1,0.35,0.6,...,7.85]" in out


@pytest.mark.parametrize(("command", "default"), [("append", "one a core"), ("watch", "0: none")])
def test_the_help_tells_how_many_processes_there_are_by_default(command, default, capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main([command, "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert f"processes of a local cluster [{default}" in told


@pytest.mark.parametrize(
    "command",
    [
        "simulate",
        "telescope",
        "scan",
        "reduce",
        "differential",
        "report",
        "export",
        "demo",
        "history",
        "tag",
        "diff",
        "rollback",
        "explain",
        "check",
        "redo",
        "gc",
    ],
)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main([command, "--help"])
    assert "--json" in capsys.readouterr().out


@pytest.mark.parametrize("arguments, text", [
    ([], "COMMAND"),
    (["redcue"], "invalid choice"),
    (["scan"], "folder"),
    (["reduce", "night"], "--store"),
    (["reduce", "night", "--store", "s", "--apertuers", "3"], "did you mean --apertures?"),
    (["reduce", "night", "--store", "s", "--aperture", "3"], "did you mean --apertures?"),
    (["redo", "s", "--night", "2026-03-16"], "give night without the name"),
    (["reduce", "night", "--store", "s", "--workers", "-1"], "--workers"),
    (["reduce", "night", "--store", "s", "--workers", "2", "--scheduler", "tcp://a:1"], "not allowed with"),
    (["scan", "no-such-folder"], "no-such-folder"),
    (["reduce", "no-such-folder", "--store", "s"], "no-such-folder"),
    (["reduce", "no-such-folder", "--store", "s", "--gain", "much"], "gain"),
    (["reduce", "no-such-folder", "--store", "s", "--config", "none.toml"], "none.toml"),
    (["telescope", "show"], "name"),
    (["telescope", "show", "no such telescope"], "no such telescope"),
    (["telescope", "add", "none.toml"], "none.toml"),
])  # fmt: skip
def test_unfit_arguments_end_with_2(run, arguments, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments)
    assert code == 2 and not out and text in err and "Traceback" not in err
    if arguments:
        code, out, _ = run(*arguments, "--json")
        assert code == 2 and last_object(out)["exit_code"] == 2 and text in last_object(out)["error"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [
    ["--target", "999"], ["--target", "1000,1000"], ["--target", "north"], ["--target", "1:2:3,4:5:6"],
    ["--filter", "z"],
    ["--comparisons", "a,b"], ["--comparisons", "999"], ["--aperture", "99"], ["--csv", "nowhere/lc.csv"],
    ["--csv", "."],
])  # fmt: skip
def test_unfit_choices_of_a_light_curve_end_with_2(small_store, run, arguments, tmp_path, monkeypatch):
    store = Path(small_store.path).absolute()
    monkeypatch.chdir(tmp_path)
    code, out, err = run("differential", store, *arguments)
    assert code == 2 and not out and err.startswith("dphot differential: ")


def test_a_store_that_is_not_there_ends_with_6(run, tmp_path):
    for command in (["differential"], ["export", "x.nc"], ["report"]):
        code, out, _ = run(command[0], tmp_path / "none.dphot", *command[1:], "--json")
        assert code == 6 and "none.dphot" in last_object(out)["error"]


def test_a_store_that_exists_is_not_touched(small_night, small_store, run):
    before = small_store.history()
    code, _, err = run("reduce", small_night, "--store", small_store.path, "--workers", 0)
    assert code == 6 and small_store.path in err and dphot.open(small_store.path).history() == before


def test_calibration_missing_under_strict_ends_with_4(night_copy, run, tmp_path):
    for path in night_copy.glob("flat-*"):
        path.unlink()
    code, _, err = run("reduce", night_copy, "--store", tmp_path / "s", "--strict", "--workers", 0)
    assert code == 4 and "flat" in err and not (tmp_path / "s").exists()


def test_a_csv_that_exists_is_not_replaced_unless_told(small_store, run, tmp_path):
    path = tmp_path / "lc.csv"
    path.write_text("precious")
    assert run("differential", small_store.path, "--csv", path)[0] == 2
    assert path.read_text() == "precious"
    assert run("differential", small_store.path, "--csv", path, "--overwrite")[0] == 0
    assert path.read_text().startswith("jd_utc,") and list(tmp_path.iterdir()) == [path]


def test_an_interruption_ends_with_130(run, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(dphot, "scan", interrupted)
    code, out, err = run("scan", ".", "--json")
    assert code == 130 and last_object(out)["exit_code"] == 130 and "interrupted" in err


def test_a_defect_shows_its_traceback_and_ends_with_1(run, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("a defect")

    monkeypatch.setattr(dphot, "scan", broken)
    code, out, err = run("scan", ".", "--json")
    assert code == 1 and "Traceback" in err and "a defect" in last_object(out)["error"]


def test_a_place_that_cannot_be_written_ends_with_1(small_store, run, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", "lc.csv")

    monkeypatch.setattr(formats, "light_curve_csv", refuse)
    code, _, err = run("differential", small_store.path, "--csv", tmp_path / "lc.csv")
    assert (code, err) == (1, "dphot differential: lc.csv: Permission denied\n")


def test_a_reader_that_leaves_early_is_no_error(small_night):
    command = f"{sys.executable} -m dphot.cli scan {small_night} --errors | head -c 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr


def test_json_has_no_word_for_nan():
    value = {
        "a": np.float32("nan"),
        "b": [np.int64(1), float("inf"), True, None],
        "c": Path("x"),
        "d": np.array([1.5]),
    }
    assert cli.plain(value) == {"a": None, "b": [1, None, True, None], "c": "x", "d": [1.5]}


def test_a_demo_never_replaces_a_folder_that_is_not_its_own(run, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    for options in ([], ["--overwrite"]):
        assert run("demo", "--folder", tmp_path, *options)[0] == 2
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_a_report_has_the_stores_whole_name():
    pages = {
        "a/field.dphot": "a/field.html",
        "my.field 1/": "my.field 1.html",
        "s3://bucket/of/x.y.dphot": "x.y.html",
    }
    assert [commands._report_name(store) for store in pages] == [*pages.values()]


def test_a_report_is_written_beside_the_store(small_store, run, tmp_path):
    store = shutil.copytree(small_store.path, tmp_path / "field.dphot")
    code, out, _ = run("report", store, "--target", 1, "--json")
    page = tmp_path / "field.html"
    assert (
        code == 0
        and last_object(out) == {"report": str(page), "png": []}
        and page.read_text().startswith("<!")
    )
    assert run("report", store, "--target", 1)[0] == 2
