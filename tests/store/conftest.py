"""Fixtures for the tests of the store."""

import pytest
from store_night import make_night


@pytest.fixture
def night():
    """The maker of simulated nights."""
    return make_night
