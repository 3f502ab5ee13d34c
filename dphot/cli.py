"""The command line.

Exit codes: 0 done; 1 an error; 2 unfit input or arguments; 3 a file cannot be read; 4 calibration missing under
--strict; 5 nothing can be aligned; 6 the store cannot be made, opened or written; 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from . import __version__, commands
from .config import Config, descriptions
from .errors import DphotError


def _settings(parser: argparse.ArgumentParser) -> None:
    """An option for every setting."""
    parser.add_argument("--config", metavar="FILE.toml", help="settings from a file; options win over it")
    group = parser.add_argument_group("settings")
    texts = descriptions()
    for field in fields(Config):
        option = "--" + field.name.replace("_", "-")
        default = ",".join(f"{v:g}" for v in field.default) if isinstance(field.default, tuple) and field.default and (
            isinstance(field.default[0], float)) else field.default  # fmt: skip
        text = texts[field.name].replace("`", "").replace("%", "%%")
        if isinstance(field.default, bool):
            group.add_argument(option, action=argparse.BooleanOptionalAction, default=None, help=text)
        else:
            shown = f" [{default}]" if default not in ("", (), 0, 0.0) and len(str(default)) < 40 else ""
            group.add_argument(option, metavar="VALUE", default=None, help=text + shown.replace("%", "%%"))


def _where(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=int, metavar="N", help="processes of a local cluster [one a core]; 0: none")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="a Dask scheduler that is running, tcp://host:8786")


def build() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="dphot", description="Time-series photometry of stars: raw FITS frames in, light curves out.",
        epilog=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"dphot {__version__}")
    commands_ = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        sub = commands_.add_parser(name, help=text, description=text)
        sub.set_defaults(run=getattr(commands, name))
        sub.add_argument("--json", action="store_true", help="print one JSON object of results as the last line")
        sub.add_argument("--quiet", action="store_true", help="no progress bars, no messages")
        return sub

    sub = add("simulate", "make folders of simulated frames, a folder a night, with the exact truth beside them")
    sub.add_argument("folder")
    sub.add_argument("--nights", type=int, default=1)
    sub.add_argument("--frames", type=int, default=None, help="light frames a night")
    sub.add_argument("--size", type=int, default=None, metavar="PX", help="width and height")
    sub.add_argument("--seed", type=int, default=1, help="same seed, same bits")
    sub.add_argument("--preset", default=None, help="tutorial, transit or hostile [a usual night]")
    sub.add_argument("--compress", choices=("fz", "gz"), default=None)
    sub.add_argument("--overwrite", action="store_true")

    sub = add("telescope", "the telescopes dphot knows: list them, show one, add one from a TOML file")
    sub.add_argument("action", choices=("list", "show", "add"))
    sub.add_argument("name", nargs="?", help="name to show, or TOML file to add")
    sub.add_argument("--overwrite", action="store_true", help="replace a telescope of the same name")

    sub = add("scan", "what is in a folder of frames, by night, telescope, filter, type and target")
    sub.add_argument("folder", nargs="+")
    sub.add_argument("--telescope", default=None)
    sub.add_argument("--errors", action="store_true", help="list every file that cannot be used")

    sub = add("reduce", "raw frames to a store: calibrate, align, measure, stack")
    sub.add_argument("folder", nargs="+")
    sub.add_argument("--store", required=True, help="the store to make")
    sub.add_argument("--overwrite", action="store_true", help="replace a store that exists")
    _where(sub)
    _settings(sub)

    sub = add("differential", "the light curve of a target")
    sub.add_argument("store")
    sub.add_argument("--target", default=None, metavar="INDEX|X,Y|RA,DEC")
    sub.add_argument("--filter", default=None)
    sub.add_argument("--comparisons", default=None, metavar="I,J,...", help="comparison stars [automatic]")
    sub.add_argument("--exclude", default=None, metavar="I,J,...", help="stars never used as comparison")
    sub.add_argument("--aperture", type=int, default=None, help="index of the aperture [the best]")
    sub.add_argument("--csv", default=None, metavar="FILE", help="write the light curve, one row a frame")
    sub.add_argument("--overwrite", action="store_true")

    sub = add("report", "one self-contained HTML page about a store, and its plots as PNG")
    sub.add_argument("store")
    sub.add_argument("--output", default=None, metavar="FILE.html", help="[STORE.html]")
    sub.add_argument("--target", default=None, metavar="INDEX|X,Y|RA,DEC")
    sub.add_argument("--png", default=None, metavar="FOLDER", help="write every plot as PNG, too")
    sub.add_argument("--overwrite", action="store_true")

    sub = add("export", "measurements in another format")
    sub.add_argument("store")
    sub.add_argument("output", help="a file (or folder for zarr)")
    sub.add_argument("--format", choices=("csv", "parquet", "netcdf", "zarr", "phot"), default=None, help="[by name]")
    sub.add_argument("--filter", default=None)
    sub.add_argument("--target", default=None, metavar="INDEX|X,Y|RA,DEC")
    sub.add_argument("--overwrite", action="store_true")

    sub = add("demo", "simulate the tutorial's night, reduce it, write the report, compare with the truth")
    sub.add_argument("--folder", default="dphot-demo", help="where to work [dphot-demo]")
    sub.add_argument("--seed", type=int, default=1)
    sub.add_argument("--overwrite", action="store_true", help="replace the folder")
    _where(sub)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; by default the process's.

    Returns
    -------
    int
        The exit code (see the module's text).
    """
    arguments = build().parse_args(argv)
    try:
        result: dict[str, Any] = arguments.run(arguments)
    except DphotError as error:
        print(f"dphot {arguments.command}: {error}", file=sys.stderr)
        if arguments.json:
            print(json.dumps({"error": str(error), "kind": type(error).__name__, "exit_code": error.exit_code}))
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; what was committed is kept", file=sys.stderr)
        return 130
    if arguments.json:
        print(json.dumps(result, default=str, allow_nan=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
