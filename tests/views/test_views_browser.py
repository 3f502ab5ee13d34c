"""Every view of a reduced night, opened in a real browser."""

from __future__ import annotations

from pathlib import Path

import browser
import pytest

import dphot
from dphot.views import save_html

VIEWS = ("plot", "show_stars", "comparisons", "systematics", "raw", "psf", "precision", "summary")


@pytest.fixture(scope="module")
def curve(small_store):
    (obs,) = (ds.load() for ds in small_store.photometry.values())
    return dphot.differential(obs, target=0)


@pytest.mark.browser
@pytest.mark.skipif(browser.CHROMIUM is None, reason=browser.WHY)
@pytest.mark.parametrize("name", VIEWS)
def test_a_browser_draws_it_and_asks_nobody(curve, tmp_path: Path, name: str) -> None:
    page = save_html(getattr(curve.dphot, name)(), tmp_path / f"{name}.html")
    seen = browser.look(page)
    assert seen.requests == [page.as_uri()] and seen.errors == []
    assert seen.roots == 1 and max(seen.colours) > 30
