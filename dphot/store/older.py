"""Whether earlier versions of a store can be read: those with a tag, and those that its history lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

import icechunk
import zarr

from . import opening, repository, versions
from .health import OLD_CURE, Part, Problem, damage


def tagged_problems(
    path: str, session: icechunk.Session, done: Callable[[str], None] = lambda tag: None
) -> Iterator[Problem]:
    """What is wrong with tagged versions, beyond what is wrong with the present state; chunks of both are read once.

    Parameters
    ----------
    path : str
        The store.
    session : icechunk.Session
        The present state.
    done : callable
        Called with each tag when its version is read.
    """
    repo = repository.open_existing(path)
    for tag in sorted(repo.list_tags()):
        try:
            _, tagged = opening.connect(path, tag=tag)
            if tagged.snapshot_id != session.snapshot_id:
                for problem in _damage(repo, tagged, session, lists=True):
                    yield replace(problem, place=f"tag {tag}: {problem.place}", cure=OLD_CURE, rows=[])
        except Exception as error:  # its snapshot, or what it names of arrays, is damaged or gone
            yield Problem(f"tag {tag}", f"cannot be opened: {repository.reason(error)}", cure=OLD_CURE)
        done(tag)


def untagged_problems(
    path: str, session: icechunk.Session, done: Callable[[str], None] = lambda commit: None
) -> Iterator[Problem]:
    """What is wrong with versions that the history lists, tagged ones apart: one problem, of all of them.

    A repair is a commit of its own: the version that was damaged stays so, and in the history, until it is let go.

    Parameters
    ----------
    path : str
        The store.
    session : icechunk.Session
        The present state, which is taken to be looked at already.
    done : callable
        Called with each commit when its version is read.
    """
    found = list(_untagged(repository.open_existing(path), session, done))
    if found:
        ids = list(dict.fromkeys(id for id, _, _ in found))
        count = "1 version" if len(ids) == 1 else f"{len(ids)} versions"
        first, what, _ = found[0]
        yield Problem(
            "earlier versions",
            f"{count} cannot be read whole ({', '.join(ids)}); of {first} {what}",
            sorted({night for _, _, nights in found for night in nights}),
            f"{OLD_CURE}, or let go of these and all older ones: dphot gc {path} --older-than AGE",
            earlier=True,
        )


def _untagged(
    repo: icechunk.Repository, session: icechunk.Session, done: Callable[[str], None]
) -> Iterator[tuple[str, str, list[str]]]:
    """Version, damage and nights of whatever is damaged in untagged versions.

    Of each only what its neighbour in time does not share is read: a chunk, or the list of an array's chunks, once
    in all, as part of the newest version that has it.
    """
    tagged = {repo.lookup_tag(tag) for tag in repo.list_tags()}
    for commit, neighbour in _neighbours(repo, session):
        if commit.id not in tagged:
            try:
                old = repo.readonly_session(snapshot_id=commit.id)
                new = repo.readonly_session(snapshot_id=neighbour) if neighbour else None
                for problem in _damage(repo, old, new):
                    yield commit.id, f"{problem.place}: {problem.what}", problem.nights
            except Exception as error:  # what it names of arrays is damaged or gone
                nights = [str(commit.metadata["night"])] if commit.metadata.get("night") else []
                yield commit.id, f"cannot be opened: {repository.reason(error)}", nights
        done(commit.id)


def _neighbours(
    repo: icechunk.Repository, session: icechunk.Session
) -> Iterator[tuple[versions.Commit, str | None]]:
    """Each version but the present, with one that shares with it and is looked at itself; None: there is none."""
    # where the history breaks is told elsewhere
    line = list(versions.ancestry(repo, session.snapshot_id, lambda lost: None))
    yield from ((older, newer.id) for newer, older in pairwise(line))
    seen = {commit.id for commit in line}
    for _, tip in versions.sides(repo):
        line = list(versions.ancestry(repo, tip, lambda lost: None))
        for commit, before in zip(line, [*(c.id for c in line), None][1:], strict=True):
            if commit.id in seen:
                break
            seen.add(commit.id)
            yield commit, before


def _damage(
    repo: icechunk.Repository, one: icechunk.Session, other: icechunk.Session | None, lists: bool = False
) -> Iterator[Problem]:
    """What is damaged in a state, of what another one does not share; with `lists` the lists of all chunks, too."""
    changes = _changes(repo, one, other) if other else None
    if changes is None or other is None:
        yield from damage(one)
        return
    arrays = (changes.new_arrays, changes.deleted_arrays, changes.updated_arrays, changes.updated_chunks)
    touched = {key for keys in arrays for key in keys}  # of the others the lists of chunks are shared, too
    part = _unshared(changes, repository.root_group(other))
    yield from damage(one, part=part, among=lambda path: lists or f"/{path}" in touched)


def _changes(
    repo: icechunk.Repository, one: icechunk.Session, other: icechunk.Session
) -> icechunk.Diff | None:
    """What differs between two states; None where neither came from the other: whatever is shared is read again."""
    for old, new in ((one, other), (other, one)):
        try:
            return repo.diff(from_snapshot_id=old.snapshot_id, to_snapshot_id=new.snapshot_id)
        except icechunk.IcechunkError:
            continue
    return None


def _unshared(changes: icechunk.Diff, root: zarr.Group) -> Part:
    """The chunks of one state that another, with this root, does not share."""

    def part(path: str, array: zarr.Array) -> list[tuple[int, ...]] | None:
        now = root.get(path)
        key = f"/{path}"
        if not isinstance(now, zarr.Array) or key in changes.deleted_arrays or key in changes.new_arrays:
            return None
        if now.chunks != array.chunks or any(a < b for a, b in zip(now.shape, array.shape, strict=True)):
            return None
        grid = [-(-n // size) for n, size in zip(array.shape, array.chunks, strict=True)]
        changed = (tuple(index) for index in changes.updated_chunks.get(key, ()))
        return sorted(i for i in changed if all(a < b for a, b in zip(i, grid, strict=True)))

    return part
