"""The documents of the settings say what the settings are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from server.settings import Settings, load_settings
from server.settings.reference import Setting, groups, markdown, toml

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize(("name", "made"), [("settings.md", markdown), ("hime.toml.example", toml)])
def test_the_documents_are_up_to_date(name, made):
    assert (DOCS / name).read_text("utf-8") == made(), "run `make settings`"


def test_every_setting_is_there_once_and_says_what_it_is():
    there = [one for group in groups() for one in group.settings]
    assert sorted(one.name for one in there) == sorted(Settings.model_fields)
    assert [one.name for one in there if not one.what] == []
    assert all(group.about for group in groups())


def test_the_example_file_holds_the_defaults(tmp_path):
    file = tmp_path / "hime.toml"
    file.write_text(re.sub("^#(?=[a-z_]+ = )", "", toml(), flags=re.M))
    written = load_settings(config=file).model_dump()
    elsewhere = {"config", "client", "data_key_file"}  # a file cannot have these at their defaults
    assert written.keys() - elsewhere
    default = load_settings().model_dump()
    assert {name: written[name] for name in written.keys() - elsewhere} == {
        name: default[name] for name in default.keys() - elsewhere
    }


def test_the_example_file_changes_nothing_as_it_is(tmp_path):
    file = tmp_path / "hime.toml"
    file.write_text(toml())
    assert load_settings(config=file).model_dump(exclude={"config"}) == load_settings().model_dump(exclude={"config"})


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("port", "whole number from 0 to 65535"),
        ("frame_deadline_ms", "number above 0 to 1000"),
        ("max_streams", "`auto` or whole number from 1"),
        ("video_codec", "`auto`, `vp8` or `h264`"),
        ("open", "`true` or `false`"),
        ("api_keys", "secret"),
        ("ice_servers", "list"),
        ("data_key_file", "path"),
    ],
)
def test_types_and_bounds_in_words(name, kind):
    assert Setting(name, Settings.model_json_schema()["properties"][name]).kind == kind
