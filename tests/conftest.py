"""Fixtures for all tests: real frames, and homes and caches that are not the user's."""

import os
from pathlib import Path

import pytest


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
