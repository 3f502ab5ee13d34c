# %% [markdown]
# # Photometry, from raw frames to a light curve
# After an observation, a common need is to reduce raw FITS images and to extract fluxes. This script does it for a
# simulated night: 100 frames of 600x600 pixels, and a star that varies by 1 %. Run it whole
# (`python examples/tutorial.py`), or cell by cell in a notebook.

# %%
import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

import dphot

parser = argparse.ArgumentParser()
parser.add_argument("--folder", default=None, help="where to work [a temporary folder]")
parser.add_argument("--frames", type=int, default=100)
parser.add_argument("--json", action="store_true")
options, _ = parser.parse_known_args()
folder = Path(options.folder or tempfile.mkdtemp(prefix="dphot-tutorial-"))
verbose = (lambda *text: None) if options.json else print

# %% [markdown]
# ## Example data
# The light curve of a variable star, and the raw images of its observation.

# %%
time = np.linspace(0, 0.15, options.frames)
target_flux = 1 + np.sin(time * 100) * 1e-2

(night,) = dphot.simulate.write_nights(
    folder / "frames", preset="tutorial", frames=options.frames, seed=40,
    signal=lambda days: 1 + np.sin(days * 100) * 1e-2,
)  # fmt: skip

# %% [markdown]
# ## The telescope
# What the headers do not tell is told once and remembered: `telescope.save()` keeps it for every later night, found by
# the name in the headers. Here it is only passed on.

# %%
telescope = dphot.Telescope.from_dict({
    "name": "A",
    "trimming": [40, 40],
    "pixel_scale": 0.66,
    "latitude": 31.2027,
    "longitude": -7.8586,
})  # fmt: skip
(folder / "a.toml").write_text(telescope.to_toml())

# %% [markdown]
# ## What is in the folder

# %%
table = dphot.scan(folder / "frames", telescope=folder / "a.toml")
verbose(table)

# %% [markdown]
# ## Step by step
# The steps of the reduction, lazily, on the first frames: the raw cube, the masters, the reference with its stars.

# %%
cube = dphot.cube(table.select(type="light"))
records = table.to_records()
choice = dphot.choose_calibration(cube.record.values[0], records)
verbose(choice.inputs())
masters = dphot.masters(choice, cube.record.values[0])
reference = dphot.make_reference(cube, masters, dphot.Config(reference="0"))
verbose(f"{reference.sizes['star']} stars, FWHM {reference.attrs['fwhm']:.2f} px")

calibrated = dphot.calibrate(cube, masters, saturation=reference.attrs.get("saturation", np.inf))
few = calibrated.isel(time=slice(0, 4))
measured = dphot.photometry(few, reference, masters)
verbose(measured)

# %% [markdown]
# ## The whole night
# The same steps for all frames, on all cores, into a store that keeps raw frames, masters, photometry and stack.

# %%
store = dphot.reduce(table, folder / "tutorial.dphot", telescope=str(folder / "a.toml"), reference="0")
obs = store.photometry["a"].load()
verbose(obs)

# The verbs above and the fused run are the same functions: the numbers are equal to the last bit.
np.testing.assert_array_equal(measured.flux.values, obs.flux.values[:4])

# %% [markdown]
# ## Differential photometry (Broeg et al. 2005)

# %%
lc = dphot.differential(obs, target=0)
verbose(f"aperture {lc.attrs['aperture']}, comparison stars {lc.attrs['comparisons']}")

truth = dphot.simulate.open_truth(night / "truth.nc")
rms = dphot.simulate.residual_rms(lc.diff_flux.values[:, lc.attrs["aperture"], 0], truth.relative.values[:, truth.target])
verbose(f"scatter about the injected curve: {1e3 * rms:.2f} ppt")

# %% [markdown]
# ## Looking at it
# In a notebook each of these draws an interactive plot: `lc.dphot.plot()`, `lc.dphot.show_stars(...)`,
# `lc.dphot.comparisons()`, `lc.dphot.systematics()`, `lc.dphot.raw()`, `lc.dphot.psf(...)`, `lc.dphot.summary(...)`.
# The report holds them all.

# %%
plot = lc.dphot.plot()
dphot.report(store, folder / "report.html", target=0)
dphot.export(store, obs, folder / "tutorial.phot", target=0)
verbose(folder / "report.html")

# %%
if options.json:
    print(json.dumps({"frames": obs.sizes["time"], "stars": obs.sizes["star"], "rms": rms, "folder": str(folder)}))
if options.folder is None and "ipykernel" not in sys.modules:
    shutil.rmtree(folder)
