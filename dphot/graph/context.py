"""What every task of a night needs, and how it reaches the workers.

Masters and the reference are large and the same for all tasks. They are written to the store once, and a task carries
a handle: a digest and a way to read. Each process loads them once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr

from ..store import read_dataset
from ..store.layout import REFERENCE, masters_group
from .frame import Masters, Reference, trimmed_shape

#: Sets of masters, and references, that a process keeps.
KEPT = 2

_REFERENCE_DIMS = {"star": ("star_x", "star_y", "star_flags"), "match": ("match_x", "match_y", "match_flux"),
                   "near": ("near_x", "near_y", "near_radius")}  # fmt: skip


def masters_to_dataset(masters: Masters) -> xr.Dataset:
    """Masters as the dataset that the store keeps."""
    images = {name: (("y", "x"), getattr(masters, name)) for name in ("bias", "dark_rate", "flat")}
    ds = xr.Dataset({**images, "bad": (("y", "x"), masters.bad.astype(np.uint8))})
    ds.attrs["flat_variance"] = float(masters.flat_variance)
    if np.isfinite(masters.gain):
        ds.attrs["gain"] = float(masters.gain)
    return ds


def masters_from_dataset(ds: xr.Dataset) -> Masters:
    """The inverse of `masters_to_dataset`."""
    bias, dark_rate, flat = (
        np.ascontiguousarray(ds[name].values, dtype=np.float32) for name in ("bias", "dark_rate", "flat")
    )
    numbers = float(ds.attrs["flat_variance"]), float(ds.attrs.get("gain", np.nan))
    return Masters(bias, dark_rate, flat, ds["bad"].values.astype(bool), *numbers)


def masters_of(ds: xr.Dataset | None, record: Mapping[str, Any]) -> Masters:
    """Masters of a dataset, or neutral ones of a frame's trimmed shape."""
    return Masters.none(trimmed_shape(record)) if ds is None else masters_from_dataset(ds)


def reference_to_dataset(reference: Reference) -> xr.Dataset:
    """The reference's tables and numbers as the dataset that the store keeps."""
    ds = xr.Dataset(
        {name: (dim, getattr(reference, name)) for dim, names in _REFERENCE_DIMS.items() for name in names}
    )
    ds.attrs.update(shape=list(reference.shape), fwhm=float(reference.fwhm))
    # JSON knows neither NaN nor infinity: what is unknown is left out.
    for name in ("gain", "saturation", "beta"):
        if np.isfinite(getattr(reference, name)):
            ds.attrs[name] = float(getattr(reference, name))
    return ds


def reference_from_dataset(ds: xr.Dataset) -> Reference:
    """The inverse of `reference_to_dataset`; further variables are ignored."""
    arrays = {
        name: np.ascontiguousarray(ds[name].values) for names in _REFERENCE_DIMS.values() for name in names
    }
    ny, nx = (int(v) for v in ds.attrs["shape"])
    return Reference(
        shape=(ny, nx), **arrays, fwhm=float(ds.attrs["fwhm"]), gain=float(ds.attrs.get("gain", np.nan)),
        saturation=float(ds.attrs.get("saturation", np.inf)), beta=float(ds.attrs.get("beta", np.inf)),
    )  # fmt: skip


def digest(*parts: Any) -> str:
    """SHA-256 over arrays, records of arrays, and plain values, in order."""
    sha = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            sha.update(f"{part.dtype}{part.shape}".encode())
            sha.update(np.ascontiguousarray(part).tobytes())
        elif isinstance(part, (Masters, Reference)):
            sha.update(digest(*(getattr(part, f.name) for f in fields(part))).encode())
        else:
            sha.update(repr(part).encode())
    return sha.hexdigest()


@dataclass(frozen=True)
class Handle:
    """Where a task finds the masters and the reference; two handles of one digest lead to the same contents."""

    digest: str
    fork: Any = field(compare=False, repr=False)
    masters: str = field(compare=False)


@lru_cache(maxsize=KEPT)
def load_masters(handle: Handle) -> Masters:
    """Masters of a handle, once per process."""
    return masters_from_dataset(read_dataset(handle.fork, masters_group(handle.masters)))


@lru_cache(maxsize=KEPT)
def load_reference(handle: Handle) -> Reference:
    """Reference of a handle, once per process."""
    return reference_from_dataset(read_dataset(handle.fork, REFERENCE))
