"""Values, attributes and chunks as they are stored."""

import datetime
import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dphot.errors import StoreError
from dphot.store import encodings


def test_attributes_come_back_through_json():
    given = {
        "n": np.int32(3),
        "x": np.float32(0.5),
        "bad": float("nan"),
        "deep": {"list": (1, -np.inf)},
        "path": Path("/a/b"),
        "array": np.array([1.5, np.nan]),
        "none": None,
        "yes": np.bool_(True),
        "day": datetime.date(2026, 11, 22),
        "when": np.datetime64("2026-11-22T01"),
        "set": {"b", "a"},
    }
    back = encodings.restore(json.loads(json.dumps(encodings.plain(given), allow_nan=False)))
    assert np.isnan(back.pop("bad")) and np.isnan(back["array"].pop(1))
    assert back == {
        "n": 3,
        "x": 0.5,
        "deep": {"list": [1, -np.inf]},
        "path": "/a/b",
        "array": [1.5],
        "none": None,
        "yes": True,
        "day": "2026-11-22",
        "when": "2026-11-22T01",
        "set": ["a", "b"],
    }


def test_what_json_cannot_hold_is_refused_with_its_place():
    with pytest.raises(StoreError, match=r"attributes\.a\.b: a complex"):
        encodings.plain({"a": {"b": 1j}})


def test_objects_that_are_no_text_are_refused():
    with pytest.raises(StoreError, match="'path' holds objects"):
        encodings.encode("path", xr.Variable("time", np.array(["a", None], dtype=object)))
    with pytest.raises(StoreError, match="timedelta64"):
        encodings.encode("delay", xr.Variable("time", np.array([1], dtype="timedelta64[ns]")))


def test_times_are_nanoseconds_and_values_are_native():
    times = np.array(["2026-11-22T01:02:03.000000001", "NaT"], dtype="datetime64[ns]")
    values, attrs = encodings.encode("time", xr.Variable("time", times))
    assert values.dtype == np.int64 and values[1] == encodings.NAT
    assert attrs["units"] == "nanoseconds since 1970-01-01"
    values, _ = encodings.encode("image", xr.Variable("x", np.arange(3, dtype=">i2")))
    assert values.dtype.isnative and list(values) == [0, 1, 2]


@pytest.mark.parametrize(
    ("dims", "shape", "itemsize", "chunks"),
    [
        (("time", "aperture", "star"), (100, 32, 500), 8, (128, 2, 128)),
        (("time", "aperture", "star"), (100, 32, 15), 8, (128, 17, 15)),
        (("time", "aperture", "star"), (100, 1, 3), 8, (128, 1, 3)),
        (("time", "star"), (100, 500), 8, (128, 128)),
        (("time", "star"), (100, 500), 2, (512, 128)),
        (("time", "aperture"), (100, 32), 8, (1024, 32)),
        (("time",), (100,), 8, (1024,)),
        (("star",), (500,), 8, (500,)),
        (("star",), (0,), 8, (1,)),
    ],
)
def test_chunks_of_the_photometry(dims, shape, itemsize, chunks):
    assert encodings.series_chunks(dims, shape, itemsize) == chunks
