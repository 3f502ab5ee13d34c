"""Kill an append at random moments, look at the store, try again: is it as if nothing had happened?

A process that has all kernels in memory, and has never touched a store, forks: one child appends and is killed, one looks,
one tries again, and is killed too or goes on to the end. Run as ``crash_trials.py FOLDER KILLS SEED [SCHEDULER NANNY ...]``;
prints what went wrong as JSON.
"""

import gc
import hashlib
import importlib
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path

import dask
import numpy as np

import dphot
from dphot import night as nights_module
from dphot import simulate
from dphot.config import Config
from dphot.errors import StoreError

SETTINGS = {"apertures": (1.0, 2.0), "max_stars": 8}


def check(store):
    """No frame is there twice, or in one place only."""
    for name, obs in store.photometry.items():
        digests, nights, paths = (list(obs[k].values) for k in ("digest", "night", "path"))
        assert len(set(digests)) == len(digests), "a frame is there twice"
        held = {(n, str(p)) for n, ds in store.frames[name].items() for p in ds.path.values}
        assert held == set(zip(nights, paths, strict=True)), (
            "a frame is measured and not kept, or the reverse"
        )
        assert {r["night"] for r in store.nights} == set(nights), "a night has no record"


def contents(store):
    """A digest of what a store holds, history apart."""
    held = {f"photometry {f}": obs for f, obs in store.photometry.items()}
    held |= {f"raw {f} {n}": ds for f, nights in store.frames.items() for n, ds in nights.items()}
    held |= {f"stack {f} {n}": a.to_dataset() for f, nights in store.stack.items() for n, a in nights.items()}
    held |= {f"masters {n}": ds for n, ds in store.masters.items()}
    with dask.config.set(scheduler="synchronous"):
        (held,) = dask.compute(held)
    sha = hashlib.sha256()
    for place, name in sorted((place, name) for place, ds in held.items() for name in ds.variables):
        values = held[place].variables[name].values
        text = repr(values.tolist()).encode() if values.dtype.kind == "O" else values.tobytes()
        sha.update(f"{place} {name}".encode() + text)
    return sha.hexdigest()


def in_child(function, *arguments):
    """Run in a forked process; its process id and where its answer comes."""
    there, here = os.pipe()
    pid = os.fork()
    if pid:
        os.close(here)
        return pid, there
    os.setpgid(0, 0)
    try:
        answer = function(*arguments)
    except BaseException:
        answer = {"error": traceback.format_exc()}
    os.write(here, json.dumps(answer).encode())
    os._exit(0)


def answer_of(child):
    pid, there = child
    with os.fdopen(there, "rb") as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return json.loads(text) if text else {"error": "no answer"}


def work(place, folders, where, steps):
    """What is killed: the first night makes the store, the second is appended."""
    if steps:
        nights_module.STEP_SECONDS = 1e-6
    if not Path(place).exists():
        dphot.reduce(folders[0], place, chunk=1, **where, **SETTINGS)
    dphot.append(place, folders, chunk=1, **where)
    return {}


def look(place):
    """The store opens, and holds whole commits: how many."""
    try:
        store = dphot.open(place)
    except StoreError as error:
        assert "no such store" in str(error), error  # killed before there was one
        return {"commits": 0}
    check(store)
    return {"commits": len(store.history())}


def retry(place, folders, where, whole):
    """Another try, in steps of any size, makes the store what it would have been."""
    work(place, folders, where, False)
    after = dphot.open(place)
    assert contents(after) == whole, "the retry gives other bits"
    assert all(r["complete"] for r in after.nights), "a night is not complete"
    return {}


