"""CPU time, wall time and peak memory of a piece of work, the processes it starts included."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import psutil


@dataclass(frozen=True)
class Usage:
    """What some work took."""

    user_s: float
    system_s: float
    wall_s: float
    peak_mb: float
    """Largest resident memory of this process and its children together, in units of 10^6 bytes."""

    @property
    def cpu_s(self) -> float:
        return self.user_s + self.system_s

    def rates(self, frames: int) -> dict[str, float]:
        """The figures of a run over some frames."""
        per = {
            "frames": frames,
            "frames_per_cpu_s": frames / self.cpu_s,
            "frames_per_s": frames / self.wall_s,
        }
        return {**per, "cpu_s": self.cpu_s, **asdict(self)}


def usage(work: Callable[[], Any]) -> tuple[Any, Usage]:
    """What `work` returns, and what it took; the time of processes that end or live on counts alike."""
    here = psutil.Process()
    finished = threading.Event()
    peak = 0

    def watch() -> None:
        nonlocal peak
        family = [here, *here.children(recursive=True)]
        while True:
            peak = max(peak, sum(_resident(process) for process in family))
            if finished.wait(0.05):
                return

    watcher = threading.Thread(target=watch, daemon=True)
    user, system = _times(here)
    start = time.perf_counter()
    watcher.start()
    try:
        result = work()
    finally:
        wall = time.perf_counter() - start
        finished.set()
        watcher.join()
    after = _times(here)
    return result, Usage(after[0] - user, after[1] - system, wall, peak / 1e6)


def _times(here: psutil.Process) -> tuple[float, float]:
    """User and system time of a process and all its children, those that have ended included."""
    user = system = 0.0
    for process in (here, *here.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        # what ended children took is known on Linux and macOS
        user += times.user + getattr(times, "children_user", 0.0)
        system += times.system + getattr(times, "children_system", 0.0)
    return user, system


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def rounded(value: Any) -> Any:
    """Numbers to four digits, at any depth."""
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def table(title: str, rows: Mapping[str, Mapping[str, float]]) -> str:
    """Rows of figures under the names of their columns."""
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    cells = [[f"{row[name]:.4g}" if name in row else "" for name in columns] for row in rows.values()]
    widths = [max(len(name), *(len(line[k]) for line in cells)) for k, name in enumerate(columns)]
    first = max(len(name) for name in (title, *rows))
    lines = ["  ".join([title.ljust(first), *(n.rjust(w) for n, w in zip(columns, widths, strict=True))])]
    for name, line in zip(rows, cells, strict=True):
        lines.append("  ".join([name.ljust(first), *(c.rjust(w) for c, w in zip(line, widths, strict=True))]))
    return "\n".join(lines)
