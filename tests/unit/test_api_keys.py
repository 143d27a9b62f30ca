"""API keys: how they are written, and how they are shown."""

import asyncio
import logging
import time

import pytest

from hime_core.errors import InputError
from server.access import keyring as keyrings
from server.access.access import Refused, load_access
from server.access.keyring import Busy, Keyring
from server.access.keys import RIGHTS, ApiKey, hashed, matches, new_secret, parse_keys, parse_lines
from server.access.tokens import Grant, Token
from server.settings import Settings
from tests.unit.access_world import SECRET, basic, bearer

HASHED = hashed(SECRET)


def settings(tmp_path, **given):
    return Settings(_env_file=None, data=tmp_path / "data", **given)


def keys_file(tmp_path, text, mode=0o600):
    path = tmp_path / "keys"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


async def caller(access, headers=None, address="127.0.0.1"):
    return await access.caller((headers or {}).get("Authorization"), address)


async def refused(access, headers=None, address="127.0.0.1"):
    with pytest.raises(Refused) as caught:
        await caller(access, headers, address)
    return caught.value


def test_secrets_are_long_and_new_each_time():
    assert len(new_secret()) == 43 and new_secret() != new_secret()


def test_a_hash_is_of_its_secret_alone():
    assert matches(SECRET, HASHED) and not matches(SECRET + "x", HASHED)
    assert SECRET not in HASHED and hashed(SECRET) != HASHED


def test_keys_as_the_environment_has_them():
    assert parse_keys("HIME_API_KEYS", "") == parse_keys("HIME_API_KEYS", "  ") == ()
    keys = parse_keys("HIME_API_KEYS", f" web:one , app:{HASHED}")
    assert keys == (ApiKey("web", "one", RIGHTS), ApiKey("app", HASHED, RIGHTS))
    assert [key.hashed for key in keys] == [False, True]


def test_keys_as_a_file_has_them():
    keys = parse_lines(
        "HIME_API_KEYS_FILE", f"# the web server's\nweb:one:tokens,people\n\n app:{HASHED} \nb:two:observe"
    )
    assert [(key.name, key.rights) for key in keys] == [
        ("web", {"tokens", "people"}),
        ("app", RIGHTS),
        ("b", {"observe"}),
    ]


@pytest.mark.parametrize(
    "text", ["web", "web:", ":one", "w b:one", "web:o:n:e", "web:one,", "web:one,,b:two", "web:scrypt$x"]
)
def test_what_is_no_key_is_named_by_its_place_alone(text):
    with pytest.raises(InputError) as caught:
        parse_keys("HIME_API_KEYS", text)
    assert str(caught.value).startswith("HIME_API_KEYS: key ")
    assert "\n" not in str(caught.value) and "one" not in str(caught.value).replace("one is", "")


@pytest.mark.parametrize("line", ["web:one:", "web:one:all", "web:one:tokens:x", "web"])
def test_a_wrong_line_is_named_by_its_number(line):
    with pytest.raises(InputError, match=r"^HIME_API_KEYS_FILE: line 3"):
        parse_lines("HIME_API_KEYS_FILE", f"#\na:b\n{line}\n")


@pytest.mark.parametrize("text", ["", "\n# nothing\n"])
def test_a_file_without_a_key_opens_nothing(tmp_path, text):
    with pytest.raises(InputError, match="no key in the file"):
        load_access(settings(tmp_path, api_keys_file=keys_file(tmp_path, text)))


def test_two_keys_of_one_name_are_refused(tmp_path):
    with pytest.raises(InputError, match="same name"):
        load_access(settings(tmp_path, api_keys="a:x", api_keys_file=keys_file(tmp_path, "a:y")))


def test_what_is_weak_is_told_once_and_without_it(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        load_access(
            settings(tmp_path, api_keys="web:tooshort", api_keys_file=keys_file(tmp_path, f"b:{SECRET}", 0o644))
        )
    assert sum("less than 32 characters" in record.message for record in caplog.records) == 1
    assert sum("chmod 600" in record.message for record in caplog.records) == 1
    assert not any(word in caplog.text for word in ("tooshort", SECRET, "web"))


def test_nothing_of_a_key_is_in_its_repr(tmp_path):
    given = settings(tmp_path, api_keys=f"doorkeeper:{SECRET}", token_secret=SECRET)
    for text in (repr(given), str(given), repr(parse_keys("", f"doorkeeper:{SECRET}")), repr(load_access(given))):
        assert SECRET not in text and "doorkeeper" not in text


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "relay.example.org"])
def test_a_relay_for_other_machines_needs_keys_or_a_word(tmp_path, host):
    with pytest.raises(InputError, match=r"HIME_API_KEYS.*HIME_OPEN=1"):
        load_access(settings(tmp_path, host=host))
    opened = load_access(settings(tmp_path, host=host, open=True))
    assert opened.open_to_all and not opened.needed
    with_keys = load_access(settings(tmp_path, host=host, open=True, api_keys=f"web:{SECRET}"))
    assert with_keys.needed and not with_keys.open_to_all


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
async def test_a_relay_for_its_own_machine_asks_nobody_there(tmp_path, host):
    access = load_access(settings(tmp_path, host=host))
    assert not access.needed and not access.open_to_all
    for address in ("127.0.0.1", "::1", ""):  # "": through a Unix socket, whose peers have none
        one = await caller(access, bearer("whatever"), address)
        assert one.free and one.subject == address
    for address in ("192.0.2.7", "2001:db8::7", "unknown", "unix", "localhost"):  # as a proxy names who came to it
        assert (await refused(access, address=address)).status_code == 403


