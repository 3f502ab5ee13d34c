"""A colour camera from files to light curves: three channels, each on its own pixels."""

import numpy as np
import pytest
from astropy.io import fits

import dphot
from dphot.checking import check
from dphot.commands import pick
from dphot.errors import InputError
from dphot.flags import FrameFlag
from dphot.graph.assemble import photometry_dataset
from dphot.graph.context import reference_from_dataset
from dphot.graph.frame import blank
from dphot.io.headers import empty_record

GAIN, SKY, FULL = 1.5, 60.0, {"R": 1.0, "G": 2.0, "B": 0.5}
#: Stored bottom up from an even height, the cell is GB over RG.
OFFSET = {"TR": (0, 1), "TG": (0.5, 0.5), "TB": (1, 0)}
SIZE, SIGMA, FRAMES = 240, 3.0, 10


@pytest.fixture(scope="module")
def stars():
    """Positions and fluxes (e- in R) of stars that stand apart."""
    grid = [(x + 6.3 * ((3 * i + 2 * j) % 5 - 2), y + 5.1 * ((2 * i + 5 * j) % 5 - 2))
            for i, x in enumerate(range(32, 200, 50)) for j, y in enumerate(range(32, 200, 50))]  # fmt: skip
    return [(x, y, 3e5 * 0.85**k) for k, (x, y) in enumerate(grid)]


