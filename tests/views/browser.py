"""A real browser looks at a page: what it asked for, what it complained about, what it drew."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WHY = "no chromium, chromium-browser or google-chrome on the PATH"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

#: Distinct colours of every canvas; Bokeh keeps them in shadow roots.
COLOURS = """() => {
  const found = [];
  const walk = root => { for (const e of root.querySelectorAll('*')) {
    if (e.shadowRoot) walk(e.shadowRoot);
    if (e.tagName === 'CANVAS' && e.width > 0 && e.height > 0) {
      const d = e.getContext('2d').getImageData(0, 0, e.width, e.height).data, seen = new Set();
      for (let i = 0; i < d.length; i += 4) seen.add((d[i] << 16) | (d[i + 1] << 8) | d[i + 2]);
      found.push(seen.size);
    } } };
  walk(document);
  return found;
}"""


class Seen(NamedTuple):
    """What the browser saw."""

    requests: list[str]
    errors: list[str]
    roots: int
    colours: list[int]
    fits_wide: bool
    fits_narrow: bool


def look(page: Path) -> Seen:
    """Open a page that holds Bokeh plots, and wait until they are drawn."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    requests: list[str] = []
    errors: list[str] = []
    fits = "document.documentElement.scrollWidth <= window.innerWidth"
    with sync_api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        tab = browser.new_page(viewport={"width": 1200, "height": 900})
        tab.on("request", lambda request: requests.append(request.url))
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.on("console", lambda m: errors.append(m.text) if m.type in ("error", "warning") else None)
        tab.goto(page.as_uri())
        tab.wait_for_function("window.Bokeh && Bokeh.documents.length == 1 && Bokeh.documents[0].is_idle")
        roots = tab.evaluate("Bokeh.documents[0].roots().length")
        colours = tab.evaluate(COLOURS)
        wide = tab.evaluate(fits)
        tab.set_viewport_size({"width": 400, "height": 800})
        narrow = tab.evaluate(fits)
        browser.close()
    return Seen(requests, errors, roots, colours, wide, narrow)
