"""The command line: arguments in, exit code out."""

from __future__ import annotations

import argparse
import atexit
import gc
import json
import math
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pkgutil import resolve_name
from typing import Any

import numpy as np

from .arguments import UsageError, parse
from .errors import DphotError, in_words


def run() -> None:
    """Run the process's command, and end the process with its exit code.

    At once: while an interpreter takes itself apart, a thread of Icechunk that has just brought a chunk may still want
    it, and abort the process.
    """
    code = main()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # the reader has gone
            stream.flush()
    os._exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; by default the process's.

    Returns
    -------
    int
        The exit code (see `dphot.arguments.EXIT_CODES`).
    """
    if argv is None:
        _collect_less()
    try:
        arguments = parse(argv)
    except UsageError as error:
        given = argparse.Namespace(command="", json="--json" in (sys.argv if argv is None else argv))
        return _fail(given, error, str(error), error.exit_code)
    try:
        result: dict[str, Any] = resolve_name(f"{__package__}.{arguments.run}")(arguments)
        if arguments.json:
            print(json.dumps(plain(result), allow_nan=False))
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt as error:
        return _fail(arguments, error, "interrupted; what was committed is kept", 130)
    except DphotError as error:
        return _fail(arguments, error, in_words(error), error.exit_code)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(arguments, error, f"{where}{error.strerror or error}", DphotError.exit_code)
    except Exception as error:  # a defect: its traceback helps who mends it
        traceback.print_exc()
        return _fail(arguments, error, f"unexpected {type(error).__name__}: {error}", DphotError.exit_code)
    return int(result.get("exit_code", 0))


def _collect_less() -> None:
    """Have the garbage collector look less often at what this process loads, which is no garbage.

    It took a quarter of the time of a short command. What a command measures or reads lies in arrays, which are freed
    without it.
    """
    gc.set_threshold(10_000, 10, 10)


def _fail(arguments: argparse.Namespace, error: BaseException, message: str, code: int) -> int:
    print(f"dphot {arguments.command}".strip() + f": {message}", file=sys.stderr)
    if arguments.json:
        nights = getattr(error, "committed", ())
        told = {"error": message, "kind": type(error).__name__, "exit_code": code}
        print(json.dumps({**told, **({"committed": nights} if nights else {})}), flush=True)
    return code


def plain(value: Any) -> Any:
    """A value as JSON has it: what is not finite becomes null, what it has no word for becomes text."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, np.ndarray)):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


if __name__ == "__main__":
    run()
