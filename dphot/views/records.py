"""What the nights' records say, as pieces of the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from . import markup

Record = Mapping[str, Any]


def flatten(nights: Sequence[Record]) -> list[Record]:
    """One record for each night and filter: those that hold several under ``series`` are taken apart."""
    return [{"night": n.get("night"), **one} for n in nights for one in n.get("series", [n])]


def frames(nights: Sequence[Record]) -> str:
    """Frames used and dropped, night by night, the reason of each dropped one, and notes on the others."""
    rows, dropped = [], []
    notes: dict[tuple[str, str], list[str]] = {}
    for n in nights:
        night, lost = str(n.get("night")), n.get("frames_dropped", [])
        rows.append([night, n.get("filter"), n.get("frames_used"), len(lost), _speed(n)])
        dropped += [[night, _file(d), d.get("reason") or ", ".join(d.get("flags", []))] for d in lost]
        for one in n.get("frames_noted", []):
            notes.setdefault((night, str(one["note"])), []).append(_file(one))
    out = [markup.table(["night", "filter", "used", "dropped", "reduction"], rows, numbers=(2, 3))]
    if dropped:
        out.append("<h3>Dropped frames</h3>" + markup.table(["night", "file", "reason"], dropped))
    else:
        out.append('<p class="none">No frame was dropped.</p>')
    if notes:
        noted = [[night, len(names), names[0], note] for (night, note), names in notes.items()]
        head = ["night", "frames", "the first", "note"]
        out.append("<h3>Notes on frames</h3>" + markup.table(head, noted, numbers=(1,)))
    return "\n".join(out)


def _file(record: Record) -> str:
    return PurePath(str(record.get("path", ""))).name


def _speed(night: Record) -> str:
    if night.get("elapsed_s") is None:
        return "–"
    return f"{float(night['elapsed_s']):.1f} s, {float(night.get('frames_per_second') or 0):.1f} frames/s"


def calibration(nights: Sequence[Record]) -> str:
    """Which bias, dark and flat frames were used in each night, what was missing, and the notes."""
    rows, bad = [], []
    missing, notes = [], []
    for n in nights:
        night, found = str(n.get("night")), n.get("calibration") or {}
        for kind, paths in found.get("inputs", {}).items():
            made = markup.files(paths) if paths else markup.Raw('<span class="none">not applied</span>')
            rows.append([night, n.get("filter"), kind, len(paths), made])
        if "bad_pixels" in found:
            bad.append(
                [night, n.get("filter"), "bad pixels", found["bad_pixels"], "flagged, never filled in"]
            )
        missing += [f"{night}: missing {text}" for text in found.get("missing", [])]
        notes += [f"{night}: {text}" for text in [*found.get("notes", []), *n.get("notes", [])]]
    head = ["night", "filter", "master", "number", "made of"]
    out = [markup.warnings(unique(missing)), markup.table(head, [*rows, *bad], numbers=(3,))]
    if notes:
        out.append("<h3>Notes on the calibration</h3>" + markup.table(["note"], [[t] for t in unique(notes)]))
    return "\n".join(out)


def telescope(nights: Sequence[Record]) -> str:
    """The telescope, and what is not known of it with what that costs."""
    known: Record = next((n["telescope"] for n in nights if n.get("telescope")), {})
    costs = unique(f"{m['name']} is not known: {m['cost']}" for n in nights for m in n.get("missing", []))
    return markup.warnings(costs) + markup.pairs(_units(known))


def software(nights: Sequence[Record]) -> str:
    """Reference, settings and versions; where nights differ, each of them."""
    out = [
        "<h3>Reference</h3>",
        *(markup.pairs(_units(content)) for content, _ in _groups(nights, "reference")),
    ]
    out.append("<h3>Settings and software</h3>")
    for name, key in (("Settings", "config"), ("Software", "software")):
        groups = _groups(nights, key)
        for content, when in groups:
            span = "" if len(groups) == 1 else f" of {when[0]}" + (f" to {when[-1]}" if len(when) > 1 else "")
            out.append(markup.details(name + span, markup.pairs(content.items())))
    return "\n".join(out)


UNITS = {
    "altitude": "m",
    "dec": "deg",
    "diameter": "m",
    "fwhm": "px",
    "gain": "e-/ADU",
    "latitude": "deg",
    "longitude": "deg east",
    "ra": "deg",
    "saturation": "ADU",
}


def _units(record: Record) -> Iterable[tuple[str, str]]:
    for name, value in sorted(record.items(), key=lambda item: item[0] != "name"):
        unit = UNITS.get(name, "") if isinstance(value, (int, float)) else ""
        yield name, f"{markup.plain(value)} {unit}".rstrip()


def _groups(nights: Sequence[Record], key: str) -> list[tuple[Record, list[str]]]:
    """What the records hold under a key, each different content once, with its nights."""
    groups: dict[str, tuple[Record, list[str]]] = {}
    for n in nights:
        content = n.get(key)
        if content:
            name = repr(sorted(content.items(), key=str))
            groups.setdefault(name, (content, []))[1].append(str(n.get("night")))
    return list(groups.values())


def unique(texts: Iterable[str]) -> list[str]:
    """The texts without repeats, in order."""
    return list(dict.fromkeys(texts))
