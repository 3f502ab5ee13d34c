"""What is done to one frame, on images whose answer is known."""

import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from dphot.config import Config
from dphot.errors import FrameError, InputError
from dphot.flags import PIXEL_SATURATED, FrameFlag, StarFlag
from dphot.graph import frame as chain
from dphot.graph.steps import load_steps


def record(width=40, height=30, **values):
    return {
        "path": "a.fits",
        "width": width,
        "height": height,
        "trim": "",
        "overscan": "",
        "exposure": 10.0,
        **values,
    }


def reference(shape=(200, 220), n=12, gain=2.0):
    rng = np.random.default_rng(3)
    y, x = (
        v.ravel() + rng.uniform(-6, 6, n)
        for v in np.meshgrid([45, 100, 155], [40, 87, 134, 181], indexing="ij")
    )
    flux = np.geomspace(2e5, 2e4, n)
    return chain.Reference(
        shape=shape, star_x=x, star_y=y, star_flags=np.zeros(n, np.uint16), match_x=x, match_y=y, match_flux=flux,
        near_x=x, near_y=y, near_radius=np.full(n, 8.0), fwhm=3.0, gain=gain, saturation=60000.0,
    )  # fmt: skip


def draw(ref, sky=100.0, seed=4, shift=(0.0, 0.0), share=1.0):
    """Gaussian stars of FWHM 3 px on a noisy sky."""
    ny, nx = ref.shape
    v, u = np.mgrid[:ny, :nx]
    image = np.full(ref.shape, sky)
    s = 3.0 / 2.3548
    for x, y, f in zip(ref.match_x + shift[0], ref.match_y + shift[1], ref.match_flux * share, strict=True):
        image += f / (2 * np.pi * s**2) * np.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * s**2))
    noise = np.random.default_rng(seed).normal(0, 5, ref.shape)
    return (image + noise).astype(np.float32)


def measure(image, ref, config=None, mask=None):
    mask = np.zeros(ref.shape, np.uint8) if mask is None else mask
    return chain.measure(image, mask, image, ref, chain.Masters.none(ref.shape), config or Config())


def test_sections():
    assert chain.parse_section("") is None
    assert chain.parse_section("2:30,5:25") == (slice(5, 25), slice(2, 30))
    assert chain.trimmed_shape(record()) == (30, 40)
    assert chain.trimmed_shape(record(trim="2:30,5:25")) == (20, 28)


def test_trim_and_overscan():
    raw = np.full((30, 40), 1000, np.uint16)
    raw[:, 36:] = 300  # overscan
    level, counts = chain.trim_raw(raw, record(trim="0:36,0:30", overscan="36:40,0:30"))
    assert (level == 700).all() and (counts == 1000).all() and level.shape == counts.shape == (30, 36)
    with pytest.raises(FrameError, match=r"40x30, its header said 41x30"):
        chain.trim_raw(raw, record(width=41))


def test_calibration_is_the_formula():
    raw = np.full((30, 40), 1700, np.uint16)
    raw[3, 4] = 60000
    masters = chain.Masters(
        np.full(raw.shape, 500, np.float32), np.full(raw.shape, 10, np.float32), np.full(raw.shape, 2, np.float32),
        np.zeros(raw.shape, bool),
    )  # fmt: skip
    image, mask, counts = chain.calibrate_frame(raw, record(), masters, 50000.0)
    assert image.dtype == np.float32 and image[0, 0] == (1700 - 500 - 10 * 10) / 2
    assert mask[3, 4] == PIXEL_SATURATED and np.count_nonzero(mask) == 1 and (counts == raw).all()
    unknown, _, _ = chain.calibrate_frame(raw, record(exposure=np.nan), masters, 50000.0)
    assert unknown[0, 0] == (1700 - 500) / 2
    with pytest.raises(FrameError, match="differs from the masters'"):
        chain.calibrate_frame(raw, record(trim="0:20,0:20"), masters, 50000.0)


def test_steps_come_in_order_and_their_faults_are_the_frames():
    raw = np.full((30, 40), 10, np.uint16)
    masters = chain.Masters.none(raw.shape)

    def apply(*steps):
        return chain.calibrate_frame(raw, record(), masters, np.inf, steps)[0]

    assert (apply(lambda im, r: im + 1, lambda im, r: im * r["exposure"]) == 110).all()
    assert apply(lambda im, r: im.astype(int)).dtype == np.float32
    with pytest.raises(FrameError, match=r"a.fits: step <lambda> returned an array of shape \(3, 40\)"):
        apply(lambda im, r: im[:3])
    with pytest.raises(FrameError, match="step <lambda>: KeyError"):
        apply(lambda im, r: im * r["nothing"])
    with pytest.raises(FrameError, match="step <lambda>"):
        apply(lambda im, r: None)


def test_steps_are_loaded_by_name():
    assert load_steps(["numpy:flipud", np.fliplr]) == [np.flipud, np.fliplr]
    for wrong in ("numpy:nothing", "nowhere:f", "numpy", "numpy:pi", 3):
        with pytest.raises(InputError, match="steps: "):
            load_steps([wrong])


def test_the_module_of_a_step_may_lie_in_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "helps_here.py").write_text("FACTOR = 2\n")
    (tmp_path / "step_here.py").write_text(
        "from helps_here import FACTOR\ndef clean(image, record):\n    return FACTOR * image\n"
    )
    (tmp_path / "lacks.py").write_text("import not_there\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    (step,) = load_steps(["step_here:clean"])
    assert step.__name__ == "clean" and sys.path == before
    with pytest.raises(
        InputError, match=rf"no module nowhere, neither in the working folder \({tmp_path}\) nor"
    ):
        load_steps(["nowhere.deep:clean"])
    with pytest.raises(InputError, match="ModuleNotFoundError: No module named 'not_there'"):
        load_steps(["lacks:clean"])
    # a worker's process, which may work in another folder
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer)(21, {}))"
    command = [sys.executable, "-P", "-c", code]
    there = subprocess.run(command, input=pickle.dumps(step), capture_output=True, cwd="/", check=True)
    assert int(there.stdout) == 42


