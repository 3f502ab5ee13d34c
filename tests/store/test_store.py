"""What a store holds is read back as it was written, or refused: photometry, frames, other groups, history."""

import pickle
from datetime import UTC, datetime, timedelta, timezone

import dask
import numpy as np
import pytest
import xarray as xr
import zarr
from store_night import append

from dphot import schema
from dphot.errors import StoreError, ValidationError
from dphot.store import Store, read_dataset, write_frames
from dphot.store.layout import masters_group


def forbid(dsk, keys, **kwargs):
    raise AssertionError("a Dask graph was computed")


class TestPhotometry:
    def test_one_night_comes_back_bit_for_bit(self, store, night):
        ds = night(1).assign_coords(star=[3, 1, 4, 15])
        ds.flux[2, 1, 3] = np.nan
        ds.flux[0, 0, 0] = -0.0
        append(store, "r", ds)
        found = store.photometry["r"]
        with dask.config.set(scheduler=forbid):
            found = store.photometry["r"]
            assert set(found.variables) == set(ds.variables)
            assert all(found[v].chunks is not None for v in found.data_vars)
        found = found.load()
        assert found.attrs.pop("filter") == "r" and np.isnan(found.attrs["gain"])
        for name in ds.variables:
            assert found[name].dims == ds[name].dims
            assert found[name].dtype == ds[name].dtype, name
            if found[name].dtype != object:
                assert found[name].values.tobytes() == ds[name].values.tobytes(), name
            assert found[name].identical(ds[name].assign_coords(found[name].coords)), name
        schema.validate(found, schema.PHOTOMETRY, required=tuple(schema.PHOTOMETRY))

    def test_nights_in_any_order_read_in_order_of_time(self, store, night):
        for day in (3, 1, 2):
            append(store, "r", night(day))
        expected = xr.concat([night(day) for day in (1, 2, 3)], "time", data_vars="minimal")
        found = store.photometry["r"].load()
        del found.attrs["filter"], found.attrs["store"]
        xr.testing.assert_identical(found, expected)
        assert found.time.to_index().is_monotonic_increasing

    def test_order_of_arrival_does_not_matter_with_equal_and_missing_times(self, tmp_path, night):
        first, second = night(1), night(2)
        second = second.assign_coords(time=first.time.values)
        lost = night(3)
        lost = lost.assign_coords(time=np.full(5, "NaT", "datetime64[ns]"))
        found = []
        for i, order in enumerate([(first, second, lost), (lost, second, first)]):
            store = Store.create(tmp_path / str(i), {})
            for ds in order:
                append(store, "r", ds)
            found.append(store.photometry["r"].load().assign_attrs(store=""))
        xr.testing.assert_identical(*found)
        assert np.isnat(found[0].time.values[-5:]).all() and not np.isnat(found[0].time.values[:-5]).any()

    def test_text_of_any_length_appends(self, store, night):
        for day, text in ((1, "a"), (2, "a much longer note than the first, Hα"), (3, "")):
            append(store, "r", night(day).assign(note=("time", [text] * 5)))
        notes = store.photometry["r"].note.values
        assert list(notes[::5]) == ["a", "a much longer note than the first, Hα", ""]
        assert all(type(note) is str for note in notes)

    def test_fixed_width_text_and_subsecond_times_append(self, store, night):
        append(store, "r", night(1).assign(note=("time", np.array(["x"] * 5))))
        append(store, "r", night(2).assign(note=("time", np.array(["xyz"] * 5))))
        assert store.photometry["r"].time.values[-1] == night(2).time.values[-1]
        assert store.photometry["r"].note.values[-1] == "xyz"

    def test_awkward_filters(self, store, night):
        filters = ["", "r'", "Ha/OIII", "Hα"]
        for filter in filters:
            append(store, filter, night(1))
        assert sorted(Store.open(store.path).photometry) == sorted(filters)
        assert [store.photometry[f].attrs["filter"] for f in filters] == filters
        with pytest.raises(KeyError, match=r"no photometry .*V.*; there are"):
            store.photometry["V"]

    def test_a_long_series_crosses_chunks(self, store, night):
        parts = [night(1, frames=k, first=f) for k, f in ((200, 0), (1, 200), (99, 201), (300, 300))]
        for part in parts:
            for other in parts[1:]:
                other.update(parts[0][["star_x", "star_y", "star_flux", "star_ra", "star_dec"]])
            append(store, "r", part)
        found = store.photometry["r"].load()
        xr.testing.assert_equal(found, xr.concat(parts, "time", data_vars="minimal"))

    def test_digests(self, store, night):
        append(store, "r", night(1))
        assert store.digests("r") == set(night(1).digest.values) and store.digests("V") == set()

    def test_no_frame_twice(self, store, night):
        append(store, "r", night(1))
        with pytest.raises(StoreError, match="5 frame"):
            append(store, "r", night(1))
        twice = night(2)
        twice.digest[1] = twice.digest[0]
        with pytest.raises(StoreError, match="1 frame"):
            append(store, "r", twice)
        assert store.photometry["r"].sizes["time"] == 5 and len(store.history()) == 2

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda ds: ds.isel(star=slice(3)), "'star': 3"),
            (lambda ds: ds.isel(aperture=slice(2)), "'aperture': 2"),
            (lambda ds: ds.assign(star_x=ds.star_x + 1), "star_x differs"),
            (lambda ds: ds.drop_vars("sky"), "sky is missing"),
            (lambda ds: schema.annotate(ds, schema.PHOTOMETRY, "ADU"), "flux is in 'ADU', the store in 'e-'"),
            (lambda ds: ds.assign(flags=ds.flags.astype("u4")), "flags is uint32"),
            (lambda ds: ds.assign(extra=("time", np.arange(5))), "extra is new"),
        ],
    )
    def test_rows_that_do_not_continue_the_series_are_refused(self, store, night, change, message):
        append(store, "r", night(1))
        with pytest.raises(StoreError, match=message):
            append(store, "r", change(night(2)))
        assert Store.open(store.path).photometry["r"].sizes["time"] == 5

    def test_a_dataset_that_does_not_fit_the_registry_is_refused(self, store, night):
        with pytest.raises(ValidationError, match="flux_err: missing"):
            append(store, "r", night(1).drop_vars("flux_err"))
        with pytest.raises(ValidationError, match="dtype"):
            append(store, "r", night(1).assign(path=("time", np.arange(5))))
        assert not store.photometry

    def test_a_new_variable_is_missing_in_earlier_rows(self, store, night):
        append(store, "r", night(1))
        append(store, "r", night(2).assign(seeing=("time", np.arange(5.0))))
        np.testing.assert_array_equal(store.photometry["r"].seeing, [np.nan] * 5 + [0, 1, 2, 3, 4])

    def test_flux_is_double_whatever_comes(self, store, night):
        append(store, "r", night(1).assign(flux=night(1).flux.astype("f4")))
        append(store, "r", night(2))
        np.testing.assert_array_equal(store.photometry["r"].flux[5:], night(2).flux)

    def test_lazy_datasets_pickle(self, store, night):
        append(store, "r", night(1))
        copy = pickle.loads(pickle.dumps(store.photometry["r"]))
        xr.testing.assert_identical(copy.load(), store.photometry["r"].load())

    def test_it_exports(self, store, night, tmp_path):
        append(store, "r", night(1))
        ds = store.photometry["r"].load()
        ds.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
        xr.testing.assert_equal(xr.load_dataset(tmp_path / "a.nc", engine="h5netcdf"), ds)
        assert ds.isel(star=0, aperture=0).drop_dims("coefficient").to_dataframe().shape[0] == 5


