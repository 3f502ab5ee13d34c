"""What each command of the command line does: arguments in, a dictionary of results out.

A command loads what it uses and no more: the libraries take longer to load than most commands to run.
"""

from __future__ import annotations

import argparse
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import dphot

from .config import FREE_IN_APPEND, Config, read_toml
from .errors import AlignmentError, InputError
from .io.bayer import CHANNELS
from .io.files import is_remote
from .saying import progress, say
from .summaries import (
    append_lines,
    append_summary,
    curve_lines,
    curve_summary,
    shortened,
    store_lines,
    store_summary,
)
from .telescope import PRESETS, Telescope, get, known

if TYPE_CHECKING:
    import xarray as xr

    from .store import Store

Result = dict[str, Any]


def _indices(text: str | None, option: str) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise InputError(f"--{option}: {text!r} is not a list of star numbers, as 1,2,5") from error


def _curve_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """How the light curve is made, as `dphot.differential` takes it."""
    return {
        "comparisons": _indices(arguments.comparisons, "comparisons"),
        "aperture": arguments.aperture,
        "exclude": _indices(arguments.exclude, "exclude") or (),
    }


def settings(arguments: argparse.Namespace) -> Result:
    """The settings that a command gives: a file's, then the options'."""
    options = {f.name: getattr(arguments, f.name, None) for f in fields(Config)}
    told = read_toml(arguments.config) if arguments.config else {}
    return {**told, **{name: value for name, value in options.items() if value is not None}}


def simulate(arguments: argparse.Namespace) -> Result:
    """`dphot simulate`"""
    size = {} if arguments.size is None else {"size": arguments.size}
    with progress(arguments).counter("simulate") as count:
        folders = dphot.simulate.write_nights(
            arguments.folder, nights=arguments.nights, frames=arguments.frames, seed=arguments.seed,
            preset=arguments.preset, compress=arguments.compress, overwrite=arguments.overwrite,
            progress=count, **size,
        )  # fmt: skip
    for folder in folders:
        say(arguments, folder)
    return {"folders": [str(f) for f in folders]}


def telescope(arguments: argparse.Namespace) -> Result:
    """`dphot telescope`"""
    if arguments.action == "list":
        telescopes = known()
        for name, one in sorted(telescopes.items()):
            also = ", ".join(n for n in one.names if n != name)
            say(arguments, f"{name}  ({also})" if also else name)
        return {"telescopes": sorted(telescopes)}
    if not arguments.name:
        raise InputError(f"{arguments.action}: give the name of a telescope, or a TOML file")
    if arguments.action == "add":
        added = Telescope.from_toml(arguments.name)
        path = added.save(overwrite=arguments.overwrite)
        say(arguments, f"telescope {added.name!r} kept in {path}")
        if any(added.name == Telescope.from_toml(preset).name for preset in PRESETS.glob("*.toml")):
            say(arguments, "it stands before dphot's own of that name")
        return {"telescope": added.name, "path": str(path)}
    shown = get(arguments.name)
    missing = dict(shown.missing())
    say(arguments, shown.to_toml())
    for name, cost in missing.items():
        say(arguments, f"# {name} is not known: {cost}")
    return {"telescope": shown.name, "toml": shown.to_toml(), "missing": missing}


def scan(arguments: argparse.Namespace) -> Result:
    """`dphot scan`"""
    table = dphot.scan(arguments.folder, telescope=arguments.telescope)
    say(arguments, table)
    records = table.to_pandas().to_dict("records")
    errors = [{"path": r["path"], "error": r["error"]} for r in records if r["error"]]
    if arguments.errors:
        say(arguments, "\n".join(f"{e['path']}: {e['error']}" for e in errors) or "every file can be used")
    counts: dict[str, int] = {}
    for r in records:
        kind = "unusable" if r["error"] else (r["type"] or "unknown")
        counts[kind] = counts.get(kind, 0) + 1
    return {
        "files": len(records),
        "nights": table.nights,
        "types": counts,
        "groups": table.summary().rename(columns={"exposure / s": "exposure"}).to_dict("records"),
        "notes": [{"note": note, "frames": frames} for note, frames in table.notes],
        "errors": errors,
    }


def reduce(arguments: argparse.Namespace) -> Result:
    """`dphot reduce`"""
    store = dphot.reduce(
        arguments.folder, arguments.store, workers=arguments.workers, scheduler=arguments.scheduler,
        overwrite=arguments.overwrite, progress=progress(arguments), **settings(arguments),
    )  # fmt: skip
    say(arguments, "\n".join(store_lines(store)))
    summary = store_summary(store)
    # The store is kept: it says of every frame why.
    return summary if summary["frames_used"] else {**summary, "exit_code": AlignmentError.exit_code}


def append(arguments: argparse.Namespace) -> Result:
    """`dphot append`"""
    given = {name: value for name in FREE_IN_APPEND if (value := getattr(arguments, name)) is not None}
    done = dphot.append(
        arguments.store, arguments.folder, workers=arguments.workers, scheduler=arguments.scheduler,
        wait=arguments.wait, progress=progress(arguments), **given,
    )  # fmt: skip
    say(arguments, "\n".join(append_lines(done)))
    return append_summary(done)


