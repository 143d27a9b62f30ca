import pytest

from server.settings import InvalidSettings, Settings, load_settings
from server.settings.limits import LimitSettings


def test_embedded_defaults_lie_in_the_data_directory(tmp_path):
    settings = Settings(data=tmp_path)
    assert (settings.host, settings.port) == ("127.0.0.1", 8080)
    assert settings.database == f"sqlite:///{tmp_path}/hime.db"
    assert settings.photos == f"file://{tmp_path}/photos"


def test_environment_and_options(monkeypatch):
    monkeypatch.setenv("HIME_PORT", "9000")
    monkeypatch.setenv("HIME_HOST", "0.0.0.0")
    settings = load_settings(port=9001, host=None)
    assert (settings.host, settings.port) == ("0.0.0.0", 9001)


def test_ice_servers_as_json_or_as_plain_urls(monkeypatch):
    monkeypatch.setenv("HIME_ICE_SERVERS", "stun:a.example:3478, turn:b.example")
    assert [server.urls for server in load_settings().ice_servers] == [["stun:a.example:3478"], ["turn:b.example"]]
    monkeypatch.setenv("HIME_ICE_SERVERS", '[{"urls": "turn:b.example", "username": "u", "credential": "c"}]')
    assert load_settings().ice_servers[0].credential == "c"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("HIME_PORT", "99999", "HIME_PORT: "),
        ("HIME_PORT", "http", "HIME_PORT: "),
        ("HIME_DEVICE", "tpu", "HIME_DEVICE: "),
        ("HIME_DATABASE_URL", "nonsense", "sqlite:///"),
        ("HIME_PHOTOS_URL", "nonsense://x", "file:///"),
        ("HIME_ICE_SERVERS", "http://a", "stun:"),
        ("HIME_ICE_SERVERS", "[{", "HIME_ICE_SERVERS: "),
        ("HIME_ICE_SERVERS", "stun:", "HIME_ICE_SERVERS: "),
        ("HIME_ICE_SERVERS", "stun:a.example?transport=udp", "HIME_ICE_SERVERS: "),
        ("HIME_ICE_SERVERS", "turn:a.example:99999", "HIME_ICE_SERVERS: "),
        ("HIME_ICE_SERVERS", "turn:a.example?transport=sctp", "HIME_ICE_SERVERS: "),
        ("HIME_UDP_PORTS", "50100-50000", "HIME_UDP_PORTS: "),
        ("HIME_UDP_PORTS", "80", "from 1024"),
        ("HIME_UDP_PORTS", "all", "50000-50100"),
        ("HIME_ANNOUNCED_ADDRESS", "relay.example", "HIME_ANNOUNCED_ADDRESS: "),
        ("HIME_ICE_SERVERS", "[" * 100_000, "nested too deeply"),
        ("HIME_ALLOWED_HOSTS", "9" * 10_000, "9...9"),
        ("HIME_REMEMBER_S", "-1", "HIME_REMEMBER_S: "),
        ("HIME_REMEMBER_S", "a while", "HIME_REMEMBER_S: "),
        ("HIME_MAX_ROOMS", "0", "HIME_MAX_ROOMS: "),
        ("HIME_MAX_STREAMS", "0", "HIME_MAX_STREAMS: "),
        ("HIME_MAX_STREAMS", "some", "HIME_MAX_STREAMS: "),
        ("HIME_ALLOW_LOCAL_CANDIDATES", "maybe", "'auto', 'yes' or 'no'"),
        ("HIME_VIDEO_MIN_BITRATE", "3000000", "bitrates must rise"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(monkeypatch, name, value, says):
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettings) as caught:
        load_settings()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_option_is_named_as_an_option():
    with pytest.raises(InvalidSettings, match=r"^--port: "):
        load_settings(port=-1)


def test_the_codec_for_watchers_is_one_of_three() -> None:
    assert load_settings(video_codec="h264").video_codec == "h264"
    with pytest.raises(InvalidSettings, match=r"video-codec.*'auto', 'vp8' or 'h264'"):
        load_settings(video_codec="av1")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.0.0.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("a.b", False)],
)
def test_whether_it_listens_on_loopback_only(host, loopback):
    assert load_settings(host=host).loopback_only is loopback


def test_every_limit_says_what_it_is():
    assert [name for name, field in LimitSettings.model_fields.items() if not field.description] == []


def test_media_ports_are_a_range_one_port_or_any(monkeypatch) -> None:
    assert load_settings().ports == (0, 0)
    assert load_settings(udp_ports="50000-50100").ports == (50000, 50100)
    monkeypatch.setenv("HIME_UDP_PORTS", "50000")
    monkeypatch.setenv("HIME_ANNOUNCED_ADDRESS", "203.0.113.7, 2001:db8::7")
    assert load_settings().ports == (50000, 50000)
    assert load_settings().announced_address == ("203.0.113.7", "2001:db8::7")