class TestFrames:
    @pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32, np.uint8, np.int32, np.float64])
    def test_lossless(self, store, dtype):
        rng = np.random.default_rng(1)
        raw = rng.integers(0, 2**32, size=(3, 20, 30), dtype=np.uint64).astype(np.uint32).astype(dtype)
        if raw.dtype.kind == "f":
            raw[0, 3, 4], raw[1, 0, 0], raw[2] = np.nan, np.inf, -0.0
        else:
            raw[0, 0, :2] = np.iinfo(dtype).min, np.iinfo(dtype).max
            raw[2] = 0
        with store.transaction("frames") as tx:
            slots = tx.reserve_frames("r", "2026-11-22", 3, (20, 30), dtype)
            assert (slots.offset, slots.n) == (0, 3)
            tx.merge(write_frames(tx.fork, "r", "2026-11-22", 0, raw[:2]))
            write_frames(tx.fork, "r", "2026-11-22", 2, raw[2:])
        found = store.frames["r"]["2026-11-22"].raw
        assert found.dtype == dtype and found.values.tobytes() == raw.tobytes()

    def test_late_frames_extend_their_night_in_order_of_time(self, store):
        times = np.datetime64("2026-11-22T20:00", "ns") + np.arange(5) * np.timedelta64(60, "s")
        raw = np.arange(5 * 6, dtype=np.uint16).reshape(5, 2, 3)
        for indices in ([1, 4], [0, 2, 3]):
            with store.transaction("frames") as tx:
                columns = {"time": times[indices], "digest": [f"{i}" * (i + 1) for i in indices]}
                slots = tx.reserve_frames("Ha/OIII", "2026-11-22", len(indices), (2, 3), "u2", columns)
                tx.merge(write_frames(tx.fork, "Ha/OIII", "2026-11-22", slots.offset, raw[indices]))
        found = store.frames["Ha/OIII"]["2026-11-22"]
        np.testing.assert_array_equal(found.raw, raw)
        np.testing.assert_array_equal(found.time, times)
        assert list(found.digest.values) == ["0", "11", "222", "3333", "44444"]
        assert found.raw.chunks[1:] == ((2,), (3,))
        path = "frames/Ha%2FOIII/2026-11-22/raw"
        assert zarr.open_array(store.session.store, path=path, mode="r").chunks == (1, 2, 3)

    def test_misfits_are_refused(self, store):
        with store.transaction("frames") as tx:
            tx.reserve_frames("r", "n", 2, (4, 4), "u2", {"digest": ["a", "b"]})
            with pytest.raises(StoreError, match=r"of \(5, 4\) uint16, the night holds \(4, 4\) uint16"):
                tx.reserve_frames("r", "n", 2, (5, 4), "u2", {"digest": ["c", "d"]})
            with pytest.raises(StoreError, match="float32"):
                tx.reserve_frames("r", "n", 2, (4, 4), "f4", {"digest": ["c", "d"]})
            with pytest.raises(StoreError, match="1 frame"):
                tx.reserve_frames("r", "n", 2, (4, 4), "u2", {"digest": ["b", "c"]})
            with pytest.raises(StoreError, match="one value is needed for each of the 2"):
                tx.reserve_frames("r", "n", 2, (4, 4), "u2", {"digest": ["c"]})
            with pytest.raises(StoreError, match="columns"):
                tx.reserve_frames("r", "n", 2, (4, 4), "u2")
            for shape, dtype, offset in [
                ((1, 4, 4), "f4", 0),
                ((1, 4, 5), "u2", 0),
                ((2, 4, 4), "u2", 1),
                ((1, 4, 4), "u2", -1),
            ]:
                with pytest.raises(StoreError, match="do not fit 2 places"):
                    write_frames(tx.fork, "r", "n", offset, np.zeros(shape, dtype))

    def test_noisy_sky_frames_shrink(self, store, tmp_path):
        rng = np.random.default_rng(5)
        raw = rng.normal(500, 18, size=(4, 256, 256)).astype(np.uint16)
        with store.transaction("frames") as tx:
            tx.reserve_frames("r", "n", 4, (256, 256), "u2")
            write_frames(tx.fork, "r", "n", 0, raw)
        stored = sum(f.stat().st_size for f in (tmp_path / "field.dphot" / "chunks").iterdir())
        assert raw.nbytes / stored > 2


