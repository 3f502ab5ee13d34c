"""The exceptions dphot raises: each names the file or argument, the value found, and what to change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class DphotError(Exception):
    """Base of every error a user can act on; `exit_code` is what the command line ends with."""

    exit_code = 1
    committed: tuple[str, ...] = ()
    """Nights that the store holds from the same run all the same."""
    frames: int = 0
    """New frames of these nights."""


class InputError(DphotError, ValueError):
    """The input given cannot be reduced: no frames, no lights, too few stars, a wrong argument."""

    exit_code = 2


class FrameError(DphotError, OSError):
    """One file holds no usable image.

    Parameters
    ----------
    path : str
        The file.
    problem : str
        What is wrong with it, and what to do.
    header : Header, optional
        Of a file that is cut: its header, where that is whole.
    """

    exit_code = 3

    def __init__(self, path: str, problem: str, header: Any = None):
        super().__init__(path, problem)
        self.path = path
        self.problem = problem
        self.header = header

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


class BucketError(DphotError):
    """A bucket of frames cannot be used at all: not reached, not allowed, or the library that reads it is missing."""

    exit_code = 3


class CalibrationError(DphotError):
    """The calibration frames that are needed are missing or unfit (raised only under ``strict``)."""

    exit_code = 4


class AlignmentError(DphotError):
    """No trustworthy transform relates two star lists."""

    exit_code = 5


class StoreError(DphotError):
    """A store cannot be created, opened or written."""

    exit_code = 6


class ValidationError(DphotError, ValueError):
    """Several problems at once, each with its place.

    Parameters
    ----------
    title : str
        What was being checked.
    problems : sequence of (str, str)
        Pairs of a location (file, argument, variable) and what is wrong there.
    """

    exit_code = 2

    def __init__(self, title: str, problems: Sequence[tuple[str, str]]):
        super().__init__(title, problems)
        self.title = title
        self.problems = list(problems)

    def __str__(self) -> str:
        lines = [f"  {place}: {message}" for place, message in self.problems]
        return "\n".join([f"{self.title}: {len(self.problems)} problem(s)", *lines])


def in_words(error: BaseException) -> str:
    """An error's message, and which nights were committed all the same."""
    nights = ", ".join(night or "unknown" for night in getattr(error, "committed", ()))
    return f"{error}\ncommitted all the same: {nights}" if nights else str(error)
