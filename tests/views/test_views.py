"""The interactive views: what they hold, that they render, and what loads with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import holoviews as hv
import matplotlib.pyplot as plt
import numpy as np
import pytest
import views_factory as factory
import xarray as xr
from bokeh.models import Plot, Whisker

import dphot.views.accessor  # noqa: F401  registers ds.dphot
from dphot.errors import InputError
from dphot.views import curves, paint, prepare, psf, select, stars
from dphot.views.page import write_report

Field = tuple[xr.DataArray, xr.Dataset]


def rendered(view: Any) -> list[Plot]:
    figure = hv.render(view, backend="bokeh")
    return list(figure.select({"type": Plot}))


def columns(plot: Plot) -> list[dict[str, np.ndarray]]:
    return [dict(r.data_source.data) for r in plot.renderers if hasattr(r, "data_source")]


def test_light_curve_shows_every_point_once(lc: xr.Dataset) -> None:
    (plot,) = rendered(curves.plot(lc))
    labels = [item.label.value for item in plot.legend[0].items]
    assert labels == ["frames (226)", "flagged (13)", "7.2 min bins"]
    sizes = sorted(len(next(iter(c.values()))) for c in columns(plot))
    assert sizes[-1] == 226 and 13 in sizes
    assert plot.below[0].axis_label == "BJD (TDB) − 2461000 (days)"
    assert "star 0" in plot.title.text


def test_flagged_points_outside_the_plot_are_told(lc: xr.Dataset) -> None:
    wild = lc.diff_flux.copy()
    wild[100, :, 0] = 40.0
    (plot,) = rendered(curves.plot(lc.assign(diff_flux=wild)))
    assert "flagged (13, 1 outside the plot)" in [item.label.value for item in plot.legend[0].items]
    assert plot.y_range.end < 1.1


def test_bins_can_be_left_out_and_truth_added(lc: xr.Dataset) -> None:
    view = curves.plot(lc, bins=0, truth=factory.make_truth(lc.bjd_tdb.values), title="mine")
    (plot,) = rendered(view)
    assert [item.label.value for item in plot.legend[0].items] == ["frames (226)", "flagged (13)", "injected"]
    assert plot.title.text == "mine"


def test_where_no_bin_holds_two_frames_the_frames_have_error_bars(lc: xr.Dataset, tmp_path: Path) -> None:
    """As of long exposures: else the plot would show no errors at all."""
    sparse = lc.isel(time=slice(None, None, 12))
    (plot,) = rendered(curves.plot(sparse))
    (bars,) = plot.select({"type": Whisker})
    good = select.curve(sparse).good
    error = sparse.diff_err.values[good, lc.attrs["aperture"], 0]
    height = np.subtract(*(bars.source.data[side] for side in (bars.upper, bars.lower)))
    np.testing.assert_allclose(height, 2 * error)
    axis = plt.figure().add_subplot()
    paint.light_curve(axis, select.curve(sparse), prepare.BIN_WIDTH)
    (drawn,) = axis.collections
    np.testing.assert_allclose([np.ptp(line[:, 1]) for line in drawn.get_segments()], 2 * error)
    for given, words in (
        (sparse, "Points are frames with their errors"),
        (lc, "7.2-minute means with their errors"),
    ):
        assert words in write_report(tmp_path / f"{words[:3]}.html", given, None, None, []).read_text()


def test_stars_are_upright_and_square(lc: xr.Dataset, field: Field) -> None:
    (plot,) = rendered(stars.show_stars(lc, field[0]))
    assert plot.y_range.end > plot.y_range.start  # row 0 at the bottom
    pixels = (plot.x_range.end - plot.x_range.start) / plot.frame_width
    assert pixels == pytest.approx((plot.y_range.end - plot.y_range.start) / plot.frame_height, rel=0.01)
    counts = {item.label.value for item in plot.legend[0].items}
    assert counts == {"target", "comparisons", "others"}
    image = next(c["image"][0] for c in columns(plot) if "image" in c)
    assert image.dtype == np.uint8


def test_big_stacks_are_made_small_and_stay_in_place(lc: xr.Dataset) -> None:
    stack = xr.DataArray(np.ones((900, 2500), np.float32), dims=("y", "x"))
    stack[600, 1200] = 1e4
    (plot,) = rendered(stars.show_stars(lc, stack))
    shown = next(c for c in columns(plot) if "image" in c)
    image = shown["image"][0]
    assert max(image.shape) <= 1024
    row, column = np.unravel_index(np.argmax(image), image.shape)
    x0, y0, width, height = (float(shown[k][0]) for k in ("x", "y", "dw", "dh"))
    assert abs(x0 + (column + 0.5) * width / image.shape[1] - 1200) <= 1.5
    assert abs(y0 + (row + 0.5) * height / image.shape[0] - 600) <= 1.5


def test_stars_without_a_stack(lc: xr.Dataset) -> None:
    (plot,) = rendered(stars.show_stars(lc))
    assert not any("image" in c for c in columns(plot))


@pytest.mark.parametrize("view", [curves.plot, curves.systematics, curves.comparisons])
def test_a_night_without_flip_has_titles_too(lc: xr.Dataset, view: Any) -> None:
    (plot,) = rendered(view(lc.assign(flip=lc.flip * 0)))
    assert plot.title.text.startswith("Demo-1") and "BJD" in plot.below[0].axis_label


def test_raw_shares_the_time_axis_only(lc: xr.Dataset) -> None:
    top, bottom = rendered(curves.raw(lc))
    assert top.x_range is bottom.x_range and top.y_range is not bottom.y_range


def test_psf_residual_is_the_noise_put_in(field: Field) -> None:
    plots = rendered(psf.psf(field[1]))
    assert len(plots) == 4
    title = next(p for p in plots if "residual" in p.title.text)
    residual = next(c["image"][0] for c in columns(title) if "image" in c)
    assert np.std(residual) == pytest.approx(2e-4 / factory.MODEL["amplitude"], rel=0.1)


def test_psf_needs_a_model(field: Field) -> None:
    with pytest.raises(InputError, match="no attribute amplitude"):
        psf.psf(field[1].drop_attrs())
    with pytest.raises(InputError, match="no variable psf"):
        psf.psf(field[1].drop_vars("psf"))


def test_accessor_has_every_view_and_leaves_the_rest_uncomputed(lc: xr.Dataset, field: Field) -> None:
    lazy = lc.chunk()
    views = [
        (lazy.dphot.plot(), 1),
        (lazy.dphot.show_stars(field[0]), 1),
        (lazy.dphot.comparisons(count=3), 1),
        (lazy.dphot.systematics(), 1),
        (lazy.dphot.raw(), 2),
        (lazy.dphot.psf(field[1]), 4),
        (lazy.dphot.precision(), 1),
        (lazy.dphot.summary(*field), 6),
    ]
    for view, count in views:
        assert len(rendered(view)) == count
    assert lazy.chunks  # still lazy


def test_accessor_finds_stack_and_reference_in_the_store(
    lc: xr.Dataset, field: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    class OneStore:
        stack = {"r": {"2025-11-20": None, "2025-11-21": field[0]}}  # noqa: RUF012
        reference = field[1]

    monkeypatch.setattr("dphot.store.Store.open", lambda path: asked.append(path) or OneStore)
    lc = lc.assign_attrs(store="here.dphot")
    assert len(rendered(lc.dphot.psf())) == 4
    (plot,) = rendered(lc.dphot.show_stars())
    assert any("image" in c for c in columns(plot))
    assert set(asked) == {"here.dphot"}


def test_plots_of_photometry_say_what_to_do(lc: xr.Dataset) -> None:
    photometry = lc.drop_vars(["diff_flux", "diff_err", "artificial", "weight", "scatter"]).drop_attrs()
    with pytest.raises(InputError, match=r"dphot\.differential"):
        photometry.dphot.plot()
