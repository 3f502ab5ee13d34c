"""The compiled ensemble does what its description says: a plain loop over stars, frames and rounds is the truth."""

import numpy as np
import pytest
from ensemble_night import night

from dphot.kernels.ensemble import OUTLIER, STEADIEST, broeg
from dphot.kernels.nightly import summarise
from dphot.kernels.order import median_near
from dphot.kernels.scatter import WINSOR, median, point_scatter, typical, variance

LIMIT = WINSOR * 1.4826


def middle(values):
    finite = values[np.isfinite(values)]
    return np.median(finite) if finite.size else np.nan


def plain_typical(squares):
    finite = squares[np.isfinite(squares)]
    return np.mean(np.minimum(finite, WINSOR**2 * np.median(finite))) if finite.size else np.nan


def plain_variance(values, least=3):
    finite = values[np.isfinite(values)]
    if finite.size < least:
        return np.nan
    away = finite - np.median(finite)
    limit = LIMIT * np.median(np.abs(away))
    return np.var(np.clip(away, -limit, limit), ddof=1)


class Plain:
    """One aperture, arrays (nt, ns)."""

    def __init__(self, f, e, there, use):
        self.f, self.e, self.there = f, e, there.copy()
        stars = range(f.shape[1])
        counted = np.where(there, f, np.nan)
        self.level = np.array([middle(counted[:, j]) for j in stars])
        self.model = np.array([max(plain_typical((e / counted)[:, j] ** 2), STEADIEST**2) for j in stars])
        self.use = use & there.any(axis=0)
        self.variance = np.where(self.use, self.model, np.inf)
        self.rounds = 0

    def others(self, i):
        """Artificial star of star i, its variance, and that of star i's own points."""
        weights = self.weights()
        star, own = np.full(len(self.f), np.nan), np.full(len(self.f), np.nan)
        for t in range(len(self.f)):
            rest = [j for j in range(self.f.shape[1]) if j != i and self.there[t, j] and weights[j] > 0]
            if rest:
                w, scaled = weights[rest], self.f[t, rest] / self.level[rest]
                star[t] = w @ scaled / w.sum()
                own[t] = w**2 @ self.noise(rest, t) / w.sum() ** 2
        return star, own

    def noise(self, j, t):
        beyond = np.where(np.isfinite(self.variance[j]), self.variance[j] - self.model[j], 0)
        scaled = self.f[t, j] / self.level[j]
        return (self.e[t, j] / self.level[j]) ** 2 + np.maximum(beyond, 0) * scaled**2

    def weights(self):
        inverse = 1 / self.variance
        return inverse / inverse.sum() if inverse.any() else inverse

    def settle(self, iterations=60, tol=1e-3):
        least = self.there[:, self.use].sum(axis=1) / 2
        for self.rounds in range(1, iterations + 1):
            level, new = self.level.copy(), self.variance.copy()
            away = np.full(self.f.shape, np.nan)
            for j in np.flatnonzero(self.use):
                star, own = self.others(j)
                ratio = np.where(self.there[:, j], self.f[:, j] / self.level[j] / star, np.nan)
                total, points = plain_variance(ratio), self.there[:, j].sum()
                borrowed = plain_typical(np.where(np.isfinite(ratio), own / star**2, np.nan))
                excess, sigma = total - borrowed - self.model[j], total * np.sqrt(2 / points)
                worth = excess**3 / (excess**2 + 4 * sigma**2) if excess > 0 else 0
                new[j] = np.sqrt(self.variance[j] * (self.model[j] + worth))
                if np.isfinite(middle(ratio)):
                    level[j] *= middle(ratio)
                points = np.array([self.noise(j, t) for t in range(len(ratio))])
                away[:, j] = np.abs(ratio - middle(ratio)) * star / np.sqrt(points + own)
            before = self.weights()
            old, self.level, self.variance = self.variance, level, new
            if np.max(np.abs(self.weights() - before)) <= tol * before.max() and not self.drop(away, least):
                break
            assert old is not new
        return self

    def drop(self, away, least):
        dropped = False
        for t, row in enumerate(away):
            known = np.isfinite(row)
            if known.sum() >= max(3, least[t] + 1) and np.nanmax(row) > OUTLIER:
                self.there[t, np.nanargmax(row)] = False
                dropped = True
        return dropped

    def light_curves(self):
        out = []
        for i in range(self.f.shape[1]):
            star, own = self.others(i)
            mean = np.nanmean(star) if np.isfinite(star).any() else np.nan
            star, own = star / mean, own / mean**2
            diff = self.f[:, i] / star
            err = np.sqrt(self.e[:, i] ** 2 + diff**2 * own) / star
            centre = middle(np.where(self.there[:, i], diff, np.nan))
            centre = centre if np.isfinite(centre) else middle(diff)
            out.append((star, diff / centre, err / abs(centre)))
        return [np.array(v).T for v in zip(*out, strict=True)]


