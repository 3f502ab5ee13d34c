"""The arguments of every command: names, texts and defaults. What a command does loads when it runs."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import fields
from difflib import get_close_matches
from functools import partial
from typing import Any, NoReturn

from . import __version__
from .config import FREE_IN_APPEND, FREE_IN_REDO, Config, descriptions
from .errors import InputError

TARGET = (
    "star index; x,y in pixels of the trimmed reference; or ra,dec (02:04:10.3,+46:41:16 or 31.04d,46.69d)"
)
VERSION = "a tag, a commit (or the beginning of one), or a date"
FLAGS = """The CSV has one row for each frame, those that were not measured with empty values: jd_utc and
bjd_tdb (mid-exposure), diff_flux, diff_err, airmass, fwhm, dx, dy (px), sky (e-/px,
or ADU/px where the gain is not known), flags: the star's bits
(1 saturated, 2 edge, 4 bad pixel, 8 neighbour, 16 cosmic ray, 32 non-linear, 64 not finite), plus 65536
times the frame's (1 unreadable, 2 not aligned, 4 few stars, 8 cloud, 16 time not known, 32 calibration
missing)."""
FORMATS = """csv: the target's light curve, as `dphot differential --csv`. parquet: every measurement, a row
for each frame, aperture and star. netcdf, zarr: the whole dataset. phot: prose's format. Each
holds one filter."""

EXIT_CODES = """\
Exit codes: 0 done; 1 an error; 2 unfit input or arguments; 3 a file, or a bucket of files, cannot be read; 4
calibration missing under --strict; 5 nothing can be aligned, or no frame of a new store could be measured; 6 the
store cannot be made, opened or written, or a check found it wanting; 130 interrupted.

With --json the last line of the standard output is one JSON object, {"error": ..., "exit_code": ...} after an
error, with "committed" where nights of the same run are in the store all the same; messages go to the standard error.
Nothing that exists is overwritten without --overwrite."""


class UsageError(InputError):
    """The arguments cannot be understood."""


class Parser(argparse.ArgumentParser):
    """A parser that wants options in full, and leaves it to `main` to tell of errors."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs, allow_abbrev=False)
        self._within = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does it, but an argument that may be left out may also come behind an option."""
        if self._within or not any(action.nargs == "?" for action in self._get_positional_actions()):
            return super().parse_known_args(args, namespace)
        self._within = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._within = False

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def _settings(parser: argparse.ArgumentParser, names: Sequence[str] = ()) -> None:
    """An option for every setting, or for some."""
    if not names:
        parser.add_argument("--config", metavar="FILE.toml", help="settings from a file; options win over it")
    group = parser.add_argument_group("settings")
    texts = descriptions()
    for field in (field for field in fields(Config) if not names or field.name in names):
        option = "--" + field.name.replace("_", "-")
        text = " ".join(texts[field.name].split()).replace("`", "").replace("%", "%%")
        if isinstance(field.default, bool):
            group.add_argument(option, action=argparse.BooleanOptionalAction, default=None, help=text)
        else:
            metavar = {int: "N", float: "X", tuple: "A,B,..."}.get(type(field.default), "VALUE")
            default = "" if names else _default(field.default)
            group.add_argument(option, metavar=metavar, default=None, help=text + default)


def _default(value: Any) -> str:
    """A setting's default for the help; nothing where the text says what the default does."""
    if isinstance(value, tuple):
        value = ",".join(f"{v:g}" for v in value[:3]) + (f",...,{value[-1]:g}" if len(value) > 3 else "")
    return f" [{value}]" if value not in ("", 0, 0.0) else ""


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of processes, 0 or more")
    return int(text)


def _where(parser: argparse.ArgumentParser, usual: str = "[one a core]; 0: none") -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--workers", type=_count, metavar="N", help=f"processes of a local cluster {usual}")
    group.add_argument(
        "--scheduler", metavar="ADDRESS", help="a Dask scheduler that is running, tcp://host:8786"
    )


def _wait(parser: argparse.ArgumentParser) -> None:
    """The option of commands that write to a store."""
    parser.add_argument(
        "--wait", type=float, default=60.0, metavar="S", help="how long to wait for another writer [60]"
    )


def _curve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", default=None, metavar="INDEX|X,Y|RA,DEC",
                        help=f"{TARGET} [what reduce was told, or the brightest star measured well]")  # fmt: skip
    parser.add_argument("--filter", default=None, help="needed where the store holds several")
    parser.add_argument("--comparisons", default=None, metavar="I,J,...", help="comparison stars [automatic]")
    parser.add_argument("--exclude", default=None, metavar="I,J,...", help="stars never used as comparison")
    parser.add_argument(
        "--aperture", type=int, default=None, metavar="N", help="index of the aperture [the best]"
    )


