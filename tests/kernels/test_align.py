"""Star lists with a known transform between them, unrelated lists, traps, and real frames."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from star_pairs import error, similarity, simulate

from dphot.errors import AlignmentError, InputError
from dphot.kernels import align

DATA = Path(os.environ.get("DPHOT_DATA", "../shared/data"))


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


def test_a_clouded_frame_at_rest_needs_a_prior_that_rests_too():
    rng = np.random.default_rng(10)
    sky = rng.uniform(0, 800, (100, 2))
    frame = sky[:30] + rng.normal(0, 0.05, (30, 2))
    with pytest.raises(AlignmentError, match="only 30 agree"):
        align.match(*sky.T, *frame.T)
    with pytest.raises(AlignmentError, match="only 30 agree"):
        align.match(*sky.T, *frame.T, prior=similarity((800, 800), shift=(3, 0)))
    found = align.match(*sky.T, *frame.T, prior=similarity((800, 800), shift=(0.3, 0)))
    assert found.at_rest and found.n >= 28


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


@pytest.mark.parametrize("turn", [0, 90, 180, -90, 30])
@pytest.mark.parametrize("mirror", [False, True])
def test_a_field_that_repeats_itself(turn, mirror):
    i, j = np.divmod(np.arange(25), 5)
    sky = np.column_stack(
        [50 + 60 * i + 9 * ((3 * i + 2 * j) % 5 - 2), 50 + 60 * j + 9 * ((2 * i + 5 * j) % 5 - 2)]
    )
    rng = np.random.default_rng(11)
    for _ in range(5):
        truth = similarity((340, 340), turn, 1.0, mirror, rng.uniform(-8, 8, 2))
        seen = np.column_stack(align.apply(truth, *sky.T)) + rng.normal(0, 0.05, sky.shape)
        found = align.match(*rng.permutation(sky).T, *rng.permutation(seen[: rng.integers(20, 26)]).T)
        assert error(found.matrix, truth, sky) < 0.5


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
