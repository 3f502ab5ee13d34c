"""What will be reduced: the frames of a table sorted into nights and filters, with the calibration that serves each.

No file is hidden: one that cannot be read, or is of another kind than the night's others, stays in its series with its
error; a copy is named beside the frame that it copies.
"""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from os.path import basename
from typing import Any

import numpy as np
import xarray as xr

from .config import Config
from .errors import CalibrationError, InputError
from .graph.reference import named
from .graph.stars import parse_target, read_rows
from .graph.steps import Step, load_steps
from .identity import copies_among, odd_times, unheld
from .io import bayer
from .io.choice import Choice, choose, dark_misfit
from .io.frames import FrameTable
from .io.headers import word_type
from .io.site import sky_degrees
from .store import Holdings

Record = dict[str, Any]

#: What all frames of a series have in common; their gains, too, where they are known.
SAME = ("width", "height", "dtype", "xbinning", "ybinning", "trim")

#: Of many bad files an error names so many.
NAMED = 3


@dataclass(frozen=True)
class NightSeries:
    """The lights of one night in one filter, and the calibration frames that serve them."""

    night: str
    filter: str
    lights: tuple[Record, ...]
    """In time order, as the frame table has them; those with `error` become flagged rows."""
    light: Record
    """A light that stands for all: size, binning, gain, exposure."""
    choice: Choice
    fresh: tuple[Record, ...]
    """Those of the lights that the store does not hold."""
    copies: tuple[tuple[str, str], ...] = ()
    """Files that are left out, and the file that each is a copy of."""
    masters: xr.Dataset | None = None
    """Masters that are made already, lazy; None: they are made of the choice."""

    @property
    def usable(self) -> int:
        """Lights without an error."""
        return sum(not r["error"] for r in self.lights)


def plan(
    table: FrameTable,
    config: Config,
    held: Holdings | None = None,
    misfit: Callable[[Record], str] | None = None,
) -> list[NightSeries]:
    """What will be reduced, night by night.

    Parameters
    ----------
    table : FrameTable
        Frames of one field.
    config : Config
        `object` and `filter` select lights.
    held : Holdings, optional
        The frames that a store holds; only nights with others are planned.
    misfit : callable, optional
        Of a store that has nights: what tells that a light is of another size, binning or gain. Where lights of a night
        are of the store's, all others are the odd ones, however many.

    Returns
    -------
    list of NightSeries
        In order of date, then filter.

    Raises
    ------
    InputError
        If there are no lights, or they (with `misfit`: those of a night) show several targets, telescopes or cameras
        and none is selected.
    CalibrationError
        Under `Config.strict`, if a bias, dark or flat is missing.
    """
    records = table.to_pandas().to_dict("records")
    # of a light that is cut the header still tells its night and filter
    known = [r for r in records if not r["error"] or r["type"] == "light"]
    lights = [view for r in known if r["type"] == "light" for view in bayer.series(r)]
    lights = [r for r in lights if config.filter in ("", r["filter"])]
    lights = [r for r in lights if config.object in ("", r["object"])]
    if not lights or (held is None and all(r["error"] for r in lights)):
        raise InputError(_no_lights(records, config))
    _check_one_field(lights, nightly=misfit is not None)
    lights, unread = _place(lights, known, [r for r in records if r["error"] and r["type"] != "light"])
    calibrations = [r for r in known if r["type"] in ("bias", "dark", "flat")]
    new = lights if held is None else unheld(lights, held)
    copies = copies_among(new)
    fresh = {(r["filter"], r["path"]) for r in new if r["path"] not in copies}
    odd = odd_times([r for r in lights if r["path"] not in copies and not r["error"]])
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in lights:
        if record["path"] not in copies:
            groups.setdefault((record["night"], record["filter"]), []).append(record)
    nights = []
    for (night, name), group in sorted(groups.items()):
        if fresh.isdisjoint((name, r["path"]) for r in group):
            continue
        good = [r for r in group if not r["error"]] or group
        light = standard([r for r in good if misfit is not None and not misfit(r)] or good)
        fitting = [
            bayer.channel(r, light["channel"], light["bayer"]) if light["channel"] else r
            for r in calibrations
        ]
        choice = _noted(choose(light, fitting, config), unread)
        # A night that goes on may have its masters in the store: there it is seen when it is measured.
        if choice.missing and config.strict and held is None:
            raise CalibrationError(
                f"night {night or 'unknown'}, filter {name!r}: missing {'; missing '.join(choice.missing)}; "
                "add the frames, or drop --strict"
            )
        members = tuple(_fitted(r, light, choice, odd.get(r["path"], ""), config) for r in group)
        taken = tuple(r for r in members if (name, r["path"]) in fresh)
        paths = {r["path"] for r in taken}
        copied = tuple((path, kept) for path, kept in copies.items() if kept in paths)
        nights.append(NightSeries(night, name, members, light, choice, taken, copied))
    return nights


