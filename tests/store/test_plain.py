"""Plain Zarr as other programs read it."""

import pytest
import xarray as xr

from dphot.errors import StoreError
from dphot.store import write_plain_zarr


def test_xarray_reads_it(night, tmp_path):
    ds = night(1)
    ds.attrs["gain"] = 1.5
    write_plain_zarr(ds, tmp_path / "a.zarr")
    found = xr.open_zarr(tmp_path / "a.zarr", consolidated=False)
    assert found.flux.chunks == ((5,), (3,), (4,))
    xr.testing.assert_equal(found.load(), ds)
    assert found.attrs == ds.attrs and found.flux.attrs == ds.flux.attrs


def test_nothing_is_overwritten_untold(night, tmp_path):
    write_plain_zarr(night(1), tmp_path / "a.zarr")
    with pytest.raises(StoreError, match="exists; choose another name, or pass --overwrite"):
        write_plain_zarr(night(2), tmp_path / "a.zarr")
    write_plain_zarr(night(2)[["flux"]], tmp_path / "a.zarr", overwrite=True)
    assert set(xr.open_zarr(tmp_path / "a.zarr", consolidated=False).variables) == {"flux", "time"}
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("one")
    with pytest.raises(StoreError, match="no Zarr v3 group"):
        write_plain_zarr(night(1), tmp_path / "thesis", overwrite=True)
    assert (tmp_path / "thesis" / "chapter").read_text() == "one"