async def test_a_key_is_shown_in_three_ways(tmp_path):
    access = load_access(settings(tmp_path, api_keys=f"web:{SECRET},app:another-{SECRET}"))
    for headers in (basic("web", SECRET), bearer(f"web:{SECRET}"), bearer(SECRET)):
        assert (await caller(access, headers)).key.name == "web"
    for headers in (
        basic("app", SECRET),
        basic("web", ""),
        basic("", SECRET),
        basic("none", SECRET),
        bearer(f"app:{SECRET}"),
        bearer("wrong"),
        bearer(""),
        {"Authorization": "Basic é"},
        {"Authorization": "Basic ***"},
        {"Authorization": "Digest x"},
        {"Authorization": SECRET},
    ):
        answer = await refused(access, headers)
        assert answer.status_code == 401 and answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert SECRET not in answer.detail
    assert (await refused(access)).headers["WWW-Authenticate"] == "Bearer"


async def test_a_hashed_key_is_hashed_once(tmp_path, monkeypatch):
    hashings = []

    def counted(*args):
        hashings.append(args)
        return matches(*args)

    monkeypatch.setattr(keyrings, "matches", counted)
    monkeypatch.setattr(keyrings, "PAUSE", 0)
    access = load_access(settings(tmp_path, api_keys=f"web:{HASHED}"))
    for headers in (basic("web", SECRET), bearer(f"web:{SECRET}"), bearer(SECRET)):
        assert (await caller(access, headers)).key.name == "web"
    assert len(hashings) == 1
    for headers in (basic("web", "wrong"), basic("app", SECRET), bearer(HASHED)):
        assert (await refused(access, headers)).status_code == 401
    assert len(hashings) == 3  # no hash is tried for a name that there is not
    await refused(access, bearer("looks.like.a-token"))
    assert len(hashings) == 3


async def test_wrong_secrets_are_hashed_one_at_a_time_and_few_may_wait(monkeypatch):
    at_once, most = [], []

    def slow(secret, against):
        at_once.append(secret)
        most.append(len(at_once))
        time.sleep(0.01)
        at_once.pop()
        return secret == "right"

    monkeypatch.setattr(keyrings, "matches", slow)
    monkeypatch.setattr(keyrings, "PAUSE", 0.001)
    ring = Keyring([ApiKey("web", HASHED)])
    found = await asyncio.gather(*(ring.find_hashed(None, f"wrong{n}") for n in range(20)), return_exceptions=True)
    assert sum(isinstance(one, Busy) for one in found) == 20 - keyrings.MAX_WAITING
    assert max(most) == 1
    assert (await ring.find_hashed(None, "right")).name == "web"


async def test_only_keys_that_may_make_tokens_sign_them(tmp_path):
    path = keys_file(tmp_path, f"a:{SECRET}:observe\nb:other-{SECRET}:tokens")
    access = load_access(settings(tmp_path, api_keys_file=path))
    assert access.tokens.issuers == ("b",)


def minted(access, key="web"):
    return access.tokens.mint(Token(key, "ann", Grant("r"), time.time() + 60))


async def test_hashed_keys_tokens_live_as_long_as_the_key_and_the_relays_secret(tmp_path):
    given = settings(tmp_path, api_keys=f"web:{HASHED}")
    old = minted(load_access(given))
    path = given.data / "token-secret"
    assert path.stat().st_mode & 0o777 == 0o600 and len(path.read_text().strip()) == 43
    assert list(given.data.iterdir()) == [path]
    again = load_access(given)
    assert (await caller(again, bearer(old))).subject == "ann"
    another = load_access(settings(tmp_path, api_keys=f"web:{hashed('another')}"))
    assert (await refused(another, bearer(old))).status_code == 401
    gone = load_access(settings(tmp_path, api_keys=f"app:{HASHED}"))
    assert (await refused(gone, bearer(old))).status_code == 401
    set_here = load_access(settings(tmp_path, api_keys=f"web:{HASHED}", token_secret=SECRET))
    assert (await refused(set_here, bearer(old))).status_code == 401
    path.unlink()
    assert (await refused(load_access(given), bearer(old))).status_code == 401


def test_plain_keys_need_no_secret_of_the_relays(tmp_path):
    load_access(settings(tmp_path, api_keys=f"web:{SECRET}"))
    load_access(settings(tmp_path))
    assert not (tmp_path / "data").exists()


def test_a_token_secret_that_is_no_secret_is_refused(tmp_path, caplog):
    with pytest.raises(InputError, match="HIME_TOKEN_SECRET"):
        load_access(settings(tmp_path, api_keys=f"web:{HASHED}", token_secret="short"))
    given = settings(tmp_path, api_keys=f"web:{HASHED}")
    given.data.mkdir()
    (given.data / "token-secret").write_text("short")
    with pytest.raises(InputError, match="token-secret"):
        load_access(given)
    (given.data / "token-secret").write_text("x" * 40)
    (given.data / "token-secret").chmod(0o644)
    load_access(given)
    assert "chmod 600" in caplog.text
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="token-secret"):
        load_access(Settings(_env_file=None, data=tmp_path / "file", api_keys=f"web:{HASHED}"))
