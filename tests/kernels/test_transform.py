"""Fits against transforms that are known, and algebra that must undo itself."""

from __future__ import annotations

import numpy as np
import pytest

from dphot.errors import AlignmentError, InputError
from dphot.kernels import transform


def turned(rotation, scale=1.0, mirror=False, shift=(5.0, -3.0)):
    t = np.radians(rotation)
    linear = scale * np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]])
    return np.column_stack([linear @ np.diag([1.0, -1.0 if mirror else 1.0]), shift])


@pytest.fixture
def stars():
    return np.random.default_rng(0).uniform(0, 1000, (2, 400))


@pytest.mark.parametrize("rotation", [-179.0, -90.0, -12.5, 0.0, 45.0, 91.0, 180.0])
@pytest.mark.parametrize("mirror", [False, True])
def test_decompose_gives_back_what_made_the_matrix(rotation, mirror):
    matrix = turned(rotation, 1.013, mirror)
    parts = transform.decompose(matrix, (501, 301))
    x, y = transform.apply(matrix, 150.0, 250.0)
    assert (parts.dx, parts.dy) == pytest.approx((x - 150, y - 250))
    assert parts.rotation == pytest.approx(rotation)
    assert parts.scale == pytest.approx(1.013)
    assert parts.flip == (abs(rotation) > 90) and parts.mirror == mirror


def test_inverse_and_product(stars):
    a, b = turned(33, 1.01, True), turned(-70, 0.99)
    np.testing.assert_allclose(
        transform.apply(transform.invert(a), *transform.apply(a, *stars)), stars, atol=1e-9
    )
    np.testing.assert_allclose(
        transform.apply(transform.compose(a, b), *stars),
        transform.apply(a, *transform.apply(b, *stars)),
        atol=1e-9,
    )
    with pytest.raises(InputError, match="determinant 0"):
        transform.invert(np.zeros((2, 3)))


@pytest.mark.parametrize("kind", ["similarity", "affine", "auto"])
@pytest.mark.parametrize("mirror", [False, True])
def test_exact_pairs_give_the_exact_transform(stars, kind, mirror):
    truth = turned(77, 1.004, mirror)
    matrix, used, rms = transform.fit_transform(*stars, *transform.apply(truth, *stars), kind)
    np.testing.assert_allclose(matrix, truth, atol=1e-9)
    assert used.all() and rms < 1e-9


def test_wrong_pairs_are_clipped(stars):
    rng = np.random.default_rng(1)
    truth = turned(10)
    x, y = transform.apply(truth, *stars) + rng.normal(0, 0.1, stars.shape)
    x[:80] += rng.uniform(2, 30, 80)
    matrix, used, rms = transform.fit_transform(*stars, x, y)
    assert not used[:80].any() and used[80:].sum() > 312
    assert rms == pytest.approx(0.1 * np.sqrt(2), rel=0.1)
    assert np.abs(np.subtract(transform.apply(matrix, *stars), transform.apply(truth, *stars))).max() < 0.03


def test_affine_only_where_the_stars_ask(stars):
    rng = np.random.default_rng(2)
    sheared = turned(5)
    sheared[0, 1] += 0.0005  # half a pixel over the field
    chosen = {"similar": 0, "sheared": 0}
    for _ in range(50):
        noise = rng.normal(0, 0.1, stars.shape)
        for name, truth in (("similar", turned(5)), ("sheared", sheared)):
            m, _, _ = transform.fit_transform(*stars, *(transform.apply(truth, *stars) + noise), "auto")
            chosen[name] += not np.isclose(m[0, 0], m[1, 1], rtol=0, atol=1e-12)
    assert chosen == {"similar": 0, "sheared": 50}
    few = stars[:, :8]
    m, _, _ = transform.fit_transform(*few, *transform.apply(sheared, *few), "auto")
    assert m[0, 0] == pytest.approx(m[1, 1], abs=1e-12)


def test_weights_and_nan(stars):
    x, y = transform.apply(turned(3), *stars)
    x[:300] += 1.0
    x[300] = np.nan
    weights = np.where(np.arange(400) < 300, 0.0, 2.0)
    matrix, used, _ = transform.fit_transform(*stars, x, y, weights=weights)
    np.testing.assert_allclose(matrix, turned(3), atol=1e-9)
    assert used.sum() == 99


def test_what_is_not_determined_is_refused():
    line = np.arange(5.0)
    with pytest.raises(AlignmentError, match="1 usable"):
        transform.fit_transform([1], [1], [2], [2])
    with pytest.raises(AlignmentError, match="on one line"):
        transform.fit_transform(line, line, line, line, "affine")
    with pytest.raises(AlignmentError, match="one position"):
        transform.fit_transform([1, 1], [2, 2], [3, 3], [4, 4])
    with pytest.raises(InputError, match="kind='cubic'"):
        transform.fit_transform(line, line, line, line, "cubic")
    with pytest.raises(InputError, match="differ in length"):
        transform.fit_transform(line, line, line, line[:3])


@pytest.mark.parametrize("factor", [1.0, 1.6])
@pytest.mark.parametrize("shared", [0.0, 0.1])
def test_weighted_fits_reach_the_cramer_rao_bound(factor, shared):
    rng = np.random.default_rng(4)
    x, y = rng.uniform(0, 600, (2, 120))
    told = np.hypot(1.4 / np.exp(rng.uniform(np.log(5), np.log(500), 120)), 0.01)  # FWHM 3.3 px, S/N 5 to 500
    true = np.hypot(factor * told, shared)
    places = np.array([(0, 0), (300, 300), (599, 0), (599, 599)], float)

    # Position in the frame = design @ (c, s, dx, dy), one row for each axis of each star.
    def design(u, v):
        one, none = np.ones(len(u)), np.zeros(len(u))
        return np.vstack([np.column_stack([u, -v, one, none]), np.column_stack([v, u, none, one])])

    a, at = design(x, y), design(*places.T)
    covariance = np.linalg.inv(a.T @ (a / np.tile(true**2, 2)[:, None]))
    bound = np.einsum("ij,jk,ik->i", at, covariance, at).reshape(2, -1).sum(axis=0)
    truth, squares = turned(1.0), []
    for _ in range(300):
        u, v = transform.apply(truth, x, y) + rng.normal(0, 1, (2, 120)) * true
        first, _, _ = transform.fit_transform(x, y, u, v)
        px, py = transform.apply(first, x, y)
        weights = transform.position_weights((px - u) ** 2 + (py - v) ** 2, told)
        m, _, _ = transform.fit_transform(x, y, u, v, weights=weights)
        off = np.subtract(transform.apply(m, *places.T), transform.apply(truth, *places.T))
        squares.append((off**2).sum(axis=0))
    ratio = np.sqrt(np.mean(squares, axis=0) / bound)
    assert (ratio < 1.10).all() and (ratio > 0.9).all()
    # Forced positions: even in a corner far better than a faint star's own centroid (S/N 20).
    assert np.sqrt(np.mean(squares, axis=0)).max() < 0.3 * np.sqrt(2) * np.hypot(factor * 1.4 / 20, shared)
