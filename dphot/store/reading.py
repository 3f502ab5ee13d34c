"""Reading groups as xarray Datasets, in memory or lazily."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import xarray as xr
import zarr

from ..errors import StoreError
from . import encodings, layout, repository

T = TypeVar("T")

#: Small chunks that are decoded together.
_TOGETHER = 64
#: Groups that a store keeps open.
_OPEN = 8


class Lazy(Mapping[str, T], Generic[T]):
    """A read-only mapping whose values are opened when they are asked for."""

    def __init__(self, keys: list[str], load: Callable[[str], T], what: str):
        self._keys = keys
        self._load = load
        self._what = what

    def __getitem__(self, key: str) -> T:
        if key not in self._keys:
            raise KeyError(f"no {self._what} {key!r}; there are {', '.join(map(repr, self._keys)) or 'none'}")
        return self._load(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"<{self._what}: {', '.join(map(repr, self._keys)) or 'none'}>"


def connect(session: Any, group: str) -> xr.Dataset:
    """A group as a Dataset of which nothing but the coordinates of dimensions is read yet.

    It costs some milliseconds for each array, and keeps nothing of what is read through it.

    Raises
    ------
    StoreError
        If there is no such group.
    """
    # together, small chunks are decoded in two thirds of the time; images would need the memory of all at once
    small = group.startswith((f"{layout.PHOTOMETRY}/", f"{layout.ENSEMBLE}/"))
    try:
        with zarr.config.set({"codec_pipeline.batch_size": _TOGETHER if small else 1}):
            ds = xr.open_dataset(
                session.store, engine="zarr", group=group, consolidated=False, zarr_format=3, cache=False
            )
    except (FileNotFoundError, KeyError) as error:
        raise StoreError(f"the store holds no group {group!r}") from error
    return ds[sorted(map(str, ds.variables))]  # they come as it happens, and an export has their order


def read_dataset(session: Any, group: str) -> xr.Dataset:
    """A group as a Dataset in memory.

    Parameters
    ----------
    session : icechunk.Session
        Read-only, or a fork of a transaction: then with what is not committed yet. Both can be pickled.
    group : str
        Path of the group, for example from `dphot.store.layout.masters_group`.

    Returns
    -------
    xarray.Dataset
        With every value loaded.

    Raises
    ------
    StoreError
        If there is no such group.
    """
    return _tidy(connect(session, group).load())


def read_nights(session: Any) -> list[dict[str, Any]]:
    """The records of the nights, in order; each has its night under ``night``."""
    if layout.NIGHTS not in repository.root_group(session):
        return []
    ds = read_dataset(session, layout.NIGHTS)
    rows = zip(ds["night"].values, ds["record"].values, strict=True)
    records = [{**encodings.restore(json.loads(str(text))), "night": str(night)} for night, text in rows]
    return sorted(records, key=lambda record: record["night"])


def children(root: zarr.Group, group: str) -> list[str]:
    """The names of what a group holds, for example filters, in order; none where there is no such group."""
    found = root.get(group)
    keys = found.group_keys() if isinstance(found, zarr.Group) else []
    return sorted(layout.decode_name(key) for key in keys)


class Groups(dict[str, xr.Dataset]):
    """Groups of a read-only session (see `connect`), opened once: what is committed does not change."""

    def __init__(self, session: Any):
        self._session = session

    def __missing__(self, group: str) -> xr.Dataset:
        while len(self) >= _OPEN:
            del self[next(iter(self))]
        self[group] = ds = connect(self._session, group)
        return ds

    def __reduce__(self) -> tuple[type[Groups], tuple[Any]]:
        return Groups, (self._session,)  # another process opens what it needs


def read_rows(ds: xr.Dataset, names: Sequence[str], **parts: Any) -> xr.Dataset:
    """Some variables of a group that grows, in memory, rows in order of time.

    Parameters
    ----------
    ds : xarray.Dataset
        The group, from `connect`.
    names : sequence of str
        The variables; those that the group does not have are left out.
    **parts : int, slice or sequence of int
        What is read of other dimensions, as in `xarray.Dataset.isel`.
    """
    order = time_order(ds)
    chosen = ds[[name for name in names if name in ds.variables]].isel(parts, missing_dims="ignore")
    read = chosen.copy().load()  # a copy: what is read goes with whoever asked for it, not with the group
    return _tidy(read if order is None else read.isel(time=order))


def open_lazy(ds: xr.Dataset, name: str, rows: int | None = None) -> xr.Dataset:
    """A group as a Dataset of Dask arrays, whose chunks are whole stored ones, several where these are small.

    Parameters
    ----------
    ds : xarray.Dataset
        The group, from `connect`; pickled to Dask workers it takes its session with it.
    name : str
        Of the Dask arrays, commit and group: without a name, Dask would hash what they refer to.
    rows : int, optional
        For a group with a time dimension: rows to a Dask chunk. The rows come in order of time.

    Returns
    -------
    xarray.Dataset
        Only the coordinates of dimensions are in memory.
    """
    if rows is not None and (order := time_order(ds)) is not None:
        ds = ds.isel(time=order)
    lazy = {}
    for variable in set(ds.variables) - set(ds.indexes):
        sizes = _chunks(ds.variables[variable], rows)
        lazy[variable] = ds.variables[variable].chunk(sizes, name=f"{name}/{variable}")
    return _tidy(ds.assign(lazy))


def _chunks(variable: xr.Variable, rows: int | None) -> dict[Hashable, int]:
    """Sizes of the Dask chunks of a stored variable; each costs Dask a millisecond, however small it is."""
    sizes = dict(zip(variable.dims, variable.encoding.get("chunks") or variable.shape, strict=True))
    if rows is None or "time" not in sizes:
        return sizes
    sizes["time"] = rows
    if len(sizes) > 1:  # all stars, but no more apertures than are stored together: a light curve needs one
        sizes[variable.dims[-1]] = variable.shape[-1]
    return sizes


def _tidy(ds: xr.Dataset) -> xr.Dataset:
    """Attributes as they were given; text as Python strings, which pandas and NetCDF understand.

    Of the encodings only that of time stays: the others would bind an export to this store's chunks.
    """
    text = [name for name, variable in ds.variables.items() if variable.dtype.kind == "T"]
    ds = ds.assign({name: ds[name].astype(object) for name in text})
    ds.attrs = encodings.restore(ds.attrs)
    for variable in ds.variables.values():
        variable.attrs = encodings.restore(variable.attrs)
        kept = ("units", "calendar", "dtype") if variable.dtype.kind == "M" else ()
        variable.encoding = {k: v for k, v in variable.encoding.items() if k in kept}
    return ds


def time_order(ds: xr.Dataset) -> np.ndarray | None:
    """Row indices in order of time; None where the rows are in order.

    Equal times, and frames without one (last), go by path and digest: the order does not depend on what was
    stored first.
    """
    # NaT is the smallest integer: one below it wraps round to the largest
    time = ds["time"].values.astype("datetime64[ns]").astype(np.int64) - 1
    order = np.argsort(time, kind="stable")
    ordered = time[order]
    if np.any(ordered[1:] == ordered[:-1]):
        ranks = [
            np.unique(ds[name].values.astype(object), return_inverse=True)[1]
            for name in ("digest", "path")
            if name in ds
        ]
        order = np.lexsort((*ranks, time))
    return None if np.array_equal(order, np.arange(len(time))) else order
