"""The demonstration: the tutorial's night, simulated, reduced, reported, and compared with the truth."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from . import cluster, simulate
from .calibration import calibrate
from .config import Config
from .cube import cube
from .differential import differential
from .errors import InputError
from .flags import StarFlag
from .graph.context import reference_from_dataset, reference_to_dataset
from .io.frames import scan
from .photometry import photometry
from .progress import Progress
from .reduction import reduce
from .store import Store

#: What a demo leaves in its folder.
CONTENT = ("frames", "demo.dphot", "report.html")


def run_demo(
    folder: str | Path = "dphot-demo",
    seed: int = 1,
    *,
    overwrite: bool = False,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: Progress | None = None,
    report_page: bool = True,
) -> dict[str, Any]:
    """Simulate the tutorial's night, reduce it, write the report, and compare the light curve with the truth.

    Parameters
    ----------
    folder : path
        Where frames, store and report go.
    seed : int
        Of the simulation.
    overwrite : bool
        Replace the folder.
    workers, scheduler
        Where to run (see `dphot.cluster.connect`).
    progress : Progress, optional
        For bars.
    report_page : bool
        Write the report.

    Returns
    -------
    dict
        `frames`, `stars`, `apertures`, `frames_per_second`, `rms_residual` (differential minus injected, best
        aperture), `rms_floor` (the best inverse-variance ensemble at the true positions on the same frames),
        `ratio`, `store`, `report`.

    Raises
    ------
    InputError
        If the folder exists already.
    """
    folder = Path(folder)
    progress = progress or Progress()
    if folder.exists():
        if not overwrite:
            raise InputError(f"{folder} exists already; give another --folder, or --overwrite to replace it")
        foreign = (
            sorted(p.name for p in folder.iterdir() if p.name not in CONTENT)
            if folder.is_dir()
            else [folder.name]
        )
        if foreign:
            raise InputError(
                f"{folder} holds {foreign[0]}, which no demo made: it is not replaced; give another --folder"
            )
        shutil.rmtree(folder)
    with progress.counter("simulate") as count:
        (night,) = simulate.write_nights(folder / "frames", seed=seed, preset="tutorial", progress=count)
    truth = simulate.open_truth(night / "truth.nc")
    with cluster.connect(workers, scheduler) as client:
        store = reduce(
            scan(folder / "frames"), folder / "demo.dphot", client=client, workers=0, progress=progress
        )
        (name,) = store.photometry
        obs = store.photometry[name].load()
        lc = differential(obs, target=target_index(obs, truth))
        floor = floor_of(store, name, truth)
    star, aperture = lc.attrs["target"], lc.attrs["aperture"]
    injected = truth.relative.values[:, truth.attrs["target"]]
    residual = simulate.residual_rms(lc.diff_flux.values[:, aperture, star], injected)
    page = folder / "report.html"
    if report_page:
        from .views import report

        curve = xr.DataArray(injected / np.median(injected), dims="time", coords={"time": lc.time})
        report(store, page, target=star, truth=curve)
    (record,) = store.nights[0]["series"]
    return {
        "frames": int(lc.sizes["time"]),
        "stars": int(lc.sizes["star"]),
        "apertures": int(lc.sizes["aperture"]),
        "frames_per_second": record["frames_per_second"],
        "rms_residual": residual,
        "rms_floor": floor,
        "ratio": residual / floor,
        "seed": seed,
        "store": str(folder / "demo.dphot"),
        "report": str(page) if report_page else None,
    }


def target_index(obs: xr.Dataset, truth: xr.Dataset) -> int:
    """The measured star that is the simulation's target: the one nearest to its place in the first frame."""
    target = truth.attrs["target"]
    x, y = (obs[k].values[0] - truth[k].values[0, target] for k in ("x", "y"))
    return int(np.nanargmin(np.hypot(x, y)))


def floor_of(store: Store, name: str, truth: xr.Dataset) -> float:
    """The least scatter that the photons of these frames allow (see `simulate.ensemble_floor`).

    All true stars that stay on the chip are measured at their true positions, in the store's own apertures.
    """
    night = next(iter(store.frames[name]))
    frames = store.frames[name][night]
    masters = store.masters[f"{night}/{name}"].load()
    reference = reference_from_dataset(store.reference.load())
    everywhere = replace(
        reference, star_x=truth.x.values[0], star_y=truth.y.values[0],
        star_flags=np.zeros(truth.sizes["star"], np.uint16),
        near_x=truth.x.values[0], near_y=truth.y.values[0],
        near_radius=np.full(truth.sizes["star"], 3.0 * float(truth.fwhm.values.mean())),
    )  # fmt: skip
    at_truth = reference_to_dataset(everywhere)
    for column in ("star_flux", "star_ra", "star_dec"):
        at_truth[column] = "star", np.full(truth.sizes["star"], np.nan)
    positions = np.stack([truth.x.values, truth.y.values], axis=1)
    calibrated = calibrate(cube(frames), masters, reference.saturation)
    measured = photometry(calibrated, at_truth, masters, Config(), positions)
    kept = measured.flags.values & int(StarFlag.SATURATED) == 0
    floor = simulate.ensemble_floor(
        measured.flux.values, truth, measured.aperture_area.values,
        sky_pixels=np.median(measured.sky_pixels.values, axis=1), use=kept,
    )  # fmt: skip
    return floor.rms_floor
