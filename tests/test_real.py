"""The whole pipeline on real frames (`DPHOT_DATA`), against what is known of them from elsewhere."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from same_bits import same_stores
from scipy.spatial import cKDTree

import dphot
from dphot.cli import main
from dphot.differential import find_star
from dphot.flags import StarFlag

pytestmark = pytest.mark.real
EXAMPLES = Path(__file__).parent.parent / "examples"
SPOILT = int(StarFlag.SATURATED | StarFlag.EDGE | StarFlag.NEIGHBOUR)


@pytest.fixture(scope="module")
def reduced(data_dir, tmp_path_factory):
    """A function from a data set and settings to its store, reduced once."""
    stores = {}

    def reduce(name, **settings):
        key = name, *sorted(settings.items())
        if key not in stores:
            place = tmp_path_factory.mktemp("real") / f"{name}.dphot"
            stores[key] = dphot.reduce(data_dir(name), place, workers=0, **settings)
        return stores[key]

    return reduce


def tycho(data_dir, name, year):
    """RA and Dec (degrees, at the epoch), V and B-V of the Tycho-2 stars around a field."""
    path = data_dir("catalogues") / f"tycho2_{name}.csv"
    cat = np.genfromtxt(path, delimiter=",", names=True, dtype=None, encoding="utf-8")
    moved = (year - 2000.0) / 3.6e6
    dec = cat["dec_deg"] + moved * np.nan_to_num(cat["pmdec_masyr"])
    ra = cat["ra_deg"] + moved * np.nan_to_num(cat["pmra_masyr"]) / np.cos(np.radians(dec))
    return ra, dec, cat["v_johnson"], cat["b_v"]


def nearest(obs, ra, dec):
    """For each measured star the nearest of the sky positions, and its distance east and north (arcsec)."""
    squeeze = np.cos(np.radians(np.median(obs.star_dec.values)))
    tree = cKDTree(np.column_stack([ra * squeeze, dec]))
    _, index = tree.query(np.column_stack([obs.star_ra.values * squeeze, obs.star_dec.values]))
    east = (obs.star_ra.values - ra[index]) * squeeze * 3600
    return index, east, (obs.star_dec.values - dec[index]) * 3600


def scatter(lc):
    """Standard deviation over the predicted error, of stars that nothing is wrong with, brightest first."""
    flux, error = (lc[k].values[:, lc.attrs["aperture"]] for k in ("diff_flux", "diff_err"))
    clean = np.flatnonzero((lc.flags.values == 0).all(axis=0) & np.isfinite(flux).all(axis=0))
    return np.std(flux[:, clean], axis=0), np.median(error[:, clean], axis=0)


@pytest.fixture(scope="module")
def hatp32():
    """The example as a module."""
    pytest.importorskip("batman")
    spec = importlib.util.spec_from_file_location("example_hatp32", EXAMPLES / "hatp32.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["example_hatp32"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize(("pattern", "residual"), [("auto", 4.6), ("off", 5.3)])
def test_hatp32_transit(reduced, hatp32, pattern, residual):
    store = reduced("hatp32", telescope="MicroObservatory", coordinates=hatp32.COORDINATES, pattern=pattern)
    obs = store.photometry["Clear"].load()
    assert np.isfinite(obs.match_rms.values).sum() == 142
    assert np.nanmax(obs.match_rms.values) < 0.1
    assert obs.bjd_tdb.values[[0, -1]] == pytest.approx([2458107.56985755, 2458107.86322833], abs=0.1 / 86400)
    assert np.ptp(obs.dx.values) == pytest.approx(273, abs=3)
    assert np.ptp(obs.dy.values) == pytest.approx(62, abs=3)
    assert np.ptp(obs.rotation.values) == pytest.approx(0.61, abs=0.05)

    target, *_ = hatp32.stars_by_first_frame(obs, [hatp32.TARGET])
    assert np.hypot(obs.x.values[0, target] - 423.2, obs.y.values[0, target] - 286.0) < 0.5
    (record,) = store.nights[0]["series"]
    assert any(
        "the fixed pattern is taken from the lights" in text for text in record["calibration"]["notes"]
    ) == (pattern == "auto")
    lc = dphot.differential(obs, target=target)
    flux = lc.diff_flux.values[:, lc.attrs["aperture"], target]
    found = hatp32.fit(lc.bjd_tdb.values, flux, lc.airmass.values)
    assert found["t_mid"] == pytest.approx(hatp32.PREDICTED, abs=0.004)
    assert found["rp_rs"] == pytest.approx(0.150, abs=0.012)
    assert found["residual_mmag"] < residual
    error = lc.diff_err.values[:, lc.attrs["aperture"], target]
    assert 0.5 < np.mean((found["residual_mmag"] / 1085.7 / error) ** 2) < 1.5

    saturated = (obs.flags.values & int(StarFlag.SATURATED)) != 0
    peaks = np.where(np.isfinite(obs.peak.values), obs.peak.values, 0)
    assert (peaks[saturated] >= 4095).all() and (peaks[~saturated] < 4095).all()
    assert 10 <= (saturated.mean(axis=0) > 0.5).sum() <= 25
    assert not ((obs.flags.values & int(StarFlag.BAD_PIXEL)) != 0).all(axis=0).any()


def test_m13_with_hostile_headers(reduced):
    """Dates on a 12-hour clock, IMAGTYP, no filter, file order not time order; calibrated with all it has."""
    store = reduced("m13_orion", telescope=str(EXAMPLES / "telescopes" / "orion-g3.toml"))
    obs = store.photometry[""].load()
    assert "2021-09-17T21:39:00" in [str(t)[:19] for t in obs.time.values]  # 20 s from 21:38:50 on
    assert (np.diff(obs.time.values) > np.timedelta64(0, "ns")).all()
    assert (np.isfinite(obs.match_rms.values) & (obs.match_rms.values < 0.15)).sum() == 8
    # from centroids of three isolated stars on the raw frames
    assert np.ptp(obs.dx.values) == pytest.approx(28.06, abs=0.1)
    (record,) = store.nights[0]["series"]
    assert {kind: len(paths) for kind, paths in record["calibration"]["inputs"].items()} == {
        "bias": 5, "dark": 5, "flat": 5,
    }  # fmt: skip
    assert record["calibration"]["missing"] == []
    assert record["object"] == "M13"

    # the flat evens the sky out, away from the cluster
    masters = next(iter(store.masters.values())).load()
    raw = store.frames[""]["2021-09-17"].raw.values.astype(float)
    flattened = raw - masters.bias.values - 20.0 * masters.dark_rate.values
    before = np.median(flattened, axis=0)
    unevenness = []
    for image in (before, before / masters.flat.values):
        blocks = [
            np.median(image[j : j + 58, i : i + 75])
            for j in range(0, 580, 58) for i in range(0, 750, 75) if np.hypot(i - 351, j - 246) > 230
        ]  # fmt: skip
        unevenness.append(np.std(blocks) / np.median(blocks))
    assert unevenness[0] > 0.012 and unevenness[1] < 0.6 * unevenness[0]


def test_asteroid_field_with_overscan_and_a_wcs_in_strings(reduced, data_dir):
    store = reduced("asteroid5945")
    obs = store.photometry["VR"].load()
    assert store.reference.image.shape == (1370, 1365)
    (record,) = store.nights[0]["series"]
    assert [len(record["calibration"]["inputs"][kind]) for kind in ("bias", "dark", "flat")] == [3, 0, 3]
    assert any("dark" in text for text in record["calibration"]["missing"])
    assert obs.match_rms.values.max() < 0.06
    assert (np.diff(obs.dx.values) > 0).all()  # the telescope tracks with a slow, steady drift
    assert obs.attrs["flux_unit"] == "e-"

    ra, dec, _, _ = tycho(data_dir, "roach5945", 2019.2)
    _, east, north = nearest(obs, ra, dec)
    identified = np.hypot(east, north) < 5.0
    assert identified.sum() >= 6
    assert np.hypot(east, north)[identified].max() < 2.0
    star = find_star(obs, f"{obs.star_ra.values[20]:.6f}d,{obs.star_dec.values[20]:.6f}d")
    assert star == 20

    # the brightest star's core is hollow: it reads less than the saturated pixels around it
    assert (obs.flags.values[:, :6] & int(StarFlag.SATURATED)).all()
    clean = np.flatnonzero((obs.flags.values == 0).all(axis=0))
    lc = dphot.differential(obs, target=int(clean[0]))
    std, error = (v[:40] for v in scatter(lc))
    assert np.median(std) < 0.004
    assert 0.5 < np.median(std / error) < 2.0


def test_target_by_sky_position(data_dir, reduced):
    """A place of the sky without any star: it is added to the list, and the WCS puts it where it belongs."""
    first = reduced("asteroid5945").photometry["VR"].load()
    ra, dec = float(first.star_ra[30]) + 0.01, float(first.star_dec[30])
    obs = (
        reduced("asteroid5945", target=f"{ra}d,{dec}d", max_stars=60, stack=False, frames="none")
        .photometry["VR"]
        .load()
    )
    star = find_star(obs, obs.attrs["target"])
    assert obs.star_ra.values[star] == pytest.approx(ra, abs=2 / 3600)
    assert obs.star_dec.values[star] == pytest.approx(dec, abs=2 / 3600)


def ag_peg(obs, data_dir):
    """V of AG Peg in each frame, from Tycho-2 stars with a colour term."""
    ra, dec, v, colour = tycho(data_dir, "agpeg", 2015.5)
    index, east, north = nearest(obs, ra, dec)
    same = np.hypot(east, north) < 60.0
    assert same.sum() > 350
    assert np.hypot(np.median(east[same]), np.median(north[same])) < 0.2 * 31.72
    assert np.median(np.hypot(east, north)[same]) < 31.72
    star = find_star(obs, "21:51:02,+12:37:32")
    radius = obs.aperture_radius.values[0]
    aperture = int(np.argmin(np.abs(radius - 1.6 * np.median(obs.fwhm.values))))
    comparison = same & (np.hypot(east, north) < 30.0) & (v[index] > 6.3) & (v[index] < 9.5)
    comparison &= (colour[index] > -0.3) & (colour[index] < 1.6)
    comparison[star] = False
    magnitude = []
    for flux, flags in zip(obs.flux.values[:, aperture], obs.flags.values, strict=True):
        use = comparison & (flux > 0) & ((flags & SPOILT) == 0)
        terms = np.column_stack([np.ones(use.sum()), colour[index][use]])
        zero = v[index][use] + 2.5 * np.log10(flux[use])
        for _ in range(5):
            fitted = np.linalg.lstsq(terms, zero, rcond=None)[0]
            away = np.abs(zero - terms @ fitted)
            terms, zero = terms[away < 4 * np.median(away)], zero[away < 4 * np.median(away)]
        magnitude.append(fitted @ [1.0, colour[index][star]] - 2.5 * np.log10(flux[star]))
    assert not ((obs.flags.values[:, star] & SPOILT) != 0).any()
    return np.array(magnitude)


def rises_and_falls(magnitude):
    """V about 8.04 on June 8, 6.86 on July 1, 7.44 on August 25."""
    assert np.mean(magnitude[:2]) == pytest.approx(8.04, abs=0.1)
    assert np.mean(magnitude[2:4]) == pytest.approx(6.86, abs=0.1)
    assert magnitude[8] == pytest.approx(7.44, abs=0.1)


@pytest.mark.slow
def test_ag_peg_in_outburst(reduced, data_dir):
    """Nine frames of seven nights, turned by up to 44 degrees; V against Tycho-2 stars with a colour term."""
    store = reduced("agpeg_skycam")
    obs = store.photometry[""].load()
    assert len(store.nights) == 7
    assert sum(commit.message.startswith("night ") for commit in store.history()) == 7
    assert np.isfinite(obs.match_rms.values).sum() == 9
    assert np.ptp(obs.rotation.values) == pytest.approx(44.5, abs=0.5)
    assert np.hypot(*(np.ptp(obs[k].values) for k in ("dx", "dy"))) > 370

    rises_and_falls(ag_peg(obs, data_dir))


@pytest.mark.slow
def test_ag_peg_appended_frame_by_frame_in_a_shuffled_order(reduced, data_dir, tmp_path):
    """Seven nights, two of them in parts; the reference is the one of all at once."""
    files = sorted(data_dir("agpeg_skycam").glob("*.fz"))
    at_once = reduced("agpeg_skycam")
    first = at_once.reference.attrs["path"]
    store = dphot.reduce(first, tmp_path / "x.dphot", workers=0)
    order = np.random.default_rng(4).permutation([str(f) for f in files if str(f) != first])
    for path in order:
        assert store.append(path, workers=0).frames_used == 1
    assert store.append(data_dir("agpeg_skycam"), workers=0).frames == 0
    same_stores(store, at_once)
    rises_and_falls(ag_peg(store.photometry[""].load(), data_dir))


def test_m94_through_a_turned_telescope(reduced):
    """A colour camera, GRBG: red lies at (1, 0) of a cell and blue at (0, 1), green's two in the middle."""
    store = reduced("m94_seestar")
    assert set(store.photometry) == {"TG", "TR", "TB"} and store.reference.attrs["filter"] == "TG"
    shifts = {}
    for name in store.photometry:
        obs = store.photometry[name].load()
        assert (np.isfinite(obs.match_rms.values) & (obs.match_rms.values < 0.5)).sum() == 3
        turn = obs.rotation.values - obs.rotation.values[0]
        assert turn[1] == pytest.approx(0.0, abs=0.5)
        assert turn[2] == pytest.approx(-69.5, abs=0.5)
        assert (obs.flip.values == 0).all() and (obs.mirror.values == 0).all()
        assert obs.scale.values == pytest.approx(1.0, abs=0.003)
        shifts[name] = np.array([obs.dx.values, obs.dy.values])
    for name, expected in (("TR", (-0.25, 0.25)), ("TB", (0.25, -0.25))):
        np.testing.assert_allclose(np.median(shifts[name] - shifts["TG"], axis=1), expected, atol=0.15)


def test_a_folder_of_files_that_break_readers_is_listed(data_dir, capsys):
    assert main(["scan", str(data_dir("formats")), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["files"] == 29
    assert listed["types"]["unusable"] == 3  # they hold no image, and say so
