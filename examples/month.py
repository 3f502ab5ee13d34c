# %% [markdown]
# # A month of nights in one store
# An observatory looks at one field on every clear night, and in the morning appends the night's frames to the
# field's store, whatever happened: flats that were missing, nights out of order, frames that come late, a power
# cut, clouds, the wrong field. This script lives through such a month, simulated, and compares the light curve of
# all nights with the one that was put in. Run it whole (`python examples/month.py`, a minute or two), or cell
# by cell in a notebook.

# %%
import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import holoviews as hv
import hvplot.pandas
import numpy as np
import pandas as pd

import dphot

parser = argparse.ArgumentParser()
parser.add_argument("--folder", help="where to work [a temporary folder]")
parser.add_argument("--nights", type=int, default=30, help="12 or more [30]")
parser.add_argument("--json", action="store_true", help="print nothing but the results, as JSON")
options, _ = parser.parse_known_args()
if options.nights < 12:
    parser.error(f"--nights {options.nights}: all that happens takes 12 nights")
temporary = tempfile.TemporaryDirectory(prefix="dphot-month-") if options.folder is None else None
folder = Path(temporary.name if temporary else options.folder)


def show(*values: object) -> None:
    """Print, except under --json."""
    if not options.json:
        print(*values, end="\n\n")


DPHOT = [sys.executable, "-m", "dphot.cli"]


def shell(*words: object) -> None:
    """What `dphot ...` says in a shell, except under --json."""
    if not options.json:
        command = [str(word) for word in words]
        done = subprocess.run([*DPHOT, *command], check=True, stdout=subprocess.PIPE, text=True)
        show(f"$ dphot {' '.join(command)}\n{done.stdout}".rstrip())


# %% [markdown]
# ## The field and its month
# The target is spotted and turns in 11 days, and a planet passes before it every 1.27 days. One of the comparison
# stars is steady at first, and begins to vary in the second half of the month.

# %%
TURN, PERIOD, TRANSIT, MIDDLE = 11.0, 1.274, 0.11, 0.12  # days
VARIABLE, BEGINS = 3, 9 + (options.nights - 9) // 2


def from_transit(days):
    """Days from the middle of the nearest transit."""
    return (days - MIDDLE + PERIOD / 2) % PERIOD - PERIOD / 2


def planet(days):
    return 1 - 0.014 * np.clip((TRANSIT / 2 - np.abs(from_transit(days))) / 0.015, 0, 1)


def target_flux(days):
    return (1 + 0.015 * np.sin(2 * np.pi * days / TURN)) * planet(days)


def variable_flux(days):
    return 1 + 0.03 * np.sin(2 * np.pi * (days - BEGINS) / 3.7) * (days > BEGINS)


days = np.arange(0, options.nights + 1, 0.02)
usual = {
    "seed": 11, "size": 240, "frames": 12, "exposure": 120, "stars": 40, "slope": 0.1, "magnitude_range": 5,
    "peak": 40000, "wcs": True, "ra": 170, "dec": 20, "drift": (0.5, -0.4), "flip": 0.4, "signal": target_flux,
    "variables": [(VARIABLE, dphot.simulate.Signal.sampled(days, variable_flux(days)))],
    "bias": 0, "darks": 0, "flats": 0,
}  # fmt: skip
calibrated = {"bias": 5, "darks": 5, "flats": 5}
unusual = {
    0: {"bias": 5, "darks": 5},  # clouds in the twilight: no flats
    2: calibrated,
    4: {"clouds": 8, "cloud_depth": 2.5},
    7: {"extinction": 7, "sky": 2000},  # thick cloud, all night
    8: {"seed": 99, "ra": 200, "signal": None, "variables": ()},  # the wrong field
    **{k: calibrated for k in range(9, options.nights, 7)},
}
nights = []
for k in range(options.nights):
    nights += dphot.simulate.write_nights(folder / "frames", night=k, **usual | unusual.get(k, {}))

