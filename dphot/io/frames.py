"""The frame table: one row for every file of a set of folders, kept between scans."""

from __future__ import annotations

import hashlib
import html
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import InputError
from ..telescope import Telescope, get, known
from .batches import read_all
from .bayer import CHANNELS, channel
from .files import place
from .headers import COLUMNS
from .listing import list_files
from .readers import SIMULATED

if TYPE_CHECKING:
    import dask.dataframe as dd

_VERSION = 5  # of what a record holds: raising it makes every cached table be read anew
_GROUPS = ["night", "telescope", "filter", "type", "object", "width", "height", "exposure"]


class FrameTable:
    """The frames of some folders: one row a file, good or bad, in time order.

    Columns are those of `dphot.io.headers.COLUMNS`. A file without a usable image is a row with its `error`.
    Made by `scan`, `from_records` or `select`.
    """

    def __init__(self, frames: pd.DataFrame, ignored: int = 0, store: Path | None = None):
        self._frames = frames.sort_values(
            ["time", "path"], na_position="last", kind="stable", ignore_index=True
        )
        self.ignored = ignored
        """Files in the folders whose names are not those of FITS files."""
        self.store = store
        """The Parquet file that keeps this table; None for a part of one."""

    @classmethod
    def from_records(cls, records: Iterable[Mapping[str, Any]]) -> FrameTable:
        """A table of frame records; what they lack gets its default."""
        return cls(_to_pandas(list(records)))

    def to_pandas(self) -> pd.DataFrame:
        """All rows, by time and then path; frames without a time come last."""
        return self._frames.copy()

    @property
    def dask(self) -> dd.DataFrame:
        """The same rows as a lazy Dask DataFrame, from the Parquet file where there is one."""
        import dask.dataframe as dd

        if self.store is not None and self.store.exists():
            return dd.read_parquet(self.store)
        return dd.from_pandas(self._frames, npartitions=max(1, -(-len(self) // 4096)))

    def records(self) -> list[dict[str, Any]]:
        """The usable frames as dictionaries, in time order."""
        return self.good._frames.to_dict("records")  # type: ignore[return-value]

    def __len__(self) -> int:
        return len(self._frames)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.records())

    def select(self, **criteria: Any) -> FrameTable:
        """The usable frames that fit all criteria.

        Parameters
        ----------
        **criteria
            Column and value: a number, a text in which ``*`` stands for anything, or several of either. Case
            matters only for `filter`.

        Returns
        -------
        FrameTable
            May be empty.

        Raises
        ------
        InputError
            If there is no such column.
        """
        unknown = [name for name in criteria if name not in self._frames.columns]
        if unknown:
            raise InputError(
                f"no column {', '.join(unknown)} in the frame table; there are {', '.join(COLUMNS)}"
            )
        keep = np.array(self._frames["error"] == "", dtype=bool)
        for name, wanted in criteria.items():
            if wanted is not None:
                keep &= _fits(self._frames[name], name, wanted)
        return FrameTable(self._frames[keep])

    def channel(self, name: str) -> FrameTable:
        """The usable frames of a colour camera as one of its channels sees them.

        Parameters
        ----------
        name : str
            ``TG``, ``TR`` or ``TB``; see `dphot.io.bayer`.

        Returns
        -------
        FrameTable
            The mosaics, and the calibration frames (whose headers often name no pattern).

        Raises
        ------
        InputError
            If there is no such channel, or no frame is a mosaic.
        """
        patterns = sorted(set(self.good._frames["bayer"]) - {""})
        if name not in CHANNELS or not patterns:
            found = f"Bayer patterns {', '.join(patterns)}" if patterns else "no colour mosaic"
            raise InputError(f"channel: {name!r} of {found}; there are {', '.join(CHANNELS)} of a mosaic")
        whole = [r for r in self.records() if r["bayer"] or r["type"] in ("bias", "dark", "flat")]
        return self.from_records(channel(r, name, patterns[0]) for r in whole)

    @property
    def good(self) -> FrameTable:
        """Frames with an image."""
        return self.select()

    @property
    def lights(self) -> FrameTable:
        """Frames of the sky."""
        return self.select(type="light")

    @property
    def biases(self) -> FrameTable:
        """Bias frames."""
        return self.select(type="bias")

    @property
    def darks(self) -> FrameTable:
        """Dark frames."""
        return self.select(type="dark")

    @property
    def flats(self) -> FrameTable:
        """Flat frames."""
        return self.select(type="flat")

    @property
    def errors(self) -> pd.DataFrame:
        """Files without a usable image: `path` and `error`."""
        bad = self._frames[(self._frames["error"] != "").to_numpy(dtype=bool)]
        return bad[["path", "error"]].reset_index(drop=True)

    @property
    def nights(self) -> list[str]:
        """The nights of the usable frames, in order."""
        return sorted({night for night in self.good._frames["night"] if night})

    @property
    def notes(self) -> list[tuple[str, int]]:
        """What is odd, and in how many frames, the most frequent first."""
        counts = Counter(text for note in self._frames["note"] for text in str(note).split(" | ") if text)
        good = self.good._frames
        lost = int((good["longitude"].isna() & (good["night"] != "")).sum())
        if lost:
            counts["the longitude of the site is not known: nights are cut at noon UTC"] = lost
        return sorted(counts.items(), key=lambda item: (-item[1], item[0]))

    def summary(self) -> pd.DataFrame:
        """Numbers of frames by night, telescope, filter, type, target, size and exposure.

        Flats, whose exposures change with the twilight, are one row with the range of their exposures.
        """
        good = self.good._frames
        rows = good[_GROUPS].astype({"exposure": "object"})
        flat = (good["type"] == "flat").to_numpy(dtype=bool)
        rows.loc[~flat, "exposure"] = [_seconds([v]) for v in good.loc[~flat, "exposure"]]
        keys = [name for name in _GROUPS if name != "exposure"]
        if flat.any():
            ranges = good[flat].groupby(keys, dropna=False)["exposure"].agg(_seconds)
            rows.loc[flat, "exposure"] = [ranges.loc[tuple(k)] for k in good.loc[flat, keys].to_numpy()]
        counted = rows.groupby(_GROUPS, dropna=False).size().rename("frames").reset_index()
        return counted.rename(columns={"object": "target", "exposure": "exposure / s"})

    def __repr__(self) -> str:
        summary = self.summary()
        table = "no frames" if summary.empty else summary.to_string(index=False)
        return "\n".join([table, *self._remarks()])

    def _repr_html_(self) -> str:
        remarks = "".join(f"<p>{html.escape(line)}</p>" for line in self._remarks())
        return f"{self.summary().to_html(index=False)}{remarks}"

    def _remarks(self) -> list[str]:
        errors = self.errors
        lines = [f"{len(self) - len(errors)} frames"]
        if self.ignored:
            lines[0] += f"; {self.ignored} other file{'s' * (self.ignored > 1)} ignored"
        lines += [f"note: {text} ({count} frames)" for text, count in self.notes[:6]]
        if len(errors):
            lines.append(f"{len(errors)} bad files:")
            lines += [f"  {os.path.basename(p)}: {e}" for p, e in errors.head(10).itertuples(index=False)]
        if len(errors) > 10:
            lines.append(f"  and {len(errors) - 10} more in table.errors")
        return lines


def scan(
    sources: str | Path | Iterable[str | Path],
    telescope: str | Path | Mapping[str, Any] | Telescope | None = None,
    depth: int | None = None,
    store: str | Path | bool = True,
) -> FrameTable:
    """Read the headers of all frames in folders.

    Parameters
    ----------
    sources : path or iterable of paths
        Folders and files, or addresses in a bucket (``s3://bucket/night/``). In folders, files named as FITS files are
        taken (`EXTENSIONS`); files given by name are taken whatever their name. ``sim:`` names are simulated frames.
    telescope : Telescope, str, path or mapping, optional
        The telescope of all frames (a name, a TOML file, fields); default: found by the headers.
    depth : int, optional
        Levels of folders below those given; 0: only they themselves; default: all.
    store : path or bool
        The Parquet file that keeps the table, so that the next scan reads only new and changed files; True:
        one in the user's cache, False: none.

    Returns
    -------
    FrameTable
        One row a file. A bad file is a row with its error.

    Raises
    ------
    InputError
        If a folder or file does not exist, or no file is named as a FITS file; all are named.
    BucketError
        If a bucket cannot be reached or listed.

    Notes
    -----
    Files are read in batches through Dask: on the cluster where a client is connected, else in threads.
    """
    given = [sources] if isinstance(sources, (str, Path)) else list(sources)
    chosen = get(telescope) if telescope is not None else None
    telescopes = [] if chosen is not None else list(known().values())
    files, ignored = list_files([str(source) for source in given], depth)
    state = {"version": _VERSION, "columns": list(COLUMNS), "telescope": chosen.digest() if chosen else ""}
    state["known"] = [t.digest() for t in telescopes]
    key = hashlib.sha256(json.dumps(state).encode()).hexdigest()
    cache = _cache_file(store, given, depth)
    old = _read_cache(cache, key) if cache is not None else None
    kept, todo = _unchanged(old, files)
    frames = pd.concat([kept, _to_pandas(read_all(todo, chosen, telescopes))]) if len(kept) else None
    if frames is None:
        frames = _to_pandas(read_all(todo, chosen, telescopes))
    table = FrameTable(frames, ignored, cache)
    if cache is not None and (todo or old is None or len(old) != len(frames)):
        _write_cache(table, cache, key)
    return table


def _unchanged(
    old: pd.DataFrame | None, files: Mapping[str, tuple[int, int]]
) -> tuple[pd.DataFrame, list[tuple[str, int, int]]]:
    """The rows of `old` whose files are as they were (bad ones are tried again), and the files to read."""
    if old is None:
        return _to_pandas([]), [(path, *status) for path, status in files.items()]
    rows = zip(old["path"], old["size"], old["mtime_ns"], old["error"], strict=True)
    same = np.array(
        [files.get(path) == (size, mtime) and not error for path, size, mtime, error in rows], dtype=bool
    )
    kept = old[same]
    have = set(kept["path"])
    return kept, [(path, *status) for path, status in files.items() if path not in have]


def _to_pandas(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    columns: dict[str, Any] = {}
    for name, (dtype, default) in COLUMNS.items():
        values = [record.get(name, default) for record in records]
        if name == "time":
            times = ["NaT" if v is None or v is pd.NaT else v for v in values]
            stamps = [np.datetime64(int(t) if isinstance(t, (int, np.integer)) else t, "ns") for t in times]
            columns[name] = np.array(stamps, dtype="datetime64[ns]")
        else:
            columns[name] = pd.Series(values, dtype=dtype)
    extra = sorted({key for record in records for key in record} - set(COLUMNS))
    columns.update({name: [record.get(name) for record in records] for name in extra})
    return pd.DataFrame(columns)


def _fits(column: pd.Series, name: str, wanted: Any) -> np.ndarray:
    several = wanted if isinstance(wanted, (list, tuple, set, frozenset, np.ndarray, pd.Series)) else [wanted]
    keep = np.zeros(len(column), dtype=bool)
    if pd.api.types.is_numeric_dtype(column):
        values = column.to_numpy()
        for value in several:
            keep |= np.isclose(values, float(value), rtol=1e-6, atol=1e-9)
        return keep
    if name == "time":
        return column.isin([pd.Timestamp(v) for v in several]).to_numpy(dtype=bool)
    fold = str if name in ("filter", "path") else lambda v: str(v).lower()
    values = [fold(v) for v in column]
    for pattern in (fold(v) for v in several):
        keep |= np.array(
            [v == pattern or ("*" in pattern and fnmatchcase(v, pattern)) for v in values], dtype=bool
        )
    return keep


def _seconds(values: Iterable[float]) -> str:
    known_values = [float(v) for v in values if math.isfinite(v)]
    if not known_values:
        return "?"
    low, high = f"{min(known_values):g}", f"{max(known_values):g}"
    return low if low == high else f"{low} to {high}"


def _cache_file(store: str | Path | bool, sources: Sequence[Any], depth: int | None) -> Path | None:
    if store is False:
        return None
    if not isinstance(store, bool):
        return Path(store)
    home = os.environ.get("DPHOT_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "dphot"
    )
    places = sorted(s if (s := str(source)).startswith(SIMULATED) else place(s) for source in sources)
    name = hashlib.sha256(json.dumps([places, depth]).encode()).hexdigest()[:24]
    return Path(home) / "frames" / f"{name}.parquet"


def _read_cache(path: Path, key: str) -> pd.DataFrame | None:
    """The table kept in `path`; None where there is none, or one of other settings, or it is damaged."""
    try:
        frames = pd.read_parquet(path)
    except Exception:  # whatever is wrong with it, it can be made anew
        return None
    return frames if frames.attrs.get("dphot") == key and list(frames.columns) == list(COLUMNS) else None


def _write_cache(table: FrameTable, path: Path, key: str) -> None:
    frames = table.to_pandas()
    frames.attrs["dphot"] = key
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        frames.to_parquet(temporary)
        temporary.replace(path)
    except OSError:  # a cache that cannot be written costs the next scan its time, nothing else
        table.store = None
