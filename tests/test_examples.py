"""The examples run whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import xarray as xr

EXAMPLES = Path(__file__).parents[1] / "examples"


def results_of(script: str, *arguments: object, folder: Path) -> dict:
    """What a script prints with --json; its homes and caches are in the folder."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / script, "--json", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "DPHOT_HOME": str(folder / "home"), "DPHOT_CACHE": str(folder / "cache")},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_the_tutorial_runs_whole(tmp_path):
    result = results_of("tutorial.py", "--folder", tmp_path, "--frames", 20, folder=tmp_path)
    assert (result["frames"], result["apertures"]) == (20, 32) and result["stars"] > 10
    assert 5e-4 < result["rms"] < 2.5e-3  # of a curve of 7 ppt; photons of target and comparisons give 1.4
    assert len(pd.read_csv(tmp_path / "lightcurve.csv")) == 20
    with xr.open_dataset(tmp_path / "A_prose_a.phot") as phot:
        assert phot.sizes["time"] == 20 and phot["stack"].shape == (520, 520)
    assert (tmp_path / "report.html").read_text().startswith("<!")


@pytest.mark.slow
def test_the_precision_page_shows_what_is_asked(tmp_path):
    pages = tmp_path / "p.html", tmp_path / "p.png"
    result = results_of("precision.py", "--quick", pages[0], "--png", pages[1], folder=tmp_path)
    assert {row["fwhm"] for row in result["positions"]} == {1.6, 3.5, 8.0}
    for row in result["positions"]:
        # 100 errors of each kind tell a standard deviation to 7 percent: three of that
        assert row["snr"] < 20 or row["fitted"] < 1.10 * 1.21 * row["bound"], row
        assert row["snr"] > 100 or row["forced"] < row["fitted"], row
    assert 0.9 < result["pull_std"] < 1.1
    assert {row["field"] for row in result["bias"]} == {100, 500, 1500}
    text = pages[0].read_text()
    assert text.startswith("<!") and "https://" not in text.split("<script")[0]
    assert pages[1].stat().st_size > 50_000


@pytest.mark.slow
def test_a_month_of_nights_comes_back_as_it_was_put_in(tmp_path):
    result = results_of("month.py", "--folder", tmp_path, "--nights", 12, folder=tmp_path)
    # of 12 nights one showed another field; another was clouded out, and keeps its rows
    assert (result["nights"], result["frames"]) == (11, 11 * 12)
    assert result["again"] == 0 and result["late"] == [4, 12] and result["clouds"] == [12, 0]
    assert result["killed"] and result["commits_of_the_killed"] == 0
    assert "none of 12 frames" in result["refused"] and "deg away from the store's" in result["refused"]
    # flats of a vignetted telescope change the first flux by percents; the old one stays readable by tag
    assert 0.01 < abs(result["first_flux"][1] / result["first_flux"][0] - 1) < 0.1
    assert result["redo"]["frames_changed"] == 12 and result["redo"]["max_relative_change"] > 0.05
    assert result["rollback"]["frames_changed"] == 0
    (when, star), (began, true_star) = result["demoted"], result["began"]
    assert star == true_star and began <= when
    assert 110 < result["frames_used"] <= 120 and 0.9 < result["rms"] / result["expected"] < 1.25
    assert result["night_rms"] < 1.5 and result["night_rms_first_look"] > 5  # ppt
    assert result["explained"] == "same" and result["problems"] == 0 and result["would_go"] > 12
    assert (tmp_path / "month.html").read_text().startswith("<!")
    assert (tmp_path / "month.png").stat().st_size > 50_000


LOOPS = ("loop_sep_frames_per_cpu_s", "loop_photutils_frames_per_cpu_s")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "keys"),
    [
        ("kernels", {"aperture": ("dphot_ms", "sep_ms", "photutils_ms", "max_rel_diff")}),
        ("scan", {"first_files_per_s": (), "repeat_s": ()}),
        (
            "append",
            {"append": ("cpu_s_3rd", "cpu_s_30th", "cpu_ratio", "bytes_3rd", "bytes_30th", "bytes_ratio")},
        ),
        (
            "pipeline",
            {"tutorial": ("frames_per_cpu_s",), "large": ("frames_per_cpu_s", "two_worker_speedup", *LOOPS)},
        ),
    ],
)
def test_the_benchmarks_run_and_keep_their_keys(script, keys, tmp_path):
    result = results_of(f"benchmarks/{script}.py", "--quick", folder=tmp_path)
    for name, figures in keys.items():
        for value in [result[name][figure] for figure in figures] or [result[name]]:
            assert value >= 0
