"""Frames per second and per CPU-second from FITS files to the finished Dataset, against a plain loop.

Usage: python examples/benchmarks/pipeline.py [--json] [--quick] [--frames N] [--only tutorial|large] [--folder F]

Two simulated nights: ``tutorial`` (600x600, 15 stars, 32 apertures) and ``large`` (2048x2048 uint16, 500 stars,
32 apertures up to 28 px). Each is reduced whole, from the first look at the folder to the photometry in memory:
scan, masters, reference, every frame, commit. Compilation is not counted (a few frames are reduced first), the start
of worker processes neither; all that is done once a night is. CPU-seconds are user and system time of this process
and its workers.

``measure`` keeps no raw frames and makes no stack, which is what the loop of `plain_loop.py` does; the headline
`frames_per_cpu_s` is its. ``stack`` makes the stack, ``copy`` keeps the raw frames in the store, ``whole`` does both,
as `dphot.reduce` does unless told otherwise. ``workers_1`` and ``workers_2`` do what ``whole`` does on a local cluster.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import plain_loop
import xarray as xr
from measuring import Usage, rounded, table, usage

import dphot

RADII = tuple(float(r) for r in (0.1 + 0.25 * np.arange(32)) * 3.56)
ANNULUS = (5 * 3.56, 8 * 3.56)

#: What `dphot.reduce` is told to do beside measuring.
EXTRAS: dict[str, dict[str, Any]] = {
    "measure": {"frames": "none", "stack": False},
    "stack": {"frames": "none", "stack": True},
    "copy": {"frames": "copy", "stack": False},
    "whole": {"frames": "copy", "stack": True},
}


@dataclass(frozen=True)
class Case:
    """A night to reduce."""

    name: str
    frames: int
    quick_frames: int
    quick_size: int
    stars: int
    """Stars measured at most."""
    simulated: dict[str, Any]

    def write(self, folder: Path, frames: int, quick: bool) -> Path:
        """The folder of the night's FITS files; a night written earlier is used again."""
        folder = folder / f"{self.name}-{frames}{'-quick' if quick else ''}"
        if folder.exists():
            return next(folder.iterdir())
        settings = {**self.simulated, **({"size": self.quick_size, "stars": 60} if quick else {})}
        (night,) = dphot.simulate.write_nights(folder, preset="tutorial", frames=frames, seed=40, **settings)
        return night


CASES = (
    Case("tutorial", 300, 6, 300, 15, {"size": 600}),
    Case("large", 96, 4, 400, 500, {"size": 2048, "stars": 900, "fwhm": 3.56, "isolation": 25.0}),
)


class Bench:
    """The runs over one night."""

    def __init__(self, case: Case, night: Path, scratch: Path):
        self.case, self.night, self.scratch = case, night, scratch
        self.frames = len(list(night.glob("light-*.fits")))
        self.config = dphot.Config(
            apertures=RADII, annulus=ANNULUS, aperture_unit="pixel", max_stars=case.stars
        )
        self.quiet = dphot.progress.Progress(bars=False)

    def reduce(self, extras: str, folder: Path | None = None, **where: Any) -> xr.Dataset:
        """From the folder of FITS files to the photometry in memory."""
        place = self.scratch / "field.dphot"
        shutil.rmtree(place, ignore_errors=True)
        frames = dphot.scan(folder or self.night, store=False)
        store = dphot.reduce(frames, place, self.config, progress=self.quiet, **where, **EXTRAS[extras])
        (photometry,) = store.photometry.values()
        return photometry.load()

    def warm(self) -> None:
        """Compile everything, or load what is compiled."""
        few = self.scratch / "few"
        few.mkdir()
        lights = sorted(self.night.glob("light-*.fits"))[:4]
        for path in (*lights, *(p for p in self.night.glob("*.fits") if not p.name.startswith("light"))):
            shutil.copy(path, few)
        self.reduce("whole", few, workers=0)
        plain_loop.reduce(few, RADII, ANNULUS, 10, plain_loop.with_photutils)

    def loop(
        self, apertures: plain_loop.Apertures, stack: bool = False
    ) -> tuple[xr.Dataset, dict[str, float]]:
        return plain_loop.reduce(self.night, RADII, ANNULUS, self.case.stars, apertures, stack)

    def on_workers(self, n: int) -> tuple[Usage, xr.Dataset]:
        with dphot.connect(n) as client:
            self.reduce("whole", self.scratch / "few", client=client)
            photometry, used = usage(partial(self.reduce, "whole", client=client))
        return used, photometry

    def run(self, cluster: bool) -> dict[str, Any]:
        """All runs, those on a cluster if told so, as the report holds them."""
        self.warm()
        runs: dict[str, Usage] = {}
        photometry, runs["measure"] = usage(lambda: self.reduce("measure", workers=0))
        for name in ("stack", "copy", "whole"):
            _, runs[name] = usage(partial(self.reduce, name, workers=0))
        (plain, loop_steps), runs["loop_sep"] = usage(lambda: self.loop(plain_loop.with_sep))
        _, runs["loop_sep_stack"] = usage(lambda: self.loop(plain_loop.with_sep, stack=True))
        (_, slow_steps), runs["loop_photutils"] = usage(lambda: self.loop(plain_loop.with_photutils))
        if cluster:
            runs["workers_1"], _ = self.on_workers(1)
            runs["workers_2"], parallel = self.on_workers(2)
            xr.testing.assert_identical(parallel.drop_attrs(), photometry.drop_attrs())
        steps = {
            "dphot": profile(lambda: self.reduce("whole", workers=0)),
            "loop_sep": loop_steps,
            "loop_photutils": slow_steps,
        }
        rate = {name: self.frames / run.cpu_s for name, run in runs.items()}
        figures = {
            **runs["measure"].rates(self.frames),
            "stars": photometry.sizes["star"],
            "apertures": photometry.sizes["aperture"],
            "stack_frames_per_cpu_s": rate["stack"],
            "whole_frames_per_cpu_s": rate["whole"],
            "loop_sep_frames_per_cpu_s": rate["loop_sep"],
            "loop_photutils_frames_per_cpu_s": rate["loop_photutils"],
            "times_loop_sep": rate["measure"] / rate["loop_sep"],
            "times_loop_photutils": rate["measure"] / rate["loop_photutils"],
            "loop_difference": difference(photometry, plain),
            "runs": {name: run.rates(self.frames) for name, run in runs.items()},
            "steps_ms": {who: {k: 1e3 * v / self.frames for k, v in s.items()} for who, s in steps.items()},
        }
        if cluster:
            figures["two_worker_speedup"] = runs["workers_1"].wall_s / runs["workers_2"].wall_s
        return figures


