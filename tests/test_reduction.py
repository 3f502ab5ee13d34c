"""The whole job against the simulator's truth, and that chunks, workers and laziness change nothing."""

import numpy as np
import pytest
from grid_field import grid_simulation
from same_bits import same_bits

import dphot
from dphot import simulate
from dphot.errors import InputError
from dphot.flags import FrameFlag, StarFlag
from dphot.io.readers import read_frame

FILTER, NIGHT = "r", "2026-03-14"


def truth_of(night, obs):
    """Truth in the order of the rows, and the true transform from the reference to each frame."""
    truth = simulate.truth(night).set_index(time="path")
    truth = truth.sel(time=[p.rpartition("#")[2] for p in obs.path.values])
    square = np.zeros((truth.sizes["time"], 3, 3))
    square[:, :2] = truth.transform.values.reshape(-1, 2, 3)
    square[:, 2, 2] = 1.0
    name = obs.attrs["reference"].rpartition("#")[2]
    k = [p.rpartition("#")[2] for p in obs.path.values].index(name)
    return truth, square @ np.linalg.inv(square[k]), k


def identify(truth, obs, k):
    """Index of the measured star at each true star's place on the reference; -1 where there is none."""
    distance = np.hypot(
        obs.star_x.values - truth.x.values[k][:, None], obs.star_y.values - truth.y.values[k][:, None]
    )
    return np.where(distance.min(axis=1) < 1.0, distance.argmin(axis=1), -1)


@pytest.fixture(scope="module")
def measured(grid_night, grid_store):
    obs = grid_store.photometry[FILTER].load()
    truth, matrix, k = truth_of(grid_night, obs)
    which = identify(truth, obs, k)
    return obs, truth, matrix, k, which


def signal_to_noise(obs, star):
    best = obs.flux.values[:, :, star] / obs.flux_err.values[:, :, star]
    return np.nanmax(best, axis=1)


def test_all_frames_are_measured_and_all_stars_found(measured):
    obs, _, _, _, which = measured
    assert obs.sizes["time"] == 9 and not obs.frame_flags.values.any()
    assert (which >= 0).all() and len(set(which)) == which.size
    assert obs.sizes["star"] == which.size  # nothing that is no star


def test_transforms_are_the_true_ones(measured):
    obs, truth, matrix, _, _ = measured
    corners = np.array([[0, 0, 1], [339, 0, 1], [0, 339, 1], [339, 339, 1.0]]).T
    found = obs.transform.values.reshape(-1, 2, 3) @ corners
    # Some twenty stars with centroids good to 0.03 px or better fix a frame's corners to some hundredths.
    assert np.abs(found - (matrix @ corners)[:, :2]).max() < 0.05
    np.testing.assert_array_equal(obs.flip.values, truth.flip.values ^ truth.flip.values[measured[3]])
    assert not obs.mirror.values.any()
    turned = np.rad2deg(np.arctan2(matrix[:, 1, 0], matrix[:, 0, 0]))
    assert np.abs((obs.rotation.values - turned + 180) % 360 - 180).max() < 0.02
    np.testing.assert_allclose(obs["scale"].values, 1.0, atol=2e-4)


def test_positions_are_the_true_ones(measured):
    obs, truth, _, _, which = measured
    for star, i in enumerate(which):
        error = np.hypot(
            obs.x.values[:, i] - truth.x.values[:, star], obs.y.values[:, i] - truth.y.values[:, star]
        )
        # The star's place on the reference is as good as FWHM / 2.35 / SNR in each axis.
        noise = 3.3 / 2.3548 / np.median(signal_to_noise(obs, i))
        limit = 0.1 if star == 0 else 0.05 + 6 * noise  # star 0 is saturated
        assert np.nanmax(error) < limit, star


def test_times_airmass_and_exposure(measured):
    obs, truth, _, _, _ = measured
    middle = simulate.truth(simulate.prepare(grid_simulation())).time.values
    np.testing.assert_array_equal(obs.time.values, middle)
    np.testing.assert_allclose(obs.jd_utc.values, truth.jd_utc.values, rtol=0, atol=1e-9)
    np.testing.assert_allclose(obs.exposure.values, truth.exposure.values)
    np.testing.assert_allclose(obs.airmass.values, truth.airmass.values, atol=2e-3)
    # light takes at most 499 s from the Sun to the Earth, and TDB is 69.18 s ahead of UTC
    shift = (obs.bjd_tdb.values - obs.jd_utc.values) * 86400 - 69.18
    assert np.abs(shift).max() < 500 and np.ptp(shift) < 1.0


def enclosed(radius, fwhm, beta):
    """Share of a round Moffat's light within a radius."""
    alpha = fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1))
    return 1 - (1 + (radius / alpha) ** 2) ** (1 - beta)


