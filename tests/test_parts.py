"""A night that comes in parts (steps, late frames) is, in the end, the night at once: to the last bit."""

import numpy as np
import pytest
from astropy.io import fits
from same_bits import same_bits, same_stores

import dphot
from dphot import night, simulate
from dphot.flags import FrameFlag

CLOUDED, SHARE = 3, 0.2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six frames in r, five in g; the first three of g have a fifth of the others' light."""
    (made,) = simulate.write_nights(
        tmp_path_factory.mktemp("raw"), nights=1, frames=6, filters=("r", "g"), size=128, seed=3, stars=25,
        bias=2, darks=2, flats=2, clouds=0, transparency_rms=0.0,
    )  # fmt: skip
    for path in lights(made, "g")[:CLOUDED]:
        with fits.open(path) as hdus:
            data, header = hdus[0].data.astype(float), hdus[0].header
        level = np.median(data)
        fits.writeto(path, np.round(level + SHARE * (data - level)).astype(np.uint16), header, overwrite=True)
    lights(made, "g")[-1].unlink()
    return made


def lights(folder, name):
    return sorted(folder.glob(f"light-{name}*"))


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    return dphot.reduce(folder, tmp_path_factory.mktemp("whole") / "x.dphot", workers=0, reference=0)


def test_clouds_are_judged_by_the_whole_night(whole):
    assert whole.reference.attrs["filter"] == "r"
    obs = whole.photometry["g"].load()
    assert list(obs.frame_flags.values) == [int(FrameFlag.CLOUD)] * CLOUDED + [0, 0]
    clear = obs.share.values[CLOUDED:].mean()
    np.testing.assert_allclose(obs.share.values[:CLOUDED], SHARE * clear, rtol=0.1)
    (series,) = [r for r in whole.nights[0]["series"] if r["filter"] == "g"]
    assert len(series["frames_noted"]) == CLOUDED


@pytest.mark.parametrize("order", ["halves", "last first", pytest.param("shuffled", marks=pytest.mark.slow)])
def test_frames_that_come_later(folder, whole, tmp_path, order):
    r, g = lights(folder, "r"), lights(folder, "g")
    calibration = [p for p in sorted(folder.glob("*.fits")) if not p.name.startswith("light")]
    parts = {
        "halves": [r[:3] + g[:2], r[3:] + g[2:]],
        "last first": [r[:3] + g[3:], r[3:] + g[:3]],
        "shuffled": [r[:1], g[1:2], [g[0], *r[4:]], [g[4], r[3]], [g[2]], [*r[1:3], g[3]]],
    }[order]
    store = dphot.reduce([*calibration, *parts[0]], tmp_path / "x.dphot", workers=0, reference=0)
    for part in parts[1:]:
        # a filter that is new needs its flats
        assert store.append([*calibration, *part], workers=0).frames == len(part)
    for name in ("r", "g"):
        same_bits(store.photometry[name].load(), whole.photometry[name].load())
    noted = [{r["filter"]: r["frames_noted"] for r in s.nights[0]["series"]} for s in (store, whole)]
    assert noted[0] == noted[1]


@pytest.mark.slow
def test_a_night_in_steps(folder, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(night, "STEP_SECONDS", 1e-6)
    store = dphot.reduce(folder, tmp_path / "x.dphot", workers=0, reference=0)
    assert len(store.history()) > len(whole.history()) + 5
    same_stores(store, whole)