def spoilt(seed, stars=9, frames=36):
    """Two apertures with gaps, negative fluxes, odd points and flags; some stars or frames are not there at all."""
    parts = [night(seed + 50 * k, stars, frames, variables=2) for k in range(2)]
    flux, err = (np.concatenate([p[k] for p in parts], axis=1) for k in (0, 1))
    rng = np.random.default_rng(seed)
    flux[rng.random(flux.shape) < 0.02] *= 1.4
    flux[rng.random(flux.shape) < 0.02] = np.nan
    flux[rng.random(flux.shape) < 0.01] *= -1
    err[rng.random(flux.shape) < 0.01] = np.inf
    flux[7] = np.nan
    flux[: frames // 2, :, 2] = np.nan
    flux[:, :, 5] = np.nan
    flux[11, 0, 1:5] = flux[11, 0, 6:] = 0.0  # star 0 has nobody to be compared with
    good = rng.random((frames, stars)) > 0.03
    return flux, err, good


@pytest.mark.parametrize("seed", range(4))
def test_broeg_is_the_plain_loop(seed):
    flux, err, good = spoilt(seed)
    use = np.random.default_rng(seed).random((2, 9)) < 0.9
    target = None if seed % 2 else 3
    found = broeg(flux, err, target=target, use=use, good=good)
    dropped, rounds = 0, []
    for a in range(2):
        f, e, may = flux[:, a], err[:, a], use[a].copy()
        if target is not None:
            may[target] = False
        there = np.isfinite(f) & (f > 0) & np.isfinite(e) & good
        plain = Plain(f, e, there, may).settle()
        dropped += np.sum(there & ~plain.there)
        rounds.append(plain.rounds)
        np.testing.assert_allclose(found.weights[a], plain.weights(), rtol=1e-9)
        for name, expected in zip(("artificial", "diff", "diff_err"), plain.light_curves(), strict=True):
            np.testing.assert_allclose(getattr(found, name)[:, a], expected, rtol=1e-9, err_msg=name)
    assert dropped  # odd points are met with
    assert found.rounds == max(rounds)


def test_summary_is_the_plain_one():
    flux, err, good = spoilt(9)
    found = summarise(flux, err, good)
    for a in range(2):
        f, e = flux[:, a], err[:, a]
        there = np.isfinite(f) & (f > 0) & np.isfinite(e) & good
        f, e, points = np.where(there, f, np.nan), np.where(there, e, np.nan), there.sum(axis=0)
        star, diff, diff_err = (
            Plain(f, e, there, (points >= 0.5 * points.max()) & (points >= 3)).settle().light_curves()
        )
        for j in range(9):
            level = middle(f[:, j] / star[:, j])
            error = level * middle(diff_err[:, j]) * np.sqrt(np.pi / 2 / max(points[j], 1))
            steps = np.sqrt(plain_variance(np.diff(diff[:, j])) / 2)
            expected = level, error, np.sqrt(plain_variance(diff[:, j])), steps, middle(e[:, j] / f[:, j])
            got = [getattr(found, k)[a, j] for k in ("level", "level_err", "rms", "scatter", "noise")]
            np.testing.assert_allclose(got, expected, rtol=1e-9)
        np.testing.assert_array_equal(found.points[a], points)


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 17, 48, 333])
def test_statistics_are_the_plain_ones(frames):
    """Tails from none to heavy, so that cuts are needed and are not; NaN and infinities do not count."""
    rng = np.random.default_rng(frames)
    values = np.concatenate(
        [rng.uniform(1, 2, (20, frames)), rng.normal(size=(20, frames)), rng.standard_cauchy((40, frames))]
    ).reshape(8, 10, frames)
    values[rng.random(values.shape) < 0.2] = np.nan
    values[rng.random(values.shape) < 0.05] = np.inf
    values[0, 0] = np.nan
    values[0, 1] = 3.0
    np.testing.assert_array_equal(median(values), np.apply_along_axis(middle, -1, values))
    expected = np.apply_along_axis(plain_variance, -1, values)
    np.testing.assert_allclose(variance(values), expected, rtol=1e-10, atol=1e-15)
    squares = np.square(values)
    np.testing.assert_allclose(typical(squares), np.apply_along_axis(plain_typical, -1, squares), rtol=1e-12)
    curves = np.abs(values[1])
    for curve, got in zip(curves, point_scatter(curves.T), strict=True):
        finite = curve[np.isfinite(curve)]
        steps = np.diff(finite / middle(finite))
        factor = (steps.size - 1) / steps.size / 2 if steps.size else np.nan
        np.testing.assert_allclose(got, np.sqrt(plain_variance(steps, least=2) * factor), rtol=1e-10)


def test_a_median_is_found_from_any_guess():
    rng = np.random.default_rng(3)
    room = np.empty(60)
    for n in (0, 1, 2, 3, 10, 11, 60):
        for values in (rng.normal(size=n), np.round(rng.normal(size=n)), np.ones(n)):
            for guess in (-9.0, -0.3, 0.0, 0.5, 1.0, 9.0):
                for width in (0.0, 0.1, 1.0, 20.0, np.inf, np.nan):
                    np.testing.assert_array_equal(median_near(values, guess, width, room), middle(values))