def test_a_shifted_frame_is_aligned_and_measured():
    ref = reference()
    row = measure(draw(ref, shift=(4.3, -2.6)), ref)
    assert row["frame_flags"] == 0
    np.testing.assert_allclose([row["dx"], row["dy"]], [4.3, -2.6], atol=0.05)
    np.testing.assert_allclose(row["x"], ref.star_x + 4.3, atol=0.06)
    a = 6  # 1.6 FWHM holds all of a Gaussian
    np.testing.assert_allclose(
        row["flux"][a], 2.0 * ref.match_flux, rtol=0.005, atol=5 * row["flux_err"][a].min()
    )
    np.testing.assert_allclose(row["sky"], 200.0, atol=3)
    np.testing.assert_allclose(row["sky_frame"], 200.0, atol=2)
    np.testing.assert_allclose(row["aperture_area"], np.pi * row["aperture_radius"] ** 2)


def test_free_centroids_and_apertures_in_pixels():
    ref = reference()
    image = draw(ref, shift=(1.4, 0.7))
    row = measure(
        image, ref, Config(centroid="free", aperture_unit="pixel", apertures=(4.0,), annulus=(12.0, 20.0))
    )
    np.testing.assert_allclose(row["x"], ref.star_x + 1.4, atol=0.1)
    assert (
        row["aperture_radius"].tolist() == [4.0]
        and row["annulus_inner"] == 12.0
        and row["flux"].shape == (1, 12)
    )
    per_frame = measure(image, ref, Config(aperture_unit="frame"))
    np.testing.assert_allclose(per_frame["aperture_radius"], np.array(Config().apertures) * per_frame["fwhm"])


def test_a_faint_frame_tells_its_share_an_empty_one_has_no_stars_and_another_field_fails():
    ref = reference()
    cloudy = measure(draw(ref, share=0.15), ref)
    assert cloudy["frame_flags"] == 0 and 0.12 < cloudy["share"] < 0.18
    assert np.isfinite(cloudy["flux"][5]).all()
    assert measure(draw(ref, share=0.0), ref)["frame_flags"] == FrameFlag.FEW_STARS
    rng = np.random.default_rng(8)
    other = replace(ref, match_x=rng.uniform(30, 190, 12), match_y=rng.uniform(30, 170, 12))
    lost = measure(draw(other), ref)
    assert lost["frame_flags"] == FrameFlag.ALIGN_FAILED and np.isnan(lost["flux"]).all()
    assert np.isfinite(lost["fwhm"]) and np.isfinite(lost["sky_frame"])  # what could be measured is


@pytest.mark.parametrize("value", [np.nan, 0.0, 700.0, -5.0])
def test_a_blank_frame_has_few_stars(value):
    ref = reference()
    row = measure(np.full(ref.shape, value, np.float32), ref)
    assert row["frame_flags"] == FrameFlag.FEW_STARS and (np.isnan(value) == np.isnan(row["sky_frame"]))


def test_stars_that_leave_the_frame_are_flagged():
    ref = reference()
    row = measure(draw(ref, shift=(60.0, 0.0)), ref)
    x = ref.star_x + 60
    gone = x > 219.5
    assert gone.any() and np.isnan(row["x"][gone]).all() and np.isnan(row["flux"][:, gone]).all()
    reach = max(row["aperture_radius"].max(), row["annulus_outer"])
    outside = (x + reach > 219.5) | (ref.star_y - reach < -0.5) | (ref.star_y + reach > 199.5)
    assert ((row["flags"] & StarFlag.EDGE) != 0).tolist() == outside.tolist()


def test_the_row_of_a_lost_frame_has_all_that_a_measured_one_has():
    ref = reference()
    row, lost = measure(draw(ref), ref), chain.lost(ref, Config(), "gone")
    assert set(row) == set(lost) and lost["frame_flags"] == FrameFlag.UNREADABLE and lost["note"] == "gone"
    for name in row:
        assert np.shape(row[name]) == np.shape(lost[name]), name
    assert all(np.isnan(lost[name]).all() for name in ("flux", "x", "transform", "fwhm", "dx"))


def test_a_cosmic_ray_reaches_its_stars_row_and_is_repaired_only_on_request():
    ref = reference()
    clean = draw(ref, shift=(0.3, -0.4))
    image = clean.copy()
    x, y = ref.star_x[4] + 0.3, ref.star_y[4] - 0.4
    image[round(y) + 1, round(x) - 1] += 20000
    before, row, mended = (
        measure(picture, ref, Config(repair=repair))
        for picture, repair in ((clean, False), (image, False), (image, True))
    )
    assert np.flatnonzero(row["flags"] & StarFlag.COSMIC).tolist() == [4]
    assert not (before["flags"] & StarFlag.COSMIC).any()
    np.testing.assert_array_equal(mended["flags"], row["flags"])
    aperture = int(np.argmin(np.abs(row["aperture_radius"] - 6.0)))
    true, hit, back = (r["flux"][aperture, 4] for r in (before, row, mended))
    assert hit - true == pytest.approx(20000 * ref.gain, rel=1e-3)
    assert abs(back - true) < 0.02 * abs(hit - true)
    others = np.arange(12) != 4
    np.testing.assert_array_equal(mended["flux"][:, others], row["flux"][:, others])
