"""From a point of a light curve back to what made it."""

import hashlib
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
import xarray as xr
from store_night import make_night

import dphot
from dphot.errors import InputError
from dphot.lineage import explain, lineage_lines
from dphot.store import Store


def sha(path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_a_point_leads_to_its_files_settings_and_commit(small_store, small_night):
    (obs,) = small_store.photometry.values()
    row = 5
    found = explain(small_store, str(obs.time.values[row]), star=2)
    frame = found["frame"]
    assert (
        frame["path"] == obs.path.values[row]
        and frame["digest"] == sha(frame["path"])
        and frame["file"] == "same"
    )
    assert Path(frame["path"]).parent == Path(small_night)
    assert {kind: len(inputs) for kind, inputs in found["masters"].items()} == {
        "bias": 3,
        "dark": 3,
        "flat": 3,
    }
    for inputs in found["masters"].values():
        for one in inputs:
            assert one["digest"] == sha(one["path"])
    assert found["reference"]["digest"] == sha(found["reference"]["path"])
    record = small_store.nights[0]["series"][0]
    assert (found["config_digest"], found["software"]) == (record["config_digest"], record["software"])
    assert found["commit"]["id"] == small_store.history()[0].id
    assert found["star"]["flux"] == obs.flux[row, :, 2].values.tolist()
    text = "\n".join(lineage_lines(found))
    for part in (
        frame["path"],
        frame["digest"],
        "the one that was measured",
        "the defaults",
        found["commit"]["id"],
    ):
        assert part in text


def test_times_in_every_form(small_store):
    (obs,) = small_store.photometry.values()
    for time in (
        str(obs.time.values[3]),
        f"{obs.time.values[3].astype('M8[s]')}+00:00",
        float(obs.jd_utc[3]),
        float(obs.bjd_tdb[3]),
    ):
        assert explain(small_store, str(time))["frame"]["path"] == obs.path.values[3]
        assert dphot.explain(small_store, time)["frame"]["path"] == obs.path.values[3]


@pytest.mark.parametrize(("options", "message"), [
    ({"time": "1999-01-01"}, "no frame was exposed at 1999-01-01; the nearest"),
    ({"time": "2400000.5"}, "no frame was exposed"),
    ({"time": "yesterday"}, "neither an instant"),
    ({"filter": "z"}, "holds"),
    ({"star": 999}, "no star 999"),
])  # fmt: skip
def test_what_is_not_there(small_store, options, message):
    (obs,) = small_store.photometry.values()
    with pytest.raises(InputError, match=message):
        explain(small_store, **{"time": str(obs.time.values[0]), **options})


def test_files_that_changed_or_went(night_copy, tmp_path):
    store = dphot.reduce(night_copy, tmp_path / "s.dphot", workers=0, stack=False)
    (obs,) = store.photometry.values()
    first, second = (Path(p) for p in obs.path.values[:2])
    first.write_bytes(first.read_bytes() + bytes(2880))
    second.unlink()
    states = [explain(store, str(t))["frame"]["file"] for t in obs.time.values[:3]]
    assert states == ["changed", "gone", "same"]


def test_the_commit_is_the_one_that_made_the_row(small_store, tmp_path):
    store = dphot.open(shutil.copytree(small_store.path, tmp_path / "field.dphot"))
    (obs,) = store.photometry.values()
    night, time = store.history()[0], str(obs.time.values[0])
    with store.transaction("note", {"night": night.metadata["night"]}) as tx:
        tx.write_attrs({"note": "nothing of the night's frames"})
    assert explain(store, time)["commit"]["id"] == night.id
    store.collect(timedelta(0))
    assert explain(store, time)["commit"]["id"] == night.id


def test_a_commit_that_was_undone_and_let_go_is_not_the_source(tmp_path):
    store = Store.create(tmp_path / "field.dphot", {})
    ds = make_night(1)
    facts = {"night": "2026-11-01", "frames": 5}
    with store.transaction("reference") as tx:
        tx.write_reference(xr.Dataset(attrs={"path": "/raw/01/frame-0.fits"}))
    for message in ("kept", "undone"):
        with store.transaction(message, facts) as tx:
            if message == "kept":
                tx.append_photometry("r", ds)
            else:
                tx.overwrite_photometry("r", ds.assign(flux=2 * ds.flux))
            tx.write_night("2026-11-01", {})
    time, kept = str(ds.time.values[0]), store.history()[1]
    store.rollback(kept.id)
    assert explain(store, time)["commit"]["id"] == kept.id
    store.collect(timedelta(0))
    assert explain(store, time)["commit"]["id"] == kept.id