def still_fresh(nights: Sequence[NightSeries], held: Holdings) -> list[NightSeries]:
    """The same without the frames that a store has come to hold; a series of which nothing is left is dropped."""
    left = [replace(series, fresh=tuple(unheld(series.fresh, held))) for series in nights]
    return [series for series in left if series.fresh]


def check(nights: Sequence[NightSeries], config: Config) -> tuple[Step, ...]:
    """Refuse settings that cannot work before anything is measured or written; returns the steps that they name.

    Raises
    ------
    InputError
        Naming the setting, its value, and what is expected.
    """
    if config.target:
        target = parse_target(config.target)
        if isinstance(target, str):
            sky_degrees(target)
    if config.coordinates:
        sky_degrees(config.coordinates)
    if config.stars:
        read_rows(config.stars)
    if config.reference != "auto":
        by_index = config.reference.lstrip("-").isdigit()
        named(nights[0].lights if by_index else [r for s in nights for r in s.lights], config.reference)
    return tuple(load_steps(config.steps))


def _no_lights(records: Sequence[Record], config: Config) -> str:
    bad = [r for r in records if r["error"] and r["type"] not in ("bias", "dark", "flat")]
    if bad and {r["type"] for r in records if not r["error"]} <= {"bias", "dark", "flat"}:
        lines = [f"  {r['path']}: {r['error']}" for r in bad[:NAMED]]
        lines += [f"  and {len(bad) - NAMED} more"] * (len(bad) > NAMED)
        return "\n".join(
            [f"no light frames among {len(records)} files that can be read; {len(bad)} unusable:", *lines]
        )
    kinds = Counter("unusable" if r["error"] else r["type"] or "of unknown type" for r in records)
    found = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
    first = next((f"; {r['path']}: {r['error']}" for r in records if r["error"]), "")
    selected = [k for k in ("object", "filter") if getattr(config, k)]
    chosen = " and ".join(f"{k} {getattr(config, k)!r}" for k in selected)
    cure = "name the image types in a telescope file, or give other folders"
    if set(kinds) <= {"bias", "dark", "flat"}:
        cure = "give the lights, too; a night that a store holds is calibrated anew with `dphot redo --calibration`"
    if selected and "light" in kinds:
        lights = [view for r in records if r["type"] == "light" for view in bayer.series(r)]
        there = {k: sorted({r[k] for r in lights}) for k in selected}
        cure = "the lights have " + " and ".join(f"{k} {', '.join(map(repr, v))}" for k, v in there.items())
    return f"no light frames{chosen and ' of '}{chosen} among {len(records)} files ({found}{first}); {cure}"


def _check_one_field(lights: Sequence[Record], nightly: bool) -> None:
    """Refuse lights of several targets or cameras; `nightly`: of cameras in one night, as a store knows its own."""
    apart = "reduce each from a folder of its own, or give them one name in a telescope file"
    for key, cure in (("object", "select one with --object"), ("telescope", apart), ("camera", apart)):
        groups: dict[str, set[str]] = {}
        for r in lights:
            groups.setdefault(r["night"] if nightly and key != "object" else "", set()).add(r[key])
        for values in (sorted(group - {""}) for group in groups.values()):
            if len(values) > 1:
                raise InputError(
                    f"the lights show several {key}s, {', '.join(values)}: a store holds one field; {cure}"
                )


