"""Whether a store is whole: what it holds, and the files it names. What can be mended is mended when told.

Two sums guard the numbers. The checksum of a chunk tells that the store holds what was written. The SHA-256 of a raw
file, kept with its frame, tells that the file is the one that was measured; the pixels kept are then compared with its
own. A file that is gone is no damage where the store keeps its pixels, or was told to keep none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .config import settings_digest
from .errors import FrameError
from .flags import FrameFlag
from .io.bayer import own_pixels
from .io.listing import list_files
from .io.readers import file_digest, read_frame
from .progress import Progress
from .store import Problem, Store, links, older, repairs, write_frames
from .store.layout import frames_group

Result = dict[str, Any]


#: What mends a frame whose pixels in the store are not its file's.
_REPAIR = "dphot check --repair"
#: What is read of a group when it is opened.
_OPENING = ("time", "star", "aperture")
#: What the photometry tells of a frame's file.
_FILES = ("path", "file_size", "file_time", "digest", "night", "frame_flags")


def check(
    store: Store, files: bool = True, progress: Progress | None = None, versions: bool = False
) -> tuple[list[Problem], Result]:
    """Look for whatever is wrong with a store, and with its tagged versions; nothing is changed.

    Parameters
    ----------
    store : Store
        The store.
    files : bool
        Also read every file that the store names, where it still is.
    progress : Progress, optional
        For bars.
    versions : bool
        Also read what only earlier versions without a tag hold: half a second or so for each.

    Returns
    -------
    problems : list of Problem
        Each with its place, the nights it belongs to, and a cure; what is damaged in earlier versions without a tag
        is one.
    files : dict
        Number of files that are the `same`; paths of those `changed` and `missing`.

    Raises
    ------
    BucketError
        If files are in a bucket that cannot be reached.
    """
    progress = progress or Progress(False)
    with progress.bar("arrays", store.arrays, "array") as bar:
        problems = list(store.problems(lambda place: bar.update()))
    spoilt = {problem.place for problem in problems}
    problems += _records(store)
    found: Result = {"same": 0, "changed": [], "missing": []}
    if not any(_hides_rows(place) for place in spoilt):
        problems += _rows(store)
        if files:
            problems += _files(store, found, progress, spoilt)
    with progress.bar("tags", len(store.tags), "tag") as bar:
        tagged = list(older.tagged_problems(store.path, store.session, lambda tag: bar.update()))
    # where nothing tells what a tag shares with the present state, all of it was read again
    present = {(problem.place, problem.what) for problem in problems}
    problems += [p for p in tagged if (p.place.partition(": ")[2], p.what) not in present]
    if versions:
        with progress.bar("versions", None, "version") as bar:
            problems += older.untagged_problems(store.path, store.session, lambda commit: bar.update())
    return problems, found


def _hides_rows(place: str) -> bool:
    """Whether damage in a place leaves it unknown which frames there are."""
    whole = place.startswith("photometry/") and place.count("/") == 1
    return whole or place.endswith(tuple(f"/{name}" for name in (*_FILES, "record", *_OPENING)))


def _records(store: Store) -> Iterator[Problem]:
    """Records of nights that cannot be read, or whose settings are not those of their digest."""
    try:
        nights = store.nights
    except Exception:  # damage, told by its chunk, or no JSON
        if not any(problem.place.startswith("nights") for problem in store.problems()):
            yield Problem("nights", "its records cannot be understood", cure="go back: dphot rollback")
        return
    for night in nights:
        for record in night.get("series", ()):
            if settings_digest(record["config"]) != record["config_digest"]:
                what = f"the settings of filter {record['filter']!r} are not those of their digest"
                yield Problem("nights/record", what, [night["night"]], "measure it again: dphot redo")


def _rows(store: Store) -> Iterator[Problem]:
    """Rows of the photometry that come twice, or whose night has no record."""
    told = {record["night"] for record in store.nights}
    for name, obs in store.photometry.items():
        digests = [str(d) for d in obs.digest.values if d]
        if len(set(digests)) < len(digests):
            yield Problem(f"photometry/{name}", f"{len(digests) - len(set(digests))} frames are there twice")
        unknown = sorted({str(n) for n in obs.night.values} - told)
        if unknown:
            yield Problem(f"photometry/{name}", "the store has no record of these nights", unknown)


@dataclass
class _Named:
    """What a store says of one content that a file had."""

    nights: list[str]
    used: bool
    """Whether it was measured, or made part of a master."""
    places: list[tuple[str, str, int, Mapping[str, Any]]] = field(default_factory=list)
    """Filter, night, row and record of the raw frames copied from it; the channels of a colour camera share a file."""
    linked: bool = False
    """Whether the store reads raw frames from the file itself."""
    hdu: int | None = None
    """The part of the file that holds the image; None where the store does not tell."""


def _named_files(store: Store) -> dict[str, dict[str, _Named]]:
    """Path of every file that a store names, with the digest of each content that it had when it was read.

    A camera that counts from one again writes another frame under a name that the store knows.
    """
    named: dict[str, dict[str, _Named]] = {}

    def add(path: str, digest: str, night: str, used: bool) -> _Named:
        one = named.setdefault(path, {}).setdefault(digest, _Named([], False))
        one.nights, one.used = sorted({*one.nights, night}), one.used or used
        return one

    for name, masters in store.masters.items():
        for path, digest in masters.attrs.get("digests", {}).items():
            add(path, digest, name.partition("/")[0], True)
    rows: dict[tuple[str, str, int, int], _Named] = {}
    for name, obs in store.photometry.items():
        columns = (obs[k].values for k in _FILES)
        for path, size, changed, digest, night, flags in zip(*columns, strict=True):
            if digest:
                one = add(str(path), str(digest), str(night), not int(flags) & FrameFlag.UNREADABLE)
                rows[name, str(path), int(size), int(changed)] = one
    for kept in repairs.stored_frames(store.session):
        for row, record in enumerate(kept.records):
            frame = rows.get((kept.filter, str(record["path"]), int(record["size"]), int(record["mtime_ns"])))
            if frame is not None and not record["error"]:
                frame.hdu, frame.linked = int(record["hdu"]), kept.linked
                frame.places += [] if kept.linked else [(kept.filter, kept.night, row, record)]
    return named


def _files(store: Store, found: Result, progress: Progress, spoilt: set[str]) -> Iterator[Problem]:
    named = _named_files(store)
    with progress.bar("files", len(named), "file") as bar:
        for path, contents in sorted(named.items()):
            now, pixels = _content(path, _hdu(contents))
            others = [one for digest, one in contents.items() if digest != now]
            lost = sorted({night for one in others if one.used for night in one.nights})
            links_to_it = sorted({night for one in others if one.linked for night in one.nights})
            if now is None:
                found["missing"].append(path)
                if links_to_it:
                    what, cure = "is gone, and the store keeps a link to it only", links.CURE
                    yield Problem(path, what, links_to_it, cure.format(store=store.path))
            elif now not in contents or lost:
                found["changed"].append(path)
                what = "is another file than the one that was measured"
                cure = "the store holds what was measured; put the file back, or leave it"
                if not lost:
                    lost = sorted({n for one in contents.values() for n in one.nights})
                    what, cure = "could not be used, and is another file now", "append its folder"
                if links_to_it:
                    cure = links.CURE.format(store=store.path)
                yield Problem(path, what, lost, cure)
            else:
                found["same"] += 1
            if pixels is not None and now in contents:
                whole = [p for p in contents[now].places if f"{frames_group(*p[:2])}/raw" not in spoilt]
                if any(_differs(store, p, pixels) for p in whole):
                    what = "its pixels are not those that the store keeps"
                    yield Problem(path, what, contents[now].nights, _REPAIR)
            bar.update()


def _hdu(contents: Mapping[str, _Named]) -> int | None:
    """The part of a file that holds its image; None where the store does not tell."""
    return next((one.hdu for one in contents.values() if one.hdu is not None), None)


def _differs(store: Store, place: tuple[str, str, int, Mapping[str, Any]], pixels: np.ndarray) -> bool:
    raw, own = repairs.raw_frame(store.session, *place[:3]), own_pixels(pixels, place[3])
    return bool((raw.dtype, raw.tobytes()) != (own.dtype, own.tobytes()))


def _content(path: str, hdu: int | None = None) -> tuple[str | None, np.ndarray | None]:
    """SHA-256 of a file (None where it is gone), and its pixels where it holds an image."""
    try:
        pixels, digest = read_frame(path, hdu)
        return digest, pixels
    except FrameError:
        return file_digest(path) or None, None


def repair(
    store: Store, problems: list[Problem], found: Mapping[str, Any], folder: str | None = None
) -> list[str]:
    """Mend what can be mended: frames put back from their files, files found under another name.

    Parameters
    ----------
    store : Store
        The store.
    problems, found
        From `check`.
    folder : str, optional
        Where files that are missing may have gone; each is known by its digest.

    Returns
    -------
    list of str
        What was done, in words; one commit.
    """
    done: list[str] = []
    with store.transaction("repair") as tx:
        named = _named_files(store)
        moved = _moved([*found["missing"], *found["changed"]], named, folder) if folder else {}
        if moved:
            repairs.move_paths(tx.root, moved)
            done += [f"{old} is now {new}" for old, new in sorted(moved.items())]
        for path, contents in sorted(named.items()):
            spoilt = {
                digest: places for digest, one in contents.items()
                if (places := [p for p in one.places if _spoilt(problems, *p[:3], path)])
            }  # fmt: skip
            now, pixels = _content(moved.get(path, path), _hdu(contents)) if spoilt else (None, None)
            if now is not None and pixels is not None:
                for filter, night, row, record in spoilt.get(now, ()):
                    write_frames(tx.fork, filter, night, row, own_pixels(pixels, record)[None])
                    done.append(f"night {night}: the frame of {path} is restored from its file")
        tx.metadata = {"repaired": done}
    return done


def _spoilt(problems: list[Problem], filter: str, night: str, row: int, path: str) -> bool:
    place = f"{frames_group(filter, night)}/raw"
    of_file = any(p.place == path and p.cure == _REPAIR for p in problems)
    return of_file or any(p.place == place and row in p.rows for p in problems)


def _moved(lost: list[str], named: Mapping[str, Mapping[str, _Named]], folder: str) -> dict[str, str]:
    """Old path to new path of files that are in a folder now, another one having taken the name of some."""
    # of a name that the store knows of two files, only those in the frames of one could follow
    wanted = {next(iter(named[path])): path for path in lost if len(named[path]) == 1}
    found: dict[str, str] = {}
    for file in list_files([folder], None)[0]:
        now, _ = _content(file)
        if now in wanted:
            found[wanted[now]] = file
    return found


def problem_lines(problems: list[Problem], found: Mapping[str, Any]) -> list[str]:
    """What was found, in words."""
    lines = []
    for p in problems:
        nights = f" (night{'s' * (len(p.nights) > 1)} {', '.join(p.nights)})" if p.nights else ""
        lines.append(f"{p.place}{nights}: {p.what}{'; ' + p.cure if p.cure else ''}")
    lines.append(
        f"files: {found['same']} are what they were, {len(found['changed'])} changed, {len(found['missing'])} gone"
    )
    if all(p.earlier for p in problems):
        lines.append(f"the {'present state' if problems else 'store'} is whole")
    return lines