# %% [markdown]
# ## The first night makes the store
# Its best frame defines the stars of all nights. There are no flats yet: each frame is flagged, and the record of the
# night says so. (A few radii are enough here; 32 are the default. Frames so small are measured in this process,
# `workers=0`: by default all cores take part.)

# %%
radii = [0.75, 1, 1.25, 1.5, 2, 2.5, 3, 4]
store = dphot.reduce(nights[0], folder / "field.dphot", workers=0, target="170d,20d", apertures=radii)
show(store)
show("missing:", *store.nights[0]["series"][0]["calibration"]["missing"])

# %% [markdown]
# ## Morning by morning
# One commit a night. Calibration frames are not taken every night: where there are none, those of the nearest night
# serve, which the store's records name. A second call does nothing.

# %%
for night in nights[1:3]:
    show(store.append(night, workers=0))
again = store.append(nights[2], workers=0)
show(again)

# %% [markdown]
# Nights may come in any order, and frames that come late extend their night: the numbers are those, to the bit, of
# frames that came at once.

# %%
show(store.append(nights[4], workers=0))
show(store.append(nights[3], workers=0))

lights = sorted(nights[5].glob("light*"))
show(store.append(lights[:8], workers=0))
late = store.append(nights[5], workers=0)
show(late)

# %% [markdown]
# ## Nights that fail
# A power cut: `dphot append` is killed as soon as it has written something. The store is at its last commit, and the
# night, appended again, is whole.

# %%
there, commits = set(Path(store.path).glob("chunks/*")), len(store.history())
process = subprocess.Popen([*DPHOT, "append", store.path, nights[6], "--workers", "0", "--quiet"])
while process.poll() is None and there.issuperset(Path(store.path).glob("chunks/*")):
    time.sleep(0.02)
process.kill()
killed = process.wait() == -signal.SIGKILL
store.refresh()
lost = len(store.history()) - commits
show(f"killed in the middle: {killed}; {lost} commits more than before")
show(store.append(nights[6], workers=0))

# %% [markdown]
# A night of clouds is kept: rows without numbers, with a flag that says why.

# %%
clouds = store.append(nights[7], workers=0)
show(clouds, *clouds.records[0]["frames_dropped"][:1])

# %% [markdown]
# A night that shows another field is refused, with the numbers, and nothing of it is stored.

# %%
refused = ""
try:
    store.append(nights[8], workers=0)
except dphot.errors.InputError as error:
    refused = str(error)
show(refused)

# %% [markdown]
# ## A version with a name, and nights measured again
# The present state gets a name, for ever. Then the first two nights, which had no flats, are calibrated again with
# those of the third, from the raw frames that the store keeps.

# %%
store.tag("first-look")
flats = sorted(nights[2].glob("flat*"))
for night in nights[:2]:
    dphot.redo(store, night.name, workers=0, calibration=flats)
good = store.history()[0].id
shell("diff", store.path, "first-look", good)

# %% [markdown]
# The numbers of before stay readable: by tag, commit or date.

# %%
old, new = (float(version.photometry["r"].flux[0, 2, 0]) for version in (store.at("first-look"), store))
show(f"the first flux of star 0: {old:.0f} e- in 'first-look', {new:.0f} e- now")

# %% [markdown]
# Not every idea is a good one: this annulus lies in the wings of the stars. What it did, and the way back.

# %%
dphot.redo(store, nights[3].name, workers=0, annulus=(1.2, 2.0))
worse = dphot.diff(store.at(good), store)["filters"]["r"]
show(f"{worse['frames_changed']} frames changed, by up to {worse['max_relative_change']:.0%}")
store.rollback(good)
back = dphot.diff(store.at(good), store)["filters"]["r"]
show(f"after the rollback {back['frames_changed']} frames differ")

# %% [markdown]
# ## The rest of the month

# %%
for night in nights[9:]:
    show(store.append(night, workers=0))
show(store)

# %% [markdown]
# ## The comparison stars live with the store
# With each commit all stars are judged anew, by all nights. The history says when one turned out to vary: from then on
# it weighs next to nothing, in the light curves of earlier nights, too. Before the flats came many stars seemed to
# vary; the target does, and is found out as any other.

