"""Fixtures for the tests of the store."""

import numpy as np
import pytest
from store_night import make_night

from dphot.store import Store


@pytest.fixture(scope="session")
def night():
    """The maker of simulated nights."""
    return make_night


@pytest.fixture
def store(tmp_path):
    """An empty store."""
    return Store.create(tmp_path / "field.dphot", {"field": "WASP-12", "latitude": np.float64(28.3)})