class TestOtherGroups:
    def test_reference_masters_stack_and_records(self, store):
        image = xr.Dataset(
            {
                "image": (("y", "x"), np.full((3, 4), np.nan, "f4"), {"units": "ADU"}),
                "x0": ("star", [1.5, 2.5]),
                "name": ("star", ["a", "bc"]),
                "bad": (("y", "x"), np.eye(3, 4, dtype=bool)),
                "fwhm": ((), 3.25),
            },
            coords={"ra": ("star", [1.0, 2.0])},
            attrs={"path": "ref.fits", "gain": float("nan")},
        )
        with store.transaction("all") as tx:
            tx.write_reference(image)
            tx.write_masters("2026-11-22", image[["image", "bad"]])
            tx.write_stack("r'", "2026-11-22", image["image"])
            tx.write_night("2026-11-23", {"dropped": [], "sky": float("nan")})
            tx.write_night("2026-11-22", {"frames": 3})
            tx.write_night("2026-11-22", {"frames": 4, "software": {"dphot": "0.1"}})
        again = Store.open(store.path)
        xr.testing.assert_identical(again.reference.load(), image.assign(name=image.name.astype(object)))
        xr.testing.assert_identical(again.masters["2026-11-22"].load(), image[["image", "bad"]])
        assert again.stack["r'"]["2026-11-22"].equals(image["image"])
        assert again.nights[0] == {"night": "2026-11-22", "frames": 4, "software": {"dphot": "0.1"}}
        assert np.isnan(again.nights[1]["sky"])
        assert again.masters["2026-11-22"].image.chunks is not None

    def test_rewritten_groups_hold_only_what_was_written_last(self, store):
        first = xr.Dataset({"a": ("x", np.arange(5)), "b": ("x", np.arange(5.0)), "c": ("x", np.ones(5))})
        second = xr.Dataset({"a": ("x", np.arange(3)), "b": ("x", ["x", "y", "z"])}, attrs={"k": 1})
        for ds in (first, second):
            with store.transaction("masters") as tx:
                tx.write_masters("n", ds)
                xr.testing.assert_equal(tx.read(masters_group("n")), ds)
        xr.testing.assert_identical(store.masters["n"].load(), second.assign(b=second.b.astype(object)))

    def test_no_such_group(self, store):
        with pytest.raises(StoreError, match="no group 'reference'"):
            _ = store.reference
        with pytest.raises(StoreError, match="no group"):
            read_dataset(store.session, "masters/x")


