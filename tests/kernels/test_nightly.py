"""Nights summarised and stars judged: known variables are found, steady stars are not, and levels are true."""

import numpy as np
import pytest

from dphot.kernels.nightly import Judgement, judge, light_curves, summarise

STARS = 24
TABLES = ("level", "level_err", "rms", "noise", "points")


def brightness():
    return 10 ** np.random.default_rng(7).uniform(4.5, 6, STARS)


def make(k, frames=50, signal=None):
    """Fluxes and errors of one night in two apertures: photon noise under a sky that comes and goes."""
    rng = np.random.default_rng(k)
    sky = rng.uniform(0.6, 1.0) * (1 + 0.05 * np.sin(np.linspace(0, rng.uniform(2, 9), frames)))
    true = brightness() * sky[:, None] * (1 if signal is None else signal(frames))
    flux = true[:, None, :] * np.array([0.7, 1.0])[None, :, None]
    error = np.sqrt(flux + np.array([100.0, 2000.0])[None, :, None])
    return flux + error * rng.normal(size=flux.shape), error


def whole(flux):
    return np.ones((flux.shape[0], flux.shape[2]), bool)


def judged(nights, aperture=1, **options):
    return judge(*(np.array([getattr(n, k)[aperture] for n in nights]) for k in TABLES), **options)


def vary(star, curve):
    def signal(frames):
        out = np.ones((frames, STARS))
        out[:, star] = curve(np.linspace(0, 1, frames))
        return out

    return signal


def test_levels_errors_and_scatter_are_the_true_ones():
    found = [summarise(*(data := make(k)), whole(data[0])) for k in range(30)]
    result = judged(found)
    # one factor for all stars is free: that of the sky
    ratio = result.scale / brightness()
    errors = np.median([n.level_err[1] / n.level[1] for n in found], axis=0) / np.sqrt(30)
    assert 0.7 < np.std((ratio / np.median(ratio) - 1) / errors) < 1.3
    scatter = np.median([n.scatter[1] for n in found], axis=0)
    noise = np.median([n.noise[1] for n in found], axis=0)
    np.testing.assert_allclose(scatter, noise, rtol=0.15)
    # pulls of the nightly levels about their scale, the common factor of each night taken off
    levels = np.array([n.level[1] for n in found]) / result.scale
    levels /= np.median(levels, axis=1, keepdims=True)
    pulls = (levels - 1) / np.array([n.level_err[1] / n.level[1] for n in found])
    assert 0.7 < np.std(pulls) < 1.15 and abs(np.mean(pulls)) < 0.1
    assert not result.variable.any()


@pytest.mark.parametrize("seed", range(5))
def test_steady_stars_are_never_accused(seed):
    for n in (1, 2, 3, 20):
        nights = [summarise(*(data := make(1000 * seed + k)), whole(data[0])) for k in range(n)]
        assert not judged(nights).variable.any(), n


@pytest.mark.parametrize("nights", [3, 4])
def test_of_many_steady_stars_in_few_nights_chance_accuses_none(nights):
    rng = np.random.default_rng(5)
    stars, accused = 2000, 0
    for _ in range(5):
        level = np.full((nights, stars), 1e5)
        error = np.full_like(level, 100.0)
        noise = np.full_like(level, 1e-3)
        accused += judge(
            level + error * rng.normal(size=level.shape), error, noise, noise, np.full_like(level, 30)
        ).variable.sum()
    assert accused <= 2  # of 10 000, 0.3 are expected at 4 sigma


def test_a_star_that_varies_within_the_nights_is_found_in_the_first():
    data = make(1, signal=vary(5, lambda t: 1 + 0.02 * np.sin(9 * t)))
    result = judged([summarise(*data, whole(data[0]))])
    assert np.flatnonzero(result.variable).tolist() == [5]
    assert result.weight[5] < 0.1 * np.median(result.weight)


def test_a_star_that_varies_from_night_to_night_is_found_once_there_are_nights():
    nights, when = [], None
    for k in range(12):
        data = make(k, signal=vary(3, lambda t, k=k: 1 + 0.02 * np.sin(1.3 * k) + 0 * t))
        nights.append(summarise(*data, whole(data[0])))
        found = np.flatnonzero(judged(nights).variable).tolist()
        assert found in ([], [3])
        when = k if found and when is None else when
    assert when is not None and 2 <= when <= 4 and found == [3]
    assert judged(nights).weight[3] < 0.2 * judged(nights[:1]).weight[3]


