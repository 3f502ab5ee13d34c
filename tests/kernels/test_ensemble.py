"""Differential photometry: close to the best possible ensemble, and hard to upset."""

import numpy as np
import pytest
from ensemble_night import against, night, rms

from dphot.errors import InputError
from dphot.kernels.ensemble import broeg, published


@pytest.mark.parametrize(("stars", "variables", "limit"), [(15, 0, 1.005), (15, 3, 1.005), (6, 1, 1.02)])
def test_close_to_the_best_ensemble(stars, variables, limit):
    """Mean of rms / floor over 40 seeds; the floor knows the true variances."""
    ratios = []
    for seed in range(40):
        flux, err, level, _, best = night(seed, stars, variables=variables)
        found = broeg(flux, err, target=0)
        ratios.append(rms(found.diff[:, 0, 0]) / rms(against(flux, level, best, 0)))
    assert np.mean(ratios) < limit


def test_better_than_as_published():
    ours, theirs = [], []
    for seed in range(40):
        flux, err, level, _, best = night(seed)
        floor = rms(against(flux, level, best, 0))
        ours.append(rms(broeg(flux, err, target=0).diff[:, 0, 0]) / floor)
        theirs.append(rms(published(flux, err, target=0).diff[:, 0, 0]) / floor)
    assert 1.0 < np.mean(ours) < np.mean(theirs) < 1.05


def plain(flux, err, target):
    """Broeg et al. 2005, section 3, in loops: the artificial star of every star, and the weights of all."""
    f = flux / flux.mean(axis=0)
    nt, ns = f.shape
    weight = [np.mean((err[:, j] / flux[:, j]) ** 2) ** -1 if j != target else 0.0 for j in range(ns)]
    for _ in range(300):
        artificial = np.empty((nt, ns))
        for i in range(ns):
            for t in range(nt):
                others = [j for j in range(ns) if j != i]
                artificial[t, i] = sum(weight[j] * f[t, j] for j in others) / sum(weight[j] for j in others)
        new = [1 / np.var(f[:, i] / artificial[:, i]) if i != target else 0.0 for i in range(ns)]
        done = max(abs(a / sum(new) - b / sum(weight)) for a, b in zip(new, weight, strict=True)) < 1e-12
        weight = new
        if done:
            break
    return np.array(weight) / sum(weight), artificial


def test_published_is_the_published_algorithm():
    flux, err, *_ = night(13, stars=7, frames=40, variables=1)
    weights, artificial = plain(flux[:, 0], err[:, 0], 2)
    found = published(flux, err, target=2, iterations=1000, tol=1e-13)
    np.testing.assert_allclose(found.weights[0], weights, rtol=1e-6)
    np.testing.assert_allclose(found.artificial[:, 0], artificial / artificial.mean(axis=0), rtol=1e-8)
    curve = flux[:, 0] / artificial
    np.testing.assert_allclose(found.diff[:, 0], curve / np.median(curve, axis=0), rtol=1e-8)


def test_artificial_star_is_the_formula():
    flux, err, *_ = night(1)
    found = broeg(flux, err, target=2)
    assert found.weights.shape == (1, 15) and found.diff.shape == found.artificial.shape == flux.shape
    assert found.weights[0, 2] == 0 and found.weights.sum() == pytest.approx(1)
    f = flux[:, 0]
    level = np.median(f / found.artificial[:, 0], axis=0)  # c_j: the artificial stars follow from the weights
    for star in range(15):
        w = found.weights[0].copy()
        w[star] = 0
        expected = (f / level) @ w
        ratio = found.artificial[:, 0, star] / expected
        np.testing.assert_allclose(ratio / ratio.mean(), 1, atol=2e-4)
    np.testing.assert_allclose(np.median(found.diff, axis=0), 1)
    np.testing.assert_allclose(found.artificial.mean(axis=0), 1)
    ratio = found.diff * found.artificial / flux
    np.testing.assert_allclose(ratio / ratio.mean(axis=0), 1, rtol=1e-12)


def test_leaving_one_out_equals_leaving_it_out():
    """A star's light curve does not know of its own brightness, and the ensemble not of the target's."""
    flux, err, *_ = night(2)
    changed = flux.copy()
    changed[40:60, 0, 0] *= 0.9
    a, b = broeg(flux, err, target=0), broeg(changed, err, target=0)
    np.testing.assert_array_equal(a.artificial[..., 0], b.artificial[..., 0])
    np.testing.assert_allclose(b.diff[45, 0, 0] / b.diff[0, 0, 0], 0.9 * a.diff[45, 0, 0] / a.diff[0, 0, 0])


def test_common_transparency_cancels():
    flux, err, *_ = night(3)
    veil = np.exp(-np.random.default_rng(0).uniform(0, 2, 100))[:, None, None]
    a, b = broeg(flux, err, target=0), broeg(flux * veil, err * veil, target=0)
    np.testing.assert_allclose(a.diff[..., 0], b.diff[..., 0], rtol=2e-3)
    assert rms(b.diff[:, 0, 0]) == pytest.approx(rms(a.diff[:, 0, 0]), rel=0.02)


def test_errors_are_true():
    pulls = []
    for seed in range(30):
        flux, err, _, own, _ = night(seed)
        found = broeg(flux, err)
        quiet = np.ptp(own, axis=0) == 0
        pulls.append(((found.diff - np.mean(found.diff, axis=0)) / found.diff_err)[:, 0, quiet])
    assert np.std(np.concatenate(pulls, axis=1)) == pytest.approx(1, abs=0.02)


