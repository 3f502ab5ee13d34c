"""Messages of the commands."""

from __future__ import annotations

import argparse
import sys

from .progress import Progress


def say(arguments: argparse.Namespace, text: object) -> None:
    """A message: on the standard output, which belongs to the result under --json."""
    if not arguments.quiet:
        print(text, file=sys.stderr if arguments.json else sys.stdout)


def progress(arguments: argparse.Namespace) -> Progress:
    """Bars, unless the command is to be quiet."""
    return Progress(False) if arguments.quiet else Progress(lines=True)
