"""Small made-up nights of photometry, for tests that measure nothing."""

from __future__ import annotations

import hashlib

import numpy as np
import xarray as xr

from dphot import schema
from dphot.store import Store


def make_night(day: int, frames: int = 5, stars: int = 4, apertures: int = 3, first: int = 0) -> xr.Dataset:
    """Photometry of one night, every variable of the registry, the same for the same arguments."""
    sizes = {"time": frames, "aperture": apertures, "star": stars, "coefficient": 6}
    index = np.arange(first, first + frames)
    variables = {}
    for position, (name, declared) in enumerate(schema.PHOTOMETRY.items()):
        shape = tuple(sizes[d] for d in declared.dims)
        rng = np.random.default_rng([position, day if "time" in declared.dims else 0, first])
        if declared.kind == "f":
            values = rng.normal(1000, 30, size=shape)
        elif declared.kind in "iu":
            values = rng.integers(0, 100, size=shape).astype({"i": np.int32, "u": np.uint16}[declared.kind])
        else:
            text = {
                "path": lambda i: f"/raw/{day:02d}/frame-{i}.fits",
                "digest": lambda i: hashlib.sha256(f"{day} {i}".encode()).hexdigest(),
                "pixels": lambda i: hashlib.sha256(f"{day} {i}".encode()).hexdigest()[:16],
                "night": lambda i: f"2026-11-{day:02d}",
                "note": lambda i: "é" * i,
            }[name]
            values = np.array([text(i) for i in index], dtype=object)
        variables[name] = (declared.dims, values)
    start = np.datetime64("2026-11-01T20:00:00.123456789", "ns") + np.timedelta64(day, "D")
    time = start + index * np.timedelta64(61_000_000_007, "ns")
    ds = xr.Dataset(variables, coords={"time": time}, attrs={"field": "WASP-12", "gain": float("nan")})
    return schema.annotate(ds, schema.PHOTOMETRY)


def append(store: Store, filter: str, ds: xr.Dataset, **kwargs) -> None:
    """One commit of photometry."""
    with store.transaction(f"append to {filter}", **kwargs) as tx:
        tx.append_photometry(filter, ds)