@pytest.fixture(scope="module")
def colours():
    """Colour of each pixel as the file stores it: GRBG from the top left, shifted by a column, bottom up."""
    top_down = np.tile([["R", "G"], ["G", "B"]], (SIZE // 2, SIZE // 2))
    return np.vectorize(FULL.get)(top_down[::-1])


@pytest.fixture(scope="module")
def store(stars, colours, tmp_path_factory):
    folder = tmp_path_factory.mktemp("colour")
    rng = np.random.default_rng(11)
    y, x = np.mgrid[:SIZE, :SIZE].astype(float)
    flat = (1 - 0.2 * np.hypot(x - 120, y - 120) / 170) * colours
    header = {"TELESCOP": "Colour", "OBJECT": "Field", "FILTER": "IRCUT", "EGAIN": GAIN, "BAYERPAT": "GRBG",
              "XBAYROFF": 1, "YBAYROFF": 0, "ROWORDER": "BOTTOM-UP"}  # fmt: skip

    def write(name, electrons, **cards):
        counts = np.round(rng.poisson(electrons) / GAIN + rng.normal(0, 3, electrons.shape) + 300)
        fits.writeto(folder / name, counts.astype(np.uint16), fits.Header({**header, **cards}))

    for i in range(3):
        write(f"bias{i}.fits", np.zeros((SIZE, SIZE)), IMAGETYP="bias", EXPTIME=0.0)
        write(f"dark{i}.fits", np.zeros((SIZE, SIZE)), IMAGETYP="dark", EXPTIME=30.0)
        write(f"flat{i}.fits", 20000 * flat, IMAGETYP="flat", EXPTIME=1.0)
    for k in range(FRAMES):
        light = np.full((SIZE, SIZE), SKY)
        for px, py, flux in stars:
            r2 = (x - px - 0.7 * k) ** 2 + (y - py - 0.4 * k) ** 2
            light += flux * np.exp(-r2 / (2 * SIGMA**2)) / (2 * np.pi * SIGMA**2)
        cards = {"DATE-OBS": f"2026-03-01T22:{k:02d}:00", "EXPTIME": 30.0}
        write(f"light{k}.fits", light * flat, IMAGETYP="light", **cards)
    (folder / "light3_cut.fits").write_bytes((folder / "light3.fits").read_bytes()[:9000])
    return dphot.reduce(folder, tmp_path_factory.mktemp("store") / "colour.dphot", workers=0)


def test_three_channels_come_back_with_their_colours(store, stars):
    assert set(store.photometry) == {"TG", "TR", "TB"}
    assert store.reference.attrs["filter"] == "TG"
    flux = {}
    for name, pixels in (("TR", 1), ("TG", 2), ("TB", 1)):
        obs = store.photometry[name].load()
        whole = obs.frame_flags.values == 0
        assert whole.sum() == FRAMES and obs.sizes["time"] == FRAMES + 1
        aperture = int(np.argmin(np.abs(obs.aperture_radius.values[0] - 7.0)))  # 14 px of the mosaic
        # the first frame has the stars at the places given, in pixels of the mosaic
        x, y = (2 * v.values[0] + o for v, o in zip((obs.x, obs.y), OFFSET[name], strict=True))
        away = np.array([np.hypot(x - px, y - py) for px, py, _ in stars])
        index = away.argmin(axis=1)
        assert sorted(index) == list(range(len(stars))) and np.median(away.min(axis=1)) < 0.05
        expected = np.array([f for *_, f in stars]) * FULL[name[1]] * pixels / 4
        measured = obs.flux.values[whole][:, aperture, index]
        flux[name] = np.median(measured, axis=0) / expected
        level = np.median(flux[name])
        np.testing.assert_allclose(flux[name][:8] / level, 1.0, rtol=0.02)
        pull = (measured - measured.mean(axis=0)) / obs.flux_err.values[whole][:, aperture, index]
        # 16 stars x 9 degrees of freedom: good to 6 %; three of that
        assert pull.std(ddof=0) * np.sqrt(FRAMES / (FRAMES - 1)) == pytest.approx(1.0, abs=0.18)
    # each channel's flat is 1 in the median of its own pixels: that leaves the lamp's colour out of the fluxes
    for name in ("TR", "TB"):
        np.testing.assert_allclose(np.median(flux[name] / flux["TG"]), 1.0, rtol=0.01)


def test_channels_lie_where_their_pixels_are(store):
    """A channel's shift against green is half that of its pixel in the cell, with the sign turned."""
    shifts = {}
    for name in ("TR", "TG", "TB"):
        obs = store.photometry[name].load()
        shifts[name] = np.array([obs.dx.values, obs.dy.values])
    np.testing.assert_allclose(np.nanmedian(shifts["TR"] - shifts["TG"], axis=1), (0.25, -0.25), atol=0.02)
    np.testing.assert_allclose(np.nanmedian(shifts["TB"] - shifts["TG"], axis=1), (-0.25, 0.25), atol=0.02)


def test_raw_pixels_are_kept_once(store):
    kept = sum(next(iter(nights.values())).raw.isel(time=0).size for nights in store.frames.values())
    assert kept == SIZE * SIZE


def test_calibration_frames_serve_each_channel(store):
    for record in store.nights[0]["series"]:
        assert record["calibration"]["missing"] == []
        assert [len(v) for v in record["calibration"]["inputs"].values()] == [3, 3, 3]
        (dropped,) = record["frames_dropped"]
        assert dropped["path"].endswith("light3_cut.fits")


def test_green_is_shown_where_none_is_named(store):
    assert pick(store, None).attrs["filter"] == "TG" and pick(store, "TB").attrs["filter"] == "TB"
    with pytest.raises(InputError, match="'V'"):
        pick(store, "V")


def test_clouds_are_told_from_another_filter(store):
    """Blue stars have a quarter of the light of the green reference, all night: that is no cloud; less is one."""
    obs = store.photometry["TB"].load()
    series = next(r for r in store.nights[0]["series"] if r["filter"] == "TB")
    assert not (obs.frame_flags.values & int(FrameFlag.CLOUD)).any() and series["frames_noted"] == []
    reference = store.reference.load()
    site = dict.fromkeys(("latitude", "longitude", "altitude", "diameter", "ra", "dec"), np.nan)
    row = blank(reference_from_dataset(reference), dphot.Config())
    record = {**empty_record("a.fits"), "exposure": 30.0}

    def flagged(filter, shares, **values):
        rows = [{**row, "share": share} for share in shares]
        records = [{**record, "filter": filter, "path": f"{i}.fits", **values} for i in range(len(rows))]
        ds = photometry_dataset(rows, records, reference, site, {})
        return [bool(v & int(FrameFlag.CLOUD)) for v in ds.frame_flags.values]

    assert flagged("TB", [0.25, 0.24, 0.25, 0.06, np.nan]) == [False, False, False, True, False]
    assert flagged("TG", [1.0, 0.25, 0.25]) == [False, True, True]
    assert flagged("TG", [1.0, 0.25, 0.05], exposure=7.5) == [False, False, True]


def test_a_filter_of_the_mosaic_is_refused_with_the_channels(store, tmp_path):
    """Which can be named: nothing is measured in the filter of the headers."""
    lights = sorted({str(p) for p in store.photometry["TG"].path.values if "cut" not in str(p)})
    with pytest.raises(
        InputError, match="no light frames of filter 'IRCUT'.*the lights have filter 'TB', 'TG', 'TR'$"
    ):
        dphot.reduce(lights, tmp_path / "x.dphot", filter="IRCUT", workers=0)


def test_the_store_is_what_the_files_are(store):
    problems, found = check(store)
    # The file that is cut off is what it was, too.
    assert problems == [] and found["same"] == FRAMES + 1 + 9
