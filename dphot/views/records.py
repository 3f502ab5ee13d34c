"""What the nights' records say, as pieces of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from . import markup

Record = Mapping[str, Any]


def frames(nights: Sequence[Record]) -> str:
    """Frames used and dropped, night by night, with the reason of each dropped one."""
    rows = [
        [n.get("night"), n.get("filter"), n.get("frames_used"), len(n.get("frames_dropped", [])), _speed(n)]
        for n in nights
    ]
    out = [markup.table(["night", "filter", "used", "dropped", "reduction"], rows, numbers=(2, 3))]
    dropped = [
        [
            n.get("night"),
            PurePath(str(d.get("path", ""))).name,
            d.get("reason") or ", ".join(d.get("flags", [])),
        ]
        for n in nights
        for d in n.get("frames_dropped", [])
    ]
    if dropped:
        out.append("<h3>Dropped frames</h3>" + markup.table(["night", "file", "reason"], dropped))
    else:
        out.append('<p class="none">No frame was dropped.</p>')
    noted = [
        [n.get("night"), PurePath(str(d["path"])).name, d["note"]]
        for n in nights
        for d in n.get("frames_noted", [])
    ]
    if noted:
        out.append("<h3>Notes on frames</h3>" + markup.table(["night", "file", "note"], noted))
    return "\n".join(out)


def _speed(night: Record) -> str:
    if night.get("elapsed_s") is None:
        return "–"
    return f"{float(night['elapsed_s']):.1f} s, {float(night.get('frames_per_second') or 0):.1f} frames/s"


def calibration(nights: Sequence[Record]) -> str:
    """Which bias, dark and flat frames were used in each night, what was missing, and the notes."""
    rows = []
    for n in nights:
        for kind, master, paths in _masters(n.get("calibration") or {}):
            text = markup.files(paths) if paths else markup.Raw('<span class="none">none: not applied</span>')
            rows.append(
                [
                    n.get("night"),
                    kind,
                    len(paths) or "–",
                    " — ".join(x for x in (master, str(text)) if x) if paths else text,
                ]
            )
    out = [markup.table(["night", "master", "frames", "made of"], rows, numbers=(2,))] if rows else []
    texts: list[str] = []
    for n in nights:
        found = n.get("calibration") or {}
        missing = found.get("missing", [])
        texts.extend(
            f"{n.get('night')}: missing {text}"
            for text in ([missing] if isinstance(missing, str) else missing)
        )
    notes = [
        f"{n.get('night')}: {text}"
        for n in nights
        for text in [*(n.get("calibration") or {}).get("notes", []), *n.get("notes", [])]
    ]
    bad = [
        f"{n.get('night')}: {n['calibration']['bad_pixels']}"
        for n in nights
        if "bad_pixels" in (n.get("calibration") or {})
    ]
    if texts:
        out.insert(0, markup.warnings(unique(texts)))
    if bad:
        out.append(markup.pairs([("Bad pixels", ", ".join(bad))]))
    if notes:
        out.append("<h3>Notes</h3>" + markup.table(["note"], [[text] for text in unique(notes)]))
    return "\n".join(out)


def _masters(found: Record) -> list[tuple[str, str, list[str]]]:
    """Kind, name and input files of each master, from either form of the record."""
    inputs = found.get("inputs")
    if isinstance(inputs, Mapping):
        return [(str(kind), "", [str(p) for p in paths]) for kind, paths in inputs.items()]
    out = []
    for kind in ("bias", "dark", "flat"):
        if kind in found:
            one = found[kind] or {}
            out.append((kind, str(one.get("master") or ""), [str(p) for p in one.get("inputs", [])]))
    return out


def telescope(nights: Sequence[Record]) -> str:
    """The telescope, and what is not known of it with what that costs."""
    known = next((n["telescope"] for n in nights if n.get("telescope")), {})
    missing = unique(
        f"{m['name']} is not known: {m['cost']}"
        for n in nights
        for m in n.get("missing", [])
        if isinstance(m, Mapping)
    )
    text = markup.pairs([(str(k), v) for k, v in known.items()]) if known else ""
    return markup.warnings(missing) + text


def software(nights: Sequence[Record]) -> str:
    """Versions and settings; where nights differ, each of them."""
    out = []
    for name, key in (("Software", "software"), ("Settings", "config"), ("Reference", "reference")):
        groups: dict[str, tuple[Any, list[str]]] = {}
        for n in nights:
            if n.get(key):
                groups.setdefault(repr(sorted(n[key].items(), key=str)), (n[key], []))[1].append(
                    str(n.get("night"))
                )
        for content, when in groups.values():
            which = (
                ""
                if len(groups) == 1
                else f" ({when[0]} to {when[-1]})"
                if len(when) > 1
                else f" ({when[0]})"
            )
            listed = markup.pairs([(str(k), v) for k, v in content.items()])
            title = name + which
            out.append(f"<h3>{title}</h3>{listed}" if key == "reference" else markup.details(title, listed))
    return "\n".join(sorted(out, key=lambda text: text.startswith("<details")))


def unique(texts: Any) -> list[str]:
    """The texts without repeats, in order."""
    return list(dict.fromkeys(texts))
