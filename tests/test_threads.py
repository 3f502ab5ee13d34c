"""The whole job gives the same bits with any number of threads, and in tasks of any size."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from same_bits import same_bits

from dphot import simulate

#: A night's light curves, in electrons, and as if in ADU of a gain that the scatter of the stars tells; and all that
#: they rest on.
PROGRAM = """
import pickle, sys
import dphot

frames, place, chunk = sys.argv[1:]
store = dphot.reduce(frames, place, workers=0, chunk=int(chunk))
obs = store.photometry["r"].load()
curves = [dphot.differential(each, target=3) for each in (obs, obs.assign_attrs(flux_unit="ADU"))]
masters = [each.load() for each in store.masters.values()]
stacks = [each.load().to_dataset(name="image") for each in store.stack["r"].values()]
pickle.dump([*curves, store.reference.load(), *masters, *stacks], sys.stdout.buffer)
"""


def reduced(frames, place, threads, chunk):
    """What `PROGRAM` makes in a process of its own with so many threads."""
    given = {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
    command = [sys.executable, "-c", PROGRAM, frames, place, str(chunk)]
    done = subprocess.run(command, env=os.environ | given, check=True, stdout=subprocess.PIPE)
    return pickle.loads(done.stdout)


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    (folder,) = simulate.write_nights(
        tmp_path_factory.mktemp("raw"), frames=24, size=256, seed=3, stars=60, bias=3, darks=3, flats=3,
        scintillation=0.0, variability=0.0,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def alone(frames, tmp_path_factory):
    return reduced(frames, tmp_path_factory.mktemp("alone") / "x", threads=1, chunk=16)


@pytest.mark.slow
@pytest.mark.parametrize(("threads", "chunk"), [(1, 7), (2, 16), (4, 1)])
def test_threads_and_chunks_do_not_change_a_bit(frames, alone, tmp_path, threads, chunk):
    found = reduced(frames, tmp_path / "x", threads, chunk)
    assert len(found) == 5 and np.isfinite(found[1].gain_from_scatter)
    for one, other in zip(found, alone, strict=True):
        same_bits(one, other)
