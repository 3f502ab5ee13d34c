"""The pictures: all of them, drawn without a browser, and never over others unasked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import views_factory as factory
import xarray as xr
from matplotlib.image import imread

from dphot.errors import StoreError
from dphot.views import facts, png

NAMES = ["light_curve", "stars", "comparisons", "systematics", "raw", "precision", "psf", "summary"]


def test_every_plot_becomes_a_picture(lc: xr.Dataset, field: tuple, tmp_path: Path) -> None:
    truth = factory.make_truth(lc.bjd_tdb.values)
    paths = png.save_pngs(tmp_path / "new", lc, *field, truth=truth, prefix="r_")
    assert [path.name for path in paths] == [f"r_{name}.png" for name in NAMES]
    for path in paths:
        red, green, blue = np.moveaxis(np.round(255 * imread(path)[:, :, :3]).astype(int), 2, 0)
        assert np.unique(red << 16 | green << 8 | blue).size > 100, path.name


@pytest.mark.slow
def test_without_reference_the_psf_is_left_out(lc: xr.Dataset, tmp_path: Path) -> None:
    names = [path.stem for path in png.save_pngs(tmp_path, lc)]
    assert names == [name for name in NAMES if name != "psf"]


@pytest.mark.parametrize(
    "value", ["short", "it is not known " * 6, "1.234567890" * 12, "a novel of many lines " * 40]
)
def test_names_and_values_of_the_summary_stay_in_their_places(
    lc: xr.Dataset, field: tuple, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    table = [*facts.facts(lc, field[1]), ("Gain taken for the errors", value)]
    monkeypatch.setattr(facts, "facts", lambda *_: table)
    figure = png.summary(lc, *field)
    figure.draw_without_rendering()
    axis = figure.axes[4]
    boxes = [text.get_window_extent() for text in axis.texts]
    assert len(boxes) == 2 * len(table)
    assert "".join("".join(text.get_text().split()) for text in axis.texts[len(table) :]) == "".join(
        "".join(told.split()) for _, told in table
    )
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i]), axis.texts[i].get_text()
        assert box.x0 >= axis.bbox.x0 - 1 and box.x1 <= axis.bbox.x1, axis.texts[i].get_text()
        assert box.y0 >= axis.bbox.y0 - 1 and box.y1 <= axis.bbox.y1 + 1, axis.texts[i].get_text()


def test_a_value_without_end_takes_no_room_from_the_plots(
    lc: xr.Dataset, field: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = []
    for value in ("short", "a novel of many lines " * 400):
        monkeypatch.setattr(facts, "facts", lambda *_, value=value: [("Gain taken for the errors", value)])
        figure = png.summary(lc, *field)
        figure.draw_without_rendering()
        places.append(np.array([axis.get_position().bounds for axis in figure.axes]))
    np.testing.assert_allclose(places[0], places[1], atol=1e-3)
    assert places[0][4][2] > 0.33  # the width of the left column, of the sheet's


def test_nothing_is_overwritten_unasked(lc: xr.Dataset, tmp_path: Path) -> None:
    (tmp_path / "raw.png").write_text("mine")
    with pytest.raises(StoreError, match=r"raw\.png.*overwrite"):
        png.save_pngs(tmp_path, lc)
    assert [path.name for path in tmp_path.iterdir()] == ["raw.png"]
