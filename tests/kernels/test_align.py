"""Star lists with a known transform between them, unrelated lists, traps, and real frames."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from dphot.errors import AlignmentError, InputError
from dphot.kernels import align

DATA = Path(os.environ.get("DPHOT_DATA", "../shared/data"))


def similarity(shape, rotation=0.0, scale=1.0, mirror=False, shift=(0.0, 0.0)):
    """Matrix that turns, scales and mirrors about the centre of a frame, then shifts."""
    c = np.array([(shape[1] - 1) / 2, (shape[0] - 1) / 2])
    t = np.radians(rotation)
    linear = scale * np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]])
    if mirror:
        linear = linear @ np.diag([1.0, -1.0])
    return np.column_stack([linear, c + shift - linear @ c])


def error(matrix, truth, sky):
    """Largest error of a transform at the given reference positions, px."""
    if len(sky) == 0:
        return np.inf
    return np.hypot(*np.subtract(align.apply(matrix, *sky.T), align.apply(truth, *sky.T))).max()


def simulate(rng, n=None, shift=0.6, hot=0):
    """Two lists of one sky: any rotation and parity, up to 40 % missing and 40 % false; trails, clusters."""
    width, height = rng.uniform(400, 4000, 2)
    height = max(height, 0.6 * width)
    n = int(np.exp(rng.uniform(np.log(5), np.log(5000)))) if n is None else n
    size = np.array([width, height])
    noise = rng.uniform(0.05, 0.5)
    truth = similarity(
        (height, width),
        rng.uniform(-180, 180),
        1 + rng.uniform(-0.019, 0.019),
        rng.random() < 0.5,
        rng.uniform(-shift, shift, 2) * [width, height],
    )
    reach = 1.15 * np.hypot(width, height)  # the frame's farthest corner
    count = int(n * (2 * reach) ** 2 / (width * height))
    sky = size / 2 + rng.uniform(-reach, reach, (count, 2))
    if rng.random() < 0.3:
        cluster = len(sky) // 50
        sky[:cluster] = rng.normal([width / 2, height / 2], width / 8, (cluster, 2))
    brightness = rng.exponential(1, len(sky))
    moved = np.column_stack(align.apply(truth, *sky.T))

    def inside(p):
        return ((p >= 0) & (p < [width, height])).all(axis=1)

    seen = np.flatnonzero(inside(sky))
    found = np.flatnonzero(inside(moved) & (rng.random(len(sky)) >= rng.uniform(0, 0.4)))
    ref, frame = (p[i] + rng.normal(0, noise, (len(i), 2)) for p, i in ((sky, seen), (moved, found)))
    ref_light = brightness[seen]
    light = brightness[found] + rng.normal(0, rng.uniform(0, 0.5), len(found))
    extra = [rng.uniform(0, 1, (int(rng.uniform(0, 2 / 3) * len(found)), 2)) * [width, height]]
    if rng.random() < 0.2:
        along = np.linspace(0, width, min(max(len(found) // 10, 3), 40))
        turn = rng.uniform(0, 2 * np.pi)
        trail = rng.uniform(0, 1, 2) * size + np.outer(along, [np.cos(turn), np.sin(turn)])
        extra.append(trail[inside(trail)] + rng.normal(0, 0.3, (inside(trail).sum(), 2)))
    bad = rng.uniform(0, 1, (hot, 2)) * [width, height]
    extra.append(bad + rng.normal(0, 0.05, bad.shape))
    ref = np.vstack([ref, bad + rng.normal(0, 0.05, bad.shape)])
    ref_light = np.append(ref_light, rng.exponential(1, hot))
    frame = np.vstack([frame, *extra])
    light = np.append(light, rng.exponential(1, len(frame) - len(light)))
    common = sky[np.intersect1d(seen, found)]
    return ref[np.argsort(-ref_light)], frame[np.argsort(-light)], truth, common


def outcomes(count, seed, **options):
    """(stars in common, error in px or NaN where refused) of simulated pairs."""
    rows = []
    for i in range(count):
        ref, frame, truth, common = simulate(np.random.default_rng([seed, i]), **options)
        try:
            rows.append((len(common), error(align.match(*ref.T, *frame.T).matrix, truth, common)))
        except AlignmentError as refusal:
            assert any(c.isdigit() for c in str(refusal))
            rows.append((len(common), np.nan))
    return np.array(rows)


def check_robust(rows):
    solved = np.isfinite(rows[:, 1])
    assert not (rows[:, 1] > 2.5).any()  # a wrong transform is worse than none
    assert solved[rows[:, 0] >= 6].mean() >= 0.995
    assert np.nanmedian(rows[:, 1]) < 0.5


def test_simulated_pairs():
    check_robust(outcomes(100, 11))


@pytest.mark.slow
def test_a_thousand_simulated_pairs():
    check_robust(outcomes(1000, 12))


@pytest.mark.slow
def test_a_thousand_pairs_with_hot_pixels():
    rows = outcomes(1000, 13, n=150, hot=200, shift=0.4)
    check_robust(rows)


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


@pytest.mark.parametrize("count", [100, pytest.param(1500, marks=pytest.mark.slow)])
def test_unrelated_lists_are_refused(count):
    for i in range(count):
        rng = np.random.default_rng([21, i])
        a, b = unrelated(rng)
        prior = np.eye(2, 3) if rng.random() < 0.3 else None
        with pytest.raises(AlignmentError, match=r"\d"):
            align.match(*a.T, *b.T, prior=prior)


def test_pairs_are_the_same_stars():
    rng = np.random.default_rng(1)
    sky = rng.uniform(0, 1000, (200, 2))
    truth = similarity((1000, 1000), 33.0, 1.01, True, (120, -80))
    order = rng.permutation(200)[:150]
    moved = np.column_stack(align.apply(truth, *sky[order].T))
    found = align.match(*sky.T, *moved.T, tolerance=1.0)
    np.testing.assert_array_equal(found.ref_index, order[found.index])
    np.testing.assert_allclose(found.matrix, truth, atol=1e-8)
    assert found.n == 150 and found.rms < 1e-8 and not found.at_rest


def test_a_nan_position_is_no_star():
    rng = np.random.default_rng(2)
    sky = rng.uniform(0, 500, (40, 2))
    frame = sky + np.array([30.0, 12.0])
    frame[3] = np.nan
    found = align.match(*sky.T, *frame.T)
    assert found.n == 39 and 3 not in found.index
    np.testing.assert_array_equal(found.ref_index, found.index)


def test_same_input_same_bits():
    ref, frame, _, _ = simulate(np.random.default_rng(3), n=300, shift=0.3)
    first, second = align.match(*ref.T, *frame.T), align.match(*ref.T, *frame.T)
    assert first.matrix.tobytes() == second.matrix.tobytes()
    assert first.index.tobytes() == second.index.tobytes()


@pytest.mark.parametrize("motion", [0.3, 0.7, 1.2, 1.7, 2.3, 4.0, 60.0])
def test_hot_pixels_do_not_hold_the_field(motion):
    rng = np.random.default_rng(int(10 * motion))
    for share in (0.3, 1.0, 3.0):
        sky = rng.uniform(0, 800, (120, 2))
        hot = rng.uniform(0, 800, (int(120 * share), 2))
        ref, frame = (
            rng.permutation(
                np.vstack([s + rng.normal(0, 0.1, s.shape), hot + rng.normal(0, 0.05, hot.shape)])
            )
            for s in (sky, sky + np.array([motion, 0.0]))
        )
        found = align.match(*ref.T, *frame.T)
        # Within half a pixel of rest the two cannot be told apart.
        assert error(found.matrix, similarity((800, 800), shift=(motion, 0)), sky) < max(
            0.3, 0.5 * (motion < 0.5)
        )
        excluded = align.match(*ref.T, *frame.T, exclude=hot.T)
        assert error(excluded.matrix, similarity((800, 800), shift=(motion, 0)), sky) < 0.2


def test_a_clouded_frame_of_hot_pixels_is_refused():
    rng = np.random.default_rng(5)
    sky, hot = rng.uniform(0, 800, (100, 2)), rng.uniform(0, 800, (60, 2))
    ref = np.vstack([sky, hot])
    with pytest.raises(AlignmentError, match=r"of 160 reference and 60 frame stars only 60 agree.*exclude="):
        align.match(*ref.T, *(hot + rng.normal(0, 0.05, hot.shape)).T)
    with pytest.raises(AlignmentError, match="the prior has moved"):
        align.match(*hot.T, *hot.T, prior=similarity((800, 800), shift=(90, 0)))
    with pytest.raises(AlignmentError, match="0 frame stars"):
        align.match(*ref.T, *hot.T, exclude=hot.T)


def test_the_reference_matches_itself_at_rest():
    sky = np.random.default_rng(6).uniform(0, 900, (80, 2))
    found = align.match(*sky.T, *sky.T)
    assert found.at_rest and found.n == 80
    np.testing.assert_allclose(found.matrix, np.eye(2, 3), atol=1e-9)


def test_three_stars_need_a_prior_and_a_wrong_prior_decides_nothing():
    rng = np.random.default_rng(7)
    near = far = blind = 0
    for _ in range(40):
        sky = rng.uniform(100, 900, (5, 2))
        truth = similarity((1000, 1000), rng.uniform(-180, 180), 1.0, False, rng.uniform(-50, 50, 2))
        frame = np.column_stack(align.apply(truth, *sky[:3].T)) + rng.normal(0, 0.1, (3, 2))
        frame = rng.permutation(np.vstack([frame, rng.uniform(0, 1000, (2, 2))]))
        prior = truth + np.array([[0, 0, rng.uniform(-8, 8)], [0, 0, rng.uniform(-8, 8)]])
        wrong = similarity((1000, 1000), rng.uniform(-180, 180), 1.0, False, rng.uniform(-50, 50, 2))
        for kind, guess in (("near", prior), ("far", wrong), ("blind", None)):
            try:
                found = align.match(*sky.T, *frame.T, prior=guess)
            except AlignmentError:
                continue
            assert error(found.matrix, truth, sky[:3]) < 1
            near, far, blind = near + (kind == "near"), far + (kind == "far"), blind + (kind == "blind")
    assert near >= 38 and far == 0 and blind == 0


def test_a_wrong_prior_does_not_hinder():
    ref, frame, truth, common = simulate(np.random.default_rng(8), n=300, shift=0.3)
    found = align.match(*ref.T, *frame.T, prior=np.eye(2, 3))
    assert error(found.matrix, truth, common) < 1


def test_a_mirror_can_be_ruled_out():
    sky = np.random.default_rng(9).uniform(0, 900, (60, 2))
    frame = np.column_stack(align.apply(similarity((900, 900), 20, mirror=True), *sky.T))
    assert align.decompose(align.match(*sky.T, *frame.T).matrix, (900, 900)).mirror
    with pytest.raises(AlignmentError):
        align.match(*sky.T, *frame.T, allow_mirror=False)


def test_few_stars_and_wrong_arguments_are_named():
    with pytest.raises(AlignmentError, match="2 reference and 5 frame stars"):
        align.match([1, 2], [3, 4], np.arange(5), np.arange(5))
    with pytest.raises(InputError, match="tolerance=0"):
        align.match([1, 2, 5], [3, 4, 9], [1, 2, 5], [3, 4, 9], tolerance=0)
    with pytest.raises(InputError, match="frame: x has shape"):
        align.match([1, 2, 5], [3, 4, 9], [1, 2, 5], [3, 4])


def series(paths, binned=False):
    import sep
    from astropy.io import fits

    lists = []
    for path in paths:
        with fits.open(path) as hdus:
            image = next(h.data for h in hdus if h.data is not None and h.data.ndim == 2)
        image = np.ascontiguousarray(image, np.float32)
        if binned:
            image = np.ascontiguousarray((image[0::2, 0::2] + image[1::2, 1::2]) / 2)
        back = sep.Background(image)
        stars = sep.extract(image - back.back(), 5.0, err=back.globalrms)
        stars = stars[np.argsort(-stars["flux"])][:2000]
        lists.append((stars["x"], stars["y"], image.shape))
    return lists


def real(folder, pattern):
    paths = sorted((DATA / folder).glob(pattern))
    if not paths:
        pytest.skip(f"needs {folder} below DPHOT_DATA ({DATA})")
    return paths


@pytest.mark.real
def test_hatp32_drifts_by_273_px_and_turns():
    paths = real("hatp32", "*.FITS.gz")
    lists = series([paths[0], *paths[1:8], *paths[60:62], paths[-1]])
    for x, y, _ in lists[1:]:
        found = align.match(*lists[0][:2], x, y)
        assert found.n > 300 and found.rms < 0.25
    parts = align.decompose(found.matrix, lists[0][2])
    assert parts.dx < -255 and abs(abs(parts.rotation) - 0.61) < 0.08
    assert abs(parts.scale - 1) < 0.001 and not parts.mirror


@pytest.mark.real
def test_agpeg_turns_by_44_degrees():
    lists = series(real("agpeg_skycam", "*.fits.fz")[::2])
    turns = []
    for x, y, shape in lists:
        found = align.match(*lists[0][:2], x, y)
        assert found.n > 500 and found.rms < 0.8
        turns.append(align.decompose(found.matrix, shape).rotation)
    assert np.ptp(turns) > 40


@pytest.mark.real
def test_seestar_session_at_minus_69_degrees():
    lists = series(real("m94_seestar", "*.fit*"), binned=True)
    turns = []
    for x, y, shape in lists:
        found = align.match(*lists[0][:2], x, y)
        assert found.n >= 10 and found.rms < 0.5
        turns.append(align.decompose(found.matrix, shape).rotation)
    assert min(turns) == pytest.approx(-69.5, abs=0.5)


@pytest.mark.real
def test_m13_drifts_little():
    lists = series(real("m13_orion/lights", "*.fit.gz"))
    for x, y, _ in lists:
        found = align.match(*lists[0][:2], x, y)
        assert found.n > 70 and found.rms < 0.3