class TestHistory:
    def test_commits_tags_and_times(self, store, night):
        append(store, "r", night(1), metadata={"night": "2026-11-01", "rms": float("nan"), "in": 5})
        one = store.history()[0]
        store.tag("paper")
        append(store, "r", night(2))
        assert [c.message for c in store.history()] == ["append to r", "append to r", "Create the store"]
        assert one.metadata["in"] == 5 and np.isnan(one.metadata["rms"])
        assert abs(datetime.now(UTC) - one.time) < timedelta(minutes=5)
        between = one.time + (store.history()[0].time - one.time) / 2
        here = between.astimezone(timezone(timedelta(hours=2)))
        instants = [{"as_of": when} for when in (between, str(between), here, here.isoformat())]
        assert store.at(here.isoformat()).session.snapshot_id == one.id
        for version in ({"tag": "paper"}, {"snapshot": one.id}, *instants):
            old = Store.open(store.path, **version)
            assert old.photometry["r"].sizes["time"] == 5 and len(old.history()) == 2
            with pytest.raises(StoreError, match="fixed version"):
                old.transaction("change the past")
        assert Store.open(store.path).tags == {"paper": one.id}

    def test_what_is_not_there_is_refused(self, store):
        store.tag("a")
        with pytest.raises(StoreError, match="tag 'a'"):
            store.tag("a")
        with pytest.raises(StoreError, match="'nothing' not found"):
            Store.open(store.path, tag="nothing")
        with pytest.raises(StoreError, match="not found"):
            Store.open(store.path, snapshot="ABCDEFGHJKMNPQRSTVWX")
        with pytest.raises(StoreError, match="no version of 1999-01-01"):
            Store.open(store.path, as_of="1999-01-01")
        for when in ("yesterday", "0001-01-01T00:00+02:00"):
            with pytest.raises(StoreError, match="not a date"):
                Store.open(store.path, as_of=when)
        with pytest.raises(StoreError, match="give one of"):
            Store.open(store.path, tag="a", as_of="2026-01-01")

    def test_a_summary_is_printed(self, store, night):
        with store.transaction("night") as tx:
            tx.append_photometry("<r>", night(1))
            tx.write_night("2026-11-02", {})
        assert "5 frames x 3 apertures x 4 stars" in repr(store) and "2026-11-02" in repr(store)
        assert "&lt;r&gt;" in store._repr_html_() and "<r>" not in store._repr_html_()
