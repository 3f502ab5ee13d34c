"""Which files of a folder are frames."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from ..errors import InputError
from .readers import SIMULATED

#: File names that are looked at in a folder; the case does not matter.
EXTENSIONS = (".fits", ".fit", ".fts", ".fz", "and these with .gz, .bz2, .Z, .fz")
_FITS_NAME = re.compile(r"(\.(fits|fit|fts)(\.(gz|bz2|z|fz))?|\.fz|^[^.]+\.(gz|bz2|z))$", re.IGNORECASE)


def list_files(sources: Sequence[str], depth: int | None) -> tuple[dict[str, tuple[int, int]], int]:
    """Path -> (size, mtime in ns) of every frame, and the number of other files."""
    found: dict[str, tuple[int, int]] = {}
    missing: list[str] = []
    ignored = 0
    for source in sources:
        if source.startswith(SIMULATED):
            found[source] = (0, 0)
            continue
        path = os.path.abspath(os.path.expanduser(source))
        if os.path.isdir(path):
            ignored += _walk(path, depth, found, set())
        elif os.path.exists(path):
            status = os.stat(path)
            found[path] = (status.st_size, status.st_mtime_ns)
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


def _walk(folder: str, depth: int | None, found: dict[str, tuple[int, int]], visited: set[str]) -> int:
    real = os.path.realpath(folder)
    if real in visited:  # a link back to a folder above
        return 0
    visited.add(real)
    ignored = 0
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed: {error.strerror or error}") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if depth is None or depth > 0:
                ignored += _walk(entry.path, None if depth is None else depth - 1, found, visited)
        elif _FITS_NAME.search(entry.name):
            try:
                status = entry.stat()
                found[entry.path] = (status.st_size, status.st_mtime_ns)
            except OSError:  # a dangling link: it gets its row and its error
                found[entry.path] = (0, 0)
        else:
            ignored += 1
    return ignored
