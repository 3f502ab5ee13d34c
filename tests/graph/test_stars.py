"""Targets and star lists that the user names."""

import numpy as np
import pytest

import dphot
from dphot.errors import InputError
from dphot.graph.stars import add_target, parse_target, read_rows, read_star_list

SOURCES = np.zeros(3, [("x", "f8"), ("y", "f8"), ("flux", "f8")])
SOURCES["x"], SOURCES["y"], SOURCES["flux"] = [10, 50, 80], [20, 60, 30], [9, 8, 7]


def test_what_a_targets_text_means():
    assert parse_target("7") == 7 and parse_target(" 12.5, 3") == (12.5, 3.0)
    assert (
        parse_target("02:04:10.3,+46:41:16") == "02:04:10.3,+46:41:16"
        and parse_target("31.0d,46.7d") == "31.0d,46.7d"
    )
    for wrong in ("", "a", "1.5", "1,2,3", "x,y"):
        with pytest.raises(InputError, match="target: "):
            parse_target(wrong)


def added(text, wcs=None):
    x, y, flux = (SOURCES[k][:2].copy() for k in ("x", "y", "flux"))
    return add_target(text, x, y, flux, SOURCES, wcs, 3.0, (100, 100))


def test_a_target_is_a_star_that_is_there_a_fainter_one_or_a_place():
    assert added("1")[0].size == 2 and added("51,61")[0].size == 2
    x, y, flux = added("81,29")  # a source that is no star of the list
    assert (x[2], y[2], flux[2]) == (80, 30, 7)
    x, y, flux = added("33,70")  # nothing there
    assert (x[2], y[2]) == (33, 70) and np.isnan(flux[2])


def test_targets_that_cannot_be():
    for text, message in (
        ("2", "no star 2; 2 are"),
        ("200,3", "outside the reference of 100x100"),
        ("1:2:3,4:5:6", "no WCS"),
    ):
        with pytest.raises(InputError, match=message):
            added(text)


def test_star_lists(tmp_path):
    path = tmp_path / "stars.csv"
    path.write_text("name, x, y\na, 10, 20\nb, 30.5, 40\nc, 500, 3\n")
    x, y = read_star_list(str(path), None, (100, 100))
    assert x.tolist() == [10, 30.5, 500] and y.tolist() == [20, 40, 3]
    path.write_text("ra,dec\n10,20\n")
    pixels, ra, _ = read_rows(str(path))
    assert not pixels and ra.tolist() == [10]
    with pytest.raises(InputError, match="no WCS"):
        read_star_list(str(path), None, (100, 100))


@pytest.mark.parametrize(
    "text, message",
    [("", "0 rows"), ("x,y\n", "0 rows"), ("a,b\n1,2\n", r"columns \['a', 'b'\]"), ("x,y\n1,2\n3\n", "line 3"),
     ("x,y\n1,hello\n", "line 2"), ("x,y\n1,nan\n", "line 2"), ("x,y\n500,600\n", "none of 1 positions")],
)  # fmt: skip
def test_star_lists_that_cannot_be_read(tmp_path, text, message):
    path = tmp_path / "stars.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_star_list(str(path), None, (100, 100))


def test_a_star_list_is_measured_as_given(small_night, tmp_path):
    path = tmp_path / "stars.csv"
    path.write_text("x,y\n120,130\n60.5,70.25\n")
    store = dphot.reduce(small_night, tmp_path / "x", workers=0, stars=str(path), target="80,90", stack=False)
    obs = store.photometry["r"]
    assert obs.sizes["star"] == 3 and obs.star_x.values[:2].tolist() == [120, 60.5]
    assert np.isnan(obs.star_flux.values[:2]).all() and np.isfinite(obs.flux.values[:, 5, :2]).all()
