"""How variables become Zarr arrays: types, chunks, codecs, fill values, attributes.

Arrays are written through Zarr itself and not through `Dataset.to_zarr`: time must stay int64 nanoseconds and
text must stay of any length on every append, and neither may depend on what the first append held.
"""

from __future__ import annotations

import datetime
import json
import math
import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.core.metadata import ArrayV3Metadata
from zarr.storage import MemoryStore

from ..errors import StoreError
from .writing import write

#: Times in a store: int64 nanoseconds, whatever the first append held. NaT is the smallest integer.
TIME_ATTRS = {"units": "nanoseconds since 1970-01-01", "calendar": "proleptic_gregorian"}
NAT = np.iinfo(np.int64).min

#: Rows to a chunk of a variable of the photometry: of what has no stars, of 2-byte values of stars (flags, which
#: compress to nothing), and of all that measures stars. Every chunk costs half a millisecond or more, however small it
#: is; but an append rewrites the last, partly filled ones, so few rows of what is large keep its cost independent of
#: the length of the series.
_LIST, _FLAGS, _ROWS = 1024, 512, 128
#: Stars to such a chunk.
_STARS = 128
#: Bytes that apertures are put together to: a light curve, which needs one, reads all of the chunk.
_SERIES = 2**18
#: Bytes that Blosc compresses at a time.
_BLOCK = 2**19
#: Images are cut into tiles of at most this side.
_TILE = 1024


def codec(dtype: np.dtype) -> tuple[BloscCodec, Crc32cCodec]:
    """Blosc zstd-1 with byte shuffle in large blocks, and a checksum.

    For noisy 16-bit frames it is within 2 % of the entropy bound. On frames of real cameras large blocks make up for
    the low level: as small as level 3 in blocks of the usual size, to a percent, and two to five times as fast. The
    checksum is there because Icechunk has none, and most flipped bytes of a chunk would be read as other numbers.
    """
    size = dtype.itemsize if dtype.kind in "biufc" else 1
    blosc = BloscCodec(cname="zstd", clevel=1, shuffle="shuffle", typesize=size, blocksize=_BLOCK)
    return blosc, Crc32cCodec()


def fill_value(dtype: np.dtype) -> Any:
    """What stands where nothing was written: NaN, 0, False or the empty string."""
    return {"f": np.nan, "T": "", "b": False}.get(dtype.kind, 0)


