"""Whether what a store holds can be read, and is what its writer put there."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import icechunk
import numpy as np
import zarr
from zarr.core.sync import sync

from .. import schema
from ..errors import DphotError, StoreError
from . import encodings, layout, repository, versions


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a store."""

    place: str
    """An array or a group of the store, or a file."""
    what: str
    """What is wrong with it."""
    nights: list[str] = field(default_factory=list)
    """The nights it belongs to; empty where it belongs to all, or to none."""
    cure: str = ""
    """What to do about it."""
    rows: list[int] = field(default_factory=list)
    """Of an array with a time dimension: the rows that cannot be read, as they are stored."""
    earlier: bool = False
    """Whether only earlier versions without a tag meet it: the present state is none the worse."""


@contextmanager
def readable(path: str, session: Any) -> Iterator[None]:
    """Turn what damage raises, wherever it is met, into a `StoreError` that tells what to do; other errors stay."""
    try:
        yield
    except DphotError:
        raise
    except Exception as error:  # Zarr, its codecs and Icechunk each have their own
        if next(damage(session), None) is None:
            raise
        cure = f"`dphot check {path}` tells what, and of which night"
        raise StoreError(f"{path}: it cannot be read ({repository.reason(error)}); {cure}") from error


def problems(
    repo: icechunk.Repository, session: icechunk.Session, done: Callable[[str], None]
) -> Iterator[Problem]:
    """What is wrong with the history of a store, with its variables and with its chunks (see `Store.problems`)."""
    yield from history_problems(repo, session)
    yield from misfits(session)
    yield from damage(session, done)


#: What to do about damage that only earlier versions meet.
OLD_CURE = "nothing of the present state rests on it; put the store's files back from a copy"

#: Of an array the indices of some of its chunks; None: all.
Part = Callable[[str, zarr.Array], list[tuple[int, ...]] | None]


def damage(
    session: Any,
    done: Callable[[str], None] = lambda place: None,
    part: Part = lambda path, array: None,
    among: Callable[[str], bool] = lambda path: True,
) -> Iterator[Problem]:
    """Read every chunk of every array; yield one problem for each array with chunks that cannot be read.

    Chunks carry checksums: one that can be read is as it was written.

    Parameters
    ----------
    session : icechunk.Session
        The state to look at.
    done : callable
        Called with the path of each array when it is read, for a progress bar.
    part : callable, optional
        Told path and array: the chunks to read, by default all.
    among : callable, optional
        Told a path: whether the array is looked at.
    """
    root = repository.root_group(session)
    for path, array in sorted(root.members(max_depth=None)):
        if isinstance(array, zarr.Array) and among(path):
            chunks = part(path, array)
            bad = list(_unreadable(array) if chunks is None else _unreadable_among(array, chunks))
            if bad:
                yield _problem(root, path, array, bad)
            done(path)


def count(session: Any) -> int:
    """Number of arrays in a store."""
    members = repository.root_group(session).members(max_depth=None)
    return sum(isinstance(member, zarr.Array) for _, member in members)


