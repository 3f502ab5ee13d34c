"""Alignment that does not fail: simulated pairs, the solvable ones told by theory; unrelated lists; traps."""

from __future__ import annotations

import numpy as np
import pytest
from star_pairs import TOLERANCE, error, log_chance, similarity, simulate

from dphot.errors import AlignmentError
from dphot.kernels import align
from dphot.kernels.trails import on_trails

#: A pair is solvable if fewer than 10^this transforms would match as many stars by chance.
SOLVABLE = -7.0


def outcomes(count, seed, **options):
    """(log10 of the chance, error in px or NaN where refused) of simulated pairs."""
    rows = []
    for i in range(count):
        ref, frame, truth, common = simulate(np.random.default_rng([seed, i]), **options)
        chance = log_chance(ref, frame, truth, len(common))
        try:
            rows.append((chance, error(align.match(*ref.T, *frame.T).matrix, truth, common)))
        except AlignmentError as refusal:
            assert any(c.isdigit() for c in str(refusal))
            rows.append((chance, np.nan))
    return np.array(rows)


def check_robust(rows, least):
    """No wrong transform, and 99.5 % of the solvable ones, of which there are at least a given share."""
    solved, solvable = np.isfinite(rows[:, 1]), rows[:, 0] < SOLVABLE
    # Beyond the tolerance a transform pairs the wrong stars: worse than none.
    assert not (rows[:, 1] > TOLERANCE).any()
    assert solvable.mean() >= least
    assert solved[solvable].mean() >= 0.995
    assert np.nanmedian(rows[:, 1]) < 0.5


def test_simulated_pairs():
    check_robust(outcomes(100, 11), 0.75)


@pytest.mark.slow
def test_a_thousand_simulated_pairs():
    check_robust(outcomes(1000, 12), 0.75)


@pytest.mark.parametrize("count", [30, pytest.param(500, marks=pytest.mark.slow)])
def test_pairs_with_hot_pixels(count):
    check_robust(outcomes(count, 13, n=150, hot=200, shift=0.4), 0.9)


@pytest.mark.parametrize("count", [30, pytest.param(500, marks=pytest.mark.slow)])
def test_pairs_with_trails(count):
    check_robust(outcomes(count, 14, n=100, pieces=60, shift=0.4), 0.9)


@pytest.mark.parametrize("count", [30, pytest.param(500, marks=pytest.mark.slow)])
def test_pairs_with_a_cloud(count):
    check_robust(outcomes(count, 15, n=200, cloud=0.15, shift=0.3), 0.7)


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_three_to_six_common_stars_and_a_prior(count):
    rows = []
    for i in range(count):
        rng = np.random.default_rng([16, i])
        width, noise = rng.uniform(600, 4000), rng.uniform(0.05, 0.4)
        truth = similarity(
            (width, width), rng.uniform(-180, 180), 1.0, False, rng.uniform(-0.3, 0.3, 2) * width
        )
        common = rng.uniform(0, width, (rng.integers(3, 7), 2))
        seen = np.column_stack(align.apply(truth, *common.T))
        ref, frame = (
            rng.permutation(
                np.vstack([p + rng.normal(0, noise, p.shape), rng.uniform(0, width, (rng.integers(1, 8), 2))])
            )
            for p in (common, seen)
        )
        nudge = similarity((width, width), rng.uniform(-0.02, 0.02), shift=rng.uniform(-8, 8, 2))
        prior = align.compose(nudge, truth)
        chance = log_chance(ref, frame, truth, len(common), prior_reach=15 * TOLERANCE)
        wrong = similarity((width, width), rng.uniform(-180, 180), shift=rng.uniform(-50, 50, 2))
        for given, solvable in ((prior, chance), (wrong, 0.0)):
            try:
                rows.append(
                    (solvable, error(align.match(*ref.T, *frame.T, prior=given).matrix, truth, common))
                )
            except AlignmentError:
                rows.append((solvable, np.nan))
    check_robust(np.array(rows), 0.3)


def unrelated(rng):
    n, width = int(rng.uniform(5, 200)), np.exp(rng.uniform(np.log(150), np.log(3000)))
    a, b = rng.uniform(0, width, (n, 2)), rng.uniform(0, width, (n, 2))
    if rng.random() < 0.3:  # a cluster in each
        a[: n // 2] = rng.normal(width / 2, width / 20, (n // 2, 2))
        b[: n // 2] = rng.normal(width / 3, width / 20, (n // 2, 2))
    if rng.random() < 0.3:  # a trail in each, of evenly spaced pieces
        k = max(n // 3, 3)
        a[:k] = np.outer(np.linspace(0, width, k), [1, 0.5])
        b[:k] = np.array([0, width / 3]) + np.outer(np.linspace(0, width, k), [0.7, 0.7])
    return rng.permutation(a), rng.permutation(b)


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_unrelated_lists_are_refused(count):
    for i in range(count):
        rng = np.random.default_rng([21, i])
        a, b = unrelated(rng)
        prior = np.eye(2, 3) if rng.random() < 0.3 else None
        with pytest.raises(AlignmentError, match=r"\d"):
            align.match(*a.T, *b.T, prior=prior)


def test_a_trail_is_known_from_a_field_of_stars():
    rng = np.random.default_rng(17)
    for _ in range(50):
        sky = rng.uniform(0, 1000, (150, 2))
        assert not on_trails(*sky.T.copy(), TOLERANCE).any()
        turn = rng.uniform(0, np.pi)
        trail = rng.uniform(300, 700, 2) + np.outer(np.linspace(-280, 280, 25), [np.cos(turn), np.sin(turn)])
        both = np.vstack([sky, trail + rng.normal(0, 0.5, trail.shape)])
        found = on_trails(*both.T.copy(), TOLERANCE)
        assert found[150:].sum() >= 24 and found[:150].sum() <= 8
