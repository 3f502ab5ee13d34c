"""The report: what it says, that it is one file, and that a browser shows it without asking anybody."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import browser
import numpy as np
import pytest
import views_factory as factory
import xarray as xr

from dphot.errors import InputError, StoreError
from dphot.views import write_report

Field = tuple[xr.DataArray, xr.Dataset]


#: Distinct colours of each canvas, through all shadow roots.
class Outline(HTMLParser):
    """Text outside scripts, the ids, and whatever a browser would fetch."""

    def __init__(self, page: str):
        super().__init__()
        self.text, self.ids, self.fetched, self.links = "", [], [], []
        self._silent = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self._silent = tag in ("script", "style")
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values["href"]] if tag == "a" else []
        self.fetched += [v for k, v in attrs if k == "src" or (k == "href" and tag == "link")]

    def handle_endtag(self, tag: str) -> None:
        self._silent = False

    def handle_data(self, data: str) -> None:
        self.text += "" if self._silent else data


@pytest.fixture(scope="module")
def page(lc: xr.Dataset, field: Field, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "night.html"
    return write_report(
        path, lc, *field, factory.make_nights(lc), truth=factory.make_truth(lc.bjd_tdb.values)
    )


@pytest.fixture(scope="module")
def outline(page: Path) -> Outline:
    return Outline(page.read_text(encoding="utf-8"))


def test_it_is_one_file_of_reasonable_size(page: Path, outline: Outline) -> None:
    assert outline.fetched == ["data:,"]
    assert page.stat().st_size < 4e6
    assert {link.removeprefix("#") for link in outline.links} <= set(outline.ids)
    assert page.read_text().count("Bokeh = factory()") <= 1


@pytest.mark.parametrize(
    "said",
    [
        *("Demo-1", "Demo 60 cm", "2025-11-21", "filter r"),
        *("238", "2 dropped", "demo_0017.fits", "holds 312000 of 524288 bytes", "4 of 31 stars match <6>"),
        *("20 files, /data/cal/: bias_00.fits … bias_19.fits", "not applied", "vignetting and dust"),
        *("dark of 60 s from 2025-11-19", "113", "DATE-OBS and JD disagree; DATE-OBS used"),
        *("Broeg et al. (2005)", "Point-to-point scatter", "7.2 min bins", "Noise model expects"),
        *("/data/demo_0042.fits", "numpy", "2.4.6", "aperture_unit", "diameter", "0.6 m"),
        "altitude is not known: scintillation is computed for sea level",
        *("SATURATED", "NEIGHBOUR", "UNREADABLE", "CLOUD"),
    ],
)
def test_it_says_what_was_done(outline: Outline, said: str) -> None:
    assert said in outline.text


def test_it_lists_weights_and_apertures(lc: xr.Dataset, page: Path, outline: Outline) -> None:
    aperture = lc.attrs["aperture"]
    for star in lc.attrs["comparisons"]:
        assert f"{lc.weight.values[aperture, star]:.4f}" in outline.text
    chosen = re.search('<tr class="chosen">(.*?)</tr>', page.read_text())
    radius = f"{lc.aperture_radius.values[0, aperture]:.2f}"
    assert chosen and radius in chosen.group(1)
    told = f"aperture {aperture} of 0 to {lc.sizes['aperture'] - 1}"  # as --aperture takes it
    assert f"{radius} px radius ({told})" in outline.text and outline.text.count(told) == 2


def test_lines_of_the_noise_model_are_told_where_they_are_drawn(
    lc: xr.Dataset, outline: Outline, tmp_path: Path
) -> None:
    page = write_report(tmp_path / "adu.html", lc.assign_attrs(flux_unit="ADU"), None, None, [])
    words = "The lines are the terms of the noise model"
    assert words in outline.text and words not in Outline(page.read_text(encoding="utf-8")).text


@pytest.fixture(scope="module")
def two(lc: xr.Dataset, field: Field, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page of two filters, one with two nights and without a stack, and names that look like HTML."""
    other = factory.make_lc(frames=60, stars=12, apertures=2, nights=2).assign_attrs(
        filter="g", method="<i>m</i>"
    )
    nights = [*factory.make_nights(lc), *factory.make_nights(other)]
    nights[0]["series"][0]["frames_dropped"][0]["reason"] = "<script>alert(1)</script>"
    path = tmp_path_factory.mktemp("two") / "a.html"
    stack, reference = field
    named = lc.assign_attrs(object="<b>Star & Co</b>")
    return write_report(path, [named, other], [stack, None], reference, nights).read_text()


def test_names_are_escaped(two: str) -> None:
    assert "<script>alert(1)" not in two and "&lt;script&gt;alert(1)" in two
    assert "<h1>&lt;b&gt;Star &amp; Co&lt;/b&gt;</h1>" in two and "<i>m</i>" not in two


def test_several_filters_and_nights_share_a_page(two: str) -> None:
    outline = Outline(two)
    assert len(outline.ids) == len(set(outline.ids))
    assert {"f0-curve", "f1-curve", "done"} <= set(outline.ids)
    assert "Filter r" in outline.text and "Filter g" in outline.text and "Night by night" in outline.text
    assert len(two) < 5e6


def test_nothing_is_overwritten_unasked(page: Path, lc: xr.Dataset) -> None:
    with pytest.raises(StoreError, match=r"night\.html exists.*overwrite"):
        write_report(page, lc, None, None, [])


def test_a_truth_that_does_not_fit_is_refused(lc: xr.Dataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\(3,\).*240 frames"):
        write_report(tmp_path / "a.html", lc, None, None, [], truth=np.ones(3))
    assert not list(tmp_path.iterdir())


@pytest.mark.browser
@pytest.mark.skipif(browser.CHROMIUM is None, reason=browser.WHY)
def test_a_browser_shows_it_and_asks_nobody(page: Path) -> None:
    seen = browser.look(page)
    assert seen.requests == [page.as_uri()]
    assert seen.errors == []
    assert seen.roots == 10
    # the second canvas of each figure is an empty overlay
    assert sum(count > 30 for count in seen.colours) >= seen.roots
    assert seen.fits_wide and seen.fits_narrow