def test_fluxes_have_the_true_values_and_errors(measured):
    obs, truth, _, _, which = measured
    a = int(np.argmin(np.abs(obs.aperture_radius.values[0] - 2.0 * float(obs.fwhm.median()))))
    pulls = []
    for star, i in enumerate(which[1:13], 1):
        radius, beta = obs.aperture_radius.values[:, a], truth.attrs["beta"]
        fwhm = truth.fwhm.values
        share = enclosed(radius, fwhm, beta)
        # the wings in the annulus are taken for sky
        wings = enclosed(obs.annulus_outer.values, fwhm, beta) - enclosed(
            obs.annulus_inner.values, fwhm, beta
        )
        share -= wings * obs.aperture_area.values[:, a] / obs.annulus_area.values
        true = truth.flux.values[:, star] * share
        # scintillation is not in flux_err
        error = np.hypot(obs.flux_err.values[:, a, i], true * truth.scintillation.values)
        pulls.append((obs.flux.values[:, a, i] - true) / error)
    pulls = np.array(pulls)
    assert np.isfinite(pulls).all()
    # 108 points, four sigma each way; tests/graph/test_pulls.py has many more
    assert abs(pulls.mean()) < 4 / np.sqrt(pulls.size) and np.abs(pulls).max() < 5
    assert abs(pulls.std() - 1) < 4 / np.sqrt(2 * pulls.size)
    assert obs.flux.attrs["units"] == "e-"


def test_sky_width_and_scintillation(measured):
    obs, truth, _, _, _ = measured
    np.testing.assert_allclose(obs.sky_frame.values, truth.sky.values, rtol=0.02)
    # a pixel of width 1 widens the profile that falls on it
    wide = np.sqrt(truth.fwhm.values**2 + 2.3548**2 / 12)
    np.testing.assert_allclose(obs.fwhm.values, wide, rtol=0.05)


def test_saturated_stars_are_flagged_and_no_others(measured):
    obs, truth, _, _, which = measured
    flagged = (obs.flags.values[:, which] & StarFlag.SATURATED) != 0
    peak, limit = truth.peak.values, truth.attrs["saturation"]
    assert flagged[peak > 1.3 * limit].all() and (peak > 1.3 * limit).any()
    assert not flagged[peak < 0.8 * limit].any()
    # where nothing piles up, the peak is the true one, off by its noise and the star's place on the pixel grid
    star = which[4]
    np.testing.assert_allclose(obs.peak.values[:, star], peak[:, 4], rtol=0.25)


def test_raw_frames_in_the_store_are_those_read(grid_store):
    frames = grid_store.frames[FILTER][NIGHT]
    assert frames.raw.dtype == np.uint16
    for i, path in enumerate(frames.path.values):
        raw, digest = read_frame(str(path))
        np.testing.assert_array_equal(frames.raw[i].values, raw)
        assert digest == grid_store.photometry[FILTER].digest.values[i]


def test_raw_frames_of_files_are_the_files(small_store, small_night):
    from astropy.io import fits

    frames = small_store.frames[FILTER][NIGHT]
    paths = sorted(small_night.glob("light*"))
    assert list(frames.path.values) == [str(p) for p in paths]
    for i, path in enumerate(paths):
        np.testing.assert_array_equal(frames.raw[i].values, fits.getdata(path))


def test_stack_is_the_mean_of_the_aligned_frames(measured, grid_store):
    obs, truth, _, k, which = measured
    image = grid_store.stack[FILTER][NIGHT].values
    assert image.shape == (340, 340)
    # the sky of the stack is the median sky; a star's peak is where it is on the reference
    np.testing.assert_allclose(np.nanmedian(image), np.median(obs.sky_frame.values) / 1.3, rtol=0.01)
    x, y = (round(float(v)) for v in (truth.x.values[k][4], truth.y.values[k][4]))
    box = image[y - 6 : y + 7, x - 6 : x + 7]
    row, column = np.unravel_index(np.argmax(box), box.shape)
    assert abs(row - 6) <= 1 and abs(column - 6) <= 1


@pytest.mark.parametrize("chunk", [1, 7, 32])
def test_chunks_do_not_change_a_bit(grid_night, grid_store, tmp_path, chunk):
    table = dphot.FrameTable.from_records(simulate.simulated_records(grid_night.spec))
    store = dphot.reduce(table, tmp_path / "x.dphot", workers=0, chunk=chunk)
    same_bits(store.photometry[FILTER].load(), grid_store.photometry[FILTER].load())
    assert store.stack[FILTER][NIGHT].values.tobytes() == grid_store.stack[FILTER][NIGHT].values.tobytes()
    same_bits(store.reference.load(), grid_store.reference.load())