def build() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    text = argparse.RawDescriptionHelpFormatter
    parser = Parser(
        prog="dphot", description="Time-series photometry of stars: raw FITS frames in, light curves out.",
        epilog=EXIT_CODES, formatter_class=text,
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"dphot {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)

    def add(
        name: str, about: str, module: str = "commands", epilog: str | None = None
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=about, description=about, epilog=epilog, formatter_class=text)
        sub.set_defaults(run=f"{module}:{name}")
        sub.add_argument(
            "--json", action="store_true", help="print one JSON object of results as the last line"
        )
        sub.add_argument("--quiet", action="store_true", help="no progress bars, no messages")
        return sub

    sub = add(
        "simulate", "make folders of simulated frames, a folder a night, with the exact truth beside them"
    )
    sub.add_argument("folder", help="where the nights' folders go")
    sub.add_argument("--nights", type=int, default=1, metavar="N", help="[1]")
    sub.add_argument("--frames", type=int, default=None, metavar="N", help="light frames a night [100]")
    sub.add_argument("--size", type=int, default=None, metavar="PX", help="width and height [600]")
    sub.add_argument("--seed", type=int, default=1, metavar="N", help="same seed, same bits [1]")
    sub.add_argument(
        "--preset", choices=("tutorial", "transit", "hostile"), default=None, help="[a usual night]"
    )
    sub.add_argument("--compress", choices=("fz", "gz"), default=None, help="write .fits.fz or .fits.gz")
    sub.add_argument("--overwrite", action="store_true", help="replace the frames of a night that is there")

    sub = add("telescope", "the telescopes dphot knows: list them, show one, add one from a TOML file")
    sub.add_argument("action", choices=("list", "show", "add"))
    sub.add_argument("name", nargs="?", help="telescope to show (name or TOML file), or TOML file to add")
    sub.add_argument("--overwrite", action="store_true", help="replace a telescope of the same name")

    sub = add("scan", "what is in a folder of frames, by night, telescope, filter, type and target")
    sub.add_argument("folder", nargs="+", help="folders and files, here or in a bucket (s3://bucket/night/)")
    sub.add_argument(
        "--telescope", default=None, metavar="NAME|FILE.toml", help="of all frames [found by the headers]"
    )
    sub.add_argument("--errors", action="store_true", help="list every file that cannot be used, and why")

    sub = add("reduce", "raw frames to a store: calibrate, align, measure, stack")
    sub.add_argument(
        "folder",
        nargs="+",
        help="folders and files of one field, calibration frames among them; or a store, to measure its frames again",
    )
    sub.add_argument("--store", required=True, metavar="STORE", help="the store to make")
    sub.add_argument("--overwrite", action="store_true", help="replace a store that exists")
    _where(sub)
    _settings(sub)

    sub = add(
        "append", "more frames into a store: those that it does not hold yet, measured as its others were"
    )
    sub.add_argument("store")
    sub.add_argument(
        "folder", nargs="+", help="folders and files; a folder that was appended before may be among them"
    )
    _wait(sub)
    _where(sub)
    _settings(sub, FREE_IN_APPEND)

    sub = add(
        "watch", "measure frames as they arrive in a folder, until a signal (Ctrl-C) ends it cleanly",
        epilog="Settings are for a store that is not there yet; of one that is, only those that select frames. Files "
        "that are refused, as those of another field, cost other nights nothing; they are named at the end (in --json "
        "under `unfinished`), and the exit code is 2. With files that may be half written it is 0.",
    )  # fmt: skip
    sub.add_argument("store", help="made of the first lights where it is not there")
    sub.add_argument("folder", help="where frames arrive, in folders within it, too")
    sub.add_argument("--output", default=None, metavar="FILE.html", help="the report [STORE.html]")
    for name, minutes, about in (
        ("every", 10.0, "minutes from commit to commit"),
        ("quiet-after", 15.0, "without new frames for so many minutes, what is left is committed"),
        ("patience", 5.0, "minutes that a file which cannot be read may stay unchanged; then it is flagged"),
    ):
        sub.add_argument(
            f"--{name}", type=float, default=minutes, metavar="MIN", help=f"{about} [{minutes:g}]"
        )
    sub.add_argument("--poll", type=float, default=5.0, metavar="S", help="seconds from look to look [5]")
    _where(sub, "[0: none, all is done in this process]")
    _settings(sub)

    sub = add("differential", "the light curve of a target", epilog=FLAGS)
    sub.add_argument("store")
    _curve(sub)
    sub.add_argument("--csv", default=None, metavar="FILE", help="write the light curve, one row a frame")
    sub.add_argument("--overwrite", action="store_true", help="replace FILE")

    sub = add("report", "one self-contained HTML page about a store, and its plots as PNG")
    sub.add_argument("store")
    sub.add_argument("--output", default=None, metavar="FILE.html", help="[STORE.html]")
    sub.add_argument("--png", default=None, metavar="FOLDER", help="write every plot as PNG, too")
    _curve(sub)
    sub.add_argument("--overwrite", action="store_true", help="replace files that exist")

    sub = add("export", "measurements and light curves in another format", epilog=FORMATS)
    sub.add_argument("store")
    sub.add_argument(
        "output", help="a file (a folder for zarr); .csv, .parquet, .nc, .zarr or .phot tells the format"
    )
    sub.add_argument(
        "--format", choices=("csv", "parquet", "netcdf", "zarr", "phot"), default=None, help="[by name]"
    )
    _curve(sub)
    sub.add_argument("--overwrite", action="store_true", help="replace what is there")

    _upkeep(add)

    sub = add("demo", "simulate the tutorial's night, reduce it, write the report, compare with the truth")
    sub.add_argument("--folder", default="dphot-demo", help="where to work [dphot-demo]")
    sub.add_argument("--seed", type=int, default=1, metavar="N", help="of the simulation [1]")
    sub.add_argument("--overwrite", action="store_true", help="replace the folder of an earlier demo")
    _where(sub)
    return parser


def _upkeep(add_to: Callable[..., argparse.ArgumentParser]) -> None:
    """The commands that look after a store."""
    add = partial(add_to, module="upkeep")
    sub = add("history", "the commits of a store: when, which night, frames, settings, precision")
    sub.add_argument("store")

    sub = add("tag", "give the present state of a store a name, for ever; or list the names")
    sub.add_argument("store")
    sub.add_argument("name", nargs="?", help="the name, of a published version say")
    sub.add_argument(
        "--at", default=None, metavar="VERSION", help=f"name this version: {VERSION} [the present]"
    )

    sub = add("diff", "what changed between two versions: nights, frames, settings, numbers")
    sub.add_argument("store")
    sub.add_argument("old", help=VERSION)
    sub.add_argument("new", nargs="?", help="[the present state]")

    sub = add("explain", "what made a point of a light curve: file, masters, reference, settings, commit")
    sub.add_argument("store")
    sub.add_argument("--time", required=True, metavar="T", help="2026-11-22T03:04:05 (UTC), or a Julian date")
    sub.add_argument(
        "--star", type=int, default=None, metavar="N", help="also what was measured of this star"
    )
    sub.add_argument("--filter", default=None, help="only frames through this filter")

    sub = add(
        "check",
        "whether a store is whole: every chunk, the registry, its history, tagged versions, the files it names",
    )
    sub.add_argument("store")
    sub.add_argument(
        "--files", action=argparse.BooleanOptionalAction, default=True, help="read the files, too"
    )
    sub.add_argument(
        "--versions", action="store_true", help="also read what only versions without a tag hold (slow)"
    )
    sub.add_argument("--repair", action="store_true", help="mend what can be mended, from the raw files")
    sub.add_argument("--moved-to", default=None, metavar="FOLDER", help="with --repair: where the files went")

    sub = add(
        "redo",
        "measure a night again from the frames that the store keeps, with other settings or calibration",
    )
    sub.add_argument("store")
    sub.add_argument("night", help="2026-11-22, or unknown: of frames that tell no time")
    sub.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                     help=f"a setting that changes, any of {', '.join(FREE_IN_REDO)}")  # fmt: skip
    sub.add_argument("--calibration", nargs="+", default=None, metavar="FOLDER",
                     help="bias, dark or flat frames for the night, as flats that came late")  # fmt: skip
    sub.add_argument("--workers", type=int, default=None, metavar="N", help="processes [one a core]; 0: none")
    _wait(sub)

    sub = add("rollback", "go back to an earlier version; what came after it stays readable until gc")
    sub.add_argument("store")
    sub.add_argument("to", help=VERSION)
    _wait(sub)

    sub = add("gc", "delete what only old versions hold; the present state and tagged versions stay")
    sub.add_argument("store")
    sub.add_argument("--older-than", required=True, metavar="AGE", help="30d, 12h, 90m; there is no default")
    sub.add_argument("--dry-run", action="store_true", help="delete nothing, list what would go")
    _wait(sub)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments of one command.

    Raises
    ------
    UsageError
        If they cannot be understood; an option that is nearly right is named.
    """
    arguments, rest = build().parse_known_args(argv)
    if rest:
        known = ["--" + name.replace("_", "-") for name in vars(arguments)]
        given = rest[0].partition("=")[0]
        near = get_close_matches(given, known, 1)
        what = f"unknown argument {rest[0]}"
        if near and given == near[0]:  # it would be no rest if it were an option
            what += f", give {given.lstrip('-')} without the name"
        elif near:
            what += f", did you mean {near[0]}?"
        raise UsageError(f"{what}; see dphot {arguments.command} --help")
    return arguments
