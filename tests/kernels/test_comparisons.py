"""Comparison stars that are not fit to be: nobody names them, and the target's light curve does not show it."""

import numpy as np
import pytest
from ensemble_night import against, night, rms

from dphot.kernels.ensemble import broeg

FRAMES = 100
T = np.linspace(0, 1, FRAMES)


def seeing(rng):
    """Slow and fast variation of the air, as a blend's light in the aperture follows it."""
    return np.cumsum(rng.normal(size=FRAMES)) / 10 + rng.normal(size=FRAMES)


FAULTS = {
    "sinusoid": lambda rng: 1 + 0.03 * np.sin(2 * np.pi * (2.3 * T + rng.random())),
    "slow sinusoid": lambda rng: 1 + 0.03 * np.sin(np.pi * (T + rng.random())),
    "transit": lambda rng: 1 - 0.02 * (np.abs(T - rng.uniform(0.3, 0.7)) < 0.12),
    "flare": lambda rng: 1 + 0.2 * np.where(T > 0.5, np.exp(-(T - 0.5) / 0.03), 0),
    "trend": lambda rng: 1 + 0.03 * T,
    "blend": lambda rng: 1 + 0.02 * seeing(rng),
    "saturated": lambda rng: np.where(np.abs(T - 0.5) < 0.15, 0.8, 1.0),
    "edge": lambda rng: np.where(T > 0.7, np.nan, 1.0),
    "half in the edge": lambda rng: np.where(T > 0.9, np.nan, 1 - 2.0 * np.maximum(T - 0.8, 0)),
}


def curves(fault, seed, stars=15, target=0, bad=1):
    """Light curve of the target with a bad comparison, and the best one without it."""
    rng = np.random.default_rng(1000 + seed)
    flux, err, level, _, best = night(seed, stars, variables=0)
    factor = FAULTS[fault](rng)
    spoiled, good = flux.copy(), np.ones((FRAMES, stars), bool)
    spoiled[:, 0, bad] *= factor
    if fault == "saturated":
        good[factor < 1, bad] = False
    found = broeg(spoiled, err * np.nan_to_num(spoiled / flux, nan=1.0), target=target, good=good)
    return found, against(flux, level, np.where(np.arange(stars) == bad, 0, best), target)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("target", "bad"), [(0, 1), (4, 0)])
def test_a_bad_comparison_does_no_harm(fault, target, bad):
    """The next brightest star, or the brightest, which is the best comparison of a fainter target."""
    ratios = []
    for seed in range(10):
        found, best = curves(fault, seed, target=target, bad=bad)
        ratios.append(rms(found.diff[:, 0, target]) / rms(best))
    assert np.mean(ratios) < 1.03 and max(ratios) < 1.15


@pytest.mark.parametrize("fault", ["sinusoid", "slow sinusoid", "trend", "blend"])
def test_its_weight_is_gone(fault):
    """Of what varies all night; of a transit or a flare, the points."""
    for seed in range(10):
        flux, err, *_ = night(seed, variables=0)
        fair = broeg(flux, err, target=0).weights[0, 1]
        assert curves(fault, seed)[0].weights[0, 1] < 0.2 * fair


@pytest.mark.parametrize("fault", ["sinusoid", "transit", "flare", "trend", "blend"])
def test_one_of_three_comparisons_is_found_out(fault):
    """Two that agree against one that does not. With two in all, nothing tells which of them it is."""
    ratios = []
    for seed in range(10):
        found, best = curves(fault, seed, stars=4)
        ratios.append(rms(found.diff[:, 0, 0]) / rms(best))
    assert np.mean(ratios) < 1.1


def test_a_third_of_the_stars_share_a_systematic():
    """Stars in one corner follow the same 1 % wave, as under a patch of thin cloud: the others decide."""
    ratios = []
    for seed in range(20):
        flux, err, level, _, best = night(seed, variables=0)
        corner = np.isin(np.arange(15), (2, 5, 8, 11, 14))
        wave = 0.01 * np.sin(2 * np.pi * 1.7 * T)
        flux[:, 0, corner] *= 1 + wave[:, None]
        ideal = 1 / (1 / best + np.where(corner, wave.var(), 0))
        ratios.append(rms(broeg(flux, err, target=0).diff[:, 0, 0]) / rms(against(flux, level, ideal, 0)))
    assert np.mean(ratios) < 1.02


def test_a_systematic_of_all_stars_is_taken_out():
    wave = 1 + 0.05 * np.sin(2 * np.pi * 1.7 * T)[:, None, None]
    flux, err, *_ = night(0, variables=0)
    plain, waved = broeg(flux, err, target=0), broeg(flux * wave, err * wave, target=0)
    assert rms(waved.diff[:, 0, 0]) == pytest.approx(rms(plain.diff[:, 0, 0]), rel=0.01)


@pytest.mark.parametrize("comparisons", [2, 3])
def test_few_quiet_comparisons_serve_as_well_as_they_can(comparisons):
    ratios = []
    for seed in range(30):
        flux, err, level, _, best = night(seed, stars=comparisons + 1, variables=0)
        ratios.append(rms(broeg(flux, err, target=0).diff[:, 0, 0]) / rms(against(flux, level, best, 0)))
    assert np.mean(ratios) < 1.02


def test_a_flare_of_a_comparison_leaves_no_dip():
    """In the frames of the flare the target's curve is where it was: its mean there, in standard errors."""
    dips = []
    for seed in range(20):
        found, _ = curves("flare", seed)
        during = (T > 0.5) & (T < 0.54)
        curve, error = found.diff[during, 0, 0], found.diff_err[during, 0, 0]
        dips.append((curve.mean() - 1) / (error.mean() / np.sqrt(during.sum())))
    assert abs(np.mean(dips)) < 4 / np.sqrt(20)