def test_the_order_of_the_nights_does_not_matter_to_the_verdict():
    nights = [summarise(*(data := make(k)), whole(data[0])) for k in range(6)]
    there, back = judged(nights), judged(nights[::-1])
    np.testing.assert_allclose(there.weight, back.weight, rtol=1e-9)
    np.testing.assert_array_equal(there.variable, back.variable)


@pytest.mark.parametrize("frames", [1, 2])
def test_nights_of_a_frame_or_two(frames):
    nights = [summarise(*(data := make(k, frames)), whole(data[0])) for k in range(9)]
    assert np.isnan(nights[0].rms).all() and (nights[0].points == frames).all()
    result = judged(nights)
    assert not result.variable.any() and result.weight.sum() == pytest.approx(1)
    np.testing.assert_allclose(
        result.scale / brightness() / np.median(result.scale / brightness()), 1, atol=0.01
    )


def test_what_is_missing_stays_missing():
    flux, error = make(1)
    flux[:, :, 2] = np.nan
    flux[:25, :, 4] = np.nan
    good = whole(flux)
    good[:, 6] = False
    night = summarise(flux, error, good)
    assert np.isnan(night.level[:, [2, 6]]).all() and (night.points[:, [2, 6]] == 0).all()
    assert np.isfinite(night.level[:, 4]).all() and (night.points[:, 4] == 25).all()
    result = judged([night])
    assert result.weight[2] == result.weight[6] == 0 < result.weight[4]
    none = summarise(np.full((5, 2, 3), np.nan), np.ones((5, 2, 3)), np.ones((5, 3), bool))
    assert np.isnan(none.level).all() and not judged([none]).variable.any()


def test_a_signal_comes_back_on_one_scale_over_nights():
    signal = [1 + 0.01 * np.sin(0.9 * k) for k in range(8)]
    parts = [make(k, signal=vary(0, lambda t, s=s: s + 0 * t)) for k, s in enumerate(signal)]
    nights = [summarise(f, e, whole(f)) for f, e in parts]
    use = np.arange(STARS) != 0
    flux, error = (np.concatenate([p[i][:, 1] for p in parts]) for i in (0, 1))
    result = judged(nights, use=use)
    _, diff, diff_err = light_curves(flux, error, np.ones(flux.shape, bool), result, nights[0].noise[1])
    curve, err = diff[:, 0].reshape(8, 50), diff_err[:, 0].reshape(8, 50)
    expected = np.array(signal) / np.median(np.repeat(signal, 50))
    pulls = (curve - expected[:, None]) / err
    assert 0.9 < pulls.std() < 1.15
    means = (curve.mean(axis=1) / expected - 1) / (err.mean(axis=1) / np.sqrt(50))
    assert abs(means - means.mean()).max() < 4


def test_light_curves_without_a_comparison_are_nan():
    flux, error = (v[:, 0] for v in make(1))
    blank = np.zeros(STARS)
    nobody = Judgement(blank, brightness(), blank + 1e-4, blank.astype(bool))
    _, diff, _ = light_curves(flux, error, np.ones(flux.shape, bool), nobody, blank + 0.01)
    assert np.isnan(diff).all()


def test_many_variables_among_many_stars_are_found_and_no_others():
    rng = np.random.default_rng(1)
    nights, stars, varying = 60, 300, 40
    level = 10 ** rng.uniform(3, 6, stars) * (1 + 0.1 * rng.normal(size=(nights, 1)))
    error = np.maximum(level**0.5 * 0.1, level * 3e-4)
    level = level + error * rng.normal(size=level.shape)
    noise = 3 * error / level
    level[:, :varying] *= 1 + rng.uniform(0.1, 0.3, varying) * rng.choice([-1, 1], (nights, varying))
    found = judge(level, error, noise, noise, np.full(level.shape, 9.0)).variable
    assert np.flatnonzero(found).tolist() == list(range(varying))
