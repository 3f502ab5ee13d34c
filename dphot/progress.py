"""Progress on long work: a bar on a terminal or in a notebook, and lines that say what is done."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class Bar(Protocol):
    """What long work calls as it goes on."""

    def update(self, n: int = 1) -> Any: ...


class Progress:
    """Makes bars and prints lines, both on the standard error.

    Parameters
    ----------
    bars : bool, optional
        Whether bars are drawn; by default where the standard error is a terminal or a notebook runs.
    lines : bool, optional
        Whether lines are printed; by default where bars are drawn.
    """

    def __init__(self, bars: bool | None = None, lines: bool | None = None):
        self.bars = (sys.stderr.isatty() or "ipykernel" in sys.modules) if bars is None else bars
        self.lines = self.bars if lines is None else lines

    def _tqdm(self, label: str, total: int | None, unit: str) -> Any:
        from tqdm.auto import tqdm

        return tqdm(total=total, desc=label, unit=unit, disable=not self.bars, leave=True, dynamic_ncols=True)

    @contextmanager
    def bar(self, label: str, total: int | None, unit: str = "frame") -> Iterator[Bar]:
        """A bar for `total` units of work."""
        with self._tqdm(label, total, unit) as bar:
            yield bar

    @contextmanager
    def counter(self, label: str, unit: str = "frame") -> Iterator[Callable[[int, int], None]]:
        """A bar for work that tells itself how far it is, as ``f(done, total)``."""
        with self._tqdm(label, None, unit) as bar:

            def count(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            yield count

    def say(self, text: str) -> None:
        """A line that does not break a bar under way."""
        if self.lines:
            from tqdm.auto import tqdm

            tqdm.write(text, file=sys.stderr)
