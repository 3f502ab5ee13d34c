"""The gain where nothing tells it: from the night's own flats and bias frames, and how it is said."""

from itertools import combinations

import numpy as np
import pytest
from grid_field import grid_simulation

import dphot
from dphot import simulate, summaries
from dphot.graph import masters as graph
from dphot.graph.gain import estimate
from dphot.graph.inputs import read
from dphot.io.choice import choose
from dphot.views import facts


def unknown(**changes):
    """Records of a small night whose gain no header tells."""
    spec = grid_simulation(**{"frames": 4, "flip": 0.0, "gain": 1.7, **changes})
    return [{**r, "gain": np.nan, "read_noise": np.nan} for r in simulate.simulated_records(spec)]


def built(records):
    light = next(r for r in records if r["type"] == "light")
    return graph.build(choose(light, records), light, None)


def test_the_masters_tell_gain_and_read_noise():
    ds = built(unknown(bias=4, flats=6))
    assert ds.attrs["gain_pairs"] == 3 and ds.attrs["gain_error"] < 0.01
    assert abs(ds.attrs["gain"] - 1.7) < 4 * ds.attrs["gain_error"]
    assert ds.attrs["read_noise"] == pytest.approx(np.hypot(7.0, 1.7 / 12**0.5), rel=0.02)
    assert any("3 pairs of flats" in note for note in ds.attrs["notes"])


def test_a_dark_stands_for_the_bias():
    ds = built([r for r in unknown() if r["type"] != "bias"])
    assert abs(ds.attrs["gain"] - 1.7) < 4 * ds.attrs["gain_error"]


@pytest.mark.parametrize("changes", [{"flats": 1}, {"flats": 0}, {"bias": 1}, {"bias": 0, "darks": 0}])
def test_without_pairs_there_is_none(changes):
    assert "gain" not in built(unknown(**changes)).attrs


def test_a_known_gain_stays():
    spec = grid_simulation(frames=1)
    assert "gain" not in built(simulate.simulated_records(spec)).attrs


def test_fluxes_are_in_electrons_and_the_store_says_whence(tmp_path):
    table = dphot.FrameTable.from_records(unknown())
    store = dphot.reduce(table, tmp_path / "x.dphot", workers=0, stack=False)
    obs = store.photometry["r"]
    assert obs.attrs["gain_source"] == "pairs of flats" and obs.flux.attrs["units"] == "e-"
    assert obs.attrs["gain"] == pytest.approx(1.7, rel=0.02)
    known = dphot.reduce(table, tmp_path / "y.dphot", workers=0, stack=False, gain=obs.attrs["gain"])
    np.testing.assert_array_equal(known.photometry["r"].flux.values, obs.flux.values)
    assert known.photometry["r"].attrs["gain_source"] == "settings"
    assert any(
        "gain is not known" in line and "pairs of flats" in line for line in summaries.store_lines(store)
    )
    assert not any("gain is not known" in line for line in summaries.store_lines(known))
    lc = dphot.differential(obs.load(), target=3)
    assert "pairs of flats" in dict(facts.facts(lc))["Gain"] and "gain_from_scatter" not in lc.attrs


def calibration(folder):
    records = dphot.scan(folder).records()
    kinds = {k: [r for r in records if r["type"] == k] for k in ("bias", "flat", "light")}
    return kinds, np.median([read(r) for r in kinds["bias"]], axis=0)


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "tolerance"), [("m13_orion", 0.1), pytest.param("asteroid5945", 0.1, marks=pytest.mark.slow)]
)
def test_pairs_of_flats_agree_with_each_other_and_with_the_sky(data_dir, name, tolerance):
    """Any two flats tell one gain, and so does the sky of two lights, a fortieth as bright and taken through stars.

    The header of asteroid5945 says 4.81 e-/ADU; flats and skies say 3.7. The sky is no flat: stars, clouds and the
    field's drift make it noisier.
    """
    kinds, bias = calibration(data_dir(name))
    rate = np.zeros_like(bias)
    gains = [estimate(kinds["bias"], pair, bias, rate, None) for pair in combinations(kinds["flat"], 2)]
    values = np.array([g["gain"] for g in gains])
    assert np.ptp(values) < 8 * max(g["gain_error"] for g in gains)
    skies = [estimate(kinds["bias"], pair, bias, rate, None)["gain"]
             for pair in zip(kinds["light"], kinds["light"][1:], strict=False)]  # fmt: skip
    assert np.median(skies) == pytest.approx(np.median(values), rel=tolerance)
