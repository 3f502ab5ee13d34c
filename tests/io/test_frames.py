"""The frame table: what is listed, what is read again, and what it prints."""

import math
import os
import subprocess
import sys

import dask
import fits_files as ff
import numpy as np
import pandas as pd
import pytest

from dphot.errors import InputError
from dphot.io import batches
from dphot.io.frames import FrameTable, scan
from dphot.io.headers import COLUMNS
from dphot.telescope import Telescope

PIXELS = np.arange(20, dtype="i2").reshape(4, 5)


def frame(path, **values):
    return ff.write(path, ff.image(PIXELS, **{**ff.LIGHT, **values}))


@pytest.fixture
def night(tmp_path):
    """3 lights (not in the order of their names), 1 bias, 2 flats, 1 bad file, and other files."""
    folder = tmp_path / "night"
    for name, minute in (("c.fits", 1), ("a.FIT", 3), ("b.fits.gz", 2)):
        frame(folder / name, DATE_OBS=f"2026-11-22T03:0{minute}:00")
    frame(folder / "cal" / "bias.fts", IMAGETYP="Bias Frame", EXPTIME=0.0, DATE_OBS="2026-11-22T01:00:00")
    frame(folder / "cal" / "f1.fits", IMAGETYP="Flat Field", EXPTIME=2.0, DATE_OBS="2026-11-22T01:10:00")
    frame(folder / "cal" / "f2.fits", IMAGETYP="Flat Field", EXPTIME=9.5, DATE_OBS="2026-11-22T01:12:00")
    ff.write(folder / "cut.fits", b"SIMPLE  =")
    for name in ("notes.txt", "data.csv.gz", ".hidden.fits"):
        ff.write(folder / name, b"x")
    return folder


def count_reads(monkeypatch):
    seen = []
    real = batches.read_header
    monkeypatch.setattr(batches, "read_header", lambda path, hdu=None: seen.append(path) or real(path, hdu))
    return seen


def test_every_file_is_a_row_in_time_order(night):
    table = scan(night)
    assert len(table) == 7 and table.ignored == 2
    frame_ = table.to_pandas()
    assert list(frame_.columns) == list(COLUMNS)
    assert [os.path.basename(p) for p in frame_["path"]] == [
        "bias.fts", "f1.fits", "f2.fits", "c.fits", "b.fits.gz", "a.FIT", "cut.fits",
    ]  # fmt: skip
    assert frame_["time"].dtype == "datetime64[ns]"
    assert pd.isna(frame_["time"].iloc[-1])
    assert "END" in table.errors["error"].iloc[0]
    assert [len(t) for t in (table.lights, table.biases, table.darks, table.flats)] == [3, 1, 0, 2]
    assert table.nights == ["2026-11-21"]
    assert [r["exposure"] for r in table.flats] == [2.0, 9.5]


def test_select_by_value_wildcard_and_list(night):
    table = scan(night)
    assert len(table.select(object="wasp*")) == 6
    assert len(table.select(type="LIGHT", filter="r", exposure=30)) == 3
    assert len(table.select(filter="R")) == 0
    assert len(table.select(exposure=[2, 9.5])) == 2
    assert len(table.select(night="2026-11-21", telescope="test", type=["bias", "flat"])) == 3
    with pytest.raises(InputError, match="fliter"):
        table.select(fliter="r")


def test_the_summary_is_printed(night):
    text = repr(scan(night))
    assert "2 to 9.5" in text and "WASP-12" in text
    assert "6 frames; 2 other files ignored" in text
    assert "cut.fits: truncated" in text
    assert text.count("longitude") == 1
    summary = scan(night).summary()
    assert dict(zip(summary["type"], summary["frames"], strict=True)) == {"bias": 1, "flat": 2, "light": 3}
    assert "<table" in scan(night)._repr_html_()
    assert repr(FrameTable.from_records([])).startswith("no frames")


def test_only_new_and_changed_files_are_read_again(night, monkeypatch):
    first = scan(night).to_pandas()
    seen = count_reads(monkeypatch)
    pd.testing.assert_frame_equal(scan(night).to_pandas(), first)
    assert [os.path.basename(p) for p in seen] == ["cut.fits"]  # a bad file is tried again
    seen.clear()
    frame(night / "new.fits", DATE_OBS="2026-11-22T04:00:00")
    frame(night / "c.fits", DATE_OBS="2026-11-22T05:00:00", OBJECT="other")
    os.utime(night / "c.fits", ns=(1, 1))
    (night / "a.FIT").unlink()
    (night / "cut.fits").unlink()
    table = scan(night)
    assert sorted(os.path.basename(p) for p in seen) == ["c.fits", "new.fits"]
    assert [os.path.basename(r["path"]) for r in table.lights] == ["b.fits.gz", "new.fits", "c.fits"]
    assert table.lights.records()[-1]["object"] == "other"
    seen.clear()
    scan(night)
    assert seen == []


