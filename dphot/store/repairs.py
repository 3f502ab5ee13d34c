"""Mending a store: frames put back from their files, files found under another name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import zarr

from . import encodings, layout, links, opening, repository


def move_paths(root: zarr.Group, moved: Mapping[str, str]) -> int:
    """Write the new paths of files that have moved, wherever frames are named; returns how many rows changed.

    Parameters
    ----------
    root : zarr.Group
        The store's root, writable.
    moved : mapping of str to str
        Old path to new path.
    """
    changed = 0
    for group in _groups(root, layout.PHOTOMETRY):
        changed += _replace(group, "path", lambda path: moved.get(path, path))
    for filters in _groups(root, layout.FRAMES):
        for _, group in filters.groups():
            _replace(group, "path", lambda path: moved.get(path, path))
            _replace(group, "record", lambda text: _moved_record(text, moved))
    reference = root.get(layout.REFERENCE)
    for group in (
        *_groups(root, layout.MASTERS),
        *([reference] if isinstance(reference, zarr.Group) else ()),
    ):
        group.attrs.update(followed(dict(group.attrs), moved))
    if isinstance(nights := root.get(layout.NIGHTS), zarr.Group):
        _replace(nights, "record", lambda text: _moved_night(text, moved))
    return changed


def followed(value: Any, moved: Mapping[str, str]) -> Any:
    """A value of JSON with other names in the place of paths, wherever a path stands by itself."""
    if isinstance(value, str):
        return moved.get(value, value)
    if isinstance(value, list):
        return [followed(one, moved) for one in value]
    if isinstance(value, dict):
        return {moved.get(key, key): followed(one, moved) for key, one in value.items()}
    return value


def _moved_night(text: str, moved: Mapping[str, str]) -> str:
    """The record of a night; its settings stay as they were given."""
    record = json.loads(text)
    series = [
        {key: value if key == "config" else followed(value, moved) for key, value in one.items()}
        for one in record.get("series", ())
    ]
    if series == record.get("series", []):
        return text
    return json.dumps({**record, "series": series}, sort_keys=True)


def _groups(root: zarr.Group, name: str) -> Iterator[zarr.Group]:
    found = root.get(name)
    if isinstance(found, zarr.Group):
        yield from (group for _, group in found.groups())


def _replace(group: zarr.Group, name: str, new: Callable[[str], str]) -> int:
    old = _texts(group, name)
    texts = [new(text) for text in old]
    if texts != old:
        group[name][:] = np.array(texts, np.dtypes.StringDType())  # type: ignore[index]
    return sum(a != b for a, b in zip(old, texts, strict=True))


def _texts(group: zarr.Group, name: str) -> list[str]:
    return [str(text) for text in np.asarray(group[name][:])]  # type: ignore[index]


def _moved_record(text: str, moved: Mapping[str, str]) -> str:
    record = json.loads(text)
    if record.get("path") not in moved:
        return text
    return json.dumps({**record, "path": moved[record["path"]]}, sort_keys=True)


@dataclass(frozen=True)
class Kept:
    """The raw frames that a store keeps of one filter and night."""

    filter: str
    night: str
    records: list[dict[str, Any]]
    """Of each frame, as they are stored."""
    linked: bool
    """Whether they are read from their files; else the store holds their pixels."""

    def readable(self, store: str, snapshot: str) -> list[dict[str, Any]]:
        """The records, each with the place of its pixels, for any process to read.

        Raises
        ------
        StoreError
            If files of linked frames are gone, or are other ones.
        """
        if self.linked:
            links.refuse_broken(store, self.records)
            return self.records
        place = store, snapshot, self.filter, self.night
        return [{**record, "kept": (*place, row)} for row, record in enumerate(self.records)]


def stored_frames(session: Any) -> Iterator[Kept]:
    """The raw frames that a store keeps, filter by filter and night by night."""
    found = repository.root_group(session).get(layout.FRAMES)
    for name, filters in sorted(found.groups()) if isinstance(found, zarr.Group) else []:
        for night, group in sorted(filters.groups()):
            records = [encodings.restore(json.loads(text)) for text in _texts(group, "record")]
            linked = links.LINKED in group.attrs
            yield Kept(layout.decode_name(name), layout.decode_name(night), records, linked)


def raw_frame(session: Any, filter: str, night: str, row: int) -> np.ndarray:
    """The raw pixels of one stored frame."""
    group = layout.frames_group(filter, night)
    return np.asarray(repository.root_group(session)[f"{group}/raw"][row])  # type: ignore[index]


def kept_frame(path: str, snapshot: str, filter: str, night: str, row: int) -> np.ndarray:
    """The raw pixels of one stored frame, in a process that has no session of the store."""
    return raw_frame(_session(path, snapshot), filter, night, row)


@lru_cache(maxsize=2)
def _session(path: str, snapshot: str) -> Any:
    return opening.connect(path, snapshot=snapshot)[1]
