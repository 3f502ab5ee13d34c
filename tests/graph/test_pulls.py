"""Errors of fluxes and of light curves against what they scatter: simulated frames, real masters, the whole chain."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import dphot
from dphot import simulate
from dphot.config import Config
from dphot.flags import StarFlag
from dphot.graph import frame as chain
from dphot.graph import masters as graph
from dphot.graph import reference as references
from dphot.graph.context import masters_from_dataset, reference_from_dataset
from dphot.io.choice import choose
from dphot.io.readers import read_frame
from dphot.kernels.aperture import aperture_sums
from dphot.simulate.moffat import peak_fraction

STEP, FWHM, EXPOSURE = 34, 2.4, 60.0
#: Stars of a decade of flux, a star in each of its frames: the mean of their pulls is known to 0.008, their deviation
#: to 0.006.
SAMPLES = 15000
APERTURES = (0.6, 1.0, 1.5, 2.5)
#: What the true flux in the same apertures rests on.
MEASURED_IN = ("x", "y", "aperture_radius", "aperture_area", "annulus_inner", "annulus_outer", "annulus_area")
UNFIT = int(StarFlag.EDGE | StarFlag.BAD_PIXEL | StarFlag.SATURATED)


def crowd(side, frames, calibrations, faintest, seed, **changes):
    """A night of side x side stars that lie on other pixels in each frame, up to 10 % below saturation."""
    rng = np.random.default_rng(seed)
    at = (np.arange(side) + 0.5) * STEP
    x, y = (v.ravel() + rng.uniform(-2, 2, side**2) for v in np.meshgrid(at, at))
    given = {
        "frames": frames, "size": side * STEP, "seed": seed, "hours": 3.0, "exposure": EXPOSURE, "target": -1,
        "fwhm": FWHM, "variability": 0.0, "drift": (0.0, 0.0), "dither": 12.0, "extinction": 0.0,
        "transparency_rms": 0.0, "seeing_airmass": 0.0, "seeing_rms": 0.0, "cosmics": 0.0, "vignetting": 0.3,
        "scintillation": 0.0, "bias": calibrations, "darks": calibrations, "flats": calibrations, **changes,
    }  # fmt: skip
    camera = simulate.simulation(**given)
    above = 0.9 * camera.saturation - camera.bias_level - (camera.sky + EXPOSURE) / camera.gain
    brightest = above * camera.gain / peak_fraction(camera.fwhm, camera.beta)
    flux = 10 ** rng.uniform(np.log10(faintest), np.log10(brightest), x.size) / EXPOSURE
    return camera.patch(
        catalogue=tuple((float(a), float(b), float(f)) for a, b, f in zip(x, y, flux, strict=True))
    )


def noiseless(light, row):
    """Fluxes (aperture, star) of a frame without noise, in the apertures of its row; the stars' wings are sky, too."""
    inside = aperture_sums(light, row["x"], row["y"], row["aperture_radius"])
    ring = aperture_sums(light, row["x"], row["y"], [row["annulus_inner"], row["annulus_outer"]])
    return inside - row["aperture_area"][:, None] * np.diff(ring, axis=0) / row["annulus_area"]


def pulls(spec):
    """(measured - true) / error and signal-to-noise (aperture, sample); flux of the whole star (sample,)."""
    night, records = simulate.prepare(spec), simulate.simulated_records(spec)
    lights = [r for r in records if r["type"] == "light"]
    masters = masters_from_dataset(graph.build(choose(lights[0], records), lights[0], None))
    config = Config(apertures=APERTURES)
    made = reference_from_dataset(references.make(lights[0], masters, config))
    twinkling = night.timeline.scintillation
    out = []
    for k, record in enumerate(lights):
        x, y = night.positions(k)
        there = replace(made, star_x=x, star_y=y, star_flags=np.zeros(x.size, np.uint16), near_x=x[:0], near_y=x[:0],
                        near_radius=x[:0])  # fmt: skip
        raw, _ = read_frame(record["path"], record["hdu"])
        frame = chain.calibrate_frame(raw, record, masters, made.saturation)
        row = chain.measure_at(*frame, x, y, there, masters, config)
        true = noiseless(night.starlight(k), row)
        error = np.hypot(row["flux_err"], true * twinkling[k])
        use = (row["flags"] & UNFIT) == 0
        out.append([v[..., use] for v in ((row["flux"] - true) / error, true / error, night.flux(k))])
    return [np.concatenate(v, axis=-1) for v in zip(*out, strict=True)]