def series_chunks(dims: tuple[str, ...], shape: tuple[int, ...], itemsize: int = 8) -> tuple[int, ...]:
    """Chunk shape of a variable of the photometry.

    Parameters
    ----------
    dims : tuple of str
        Dimensions; ``time`` comes first in a variable that grows.
    shape : tuple of int
        Sizes of the dimensions; that of ``time`` does not matter.
    itemsize : int
        Bytes of a value.

    Returns
    -------
    tuple of int
        At most 128 rows x 128 stars of two apertures; of more, where there are fewer stars. More rows of what is small.
    """
    if not dims or dims[0] != "time":
        return tuple(max(1, n) for n in shape)
    if dims[-1] != "star":
        return (_LIST, *(max(1, n) for n in shape[1:]))
    stars = min(max(1, shape[-1]), _STARS)
    apertures = max(1, _SERIES // (_ROWS * stars * 8))
    rows = _FLAGS if itemsize <= 2 else _ROWS
    return (rows, *(min(max(1, n), apertures) for n in shape[1:-1]), stars)


def image_chunks(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Chunk shape of a master, a reference or a stack: tiles in the last two dimensions."""
    if len(shape) < 2:
        return tuple(max(1, n) for n in shape)
    return (*(1 for _ in shape[:-2]), *(min(max(1, n), _TILE) for n in shape[-2:]))


def encode(name: str, variable: xr.Variable) -> tuple[np.ndarray, dict[str, Any]]:
    """Values and attributes of a variable as they are stored.

    Parameters
    ----------
    name : str
        Name of the variable, for the error message.
    variable : xarray.Variable
        Numbers, booleans, text or datetime64.

    Returns
    -------
    values : numpy.ndarray
        Native byte order; text as StringDType, times as int64 nanoseconds.
    attrs : dict
        Attributes, ready for JSON.

    Raises
    ------
    StoreError
        For another kind of value.
    """
    values = np.asarray(variable.values)
    attrs = plain(dict(variable.attrs))
    kind = values.dtype.kind
    if kind == "M":
        return values.astype("datetime64[ns]").astype(np.int64), {**attrs, **TIME_ATTRS}
    if kind in "biuf":
        return values.astype(values.dtype.newbyteorder("="), copy=False), attrs
    if kind in "UTO":
        if kind == "O" and not all(isinstance(v, str) for v in values.flat):
            raise StoreError(f"variable {name!r} holds objects that are not text; pass text")
        return values.astype(np.dtypes.StringDType()), attrs
    raise StoreError(f"variable {name!r} of dtype {values.dtype} cannot be stored")


class New(NamedTuple):
    """An array to be made: values and attributes as `encode` returns them."""

    dims: tuple[str, ...]
    """Names of the dimensions."""
    values: np.ndarray
    attrs: Mapping[str, Any]
    chunks: tuple[int, ...]
    """Shape of a chunk."""


def create(group: zarr.Group, arrays: Mapping[str, New]) -> dict[str, zarr.Array]:
    """Create arrays in a group, all at once (which costs a quarter of one after the other), and fill them.

    Parameters
    ----------
    group : zarr.Group
        Where.
    arrays : mapping of str to New
        By their names; none may exist.

    Returns
    -------
    dict of str to zarr.Array
        The arrays.
    """
    nodes: dict[str, Any] = {name: _metadata(new) for name, new in arrays.items()}
    made = {path.rpartition("/")[2]: array for path, array in group.create_hierarchy(nodes)}
    write((made[name], ..., new.values) for name, new in arrays.items())  # type: ignore[misc]
    return made  # type: ignore[return-value]


def _metadata(new: New) -> ArrayV3Metadata:
    """What Zarr keeps of an array beside its chunks."""
    time = new.attrs.get("units") == TIME_ATTRS["units"]
    described = json.loads(_described(new.values.dtype, time))
    described["shape"] = list(new.values.shape)
    described["chunk_grid"]["configuration"]["chunk_shape"] = list(new.chunks)
    described.update(dimension_names=list(new.dims), attributes=dict(new.attrs))
    return ArrayV3Metadata.from_dict(described)


@lru_cache
def _described(dtype: np.dtype, time: bool) -> str:
    """The metadata of an array of one type as Zarr itself writes them, with its codecs and fill value; JSON."""
    array = zarr.create_array(
        MemoryStore(), shape=(1,), chunks=(1,), dtype=dtype, fill_value=NAT if time else fill_value(dtype),
        compressors=codec(dtype), dimension_names=("any",), attributes={},
    )  # fmt: skip
    return array.metadata.to_buffer_dict(default_buffer_prototype())["zarr.json"].to_bytes().decode()


def dimensions(array: zarr.Array) -> tuple[str, ...]:
    """Names of the dimensions of a stored array."""
    return tuple(str(d) for d in getattr(array.metadata, "dimension_names", None) or ())


def write_dataset(root: zarr.Group, path: str, ds: xr.Dataset) -> None:
    """Write a whole dataset as a group; what the group held before is replaced.

    Arrays of the same type and dimensions are kept, with their chunks, and rewritten: Icechunk 2 cannot merge
    the work of others into a session in which an array was deleted and made anew.

    Parameters
    ----------
    root : zarr.Group
        The store's root.
    path : str
        Path of the group.
    ds : xarray.Dataset
        The dataset; computed where it is lazy.

    Raises
    ------
    StoreError
        If a variable cannot be stored.
    """
    encoded = {str(name): encode(str(name), ds.variables[name]) for name in ds.variables}
    group = root.require_group(path)
    held = dict(group.arrays())
    for name in set(held) - set(encoded):
        del group[name]
    new, rewritten = {}, []
    for name, (values, attrs) in encoded.items():
        dims = tuple(str(d) for d in ds.variables[name].dims)
        old = held.get(name)
        if old is not None:
            if old.dtype == values.dtype and dimensions(old) == dims:
                old.resize(values.shape)
                old.attrs.put(attrs)
                rewritten.append((old, ..., values))
                continue
            del group[name]
        new[name] = New(dims, values, attrs, image_chunks(values.shape))
    write(rewritten)
    create(group, new)
    group.attrs.put(dataset_attrs(ds))


def dataset_attrs(ds: xr.Dataset) -> dict[str, Any]:
    """Attributes of a dataset's group; by `coordinates` xarray knows coordinates that are no dimension."""
    coordinates = sorted(str(c) for c in ds.coords if c not in ds.dims)
    return {**plain(dict(ds.attrs)), **({"coordinates": " ".join(coordinates)} if coordinates else {})}


def plain(value: Any, place: str = "attributes") -> Any:
    """A value as JSON bears it: NumPy scalars and tuples turned into numbers and lists, NaN into a marker.

    Raises
    ------
    StoreError
        Naming the place of a value of another kind.
    """
    if value is None or isinstance(value, str | bool):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, np.ndarray | np.generic):
        return str(value) if isinstance(value, np.datetime64) else plain(value.tolist(), place)
    if isinstance(value, Mapping):
        return {str(k): plain(v, f"{place}.{k}") for k, v in value.items()}
    if isinstance(value, set | frozenset):
        return plain(sorted(value), place)
    if isinstance(value, list | tuple):
        return [plain(v, place) for v in value]
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": repr(float(value))}
    if isinstance(value, os.PathLike | datetime.date):
        return str(value)
    raise StoreError(f"{place}: a {type(value).__name__} cannot be stored as JSON")


def restore(value: Any) -> Any:
    """The inverse of `plain` for NaN and infinities, at any depth."""
    if isinstance(value, dict):
        if set(value) == {"$float"}:
            return float(value["$float"])
        return {k: restore(v) for k, v in value.items()}
    return [restore(v) for v in value] if isinstance(value, list) else value
