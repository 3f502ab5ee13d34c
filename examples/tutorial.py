# %% [markdown]
# # Photometry, from raw frames to a light curve
# After an observation, a common need is to reduce raw FITS images and to extract fluxes. This script does it
# for a simulated night: 100 frames of 600x600 pixels, and a star that varies by 1 %. Run it whole
# (`python examples/tutorial.py`), or cell by cell in a notebook.

# %%
import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

import dphot

parser = argparse.ArgumentParser()
parser.add_argument("--folder", help="where to work [a temporary folder]")
parser.add_argument("--frames", type=int, default=100)
parser.add_argument("--json", action="store_true", help="print nothing but the results, as JSON")
options, _ = parser.parse_known_args()
temporary = tempfile.TemporaryDirectory(prefix="dphot-tutorial-") if options.folder is None else None
folder = Path(temporary.name if temporary else options.folder)


def show(*values: object) -> None:
    """Print, except under --json."""
    if not options.json:
        print(*values, end="\n\n")


# %% [markdown]
# ## Example data
# The light curve of a variable star, as a function of the days since the night began, and the images of it.


# %%
def target_flux(days):
    return 1 + np.sin(days * 100) * 1e-2


(night,) = dphot.simulate.write_nights(
    folder / "frames", preset="tutorial", frames=options.frames, seed=40, signal=target_flux
)

# %% [markdown]
# ## Telescope setting
# What the headers do not tell. `telescope.save()` keeps it for every later night: its frames are recognised
# by the name in their headers. Here it is a file of its own, and only passed on.

# %%
telescope = dphot.Telescope.from_dict({
    "name": "A",
    "trimming": [40, 40],
    "pixel_scale": 0.66,
    "latitude": 31.2027,
    "longitude": -7.8586,  # east is positive
    "altitude": 2000,
    "diameter": 1.0,
})  # fmt: skip
(folder / "a.toml").write_text(telescope.to_toml())

# %% [markdown]
# ## Folder exploration

# %%
table = dphot.scan(folder / "frames", telescope=folder / "a.toml")
show(table)

# %% [markdown]
# ## Choosing a reference image
# The lights as a lazy cube, and the calibration frames that serve them. Frame 0 is the reference: it defines
# the stars and the pixel system. (`reference="auto"`, the default, takes the best frame.)

# %%
config = dphot.Config(reference="0", telescope=str(folder / "a.toml"))
cube = dphot.cube(table.lights)
light = cube.record.values[0]
choice = dphot.choose_calibration(light, table.records())
show({kind: len(paths) for kind, paths in choice.inputs().items()}, choice.missing or "nothing is missing")

masters = dphot.masters(choice, light)
reference = dphot.make_reference(cube, masters, config)
psf = reference["psf"].attrs
show(
    f"{reference.sizes['star']} stars; PSF: Moffat, "
    f"FWHM {psf['fwhm_x']:.2f} x {psf['fwhm_y']:.2f} px, beta {psf['beta']:.1f}"
)

# %% [markdown]
# ## Photometry
# Calibrate, align and measure: first a few frames, step by step ...

# %%
calibrated = dphot.calibrate(cube, masters, saturation=reference.attrs["saturation"])
few = dphot.photometry(calibrated.isel(time=slice(0, 4)), reference, masters, config)
aligned = dphot.align(calibrated.isel(time=slice(0, 4)), few["transform"])
show(few[["dx", "dy", "fwhm", "n_matched"]].to_dataframe().round(3))
show(f"mean of {aligned.sizes['time']} aligned frames: {float(aligned.mean()):.1f} ADU a pixel")

# %% [markdown]
# ... then the whole night, on all cores, into a store that keeps raw frames, masters, photometry and stack.

# %%
store = dphot.reduce(table, folder / "tutorial.dphot", config)
show(store)

obs = store.photometry["a"].load()
show(obs)

# %% [markdown]
# The steps above and the run on all cores are made of the same functions: equal numbers, to the bit.

# %%
np.testing.assert_array_equal(few.flux.values, obs.flux.values[:4])

# %% [markdown]
# ## Photometry analysis
# The differential light curve of star 0 (Broeg et al. 2005): all other stars are its comparisons, weighted by
# how steady they are, in all apertures; the aperture with the least scatter is taken.

# %%
lc = dphot.differential(obs, target=0)
star, aperture = lc.attrs["target"], lc.attrs["aperture"]
show(f"aperture {aperture}; comparison stars, the heaviest first: {lc.attrs['comparisons']}")

truth = dphot.simulate.open_truth(night)
curve = truth.relative.values[:, truth.attrs["target"]]
rms = dphot.simulate.residual_rms(lc.diff_flux.values[:, aperture, star], curve)
show(f"the light curve scatters about the injected one by {1e3 * rms:.2f} ppt")

# %% [markdown]
# In a notebook, each of these draws an interactive plot:
# `lc.dphot.plot()`, `.show_stars(stack)`, `.comparisons()`, `.systematics()`, `.raw()`, `.psf(reference)`,
# `.summary()`.
# The report holds them all, in one file that opens anywhere.

# %%
(stack,) = store.stack["a"].values()
plots = [lc.dphot.plot(), lc.dphot.show_stars(stack), lc.dphot.raw()]
dphot.report(store, folder / "report.html", target=star)
show(folder / "report.html")

# %% [markdown]
# ## To save the analysis
# For others: CSV, Parquet, NetCDF, Zarr, or prose's `.phot`.

# %%
dphot.export(store, obs, folder / "lightcurve.csv", target=star)
dphot.export(store, obs, folder / "A_prose_a.phot", target=star)

# %%
if options.json:
    result = {
        "frames": obs.sizes["time"],
        "stars": obs.sizes["star"],
        "apertures": obs.sizes["aperture"],
        "rms": rms,
    }
    print(json.dumps({**result, "folder": str(folder)}))
if temporary and "ipykernel" not in sys.modules:
    temporary.cleanup()