def _shared(first: str, second: str) -> int:
    """Length of the beginning that two texts share."""
    unlike = (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
    return next(unlike, min(len(first), len(second)))


class _Shelf:
    """Records by path: a file belongs where those named like it belong."""

    def __init__(self, records: Sequence[Record]):
        self.records = sorted(records, key=lambda r: r["path"])
        self.paths = [r["path"] for r in self.records]

    def beside(self, path: str) -> Record:
        """The record whose path shares the longest beginning with `path`; of two, the light."""
        place = bisect(self.paths, path)
        near = self.records[max(place - 1, 0) : place + 1]
        return max(near, key=lambda r: (_shared(r["path"], path), r["type"] == "light"))


def _place(
    lights: list[Record], known: Sequence[Record], bad: Sequence[Record]
) -> tuple[list[Record], list[tuple[str, str]]]:
    """The lights, all with a night where any has one, and the files among them of which nothing is known.

    Also, for each other unreadable file, the calibration frame beside it (or none) and what is wrong with it.
    """
    dated = [r for r in lights if r["night"]]
    if dated:
        shelf = _Shelf(dated)
        lights = [r if r["night"] else {**r, "night": shelf.beside(r["path"])["night"]} for r in lights]
    views: dict[str, list[Record]] = {}
    for record in lights:
        views.setdefault(record["path"], []).append(record)
    unread = []
    shelf = _Shelf(known)
    for record in bad:
        other, kind = shelf.beside(record["path"]), record["type"] or word_type(basename(record["path"]))
        if other["type"] == "light" and kind in ("bias", "dark", "flat"):
            unread.append(("", f"{record['path']}: {record['error']}"))
        elif other["path"] in views:
            lights += [{**record, **{k: r[k] for k in ("type", "filter", "channel", "night")}}
                       for r in views[other["path"]]]  # fmt: skip
        else:
            unread.append((other["path"], f"{record['path']}: {record['error']}"))
    return lights, unread


def _noted(choice: Choice, unread: Sequence[tuple[str, str]]) -> Choice:
    """The choice, with a note for each unreadable file among the frames chosen."""
    chosen = {"", *(path for paths in choice.inputs().values() for path in paths)}
    notes = [f"left out: {problem}" for path, problem in unread if path in chosen]
    return replace(choice, notes=(*choice.notes, *notes))


def standard(lights: Sequence[Record]) -> Record:
    """The light that stands for a group: of its most frequent kind and exposure, the middle one."""

    def kind(r: Record) -> tuple[Any, ...]:
        return *(r[k] for k in SAME), str(r["gain"]), str(r["exposure"])

    counts = Counter(kind(r) for r in lights)
    common = max(sorted(counts, key=str), key=lambda k: counts[k])
    same = [r for r in lights if kind(r) == common]
    return same[len(same) // 2]


def _fitted(record: Record, light: Record, choice: Choice, odd: str, config: Config) -> Record:
    """The record, with an error where its image is of another kind, and a note where its dark or time is odd."""
    if record["error"]:
        return record
    differ = [k for k in SAME if record[k] != light[k]]
    gains = record["gain"], light["gain"]
    if np.isfinite(gains).all() and not np.isclose(*gains, rtol=1e-3):
        differ.append("gain")
    if differ:
        which = ", ".join(f"{k} {record[k] or 'none'} and not {light[k] or 'none'}" for k in differ)
        return {**record, "error": f"of another kind than the night's other frames: {which}"}
    note = " | ".join(part for part in (record["note"], odd, dark_misfit(choice, record, config)) if part)
    return {**record, "note": note}


def describe(
    series: NightSeries, store: str = "", inputs: Mapping[str, Sequence[str]] | None = None
) -> list[str]:
    """What will be done with a night, in a few lines; one that goes on has its masters already, made of `inputs`."""
    chosen = {kind: getattr(series.choice, kind) for kind in ("bias", "dark", "flat")}
    n = {kind: len(frames if inputs is None else inputs.get(kind, ())) for kind, frames in chosen.items()}
    held = inputs is not None or series.masters is not None
    lines = [
        f"{series.night or 'unknown night'}, filter {series.filter or 'unknown'}: {len(series.fresh)} lights; "
        f"calibrated with {n['bias']} bias, {n['dark']} dark, {n['flat']} flat"
        + (", the masters as they are" if held else "")
    ]
    for kind, frames in chosen.items():
        if frames and not held:
            lines.append(
                f"  {kind}: {frames[0]['path']} ... ({len(frames)}, night {frames[0]['night'] or 'unknown'})"
            )
        elif frames and inputs is not None and not n[kind]:
            redo = f"dphot redo {store} {series.night or 'unknown'} --calibration FOLDER"
            lines.append(f"  {kind}: none in the night's masters; `{redo}` takes those that are there now")
    if inputs is None:
        lines += [f"  missing {text}" for text in series.choice.missing]
    lines += [f"  {text}" for text in series.choice.notes]
    lines += [f"  {r['path']}: {r['error']}" for r in series.fresh if r["error"]]
    lines += [f"  {path}: a copy of {kept}, left out" for path, kept in series.copies]
    return lines