def warm(folder):
    """Load every kernel, and the modules that a run imports on its way, without a store."""
    for module in ("dask.dataframe", "pyarrow.dataset", "tqdm.auto"):
        importlib.import_module(module)
    with dask.config.set(scheduler="synchronous"):
        table = dphot.scan(folder, store=False)
        lights, config = table.lights, Config().patch(**SETTINGS)
        light = lights.records()[0]
        masters = dphot.masters(dphot.choose_calibration(light, table.records()), light)
        cube = dphot.cube(lights, chunk=2)
        reference = dphot.make_reference(cube, masters, config)
        calibrated = dphot.calibrate(cube, masters)
        obs = dphot.photometry(calibrated, reference, masters, config)
        dphot.align(calibrated, obs.transform).compute()


def worker_processes(nannies):
    """Process ids of the workers that some nannies have at the moment."""
    found = []
    for nanny in nannies:
        children = Path(f"/proc/{nanny}/task/{nanny}/children").read_text().split()
        found += [int(c) for c in children if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]
    return found


def killed(child, moment, victims, nannies, rng):
    """Whether a running child, or a worker, was killed at a moment; or it had ended before."""
    while time.monotonic() < moment:
        time.sleep(0.001)
        if os.waitid(os.P_PID, child[0], os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return False
    struck = victims != "worker"
    if struck:
        os.kill(child[0], signal.SIGKILL)
    if victims != "coordinator":
        workers = worker_processes(nannies)
        for pid in workers if rng.random() < 0.3 else workers[:1]:
            with suppress(ProcessLookupError):  # its nanny may be making a new one
                os.kill(pid, signal.SIGKILL)
                struck = True
    return struck


def main(place, kills, seed, scheduler="", *nannies):
    place, kills, rng = Path(place), int(kills), random.Random(int(seed))
    folders = simulate.write_nights(
        place / "raw", nights=2, frames=3, size=80, seed=3, stars=14, bias=2, darks=2, flats=2, clouds=0
    )
    warm(folders[0])
    gc.freeze()  # or every child copies all memory, to look for garbage
    where = {"scheduler": scheduler} if scheduler else {"workers": 0}
    answer_of(in_child(work, place / "whole", folders, where, False))
    whole = answer_of(in_child(lambda: contents(dphot.open(place / "whole"))))
    answer_of(in_child(work, place / "base", folders[:1], where, False))
    took, problems, seen = {}, [], {"trials": 0, "killed": 0, "commits": {}}

    def tries(store, kind):
        """Try, be killed, look, and try again, killed once more in half the cases; what went wrong."""
        first = True
        while seen["killed"] < kills:
            victims = rng.choice(["coordinator", "worker", "both"]) if nannies else "coordinator"
            started, share = time.monotonic(), rng.random() if kind in took else np.inf
            child = in_child(work, store, folders, where, kind[0])
            was_killed = killed(child, started + share * took.get(kind, 1.0), victims, nannies, rng)
            answer = answer_of(child)
            ended = not was_killed or victims == "worker"
            found = answer_of(in_child(look, store))
            if "error" in found or (ended and answer):
                return {"share": share, "victims": victims, **found, **(answer if ended else {})}
            if not was_killed:
                if first:  # the shortest: the first run is longer than those that follow
                    took[kind] = min(took.get(kind, np.inf), time.monotonic() - started)
                break
            first = False
            seen["killed"] += 1
            seen["commits"][found["commits"]] = seen["commits"].get(found["commits"], 0) + 1
            if rng.random() < 0.5:
                break
        return answer_of(in_child(retry, store, folders, where, whole))

    kinds = [(steps, fresh) for steps in (False, True) for fresh in (False, True)]
    # each kind of run once to its end, for the time that it takes; then as many trials as give so many kills
    for trial in range(len(kinds) + 3 * kills):
        steps, fresh = kind = kinds[trial] if trial < len(kinds) else rng.choices(kinds, (3, 1, 3, 1))[0]
        if seen["killed"] == kills:
            break
        store = place / f"trial-{trial}"
        if not fresh:
            shutil.copytree(place / "base", store)
        found = tries(store, kind)
        seen["trials"] += 1
        if found:
            problems.append({"trial": trial, "kind": kind, **found})
        else:
            shutil.rmtree(store)
    print(json.dumps({**seen, "problems": problems[:5]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
