"""What grows night by night: photometry, raw frames, records. All is checked before anything is written."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
import zarr

from .. import schema
from ..errors import StoreError
from ..flags import FrameFlag
from ..io.listing import unpacked
from . import encodings, layout, links
from .writing import extend

_PRODUCT = ("flux", "flux_err")


def append(root: zarr.Group, filter: str, ds: xr.Dataset) -> None:
    """Append rows to the photometry of a filter (see `Transaction.append_photometry`)."""
    schema.validate(ds, schema.PHOTOMETRY, required=("time", *_PRODUCT))
    path = layout.photometry_group(filter)
    encoded = {str(name): encodings.encode(str(name), ds.variables[name]) for name in ds.variables}
    dims = {str(name): tuple(str(d) for d in ds.variables[name].dims) for name in ds.variables}
    for name in _PRODUCT:
        encoded[name] = (encoded[name][0].astype(np.float64), encoded[name][1])
    _refuse_copies(path, encoded, None)
    if path not in root:
        group = root.create_group(path, attributes={**encodings.dataset_attrs(ds), "filter": filter})
        encodings.create(group, {name: _new(dims[name], *encoded[name]) for name in encoded})
        return
    group = root[path]  # type: ignore[assignment]
    arrays = dict(group.arrays())
    _refuse_copies(path, encoded, arrays.get("digest"))
    _refuse_misfits(path, arrays, encoded, dims)
    rows = arrays["time"].shape[0]
    blanks = {}
    for name, (values, attrs) in encoded.items():
        if name not in arrays:
            blank = np.full((rows, *values.shape[1:]), encodings.fill_value(values.dtype), values.dtype)
            blanks[name] = _new(dims[name], blank, attrs)
    arrays |= encodings.create(group, blanks)
    extend((arrays[name], values) for name, (values, _) in encoded.items() if dims[name][:1] == ("time",))


def _new(dims: tuple[str, ...], values: np.ndarray, attrs: dict[str, Any]) -> encodings.New:
    chunks = encodings.series_chunks(dims, values.shape, values.dtype.itemsize)
    return encodings.New(dims, values, attrs, chunks)


#: What tells a frame from others: it stays when the frame is measured again.
_IDENTITY = ("time", "path", "digest", "pixels", "night", "file_size", "file_time")


def overwrite(root: zarr.Group, filter: str, ds: xr.Dataset) -> None:
    """Replace the measurements of frames that are there (see `Transaction.overwrite_photometry`)."""
    path = layout.photometry_group(filter)
    arrays = dict(root[path].arrays())  # type: ignore[union-attr]
    encoded = {str(name): encodings.encode(str(name), ds.variables[name]) for name in ds.variables}
    dims = {str(name): tuple(str(d) for d in ds.variables[name].dims) for name in ds.variables}
    _refuse_misfits(path, arrays, encoded, dims)
    places = {file: i for i, file in enumerate(_files(arrays))}
    files = _files(ds)
    unknown = [file[0] for file in files if file not in places]
    if unknown:
        raise StoreError(
            f"{path}: {len(unknown)} frame(s) are not there (the first {unknown[0]}); append them"
        )
    rows = np.array([places[file] for file in files])
    order = np.argsort(rows)
    for name, (values, _) in encoded.items():
        if dims[name][:1] == ("time",) and name not in _IDENTITY:
            arrays[name].oindex[rows[order]] = values[order]


def _files(columns: Mapping[str, Any] | xr.Dataset) -> list[tuple[Any, ...]]:
    """What each frame's file was: a camera that counts from one again gives the name of one frame to another.

    With its time, because a file that could not be opened at first has none, and is the same otherwise.
    """
    path = [str(p) for p in np.asarray(columns["path"][:])]
    numbers = (
        np.asarray(columns[k][:]).astype(np.int64).tolist() for k in ("file_size", "file_time", "time")
    )
    return list(zip(path, *numbers, strict=True))


def amend(root: zarr.Group, filter: str, ds: xr.Dataset) -> None:
    """Replace some variables of frames that are there (see `Transaction.amend_photometry`)."""
    arrays = dict(root[layout.photometry_group(filter)].arrays())  # type: ignore[union-attr]
    stored = zip(*(np.asarray(arrays[k][:]) for k in ("path", "digest")), strict=True)
    places = {(str(p), str(d)): i for i, (p, d) in enumerate(stored)}
    rows = np.array([places[str(p), str(d)] for p, d in zip(ds.path.values, ds.digest.values, strict=True)])
    order = np.argsort(rows)
    for name in sorted({str(name) for name in ds.data_vars} - set(_IDENTITY)):
        arrays[name].oindex[rows[order]] = encodings.encode(name, ds.variables[name])[0][order]


def supersede(root: zarr.Group, filter: str, night: str, ds: xr.Dataset) -> list[str]:
    """Take out the rows of files that could not be read (see `Transaction.supersede`)."""
    group: Any = root.get(layout.photometry_group(filter))
    if group is None:
        return []
    new = list(zip(*(ds[k].values.tolist() for k in ("path", "digest", "frame_flags")), strict=True))
    digests = {path: digest for path, digest, _ in new}
    # under its name before or after it was compressed only where it can be read: of two halves each has its row
    whole = {unpacked(path): digest for path, digest, flags in new if not flags & FrameFlag.UNREADABLE}
    columns = (np.asarray(group[k][:]).tolist() for k in ("path", "digest", "night", "frame_flags"))
    old = [
        row for row, (path, digest, of, flags) in enumerate(zip(*columns, strict=True))
        if digests.get(path, whole.get(unpacked(path), digest)) != digest
        and of == night and flags & FrameFlag.UNREADABLE
    ]  # fmt: skip
    if not old:
        return []
    files = [_files(group)[row][:3] for row in old]
    _take_out(group, old)
    frames: Any = root.get(layout.frames_group(filter, night))
    if frames is not None:
        records = [json.loads(str(text)) for text in np.asarray(frames["record"][:])]
        kept = [(r["path"], int(r["size"]), int(r["mtime_ns"])) for r in records]
        # the first of a name: behind it may be the place of the same file, read anew
        _take_out(frames, [kept.index(file) for file in files if file in kept])
    return sorted({path for path, *_ in files})


def _take_out(group: zarr.Group, rows: list[int]) -> None:
    """Take rows out of all arrays of a group: the last ones move to their places, since rows lie in any order."""
    gone = set(rows)
    for _, array in group.arrays():
        if encodings.dimensions(array)[:1] == ("time",):
            left = array.shape[0] - len(gone)
            holes = np.array([row for row in sorted(gone) if row < left], int)
            last = np.array([row for row in range(left, array.shape[0]) if row not in gone], int)
            if holes.size:
                array.oindex[holes] = array.oindex[last]
            array.resize((left, *array.shape[1:]))


def _refuse_copies(path: str, encoded: Mapping[str, Any], stored: zarr.Array | None) -> None:
    """Refuse a frame that is there already, or that comes twice, by its digest."""
    if "digest" not in encoded:
        return
    count = Counter(str(d) for d in encoded["digest"][0] if d)
    held = Counter() if stored is None else Counter(str(d) for d in np.asarray(stored[:]))
    copies = sorted(d for d, n in count.items() if n > 1 or d in held)
    if copies:
        names = ", ".join(d[:12] for d in copies[:3])
        raise StoreError(f"{path}: {len(copies)} frame(s) twice (digest {names} ...); append new ones only")


def _refuse_misfits(
    path: str,
    arrays: Mapping[str, zarr.Array],
    encoded: Mapping[str, Any],
    dims: Mapping[str, tuple[str, ...]],
) -> None:
    """Refuse rows whose stars, apertures, units, variables or types are not the store's; name all of it."""
    problems = [f"{name} is missing" for name in arrays if name not in encoded]
    for name, (values, attrs) in encoded.items():
        if name not in arrays:
            if dims[name][:1] != ("time",) or values.dtype.kind in "iub":
                problems.append(f"{name} is new, and has no value that says 'not measured' for earlier rows")
            continue
        array = arrays[name]
        grows = dims[name][:1] == ("time",)
        stored = encodings.dimensions(array)
        start = 1 if grows else 0
        if stored != dims[name] or array.shape[start:] != values.shape[start:]:
            found = dict(zip(dims[name], values.shape, strict=True))
            problems.append(f"{name} is {found}, the store's {dict(zip(stored, array.shape, strict=True))}")
        elif not np.can_cast(values.dtype, array.dtype, "safe"):
            problems.append(f"{name} is {values.dtype}, the store's {array.dtype} does not hold it")
        elif attrs.get("units", "") != array.attrs.get("units", ""):
            problems.append(f"{name} is in {attrs.get('units')!r}, the store in {array.attrs.get('units')!r}")
        elif not grows and not _same(np.asarray(array[...]), values):
            problems.append(f"{name} differs from the store's: another star list or other apertures")
    if problems:
        raise StoreError(f"{path}: these rows do not continue the series: {'; '.join(problems)}")


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f" and b.dtype.kind == "f"))


