"""Which files of a folder are frames."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from ..errors import InputError
from . import files
from .readers import SIMULATED

#: File names that are looked at in a folder; the case does not matter.
EXTENSIONS = (".fits", ".fit", ".fts", ".fz", "and these with .gz, .bz2, .Z, .fz")
_PACKED = re.compile(r"\.(gz|bz2|z|fz)$", re.IGNORECASE)
_FITS_NAME = re.compile(r"(\.(fits|fit|fts)(\.(gz|bz2|z|fz))?|\.fz|^[^.]+\.(gz|bz2|z))$", re.IGNORECASE)


def unpacked(path: str) -> str:
    """The name of a file as it was before it was compressed."""
    return _PACKED.sub("", path)


def still_there(paths: Collection[str]) -> dict[str, str]:
    """Path -> path now, of those of the files that are there, some compressed in their place since."""
    there = {path: path for path in files.statuses(paths)}
    names = {
        unpacked(path) + ending: path
        for path in paths
        if path not in there
        for ending in ("", ".gz", ".bz2", ".Z", ".fz")
    }
    return there | {names[name]: name for name in sorted(files.statuses(names))}


def list_files(sources: Sequence[str], depth: int | None) -> tuple[dict[str, files.Status], int]:
    """Path -> (size, mtime in ns) of every frame, and the number of other files.

    Raises
    ------
    InputError
        If a source is not there, or there are no frames.
    BucketError
        If a bucket cannot be listed.
    """
    found: dict[str, files.Status] = {}
    missing: list[str] = []
    ignored = 0
    paths = {source: files.absolute(source) for source in sources if not source.startswith(SIMULATED)}
    single = files.statuses(set(paths.values()))
    for source in sources:
        if source.startswith(SIMULATED):
            found[source] = (0, 0)
        elif (path := paths[source]) in single:
            found[path] = single[path]
        elif files.is_folder(path):
            for name, status in files.walk(path, depth, _FITS_NAME.search):
                if status is None:
                    ignored += 1
                else:
                    found[name] = status
        else:
            missing.append(source)
    if missing:
        raise InputError(f"no such folder or file: {', '.join(missing)}")
    if not found:
        raise InputError(
            f"no frames in {', '.join(sources) or 'an empty list of folders'}: looked for files ending in "
            f"{', '.join(EXTENSIONS)}; {ignored} other files are there"
        )
    return found, ignored
