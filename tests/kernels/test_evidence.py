"""The bounds on chance against scipy's distributions, and the rate against counting."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, poisson

from dphot.kernels.evidence import chance_rate, line_share, log_tail
from dphot.kernels.pairing import make_list


@pytest.mark.parametrize("rate", [1e-4, 0.03, 1.0, 20.0])
@pytest.mark.parametrize("more", [1, 3, 10, 30])
def test_tail_bounds_the_poisson_chance_closely(rate, more):
    least = int(rate) + more
    exact = poisson.logsf(least - 1, rate) / np.log(10)
    assert exact - 1e-9 <= log_tail(least, np.array([rate])) <= exact + 1.0


@pytest.mark.parametrize("seen", [50, 60, 90, 100])
def test_tail_bounds_the_binomial_chance_in_crowded_fields(seen):
    chance = 0.37
    exact = binom.logsf(seen - 1, 100, chance) / np.log(10)
    bound = log_tail(seen, np.full(100, -np.log1p(-chance)))
    assert exact - 1e-9 <= bound <= 0.5 * exact + 0.5


def test_nothing_seen_or_expected():
    assert log_tail(0, np.array([0.1])) == 0.0 and log_tail(3, np.array([5.0])) == 0.0
    assert log_tail(1, np.array([0.0])) == -np.inf


@pytest.mark.parametrize("clumped", [False, True])
def test_rate_is_what_unrelated_lists_give(clumped):
    rng = np.random.default_rng(1)
    matched = expected = 0.0
    for _ in range(30):
        a, b = rng.uniform(0, 1000, (2, 600, 2))
        if clumped:
            a[:300], b[:300] = rng.normal(500, 60, (2, 300, 2))
        distance = np.hypot(a[:, None, 0] - b[:, 0], a[:, None, 1] - b[:, 1])
        matched += (distance < 2.0).sum()
        expected += chance_rate(a[:, 0], a[:, 1], make_list(b[:, 0], b[:, 1], 2.0), 2.0).sum() * 2.0**2
    assert expected == pytest.approx(matched, rel=0.15)


def test_stars_on_one_line_do_not_count():
    rng = np.random.default_rng(2)
    x = np.linspace(0, 900, 24)
    assert line_share(x, 0.3 * x, 2.0) == 1.0
    assert line_share(*rng.uniform(0, 900, (2, 24)), 2.0) == 0.0
