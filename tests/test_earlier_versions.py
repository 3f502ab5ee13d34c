"""Damage that only earlier versions meet is found, named with version and night, and leaves the rest readable."""

import json
import shutil
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from numcodecs import Zstd
from store_night import make_night

from dphot import cli
from dphot.checking import check
from dphot.errors import StoreError
from dphot.store import Store, health, older

#: Before the contents of a file of Icechunk: magic, its writer, versions and compression.
HEADER = 39


@pytest.fixture
def store(tmp_path):
    store = Store.create(tmp_path / "field.dphot", {})
    with store.transaction("reference") as tx:
        tx.write_night("2026-11-00", {})
    for day in (1, 2, 3):
        append(store, day)
    return store


def append(store, day):
    with store.transaction(f"night {day}", {"night": f"2026-11-0{day}"}) as tx:
        tx.append_photometry("r", make_night(day))
        tx.write_night(f"2026-11-0{day}", {})


def files(store, part):
    return {f.name: f for f in (Path(store.path) / part).iterdir()}


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def problems(store):
    return check(Store.open(store.path), files=False, versions=True)[0]


def test_a_history_that_breaks_is_listed_up_to_there(store, capsys):
    commits = store.history()
    halve(files(store, "snapshots")[commits[2].id])
    broken = Store.open(store.path)
    told = []
    assert broken.history(broken=told.append) == commits[:2]
    (text,) = told
    assert (
        f"breaks before commit {commits[1].id}" in text and f"commit {commits[2].id} cannot be read" in text
    )
    with pytest.raises(StoreError, match=f"its history breaks before commit {commits[1].id}"):
        broken.history()
    assert cli.main(["history", store.path, "--json"]) == 6
    out, err = capsys.readouterr()
    assert commits[0].message in err and commits[1].message in err and text in err
    assert json.loads(out.splitlines()[-1])["broken"] == [text]
    (problem,) = [p for p in problems(store) if p.place == "history"]
    assert problem.what == text
    assert broken.rollback(commits[1].id[:8]) and broken.photometry["r"].sizes["time"] == 10


def test_where_the_last_commit_is_damaged_the_one_before_takes_its_place(store, capsys):
    tip, before = store.history()[:2]
    halve(files(store, "snapshots")[tip.id])
    cure = f"dphot rollback {store.path} {before.id}"
    with pytest.raises(StoreError, match=f"cannot be read.*snapshots/{tip.id}, back from a copy.*{cure}$"):
        Store.open(store.path)
    for command in (["history"], ["check"], ["append", "."]):
        assert cli.main([command[0], store.path, *command[1:]]) == 6 and cure in capsys.readouterr().err
    assert cli.main(["rollback", store.path, "2026-11-01"]) == 6
    assert cli.main(["rollback", store.path, before.id]) == 0
    assert f"the state left behind stays readable as {tip.id}" not in capsys.readouterr().out
    back = Store.open(store.path)
    assert back.history()[1:] == store.at(before.id).history() and back.photometry["r"].sizes["time"] == 10
    append(back, 3)
    assert back.photometry["r"].sizes["time"] == 15 and check(back, files=False)[0] == []


@pytest.mark.parametrize("part", ["manifests", "chunks"])
def test_what_only_untagged_versions_use_is_told_once_and_let_go(store, part, tmp_path, capsys):
    assert problems(store) == []
    version = store.history()[0]
    with store.transaction("other numbers", {"night": "2026-11-03"}) as tx:
        flux = tx.root["photometry/r/flux"]
        flux[:] = 2 * flux[:]
    for name in ("undone", "undone, too"):
        with store.transaction(name) as tx:
            flux = tx.root["photometry/r/flux"]
            flux[:] = 2 * flux[:]
    store.rollback(store.history()[2].id)
    assert problems(store) == []
    present = Store.open(shutil.copytree(store.path, tmp_path / "present.dphot"))
    present.collect(timedelta(0))
    for name in files(store, part).keys() - files(present, part).keys():
        halve(files(store, part)[name])
    (problem,) = older.untagged_problems(store.path, store.session)
    assert problem.place == "earlier versions" and version.id in problem.what
    assert "photometry/r/flux: " in problem.what and "versions cannot be read whole" in problem.what
    assert "2026-11-03" in problem.nights
    assert "put the store's files back" in problem.cure and f"dphot gc {store.path}" in problem.cure
    assert problems(store) == [problem] and check(store, files=False)[0] == []
    assert cli.main(["check", store.path, "--no-files", "--versions", "--json"]) == 0
    out, err = capsys.readouterr()
    assert problem.what in err and "the present state is whole" in err
    assert [p["earlier"] for p in json.loads(out.splitlines()[-1])["problems"]] == [True]
    if part == "manifests":  # the versions are too young to go, and what they hold cannot be told
        assert cli.main(["gc", store.path, "--older-than", "1d"]) == 6
        err = capsys.readouterr().err
        assert f"dphot check {store.path} --versions" in err and "give an age that lets it go" in err
    assert cli.main(["gc", store.path, "--older-than", "0d", "--dry-run"]) == 0
    assert len(store.history()) > 1
    assert cli.main(["gc", store.path, "--older-than", "0d"]) == 0
    assert problems(store) == [] and store.photometry["r"].sizes["time"] == 15


def test_a_list_of_chunks_that_grew_is_looked_at_in_the_version_before(store):
    """Of which no chunk is read: the next version shares them all."""
    before = files(store, "manifests")
    with store.transaction("a chunk a row") as tx:
        tx.root.create_array("masters/x/dark", shape=(3, 2), chunks=(1, 2), dtype="f8")[:] = 1.5
    (mine,) = files(store, "manifests").items() - before.items()
    with store.transaction("another row") as tx:
        dark = tx.root["masters/x/dark"]
        dark.resize((4, 2))
        dark[3:] = 2.5
    version = store.history()[1].id
    assert problems(store) == []
    halve(mine[1])
    (problem,) = older.untagged_problems(store.path, store.session)
    assert problem.what.startswith(
        f"1 version cannot be read whole ({version}); of {version} masters/x/dark: "
    )


def test_chunks_are_read_once(store, monkeypatch):
    read, error = [], health._error
    monkeypatch.setattr(health, "_error", lambda array, index: read.append(array.path) or error(array, index))
    assert problems(store) == []
    assert read.count("photometry/r/flux") == 3  # one chunk, written anew with each night


def test_a_clock_that_went_back_is_told(store):
    newer, before = store.history()[:2]
    file = files(store, "snapshots")[before.id]
    head, content = file.read_bytes()[:HEADER], Zstd().decode(file.read_bytes()[HEADER:])
    at, later = (
        int(np.datetime64(t.replace(tzinfo=None), "us").astype(int)) for t in (before.time, newer.time)
    )
    stamps = [t.to_bytes(8, "little") for t in (at, later + 3_600_000_000)]
    assert content.count(stamps[0]) == 1
    file.write_bytes(head + Zstd().encode(content.replace(*stamps)))
    (problem,) = problems(store)
    assert problem.place == f"commit {newer.id}" and "the clock stood wrong" in problem.what
