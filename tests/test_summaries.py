"""What reduce and append say at their end: frames dropped and why, notes on frames, and on calibration."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from command_line import command
from damage import edit, empty_sky
from small_nights import DAYS, lights

import dphot
from dphot import cli, summaries
from dphot.append import Appended


def saturated(image):
    return np.full_like(image, 65535)


@pytest.fixture
def unfit(nights, tmp_path):
    """Two nights whose flats are all saturated."""
    folders = [Path(shutil.copytree(night, tmp_path / night.name)) for night in nights[:2]]
    for path in (path for folder in folders for path in folder.glob("flat*")):
        edit(path, saturated)
    return folders


def test_flats_that_are_left_out_are_told_when_all_is_measured(unfit, tmp_path, capsys):
    store = tmp_path / "x.dphot"
    assert cli.main(["reduce", str(unfit[0]), "--store", str(store), "--workers", "0"]) == 0
    reduced = capsys.readouterr().out
    code, result, appended = command(capsys, "append", store, unfit[1], "--workers", 0, "--json")
    assert code == 0 and result["calibration_missing"] == ["flat: none of 2 can be used"]
    assert len(result["calibration_notes"]) == 2 and "is saturated" in result["calibration_notes"][0]
    for text, day, folder in ((reduced, DAYS[0], unfit[0]), (appended, DAYS[1], unfit[1])):
        assert f"  calibration missing: flat: none of 2 can be used ({day}, filter r)" in text
        for path in sorted(folder.glob("flat*")):
            assert f"  calibration: flat left out: {path} is saturated" in text
    both = summaries.store_lines(dphot.open(store))
    assert f"  calibration missing: flat: none of 2 can be used ({DAYS[0]}, filter r and 1 more)" in both


def test_append_tells_of_dropped_and_noted_frames_as_reduce_does(first, later, tmp_path, capsys):
    store = shutil.copytree(first.path, tmp_path / "x.dphot")
    bad, one, other = lights(later)[:3]
    edit(bad, empty_sky)
    edit(other, DATE_OBS=fits.getheader(one)["DATE-OBS"])
    assert cli.main(["append", str(store), str(later), "--workers", "0"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert f"  {DAYS[1]}, filter r: 4 of 5 in all" in out
    assert any(line.startswith(f"  dropped {bad.name}: FEW_STARS: ") for line in out)
    assert any(line.startswith("  note: the same mid-exposure time as ") for line in out)
    told = summaries.store_lines(dphot.open(store))
    assert all(line in told for line in out if line.startswith(("  dropped", "  note")))


def test_many_notes_are_counted(first):
    calibration = {"missing": [], "notes": [f"flat left out: {i}" for i in range(9)]}
    records = tuple({**record, "calibration": calibration} for record in summaries.series_records(first))
    lines = summaries.append_lines(Appended(first.path, records, 5, 5))
    assert [line.partition(" (")[0] for line in lines[-6:-1]] == [
        f"  calibration: flat left out: {i}" for i in range(5)
    ]
    assert lines[-1] == "  and 4 more notes on calibration"


@pytest.mark.parametrize(
    ("gain", "told"),
    [
        ((1.234, 0.0567), "by the scatter of the stars it is 1.23 +- 0.057 e-/ADU"),
        ((np.nan, np.nan), "the errors rest on 1 e-/ADU, and are not to be trusted"),
    ],
)
def test_a_light_curve_tells_what_its_errors_rest_on(first, gain, told):
    (obs,) = first.photometry.values()
    lc = dphot.differential(obs, 1)
    known = summaries.curve_summary(lc)
    assert "gain_from_scatter" not in known and not any(
        "gain" in line for line in summaries.curve_lines(known)
    )
    result = summaries.curve_summary(
        lc.assign_attrs(gain_from_scatter=gain[0], gain_from_scatter_err=gain[1])
    )
    np.testing.assert_equal((result["gain_from_scatter"], result["gain_from_scatter_err"]), gain)
    assert told in summaries.curve_lines(result)[-1]


def test_a_target_where_no_star_is_seen_is_told(first, nights, tmp_path):
    (obs,) = first.photometry.values()
    x, y = np.meshgrid(np.arange(20.0, 110, 5), np.arange(20.0, 110, 5))
    away = np.hypot(x.ravel() - obs.star_x.values[:, None], y.ravel() - obs.star_y.values[:, None]).min(
        axis=0
    )
    empty = f"{x.ravel()[away.argmax()]:.1f},{y.ravel()[away.argmax()]:.1f}"
    star = f"{float(obs.star_x[1]):.1f},{float(obs.star_y[1]):.1f}"
    told = f"  target {empty}: no star is seen there on the reference; the place is measured as star {obs.sizes['star']}"
    for target, lines in ((empty, [told]), (star, [])):
        store = dphot.reduce(
            first,
            tmp_path / f"{len(lines)}.dphot",
            target=target,
            workers=0,
            stack=False,
            max_stars=obs.sizes["star"],
        )
        assert [line for line in summaries.store_lines(store) if line.startswith("  target")] == lines


def test_a_gain_that_pixels_of_another_scale_cannot_have_is_refused(nights, tmp_path):
    """Frames that image processing scaled to run from 0 to 1 keep the camera's gain in their headers."""
    folder = shutil.copytree(nights[0], tmp_path / "scaled")
    for path in folder.glob("*.fits"):
        edit(path, lambda pixels: (pixels / 65535.0).astype(np.float32))
    store = dphot.reduce(folder, tmp_path / "x.dphot", workers=0)
    assert "gain" not in store.reference.attrs and store.reference.attrs["gain_refused"] == pytest.approx(1.3)
    assert "no camera's noise would be so low" in "\n".join(summaries.store_lines(store))
    obs = store.photometry["r"].load()
    assert obs.attrs["flux_unit"] == "ADU" and (np.nanmedian(obs.flux[:, 4], axis=0)[:10] > 0).all()
