"""The settings: from TOML and from text, with every problem named at once."""

from __future__ import annotations

from dataclasses import fields

import pytest

from dphot.config import DEFAULT_RADII, Config, coerce, descriptions
from dphot.errors import ValidationError


def problems(error) -> dict[str, str]:
    return dict(error.value.problems)


def test_default_radii_are_the_tutorials():
    assert len(DEFAULT_RADII) == 32
    assert DEFAULT_RADII[:3] == (0.1, 0.35, 0.6) and DEFAULT_RADII[-1] == 7.85


def test_text_gives_the_same_settings_as_toml(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text(
        "reference = 3\napertures = [2, 3.5]\nstack = false\nmax_stars = 20\ntarget = [423.2, 286]\n"
    )
    texts = {
        "reference": "3",
        "apertures": "2,3.5",
        "stack": "false",
        "max_stars": "20",
        "target": "423.2,286",
    }
    expected = Config(reference="3", apertures=(2.0, 3.5), stack=False, max_stars=20, target="423.2,286")
    assert Config.from_toml(path) == Config().patch(**texts) == expected


def test_a_pattern_is_on_off_or_automatic():
    assert Config().pattern == "auto"
    assert [Config().patch(pattern=given).pattern for given in (True, False, "on")] == ["on", "off", "on"]


def test_every_unfit_value_is_named():
    with pytest.raises(ValidationError) as error:
        Config(aperture_unit="arcsec", annulus=(8.0, 5.0), chunk=0, detection_sigma=float("nan"))
    assert set(problems(error)) == {"aperture_unit", "annulus", "chunk", "detection_sigma"}


@pytest.mark.parametrize("name, value", [
    ("max_stars", "many"), ("max_stars", 2.5), ("max_stars", True), ("gain", "nan"), ("gain", {}),
    ("stack", "perhaps"),
    ("apertures", 5), ("apertures", "2,x"), ("target", {"x": 1}),
])  # fmt: skip
def test_a_value_of_the_wrong_kind_is_refused(name, value):
    with pytest.raises(ValidationError) as error:
        coerce({name: value})
    assert repr(value) in problems(error)[name]


@pytest.mark.parametrize("changes", [
    {"apertures": ()}, {"apertures": (0.0, 1.0)}, {"apertures": (2.0, 1.0)}, {"apertures": (1.0,
    float("nan"))},
    {"annulus": (5.0,)}, {"gain": -1.0}, {"saturation": -1.0}, {"calibration_days": -1.0}, {"min_stars": 2},
    {"steps": ("module",)}, {"centroid": "none"}, {"transform": "shift"}, {"frames": "move"}, {"pattern": "perhaps"},
    {"sky_sigma": 0.0},
])  # fmt: skip
def test_an_unfit_value_is_refused(changes):
    with pytest.raises(ValidationError) as error:
        Config(**changes)
    assert set(problems(error)) == set(changes)


def test_an_unknown_setting_suggests_the_one_meant():
    with pytest.raises(ValidationError) as error:
        coerce({"apertuer": 3, "quite_other": 1})
    assert "apertures" in problems(error)["apertuer"]
    assert "known are" in problems(error)["quite_other"]


@pytest.mark.parametrize("text", [None, "reference = \n", "\xff"])
def test_a_file_that_is_no_toml_is_named(tmp_path, text):
    path = tmp_path / "settings.toml"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValidationError, match=r"settings\.toml"):
        Config.from_toml(path)


def test_the_digest_leaves_out_what_changes_no_number():
    assert Config(chunk=3).digest() == Config().digest()
    assert Config(sky_sigma=2.5).digest() != Config().digest()


def test_every_setting_has_its_description():
    assert list(descriptions()) == [f.name for f in fields(Config)]
    assert all(text.rstrip().endswith(".") for text in descriptions().values())
