"""Room tokens: what is signed comes back, and nothing else counts."""

import base64
import json
import time

import jwt
import pytest
from jwt import api_jws

from server.access.tokens import Grant, InvalidToken, Token, Tokens
from tests.unit.access_world import DAY, KEYS, SECRET, signer, token

NOW = int(time.time())
CLAIMS = {
    "iss": "tokens",
    "sub": "ann",
    "exp": NOW + DAY,
    "video": {"room": "r", "roomJoin": True, "canPublish": True, "canSubscribe": True},
}


def signed(secret=KEYS["tokens"], algorithm="HS256", without=(), **changes):
    claims = {name: value for name, value in (CLAIMS | changes).items() if name not in without}
    return api_jws.encode(json.dumps(claims).encode(), secret.ljust(64, "\0"), algorithm)


def refused(text, tokens=None):
    with pytest.raises(InvalidToken) as caught:
        (tokens or signer()).verify(text)
    said = str(caught.value)
    assert not any(part in said for part in ("ann", SECRET, text or SECRET))
    return said


def part(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_what_is_minted_is_what_is_verified():
    made = Token("tokens", "ann", Grant("r", publish=True, admin=True), NOW + DAY, frozenset({"bob", "eve"}), True)
    assert signer().verify(signer().mint(made)) == made


def test_another_servers_token_in_livekits_shape_counts():
    assert signer().verify(signed()) == Token("tokens", "ann", Grant("r", True, True, True), NOW + DAY)
    got = signer().verify(signed(video={"room": "r", "roomJoin": True}, name="Ann", metadata="{}"))
    assert got.grant == Grant("r")  # what is not given is not allowed


def test_a_token_without_iss_is_tried_with_every_key():
    tokens = Tokens({"other": b"x" * 40, "tokens": KEYS["tokens"].encode()})
    assert tokens.verify(signed(without=("iss",))).key == "tokens"
    assert "not one of this relay's" in refused(signed("y" * 40, without=("iss",)), tokens)


def test_a_key_with_a_short_secret_signs_as_others_do():
    tokens = Tokens({"short": b"123"})
    mine = tokens.mint(Token("short", "ann", Grant("r"), NOW + DAY))
    assert jwt.decode(mine, "123", ["HS256"])["sub"] == "ann"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (token(seconds=-11), "expired"),
        (token(clock=lambda: time.time() + DAY / 2), "not valid yet"),
        (signed(without=("exp",)), "no exp"),
        (signed(without=("sub",)), "no sub"),
        (signed(algorithm="HS384"), "not one of"),
        (signed(algorithm="HS512"), "not one of"),
        (jwt.encode(CLAIMS, None, "none"), "not one of"),
        (f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(CLAIMS)}.", "not one of"),
        (signed("another-secret-that-is-long-enough-too"), "not one of"),
        (signed(iss="hime"), "not one of"),
        (signed(iss=7), "not one of"),
        (signed(aud="elsewhere"), "not one of"),
        (signed(exp="soon"), "not one of"),
        (signed(exp=float("inf")), "not one of"),
        (signed(nbf=NOW + DAY), "not valid yet"),
        (signed(sub=["ann"]), "not one of"),
        (signed(sub="an n"), "sub is not a name"),
        (signed(sub=""), "sub is not a name"),
        (signed(video=None), "room"),
        (signed(video={"roomJoin": True}), "room"),
        (signed(video={"room": ["r"], "roomJoin": True}), "room"),
        (signed(persons="bob"), "persons"),
        (signed(persons=["b b"]), "persons"),
        (signed(persons=["bob"] * 65), "persons"),
        ("", "not one of"),
        ("a.b.c", "not one of"),
        ("é.é.é", "not one of"),
        (f"{part({'alg': 'HS256'})}.{'W' * 3000}.x", "not one of"),
        (f"{part({'alg': 'HS256'})}.{base64.urlsafe_b64encode(b'[' * 2900).decode()}.x", "not one of"),
        ("x" * 5000, "too long"),
    ],
)
def test_what_does_not_count(text, says):
    assert says in refused(text)


@pytest.mark.parametrize("at", range(3))
def test_a_token_that_was_changed_does_not_count(at):
    parts = signed().split(".")
    changed = [{"alg": "HS256", "typ": "JWT", "x": 1}, CLAIMS | {"sub": "bob"}, "another signature"]
    parts[at] = part(changed[at])
    assert "not one of" in refused(".".join(parts))


def test_clocks_may_differ_by_a_few_seconds():
    assert signer().verify(token(seconds=-5)).subject == "ann"
    assert signer().verify(token(clock=lambda: time.time() + 5)).subject == "ann"


@pytest.mark.parametrize("value", ["true", 1, None, [True], {"x": 1}])
def test_only_true_gives_a_right(value):
    video = {"room": "r", **dict.fromkeys(("roomJoin", "canPublish", "canSubscribe", "roomAdmin"), value)}
    assert signer().verify(signed(video=video)).grant == Grant("r", False, False, False, False)


def test_nothing_of_a_token_is_in_its_repr():
    text = repr(signer().verify(token("a-name", "a-room", persons=("another",))))
    assert not any(word in text for word in ("a-name", "a-room", "another", "tokens"))
