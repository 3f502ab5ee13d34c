"""A store of each released format opens, and reads as it did when it was written."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

import dphot
from dphot.checking import check
from dphot.errors import StoreError
from dphot.schema import FORMAT_VERSION

DATA = Path(__file__).parents[1] / "data"
FORMATS = sorted(DATA.glob("format-*.zip"), key=lambda p: int(p.stem.split("-")[1]))


def test_every_format_is_kept():
    assert [f.stem for f in FORMATS] == [f"format-{n}" for n in range(1, FORMAT_VERSION + 1)]
    assert all(f.stat().st_size < 200_000 for f in FORMATS)


@pytest.fixture(params=FORMATS, ids=lambda p: p.stem)
def kept(request, tmp_path):
    """A store as it was written then, and what it must be read as."""
    with zipfile.ZipFile(request.param) as archive:
        archive.extractall(tmp_path / "field.dphot")
    return tmp_path / "field.dphot", json.loads(request.param.with_suffix(".json").read_text())


def test_it_reads_as_it_did(kept):
    path, known = kept
    store = dphot.open(path)
    obs = store.photometry[known["filter"]].load()
    assert {k: obs.sizes[k] for k in known["sizes"]} == known["sizes"]
    assert [str(t) for t in obs.time.values] == known["time"]
    assert list(obs.digest.values) == known["digest"]
    np.testing.assert_array_equal(obs.flux.values[:, 0, :3], known["flux"])
    assert int(store.frames[known["filter"]][known["night"]].raw.astype("i8").sum()) == known["raw"]
    record = store.nights[0]
    assert (record["night"], record["series"][0]["frames_used"]) == (known["night"], known["frames_used"])
    assert store.reference.sizes["star"] == known["stars"] and known["commit"] in store.tags.values()
    assert dphot.open(path, tag="released").history()[0].id == known["commit"]


def test_it_can_be_used(kept):
    path, known = kept
    store = dphot.open(path)
    assert check(store, files=False)[0] == []
    curve = dphot.light_curve(store, target=1, aperture=0).diff_flux.values[:, 0, 1]
    np.testing.assert_allclose(curve, known["curve"], rtol=1e-3)
    assert dphot.differential(store.photometry[known["filter"]], target=1).sizes["time"] == len(known["time"])
    with store.transaction("note") as tx:
        tx.write_attrs({"note": "written by a later version"})
    assert dphot.open(path).attrs["note"] == "written by a later version"


@pytest.mark.parametrize("version", [FORMAT_VERSION + 1, "2", None])
def test_a_newer_format_is_refused_with_what_to_do(kept, version):
    path, _ = kept
    with dphot.open(path).transaction("from the future") as tx:
        tx.write_attrs({"format_version": version})
    with pytest.raises(
        StoreError, match=rf"format is version {version}, .*up to {FORMAT_VERSION}; update dphot"
    ):
        dphot.open(path)


@pytest.mark.parametrize(("files", "kind"), [
    (["zarr.json"], r"plain Zarr \(format 3\); open it with xarray"), ([".zgroup", ".zattrs"], r"plain Zarr \(format 2\)"),
    (["a/.zarray", ".zmetadata"], r"plain Zarr \(format 2\)"), (["light-1.fits"], "another folder"),
])  # fmt: skip
def test_other_folders_are_named_for_what_they_are(tmp_path, files, kind):
    for file in files:
        (tmp_path / "x" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x" / file).write_text("{}")
    with pytest.raises(StoreError, match=f"x: not a dphot store, but {kind}"):
        dphot.open(tmp_path / "x")
    with pytest.raises(StoreError, match="not a dphot store, but a file"):
        dphot.open(tmp_path / "x" / files[0])
