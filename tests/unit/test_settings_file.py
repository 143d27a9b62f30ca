"""Settings in a TOML file: what comes first, and what is said of a file that is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from server.settings import InvalidSettings, Settings, load_settings


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "hime.toml"


def test_options_come_before_the_environment_before_the_file_before_defaults(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text('host = "::1"\nport = 1111\nmax_rooms = 5\n')
    monkeypatch.setenv("HIME_PORT", "2222")
    monkeypatch.setenv("HIME_HOST", "localhost")
    settings = load_settings(config=config, host="127.0.0.9", port=None)
    assert (settings.host, settings.port, settings.max_rooms) == ("127.0.0.9", 2222, 5)
    assert settings.max_participants == Settings.model_fields["max_participants"].default


def test_the_environment_names_the_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text("port = 1111\n")
    monkeypatch.setenv("HIME_CONFIG", str(config))
    assert load_settings().port == 1111
    other = config.with_name("other.toml")
    other.write_text("port = 3333\n")
    assert load_settings(config=other).port == 3333
    monkeypatch.setenv("HIME_CONFIG", "")
    assert load_settings().port == 8080


def test_every_kind_of_value_can_be_written(config: Path) -> None:
    config.write_text(
        """
        open = true
        max_streams = 4
        max_watchers = "auto"
        drain_s = 1.5
        data = "somewhere"
        api_keys = "ops:a-secret"
        allowed_hosts = ["call.example.org", "*.example.net"]
        announced_address = "203.0.113.7, 2001:db8::7"
        ice_servers = ["stun:a.example", { urls = ["turn:b.example"], username = "u", credential = "c" }]
        """
    )
    settings = load_settings(config=config)
    assert settings.open and settings.max_streams == 4 and settings.drain_s == 1.5
    assert settings.data == Path("somewhere") and settings.api_keys.get_secret_value() == "ops:a-secret"
    assert settings.allowed_hosts == ("call.example.org", "*.example.net")
    assert settings.announced_address == ("203.0.113.7", "2001:db8::7")
    assert [(server.urls, server.username) for server in settings.ice_servers] == [
        (["stun:a.example"], None),
        (["turn:b.example"], "u"),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("port = 99999", "port: Input should be less than or equal to 65535"),
        ("port = [1]", "port: "),
        ("max_streams = 0", "max_streams: Input should be 'auto' or greater than or equal to 1"),
        ("max_streams = 'many'", "max_streams: Input should be 'auto' or a valid integer"),
        ("prot = 9000", "prot: there is no such setting; port is one"),
        ("HIME_PORT = 9000", "HIME_PORT: there is no such setting; port is one"),
        ("xyzzy = 1", "xyzzy: there is no such setting; docs/settings.md has all"),
        ("[limits]\nmax_rooms = 3", "limits: settings stand by themselves, in no table"),
        ("udp_ports = 'all'", "udp_ports: not a range such as"),
        ("allowed_hosts = ['https://a']", "allowed_hosts: 'https://a' is no host name"),
        ("port = ", "is no TOML: "),
        ("port = 1\nport = 2", "is no TOML: "),
    ],
)
def test_what_is_wrong_in_a_file_is_one_line_with_file_and_name(config: Path, text: str, says: str) -> None:
    config.write_text(text)
    with pytest.raises(InvalidSettings) as caught:
        load_settings(config=config)
    message = str(caught.value)
    assert config.name in message and says in message and "\n" not in message


def test_what_is_wrong_elsewhere_is_named_as_it_was_given(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text("port = 1\nmax_rooms = 3\n")
    with pytest.raises(InvalidSettings, match=r"^--port: "):
        load_settings(config=config, port=-1)
    monkeypatch.setenv("HIME_MAX_ROOMS", "many")
    with pytest.raises(InvalidSettings, match=r"^HIME_MAX_ROOMS: "):
        load_settings(config=config)


def test_a_file_that_cannot_be_read_is_named(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for given in (config, config.parent):
        with pytest.raises(InvalidSettings, match=f"'{given}' is not there"):
            load_settings(config=given)
    with pytest.raises(InvalidSettings, match=r"x' cannot be read .*name too long"):
        load_settings(config=Path("x" * 10_000))
    config.write_bytes(b"host = '\xff'")
    monkeypatch.setenv("HIME_CONFIG", str(config))
    with pytest.raises(InvalidSettings, match="not text in UTF-8"):
        load_settings()


def test_a_secret_in_a_file_is_not_repeated(config: Path) -> None:
    config.write_text('data_key = "not-a-key-but-secret"\n')
    with pytest.raises(InvalidSettings) as caught:
        load_settings(config=config)
    assert "but-secret" not in str(caught.value)


def test_hime_serve_takes_the_file(config: Path) -> None:
    config.write_text("prot = 1\n")
    command = [sys.executable, "-m", "server.cli", "serve", "--config", str(config)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [f"hime: {config}: prot: there is no such setting; port is one"]
