"""A relay in a process of its own is not the user's relay once more."""

from __future__ import annotations

import os

import pytest

from server.child import alone
from server.settings import Settings, load_settings


def test_nothing_of_the_users_own_relay_comes_in_the_way(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "hime.toml"
    config.write_text('data_key_file = "elsewhere"\nmax_rooms = 1\n')
    users = {
        "HIME_CONFIG": str(config),
        "HIME_UDP_PORTS": "50000",
        "HIME_ANNOUNCED_ADDRESS": "203.0.113.7",
        "HIME_ICE_SERVERS": "stun:stun.example.org",
        "HIME_API_KEYS": "web:a-secret-of-the-users-own",
        "HIME_API_KEYS_FILE": "keys",
        "HIME_DATABASE_URL": "postgresql://db.example.org/hime",
        "HIME_PHOTOS_URL": "s3://photos",
        "HIME_DEVICE": "cpu",
    }
    for name, value in users.items():
        monkeypatch.setenv(name, value)
    given = alone({"HIME_REFERENCES": "2"})
    monkeypatch.setattr(os, "environ", given)
    settings, untouched = load_settings(), Settings.model_construct()
    for name in ("config", "udp_ports", "announced_address", "ice_servers", "api_keys", "api_keys_file"):
        assert getattr(settings, name) == getattr(untouched, name), name
    assert settings.ports == (0, 0) and settings.data_key_file is None and settings.max_rooms == untouched.max_rooms
    assert settings.database.startswith("sqlite:") and settings.database_url == settings.photos_url == ""
    assert settings.device == "cpu" and settings.references == 2  # what is no matter of place is the user's