def reserve(
    root: zarr.Group,
    filter: str,
    night: str,
    n: int,
    shape: tuple[int, int],
    dtype: np.dtype,
    columns: dict[str, Any],
) -> int:
    """Make room for raw frames (see `Transaction.reserve_frames`); returns the index of the first."""
    path = layout.frames_group(filter, night)
    columns.setdefault("time", np.full(n, np.datetime64("NaT", "ns")))
    if path not in root:
        _add_columns(root, path, n, columns, {"filter": filter, "night": night})
        root[path].create_array(  # type: ignore[union-attr]
            "raw",
            shape=(n, *shape),
            chunks=(1, *shape),
            dtype=dtype,
            fill_value=encodings.fill_value(dtype),
            compressors=encodings.codec(dtype),
            dimension_names=("time", "y", "x"),
            attributes=dict(links.RAW_ATTRS),
        )
        return 0
    raw: Any = root[f"{path}/raw"]
    _refuse_other_kind(path, (tuple(shape), dtype), (raw.shape[1:], raw.dtype))
    offset = _add_columns(root, path, n, columns, {})
    raw.resize((offset + n, *shape))
    return offset


def link(
    root: zarr.Group,
    filter: str,
    night: str,
    n: int,
    shape: tuple[int, int],
    dtype: np.dtype,
    columns: dict[str, Any],
) -> None:
    """Name the files of raw frames (see `Transaction.link_frames`)."""
    path = layout.frames_group(filter, night)
    if path in root:
        kind = links.kind(root[path].attrs)
        _refuse_other_kind(path, (tuple(shape), dtype), kind)
    attrs = {"filter": filter, "night": night, links.LINKED: [*map(int, shape), str(dtype)]}
    _add_columns(root, path, n, columns, attrs)


