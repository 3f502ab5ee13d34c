"""Rendered frames: noise, truth, order, flip, detector."""

from __future__ import annotations

import numpy as np
import pytest

from dphot.errors import InputError
from dphot.simulate import Signal, Simulation, prepare, simulation, truth

CLEAN = {
    "bias_structure": 0.0, "dark_current": 0.0, "hot_pixels": 0.0, "dead_pixels": 0.0, "vignetting": 0.0,
    "dust": 0, "pixel_response": 0.0, "cosmics": 0.0, "sky_gradient": 0.0, "sky_trend": 0.0,
}  # fmt: skip


def electrons(night, index):
    spec = night.spec
    return (night.frame("light", index).astype(float) - spec.bias_level) * spec.gain


def test_noise_of_sky_bias_and_dark():
    spec = simulation(
        size=400, frames=2, gain=1.7, read_noise=6.0, sky=900.0, stars=1, target=0, peak=1.0, **CLEAN
    )
    night = prepare(spec)
    adu = night.frame("light", 0).astype(float)
    n = adu.size
    mean, variance = spec.bias_level + 900 / 1.7, (900 + 36) / 1.7**2 + 1 / 12
    assert adu.mean() == pytest.approx(mean, abs=5 * np.sqrt(variance / n) + 1e-3)
    assert adu.var() == pytest.approx(variance, rel=5 * np.sqrt(2 / n))
    bias = night.frame("bias", 0).astype(float)
    assert bias.var() == pytest.approx(36 / 1.7**2 + 1 / 12, rel=5 * np.sqrt(2 / n))
    dark = prepare(spec.patch(dark_current=1.0, exposure=100.0)).frame("dark", 0).astype(float)
    assert (dark.mean() - spec.bias_level) * 1.7 == pytest.approx(100 * np.exp(-0.02 + 0.02), rel=2e-3)
    one, two = (prepare(spec).frame("flat", k).astype(float) - spec.bias_level for k in (0, 0))
    assert np.array_equal(one, two)
    assert one.mean() == pytest.approx(spec.flat_level, rel=1e-4)
    assert one.var() == pytest.approx((spec.flat_level * 1.7 + 36) / 1.7**2, rel=5 * np.sqrt(2 / n))


def test_sum_of_a_star_is_the_true_flux_and_scintillation_is_independent():
    spec = Simulation(
        width=61, height=61, catalogue=((30.2, 29.9, 2e3),), target=0, frames=100, hours=3.0, drift=(0, 0),
        signal=Signal.sinusoid(0.05, 60.0), scintillation=0.0, variability=0.0, **CLEAN,
    )  # fmt: skip
    for c_y in (0.0, 30.0):
        night = prepare(spec.patch(scintillation=c_y))
        true = truth(night)
        sums = np.array([electrons(night, k).sum() for k in range(100)]) - 61 * 61 * true.sky.values
        flux = true.flux.values[:, 0]
        sigma = np.sqrt(
            flux + 61 * 61 * (true.sky.values + 49 + 0.2) + (flux * true.scintillation.values) ** 2
        )
        pull = (sums - flux) / sigma
        assert abs(pull.mean()) < 0.5 and 0.75 < pull.std() < 1.25
        assert abs(np.corrcoef(pull[1:], pull[:-1])[0, 1]) < 0.35
    assert true.flux.values[:, 0] == pytest.approx(
        2e3 * spec.exposure * true.relative.values[:, 0] * true.transmission.values
    )


def test_any_order_and_any_process_gives_the_same_bits():
    spec = simulation("hostile", size=120, frames=6, seed=11)
    forward = [prepare(spec).frame("light", k) for k in range(6)]
    prepare.__globals__["_prepared"].cache_clear()
    prepare.__globals__["_camera"].cache_clear()
    backward = [prepare(spec.to_json()).frame("light", k) for k in reversed(range(6))][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(forward, backward, strict=True))
    assert not np.array_equal(forward[0], forward[1])
    assert not np.array_equal(forward[0], prepare(spec.patch(seed=12)).frame("light", 0))
    assert not np.array_equal(forward[0], prepare(spec.patch(night=1)).frame("light", 0))


def test_field_and_camera_stay_from_night_to_night():
    first, second = (prepare(simulation(size=100, night=k)) for k in (0, 1))
    assert np.array_equal(first.field.x, second.field.x)
    assert np.array_equal(first.camera.dark, second.camera.dark)
    assert not np.array_equal(first.timeline.transmission, second.timeline.transmission)


