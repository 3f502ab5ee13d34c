"""What the thirtieth night of a store costs against the third, in CPU time and in bytes; and an append of nothing new.

Usage: python examples/benchmarks/append.py [--json] [--quick]

Small simulated nights are appended one by one in this process. The figures of the third night are the medians of the
second to fourth, those of the thirtieth of the last three. An append rewrites the chunk of 128 frames that is not full
yet: nights have 5 frames, and one in between 3, so that the 28th to 30th begin in a chunk where the 2nd to 4th did.
Bytes are what the store grew by, which is what was written: a commit deletes nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from measuring import rounded, table, usage

import dphot

NIGHTS = 30
FRAMES = 5
#: A night of two frames less, counted from 0: 128 frames lie between the 2nd night and the 28th.
SHORT = 13


def size(folder: Path) -> int:
    """Bytes in all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def run(folder: Path, nights: int) -> dict[str, Any]:
    """The figures of all nights."""
    raw = dphot.simulate.write_nights(
        folder / "raw",
        nights=nights,
        frames=FRAMES,
        size=128,
        seed=3,
        stars=25,
        bias=2,
        darks=2,
        flats=2,
        clouds=0,
    )
    for path in [path for night in raw[SHORT : SHORT + 1] for path in sorted(night.glob("light*"))[-2:]]:
        path.unlink()
    place = folder / "field.dphot"
    store = dphot.reduce(raw[0], place, workers=0)
    seconds, written = [], []  # from the second night on
    for night in raw[1:]:
        before = size(place)
        appended, took = usage(lambda night=night: store.append(night, workers=0))
        assert appended.frames == len(list(night.glob("light*")))
        seconds.append(took.cpu_s)
        written.append(size(place) - before)
    nothing, again = usage(lambda: store.append(raw[-1], workers=0))
    assert nothing.frames == 0
    cpu, grown = ((median(values[:3]), median(values[-3:])) for values in (seconds, written))
    return {
        "nights": nights,
        "cpu_s_3rd": cpu[0],
        "cpu_s_30th": cpu[1],
        "cpu_ratio": cpu[1] / cpu[0],
        "bytes_3rd": grown[0],
        "bytes_30th": grown[1],
        "bytes_ratio": grown[1] / grown[0],
        "nothing_new_s": again.wall_s,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--quick", action="store_true", help="a few nights: shows that it runs, no more")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dphot-benchmark-") as folder:
        figures = rounded(run(Path(folder), 5 if options.quick else NIGHTS))
    if options.json:
        json.dump({"append": figures}, sys.stdout)
    else:
        print(table("append", {name: {"figure": value} for name, value in figures.items()}))


if __name__ == "__main__":
    main()
