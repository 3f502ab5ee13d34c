"""Group names from any string."""

import zarr
from hypothesis import given
from hypothesis import strategies as st

from dphot.store import layout


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_name_comes_back_and_zarr_takes_it(name):
    encoded = layout.encode_name(name)
    assert layout.decode_name(encoded) == name
    assert encoded and encoded[0] not in "._" and "/" not in encoded and encoded.isascii()
    assert zarr.create_group(zarr.storage.MemoryStore()).create_group(encoded).basename == encoded


def test_awkward_filters_have_different_names():
    filters = ["", "r", "r'", "R", "Ha/OIII", "Hα", ".", "..", "__x", "%", "%25", "a b", "zarr.json"]
    assert len({layout.encode_name(f) for f in filters}) == len(filters)
    assert layout.frames_group("Ha/OIII", "2026-11-22") == "frames/Ha%2FOIII/2026-11-22"
