"""Stores are made and opened; what is there already, or is no store, is refused and stays as it is."""

import pytest
import zarr
from store_night import append

from dphot import schema
from dphot.errors import StoreError
from dphot.store import Store, repository


def test_attributes_and_format(store):
    again = Store.open(store.path)
    made = {"format": "dphot", "format_version": schema.FORMAT_VERSION}
    assert again.attrs == {"field": "WASP-12", "latitude": 28.3, **made}
    assert [c.message for c in again.history()] == ["Create the store"]
    assert not again.photometry and not again.frames and not again.masters and not again.nights
    assert again.digests("r") == set()


def test_an_existing_store_or_folder_is_never_touched(store, tmp_path):
    with pytest.raises(StoreError, match=r"field.dphot: exists; choose .* --overwrite"):
        Store.create(store.path, {})
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter").write_text("one")
    with pytest.raises(StoreError, match="exists"):
        Store.create(other, {})
    with pytest.raises(StoreError, match="not a dphot store"):
        Store.create(other, {}, overwrite=True)
    assert (other / "chapter").read_text() == "one"


def test_overwrite_begins_anew(store, night):
    append(store, "r", night(1))
    anew = Store.create(store.path, {"field": "other"}, overwrite=True)
    assert anew.attrs["field"] == "other" and not anew.photometry


@pytest.mark.parametrize("how", ["create", "replace"])
def test_a_link_to_a_store_stays_and_what_it_leads_to_is_overwritten(store, tmp_path, how):
    link = tmp_path / "desk" / "link.dphot"
    link.parent.mkdir()
    link.symlink_to(store.path)
    if how == "create":
        Store.create(link, {"field": "other"}, overwrite=True)
    else:
        Store.replace(link, by=Store.create(tmp_path / "new.dphot", {"field": "other"}).path)
    assert link.is_symlink() and Store.open(store.path).attrs["field"] == "other"
    assert [p.name for p in link.parent.iterdir()] == ["link.dphot"]
    assert {p.name for p in tmp_path.iterdir()} == {"desk", "field.dphot"}


def test_overwrite_waits_for_no_writer(store):
    with store.transaction("busy"), pytest.raises(StoreError, match="is writing to it"):
        Store.create(store.path, {}, overwrite=True)
    assert Store.open(store.path).attrs["field"] == "WASP-12"


def test_a_crash_while_creating_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("dphot.store.making.zarr.create_group", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Store.create(tmp_path / "a.dphot", {})
    assert list(tmp_path.iterdir()) == []


def test_no_store(tmp_path):
    with pytest.raises(StoreError, match="no such store"):
        Store.open(tmp_path / "nothing")
    with pytest.raises(StoreError, match="not a dphot store"):
        Store.open(tmp_path)
    zarr.create_group(tmp_path / "plain.zarr")
    with pytest.raises(StoreError, match="not a dphot store"):
        Store.open(tmp_path / "plain.zarr")


def test_a_foreign_repository(tmp_path):
    folder = str(tmp_path / "foreign")
    repo = repository.create(folder)
    with pytest.raises(StoreError, match="not a dphot store"):
        Store.open(folder)
    session = repo.writable_session("main")
    zarr.create_group(session.store, attributes={"title": "climate"})
    session.commit("x")
    with pytest.raises(StoreError, match="not a dphot store"):
        Store.open(folder)


def test_a_newer_format(store):
    with store.transaction("from the future") as tx:
        tx.write_attrs({"format_version": 99})
    with pytest.raises(StoreError, match=r"version 99.*up to 1; update dphot"):
        Store.open(store.path)


def test_a_damaged_store(store, tmp_path):
    for file in (tmp_path / "field.dphot" / "snapshots").iterdir():
        file.write_bytes(b"damaged")
    with pytest.raises(StoreError, match=r"field.dphot: it cannot be read"):
        Store.open(store.path)


@pytest.mark.parametrize("path", ["s3://", "s3://bucket", "s3://bucket/"])
def test_a_bucket_needs_a_prefix(path):
    with pytest.raises(StoreError, match="name a bucket and a prefix"):
        Store.open(path)