def _unreadable(array: zarr.Array) -> Iterator[tuple[tuple[int, ...], str]]:
    """Indices of the chunks of an array that cannot be read, and why."""
    steps = [range(-(-n // size)) for n, size in zip(array.shape, array.chunks, strict=True)]
    for first in steps[0] if steps else [0]:
        inner = itertools.product([first], *steps[1:]) if steps else iter([()])
        if not steps or _error(array, (first, *(slice(None) for _ in steps[1:]))):
            for index in inner:
                if why := _error(array, index):
                    yield index, why


def _unreadable_among(
    array: zarr.Array, chunks: list[tuple[int, ...]]
) -> Iterator[tuple[tuple[int, ...], str]]:
    """Those of some chunks that cannot be read; that all can be found is seen by asking each list of chunks for one."""
    try:
        sync(_ask_each_list(array))
    except Exception as error:
        yield (0,) * array.ndim, repository.reason(error)
        return
    for index in chunks:
        if why := _error(array, index):
            yield index, why


async def _ask_each_list(array: zarr.Array) -> None:
    """Ask for a chunk of each list of chunks of an array; one that is damaged raises."""
    index = (0,) * array.ndim
    rows = range(0, -(-array.shape[0] // array.chunks[0]), repository.MANIFEST_TIME) if index else ()
    places = [(row, *index[1:]) for row in rows] or [index]
    keys = [array.metadata.encode_chunk_key(place) for place in places]
    await asyncio.gather(*((array.store_path / key).exists() for key in keys))


def _error(array: zarr.Array, index: tuple[Any, ...]) -> str:
    """Why a block of chunks cannot be read; empty where it can."""
    try:
        _ = array[()] if not index else array.blocks[index]
    except Exception as error:  # Zarr, its codecs and Icechunk each have their own
        return repository.reason(error)
    return ""


def _problem(
    root: zarr.Group, path: str, array: zarr.Array, bad: list[tuple[tuple[int, ...], str]]
) -> Problem:
    rows: list[int] = []
    if encodings.dimensions(array)[:1] in (("time",), ("night",)):
        height, total = array.chunks[0], array.shape[0]
        firsts = sorted({index[0] for index, _ in bad})
        rows = [i for first in firsts for i in range(first * height, min((first + 1) * height, total))]
    count = "1 chunk" if len(bad) == 1 else f"{len(bad)} chunks"
    chunks = "/".join(map(str, bad[0][0]))
    what = f"{count} of {array.nchunks} cannot be read; the first, {chunks}: {bad[0][1]}"
    return Problem(path, what, _nights(root, path, rows), _cure(path), rows)


def _nights(root: zarr.Group, path: str, rows: list[int]) -> list[str]:
    """The nights that some rows of an array belong to."""
    kind, *rest = path.split("/")
    if kind in (layout.FRAMES, layout.STACK):
        return [layout.decode_name(rest[1])]
    if kind == layout.MASTERS:
        return [layout.decode_name(rest[0]).partition("/")[0]]
    labels = {layout.PHOTOMETRY: f"{kind}/{rest[0]}/night", layout.NIGHTS: f"{layout.NIGHTS}/night"}.get(kind)
    if labels is None or labels not in root:
        return []
    try:
        names = np.asarray(root[labels][:])[rows]  # type: ignore[index]
    except Exception:  # damaged, too: the nights cannot be told
        return []
    return sorted({str(name) for name in names})


def _cure(path: str) -> str:
    kind, name = path.split("/")[0], path.split("/")[-1]
    if kind == layout.FRAMES and name == "raw":
        return "restore the frames from their files: dphot check --repair"
    return {
        # to measure nights again does not do: a chunk holds rows of others, which are read and written back
        layout.PHOTOMETRY: "go back to a version before it (dphot rollback), and append the nights since then again",
        layout.STACK: "measure this night again: dphot redo",
        layout.MASTERS: "reduce the night from its files into another store",
    }.get(kind, "go back to an earlier version: dphot rollback")


def misfits(session: Any) -> Iterator[Problem]:
    """Variables of the photometry that the registry does not know as they are, or that are missing."""
    root = repository.root_group(session)
    series = root.get(layout.PHOTOMETRY)
    for name, group in sorted(series.groups()) if isinstance(series, zarr.Group) else []:
        path = f"{layout.PHOTOMETRY}/{name}"
        arrays = dict(group.arrays())
        sizes: dict[str, set[int]] = {}
        for variable, array in arrays.items():
            for dim, size in zip(encodings.dimensions(array), array.shape, strict=True):
                sizes.setdefault(dim, set()).add(size)
            declared = schema.PHOTOMETRY.get(variable)
            if declared and encodings.dimensions(array) != declared.dims:
                found = ", ".join(encodings.dimensions(array))
                yield Problem(
                    f"{path}/{variable}", f"its dimensions are {found}, not {', '.join(declared.dims)}"
                )
            if declared and array.dtype.kind not in {"O": "OUT", "i": "iu", "u": "iu"}.get(
                declared.kind, declared.kind
            ):
                yield Problem(
                    f"{path}/{variable}", f"its type is {array.dtype}, expected kind {declared.kind!r}"
                )
        for dim, lengths in sizes.items():
            if len(lengths) > 1:
                yield Problem(
                    path, f"its variables differ in the size of {dim}: {', '.join(map(str, sorted(lengths)))}"
                )
        for variable in sorted({"time", *schema.PHOTOMETRY} - {*arrays, *schema.OPTIONAL}):
            yield Problem(f"{path}/{variable}", "is missing")


def history_problems(repo: icechunk.Repository, session: icechunk.Session) -> Iterator[Problem]:
    """Commits that cannot be read, or are not newer than those before them."""
    breaks: list[versions.Break] = []
    commits = versions.history(repo, session, broken=breaks.append)
    for newer, commit in itertools.pairwise(commits):
        if commit.time > newer.time:
            what = f"is older than the one before it: the clock stood wrong at {newer.time}"
            yield Problem(f"commit {newer.id}", what)
    for lost in breaks:
        yield Problem("history", str(lost), cure=OLD_CURE)
