"""Commands that look after a store: its history, versions, lineage and health."""

from __future__ import annotations

import argparse
import re
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import dphot

from .changes import change_lines
from .checking import problem_lines, repair
from .errors import InputError, StoreError
from .lineage import commit_line, lineage_lines
from .saying import progress, say
from .store import Store, readable, recover
from .summaries import shortcoming_lines

Result = dict[str, Any]

_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


def history(arguments: argparse.Namespace) -> Result:
    """`dphot history`"""
    store = Store.open(arguments.store)
    broken: list[str] = []
    commits = store.history(everything=True, broken=broken.append)
    names = {id: [name for name, tagged in store.tags.items() if tagged == id] for id in store.tags.values()}
    for commit in commits:
        say(arguments, commit_line(commit, names.get(commit.id, [])))
    for text in broken:
        say(arguments, f"the history {text}")
    rows = [{**asdict(c), "time": c.time.isoformat(), "tags": names.get(c.id, [])} for c in commits]
    code = StoreError.exit_code if broken else 0
    return {"store": store.path, "commits": rows, "broken": broken, "exit_code": code}


def tag(arguments: argparse.Namespace) -> Result:
    """`dphot tag`"""
    store = Store.open(arguments.store)
    if arguments.name is not None:
        (store.at(arguments.at) if arguments.at else store).tag(arguments.name)
    elif arguments.at:
        raise InputError("--at: give the name, too: dphot tag STORE NAME --at VERSION")
    for name, commit in store.tags.items():
        say(arguments, f"{name}  {commit}")
    return {"store": store.path, "tags": store.tags}


def diff(arguments: argparse.Namespace) -> Result:
    """`dphot diff`"""
    store = Store.open(arguments.store)
    with readable(store.path, store.session):
        result = dphot.diff(store.at(arguments.old), store.at(arguments.new) if arguments.new else store)
    say(arguments, "\n".join(change_lines(result)))
    return result


def explain(arguments: argparse.Namespace) -> Result:
    """`dphot explain`"""
    store = Store.open(arguments.store)
    with readable(store.path, store.session):
        result = dphot.explain(store, arguments.time, arguments.star, arguments.filter)
    say(arguments, "\n".join(lineage_lines(result)))
    return result


def check(arguments: argparse.Namespace) -> Result:
    """`dphot check`"""
    if arguments.moved_to and not arguments.repair:
        raise InputError("--moved-to: give --repair, too")
    store = Store.open(arguments.store)
    looked_at = arguments.files, progress(arguments), arguments.versions
    problems, found = dphot.check(store, *looked_at)
    with readable(store.path, store.session):
        done = repair(store, problems, found, arguments.moved_to) if arguments.repair else []
    for line in done:
        say(arguments, line)
    if done:
        problems, found = dphot.check(store, *looked_at)
    say(arguments, "\n".join(problem_lines(problems, found)))
    code = 0 if all(p.earlier for p in problems) else StoreError.exit_code
    return {"store": store.path, "problems": [asdict(p) for p in problems], "files": found, "repaired": done,
            "exit_code": code}  # fmt: skip


def redo(arguments: argparse.Namespace) -> Result:
    """`dphot redo`"""
    pairs = [text.partition("=") for text in arguments.set]
    if wrong := [name for name, equals, _ in pairs if not equals]:
        raise InputError(f"--set {wrong[0]}: write NAME=VALUE")
    settings = {name.strip(): value.strip() for name, _, value in pairs}
    records = dphot.redo(
        arguments.store, arguments.night, workers=arguments.workers, calibration=arguments.calibration,
        wait=arguments.wait, progress=progress(arguments), **settings,
    )  # fmt: skip
    lines = [
        f"{r['night'] or 'unknown night'} {r['filter']}: {r['frames_used']} of {r['frames']} frames measured again"
        for r in records
    ]
    say(arguments, "\n".join([*lines, *shortcoming_lines(records)]))
    return {
        "store": arguments.store,
        "series": records,
        "commit": Store.open(arguments.store).history()[0].id,
    }


def rollback(arguments: argparse.Namespace) -> Result:
    """`dphot rollback`"""
    try:
        store = Store.open(arguments.store)
    except StoreError:  # what is there cannot be read: an earlier version takes its place
        state, left = recover(arguments.store, arguments.to, arguments.wait)
        store = Store.open(arguments.store)
        rest = f"the state left behind, {left}, cannot be read"
    else:
        left = store.session.snapshot_id
        state = store.rollback(arguments.to, arguments.wait)
        rest = f"the state left behind stays readable as {left} until `dphot gc`"
    say(arguments, f"{store.path} is at {state}, with the contents of {store.history()[0].metadata['to']}")
    say(arguments, rest)
    return {"store": store.path, "commit": state, "left": left}


def gc(arguments: argparse.Namespace) -> Result:
    """`dphot gc`"""
    age = parse_age(arguments.older_than)
    gone = Store.open(arguments.store).collect(age, arguments.dry_run, arguments.wait)
    for commit in gone.commits:
        say(arguments, commit_line(commit))
    count = f"{len(gone.commits)} version{'s' * (len(gone.commits) != 1)}"
    if arguments.dry_run:
        say(arguments, f"{count} would go; nothing is deleted")
    else:
        say(arguments, f"{count} went, {(gone.bytes or 0) / 2**20:.1f} MiB")
    return {"store": arguments.store, "commits": [c.id for c in gone.commits], "bytes": gone.bytes}


def parse_age(text: str) -> timedelta:
    """An age like ``30d``, ``12h`` or ``90m``.

    Raises
    ------
    InputError
        If it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([dhm])", text.strip())
    if not found:
        raise InputError(f"--older-than: {text!r} is no age; write 30d, 12h or 90m")
    try:
        age = timedelta(**{_UNITS[found[2]]: float(found[1])})
        datetime.now(UTC) - age
    except OverflowError as error:
        raise InputError(f"--older-than: {text!r} is before all time; write 30d, 12h or 90m") from error
    return age
