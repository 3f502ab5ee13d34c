"""Masters against the simulated camera's own maps."""

import collections
import itertools

import numpy as np
import pytest
from astropy.io import fits
from grid_field import grid_simulation

from dphot import simulate
from dphot.graph import flats as flat_graph
from dphot.graph import inputs
from dphot.graph import masters as graph
from dphot.io.choice import choose
from dphot.io.readers import read_record


@pytest.fixture(scope="module")
def camera():
    """Records of a night with many calibration frames, a light among them, and its camera."""
    spec = grid_simulation(frames=1, bias=9, darks=9, flats=9, size=128, hot_pixels=2e-3, dark_current=0.5, flip=0.0,
                           catalogue=((60.0, 60.0, 5000.0),), target=0)  # fmt: skip
    records = simulate.simulated_records(spec)
    (light,) = (r for r in records if r["type"] == "light")
    return simulate.prepare(spec).camera, records, light


@pytest.fixture(scope="module")
def built(camera):
    _, records, light = camera
    return graph.build(choose(light, records), light, None)


def pulls(difference, sigma):
    return np.std(difference) / sigma


def test_the_bias_is_the_cameras(camera, built):
    made, _, light = camera
    noise = np.hypot(light["read_noise"] / light["gain"], 12**-0.5) / 3  # of a mean of nine
    difference = built.bias.values - made.bias
    assert abs(difference.mean()) < 5 * noise / 128 and 0.9 < pulls(difference, noise) < 1.2
    np.testing.assert_allclose(np.median(built.bias_variance.values), noise**2, rtol=0.25)


def test_the_dark_rate_is_the_cameras_hot_pixels_and_all(camera, built):
    made, _, light = camera
    true = made.dark / light["gain"]
    t = light["exposure"]
    noise = np.hypot(light["read_noise"], np.sqrt(0.5 * t)) / light["gain"] / t / 3
    difference = built.dark_rate.values - true
    quiet = true < 1.0
    # the bias that is taken off has its own noise
    assert abs(difference[quiet].mean()) < 0.2 * noise and 0.9 < pulls(difference[quiet], noise) < 1.5
    hot = true > 5
    assert hot.sum() > 5
    np.testing.assert_allclose(built.dark_rate.values[hot], true[hot], rtol=0.05)
    assert built.bad.values[hot].all()


def test_the_flat_is_the_cameras_and_has_a_median_of_one(camera, built):
    made, _, light = camera
    noise = 1 / np.sqrt(28000 * 0.85 * light["gain"]) / 3
    usual = made.response[0] > 0.8
    difference = (built.flat.values / made.response[0] - 1)[usual]
    assert abs(np.median(difference)) < 1e-3 and 0.8 < pulls(difference, noise) < 1.3
    assert abs(np.median(built.flat.values) - 1) < 1e-6
    assert 0.6 * noise**2 < built.attrs["flat_variance"] < 1.4 * noise**2


def test_a_dark_scales_with_the_exposure(camera, built):
    _, records, light = camera
    half = {**light, "exposure": light["exposure"] / 2}
    choice = choose(half, records)
    assert "scaled" in choice.notes[0]
    np.testing.assert_array_equal(graph.build(choice, half, None).dark_rate.values, built.dark_rate.values)


def test_without_a_bias_the_dark_is_subtracted_whole(camera):
    made, records, light = camera
    ds = graph.build(choose(light, [r for r in records if r["type"] != "bias"]), light, None)
    true = made.bias + made.dark * light["exposure"] / light["gain"]
    assert abs(np.median(ds.bias.values - true)) < 0.2 and not ds.dark_rate.values.any()


def test_nothing_gives_neutral_masters(camera):
    _, _, light = camera
    ds = graph.build(choose(light, []), light, None)
    assert not ds.bias.values.any() and not ds.dark_rate.values.any() and (ds.flat.values == 1).all()
    assert not ds.bad.values.any() and len(ds.attrs["missing"]) == 3 and ds.attrs["inputs"]["bias"] == []


def test_bands_do_not_change_a_bit(camera, built, monkeypatch):
    _, records, light = camera
    monkeypatch.setattr(inputs, "BAND_BYTES", 4 * 128 * 9 * 10)  # ten rows at a time
    again = graph.build(choose(light, records), light, None)
    for name in built.variables:
        assert again[name].values.tobytes() == built[name].values.tobytes(), name


def test_a_bias_that_cannot_be_read_after_all(camera):
    """What the scan found whole may be gone: the dark of the lights' exposure then holds the pedestal."""
    _, records, light = camera
    gone = [{**r, "path": f"/nowhere/{i}.fits"} if r["type"] == "bias" else r for i, r in enumerate(records)]
    ds = graph.build(choose(light, gone), light, None)
    assert (
        abs(np.median(ds.bias.values) - 500 - 0.5 * light["exposure"] / 1.3) < 5 and not ds.attrs["missing"]
    )
    half = {**light, "exposure": light["exposure"] / 2}
    ds = graph.build(choose(half, gone), half, None)
    assert not ds.bias.values.any() and [m.split(":")[0] for m in ds.attrs["missing"]] == ["bias", "dark"]
    assert all("no such file" in note for note in ds.attrs["notes"] if note.startswith("bias left out"))