def difference(photometry: xr.Dataset, plain: xr.Dataset) -> float:
    """Median of |flux - the loop's flux| over its error, of the stars both have: they do the same job."""
    x, y = photometry.x.values[0], photometry.y.values[0]
    distance, partner = plain_loop.cKDTree(np.c_[x, y]).query(np.c_[plain.x.values[0], plain.y.values[0]])
    both = distance < 0.5
    middle = photometry.sizes["aperture"] // 4
    ours = photometry.flux.values[:, middle][:, partner[both]]
    error = photometry.flux_err.values[:, middle][:, partner[both]]
    return float(np.nanmedian(np.abs(ours - plain.flux.values[:, middle][:, both]) / error))


def profile(work: Callable[[], object]) -> dict[str, float]:
    """Seconds of the functions of the kernels, of reading and of the store that the layers above call."""
    profiler = cProfile.Profile(time.process_time)  # a busy machine counts for nothing
    start = time.process_time()
    profiler.runcall(work)
    total = time.process_time() - start
    package = Path(dphot.__file__).parent
    seconds: dict[str, float] = defaultdict(float)
    for (file, _, function), (*_, callers) in pstats.Stats(profiler).stats.items():  # type: ignore[attr-defined]
        name = _below_the_graph(file, package)
        if name:
            outside = [c for (f, _, _), c in callers.items() if not _below_the_graph(f, package)]
            seconds[f"{name}.{function}"] += sum(cumulative for *_, cumulative in outside)
    largest = dict(sorted(seconds.items(), key=lambda item: -item[1])[:14])
    return {**largest, "all else": total - sum(largest.values()), "total, profiled": total}


def _below_the_graph(file: str, package: Path) -> str:
    """Dotted name of a module of the lowest layers, else nothing."""
    path = Path(file)
    if not path.is_relative_to(package):
        return ""
    parts = path.relative_to(package).with_suffix("").parts
    return ".".join(parts) if parts[0] in ("kernels", "io", "store") else ""


def show(name: str, figures: dict[str, Any]) -> None:
    print(f"\n{name}: {figures['stars']} stars, {figures['apertures']} apertures, {figures['frames']} frames")
    columns = ("frames_per_cpu_s", "frames_per_s", "cpu_s", "user_s", "wall_s", "peak_mb")
    print(table("run", {run: {c: row[c] for c in columns} for run, row in figures["runs"].items()}))
    print(
        f"{figures['times_loop_sep']:.1f} x the loop with sep, {figures['times_loop_photutils']:.1f} x that with "
        f"photutils; the loop's fluxes differ by {figures['loop_difference']:.2f} of their errors"
    )
    if "two_worker_speedup" in figures:
        print(f"two workers: {figures['two_worker_speedup']:.2f} x one")
    for who, steps in figures["steps_ms"].items():
        print(table(f"{who}, where the time goes", {k: {"ms a frame": v} for k, v in steps.items()}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument(
        "--quick", action="store_true", help="a few small frames: shows that it runs, no more"
    )
    parser.add_argument("--frames", type=int, help="frames of each night")
    parser.add_argument("--only", choices=[case.name for case in CASES], help="one of the two nights")
    parser.add_argument("--folder", help="keep the simulated frames there, and use them again")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    report: dict[str, Any] = {}
    for case in CASES:
        if options.only in (None, case.name):
            frames = options.frames or (case.quick_frames if options.quick else case.frames)
            with tempfile.TemporaryDirectory(prefix="dphot-benchmark-") as scratch:
                night = case.write(Path(options.folder or scratch), frames, options.quick)
                # to start workers takes longer than all else of a quick run
                cluster = not options.quick or case.name == "large"
                report[case.name] = rounded(Bench(case, night, Path(scratch)).run(cluster))
            if not options.json:
                show(case.name, report[case.name])
    if options.json:
        json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