# %%
shell("history", store.path)
newest = next(commit.metadata for commit in store.history() if "demoted" in commit.metadata)
when, star = newest["night"], newest["demoted"]["r"][0]
show(f"star {star} was found to vary on {when}; it began on {nights[BEGINS].name}")

# %% [markdown]
# ## The light curve of all nights, on one scale
# `night_level` holds the median of each night. The injected curve is scaled to the mean of the measured one.

# %%
START, CLOUD = dphot.simulate.Simulation().start_jd, int(dphot.flags.FrameFlag.CLOUD)


def curve(version, target=None, injected=target_flux):
    """A light curve; its good frames, with the injected curve; the nights, with their offsets from that."""
    lc = dphot.light_curve(version, target)
    good = lc.isel(star=lc.attrs["target"], aperture=0, time=lc.frame_flags & CLOUD == 0)
    frames = pd.DataFrame({
        "day": good.jd_utc - START,
        "night": good.night,
        "flux": good.diff_flux,
        "error": good.diff_err,
        "level": good.night_level,
    }).dropna()  # fmt: skip
    frames["injected"] = injected(frames.day) * frames.flux.mean() / injected(frames.day).mean()
    frames["offset"] = 1e3 * (frames.flux / frames.injected - 1)
    by_night = frames.groupby("night")
    of_nights = by_night[["day", "level", "offset"]].median()
    # of a median: the root of pi / 2 above that of a mean
    of_nights["error"] = 1e3 * by_night.error.median() * np.sqrt(np.pi / 2 / by_night.size())
    return lc, frames, of_nights


lc, frames, of_nights = curve(store)
_, _, first_look = curve(store.at("first-look"))
_, variable, _ = curve(store, star, variable_flux)
rms = dphot.simulate.residual_rms(frames.flux, frames.injected)
expected = frames.error.median()
told = f"{1e3 * rms:.2f} ppt, expected {1e3 * expected:.2f}"
show(f"{len(frames)} frames scatter about the injected curve by {told}")
spread, spread_first = of_nights.offset.std(), first_look.offset.std()
show(f"the nights by {spread:.2f} ppt; those of 'first-look' by {spread_first:.2f}")

# %% [markdown]
# In a notebook `lc.dphot.plot()` draws the curve with all that is known of each frame. Here is the month: the same
# figure as a page to look into, and as a picture.

# %%
BLUE, SKY, ORANGE, VERMILLION = "#0072B2", "#56B4E9", "#E69F00", "#D55E00"


