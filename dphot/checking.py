"""Whether a store is whole: what it holds, and the files it names. What can be mended is mended when told.

Two sums guard the numbers. The checksum of a chunk tells that the store holds what was written. The SHA-256 of a raw
file, kept with its frame, tells that the file is the one that was measured; the pixels kept are then compared with its
own. A file that is gone is no damage where the store keeps its pixels, or was told to keep none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .config import settings_digest
from .errors import FrameError
from .io.bayer import own_pixels
from .io.listing import list_files
from .io.readers import file_digest, read_frame
from .progress import Progress
from .store import Problem, Store, links, repairs, write_frames
from .store.layout import frames_group

Result = dict[str, Any]


def check(store: Store, files: bool = True, progress: Progress | None = None) -> tuple[list[Problem], Result]:
    """Look for whatever is wrong with a store; nothing is changed.

    Parameters
    ----------
    store : Store
        The store.
    files : bool
        Also read every file that the store names, where it still is.
    progress : Progress, optional
        For bars.

    Returns
    -------
    problems : list of Problem
        Each with its place, the nights it belongs to, and a cure.
    files : dict
        Number of files that are the `same`; paths of those `changed` and `missing`.
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
    return problems, found


def _hides_rows(place: str) -> bool:
    """Whether damage in a place leaves it unknown which frames there are."""
    whole = place.startswith("photometry/") and place.count("/") == 1
    return whole or place.endswith(("/path", "/digest", "/record", "/night"))


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


def named_files(store: Store) -> dict[str, tuple[str, str]]:
    """Path of every file that a store names, with its digest and the night that needs it."""
    named: dict[str, tuple[str, str]] = {}
    for name, masters in store.masters.items():
        night = name.partition("/")[0]
        named |= {path: (digest, night) for path, digest in masters.attrs.get("digests", {}).items()}
    for obs in store.photometry.values():
        rows = zip(obs.path.values, obs.digest.values, obs.night.values, strict=True)
        named |= {str(path): (str(digest), str(night)) for path, digest, night in rows if digest}
    return named


def _files(store: Store, found: Result, progress: Progress, spoilt: set[str]) -> Iterator[Problem]:
    named = named_files(store)
    stored = list(repairs.stored_frames(store.session))
    linked = {str(record["path"]) for one in stored if one.linked for record in one.records}
    # The channels of a colour camera share a file.
    kept: dict[str, list[tuple[str, str, int, Mapping[str, Any]]]] = {}
    for one in (one for one in stored if not one.linked):
        for row, record in enumerate(one.records):
            kept.setdefault(str(record["path"]), []).append((one.filter, one.night, row, record))
    with progress.bar("files", len(named), "file") as bar:
        for path, (digest, night) in sorted(named.items()):
            places = kept.get(path, [])
            now, pixels = _content(path, places[0][3]["hdu"] if places else None)
            if now is None:
                found["missing"].append(path)
                if path in linked:
                    cure = links.CURE.format(store=store.path)
                    yield Problem(path, "is gone, and the store keeps a link to it only", [night], cure)
            elif now != digest:
                found["changed"].append(path)
                cure = "the store holds what was measured; put the file back, or leave it"
                if path in linked:
                    cure = links.CURE.format(store=store.path)
                yield Problem(path, "is another file than the one that was measured", [night], cure)
            else:
                found["same"] += 1
                whole = [p for p in places if f"{frames_group(*p[:2])}/raw" not in spoilt]
                if pixels is not None and any(_differs(store, p, pixels) for p in whole):
                    what = "its pixels are not those that the store keeps"
                    yield Problem(path, what, [night], "dphot check --repair")
            bar.update()


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
        named = named_files(store)
        moved = _moved(found["missing"], named, folder) if folder else {}
        if moved:
            repairs.move_paths(tx.root, moved)
            done += [f"{old} is now {new}" for old, new in sorted(moved.items())]
        for kept in (one for one in repairs.stored_frames(store.session) if not one.linked):
            filter, night = kept.filter, kept.night
            for row, record in enumerate(kept.records):
                path = str(record["path"])
                if _spoilt(problems, filter, night, row, path):
                    now, pixels = _content(moved.get(path, path), record["hdu"])
                    if pixels is not None and now == named.get(path, ("", ""))[0]:
                        write_frames(tx.fork, filter, night, row, own_pixels(pixels, record)[None])
                        done.append(f"night {night}: the frame of {path} is restored from its file")
        tx.metadata = {"repaired": done}
    return done


def _spoilt(problems: list[Problem], filter: str, night: str, row: int, path: str) -> bool:
    place = f"{frames_group(filter, night)}/raw"
    return any(p.place == path or (p.place == place and row in p.rows) for p in problems)


def _moved(missing: list[str], named: Mapping[str, tuple[str, str]], folder: str) -> dict[str, str]:
    """Old path to new path of the missing files that are in a folder."""
    wanted = {named[path][0]: path for path in missing}
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
    return lines if problems else [*lines, "the store is whole"]