def test_a_file_that_is_written_to_while_it_is_read_tells_what_it_was_when_it_was_read(night, monkeypatch):
    path = night / "c.fits"
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    real, more = batches.read_header, [whole]

    def read(name, hdu=None):
        if name == str(path) and path.read_bytes() != more[0]:
            path.write_bytes(more[0])
        return real(name, hdu)

    monkeypatch.setattr(batches, "read_header", read)
    found = scan(night).to_pandas().set_index("path").loc[str(path)]
    assert (found["error"], found["size"], found["mtime_ns"]) == ("", len(whole), path.stat().st_mtime_ns)

    def grow(name, hdu=None):
        more[0] = more[0] + b"\0" * 2880
        return read(name, hdu)

    monkeypatch.setattr(batches, "read_header", grow)
    found = scan(night, store=False).to_pandas().set_index("path").loc[str(path)]
    assert found["error"] == "changed while it was read; take it when it is whole"


def test_another_telescope_makes_the_table_anew(night, monkeypatch):
    scan(night)
    seen = count_reads(monkeypatch)
    table = scan(night, telescope={"name": "Mine", "longitude": 170.0, "latitude": -40.0, "gain": 9.0})
    assert len(seen) == 7
    assert {r["telescope"] for r in table} == {"Mine"}
    seen.clear()
    Telescope(name="New", names=("cam",)).save()
    assert {r["telescope"] for r in scan(night)} == {"New"}
    assert len(seen) == 7


def test_the_store_is_where_it_is_asked_for_and_may_be_damaged(night, tmp_path):
    store = tmp_path / "sub" / "table.parquet"
    table = scan(night, store=store)
    assert len(pd.read_parquet(store)) == 7 and table.store == store
    store.write_bytes(b"rubbish")
    assert len(scan(night, store=store)) == 7
    lazy = scan(night, store=store).dask
    assert lazy["exposure"].max().compute(scheduler="sync") == 30.0
    assert scan(night, store=False).store is None
    assert len(scan(night, store=False).dask) == 7


def test_a_store_that_cannot_be_written_costs_nothing(night, tmp_path):
    (tmp_path / "file").write_text("")
    assert len(scan(night, store=tmp_path / "file" / "t.parquet")) == 7


def test_depth_files_and_duplicates(night):
    assert len(scan(night, depth=0)) == 4
    assert len(scan(night, depth=1)) == 7
    some = [night / "c.fits", str(night / "c.fits"), night / "cal"]
    assert len(scan(some)) == 4
    assert len(scan(night / "notes.txt").errors) == 1


def test_links_in_a_circle_end(night):
    (night / "cal" / "up").symlink_to(night)
    (night / "gone.fits").symlink_to(night / "nowhere")
    table = scan(night)
    assert len(table) == 8
    assert "no such file" in set(table.errors["error"])


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"one.*two"):
        scan([tmp_path / "one", tmp_path / "two"])
    ff.write(tmp_path / "e" / "notes.txt", b"x")
    with pytest.raises(InputError, match=r"no frames in .*\.fits, \.fit, \.fts.*1 other files"):
        scan(tmp_path / "e")


def test_batches_go_through_dask_and_give_the_same_rows(night, monkeypatch):
    whole = scan(night, store=False).to_pandas()
    monkeypatch.setattr(batches, "_BATCH", 2)
    calls = []

    def get(graph, keys, **kwargs):
        calls.append(len(keys))
        return dask.get(graph, keys, **kwargs)

    with dask.config.set(scheduler=get):
        pd.testing.assert_frame_equal(scan(night, store=False).to_pandas(), whole)
    assert calls


def test_a_table_from_records():
    table = FrameTable.from_records(
        [
            {"path": "b", "type": "light", "time": np.datetime64("2026-11-22T04:00:00"), "mine": 1},
            {"path": "a", "type": "light", "time": pd.Timestamp("2026-11-22T03:00:00").value},
            {"path": "c", "error": "bad"},
        ]
    )
    assert [r["path"] for r in table] == ["a", "b"]
    assert table.records()[1]["mine"] == 1
    assert math.isnan(table.records()[0]["gain"])
    assert len(table) == 3 and len(FrameTable.from_records([])) == 0


def test_importing_the_table_stays_light():
    code = """
import sys, types
package = types.ModuleType("dphot")  # the public package itself may import more
package.__path__ = [sys.argv[1]]
sys.modules["dphot"] = package
import dphot.io.frames
print([name for name in ("dask", "astropy", "numba", "xarray") if name in sys.modules])
"""
    folder = os.path.dirname(os.path.dirname(batches.__file__))
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.real
def test_real_formats_end_with_one_row_a_file(data_dir):
    table = scan(data_dir("formats"), store=False)
    assert len(table) == 29
    assert set(table.errors["path"].map(os.path.basename)) == {
        "astropy_compressed_float_bzero.fits", "astropy_history_header.fits", "issue49test.fits",
    }  # fmt: skip
    assert table.errors["error"].str.contains("no 2-D image").all()


@pytest.mark.real
def test_real_nights(data_dir):
    table = scan([data_dir("hatp32"), data_dir("m13_orion"), data_dir("agpeg_skycam")], store=False)
    assert len(table.select(telescope="MicroObservatory", type="light")) == 142
    assert not len(table.errors)
    assert [len(table.select(telescope="Orion G3", type=t)) for t in ("light", "bias", "dark", "flat")] == [
        8,
        5,
        5,
        5,
    ]
    assert len(table.select(telescope="SkyCam-T").nights) == 7
    lights = table.select(telescope="Orion G3").lights.records()
    assert os.path.basename(lights[0]["path"]) == "9_17_21_M134L20.fit.gz"