def watch(arguments: argparse.Namespace) -> Result:
    """`dphot watch`"""
    from .formats import refuse_existing

    if arguments.output:  # beside the store a folder is made with it
        refuse_existing(arguments.output, overwrite=True)
    output = arguments.output or _report_name(arguments.store)

    def update(store: Store) -> None:
        dphot.report(store, output, overwrite=True)
        say(arguments, f"{store}; {output} is up to date")

    left: dict[str, str] = {}
    refused: dict[str, str] = {}
    with _stopping() as stop:
        frames = dphot.watch(
            arguments.store, arguments.folder, every=60 * arguments.every, quiet=60 * arguments.quiet_after,
            poll=arguments.poll, patience=60 * arguments.patience, stop=stop, on_commit=update,
            on_refused=refused.update, on_end=left.update, workers=arguments.workers or 0,
            scheduler=arguments.scheduler, progress=progress(arguments), **settings(arguments),
        )  # fmt: skip
    unfinished = [{"path": path, "error": error} for path, error in sorted(left.items())]
    half, unfit = (
        [
            f"  {path}: {error or 'changed a moment ago'}"
            for path, error in sorted(left.items())
            if (path in refused) == r
        ]
        for r in (False, True)
    )
    rest = "; not added, since they may be half written (`dphot append` takes them):" if half else ""
    lines = [f"{frames} frames added{rest}", *half]
    if unfit:
        lines += ["refused:", *shortened(unfit, "  and {} more")]
    say(arguments, "\n".join(lines))
    result = {"store": arguments.store, "frames": frames, "report": output, "unfinished": unfinished}
    # as of an append: frames that do not belong are an error of what was given
    return {**result, "exit_code": InputError.exit_code} if unfit else result


@contextmanager
def _stopping() -> Iterator[Event]:
    """An event that the first interrupt or termination signal sets; the second one acts as usual."""
    stop = Event()
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def end(number: int, frame: Any) -> None:
        stop.set()
        signal.signal(number, usual[signal.Signals(number)])

    for number in usual:
        signal.signal(number, end)
    try:
        yield stop
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


def _report_name(store: str) -> str:
    """The report beside a store; of one in a bucket, in the working folder."""
    path = Path(store.rstrip("/"))
    name = path.name if is_remote(store) else str(path)
    return f"{name.removesuffix('.dphot')}.html"  # of a name with dots, as "M 3.g", no more is taken away


def pick(store: Store, name: str | None) -> xr.Dataset:
    """The photometry in one filter.

    Raises
    ------
    InputError
        If the filter is not there, or none is named and there are several; of a colour camera's channels, green.
    """
    filters = list(store.photometry)
    if not filters:
        raise InputError(f"{store.path}: no night is reduced yet")
    if name is None and set(filters) <= set(CHANNELS):
        name = min(filters, key=list(CHANNELS).index)
    if name is None and len(filters) > 1:
        raise InputError(f"{store.path} holds the filters {', '.join(filters)}: name one with --filter")
    if name is not None and name not in filters:
        raise InputError(f"--filter {name!r}: {store.path} holds {', '.join(map(repr, filters))}")
    return store.photometry[filters[0] if name is None else name]


@contextmanager
def _opened(path: str) -> Iterator[Store]:
    """A store to read from: where it turns out to be damaged, the error tells what to do."""
    from .store import readable

    store = dphot.open(path)
    with readable(store.path, store.session):
        yield store


def differential(arguments: argparse.Namespace) -> Result:
    """`dphot differential`"""
    from .formats import light_curve_csv, refuse_existing

    with _opened(arguments.store) as store:
        if arguments.csv:
            refuse_existing(arguments.csv, arguments.overwrite)
        obs = pick(store, arguments.filter).load()
    lc = dphot.differential(obs, arguments.target, **_curve_options(arguments))
    result = curve_summary(lc)
    say(arguments, "\n".join(curve_lines(result)))
    if arguments.csv:
        light_curve_csv(lc, arguments.csv)
        result["csv"] = arguments.csv
        say(arguments, f"  {arguments.csv}: {lc.sizes['time']} rows")
    return result


def report(arguments: argparse.Namespace) -> Result:
    """`dphot report`"""
    from .formats import refuse_existing

    output = arguments.output or _report_name(arguments.store)
    with _opened(arguments.store) as store:
        refuse_existing(output, arguments.overwrite)
        pngs = dphot.report(
            store, output, target=arguments.target, png=arguments.png, overwrite=arguments.overwrite,
            filters=None if arguments.filter is None else [arguments.filter], **_curve_options(arguments),
        )  # fmt: skip
    say(arguments, output)
    if pngs:
        say(arguments, f"{len(pngs)} plots in {arguments.png}")
    return {"report": str(output), "png": [str(p) for p in pngs]}


def export(arguments: argparse.Namespace) -> Result:
    """`dphot export`"""
    with _opened(arguments.store) as store:
        kind = dphot.export(
            store,
            pick(store, arguments.filter),
            arguments.output,
            format=arguments.format,
            target=arguments.target,
            overwrite=arguments.overwrite,
            **_curve_options(arguments),
        )
    say(arguments, arguments.output)
    return {"output": arguments.output, "format": kind}


def demo(arguments: argparse.Namespace) -> Result:
    """`dphot demo`"""
    from .demo import run_demo

    result = run_demo(
        arguments.folder, seed=arguments.seed, overwrite=arguments.overwrite, workers=arguments.workers,
        scheduler=arguments.scheduler, progress=progress(arguments),
    )  # fmt: skip
    lines = [
        f"{result['frames']} frames, {result['stars']} stars, {result['apertures']} apertures: "
        f"{result['frames_per_second']:.0f} frames/s",
        f"the 1 % sinusoid comes back with a scatter of {1e3 * result['rms_residual']:.3f} ppt;",
        f"the best that these photons allow is {1e3 * result['rms_floor']:.3f} ppt "
        f"(ratio {result['ratio']:.3f})",
        f"store   {result['store']}",
        f"report  {result['report']}",
    ]
    say(arguments, "\n".join(lines))
    return result