def test_stars_lie_where_the_truth_says_through_drift_rotation_and_flip():
    spec = Simulation(
        width=121, height=121, catalogue=((60.0, 60.0, 1e5), (35.0, 80.0, 8e4), (85.0, 45.0, 6e4)), target=-1,
        frames=8, hours=4.0, drift=(1.3, -0.7), dither=2.0, rotation=2.0, flip=0.5, **CLEAN,
    )  # fmt: skip
    night = prepare(spec)
    true = truth(night)
    y, x = np.mgrid[:121, :121]
    assert true.flip.values.tolist() == [0] * 4 + [1] * 4
    for k in range(8):
        image = electrons(night, k) - float(true.sky[k])
        for s in range(3):
            sx, sy = float(true.x[k, s]), float(true.y[k, s])
            w = np.where(np.hypot(x - sx, y - sy) < 9, image, 0)
            assert (w * x).sum() / w.sum() == pytest.approx(sx, abs=0.02)
            assert (w * y).sum() / w.sum() == pytest.approx(sy, abs=0.02)
    turn = np.rad2deg(np.arctan2(true.transform.values[:, 3], true.transform.values[:, 0]))
    middle_hours = (true.jd_utc.values - spec.start_jd) * 24
    assert (turn - 2.0 * middle_hours) % 360 == pytest.approx([0] * 4 + [180] * 4, abs=1e-4)


def test_full_well_and_digitiser_clip():
    base = {"width": 41, "height": 41, "catalogue": ((20.0, 20.0, 1e6),), "target": -1, "frames": 1}
    deep = prepare(Simulation(full_well=50000.0, **base, **CLEAN))
    top = deep.frame("light", 0).max()
    assert abs(top - deep.spec.saturation) < 6 * 7 / 1.3
    digital = prepare(Simulation(full_well=1e9, adc_bits=12, **base, **CLEAN))
    assert digital.frame("light", 0).max() == 4095 == digital.spec.saturation


def test_hot_dead_dusty_and_hit_pixels():
    spec = simulation(size=300, hot_pixels=1e-3, dead_pixels=1e-3, dust=5, vignetting=0.3, cosmics=3600.0)
    night = prepare(spec.patch(exposure=60.0))
    camera = night.camera
    assert 40 < (camera.dark > 1).sum() < 150
    flat = camera.response[0]
    assert 40 < (flat < 0.55).sum() < 150
    assert np.median(flat) == pytest.approx(1)
    assert flat[:5, :5].mean() < 0.8 * flat[145:155, 145:155].mean()
    clean = prepare(spec.patch(exposure=60.0, cosmics=0.0))
    assert (night.frame("dark", 0).astype(float) - clean.frame("dark", 0) > 200).sum() > 60


def test_clouds_dim_and_are_in_the_truth():
    true = truth(prepare(simulation(frames=200, size=64, clouds=3, cloud_depth=2.0, exposure=20.0)))
    assert float(true.cloud.max()) > 1
    k = int(true.cloud.values.argmax())
    assert float(true.transmission[k]) < 0.5 * float(true.transmission.max())


def test_tutorial_field():
    night = prepare(simulation("tutorial"))
    true = truth(night)
    assert int(true.target) == 0 == int(true.flux.values.mean(axis=0).argmax())
    apart = np.hypot(true.star_x - 300, true.star_y - 300).values
    assert apart[0] == 0 and apart[1:].min() >= 50
    assert 50000 < float(true.peak.max()) < 62000 < true.saturation
    t = true.jd_utc.values - 2450000.35
    assert true.relative.values[:, 0] == pytest.approx(1 + 0.01 * np.sin(100 * t), abs=1e-9)
    assert t[-1] - t[0] == pytest.approx(0.15, abs=1e-6)
    inside = (np.abs(true.star_x - 299.5) < 255) & (np.abs(true.star_y - 299.5) < 255)
    height = (true.peak[0] - true.bias) * true.gain - true.sky[0]
    assert 15 <= int((inside & (height > 5 * np.sqrt(300 + 81))).sum()) <= 25


def test_unknown_frame():
    night = prepare(simulation(frames=3, size=64))
    for kind, index in (("light", 3), ("light", -1), ("science", 0)):
        with pytest.raises(InputError, match="3 light"):
            night.frame(kind, index)
