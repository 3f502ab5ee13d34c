"""What each command of the command line does: arguments in, a dictionary of results out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from .config import Config
from .demo import run_demo
from .differential import differential as make_differential
from .errors import InputError
from .export import export as write_export
from .export import light_curve_csv, refuse_existing
from .io.frames import scan as make_scan
from .progress import Progress
from .reduction import reduce as make_reduction
from .store import Store
from .telescope import Telescope, get, known

Result = dict[str, Any]


def _say(arguments: argparse.Namespace, text: object) -> None:
    if not arguments.quiet:
        print(text)


def _progress(arguments: argparse.Namespace) -> Progress:
    return Progress(False) if arguments.quiet else Progress(lines=True)


def _indices(text: str | None, option: str) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise InputError(f"--{option}: {text!r} is not a list of star numbers, as 1,2,5") from error


def settings(arguments: argparse.Namespace) -> Config:
    """The settings of a command: a file's, then the options'."""
    config = Config.from_toml(arguments.config) if arguments.config else Config()
    options = {name: getattr(arguments, name) for name in vars(config) if getattr(arguments, name, None) is not None}
    return config.patch(**options)


def simulate(arguments: argparse.Namespace) -> Result:
    """`dphot simulate`"""
    from .simulate import write_nights

    size = {} if arguments.size is None else {"size": arguments.size}
    with _progress(arguments).bar("simulate", None) as bar:
        folders = write_nights(
            arguments.folder, nights=arguments.nights, frames=arguments.frames, seed=arguments.seed,
            preset=arguments.preset, compress=arguments.compress, overwrite=arguments.overwrite,
            progress=lambda done, total: bar.update(), **size,
        )  # fmt: skip
    for folder in folders:
        _say(arguments, folder)
    return {"folders": [str(f) for f in folders]}


def telescope(arguments: argparse.Namespace) -> Result:
    """`dphot telescope`"""
    if arguments.action == "list":
        names = sorted(known())
        for name in names:
            _say(arguments, name)
        return {"telescopes": names}
    if not arguments.name:
        raise InputError(f"telescope {arguments.action}: give the name of a telescope, or a TOML file")
    if arguments.action == "add":
        added = Telescope.from_toml(arguments.name)
        path = added.save()
        _say(arguments, f"telescope {added.name!r} kept in {path}")
        return {"telescope": added.name, "path": str(path)}
    shown = get(arguments.name)
    missing = dict(shown.missing())
    _say(arguments, shown.to_toml())
    for name, cost in missing.items():
        _say(arguments, f"# {name} is not known: {cost}")
    return {"telescope": shown.name, "toml": shown.to_toml(), "missing": missing}


def scan(arguments: argparse.Namespace) -> Result:
    """`dphot scan`"""
    table = make_scan(arguments.folder, telescope=arguments.telescope)
    _say(arguments, table)
    if arguments.errors:
        for path, error in table.errors.itertuples(index=False):
            _say(arguments, f"{path}: {error}")
    records = table.to_pandas().to_dict("records")
    counts: dict[str, int] = {}
    for r in records:
        kind = "unusable" if r["error"] else (r["type"] or "unknown")
        counts[kind] = counts.get(kind, 0) + 1
    errors = [{"path": r["path"], "error": r["error"]} for r in records if r["error"]]
    return {"files": len(records), "types": counts, "errors": errors}


def reduce(arguments: argparse.Namespace) -> Result:
    """`dphot reduce`"""
    store = make_reduction(
        arguments.folder, arguments.store, settings(arguments), workers=arguments.workers,
        scheduler=arguments.scheduler, overwrite=arguments.overwrite, progress=_progress(arguments),
    )  # fmt: skip
    result = summary(store)
    _say(arguments, f"{result['store']}: {result['frames_used']} of {result['frames']} frames measured, "
                    f"{result['stars']} stars, {result['apertures']} apertures")  # fmt: skip
    for item in result["frames_dropped"]:
        _say(arguments, f"  dropped {item['path']}: {', '.join(item['flags'])}: {item['reason']}")
    return result


def summary(store: Store) -> Result:
    """What a store holds, in numbers."""
    records = series_records(store)
    seconds = sum(r["elapsed_s"] for r in records)
    frames = sum(r["frames"] for r in records)
    first = next(iter(store.photometry.values()))
    return {
        "store": store.path,
        "nights": len(store.nights),
        "filters": list(store.photometry),
        "frames": frames,
        "frames_used": sum(r["frames_used"] for r in records),
        "frames_dropped": [item for r in records for item in r["frames_dropped"]],
        "stars": first.sizes["star"],
        "apertures": first.sizes["aperture"],
        "frames_per_second": round(frames / seconds, 2) if seconds else None,
        "calibration_missing": sorted({m for r in records for m in r["calibration"]["missing"]}),
    }


def series_records(store: Store) -> list[Result]:
    """The records of all nights and filters, in order."""
    return [record for night in store.nights for record in night["series"]]


def pick(store: Store, name: str | None) -> xr.Dataset:
    """The photometry in one filter.

    Raises
    ------
    InputError
        If the filter is not there, or none is named and there are several.
    """
    filters = list(store.photometry)
    if name is None and len(filters) == 1:
        return store.photometry[filters[0]]
    if name not in filters:
        raise InputError(f"filter {name!r}: {store.path} holds {filters}; name one with --filter")
    return store.photometry[name]


def differential(arguments: argparse.Namespace) -> Result:
    """`dphot differential`"""
    store = Store.open(arguments.store)
    if arguments.csv:
        refuse_existing(arguments.csv, arguments.overwrite)
    lc = make_differential(
        pick(store, arguments.filter).load(), arguments.target,
        _indices(arguments.comparisons, "comparisons"), arguments.aperture,
        _indices(arguments.exclude, "exclude") or (),
    )  # fmt: skip
    star, aperture = lc.attrs["target"], lc.attrs["aperture"]
    curve = lc.diff_flux.values[:, aperture, star]
    result = {
        "target": star,
        "aperture": aperture,
        "aperture_radius": round(float(np.nanmedian(lc.aperture_radius.values[:, aperture])), 4),
        "comparisons": lc.attrs["comparisons"],
        "weights": [round(float(lc.weight.values[aperture, i]), 6) for i in lc.attrs["comparisons"]],
        "frames": int(np.isfinite(curve).sum()),
        "scatter": float(lc.scatter.values[aperture]),
        "rms": float(np.nanstd(curve)),
    }
    if arguments.csv:
        light_curve_csv(lc, arguments.csv)
        result["csv"] = arguments.csv
    _say(arguments, f"star {star}, aperture {aperture} ({result['aperture_radius']:.2f} px), "
                    f"{result['frames']} frames, point-to-point scatter {1e3 * result['scatter']:.2f} ppt; "
                    f"comparisons {result['comparisons']}")  # fmt: skip
    return result


def report(arguments: argparse.Namespace) -> Result:
    """`dphot report`"""
    from .views import report as write_report

    store = Store.open(arguments.store)
    output = arguments.output or f"{Path(arguments.store.rstrip('/')).with_suffix('')}.html"
    refuse_existing(output, arguments.overwrite)
    pngs = write_report(store, output, target=arguments.target, png=arguments.png)
    _say(arguments, output)
    return {"report": str(output), "png": [str(p) for p in pngs]}


def export(arguments: argparse.Namespace) -> Result:
    """`dphot export`"""
    store = Store.open(arguments.store)
    kind = write_export(
        store, pick(store, arguments.filter), arguments.output, format=arguments.format, target=arguments.target,
        overwrite=arguments.overwrite,
    )  # fmt: skip
    _say(arguments, arguments.output)
    return {"output": arguments.output, "format": kind}


def demo(arguments: argparse.Namespace) -> Result:
    """`dphot demo`"""
    result = run_demo(
        arguments.folder, seed=arguments.seed, overwrite=arguments.overwrite, workers=arguments.workers,
        scheduler=arguments.scheduler, progress=_progress(arguments),
    )  # fmt: skip
    _say(arguments, f"""
{result['frames']} frames, {result['stars']} stars, {result['apertures']} apertures: {result['frames_per_second']:.0f} frames/s
the 1 % sinusoid comes back with a scatter of {1e3 * result['rms_residual']:.3f} ppt;
the best that these photons allow is {1e3 * result['rms_floor']:.3f} ppt (ratio {result['ratio']:.3f})
store   {result['store']}
report  {result['report']}""")
    return result
