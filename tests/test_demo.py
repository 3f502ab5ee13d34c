"""The demonstration finds the injected curve as well as its photons allow."""

import json

import numpy as np
import pytest

from dphot.cli import main
from dphot.demo import run_demo


@pytest.mark.slow
def test_the_mean_of_twenty_seeds_is_within_2_percent_of_the_floor(tmp_path):
    ratios = []
    for seed in range(1, 21):
        result = run_demo(tmp_path / "demo", seed=seed, workers=0, report_page=False, overwrite=True)
        assert result["frames"] == 100 and result["apertures"] == 32 and result["stars"] >= 15
        ratios.append(result["rms_residual"] / result["rms_floor"])
    assert np.mean(ratios) <= 1.02
    # The floor is the least that the ensemble with the true weights reaches; chance alone goes below it by little.
    assert min(ratios) > 0.97


@pytest.mark.slow
def test_the_command_prints_what_it_found(tmp_path, capsys):
    folder = tmp_path / "demo"
    assert main(["demo", "--folder", str(folder), "--workers", "2", "--json", "--quiet"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    wanted = {
        "frames",
        "stars",
        "apertures",
        "frames_per_second",
        "rms_residual",
        "rms_floor",
        "store",
        "report",
    }
    assert wanted <= set(result)
    assert (folder / "report.html").stat().st_size > 1e6
    assert main(["demo", "--folder", str(folder), "--json", "--quiet"]) == 2  # nothing is replaced unasked
