"""Going back, letting go, and what stays readable."""

import shutil
from datetime import timedelta

import icechunk
import numpy as np
import pytest
import xarray as xr

from dphot.errors import StoreError
from dphot.store import Store, repository, versions

AT_ONCE = timedelta(0)


@pytest.fixture(scope="module")
def three(tmp_path_factory, night):
    """Three nights, one commit each."""
    store = Store.create(tmp_path_factory.mktemp("three") / "field.dphot", {})
    for day in (1, 2, 3):
        append(store, day, night)
    return store


@pytest.fixture
def store(three, tmp_path):
    """A copy of them, to be changed."""
    return Store.open(shutil.copytree(three.path, tmp_path / "field.dphot"))


def append(store, day, night):
    with store.transaction(f"night {day}", {"night": f"2026-11-{day:02d}"}) as tx:
        tx.append_photometry("r", night(day, frames=40, stars=20))
        tx.write_night(f"2026-11-{day:02d}", {"day": day})


def frames(store):
    return store.photometry["r"].sizes["time"]


def files(store):
    return sum(f.is_file() for f in repository.folder(store.path).rglob("*"))


class TestRollback:
    def test_a_new_state_with_the_old_contents(self, store, night):
        before = store.history()
        two = Store.open(store.path, snapshot=before[1].id).photometry["r"].load()
        state = store.rollback(before[1].id)
        assert [c.message for c in store.history()] == [
            f"Roll back to {before[1].id}",
            "night 2",
            "night 1",
            "Create the store",
        ]
        assert store.history()[0].id == state and store.history()[0].metadata == {
            "to": before[1].id,
            "from": before[0].id,
        }
        xr.testing.assert_identical(Store.open(store.path).photometry["r"].load(), two)
        append(store, 4, night)
        assert [r["day"] for r in store.nights] == [1, 2, 4] and frames(store) == 120

    def test_what_came_after_stays_readable_and_listed(self, store):
        tip = store.history()[0]
        store.rollback(store.history()[2].id)
        assert frames(store) == 40 and frames(Store.open(store.path, snapshot=tip.id)) == 120
        states = {c.message: c.state for c in store.history(everything=True)}
        assert states["night 3"] == states["night 2"] == "undone" and states["night 1"] == ""
        times = [c.time for c in store.history(everything=True)]
        assert times == sorted(times, reverse=True)
        store.rollback(tip.id)  # and back again
        assert frames(store) == 120 and [r["day"] for r in store.nights] == [1, 2, 3]
        assert icechunk.Repository.open(repository.storage(store.path)).list_branches() > {"main"}

    def test_names_of_versions(self, store):
        ids = [c.id for c in store.history()]
        store.at(ids[2]).tag("paper")
        assert frames(store.at("paper")) == frames(store.at(ids[2][:8].lower())) == 40
        assert frames(store.at(str(store.history()[1].time))) == 80
        for name, problem in (
            ("nothing", "'nothing' is no version"),
            ("", "'' is too short for a version"),
            ("1999-01-01", "no version of 1999-01-01 .*is kept"),
        ):
            with pytest.raises(StoreError, match=problem):
                store.at(name)
        store.rollback("paper")
        assert frames(store) == 40

    def test_refusals(self, store):
        with pytest.raises(StoreError, match="is the state already"):
            store.rollback(store.history()[0].id)
        with pytest.raises(StoreError, match="fixed version"):
            store.at(store.history()[1].id).rollback(store.history()[0].id)
        with store.transaction("busy"), pytest.raises(StoreError, match="is writing to it"):
            Store.open(store.path).rollback(store.history()[1].id, wait=0)
        assert len(store.history(everything=True)) == 4

    def test_a_writer_that_is_late_is_noticed(self, store, night):
        late = Store.open(store.path)
        store.rollback(store.history()[1].id)
        append(late, 4, night)  # opened before, begun after: on the new state
        assert [r["day"] for r in Store.open(store.path).nights] == [1, 2, 4]


class TestTag:
    @pytest.mark.parametrize(
        ("name", "wrong"),
        [
            ("größe#2", "has 'öß#'"),
            *((f"a{sign}b", f"has {sign!r}") for sign in '%*?~"|<>[]{}^\\`/\n'),
            ("-a", "begins with '-'"),
            (" ", "begins with ' '"),
            ("", "is empty"),
        ],
    )
    def test_what_icechunk_would_not_list_is_refused(self, store, name, wrong):
        with pytest.raises(StoreError, match="letters a to z, digits and") as told:
            store.tag(name)
        assert f"it {wrong};" in str(told.value) and store.tags == {}

    def test_all_that_is_allowed_keeps_its_version(self, store):
        names = [f"9{sign}a{sign}" for sign in " ._:+@=,()'-"]
        old = store.at(store.history()[2].id)
        for name in names:
            old.tag(name)
        assert sorted(store.tags) == sorted(names)
        store.collect(AT_ONCE)
        assert {frames(Store.open(store.path, tag=name)) for name in names} == {40}

    def test_a_tag_that_is_not_listed_is_an_error(self, store, monkeypatch):
        monkeypatch.setattr(icechunk.Repository, "list_tags", lambda self: set())
        with pytest.raises(StoreError, match="tag 'paper' cannot be found again"):
            store.tag("paper")


