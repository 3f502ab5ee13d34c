"""Files per second of the first and of a repeated scan of a folder, against a loop with astropy.

Usage: python examples/benchmarks/scan.py [--json] [--quick] [--files N]

The files were written just before, so that they come from memory and not from a disk: what is timed is the scan. The
first scan reads every header, the repeated one only asks whether the files are as they were. The loop reads the
headers of some of the files with `astropy.io.fits.getheader` and makes no record of them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from astropy.io import fits
from measuring import rounded, table, usage

import dphot

#: Different frames, of which the folder holds copies.
DIFFERENT = 100
#: Files that the loop reads.
LOOP = 500


def write_files(folder: Path, n: int) -> Path:
    """A folder with `n` FITS files, in folders of `DIFFERENT`."""
    lights = DIFFERENT - 15
    (night,) = dphot.simulate.write_nights(folder / "night", frames=lights, size=64, stars=5, target=0)
    frames = sorted(night.glob("*.fits"))
    for k in range(n):
        place = folder / "files" / f"{k // DIFFERENT:03d}"
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(frames[k % DIFFERENT], place)
    return folder / "files"


def run(folder: Path, n: int) -> dict[str, Any]:
    """The figures of all scans."""
    files = write_files(folder, n)
    dphot.scan(files / "000", store=folder / "warm.parquet")
    cache = folder / "frames.parquet"
    first_table, first = usage(lambda: dphot.scan(files, store=cache))
    again_table, again = usage(lambda: dphot.scan(files, store=cache))
    assert len(first_table) == len(again_table) == n and first_table.errors.empty
    some = sorted(files.glob("*/*.fits"))[:LOOP]
    _, loop = usage(lambda: [fits.getheader(path) for path in some])
    return {
        "files": n,
        "first_files_per_s": n / first.wall_s,
        "first_files_per_cpu_s": n / first.cpu_s,
        "repeat_s": again.wall_s,
        "repeat_cpu_s": again.cpu_s,
        "loop_files_per_cpu_s": len(some) / loop.cpu_s,
        "peak_mb": first.peak_mb,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--quick", action="store_true", help="a few files: shows that it runs, no more")
    parser.add_argument("--files", type=int, help="how many files [5000]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dphot-benchmark-") as folder:
        figures = rounded(run(Path(folder), options.files or (200 if options.quick else 5000)))
    if options.json:
        json.dump(figures, sys.stdout)
    else:
        print(table("scan", {name: {"figure": value} for name, value in figures.items()}))


if __name__ == "__main__":
    main()