@pytest.mark.parametrize("rows", [128, 10])
def test_frames_that_cannot_be_read_are_left_out_of_the_others_masters(camera, monkeypatch, rows):
    _, records, light = camera
    monkeypatch.setattr(inputs, "BAND_BYTES", 4 * 128 * 9 * rows)
    firsts = [next(r["path"] for r in records if r["type"] == kind) for kind in ("bias", "dark", "flat")]
    gone = [{**r, "path": f"/nowhere/{r['type']}.fits"} if r["path"] in firsts else r for r in records]
    ds = graph.build(choose(light, gone), light, None)
    whole = graph.build(choose(light, [r for r in records if r["path"] not in firsts]), light, None)
    for name in whole.variables:
        assert ds[name].values.tobytes() == whole[name].values.tobytes(), name
    assert ds.attrs["digests"] == whole.attrs["digests"] and not ds.attrs["missing"]
    lost = [note for note in ds.attrs["notes"] if "left out" in note]
    assert [note.split()[0] for note in lost] == ["bias", "dark", "flat"]
    assert all("no such file" in note for note in lost)


def test_a_file_is_read_as_few_times_as_can_be(camera, monkeypatch):
    """Bias and darks once; a flat once for its level, which decides whether it is used, and once to be combined."""
    _, records, light = camera
    reads = collections.Counter()

    def counted(record):
        reads[record["path"]] += 1
        return read_record(record)

    for module in (inputs, flat_graph):
        monkeypatch.setattr(module, "read_record", counted)
    graph.build(choose(light, records), light, None)
    times = {
        kind: {reads[r["path"]] for r in records if r["type"] == kind} for kind in ("bias", "dark", "flat")
    }
    assert times == {"bias": {1}, "dark": {1}, "flat": {2}}


@pytest.fixture
def flats(camera, tmp_path):
    """A function that writes flats as the camera's own, changed by functions of the counts above the bias."""
    made, records, light = camera
    number = itertools.count()

    def write(*changes):
        out = []
        for change in changes:
            path = tmp_path / f"flat{next(number)}.fits"
            rng = np.random.default_rng(next(number))
            counts = change(20000 * made.response[0]) + made.bias + 3.0 * made.dark / light["gain"]
            noisy = rng.normal(counts, np.sqrt(np.maximum(counts, 1) / light["gain"]))
            fits.writeto(path, np.clip(np.round(noisy), 0, 65535).astype(np.uint16))
            (first, *_) = (r for r in records if r["type"] == "flat")
            out.append({**first, "path": str(path)})
        return out

    return write


def left_out(ds):
    return [note for note in ds.attrs["notes"] if note.startswith("flat left out")]


@pytest.mark.parametrize("change, why", [
    (lambda flat: np.where(np.arange(128) < 40, 0.9 * flat, flat), "is unlike the others"),
    (lambda flat: 4.0 * flat, "is saturated"),
    (lambda flat: 0.2 * flat, "make the mean worse"),
    (lambda flat: 0.003 * flat, "is too faint: 7"),
    (lambda flat: 0.0 * flat, "and 100 are needed"),
])  # fmt: skip
def test_a_flat_that_would_spoil_the_master_is_left_out_and_named(camera, flats, change, why):
    _, records, light = camera
    good = flats(*[lambda flat: flat] * 4, lambda flat: 0.5 * flat, lambda flat: 1.3 * flat)
    (odd,) = flats(change)
    others = [r for r in records if r["type"] != "flat"]
    ds = graph.build(choose(light, [*others, *good, odd]), light, None)
    (note,) = left_out(ds)
    assert odd["path"] in note and why in note
    assert sorted(ds.attrs["inputs"]["flat"]) == sorted(r["path"] for r in good)
    alone = graph.build(choose(light, [*others, odd]), light, None)
    assert bool(left_out(alone)) == ("unlike" not in why and "worse" not in why)


def test_a_crooked_camera_is_straightened_in_the_masters_too(camera, flats):
    """A flat whose counts are 4 % low at 20000 ADU comes back as the straight one."""
    _, records, light = camera
    c1 = 2e-6
    answer = lambda s: (np.sqrt(1 + 4 * c1 * s) - 1) / (2 * c1)  # noqa: E731
    others = [r for r in records if r["type"] != "flat"]
    crooked = flats(*[answer] * 5)
    straight = graph.build(choose(light, [*others, *flats(*[lambda s: s] * 5)]), light, None).flat.values
    light = {**light, "linearity": str(c1)}
    found = graph.build(choose(light, [*others, *crooked]), light, None).flat.values
    noise = np.sqrt(2 / 5 / (20000 * light["gain"]))
    usual = straight > 0.8
    assert np.std((found / straight - 1)[usual]) < 1.2 * noise
    # where the vignetting takes 10 %, the uncorrected flat is off by 0.4 %
    plain = graph.build(choose(light, [*others, *crooked]), {**light, "linearity": ""}, None).flat.values
    dim = usual & (straight < np.quantile(straight[usual], 0.05))
    assert abs(np.mean((found / straight - 1)[dim])) < 0.001 < np.mean((plain / straight - 1)[dim])