def test_error_holds_the_ensembles_own():
    flux, err, *_ = night(0, stars=8, variables=0)
    found = broeg(flux, err, target=0)
    own = (err / flux)[:, 0, 0]
    comparison = np.sqrt((found.diff_err / found.diff)[:, 0, 0] ** 2 - own**2)
    w = found.weights[0]
    expected = np.sqrt(np.sum((w * (err / flux)[:, 0]) ** 2, axis=1))
    np.testing.assert_allclose(comparison, expected, rtol=0.15)


def test_variable_comparison_loses_its_weight():
    flux, err, *_ = night(4, variables=0)
    fair = broeg(flux, err, target=0).weights[0]
    flux[:, 0, 1] *= 1 + 0.05 * np.sin(np.arange(100) / 15)
    weights = broeg(flux, err, target=0).weights[0]
    assert fair[1] > 0.1 and weights[1] < 0.01 * fair[1]


def test_two_stars_that_share_an_eclipse_do_not_lock():
    """The noise model bounds what a pair can gain by agreeing with each other."""
    flux, err, level, _, best = night(5, variables=0)
    weights = broeg(flux, err, target=0).weights[0]
    ideal = np.where(np.arange(15) == 0, 0, best)
    assert weights.max() < 1.2 * (ideal / ideal.sum()).max()
    twin = flux.copy()
    twin[:, 0, 9] = twin[:, 0, 8] * level[9] / level[8]  # noise and all
    assert broeg(twin, err, target=0).weights[0, 8:10].sum() < 0.1


def test_one_bad_frame_does_not_kill_a_star():
    flux, err, *_ = night(6, variables=0)
    fair = broeg(flux, err, target=0).weights[0]
    flux[50, 0, 1] *= 1.3
    assert broeg(flux, err, target=0).weights[0, 1] > 0.7 * fair[1]
    assert published(flux, err, target=0).weights[0, 1] < 0.1 * fair[1]


def test_flagged_points_weigh_nothing():
    flux, err, *_ = night(7)
    good = np.ones((100, 15), bool)
    good[50, 1] = False
    a = broeg(flux, err, target=0, good=good)
    flux[50, 0, 1] *= 3
    b = broeg(flux, err, target=0, good=good)
    np.testing.assert_array_equal(a.diff[..., 0], b.diff[..., 0])
    np.testing.assert_allclose(b.diff[50, 0, 1], 3 * a.diff[50, 0, 1])  # measured all the same


def test_missing_star_makes_no_step():
    """The brightest comparison is missing in the darker half of the night."""
    steps = []
    for seed in range(20):
        flux, err, *_ = night(seed, variables=0)
        flux[50:] *= 0.6
        err[50:] *= 0.8
        flux[50:, :, 1] = np.nan
        found = broeg(flux, err, target=0)
        assert np.isnan(found.diff[50:, 0, 1]).all() and np.isfinite(found.diff[..., 0]).all()
        curve, sigma = found.diff[:, 0, 0], found.diff_err[:, 0, 0]
        steps.append((curve[:50].mean() - curve[50:].mean()) / np.sqrt((sigma**2).mean() * 4 / 100))
    assert abs(np.mean(steps)) < 4 / np.sqrt(20) and np.std(steps) < 2


def test_missing_frames_and_stars_stay_nan():
    flux, err, *_ = night(8)
    flux[10] = np.nan
    flux[:, :, 3] = np.nan
    flux[20, 0, 5] = -4.0
    found = broeg(flux, err)
    assert found.weights[0, 3] == 0
    assert np.isnan(found.diff[10]).all() and np.isnan(found.diff[..., 3]).all()
    assert np.isfinite(np.delete(np.delete(found.diff, 10, 0), 3, 2)).all()
    assert np.isfinite(found.diff_err[20, 0, 5]) and found.diff[20, 0, 5] < 0


def test_apertures_are_independent_and_use_is_obeyed():
    parts = [night(seed) for seed in (9, 10)]
    flux, err = (np.concatenate([p[k] for p in parts], axis=1) for k in (0, 1))
    use = np.ones(15, bool)
    use[[4, 7]] = False
    both = broeg(flux, err, target=1, use=use)
    for k in range(2):
        one = broeg(flux[:, k : k + 1], err[:, k : k + 1], target=1, use=use)
        np.testing.assert_array_equal(both.diff[:, k], one.diff[:, 0])
        np.testing.assert_array_equal(both.weights[k], one.weights[0])
    np.testing.assert_array_equal(both.weights[:, [1, 4, 7]], 0)
    assert np.isfinite(both.diff).all()


def test_single_comparison_and_pairs():
    flux, err, *_ = night(11, stars=2, variables=1)
    found = broeg(flux, err, target=0)
    assert found.weights[0, 1] == 1 and np.isnan(found.diff[..., 1]).all()
    curve = flux[:, 0, 0] / flux[:, 0, 1]
    np.testing.assert_allclose(found.diff[:, 0, 0], curve / np.median(curve))
    assert np.isfinite(broeg(flux, err).diff).all()


def test_bad_arguments_are_named():
    flux, err, *_ = night(12)
    with pytest.raises(InputError, match="flux_err"):
        broeg(flux, err[:, 0])
    with pytest.raises(InputError, match="`target` is 15"):
        broeg(flux, err, target=15)
    with pytest.raises(InputError, match="no comparison star"):
        broeg(flux, err, target=0, use=np.arange(15) == 0)
    with pytest.raises(InputError, match="`good`"):
        broeg(flux, err, good=np.ones((15, 100), bool))