def _refuse_other_kind(path: str, given: tuple[Any, ...], held: tuple[Any, ...]) -> None:
    if given != held:
        raise StoreError(
            f"{path}: frames of {given[0]} {given[1]}, the night holds {held[0]} {held[1]}; "
            "reduce another size, binning or camera into a store of its own"
        )


def _add_columns(root: zarr.Group, path: str, n: int, columns: dict[str, Any], attrs: dict[str, Any]) -> int:
    """What belongs to each of some raw frames, behind what is there; returns the index of the first."""
    encoded = {k: encodings.encode(k, xr.Variable(("time",), np.asarray(v))) for k, v in columns.items()}
    misfits = [name for name, (values, _) in encoded.items() if values.shape != (n,)]
    if misfits:
        raise StoreError(f"{path}: {', '.join(misfits)}: one value is needed for each of the {n} frames")
    _refuse_copies(path, encoded, None)
    if path not in root:
        group = root.create_group(path, attributes=attrs)
        chunks = (max(256, n),)
        new = {
            name: encodings.New(("time",), values, more, chunks) for name, (values, more) in encoded.items()
        }
        encodings.create(group, new)
        return 0
    arrays = {name: a for name, a in root[path].arrays() if name != "raw"}  # type: ignore[union-attr]
    if set(arrays) != set(encoded):
        raise StoreError(f"{path}: columns {sorted(encoded)}, the night has {sorted(arrays)}; give the same")
    _refuse_copies(path, encoded, arrays.get("digest"))
    offset = int(arrays["time"].shape[0])
    extend((arrays[name], values) for name, (values, _) in encoded.items())
    return offset


def update(root: zarr.Group, filter: str, night: str, offset: int, columns: Mapping[str, Any]) -> None:
    """Replace columns of some raw frames (see `Transaction.update_frames`)."""
    group = root[layout.frames_group(filter, night)]
    for name, given in columns.items():
        values, _ = encodings.encode(name, xr.Variable(("time",), np.asarray(given)))
        group[name][offset : offset + len(values)] = values  # type: ignore[index]


def read_record(root: zarr.Group, night: str) -> str | None:
    """The record of a night; None where there is none."""
    if layout.NIGHTS not in root:
        return None
    group: Any = root[layout.NIGHTS]
    names = group["night"][:].tolist()
    return str(group["record"][names.index(night)]) if night in names else None


def write_record(root: zarr.Group, night: str, text: str) -> None:
    """Write or replace the record of a night: a table of two text columns.

    Records are chunks and not attributes: attributes of all groups are rewritten by every commit.
    """
    if layout.NIGHTS not in root:
        group = root.create_group(layout.NIGHTS)
        none = np.array([], np.dtypes.StringDType())
        chunks = {"night": 1024, "record": 1}
        encodings.create(group, {k: encodings.New(("night",), none, {}, (n,)) for k, n in chunks.items()})
    arrays: dict[str, zarr.Array] = dict(root[layout.NIGHTS].arrays())  # type: ignore[union-attr]
    names = [str(n) for n in np.asarray(arrays["night"][:])]
    if night in names:
        arrays["record"][names.index(night)] = text
        return
    told = {"night": night, "record": text}
    extend((arrays[name], np.array([value], np.dtypes.StringDType())) for name, value in told.items())
