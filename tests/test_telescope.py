"""Telescopes: reading, finding, remembering, and saying what is missing."""

import math
import pickle

import pytest

from dphot.errors import InputError, ValidationError
from dphot.telescope import PRESETS, Telescope, get, known

TUTORIAL = {
    "name": "A",
    "trimming": [40, 40],
    "pixel_scale": 0.66,
    "latlong": [31.2027, 7.8586],
    "keyword_light_images": "light",
}


def test_the_tutorials_dictionary_is_understood():
    telescope = Telescope.from_dict(TUTORIAL)
    assert (telescope.name, telescope.trimming, telescope.pixel_scale) == ("A", (40, 40), 0.66)
    assert (telescope.latitude, telescope.longitude) == (31.2027, 7.8586)
    assert telescope.image_types == {"light": ("light",)}


def test_prose_keywords_and_units_are_translated():
    telescope = Telescope.from_dict(
        {
            "name": "B",
            "latlong": [None, None],
            "keyword_filter": "FILT",
            "diameter": 60,
            "hdu": 0,
            "ra_unit": "hourangle",
        }
    )
    assert telescope.keywords == {"filter": ("FILT",)}
    assert (telescope.diameter, telescope.hdu, telescope.ra_unit) == (0.6, -1, "hour")


def test_toml_round_trip_keeps_every_field(tmp_path):
    telescope = Telescope(
        name='odd "name"',
        names=("x", "y*"),
        keywords={"date": ("UT-OBS", "DATE")},
        image_types={"flat": ("sky",)},
        fixed={"object": "M 13", "ra": 250.4},
        hdu=2,
        trimming=(3, 4),
        trim_section="[1:10,2:20]",
        gain=1.5,
        longitude=-70.7,
        time_is="middle",
        time_offset_hours=12,
        clock="24h",
    )
    path = tmp_path / "t.toml"
    path.write_text(telescope.to_toml(), encoding="utf-8")
    assert Telescope.from_toml(path).digest() == telescope.digest()
    assert pickle.loads(pickle.dumps(telescope)).digest() == telescope.digest()


def test_all_problems_are_named_at_once(tmp_path):
    path = tmp_path / "t.toml"
    path.write_text('gian = 1.0\ngain = "many"\n')
    with pytest.raises(ValidationError) as error:
        Telescope.from_toml(path)
    assert [place for place, _ in error.value.problems] == ["gian", "gain"]
    with pytest.raises(ValidationError) as error:
        Telescope(latitude=120, time_is="begin", keywords={"fliter": ("X",)}, trimming=(1,))
    assert {place for place, _ in error.value.problems} == {"latitude", "time_is", "keywords", "trimming"}


def test_unreadable_files_are_named(tmp_path):
    path = tmp_path / "t.toml"
    path.write_text("gain = = 1")
    with pytest.raises(InputError, match=r"t\.toml"):
        Telescope.from_toml(path)
    with pytest.raises(InputError, match=r"none\.toml"):
        get(tmp_path / "none.toml")


def test_found_by_instrume_first_then_telescop_whatever_the_case():
    a, b = Telescope(name="Alpha", names=("cam-1",)), Telescope(name="Beta", names=("S50_*",))
    assert Telescope.find({"INSTRUME": "CAM-1 ", "TELESCOP": "beta"}, [b, a]).name == "Alpha"
    assert Telescope.find({"INSTRUME": "?", "TELESCOP": "bETA"}, [a, b]).name == "Beta"
    assert Telescope.find({"TELESCOP": "S50_1d3fe189"}, [a, b]).name == "Beta"


def test_an_unknown_telescope_works_and_says_what_is_missing():
    telescope = Telescope.find({"TELESCOP": "  mine "})
    assert telescope.name == "mine"
    missing = dict(telescope.missing())
    assert set(missing) >= {"gain", "latitude", "longitude", "diameter", "saturation"}
    assert "ADU" in missing["gain"]
    assert "gain" not in dict(telescope.patch(gain=1.2).missing())


def test_saved_telescopes_are_remembered_and_hide_presets():
    Telescope(name="Mine", names=("mycam",), gain=2.0).save()
    assert Telescope.find({"INSTRUME": "MyCam"}).gain == 2.0
    assert get("mycam").name == "Mine"
    Telescope(name="TRAPPIST-South", diameter=0.5).save()
    assert known()["TRAPPIST-South"].diameter == 0.5
    with pytest.raises(InputError, match="name"):
        Telescope().save()


def test_every_preset_loads_and_no_two_answer_to_one_name():
    presets = [Telescope.from_toml(path) for path in PRESETS.glob("*.toml")]
    assert len(presets) >= 15
    names = [name for t in presets for name in {n.lower() for n in (t.name, *t.names)}]
    assert len(names) == len(set(names))


def test_an_unknown_name_lists_the_known():
    with pytest.raises(InputError, match="MicroObservatory"):
        get("nothing of that name")


@pytest.mark.parametrize("linearity, saturation, ok", [
    ((2e-6,), math.nan, True), ((-7e-6,), math.nan, True), ((-8e-6,), math.nan, False), ((-8e-6,), 60000.0, True),
    # s - 1e-4 s^2 + 1e-8/3.2 s^3 turns back between two places where it rises
    ((-1e-4, 1e-8 / 3.2), math.nan, False), ((-1e-4, 1e-8 / 3.2), 4000.0, True),
])  # fmt: skip
def test_a_linearity_correction_rises_up_to_saturation(linearity, saturation, ok):
    given = {"linearity": list(linearity), "saturation": saturation}
    if ok:
        assert Telescope.from_dict(given).linearity == linearity
    else:
        with pytest.raises(ValidationError, match="rises all the way"):
            Telescope.from_dict(given)


def test_frames_that_come_calibrated(tmp_path):
    made = Telescope.from_dict({"name": "T", "calibrated": True, "linearity": [1e-7, -2e-13]})
    assert repr(Telescope.from_toml(made.save(tmp_path))) == repr(made)  # NaN equals itself only as text
    with pytest.raises(ValidationError, match="calibrated"):
        Telescope.from_dict({"calibrated": "yes"})
