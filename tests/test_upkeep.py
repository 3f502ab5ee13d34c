"""The commands that look after a store, as their users meet them."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta

import pytest

import dphot
from dphot import cli, simulate
from dphot.errors import InputError
from dphot.upkeep import parse_age


@pytest.fixture
def store(small_store, tmp_path):
    """A copy of the small night's store, to be changed."""
    return dphot.open(shutil.copytree(small_store.path, tmp_path / "field.dphot"))


@pytest.fixture
def run(capsys):
    """Run a command; gives exit code, what it says, and its JSON object."""

    def call(*arguments):
        texts = [str(a) for a in arguments]
        code = cli.main([*texts, "--json"])
        out, err = capsys.readouterr()
        return code, err, json.loads(out.splitlines()[-1])

    return call


def test_history_tells_what_an_observer_wants_to_know(store, run):
    store.tag("paper")
    code, text, result = run("history", store.path)
    night, made = result["commits"]
    facts = night["metadata"]
    assert code == 0 and night["tags"] == ["paper"] and made["message"] == "Create the store"
    assert (facts["frames"], facts["frames_used"]) == (8, 8) and facts["night"] == store.nights[0]["night"]
    record = store.nights[0]["series"][0]
    assert facts["config_digest"] == record["config_digest"] and facts["software"] == record["software"]
    first = text.splitlines()[0]
    assert night["id"] in first and "8 of 8 frames" in first and "tag paper" in first
    assert f"dphot {dphot.__version__}" in first
    assert f"{1e3 * facts['precision']['r']:.2f} ppt in r;" in first


def test_a_name_may_come_behind_an_option(store, run):
    path, tip = store.path, store.history()[0].id
    for i, order in enumerate(
        (("--json", path, None), (path, "--json", None), (path, "--quiet", "--json", None))
    ):
        assert cli.main(["tag", *(one or f"tag-{i}" for one in order)]) == 0
    assert run("tag", path)[2]["tags"] == {f"tag-{i}": tip for i in range(3)}
    assert (
        cli.main(["tag", path, "a", "--at", tip, "b"]) == 2
        and cli.main(["tag", path, "--att", tip, "b"]) == 2
    )


def test_tag_diff_rollback_gc(store, run):
    path, tip = store.path, store.history()[0].id
    empty = store.history()[1].id
    assert run("tag", path, "empty", "--at", empty)[2]["tags"] == {"empty": empty}
    assert run("tag", path)[2]["tags"] == {"empty": empty}
    assert run("tag", path, "empty")[0] == 6
    for name in ("", " ", "a/b"):
        code, _, result = run("tag", path, name)
        assert code == 6 and f"tag {name!r} is no name" in result["error"]
    assert run("tag", path)[2]["tags"] == {"empty": empty}
    assert "'A9' is too short for a version" in run("diff", path, "A9")[2]["error"]
    assert run("tag", path, "--at", empty)[0] == 2
    code, text, result = run("diff", path, "empty")
    assert code == 0 and result["nights"]["added"] == [r["night"] for r in store.nights]
    assert "8 added" in text
    code, text, result = run("rollback", path, "empty")
    assert code == 0 and result["left"] == tip and tip in text and not dphot.open(path).photometry
    assert run("diff", path, tip)[2]["nights"]["removed"]
    assert {c["state"] for c in run("history", path)[2]["commits"]} == {"", "undone"}
    assert run("gc", path, "--older-than", "1d")[2]["commits"] == []
    assert tip in run("gc", path, "--older-than", "0d", "--dry-run")[2]["commits"]
    assert len(dphot.open(path, snapshot=tip).photometry) == 1
    code, _, result = run("gc", path, "--older-than", "0d")
    assert code == 0 and tip in result["commits"] and result["bytes"] > 1e5
    assert run("diff", path, tip)[0] == 6
    assert run("rollback", path, "no such version")[0] == 6


