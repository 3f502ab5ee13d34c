"""Fixtures for all tests: real frames, and homes and caches that are not the user's."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from grid_field import grid_simulation
from s3_server import KEYS, address_in
from small_nights import SMALL


@pytest.fixture(autouse=True, scope="session")
def elsewhere(tmp_path_factory):
    """Programs that tests start import the package under test, not a ``dphot`` where pytest was started."""
    with contextlib.chdir(tmp_path_factory.mktemp("elsewhere")):
        yield


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory, monkeypatch):
    """Telescopes and caches of the tests stay in a folder of their own."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("DPHOT_HOME", str(home))
    monkeypatch.setenv("DPHOT_CACHE", str(home / "cache"))
    return home


@pytest.fixture(scope="session")
def data_dir():
    """A function from the name of a real data set to its folder; the test skips where that is not there."""
    given = os.environ.get("DPHOT_DATA", "../shared/data")
    root = (Path(__file__).parent.parent / given).resolve()

    def find(name: str) -> Path:
        folder = root / name
        if not folder.is_dir():
            pytest.skip(f"real frames {name!r} are not in {root} (set DPHOT_DATA)")
        return folder

    return find


@pytest.fixture(scope="session")
def grid_night():
    """The prepared night of `grid_simulation`: all its frames, and their truth."""
    from dphot import simulate

    return simulate.prepare(grid_simulation())


@pytest.fixture(scope="session")
def grid_store(grid_night, tmp_path_factory):
    """That night reduced, its frames rendered as they are read: no file but the store."""
    import dphot
    from dphot import simulate

    table = dphot.FrameTable.from_records(simulate.simulated_records(grid_night.spec))
    return dphot.reduce(table, tmp_path_factory.mktemp("grid") / "grid.dphot", workers=0, chunk=4)


@pytest.fixture(scope="session")
def small_night(tmp_path_factory):
    """A folder of a small simulated night: 8 lights, 3 bias, 3 dark, 3 flat frames, and truth.nc."""
    from dphot import simulate

    (folder,) = simulate.write_nights(
        tmp_path_factory.mktemp("small"), frames=8, size=256, seed=3, stars=60, bias=3, darks=3, flats=3
    )
    return folder


@pytest.fixture
def night_copy(small_night, tmp_path):
    """A copy of the small night's folder, to be damaged."""
    import shutil

    return Path(shutil.copytree(small_night, tmp_path / "night"))


@pytest.fixture(scope="session")
def small_store(small_night, tmp_path_factory):
    """The small night, reduced."""
    import dphot

    return dphot.reduce(small_night, tmp_path_factory.mktemp("reduced") / "small.dphot", workers=0)


@pytest.fixture(scope="session")
def nights(tmp_path_factory):
    """Folders of three nights of 5 frames, smaller yet."""
    from dphot import simulate

    return simulate.write_nights(tmp_path_factory.mktemp("nights"), nights=3, frames=5, **SMALL)


@pytest.fixture(scope="session")
def first(nights, tmp_path_factory):
    """The first of these nights, reduced."""
    import dphot

    return dphot.reduce(nights[0], tmp_path_factory.mktemp("first") / "x.dphot", workers=0)


@pytest.fixture
def later(nights, tmp_path):
    """A copy of the second night's folder, to be changed."""
    import shutil

    return Path(shutil.copytree(nights[1], tmp_path / "later"))


@pytest.fixture(scope="module")
def server_log(tmp_path_factory):
    """The file in which the server tells of every request."""
    return tmp_path_factory.mktemp("moto") / "log"


@pytest.fixture(scope="module")
def bucket(server_log):
    """Address of an empty bucket."""
    pytest.importorskip("moto", reason="moto[server] is not installed")
    boto3 = pytest.importorskip("boto3")
    log = server_log
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with open(log, "w") as out, pytest.MonkeyPatch.context() as environment:
        server = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        try:
            endpoint = address_in(log, server)
            for name, value in {**KEYS, "AWS_ENDPOINT_URL": endpoint}.items():
                environment.setenv(name, value)
            boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="observatory")
            yield "s3://observatory"
        finally:
            server.terminate()
            server.wait(10)
