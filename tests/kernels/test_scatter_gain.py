"""A gain that only the stars' scatter tells: right within its error, or not given."""

import numpy as np
import pytest

from dphot.kernels.gain import gain_from_scatter
from dphot.kernels.scatter import point_scatter


def field(rng, stars, frames, gain, common=0.0, spoiled=0.0):
    """Scatter and noise budget of stars over 6 mag, the brightest of 5e5 electrons."""
    level = 5e5 / gain * 10 ** (-0.4 * rng.uniform(0, 6, stars))  # ADU
    rest = 4e3 / gain**2 / level**2
    variance = 1 / (gain * level) + rest + common**2
    variance *= np.where(rng.random(stars) < spoiled, rng.uniform(2, 30, stars), 1.0)
    curves = 1 + np.sqrt(variance) * rng.standard_normal((frames, stars))
    return point_scatter(curves), 1 / level, rest, np.full(stars, frames)


@pytest.mark.parametrize("gain", [0.5, 30.0])
@pytest.mark.parametrize("common", [0.0, 2e-3])
@pytest.mark.parametrize(("stars", "frames"), [(24, 24), (60, 60)])
def test_the_gain_comes_back_within_its_error(gain, common, stars, frames):
    rng = np.random.default_rng(4)
    found = np.array([gain_from_scatter(*field(rng, stars, frames, gain, common)) for _ in range(40)])
    known = found[np.isfinite(found[:, 0])]
    assert len(known) > 25
    pulls = (gain / known[:, 0] - 1) * known[:, 0] / known[:, 1]  # of 1 / gain, which is what is fitted
    assert abs(pulls.mean()) < 3.5 / np.sqrt(len(known)) and 0.65 < pulls.std() < 1.35


def test_variables_and_blends_do_not_pass_for_a_low_gain():
    rng = np.random.default_rng(5)
    ratio = [gain_from_scatter(*field(rng, 100, 100, 2.0, spoiled=0.2))[0] / 2.0 for _ in range(20)]
    assert np.mean(ratio) == pytest.approx(1, abs=0.03)


def test_stars_that_do_not_tell_give_no_gain():
    rng = np.random.default_rng(6)
    scatter, photons, rest, points = field(rng, 60, 60, 2.0)
    nothing = (
        (scatter[:2], photons[:2], rest[:2], points[:2]),  # too few stars
        (scatter, photons, 1e4 * rest, points),  # all of them lost in the sky
        (scatter, np.full(60, photons[0]), rest, points),  # all as bright: photons or something else?
        (np.full(60, np.nan), photons, rest, points),
    )
    assert all(np.isnan(gain_from_scatter(*each)).all() for each in nothing)
