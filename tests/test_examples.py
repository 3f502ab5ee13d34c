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


@pytest.mark.slow
def test_the_tutorial_runs_whole(tmp_path):
    command = [sys.executable, EXAMPLES / "tutorial.py", "--folder", tmp_path, "--frames", "20", "--json"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "DPHOT_HOME": str(tmp_path / "home"), "DPHOT_CACHE": str(tmp_path / "cache")},
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["frames"], result["apertures"]) == (20, 32) and result["stars"] > 10
    assert 5e-4 < result["rms"] < 2.5e-3  # of a curve of 7 ppt; photons of target and comparisons give 1.4
    assert len(pd.read_csv(tmp_path / "lightcurve.csv")) == 20
    with xr.open_dataset(tmp_path / "A_prose_a.phot") as phot:
        assert phot.sizes["time"] == 20 and phot["stack"].shape == (520, 520)
    assert (tmp_path / "report.html").read_text().startswith("<!")