class TestCollect:
    def test_old_versions_go_and_the_rest_stays_bit_for_bit(self, store):
        kept, ids = store.photometry["r"].load(), [c.id for c in store.history()]
        store.at(ids[2]).tag("paper")
        store.rollback(ids[1])
        gone = store.collect(AT_ONCE)
        assert {c.id for c in gone.commits} == {*ids, gone.commits[0].id} - {ids[2]} and gone.bytes > 0
        assert frames(Store.open(store.path)) == 80 and frames(Store.open(store.path, tag="paper")) == 40
        xr.testing.assert_identical(store.photometry["r"].load(), kept.isel(time=slice(80)))
        for lost in (ids[0], ids[1], ids[3]):
            with pytest.raises(StoreError, match="not found"):
                Store.open(store.path, snapshot=lost)

    def test_the_history_still_tells_of_them(self, store, night):
        before = store.history()
        store.collect(AT_ONCE)
        append(store, 4, night)
        store.collect(AT_ONCE)
        listed = {c.message: c for c in store.history(everything=True)}
        for commit in before:
            assert listed[commit.message].state == "collected" and listed[commit.message].id == commit.id
            assert (
                listed[commit.message].time == commit.time
                and listed[commit.message].metadata == commit.metadata
            )
        with pytest.raises(StoreError, match=r"no version of .* is kept; `dphot history`"):
            store.at(str(before[1].time))

    def test_nothing_young_goes(self, store):
        count, ids = files(store), [c.id for c in store.history()]
        store.rollback(ids[1])
        assert store.collect(timedelta(days=30)).commits == []
        assert files(store) > count and all(frames(store.at(i)) for i in ids[:3])

    def test_a_dry_run_deletes_nothing(self, store):
        count = files(store)
        assert store.collect(AT_ONCE, dry_run=True).commits[0].message == "night 3"
        assert files(store) == count and len(store.history()) == 4

    def test_an_append_under_way_is_waited_for(self, store, night):
        other = Store.open(store.path)
        with store.transaction("night 4") as tx:
            tx.append_photometry("r", night(4, frames=40, stars=20))
            with pytest.raises(StoreError, match="is writing to it"):
                other.collect(AT_ONCE, wait=0)
            assert len(other.collect(AT_ONCE, dry_run=True, wait=0).commits) == 4  # which writes nothing
        other.collect(AT_ONCE)
        assert np.isfinite(Store.open(store.path).photometry["r"].flux.values).all()
        assert frames(Store.open(store.path)) == 160

    def test_what_a_crash_left_goes(self, store, night):
        count = files(store)
        with pytest.raises(RuntimeError), store.transaction("night 4") as tx:
            tx.append_photometry("r", night(4, frames=40, stars=20))
            raise RuntimeError
        assert files(store) > count
        assert store.collect(AT_ONCE).bytes > 0 and frames(store) == 120

    def test_a_full_disk_gets_room_before_the_log_is_written(self, store, night, monkeypatch):
        ids = [c.id for c in store.history()]
        store.rollback(ids[1])
        count = files(store)
        with pytest.raises(RuntimeError), store.transaction("night 4") as tx:
            tx.append_photometry("r", night(4, frames=40, stars=20))
            raise RuntimeError
        assert files(store) > count

        def full(repo, commits):
            raise StoreError("No space left on device")

        with monkeypatch.context() as patch, pytest.raises(StoreError, match="No space left"):
            patch.setattr(versions, "_write_log", full)
            store.collect(AT_ONCE)
        assert files(store) == count  # what no version holds is gone, and no version is
        assert frames(Store.open(store.path, snapshot=ids[0])) == 120
        assert {c.id: c.state for c in store.history(everything=True)}[ids[0]] == "undone"
        assert ids[0] in {c.id for c in store.collect(AT_ONCE).commits} and files(store) < count

    def test_ages_that_do_not_serve(self, store, monkeypatch):
        with pytest.raises(StoreError, match="lies in the future"):
            store.collect(timedelta(days=-1))
        monkeypatch.setattr(repository, "is_remote", lambda path: True)
        with pytest.raises(StoreError, match="give 7d or more"):
            store.collect(timedelta(days=6))


def test_what_a_tag_keeps_is_listed_and_found_after_a_collection(store):
    kept = store.history()[1].id
    store.at(kept).tag("paper")
    store.collect(AT_ONCE)
    told = {commit.id: commit.state for commit in store.history(everything=True)}
    assert told[kept] == "" and list(told.values()).count("collected") == 3
    assert frames(store.at(kept)) == frames(store.at("paper")) == 80
    store.rollback(kept[:8])
    assert frames(store) == 80 and store.collect(AT_ONCE).commits and frames(store.at(kept)) == 80


def test_a_date_before_the_store_was_made_is_told(store):
    with pytest.raises(StoreError, match="no version of 2020-01-01 .*is kept; `dphot history`"):
        Store.open(store.path, as_of="2020-01-01")
    with pytest.raises(StoreError, match="no version of 2020-01-01"):
        store.at("2020-01-01")
