"""How long it takes to open a store of many nights and to draw one star's light curve; and what a night costs it.

    python examples/benchmarks/open_store.py [--nights 300] [--frames 100] [--stars 50] [--json]

The measurements are made up (white noise on stars of known brightness) and go straight through the store's interface.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import xarray as xr

from dphot import schema
from dphot.store import Store

DRAW = """
import time; start = time.perf_counter(), time.process_time()
import {imports}
dphot.open, dphot.light_curve  # names load on first use
loaded = time.perf_counter(), time.process_time()
store = dphot.open({path!r})
opened = time.perf_counter()
{what}
end = time.perf_counter(), time.process_time()
print(*(f"{{b - a:.3f}}" for a, b in zip(loaded, end)), f"{{opened - loaded[0]:.3f}}", f"{{end[0] - start[0]:.3f}}")
"""
WAYS = {
    "flux": "lc = store.photometry['r'].flux.isel(star=0, aperture=10).load()",
    "light_curve": "lc = dphot.light_curve(store, target=0)",
    "drawn": "lc = dphot.light_curve(store, target=0); plot = lc.dphot.plot()",
}


def night(k: int, frames: int, apertures: int, stars: int) -> xr.Dataset:
    """Photometry of one night, every variable of the registry."""
    rng = np.random.default_rng(k)
    sizes = {"time": frames, "aperture": apertures, "star": stars, "coefficient": 6}
    brightness = 10 ** np.random.default_rng(0).uniform(4, 6, stars)
    ds = xr.Dataset()
    for name, declared in schema.PHOTOMETRY.items():
        shape, time = tuple(sizes[d] for d in declared.dims), "time" in declared.dims
        kinds = {"f": np.float64, "i": np.int32, "u": np.uint16, "O": object}
        values = np.full(shape, "" if declared.kind == "O" else 1, kinds[declared.kind])
        ds[name] = (
            declared.dims,
            values * rng.normal(1, 0.01, shape) if time and declared.kind == "f" else values,
        )
    growth = 1 - np.exp(-np.linspace(0.3, 4, apertures))[:, None]
    flux = brightness * growth * (1 + 0.05 * rng.normal(size=(frames, 1, 1)))
    error = np.sqrt(flux + 300 * np.linspace(0.3, 4, apertures)[:, None] ** 2)
    ds["flux"] = ds.flux.dims, flux + error * rng.normal(size=flux.shape)
    ds["flux_err"] = ds.flux.dims, error
    for name in ("flags", "frame_flags"):
        ds[name] = ds[name] * 0
    for name in ("star_x", "star_y", "star_flux"):
        ds[name] = "star", brightness
    start = np.datetime64("2020-01-01T20:00", "ns") + np.timedelta64(k, "D")
    ds = ds.assign_coords(time=start + np.arange(frames) * np.timedelta64(60, "s"))
    days = (ds.time.values - np.datetime64("2000-01-01T12:00")) / np.timedelta64(1, "D") + 2451545.0
    ds["bjd_tdb"] = ds["jd_utc"] = "time", days
    ds["scintillation"] = ds.scintillation * 1e-3
    ds["night"] = "time", np.full(frames, str(start)[:10], object)
    paths = [f"/data/raw/{str(start)[:10]}/light-{i:04d}.fits" for i in range(frames)]
    ds["path"] = "time", np.array(paths, object)
    ds["digest"] = "time", np.array([f"{k:06d}{i:06d}" for i in range(frames)], object)
    return schema.annotate(
        ds.set_coords(["star_x", "star_y", "star_flux", "star_ra", "star_dec"]), schema.PHOTOMETRY
    )


def fill(path: Path, options: argparse.Namespace) -> list[float]:
    """Append the nights; CPU-seconds of each."""
    store, seconds = Store.create(path, {}), []
    for k in range(options.nights):
        ds = night(k, options.frames, options.apertures, options.stars)
        start = time.process_time()
        with store.transaction(f"night {k}") as tx:
            tx.append_photometry("r", ds)
            tx.write_night(str(ds.night.values[0]), {"series": []})
        seconds.append(time.process_time() - start)
    return seconds


def draw(path: Path, way: str) -> dict[str, float]:
    """Seconds in a fresh process, without its imports: wall, CPU, opening alone; and with them."""
    imports = "dphot, dphot.views, hvplot.xarray" if way == "drawn" else "dphot"
    code = DRAW.format(path=str(path), imports=imports, what=WAYS[way])
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    names = ("seconds", "cpu_seconds", "open_seconds", "with_imports_seconds")
    return dict(zip(names, map(float, done.stdout.split()[-4:]), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--nights", type=int, default=300)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--apertures", type=int, default=32)
    parser.add_argument("--stars", type=int, default=50)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "field.dphot"
        seconds = fill(path, options)
        result = {way: draw(path, way) for way in WAYS}
        size = sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
    tenth = max(1, len(seconds) // 10)
    result["append"] = {
        "first_cpu_seconds": float(np.median(seconds[1 : 1 + tenth])),
        "last_cpu_seconds": float(np.median(seconds[-tenth:])),
    }
    result["store"] = {
        "frames": options.nights * options.frames,
        "megabytes": size / 1e6,
        "peak_memory_megabytes": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3,
    }
    if options.json:
        print(json.dumps(result))
        return
    print(
        f"{options.nights} nights x {options.frames} frames, {options.apertures} apertures, {options.stars} stars"
    )
    for name, numbers in result.items():
        print(f"{name:12s} " + ", ".join(f"{k} {v:.3f}" for k, v in numbers.items()))


if __name__ == "__main__":
    main()