def figure(backend):
    """Light curve, offsets of the nights, folded transit, and the star that began to vary."""
    hvplot.extension(backend)
    page = backend == "bokeh"
    day = {"x": "day", "xlabel": "days since the first night", "width": 515, "height": 350}
    hours = {**day, "x": "hours", "xlabel": "hours from the middle of the transit"}
    line = {"color": ORANGE, "label": "injected", **({"line_width": 1.4} if page else {"linewidth": 1.4})}
    small, large = {"s": 9 if page else 60, "color": SKY, "label": "frames"}, {"s": 30 if page else 900}
    bars = {"color": BLUE, "lower_head": None, "upper_head": None} if page else {"edgecolor": BLUE}
    look = {"show_grid": True, "legend_cols": 3 if page else 1, "legend_position": "top" if page else "best"}
    look |= {"hooks": [dphot.views.style.finish]} if page else {}

    fine = pd.DataFrame({"day": np.linspace(0, options.nights, 4001)})
    fine["flux"] = target_flux(fine.day) * frames.flux.mean() / target_flux(frames.day).mean()
    fine["variable"] = variable_flux(fine.day) * variable.flux.mean() / variable_flux(variable.day).mean()
    whole = (
        fine.hvplot.line(y="flux", **line, **day)
        * frames.hvplot.scatter(y="flux", **small, **day)
        * of_nights.hvplot.scatter(y="level", label="median of a night", color=BLUE, **large, **day)
    ).opts(**look, title="All nights, on one scale", ylabel="differential flux")
    offsets = (
        first_look.hvplot.scatter(y="offset", label="before the flats came", color=VERMILLION, **large, **day)
        * of_nights.hvplot.errorbars(x="day", y="offset", yerr1="error").opts(**bars)
        * of_nights.hvplot.scatter(y="offset", label="in the end", color=BLUE, **large, **day)
    ).opts(**look, title="Offsets of the nights from the injected curve", ylabel="offset (ppt)")

    folded = frames.assign(hours=24 * from_transit(frames.day))
    outside = folded.flux.where(folded.hours.abs() > 12 * TRANSIT)
    folded["flux"] /= outside.groupby(folded.night).transform("median")
    folded = folded[["hours", "flux"]][folded.hours.abs() < 3.5].dropna()
    bins = folded.groupby((folded.hours * 2).round() / 2).mean()
    model = pd.DataFrame({"hours": np.linspace(-3.5, 3.5, 501)})
    model["flux"] = planet(MIDDLE + model.hours / 24)
    transit = (
        model.hvplot.line(y="flux", **line, **hours)
        * folded.hvplot.scatter(y="flux", **small, **hours)
        * bins.hvplot.scatter(y="flux", label="half hours", color=BLUE, **large, **hours)
    ).opts(**look, title="The planet, each night over its own level", ylabel="relative flux")

    began = (
        fine.hvplot.line(y="variable", **line, **day) * variable.hvplot.scatter(y="flux", **small, **day)
    ).opts(**look, title=f"Star {star}, a comparison until {when}", ylabel="differential flux")
    return hv.Layout([whole, offsets, transit, began]).cols(2).opts(shared_axes=False)


picture = figure("matplotlib").opts(hv.opts.Layout(fig_inches=(14, 10), sublabel_format="", tight=True))
hv.save(picture, folder / "month.png", backend="matplotlib", dpi=110)
dphot.views.save_html(figure("bokeh"), folder / "month.html", "A month of nights", overwrite=True)
show(folder / "month.html", folder / "month.png")

# %% [markdown]
# ## Where does a point come from?
# From the raw file, whose digest is kept, to the commit.

# %%
faintest = lc.time.values[np.nanargmin(lc.diff_flux[:, 0, lc.attrs["target"]].values)]
point = dphot.explain(store, faintest, star=lc.attrs["target"])
show(point["frame"]["path"], point["frame"]["digest"], "the file is the", point["frame"]["file"])
show({kind: len(frames) for kind, frames in point["masters"].items()}, point["commit"])

# %% [markdown]
# ## Is all of it whole, and what can go?
# Every chunk is read, and every file that the store names. Old versions go at an age that is named, never by
# themselves; with no age at all this is what would go. What has a tag stays.

# %%
problems, files = dphot.check(store)
show(f"{len(problems)} problems; {files['same']} files are what they were")
gone = store.collect(timedelta(0), dry_run=True)
show(f"{len(gone.commits)} of {len(store.history(everything=True))} versions would go")

# %%
if options.json:
    obs, truth = store.photometry["r"], dphot.simulate.open_truth(nights[0])
    away = np.hypot(obs.x[0] - truth.x[0, VARIABLE], obs.y[0] - truth.y[0, VARIABLE])
    result = {
        "nights": len(store.nights),
        "frames": obs.sizes["time"],
        "frames_used": len(frames),
        "again": again.frames,
        "late": [late.frames, late.records[0]["frames"]],
        "killed": killed,
        "commits_of_the_killed": lost,
        "clouds": [clouds.frames, clouds.frames_used],
        "refused": refused,
        "first_flux": [old, new],
        "redo": worse,
        "rollback": back,
        "demoted": [when, star],
        "began": [nights[BEGINS].name, int(away.argmin())],
        "rms": rms,
        "expected": expected,
        "night_rms": spread,
        "night_rms_first_look": spread_first,
        "explained": point["frame"]["file"],
        "problems": len(problems),
        "would_go": len(gone.commits),
    }
    print(json.dumps({**result, "folder": str(folder)}))
if temporary and "ipykernel" not in sys.modules:
    temporary.cleanup()