def normal(pull, flux):
    """Pulls (aperture, sample) are those of a normal distribution in each decade of flux (sample,)."""
    decades = np.quantile(flux, np.linspace(0, 1, 4))  # uniform in the logarithm
    assert np.ptp(np.log10(decades)) > 2.6
    for a, radius in enumerate(APERTURES):
        for low, high in pairwise(decades):
            some = pull[a, (flux >= low) & (flux <= high)]
            case = f"aperture of {radius} FWHM, {low:.0f} to {high:.0f} e-"
            assert some.size > SAMPLES and np.isfinite(some).all(), case
            assert abs(some.mean()) < 0.03 and 0.97 < some.std() < 1.03, (case, some.mean(), some.std())


@pytest.mark.slow
@pytest.mark.parametrize("spec", [
    pytest.param(crowd(30, 60, 3, 1500.0, seed=1), id="three frames of each"),
    pytest.param(crowd(30, 60, 3, 1200.0, seed=2, sky=30.0, read_noise=15.0, dark_current=0.4, gain=3.0,
                       scintillation=1.5, diameter=0.2), id="read noise, and stars that scintillate"),
    pytest.param(crowd(21, 120, 50, 1500.0, seed=3), id="fifty frames of each"),
])  # fmt: skip
def test_fluxes_scatter_as_their_errors_say(spec):
    pull, snr, flux = pulls(spec)
    normal(pull, flux)
    assert snr[-1].min() < 5 < snr[1].min()


def differential_pulls(spec, folder):
    """Pulls (aperture, sample) of the light curves of a reduced night; flux of the whole star (sample,).

    The level of a light curve is free, so that noise which is the same in all frames is none: that of the masters is
    not the same, as the stars of a `crowd` come to lie on other pixels, within 24 each way. The images are wider than
    those of single fluxes: else, in the least aperture, the comparisons vary with their places within a pixel, which
    the errors hold (2 %), as they should, and the truth does not.
    """
    night, telescope = simulate.prepare(spec), folder / "telescope.toml"
    telescope.write_text(f'name = "{spec.telescope}"\ndiameter = {spec.diameter}\n')
    site = {k: getattr(spec, k) for k in ("latitude", "longitude", "altitude")}
    table = dphot.FrameTable.from_records([r | site for r in simulate.simulated_records(spec)])
    store = dphot.reduce(table, folder / "x", workers=0, stack=False, frames="none", apertures=APERTURES,
                         annulus=(4.1, 6.5), telescope=telescope if spec.scintillation else "")  # fmt: skip
    lc = dphot.differential(store.photometry["r"].load())
    rows = [{name: lc[name].values[k] for name in MEASURED_IN} for k in range(spec.frames)]
    use = (lc.flags & UNFIT) == 0
    flux = lc.flux.copy(data=[noiseless(night.starlight(k), row) for k, row in enumerate(rows)]).where(use)
    relative = flux / flux.median("time")
    weight = lc.weight.where(relative.notnull(), 0.0)
    light = weight * relative.fillna(0.0)
    true = relative * (weight.sum("star") - weight) / (light.sum("star") - light)
    ratio = lc.diff_flux / true
    pull = (ratio / ratio.median("time") - 1) * true / lc.diff_err
    whole = flux[:, -1].median("time").broadcast_like(use)
    return pull.transpose("aperture", "time", "star").values[:, use], whole.transpose(*use.dims).values[use]


@pytest.mark.slow
@pytest.mark.parametrize("spec", [
    pytest.param(crowd(21, 130, 3, 1500.0, seed=4, fwhm=3.0), id="three frames of each"),
    pytest.param(crowd(21, 130, 50, 1500.0, seed=5, fwhm=3.0), id="fifty frames of each"),
    pytest.param(crowd(21, 130, 3, 1500.0, seed=6, fwhm=3.0, sky=30.0, read_noise=15.0, dark_current=0.4, gain=3.0,
                       scintillation=1.5, diameter=0.2), id="three, scintillating"),
    pytest.param(crowd(21, 130, 50, 1500.0, seed=7, fwhm=3.0, scintillation=1.5, diameter=0.2), id="fifty, scintillating"),
])  # fmt: skip
def test_light_curves_scatter_as_their_errors_say(spec, tmp_path):
    normal(*differential_pulls(spec, tmp_path))