@pytest.mark.cluster
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_change_a_bit(grid_night, grid_store, tmp_path, workers):
    table = dphot.FrameTable.from_records(simulate.simulated_records(grid_night.spec))
    store = dphot.reduce(table, tmp_path / "x.dphot", workers=workers, chunk=2)
    same_bits(store.photometry[FILTER].load(), grid_store.photometry[FILTER].load())
    assert store.stack[FILTER][NIGHT].values.tobytes() == grid_store.stack[FILTER][NIGHT].values.tobytes()
    for name in grid_store.masters:
        same_bits(store.masters[name].load(), grid_store.masters[name].load())


def test_the_verbs_give_the_bits_of_the_store(small_night, small_store):
    table = dphot.scan(small_night, store=False)
    lights = table.lights
    light = lights.records()[len(lights) // 2]
    masters = dphot.masters(dphot.choose_calibration(light, table.records()), light)
    cube = dphot.cube(lights, chunk=3)
    reference = dphot.make_reference(cube, masters)
    calibrated = dphot.calibrate(cube, masters, saturation=reference.attrs["saturation"])
    obs = dphot.photometry(calibrated, reference, masters)
    same_bits(reference, small_store.reference.load())
    same_bits(obs, small_store.photometry[FILTER].load(), but=("digest", "pixels"))


def test_the_verbs_on_a_stores_frames_give_its_bits(small_store):
    (masters,) = small_store.masters.values()
    reference = small_store.reference.load()
    cube = dphot.cube(small_store.frames[FILTER][NIGHT])
    calibrated = dphot.calibrate(cube, masters.load(), saturation=reference.attrs["saturation"])
    obs = dphot.photometry(calibrated, reference, masters.load())
    same_bits(obs, small_store.photometry[FILTER].load(), but=("digest", "pixels"))


def test_nothing_is_read_until_it_is_computed(small_night, small_store):
    import dask

    def forbidden(*args, **kwargs):
        raise AssertionError("computed")

    transforms = small_store.photometry[FILTER].transform.load()
    with dask.config.set(scheduler=forbidden):
        cube = dphot.cube(dphot.scan(small_night, store=False).lights)
        calibrated = dphot.calibrate(cube)
        aligned = dphot.align(calibrated, transforms)
        assert aligned.shape == (8, 256, 256) and cube.raw.dtype == np.uint16
        lazy = dphot.open(small_store.path)
        assert lazy.photometry[FILTER].sizes["time"] == 8 and lazy.frames[FILTER][NIGHT].raw.shape == (
            8,
            256,
            256,
        )
        with pytest.raises(AssertionError, match="computed"):
            cube.raw.compute()


def test_aligned_frames_lie_on_the_reference(small_night, small_store):
    obs = small_store.photometry[FILTER].load()
    calibrated = dphot.calibrate(dphot.cube(dphot.scan(small_night, store=False).lights))
    aligned = dphot.align(calibrated, obs.transform).compute()
    x, y = round(float(obs.star_x[0])), round(float(obs.star_y[0]))
    box = aligned.values[:, y - 5 : y + 6, x - 5 : x + 6]
    peaks = [np.unravel_index(np.nanargmax(b), b.shape) for b in box]
    assert np.abs(np.array(peaks) - 5).max() <= 1


def double(image, record):
    """A step: all light twice."""
    assert record["exposure"] > 0
    return image * 2


def test_a_step_changes_the_result(small_night, small_store, tmp_path):
    store = dphot.reduce(small_night, tmp_path / "x.dphot", workers=0, steps=(double,), saturation=60000)
    flux, plain = store.photometry[FILTER].flux.values, small_store.photometry[FILTER].flux.values
    np.testing.assert_allclose(flux[:, 8, 0], 2 * plain[:, 8, 0], rtol=1e-3)


def test_a_step_by_name_is_that_step(small_night, tmp_path, monkeypatch):
    (tmp_path / "my_steps.py").write_text("def double(image, record):\n    return image * 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    by_name = dphot.reduce(small_night, tmp_path / "a.dphot", workers=0, steps=["my_steps:double"])
    given = dphot.reduce(small_night, tmp_path / "b.dphot", workers=0, steps=(double,))
    same_bits(by_name.photometry[FILTER].load(), given.photometry[FILTER].load())


def test_a_hostile_night_is_aligned(tmp_path):
    spec = simulate.simulation("hostile", frames=12, size=320, seed=4, stars=90, cosmics=300.0)
    table = dphot.FrameTable.from_records(simulate.simulated_records(spec))
    store = dphot.reduce(table, tmp_path / "x.dphot", workers=0, stack=False, frames="none")
    obs = store.photometry["r"].load()
    truth, matrix, _ = truth_of(simulate.prepare(spec), obs)
    aligned = (obs.frame_flags.values & FrameFlag.ALIGN_FAILED) == 0
    assert aligned.sum() >= 10 and truth.flip.values.any()
    corners = np.array([[20, 20, 1], [300, 20, 1], [20, 300, 1], [300, 300, 1.0]]).T
    error = np.abs(obs.transform.values.reshape(-1, 2, 3) @ corners - (matrix @ corners)[:, :2]).max(
        axis=(1, 2)
    )
    assert error[aligned].max() < 0.1
    assert np.isnan(obs.flux.values[~aligned]).all()


def test_filters_are_series_of_their_own_with_one_star_list(tmp_path):
    spec = grid_simulation(frames=4, filters=("g", "r"), flip=0.0)
    table = dphot.FrameTable.from_records(simulate.simulated_records(spec))
    store = dphot.reduce(table, tmp_path / "x.dphot", workers=0)
    assert list(store.photometry) == ["g", "r"] and len(store.nights) == 1
    g, r = (store.photometry[name].load() for name in ("g", "r"))
    np.testing.assert_array_equal(g.star_x, r.star_x)
    assert g.sizes["time"] == r.sizes["time"] == 4
    assert not np.isin(g.path.values, r.path.values).any()
    assert [s["filter"] for s in store.nights[0]["series"]] == ["g", "r"]
    assert len(store.history()) == 2  # the store, and one commit for the night


def test_two_nights_are_two_commits_on_one_reference(tmp_path):
    spec = grid_simulation(frames=4, flip=0.0)
    table = dphot.FrameTable.from_records(simulate.simulated_records(spec, nights=2))
    store = dphot.reduce(table, tmp_path / "x.dphot", workers=0)
    obs = store.photometry["r"].load()
    assert [n["night"] for n in store.nights] == ["2026-03-14", "2026-03-15"] == sorted(set(obs.night.values))
    assert len(store.history()) == 3 and not obs.frame_flags.values.any()
    truth = [simulate.truth(simulate.prepare(spec.patch(night=k))).x.values for k in (0, 1)]
    which = identify(
        simulate.truth(simulate.prepare(spec)), obs, list(obs.path.values).index(obs.attrs["reference"])
    )
    assert np.abs(obs.x.values[:, which[1:8]] - np.concatenate(truth)[:, 1:8]).max() < 0.1


def test_without_gain_fluxes_are_in_adu(tmp_path):
    spec = grid_simulation(frames=3, flip=0.0, flats=1)  # two would tell the gain
    records = [{**r, "gain": np.nan} for r in simulate.simulated_records(spec)]
    store = dphot.reduce(dphot.FrameTable.from_records(records), tmp_path / "x.dphot", workers=0)
    assert store.photometry["r"].flux.attrs["units"] == "ADU"
    known = dphot.reduce(dphot.FrameTable.from_records(records), tmp_path / "y.dphot", workers=0, gain=1.3)
    # the same but for the 0.04 e- a pixel by which the photons of the sky are skew: without a gain it is not known
    known, found = known.photometry["r"], store.photometry["r"]
    away = (known.flux - 1.3 * found.flux) / known.aperture_area
    assert -0.05 < float(away.min()) and float(away.max()) < 1e-9
    assert any(m["name"] == "gain" for m in store.nights[0]["series"][0]["missing"])


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"target": "hello"}, "target: 'hello'"),
        ({"coordinates": "here"}, "'here' is no sky position"),
        ({"stars": "nowhere.csv"}, "stars: nowhere.csv"),
        ({"reference": "8"}, "no frame 8; the lights are numbered 0 to 7"),
        ({"reference": "x.fits"}, "'x.fits' names 0 of 8"),
        ({"steps": ("nowhere:f",)}, "steps: 'nowhere:f'"),
        ({"steps": "math:pi"}, "'math:pi' is a float"),
        ({"target": "999"}, "no star 999"),
        ({"target": "2000,3"}, "outside the reference of 256x256"),
        ({"target": "09:20:00,+20:00:00"}, "no WCS"),
        ({"apertures": "500", "aperture_unit": "pixel"}, "smallest, of 500.0 px"),
        ({"min_stars": "400"}, "none of 8 frames"),
    ],
)
def test_what_cannot_work_is_refused_and_leaves_no_store(small_night, tmp_path, settings, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        dphot.reduce(small_night, tmp_path / "x.dphot", workers=0, **settings)
    assert not (tmp_path / "x.dphot").exists()


def test_memory_that_a_night_needs_is_projected(small_store):
    from dphot.memory import projected_memory

    light = {"width": 4096, "height": 4096, "dtype": "uint16", "trim": ""}
    need = projected_memory(light, dphot.Config())
    assert 1.2e9 < need < 3e9
    assert projected_memory(light, dphot.Config(stack=False)) < need
    assert projected_memory(light, dphot.Config(chunk=32)) == need
