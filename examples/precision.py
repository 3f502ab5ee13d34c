"""How near the numbers come to what the photons allow: a page of figures, all from simulation.

Usage::

    python examples/precision.py [PAGE.html] [--png PAGE.png] [--quick] [--json]

Drawn are the errors of positions over the Cramer-Rao bound; the pulls, (measured - true) / error, of differential
fluxes; the scatter of every star against its magnitude with the terms of the noise model; and measured over true flux
in an empty, a rich and a crowded field. It takes about a minute.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import holoviews as hv
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import dphot
from dphot import simulate
from dphot.kernels import aperture, centroid, psf, psf_centroid, transform
from dphot.simulate.moffat import draw_stars
from dphot.views import drawn, page, palette, style

SKY, READ_NOISE, BETA = 200.0, 7.0, 3.0  # e-/px, e-, Moffat exponent
FWHM = {1.6: palette.ORANGE, 3.5: palette.BLUE, 8.0: palette.GREEN}  # px
FIELDS = {100: palette.BLUE, 500: palette.ORANGE, 1500: palette.VERMILLION}  # stars in 600 x 600 px
FAINTEST = 5.0  # signal-to-noise


@dataclass
class Curve:
    """Points, or a line where `dash` names its style; without a label it is not in the legend."""

    x: np.ndarray
    y: np.ndarray
    label: str
    colour: str
    dash: str = ""
    size: float = 36.0


@dataclass
class Panel:
    """One figure of the page."""

    title: str
    xlabel: str
    ylabel: str
    logx: bool = True
    logy: bool = False
    ylim: tuple[float, float] | None = None
    legend: str = "top_right"
    curves: list[Curve] = field(default_factory=list)


def star_field(fwhm: float, flux: np.ndarray, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image of stars apart from each other, at random pixel phases, in electrons; and their true positions."""
    rng = np.random.default_rng(seed)
    n, pitch = flux.size, int(9 * fwhm) + 8
    columns = int(np.ceil(np.sqrt(n)))
    x, y = (
        k * pitch + pitch // 2 + rng.uniform(-0.5, 0.5, n)
        for k in (np.arange(n) % columns, np.arange(n) // columns)
    )
    image = np.zeros((-(-n // columns) * pitch, columns * pitch))
    draw_stars(image, x, y, flux, (fwhm, fwhm), 0.0, BETA)
    return (rng.poisson(image + SKY) + rng.normal(0.0, READ_NOISE, image.shape)).astype(np.float32), x, y


def frame_model(fwhm: float) -> psf.PsfModel:
    """The PSF as dphot finds it on a frame of 25 bright stars."""
    image, x, y = star_field(fwhm, np.full(25, 3e5), seed=99)
    model = psf.frame_psf(image, None, np.rint(x), np.rint(y))
    assert model is not None
    return model


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.nanmean(np.square(values))))


def positions(n: int) -> tuple[list[Panel], list[dict[str, float]]]:
    """Errors of n stars of each brightness: PSF fit, windowed centroid, and forced by twelve bright stars."""
    over = Panel(
        "positions: error over the Cramer-Rao bound",
        "signal-to-noise",
        "error / bound",
        ylim=(0.85, 2.0),
        legend="top_left",
    )
    absolute = Panel("positions: FWHM 3.5 px", "signal-to-noise", "error in x and y (px, rms)", logy=True)
    rows = []
    for fwhm, colour in FWHM.items():
        model, noise = frame_model(fwhm), np.hypot(np.sqrt(SKY), READ_NOISE)
        for flux in np.geomspace(700.0 * fwhm, 3e5, 8):
            image, x, y = star_field(fwhm, np.append(np.full(n, flux), np.full(12, 3e5)))
            bound, _, snr = simulate.position_bound(
                flux, (fwhm, fwhm), beta=BETA, sky=SKY, read_noise=READ_NOISE
            )
            fx, fy, ex, ey = psf_centroid.fitted(image, np.rint(x), np.rint(y), model, SKY, noise, 1.0)
            wx, wy, _ = centroid.windowed(image, np.rint(x), np.rint(y), fwhm / centroid.GAUSSIAN_FWHM, SKY)
            matrix, _, _ = transform.fit_transform(
                x[n:], y[n:], fx[n:], fy[n:], weights=1.0 / (ex**2 + ey**2)[n:]
            )
            gx, gy = transform.apply(matrix, x, y)
            errors = [
                rms(np.append(a - x, b - y)[np.r_[:n, x.size : x.size + n]])
                for a, b in ((fx, fy), (wx, wy), (gx, gy))
            ]
            rows.append(
                {
                    "fwhm": fwhm,
                    "snr": snr,
                    "bound": bound,
                    "fitted": errors[0],
                    "windowed": errors[1],
                    "forced": errors[2],
                }
            )
        mine = {k: np.array([r[k] for r in rows if r["fwhm"] == fwhm]) for k in rows[0]}
        for name, dash, label in (
            ("fitted", "solid", "PSF fit"),
            ("windowed", "dotted", "windowed (finder)"),
        ):
            over.curves.append(
                Curve(mine["snr"], mine[name] / mine["bound"], f"{label}, FWHM {fwhm:g} px", colour, dash)
            )
        if fwhm == 3.5:
            for name, dash, label, shade in (
                ("bound", "solid", "Cramer-Rao bound", palette.INK),
                ("fitted", "", "own position (PSF fit)", palette.BLUE),
                ("windowed", "", "own position (windowed)", palette.ORANGE),
                ("forced", "", "forced, from 12 bright stars", palette.VERMILLION),
            ):
                absolute.curves.append(Curve(mine["snr"], mine[name], label, shade, dash))
    ends = np.array([min(r["snr"] for r in rows), max(r["snr"] for r in rows)])
    over.curves.append(Curve(ends, np.full(2, 1.10), "1.10", palette.INK, "dashed"))
    return [over, absolute], rows


def night(folder: Path, frames: int, **changes: object) -> tuple[xr.Dataset, xr.Dataset, np.ndarray]:
    """Photometry of a simulated night, its truth in the same frames and for the same stars, and who stands alone."""
    spec = simulate.simulation(frames=frames, hours=3.0, seed=7, **changes)  # type: ignore[arg-type]
    simulate.write_nights(folder / "night", frames=frames, hours=3.0, seed=7, **changes)
    store = dphot.reduce(folder / "night", folder / "night.dphot", workers=0)
    obs = store.photometry["r"].load()
    truth = simulate.truth(simulate.prepare(spec)).sortby("time")
    order = np.argsort(obs["time"].values)
    obs = obs.isel(time=order)
    away = np.hypot(*((obs[k].values[0][:, None] - truth[k].values[0]) for k in ("x", "y")))
    which = np.argmin(away, axis=1)
    near = np.sort(
        np.hypot(*((truth[k].values[0][which][:, None] - truth[k].values[0]) for k in ("x", "y"))), axis=1
    )
    clear = (away[np.arange(which.size), which] < 1.0) & (near[:, 1] > 5 * spec.fwhm)
    return obs, truth.isel(star=which), clear


def pulls(
    lc: xr.Dataset, truth: xr.Dataset, clear: np.ndarray
) -> tuple[list[Panel], list[dict[str, float]], np.ndarray]:
    """(measured - true) / error of the differential fluxes of stars that stand alone, one night long."""
    ap = int(lc.attrs["aperture"])
    flux, error = (lc[k].isel(aperture=ap).values for k in ("diff_flux", "diff_err"))
    known = truth["relative"].values
    flags = (lc["flags"].values != 0).any(axis=0)
    use = clear & ~flags & np.isfinite(flux).all(axis=0)
    weight = 1.0 / error**2
    scale = (weight * flux * known).sum(axis=0) / (weight * known**2).sum(axis=0)
    # the mean is taken from the same frames, which costs one degree of freedom
    pull = (flux - scale * known) / error * np.sqrt(len(flux) / (len(flux) - 1))
    snr = np.median(flux / error, axis=0)
    edges = np.geomspace(FAINTEST, 1000.0, 9)
    rows = []
    for low, high in pairwise(edges):
        chosen = use & (snr >= low) & (snr < high)
        if chosen.sum() >= 3:
            some = pull[:, chosen].ravel()
            rows.append({"snr": float(np.sqrt(low * high)), "stars": int(chosen.sum()), "mean": float(some.mean()),
                         "std": float(some.std()), "std_err": float(1 / np.sqrt(2 * some.size))})  # fmt: skip
    some = pull[:, use & (snr > FAINTEST)].ravel()
    x = np.linspace(-5.0, 5.0, 41)
    share, _ = np.histogram(some, x)
    middle = 0.5 * (x[1:] + x[:-1])
    law = Panel("pulls of differential fluxes", "(measured - true) / error", "density", logx=False)
    found = f"mean {some.mean():.3f}, standard deviation {some.std():.3f}"
    law.curves = [
        Curve(middle, share / share.sum() / np.diff(x), found, palette.BLUE),
        Curve(middle, np.exp(-0.5 * middle**2) / np.sqrt(2 * np.pi), "normal law", palette.INK, "solid"),
    ]
    spread = Panel(
        "pulls of stars by brightness", "signal-to-noise of one frame", "of the pulls", ylim=(-0.3, 1.5)
    )
    at = np.array([r["snr"] for r in rows])
    spread.curves = [
        Curve(at, np.array([r["std"] for r in rows]), "standard deviation", palette.BLUE),
        Curve(at, np.array([r["mean"] for r in rows]), "mean", palette.VERMILLION),
        Curve(at, np.ones(at.size), "", palette.INK, "dashed"),
        Curve(at, np.zeros(at.size), "", palette.FAINT, "dashed"),
    ]
    return [law, spread], rows, some


def scatter(lc: xr.Dataset, read_noise: float) -> Panel:
    """Point-to-point scatter of every star, and the terms of the noise model, as `lc.dphot.precision()` draws them."""
    table = drawn.precision_table(lc, read_noise=read_noise)
    magnitude = -2.5 * np.log10(table["flux"])
    panel = Panel(
        "scatter of every star",
        "instrumental magnitude, -2.5 log10(e- a frame)",
        "rms (ppt)",
        logx=False,
        logy=True,
    )
    for name, term in table["terms"].items():
        label, colour, dash = drawn.TERM_STYLE[name]
        panel.curves.append(Curve(-2.5 * np.log10(table["grid"]), term * 1e3, label, colour, dash))
    panel.curves.append(Curve(magnitude, table["scatter"], "stars", palette.BLUE, size=14.0))
    panel.legend = "top_left"
    panel.ylim = (float(np.nanmin(table["scatter"])) / 4, float(np.nanmax(table["scatter"])) * 2)
    return panel


def light_within(radius: np.ndarray, truth: xr.Dataset) -> np.ndarray:
    """Share (time,) of a star's light within an aperture, for the simulated Moffat as the pixels see it."""
    share = []
    for r, *axes in zip(radius, truth["fwhm_x"].values, truth["fwhm_y"].values, strict=True):
        phases = np.linspace(-0.4, 0.4, 5)
        image, x = np.zeros((101, 505)), 50.0 + 101.0 * np.arange(5) + phases
        y = 50.0 + phases[[2, 4, 1, 3, 0]]
        draw_stars(
            image, x, y, np.full(5, 1e6), (axes[0], axes[1]), truth.attrs["theta"], truth.attrs["beta"]
        )
        share.append(aperture.aperture_sums(image, x, y, np.array([r])).mean() / 1e6)
    return np.array(share)


def bias(folder: Path, frames: int) -> tuple[Panel, list[dict[str, float]]]:
    """Measured over true flux in an aperture of 1.5 FWHM: median over the stars of a magnitude, three fields."""
    panel = Panel(
        "flux bias in fields of 600 x 600 px",
        "instrumental magnitude, -2.5 log10(e- a frame)",
        "measured / true - 1 (median, %)",
        logx=False,
        ylim=(-2.0, 6.0),
    )
    rows = []
    for stars, colour in FIELDS.items():
        obs, truth, _ = night(folder / str(stars), frames, stars=stars, scintillation=0.0, variability=0.0)
        radius = obs["aperture_radius"].values
        ap = int(np.argmin(abs(radius[0] - 1.5 * truth["fwhm"].values[0])))
        expected = truth["flux"].values * light_within(radius[:, ap], truth)[:, None]
        ratio = obs["flux"].isel(aperture=ap).values.mean(axis=0) / expected.mean(axis=0) - 1
        magnitude = -2.5 * np.log10(truth["flux"].values.mean(axis=0))
        for low in np.arange(-15.0, -7.5, 1.0):
            chosen = (magnitude >= low) & (magnitude < low + 1.0) & np.isfinite(ratio)
            if chosen.sum() >= 3:
                rows.append(
                    {
                        "field": stars,
                        "magnitude": low + 0.5,
                        "stars": int(chosen.sum()),
                        "percent": 100 * float(np.median(ratio[chosen])),
                    }
                )
        mine = [r for r in rows if r["field"] == stars]
        panel.curves.append(
            Curve(
                *(np.array([r[k] for r in mine]) for k in ("magnitude", "percent")),
                f"{stars} stars",
                colour,
                "solid",
            )
        )
    return panel, rows


def html(panels: list[Panel], path: Path) -> None:
    """All panels on one page that opens without a network."""
    figures = []
    for number, panel in enumerate(panels):
        dims = (f"x{number}", f"y{number}")
        layers = [
            style.line(c.x, c.y, c.label, dims=dims, color=c.colour, line_dash=c.dash)
            if c.dash else style.points(c.x, c.y, c.label, dims=dims, color=c.colour, size=c.size)
            for c in panel.curves
        ]  # fmt: skip
        limits = {} if panel.ylim is None else {"ylim": panel.ylim}
        look = {
            "xlabel": panel.xlabel,
            "ylabel": panel.ylabel,
            "logx": panel.logx,
            "logy": panel.logy,
        } | limits
        figures.append(
            style.framed(
                style.stacked(layers),
                width=620,
                height=400,
                title=panel.title,
                legend_position=panel.legend,
                **look,
            )
        )
    page.save_html(
        hv.Layout(figures).cols(2).opts(shared_axes=False), path, "dphot: precision", overwrite=True
    )


def png(panels: list[Panel], path: Path) -> None:
    """The same panels as one static picture."""
    figure = Figure(figsize=(14, 4.6 * -(-len(panels) // 2)), layout="constrained")
    dashes = {"solid": "-", "dashed": "--", "dotted": ":", "dotdash": "-."}
    for axes, panel in zip(figure.subplots(-(-len(panels) // 2), 2).ravel(), panels, strict=False):
        for c in panel.curves:
            looks = {"ls": dashes[c.dash]} if c.dash else {"ls": "", "marker": "o", "ms": c.size**0.5}
            axes.plot(c.x, c.y, color=c.colour, label=c.label, **looks)
        scales = {"xscale": "log" if panel.logx else "linear", "yscale": "log" if panel.logy else "linear"}
        axes.set(title=panel.title, xlabel=panel.xlabel, ylabel=panel.ylabel, **scales)
        if panel.ylim is not None:
            axes.set_ylim(panel.ylim)
        axes.legend(fontsize=8)
        axes.grid(color=palette.GRID)
    figure.savefig(path, dpi=110)


def table(name: str, rows: list[dict[str, float]]) -> str:
    """A block of plain text."""
    lines = [name, "  ".join(f"{k:>9}" for k in rows[0])]
    return "\n".join([*lines, *("  ".join(f"{v:9.4g}" for v in row.values()) for row in rows), ""])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("page", nargs="?", type=Path, default=Path("precision.html"))
    parser.add_argument("--png", type=Path, help="a picture of the same figures")
    parser.add_argument("--quick", action="store_true", help="fewer stars and frames")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    given = parser.parse_args()
    panels, centroids = positions(50 if given.quick else 300)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        obs, truth, clear = night(
            folder / "pulls", 12 if given.quick else 60, stars=150, target=0, read_noise=READ_NOISE
        )
        lc = dphot.differential(obs)
        more, spread, all_pulls = pulls(lc, truth, clear)
        crowd, fluxes = bias(folder, 3 if given.quick else 6)
    panels += [*more, scatter(lc, READ_NOISE), crowd]
    html(panels, given.page)
    if given.png:
        png(panels, given.png)
    figures = {"positions": centroids, "pulls": spread, "bias": fluxes,
               "pull_std": float(all_pulls.std()), "pull_mean": float(all_pulls.mean())}  # fmt: skip
    if given.json:
        print(json.dumps(figures))
        return
    for name in ("positions", "pulls", "bias"):
        print(table(name, figures[name]))
    print(
        f"all pulls: mean {figures['pull_mean']:.3f}, standard deviation {figures['pull_std']:.3f}; page: {given.page}"
    )


if __name__ == "__main__":
    main()
