"""The sections of the report about one filter: plots, tables and a few words with each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr
from bokeh.models import LayoutDOM, Plot, Toolbar

from . import curves, drawn, facts, markup, precision, prepare, psf, select, stars

#: At most this many nights get a light curve of their own, the latest ones.
NIGHTS_SHOWN = 8

#: Images narrower than this (screen pixels) fit any screen and keep their size.
SMALL = 300

#: Name and explanation of each section.
TEXTS = {
    "field": (
        "Field",
        "The mean of the aligned frames. The target is circled in red; comparison stars in blue, the "
        "darker the more they weigh; the other measured stars in grey. Point at a star for its number "
        "and weight.",
    ),
    "comparisons": (
        "Comparison stars",
        "Each comparison star against the weighted mean of all others, drawn under the target on the "
        "same scale. A star that varies has little weight.",
    ),
    "systematics": (
        "Systematics",
        "What may have left a trace in the light curve, each quantity scaled to the same height; its "
        "lowest and highest values stand beside it. Single values far from the others are drawn nearer.",
    ),
    "raw": (
        "Raw flux",
        "Flux of the target as measured, with the artificial star made of the comparison stars; their "
        "ratio is the light curve.",
    ),
    "psf": (
        "Point-spread function",
        "Median of bright stars on the reference frame, the elliptical Moffat model, and what the "
        "model leaves, on a scale ten times finer.",
    ),
    "precision": (
        "Precision",
        "How much each star scatters from frame to frame, against its flux. Stars far above the others of their flux "
        "vary, are blended or are saturated.",
    ),
}
#: Where they are drawn.
NOISE_LINES = "The lines are the terms of the noise model in the chosen aperture."


class Sections:
    """HTML of one filter, with places for its figures.

    Parameters
    ----------
    lc : xarray.Dataset
        Of `dphot.differential`.
    nights : sequence of dict
        Records of this filter's nights.
    mark : str
        Put before every anchor, so that several filters share a page.
    """

    def __init__(self, lc: xr.Dataset, nights: Sequence[Mapping[str, Any]], mark: str = ""):
        self.lc, self.nights, self.mark = lc, nights, mark
        self.curve = select.curve(lc)
        self.figures: dict[str, LayoutDOM] = {}
        """Bokeh models by the name of their place in the HTML, ``<!--name-->``."""
        self.links: list[tuple[str, str]] = []
        """Anchor and name of each section."""

    def html(self, stack: xr.DataArray | None, reference: xr.Dataset | None, truth: np.ndarray | None) -> str:
        """All sections; the figures are in `figures` afterwards."""
        lc = self.lc
        pieces = [
            markup.cards(self._cards()),
            self._add(
                "curve",
                "Light curve",
                _words(lc, self.curve.has_bins(prepare.BIN_WIDTH), truth),
                *self._curves(truth),
                self._facts(reference),
            ),
            self._view("field", self._place("stars", stars.show_stars(lc, stack), narrow=True)),
            self._view("comparisons", self._place("comparisons", curves.comparisons(lc)), _weights(lc)),
            self._view("systematics", self._place("systematics", curves.systematics(lc))),
            self._view("raw", self._place("raw", curves.raw(lc))),
        ]
        if reference is not None and "psf" in reference:
            views = [self._place(f"psf{i}", view) for i, view in enumerate(psf.psf(reference))]
            pieces.append(self._view("psf", f'<div class="pairs">{"".join(views)}</div>'))
        plot = self._place("precision", precision.precision(lc))
        name, words = TEXTS["precision"]
        words += f" {NOISE_LINES}" if drawn.precision_table(lc)["terms"] else ""
        pieces.append(self._add("precision", name, words, plot, _apertures(lc), _flags(lc, self.curve.star)))
        return "\n".join(pieces)

    def _add(self, anchor: str, name: str, explanation: str, *content: str) -> str:
        self.links.append((self.mark + anchor, name))
        return markup.section(self.mark + anchor, name, explanation, *content)

    def _view(self, anchor: str, *content: str) -> str:
        return self._add(anchor, *TEXTS[anchor], *content)

    def _place(self, key: str, view: Any, narrow: bool = False) -> str:
        self.figures[self.mark + key] = responsive(hv.render(view, backend="bokeh"))
        return f'<div class="plot{" narrow" if narrow else ""}"><!--{self.mark + key}--></div>'

    def _curves(self, truth: np.ndarray | None) -> list[str]:
        out = [self._place("all", curves.plot(self.lc, truth=truth))]
        nights = [night for night in facts.nights(self.lc) if (self.curve.night == night).any()]
        if len(nights) > 1:
            out.append("<h3>Night by night</h3>")
            if len(nights) > NIGHTS_SHOWN:
                out.append(f'<p class="none">The latest {NIGHTS_SHOWN} of {len(nights)} nights.</p>')
            for night in nights[-NIGHTS_SHOWN:]:
                out.append(self._place(night, curves.plot(self.lc, night=night, truth=truth)))
        return out

    def _facts(self, reference: xr.Dataset | None) -> str:
        return markup.pairs(facts.facts(self.lc, reference))

    def _cards(self) -> list[tuple[str, str]]:
        c, lc = self.curve, self.lc
        (scatter,) = select.point_scatter(lc, c.aperture, [c.star])
        used = sum(int(n.get("frames_used", 0)) for n in self.nights) if self.nights else c.time.size
        dropped = sum(len(n.get("frames_dropped", [])) for n in self.nights)
        count = len(select.comparisons(lc, c.aperture, c.star))
        return [
            (str(used), f"frames used, {dropped} dropped"),
            (facts.ppt(scatter), "point-to-point scatter per frame"),
            (facts.ppt(c.precision()["binned_scatter"]), "scatter of 7.2 min bins"),
            (f"{c.radius:.2f} px", f"radius ({facts.aperture_name(lc, c.aperture)})"),
            (str(count), f"comparison stars of {lc.sizes['star']} measured"),
        ]


def _words(lc: xr.Dataset, binned: bool, truth: np.ndarray | None) -> str:
    method = str(lc.attrs.get("method") or "")
    points = (
        "Faint points are frames, dark ones 7.2-minute means with their errors; crosses are flagged frames, left out "
        "of the means."
        if binned
        else "Points are frames with their errors; crosses are flagged frames."
    )
    parts = [
        f"Flux of the target over its artificial star. {points} A dashed line marks a meridian flip.",
        "The orange line is the signal that was injected." if truth is not None else "",
        f"Method: {markup.escape(method)}." if method else "",
    ]
    return " ".join(part for part in parts if part)


def _weights(lc: xr.Dataset) -> str:
    rows = facts.weight_rows(lc)
    heaviest = max((row["weight"] for row in rows), default=1.0) or 1.0
    cells = [
        [
            *(r["star"], f"{r['x']:.1f}", f"{r['y']:.1f}", f"{r['flux']:.4g}", facts.ppt(r["scatter"])),
            *(f"{r['weight']:.4f}", markup.bar(r["weight"] / heaviest)),
        ]
        for r in rows
    ]
    unit = lc.attrs.get("flux_unit", "e-")
    head = ["star", "x (px)", "y (px)", f"median flux ({unit})", "scatter", "weight", ""]
    return "<h3>Weights</h3>" + markup.table(head, cells, numbers=range(6))


def _apertures(lc: xr.Dataset) -> str:
    rows = facts.aperture_rows(lc)
    cells = [[r["aperture"], f"{r['radius']:.2f}", facts.ppt(r["scatter"])] for r in rows]
    head = ["aperture", "radius (px)", "scatter of the target"]
    chosen = int(lc.attrs["aperture"])
    return "<h3>Apertures</h3>" + markup.table(head, cells, numbers=range(3), chosen=chosen)


def _flags(lc: xr.Dataset, target: int) -> str:
    rows = [
        [name, mine, "–" if total is None else total] for name, mine, total in facts.flag_counts(lc, target)
    ]
    head = ["flag", "frames of the target", "measurements of all stars"]
    shown = markup.table(head, rows, numbers=(1, 2)) if rows else '<p class="none">No flag is set.</p>'
    return "<h3>Data-quality flags</h3>" + shown


def responsive(figure: LayoutDOM) -> LayoutDOM:
    """The figure as wide as its place: images keep their proportions (small ones their size)."""
    plots: list[Any] = list(figure.select({"type": Plot}))
    for plot in plots:
        plot.output_backend = "canvas"
        if plot.frame_width and plot.frame_width < SMALL:
            continue
        if plot.frame_width and plot.frame_height:
            ratio = plot.frame_width / plot.frame_height
            plot.update(frame_width=None, frame_height=None, width=None, height=None)
            plot.update(match_aspect=True, aspect_ratio=0.93 * ratio, sizing_mode="scale_width")
        else:
            plot.update(width=None, sizing_mode="stretch_width")
    for toolbar in figure.select({"type": Toolbar}):
        toolbar.update(logo=None, autohide=True)
    if not isinstance(figure, Plot):
        figure.update(sizing_mode="stretch_width")
    return figure