def test_a_store_that_cannot_be_written_gets_no_tag(store, run, tmp_path):
    lock = tmp_path / "field.dphot" / "dphot.lock"
    lock.unlink(missing_ok=True)
    lock.mkdir()  # permissions would not stop a test that runs as root
    code, _, result = run("tag", store.path, "paper")
    assert code == 6 and "field.dphot: cannot be written" in result["error"] and not store.tags
    assert run("tag", store.path)[0] == 0


def test_whoever_writes_is_waited_for_as_long_as_told(store, run):
    for command in (["rollback", store.history()[1].id], ["gc", "--older-than", "0d"]):
        with store.transaction("busy"):
            code, _, result = run(command[0], store.path, *command[1:], "--wait", 0.1)
            assert code == 6 and "waited 0.1 s. Try again when it is done" in result["error"]
            assert run("tag", store.path, command[0])[0] == 0  # a tag waits for nobody
    assert cli.parse(["redo", store.path, "2026-03-14", "--wait", "1"]).wait == 1


def test_redo_tells_what_it_came_to(run, tmp_path):
    (frames,) = simulate.write_nights(tmp_path, frames=5, size=128, seed=3, stars=25, flats=0, clouds=0)
    store = dphot.reduce(frames, tmp_path / "x.dphot", workers=0)
    night = store.nights[0]["night"]
    code, text, result = run("redo", store.path, night, "--set", "sky_sigma=2.5", "--workers", 0)
    assert code == 0 and f"{night} r: 5 of 5 frames measured again" in text
    assert "calibration missing: flat in filter 'r'" in text
    store.refresh()
    assert result["commit"] == store.history()[0].id and len(store.history()) == 3
    assert run("redo", store.path, night, "--set", "sky_sigma")[0] == 2


def test_explain_and_check(store, run, tmp_path):
    (obs,) = store.photometry.values()
    code, text, result = run("explain", store.path, "--time", obs.time.values[0], "--star", 1)
    assert code == 0 and result["frame"]["path"] == obs.path.values[0] and obs.path.values[0] in text
    assert run("explain", store.path, "--time", "1999-01-01")[0] == 2
    code, text, result = run("check", store.path)
    assert code == 0 and result["problems"] == [] and "the store is whole" in text
    largest = max((tmp_path / "field.dphot" / "chunks").iterdir(), key=lambda f: f.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:100])
    code, text, result = run("check", store.path, "--no-files")
    (problem,) = result["problems"]
    assert code == result["exit_code"] == 6 and problem["place"] in text and problem["nights"][0] in text
    assert run("check", store.path, "--moved-to", tmp_path)[0] == 2


def test_damage_is_an_error_that_tells_what_to_do(store, run, tmp_path):
    for chunk in (tmp_path / "field.dphot" / "chunks").iterdir():
        data = bytearray(chunk.read_bytes())
        data[len(data) // 2] ^= 1
        chunk.write_bytes(data)
    (obs,) = store.photometry.values()
    when, made = str(obs.time.values[0]), store.history()[1].id
    for command in (
        ["differential"],
        ["report"],
        ["export", tmp_path / "x.csv"],
        ["explain", "--time", when],
    ):
        code, text, result = run(command[0], store.path, *command[1:])
        assert code == 6 and "dphot check" in result["error"] and "Traceback" not in text, command
        assert len(result["error"].splitlines()) == 1
    assert run("diff", store.path, made)[0] in (0, 6)


@pytest.mark.parametrize("arguments", [["gc"], ["rollback"], ["diff"]])
def test_nothing_is_guessed(store, run, arguments):
    assert run(*arguments, store.path)[0] == 2


def test_ages():
    assert parse_age("30d") == timedelta(days=30) and parse_age("1.5h") == timedelta(minutes=90)
    for text in ("30", "d", "-1d", "1 week", "", "99999999d", "999999999999999h"):
        with pytest.raises(InputError, match="30d, 12h or 90m"):
            parse_age(text)
