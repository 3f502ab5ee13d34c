"""The pictures: all of them, drawn without a browser, and never over others unasked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import views_factory as factory
import xarray as xr
from matplotlib.image import imread

from dphot.errors import StoreError
from dphot.views import png

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


def test_nothing_is_overwritten_unasked(lc: xr.Dataset, tmp_path: Path) -> None:
    (tmp_path / "raw.png").write_text("mine")
    with pytest.raises(StoreError, match=r"raw\.png.*overwrite"):
        png.save_pngs(tmp_path, lc)
    assert [path.name for path in tmp_path.iterdir()] == ["raw.png"]
